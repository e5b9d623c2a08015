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

"""One benchmark from loading to results."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
import functools
from pathlib import Path
from typing import Sequence

from c7_inference_ros.config import NodeConfig
from c7_inference_ros.engines.host import probe_host
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.errors import C7Error
from c7_inference_ros.pipeline.model_lookup import find_model
from c7_inference_ros.runtime.process_memory import rss_bytes
from c7_inference_ros.thermal.conditions import record_conditions
from c7_inference_ros.thermal.measurement_conditions import MeasurementConditions
from c7_inference_ros.tools.benchmarking.limits import Limit
from c7_inference_ros.tools.benchmarking.limits import Verdict
from c7_inference_ros.tools.benchmarking.loading import load_times
from c7_inference_ros.tools.benchmarking.measure import Bench
from c7_inference_ros.tools.benchmarking.measure import measure
from c7_inference_ros.tools.benchmarking.measure import Plan
from c7_inference_ros.tools.benchmarking.measure import Tell
from c7_inference_ros.tools.benchmarking.other_load import LoadWatch
from c7_inference_ros.tools.benchmarking.other_load import OtherLoad
from c7_inference_ros.tools.benchmarking.pictures import Pictures
from c7_inference_ros.tools.benchmarking.results import compare
from c7_inference_ros.tools.benchmarking.results import Comparison
from c7_inference_ros.tools.benchmarking.results import judge
from c7_inference_ros.tools.benchmarking.results import result_of
from c7_inference_ros.tools.benchmarking.results import SubjectResult
from c7_inference_ros.tools.benchmarking.results import with_loads
from c7_inference_ros.tools.benchmarking.soak import Soak
from c7_inference_ros.tools.benchmarking.soak import soak_of
from c7_inference_ros.tools.benchmarking.soak import ThermalLog
from c7_inference_ros.tools.benchmarking.subjects import Absent
from c7_inference_ros.tools.benchmarking.subjects import Subject


@dataclass(frozen=True)
class Outcome:
    """
    Everything that one run found.

    :param absent: what was asked for and is not measured.
    :param verdicts: of the first subject, which the limits are for.
    :param resident_bytes: resident memory of the process before loading, when measuring began,
        and when it ended; None where the kernel does not say.
    """

    plan: Plan
    loads: int
    subjects: tuple[SubjectResult, ...]
    absent: tuple[Absent, ...]
    comparisons: tuple[Comparison, ...]
    verdicts: tuple[Verdict, ...]
    conditions: MeasurementConditions
    other_load: OtherLoad
    soak: Soak
    resident_bytes: tuple[int | None, int | None, int | None]

    @property
    def broken(self) -> tuple[Verdict, ...]:
        """Limits that are not kept."""
        return tuple(verdict for verdict in self.verdicts if verdict.is_broken)

    def doubts(self) -> list[str]:
        """Return why the figures are not those of this machine at rest, one sentence each."""
        said = []
        for device in self.conditions.devices:
            if device.throttled:
                said.append(f'{device.name} was slowed down by heat: {device.reasons[0]}')
        said += self.other_load.warnings()
        if self.plan.duration_s > 0.0:
            said += self.soak.warnings()
        return said


def run_benchmark(subjects: Sequence[Subject], absent: Sequence[Absent], pictures: Pictures,
                  plan: Plan, loads: int, limits: Sequence[Limit], tell: Tell) -> Outcome:
    """
    Load, measure and give everything back.

    :param subjects: the first that loads is what the others are compared with.
    :param absent: what is known to be impossible; those that do not load are added.
    :param loads: how often each model is loaded for its time; 0 for never.
    :param limits: for the first subject.
    :param tell: told how far it is.
    :raises NothingToMeasureError: of several subjects none can be measured here.
    :raises C7Error: the only subject does not load, or an inference fails.
    """
    missing = list(absent)
    root = subjects[0].config.thermal.sysfs_root if subjects else '/sys'
    before = rss_bytes()
    with ExitStack() as undo:
        benches: list[Bench] = []
        for index, subject in enumerate(subjects):
            tell('load', index, len(subjects))
            made = _load(subject, missing, may_fail=len(subjects) + len(absent) > 1)
            if made is not None:
                undo.callback(made.release)
                made.prepare(pictures.images[0])
                benches.append(made)
        tell('load', 1, 1)
        if not benches:
            raise NothingToMeasureError(missing)
        log = ThermalLog()
        with record_conditions(root, on_state=log.add) as recorder:
            watch, loaded = LoadWatch(), rss_bytes()
            began_ns, took_s = measure(benches, pictures.images, plan, tell)
            others, after = watch.finish(), rss_bytes()
            results = _results(benches, undo, loads, tell)
        comparisons = compare(benches)
        soak = soak_of(benches, log.states(), began_ns, took_s)
    return Outcome(plan, loads, tuple(results), tuple(missing), tuple(comparisons),
                   tuple(judge(limits, results[0])), recorder.conditions(), others, soak,
                   (before, loaded, after))


class NothingToMeasureError(C7Error):
    """
    Nothing that was asked for can be measured on this machine.

    :param absent: what, and why.
    """

    def __init__(self, absent: Sequence[Absent]) -> None:
        """Keep the reasons for one line each."""
        self.absent = tuple(absent)
        super().__init__('nothing that was asked for can be measured here: ' + '; '.join(
            f'{one.label}: {one.reason}' for one in absent))


def _load(subject: Subject, missing: list[Absent], may_fail: bool) -> Bench | None:
    try:
        bench = Bench(subject)
    except C7Error as error:
        if not may_fail:
            raise
        missing.append(Absent(subject.label, str(error)))
        return None
    if subject.needs and subject.needs not in bench.runtime_label:
        bench.release()
        why = '; '.join(bench.models.warnings()) or f'{bench.runtime_label} runs instead'
        missing.append(Absent(subject.label, f'{subject.needs} did not load: {why}'))
        return None
    return bench


def _results(benches: Sequence[Bench], undo: ExitStack, loads: int, tell: Tell
             ) -> list[SubjectResult]:
    # What only a loaded model knows; the pipelines are then given back: two copies may not fit.
    results = [result_of(bench, _paths(bench.subject.config)) for bench in benches]
    undo.close()
    if not loads:
        return results
    loaded = []
    for bench, result in zip(benches, results):
        part = f'load {result.label} again'
        times = load_times(bench.subject.config, loads, functools.partial(tell, part))
        loaded.append(with_loads(result, times))
    return loaded


def _paths(config: NodeConfig) -> dict[str, Path]:
    def host(asked: NodeConfig) -> HostTuple:
        return probe_host(asked.engines.package, device=asked.engines.device)

    return {name: find_model(config, model, host) for name, model in config.models.items()}
