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

"""The launch files as they are read: arguments, their defaults, and what they refuse."""

import launch_bench
from harness import dummy_model  # noqa: I100
from harness import dummy_parameters
from launch import LaunchContext
from launch import LaunchDescription
from launch import LaunchService
from launch.actions import RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import get_launch_description_from_python_launch_file
from node_process import write_parameters
import pytest

INFERENCE = {'name': 'c7_inference', 'namespace': '', 'params_file': 'inference.yaml',
             'image_topic': 'camera/image_raw', 'use_sim_time': 'false', 'autostart': 'true',
             'log_level': 'info', 'respawn': 'false', 'fastdds_profile': 'fastdds_images.xml'}
REPLAY = {'bag': None, 'rate': '1.0', 'name': 'c7_inference', 'namespace': '',
          'params_file': 'inference.yaml', 'image_topic': 'camera/image_raw',
          'log_level': 'info', 'fastdds_profile': 'fastdds_images.xml'}


def arguments_of(name):
    """Return the default of every argument of a launch file by name; None where it has none."""
    launch_bench.domain()
    description = get_launch_description_from_python_launch_file(
        str(launch_bench.SHARE / 'launch' / name))
    assert isinstance(description, LaunchDescription)
    context = LaunchContext()
    found = {}
    for argument in description.get_launch_arguments():
        assert argument.description
        default = argument.default_value
        text = None if default is None else ''.join(
            part.perform(context) for part in default)
        found.setdefault(argument.name, text)
    return found


@pytest.mark.parametrize(('name', 'expected'), [('inference.launch.py', INFERENCE),
                                                ('replay.launch.py', REPLAY)])
def test_arguments_and_defaults(name, expected):
    found = arguments_of(name)
    assert set(expected) <= set(found)
    for argument, default in expected.items():
        if default and '.' in default and not default[0].isdigit():
            assert (launch_bench.SHARE / 'config' / default) == (
                launch_bench.Path(found[argument]))
            assert launch_bench.Path(found[argument]).is_file()
        else:
            assert found[argument] == default


@pytest.mark.parametrize('wrong', [{'autostart': 'maybe'}, {'use_sim_time': '1'},
                                   {'log_level': 'loud'}, {'respawn': 'ja'}])
def test_an_argument_that_cannot_be_starts_nothing(wrong):
    service = LaunchService()
    service.include_launch_description(LaunchDescription([
        launch_bench.include('inference.launch.py', **wrong)]))
    assert service.run() == 1


def test_a_bag_has_to_be_given():
    service = LaunchService()
    service.include_launch_description(LaunchDescription([
        launch_bench.include('replay.launch.py')]))
    assert service.run() == 1


def test_the_end_of_the_bag_ends_the_node(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', launch_bench.player(tmp_path / 'bin', 'true'))
    parameters = write_parameters(tmp_path / 'parameters.yaml', dummy_parameters(
        dummy_model(tmp_path / 'model.yaml')))
    codes = []
    service = LaunchService()
    service.include_launch_description(LaunchDescription([
        launch_bench.include('replay.launch.py', bag='/bags/street', params_file=parameters),
        RegisterEventHandler(OnProcessExit(
            on_exit=lambda event, context: codes.append(event.returncode)))]))
    assert service.run() == 0
    assert (tmp_path / 'bin' / 'called').read_text() == (
        'bag play /bags/street --clock 250 --rate 1.0\n')
    assert codes == [0, 0]


def test_the_end_of_the_node_ends_everything(tmp_path):
    path = tmp_path / 'parameters.yaml'
    path.write_text('a: [1, 2\nb: }')
    codes = []
    service = LaunchService()
    service.include_launch_description(LaunchDescription([
        launch_bench.include('replay.launch.py', bag='/bags/street', params_file=path),
        RegisterEventHandler(OnProcessExit(
            on_exit=lambda event, context: codes.append(event.returncode)))]))
    service.run()
    assert codes == [2]
