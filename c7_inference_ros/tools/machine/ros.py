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

"""ROS 2: the distribution, its Python packages, the middleware, and how far it is heard."""

from __future__ import annotations

from dataclasses import dataclass
import os
from pathlib import Path
import re
import shlex

from c7_inference_ros.parameter_spec import nearest
from c7_inference_ros.resources import PACKAGE
from c7_inference_ros.tools.machine.board import Board
from c7_inference_ros.tools.machine.dds_profile import is_shipped
from c7_inference_ros.tools.machine.dds_profile import profile_in_force
from c7_inference_ros.tools.machine.dds_profile import read_profile
from c7_inference_ros.tools.machine.dds_profile import shipped_path
from c7_inference_ros.tools.machine.dds_profile import variable_for
from c7_inference_ros.tools.machine.findings import Finding
from c7_inference_ros.tools.machine.findings import Verdict
from c7_inference_ros.tools.machine.libraries import Library
from c7_inference_ros.tools.machine.remedies import DISTRIBUTIONS
from c7_inference_ros.tools.machine.remedies import Remedies
from c7_inference_ros.tools.machine.surroundings import Surroundings

SECTION = 'ROS 2'
DEFAULT_RMW = 'rmw_fastrtps_cpp'
_TESTED = ('humble', 'jazzy')
_RANGES = ('SUBNET', 'LOCALHOST', 'OFF', 'SYSTEM_DEFAULT', 'NOT_SET')
#: Larger domains take ports that Linux gives to clients of its own.
MAX_DOMAIN, SAFE_DOMAIN = 232, 101


@dataclass(frozen=True)
class Ros:
    """
    ROS 2 as it is set up here.

    :param distribution: the one that is sourced; empty when none is.
    :param installed: those that lie in ``/opt/ros``.
    :param library: what rclpy said.
    :param prefixes: folders of the ament index.
    """

    distribution: str
    installed: tuple[str, ...]
    library: Library
    prefixes: tuple[Path, ...]

    def has(self, resource: str, name: str) -> bool:
        """Return whether the ament index has an entry."""
        return any((prefix / 'share/ament_index/resource_index' / resource / name).exists()
                   for prefix in self.prefixes)

    def resources(self, resource: str) -> list[str]:
        """Return the names of the entries of one kind."""
        names: set[str] = set()
        for prefix in self.prefixes:
            try:
                names.update(os.listdir(prefix / 'share/ament_index/resource_index' / resource))
            except OSError:
                continue
        return sorted(names)


def look_at_ros(around: Surroundings, library: Library) -> Ros:
    """Return how ROS 2 is set up."""
    try:
        installed = sorted(path.name for path in (around.root / 'opt/ros').iterdir()
                           if (path / 'setup.bash').exists())
    except OSError:
        installed = []
    prefixes = [Path(prefix) for prefix in around.environ.get(
        'AMENT_PREFIX_PATH', '').split(os.pathsep) if prefix]
    return Ros(around.environ.get('ROS_DISTRO', ''), tuple(installed), library, tuple(prefixes))


def ros_findings(around: Surroundings, board: Board, ros: Ros, remedies: Remedies
                 ) -> list[Finding]:
    """Return the lines about ROS 2."""
    found = [_distribution(board, ros, remedies), _rclpy(board, ros, remedies)]
    if ros.library.is_good or ros.distribution:
        found += [_package(ros), _middleware(around, ros, remedies)]
    found += [_domain(around), _discovery(around, ros.distribution)]
    if _rmw(around).startswith('rmw_fastrtps'):
        found.append(_profile(around, ros.distribution))
    return found


def _rmw(around: Surroundings) -> str:
    return around.environ.get('RMW_IMPLEMENTATION') or DEFAULT_RMW


def _distribution(board: Board, ros: Ros, remedies: Remedies) -> Finding:
    values = {'distribution': ros.distribution, 'installed': list(ros.installed)}
    if ros.distribution in _TESTED:
        return Finding(SECTION, 'distribution', Verdict.OK, ros.distribution, values=values)
    if ros.distribution:
        return Finding(SECTION, 'distribution', Verdict.WARN, ros.distribution,
                       f'this package is tested with {" and ".join(_TESTED)}', values=values)
    if ros.library.is_good:
        return Finding(SECTION, 'distribution', Verdict.OK,
                       'none is sourced; rclpy is installed as a Python package', values=values)
    if ros.installed:
        best = next((name for name in ros.installed if name in _TESTED), ros.installed[-1])
        return Finding(SECTION, 'distribution', Verdict.MISSING,
                       f'{", ".join(ros.installed)} is installed and not sourced in this shell',
                       commands=(f'source /opt/ros/{best}/setup.bash',), values=values)
    return Finding(SECTION, 'distribution', Verdict.MISSING, 'ROS 2 is not installed',
                   'the node needs it; replay, benchmark and compile_engine do not',
                   _install_ros(board, remedies), values=values)


