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

"""Which topic of a bag is which camera of the parameter file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping
from typing import Protocol
from typing import Sequence

from c7_inference_ros.config import CameraConfig
from c7_inference_ros.config import NodeConfig
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.parameter_spec import nearest

RAW, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
_SUFFIX = '/compressed'


class TopicInfo(Protocol):
    """What a bag says of one topic."""

    @property
    def name(self) -> str:
        """Name of the topic."""

    @property
    def msgtype(self) -> str:
        """Type of its messages."""

    @property
    def count(self) -> int:
        """Number of its messages."""


@dataclass(frozen=True)
class CameraStream:
    """
    One camera and where its images are.

    :param camera: name of the camera.
    :param topic: of the bag.
    :param msgtype: ``sensor_msgs/msg/Image`` or ``sensor_msgs/msg/CompressedImage``.
    :param count: number of images.
    :param note: how the topic was found where the parameter file does not name it; or empty.
    """

    camera: str
    topic: str
    msgtype: str
    count: int
    note: str = ''


def find_streams(config: NodeConfig, topics: Sequence[TopicInfo],
                 chosen: Mapping[str, str] | None = None, namespace: str = '/',
                 where: str = 'the bag') -> tuple[CameraStream, ...]:
    """
    Find the images of every camera.

    The topic that was chosen; else that of the parameter file; else the same in the other
    transport; else, for a single camera, the only image topic that there is.

    :param topics: what is in the bag.
    :param chosen: topic by camera, in place of the parameter file's.
    :param namespace: of the node; relative topics are below it.
    :param where: what the bag is called in messages.
    :raises ConfigurationError: with one line for every camera without images.
    """
    chosen = chosen or {}
    problems = [f'--topic names camera {name!r}, expected one of '
                f'{", ".join(config.camera_names)}' for name in chosen
                if name not in config.cameras]
    images = [topic for topic in topics if topic.msgtype in (RAW, COMPRESSED)]
    found = []
    for name in config.camera_names:
        try:
            found.append(_find(config.cameras[name], topics, images, chosen.get(name, ''),
                               namespace, len(config.camera_names) == 1, where))
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(dict.fromkeys(problems))
    return tuple(found)


def _find(camera: CameraConfig, topics: Sequence[TopicInfo], images: Sequence[TopicInfo],
          chosen: str, namespace: str, is_only_camera: bool, where: str) -> CameraStream:
    known = {topic.name: topic for topic in images}
    base = chosen or camera.image_topic
    if not base.startswith('/'):
        base = f'{namespace.rstrip("/")}/{base}'
    is_compressed = camera.image_transport == 'compressed' and not chosen
    wanted = base + _SUFFIX if is_compressed else base
    expected = '' if chosen else COMPRESSED if is_compressed else RAW
    if wanted in known and expected in ('', known[wanted].msgtype):
        return _stream(camera, known[wanted])
    if not chosen:
        other = base if is_compressed else base + _SUFFIX
        for name in (wanted, other):
            if name in known:
                return _stream(camera, known[name], (
                    f'camera {camera.name}: {name} ({known[name].msgtype}) is used, the '
                    f'parameter file says {wanted} ({expected})'))
        if is_only_camera and len(images) == 1:
            return _stream(camera, images[0], (
                f'camera {camera.name}: {images[0].name} ({images[0].msgtype}) is used, the only '
                f'image topic of {where}; {wanted} of the parameter file is not in it'))
    raise ConfigurationError(_missing(camera, wanted, topics, images, bool(chosen), where))


def _stream(camera: CameraConfig, topic: TopicInfo, note: str = '') -> CameraStream:
    if topic.count == 0:
        raise ConfigurationError(
            f'camera {camera.name}: {topic.name} has no message; record it again, or choose '
            f'another topic with --topic {camera.name}=TOPIC')
    return CameraStream(camera.name, topic.name, topic.msgtype, topic.count, note)


def _missing(camera: CameraConfig, wanted: str, topics: Sequence[TopicInfo],
             images: Sequence[TopicInfo], is_chosen: bool, where: str) -> str:
    kinds = {topic.name: topic.msgtype for topic in topics}
    what = (f'is {kinds[wanted]}, which is no image,' if wanted in kinds
            else f'is not in {where}')
    begin = f'camera {camera.name}: {"chosen " if is_chosen else ""}topic {wanted} {what}'
    if not images:
        others = ', '.join(sorted(kinds)) or 'nothing'
        return (f'{begin}, and no other topic is an image (found {others}); record '
                f'sensor_msgs/Image or sensor_msgs/CompressedImage')
    names = sorted(topic.name for topic in images)
    near = nearest(wanted, names) or names[0]
    return (f'{begin}; image topics are {", ".join(names)}; give one with '
            f'--topic {camera.name}={near}')
