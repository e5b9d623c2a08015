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

"""Image messages to pixel arrays: a view of the data where possible, else one decoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from c7_inference_ros.errors import MalformedImageError
from c7_inference_ros.errors import UnsupportedEncodingError
from c7_inference_ros.vision.image_headers import compressed_image_size
import numpy as np
from numpy.typing import NDArray

#: Encodings whose data are viewed as they are.
VIEW_ENCODINGS = ('bgr8', 'rgb8', 'mono8', 'bgra8', 'rgba8')
#: Largest image that is looked at, in pixels; 8000 x 8000 is one.
MAX_PIXELS = 64_000_000
_ALIASES = {'8UC1': 'mono8', '8UC3': 'bgr8', '8UC4': 'bgra8'}
_CHANNELS = {'bgr8': 3, 'rgb8': 3, 'mono8': 1, 'bgra8': 4, 'rgba8': 4}
_DECODED = {1: 'mono8', 3: 'bgr8'}


@dataclass(frozen=True, eq=False)
class SourceImage:
    """
    Pixels of one image and what they mean.

    :param pixels: uint8 ``[H, W]`` (mono8) or ``[H, W, C]``; perhaps a read-only view of a
        message's data, with bytes between the rows.
    :param encoding: one of :data:`VIEW_ENCODINGS`.
    """

    pixels: NDArray[np.uint8]
    encoding: str

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])


def is_view_encoding(encoding: str) -> bool:
    """Return whether :func:`view_image` reads an encoding; others need a conversion first."""
    return encoding in _CHANNELS or encoding in _ALIASES


def view_image(data: Any, height: int, width: int, encoding: str, step: int) -> SourceImage:
    """
    View the data of an image message as pixels, without a copy.

    :param data: ``step * height`` bytes: array.array, bytes, memoryview or uint8 array.
    :param step: bytes from one row to the next.
    :raises MalformedImageError: when size, step and data do not agree, or are zero or too large.
    :raises UnsupportedEncodingError: when the encoding is not one of :data:`VIEW_ENCODINGS`
        or ``8UC1``, ``8UC3`` (bgr8) and ``8UC4`` (bgra8).
    """
    name = _ALIASES.get(encoding, encoding)
    channels = _CHANNELS.get(name)
    if channels is None:
        raise UnsupportedEncodingError(
            f'image encoding is {encoding[:40]!r}, expected one of {", ".join(VIEW_ENCODINGS)}; '
            f'publish one of these, or install cv_bridge for the others')
    _check_size(width, height, f'{name} image')
    if step < width * channels:
        raise MalformedImageError(
            f'{name} image of {width}x{height} has a step of {step} bytes, expected at least '
            f'{width * channels} (width * {channels}); check its publisher')
    flat = _as_bytes(data)
    if len(flat) != step * height:
        raise MalformedImageError(
            f'{name} image of {width}x{height} has {len(flat)} bytes of data, expected '
            f'{step * height} (step {step} * height {height}); check its publisher')
    pixels = flat.reshape(height, step)[:, :width * channels]
    return SourceImage(
        pixels if channels == 1 else pixels.reshape(height, width, channels), name)


def decode_compressed(data: Any) -> SourceImage:
    """
    Decode a JPEG or PNG to bgr8, or mono8 where the picture is grey.

    Transparency is dropped, 16-bit values are divided by 256, and an EXIF orientation is not
    applied, because boxes and camera calibration refer to the pixels as they were stored.

    :param data: bytes of the file: array.array, bytes, memoryview or uint8 array.
    :raises MalformedImageError: when the file is cut off, broken or too large.
    :raises UnsupportedEncodingError: when it is neither JPEG nor PNG.
    """
    import cv2

    flat = _as_bytes(data)
    width, height = compressed_image_size(flat.data)
    _check_size(width, height, 'compressed image')
    try:
        pixels: Any = cv2.imdecode(flat, cv2.IMREAD_UNCHANGED)
        reason = 'the decoder refuses the data'
    except cv2.error as error:
        pixels, reason = None, str(error.err or 'the decoder failed')
    if pixels is None:
        raise MalformedImageError(
            f'compressed image of {width}x{height} cannot be decoded: {_one_line(reason)}; '
            f'expected a JPEG or PNG of 8 or 16 bits, check its publisher')
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR)
    encoding = _DECODED.get(1 if pixels.ndim == 2 else pixels.shape[2])
    if encoding is None or pixels.dtype != np.uint8 or pixels.shape[:2] != (height, width):
        raise MalformedImageError(
            f'compressed image was decoded to {pixels.dtype} {list(pixels.shape)}, expected '
            f'{height} rows and {width} columns of 8 bits as its header says; check its publisher')
    return SourceImage(pixels, encoding)


def to_bgr(image: SourceImage) -> NDArray[np.uint8]:
    """
    Return an image as bgr8 for drawing and writing.

    :returns: uint8 ``[H, W, 3]``; the pixels themselves where they are bgr8 already.
    """
    import cv2

    code = {'rgb8': cv2.COLOR_RGB2BGR, 'mono8': cv2.COLOR_GRAY2BGR,
            'bgra8': cv2.COLOR_BGRA2BGR, 'rgba8': cv2.COLOR_RGBA2BGR}.get(image.encoding)
    if code is None:
        return image.pixels
    return np.asarray(cv2.cvtColor(image.pixels, code), np.uint8)


def _check_size(width: int, height: int, what: str) -> None:
    if width < 1 or height < 1:
        raise MalformedImageError(
            f'{what} has a size of {width}x{height}, expected at least 1x1; check its publisher')
    if width * height > MAX_PIXELS:
        raise MalformedImageError(
            f'{what} has a size of {width}x{height}, expected at most {MAX_PIXELS} pixels; '
            f'publish a smaller image')


def _as_bytes(data: Any) -> NDArray[np.uint8]:
    try:
        if isinstance(data, np.ndarray) and data.dtype == np.uint8:
            return data.reshape(-1)
        return np.frombuffer(data, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        raise MalformedImageError(
            f'image data are {type(data).__name__} ({_one_line(str(error))}), expected bytes in '
            f'one block; check what converts the message') from error


def _one_line(text: str) -> str:
    return ' '.join(text.split())[:200]
