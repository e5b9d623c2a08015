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

"""Stages, delay and the statistics of cameras."""

from c7_inference_ros.pipeline.statistics import CameraStatistics
from c7_inference_ros.pipeline.statistics import PipelineStatistics
from c7_inference_ros.pipeline.statistics import ProcessingDelay
from c7_inference_ros.pipeline.statistics import STAGES
from c7_inference_ros.pipeline.statistics import StageStatistics
import pytest

SECOND = 1_000_000_000


def test_delay_before_the_first_frame_is_in_range():
    found = ProcessingDelay().snapshot()
    assert (found.processing_time_s, found.is_processing_time_in_range,
            found.consecutive_delay_s) == (None, True, 0.0)


def test_delay_grows_over_slow_frames_and_ends_with_a_fast_one():
    delay = ProcessingDelay()
    delay.add(0.1, 10 * SECOND, 0.2)
    assert delay.snapshot().is_processing_time_in_range
    delay.add(0.5, 11 * SECOND, 0.2)  # was taken at 10.5 s
    assert delay.snapshot().consecutive_delay_s == pytest.approx(0.5)
    delay.add(0.3, 13 * SECOND, 0.2)
    found = delay.snapshot()
    assert not found.is_processing_time_in_range
    assert found.processing_time_s == 0.3
    assert found.consecutive_delay_s == pytest.approx(2.5)
    delay.add(0.2, 14 * SECOND, 0.2)  # the limit itself is allowed
    assert delay.snapshot().consecutive_delay_s == 0.0
    assert delay.snapshot().is_processing_time_in_range
    delay.add(0.3, 20 * SECOND, 0.2)
    assert delay.snapshot().consecutive_delay_s == pytest.approx(0.3)
    delay.reset()
    assert delay.snapshot().processing_time_s is None


def test_limit_may_change_between_frames():
    delay = ProcessingDelay()
    delay.add(0.3, SECOND, 0.2)
    assert not delay.snapshot().is_processing_time_in_range
    delay.add(0.3, 2 * SECOND, 0.4)
    assert delay.snapshot().is_processing_time_in_range


def test_every_stage_has_its_window():
    statistics = StageStatistics()
    assert statistics.percentiles() == dict.fromkeys(STAGES)
    for number, stage in enumerate(STAGES):
        statistics.add(stage, float(number))
    assert [found.max for found in statistics.percentiles().values()] == list(range(len(STAGES)))
    assert statistics['age'].total == 1
    with pytest.raises(KeyError):
        statistics.add('interference', 1.0)
    statistics.delay.add(1.0, SECOND, 0.1)
    statistics.reset()
    assert statistics.percentiles() == dict.fromkeys(STAGES)
    assert statistics.delay.snapshot().is_processing_time_in_range


def test_stamps_in_the_future_are_counted():
    camera = CameraStatistics()
    camera.add_age(-0.01)
    camera.add_age(0.2)
    camera.add_age(0.0)
    assert camera.future_stamps == 1
    assert camera.last_age_s == 0.0
    camera.reset()
    assert (camera.future_stamps, camera.last_age_s) == (0, None)


def test_statistics_of_all_streams():
    statistics = PipelineStatistics({'front': ['near', 'far'], 'rear': ['near']})
    assert list(statistics.cameras) == ['front', 'rear']
    assert list(statistics.models) == ['near', 'far']
    assert list(statistics.rate_out) == [('front', 'near'), ('front', 'far'), ('rear', 'near')]
    statistics.cameras['rear'].rate_in.add(1)
    statistics.models['far'].add('wait', 1.0)
    statistics.rate_out['rear', 'near'].add(1)
    statistics.reset()
    assert statistics.cameras['rear'].rate_in.total == 0
    assert statistics.models['far'].percentiles()['wait'] is None
    assert statistics.rate_out['rear', 'near'].total == 0
