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

"""Which ROS graph the demo lives in: its own domain, on this machine only."""

from __future__ import annotations

import os
from pathlib import Path
import random
import socket

from demo.errors import DemoError

PROFILE = Path('config') / 'fastdds_images.xml'
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
# Above 101 the ports of DDS meet those that Linux hands out to clients.
DOMAINS = range(1, 102)


def prepare_environment(root: Path, domain_id: int) -> Path:
    """
    Set what both processes read when they join the graph.

    :returns: the Fast DDS profile that is used: the user's own, or the package's.
    """
    os.environ['ROS_DOMAIN_ID'] = str(domain_id)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    # These would join the graph of the machine that the user works on.
    for variable in ('ROS_STATIC_PEERS', 'ROS_DISCOVERY_SERVER', 'ROS_LOCALHOST_ONLY'):
        os.environ.pop(variable, None)
    os.environ.setdefault('ROS_LOG_DIR', str(root / '.build' / 'demo' / 'ros_log'))
    # Fast DDS 2.x reads the first, 3.x the second.
    for variable in PROFILE_VARIABLES:
        os.environ.setdefault(variable, str(root / PROFILE))
    return Path(os.environ[PROFILE_VARIABLES[0]])


def choose_domain_id(wanted: int | None) -> int:
    """
    Return the wanted domain, or one that nobody on this machine uses.

    :raises DemoError: when the wanted one is out of range, or none is free.
    """
    if wanted is not None:
        if wanted not in range(0, 233):
            raise DemoError(f'--domain-id is {wanted}, expected 0 to 232', exit_code=2)
        return wanted
    for domain_id in random.sample(DOMAINS, len(DOMAINS)):
        if _is_free(domain_id):
            return domain_id
    raise DemoError('every ROS domain from 1 to 101 is in use on this machine; give one with '
                    '--domain-id')


def _is_free(domain_id: int) -> bool:
    base = 7400 + 250 * domain_id
    return all(_can_bind(base + offset) for offset in (0, 1, 10, 11, 12, 13))


def _can_bind(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(('', port))
        except OSError:
            return False
    return True
