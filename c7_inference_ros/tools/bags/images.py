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

"""One image of a bag: its stamps and frame without decoding, its pixels when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import struct
from typing import Any
from typing import Callable

from c7_inference_ros.errors import ImageError
from c7_inference_ros.errors import MalformedImageError
from c7_inference_ros.vision.images import SourceImage
from c7_inference_ros.vision.message_image import to_source_image

_SECOND = 1_000_000_000


@dataclass(frozen=True, eq=False)
class BagImage:
    """
    One image message.

    :param topic: that it was recorded on.
    :param msgtype: ``sensor_msgs/msg/Image`` or ``sensor_msgs/msg/CompressedImage``.
    :param index: its number among the images of its topic, from 0.
    :param stamp_ns: stamp of its header; the log time where the header is damaged.
    :param log_ns: when it was recorded.
    :param frame_id: of its header; empty where the header is damaged.
    """

    topic: str
    msgtype: str
    index: int
    stamp_ns: int
    log_ns: int
    frame_id: str
    raw: bytes = field(repr=False)
    _message: Callable[[bytes], Any] = field(repr=False)

    def read(self) -> SourceImage:
        """
        Return the pixels; a view of the message where its encoding allows.

        :raises ImageError: the message is damaged, or nothing installed reads its encoding.
        """
        try:
            message = self._message(self.raw)
        except ImageError:
            raise
        except Exception as error:
            raise MalformedImageError(
                f'the message is damaged ({one_line(error)}); it was cut off or overwritten in '
                f'the bag') from error
        return to_source_image(message)


def header_of(raw: bytes, is_ros1: bool) -> tuple[int, str] | None:
    """
    Return stamp in ns and frame of a serialised message that begins with its header.

    :returns: None when it is too short or makes no sense.
    """
    try:
        if is_ros1:
            seconds, nanoseconds, size = struct.unpack_from('<III', raw, 4)
            frame, end = raw[16:16 + size], size
        else:
            order = '<' if raw[1] & 1 else '>'
            seconds, nanoseconds, size = struct.unpack_from(f'{order}iII', raw, 4)
            frame, end = raw[16:16 + max(0, size - 1)], size - 1
        if nanoseconds >= _SECOND or len(frame) != max(0, end):
            return None
        return seconds * _SECOND + nanoseconds, bytes(frame).decode('utf-8')
    except (struct.error, IndexError, UnicodeDecodeError):
        return None


def one_line(error: BaseException) -> str:
    """Return what an error says, as the part of a line."""
    return ' '.join(str(error).split())[:300] or type(error).__name__
