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

"""What lives from configure to cleanup: cameras, models, outputs, and the frames between them."""

from __future__ import annotations

import time
from typing import Callable

from c7_inference_ros.config import NodeConfig
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import DeviceLostError
from c7_inference_ros.node.camera_subscription import CameraSubscription
from c7_inference_ros.node.model_outputs import ModelOutputs
from c7_inference_ros.pipeline.accounting import DropReason
from c7_inference_ros.pipeline.accounting import FrameAccounts
from c7_inference_ros.pipeline.frame_processor import FrameProcessor
from c7_inference_ros.pipeline.frame_slot import Frame
from c7_inference_ros.pipeline.intake import FrameIntake
from c7_inference_ros.pipeline.load_shedder import LoadShedder
from c7_inference_ros.pipeline.load_shedder import OnStep
from c7_inference_ros.pipeline.loaded_models import LoadedModels
from c7_inference_ros.pipeline.scheduler import FrameScheduler
from c7_inference_ros.pipeline.statistics import PipelineStatistics
from c7_inference_ros.pipeline.watchdog import Watchdog
from c7_inference_ros.thermal.publisher import ThermalStatePublisher
from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.images import SourceImage
from c7_inference_ros.vision.message_image import to_source_image
from rclpy.lifecycle import LifecycleNode

#: A problem of the last frames stays in diagnostics for this long.
PROBLEM_NS = 5_000_000_000
LOG_PERIOD_NS = 5_000_000_000
#: With drain_timeout, shorter than the 10 s after which launch kills a process that it stops.
RELEASE_TIMEOUT_S = 5.0


