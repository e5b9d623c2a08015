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

"""What the log says of heat: each beginning and each end once, also of what flickers."""

from __future__ import annotations

import threading
from typing import Callable

from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import ThermalState
from rclpy.impl.rcutils_logger import RcutilsLogger

#: Throttling that comes back sooner has not ended for a reader: a governor that switches a clock
#: back and forth at a trip point would write four lines a second.
END_NS = 3_000_000_000


class ThermalLog:
    """
    Logs when a device begins and ends to throttle, and when its telemetry is lost and comes back.

    Any thread may call.

    :param log: where to.
    :param sheds: tells whether load is shed because of heat.
    """

    def __init__(self, log: RcutilsLogger, sheds: Callable[[], bool]) -> None:
        """Begin with nothing known."""
        self._log = log
        self._sheds = sheds
        self._lock = threading.Lock()
        self._lost: set[str] = set()
        self._throttling: set[str] = set()
        self._ended_ns: dict[str, int] = {}  # by throttling device, when it was seen to end

    def forget(self) -> None:
        """Begin anew, for another source."""
        with self._lock:
            self._lost.clear()
            self._throttling.clear()
            self._ended_ns.clear()

    def transition(self, after: DeviceState) -> None:
        """Log what has changed of a device for the user."""
        name = after.name
        with self._lock:
            if not after.is_telemetry_available:
                self._lost.add(name)
                self._ended_ns.pop(name, None)  # whether it went on nobody knows
                self._log.warning(
                    f'no temperature of {name} is known, throttling would not be seen'
                    f'{" and load that is shed stays shed" if self._sheds() else ""}: '
                    + '; '.join(after.faults))
                return
            if name in self._lost:
                self._lost.remove(name)
                self._log.info(f'the temperature of {name} is known again')
            if not after.is_throttling:
                if name in self._throttling:
                    self._ended_ns.setdefault(name, after.measured_at_ns)
                return
            self._ended_ns.pop(name, None)
            if name not in self._throttling:
                self._throttling.add(name)
                self._log.warning(
                    f'{name} throttles because of heat, inference takes longer'
                    f'{"" if self._sheds() else " and thermal.policy observe sheds nothing"}: '
                    + '; '.join(after.throttle_reasons))

    def state(self, state: ThermalState) -> None:
        """Log which devices have ended to throttle for good; for every poll."""
        with self._lock:
            for name, ended_ns in tuple(self._ended_ns.items()):
                if state.measured_at_ns - ended_ns >= END_NS:
                    del self._ended_ns[name]
                    self._throttling.remove(name)
                    self._log.info(f'{name} no longer throttles')
