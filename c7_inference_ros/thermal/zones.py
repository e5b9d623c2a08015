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

"""Thermal zones of the kernel: temperatures, and the trip points at which it reacts to them."""

from __future__ import annotations

from functools import partial
import re
from typing import Callable
from typing import Iterator
from typing import NamedTuple

from c7_inference_ros.thermal.celsius import read_limit
from c7_inference_ros.thermal.celsius import read_temperature
from c7_inference_ros.thermal.state import ZoneReading
from c7_inference_ros.thermal.sysfs import OFF_ERRNOS
from c7_inference_ros.thermal.sysfs import SysfsReader
from c7_inference_ros.thermal.sysfs import UniqueNames

THERMAL = 'class/thermal'
#: Its passive trips are thresholds that any program may set to be notified; nothing slows down.
NOTIFICATION_ONLY_ZONES = frozenset({'x86_pkg_temp'})
#: Tells of the type of a cooling device whether it works by slowing a processor.
SlowsProcessor = Callable[['str | None'], bool]

#: Tells of the type of a zone whether it belongs to a block that may be switched off.
MayBeOff = Callable[[str], bool]

_TRIP = re.compile(r'trip_point_([0-9]+)_type')
_BINDING = re.compile(r'cdev[0-9]+')


class ZoneRules(NamedTuple):
    """
    What one kind of machine's zones mean.

    :param slows: which cooling devices make a trip point one that slows the machine.
    :param may_be_off: zones that give no temperature, which is no fault, while their block is off.
    :param unbound: which passive trip slows the machine where a zone does not show what its trips
        are bound to: takes the limits in degrees Celsius.
    :param ignored: types of zones that measure nothing.
    """

    slows: SlowsProcessor
    may_be_off: MayBeOff = lambda kind: False
    unbound: Callable[[list[float]], float] = min
    ignored: frozenset[str] = frozenset()


class _Trips(NamedTuple):
    """Lowest limits of one zone in degrees Celsius; ``slows_c`` is where throttling starts."""

    warn_c: float | None
    slows_c: float | None
    critical_c: float | None


def zone_folders(sysfs: SysfsReader) -> tuple[str, ...]:
    """Return the folders of the zones below the root, in the order of their numbers."""
    return sysfs.derived('zones', lambda: tuple(
        f'{THERMAL}/{zone}' for zone in sysfs.numbered(THERMAL, 'thermal_zone', constant=True)))


def has_zones(sysfs: SysfsReader) -> bool:
    """Return whether any zone has a temperature, readable or not."""
    return any('temp' in sysfs.names(folder) for folder in zone_folders(sysfs))


def zone_types(sysfs: SysfsReader) -> tuple[str, ...]:
    """Return the types of the zones, or their folders' names, in the order of their numbers."""
    return tuple(sysfs.label(f'{folder}/type') or folder.rpartition('/')[2]
                 for folder in zone_folders(sysfs))


def read_zones(sysfs: SysfsReader, names: UniqueNames, rules: ZoneRules, *,
               known_modes: bool = False) -> list[ZoneReading]:
    """
    Return the zones that can be read, by type and not by number: numbers change.

    :param known_modes: take from the cache which zones are switched on.
    """
    readings = []
    for folder, kind, name in _named_zones(sysfs, names, rules, known_modes):
        temperature = read_temperature(sysfs, f'{folder}/temp', name,
                                       OFF_ERRNOS if rules.may_be_off(kind) else frozenset())
        if temperature is not None:
            trips = sysfs.derived(f'{folder} trips', partial(_trips, sysfs, folder, kind, rules))
            readings.append(ZoneReading(name, temperature, folder, trips.warn_c,
                                        trips.critical_c, trips.slows_c))
    return readings


def trip_reasons(zones: list[ZoneReading]) -> list[str]:
    """Return one sentence for each zone at a trip point that slows or stops the machine."""
    reasons = []
    for zone in zones:
        for word, limit in (('critical', zone.critical_c), ('passive', zone.throttle_c)):
            if limit is not None and zone.temperature_c >= limit:
                reasons.append(f'{zone.name} is at {zone.temperature_c:.1f} C, at or above its'
                               f' {word} trip of {limit:.1f} C')
                break
    return reasons


def _named_zones(sysfs: SysfsReader, names: UniqueNames, rules: ZoneRules,
                 known_modes: bool) -> Iterator[tuple[str, str, str]]:
    """Yield (folder, type, unique name) of every zone that is switched on."""
    for folder, kind in zip(zone_folders(sysfs), zone_types(sysfs)):
        if kind in rules.ignored:
            continue
        name = names.take(kind)  # before reading, so that a failing zone does not rename others
        if sysfs.text(f'{folder}/mode', constant=known_modes) != 'disabled':
            yield folder, kind, name
        elif not rules.may_be_off(kind):
            sysfs.faults.append(f'{folder} ({name}) is disabled; write "enabled" to its mode')


def _trips(sysfs: SysfsReader, folder: str, kind: str, rules: ZoneRules) -> _Trips:
    """Return the limits of a zone; a trip that is off (zero, absolute zero) is not a limit."""
    entries = sysfs.names(folder, constant=True)
    limits: dict[str, list[tuple[int, float]]] = {'passive': [], 'hot': [], 'critical': []}
    for index in sorted(int(match[1]) for match in map(_TRIP.fullmatch, entries) if match):
        word = sysfs.text(f'{folder}/trip_point_{index}_type', constant=True)
        if word not in limits or (word == 'passive' and kind in NOTIFICATION_ONLY_ZONES):
            continue
        limit = read_limit(sysfs, f'{folder}/trip_point_{index}_temp')
        if limit is not None:
            limits[word].append((index, limit))
    passive = [limit for _, limit in limits['passive']]
    if passive:
        slowing = _slowing_trips(sysfs, folder, entries, rules.slows)
        passive = [rules.unbound(passive)] if slowing is None else [
            limit for index, limit in limits['passive'] if index in slowing]
    hot = [limit for _, limit in limits['hot']]
    critical = [limit for _, limit in limits['critical']]
    return _Trips(min(passive + hot, default=None), min(passive, default=None),
                  min(critical, default=None))


def _slowing_trips(sysfs: SysfsReader, folder: str, entries: tuple[str, ...],
                   slows: SlowsProcessor) -> set[int] | None:
    """Return the trips that slow a processor, None when the zone shows no bindings at all."""
    bindings = [entry for entry in entries if _BINDING.fullmatch(entry)]
    if not bindings:
        return None
    slowing = set()
    for binding in bindings:
        index = sysfs.integer(f'{folder}/{binding}_trip_point', constant=True)
        if index is not None and slows(sysfs.label(f'{folder}/{binding}/type')):
            slowing.add(index)
    return slowing