def _install_ros(board: Board, remedies: Remedies) -> tuple[str, ...]:
    if 'ubuntu' in board.identifiers and board.codename in DISTRIBUTIONS:
        return remedies.ros('', 'ros-base')
    return ('docker run -it --rm --net=host --ipc=host ros:jazzy',)


def _rclpy(board: Board, ros: Ros, remedies: Remedies) -> Finding:
    library, values = ros.library, ros.library.as_dict()
    if library.state == 'absent':
        commands = ((f'source /opt/ros/{ros.installed[-1]}/setup.bash',) if ros.installed
                    else remedies.ros(ros.distribution, 'rclpy') or _install_ros(board, remedies))
        return Finding(SECTION, 'rclpy', Verdict.MISSING, 'not installed for this Python',
                       'the node is written with it', commands, True, values)
    absent = library.values.get('absent') or []
    if absent:
        packages = dict.fromkeys(str(one).partition('/')[0] for one in absent)
        return Finding(SECTION, 'rclpy', Verdict.MISSING,
                       f'{library.version}, messages are missing: {"; ".join(map(str, absent))}',
                       'the node does not start without them; LabelInfo needs vision_msgs 4',
                       remedies.ros(ros.distribution, *packages), True, values)
    if not library.is_good:
        return Finding(SECTION, 'rclpy', Verdict.MISSING,
                       f'installed, and does not work: {library.problem}',
                       'source one distribution only, that of this Python',
                       remedies.ros(ros.distribution, 'rclpy', 'rmw_fastrtps_cpp'), True, values)
    return Finding(SECTION, 'rclpy', Verdict.OK,
                   f'{library.version or "works"}, all messages of the node load',
                   values=values)


def _package(ros: Ros) -> Finding:
    if ros.has('packages', PACKAGE):
        return Finding(SECTION, 'this package', Verdict.OK, 'ros2 run and ros2 launch find it')
    return Finding(SECTION, 'this package', Verdict.WARN,
                   f'ros2 run and ros2 launch do not find {PACKAGE}',
                   'python -m works; for the others build it in its workspace',
                   (f'colcon build --packages-select {PACKAGE}', 'source install/setup.bash'))


def _middleware(around: Surroundings, ros: Ros, remedies: Remedies) -> Finding:
    wanted = _rmw(around)
    asked = 'RMW_IMPLEMENTATION' if around.environ.get('RMW_IMPLEMENTATION') else 'the default'
    known = ros.resources('rmw_typesupport')
    values = {'wanted': wanted, 'installed': known, 'loaded': ros.library.values.get('rmw', '')}
    if known and wanted not in known:
        near = nearest(wanted, known)
        hint = f'; did you mean {near}?' if near else ''
        commands = remedies.ros(ros.distribution, wanted)
        if near:
            commands = (f'export RMW_IMPLEMENTATION={near}',)
        return Finding(SECTION, 'middleware', Verdict.MISSING,
                       f'{wanted} ({asked}) is not installed, there are {", ".join(known)}{hint}',
                       'no node starts with it', commands, True, values)
    loaded = ros.library.values.get('rmw', '')
    if loaded and loaded != wanted:
        return Finding(SECTION, 'middleware', Verdict.WARN, f'{loaded} is loaded, not {wanted}',
                       'every process of the graph should have the same',
                       (f'export RMW_IMPLEMENTATION={wanted}',), values=values)
    if not loaded:
        return Finding(SECTION, 'middleware', Verdict.UNKNOWN, f'{wanted} ({asked}), not tried',
                       values=values)
    return Finding(SECTION, 'middleware', Verdict.OK, f'{loaded} ({asked})', values=values)


def _domain(around: Surroundings) -> Finding:
    text = around.environ.get('ROS_DOMAIN_ID', '')
    values = {'ROS_DOMAIN_ID': text}
    if not text:
        return Finding(SECTION, 'domain', Verdict.OK, '0 (ROS_DOMAIN_ID is not set)',
                       values=values)
    if not re.fullmatch(r'\d{1,9}', text) or int(text) > MAX_DOMAIN:
        return Finding(SECTION, 'domain', Verdict.MISSING, f'ROS_DOMAIN_ID is {text!r}',
                       f'expected a number from 0 to {MAX_DOMAIN}; no node starts with it',
                       ('unset ROS_DOMAIN_ID',), True, values)
    if int(text) > SAFE_DOMAIN:
        return Finding(SECTION, 'domain', Verdict.WARN, f'{text}',
                       f'above {SAFE_DOMAIN} its ports may be taken by other programs',
                       (f'export ROS_DOMAIN_ID={int(text) % (SAFE_DOMAIN + 1)}',), values=values)
    return Finding(SECTION, 'domain', Verdict.OK, text, values=values)


