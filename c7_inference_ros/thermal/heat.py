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

"""Whether a machine is too hot for its load: its thermal state against its own limits."""

from __future__ import annotations

from enum import Enum
from typing import Iterable
from typing import NamedTuple

from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.thermal.state import ZoneReading

#: A zone that was not cool when it could last be read keeps the machine from being called cool
#: for this long. Not for ever: a block that is switched off takes its sensor with it.
ZONE_MEMORY_NS = 60_000_000_000


class Heat(str, Enum):
    """What the heat of the machine says about its load."""

    #: Everything was measured, nothing throttles, every zone is well below its limit.
    COOL = 'cool'
    #: Between the two margins: neither more load nor less.
    WARM = 'warm'
    #: Something throttles because of heat, or is about to.
    HOT = 'hot'
    #: Nothing is known to be hot, and not everything is known.
    UNKNOWN = 'unknown'


class Verdict(NamedTuple):
    """
    What a thermal state means.

    :param heat: the verdict.
    :param reason: one sentence with the device, the zone, its temperature, limit and margin.
    """

    heat: Heat
    reason: str


class _Zone(NamedTuple):
    """A zone with a limit, and how far below it the zone is; negative above."""

    device: str
    zone: ZoneReading
    limit_c: float

    @property
    def margin_k(self) -> float:
        return self.limit_c - self.zone.temperature_c

    def compared(self, relation: str, margin_k: float, word: str) -> str:
        return (f'{self.device} zone {self.zone.name} is at {self.zone.temperature_c:.1f} C,'
                f' {relation} {self.limit_c - margin_k:.1f} C: it slows the machine at'
                f' {self.limit_c:.1f} C, and the {word} margin is {margin_k:g} K')


def judge(state: ThermalState, shed_margin_k: float, recover_margin_k: float) -> Verdict:
    """
    Judge one thermal state by itself.

    Heat anywhere counts, whatever else is unknown; for the machine to be cool every device must
    have been measured. A device whose zones name no limit at which it is slowed is judged by
    whether it throttles alone.

    :param shed_margin_k: a zone this close to its limit is hot, kelvin.
    :param recover_margin_k: a zone further than this from its limit is cool, kelvin.
    """
    zones = _limited(state.devices)
    closest = min(zones, key=lambda found: found.margin_k, default=None)
    for device in state.devices:
        if device.is_throttling:
            return Verdict(Heat.HOT, _throttles(device))
    if closest is not None and closest.margin_k <= shed_margin_k:
        return Verdict(Heat.HOT, closest.compared('at or above', shed_margin_k, 'shed'))
    for device in state.devices:
        if not device.is_telemetry_available:
            return Verdict(Heat.UNKNOWN, f'{device.name} has no telemetry'
                           + (f': {device.faults[0]}' if device.faults else ''))
        if not device.zones and not device.throttle_flags:
            return Verdict(Heat.UNKNOWN, f'{device.name} shows neither a temperature nor a sign of'
                           ' throttling')
    if closest is None:
        names = ', '.join(device.name for device in state.devices)
        return Verdict(Heat.COOL, f'nothing throttles on {names}; no zone names a temperature at'
                       ' which it slows the machine')
    if closest.margin_k <= recover_margin_k:
        return Verdict(Heat.WARM, closest.compared('not below', recover_margin_k, 'recover'))
    return Verdict(Heat.COOL, closest.compared('below', recover_margin_k, 'recover'))


class HeatWatch:
    """
    Judges one state after the other, and remembers what can no longer be read.

    A hot zone whose sensor fails must not look like a machine that has cooled: what :func:`judge`
    calls cool is unknown while a zone is missing that was not cool when it was last read, or whose
    device has throttled since, for up to a minute; while a sign of throttling is missing that was
    set, for as long; and while every zone of a device is missing that ever named a limit.
    """

    def __init__(self) -> None:
        """Begin with no state."""
        #: By (device, zone): when it was last read, and whether it was cool then.
        self._seen: dict[tuple[str, str], tuple[int, bool]] = {}
        #: By (device, flag): when it was last read, and whether it told of heat then.
        self._flags: dict[tuple[str, str], tuple[int, bool]] = {}

    def judge(self, state: ThermalState, shed_margin_k: float,
              recover_margin_k: float) -> Verdict:
        """Judge a state; parameters as those of :func:`judge`."""
        verdict = judge(state, shed_margin_k, recover_margin_k)
        now_ns = state.measured_at_ns
        present: dict[str, set[str]] = {}
        for device, zone, limit_c in _limited(state.devices):
            is_cool = limit_c - zone.temperature_c > recover_margin_k
            self._seen[device, zone.name] = (now_ns, is_cool)
            present.setdefault(device, set()).add(zone.name)
        flags = {(device.name, flag): (now_ns, reading.value and device.is_throttling)
                 for device in state.devices for flag, reading in device.throttle_flags.items()}
        self._flags.update(flags)
        throttling = {device.name for device in state.devices if device.is_throttling}
        for (name, zone_name), (seen_ns, _) in self._seen.items():
            if (name in throttling and zone_name not in present.get(name, ())
                    and now_ns - seen_ns <= ZONE_MEMORY_NS):
                self._seen[name, zone_name] = (now_ns, False)
        if verdict.heat is not Heat.COOL:
            return verdict
        for (name, zone_name), (seen_ns, was_cool) in self._seen.items():
            readable = present.get(name, set())
            if not readable:
                return Verdict(Heat.UNKNOWN, f'{name} shows no zone with a limit any more, for'
                               f' example {zone_name}')
            if zone_name not in readable and not was_cool and (
                    now_ns - seen_ns <= ZONE_MEMORY_NS):
                return Verdict(Heat.UNKNOWN, f'{name} zone {zone_name} cannot be read, and was not'
                               f' cool {(now_ns - seen_ns) / 1e9:.0f} s ago')
        for (name, flag), (seen_ns, was_set) in self._flags.items():
            if was_set and (name, flag) not in flags and now_ns - seen_ns <= ZONE_MEMORY_NS:
                return Verdict(Heat.UNKNOWN, f'{name} throttle flag {flag} cannot be read, and was'
                               f' set {(now_ns - seen_ns) / 1e9:.0f} s ago')
        return verdict


def _limited(devices: Iterable[DeviceState]) -> list[_Zone]:
    return [_Zone(device.name, zone, zone.throttle_c) for device in devices
            for zone in device.zones if zone.throttle_c is not None]


def _throttles(device: DeviceState) -> str:
    text = f'{device.name} throttles: {device.throttle_reasons[0]}'
    closest = min(_limited([device]), key=lambda found: found.margin_k, default=None)
    if closest is not None and f'{closest.zone.name} is at ' not in device.throttle_reasons[0]:
        text += (f'; its zone {closest.zone.name} is at {closest.zone.temperature_c:.1f} C of'
                 f' {closest.limit_c:.1f} C')
    return text