class Session:
    """
    The configured part of a node; made by configure and thrown away by cleanup.

    :param node: node that owns it.
    :param config: what was configured; dynamic values may be replaced by :meth:`apply`.
    :param thermal: thermal publisher, injected into the runtime.
    :param accounts: frame accounts of the node, or None to open new ones.
    :param on_expired: called when an inference takes too long, with the seconds it took.
    :param on_step: told about each step in which load is shed because of heat.
    :raises ConfigurationError: what the user has to correct; nothing is left behind.
    :raises InferenceRuntimeError: a model does not load or does not fit; likewise.
    """

    def __init__(self, node: LifecycleNode, config: NodeConfig, thermal: ThermalStatePublisher,
                 accounts: FrameAccounts | None, on_expired: Callable[[float], None],
                 on_step: OnStep | None = None) -> None:
        """Load the models and create the publishers; nothing is received yet."""
        self._node = node
        self._thermal = thermal
        self.config = config
        self.shedder = LoadShedder(config, on_step=on_step)
        streams = {camera: config.models_of(camera) for camera in config.camera_names}
        self.accounts = accounts or FrameAccounts(streams)
        self.statistics = PipelineStatistics(streams)
        self.cameras = {name: CameraSubscription(node, camera, self._receive)
                        for name, camera in config.cameras.items()}
        self.activated_ns = 0
        self.is_active = False
        #: Why nothing works on the device any more; empty while it does. Set by the worker.
        self.device_lost = ''
        self._problems: dict[tuple[str, str | None], tuple[int, str]] = {}
        self._logged: dict[tuple[str, str | None, str], int] = {}
        scheduler = FrameScheduler(config.camera_names)
        self._intake = FrameIntake(scheduler, self.accounts, self.statistics,
                                   settings=lambda: self.config, shedder=self.shedder)
        self.models = LoadedModels(config, scheduler, thermal, self._on_bug)
        self.outputs: dict[str, ModelOutputs] = {}
        try:
            for name, pipeline in self.models.pipelines.items():
                cameras = [camera for camera, models in streams.items() if name in models]
                method = f'{pipeline.handle.name} ({pipeline.decoder.name})'
                self.outputs[name] = ModelOutputs(node, name, cameras, pipeline.labels, method)
        except BaseException:
            self.release()
            raise
        self._processor = FrameProcessor(
            lambda: self.config, self.models.pipelines, self.accounts, self.statistics,
            to_source_image, self._publish, lambda: node.get_clock().now().nanoseconds,
            on_error=self._on_error, worker=self.models.worker, shedder=self.shedder)
        self.watchdog = Watchdog(self.models.worker, lambda: self.config.inference_timeout,
                                 on_expired)

    def start(self) -> None:
        """
        Let frames in; the publishers must be enabled.

        :raises ConfigurationError: a camera cannot be subscribed; nothing is left running.
        """
        self.statistics.reset()
        self._problems.clear()
        self.activated_ns = time.monotonic_ns()
        self._publish_infos()
        self.shedder.start()
        self.shedder.update(self._thermal.snapshot())
        self._intake.open()
        self.models.worker.start_frames(self._processor)
        self.is_active = True
        try:
            for camera in self.cameras.values():
                camera.subscribe()
        except ConfigurationError:
            self.stop()
            raise

    def stop(self, is_stuck: bool = False) -> bool:
        """
        Stop intake, then let the frame in work finish, within ``drain_timeout``.

        :param is_stuck: the worker hangs: do not wait for it.
        :returns: False when it did not finish; its result is void and counted as inactive.
        """
        self.is_active = False
        for camera in self.cameras.values():
            camera.unsubscribe()
        is_drained = self.models.worker.stop_frames(
            0.0 if is_stuck else self.config.drain_timeout)
        self._intake.close()
        self.shedder.stop()
        self.shedder.update(self._thermal.snapshot())
        if not is_drained:
            self._processor.abandon(DropReason.INACTIVE)
        return is_drained

    def release(self, is_stuck: bool = False) -> bool:
        """
        Give everything back; idempotent.

        :param is_stuck: the worker hangs: do not wait for it.
        :returns: False when the worker had to be abandoned.
        """
        if self.is_active:
            if is_stuck:
                self._processor.abandon()
            self.stop(is_stuck)
        for outputs in self.outputs.values():
            outputs.destroy()
        return self.models.release(0.0 if is_stuck else RELEASE_TIMEOUT_S)

    def check(self, config: NodeConfig) -> None:
        """
        Check dynamic values of a changed configuration against the loaded models.

        :raises ConfigurationError: with one line for everything that does not fit.
        """
        problems: list[str] = []
        for name, pipeline in self.models.pipelines.items():
            try:
                pipeline.settings_for(config.models[name])
            except ConfigurationError as error:
                problems += error.problems
        if problems:
            raise ConfigurationError(problems)

    def apply(self, config: NodeConfig) -> None:
        """Use changed dynamic values from the next frame on; :meth:`check` accepted them."""
        self.config = config
        self.shedder.configure(config)
        for name, pipeline in self.models.pipelines.items():
            pipeline.apply_settings(config.models[name])
        if self.is_active:
            self._publish_infos()

    def problem(self, camera: str | None = None, model: str | None = None) -> str:
        """Return what went wrong with a recent frame of a camera, or of a model."""
        since = time.monotonic_ns() - PROBLEM_NS
        return '; '.join(
            text for (where, what), (when, text) in list(self._problems.items())
            if when > since and what == model and camera in (None, where))

    def log(self, key: tuple[str, str | None, str], text: str) -> None:
        """Log a warning, at most every few seconds for the same camera, model and reason."""
        now_ns = time.monotonic_ns()
        if now_ns - self._logged.get(key, -LOG_PERIOD_NS) >= LOG_PERIOD_NS:
            self._logged[key] = now_ns
            self._node.get_logger().warning(text)

    def _receive(self, camera: str, message: object, stamp_ns: int) -> None:
        self._intake.receive(camera, message, stamp_ns)

    def _publish(self, frame: Frame, model: str, detections: Detections,
                 image: SourceImage) -> None:
        self.outputs[model].publish(frame.camera, frame.payload.header, detections, image)

    def _publish_infos(self) -> None:
        for name, outputs in self.outputs.items():
            outputs.publish_info(self.config.models[name].score_threshold)

    def _on_error(self, camera: str, model: str | None, reason: DropReason,
                  error: BaseException) -> None:
        text = ' '.join(f'{type(error).__name__}: {error}'.split())
        self._problems[camera, model] = (time.monotonic_ns(), text)
        if isinstance(error, DeviceLostError):
            self.device_lost = text
        where = f'camera {camera}' + (f', model {model}' if model else '')
        self.log((camera, model, reason.value), f'{where}: frame dropped ({reason.value}): {text}')

    def _on_bug(self, error: BaseException) -> None:
        self._node.get_logger().error(
            f'the inference worker met {type(error).__name__}: {error}; this is a bug')
