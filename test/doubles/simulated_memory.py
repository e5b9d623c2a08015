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
Device memory with addresses, and the host memory that a GPU may see.

Every allocation gets a fresh address range with a gap behind it and no range is used twice, so
that reading past an end, or using something that was freed, always shows.
"""

from __future__ import annotations

import bisect
import ctypes
from typing import Any

from cuda_codes import CudaCallError
from cuda_codes import ILLEGAL_ADDRESS
from cuda_codes import INVALID_VALUE
from cuda_codes import OUT_OF_MEMORY
import numpy as np

#: Far from every address that the process has, so that host and device addresses never mix.
DEVICE_BASE = 0x0A00_0000_0000
ALIGNMENT = 512
GAP = 4096
MIB = 1 << 20
#: What memory holds before anything is written: 0xCD, a large negative number in every type.
GARBAGE = 0xCD
_GARBAGE_LIMIT = 16 * MIB


def bytes_at(address: int, size: int) -> np.ndarray:
    """Return the process memory at an address, as writable bytes."""
    if size == 0:
        return np.zeros(0, np.uint8)
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


class Block:
    """One allocation: device memory, or page-locked host memory as the GPU sees it."""

    def __init__(self, address: int, size: int, owner: Any, data: np.ndarray | None = None,
                 purpose: str = '') -> None:
        """Device memory takes no host memory until it is touched."""
        self.address, self.size, self.owner, self.purpose = address, size, owner, purpose
        self.is_mapped = data is not None
        self._data = data

    @property
    def data(self) -> np.ndarray:
        """The bytes."""
        if self._data is None:
            if self.size <= _GARBAGE_LIMIT:
                self._data = np.full(self.size, GARBAGE, np.uint8)
            else:
                self._data = np.zeros(self.size, np.uint8)
        return self._data


class PinnedRange:
    """Page-locked host memory, for as long as the driver has it."""

    def __init__(self, data: np.ndarray, owner: Any) -> None:
        """Begin held."""
        self.data, self.owner, self.is_held = data, owner, True
        self.address, self.nbytes = data.ctypes.data, data.nbytes


class SimulatedMemory:
    """
    The memory of one GPU.

    :param total: bytes.
    :param granularity: the driver takes memory from the GPU in pieces of this size.
    :param is_shared: the host's memory is the GPU's (Jetson): page-locked memory counts.
    """

    def __init__(self, total: int, granularity: int, is_shared: bool) -> None:
        """Begin empty."""
        self.total, self.granularity, self.is_shared = total, granularity, is_shared
        self.reserved = 0
        self.blocks: dict[int, Block] = {}
        self.pinned: dict[int, PinnedRange] = {}
        self._addresses: list[int] = []
        self._next = DEVICE_BASE
        self.used = self.peak = 0

    def free_bytes(self) -> int:
        """Return what cuMemGetInfo says is free."""
        pieces = -(-self.used // self.granularity)
        return self.total - self.reserved - pieces * self.granularity

    def allocate(self, size: int, owner: Any, purpose: str = '', function: str = 'cuMemAlloc',
                 ) -> Block:
        """Allocate device memory."""
        if size <= 0:
            raise CudaCallError(function, INVALID_VALUE)
        rounded = -(-size // ALIGNMENT) * ALIGNMENT
        self._take(rounded, function)
        return self._add(Block(self._next, size, owner, None, purpose), rounded)

    def map_host(self, data: np.ndarray, owner: Any) -> Block:
        """Give host memory an address on the device; it is another number than the host's."""
        return self._add(Block(self._next, data.nbytes, owner, data, 'mapped'), 0)

    def release(self, address: int, function: str = 'cuMemFree') -> Block:
        """Free a device allocation, or a mapping."""
        block = self.blocks.pop(address, None)
        if block is None:
            raise CudaCallError(function, INVALID_VALUE)
        self._addresses.remove(address)
        if not block.is_mapped:
            self.used -= -(-block.size // ALIGNMENT) * ALIGNMENT
        return block

    def find(self, address: int) -> Block | None:
        """Return the live allocation that an address lies in."""
        index = bisect.bisect_right(self._addresses, address) - 1
        if index < 0:
            return None
        block = self.blocks[self._addresses[index]]
        return block if address < block.address + max(block.size, 1) else None

    def view(self, address: int, size: int, function: str = 'kernel',
             code: int = ILLEGAL_ADDRESS) -> np.ndarray:
        """Return the bytes of a range that must lie in one allocation."""
        block = self.find(address)
        if block is None or address + size > block.address + block.size:
            raise CudaCallError(function, code)
        start = address - block.address
        return block.data[start:start + size]

    def is_device_address(self, address: int) -> bool:
        """Whether a number can only be a device address, live or not."""
        return DEVICE_BASE <= address < self._next

    def pin(self, data: np.ndarray, owner: Any, function: str = 'cuMemHostAlloc') -> PinnedRange:
        """Note page-locked host memory."""
        if self.is_shared:
            self._take(data.nbytes, function)
        made = PinnedRange(data, owner)
        self.pinned[made.address] = made
        return made

    def unpin(self, pinned: PinnedRange) -> None:
        """Forget page-locked host memory, and spoil what it held."""
        if not pinned.is_held:
            return
        pinned.is_held = False
        del self.pinned[pinned.address]
        if self.is_shared:
            self.used -= pinned.nbytes
        pinned.data[:] = GARBAGE

    def pinned_range(self, address: int, size: int) -> PinnedRange | None:
        """Return the page-locked memory that a host range lies in, or None if it is not."""
        for pinned in tuple(self.pinned.values()):
            if pinned.address <= address and address + size <= pinned.address + pinned.nbytes:
                return pinned
        return None

    def _take(self, size: int, function: str) -> None:
        before = self.used
        self.used += size
        if self.free_bytes() < 0:
            self.used = before
            raise CudaCallError(function, OUT_OF_MEMORY)
        self.peak = max(self.peak, self.used)

    def _add(self, block: Block, rounded: int) -> Block:
        self._next += max(rounded, -(-block.size // ALIGNMENT) * ALIGNMENT) + GAP
        self.blocks[block.address] = block
        self._addresses.append(block.address)
        return block
