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

"""Intake, worker, watchdog and pipelines together, on the dummy runtime."""

import gc
import time
import tracemalloc

from c7_inference_ros.config import load_config
from c7_inference_ros.pipeline.accounting import DropReason
from c7_inference_ros.pipeline.accounting import FrameAccounts
from c7_inference_ros.pipeline.frame_processor import FrameProcessor
from c7_inference_ros.pipeline.intake import FrameIntake
from c7_inference_ros.pipeline.scheduler import FrameScheduler
from c7_inference_ros.pipeline.statistics import PipelineStatistics
from c7_inference_ros.pipeline.statistics import STAGES
from c7_inference_ros.pipeline.watchdog import Watchdog
from c7_inference_ros.pipeline.worker import InferenceWorker
from scripted_models import load
from scripted_models import picture

STREAMS = {'camera': ['detector']}


class Running:
    """What a node does, without ROS."""

    def __init__(self, folder, **script):
        self.config = load_config({})
        self.published = []
        self.errors = []
        self.accounts = FrameAccounts(STREAMS)
        self.statistics = PipelineStatistics(STREAMS)
        self.scheduler = FrameScheduler(STREAMS)
        self.worker = InferenceWorker(self.scheduler, self.errors.append)
        self.pipelines = {'detector': self.worker.call(lambda: load(folder, **script), 10.0)}
        self.intake = FrameIntake(self.scheduler, self.accounts, self.statistics)
        self.processor = FrameProcessor(
            lambda: self.config, self.pipelines, self.accounts, self.statistics,
            lambda payload: payload, self.publish, time.time_ns,
            on_error=lambda *told: self.errors.append(told), worker=self.worker)
        self.intake.open()
        self.worker.start_frames(self.processor)

    def publish(self, frame, model, detections, image):
        self.published.append((frame.stamp_ns, detections.boxes.tolist()))

    def receive(self, image):
        stamp_ns = time.time_ns()
        self.intake.receive('camera', image, stamp_ns)
        return stamp_ns

    def account(self):
        found = self.accounts.snapshot()['camera', 'detector']
        assert found.balance() == 0
        return found

    def release(self):
        self.pipelines['detector'].release()


def wait_until(condition, timeout_s=5.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, 'did not happen in time'
        time.sleep(0.002)


def test_images_in_detections_out(tmp_path):
    running = Running(tmp_path, motion=[1, 0])
    stamps = []
    for number in range(1, 21):
        stamps.append(running.receive(picture()))
        wait_until(lambda number=number: running.account().published == number)
    running.intake.close()
    assert running.worker.stop_frames(5.0)
    assert [stamp for stamp, _ in running.published] == stamps
    # The scripted box moves by one pixel of the network, two of the image.
    assert [boxes[0][0] for _, boxes in running.published] == [16 + 2 * step for step in range(20)]
    percentiles = running.statistics.models['detector'].percentiles()
    assert all(percentiles[stage].count == 20 for stage in STAGES)
    parts = sum(percentiles[stage].p50 for stage in
                ('convert', 'preprocess', 'inference', 'decode', 'publish'))
    assert 0.3 < parts / percentiles['processing'].p50 < 1.5
    assert percentiles['age'].max < 5.0
    assert running.worker.stop(5.0, running.release)
    assert running.pipelines['detector'].handle.is_released
    assert not running.errors


def test_faster_images_than_the_model_are_overwritten_not_queued(tmp_path):
    running = Running(tmp_path, latency_s=0.03)
    last = 0
    for _ in range(100):
        last = running.receive(picture())
        time.sleep(0.003)
    wait_until(lambda: running.account().in_flight == 0)
    account = running.account()
    assert account.received == 100
    assert account.dropped[DropReason.OVERWRITTEN] == 100 - account.published
    assert 3 <= account.published <= 50
    assert running.published[-1][0] == last  # the latest image is never the one that is lost
    assert running.statistics.models['detector'].percentiles()['age'].max < 1.0
    assert running.worker.stop(5.0, running.release)


def test_hanging_inference_is_noticed_and_given_up(tmp_path):
    """The watchdog expires; the late result is neither published nor counted a second time."""
    running = Running(tmp_path, faults=[{'at': 2, 'error': 'hang', 'for_s': 1.0}])
    expired = []
    watchdog = Watchdog(running.worker, lambda: 0.1, expired.append)
    running.receive(picture())
    wait_until(lambda: running.account().published == 1)
    assert not watchdog.check()
    running.receive(picture())
    wait_until(watchdog.check)
    assert len(expired) == 1 and 0.1 < expired[0] < 1.0
    running.intake.close()
    assert running.processor.abandon() == 1
    assert not running.worker.stop(0.0, running.release)
    account = running.account()
    assert (account.published, account.in_flight) == (1, 0)
    assert account.dropped[DropReason.INFERENCE_ERROR] == 1
    assert not watchdog.check()
    wait_until(lambda: not running.worker.is_alive)
    assert len(running.published) == 1
    assert running.account() == account
    assert running.pipelines['detector'].handle.is_released  # late, but released


def test_abandoned_worker_alone_is_enough(tmp_path):
    """Nobody told the processor: the frame is settled when the inference comes back."""
    running = Running(tmp_path, faults=[{'at': 1, 'error': 'hang', 'for_s': 0.3}])
    running.receive(picture())
    wait_until(lambda: running.worker.busy_since_ns is not None)
    assert not running.worker.stop(0.0, running.release)
    assert running.account().in_flight == 1
    wait_until(lambda: not running.worker.is_alive)
    assert not running.published
    assert running.account().dropped[DropReason.INFERENCE_ERROR] == 1


def test_faults_lose_single_frames(tmp_path):
    running = Running(tmp_path, faults=[{'at': 2, 'error': 'inference', 'count': 2},
                                        {'at': 5, 'error': 'oom'}])
    for number in range(1, 9):
        running.receive(picture())
        wait_until(lambda: running.account().in_flight == 0)
    account = running.account()
    assert (account.received, account.published) == (8, 5)
    assert account.dropped[DropReason.INFERENCE_ERROR] == 3
    assert [told[:3] for told in running.errors] == [
        ('camera', 'detector', DropReason.INFERENCE_ERROR)] * 3
    assert running.worker.stop(5.0, running.release)


def test_thousands_of_frames_keep_no_memory(tmp_path):
    running = Running(tmp_path)
    running.publish = None
    processor, image = running.processor, picture()
    processor._publish = lambda *_: None
    assert running.worker.stop_frames(5.0)

    def go(frames):
        for _ in range(frames):
            running.receive(image)
            processor(running.scheduler.take(0))

    tracemalloc.start()
    try:
        go(600)  # past the capacity of the windows
        gc.collect()  # empties the interpreter's free lists, too
        before = tracemalloc.get_traced_memory()[0]
        go(3000)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # Not even the smallest object of each frame.
    assert grown < 3000 * 8, f'{grown} bytes'
    assert running.account().published == 3600
    assert running.worker.stop(5.0, running.release)
