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

"""replay.launch.py: the bag is played once the node is active."""

import os
import unittest

from launch_bench import domain
from launch_bench import folder
from launch_bench import include
from launch_bench import player
from client import Client  # noqa: I100
from harness import dummy_model
from harness import dummy_parameters
from launch import LaunchDescription
import launch_testing
import launch_testing.actions
import launch_testing.asserts
from node_process import write_parameters
import pytest


@pytest.mark.launch_test
def generate_test_description():
    """Start the node and the stand-in for `ros2`."""
    os.environ['PATH'] = player(folder() / 'bin', 'sleep 600')
    # Two seconds of warm-up, so that the player could be too early.
    parameters = write_parameters(folder() / 'parameters.yaml', dummy_parameters(
        dummy_model(folder() / 'model.yaml', latency_s=1.0)))
    return LaunchDescription([
        include('replay.launch.py', bag='/bags/a street', rate='0.5', name='eyes',
                params_file=parameters, image_topic='/front/image', log_level='info'),
        launch_testing.actions.ReadyToTest()])


class TestWhileItRuns(unittest.TestCase):
    """The node and its player."""

    def test_the_bag_is_played_once_the_node_is_active(self):
        record = folder() / 'bin' / 'called'
        client = Client(domain().id, '/eyes')
        try:
            while client.state() != 'active':
                # Configuring takes two seconds.
                assert not record.exists() or client.state() == 'active'
            client.wait(record.exists, 'the bag is played')
            assert record.read_text().split() == (
                'bag play /bags/a street --clock 250 --rate 0.5'.split())
            assert client.get_parameters(['use_sim_time', 'autostart']) == {
                'use_sim_time': True, 'autostart': True}
            assert client.camera('/front/image').deliver(client.detections()).detections
        finally:
            client.close()


@launch_testing.post_shutdown_test()
class TestAfterTheEnd(unittest.TestCase):
    """Everything has ended."""

    def test_the_node_ends_cleanly(self, proc_info):
        launch_testing.asserts.assertExitCodes(proc_info, process='inference_node')
