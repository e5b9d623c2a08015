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

"""Whether a replay is slower than another, and whether the two can be compared at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import platform
from typing import Any
from typing import Iterator
from typing import Mapping

from c7_inference_ros.tools.replaying.confidence import LEAST_FRAMES
from c7_inference_ros.tools.replaying.pacing import REAL_TIME

#: Stages that a model or this package can make slower; the others are times of waiting in a mode
#: that does not wait as the vehicle does.
STAGES = ('convert', 'preprocess', 'inference', 'decode', 'processing')
WAITING_STAGES = ('wait', 'age')
#: What is no difference to anybody, milliseconds, whatever its ratio.
LEAST_DIFFERENCE_MS = 0.1
#: Largest ratio of clocks that are the same.
_SAME_CLOCK = 1.01


@dataclass(frozen=True)
class StageComparison:
    """
    One stage of one model in both replays; milliseconds.

    :param verdict: ``slower``, ``not slower`` or ``too few frames``.
    """

    model: str
    stage: str
    before: float
    before_range: tuple[float | None, float | None]
    after: float
    after_range: tuple[float | None, float | None]
    verdict: str

    @property
    def ratio(self) -> float | None:
        """The 95th percentile to that of the baseline."""
        return self.after / self.before if self.before > 0.0 else None

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return {'model': self.model, 'stage': self.stage, 'p95_before': self.before,
                'p95_before_range': list(self.before_range), 'p95_after': self.after,
                'p95_after_range': list(self.after_range),
                'ratio': None if self.ratio is None else round(self.ratio, 4),
                'verdict': self.verdict}

    def text(self) -> str:
        """Return it for people."""
        ratio = '' if self.ratio is None else f', ratio {self.ratio:.2f}'
        return (f'{self.before:.2f} ms {_range(self.before_range)} before, {self.after:.2f} ms '
                f'{_range(self.after_range)} now{ratio}')


def machine_facts() -> dict[str, Any]:
    """Return what tells one kind of machine from another."""
    return {'processor': _processor(), 'architecture': platform.machine()}


def compare_stages(before: Mapping[str, Any], after: Mapping[str, Any],
                   most: float) -> Iterator[StageComparison]:
    """
    Compare the 95th percentiles of two reports.

    A stage is slower when it is beyond doubt: when the lower end of its range is above what the
    upper end of the baseline's allows.

    :param most: largest allowed ratio.
    """
    names = STAGES + (WAITING_STAGES if after['mode'] == REAL_TIME else ())
    for model, stages in after['stages_ms'].items():
        for stage in names:
            now, then = stages.get(stage), before['stages_ms'].get(model, {}).get(stage)
            if now is None or then is None:
                continue
            ranges = [tuple(one.get('p95_range') or (None, None)) for one in (then, now)]
            high, low = ranges[0][1], ranges[1][0]
            if high is None or low is None:
                verdict = 'too few frames'
            elif low > max(high * most, high + LEAST_DIFFERENCE_MS):
                verdict = 'slower'
            else:
                verdict = 'not slower'
            yield StageComparison(model, stage, then['p95'], ranges[0], now['p95'], ranges[1],
                                  verdict)


def few_frames_text(rows: list[StageComparison]) -> str:
    """Return why stages were not compared; empty when all were."""
    few = [f'{one.model} {one.stage}' for one in rows if one.verdict == 'too few frames']
    return few and (f'latency of {", ".join(few)}: so few frames do not tell a 95th percentile; '
                    f'both replays need {LEAST_FRAMES} at least, and more where durations that '
                    f'follow each other are alike') or ''


def other_conditions(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """
    Return why the latencies of two reports cannot be compared, one phrase each.

    :param before: the report of the baseline.
    :param after: the report of this replay.
    """
    reasons = []
    old, new = before.get('machine') or {}, after['machine']
    reasons += [f'{name} {old.get(name, "unknown")!r} before, {new[name]!r} now'
                for name in new if old.get(name) != new[name]]
    parts = [_parts(one['conditions']) for one in (before, after)]
    for name in dict.fromkeys((*parts[0], *parts[1])):
        if name not in parts[0] or name not in parts[1]:
            reasons.append(f'{name} only {"before" if name in parts[0] else "now"}')
            continue
        reasons += _differences(name, parts[0][name], parts[1][name])
    for when, report in (('before', before), ('now', after)):
        if report['conditions'].get('throttled'):
            reasons.append(f'slowed by heat {when}')
        load = report.get('other_load') or {}
        reasons += [f'{when} {sentence}' for sentence in load.get('warnings', ())]
    return reasons


def condition_lines(conditions: Mapping[str, Any]) -> Iterator[str]:
    """Yield the conditions of a stored report for people, one line a part of the machine."""
    for name, part in _parts(conditions).items():
        words = [part.get('model') or '', *(
            f'{key} {value}' for key, value in part.get('settings', {}).items()), *(
            f'{key} {clock["min"]:g}-{clock["max"]:g} MHz'
            for key, clock in part.get('clocks_mhz', {}).items())]
        if part.get('hottest'):
            words.append(f'{part["hottest"]["celsius"]:g} C at most')
        if part.get('throttled'):
            words.append('slowed by heat')
        unknown = ', '.join(part.get('unknown', {}))
        words.append(f'not known: {unknown}' if unknown else '')
        yield f'{name}: {", ".join(filter(None, words)) or "nothing is known"}'


def _differences(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    if old.get('model', '') != new.get('model', ''):
        yield f'{name} {old.get("model", "")!r} before, {new.get("model", "")!r} now'
    settings = old.get('settings', {}), new.get('settings', {})
    for key in dict.fromkeys((*settings[0], *settings[1])):
        values = [one.get(key, 'unknown') for one in settings]
        if values[0] != values[1]:
            yield f'{name} {key} {values[0]} before, {values[1]} now'
        elif ' -> ' in values[0]:
            yield f'{name} {key} changed meanwhile ({values[0]})'
    clocks = old.get('clocks_mhz', {}), new.get('clocks_mhz', {})
    for key in sorted(set(clocks[0]) & set(clocks[1])):
        low, high = sorted(one[key]['max'] for one in clocks)
        if key.endswith('_max') and high > low * _SAME_CLOCK:
            yield (f'{name} {key} {clocks[0][key]["max"]:g} MHz before, '
                   f'{clocks[1][key]["max"]:g} MHz now')


def _parts(conditions: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {'cpu': conditions.get('cpu', {}), **conditions.get('devices', {})}


def _processor() -> str:
    for path, words in (('/proc/device-tree/model', ()),
                        ('/proc/cpuinfo', ('model name', 'Model'))):
        try:
            text = Path(path).read_text(encoding='utf-8', errors='replace')
        except OSError:
            continue
        if not words:
            return text.strip('\0\n ')
        for line in text.splitlines():
            key, _, value = line.partition(':')
            if key.strip() in words:
                return value.strip()
    return platform.processor()


def _range(ends: tuple[float | None, float | None]) -> str:
    low, high = ('?' if end is None else f'{end:.2f}' for end in ends)
    return f'({low} to {high})'
