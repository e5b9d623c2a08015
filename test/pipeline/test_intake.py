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

from processing_bench import Bench
from processing_bench import SECOND
import pytest


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
