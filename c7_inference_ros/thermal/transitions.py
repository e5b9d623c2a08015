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

"""What changes from state to state, told once for each device."""

from __future__ import annotations

from typing import Callable

from c7_inference_ros.thermal.state import DeviceState

#: Called with the state of one device before and after a change.
TransitionCallback = Callable[[DeviceState, DeviceState], None]

LOSS_INTERVAL_NS = 30_000_000_000


class Transitions:
    """
    Remembers what was told of each device, and tells what is new.

    :param started_ns: since when nothing is known, nanoseconds.
    :param source: name of the source, for the state before the first.
    :param on_transition: told; may raise.
    """

    def __init__(self, started_ns: int, source: str,
                 on_transition: TransitionCallback | None) -> None:
        """Start with nothing known: a healthy device is no news, a hot or a silent one is."""
        self._started_ns = started_ns
        self._source = source
        self._on_transition = on_transition
        self._told: dict[str, DeviceState] = {}
        self._losses_ns: dict[str, int] = {}

    def tell(self, device: DeviceState) -> None:
        """
        Call ``on_transition`` if the device differs from what was told of it.

        :param device: its state now; its ``measured_at_ns`` is the time.
        """
        previous = self._told.get(device.name)
        if previous is None:
            previous = DeviceState.unavailable(
                device.name, device.source,
                f'thermal source {self._source} has not answered yet', self._started_ns,
                model=device.model, hardware_id=device.hardware_id)
            before = (True, False)
        else:
            before = (previous.is_telemetry_available, previous.is_throttling)
        after = (device.is_telemetry_available, device.is_throttling)
        if before[0] and not after[0]:
            last_ns = self._losses_ns.get(device.name)
            if last_ns is not None and device.measured_at_ns - last_ns < LOSS_INTERVAL_NS:
                return  # told later if it lasts, forgotten with its recovery if not
            self._losses_ns[device.name] = device.measured_at_ns
        self._told[device.name] = device
        if before != after and self._on_transition is not None:
            self._on_transition(previous, device)
