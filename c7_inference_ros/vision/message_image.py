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
Image messages to pixels, whoever made the message: rclpy, or a reader of bags without ROS.

cv_bridge, which converts pixels and is no part of the graph, is used where it is installed.
"""

from __future__ import annotations

import re
from typing import Any

from c7_inference_ros.errors import MalformedImageError
from c7_inference_ros.errors import UnsupportedEncodingError
from c7_inference_ros.vision.images import decode_compressed
from c7_inference_ros.vision.images import SourceImage
from c7_inference_ros.vision.images import view_image
import numpy as np

#: Encodings that name a type and no colours, such as depth in 16UC1 and 32FC1.
_NO_COLORS = re.compile(r'(8|16|32|64)[USF]C\d*')


def to_source_image(message: Any) -> SourceImage:
    """
    Return the pixels of a message with the fields of ``sensor_msgs`` Image or CompressedImage.

    The common 8-bit encodings are views of the message; everything else goes through cv_bridge.

    :param message: of rclpy, of a bag, or of anything else with these fields.
    :raises MalformedImageError: size, step and data do not agree.
    :raises UnsupportedEncodingError: nothing installed converts the encoding.
    """
    if not hasattr(message, 'encoding'):
        return decode_compressed(message.data)
    try:
        return view_image(message.data, message.height, message.width, message.encoding,
                          message.step)
    except UnsupportedEncodingError:
        return _through_cv_bridge(message)


def _through_cv_bridge(message: Any) -> SourceImage:
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


def _check_size(message: Any) -> None:
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
