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

"""Which bags are replayed, and where the results of each go."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any
from typing import Iterable
from typing import Sequence

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.replaying.outputs import REPORT

#: Below the folder of a run, the folder with a folder for each bag.
BAGS = 'bags'
_METADATA = 'metadata.yaml'
_ROSBAG2, _ROS1 = ('.mcap', '.db3'), ('.bag',)
_COMPRESSED = '.zstd'
#: Options that are for the whole run, not for the replay of each bag.
_OF_THE_RUN = ('bag', 'output', 'overwrite', 'json', 'jobs', 'scheduler', 'resume', 'baseline',
               'help')


def find_bags(paths: Sequence[Path]) -> list[Path]:
    """
    Return the bags among paths and in folders; each once, those of a folder by name.

    :raises ConfigurationError: a path does not exist, or a folder has no bag.
    """
    problems, found = [], []
    for path in paths:
        if not path.exists():
            problems.append(f'{path} does not exist; expected a bag or a folder of bags')
        elif is_folder_of_bags(path):
            found += _bags_of(path)
        elif path.is_dir() and not _has_bag(path):
            problems.append(f'{path} has no bag in it; expected a bag or a folder of bags')
        else:
            found.append(path)
    if problems:
        raise ConfigurationError(problems)
    once: dict[str, Path] = {}
    for path in found:
        once.setdefault(os.path.realpath(path), path)
    return list(once.values())


def is_folder_of_bags(path: Path) -> bool:
    """Return whether a path is no bag itself but has bags in it."""
    if not path.is_dir() or (path / _METADATA).exists():
        return False
    bags = _bags_of(path)
    recordings = [bag for bag in bags if bag.is_file() and _is_recording(bag, _ROSBAG2)]
    # Recordings without metadata.yaml are a bag that was not closed, when there is but one or
    # when they are named after their folder.
    is_bag = len(recordings) == len(bags) and (len(bags) == 1 or all(
        bag.name.startswith((f'{path.name}.', f'{path.name}_')) for bag in bags))
    return bool(bags) and not is_bag


def unique_names(bags: Iterable[Path]) -> list[str]:
    """Return a name for each bag; equal ones are numbered."""
    names: list[str] = []
    for bag in bags:
        name = bag.absolute().name
        number, chosen = 1, name
        while chosen in names:
            number += 1
            chosen = f'{name}_{number}'
        names.append(chosen)
    return names


def replay_options(parser: argparse.ArgumentParser, values: argparse.Namespace) -> list[str]:
    """Return the options that the replay of each bag gets, as they were given."""
    options = []
    for action in parser._actions:
        value = getattr(values, action.dest, None)
        if action.dest in _OF_THE_RUN or not action.option_strings or value == action.default:
            continue
        flag = action.option_strings[-1]
        if value is True:
            options.append(flag)
        else:
            options += [f'{flag}={one}' for one in (
                value if isinstance(value, list) else [value])]
    return options


def baselines(path: Path) -> dict[str, Path]:
    """
    Return the report of each bag of an earlier run over several, by name.

    :raises ConfigurationError: it is no such run.
    """
    file = path / REPORT if path.is_dir() else path
    try:
        report: Any = json.loads(file.read_bytes())
        return {bag['name']: file.parent / bag['folder'] / REPORT for bag in report['bags']}
    except OSError as error:
        raise ConfigurationError(f'--baseline {file} cannot be read ({error.strerror}); expected '
                                 f'{REPORT} of an earlier replay of several bags') from error
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f'--baseline {file} is not of a replay of several bags; expected '
                                 f'{REPORT} of such a run') from error


def _bags_of(folder: Path) -> list[Path]:
    try:
        return [path for path in sorted(folder.iterdir())
                if (_has_bag(path) if path.is_dir() else _is_recording(path, _ROS1 + _ROSBAG2))]
    except OSError as error:
        raise ConfigurationError(f'{folder} cannot be looked into ({error.strerror})') from error


def _has_bag(folder: Path) -> bool:
    try:
        return any(path.name == _METADATA or _is_recording(path, _ROSBAG2)
                   for path in folder.iterdir())
    except OSError:
        return False


def _is_recording(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.name.removesuffix(_COMPRESSED).endswith(suffixes)
