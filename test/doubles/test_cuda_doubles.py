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

"""What the PyCUDA double does that a careful user must expect."""

import gc
import threading

import cuda_codes as codes
import numpy as np
from pycuda_double import make_pycuda
import pytest
from simulated_gpu import SimulatedGpu
from simulated_memory import GARBAGE
from simulated_memory import MIB


def in_thread(function):
    """Run a function in a thread of its own; return what it returned or raised."""
    result = []

    def run():
        try:
            result.append(function())
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return result[0]


def test_nothing_works_before_init_and_without_a_context(gpu):
    cuda = make_pycuda(gpu)
    with pytest.raises(cuda.LogicError, match='cuDeviceGet failed: initialization error'):
        cuda.Device(0)
    cuda.init()
    with pytest.raises(cuda.LogicError, match='invalid device ordinal'):
        cuda.Device(1)
    with pytest.raises(cuda.LogicError, match='^explicit_context_dependent failed: invalid '
                       r'device context - no currently active context\?$'):
        cuda.Stream()
    for call in (lambda: cuda.mem_alloc(8), cuda.mem_get_info, cuda.Context.synchronize,
                 lambda: cuda.pagelocked_empty(4, np.uint8), cuda.Context.pop):
        with pytest.raises(cuda.LogicError, match='invalid device context'):
            call()


def test_a_machine_without_a_gpu_fails_in_init():
    cuda = make_pycuda(SimulatedGpu(count=0))
    with pytest.raises(cuda.RuntimeError, match='no CUDA-capable device is detected'):
        cuda.init()


def test_the_context_of_one_thread_is_not_that_of_another(cuda):
    assert cuda.Context.get_current() is not None
    error = in_thread(cuda.Stream)
    assert isinstance(error, cuda.LogicError) and 'no currently active context?' in str(error)


def test_a_thread_that_ends_with_a_context_aborts_the_process(gpu):
    cuda = make_pycuda(gpu)
    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    in_thread(context.push)
    gc.collect()
    assert 'The context stack was not empty' in gpu.aborts[0]
    with pytest.raises(AssertionError, match='aborted'):
        gpu.assert_clean()
    gpu.aborts.clear()


def test_memory_that_another_thread_frees_leaks_with_a_warning(gpu, cuda):
    memory = cuda.mem_alloc(100)
    with pytest.warns(UserWarning, match='device_allocation in out-of-thread context could not '
                                         'be cleaned up'):
        in_thread(memory.free)
    assert int(memory) in gpu.memory.blocks
    assert gpu.warnings
    gpu.warnings.clear()


def test_the_primary_context_is_counted_and_its_memory_goes_with_it(gpu):
    cuda = make_pycuda(gpu)
    cuda.init()
    device = cuda.Device(0)
    contexts = [device.retain_primary_context() for _ in range(2)]
    assert contexts[0] == contexts[1] and gpu.primary_retains == 2
    contexts[0].push()
    memory = cuda.mem_alloc(64)
    contexts[0].detach()
    assert int(memory) in gpu.memory.blocks
    contexts[1].push()
    contexts[1].detach()
    assert not gpu.memory.blocks and gpu.primary_retains == 0
    with pytest.raises(cuda.LogicError, match='cannot detach from invalid context'):
        contexts[0].detach()


def test_copies_are_late_and_read_their_source_when_they_are_made(cuda):
    stream, memory = cuda.Stream(), cuda.mem_alloc(16)
    source, target = (cuda.pagelocked_empty(4, np.float32) for _ in range(2))
    source[:], target[:] = 1, 0
    cuda.memcpy_htod_async(memory, source, stream)
    cuda.memcpy_dtoh_async(target, memory, stream)
    assert (target == 0).all()
    source[:] = 7
    assert not stream.is_done()
    stream.synchronize()
    assert (target == 7).all()
    assert stream.is_done()


def test_pageable_memory_is_taken_at_once_and_waited_for(cuda):
    stream, memory = cuda.Stream(), cuda.mem_alloc(16)
    source, target = np.ones(4, np.float32), np.zeros(4, np.float32)
    cuda.memcpy_htod_async(memory, source, stream)
    source[:] = 7
    cuda.memcpy_dtoh_async(target, memory, stream)
    assert (target == 1).all()


def test_fresh_memory_holds_garbage(cuda):
    target = np.zeros(4, np.uint8)
    cuda.memcpy_dtoh(target, cuda.mem_alloc(4))
    assert (target == GARBAGE).all()


@pytest.mark.parametrize('source', [np.zeros((8, 8))[:, ::2], memoryview(bytes(64))[::2]])
def test_what_is_not_contiguous_is_refused(cuda, source):
    with pytest.raises((ValueError, BufferError), match='not contiguous'):
        cuda.memcpy_htod(cuda.mem_alloc(1024), source)


def test_arguments_are_taken_as_boost_takes_them(cuda):
    memory, array = cuda.mem_alloc(64), np.zeros(4, np.uint8)
    with pytest.raises(TypeError, match='int64'):
        cuda.memcpy_htod(np.int64(int(memory)), array)
    with pytest.raises(TypeError, match='pycuda::stream'):
        cuda.memcpy_htod_async(memory, array, 0)
    with pytest.raises(TypeError):
        cuda.mem_alloc(bytes=4)
    with pytest.raises(cuda.LogicError, match='cuMemcpyHtoD failed: invalid argument'):
        cuda.memcpy_htod(memory, np.zeros(65, np.uint8))
    array.flags.writeable = False
    with pytest.raises(ValueError, match='read-only'):
        cuda.memcpy_dtoh(array, memory)


