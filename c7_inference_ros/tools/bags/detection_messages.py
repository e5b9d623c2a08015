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

"""The messages of a detector as rosbags has them, equal to those that the node publishes."""

from __future__ import annotations

from typing import Any

from c7_inference_ros.tools.bags.types import DETECTIONS
from c7_inference_ros.tools.bags.types import LABEL_INFO
from c7_inference_ros.tools.bags.types import typestore
from c7_inference_ros.tools.bags.types import VISION_INFO
from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.labels import Labels
import numpy as np


def detection_array(stamp_ns: int, frame_id: str, detections: Detections) -> Any:
    """
    Return detections as a message in the pixels of the source image.

    :param stamp_ns: stamp of the source image; it goes into the array and into every element.
    """
    types = typestore().types
    header = _header(stamp_ns, frame_id)
    no_pose = types['geometry_msgs/msg/PoseWithCovariance'](
        types['geometry_msgs/msg/Pose'](types['geometry_msgs/msg/Point'](0.0, 0.0, 0.0),
                                        types['geometry_msgs/msg/Quaternion'](0.0, 0.0, 0.0, 1.0)),
        np.zeros(36))
    point, pose, box, hypothesis, result, element = (
        types[f'vision_msgs/msg/{name}'] for name in (
            'Point2D', 'Pose2D', 'BoundingBox2D', 'ObjectHypothesis', 'ObjectHypothesisWithPose',
            'Detection2D'))
    centers, sizes = detections.centers_and_sizes()
    return types[DETECTIONS](header, [
        element(header, [result(hypothesis(str(class_id), score), no_pose)],
                box(pose(point(*center), 0.0), *size), '')
        for center, size, score, class_id in zip(
            centers.tolist(), sizes.tolist(), detections.scores.tolist(),
            detections.class_ids.tolist())])


def label_info(stamp_ns: int, labels: Labels, threshold: float) -> Any:
    """Return the class map that gives detections their names."""
    types = typestore().types
    name = types['vision_msgs/msg/VisionClass']
    return types[LABEL_INFO](_header(stamp_ns), [
        name(number, text) for number, text in enumerate(labels.names)], threshold)


def vision_info(stamp_ns: int, method: str, location: str, version: int = 1) -> Any:
    """
    Return what describes the detector.

    :param method: name of the model.
    :param location: where its class names lie: a parameter, a file.
    :param version: raised whenever names or thresholds change.
    """
    return typestore().types[VISION_INFO](_header(stamp_ns), method, location, version)


def _header(stamp_ns: int, frame_id: str = '') -> Any:
    types = typestore().types
    stamp = types['builtin_interfaces/msg/Time'](*divmod(stamp_ns, 1_000_000_000))
    return types['std_msgs/msg/Header'](stamp, frame_id)
