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

"""Signs on Linux that the processor is being slowed down by heat."""

from __future__ import annotations

import re
from typing import Mapping
from typing import NamedTuple

from c7_inference_ros.thermal.state import Reading
from c7_inference_ros.thermal.sysfs import SysfsReader
from c7_inference_ros.thermal.sysfs import UniqueNames
from c7_inference_ros.thermal.zones import read_zones
from c7_inference_ros.thermal.zones import SlowsProcessor
from c7_inference_ros.thermal.zones import trip_reasons
from c7_inference_ros.thermal.zones import ZoneRules

COOLING = 'class/thermal'
CPUS = 'devices/system/cpu'
COUNTERS = ('core_throttle_count', 'package_throttle_count')
#: Longest pause after which counters still tell something about now. Slowest poll is 10 s.
MAX_COUNTER_GAP_NS = 30_000_000_000

# What cpufreq, devfreq, idle injection and ACPI call their cooling devices. Fans, backlights and
# radios cool too, but do not slow a processor; a TCC offset is a setting, not an event.
_SLOWING = re.compile(r'Processor|intel_powerclamp|(thermal-)?(cpufreq|devfreq|idle)-.*')

#: (counter name, CPU name) to its count since boot.
Counts = Mapping[tuple[str, str], int]


def slows_processor(kind: str | None) -> bool:
    """Return whether a cooling device of this type works by slowing a processor."""
    return kind is not None and _SLOWING.fullmatch(kind) is not None


class Cooling(NamedTuple):
    """
    What the cooling devices that slow a processor do now.

    :param flags: by type of cooling device, True while one of that type is active.
    :param reasons: one sentence for each active type.
    """

    flags: dict[str, Reading[bool]]
    reasons: list[str]


def cooling_flags(sysfs: SysfsReader, slows: SlowsProcessor = slows_processor) -> Cooling:
    """
    Return what the cooling devices that slow a processor do now.

    A state is only ever what the thermal framework asked for last: a power mode, a governor and a
    user's limit act on the frequency range instead and leave it at 0. What holds a clock down
    after the heat is gone is still told, since the machine is still slow.

    :param slows: tells them by their type.
    """
    states: dict[str, list[tuple[int, str]]] = {}
    for folder, kind in sysfs.derived('slowing', lambda: _slowing_devices(sysfs, slows)):
        state = sysfs.integer(f'{folder}/cur_state', required=True)
        if state is not None:
            states.setdefault(kind, []).append((state, folder))
    flags, reasons = {}, []
    for kind, devices in states.items():
        state, folder = max(devices, key=lambda item: item[0])
        flags[kind] = Reading(state > 0, f'{folder}/cur_state')
        if state > 0:
            most = sysfs.integer(f'{folder}/max_state', constant=True)
            of_most = '' if most is None else f' of {most}'
            active = sum(state > 0 for state, _ in devices)
            reasons.append(
                f'cooling device {kind} is at state {state}{of_most} ({active} active)')
    return Cooling(flags, reasons)


def throttle_counts(sysfs: SysfsReader) -> dict[tuple[str, str], int]:
    """Return the thermal throttle counters of every CPU that has them."""
    counts = {}
    faults_before = len(sysfs.faults)
    for cpu in sysfs.numbered(CPUS, 'cpu'):
        for counter in COUNTERS:
            value = sysfs.integer(f'{CPUS}/{cpu}/thermal_throttle/{counter}')
            if value is not None:
                counts[counter, cpu] = value
    sysfs.summarise_faults(faults_before)
    return counts


def throttling_signs(sysfs: SysfsReader, rules: ZoneRules) -> frozenset[str]:
    """Return the zones at a trip point that slows, and the cooling devices that do, by name."""
    hot = trip_reasons(read_zones(sysfs, UniqueNames(), rules, known_modes=True))
    cooling = cooling_flags(sysfs, rules.slows)
    return frozenset([*(reason.partition(' is at ')[0] for reason in hot),
                      *(name for name, flag in cooling.flags.items() if flag.value)])


class CounterDeltas:
    """Turns counters that run since boot into what happened since the last poll."""

    def __init__(self) -> None:
        """Start without a baseline: the first poll only sets one."""
        self._last: Counts = {}
        self._last_ns: int | None = None

    def update(self, counts: Counts, now_ns: int) -> list[str]:
        """
        Return one sentence per counter that rose since the last poll.

        A counter that jumps back was reset by a reboot or wrapped: it starts anew. After a pause
        of more than 30 s everything starts anew, since the rise may be long past.

        :param counts: the counters now.
        :param now_ns: the monotonic clock now, nanoseconds.
        """
        last = self._last
        if self._last_ns is None or now_ns - self._last_ns > MAX_COUNTER_GAP_NS:
            last = {}
        # A counter that cannot be read this time keeps its baseline for the next.
        self._last = {**last, **counts}
        self._last_ns = now_ns
        rises: dict[str, list[int]] = {}
        for (counter, cpu), value in counts.items():
            rise = value - last.get((counter, cpu), value)
            if rise > 0:
                rises.setdefault(counter, []).append(rise)
        return [f'{counter} rose by {max(found)} on {len(found)} CPUs since the last poll'
                for counter, found in rises.items()]


def _slowing_devices(sysfs: SysfsReader, slows: SlowsProcessor) -> list[tuple[str, str]]:
    """Return (folder, type) of the cooling devices that slow a processor."""
    found = []
    for device in sysfs.numbered(COOLING, 'cooling_device', constant=True):
        folder = f'{COOLING}/{device}'
        kind = sysfs.label(f'{folder}/type')
        if kind is not None and slows(kind):
            found.append((folder, kind))
    return found
