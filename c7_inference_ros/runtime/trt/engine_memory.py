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

"""What one engine takes of device and page-locked memory, noted in the ledger as it grows."""

from __future__ import annotations

from c7_inference_ros.errors import OutOfMemoryError
from c7_inference_ros.runtime.cuda.device import CudaDevice
from c7_inference_ros.runtime.cuda.memory import DeviceMemory
from c7_inference_ros.runtime.cuda.memory import PageLocked
from c7_inference_ros.runtime.memory_budget import Reservation
from c7_inference_ros.runtime.memory_table import size_text

_PLACES = {True: ('device', 'memory.device_budget_bytes'),
           False: ('host', 'memory.host_budget_bytes')}


class EngineMemory:
    """
    Allocates for one engine, never more than the ledger allows.

    :param device: where the memory is.
    :param reservation: what the engine was granted; more is taken while the budget has room.
    :param name: the model, for errors.
    """

    def __init__(self, device: CudaDevice, reservation: Reservation, name: str) -> None:
        """Begin with nothing."""
        self.device = device
        self.name = name
        self._reservation = reservation
        self._taken = {True: 0, False: 0}

    def taken(self, is_device: bool) -> int:
        """Return what is taken of one place, bytes."""
        return self._taken[is_device]

    def device_memory(self, size: int, what: str) -> DeviceMemory:
        """
        Allocate device memory.

        :param what: what for, for errors.
        :raises OutOfMemoryError: the budget or the device has no more.
        """
        self._take(True, size, what)
        try:
            return self.device.allocate(size, f'{what} of {self.name}')
        except BaseException:
            self._give(True, size)
            raise

    def page_locked(self, size: int, what: str, is_mapped: bool = False) -> PageLocked:
        """
        Allocate page-locked host memory.

        :param what: what for, for errors.
        :param is_mapped: give it an address on the GPU, too.
        :raises OutOfMemoryError: the budget or the machine has no more.
        """
        self._take(False, size, what)
        try:
            memory = self.device.page_locked(size, f'{what} of {self.name}', is_mapped)
        except BaseException:
            self._give(False, size)
            raise
        memory.charged = size
        return memory

    def free(self, memory: DeviceMemory | PageLocked | None) -> None:
        """Free memory that was allocated here; None is ignored."""
        if memory is None:
            return
        is_device = isinstance(memory, DeviceMemory)
        size = memory.size if isinstance(memory, DeviceMemory) else memory.charged
        self.device.free(memory)
        self._give(is_device, size)

    def _take(self, is_device: bool, size: int, what: str) -> None:
        wanted = self._taken[is_device] + size
        if not self._reservation.record(is_device, wanted):
            place, limit = _PLACES[is_device]
            raise OutOfMemoryError(
                f'{self.name} asks for {size_text(size)} more of {place} memory for {what} and '
                f'would take {size_text(wanted)}, more than was predicted '
                f'({size_text(self._reservation.predicted(is_device))}) and more than the budget '
                f'leaves; raise {limit} or load fewer or smaller models')
        self._taken[is_device] = wanted

    def _give(self, is_device: bool, size: int) -> None:
        self._taken[is_device] -= size
        self._reservation.record(is_device, self._taken[is_device])
