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

"""What the tests of launch files share: the graph of the node tests, and their helpers."""

import functools
import os
from pathlib import Path
import sys
import tempfile

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / 'node'))

for name in ('launch_ros', 'launch_testing'):
    pytest.importorskip(name, reason=f'{name} of ROS 2 is not installed; PyPI has none')

from ament_index_python.packages import get_package_share_directory  # noqa: E402, I100
from ament_index_python.packages import PackageNotFoundError  # noqa: E402
from graph import Domain  # noqa: E402
from graph import isolate  # noqa: E402
from graph import ROOT  # noqa: E402
from launch.actions import IncludeLaunchDescription  # noqa: E402
from launch.launch_description_sources import PythonLaunchDescriptionSource  # noqa: E402

try:
    SHARE = Path(get_package_share_directory('c7_inference_ros'))
except PackageNotFoundError:
    pytest.skip('c7_inference_ros is not installed: colcon build it and source its setup file',
                allow_module_level=True)


@functools.lru_cache(None)
def folder():
    """Return a folder for the files of the tests in this process."""
    return Path(tempfile.mkdtemp(prefix='c7_launch_'))


@functools.lru_cache(None)
def domain():
    """Return the ROS domain of the tests in this process; launch's own node is in it too."""
    isolate(folder() / 'ros_log')
    # What the launch file sets where nobody else does.
    for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
        os.environ.pop(name, None)
    os.environ['PYTHONUNBUFFERED'] = '1'
    # The node comes from the install space, not from the checkout that the tests are in.
    os.environ['PYTHONPATH'] = os.pathsep.join(
        path for path in os.environ.get('PYTHONPATH', '').split(os.pathsep) if path != str(ROOT))
    taken = Domain()
    os.environ['ROS_DOMAIN_ID'] = str(taken.id)
    return taken


def include(name, /, **arguments):
    """Return the action that includes an installed launch file."""
    domain()
    return IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / 'launch' / name)),
        launch_arguments=[(key, str(value)) for key, value in arguments.items()])


def player(tools, then):
    """
    Write what takes the place of `ros2 bag`, which is no part of launch.

    :param tools: folder of the stand-in and of ``called``, where it writes its arguments.
    :param then: what it does after that.
    :returns: a PATH that begins with the folder.
    """
    tools.mkdir(exist_ok=True)
    stand_in = tools / 'ros2'
    stand_in.write_text(f'#!/bin/sh\necho "$@" > {tools}/new\nmv {tools}/new {tools}/called\n'
                        f'exec {then}\n')
    stand_in.chmod(0o755)
    return f'{tools}{os.pathsep}{os.environ["PATH"]}'


def environment_of(pid):
    """Return the environment that a process was started with."""
    entries = Path(f'/proc/{pid}/environ').read_bytes().split(b'\0')
    return dict(entry.decode(errors='replace').split('=', 1) for entry in entries if b'=' in entry)


def pids_of(*words):
    """Return the processes whose command line has all of some words."""
    found = []
    for entry in Path('/proc').iterdir():
        try:
            command = (entry / 'cmdline').read_bytes().decode(errors='replace').split('\0')
        except (OSError, ValueError):
            continue
        if entry.name.isdigit() and all(any(word in part for part in command)
                                        for word in words):
            found.append(int(entry.name))
    return found
