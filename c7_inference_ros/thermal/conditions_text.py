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

"""Measurement conditions in words, one line for the processors and one for each device."""

from __future__ import annotations

from typing import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from c7_inference_ros.thermal.conditions import ClockRange
    from c7_inference_ros.thermal.conditions import MeasurementConditions
    from c7_inference_ros.thermal.conditions import PartConditions

#: Names of settings and clocks in words.
_WORDS = {'cpu': 'clock', 'cpu_governor': 'governor', 'cpu_driver': 'driver',
          'cpu_energy_preference': 'energy preference', 'cpu_turbo': 'turbo',
          'cpu_online': 'CPUs', 'cpu_smt': 'SMT', 'cpu_max': 'highest clock',
          'gpu': 'GPU clock', 'gpu_max': 'highest GPU clock', 'emc': 'memory clock',
          'throttled': 'whether it throttled'}
#: Mean over processors and the number of a mode say nothing that the rest does not.
_LEFT_OUT = ('cpu_mean', 'power_mode_id')


def condition_lines(conditions: MeasurementConditions) -> tuple[str, ...]:
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
