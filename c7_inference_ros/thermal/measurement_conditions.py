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

"""What a latency figure is stored with: records, in words and for JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from typing import Mapping

from c7_inference_ros.thermal.state import ZoneReading

#: Names of settings and clocks in words.
_WORDS = {'cpu': 'clock', 'cpu_governor': 'governor', 'cpu_driver': 'driver',
          'cpu_energy_preference': 'energy preference', 'cpu_turbo': 'turbo',
          'cpu_online': 'CPUs', 'cpu_smt': 'SMT', 'cpu_max': 'highest clock',
          'gpu': 'GPU clock', 'gpu_max': 'highest GPU clock', 'emc': 'memory clock',
          'throttled': 'whether it throttled'}
#: Mean over processors and the number of a mode say nothing that the rest does not.
_LEFT_OUT = ('cpu_mean', 'power_mode_id')


@dataclass(frozen=True)
class ClockRange:
    """
    Lowest and highest value of one clock during a measurement.

    :param low_mhz: megahertz.
    :param high_mhz: megahertz.
    """

    low_mhz: float
    high_mhz: float


@dataclass(frozen=True)
class PartConditions:
    """
    Conditions of the processors of the machine, or of one device that shows its heat.

    :param name: ``cpu``, ``jetson``, ``host``, ``gpu0`` …
    :param model: what the device calls itself, empty when it does not.
    :param settings: name to value; one that changed meanwhile has them all, by arrows.
    :param clocks_mhz: by name; those that end with ``_max`` are what was allowed.
    :param hottest: warmest reading of the whole measurement.
    :param throttled: whether heat slowed it at any time; None when that is not known.
    :param reasons: of throttling, one sentence each.
    :param warnings: of what slowed or endangered it without being heat.
    :param over_current_events: counter name to events during the measurement.
    :param unknown: what is not known, by name, and why.
    """

    name: str
    model: str
    settings: Mapping[str, str]
    clocks_mhz: Mapping[str, ClockRange]
    hottest: ZoneReading | None
    throttled: bool | None
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    over_current_events: Mapping[str, int]
    unknown: Mapping[str, str]


@dataclass(frozen=True)
class MeasurementConditions:
    """
    What a latency figure has to be stored with.

    :param cpu: the processors of the machine; their heat is told by a device.
    :param devices: every device that shows its heat.
    :param states: number of looks at the devices.
    :param duration_s: from the first look to the last, seconds.
    """

    cpu: PartConditions
    devices: tuple[PartConditions, ...]
    states: int
    duration_s: float

    @property
    def throttled(self) -> bool | None:
        """Whether heat slowed any device during the measurement; None when it is not known."""
        found = [device.throttled for device in self.devices]
        return True if True in found else None if None in found or not found else False

    def lines(self) -> tuple[str, ...]:
        """Return one line for the processors and one for each device, for people."""
        return _lines(self)

    def one_line(self) -> str:
        """Return everything in one line, for people."""
        return '; '.join(self.lines())

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON; what is unknown is named under ``unknown``."""
        return {'throttled': self.throttled, 'states': self.states,
                'duration_s': round(self.duration_s, 3), 'cpu': _part_dict(self.cpu),
                'devices': {device.name: _part_dict(device) for device in self.devices}}


def _lines(conditions: MeasurementConditions) -> tuple[str, ...]:
    """Return a line for the processors and one for each device; unknown is said."""
    lines = [f'CPU: {", ".join(_readings(conditions.cpu))}']
    for device in conditions.devices:
        model = f' ({device.model})' if device.model else ''
        lines.append(f'{device.name}{model}: {", ".join([*_readings(device), *_heat(device)])}')
    if not conditions.devices:
        lines.append('temperature and throttling: unknown, nothing was polled')
    return tuple(lines)


def _readings(part: PartConditions) -> list[str]:
    found = [f'{_word(name)} {value}' for name, value in part.settings.items()
             if name not in _LEFT_OUT]
    found += [_clock(name, part.clocks_mhz) for name in part.clocks_mhz
              if name not in _LEFT_OUT and not (
                  name.endswith('_max') and name[:-len('_max')] in part.clocks_mhz)]
    unknown = [_word(name) for name in part.unknown]
    if unknown:
        found.append(f'unknown: {" and ".join(unknown)}')
    return found


def _heat(part: PartConditions) -> list[str]:
    found = []
    if part.hottest is not None:
        found.append(f'hottest {part.hottest.name} {part.hottest.temperature_c:.1f} C')
    if part.throttled is not None:
        found.append(f'THROTTLED by heat: {part.reasons[0]}' if part.throttled else
                     'not throttled by heat')
    events = {name: count for name, count in part.over_current_events.items() if count}
    if events:
        found.append('over-current events: ' + ' and '.join(
            f'{name} {count}' for name, count in events.items()))
    elif part.over_current_events:
        found.append('no over-current event')
    return found + list(part.warnings)


def _clock(name: str, clocks: Mapping[str, ClockRange]) -> str:
    clock = clocks[name]
    text = f'{clock.low_mhz:.0f}'
    if round(clock.high_mhz) != round(clock.low_mhz):
        text += f' to {clock.high_mhz:.0f}'
    most = clocks.get(f'{name}_max')
    if most is not None:
        # The lowest limit: what was allowed all the time.
        text += f' of {most.low_mhz:.0f}'
        if round(most.high_mhz) != round(most.low_mhz):
            text += f' (at times {most.high_mhz:.0f})'
    return f'{_word(name)} {text} MHz'


def _word(name: str) -> str:
    return _WORDS.get(name, name.replace('_', ' '))


def _part_dict(part: PartConditions) -> dict[str, Any]:
    found: dict[str, Any] = {
        'settings': dict(part.settings),
        'clocks_mhz': {name: {'min': round(clock.low_mhz, 1), 'max': round(clock.high_mhz, 1)}
                       for name, clock in part.clocks_mhz.items()},
        'unknown': dict(part.unknown)}
    if part.name != 'cpu':
        hottest = part.hottest
        found.update({
            'model': part.model, 'throttled': part.throttled,
            'throttle_reasons': list(part.reasons), 'warnings': list(part.warnings),
            'over_current_events': dict(part.over_current_events),
            'hottest': None if hottest is None else {
                'zone': hottest.name, 'celsius': hottest.temperature_c}})
    return found
