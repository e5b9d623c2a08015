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

"""Which ROS graph a test lives in: a domain of its own, on this machine only."""

import itertools
import os
from pathlib import Path
import socket

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / 'shared'
#: Above 101 the ports of DDS meet those that Linux hands out to clients.
DOMAINS = range(1, 102)
_first = itertools.count(os.getpid())


def isolate(log_folder):
    """Set what every process that joins a graph reads; for conftest, before the first context."""
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    for name in ('ROS_STATIC_PEERS', 'ROS_DISCOVERY_SERVER', 'ROS_LOCALHOST_ONLY',
                 'ROS_DOMAIN_ID', 'ROS_NAMESPACE', 'RMW_FASTRTPS_USE_QOS_FROM_XML'):
        os.environ.pop(name, None)
    for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
        os.environ[name] = str(ROOT / 'config' / 'fastdds_images.xml')
    os.environ['ROS_LOG_DIR'] = str(log_folder)
    os.environ['RCUTILS_COLORIZED_OUTPUT'] = '0'


class Domain:
    """
    A ROS domain that nobody else on this machine uses, until it is closed.

    An abstract socket is the lock: the kernel takes it back when the process ends, however.
    """

    def __init__(self):
        """Take the first free one, beginning somewhere else in each process."""
        begin = next(_first)
        for step in range(len(DOMAINS)):
            self.id = DOMAINS[(begin + step) % len(DOMAINS)]
            self._lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                self._lock.bind(f'\0c7_inference_ros_test_domain_{self.id}')
            except OSError:
                self._lock.close()
                continue
            if _are_ports_free(self.id):
                return
            self._lock.close()
        raise RuntimeError('every ROS domain from 1 to 101 is in use on this machine')

    def close(self):
        """Give the domain back."""
        self._lock.close()


def _are_ports_free(domain_id):
    base = 7400 + 250 * domain_id
    return all(_can_bind(base + offset) for offset in (0, 1, 10, 11, 12, 13))


def _can_bind(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(('', port))
        except OSError:
            return False
    return True
