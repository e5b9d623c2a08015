# Copyright 2026 c7_inference_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""What the libcuda double does through ctypes: graphs, and the reset of the primary context."""

import ctypes

import cuda_codes as codes
from libcuda_double import LibcudaDouble
import numpy as np
import pytest

THREAD_LOCAL = 1
handle = ctypes.c_void_p


@pytest.fixture
def lib(gpu):
    """Return the library as ctypes loads it."""
    double = LibcudaDouble(gpu)
    library = double.load('libcuda.so.1')
    # The answers live as long as the double.
    library.double = double
    return library


def test_another_library_is_not_found(gpu):
    with pytest.raises(OSError, match='cannot open shared object file'):
        LibcudaDouble(gpu).load('libcudart.so.12')


def capture(lib, stream):
    """End a capture; return the code and the graph."""
    graph = handle(1)
    return lib.cuStreamEndCapture(handle(stream.handle), ctypes.byref(graph)), graph


def test_a_graph_does_its_work_again_on_the_bytes_of_then(cuda, lib):
    stream, memory = cuda.Stream(), cuda.mem_alloc(16)
    source, target = (cuda.pagelocked_empty(4, np.float32) for _ in range(2))
    target[:] = 0
    assert lib.cuStreamBeginCapture_v2(handle(stream.handle), THREAD_LOCAL) == 0
    cuda.memcpy_htod_async(memory, source, stream)
    cuda.memcpy_dtoh_async(target, memory, stream)
    code, graph = capture(lib, stream)
    assert code == 0
    stream.synchronize()
    assert (target == 0).all()
    instance = handle()
    assert lib.cuGraphInstantiateWithFlags(ctypes.byref(instance), graph,
                                           ctypes.c_ulonglong(0)) == 0
    assert lib.cuGraphDestroy(graph) == 0
    for value in (3, 4):
        source[:] = value
        assert lib.cuGraphLaunch(instance, handle(stream.handle)) == 0
        stream.synchronize()
        assert (target == value).all()
    assert lib.cuGraphExecDestroy(instance) == 0
    assert lib.cuGraphLaunch(instance, handle(stream.handle)) == codes.INVALID_HANDLE


def test_a_handle_that_is_cut_to_an_int_is_none(cuda, lib):
    stream = cuda.Stream()
    assert stream.handle >> 32
    assert lib.cuStreamBeginCapture_v2(stream.handle, THREAD_LOCAL) == codes.INVALID_HANDLE


def test_what_may_not_be_captured_spoils_the_capture(cuda, lib):
    stream = cuda.Stream()
    memory = cuda.mem_alloc(16)
    for call in (stream.synchronize, lambda: cuda.mem_alloc(4), cuda.Context.synchronize,
                 lambda: cuda.memcpy_htod_async(memory, np.zeros(4, np.uint8), stream)):
        assert lib.cuStreamBeginCapture_v2(handle(stream.handle), THREAD_LOCAL) == 0
        with pytest.raises(cuda.LogicError, match='not permitted when stream is capturing'):
            call()
        code, graph = capture(lib, stream)
        assert code == codes.CAPTURE_INVALIDATED and graph.value is None
    assert capture(lib, stream)[0] == codes.CAPTURE_UNMATCHED
    assert lib.cuStreamBeginCapture_v2(handle(stream.handle), 9) == codes.INVALID_VALUE
    assert lib.cuStreamEndCapture(handle(stream.handle), None) == codes.INVALID_VALUE


def test_a_reset_takes_everything_with_it(gpu, cuda, lib, capfd):
    stream, memory = cuda.Stream(), cuda.mem_alloc(16)
    array = cuda.pagelocked_empty(4, np.uint8)
    assert lib.cuDevicePrimaryCtxReset_v2(0) == 0
    assert not gpu.memory.blocks and not gpu.memory.pinned and gpu.primary_retains == 1
    with pytest.raises(cuda.LogicError, match='context is destroyed'):
        stream.synchronize()
    memory.free()
    assert 'PyCUDA WARNING: a clean-up operation failed' in capfd.readouterr().err
    assert lib.cuDevicePrimaryCtxReset_v2(3) == codes.INVALID_DEVICE
    del array, stream


def test_errors_have_names(lib):
    text = ctypes.c_char_p()
    assert lib.cuGetErrorName(700, ctypes.byref(text)) == 0
    assert text.value == b'CUDA_ERROR_ILLEGAL_ADDRESS'
    assert lib.cuGetErrorString(2, ctypes.byref(text)) == 0
    assert text.value == b'out of memory'
    assert lib.cuGetErrorName(12345, ctypes.byref(text)) == codes.INVALID_VALUE
