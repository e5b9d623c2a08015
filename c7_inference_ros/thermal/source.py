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

"""What a source of thermal readings must do."""

from __future__ import annotations

from typing import Protocol
from typing import runtime_checkable

from c7_inference_ros.thermal.state import ThermalState


@runtime_checkable
class ThermalSource(Protocol):
    """Reads the heat of one kind of machine. One thread polls; it need not be thread-safe."""

    @property
    def name(self) -> str:
        """Return a short name for diagnostics."""
        ...

    @property
    def device_names(self) -> tuple[str, ...]:
        """Return the names of the devices that every state of it has, once it is present."""
        ...

    def is_present(self) -> bool:
        """Return whether this machine has what the source reads."""
        ...

    def read(self, now_ns: int) -> ThermalState:
        """
        Return what can be read now; what cannot is listed in ``faults``.

        :param now_ns: the monotonic clock now, nanoseconds; becomes ``measured_at_ns``.
        :raises TelemetryUnavailableError: nothing at all can be read.
        """
        ...

    def glance(self, now_ns: int) -> frozenset[str]:
        """
        Return the signs of throttling that are set now; a cheap look between two polls.

        A sign is any name that stays the same while the sign does. What cannot be read is left
        out: the next poll says so.

        :param now_ns: the monotonic clock now, nanoseconds.
        """
        ...


class NullSource:
    """
    Source of a machine that shows no temperature: always unavailable, never cool.

    :param reason: why there is no other source, one sentence.
    """

    name = 'none'
    device_names = ('host',)

    def __init__(self, reason: str) -> None:
        """Keep the reason for every state."""
        self.reason = reason

    def is_present(self) -> bool:
        """Return False: there is nothing to read."""
        return False

    def read(self, now_ns: int) -> ThermalState:
        """Return the unavailable state with the reason."""
        return ThermalState.unavailable(self.reason, now_ns, self.name, self.device_names)

    def glance(self, now_ns: int) -> frozenset[str]:
        """Return nothing: nothing is known."""
        return frozenset()