def test_memory_is_counted_and_ends(gpu, cuda):
    free, total = cuda.mem_get_info()
    assert total == 8 << 30 and free == total - gpu.context_bytes
    memory = cuda.mem_alloc(3 * MIB)
    assert int(memory) % 256 == 0
    assert free - cuda.mem_get_info()[0] == 4 * MIB
    with pytest.raises(cuda.MemoryError, match='cuMemAlloc failed: out of memory'):
        cuda.mem_alloc(free)
    with pytest.raises(cuda.LogicError, match='cuMemAlloc failed: invalid argument'):
        cuda.mem_alloc(0)
    memory.free()
    assert cuda.mem_get_info()[0] == free
    with pytest.raises(cuda.LogicError, match='device_allocation::free failed'):
        memory.free()


def test_page_locked_memory_counts_only_on_a_shared_memory_gpu():
    for is_integrated, taken in ((False, 0), (True, 2 * MIB)):
        gpu = SimulatedGpu(is_integrated=is_integrated)
        cuda = make_pycuda(gpu)
        cuda.init()
        context = cuda.Device(0).retain_primary_context()
        context.push()
        free = cuda.mem_get_info()[0]
        array = cuda.pagelocked_empty(MIB, np.uint8)
        assert free - cuda.mem_get_info()[0] == taken
        array.base.free()
        assert cuda.mem_get_info()[0] == free
        del array
        context.pop()
        gpu.assert_clean()


def test_only_mapped_memory_has_a_device_address_and_it_is_another_one(cuda):
    plain = cuda.pagelocked_empty(4, np.float32)
    with pytest.raises(cuda.LogicError, match='cuMemHostGetDevicePointer failed'):
        plain.base.get_device_pointer()
    mapped = cuda.pagelocked_empty((2, 2), np.float32,
                                   mem_flags=cuda.host_alloc_flags.DEVICEMAP)
    address = mapped.base.get_device_pointer()
    assert address != mapped.ctypes.data and address % 256 == 0
    mapped[:] = 5
    target = np.zeros(4, np.float32)
    cuda.memcpy_dtoh(target, address)
    assert (target == 5).all()


def test_freed_page_locked_memory_that_a_copy_still_uses_is_recorded(gpu, cuda):
    stream, memory = cuda.Stream(), cuda.mem_alloc(16)
    source = cuda.pagelocked_empty(4, np.float32)
    cuda.memcpy_htod_async(memory, source, stream)
    source.base.free()
    stream.synchronize()
    assert 'page-locked memory that was freed' in gpu.violations.pop()


def test_device_memory_that_work_still_uses_is_recorded(gpu, cuda):
    stream, memory = cuda.Stream(), cuda.mem_alloc(16)
    cuda.memset_d8_async(memory, 0, 16, stream)
    memory.free()
    assert 'freed while work' in gpu.violations.pop()
    with pytest.raises(cuda.LogicError, match='illegal memory access'):
        stream.synchronize()


def test_a_synchronous_copy_waits_for_streams_that_do_not_refuse_it(cuda):
    for flags, expected in ((0, 3), (1, GARBAGE)):
        stream, memory = cuda.Stream(flags), cuda.mem_alloc(4)
        target = np.zeros(4, np.uint8)
        cuda.memset_d8_async(memory, 3, 4, stream)
        cuda.memcpy_dtoh(target, memory)
        assert (target == expected).all()
        stream.synchronize()


def test_a_sticky_error_stays_until_the_context_is_made_anew(gpu):
    cuda = make_pycuda(gpu)
    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    context.push()
    stream = cuda.Stream()
    gpu.fail('cuStreamSynchronize', codes.ILLEGAL_ADDRESS)
    for call in (stream.synchronize, stream.synchronize, cuda.mem_get_info,
                 lambda: cuda.mem_alloc(4), cuda.Context.synchronize):
        with pytest.raises(cuda.LogicError, match='illegal memory access'):
            call()
    del stream
    context.pop()
    context.detach()
    assert gpu.primary_retains == 0
    fresh = cuda.Device(0).retain_primary_context()
    fresh.push()
    cuda.mem_alloc(4).free()
    fresh.pop()


def test_a_lost_device_stays_lost(gpu):
    cuda = make_pycuda(gpu)
    cuda.init()
    device = cuda.Device(0)
    gpu.lose()
    for _ in range(2):
        context = device.retain_primary_context()
        context.push()
        with pytest.raises(cuda.LogicError, match='illegal memory access'):
            cuda.mem_get_info()
        context.pop()
        context.detach()


def test_the_nth_call_fails(gpu, cuda):
    gpu.fail('cuMemAlloc', codes.OUT_OF_MEMORY, nth=2, times=2)
    memory = cuda.mem_alloc(4)
    # PyCUDA tries twice.
    with pytest.raises(cuda.MemoryError):
        cuda.mem_alloc(4)
    memory.free()
    cuda.mem_alloc(4).free()


def test_a_gpu_that_stands_still_lets_wait(gpu, cuda):
    memory = cuda.mem_alloc(4)
    stream = cuda.Stream()
    gpu.hang()
    cuda.memset_d8_async(memory, 0, 4, stream)
    assert not stream.is_done() and not stream.is_done()
    timer = threading.Timer(0.05, gpu.resume)
    timer.start()
    stream.synchronize()
    assert not gpu.is_hanging
    timer.join()


def test_events_tell_when_the_gpu_came_by(cuda):
    stream, memory = cuda.Stream(), cuda.mem_alloc(4)
    first, last = cuda.Event(), cuda.Event()
    first.record(stream)
    cuda.memset_d8_async(memory, 0, 4, stream)
    last.record(stream)
    with pytest.raises(cuda.RuntimeError, match='device not ready'):
        last.time_since(first)
    assert not last.query()
    assert last.synchronize() is last
    assert last.time_since(first) >= 0 and last.query()
