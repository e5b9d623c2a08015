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

from c7_inference_ros.config import NodeConfig
from c7_inference_ros.pipeline.accounting import DropReason
from c7_inference_ros.pipeline.accounting import FrameAccounts
from c7_inference_ros.pipeline.frame_slot import Frame
from c7_inference_ros.pipeline.rate_limit import CameraGate
from c7_inference_ros.pipeline.scheduler import FrameScheduler
from c7_inference_ros.pipeline.shedding import NOTHING_SHED
from c7_inference_ros.pipeline.shedding import Shedder
from c7_inference_ros.pipeline.statistics import PipelineStatistics


class FrameIntake:
    """
    Puts frames into the scheduler and accounts for those that get no further.

    :param scheduler: where frames wait.
    :param accounts: counts them.
    :param statistics: keeps the rate of arrival.
    :param clock_ns: monotonic clock, nanoseconds.
    :param settings: returns the settings in force; asked for each image. None takes all images.
    :param shedder: says what is shed because of heat; None sheds nothing.
    """

    def __init__(self, scheduler: FrameScheduler, accounts: FrameAccounts,
                 statistics: PipelineStatistics,
                 clock_ns: Callable[[], int] = time.monotonic_ns, *,
                 settings: Callable[[], NodeConfig] | None = None,
                 shedder: Shedder | None = None) -> None:
        """Leave the scheduler as it is; :meth:`open` lets frames in."""
        self._scheduler = scheduler
        self._accounts = accounts
        self._statistics = statistics
        self._clock_ns = clock_ns
        self._settings = settings
        self._shedder = shedder
        self._gates = {camera: CameraGate() for camera in accounts.cameras}

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
        Take one image in; for the subscription's callback, one thread for each camera.

        :param camera: name of the camera.
        :param payload: the message.
        :param stamp_ns: when the image was taken, nanoseconds of ROS time.
        """
        now_ns = self._clock_ns()
        reason = self._shed_reason(camera, now_ns)
        # Counted before anybody can take it, or it could be published before it was received.
        self._accounts.frame_received(camera)
        self._statistics.cameras[camera].rate_in.add(now_ns)
        if reason is not None:
            self._accounts.frame_dropped(camera, reason)
            return
        frame = Frame(camera, payload, stamp_ns, now_ns)
        lost = self._scheduler.put(frame)
        if lost is not None:
            self._accounts.frame_dropped(
                camera, DropReason.INACTIVE if lost is frame else DropReason.OVERWRITTEN)

    def _shed_reason(self, camera: str, now_ns: int) -> DropReason | None:
        """Return why an image is not even looked at, None when it is; never waits."""
        if not self._scheduler.is_open:
            return None  # the scheduler refuses it, for a reason of its own
        max_rate_hz = 0.0 if self._settings is None else self._settings().cameras[camera].max_rate
        step = NOTHING_SHED if self._shedder is None else self._shedder.current
        return self._gates[camera].drop_reason(now_ns, max_rate_hz, step)
