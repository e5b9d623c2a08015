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

"""The way in: what an image callback does with a message, in microseconds."""

from __future__ import annotations

import time
from typing import Any
from typing import Callable

from c7_inference_ros.pipeline.accounting import DropReason
from c7_inference_ros.pipeline.accounting import FrameAccounts
from c7_inference_ros.pipeline.frame_slot import Frame
from c7_inference_ros.pipeline.scheduler import FrameScheduler
from c7_inference_ros.pipeline.statistics import PipelineStatistics


class FrameIntake:
    """
    Puts frames into the scheduler and accounts for those that get no further.

    :param scheduler: where frames wait.
    :param accounts: counts them.
    :param statistics: keeps the rate of arrival.
    :param clock_ns: monotonic clock, nanoseconds.
    """

    def __init__(self, scheduler: FrameScheduler, accounts: FrameAccounts,
                 statistics: PipelineStatistics,
                 clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """Leave the scheduler as it is; :meth:`open` lets frames in."""
        self._scheduler = scheduler
        self._accounts = accounts
        self._statistics = statistics
        self._clock_ns = clock_ns

    def open(self) -> None:  # noqa: A003
        """Let frames in."""
        self._scheduler.open()

    def close(self) -> int:
        """
        Refuse new frames and drop those that wait, as inactive.

        :returns: how many were dropped.
        """
        self._scheduler.close()
        left = self._scheduler.drain()
        for frame in left:
            self._accounts.frame_dropped(frame.camera, DropReason.INACTIVE)
        return len(left)

    def receive(self, camera: str, payload: Any, stamp_ns: int) -> None:
        """
        Take one image in; for the subscription's callback.

        :param camera: name of the camera.
        :param payload: the message.
        :param stamp_ns: when the image was taken, nanoseconds of ROS time.
        """
        now_ns = self._clock_ns()
        frame = Frame(camera, payload, stamp_ns, now_ns)
        # Counted before anybody can take it, or it could be published before it was received.
        self._accounts.frame_received(camera)
        self._statistics.cameras[camera].rate_in.add(now_ns)
        lost = self._scheduler.put(frame)
        if lost is not None:
            self._accounts.frame_dropped(
                camera, DropReason.INACTIVE if lost is frame else DropReason.OVERWRITTEN)
