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
Ground truth in a ``vision_msgs/Detection2DArray`` topic of a bag.

Every message labels the frame with exactly its stamp; one without detections says that nothing is
there. A class is called what a ``LabelInfo`` of the same bag calls it, or what ``class_id`` says
where that is no number, or what the model calls the class of that number. Of several hypotheses
the one with the highest score counts.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from typing import Iterable
from typing import Mapping
from typing import Sequence

from c7_inference_ros.errors import BagError
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.parameter_spec import nearest
from c7_inference_ros.tools.evaluation.coco_truth import read_coco
from c7_inference_ros.tools.evaluation.frames import name_of
from c7_inference_ros.tools.evaluation.ground_truth import FrameTruth
from c7_inference_ros.tools.evaluation.ground_truth import GroundTruth
import numpy as np

DETECTIONS = 'vision_msgs/msg/Detection2DArray'
LABEL_INFO = 'vision_msgs/msg/LabelInfo'


def read_truth(given: str, bag: Path | None, names: Sequence[str] = ()) -> GroundTruth:
    """
    Read what ``--ground-truth`` names.

    :param given: a COCO file; a topic of the bag, which begins with ``/``; or ``BAG:/topic`` for
        a topic of another bag.
    :param bag: the bag that is looked at; None when it is a folder of pictures.
    :param names: class names of the model, in its order.
    :raises ConfigurationError: it cannot be read, or is none of these.
    """
    path = Path(given).expanduser()
    if path.is_file():
        return read_coco(path)
    before, colon, topic = given.rpartition(':/')
    if colon:
        return read_topic(Path(before).expanduser(), f'/{topic}', names)
    if given.startswith('/') and bag is not None and not path.exists() and (
            path.suffix.lower() != '.json'):
        return read_topic(bag, given, names)
    expected = 'a COCO file, a topic such as /camera/labels, or BAG:/topic' if bag else (
        'a COCO file; topics go with bags')
    raise ConfigurationError(f'--ground-truth is {given!r}, which is no file; expected {expected}')


def read_topic(bag: Path, topic: str, names: Sequence[str] = ()) -> GroundTruth:
    """
    Read the labels of a topic.

    :raises ConfigurationError: the bag cannot be read, there is no such topic, or nothing in it
        can be used.
    """
    try:
        return _read_topic(bag, topic, names)
    except BagError as error:
        raise ConfigurationError(str(error)) from error


def _read_topic(bag: Path, topic: str, names: Sequence[str]) -> GroundTruth:
    from c7_inference_ros.tools.bags.reader import open_bag

    with open_bag(bag) as opened:
        kinds = {one.name: one.msgtype for one in opened.topics}
        if kinds.get(topic) != DETECTIONS:
            there = [name for name, kind in kinds.items() if kind == DETECTIONS]
            near = nearest(topic, there)
            hint = f'; did you mean {near}?' if near else ''
            raise ConfigurationError(
                f'{bag} has {kinds.get(topic, "nothing")} on {topic}, expected {DETECTIONS}; its '
                f'topics of that type are {", ".join(there) or "none"}{hint}')
        info = _label_topic(topic, [name for name, kind in kinds.items() if kind == LABEL_INFO])
        called = _class_names(message for _, message in opened.messages(info)) if info else {}
        return truth_of_messages(f'{topic} of {bag}',
                                 (message for _, message in opened.messages(topic)),
                                 called, names)


def truth_of_messages(source: str, messages: Iterable[Any], called: Mapping[int, str],
                      names: Sequence[str] = ()) -> GroundTruth:
    """
    Make ground truth of detection arrays.

    :param called: class name by number, of a LabelInfo; empty without one.
    :param names: class names of the model, in its order.
    :raises ConfigurationError: there is none, a stamp comes twice, or a box cannot be used.
    """
    classes: dict[str, int] = {}
    if called:
        for name in called.values():
            classes.setdefault(name, len(classes))
    by_stamp: dict[int, list[FrameTruth]] = {}
    for message in messages:
        stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        boxes, kinds = [], []
        for number, one in enumerate(message.detections):
            boxes.append(_box(one.bbox, f'{source}: box {number} of stamp {stamp}'))
            name = _name_of(one, called, names, f'{source}: box {number} of stamp {stamp}')
            kinds.append(classes.setdefault(name, len(classes)))
        corners = np.array(boxes, np.float64).reshape(-1, 4)
        frame = FrameTruth(
            name=f'stamp {stamp}', boxes=corners, classes=np.array(kinds, np.int64),
            is_crowd=np.zeros(len(boxes), np.bool_), frame_id=message.header.frame_id,
            areas=np.prod(corners[:, 2:] - corners[:, :2], axis=1))
        if any(twin.frame_id == frame.frame_id for twin in by_stamp.get(stamp, ())):
            raise ConfigurationError(f'{source} has stamp {stamp} more than once; it is not clear '
                                     f'which message labels the frame')
        by_stamp.setdefault(stamp, []).append(frame)
    if not by_stamp:
        raise ConfigurationError(f'{source} has no messages, expected some to compare with')
    return GroundTruth(source, list(classes), [one for same in by_stamp.values() for one in same],
                       by_stamp=by_stamp)


def _box(bbox: Any, where: str) -> tuple[float, float, float, float]:
    center, width, height = bbox.center, float(bbox.size_x), float(bbox.size_y)
    x, y = float(center.position.x), float(center.position.y)
    if not all(map(math.isfinite, (x, y, width, height))) or width < 0 or height < 0:
        raise ConfigurationError(f'{where} is {width} x {height} at ({x}, {y}), expected finite '
                                 f'numbers and sizes of at least 0; correct the labels')
    if center.theta:
        raise ConfigurationError(f'{where} is turned by {center.theta} rad, expected upright '
                                 f'boxes; convert the labels')
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _name_of(one: Any, called: Mapping[int, str], names: Sequence[str], where: str) -> str:
    if not len(one.results):
        raise ConfigurationError(f'{where} has no class (results is empty); correct the labels')
    best = max(one.results, key=lambda result: float(result.hypothesis.score))
    text = str(best.hypothesis.class_id)
    if not (text.isascii() and text.isdigit()):
        return text
    return called[int(text)] if int(text) in called else name_of(names, int(text))


def _label_topic(topic: str, candidates: Sequence[str]) -> str:
    """Return which LabelInfo belongs to a topic; empty where that is not clear."""
    if len(candidates) == 1:
        return candidates[0]
    # The node publishes <node>/<camera>/<model>/detections and <node>/<model>/label_info.
    folder = topic.split('/')[-2:-1]
    fitting = [name for name in candidates if name.split('/')[-2:-1] == folder]
    return fitting[0] if len(fitting) == 1 else ''


def _class_names(messages: Iterable[Any]) -> dict[int, str]:
    found: dict[int, str] = {}
    for message in messages:
        found.update({int(one.class_id): str(one.class_name) for one in message.class_map})
    return found
