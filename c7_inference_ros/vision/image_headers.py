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
Whether a JPEG or PNG is whole, and how large its picture is, without decoding it.

The decoder answers a cut-off JPEG with a picture that is grey from the cut on, and allocates
whatever size a header names; both are found here first, at a fraction of the decoder's cost.
"""

from __future__ import annotations

import re
import struct
import zlib

from c7_inference_ros.errors import MalformedImageError
from c7_inference_ros.errors import UnsupportedEncodingError

JPEG_MAGIC = b'\xff\xd8\xff'
PNG_MAGIC = b'\x89PNG\r\n\x1a\n'
_OTHER_FORMATS = ((b'RIFF', 'WebP'), (b'BM', 'BMP'), (b'GIF8', 'GIF'), (b'II*\x00', 'TIFF'),
                  (b'MM\x00*', 'TIFF'), (b'\x00\x00\x01', 'H.264 or H.265 video'),
                  (b'\x00\x00\x00\x01', 'H.264 or H.265 video'))
#: A marker in entropy-coded data; 0xff00 is a data byte 0xff, 0xffd0 to 0xffd7 are restarts.
_MARKER = re.compile(rb'\xff[^\x00\xff\xd0-\xd7]')
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


def compressed_image_size(data: memoryview) -> tuple[int, int]:
    """
    Check that a compressed image is whole and return its (width, height).

    :param data: bytes of a JPEG or PNG file.
    :raises MalformedImageError: when it is cut off or its structure is broken.
    :raises UnsupportedEncodingError: when it is neither JPEG nor PNG.
    """
    start = bytes(data[:12])
    if start.startswith(JPEG_MAGIC):
        return _jpeg_size(data)
    if start.startswith(PNG_MAGIC):
        return _png_size(data)
    if not start:
        raise MalformedImageError(
            'compressed image has no data, expected a JPEG or PNG; check its publisher')
    if len(start) < 8 and PNG_MAGIC.startswith(start) or JPEG_MAGIC.startswith(start):
        raise _cut_off(data, 'JPEG' if start[0] == 0xFF else 'PNG', 'its first bytes')
    kind = next((name for magic, name in _OTHER_FORMATS if start.startswith(magic)), '')
    raise UnsupportedEncodingError(
        f'compressed image begins with {start.hex()}{f" ({kind})" if kind else ""}, expected JPEG '
        f'(ffd8ff) or PNG (89504e47); set the format of its publisher to jpeg or png')


def _jpeg_size(data: memoryview) -> tuple[int, int]:
    size: tuple[int, int] | None = None
    position = 2
    while True:
        if position + 2 > len(data):
            raise _cut_off(data, 'JPEG', 'the end marker ffd9')
        if data[position] != 0xFF:
            raise MalformedImageError(
                f'compressed image is a JPEG with {data[position]:#04x} at byte {position}, '
                f'expected a marker (0xff); the data were changed on their way')
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        position += 2
        if marker == _END_OF_IMAGE:
            if size is None:
                raise MalformedImageError('compressed image is a JPEG without a picture, '
                                          'expected at least one frame; check its publisher')
            return size
        if marker in _WITHOUT_LENGTH:
            continue
        length = int.from_bytes(data[position:position + 2], 'big')
        if position + max(length, 2) > len(data):
            raise _cut_off(data, 'JPEG', f'{length} bytes of segment ff{marker:02x}')
        if marker in _FRAME_HEADERS and length >= 7:
            height, width = struct.unpack_from('>HH', data, position + 3)
            size = width, height
        position += max(length, 2)
        if marker == _START_OF_SCAN:
            found = _MARKER.search(data, position)
            position = found.start() if found else len(data)


def _png_size(data: memoryview) -> tuple[int, int]:
    position = len(PNG_MAGIC)
    size: tuple[int, int] | None = None
    while True:
        if position + 12 > len(data):
            raise _cut_off(data, 'PNG', 'the end chunk IEND')
        length, kind = struct.unpack_from('>I4s', data, position)
        end = position + 12 + length
        if end > len(data):
            raise _cut_off(data, 'PNG', f'{length} bytes of chunk {kind!r}')
        (expected,) = struct.unpack_from('>I', data, end - 4)
        if zlib.crc32(data[position + 4:end - 4]) != expected:
            raise MalformedImageError(
                f'compressed image is a PNG with a wrong checksum in chunk {kind!r} at byte '
                f'{position}; the data were changed on their way')
        if size is None:
            if kind != b'IHDR' or length != 13:
                raise MalformedImageError(f'compressed image is a PNG that begins with chunk '
                                          f'{kind!r}, expected IHDR; check its publisher')
            size = struct.unpack_from('>II', data, position + 8)
        if kind == b'IEND':
            return size
        position = end


def _cut_off(data: memoryview, kind: str, expected: str) -> MalformedImageError:
    return MalformedImageError(
        f'compressed image is a {kind} cut off after {len(data)} bytes, expected {expected}; '
        f'check its publisher and whether the network loses messages')
