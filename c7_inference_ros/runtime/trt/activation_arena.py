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
Scratch memory that engines which run in turn share.

One engine at a time needs its activations, so that the largest need is enough for all. On a board
with 8 GB this is the largest saving there is.
"""

from __future__ import annotations

from typing import Protocol

from c7_inference_ros.errors import InferenceRuntimeError
from c7_inference_ros.runtime.base import MemoryItem
from c7_inference_ros.runtime.cuda.device import CudaDevice
from c7_inference_ros.runtime.cuda.memory import DeviceMemory
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.runtime.memory_budget import Reservation

#: Item and line of the account.
ACTIVATIONS = 'activations'
SHARED = 'shared activations'


class ArenaUser(Protocol):
    """An execution context that works in the arena."""

    @property
    def needed_bytes(self) -> int:
        """Bytes that it needs."""

    def use_memory(self, address: int, size: int) -> None:
        """Work there from now on."""


class ActivationArena:
    """
    One piece of device memory, as large as the largest need; one line in the ledger.

    :param budget: the ledger.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        """Begin with nothing; memory comes with the first user."""
        self._budget = budget
        self._users: list[ArenaUser] = []
        self._memory: DeviceMemory | None = None
        self._device: CudaDevice | None = None
        self._reservation: Reservation | None = None

    @property
    def size(self) -> int:
        """Bytes that are allocated."""
        return self._memory.size if self._memory is not None else 0

    def growth_for(self, size: int) -> int:
        """Return how many bytes more it takes until an engine of this need can run."""
        return max(0, self._largest(size) - self.size)

    def take_over(self, reservation: Reservation) -> None:
        """Move what an engine was granted for activations into the arena's own line."""
        if self._reservation is None:
            self._reservation = self._budget.reserve(SHARED, ())
        reservation.hand_over(ACTIVATIONS, self._reservation)

    def join(self, device: CudaDevice, user: ArenaUser, name: str) -> None:
        """
        Let a context work here; the arena grows where it needs more.

        :param name: the model, for errors.
        :raises OutOfMemoryError: there is no more; the others work as before.
        """
        self._device = device
        if self._reservation is None:
            self._reservation = self._budget.reserve(SHARED, ())
        before = self.size
        wanted = max(self._largest(user.needed_bytes), before)
        self._reservation.resize(_items(wanted), f'{SHARED} with {name}')
        try:
            if wanted > before:
                self._allocate(device, wanted, name)
            user.use_memory(self._address, self.size)
        except BaseException:
            self.settle(before)
            raise
        self._users.append(user)

    def leave(self, user: ArenaUser) -> None:
        """Take a context out; with the last one the memory goes. Idempotent."""
        self._users = [one for one in self._users if one is not user]
        if not self._users:
            self.settle(0)

    def settle(self, size: int) -> None:
        """
        Go back to a size after a model could not be loaded, and give the ledger the rest.

        :param size: bytes as they were before.
        """
        if self._device is not None and self.size > size:
            if size and not self._device.lost:
                self._allocate(self._device, size, SHARED)
            else:
                self._free()
        if self._reservation is not None:
            if self.size == 0 and not self._users:
                self._reservation.release()
                self._reservation = None
            else:
                self._reservation.resize(_items(self.size))
                self._reservation.record(True, self.size)

    def _largest(self, size: int) -> int:
        return max([size, *(user.needed_bytes for user in self._users)])

    @property
    def _address(self) -> int:
        return self._memory.address if self._memory is not None else 0

    def _allocate(self, device: CudaDevice, size: int, name: str) -> None:
        """Replace the memory and tell the users; what they had comes back on failure."""
        before = self.size
        device.synchronize()
        # First free, then allocate: both at once may not fit, and nothing is kept between runs.
        self._free()
        try:
            self._memory = device.allocate(size, f'the shared activations with {name}')
        except InferenceRuntimeError:
            if before and not device.lost:
                self._memory = device.allocate(before, 'the shared activations')
            raise
        finally:
            for user in self._users:
                user.use_memory(self._address, self.size)
            if self._reservation is not None:
                self._reservation.record(True, self.size)

    def _free(self) -> None:
        memory, self._memory = self._memory, None
        if memory is not None and self._device is not None:
            self._device.free(memory)


def _items(size: int) -> tuple[MemoryItem, ...]:
    return (MemoryItem(ACTIVATIONS, size, True),) if size else ()
