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

"""
Measure the models of a parameter file on this machine.

.. code-block:: text

    benchmark --params-file vehicle.yaml --pictures FOLDER --output DIR
    benchmark --params-file vehicle.yaml --bag BAG --limits limits.yaml --json
    benchmark --params-file vehicle.yaml --sizes 1280x720 --duration 1800 --output DIR
    benchmark --params-file vehicle.yaml --pictures FOLDER --compare precision=fp16,int8

The page for users is ``docs/benchmark.md``.
"""

from __future__ import annotations

import json
from pathlib import Path
import sys
from typing import Any
from typing import Sequence

from c7_inference_ros.engines.atomic_file import write_atomically
from c7_inference_ros.engines.atomic_file import write_problem
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.tools.benchmarking.arguments import Arguments
from c7_inference_ros.tools.benchmarking.arguments import parse
from c7_inference_ros.tools.benchmarking.arguments import PROGRAM
from c7_inference_ros.tools.benchmarking.limits import limits_of
from c7_inference_ros.tools.benchmarking.pictures import made_pictures
from c7_inference_ros.tools.benchmarking.pictures import Pictures
from c7_inference_ros.tools.benchmarking.pictures import pictures_of_bag
from c7_inference_ros.tools.benchmarking.pictures import pictures_of_folder
from c7_inference_ros.tools.benchmarking.plots import draw
from c7_inference_ros.tools.benchmarking.plots import LATENCY
from c7_inference_ros.tools.benchmarking.plots import SOAK
from c7_inference_ros.tools.benchmarking.report import as_json
from c7_inference_ros.tools.benchmarking.report import text_report
from c7_inference_ros.tools.benchmarking.run import NothingToMeasureError
from c7_inference_ros.tools.benchmarking.run import Outcome
from c7_inference_ros.tools.benchmarking.run import run_benchmark
from c7_inference_ros.tools.benchmarking.subjects import only_models
from c7_inference_ros.tools.benchmarking.subjects import parse_comparisons
from c7_inference_ros.tools.benchmarking.subjects import subjects_of
from c7_inference_ros.tools.command_line import run_command
from c7_inference_ros.tools.console import Console
from c7_inference_ros.tools.console import GOOD
from c7_inference_ros.tools.console import NO
from c7_inference_ros.tools.console import OutputError
from c7_inference_ros.tools.node_parameters import load_parameter_file

REPORT = 'benchmark.json'
_FILE_MODE = 0o644


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param argv: arguments; those of the process when None.
    :returns: 0 every limit is kept, 1 one is broken or nothing could be measured, 2 bad input,
        130 and 143 after SIGINT and SIGTERM.
    """
    return run_command(PROGRAM, argv, lambda given, console: _run(parse(given), console),
                       left='nothing was written')


def _run(arguments: Arguments, console: Console) -> int:
    config = only_models(load_parameter_file(arguments.params_file, arguments.node_name),
                         arguments.models)
    limits = limits_of(config, arguments.limits)
    subjects, absent = subjects_of(config, parse_comparisons(arguments.compare))
    if arguments.output is not None:
        _make_folder(arguments.output)
    pictures = _pictures(arguments)
    for problem in pictures.problems:
        console.warn(problem)
    try:
        with console.progress('measuring') as progress:
            outcome = run_benchmark(subjects, absent, pictures, arguments.plan, arguments.loads,
                                    limits, progress.update)
    except NothingToMeasureError as error:
        return console.fail([f'{one.label} cannot be measured here: {one.reason}'
                             for one in error.absent], NO)
    plots = _plots(outcome, arguments, console)
    exit_code = NO if outcome.broken else GOOD
    for line in text_report(outcome, pictures):
        console.result(line)
    for verdict in outcome.broken:
        console.say(f'limit broken: {verdict.text}')
    report = as_json(outcome, pictures, str(arguments.params_file), sorted(plots), exit_code)
    if arguments.output is not None:
        _write(arguments.output, plots, report)
    console.result_json(report)
    return exit_code


def _pictures(arguments: Arguments) -> Pictures:
    if arguments.pictures is not None:
        return pictures_of_folder(arguments.pictures)
    if arguments.bag is not None:
        return pictures_of_bag(arguments.bag, arguments.topic)
    return made_pictures(arguments.sizes)


def _plots(outcome: Outcome, arguments: Arguments, console: Console) -> dict[str, bytes]:
    if arguments.output is None:
        return {}
    try:
        return draw(outcome)
    except RuntimeNotAvailableError as error:
        console.warn(f'nothing is drawn: {error}')
        return {}


def _make_folder(folder: Path) -> None:
    """Refuse what cannot be written before hours of measuring."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f'.{REPORT}.probe'
        write_atomically(probe, b'')
        probe.unlink()
    except OSError as error:
        raise ConfigurationError(f'--output {write_problem(error, folder / REPORT)}') from error


def _write(folder: Path, plots: dict[str, bytes], report: dict[str, Any]) -> None:
    text = json.dumps(report, indent=2, allow_nan=False) + '\n'
    try:
        # Those of an earlier run would be taken for this one's.
        for name in (LATENCY, SOAK):
            (folder / name).unlink(missing_ok=True)
        for name, data in {**plots, REPORT: text.encode()}.items():
            write_atomically(folder / name, data, _FILE_MODE)
    except OSError as error:
        raise OutputError(f'{write_problem(error, folder / REPORT)}; the result is printed only'
                          ) from error


if __name__ == '__main__':
    sys.exit(main())
