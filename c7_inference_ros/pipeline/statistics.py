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

"""How fast: the duration of every stage, the rates, and how long it has been too slow."""

from __future__ import annotations

from dataclasses import dataclass
import threading
from typing import Iterable
from typing import Mapping

from c7_inference_ros.pipeline.windows import LatencyWindow
from c7_inference_ros.pipeline.windows import Percentiles
from c7_inference_ros.pipeline.windows import RateWindow
import numpy as np
from numpy.typing import NDArray

__all__ = ['CameraStatistics', 'DelaySnapshot', 'LatencyWindow', 'Percentiles',
           'PipelineStatistics', 'ProcessingDelay', 'RateWindow', 'STAGES', 'StageStatistics']

#: Stages of a published frame. ``wait``: received to taken. ``convert``: message to pixels, once
#: for all models of a camera. ``processing``: taken to published; for the second model of a camera
#: it includes the first one. ``age``: source stamp to published, on the ROS clock; negative when
#: the camera's clock is ahead.
STAGES = ('wait', 'convert', 'preprocess', 'inference', 'decode', 'publish', 'processing', 'age')


@dataclass(frozen=True)
class DelaySnapshot:
    """
    Whether processing keeps up.

    :param processing_time_s: of the latest frame; None before the first.
    :param is_processing_time_in_range: the latest frame was not slower than allowed.
    :param consecutive_delay_s: how long every frame has been too slow; 0 when the latest was not.
    """

    processing_time_s: float | None
    is_processing_time_in_range: bool
    consecutive_delay_s: float


class ProcessingDelay:
    """
    For how long processing has been too slow without a break.

    The delay reaches from the moment the first of the slow frames was taken to the moment the
    latest was published: a slow camera does not make it grow.
    """

    def __init__(self) -> None:
        """Begin with no frame."""
        self._lock = threading.Lock()
        self._slow_since_ns: int | None = None
        self._latest = DelaySnapshot(None, True, 0.0)

    def add(self, processing_s: float, finished_ns: int, limit_s: float) -> None:
        """
        Judge one frame.

        :param processing_s: from taken to published.
        :param finished_ns: monotonic clock when it was published.
        :param limit_s: largest allowed processing time.
        """
        with self._lock:
            if processing_s <= limit_s:
                self._slow_since_ns = None
                self._latest = DelaySnapshot(processing_s, True, 0.0)
                return
            if self._slow_since_ns is None:
                self._slow_since_ns = finished_ns - int(processing_s * 1e9)
            self._latest = DelaySnapshot(
                processing_s, False, (finished_ns - self._slow_since_ns) / 1e9)

    def snapshot(self) -> DelaySnapshot:
        """Return the verdict on the latest frame."""
        return self._latest

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            self._slow_since_ns = None
            self._latest = DelaySnapshot(None, True, 0.0)


class StageStatistics:
    """
    Durations of one model's stages, of published frames only.

    :param capacity: how many frames are kept.
    """

    def __init__(self, capacity: int = 512) -> None:
        """Allocate a window for every stage."""
        self._windows = {stage: LatencyWindow(capacity) for stage in STAGES}
        self.delay = ProcessingDelay()

    def __getitem__(self, stage: str) -> LatencyWindow:
        """Return the window of a stage."""
        return self._windows[stage]

    def add(self, stage: str, seconds: float) -> None:
        """Keep one duration of a stage."""
        self._windows[stage].add(seconds)

    def percentiles(self) -> dict[str, Percentiles | None]:
        """Return the distribution of every stage; None before the first frame."""
        return {stage: window.percentiles() for stage, window in self._windows.items()}

    def values(self) -> dict[str, NDArray[np.float64]]:
        """Return the durations of every stage in seconds, the oldest first."""
        return {stage: window.values() for stage, window in self._windows.items()}

    def reset(self) -> None:
        """Forget everything."""
        for window in self._windows.values():
            window.reset()
        self.delay.reset()


class CameraStatistics:
    """
    What is known of one camera's stream.

    :param window_s: length of the rate window, seconds.
    """

    def __init__(self, window_s: float = 5.0) -> None:
        """Begin with no frame."""
        #: Frames that arrived, by the monotonic clock.
        self.rate_in = RateWindow(window_s)
        #: Frames whose stamp lay in the future when they were taken.
        self.future_stamps = 0
        #: Age of the frame that was taken last, seconds; None before the first. Shows what is
        #: wrong with the stamps when every frame is stale.
        self.last_age_s: float | None = None

    def add_age(self, age_s: float) -> None:
        """Keep the age of a frame at the moment it was taken; one thread only."""
        self.last_age_s = age_s
        if age_s < 0.0:
            self.future_stamps += 1

    def reset(self) -> None:
        """Forget everything."""
        self.rate_in.reset()
        self.future_stamps = 0
        self.last_age_s = None


class PipelineStatistics:
    """
    Statistics of all cameras and models.

    :param models_by_camera: names of the models that look at each camera.
    :param capacity: how many frames each latency window keeps.
    :param window_s: length of the rate windows, seconds.
    """

    def __init__(self, models_by_camera: Mapping[str, Iterable[str]], capacity: int = 512,
                 window_s: float = 5.0) -> None:
        """Allocate everything."""
        streams = [(camera, model) for camera, models in models_by_camera.items()
                   for model in models]
        #: By camera name.
        self.cameras = {camera: CameraStatistics(window_s) for camera in models_by_camera}
        #: By model name, all cameras together.
        self.models = {model: StageStatistics(capacity)
                       for model in dict.fromkeys(model for _, model in streams)}
        #: Published frames by (camera, model), by the monotonic clock.
        self.rate_out = {stream: RateWindow(window_s) for stream in streams}

    def reset(self) -> None:
        """Forget everything; for an activation, so that the time in between does not count."""
        for camera in self.cameras.values():
            camera.reset()
        for model in self.models.values():
            model.reset()
        for rate in self.rate_out.values():
            rate.reset()
