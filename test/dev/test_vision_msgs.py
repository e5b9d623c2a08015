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

"""The vision_msgs built from dev/ are the released ones: same types, same bytes."""

import json
from pathlib import Path

import pytest

pytest.importorskip('vision_msgs', reason='vision_msgs is not installed; run: make env')

from ament_index_python.packages import get_package_share_directory  # noqa: E402, I100
from geometry_msgs.msg import PoseWithCovariance  # noqa: E402
import numpy as np  # noqa: E402
from rclpy.serialization import deserialize_message  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from vision_msgs.msg import BoundingBox2D  # noqa: E402
from vision_msgs.msg import Detection2D  # noqa: E402
from vision_msgs.msg import Detection2DArray  # noqa: E402
from vision_msgs.msg import ObjectHypothesis  # noqa: E402
from vision_msgs.msg import ObjectHypothesisWithPose  # noqa: E402

#: Of the released vision_msgs 4.1.1. Nodes whose hashes differ do not talk to each other.
RELEASED = {
    'Detection2DArray': '214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968',
    'Detection2D': '0d12b69df5c593b3455b7346fac8205437a7d4bcb09b9e0e0b2dde787ded38ea',
    'LabelInfo': '3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783',
    'VisionInfo': '95d3116a17484ad91c9a2686e1d54890bbfc3ff6c6a2de137738c4950d45d284',
}
#: All messages of the released package.
NAMES = {
    'BoundingBox2D', 'BoundingBox2DArray', 'BoundingBox3D', 'BoundingBox3DArray', 'Classification',
    'Detection2D', 'Detection2DArray', 'Detection3D', 'Detection3DArray', 'LabelInfo',
    'ObjectHypothesis', 'ObjectHypothesisWithPose', 'Point2D', 'Pose2D', 'VisionClass',
    'VisionInfo',
}


def share():
    return Path(get_package_share_directory('vision_msgs'))


@pytest.mark.parametrize('name', sorted(RELEASED))
def test_type_hash_is_the_released_one(name):
    description = json.loads((share() / 'msg' / f'{name}.json').read_text(encoding='utf-8'))
    hashes = {entry['type_name']: entry['hash_string'] for entry in description['type_hashes']}
    assert hashes[f'vision_msgs/msg/{name}'] == f'RIHS01_{RELEASED[name]}'


def test_every_message_is_there():
    assert {path.stem for path in (share() / 'msg').glob('*.msg')} == NAMES
    module = pytest.importorskip('vision_msgs.msg')
    assert NAMES <= set(dir(module))


def sample():
    """Return a message with every field of a detection set to something of its own."""
    message = Detection2DArray()
    message.header.stamp.sec = 1700000000
    message.header.stamp.nanosec = 40000000
    message.header.frame_id = 'camera'
    for index in range(2):
        pose = PoseWithCovariance()
        pose.pose.position.x = 0.5 + index
        pose.pose.orientation.w = 0.25
        pose.covariance = np.arange(36, dtype=np.float64) + index
        box = BoundingBox2D(size_x=30.5, size_y=40.25)
        box.center.position.x = 100.125 + index
        box.center.position.y = 50.5
        box.center.theta = 0.75
        hypothesis = ObjectHypothesis(class_id='person', score=0.9)
        message.detections.append(Detection2D(
            header=message.header, bbox=box, id=f'track {index}',
            results=[ObjectHypothesisWithPose(hypothesis=hypothesis, pose=pose)]))
    return message


def test_serialises_and_deserialises():
    message = sample()
    assert deserialize_message(serialize_message(message), Detection2DArray) == message
    assert deserialize_message(
        serialize_message(Detection2DArray()), Detection2DArray) == Detection2DArray()


def test_rosbags_reads_and_writes_the_same_bytes():
    """An offline tool on rosbags and a node understand each other."""
    typesys = pytest.importorskip('rosbags.typesys')
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    types = {}
    for path in sorted((share() / 'msg').glob('*.msg')):
        text = path.read_text(encoding='utf-8')
        types.update(typesys.get_types_from_msg(text, f'vision_msgs/msg/{path.stem}'))
    store.register(types)
    kind = 'vision_msgs/msg/Detection2DArray'

    raw = bytes(serialize_message(sample()))
    decoded = store.deserialize_cdr(raw, kind)
    assert decoded.detections[1].id == 'track 1'
    assert decoded.detections[1].results[0].pose.covariance[35] == 36.0
    assert decoded.detections[0].bbox.center.position.x == 100.125
    written = bytes(store.serialize_cdr(decoded, kind))
    # Not compared byte by byte: the middleware leaves what it finds in the padding.
    assert len(written) == len(raw)
    assert deserialize_message(written, Detection2DArray) == sample()
    assert store.hash_rihs01(kind) == f'RIHS01_{RELEASED["Detection2DArray"]}'
