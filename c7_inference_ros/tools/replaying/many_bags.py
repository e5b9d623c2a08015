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

"""Many bags with the same models, one report over all."""

from __future__ import annotations

from collections import Counter
import json
from pathlib import Path
from typing import Any
from typing import Iterator
from typing import Mapping
from typing import Sequence

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.console import Console
from c7_inference_ros.tools.console import GOOD
from c7_inference_ros.tools.console import NO
from c7_inference_ros.tools.console import table
from c7_inference_ros.tools.node_parameters import load_parameter_file
from c7_inference_ros.tools.replaying.bag_job import BagJob
from c7_inference_ros.tools.replaying.bag_job import BagOutcome
from c7_inference_ros.tools.replaying.bag_list import BAGS
from c7_inference_ros.tools.replaying.bag_list import baselines
from c7_inference_ros.tools.replaying.bag_list import find_bags
from c7_inference_ros.tools.replaying.bag_list import unique_names
from c7_inference_ros.tools.replaying.bag_runners import run_here
from c7_inference_ros.tools.replaying.bag_runners import run_on_cluster
from c7_inference_ros.tools.replaying.more_options import ManyRequest
from c7_inference_ros.tools.replaying.outputs import OutputFolder
from c7_inference_ros.tools.replaying.outputs import REPORT
from c7_inference_ros.tools.replaying.pacing import REAL_TIME
from c7_inference_ros.tools.replaying.report import file_sha256
from c7_inference_ros.tools.replaying.report import SCHEMA
from c7_inference_ros.tools.replaying.request import PROGRAM
from c7_inference_ros.tools.replaying.request import ReplayRequest
from c7_inference_ros.tools.replaying.resume import inputs_of_run

_FIGURES = ('mAP50_95', 'mAP50', 'precision', 'recall', 'f1')


def replay_bags(request: ManyRequest[ReplayRequest], console: Console) -> int:
    """
    Replay several bags and write one report over all.

    :returns: the exit code: 1 when any bag has one that is not 0.
    :raises ConfigurationError: parameters, paths or the output folder cannot be used.
    """
    output = request.one.output.absolute()
    folder = OutputFolder(output)
    _check(folder, request)
    config = load_parameter_file(request.one.params_file, request.one.node_name)
    jobs = _jobs(request, output, inputs_of_run(config, request.options,
                                                _files(request.options)))
    if request.one.mode == REAL_TIME and (request.jobs > 1 or request.scheduler):
        console.warn('bags that are replayed at the same time slow each other: latencies and '
                     'drops are not those of a vehicle; use --jobs 1 for them')
    folder.begin()
    try:
        outcomes = _run(request, jobs, console)
        exit_code = NO if any(one.exit_code != GOOD for one in outcomes) else GOOD
        report = _report(request, jobs, outcomes, exit_code)
        folder.write(REPORT, (json.dumps(report, indent=2, allow_nan=False) + '\n').encode())
        folder.complete()
    except BaseException as error:
        folder.leave(f'{" ".join(f"{type(error).__name__}: {error}".split())}; go on with '
                     f'--resume')
        raise
    for line in _lines(report):
        console.result(line)
    console.result(f'{output / REPORT}')
    console.result_json(report)
    return exit_code


def _run(request: ManyRequest[ReplayRequest], jobs: Sequence[BagJob],
         console: Console) -> list[BagOutcome]:
    outcomes: dict[str, BagOutcome] = {}
    with console.progress(f'replaying {len(jobs)} bags') as progress:
        def take(outcome: BagOutcome) -> None:
            outcomes[outcome.name] = outcome
            for problem in outcome.problems:
                console.warn(f'{outcome.name}: {problem}')
            progress.update('bags', len(outcomes), len(jobs))

        if request.scheduler:
            run_on_cluster(jobs, request.scheduler, take)
        else:
            run_here(jobs, request.jobs, take)
    return [outcomes[job.name] for job in jobs]


def _check(folder: OutputFolder, request: ManyRequest[ReplayRequest]) -> None:
    is_there = folder.path.is_dir() and any(folder.path.iterdir())
    if request.is_resuming and is_there and not (folder.path / BAGS).is_dir():
        raise ConfigurationError(f'--resume: {folder.path} holds no replay of several bags; give '
                                 f'--output of the run that is to go on')
    folder.check(request.one.is_overwriting or request.is_resuming)


