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

"""The few functions of the CUDA driver that PyCUDA does not have, through ctypes."""

from __future__ import annotations

import ctypes
from ctypes import byref
from ctypes import c_char_p
from ctypes import c_int
from ctypes import c_uint64
from ctypes import c_void_p
from ctypes import POINTER
from typing import Any

from c7_inference_ros.errors import RuntimeNotAvailableError

LIBRARY = 'libcuda.so.1'
#: ``CU_STREAM_CAPTURE_MODE_THREAD_LOCAL``: calls of other threads do not break a capture.
_THREAD_LOCAL = 1
_RESULT = c_int
#: Arguments by name, as in ``cuda.h``; handles are pointers, a ``CUdevice`` is an int. The
#: versioned names are those that the macros of ``cuda.h`` stand for.
_SIGNATURES: dict[str, list[Any]] = {
    'cuDeviceGet': [POINTER(c_int), c_int],
    'cuCtxPopCurrent_v2': [POINTER(c_void_p)],
    'cuCtxGetCurrent': [POINTER(c_void_p)],
    'cuDevicePrimaryCtxReset_v2': [c_int],
    'cuStreamBeginCapture_v2': [c_void_p, c_int],
    'cuStreamEndCapture': [c_void_p, POINTER(c_void_p)],
    'cuGraphInstantiateWithFlags': [POINTER(c_void_p), c_void_p, c_uint64],
    'cuGraphLaunch': [c_void_p, c_void_p],
    'cuGraphExecDestroy': [c_void_p],
    'cuGraphDestroy': [c_void_p],
    'cuGetErrorName': [c_int, POINTER(c_char_p)],
    'cuGetErrorString': [c_int, POINTER(c_char_p)],
}


class CudaDriverError(Exception):
    """
    A driver function that did not return CUDA_SUCCESS.

    :param function: its name.
    :param code: what it returned.
    :param text: name and meaning of the code.
    """

    def __init__(self, function: str, code: int, text: str) -> None:
        """Keep the parts; the text reads as PyCUDA's errors do."""
        self.function = function
        self.code = code
        super().__init__(f'{function} failed: {text}')


class CudaDriver:
    """
    Checked calls of the driver library; a call works on the context that is current.

    :param library: the loaded library; loaded here when None.
    :raises RuntimeNotAvailableError: there is no driver, or it is older than CUDA 11.4.
    """

    def __init__(self, library: Any = None) -> None:
        """Load the library and declare every function that is used."""
        try:
            self._library = ctypes.CDLL(LIBRARY) if library is None else library
        except OSError as error:
            raise RuntimeNotAvailableError(
                f'the NVIDIA driver is not installed: {LIBRARY} does not load ({error}); install '
                f'it, or pass the GPU into the container') from error
        for name, arguments in _SIGNATURES.items():
            try:
                function = getattr(self._library, name)
            except AttributeError as error:
                raise RuntimeNotAvailableError(
                    f'the NVIDIA driver has no {name}, expected one of CUDA 11.4 or later; '
                    f'update the driver') from error
            function.argtypes = arguments
            function.restype = _RESULT

    def begin_capture(self, stream: int) -> None:
        """Record what is put on a stream from now on instead of running it."""
        self._call('cuStreamBeginCapture_v2', stream, _THREAD_LOCAL)

    def end_capture(self, stream: int) -> int:
        """
        End recording.

        :returns: the graph; 0 where the driver gave none.
        :raises CudaDriverError: something made the recording invalid.
        """
        graph = c_void_p()
        self._call('cuStreamEndCapture', stream, byref(graph))
        return graph.value or 0

    def instantiate(self, graph: int) -> int:
        """Return an executable graph."""
        executable = c_void_p()
        self._call('cuGraphInstantiateWithFlags', byref(executable), graph, 0)
        return executable.value or 0

    def launch(self, executable: int, stream: int) -> None:
        """Put an executable graph on a stream."""
        self._call('cuGraphLaunch', executable, stream)

    def destroy_executable(self, executable: int) -> None:
        """Free an executable graph."""
        self._call('cuGraphExecDestroy', executable)

    def destroy_graph(self, graph: int) -> None:
        """Free a graph; executables that were made of it live on."""
        self._call('cuGraphDestroy', graph)

    def current_context(self) -> int:
        """Return the context that is current in this thread, 0 for none."""
        context = c_void_p()
        self._call('cuCtxGetCurrent', byref(context))
        return context.value or 0

    def pop_context(self) -> None:
        """Take the current context off the driver's own stack of this thread."""
        context = c_void_p()
        self._call('cuCtxPopCurrent_v2', byref(context))

    def reset_primary_context(self, index: int) -> None:
        """Destroy the primary context of a device, whoever holds it; the next one is new."""
        device = c_int()
        self._call('cuDeviceGet', byref(device), index)
        self._call('cuDevicePrimaryCtxReset_v2', device.value)

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code != 0:
            raise CudaDriverError(name, code, self._text(code))

    def _text(self, code: int) -> str:
        parts = []
        for function in (self._library.cuGetErrorName, self._library.cuGetErrorString):
            text = c_char_p()
            if function(code, byref(text)) == 0 and text.value:
                parts.append(text.value.decode('utf-8', 'replace'))
        return f'{parts[0]} ({parts[-1]})' if parts else f'code {code}'
