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

"""The closed loop: camera, the real pipeline, heat, and the real way from sysfs to shedding."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import heapq
from pathlib import Path
import tempfile
from typing import Callable

from c7_inference_ros.config import load_config
from c7_inference_ros.config import NodeConfig
from c7_inference_ros.pipeline.accounting import AccountSnapshot
from c7_inference_ros.pipeline.accounting import FrameAccounts
from c7_inference_ros.pipeline.accounting import Stream
from c7_inference_ros.pipeline.detection_pipeline import StageTimings
from c7_inference_ros.pipeline.frame_processor import FrameProcessor
from c7_inference_ros.pipeline.frame_slot import Frame
from c7_inference_ros.pipeline.intake import FrameIntake
from c7_inference_ros.pipeline.load_shedder import LoadShedder
from c7_inference_ros.pipeline.scheduler import FrameScheduler
from c7_inference_ros.pipeline.shedding import SheddingStep
from c7_inference_ros.pipeline.statistics import PipelineStatistics
from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.images import SourceImage
from hot_board.board import Board
from hot_board.board import BoardModel
from hot_board.board import Weather
from hot_board.tree import OrinTree
import numpy as np

SECOND_NS = 1_000_000_000
CAMERA = 'front'
CAMERA_HZ = 30.0
#: Time of one frame in each model at full speed, seconds; 20 ms together.
SERVICE_S = {'near': 0.012, 'far': 0.008}
PARAMETERS = {'camera_names': [CAMERA], 'model_names': list(SERVICE_S),
              'models.near.priority': 1}
POLL_NS = SECOND_NS
_TICK_NS = SECOND_NS // 10
_IMAGE = SourceImage(np.zeros((2, 2, 3), np.uint8), 'bgr8')


@dataclass
class Trace:
    """
    What one run was like; times in seconds from its beginning.

    :param samples: (time, air, die, state of the cooling device, level), once for each poll.
    :param ages: (time, model, age) of every published result.
    :param steps: (time, level before, level after, why) of every step.
    :param accounts: of every stream, at the end.
    :param unbalanced: moments at which frames were not accounted for.
    """

    policy: str
    samples: list[tuple[float, float, float, int, int]] = field(default_factory=list)
    ages: list[tuple[float, str, float]] = field(default_factory=list)
    steps: list[tuple[float, int, int, str]] = field(default_factory=list)
    accounts: dict[Stream, AccountSnapshot] = field(default_factory=dict)
    unbalanced: int = 0


class Simulation:
    """
    One run under one policy. Everything happens in one thread, in simulated time.

    :param policy: ``thermal.policy``.
    :param weather: air around the board.
    :param model: constants of the board.
    :param tree: where sysfs is written and read.
    :param values: more parameters of the node.
    """

    def __init__(self, policy: str, weather: Weather, model: BoardModel, tree: OrinTree,
                 **values: object) -> None:
        """Put the parts together as the node does."""
        self.config = configuration(policy, **values)
        self.trace = Trace(policy)
        self._weather = weather
        self._tree = tree
        self._board = Board(model, weather.ambient_c(0.0))
        self._now_ns = 0
        self._busy_ns = 0
        self._events: list[tuple[int, int, Callable[[], None], int]] = []
        self._numbers = iter(range(1 << 62))
        streams = {CAMERA: tuple(SERVICE_S)}
        self._accounts = FrameAccounts(streams)
        statistics = PipelineStatistics(streams)
        self._scheduler = FrameScheduler(streams)
        self._shedder = LoadShedder(self.config, self._clock_ns, self._on_step)
        self._intake = FrameIntake(self._scheduler, self._accounts, statistics, self._clock_ns,
                                   settings=lambda: self.config, shedder=self._shedder)
        detectors = {name: _Detector(self, service_s) for name, service_s in SERVICE_S.items()}
        self._processor = FrameProcessor(
            lambda: self.config, detectors, self._accounts, statistics, lambda payload: payload,
            self._publish, self._clock_ns, self._clock_ns, shedder=self._shedder)

    def run(self) -> Trace:
        """Run from the beginning of the weather to its end, and return what happened."""
        # In this order when they fall together: the sensors show what the board was just before.
        governor_ns = round(self._board.model.governor_s * SECOND_NS)
        for action, period_ns in ((self._heat, _TICK_NS), (self._board.govern, governor_ns),
                                  (self._poll, POLL_NS), (self._image, self._camera_ns)):
            self._schedule(action, period_ns, period_ns)
        self._intake.open()
        self._shedder.start()
        end_ns = round(self._weather.duration_s * SECOND_NS)
        while self._now_ns < end_ns:
            frame = self._scheduler.poll()
            if frame is None:
                self._move_to(self._events[0][0])
            else:
                self._processor(frame)
        self._intake.close()
        self._shedder.stop()
        self._check_balance()
        self.trace.accounts = self._accounts.snapshot()
        return self.trace

    def work(self, service_s: float) -> None:
        """Let the processor work on what takes ``service_s`` at full speed."""
        taken_ns = round(service_s * self._board.slowdown * SECOND_NS)
        self._move_to(self._now_ns + taken_ns, is_busy=True)

    def _move_to(self, target_ns: int, is_busy: bool = False) -> None:
        """Let time pass, and everything happen that is due."""
        while True:
            at_ns = min(self._events[0][0], target_ns)
            if is_busy:
                self._busy_ns += at_ns - self._now_ns
            self._now_ns = at_ns
            if self._events[0][0] > at_ns:
                return
            due_ns, _, action, period_ns = heapq.heappop(self._events)
            self._schedule(action, due_ns + period_ns, period_ns)
            action()
            if self._now_ns == target_ns and self._events[0][0] > target_ns:
                return

    def _schedule(self, action: Callable[[], None], at_ns: int, period_ns: int) -> None:
        heapq.heappush(self._events, (at_ns, next(self._numbers), action, period_ns))

    def _clock_ns(self) -> int:
        return self._now_ns

    @property
    def _now_s(self) -> float:
        return self._now_ns / SECOND_NS

    @property
    def _camera_ns(self) -> int:
        return round(SECOND_NS / CAMERA_HZ)

    def _image(self) -> None:
        self._intake.receive(CAMERA, _IMAGE, self._now_ns)

    def _heat(self) -> None:
        self._board.run(_TICK_NS / SECOND_NS, self._busy_ns / SECOND_NS,
                        self._weather.ambient_c(self._now_s))
        self._busy_ns = 0

    def _poll(self) -> None:
        board = self._board
        self._tree.write(board.die_c, board.state)
        self._shedder.update(self._tree.source.read(self._now_ns))
        self.trace.samples.append((self._now_s, self._weather.ambient_c(self._now_s), board.die_c,
                                   board.state, self._shedder.current.level))
        self._check_balance()

    def _check_balance(self) -> None:
        self.trace.unbalanced += any(
            account.balance() for account in self._accounts.snapshot().values())

    def _publish(self, frame: Frame, model: str, detections: Detections,
                 image: SourceImage) -> None:
        self.trace.ages.append((self._now_s, model, (self._now_ns - frame.stamp_ns) / SECOND_NS))

    def _on_step(self, before: SheddingStep, after: SheddingStep, reason: str) -> None:
        self.trace.steps.append((self._now_s, before.level, after.level, reason))


class _Detector:
    """A model that takes time."""

    def __init__(self, simulation: Simulation, service_s: float) -> None:
        self._simulation = simulation
        self._service_s = service_s

    def detect(self, image: SourceImage, timings: StageTimings) -> Detections:
        """Take the time of the model, and find nothing."""
        self._simulation.work(self._service_s)
        timings.preprocess_s = timings.decode_s = 0.0
        timings.inference_s = self._service_s
        return Detections.empty()


def configuration(policy: str, **values: object) -> NodeConfig:
    """Return the settings of a run: the defaults, but for names, priority and policy."""
    return load_config({**PARAMETERS, 'thermal.policy': policy, **values})


def simulate(policy: str, weather: Weather, model: BoardModel, **values: object) -> Trace:
    """Run one policy over a sysfs tree in a temporary folder; parameters as the simulation's."""
    with tempfile.TemporaryDirectory(prefix='hot_board_') as folder:
        return Simulation(policy, weather, model, OrinTree(Path(folder), model), **values).run()
