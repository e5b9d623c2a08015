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

"""The regression gate: a replay against the report of an earlier one."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import json
from pathlib import Path
from typing import Any
from typing import Iterator
from typing import Mapping

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.console import NO
from c7_inference_ros.tools.replaying.frame_changes import compare_lines
from c7_inference_ros.tools.replaying.frame_changes import StreamChanges
from c7_inference_ros.tools.replaying.latency_gate import compare_stages
from c7_inference_ros.tools.replaying.latency_gate import condition_lines
from c7_inference_ros.tools.replaying.latency_gate import few_frames_text
from c7_inference_ros.tools.replaying.latency_gate import other_conditions
from c7_inference_ros.tools.replaying.latency_gate import StageComparison
from c7_inference_ros.tools.replaying.outputs import LINES
from c7_inference_ros.tools.replaying.outputs import MARKER
from c7_inference_ros.tools.replaying.outputs import REPORT
from c7_inference_ros.tools.replaying.pacing import EVERY_FRAME

_KEYS = ('schema', 'bag', 'mode', 'rate', 'parameters', 'models', 'conditions', 'counts',
         'stages_ms', 'evaluation')
_SCHEMA = 1
#: Drops that are nobody's fault when there is too little time, as on the vehicle.
_MATTERS_ALWAYS = ('inference_error', 'publish_error', 'bad_image', 'bad_encoding')
#: Most parameters that are shown with both values.
_MAX_SHOWN = 12


@dataclass(frozen=True)
class Limits:
    """
    What is still no regression.

    :param map_drop: largest loss of mAP50-95.
    :param p95_ratio: largest ratio of the 95th percentiles of a stage.
    :param changed: largest share of frames with other detections, 0..1; None: 0 for a model
        without mAP in both reports, any for one with it.
    :param is_any_machine: compare latencies also of other machines and settings.
    """

    map_drop: float = 0.01
    p95_ratio: float = 1.1
    changed: float | None = None
    is_any_machine: bool = False


@dataclass
class Comparison:
    """
    What the gate found.

    :param regressions: one line each; none when the gate is passed.
    :param not_compared: what could not be compared, and why.
    :param notes: other differences, which are no regression by themselves.
    """

    baseline: Path
    limits: Limits
    regressions: list[str] = field(default_factory=list)
    not_compared: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stages: list[StageComparison] = field(default_factory=list)
    frames: dict[tuple[str, str], StreamChanges] = field(default_factory=dict)
    conditions: dict[str, list[str]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return ``baseline`` of ``report.json``."""
        limits = self.limits
        frames: dict[str, dict[str, Any]] = {}
        for (camera, model), changes in self.frames.items():
            frames.setdefault(camera, {})[model] = changes.as_dict()
        return {
            'report': str(self.baseline),
            'limits': {'max_map_drop': limits.map_drop, 'max_p95_ratio': limits.p95_ratio,
                       'max_changed': limits.changed, 'any_machine': limits.is_any_machine},
            'regressions': self.regressions, 'not_compared': self.not_compared,
            'notes': self.notes, 'conditions': self.conditions,
            'latency': [one.as_dict() for one in self.stages], 'frames': frames}

    def put_into(self, report: dict[str, Any]) -> None:
        """Add it to a report, whose exit code becomes 1 when there is a regression."""
        report['baseline'] = self.as_dict()
        if self.regressions:
            report['exit_code'] = NO

    def lines(self) -> Iterator[str]:
        """Yield everything for people."""
        yield f'compared with {self.baseline}'
        for when, lines in self.conditions.items():
            yield from (f'conditions {when}: {line}' for line in lines)
        yield from (f'different: {line}' for line in self.notes)
        yield from (f'NOT COMPARED: {line}' for line in self.not_compared)
        yield from (f'regression: {line}' for line in self.regressions)
        if not self.regressions:
            yield 'no regression'