def _jobs(request: ManyRequest[ReplayRequest], output: Path,
          inputs: Mapping[str, Any]) -> list[BagJob]:
    bags = find_bags(request.paths)
    before = baselines(request.one.baseline) if request.one.baseline else None
    jobs = []
    for name, bag in zip(unique_names(bags), bags):
        options, problem, known = list(request.options), '', dict(inputs)
        if before is not None and name in before:
            options.append(f'--baseline={before[name].absolute()}')
            if before[name].is_relative_to(output):
                raise ConfigurationError(f'--baseline {request.one.baseline} lies in --output '
                                         f'{output} and would be replaced; choose another output')
            known['baseline'] = _baseline_hash(before[name])
        elif before is not None:
            problem = (f'--baseline {request.one.baseline} has no bag {name}, only '
                       f'{", ".join(before) or "none"}')
        jobs.append(BagJob(name, bag.absolute(), output / BAGS / name, tuple(options), known,
                           request.is_resuming, problem))
    return jobs


def _baseline_hash(report: Path) -> str:
    """Return what tells one baseline from another; empty when there is none."""
    try:
        return file_sha256(report)
    except OSError:
        return ''


def _files(options: Sequence[str]) -> list[Path]:
    """Return the files that options name, but for the parameters, which count by value."""
    values = [option.partition('=')[2] for option in options
              if not option.startswith('--params-file=')]
    return [path for path in map(Path, filter(None, values)) if path.is_file()]


def _report(request: ManyRequest[ReplayRequest], jobs: Sequence[BagJob],
            outcomes: Sequence[BagOutcome], exit_code: int) -> dict[str, Any]:
    bags = []
    for job, outcome in zip(jobs, outcomes):
        report = outcome.report or {}
        gate = report.get('baseline') or {}
        bags.append({
            'name': job.name, 'path': str(job.bag), 'folder': f'{BAGS}/{job.name}',
            'state': outcome.state, 'exit_code': outcome.exit_code,
            'problems': list(outcome.problems), 'regressions': gate.get('regressions', []),
            'not_compared': gate.get('not_compared', []),
            'counts': report.get('counts'), 'stages_ms': report.get('stages_ms'),
            'detections': report.get('detections'), 'conditions': report.get('conditions'),
            'evaluation': report.get('evaluation') and {
                model: {name: found.get(name) for name in _FIGURES}
                for model, found in report['evaluation'].items()}})
    return {'schema': SCHEMA, 'program': PROGRAM, 'mode': request.one.mode,
            'states': dict(Counter(outcome.state for outcome in outcomes)),
            'models': _totals(bags), 'bags': bags, 'exit_code': exit_code}


def _totals(bags: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return frames and detections of each model over all bags."""
    totals: dict[str, dict[str, Any]] = {}
    for bag in bags:
        for models in (bag['counts'] or {}).values():
            for model, count in models.items():
                total = totals.setdefault(model, {
                    'received': 0, 'published': 0, 'dropped': 0, 'detections': 0, 'by_class': {}})
                total['received'] += count['received']
                total['published'] += count['published']
                total['dropped'] += sum(count['dropped'].values())
        for model, seen in (bag['detections'] or {}).items():
            total = totals[model]
            total['detections'] += seen['total']
            for label, number in seen['by_class'].items():
                total['by_class'][label] = total['by_class'].get(label, 0) + number
    return totals


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    rows = []
    for bag in report['bags']:
        counts = [one for models in (bag['counts'] or {}).values() for one in models.values()]
        rows.append((
            bag['name'], bag['state'], str(bag['exit_code']),
            *(str(sum(one[key] for one in counts)) if counts else '-'
              for key in ('received', 'published')),
            str(sum(sum(one['dropped'].values()) for one in counts)) if counts else '-',
            str(sum(one['total'] for one in bag['detections'].values())) if counts else '-',
            ', '.join(f'{stages["processing"]["p95"]:.2f}' if stages['processing'] else '-'
                      for stages in (bag['stages_ms'] or {}).values()) or '-'))
    yield from table(rows, ('BAG', 'STATE', 'EXIT', 'RECEIVED', 'PUBLISHED', 'DROPPED',
                            'DETECTIONS', 'PROCESSING P95 MS'))
    yield ''
    for bag in report['bags']:
        yield from (f'{bag["name"]}: {problem}' for problem in bag['problems']
                    if bag['state'] == 'failed')
        yield from (f'{bag["name"]}: NOT COMPARED: {line}' for line in bag['not_compared'])
        yield from (f'{bag["name"]}: regression: {line}' for line in bag['regressions'])
    for model, total in report['models'].items():
        yield (f'{model}: {total["published"]} of {total["received"]} frames, '
               f'{total["detections"]} detections')
    yield ', '.join(f'{count} {state}' for state, count in report['states'].items())
