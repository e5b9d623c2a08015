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

"""inference.launch.py: every argument reaches the node, which comes up, comes back and ends."""

import os
import signal
import unittest

from launch_bench import domain
from launch_bench import environment_of
from launch_bench import folder
from launch_bench import include
from launch_bench import pids_of
from launch_bench import SHARE
from client import Client  # noqa: I100
from harness import BOXES
from harness import boxes_of
from harness import dummy_model
from harness import dummy_parameters
from launch import LaunchDescription
import launch_testing
import launch_testing.actions
import launch_testing.asserts
from node_process import write_parameters
import pytest

#: Found again among all processes of the machine.
NAMESPACE = f'vehicle_{os.getpid()}'
FULL_NAME = f'/{NAMESPACE}/eyes'


@pytest.mark.launch_test
@launch_testing.parametrize('autostart', ['true', 'false'])
def generate_test_description(autostart):
    """Start the node with another value for every argument."""
    parameters = write_parameters(
        folder() / 'parameters.yaml', dummy_parameters(dummy_model(folder() / 'model.yaml')))
    return LaunchDescription([
        include('inference.launch.py', name='eyes', namespace=NAMESPACE, params_file=parameters,
                image_topic='/front/image', autostart=autostart, log_level='debug',
                respawn='true', use_sim_time='false'),
        launch_testing.actions.ReadyToTest()])


class TestWhileItRuns(unittest.TestCase):
    """The node in a graph."""

    def setUp(self):
        self.client = Client(domain().id, FULL_NAME)

    def tearDown(self):
        self.client.close()

    def test_the_node_is_up_as_it_was_asked_for(self, autostart, proc_output):
        client = self.client
        wanted = 'active' if autostart == 'true' else 'unconfigured'
        client.wait(lambda: client.state() == wanted, f'the node is {wanted}')
        parameters = client.get_parameters(['autostart', 'use_sim_time', 'runtime'])
        assert parameters == {'autostart': autostart == 'true', 'use_sim_time': False,
                              'runtime': 'dummy'}
        proc_output.assertWaitFor('[DEBUG]', timeout=10)
        if autostart == 'true':
            array = client.camera('/front/image').deliver(client.detections())
            assert boxes_of(array) == [pytest.approx(row) for row in BOXES]
        else:
            for _ in range(2):
                assert client.status('lifecycle')['state'] == 'unconfigured'

    def test_the_profile_for_images_is_in_force(self):
        self.client.state()
        pid, = pids_of('inference_node', f'__ns:=/{NAMESPACE}')
        environment = environment_of(pid)
        for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
            assert environment[name] == str(SHARE / 'config' / 'fastdds_images.xml')

    def test_zz_a_node_that_ends_comes_back(self, autostart):
        client = self.client
        client.state()
        first, = pids_of('inference_node', f'__ns:=/{NAMESPACE}')
        os.kill(first, signal.SIGTERM)

        def is_back():
            return [pid for pid in pids_of('inference_node', f'__ns:=/{NAMESPACE}')
                    if pid != first]

        client.wait(is_back, 'another process')
        wanted = 'active' if autostart == 'true' else 'unconfigured'
        client.wait(lambda: client.state() == wanted, f'the new node is {wanted}')


@launch_testing.post_shutdown_test()
class TestAfterTheEnd(unittest.TestCase):
    """The node has ended."""

    def test_exit_codes_are_good(self, proc_info):
        launch_testing.asserts.assertExitCodes(proc_info)

    def test_nothing_is_left_behind(self):
        assert not pids_of('inference_node', f'__ns:=/{NAMESPACE}')
