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

"""What a benchmark found, as plain records: of each model, of each subject, and in comparison."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from dataclasses import replace
import hashlib
from pathlib import Path
from typing import Any
from typing import Mapping
from typing import Sequence

from c7_inference_ros.runtime.base import MemoryUse
from c7_inference_ros.tools.benchmarking.durations import Bounds
from c7_inference_ros.tools.benchmarking.durations import Distribution
from c7_inference_ros.tools.benchmarking.durations import distribution
from c7_inference_ros.tools.benchmarking.durations import Ratio
from c7_inference_ros.tools.benchmarking.durations import ratio_of
from c7_inference_ros.tools.benchmarking.durations import Values
from c7_inference_ros.tools.benchmarking.limits import DEVICE
from c7_inference_ros.tools.benchmarking.limits import HOST
from c7_inference_ros.tools.benchmarking.limits import Limit
from c7_inference_ros.tools.benchmarking.limits import LOAD
from c7_inference_ros.tools.benchmarking.limits import P95
from c7_inference_ros.tools.benchmarking.limits import Verdict
from c7_inference_ros.tools.benchmarking.measure import Bench
from c7_inference_ros.tools.benchmarking.measure import Samples
from c7_inference_ros.tools.benchmarking.raw_loops import Loops
import numpy as np

PLACES = ('device', 'host')


@dataclass(frozen=True)
class ModelResult:
    """
    What was measured of one model.

    :param description: of the pipeline.
    :param path: of the file that was loaded.
    :param stages: by name, the whole among them.
    :param raw: by name of the loop, the closest to the engine first.
    :param loops: what the loops contain, and those that are missing.
    :param ratios: of the whole to each loop.
    :param inference_ratio: of the stage inference to the first loop.
    :param detections: mean of a picture.
    :param load: of repeated loading; None where that was not asked for.
    """

    description: Mapping[str, Any]
    path: Path
    stages: Mapping[str, Distribution]
    raw: Mapping[str, Distribution]
    loops: Loops
    ratios: Mapping[str, Ratio]
    inference_ratio: Ratio
    detections: float
    load: Distribution | None
    memory: MemoryUse

    @property
    def ratio(self) -> Ratio:
        """The whole against the raw engine."""
        return self.ratios[next(iter(self.raw))]

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        memory = self.memory
        return {
            'path': str(self.path), 'sha256': _sha256(self.path), **self.description,
            'stages_ms': {name: one.as_dict() for name, one in self.stages.items()},
            'raw_ms': {loop.name: {**self.raw[loop.name].as_dict(),
                                   'contains': loop.description,
                                   'throughput_hz': _rate(self.raw[loop.name]),
                                   'whole_to_this': self.ratios[loop.name].as_dict()}
                       for loop in self.loops.loops},
            'not_measured': list(self.loops.problems),
            'ratio_to_raw': self.ratio.as_dict(),
            'inference_to_raw': self.inference_ratio.as_dict(),
            'throughput_hz': _rate(self.stages['whole']),
            'detections_per_picture': round(self.detections, 3),
            'deserialise_ms': None if self.load is None else self.load.as_dict(),
            'memory': {'predicted_device_bytes': memory.predicted_device_bytes,
                       'measured_device_bytes': memory.measured_device_bytes,
                       'predicted_host_bytes': memory.predicted_host_bytes,
                       'measured_host_bytes': memory.measured_host_bytes,
                       'basis': memory.basis}}


@dataclass(frozen=True)
class SubjectResult:
    """
    What was measured of one subject.

    :param runtime: what really ran, for people.
    :param warnings: what ran otherwise than it was asked for.
    :param memory: (predicted, in use, budget) by place, bytes.
    :param first_load_s: of all models, with what the first one brings along.
    """

    label: str
    is_configured: bool
    runtime: str
    warnings: tuple[str, ...]
    models: Mapping[str, ModelResult]
    memory: Mapping[str, tuple[int, int, int]]
    first_load_s: float

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return {
            'label': self.label, 'is_configured': self.is_configured, 'runtime': self.runtime,
            'warnings': list(self.warnings), 'first_load_s': round(self.first_load_s, 4),
            'memory': {place: {'predicted_bytes': predicted, 'in_use_bytes': used,
                               'budget_bytes': budget}
                       for place, (predicted, used, budget) in self.memory.items()},
            'models': {name: model.as_dict() for name, model in self.models.items()}}


@dataclass(frozen=True)
class Comparison:
    """
    One model of one subject against the same of the first subject, as quotients of durations.

    :param p50: of the whole pipeline.
    :param p95: the same; its bounds are wide, because those of both sides count.
    :param raw: p50 of the raw engines.
    """

    model: str
    subject: str
    base: str
    p50: Ratio
    p95: Ratio
    raw: Ratio

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return {'model': self.model, 'subject': self.subject, 'base': self.base,
                'whole_p50': self.p50.as_dict(), 'whole_p95': self.p95.as_dict(),
                'raw_p50': self.raw.as_dict()}


def result_of(bench: Bench, paths: Mapping[str, Path]) -> SubjectResult:
    """
    Sum up one subject while it is loaded.

    :param paths: of the files that were loaded, by model.
    """
    models = {name: _model(bench.samples[name], bench.loops[name], pipeline.describe(),
                           paths[name], pipeline.handle.memory)
              for name, pipeline in bench.models.pipelines.items()}
    memory = {}
    for place in PLACES:
        row = bench.memory[place]
        used = row.predicted_bytes if row.measured_bytes is None else row.measured_bytes
        if place == 'host':
            used = max(used, bench.growth_bytes or 0)
        memory[place] = (row.predicted_bytes, used, row.limit_bytes or 0)
    return SubjectResult(bench.subject.label, bench.subject.is_configured, bench.runtime_label,
                         bench.models.warnings(), models, memory, bench.first_load_s)


def with_loads(result: SubjectResult, loads: Mapping[str, array[float]]) -> SubjectResult:
    """
    Return a result with the times of repeated loading.

    :param loads: seconds, by model.
    """
    return replace(result, models={
        name: replace(model, load=distribution(np.array(loads[name])))
        for name, model in result.models.items()})


def compare(benches: Sequence[Bench]) -> list[Comparison]:
    """Return every subject against the first."""
    found = []
    for bench in benches[1:]:
        base = benches[0]
        for model, samples in bench.samples.items():
            other = base.samples[model]
            whole, others = (np.array(one.stages['whole']) for one in (samples, other))
            found.append(Comparison(
                model, bench.subject.label, base.subject.label, ratio_of(whole, others),
                _quotient(distribution(whole), distribution(others)),
                ratio_of(_first_raw(bench, model), _first_raw(base, model))))
    return found


def judge(limits: Sequence[Limit], result: SubjectResult) -> list[Verdict]:
    """Return what is found for each limit; one that nothing was measured for is left out."""
    verdicts = []
    for limit in limits:
        if limit.key in (DEVICE, HOST):
            used = result.memory['device' if limit.key == DEVICE else 'host'][1]
            verdicts.append(Verdict(limit, float(used)))
            continue
        model = result.models[limit.model]
        if limit.key == P95:
            whole = model.stages['whole']
            verdicts.append(Verdict(limit, whole.p95 * 1e3, Bounds(*(
                None if bound is None else bound * 1e3 for bound in whole.p95_bounds))))
        elif limit.key == LOAD:
            if model.load is not None:
                verdicts.append(Verdict(limit, model.load.p95, model.load.p95_bounds))
        else:
            verdicts.append(Verdict(limit, *model.ratio))
    return verdicts


def _model(samples: Samples, loops: Loops, description: Mapping[str, Any], path: Path,
           memory: MemoryUse) -> ModelResult:
    stages = {name: np.array(values) for name, values in samples.stages.items()}
    raw = {loop.name: np.array(samples.raw[loop.name]) for loop in loops.loops}
    first = next(iter(raw.values()))
    return ModelResult(
        description, path, {name: distribution(values) for name, values in stages.items()},
        {name: distribution(values) for name, values in raw.items()}, loops,
        {name: ratio_of(stages['whole'], values) for name, values in raw.items()},
        ratio_of(stages['inference'], first), samples.detections / len(samples.at_s), None,
        memory)


def _first_raw(bench: Bench, model: str) -> Values:
    return np.array(bench.samples[model].raw[bench.loops[model].loops[0].name])


def _quotient(above: Distribution, below: Distribution) -> Ratio:
    """Return the quotient of two p95 with bounds that hold whatever the two have in common."""
    low, high = above.p95_bounds.low, above.p95_bounds.high
    least, most = below.p95_bounds.low, below.p95_bounds.high
    return Ratio(above.p95 / below.p95, Bounds(
        None if low is None or most is None else low / most,
        None if high is None or least is None else high / least))


def _rate(one: Distribution) -> float:
    """Return how many in a second there are when one follows the other."""
    return round(1.0 / one.mean, 3)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
