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

"""Detections and pixels to ROS messages; images come the other way in vision/message_image.py."""

from __future__ import annotations

import array

from builtin_interfaces.msg import Time
from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.labels import Labels
import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import BoundingBox2D
from vision_msgs.msg import Detection2D
from vision_msgs.msg import Detection2DArray
from vision_msgs.msg import LabelInfo
from vision_msgs.msg import ObjectHypothesis
from vision_msgs.msg import ObjectHypothesisWithPose
from vision_msgs.msg import Point2D
from vision_msgs.msg import Pose2D
from vision_msgs.msg import VisionClass
from vision_msgs.msg import VisionInfo

NANOSECONDS = 1_000_000_000


def stamp_ns(stamp: Time) -> int:
    """Return a message stamp in nanoseconds."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def to_detection_array(header: Header, detections: Detections) -> Detection2DArray:
    """
    Return detections as a message in the pixels of the source image.

    :param header: header of the source image; stamp and frame_id go into the array and into
        every element, so that exact time synchronisation works.
    """
    centers, sizes = detections.centers_and_sizes()
    elements = []
    for center, size, score, class_id in zip(centers.tolist(), sizes.tolist(),
                                             detections.scores.tolist(),
                                             detections.class_ids.tolist()):
        elements.append(Detection2D(
            header=header,
            results=[ObjectHypothesisWithPose(hypothesis=ObjectHypothesis(
                class_id=str(class_id), score=score))],
            bbox=BoundingBox2D(
                center=Pose2D(position=Point2D(x=center[0], y=center[1]), theta=0.0),
                size_x=size[0], size_y=size[1])))
    return Detection2DArray(header=header, detections=elements)


def to_label_info(labels: Labels, threshold: float, stamp: Time) -> LabelInfo:
    """Return the class map that gives detections their names."""
    return LabelInfo(
        header=Header(stamp=stamp), threshold=threshold,
        class_map=[VisionClass(class_id=number, class_name=name)
                   for number, name in enumerate(labels.names)])


def to_vision_info(method: str, labels_parameter: str, version: int, stamp: Time) -> VisionInfo:
    """
    Return what describes the pipeline that detections come from.

    :param labels_parameter: fully qualified name of the parameter that holds the labels.
    :param version: raised whenever labels or thresholds change.
    """
    return VisionInfo(header=Header(stamp=stamp), method=method,
                      database_location=labels_parameter, database_version=version)


def to_image_message(header: Header, pixels: npt.NDArray[np.uint8]) -> Image:
    """Return a bgr8 image message; ``array`` is the only quick way to fill ``data``."""
    data = array.array('B')
    data.frombytes(memoryview(np.ascontiguousarray(pixels)).cast('B'))
    height, width = pixels.shape[:2]
    return Image(header=header, height=height, width=width, encoding='bgr8', is_bigendian=0,
                 step=3 * width, data=data)