class Baseline:
    """
    An earlier replay.

    :param path: its ``report.json``, or the folder of it.
    :raises ConfigurationError: it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        """Read the report."""
        self.path = path / REPORT if path.is_dir() else path
        self.lines_path = self.path.parent / LINES
        self.report = _read(self.path)
        if (self.path.parent / MARKER).exists():
            raise ConfigurationError(f'--baseline {self.path} is of a replay that did not end '
                                     f'({MARKER} lies beside it); make the baseline anew')
        if not self.lines_path.is_file():
            raise ConfigurationError(f'--baseline {self.path} has no {LINES} beside it, which its '
                                     f'replay wrote; keep both in one folder')

    def check(self, bag: Mapping[str, Any], mode: str, rate: float,
              streams: Mapping[str, tuple[str, ...]]) -> None:
        """
        Refuse a baseline of something else, before anything is replayed.

        :param bag: facts of the bag, as in a report.
        :param mode: of this replay.
        :param rate: of this replay, as in a report.
        :param streams: names of the models by camera.
        :raises ConfigurationError: with one line for each difference.
        """
        old = self.report
        was: Mapping[str, Any] = old['bag']
        found = [(f'{name} of the bag', was[name], bag[name]) for name in ('start_ns', 'end_ns')]
        found += [('topics of the bag', _topics(was), _topics(bag)), ('mode', old['mode'], mode),
                  ('cameras', sorted(old['counts']), sorted(streams)),
                  ('models', sorted(old['models']), sorted({
                      model for models in streams.values() for model in models}))]
        if old['mode'] == mode:
            found.append(('rate', old['rate'], rate))
        found += [(f'models of camera {camera}', sorted(old['counts'][camera]), sorted(models))
                  for camera, models in streams.items() if camera in old['counts']]
        problems = [f'--baseline {self.path} is of another replay: {what}: {_shown(before)} '
                    f'there, {_shown(now)} here; compare like with like'
                    for what, before, now in found if before != now]
        if problems:
            raise ConfigurationError(problems)

    def compare(self, report: Mapping[str, Any], lines_path: Path, limits: Limits) -> Comparison:
        """
        Compare a replay that came to its end.

        :param report: of the replay.
        :param lines_path: its ``detections.jsonl``.
        :raises ConfigurationError: the baseline is not whole, or of other images.
        """
        found = Comparison(self.path, limits)
        found.conditions = {'before': list(condition_lines(self.report['conditions'])),
                            'now': list(condition_lines(report['conditions']))}
        found.notes += _other_parameters(self.report, report)
        self._compare_counts(report, found)
        judged = self._compare_accuracy(report, found)
        self._compare_frames(report, lines_path, judged, found)
        self._compare_latency(report, found)
        return found

    def _compare_counts(self, report: Mapping[str, Any], found: Comparison) -> None:
        is_strict = report['mode'] == EVERY_FRAME
        for camera, models in report['counts'].items():
            for model, now in models.items():
                then = self.report['counts'][camera][model]
                where = f'camera {camera}, model {model}'
                if now['received'] != then['received']:
                    found.regressions.append(f'{where}: {now["received"]} images received, '
                                             f'{then["received"]} before')
                for reason, count in now['dropped'].items():
                    before = then['dropped'].get(reason, 0)
                    if count <= before:
                        continue
                    text = f'{where}: {count} frames dropped ({reason}), {before} before'
                    if is_strict or reason in _MATTERS_ALWAYS:
                        found.regressions.append(text)
                    else:
                        # How many are dropped for want of time is a matter of the machine.
                        found.notes.append(text)

    def _compare_accuracy(self, report: Mapping[str, Any], found: Comparison) -> set[str]:
        """Return the models with mAP in both."""
        judged = set()
        before, after = self.report['evaluation'] or {}, report['evaluation'] or {}
        for model in report['models']:
            old, new = (one.get(model, {}).get('mAP50_95') for one in (before, after))
            if old is None and new is None:
                continue
            if old is None or new is None:
                found.not_compared.append(
                    f'mAP of {model}: only {"this replay" if old is None else "the baseline"} has '
                    f'it; give both the same --ground-truth')
                continue
            judged.add(model)
            if old - new > found.limits.map_drop:
                found.regressions.append(
                    f'model {model}: mAP50-95 {new:.4f}, {old:.4f} before: {old - new:.4f} less, '
                    f'{found.limits.map_drop:g} is allowed')
        return judged

    def _compare_frames(self, report: Mapping[str, Any], lines_path: Path, judged: set[str],
                        found: Comparison) -> None:
        found.frames = compare_lines(self.lines_path, lines_path,
                                     _borders(self.report, report))
        for (camera, model), changes in found.frames.items():
            where = f'camera {camera}, model {model}'
            if not changes.compared:
                found.not_compared.append(f'detections of {where}: no frame has them in both')
                continue
            if not changes.changed:
                continue
            share = changes.changed / changes.compared
            most = found.limits.changed
            text = (f'{where}: {changes.changed} of {changes.compared} frames changed '
                    f'({share:.1%}): {changes.text()}; frames {changes.named()}')
            if share > (most if most is not None else 1.0 if model in judged else 0.0):
                found.regressions.append(text)
            else:
                found.notes.append(text)

    def _compare_latency(self, report: Mapping[str, Any], found: Comparison) -> None:
        reasons = other_conditions(self.report, report)
        if reasons and not found.limits.is_any_machine:
            found.not_compared.append(
                f'latency, on another machine or under other conditions: {"; ".join(reasons)}; '
                f'make a baseline here, or ask for it with --any-machine')
            return
        found.notes += [f'latencies compared all the same: {reason}' for reason in reasons]
        found.stages = list(compare_stages(self.report, report, found.limits.p95_ratio))
        few = few_frames_text(found.stages)
        found.not_compared += [few] if few else []
        found.regressions += [
            f'model {one.model}: p95 of {one.stage} {one.text()}; {found.limits.p95_ratio:g} is '
            f'allowed' for one in found.stages if one.verdict == 'slower']


def _read(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f'--baseline {path} cannot be read ({error.strerror}); expected '
                                 f'{REPORT} of an earlier replay') from error
    except ValueError as error:
        raise ConfigurationError(f'--baseline {path} is no JSON ({error}); expected {REPORT} of '
                                 f'an earlier replay') from error
    if isinstance(report, dict) and 'bags' in report:
        raise ConfigurationError(f'--baseline {path} is of several bags; give {REPORT} of one, or '
                                 f'replay several')
    if not isinstance(report, dict) or report.get('program') != 'replay':
        raise ConfigurationError(f'--baseline {path} is not written by replay; expected {REPORT} '
                                 f'of an earlier replay')
    missing = [key for key in _KEYS if key not in report]
    if missing or report['schema'] != _SCHEMA:
        raise ConfigurationError(f'--baseline {path} is not of this version '
                                 f'({", ".join(missing) or "schema"} differs); make it anew')
    return report


def _topics(bag: Mapping[str, Any]) -> list[str]:
    return sorted(f'{topic["name"]} ({topic["type"]}, {topic["count"]})'
                  for topic in bag['topics'])


def _shown(value: Any) -> str:
    return ', '.join(value) or 'none' if isinstance(value, list) else str(value)


def _other_parameters(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was set, and what was loaded, otherwise."""
    for model, facts in after['models'].items():
        old = before['models'].get(model, {})
        for name in ('sha256', 'runtime', 'decoder'):
            if old.get(name) != facts.get(name):
                yield f'models.{model} {name}: {old.get(name)} before, {facts.get(name)} now'
    values = before['parameters'], after['parameters']
    names = [name for name in dict.fromkeys((*values[0], *values[1]))
             if values[0].get(name) != values[1].get(name)]
    for name in names[:_MAX_SHOWN]:
        yield f'{name}: {values[0].get(name)} before, {values[1].get(name)} now'
    if len(names) > _MAX_SHOWN:
        yield f'{len(names) - _MAX_SHOWN} more parameters'


def _borders(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, float]:
    """Return the score threshold of models with the same and no other for any class."""
    found = {}
    for model in after['models']:
        names = [f'models.{model}.{name}' for name in ('score_threshold',
                                                       'class_score_thresholds')]
        values = [tuple(one['parameters'].get(name) for name in names) for one in (before, after)]
        if values[0] == values[1] and not values[0][1] and values[0][0] is not None:
            found[model] = float(values[0][0])
    return found
