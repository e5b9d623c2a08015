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

"""
A ``libcuda.so.1`` over a simulated GPU: graphs, reset of the primary context, error names.

It is a real shared library, compiled from ``libcuda_double.c`` when it is first needed, whose
functions ask Python. A caller loads it with ctypes as the real one.
"""

from __future__ import annotations

import atexit
import ctypes
import dataclasses
import functools
import os
from pathlib import Path
import shutil
import subprocess
import tempfile
from typing import Any

import cuda_codes as codes
from cuda_codes import CudaCallError
import pytest
from simulated_gpu import SimulatedGpu
from simulated_stream import SimulatedGraph
from simulated_stream import SimulatedGraphExec

_POINTER, _INT, _U64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_ulonglong
_TEXTS = {code: tuple(ctypes.create_string_buffer(text.encode()) for text in texts)
          for code, texts in codes.TEXTS.items()}


@functools.cache
def compiled() -> Path:
    """Compile the library once; the test is skipped where there is no C compiler."""
    compiler = shutil.which(os.environ.get('CC', 'cc')) or shutil.which('gcc')
    if compiler is None:
        pytest.skip('no C compiler (cc, gcc) is here to make the libcuda double')
    folder = tempfile.mkdtemp(prefix='libcuda_double_')
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / 'libcuda.so.1'
    subprocess.run([compiler, '-shared', '-fPIC', '-O1', '-Wall', '-Werror', '-o', str(path),
                    str(Path(__file__).with_suffix('.c'))], check=True)
    return path


def _put(address: int, value: int, kind: Any = ctypes.c_void_p) -> None:
    kind.from_address(address).value = value


