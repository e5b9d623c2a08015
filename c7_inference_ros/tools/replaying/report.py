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

"""What a replay says when it is over: ``report.json``, and a table for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from dataclasses import fields
from dataclasses import is_dataclass
import hashlib
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Iterator
from typing import Mapping
from typing import Sequence

from c7_inference_ros.config import NodeConfig
from c7_inference_ros.pipeline.accounting import DropReason
from c7_inference_ros.tools.benchmarking.other_load import OtherLoad
from c7_inference_ros.tools.console import GOOD
from c7_inference_ros.tools.console import NO
from c7_inference_ros.tools.console import table
from c7_inference_ros.tools.replaying.baseline import Comparison
from c7_inference_ros.tools.replaying.confidence import percentile_range
from c7_inference_ros.tools.replaying.judging import EVALUATION_HEADER
from c7_inference_ros.tools.replaying.judging import evaluation_rows
from c7_inference_ros.tools.replaying.latency import courses
from c7_inference_ros.tools.replaying.latency_gate import machine_facts
from c7_inference_ros.tools.replaying.records import FrameResult
from c7_inference_ros.tools.replaying.run import Measured
from c7_inference_ros.tools.replaying.streams import CameraStream
from c7_inference_ros.vision.labels import Labels

SCHEMA = 1
#: Drops that say that a model or this package does not work, not that there was too little time.
FAILURES = (DropReason.INFERENCE_ERROR, DropReason.PUBLISH_ERROR)
#: Drops because of what is in the bag.
DAMAGES = (DropReason.BAD_IMAGE, DropReason.BAD_ENCODING)


@dataclass(frozen=True)
class FinishedRun:
    """
    Everything that is known of a replay that came to its end.

    :param program: name of the command.
    :param bag: facts of the bag: path, name, storage, start_ns, end_ns, topics.
    :param mode: ``every-frame`` or ``real-time``.
    :param rate: recorded seconds in a second; 0 in ``every-frame``.
    :param config: of the node, as the parameter file says it.
    :param streams: where the images of each camera were.
    :param labels: class names by model.
    :param models: facts of each model by name: path, sha256, runtime, decoder.
    :param measured: counts, durations and conditions.
    :param detections: what was found, by model.
    :param problems: what went wrong on the way, one line each.
    :param other_load: what other programs took meanwhile.
    :param evaluation: figures by model; None without ground truth.
    :param compare: compares the report with a baseline; None without one.
    """

    program: str
    bag: Mapping[str, Any]
    mode: str
    rate: float
    config: NodeConfig
    streams: Sequence[CameraStream]
    labels: Mapping[str, Labels]
    models: Mapping[str, Mapping[str, Any]]
    measured: Measured
    detections: Mapping[str, Mapping[str, Any]]
    problems: Sequence[str]
    other_load: OtherLoad
    evaluation: Mapping[str, Any] | None = None
    compare: Callable[[Mapping[str, Any]], Comparison] | None = None

    def verdict(self) -> int:
        """
        Return the exit code of the run itself.

        1 when a model or this package failed on a frame, when a bug showed, or when a stream
        that had images ended with no detections at all; damaged images in the bag are told and
        do not count.
        """
        is_bad = bool(self.measured.bugs)
        for account in self.measured.counts.values():
            is_bad |= account.balance() != 0 or account.in_flight != 0
            is_bad |= any(account.dropped[reason] for reason in FAILURES)
            is_bad |= account.received > 0 and account.published == 0
        return NO if is_bad else GOOD


class Tally:
    """
    Counts what was found, and why frames were dropped; a sink of results.

    :param labels: class names by model.
    """

    def __init__(self, labels: Mapping[str, Labels]) -> None:
        """Begin with nothing."""
        self._labels = labels
        self._by_class: dict[str, Counter[str]] = {model: Counter() for model in labels}
        self._by_frame: dict[str, Counter[int]] = {model: Counter() for model in labels}
        self._drops: dict[tuple[str, str, str], list[Any]] = {}

    def __call__(self, result: FrameResult) -> None:
        """Count one result."""
        if result.detections is not None:
            names = self._labels[result.model]
            self._by_class[result.model].update(
                names.name_of(number) for number in result.detections.class_ids.tolist())
            self._by_frame[result.model][len(result.detections)] += 1
        elif result.problem:
            drop = self._drops.setdefault((result.camera, result.model, result.dropped),
                                          [0, result])
            drop[0] += 1

    def detections(self) -> dict[str, dict[str, Any]]:
        """Return by model: total, by_class, and how many were in how many frames."""
        found = {}
        for model, by_frame in self._by_frame.items():
            frames = sum(by_frame.values())
            total = sum(number * count for number, count in by_frame.items())
            found[model] = {
                'total': total, 'by_class': dict(self._by_class[model].most_common()),
                'by_frame': {
                    'frames': frames, 'mean': round(total / frames, 6) if frames else None,
                    'min': min(by_frame, default=None), 'max': max(by_frame, default=None),
                    'histogram': {str(number): by_frame[number] for number in sorted(by_frame)}}}
        return found

    def problems(self) -> list[str]:
        """Return one line for each camera, model and reason with an exception behind it."""
        return [f'camera {camera}, model {model}: {count} '
                f'frame{"s" if count > 1 else ""} dropped ({reason}), the first is image '
                f'{first.index}: {first.problem}'
                for (camera, model, reason), (count, first) in self._drops.items()]


def report_dict(run: FinishedRun, exit_code: int) -> dict[str, Any]:
    """Return ``report.json``; its keys are explained in ``docs/replay.md``."""
    counts: dict[str, dict[str, Any]] = {}
    for (camera, model), account in run.measured.counts.items():
        counts.setdefault(camera, {})[model] = {
            'received': account.received, 'published': account.published,
            'in_flight': account.in_flight,
            'dropped': {reason.value: count for reason, count in account.dropped.items()}}
    stages = {model: {stage: None if found is None else {
        'p50': _ms(found.p50), 'p95': _ms(found.p95), 'p99': _ms(found.p99),
        'max': _ms(found.max), 'count': found.count,
        'p95_range': _p95_range(run, model, stage)} for stage, found in every.items()}
        for model, every in run.measured.stages.items()}
    return {
        'schema': SCHEMA, 'program': run.program, 'bag': dict(run.bag), 'mode': run.mode,
        'rate': run.rate, 'late_max_ms': _ms(run.measured.late_max_s),
        'parameters': parameter_values(run.config),
        'streams': [{'camera': stream.camera, 'topic': stream.topic, 'type': stream.msgtype,
                     'images': stream.count, 'note': stream.note} for stream in run.streams],
        'models': {name: dict(facts) for name, facts in run.models.items()},
        'machine': machine_facts(), 'conditions': run.measured.conditions.as_dict(),
        'other_load': run.other_load.as_dict(),
        'counts': counts, 'stages_ms': stages,
        'latency_ms': courses(run.measured.durations), 'detections': dict(run.detections),
        'evaluation': run.evaluation, 'baseline': None,
        'problems': list(run.problems), 'exit_code': exit_code}


def table_lines(run: FinishedRun) -> Iterator[str]:
    """Yield what people want to see on the screen."""
    balance = []
    for (camera, model), account in run.measured.counts.items():
        dropped = ', '.join(f'{count} {reason.value}' for reason, count
                            in account.dropped.items() if count) or '0'
        balance.append((camera, model, str(account.received), str(account.published), dropped))
    yield from table(balance, ('CAMERA', 'MODEL', 'RECEIVED', 'PUBLISHED', 'DROPPED'))
    yield ''
    rows = [(model, stage, *(f'{value * 1e3:.2f}' for value in (
        found.p50, found.p95, found.p99, found.max)), str(found.count))
        for model, stages in run.measured.stages.items()
        for stage, found in stages.items() if found is not None]
    if rows:
        yield from table(rows, ('MODEL', 'STAGE', 'P50 MS', 'P95 MS', 'P99 MS', 'MAX MS',
                                'FRAMES'))
        yield from (f'measured on {line}' for line in run.measured.conditions.lines())
        yield from (f'meanwhile {line}' for line in run.other_load.warnings())
        yield ''
    for model, seen in run.detections.items():
        classes = ', '.join(f'{name} {count}' for name, count in seen['by_class'].items())
        yield f'{model}: {seen["total"]} detections{f" ({classes})" if classes else ""}'
    if run.evaluation:
        yield ''
        yield from table(list(evaluation_rows(run.evaluation)), EVALUATION_HEADER)


def parameter_values(config: Any, prefix: str = '') -> dict[str, Any]:
    """Return every parameter in force by its full name."""
    values: dict[str, Any] = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name in ('cameras', 'models') and isinstance(value, Mapping):
            for name, one in value.items():
                values.update(parameter_values(one, f'{prefix}{field.name}.{name}.'))
        elif is_dataclass(value):
            values.update(parameter_values(value, f'{prefix}{field.name}.'))
        elif field.name != 'name':
            values[f'{prefix}{field.name}'] = list(value) if isinstance(value, tuple) else value
    return values


def file_sha256(path: Path) -> str:
    """
    Return the hash of a file as sha256sum says it; empty for a folder.

    :raises OSError: it cannot be read.
    """
    if path.is_dir():
        return ''
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _p95_range(run: FinishedRun, model: str, stage: str) -> list[float | None]:
    return [None if end is None else _ms(end)
            for end in percentile_range(run.measured.durations[model][stage])]


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 4)
