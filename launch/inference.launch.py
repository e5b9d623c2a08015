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
Start the inference node on a vehicle.

The node waits, unconfigured, for a lifecycle manager; with ``autostart:=true`` it configures and
activates itself, also when it was respawned.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.actions import GroupAction
from launch.actions import SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import EnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch.substitutions import PythonExpression
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue

BOOLEANS = ['true', 'false']


def generate_launch_description() -> LaunchDescription:
    """Declare every argument at top level, so that ``--show-args`` shows it."""
    share = Path(get_package_share_directory('c7_inference_ros'))
    arguments = [
        DeclareLaunchArgument(
            'name', default_value='c7_inference', description='Name of the node.'),
        DeclareLaunchArgument(
            'namespace', default_value='', description='Namespace of the node.'),
        DeclareLaunchArgument(
            'params_file', default_value=str(share / 'config' / 'inference.yaml'),
            description='YAML file with the parameters of the node.'),
        DeclareLaunchArgument(
            'image_topic', default_value='camera/image_raw',
            description='Topic that takes the place of camera/image_raw.'),
        DeclareLaunchArgument(
            'use_sim_time', default_value='false', choices=BOOLEANS,
            description='Take the time from /clock.'),
        DeclareLaunchArgument(
            'autostart', default_value='true', choices=BOOLEANS,
            description='Configure and activate without a lifecycle manager.'),
        DeclareLaunchArgument(
            'log_level', default_value='info',
            choices=['debug', 'info', 'warn', 'error', 'fatal'],
            description='Least severity that is logged.'),
        DeclareLaunchArgument(
            'respawn', default_value='false', choices=BOOLEANS,
            description='Start the node again when its process ends.'),
        DeclareLaunchArgument(
            'fastdds_profile', default_value=str(share / 'config' / 'fastdds_images.xml'),
            description='Fast DDS profile that carries images over shared memory; it must be in '
                        'force on the camera driver too. Empty leaves the environment as it is.'),
    ]
    # Without a large shared-memory segment most frames of a camera are lost on loopback. A
    # profile that the user set wins.
    profile = GroupAction(
        # Fast DDS 2.x reads the first name, 3.x the second.
        [SetEnvironmentVariable(name, LaunchConfiguration('fastdds_profile'))
         for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')],
        scoped=False,
        condition=IfCondition(PythonExpression([
            '"', LaunchConfiguration('fastdds_profile'), '" != "" and "',
            EnvironmentVariable('FASTRTPS_DEFAULT_PROFILES_FILE', default_value=''),
            EnvironmentVariable('FASTDDS_DEFAULT_PROFILES_FILE', default_value=''),
            '" == ""'])))
    node = LifecycleNode(
        package='c7_inference_ros',
        executable='inference_node',
        name=LaunchConfiguration('name'),
        namespace=LaunchConfiguration('namespace'),
        parameters=[
            LaunchConfiguration('params_file'),
            {'use_sim_time': ParameterValue(LaunchConfiguration('use_sim_time'),
                                            value_type=bool),
             'autostart': ParameterValue(LaunchConfiguration('autostart'), value_type=bool)}],
        remappings=[('camera/image_raw', LaunchConfiguration('image_topic'))],
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
        respawn=LaunchConfiguration('respawn'),
        respawn_delay=2.0,
        output='screen',
        emulate_tty=True,
    )
    return LaunchDescription([*arguments, profile, node])
