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

"""Heat of any Linux machine: thermal zones, hwmon chips and the CPU's throttle counters."""

from __future__ import annotations

from pathlib import Path
import re
from typing import NamedTuple

from c7_inference_ros.errors import TelemetryUnavailableError
from c7_inference_ros.thermal import throttle
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.thermal.state import ZoneReading
from c7_inference_ros.thermal.sysfs import read_attribute
from c7_inference_ros.thermal.sysfs import ReadBytes
from c7_inference_ros.thermal.sysfs import SysfsReader
from c7_inference_ros.thermal.sysfs import UniqueNames

THERMAL = 'class/thermal'
HWMON = 'class/hwmon'
#: Chips whose critical limit is where the processor slows down. Board sensors are not in it:
#: their unconnected inputs often float above the limit.
PROCESSOR_CHIPS = frozenset({
    'coretemp', 'k10temp', 'zenpower', 'cpu_thermal', 'amdgpu', 'radeon', 'nouveau', 'i915', 'xe'})
#: Its passive trips are thresholds that any program may set to be notified; nothing slows down.
NOTIFICATION_ONLY_ZONES = frozenset({'x86_pkg_temp'})

_MIN_C, _MAX_C = -40.0, 150.0
#: Sensors of seven bits and a sign show these when nothing is connected.
_SENTINEL_C = (127.0, 128.0)
_TRIP = re.compile(r'trip_point_([0-9]+)_type')
_BINDING = re.compile(r'cdev[0-9]+')
_TEMPERATURE_INPUT = re.compile(r'temp([0-9]+)_input')
_DIGITS = re.compile(r'([0-9]+)')


class _Trips(NamedTuple):
    """Lowest limits of one zone in degrees Celsius; ``slows_c`` is where throttling starts."""

    warn_c: float | None
    slows_c: float | None
    critical_c: float | None


class LinuxThermalSource:
    """
    Thermal source of laptops, desktops and boards without one of their own.

    Temperatures come from ``class/thermal`` and ``class/hwmon``; throttling from cooling devices
    that slow a processor, from the throttle counters of x86 processors, and from zones at a trip
    point that slows the machine. Not thread-safe: one thread polls. Needs no privilege.

    :param sysfs_root: where sysfs is mounted, or a recorded tree.
    :param read_bytes: reads one file; raises OSError.
    """

    name = 'linux'

    def __init__(self, sysfs_root: Path | str = '/sys',
                 read_bytes: ReadBytes = read_attribute) -> None:
        """Remember where to look; nothing is read yet."""
        self._root = str(sysfs_root)
        self._read_bytes = read_bytes
        self._counters = throttle.CounterDeltas()

    def is_present(self) -> bool:
        """Return whether the machine has any temperature sensor, readable or not."""
        sysfs = SysfsReader(self._root, self._read_bytes)
        if any('temp' in sysfs.names(f'{THERMAL}/{zone}')
               for zone in sysfs.numbered(THERMAL, 'thermal_zone')):
            return True
        return any(_TEMPERATURE_INPUT.fullmatch(name)
                   for chip in sysfs.numbered(HWMON, 'hwmon')
                   for name in sysfs.names(f'{HWMON}/{chip}'))

    def read(self, now_ns: int) -> ThermalState:
        """
        Return what every sensor says; a sensor that fails is a fault in the state.

        :param now_ns: the monotonic clock now, nanoseconds.
        :raises TelemetryUnavailableError: no temperature could be read and nothing says that the
            machine is throttling.
        """
        sysfs = SysfsReader(self._root, self._read_bytes)
        names = UniqueNames()
        reasons: list[str] = []
        zones = _read_zones(sysfs, names, reasons) + _read_chips(sysfs, names, reasons)
        reasons += throttle.active_cooling(sysfs)
        reasons += self._counters.update(throttle.throttle_counts(sysfs), now_ns)
        if not zones and not reasons:
            raise TelemetryUnavailableError(_nothing_read(self._root, sysfs.faults))
        return ThermalState(
            zones=tuple(zones), is_throttling=bool(reasons), throttle_reasons=tuple(reasons),
            clocks_mhz=throttle.cpu_clocks(sysfs), power_w={}, over_current_events={},
            measured_at_ns=now_ns, is_telemetry_available=True, source=self.name,
            faults=tuple(sysfs.faults))


def _nothing_read(root: str, faults: list[str]) -> str:
    if not faults:
        return (f'{root}: no thermal zone and no hwmon temperature, expected at least one; virtual'
                ' machines and containers have none, a physical machine needs its sensor driver')
    return (f'{root}: no temperature could be read, expected at least one; {len(faults)} faults,'
            f' the first: {faults[0]}; check the sensor drivers and who may read sysfs')


def _read_zones(sysfs: SysfsReader, names: UniqueNames, reasons: list[str]) -> list[ZoneReading]:
    """Return the thermal zones that can be read; add why those at a trip point throttle."""
    readings = []
    for zone in sysfs.numbered(THERMAL, 'thermal_zone'):
        folder = f'{THERMAL}/{zone}'
        kind = sysfs.text(f'{folder}/type') or zone
        name = names.take(kind)  # before reading, so that a failing zone does not rename others
        if sysfs.text(f'{folder}/mode') == 'disabled':
            sysfs.faults.append(f'{folder} ({name}) is disabled; write "enabled" to its mode')
            continue
        temperature = _temperature(sysfs, f'{folder}/temp', name)
        if temperature is None:
            continue
        trips = _trips(sysfs, folder, kind)
        for word, limit in (('critical', trips.critical_c), ('passive', trips.slows_c)):
            if limit is not None and temperature >= limit:
                reasons.append(f'{name} is at {temperature:.1f} C, at or above its {word} trip of'
                               f' {limit:.1f} C')
                break
        readings.append(
            ZoneReading(name, temperature, folder, trips.warn_c, trips.critical_c))
    return readings


