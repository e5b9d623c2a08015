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

"""The report of a benchmark: JSON for machines, tables for people."""

from __future__ import annotations

from importlib import metadata
import os
import platform
from typing import Any
from typing import Iterator

from c7_inference_ros.tools.benchmarking.arguments import PROGRAM
from c7_inference_ros.tools.benchmarking.durations import Bounds
from c7_inference_ros.tools.benchmarking.durations import CONFIDENCE
from c7_inference_ros.tools.benchmarking.durations import Distribution
from c7_inference_ros.tools.benchmarking.durations import Ratio
from c7_inference_ros.tools.benchmarking.measure import BLOCK
from c7_inference_ros.tools.benchmarking.measure import Plan
from c7_inference_ros.tools.benchmarking.measure import STAGES
from c7_inference_ros.tools.benchmarking.pictures import Pictures
from c7_inference_ros.tools.benchmarking.results import ModelResult
from c7_inference_ros.tools.benchmarking.results import SubjectResult
from c7_inference_ros.tools.benchmarking.run import Outcome
from c7_inference_ros.tools.console import size_text
from c7_inference_ros.tools.console import table

SCHEMA = 1
_PACKAGES = ('numpy', 'opencv-python-headless', 'opencv-python', 'onnxruntime', 'onnxruntime-gpu',
             'torch', 'tensorrt', 'tensorrt-rtx-cu12', 'pycuda')


def as_json(outcome: Outcome, pictures: Pictures, parameters: str, plots: list[str],
            exit_code: int) -> dict[str, Any]:
    """
    Return the whole report.

    :param parameters: the parameter file.
    :param plots: files that were written.
    """
    plan = outcome.plan
    before, loaded, after = outcome.resident_bytes
    return {
        'schema': SCHEMA, 'program': PROGRAM, 'parameters': parameters,
        'pictures': pictures.as_dict(),
        'method': {'samples': plan.samples, 'warm_up': plan.warm_up,
                   'duration_s': plan.duration_s, 'block': BLOCK, 'loads': outcome.loads,
                   'percentiles': 'linear interpolation between the closest ranks',
                   'bounds': f'{CONFIDENCE:.0%}, order statistics of as many independent samples '
                             f'as the correlated ones are worth',
                   'clock': 'monotonic'},
        'machine': machine(), 'conditions': outcome.conditions.as_dict(),
        'other_load': outcome.other_load.as_dict(), 'doubts': outcome.doubts(),
        'subjects': [subject.as_dict() for subject in outcome.subjects],
        'not_measured': [{'label': one.label, 'reason': one.reason} for one in outcome.absent],
        'comparisons': [one.as_dict() for one in outcome.comparisons],
        'process': {'resident_before_bytes': before, 'resident_loaded_bytes': loaded,
                    'resident_after_bytes': after},
        'soak': outcome.soak.as_dict(),
        'limits': [verdict.as_dict() for verdict in outcome.verdicts],
        'problems': [verdict.text for verdict in outcome.broken],
        'plots': plots, 'exit_code': exit_code}


def machine() -> dict[str, Any]:
    """Return what the figures depend on, by name."""
    found: dict[str, Any] = {'platform': platform.platform(),
                             'python': platform.python_version(),
                             'processors': os.cpu_count(),
                             'usable_processors': len(os.sched_getaffinity(0))}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def text_report(outcome: Outcome, pictures: Pictures) -> Iterator[str]:
    """Yield the lines for people."""
    yield f'{pictures.description} ({", ".join(pictures.sizes[:6])}); {_method(outcome)}'
    doubts = outcome.doubts()
    for subject in outcome.subjects:
        yield from _subject(subject, doubts)
    if outcome.comparisons:
        yield from _comparisons(outcome)
    yield ''
    for absent in outcome.absent:
        yield f'not measured: {absent.label}: {absent.reason}'
    if outcome.absent:
        yield ''
    yield from _memory(outcome)
    yield from ('conditions:', *(f'  {line}' for line in outcome.conditions.lines()))
    yield f'  other programs: {_others(outcome)}'
    if outcome.plan.duration_s > 0.0:
        yield from _soak(outcome)
    yield ''
    yield f'limits, for {outcome.subjects[0].label}:'
    for verdict in outcome.verdicts:
        yield f'  {"BROKEN" if verdict.is_broken else "kept"}: {verdict.text}'


def _method(outcome: Outcome) -> str:
    plan: Plan = outcome.plan
    first = next(iter(outcome.subjects[0].models.values())).stages['whole']
    return (f'{first.count} samples of everything in {outcome.soak.duration_s:.1f} s, taken in '
            f'turn; the {plan.warm_up} pictures before them do not count')


