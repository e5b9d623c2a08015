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

"""Play a rosbag into the inference node: the bag starts once the node is active."""

from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.actions import EmitEvent
from launch.actions import ExecuteProcess
from launch.actions import IncludeLaunchDescription
from launch.actions import OpaqueFunction
from launch.actions import RegisterEventHandler
from launch.actions import TimerAction
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.ros_adapters import get_ros_node
from lifecycle_msgs.srv import GetState

LOOK_S = 0.1
ASK_AGAIN = 20
PASSED_ON = ('name', 'namespace', 'params_file', 'image_topic', 'log_level', 'fastdds_profile')


def generate_launch_description() -> LaunchDescription:
    """Include ``inference.launch.py`` with simulated time and add ``ros2 bag play``."""
    share = Path(get_package_share_directory('c7_inference_ros'))
    arguments = [
        DeclareLaunchArgument('bag', description='Folder or file of the rosbag.'),
        DeclareLaunchArgument(
            'rate', default_value='1.0', description='Factor of the recorded speed.'),
        DeclareLaunchArgument(
            'name', default_value='c7_inference', description='Name of the node.'),
        DeclareLaunchArgument(
            'namespace', default_value='', description='Namespace of the node.'),
        DeclareLaunchArgument(
            'params_file', default_value=str(share / 'config' / 'inference.yaml'),
            description='YAML file with the parameters of the node.'),
        DeclareLaunchArgument(
            'image_topic', default_value='camera/image_raw',
            description='Topic of the bag that takes the place of camera/image_raw.'),
        DeclareLaunchArgument(
            'log_level', default_value='info',
            choices=['debug', 'info', 'warn', 'error', 'fatal'],
            description='Least severity that is logged.'),
        DeclareLaunchArgument(
            'fastdds_profile', default_value=str(share / 'config' / 'fastdds_images.xml'),
            description='Fast DDS profile that carries images over shared memory.'),
    ]
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(share / 'launch' / 'inference.launch.py')),
        launch_arguments=[
            *((name, LaunchConfiguration(name)) for name in PASSED_ON),
            ('use_sim_time', 'true'), ('autostart', 'true')])
    # 250 Hz: the default of 40 Hz would add up to 25 ms to every age the node measures.
    player = ExecuteProcess(
        cmd=['ros2', 'bag', 'play', LaunchConfiguration('bag'), '--clock', '250',
             '--rate', LaunchConfiguration('rate')],
        output='screen')
    # Whichever ends first, the bag or the node, takes the rest along.
    stop = RegisterEventHandler(OnProcessExit(
        on_exit=[EmitEvent(event=Shutdown(reason='the bag or the node has ended'))],
        handle_once=True))
    return LaunchDescription([
        *arguments, stop, node, OpaqueFunction(function=WhenActive([player]))])


class WhenActive:
    """
    Asks the node for its state until it is active, and starts something then.

    The event of the transition is no substitute: a small model is active before launch has
    discovered the node, and the bag would never start.

    :param actions: what to start.
    """

    def __init__(self, actions: list) -> None:
        """Ask nothing yet."""
        self._actions = actions
        self._client: Any = None
        self._answer: Any = None
        self._looks = 0

    def __call__(self, context: LaunchContext) -> list:
        """Look for the answer; return the actions, or a timer that looks again."""
        if self._client is None:
            names = (LaunchConfiguration(name).perform(context) for name in ('namespace', 'name'))
            name = ''.join(f'/{part}' for part in (name.strip('/') for name in names) if part)
            self._client = get_ros_node(context).create_client(GetState, f'{name}/get_state')
        if self._answer is not None and self._answer.done():
            if self._answer.result().current_state.label == 'active':
                return self._actions
            self._answer = None
        self._looks += 1
        # An answer can be lost while both sides still discover each other: ask again.
        if (self._answer is None or self._looks % ASK_AGAIN == 0) and (
                self._client.service_is_ready()):
            self._answer = self._client.call_async(GetState.Request())
        return [TimerAction(period=LOOK_S, actions=[OpaqueFunction(function=self)])]
