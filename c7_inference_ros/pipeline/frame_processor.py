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

"""What happens to one frame: freshness, pixels, every model of its camera, publishing."""

from __future__ import annotations

import threading
import time
from typing import Any
from typing import Callable
from typing import Mapping
from typing import Protocol

from c7_inference_ros.config import NodeConfig
from c7_inference_ros.errors import ImageError
from c7_inference_ros.errors import UnsupportedEncodingError
from c7_inference_ros.pipeline.accounting import DropReason
from c7_inference_ros.pipeline.accounting import FrameAccounts
from c7_inference_ros.pipeline.detection_pipeline import StageTimings
from c7_inference_ros.pipeline.frame_slot import Frame
from c7_inference_ros.pipeline.shedding import NOTHING_SHED
from c7_inference_ros.pipeline.shedding import Shedder
from c7_inference_ros.pipeline.statistics import PipelineStatistics
from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.images import SourceImage

#: (frame, model name, detections, source image); may raise.
Publish = Callable[[Frame, str, Detections, SourceImage], None]
#: (camera name, model name or None for all of the camera, why, the exception).
OnError = Callable[[str, 'str | None', DropReason, BaseException], None]


class Detector(Protocol):
    """The part of a :class:`DetectionPipeline` that a frame needs."""

    def detect(self, image: SourceImage, timings: StageTimings) -> Detections:
        """Return what is in an image, and fill in how long the stages took."""


class WorkMonitor(Protocol):
    """The part of a worker that its handler looks at."""

    @property
    def is_abandoned(self) -> bool:
        """Whether results are void: nobody waits for them any more."""

    def progress(self) -> None:
        """Say that the next piece of the work begins."""


class _Work:
    """One frame in work; every model of it is settled exactly once."""

    def __init__(self, frame: Frame, models: tuple[str, ...], taken_ns: int) -> None:
        self.frame = frame
        self.taken_ns = taken_ns
        self.convert_s = 0.0
        self._pending = list(models)
        self._lock = threading.Lock()

    def claim(self, model: str) -> bool:
        """Return True to the one caller that settles this model."""
        with self._lock:
            if model not in self._pending:
                return False
            self._pending.remove(model)
            return True

    def pending(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._pending)

    def is_pending(self, model: str) -> bool:
        with self._lock:
            return model in self._pending


