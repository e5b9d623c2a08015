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

"""What one poll of the thermal sensors found; plain immutable records."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import math
from typing import Mapping


@dataclass(frozen=True)
class ZoneReading:
    """
    One temperature.

    :param name: unique within one :class:`ThermalState`, the same from poll to poll.
    :param temperature_c: degrees Celsius, finite.
    :param source: where it was read, relative to the sysfs root or as the source names it.
    :param warn_c: the hardware's own limit where it starts to react, None when it names none.
    :param critical_c: the hardware's own limit where it has to stop, None when it names none.
    """

    name: str
    temperature_c: float
    source: str
    warn_c: float | None = None
    critical_c: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no comparison can be trusted with."""
        if not math.isfinite(self.temperature_c):
            raise ValueError(
                f'ZoneReading.temperature_c of {self.name!r} is {self.temperature_c}, expected a'
                ' finite number; report a fault instead of a reading')


@dataclass(frozen=True)
class ThermalState:
    """
    One snapshot of the machine's heat.

    A state without telemetry carries no temperature and no throttle flag: it says that nobody
    knows, which is not the same as cool. Look at ``is_telemetry_available`` first.

    :param zones: temperatures, in a stable order.
    :param is_throttling: the machine slowed itself down since the last poll, or does so now.
    :param throttle_reasons: why, one sentence each; not empty when ``is_throttling``.
    :param clocks_mhz: clock name to MHz.
    :param power_w: rail name to watts.
    :param over_current_events: counter name to events since the last poll.
    :param measured_at_ns: the injected monotonic clock when the reading began, nanoseconds.
    :param is_telemetry_available: whether anything above was measured.
    :param source: name of the source that measured.
    :param faults: what could not be read, one sentence each.
    """

    zones: tuple[ZoneReading, ...]
    is_throttling: bool
    throttle_reasons: tuple[str, ...]
    clocks_mhz: Mapping[str, float] = field(hash=False)
    power_w: Mapping[str, float] = field(hash=False)
    over_current_events: Mapping[str, int] = field(hash=False)
    measured_at_ns: int
    is_telemetry_available: bool
    source: str
    faults: tuple[str, ...]

    def __post_init__(self) -> None:
        """Copy the mappings and refuse a state that contradicts itself."""
        for name in ('clocks_mhz', 'power_w', 'over_current_events'):
            object.__setattr__(self, name, dict(getattr(self, name)))
        if not self.is_telemetry_available and (self.zones or self.is_throttling):
            raise ValueError(
                'ThermalState has is_telemetry_available=False with'
                f' {len(self.zones)} zones and is_throttling={self.is_throttling}, expected none'
                ' and False; use ThermalState.unavailable()')
        if self.is_throttling and not self.throttle_reasons:
            raise ValueError(
                'ThermalState has is_throttling=True with no throttle_reasons, expected at least'
                ' one sentence')

    @classmethod
    def unavailable(cls, reason: str, now_ns: int, source: str = 'none') -> ThermalState:
        """
        Return the safe answer: nothing is known, least of all that the machine is cool.

        :param reason: why, one sentence; becomes the only fault.
        :param now_ns: the monotonic clock now, nanoseconds.
        :param source: name of the source that has nothing to say.
        """
        return cls(
            zones=(), is_throttling=False, throttle_reasons=(), clocks_mhz={}, power_w={},
            over_current_events={}, measured_at_ns=now_ns, is_telemetry_available=False,
            source=source, faults=(reason,))

    @property
    def hottest(self) -> ZoneReading | None:
        """Return the warmest reading, the first of equals, None when there is none."""
        return max(self.zones, key=lambda zone: zone.temperature_c, default=None)

    def age_s(self, now_ns: int) -> float:
        """
        Return how long ago the reading began.

        :param now_ns: the monotonic clock now, nanoseconds.
        :returns: seconds.
        """
        return (now_ns - self.measured_at_ns) / 1e9
