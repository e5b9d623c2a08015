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

"""Real time: images come when they were recorded, the latest wins, as on a vehicle."""

from pathlib import Path
import sys
import threading
import time

from c7_inference_ros.tools.node_parameters import load_parameter_file
from c7_inference_ros.tools.replaying.pacing import EveryFrame
from c7_inference_ros.tools.replaying.pacing import RealTime
from c7_inference_ros.tools.replaying.run import Replay
from c7_inference_ros.tools.replaying.streams import CameraStream
from c7_inference_ros.vision.images import SourceImage
import numpy as np
import pytest
from replay_bench import parameters

sys.path.append(str(Path(__file__).parents[1] / 'thermal'))

from board_trees import plant  # noqa: E402, I100

T0, PERIOD = 1_700_000_000_000_000_000, 40_000_000
TOPIC = '/front/image_raw'
PATIENCE_S = 30.0


class Clock:
    """A clock that stands until somebody waits for it."""

    def __init__(self):
        self.time_ns = 5_000_000_000
        self.waits = []

    def now_ns(self):
        return self.time_ns

    def sleep_until(self, time_ns):
        self.waits.append(time_ns)
        self.time_ns = max(self.time_ns, time_ns)


class Image:
    """An image of a bag that may be held while it is decoded."""

    def __init__(self, index, age_ns=0, hold=None, topic=TOPIC):
        self.topic, self.index, self.frame_id = topic, index, 'camera'
        self.log_ns = T0 + index * PERIOD
        self.stamp_ns = self.log_ns - age_ns
        self.is_taken = threading.Event()
        self._hold = hold

    def read(self):
        self.is_taken.set()
        assert self._hold is None or self._hold.wait(PATIENCE_S)
        return SourceImage(np.zeros((48, 64, 3), np.uint8), 'bgr8')


def replayed(tmp_path, images, pacing, **others):
    """Return (results, what was measured)."""
    params = parameters(tmp_path / 'p', **others)
    config = load_parameter_file(params)
    results = []
    streams = [CameraStream('front', TOPIC, 'sensor_msgs/msg/Image', 10)]
    with Replay(config, streams, pacing) as replay:
        measured = replay.run(images, results.append)
    (account,) = measured.counts.values()
    assert account.balance() == 0 and account.in_flight == 0
    assert [result.index for result in results] == list(range(len(results)))
    return results, measured


def held_first(clock, count=10, later_ns=0):
    """
    Yield images of which the first is in work until all others came.

    :param later_ns: how much later than the last it is let go.
    """
    let_go = threading.Event()
    first = Image(0, hold=let_go)
    yield first
    assert first.is_taken.wait(PATIENCE_S)
    for index in range(1, count):
        yield Image(index)
    clock.time_ns += later_ns
    let_go.set()


def test_the_latest_wins_while_a_model_is_at_work(tmp_path):
    clock = Clock()
    results, measured = replayed(tmp_path, held_first(clock), RealTime(1.0, clock))
    assert [result.dropped for result in results] == ['', *['overwritten'] * 8, '']
    assert [result.detections is not None for result in results] == [True, *[False] * 8, True]
    (account,) = measured.counts.values()
    assert (account.received, account.published) == (10, 2)
    # The worker was held for the nine periods in which the others came; they cost no decoding.
    assert measured.stages['detector']['processing'].max == pytest.approx(0.36)
    assert [(result.width, result.height) for result in results[1:9]] == [(0, 0)] * 8


@pytest.mark.parametrize('later_s, rate, last', [
    (0.4, 1.0, ''), (0.6, 1.0, 'stale'), (0.3, 2.0, 'stale'), (0.2, 2.0, '')])
def test_the_age_limit_is_of_recorded_time(tmp_path, later_s, rate, last):
    clock = Clock()
    results, _ = replayed(tmp_path, held_first(clock, 3, round(later_s * 1e9)),
                          RealTime(rate, clock), max_image_age=0.5)
    assert [result.dropped for result in results] == ['', 'overwritten', last]


def test_stamps_that_are_older_than_the_limit_are_stale_as_on_the_vehicle(tmp_path):
    def images():
        for index in range(4):
            image = Image(index, age_ns=600_000_000)
            yield image

    clock = Clock()
    results, _ = replayed(tmp_path, images(), RealTime(1.0, clock), max_image_age=0.5)
    assert {result.dropped for result in results} <= {'stale', 'overwritten'}
    assert results[-1].dropped == 'stale'


@pytest.mark.parametrize('rate', [0.5, 1.0, 4.0])
def test_images_are_due_at_their_recorded_distance(tmp_path, rate):
    clock = Clock()
    due = []

    class Watching(RealTime):

        def wait_for(self, log_ns, look):
            super().wait_for(log_ns, look)
            due.append(clock.now_ns())

    replayed(tmp_path, map(Image, range(5)), Watching(rate, clock))
    assert np.diff(due).tolist() == [PERIOD / rate] * 4


def test_a_late_image_is_measured_and_moves_no_other(tmp_path):
    clock = Clock()

    def images():
        yield Image(0)
        clock.time_ns += 3 * PERIOD  # the disk is slow
        yield Image(1)
        yield Image(5)

    config = load_parameter_file(parameters(tmp_path / 'p'))
    pacing = RealTime(1.0, clock)
    with Replay(config, [CameraStream('front', TOPIC, 'x', 3)], pacing) as replay:
        measured = replay.run(images(), lambda result: None)
    assert measured.late_max_s == pytest.approx(2 * PERIOD / 1e9)
    assert clock.time_ns == 5_000_000_000 + 5 * PERIOD


@pytest.mark.parametrize('rate', [1.0, 8.0])
def test_rate_limits_are_per_recorded_second(tmp_path, rate):
    results, measured = replayed(
        tmp_path, map(Image, range(46)), RealTime(rate, Clock()),
        cameras={'front': {'image_topic': TOPIC, 'max_rate': 5.0}})
    limited = sum(result.dropped == 'rate_limited' for result in results)
    assert limited == 36  # five a second come through in 1.8 s, the first included


@pytest.mark.parametrize('is_paced', [True, False])
def test_heat_sheds_load_only_where_time_matters(tmp_path, is_paced):
    tree = plant('orin_nano', tmp_path / 'board')
    alert = next(path for path in sorted((tree.root / 'sys/class/thermal').iterdir())
                 if path.name.startswith('cooling_device')
                 and 'throttle-alert' in (path / 'type').read_text())
    (alert / 'cur_state').write_text('1\n')
    clock = Clock()
    results, _ = replayed(
        tmp_path, map(Image, range(23)), RealTime(1.0, clock) if is_paced else EveryFrame(clock),
        thermal__policy='shed', thermal__sysfs_root=str(tree.root / 'sys'))
    shed = sum(result.dropped == 'thermal' for result in results)
    # The first step lets ten a second through.
    assert shed == (13 if is_paced else 0)


def test_the_real_clock_paces_a_bag(tmp_path):
    times = []

    class Timed(Image):

        def read(self):
            times.append(time.monotonic_ns())
            return super().read()

    results, measured = replayed(tmp_path, map(Timed, range(4)), RealTime(1.0))
    assert results[-1].dropped == ''
    assert times[-1] - times[0] >= 3 * PERIOD - measured.late_max_s * 1e9
    assert measured.stages['detector']['age'].max > 0.0
