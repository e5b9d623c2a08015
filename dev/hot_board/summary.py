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

"""What two runs prove: figures, the bound that is derived and not measured, and the checks."""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass
from typing import Any

from c7_inference_ros.config import NodeConfig
from c7_inference_ros.pipeline.accounting import DropReason
from c7_inference_ros.pipeline.shedding import ladder
from hot_board.board import BoardModel
from hot_board.board import Weather
from hot_board.simulation import CAMERA_HZ
from hot_board.simulation import configuration
from hot_board.simulation import POLL_NS
from hot_board.simulation import SECOND_NS
from hot_board.simulation import SERVICE_S
from hot_board.simulation import Trace
import numpy as np

#: With ``observe`` the worst age is at least this many times the bound that holds with ``shed``.
CONTRAST = 5.0


@dataclass(frozen=True)
class Figures:
    """What one run came to; ages in seconds of published results."""

    policy: str
    age_p50_s: float
    age_p99_s: float
    age_worst_s: float
    published: dict[str, int]
    dropped: dict[str, int]
    hottest_c: float
    throttled_s: float
    largest_slowdown: float
    deepest_level: int
    last_level: int
    steps: int
    direction_changes: int
    shortest_between_steps_s: float | None


@dataclass(frozen=True)
class Bound:
    """
    How old a detection can be when it is published while load is shed, from the constants alone.

    A frame waits for at most one other frame, so its age is at most twice the time that a frame
    takes; and a frame takes its full-speed time as long as the die stays below its passive trip.
    It does if, from ``shed_margin`` below the trip, at full load in the hottest air, it rises by
    less than ``shed_margin`` until the whole ladder has been gone down; if a step back up lifts
    the die by less than the gap between the margins; and if it is cool enough when idle.

    :param age_s: the bound.
    :param rise_k: how far the die rises while the ladder is gone down, at most.
    :param jump_k: how far a step back up lifts the die within seconds, at most.
    :param idle_c: where the die settles with intake paused in the hottest air.
    :param is_unthrottled: whether the three conditions hold.
    """

    age_s: float
    rise_k: float
    jump_k: float
    idle_c: float
    is_unthrottled: bool


def figures(trace: Trace, model: BoardModel) -> Figures:
    """Return the figures of one run."""
    ages = np.array([age for _, _, age in trace.ages])
    moments = [at for at, *_ in trace.steps]
    directions = [after > before for _, before, after, _ in trace.steps]
    states = [state for _, _, _, state, _ in trace.samples]
    levels = [level for *_, level in trace.samples]
    dropped = {reason.value: sum(account.dropped[reason] for account in trace.accounts.values())
               for reason in DropReason}
    return Figures(
        trace.policy, *(float(value) for value in np.percentile(ages, (50, 99, 100))),
        {model_name: account.published for (_, model_name), account in trace.accounts.items()},
        {reason: count for reason, count in dropped.items() if count},
        max(die for _, _, die, _, _ in trace.samples),
        sum(state > 0 for state in states) * POLL_NS / SECOND_NS, model.slowdown(max(states)),
        max(levels), levels[-1], len(trace.steps),
        sum(a is not b for a, b in zip(directions, directions[1:])),
        min((b - a for a, b in zip(moments, moments[1:])), default=None))


def age_bound(model: BoardModel, weather: Weather, config: NodeConfig) -> Bound:
    """Return the bound that holds with ``shed``."""
    thermal, service_s = config.thermal, sum(SERVICE_S.values())
    busy = min(CAMERA_HZ * service_s, 1.0)
    ladder_s = POLL_NS / SECOND_NS + thermal.dwell * ladder(config)[-1].level
    begin_c = model.trip_c - thermal.shed_margin
    rise_k = model.most_rise_k(begin_c, weather.hot_c, busy, ladder_s)
    jump_k = model.die_k_per_w * (model.power_w(busy, 0) - model.power_w(0.0, 0))
    idle_c = model.steady_c(weather.hot_c, 0.0)
    is_unthrottled = (rise_k < thermal.shed_margin and idle_c < begin_c
                      and jump_k < thermal.recover_margin - thermal.shed_margin)
    slowdown = model.slowdown(0 if is_unthrottled else model.states)
    return Bound(2.0 * service_s * slowdown, rise_k, jump_k, idle_c, is_unthrottled)


