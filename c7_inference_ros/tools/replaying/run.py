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

"""One bag through the pipeline of the node: the same parts, no graph."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any
from typing import Callable
from typing import Iterable
from typing import Mapping
from typing import Sequence

from c7_inference_ros.config import NodeConfig
from c7_inference_ros.errors import DeviceLostError
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.errors import InferenceRuntimeError
from c7_inference_ros.pipeline.accounting import AccountSnapshot
from c7_inference_ros.pipeline.accounting import DropReason
from c7_inference_ros.pipeline.accounting import Stream
from c7_inference_ros.pipeline.frame_processor import FrameProcessor
from c7_inference_ros.pipeline.frame_slot import Frame
from c7_inference_ros.pipeline.intake import FrameIntake
from c7_inference_ros.pipeline.load_shedder import LoadShedder
from c7_inference_ros.pipeline.loaded_models import LoadedModels
from c7_inference_ros.pipeline.statistics import Percentiles
from c7_inference_ros.pipeline.statistics import PipelineStatistics
from c7_inference_ros.pipeline.watchdog import Watchdog
from c7_inference_ros.thermal.conditions import record_conditions
from c7_inference_ros.thermal.measurement_conditions import MeasurementConditions
from c7_inference_ros.tools.replaying.ledger import Ledger
from c7_inference_ros.tools.replaying.ledger import ReplayFrame
from c7_inference_ros.tools.replaying.ledger import ReplayScheduler
from c7_inference_ros.tools.replaying.pacing import LOOK_S
from c7_inference_ros.tools.replaying.pacing import Pacing
from c7_inference_ros.tools.replaying.records import FrameResult
from c7_inference_ros.tools.replaying.streams import CameraStream
from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.images import SourceImage
from c7_inference_ros.vision.labels import Labels
import numpy as np
from numpy.typing import NDArray

#: Most durations that are kept of each stage: an hour and a half of 20 images a second.
MAX_DURATIONS = 100_000
_RELEASE_TIMEOUT_S = 5.0
#: An image that is in no account is settled by then, unless there is a bug.
_IDLE_LOOKS = 50


@dataclass(frozen=True)
class Measured:
    """
    What was counted and measured in one run.

    :param counts: where every frame went, by (camera, model).
    :param stages: durations by model and stage, seconds; None without a published frame.
    :param durations: the same, one by one in the order of publishing; the latest
        :data:`MAX_DURATIONS`.
    :param conditions: of the machine meanwhile.
    :param late_max_s: how late an image was delivered at worst, seconds.
    :param bugs: exceptions that no part was allowed to let out, one line each.
    """

    counts: Mapping[Stream, AccountSnapshot]
    stages: Mapping[str, Mapping[str, Percentiles | None]]
    durations: Mapping[str, Mapping[str, NDArray[np.float64]]]
    conditions: MeasurementConditions
    late_max_s: float
    bugs: tuple[str, ...]


class Replay:
    """
    The models of a parameter file, and images for them.

    Intake, scheduler, worker, processor, accounts and statistics are those of the node; only
    what delivers the images differs. A context manager, which gives the models back.

    :param config: of the node.
    :param streams: where the images of each camera are.
    :param pacing: when each image is delivered.
    :raises ConfigurationError: a model cannot be used; nothing stays loaded.
    :raises InferenceRuntimeError: a model does not load or does not fit; likewise.
    """

    def __init__(self, config: NodeConfig, streams: Sequence[CameraStream],
                 pacing: Pacing) -> None:
        """Load the models."""
        self._streams = streams
        self._pacing = pacing
        self._root = config.thermal.sysfs_root
        self._config = pacing.in_force(config)
        models_of = {camera: config.models_of(camera) for camera in config.camera_names}
        self._ledger = Ledger(models_of)
        self._statistics = PipelineStatistics(models_of, capacity=min(
            max(1, sum(stream.count for stream in streams)), MAX_DURATIONS))
        scheduler = ReplayScheduler(config.camera_names, self._ledger)
        # In a mode that waits for each image heat may slow the run, and drops nothing.
        self._shedder = None if pacing.is_lossless else LoadShedder(self._config)
        self._intake = FrameIntake(scheduler, self._ledger, self._statistics, pacing.clock_ns,
                                   settings=lambda: self._config, shedder=self._shedder)
        self._bugs: list[str] = []
        self._is_stuck = False
        self._lost: DeviceLostError | None = None
        self._models = LoadedModels(self._config, scheduler, None, self._on_bug)
        try:
            self._models.check_memory(self._config.memory.free_floor_bytes)
            self._processor = FrameProcessor(
                lambda: self._config, self._models.pipelines, self._ledger, self._statistics,
                ReplayFrame.read, _keep, pacing.replayed_ns, pacing.clock_ns,
                on_error=self._on_error, worker=self._models.worker,
                shedder=self._shedder)
        except BaseException:
            self._models.release(_RELEASE_TIMEOUT_S)
            raise
        self._watchdog = Watchdog(self._models.worker, lambda: self._config.inference_timeout,
                                  self._on_expired)

    def __enter__(self) -> Replay:
        """Return this."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Give the models back; a worker that hangs is given up."""
        self._models.release(0.0 if self._is_stuck else _RELEASE_TIMEOUT_S)

    @property
    def labels(self) -> dict[str, Labels]:
        """Class names by model."""
        return {name: one.labels for name, one in self._models.pipelines.items()}

    @property
    def runtime_label(self) -> str:
        """The runtime and what really runs it, for people."""
        return self._models.runtime.current_runtime_label()

    def describe(self) -> dict[str, dict[str, Any]]:
        """Return what each model is, by name."""
        return {name: one.describe() for name, one in self._models.pipelines.items()}

    def warnings(self) -> tuple[str, ...]:
        """Return what runs otherwise than it was asked for, one sentence each."""
        return self._models.warnings()

    def run(self, images: Iterable[Any], sink: Callable[[FrameResult], None]) -> Measured:
        """
        Replay images; once for each object.

        :param images: of the bag, in the order of their recording.
        :param sink: takes the results, in the same order, in this thread.
        :raises InferenceRuntimeError: an inference hangs, or the device is lost.
        """
        on_state = None if self._shedder is None else self._shedder.update
        if self._shedder is not None:
            self._shedder.start()  # before the first state, which may be hot
        with record_conditions(self._root, on_state=on_state) as conditions:
            self._statistics.reset()
            self._intake.open()
            self._models.worker.start_frames(self._handle)
            try:
                self._deliver(images, sink)
            finally:
                self._models.worker.stop_frames(0.0)
        return Measured(
            self._ledger.snapshot(),
            {name: stages.percentiles() for name, stages in self._statistics.models.items()},
            {name: stages.values() for name, stages in self._statistics.models.items()},
            conditions.conditions(), self._pacing.late_max_s, tuple(self._bugs))

    def _deliver(self, images: Iterable[Any], sink: Callable[[FrameResult], None]) -> None:
        cameras: dict[str, list[str]] = {}
        for stream in self._streams:
            cameras.setdefault(stream.topic, []).append(stream.camera)
        for image in images:
            for camera in cameras[image.topic]:
                self._pacing.wait_for(image.log_ns, self._look)
                frame = ReplayFrame(camera, image)
                self._ledger.arrive(frame)
                self._intake.receive(camera, frame, image.stamp_ns)
                if self._pacing.is_lossless:
                    self._wait_for_all()
                self._pass_on(sink)
        self._wait_for_all()
        self._pass_on(sink)
        self._look()

    def _wait_for_all(self) -> None:
        idle_looks = 0
        while not self._ledger.wait_for_all(LOOK_S):
            self._look()
            is_idle = not any(one.in_flight for one in self._ledger.snapshot().values())
            idle_looks = idle_looks + 1 if is_idle else 0
            if idle_looks > _IDLE_LOOKS:
                raise RuntimeError('an image was lost on its way, no account has it')

    def _pass_on(self, sink: Callable[[FrameResult], None]) -> None:
        for result in self._ledger.settled():
            sink(result)

    def _look(self) -> None:
        self._watchdog.check()
        if self._lost is not None:
            raise InferenceRuntimeError(f'the device is lost: {self._lost}; nothing works on it '
                                        f'until it is opened anew') from self._lost

    def _handle(self, frame: Frame) -> None:
        replayed: ReplayFrame = frame.payload
        self._ledger.point_at(replayed)
        try:
            self._processor(frame)
        finally:
            self._ledger.settle(replayed)

    def _on_error(self, camera: str, model: str | None, reason: DropReason,
                  error: BaseException) -> None:
        self._ledger.explain(camera, model, reason, error)
        if isinstance(error, DeviceLostError):
            self._lost = error

    def _on_bug(self, error: BaseException) -> None:
        self._bugs.append(f'the inference worker met {type(error).__name__}: {error}; this is a '
                          f'bug')

    def _on_expired(self, elapsed_s: float) -> None:
        self._is_stuck = True
        raise InferenceError(
            f'an inference has not returned for {elapsed_s:.1f} s, inference_timeout is '
            f'{self._config.inference_timeout:g} s; on the vehicle the node would give its models '
            f'up; raise inference_timeout for a slower machine, or look at the model')


def _keep(frame: Frame, model: str, detections: Detections, image: SourceImage) -> None:
    frame.payload.keep(model, detections)
