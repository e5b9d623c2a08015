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

"""Options of the command line for the regression gate, and for several bags."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Generic
from typing import Sequence
from typing import TypeVar

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.replaying.bag_list import is_folder_of_bags
from c7_inference_ros.tools.replaying.bag_list import replay_options
from c7_inference_ros.tools.replaying.baseline import Limits

One = TypeVar('One')
_MAX_JOBS = 256
_DEFAULTS = Limits()


@dataclass(frozen=True)
class ManyRequest(Generic[One]):
    """
    A replay of several bags.

    :param one: what is asked of each bag; its bag and output are those of the run.
    :param paths: of bags, and of folders of bags.
    :param options: of the command line for the replay of each bag.
    :param jobs: most bags at a time on this machine.
    :param scheduler: address of a Dask scheduler; empty for this machine.
    :param is_resuming: whether what an earlier run finished is kept.
    """

    one: One
    paths: Sequence[Path]
    options: Sequence[str]
    jobs: int = 1
    scheduler: str = ''
    is_resuming: bool = False


def add_gate_options(parser: argparse.ArgumentParser) -> None:
    """Let a command line take a baseline and what is still no regression."""
    group = parser.add_argument_group(
        'comparison with an earlier replay', 'Exit code 1 for a regression; one line for each.')
    group.add_argument('--baseline', metavar='REPORT', default='',
                       help='report.json of an earlier replay, with its detections.jsonl beside '
                            'it; of several bags for several bags')
    group.add_argument('--max-map-drop', metavar='X', default='',
                       help=f'largest loss of mAP50-95, where both have ground truth; '
                            f'{_DEFAULTS.map_drop:g} unless given')
    group.add_argument('--max-p95-ratio', metavar='R', default='',
                       help=f'largest ratio of the 95th percentiles of a stage, beyond what the '
                            f'number of frames leaves in doubt; {_DEFAULTS.p95_ratio:g} unless '
                            f'given')
    group.add_argument('--max-changed', metavar='SHARE', default='',
                       help='largest share of frames with detections that are lost, new, moved or '
                            'have another score, 0 to 1; unless given 0, and any for models whose '
                            'mAP is compared')
    group.add_argument('--any-machine', action='store_true',
                       help='compare latencies also where machine, power mode, clocks or heat '
                            'were others')


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Let a command line take what is for several bags."""
    group = parser.add_argument_group(
        'several bags', 'DIR gets a folder for each bag and one report over all.')
    group.add_argument('--jobs', metavar='N', default='',
                       help='bags at a time, each in a process of its own; 1 unless given')
    group.add_argument('--scheduler', metavar='ADDRESS', default='',
                       help='replay on the workers of a Dask cluster, which see bags, models and '
                            'DIR at the same paths; needs dask[distributed]')
    group.add_argument('--resume', action='store_true',
                       help='keep what an earlier run into DIR finished with the same bags, '
                            'models and parameters')


def limits_of(values: argparse.Namespace) -> Limits:
    """
    Return what is still no regression.

    :raises ConfigurationError: a limit is no number or out of range, or without a baseline.
    """
    given = {flag: getattr(values, flag[2:].replace('-', '_')) for flag in (
        '--max-map-drop', '--max-p95-ratio', '--max-changed', '--any-machine')}
    alone = [flag for flag, value in given.items() if value]
    if alone and not values.baseline:
        raise ConfigurationError(f'{alone[0]} says something of a comparison, and nothing is '
                                 f'compared; give --baseline too')
    return Limits(
        _number('--max-map-drop', values.max_map_drop, 0.0, 1.0, _DEFAULTS.map_drop),
        _number('--max-p95-ratio', values.max_p95_ratio, 1.0, 1000.0, _DEFAULTS.p95_ratio),
        _number('--max-changed', values.max_changed, 0.0, 1.0, 0.0) if values.max_changed
        else None, values.any_machine)


def many_of(parser: argparse.ArgumentParser, values: argparse.Namespace, one: One
            ) -> ManyRequest[One] | None:
    """
    Return the request for several bags; None when one is to be replayed.

    :raises ConfigurationError: options are not good.
    """
    paths = [Path(path).expanduser() for path in values.bag]
    is_many = (len(paths) > 1 or values.jobs or values.scheduler or values.resume
               or is_folder_of_bags(paths[0]))
    if not is_many:
        return None
    if values.jobs and values.scheduler:
        raise ConfigurationError('--jobs and --scheduler exclude each other: the workers of the '
                                 'cluster say how many bags are replayed at a time')
    if values.resume and values.overwrite:
        raise ConfigurationError('--resume keeps what --overwrite replaces; give one of them')
    jobs = values.jobs or '1'
    if not jobs.isdecimal() or not 1 <= int(jobs) <= _MAX_JOBS:
        raise ConfigurationError(f'--jobs is {jobs!r}, expected a whole number from 1 to '
                                 f'{_MAX_JOBS}')
    return ManyRequest(one, paths, replay_options(parser, values), int(jobs), values.scheduler,
                       values.resume)


def _number(flag: str, text: str, low: float, high: float, default: float) -> float:
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        raise ConfigurationError(f'{flag} is {text!r}, expected a number from {low:g} to {high:g}')
    return number