def _discovery(around: Surroundings, distribution: str) -> Finding:
    only = around.environ.get('ROS_LOCALHOST_ONLY', '')
    range_ = around.environ.get('ROS_AUTOMATIC_DISCOVERY_RANGE', '')
    values = {'ROS_LOCALHOST_ONLY': only, 'ROS_AUTOMATIC_DISCOVERY_RANGE': range_}
    if range_ and range_ not in _RANGES:
        near = nearest(range_.upper(), _RANGES) or 'SUBNET'
        return Finding(SECTION, 'discovery', Verdict.WARN,
                       f'ROS_AUTOMATIC_DISCOVERY_RANGE is {range_!r}',
                       f'expected one of {", ".join(_RANGES[:4])}',
                       (f'export ROS_AUTOMATIC_DISCOVERY_RANGE={near}',), values=values)
    if range_ == 'OFF':
        return Finding(SECTION, 'discovery', Verdict.WARN, 'OFF',
                       'no node finds another, not even on this machine',
                       ('export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST',), values=values)
    if range_ and distribution == 'humble':
        return Finding(SECTION, 'discovery', Verdict.WARN,
                       f'ROS_AUTOMATIC_DISCOVERY_RANGE is {range_}, which humble does not know',
                       commands=(f'export ROS_LOCALHOST_ONLY={int(range_ == "LOCALHOST")}',),
                       values=values)
    if only == '1' and range_ not in ('', 'LOCALHOST'):
        return Finding(SECTION, 'discovery', Verdict.WARN,
                       f'ROS_LOCALHOST_ONLY is 1 and ROS_AUTOMATIC_DISCOVERY_RANGE {range_}',
                       'the first, which is deprecated, goes over the second',
                       ('unset ROS_LOCALHOST_ONLY',), values=values)
    local = only == '1' or range_ == 'LOCALHOST'
    return Finding(SECTION, 'discovery', Verdict.OK,
                   'this machine only' if local else 'the local network', values=values)


def _profile(around: Surroundings, distribution: str) -> Finding:
    variable = variable_for(distribution)
    profile = profile_in_force(around, distribution)
    values: dict[str, object] = {'variable': variable,
                                 'path': str(profile.path) if profile else ''}
    shipped = shipped_path()
    command = (f'export {variable}={shlex.quote(str(shipped))}',)
    if profile is None:
        return Finding(SECTION, 'Fast DDS profile', Verdict.WARN,
                       f'none is in force ({variable} is not set)',
                       'most camera images are then lost between processes; the launch file sets '
                       'it for the node, whoever sends images needs it as well', command,
                       values=values)
    values.update(segment_bytes=profile.segment_bytes, socket_bytes=profile.socket_bytes)
    if profile.problem:
        return Finding(SECTION, 'Fast DDS profile', Verdict.MISSING,
                       f'{profile.path} {profile.problem}',
                       'Fast DDS goes on without it, and most images are lost', command,
                       values=values)
    if around.environ.get('RMW_FASTRTPS_USE_QOS_FROM_XML', '0') not in ('', '0'):
        return Finding(SECTION, 'Fast DDS profile', Verdict.WARN,
                       f'{profile.path}, and RMW_FASTRTPS_USE_QOS_FROM_XML is set',
                       'the QoS of nodes is then taken from the file and not from the nodes',
                       ('unset RMW_FASTRTPS_USE_QOS_FROM_XML',), values=values)
    if is_shipped(profile):
        return Finding(SECTION, 'Fast DDS profile', Verdict.OK,
                       f'{profile.path}, the one for images of this package', values=values)
    wanted = read_profile(shipped).segment_bytes
    if profile.segment_bytes < wanted:
        return Finding(SECTION, 'Fast DDS profile', Verdict.WARN,
                       f'{profile.path} has {profile.segment_bytes} bytes of shared memory',
                       f'the profile of this package has {wanted}, which images need', command,
                       values=values)
    return Finding(SECTION, 'Fast DDS profile', Verdict.OK,
                   f'{profile.path}, {profile.segment_bytes} bytes of shared memory',
                   values=values)