def checks(observe: Trace, shed: Trace, model: BoardModel, weather: Weather) -> dict[str, bool]:
    """Return whether each claim holds, by the claim."""
    config = configuration('shed')
    bound = age_bound(model, weather, config)
    watched, acted = figures(observe, model), figures(shed, model)
    between = acted.shortest_between_steps_s
    return {
        f'with shed the age at publish is at most {bound.age_s * 1e3:.0f} ms, as derived':
            bound.is_unthrottled and acted.age_worst_s <= bound.age_s,
        'with shed the board never throttles': acted.largest_slowdown == 1.0,
        f'with observe the age at publish grows past {CONTRAST:g} times that':
            watched.age_worst_s > CONTRAST * bound.age_s,
        'with observe nothing is shed': watched.steps == 0 and 'thermal' not in watched.dropped,
        'the ladder is gone down and back up to level 0':
            acted.deepest_level > 0 and acted.last_level == 0,
        'each step is one level, and at least the dwell after the one before':
            all(abs(after - before) == 1 for _, before, after, _ in shed.steps)
            and between is not None and between >= config.thermal.dwell,
        'no flapping: in this weather once down and once back': acted.direction_changes == 1,
        'every frame is accounted for, at every moment': not any(
            trace.unbalanced or any(account.in_flight or account.balance()
                                    for account in trace.accounts.values())
            for trace in (observe, shed))}


def as_dict(observe: Trace, shed: Trace, model: BoardModel, weather: Weather) -> dict[str, Any]:
    """Return everything for machines."""
    return {'observe': asdict(figures(observe, model)), 'shed': asdict(figures(shed, model)),
            'bound': asdict(age_bound(model, weather, configuration('shed'))),
            'checks': checks(observe, shed, model, weather),
            'steps': [{'at_s': at, 'before': before, 'after': after, 'reason': reason}
                      for at, before, after, reason in shed.steps]}


def table(found: dict[str, Any]) -> list[str]:
    """Return the lines for people."""
    rows = [('', 'observe', 'shed')]
    for title, key, form in (
            ('age at publish, median', 'age_p50_s', _milliseconds),
            ('age at publish, 99 %', 'age_p99_s', _milliseconds),
            ('age at publish, worst', 'age_worst_s', _milliseconds),
            ('published', 'published', _counts), ('dropped', 'dropped', _counts),
            ('hottest', 'hottest_c', lambda value: f'{value:.1f} C'),
            ('throttled', 'throttled_s', lambda value: f'{value:.0f} s'),
            ('slowest frame', 'largest_slowdown', lambda value: f'{value:.1f} times'),
            ('steps', 'steps', str), ('direction changes', 'direction_changes', str),
            ('shortest between steps', 'shortest_between_steps_s',
             lambda value: '-' if value is None else f'{value:.0f} s')):
        rows.append((title, form(found['observe'][key]), form(found['shed'][key])))
    wide = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [f'{title:<{wide[0]}}  {left:<{wide[1]}}  {right}'.rstrip()
             for title, left, right in rows]
    lines += [f'{step["at_s"]:6.0f} s  level {step["before"]} to {step["after"]}:'
              f' {step["reason"]}' for step in found['steps']]
    return lines + [f'{"holds" if holds else "FAILS"}  {claim}'
                    for claim, holds in found['checks'].items()]


def _milliseconds(seconds: float) -> str:
    return f'{seconds * 1e3:.0f} ms'


def _counts(counts: dict[str, int]) -> str:
    return ', '.join(f'{count} {name}' for name, count in counts.items()) or 'none'
