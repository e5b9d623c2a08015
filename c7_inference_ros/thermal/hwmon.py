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

"""Temperatures of hwmon chips, and which of their limits slow a processor."""

from __future__ import annotations

import re

from c7_inference_ros.thermal.celsius import read_limit
from c7_inference_ros.thermal.celsius import read_temperature
from c7_inference_ros.thermal.state import ZoneReading
from c7_inference_ros.thermal.sysfs import SysfsReader
from c7_inference_ros.thermal.sysfs import UniqueNames
from c7_inference_ros.thermal.zones import zone_folders

HWMON = 'class/hwmon'
#: Chips whose critical limit is where the processor slows down. Board sensors are not in it:
#: their unconnected inputs often float above the limit.
PROCESSOR_CHIPS = frozenset({
    'coretemp', 'k10temp', 'zenpower', 'cpu_thermal', 'amdgpu', 'radeon', 'nouveau', 'i915', 'xe'})

_TEMPERATURE_INPUT = re.compile(r'temp([0-9]+)_input')
_DIGITS = re.compile(r'([0-9]+)')


def chip_folders(sysfs: SysfsReader) -> tuple[str, ...]:
    """Return the folders of the chips below the root, in the order of their numbers."""
    return tuple(f'{HWMON}/{chip}' for chip in sysfs.numbered(HWMON, 'hwmon', constant=True))


def named_chips(sysfs: SysfsReader) -> list[tuple[str, str]]:
    """
    Return (name, folder) of every chip, equal names in the order of the devices behind them.

    Numbers of chips change from boot to boot, the device behind one does not.
    """
    return sysfs.derived('chips', lambda: _named_chips(sysfs))


def has_chips(sysfs: SysfsReader) -> bool:
    """Return whether any chip has a temperature, readable or not."""
    return any(_TEMPERATURE_INPUT.fullmatch(name) for folder in chip_folders(sysfs)
               for name in sysfs.names(folder))


def read_chips(sysfs: SysfsReader, names: UniqueNames) -> list[ZoneReading]:
    """Return the temperatures that can be read and are not a thermal zone's own mirror."""
    zones = zone_folders(sysfs)
    readings = []
    for chip, folder in named_chips(sysfs):
        if _mirrors_zone(sysfs, chip, sysfs.link_name(f'{folder}/device'), zones):
            continue
        inputs = map(_TEMPERATURE_INPUT.fullmatch, sysfs.names(folder, constant=True))
        for number in sorted(int(match[1]) for match in inputs if match):
            reading = _read_input(sysfs, names, chip, f'{folder}/temp{number}')
            if reading is not None:
                readings.append(reading)
    return readings


def limit_reasons(zones: list[ZoneReading]) -> list[str]:
    """Return one sentence for each processor chip at its critical limit."""
    return [f'{zone.name} is at {zone.temperature_c:.1f} C, at or above its critical limit of'
            f' {zone.throttle_c:.1f} C' for zone in zones
            if zone.throttle_c is not None and zone.temperature_c >= zone.throttle_c]


def _named_chips(sysfs: SysfsReader) -> list[tuple[str, str]]:
    chips = []
    for folder in chip_folders(sysfs):
        name = sysfs.label(f'{folder}/name') or folder.rpartition('/')[2]
        device = sysfs.link_name(f'{folder}/device')
        chips.append((name, _natural(device or ''), _natural(folder), folder))
    return [(name, folder) for name, _, _, folder in sorted(chips)]


def _read_input(sysfs: SysfsReader, names: UniqueNames, chip: str,
                stem: str) -> ZoneReading | None:
    label = sysfs.label(f'{stem}_label') or stem.rpartition('/')[2]
    name = names.take(f'{chip} {label}')
    if sysfs.integer(f'{stem}_fault') == 1:
        sysfs.faults.append(f'{stem}_fault ({name}) is set: the chip says its sensor is broken')
        return None
    temperature = read_temperature(sysfs, f'{stem}_input', name)
    if temperature is None:
        return None
    critical = read_limit(sysfs, f'{stem}_crit')
    return ZoneReading(name, temperature, f'{stem}_input', read_limit(sysfs, f'{stem}_max'),
                       critical, critical if chip in PROCESSOR_CHIPS else None)


def _mirrors_zone(sysfs: SysfsReader, chip: str, device: str | None,
                  zones: tuple[str, ...]) -> bool:
    """Return whether the kernel made this chip from a thermal zone that is read anyway."""
    if device is not None:
        return any(folder.endswith(f'/{device}') for folder in zones)
    # Old kernels and trees recorded without links: the name is the zone's type.
    return any((sysfs.label(f'{folder}/type') or '').replace('-', '_') == chip
               for folder in zones)


def _natural(text: str) -> tuple[tuple[int, str], ...]:
    """Return a sort key that puts ``nvme2`` before ``nvme10``."""
    return tuple((int(part), '') if part.isdigit() else (-1, part)
                 for part in _DIGITS.split(text))
