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

"""Message definitions for reading and writing bags without a ROS installation."""

from __future__ import annotations

import functools
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FOREVER = (9223372036, 854775807)


@functools.lru_cache(maxsize=None)
def typestore():
    """Return the types of Jazzy with vision_msgs, as installed or as in this checkout."""
    from rosbags.typesys import get_types_from_msg
    from rosbags.typesys import get_typestore
    from rosbags.typesys import Stores
    store = get_typestore(Stores.ROS2_JAZZY)
    types = {}
    for path in sorted(_definitions().glob('*.msg')):
        types.update(get_types_from_msg(path.read_text(), f'vision_msgs/msg/{path.stem}'))
    store.register(types)
    return store


def reliable_qos(depth: int, is_latched: bool = False):
    """Return the QoS that a player of the bag offers for a topic."""
    from rosbags.interfaces import Qos
    from rosbags.interfaces import QosDurability
    from rosbags.interfaces import QosHistory
    from rosbags.interfaces import QosLiveliness
    from rosbags.interfaces import QosReliability
    from rosbags.interfaces import QosTime
    durability = QosDurability.TRANSIENT_LOCAL if is_latched else QosDurability.VOLATILE
    return Qos(QosHistory.KEEP_LAST, depth, QosReliability.RELIABLE, durability,
               QosTime(*FOREVER), QosTime(*FOREVER), QosLiveliness.AUTOMATIC,
               QosTime(*FOREVER), False)


def _definitions() -> Path:
    for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        installed = Path(prefix) / 'share' / 'vision_msgs' / 'msg'
        if prefix and (installed / 'Detection2DArray.msg').is_file():
            return installed
    return ROOT / 'dev' / 'vision_msgs' / 'msg'
