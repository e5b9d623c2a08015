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

"""What an image callback does."""

from c7_inference_ros.pipeline.accounting import FrameAccounts
from c7_inference_ros.pipeline.frame_slot import Frame
from c7_inference_ros.pipeline.intake import FrameIntake
from c7_inference_ros.pipeline.scheduler import FrameScheduler
from c7_inference_ros.pipeline.shedding import SheddingStep
from c7_inference_ros.pipeline.statistics import PipelineStatistics
from processing_bench import Bench
from processing_bench import SECOND
from processing_bench import STREAMS
import pytest

PAUSED = SheddingStep(3, 'intake is paused', 5.0, is_paused=True)
AT_5_HZ = SheddingStep(2, 'at most 5 Hz', 5.0)


@pytest.fixture
def bench():
    return Bench()


def test_received_frame_waits_with_its_stamps(bench):
    bench.receive('front', 'picture', age_s=0.25)
    frame = bench.scheduler.take(0)
    assert (frame.camera, frame.payload) == ('front', 'picture')
    assert frame.stamp_ns == bench.ros_ns - SECOND // 4
    assert frame.received_ns == bench.clock_ns
    assert bench.account('front', 'near') == (1, 0, 1, {})
    assert bench.account('front', 'far') == (1, 0, 1, {})
    assert bench.account('rear', 'near') == (0, 0, 0, {})
    assert bench.statistics.cameras['front'].rate_in.total == 1


def test_overwritten_frames_are_counted(bench):
    for _ in range(3):
        bench.receive('front')
    bench.receive('rear')
    assert bench.account('front') == (3, 0, 1, {'overwritten': 2})
    assert bench.account('rear') == (1, 0, 1, {})


def test_frames_while_closed_and_frames_left_behind_are_inactive(bench):
    bench.receive('front')
    bench.receive('rear')
    assert bench.intake.close() == 2
    bench.receive('front')
    assert bench.account('front', 'far') == (2, 0, 0, {'inactive': 2})
    assert bench.account('rear') == (1, 0, 0, {'inactive': 1})
    assert bench.intake.close() == 0
    bench.intake.open()
    bench.receive('rear')
    assert bench.account('rear') == (2, 0, 1, {'inactive': 1})


def receive_for(bench, seconds, camera='front', rate_hz=30.0, take=True):
    """Let images arrive evenly, and take each frame that waits."""
    for _ in range(round(seconds * rate_hz)):
        bench.clock_ns += round(SECOND / rate_hz)
        bench.receive(camera)
        if take:
            bench.scheduler.poll()


def test_pause_drops_every_image_before_it_takes_a_slot(bench):
    bench.shed.current = PAUSED
    receive_for(bench, 1.0, take=False)
    assert bench.scheduler.waiting == 0
    for model in STREAMS['front']:
        assert bench.account('front', model) == (30, 0, 0, {'thermal': 30})
    assert bench.statistics.cameras['front'].rate_in.total == 30  # it did arrive
    assert bench.account('rear') == (0, 0, 0, {})


def test_frame_that_waits_when_the_pause_begins_is_processed(bench):
    bench.receive('rear', 'before')
    bench.shed.current = PAUSED
    bench.clock_ns += SECOND
    bench.receive('rear', 'after')
    assert bench.step().payload == 'before'
    assert bench.account('rear') == (2, 1, 0, {'thermal': 1})


def test_max_rate_drops_under_its_own_reason(bench):
    bench.configure(**{'cameras.front.max_rate': 10.0})
    receive_for(bench, 10.0)
    receive_for(bench, 10.0, 'rear')
    received, _, taken, dropped = bench.account('front', 'far')
    assert (received, taken) == (300, pytest.approx(100, abs=1))
    assert dropped == {'rate_limited': received - taken}
    assert bench.account('rear') == (300, 0, 300, {})  # each camera has its own


def test_max_rate_acts_on_the_next_image(bench):
    receive_for(bench, 1.0)
    assert bench.account()[2] == 30
    bench.configure(**{'cameras.front.max_rate': 1.0})
    receive_for(bench, 10.0)
    assert bench.account()[2] == pytest.approx(40, abs=1)
    bench.configure()
    receive_for(bench, 1.0)
    assert bench.account()[2] == pytest.approx(70, abs=1)


def test_shed_rate_drops_because_of_heat(bench):
    bench.shed.current = AT_5_HZ
    receive_for(bench, 10.0)
    received, _, taken, dropped = bench.account()
    assert (received, taken) == (300, pytest.approx(50, abs=1))
    assert dropped == {'thermal': received - taken}


@pytest.mark.parametrize('is_heat', [True, False])
def test_each_camera_has_the_whole_rate_while_images_arrive_by_turns(bench, is_heat):
    if is_heat:
        bench.shed.current = AT_5_HZ
    else:
        bench.configure(**{'cameras.front.max_rate': 5.0, 'cameras.rear.max_rate': 5.0})
    for _ in range(300):
        bench.clock_ns += SECOND // 30
        for camera in ('front', 'rear'):
            bench.receive(camera)
            bench.scheduler.poll()
    for account in (bench.account('front', 'far'), bench.account('rear')):
        assert account[2] == pytest.approx(50, abs=1)


def test_both_rates_share_the_drops_by_who_is_to_blame(bench):
    bench.configure(**{'cameras.front.max_rate': 10.0})
    bench.shed.current = AT_5_HZ
    receive_for(bench, 60.0)
    received, _, taken, dropped = bench.account()
    assert taken == pytest.approx(300, abs=2)
    assert dropped['rate_limited'] == pytest.approx(1200, abs=3)
    assert dropped['thermal'] == pytest.approx(300, abs=3)


def test_own_limit_below_the_shed_rate_is_all_that_counts(bench):
    bench.configure(**{'cameras.front.max_rate': 2.0})
    bench.shed.current = AT_5_HZ
    receive_for(bench, 30.0)
    received, _, taken, dropped = bench.account()
    assert taken == pytest.approx(60, abs=1)
    assert dropped == {'rate_limited': received - taken}


def test_closed_intake_says_inactive_whatever_is_shed(bench):
    bench.configure(**{'cameras.front.max_rate': 1.0})
    bench.shed.current = PAUSED
    bench.intake.close()
    receive_for(bench, 1.0)
    assert bench.account() == (30, 0, 0, {'inactive': 30})


def test_dropped_image_is_received_first(bench):
    """Nobody may see a frame dropped that was not received."""
    moments = []
    drop = bench.accounts.frame_dropped

    def watch(camera, reason):
        moments.append(bench.account(camera))
        drop(camera, reason)
    bench.accounts.frame_dropped = watch
    bench.shed.current = PAUSED
    bench.receive('front')
    assert moments == [(1, 0, 1, {})]


def test_intake_alone_takes_everything():
    accounts = FrameAccounts(STREAMS)
    scheduler = FrameScheduler(STREAMS)
    intake = FrameIntake(scheduler, accounts, PipelineStatistics(STREAMS), lambda: 0)
    intake.open()
    for _ in range(5):
        intake.receive('rear', 'image', 0)
        assert isinstance(scheduler.poll(), Frame)
