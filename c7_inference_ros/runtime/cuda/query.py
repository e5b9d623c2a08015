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
What a GPU has free, asked of the CUDA driver, and which TensorRT there is.

For ONNX Runtime, which brings both along and offers no way to ask.
"""

from __future__ import annotations

import ctypes
from typing import Any
from typing import Mapping

_DRIVER = 'libcuda.so.1'
_TENSORRT = ('libnvinfer.so.10', 'libnvinfer.so.11')


class CudaQuery:
    """
    Asks about one GPU.

    :param device: number of the GPU.
    :param library: the driver's library; loaded when None.
    """

    def __init__(self, device: int = 0, library: Any = None) -> None:
        """Look at nothing yet."""
        self._number = device
        self._library = library
        self._device: ctypes.c_int | None = None
        self._context: ctypes.c_void_p | None = None

    def free_bytes(self) -> int | None:
        """
        Return the free memory; None where there is no GPU or its driver does not say.

        Holds the primary context from the first call on, so that the context itself is in every
        figure and a difference of two is what was allocated between them.
        """
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        try:
            self._open()
            if self._context is None:
                context = ctypes.c_void_p()
                self._call('cuDevicePrimaryCtxRetain', ctypes.byref(context), self._device)
                self._context = context
            self._call('cuCtxPushCurrent_v2', self._context)
            try:
                self._call('cuMemGetInfo_v2', ctypes.byref(free), ctypes.byref(total))
            finally:
                self._call('cuCtxPopCurrent_v2', ctypes.byref(ctypes.c_void_p()))
        except (OSError, AttributeError):
            return None
        return free.value

    def close(self) -> None:
        """Let go of the context; idempotent."""
        context, self._context = self._context, None
        if context is not None:
            try:
                self._call('cuDevicePrimaryCtxRelease_v2', self._device)
            except OSError:
                pass  # the driver is gone, and the context with it

    def _open(self) -> None:
        if self._device is None:
            if self._library is None:
                self._library = ctypes.CDLL(_DRIVER)
            device = ctypes.c_int()
            self._call('cuInit', 0)
            self._call('cuDeviceGet', ctypes.byref(device), self._number)
            self._device = device

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code != 0:
            raise OSError(f'{name} of the CUDA driver gave error {code}')


def tensorrt_versions(load: Any = ctypes.CDLL) -> Mapping[str, str]:
    """
    Return the version of every TensorRT that a library of this process would be linked with.

    :param load: loads a library by its name.
    :returns: version (10300 is 10.3.0) by library; empty where there is none.
    """
    found = {}
    for name in _TENSORRT:
        try:
            found[name] = str(load(name).getInferLibVersion())
        except (OSError, AttributeError):
            continue
    return found