class LibcudaDouble:
    """
    The library for one GPU.

    Each object is a copy of its own of the file, because a shared library is loaded once by
    path. :attr:`path` is what to load, or :meth:`load` as a replacement of ``ctypes.CDLL``.

    :param gpu: the GPU that answers.
    """

    def __init__(self, gpu: SimulatedGpu) -> None:
        """Make a copy of the library and answer its calls."""
        self.gpu = gpu
        self._folder = tempfile.TemporaryDirectory(prefix='libcuda_double_')
        self.path = Path(shutil.copy(compiled(), self._folder.name))
        self.loaded: list[str] = []
        self._library = ctypes.CDLL(str(self.path))
        self._kept: list[Any] = []
        for name, kinds in _SIGNATURES.items():
            answer = ctypes.CFUNCTYPE(_INT, *kinds)(self._guarded(name))
            text = ctypes.create_string_buffer(name.encode())
            self._kept += [answer, text]
            assert self._library.double_answer(text, answer) == 0

    def load(self, name: str, *arguments: Any, **named: Any) -> ctypes.CDLL:
        """Load it in place of ``ctypes.CDLL('libcuda.so.1')``; any other name is not found."""
        self.loaded.append(name)
        if Path(name).name not in ('libcuda.so.1', 'libcuda.so'):
            raise OSError(f'{name}: cannot open shared object file: No such file or directory')
        return ctypes.CDLL(str(self.path), *arguments, **named)

    def _guarded(self, name: str) -> Any:
        handler = getattr(self, f'_{name}')

        def answer(*arguments: Any) -> int:
            try:
                handler(*(0 if argument is None else argument for argument in arguments))
            except CudaCallError as error:
                return error.code
            return codes.SUCCESS

        return answer

    def _cuInit(self, _flags: int) -> None:
        self.gpu.enter('cuInit')
        self.gpu.is_initialized = True

    def _cuDriverGetVersion(self, version: int) -> None:
        _put(version, self.gpu.traits.driver_version, _INT)

    def _text(self, code: int, text: int, which: int) -> None:
        if code not in _TEXTS:
            _put(text, 0)
            raise CudaCallError('cuGetErrorName', codes.INVALID_VALUE)
        _put(text, ctypes.addressof(_TEXTS[code][which]))

    def _cuGetErrorName(self, code: int, text: int) -> None:
        self._text(code, text, 0)

    def _cuGetErrorString(self, code: int, text: int) -> None:
        self._text(code, text, 1)

    def _cuCtxGetCurrent(self, context: int) -> None:
        self.gpu.enter('cuCtxGetCurrent')
        current = self.gpu.current()
        _put(context, current.handle if current is not None else 0)

    def _cuCtxPopCurrent_v2(self, context: int) -> None:
        self.gpu.enter('cuCtxPopCurrent')
        if not self.gpu.stack:
            raise CudaCallError('cuCtxPopCurrent', codes.INVALID_CONTEXT)
        _put(context, self.gpu.stack.pop().handle)

    def _cuDeviceGet(self, device: int, ordinal: int) -> None:
        self.gpu.enter('cuDeviceGet')
        self.gpu.check_ordinal(ordinal, 'cuDeviceGet')
        _put(device, ordinal, _INT)

    def _cuCtxSynchronize(self) -> None:
        self.gpu.finish_all('cuCtxSynchronize')

    def _cuMemGetInfo_v2(self, free: int, total: int) -> None:
        self.gpu.enter_context('cuMemGetInfo')
        _put(free, self.gpu.memory.free_bytes(), ctypes.c_size_t)
        _put(total, self.gpu.memory.total, ctypes.c_size_t)

    def _cuDevicePrimaryCtxRelease_v2(self, device: int) -> None:
        self.gpu.enter('cuDevicePrimaryCtxRelease')
        self.gpu.check_ordinal(device, 'cuDevicePrimaryCtxRelease')
        self.gpu.release_primary()

    def _cuDevicePrimaryCtxReset_v2(self, device: int) -> None:
        self.gpu.enter('cuDevicePrimaryCtxReset')
        self.gpu.check_ordinal(device, 'cuDevicePrimaryCtxReset')
        self.gpu.reset_primary()

    def _cuDevicePrimaryCtxGetState(self, device: int, flags: int, active: int) -> None:
        self.gpu.enter('cuDevicePrimaryCtxGetState')
        self.gpu.check_ordinal(device, 'cuDevicePrimaryCtxGetState')
        _put(flags, 0, ctypes.c_uint)
        _put(active, int(self.gpu.primary is not None), _INT)

    def _cuStreamSynchronize(self, stream: int) -> None:
        self.gpu.finish_stream(self.gpu.stream_of(stream, 'cuStreamSynchronize'),
                               'cuStreamSynchronize')

    def _cuStreamIsCapturing(self, stream: int, status: int) -> None:
        capture = self.gpu.stream_of(stream, 'cuStreamIsCapturing').capture
        _put(status, 0 if capture is None else 1 + capture.is_invalidated, _INT)

    def _cuStreamBeginCapture_v2(self, stream: int, mode: int) -> None:
        self.gpu.stream_of(stream, 'cuStreamBeginCapture').begin_capture(mode)

    def _cuStreamEndCapture(self, stream: int, graph: int) -> None:
        _put(graph, 0)
        context = self.gpu.enter_context('cuStreamEndCapture')
        captured = self.gpu.stream_of(stream, 'cuStreamEndCapture', context).end_capture()
        context.graphs[captured.handle] = captured
        _put(graph, captured.handle)

    def _graph(self, handle: int, kind: type, function: str) -> Any:
        context = self.gpu.enter_context(function)
        graph = context.graphs.get(handle)
        if type(graph) is not kind:
            raise CudaCallError(function, codes.INVALID_HANDLE)
        return graph

    def _cuGraphInstantiateWithFlags(self, exec_: int, graph: int, flags: int) -> None:
        captured = self._graph(graph, SimulatedGraph, 'cuGraphInstantiate')
        if flags & ~0xF:
            raise CudaCallError('cuGraphInstantiate', codes.INVALID_VALUE)
        instance = SimulatedGraphExec(captured.work)
        self.gpu.enter_context('cuGraphInstantiate').graphs[instance.handle] = instance
        _put(exec_, instance.handle)

    def _cuGraphUpload(self, exec_: int, stream: int) -> None:
        self._graph(exec_, SimulatedGraphExec, 'cuGraphUpload')
        self.gpu.stream_of(stream, 'cuGraphUpload')

    def _cuGraphLaunch(self, exec_: int, stream: int) -> None:
        instance = self._graph(exec_, SimulatedGraphExec, 'cuGraphLaunch')
        queue = self.gpu.stream_of(stream, 'cuGraphLaunch')
        for work in instance.work:
            queue.enqueue(dataclasses.replace(work))

    def _destroy(self, handle: int, kind: type, function: str) -> None:
        self._graph(handle, kind, function)
        self.gpu.enter_context(function).graphs.pop(handle)

    def _cuGraphExecDestroy(self, exec_: int) -> None:
        self._destroy(exec_, SimulatedGraphExec, 'cuGraphExecDestroy')

    def _cuGraphDestroy(self, graph: int) -> None:
        self._destroy(graph, SimulatedGraph, 'cuGraphDestroy')


_SIGNATURES: dict[str, tuple[Any, ...]] = {
    'cuInit': (ctypes.c_uint,), 'cuDriverGetVersion': (_POINTER,),
    'cuGetErrorName': (_INT, _POINTER), 'cuGetErrorString': (_INT, _POINTER),
    'cuCtxGetCurrent': (_POINTER,), 'cuCtxPopCurrent_v2': (_POINTER,),
    'cuDeviceGet': (_POINTER, _INT), 'cuCtxSynchronize': (),
    'cuMemGetInfo_v2': (_POINTER, _POINTER), 'cuDevicePrimaryCtxReset_v2': (_INT,),
    'cuDevicePrimaryCtxRelease_v2': (_INT,),
    'cuDevicePrimaryCtxGetState': (_INT, _POINTER, _POINTER),
    'cuStreamSynchronize': (_POINTER,), 'cuStreamIsCapturing': (_POINTER, _POINTER),
    'cuStreamBeginCapture_v2': (_POINTER, _INT), 'cuStreamEndCapture': (_POINTER, _POINTER),
    'cuGraphInstantiateWithFlags': (_POINTER, _POINTER, _U64),
    'cuGraphUpload': (_POINTER, _POINTER), 'cuGraphLaunch': (_POINTER, _POINTER),
    'cuGraphExecDestroy': (_POINTER,), 'cuGraphDestroy': (_POINTER,)}