def _trips(sysfs: SysfsReader, folder: str, kind: str) -> _Trips:
    """Return the limits of a zone; a trip that is off (zero, absolute zero) is not a limit."""
    entries = sysfs.names(folder)
    limits: dict[str, list[tuple[int, float]]] = {'passive': [], 'hot': [], 'critical': []}
    for index in sorted(int(match[1]) for match in map(_TRIP.fullmatch, entries) if match):
        word = sysfs.text(f'{folder}/trip_point_{index}_type')
        if word not in limits or (word == 'passive' and kind in NOTIFICATION_ONLY_ZONES):
            continue
        limit = _limit(sysfs, f'{folder}/trip_point_{index}_temp')
        if limit is not None:
            limits[word].append((index, limit))
    if limits['passive']:
        slowing = _slowing_trips(sysfs, folder, entries)
        passive = [limit for index, limit in limits['passive']
                   if slowing is None or index in slowing]
    else:
        passive = []
    hot = [limit for _, limit in limits['hot']]
    critical = [limit for _, limit in limits['critical']]
    return _Trips(min(passive + hot, default=None), min(passive, default=None),
                  min(critical, default=None))


def _slowing_trips(sysfs: SysfsReader, folder: str, entries: tuple[str, ...]) -> set[int] | None:
    """Return the trips that slow a processor, None when the zone shows no bindings at all."""
    bindings = [entry for entry in entries if _BINDING.fullmatch(entry)]
    if not bindings:
        return None
    slowing = set()
    for binding in bindings:
        index = sysfs.integer(f'{folder}/{binding}_trip_point')
        if index is not None and throttle.slows_processor(sysfs.text(f'{folder}/{binding}/type')):
            slowing.add(index)
    return slowing


def _read_chips(sysfs: SysfsReader, names: UniqueNames, reasons: list[str]) -> list[ZoneReading]:
    """Return the hwmon temperatures that can be read and are not a thermal zone's own mirror."""
    chips = []
    zones = sysfs.numbered(THERMAL, 'thermal_zone')
    for entry in sysfs.numbered(HWMON, 'hwmon'):
        chip = sysfs.text(f'{HWMON}/{entry}/name') or entry
        device = sysfs.link_name(f'{HWMON}/{entry}/device')
        if not _mirrors_zone(sysfs, chip, device, zones):
            # hwmon numbers change from boot to boot, the device behind them does not.
            chips.append((chip, _natural(device or ''), int(entry[len('hwmon'):]), entry))
    readings = []
    for chip, _, _, entry in sorted(chips):
        folder = f'{HWMON}/{entry}'
        inputs = map(_TEMPERATURE_INPUT.fullmatch, sysfs.names(folder))
        for number in sorted(int(match[1]) for match in inputs if match):
            reading = _read_chip_input(sysfs, names, chip, f'{folder}/temp{number}')
            if reading is None:
                continue
            readings.append(reading)
            limit = reading.critical_c
            if chip in PROCESSOR_CHIPS and limit is not None and reading.temperature_c >= limit:
                reasons.append(f'{reading.name} is at {reading.temperature_c:.1f} C, at or above'
                               f' its critical limit of {limit:.1f} C')
    return readings


def _read_chip_input(sysfs: SysfsReader, names: UniqueNames, chip: str,
                     stem: str) -> ZoneReading | None:
    label = sysfs.text(f'{stem}_label') or stem.rpartition('/')[2]
    name = names.take(f'{chip} {label}')
    if sysfs.integer(f'{stem}_fault') == 1:
        sysfs.faults.append(f'{stem}_fault ({name}) is set: the chip says its sensor is broken')
        return None
    temperature = _temperature(sysfs, f'{stem}_input', name)
    if temperature is None:
        return None
    return ZoneReading(name, temperature, f'{stem}_input', _limit(sysfs, f'{stem}_max'),
                       _limit(sysfs, f'{stem}_crit'))


def _mirrors_zone(sysfs: SysfsReader, chip: str, device: str | None,
                  zones: tuple[str, ...]) -> bool:
    """Return whether the kernel made this chip from a thermal zone that is read anyway."""
    if device is not None:
        return device in zones
    # Old kernels and trees recorded without links: the name is the zone's type.
    return any((sysfs.text(f'{THERMAL}/{zone}/type') or '').replace('-', '_') == chip
               for zone in zones)


def _temperature(sysfs: SysfsReader, relative: str, name: str) -> float | None:
    """Return degrees Celsius; None, with a fault, when there is no believable value."""
    millidegrees = sysfs.integer(relative, required=True)
    if millidegrees is None:
        return None
    celsius = millidegrees / 1000.0
    if not _MIN_C <= celsius <= _MAX_C or _SENTINEL_C[0] <= celsius < _SENTINEL_C[1]:
        sysfs.faults.append(
            f'{relative} ({name}) says {celsius:.1f} C, expected {_MIN_C:.0f} to {_MAX_C:.0f} C'
            f' and not the {_SENTINEL_C[0]:.0f} C of an unconnected sensor; it is ignored')
        return None
    return celsius


def _limit(sysfs: SysfsReader, relative: str) -> float | None:
    """Return a limit in degrees Celsius; None when it is absent or switched off."""
    millidegrees = sysfs.integer(relative)
    if millidegrees is None or not 0 < millidegrees <= _MAX_C * 1000.0:
        return None
    return millidegrees / 1000.0


def _natural(text: str) -> tuple[tuple[int, str], ...]:
    """Return a sort key that puts ``nvme2`` before ``nvme10``."""
    return tuple((int(part), '') if part.isdigit() else (-1, part)
                 for part in _DIGITS.split(text))