def _subject(subject: SubjectResult, doubts: list[str]) -> Iterator[str]:
    yield ''
    yield f'{subject.label}: {subject.runtime}'
    for warning in subject.warnings:
        yield f'  note: {warning}'
    for name, model in subject.models.items():
        if doubts:
            yield f'  DOUBTFUL FIGURES: {"; ".join(doubts)}'
        rows = [_row(stage, model.stages[stage], '') for stage in STAGES]
        rows += [_row(f'raw: {loop.name}', model.raw[loop.name],
                      _ratio(model.ratios[loop.name])) for loop in model.loops.loops]
        if model.load is not None:
            rows.append(_row('load', model.load, ''))
        yield from (f'  {line}' for line in table(rows, (
            f'{name}, ms', 'p50', 'p95', f'{CONFIDENCE:.0%} of p95', 'p99', 'max', 'samples',
            'worth', 'whole to this')))
        yield from (f'  not measured: {text}' for text in model.loops.problems)
        yield f'  {_rates(model)}'


def _rates(model: ModelResult) -> str:
    whole, (loop, raw) = model.stages['whole'], next(iter(model.raw.items()))
    return (f'throughput {1.0 / whole.mean:.1f} images/s, {loop} alone {1.0 / raw.mean:.1f}; '
            f'inference to {loop} {_ratio(model.inference_ratio)}; '
            f'{model.detections:.1f} detections a picture')


def _row(name: str, one: Distribution, ratio: str) -> tuple[str, ...]:
    return (name, _ms(one.p50), _ms(one.p95), _bounds(one.p95_bounds, 1e3), _ms(one.p99),
            _ms(one.max), str(one.count), f'{one.independent:.0f}', ratio)


def _comparisons(outcome: Outcome) -> Iterator[str]:
    yield ''
    yield f'compared with {outcome.comparisons[0].base} (below 1 is faster):'
    rows = [(one.subject, one.model, _ratio(one.p50), _ratio(one.p95), _ratio(one.raw),
             'faster' if (one.p50.bounds.high or 9.9) < 1.0 else
             'slower' if (one.p50.bounds.low or 0.0) > 1.0 else 'no difference shown')
            for one in outcome.comparisons]
    yield from (f'  {line}' for line in table(
        rows, ('', 'model', 'whole, p50', 'whole, p95', 'raw, p50', 'verdict')))


def _memory(outcome: Outcome) -> Iterator[str]:
    rows = []
    for subject in outcome.subjects:
        for name, model in subject.models.items():
            memory = model.memory
            rows += [(subject.label, name, place, size_text(predicted), size_text(measured), '')
                     for place, predicted, measured in (
                         ('device', memory.predicted_device_bytes, memory.measured_device_bytes),
                         ('host', memory.predicted_host_bytes, memory.measured_host_bytes))
                     if predicted or measured]
        rows += [(subject.label, 'all, with libraries', place, size_text(predicted),
                  size_text(used), size_text(budget))
                 for place, (predicted, used, budget) in subject.memory.items()]
    yield from table(rows, ('memory', 'model', 'place', 'predicted', 'in use', 'budget'))
    _, loaded, after = outcome.resident_bytes
    if loaded is not None and after is not None:
        yield f'the process grew by {size_text(after - loaded)} while it was measured'
    yield ''


def _others(outcome: Outcome) -> str:
    load = outcome.other_load
    if load.busy_share is None:
        return 'unknown, the kernel does not say what they use'
    return f'{load.busy_share:.0%} of the processors'


def _soak(outcome: Outcome) -> Iterator[str]:
    soak = outcome.soak
    yield ''
    yield f'soak of {soak.duration_s:.0f} s:'
    for (subject, model), ratio in soak.slowdown.items():
        yield f'  {subject}, {model}: p50 of the last fifth is {ratio:.3f} times the first'
    for device in dict.fromkeys(name for window in soak.windows for name in window.temperature_c):
        warm = [window.temperature_c[device] for window in soak.windows
                if device in window.temperature_c]
        yield f'  {device}: {warm[0]:.1f} C at first, {max(warm):.1f} C at most'
    if not any(window.temperature_c for window in soak.windows):
        yield '  no temperature: this machine shows none'


def _ms(seconds: float) -> str:
    return f'{seconds * 1e3:.3f}'


def _ratio(ratio: Ratio) -> str:
    return f'{ratio.value:.3f} ({_bounds(ratio.bounds, 1.0)})'


def _bounds(bounds: Bounds, factor: float) -> str:
    if bounds.low is bounds.high is None:
        return 'too few samples'
    low, high = ('?' if bound is None else f'{bound * factor:.3f}' for bound in bounds)
    return f'{low} to {high}'
