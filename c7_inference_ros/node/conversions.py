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

"""ROS messages to arrays and back; the only module that knows the fields of messages."""

from __future__ import annotations

import array
import re

from builtin_interfaces.msg import Time
from c7_inference_ros.errors import MalformedImageError
from c7_inference_ros.errors import UnsupportedEncodingError
from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.images import decode_compressed
from c7_inference_ros.vision.images import SourceImage
from c7_inference_ros.vision.images import view_image
from c7_inference_ros.vision.labels import Labels
import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import CompressedImage
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
#: Encodings that name a type and no colours, such as depth in 16UC1 and 32FC1.
_NO_COLORS = re.compile(r'(8|16|32|64)[USF]C\d*')


def stamp_ns(stamp: Time) -> int:
    """Return a message stamp in nanoseconds."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def to_source_image(message: Image | CompressedImage) -> SourceImage:
    """
    Return the pixels of an image message.

    The common 8-bit encodings are views of the message; everything else goes through cv_bridge.

    :raises MalformedImageError: size, step and data do not agree.
    :raises UnsupportedEncodingError: nothing installed converts the encoding.
    """
    if isinstance(message, CompressedImage):
        return decode_compressed(message.data)
    try:
        return view_image(message.data, message.height, message.width, message.encoding,
                          message.step)
    except UnsupportedEncodingError:
        return _through_cv_bridge(message)


def _through_cv_bridge(message: Image) -> SourceImage:
    if _NO_COLORS.fullmatch(message.encoding):
        # Some versions of cv_bridge would cut the values to 8 bits and call the result a picture.
        raise UnsupportedEncodingError(
            f'encoding {message.encoding!r} holds numbers, not colours; a detector needs a '
            f'picture: publish bgr8, rgb8, mono8, bgra8 or rgba8')
    try:
        from cv_bridge import CvBridge
        from cv_bridge import CvBridgeError
    except ImportError as error:
        raise UnsupportedEncodingError(
            f'encoding {message.encoding!r} needs cv_bridge, which cannot be imported here '
            f'({error}); install ros-$ROS_DISTRO-cv-bridge, or publish bgr8, rgb8, mono8, bgra8 '
            f'or rgba8') from error
    _check_size(message)
    try:
        pixels = CvBridge().imgmsg_to_cv2(message, desired_encoding='bgr8')
    except Exception as error:  # cv_bridge raises CvBridgeError, KeyError, TypeError, cv2.error
        kind = 'cannot convert' if isinstance(error, CvBridgeError) else 'failed to convert'
        raise UnsupportedEncodingError(
            f'cv_bridge {kind} encoding {message.encoding!r} to bgr8 ({_one_line(error)}); '
            f'publish bgr8, rgb8, mono8, bgra8 or rgba8') from error
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise UnsupportedEncodingError(
            f'cv_bridge made {pixels.dtype} {pixels.shape} of encoding {message.encoding!r}, '
            f'expected uint8 with 3 channels; publish bgr8, rgb8 or mono8')
    return SourceImage(pixels, 'bgr8')


def _check_size(message: Image) -> None:
    """Refuse what would make cv_bridge read past the data or fail without a reason."""
    found = len(message.data)
    if message.height == 0 or message.width == 0:
        raise MalformedImageError(
            f'image is {message.width}x{message.height} pixels with {found} bytes; expected at '
            f'least 1x1; look at the camera driver')
    if message.step * message.height != found:
        raise MalformedImageError(
            f'image of {message.height} rows with step {message.step} has {found} bytes, '
            f'expected {message.step * message.height}; look at the camera driver')


def _one_line(error: BaseException) -> str:
    return ' '.join(f'{type(error).__name__}: {error}'.split())[:200]


def to_detection_array(header: Header, detections: Detections) -> Detection2DArray:
    """
    Return detections as a message in the pixels of the source image.

    :param header: header of the source image; stamp and frame_id go into the array and into
        every element, so that exact time synchronisation works.
    """
    boxes = detections.boxes.astype(np.float64)
    centers = ((boxes[:, :2] + boxes[:, 2:]) / 2).tolist()
    sizes = (boxes[:, 2:] - boxes[:, :2]).tolist()
    elements = []
    for center, size, score, class_id in zip(centers, sizes, detections.scores.tolist(),
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
