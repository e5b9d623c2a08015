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

"""Device and page-locked host memory; made and freed by a CudaDevice, on its thread."""

from __future__ import annotations

from typing import Any
import weakref

import numpy as np
import numpy.typing as npt


class DeviceMemory:
    """
    Memory of the GPU.

    :param allocation: what PyCUDA returned.
    :param size: bytes.
    """

    def __init__(self, allocation: Any, size: int) -> None:
        """Keep the allocation; it frees itself when it is dropped on the owner thread."""
        self.address = int(allocation)
        self.size = size
        self._allocation = allocation

    def free(self) -> None:
        """Give it back; only :meth:`CudaDevice.free` calls this."""
        allocation, self._allocation, self.address = self._allocation, None, 0
        if allocation is not None:
            allocation.free()


class PageLocked:
    """
    Host memory that the GPU copies from and to, or reads and writes itself.

    :param array: what PyCUDA returned, one-dimensional bytes.
    :param is_mapped: whether the GPU has an address for it.
    """

    def __init__(self, array: npt.NDArray[np.uint8], is_mapped: bool) -> None:
        """Keep the array, whose base frees the memory."""
        self._array: npt.NDArray[np.uint8] | None = array
        self.size = array.nbytes
        #: What is noted in the ledger for it.
        self.charged = array.nbytes
        self.address = int(array.ctypes.data)
        base: Any = array.base
        self.device_address = int(base.get_device_pointer()) if is_mapped else 0

    def view(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """Return the beginning of the memory as an array."""
        if self._array is None:
            raise ValueError('the page-locked memory was freed')
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return self._array[:size].view(dtype).reshape(shape)

    def free(self) -> Lingering | None:
        """
        Give it back; only :meth:`CudaDevice.free` calls this.

        :returns: what is left while somebody still holds an array of it.
        """
        array, self._array = self._array, None
        if array is None:
            return None
        base, reference = array.base, weakref.ref(array)
        del array
        left = Lingering(reference, base)
        return None if left.free_if_unused() else left


class Lingering:
    """
    Page-locked memory that was freed while somebody still holds an array of it.

    :param array: the array that all others are views of.
    :param allocation: what frees the memory.
    """

    def __init__(self, array: weakref.ref[npt.NDArray[np.uint8]], allocation: Any) -> None:
        """Keep the memory alive."""
        self._array = array
        self._allocation = allocation

    @property
    def is_in_use(self) -> bool:
        """Whether an array of it is still held."""
        return self._array() is not None

    def free_if_unused(self) -> bool:
        """Free the memory when nobody holds it; returns whether it is free now."""
        if self.is_in_use:
            return False
        allocation, self._allocation = self._allocation, None
        if allocation is not None:
            allocation.free()
        return True
