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

"""A frame processor with everything around it under a test's control."""

from c7_inference_ros.config import load_config
from c7_inference_ros.pipeline.accounting import FrameAccounts
from c7_inference_ros.pipeline.frame_processor import FrameProcessor
from c7_inference_ros.pipeline.frame_slot import Frame
from c7_inference_ros.pipeline.intake import FrameIntake
from c7_inference_ros.pipeline.scheduler import FrameScheduler
from c7_inference_ros.pipeline.shedding import NOTHING_SHED
from c7_inference_ros.pipeline.statistics import PipelineStatistics
from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.images import SourceImage
import numpy as np

SECOND = 1_000_000_000
STREAMS = {'front': ('near', 'far'), 'rear': ('near',)}
IMAGE = SourceImage(np.zeros((8, 8, 3), np.uint8), 'bgr8')


def to_image(payload):
    """Turn a payload into pixels: an exception is raised, everything else is one image."""
    if isinstance(payload, BaseException):
        raise payload
    return IMAGE


class ScriptedDetector:
    """Takes 10 ms of the bench's clock for each stage; ``behave`` may raise or wait."""

    def __init__(self, bench):
        self.bench = bench
        self.calls = 0
        self.behave = None

    def detect(self, image, timings):
        assert image is IMAGE
        self.calls += 1
        if self.behave is not None:
            self.behave()
        self.bench.clock_ns += 30_000_000
        timings.preprocess_s = timings.inference_s = timings.decode_s = 0.01
        return Detections.empty()


class Monitor:
    """A worker as its handler sees it."""

    def __init__(self):
        self.is_abandoned = False
        self.steps = 0

    def progress(self):
        self.steps += 1


class Shed:
    """What is shed, as a test says."""

    def __init__(self):
        self.current = NOTHING_SHED


class Bench:
    """Two cameras, two models, and clocks that only move when told."""

    def __init__(self, **values):
        self.clock_ns = 100 * SECOND
        self.ros_ns = 5000 * SECOND
        self.published = []
        self.errors = []
        self.publish_error = None
        self.configure(**values)
        self.accounts = FrameAccounts(STREAMS)
        self.statistics = PipelineStatistics(STREAMS)
        self.scheduler = FrameScheduler(STREAMS)
        self.shed = Shed()
        self.images = 0
        self.intake = FrameIntake(self.scheduler, self.accounts, self.statistics,
                                  lambda: self.clock_ns, settings=lambda: self.config,
                                  shedder=self.shed)
        self.detectors = {name: ScriptedDetector(self) for name in ('near', 'far')}
        self.monitor = Monitor()
        self.processor = FrameProcessor(
            lambda: self.config, self.detectors, self.accounts, self.statistics, self.to_image,
            self.publish, lambda: self.ros_ns, lambda: self.clock_ns,
            lambda *told: self.errors.append(told), self.monitor, self.shed)
        self.intake.open()

    def configure(self, **values):
        """Use other parameters from now on."""
        self.config = load_config({'camera_names': list(STREAMS), 'model_names': ['near', 'far'],
                                   **values})

    def to_image(self, payload):
        self.images += 1
        return to_image(payload)

    def publish(self, frame, model, detections, image):
        if self.publish_error is not None:
            raise self.publish_error
        assert image is IMAGE
        self.published.append((frame.camera, model, frame.stamp_ns, len(detections)))

    def receive(self, camera, payload='image', age_s=0.0):
        self.intake.receive(camera, payload, self.ros_ns - int(age_s * SECOND))

    def step(self):
        """Process the frame whose turn it is, and return it."""
        frame = self.scheduler.take(0)
        assert isinstance(frame, Frame)
        self.processor(frame)
        return frame

    def account(self, camera='front', model='near'):
        """Return (received, published, in flight, {reason: count})."""
        found = self.accounts.snapshot()[camera, model]
        assert found.balance() == 0
        return (found.received, found.published, found.in_flight,
                {reason.value: count for reason, count in found.dropped.items() if count})
