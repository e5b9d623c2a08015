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

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.actions import EmitEvent
from launch.actions import ExecuteProcess
from launch.actions import IncludeLaunchDescription
from launch.actions import RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.event_handlers import OnStateTransition

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
    start = RegisterEventHandler(OnStateTransition(goal_state='active', entities=[player]))
    stop = RegisterEventHandler(OnProcessExit(
        target_action=player, on_exit=[EmitEvent(event=Shutdown(reason='the bag has ended'))]))
    return LaunchDescription([*arguments, node, start, stop])
