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
What messages look like, for reading and writing bags without a ROS installation.

A bag that holds definitions of its messages is read with these; others with those of ROS 2 Jazzy,
whose image messages are those of every ROS 2.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.tools.bags.vision_messages import DEFINITIONS

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
IMAGE_TYPES = (IMAGE, COMPRESSED_IMAGE)
DETECTIONS = 'vision_msgs/msg/Detection2DArray'
LABEL_INFO = 'vision_msgs/msg/LabelInfo'
VISION_INFO = 'vision_msgs/msg/VisionInfo'
#: Topics of these types are sent once and must still reach who comes later.
LATCHED_TYPES = (LABEL_INFO, VISION_INFO)
#: What ROS 2 takes for no limit of a time in a quality of service.
_FOREVER = (9223372036, 854775807)


def require_rosbags(what: str) -> None:
    """
    Check that bags can be read.

    :param what: what cannot be done without, for the message.
    :raises RuntimeNotAvailableError: rosbags is not installed.
    """
    try:
        import rosbags.rosbag2  # noqa: F401
    except ImportError as error:
        raise RuntimeNotAvailableError(
            f'{what} without rosbags ({error}); install it, for example with: '
            f'pip install rosbags') from error


@functools.lru_cache(maxsize=None)
def typestore(is_ros1: bool = False) -> Any:
    """Return the types of Jazzy, or of ROS 1 Noetic, with those of vision_msgs that are needed."""
    from rosbags.typesys import get_types_from_msg
    from rosbags.typesys import get_typestore
    from rosbags.typesys import Stores
    store = get_typestore(Stores.ROS1_NOETIC if is_ros1 else Stores.ROS2_JAZZY)
    if not is_ros1:
        types: dict[str, Any] = {}
        for name, text in _vision_definitions().items():
            types.update(get_types_from_msg(text, f'vision_msgs/msg/{name}'))
        store.register(types)
    return store


def store_of(connection: Any, is_ros1: bool) -> Any:
    """
    Return the types to read one connection with.

    :param connection: of rosbags.
    :raises Exception: of any kind, when its definition cannot be understood.
    """
    from rosbags.interfaces import MessageDefinitionFormat
    from rosbags.typesys import get_types_from_idl
    from rosbags.typesys import get_types_from_msg
    from rosbags.typesys import get_typestore
    from rosbags.typesys import Stores
    text = connection.msgdef.data
    if connection.msgdef.format == MessageDefinitionFormat.NONE or not text.strip():
        return typestore(is_ros1)
    types: dict[str, Any] = {}
    if connection.msgdef.format == MessageDefinitionFormat.MSG:
        types.update(get_types_from_msg(text, connection.msgtype))
    else:
        separator = '=' * 80 + '\n'
        if text.startswith(f'{separator}IDL: '):
            for part in text.split(separator)[1:]:
                types.update(get_types_from_idl(part.split('\n', 1)[1]))
        else:
            types.update(get_types_from_idl(text))
    store = get_typestore(Stores.EMPTY)
    store.register(types)
    return store


def qos(depth: int, is_latched: bool = False) -> Any:
    """Return the reliable quality of service that a player of a bag offers for a topic."""
    from rosbags.interfaces import Qos
    from rosbags.interfaces import QosDurability
    from rosbags.interfaces import QosHistory
    from rosbags.interfaces import QosLiveliness
    from rosbags.interfaces import QosReliability
    from rosbags.interfaces import QosTime
    durability = QosDurability.TRANSIENT_LOCAL if is_latched else QosDurability.VOLATILE
    return Qos(QosHistory.KEEP_LAST, depth, QosReliability.RELIABLE, durability,
               QosTime(*_FOREVER), QosTime(*_FOREVER), QosLiveliness.AUTOMATIC,
               QosTime(*_FOREVER), False)


def _vision_definitions() -> dict[str, str]:
    """Return the definitions of the vision_msgs that is installed, or else our own."""
    for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        folder = Path(prefix) / 'share' / 'vision_msgs' / 'msg'
        if prefix and all((folder / f'{name}.msg').is_file() for name in DEFINITIONS):
            return {name: (folder / f'{name}.msg').read_text(encoding='utf-8')
                    for name in DEFINITIONS}
    return DEFINITIONS
