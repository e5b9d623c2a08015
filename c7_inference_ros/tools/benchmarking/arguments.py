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

"""Options of the command line ``benchmark``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.benchmarking.measure import Plan
from c7_inference_ros.tools.command_line import CommandParser

PROGRAM = 'benchmark'
_DESCRIPTION = """\
Measure the models of a parameter file on this machine: every stage of the pipeline, the raw
engine in the same run, memory, loading and heat. Limits decide the exit code: 0 all are kept, 1
one is broken, 2 bad input. See docs/benchmark.md."""
#: Smallest and largest value of the numbers.
_RANGES = {'samples': (20, 1_000_000), 'warm_up': (0, 10_000), 'loads': (0, 1000),
           'duration': (0.0, 7 * 86400.0)}


@dataclass(frozen=True)
class Arguments:
    """
    What was asked for.

    :param sizes: of made pictures; empty for pictures of a folder or a bag.
    :param output: folder of the report and the plots; None writes none.
    """

    params_file: Path
    node_name: str
    models: tuple[str, ...]
    pictures: Path | None
    bag: Path | None
    topic: str
    sizes: tuple[str, ...]
    plan: Plan
    loads: int
    compare: tuple[str, ...]
    limits: Path | None
    output: Path | None


def parse(argv: Sequence[str]) -> Arguments:
    """
    Read the command line.

    :raises ConfigurationError: it cannot be understood.
    """
    values = _parser().parse_args(list(argv))
    problems = [f'--{name.replace("_", "-")} is {value:g}, expected {low:g} to {high:g}'
                for name, (low, high) in _RANGES.items()
                if not low <= (value := getattr(values, name)) <= high]
    if values.topic and values.bag is None:
        problems.append('--topic needs --bag')
    sizes = tuple(filter(None, (values.sizes or '').split(',')))
    if values.sizes is not None and not sizes:
        problems.append('--sizes has no size, expected for example 1280x720')
    if problems:
        raise ConfigurationError(problems)
    return Arguments(
        values.params_file, values.node_name, tuple(values.model), values.pictures, values.bag,
        values.topic, sizes,
        Plan(values.samples, values.warm_up, values.duration), values.loads,
        tuple(values.compare), values.limits, values.output)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog=PROGRAM, description=_DESCRIPTION,
                           formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--params-file', type=Path, required=True, metavar='YAML',
        help='parameter file of the node')
    add('--node-name', default='', help='whose parameters, where the file has several nodes')
    add('--model', action='append', default=[], metavar='NAME',
        help='measure this model only; repeatable')
    pictures = parser.add_mutually_exclusive_group(required=True)
    pictures.add_argument('--pictures', type=Path, metavar='FOLDER',
                          help='JPEG and PNG files to measure on')
    pictures.add_argument('--bag', type=Path, help='rosbag to take images of')
    pictures.add_argument('--sizes', metavar='WxH,...',
                          help='made pictures of these sizes, as 1280x720; nothing is detected')
    add('--topic', default='', help='image topic of the bag, where it has several')
    add('--samples', type=int, default=200, help='pictures that count, of every model '
                                                 '(default: %(default)s)')
    add('--warm-up', type=int, default=20, metavar='PICTURES',
        help='pictures before them (default: %(default)s)')
    add('--duration', type=float, default=0.0, metavar='SECONDS',
        help='measure for at least so long: a soak that shows heat')
    add('--loads', type=int, default=20, metavar='TIMES',
        help='how often each model is loaded for its time (default: %(default)s)')
    add('--compare', action='append', default=[], metavar='AXIS=VALUE,...',
        help='measure several in turn: runtime=..., precision=... or provider=...; repeatable')
    add('--limits', type=Path, metavar='YAML',
        help='limits, as config/benchmark_limits.yaml; those of the parameter file without')
    add('--output', type=Path, metavar='FOLDER',
        help='write benchmark.json and plots as PNG there')
    add('--json', action='store_true', help='print the report as JSON')
    return parser
