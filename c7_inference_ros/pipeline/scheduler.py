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

"""Which waiting frame is next: one slot per camera, and a queue of cameras."""

from __future__ import annotations

from collections import deque
import threading
from typing import Iterable

from c7_inference_ros.pipeline.frame_slot import Frame
from c7_inference_ros.pipeline.frame_slot import FrameSlot


class FrameScheduler:
    """
    Latest frame per camera, cameras in the order in which they began to wait.

    A camera keeps its place when a newer frame overwrites the one that waits, and goes to the
    end when its frame was taken. Ordering by the age of the frame itself would starve the second
    of two cameras that are both faster than the model: its frame is always the younger one.

    Begins closed.

    :param cameras: names of the cameras.
    """

    def __init__(self, cameras: Iterable[str]) -> None:
        """Make one empty slot for each camera."""
        self._slots = {camera: FrameSlot() for camera in cameras}
        self._queue: deque[str] = deque()
        self._is_open = False
        #: Guards everything here; notified when a frame begins to wait. Reentrant: a worker may
        #: hold it around :meth:`poll` so that taking a frame and being busy are one step.
        self.condition = threading.Condition()

    @property
    def is_open(self) -> bool:
        """Whether frames are taken in."""
        return self._is_open

    @property
    def waiting(self) -> int:
        """Number of frames that wait."""
        return len(self._queue)

    def open(self) -> None:  # noqa: A003
        """Take frames in."""
        with self.condition:
            self._is_open = True

    def close(self) -> None:
        """Refuse new frames; those that wait stay until :meth:`drain`."""
        with self.condition:
            self._is_open = False

    def put(self, frame: Frame) -> Frame | None:
        """
        Let a frame wait for its turn.

        Never waits for anything but other short calls of this class.

        :returns: the frame that is lost: the one that was overwritten, the given one itself when
            closed, else None.
        :raises KeyError: the camera is unknown.
        """
        with self.condition:
            slot = self._slots[frame.camera]
            if not self._is_open:
                return frame
            overwritten = slot.put(frame)
            if overwritten is None:
                self._queue.append(frame.camera)
                self.condition.notify_all()
            return overwritten

    def poll(self) -> Frame | None:
        """Return the frame whose turn it is, or None at once when none waits."""
        with self.condition:
            return self._slots[self._queue.popleft()].take() if self._queue else None

    def take(self, timeout_s: float | None) -> Frame | None:
        """
        Return the frame whose turn it is.

        :param timeout_s: longest wait in seconds; None waits for ever.
        :returns: None when no frame came in time.
        """
        with self.condition:
            self.condition.wait_for(lambda: self._queue, timeout_s)
            return self.poll()

    def drain(self) -> list[Frame]:
        """Empty all slots and return the frames that waited, in order."""
        frames = []
        with self.condition:
            while (frame := self.poll()) is not None:
                frames.append(frame)
        return frames
