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

"""One image on its way, and the one-slot mailbox in which it waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Frame:
    """
    One image as it arrived.

    :param camera: name of the camera.
    :param payload: the message; only the injected converter looks inside.
    :param stamp_ns: when the image was taken, nanoseconds of ROS time.
    :param received_ns: when it arrived, nanoseconds of the monotonic clock.
    """

    camera: str
    payload: Any
    stamp_ns: int
    received_ns: int


class FrameSlot:
    """
    Room for one frame; a newer one takes the place of one that nobody fetched.

    Not locked: the scheduler that owns the slots guards them all with one lock.
    """

    __slots__ = ('_frame',)

    def __init__(self) -> None:
        """Begin empty."""
        self._frame: Frame | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no frame waits."""
        return self._frame is None

    def put(self, frame: Frame) -> Frame | None:
        """Keep a frame and return the one that it overwrites, or None."""
        overwritten, self._frame = self._frame, frame
        return overwritten

    def take(self) -> Frame | None:
        """Empty the slot and return what was in it, or None."""
        frame, self._frame = self._frame, None
        return frame