class FrameProcessor:
    """
    Handler of frames for :class:`~c7_inference_ros.pipeline.worker.InferenceWorker`.

    Every frame is settled in the accounts for every model of its camera, whatever happens; no
    exception leaves a call. Belongs to one worker: another worker needs another processor.

    :param settings: returns the settings in force; asked for each frame.
    :param pipelines: by model name; read at each frame.
    :param accounts: where frames are settled; knows the models of each camera.
    :param statistics: keeps durations of published frames.
    :param to_image: turns a payload into pixels.
    :param publish: sends the detections of one model.
    :param now_ns: ROS time, nanoseconds.
    :param clock_ns: monotonic clock, nanoseconds.
    :param on_error: told about every frame that is lost to an exception.
    :param worker: whose thread calls; None when nobody watches (offline).
    :param shedder: says which models are skipped because of heat; None skips none.
    """

    def __init__(self, settings: Callable[[], NodeConfig],
                 pipelines: Mapping[str, Detector], accounts: FrameAccounts,
                 statistics: PipelineStatistics, to_image: Callable[[Any], SourceImage],
                 publish: Publish, now_ns: Callable[[], int],
                 clock_ns: Callable[[], int] = time.monotonic_ns,
                 on_error: OnError | None = None, worker: WorkMonitor | None = None,
                 shedder: Shedder | None = None) -> None:
        """Keep the parts; nothing is called before the first frame."""
        self._settings = settings
        self._pipelines = pipelines
        self._accounts = accounts
        self._statistics = statistics
        self._to_image = to_image
        self._publish = publish
        self._now_ns = now_ns
        self._clock_ns = clock_ns
        self._on_error = on_error
        self._worker = worker
        self._shedder = shedder
        self._timings = StageTimings()
        self._work: _Work | None = None

    def __call__(self, frame: Frame) -> None:
        """Process one frame; one thread at a time."""
        work = _Work(frame, self._accounts.models_of(frame.camera), self._clock_ns())
        self._work = work
        try:
            self._process(work)
        except Exception as error:  # a bug, here or in an injected part
            self._lose(work, None, DropReason.INFERENCE_ERROR, error)
        finally:
            # Left here: what was given up, and what something other than an Exception ended.
            self._drop_pending(work, DropReason.INFERENCE_ERROR)
            self._work = None

    def abandon(self, reason: DropReason = DropReason.INFERENCE_ERROR) -> int:
        """
        Give the frame in work up; for the thread that no longer waits for the worker.

        What has not been published is counted as dropped now, and is not published when the
        inference comes back after all.

        :returns: how many models' results were given up.
        """
        work = self._work
        return 0 if work is None else self._drop_pending(work, reason)

    def _process(self, work: _Work) -> None:
        frame = work.frame
        settings = self._settings()
        age_s = (self._now_ns() - frame.stamp_ns) / 1e9
        self._statistics.cameras[frame.camera].add_age(age_s)
        if 0.0 < settings.max_image_age < age_s:
            self._drop_pending(work, DropReason.STALE)
            return
        self._shed(work)
        if not work.pending():
            return
        try:
            image = self._to_image(frame.payload)
        except UnsupportedEncodingError as error:
            self._lose(work, None, DropReason.BAD_ENCODING, error)
            return
        except ImageError as error:
            self._lose(work, None, DropReason.BAD_IMAGE, error)
            return
        work.convert_s = (self._clock_ns() - work.taken_ns) / 1e9
        for model in work.pending():
            if self._is_given_up(work, model):
                break
            if self._worker is not None:
                self._worker.progress()
            self._run(work, model, image, settings)

    def _shed(self, work: _Work) -> None:
        step = NOTHING_SHED if self._shedder is None else self._shedder.current
        if step.skipped_models:
            for model in work.pending():
                if model in step.skipped_models:
                    self._drop(work, model, DropReason.THERMAL)

    def _run(self, work: _Work, model: str, image: SourceImage, settings: NodeConfig) -> None:
        try:
            detections = self._pipelines[model].detect(image, self._timings)
        except Exception as error:  # InferenceError, or a bug: this model's frame is lost
            self._lose(work, model, DropReason.INFERENCE_ERROR, error)
            return
        # From the claim on nobody else settles this frame; it is in flight until published.
        if self._is_given_up(work, model) or not work.claim(model):
            return
        began_ns = self._clock_ns()
        try:
            self._publish(work.frame, model, detections, image)
        except Exception as error:
            self._accounts.dropped(work.frame.camera, model, DropReason.PUBLISH_ERROR)
            self._tell(work.frame.camera, model, DropReason.PUBLISH_ERROR, error)
            return
        self._accounts.published(work.frame.camera, model)
        self._measure(work, model, began_ns, settings)

    def _is_given_up(self, work: _Work, model: str) -> bool:
        is_abandoned = self._worker is not None and self._worker.is_abandoned
        return is_abandoned or not work.is_pending(model)

    def _measure(self, work: _Work, model: str, began_ns: int, settings: NodeConfig) -> None:
        frame, timings, now_ns = work.frame, self._timings, self._clock_ns()
        stages = self._statistics.models[model]
        processing_s = (now_ns - work.taken_ns) / 1e9
        stages.add('wait', (work.taken_ns - frame.received_ns) / 1e9)
        stages.add('convert', work.convert_s)
        stages.add('preprocess', timings.preprocess_s)
        stages.add('inference', timings.inference_s)
        stages.add('decode', timings.decode_s)
        stages.add('publish', (now_ns - began_ns) / 1e9)
        stages.add('processing', processing_s)
        stages.add('age', (self._now_ns() - frame.stamp_ns) / 1e9)
        stages.delay.add(processing_s, now_ns, settings.diagnostics.max_allowed_processing_time)
        self._statistics.rate_out[frame.camera, model].add(now_ns)

    def _lose(self, work: _Work, model: str | None, reason: DropReason,
              error: BaseException) -> None:
        """Drop one model's frame, or all that are left, and say why; not when given up."""
        camera = work.frame.camera
        dropped = (self._drop_pending(work, reason) if model is None
                   else self._drop(work, model, reason))
        if dropped:
            self._tell(camera, model, reason, error)

    def _drop_pending(self, work: _Work, reason: DropReason) -> int:
        return sum(self._drop(work, model, reason) for model in work.pending())

    def _drop(self, work: _Work, model: str, reason: DropReason) -> bool:
        if not work.claim(model):
            return False
        self._accounts.dropped(work.frame.camera, model, reason)
        return True

    def _tell(self, camera: str, model: str | None, reason: DropReason,
              error: BaseException) -> None:
        if self._on_error is None:
            return
        try:
            self._on_error(camera, model, reason, error)
        except Exception:
            pass  # the frame is accounted for; a broken reporter must not lose the next one
