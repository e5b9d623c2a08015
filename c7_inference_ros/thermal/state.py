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
from typing import Generic
from typing import Iterable
from typing import Mapping
from typing import TypeVar

T = TypeVar('T', bool, int, float, str)


@dataclass(frozen=True)
class ZoneReading:
    """
    One temperature.

    :param name: unique within one device, the same from poll to poll.
    :param temperature_c: degrees Celsius, finite.
    :param source: where it was read, relative to the sysfs root or as the source names it.
    :param warn_c: the hardware's own limit where it starts to react, None when it names none.
    :param critical_c: the hardware's own limit where it has to stop, None when it names none.
    :param throttle_c: the hardware's own limit where it slows a processor, None when it names
        none; what shedding of load is measured against.
    """

    name: str
    temperature_c: float
    source: str
    warn_c: float | None = None
    critical_c: float | None = None
    throttle_c: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no comparison can be trusted with."""
        if not math.isfinite(self.temperature_c):
            raise ValueError(
                f'ZoneReading.temperature_c of {self.name!r} is {self.temperature_c}, expected a'
                ' finite number; report a fault instead of a reading')
        for name in ('warn_c', 'critical_c', 'throttle_c'):
            limit_c = getattr(self, name)
            if limit_c is not None and not math.isfinite(limit_c):
                raise ValueError(
                    f'ZoneReading.{name} of {self.name!r} is {limit_c}, expected a finite number,'
                    ' or None where the hardware names no limit')


@dataclass(frozen=True)
class Reading(Generic[T]):
    """
    One value that is no temperature.

    :param value: in the unit of the mapping that holds it.
    :param source: where it was read, relative to the sysfs root or as the source names it.
    """

    value: T
    source: str


class _Measured:
    """What was measured at one moment."""

    measured_at_ns: int

    def age_s(self, now_ns: int) -> float:
        """
        Return how long ago the reading began.

        :param now_ns: the monotonic clock now, nanoseconds.
        :returns: seconds.
        """
        return (now_ns - self.measured_at_ns) / 1e9


@dataclass(frozen=True)
class DeviceState(_Measured):
    """
    What one device (the board, the host, a GPU) says at one moment.

    A device without telemetry carries no temperature and no throttle flag: it says that nobody
    knows, which is not the same as cool. Look at ``is_telemetry_available`` first.

    :param name: stable and unique within a :class:`ThermalState`: ``jetson``, ``host``, ``gpu0``.
    :param source: name of the source that measured: ``jetson``, ``linux``, ``nvml``.
    :param measured_at_ns: the injected monotonic clock when the reading began, nanoseconds.
    :param is_telemetry_available: whether anything below was measured.
    :param zones: temperatures, in a stable order.
    :param is_throttling: heat slowed the device since the last poll, or does so now.
    :param throttle_reasons: why, one sentence each; not empty when ``is_throttling``.
    :param throttle_flags: every sign of being slowed down that the device has, by name, heat or
        not; True while it is set.
    :param warnings: what slows the device or endangers it without being heat (a power cap, an
        under-voltage event), one sentence each.
    :param clocks_mhz: clock name to MHz, now and at most (``gpu``, ``gpu_max``).
    :param load: name of a processor to the share of time in which it works, 0 to 1.
    :param power_w: rail name to watts.
    :param over_current_events: counter name to events since the last poll.
    :param over_current_totals: counter name to events since the source began to count them.
    :param settings: what the machine was set to that clocks depend on: ``power_mode`` and the
        like.
    :param model: what the device calls itself, empty when it does not.
    :param hardware_id: serial number or UUID, empty when it has none.
    :param faults: what could not be read, one sentence each.
    """

    name: str
    source: str
    measured_at_ns: int
    is_telemetry_available: bool
    zones: tuple[ZoneReading, ...] = ()
    is_throttling: bool = False
    throttle_reasons: tuple[str, ...] = ()
    throttle_flags: Mapping[str, Reading[bool]] = field(default_factory=dict, hash=False)
    warnings: tuple[str, ...] = ()
    clocks_mhz: Mapping[str, Reading[float]] = field(default_factory=dict, hash=False)
    load: Mapping[str, Reading[float]] = field(default_factory=dict, hash=False)
    power_w: Mapping[str, Reading[float]] = field(default_factory=dict, hash=False)
    over_current_events: Mapping[str, Reading[int]] = field(default_factory=dict, hash=False)
    over_current_totals: Mapping[str, Reading[int]] = field(default_factory=dict, hash=False)
    settings: Mapping[str, Reading[str]] = field(default_factory=dict, hash=False)
    model: str = ''
    hardware_id: str = ''
    faults: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Copy the mappings and refuse a state that contradicts itself."""
        for name in ('throttle_flags', 'clocks_mhz', 'load', 'power_w', 'over_current_events',
                     'over_current_totals', 'settings'):
            object.__setattr__(self, name, dict(getattr(self, name)))
        if not self.is_telemetry_available and (self.zones or self.is_throttling):
            raise ValueError(
                f'DeviceState {self.name!r} has is_telemetry_available=False with'
                f' {len(self.zones)} zones and is_throttling={self.is_throttling}, expected none'
                ' and False; use DeviceState.unavailable()')
        if self.is_throttling and not self.throttle_reasons:
            raise ValueError(
                f'DeviceState {self.name!r} has is_throttling=True with no throttle_reasons,'
                ' expected at least one sentence')

    @classmethod
    def unavailable(cls, name: str, source: str, reason: str, now_ns: int, *, model: str = '',
                    hardware_id: str = '') -> DeviceState:
        """
        Return the safe answer: nothing is known, least of all that the device is cool.

        :param reason: why, one sentence; becomes the only fault.
        :param now_ns: the monotonic clock now, nanoseconds.
        """
        return cls(name, source, now_ns, False, model=model, hardware_id=hardware_id,
                   faults=(reason,))

    @property
    def hottest(self) -> ZoneReading | None:
        """Return the warmest reading, the first of equals, None when there is none."""
        return _hottest(self.zones)


@dataclass(frozen=True)
class ThermalState(_Measured):
    """
    One snapshot of the machine's heat: every device that a source reads.

    :param devices: at least one; a device that cannot be read is in it without telemetry.
    :param measured_at_ns: the injected monotonic clock when the reading began, nanoseconds.
    """

    devices: tuple[DeviceState, ...]
    measured_at_ns: int

    def __post_init__(self) -> None:
        """Refuse a state of nothing, and two devices of one name."""
        names = [device.name for device in self.devices]
        if not names or len(set(names)) != len(names):
            raise ValueError(f'ThermalState has devices {names}, expected at least one, each with'
                             ' its own name; use ThermalState.unavailable()')

    @classmethod
    def unavailable(cls, reason: str, now_ns: int, source: str = 'none',
                    devices: Iterable[str] = ()) -> ThermalState:
        """
        Return the safe answer: nothing is known, least of all that the machine is cool.

        :param reason: why, one sentence; becomes the only fault of each device.
        :param now_ns: the monotonic clock now, nanoseconds.
        :param source: name of the source that has nothing to say.
        :param devices: names of its devices; the source's own name when there is none.
        """
        return cls(tuple(DeviceState.unavailable(name, source, reason, now_ns)
                         for name in tuple(devices) or (source,)), now_ns)

    def without_telemetry(self, reason: str, now_ns: int) -> ThermalState:
        """Return the same devices with nothing known of them; parameters as in `unavailable`."""
        return ThermalState(tuple(
            DeviceState.unavailable(device.name, device.source, reason, now_ns,
                                    model=device.model, hardware_id=device.hardware_id)
            for device in self.devices), now_ns)

    @property
    def is_telemetry_available(self) -> bool:
        """Whether every device was measured: what one of them hides may be the hot one."""
        return all(device.is_telemetry_available for device in self.devices)

    @property
    def is_throttling(self) -> bool:
        """Whether heat slows any device."""
        return any(device.is_throttling for device in self.devices)

    @property
    def throttle_reasons(self) -> tuple[str, ...]:
        """Why, one sentence each, all devices together."""
        return tuple(reason for device in self.devices for reason in device.throttle_reasons)

    @property
    def zones(self) -> tuple[ZoneReading, ...]:
        """Temperatures of all devices; a name may stand for a zone of each of two devices."""
        return tuple(zone for device in self.devices for zone in device.zones)

    @property
    def source(self) -> str:
        """Names of the sources that measured, joined by a plus sign."""
        return '+'.join(dict.fromkeys(device.source for device in self.devices))

    @property
    def faults(self) -> tuple[str, ...]:
        """What could not be read, one sentence each, all devices together."""
        return tuple(dict.fromkeys(fault for device in self.devices for fault in device.faults))

    @property
    def hottest(self) -> ZoneReading | None:
        """Return the warmest reading, the first of equals, None when there is none."""
        return _hottest(self.zones)


def _hottest(zones: Iterable[ZoneReading]) -> ZoneReading | None:
    return max(zones, key=lambda zone: zone.temperature_c, default=None)
