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

"""What happens to one frame."""

import threading
import time

from c7_inference_ros.errors import InferenceError
from c7_inference_ros.errors import MalformedImageError
from c7_inference_ros.errors import OutOfMemoryError
from c7_inference_ros.errors import UnsupportedEncodingError
from c7_inference_ros.pipeline.accounting import DropReason
from c7_inference_ros.pipeline.shedding import NOTHING_SHED
from c7_inference_ros.pipeline.shedding import SheddingStep
from processing_bench import Bench
from processing_bench import SECOND
import pytest


@pytest.fixture
def bench():
    return Bench()


def raises(error):
    def behave():
        raise error
    return behave


def test_frame_goes_through_every_model_of_its_camera(bench):
    bench.receive('front')
    stamp = bench.step().stamp_ns
    assert bench.published == [('front', 'near', stamp, 0), ('front', 'far', stamp, 0)]
    assert bench.account('front', 'near') == (1, 1, 0, {})
    assert bench.account('front', 'far') == (1, 1, 0, {})
    bench.receive('rear')
    bench.step()
    assert bench.account('rear') == (1, 1, 0, {})
    assert bench.detectors['far'].calls == 1
    assert bench.monitor.steps == 3  # the watchdog's time begins anew with each model
    assert not bench.errors


def test_stages_are_measured(bench):
    bench.receive('front', age_s=0.1)
    bench.clock_ns += 5_000_000
    bench.step()
    near, far = (bench.statistics.models[name].percentiles() for name in ('near', 'far'))
    assert near['wait'].max == pytest.approx(0.005)
    assert near['convert'].max == 0.0
    assert [near[stage].max for stage in ('preprocess', 'inference', 'decode')] == [0.01] * 3
    assert near['processing'].max == pytest.approx(0.03)
    assert far['processing'].max == pytest.approx(0.06)  # it had to wait for the first model
    assert near['publish'].max == 0.0
    assert near['age'].max == pytest.approx(0.1)
    assert bench.statistics.rate_out['front', 'far'].last_ns == bench.clock_ns
    assert bench.statistics.cameras['front'].last_age_s == pytest.approx(0.1)


def test_slow_processing_is_noticed_by_the_limit_in_force(bench):
    delay = bench.statistics.models['near'].delay
    bench.receive('rear')
    bench.step()
    assert delay.snapshot().is_processing_time_in_range
    bench.configure(**{'diagnostics.max_allowed_processing_time': 0.02})
    bench.receive('rear')
    bench.step()
    found = delay.snapshot()
    assert not found.is_processing_time_in_range
    assert found.consecutive_delay_s == pytest.approx(0.03)


@pytest.mark.parametrize('age, limit, is_stale', [
    (0.51, 0.5, True), (0.5, 0.5, False), (0.51, 1.0, False), (1e6, 0.0, False)])
def test_stale_frames_are_dropped(bench, age, limit, is_stale):
    bench.configure(max_image_age=limit)
    bench.receive('front', age_s=age)
    bench.step()
    for model in ('near', 'far'):
        expected = (1, 0, 0, {'stale': 1}) if is_stale else (1, 1, 0, {})
        assert bench.account('front', model) == expected
    assert bench.statistics.cameras['front'].last_age_s == pytest.approx(age)


def test_age_is_judged_when_the_frame_is_taken(bench):
    bench.receive('front')
    bench.ros_ns += SECOND
    bench.step()
    assert bench.account() == (1, 0, 0, {'stale': 1})


def test_max_image_age_acts_on_the_next_frame(bench):
    bench.receive('rear', age_s=0.3)
    bench.step()
    bench.configure(max_image_age=0.2)
    bench.receive('rear', age_s=0.3)
    bench.step()
    assert bench.account('rear') == (2, 1, 0, {'stale': 1})


def test_stamp_in_the_future_is_used_and_counted(bench):
    bench.receive('rear', age_s=-0.2)
    bench.step()
    assert bench.account('rear') == (1, 1, 0, {})
    assert bench.statistics.cameras['rear'].future_stamps == 1
    assert bench.statistics.models['near'].percentiles()['age'].max == pytest.approx(-0.2)


@pytest.mark.parametrize('error, reason', [
    (UnsupportedEncodingError('yuv'), DropReason.BAD_ENCODING),
    (MalformedImageError('step'), DropReason.BAD_IMAGE),
    (KeyError('a bug'), DropReason.INFERENCE_ERROR),
    (MemoryError(), DropReason.INFERENCE_ERROR)])
def test_image_that_cannot_be_read_is_dropped_for_every_model(bench, error, reason):
    bench.receive('front', error)
    bench.step()
    for model in ('near', 'far'):
        assert bench.account('front', model) == (1, 0, 0, {reason.value: 1})
    assert bench.errors == [('front', None, reason, error)]
    assert not bench.published
    bench.receive('front')
    bench.step()
    assert bench.account() == (2, 1, 0, {reason.value: 1})


@pytest.mark.parametrize('error', [
    InferenceError('device lost'), OutOfMemoryError('full'), ZeroDivisionError('a bug')])
def test_failed_inference_loses_the_frame_of_that_model_only(bench, error):
    bench.detectors['near'].behave = raises(error)
    bench.receive('front')
    bench.step()
    assert bench.account('front', 'near') == (1, 0, 0, {'inference_error': 1})
    assert bench.account('front', 'far') == (1, 1, 0, {})
    assert bench.errors == [('front', 'near', DropReason.INFERENCE_ERROR, error)]
    assert bench.statistics.models['near'].percentiles()['processing'] is None


def test_missing_pipeline_is_an_error_of_that_model(bench):
    del bench.detectors['near']
    bench.receive('front')
    bench.step()
    assert bench.account('front', 'near') == (1, 0, 0, {'inference_error': 1})
    assert bench.account('front', 'far') == (1, 1, 0, {})


def test_failed_publishing_is_its_own_reason(bench):
    bench.publish_error = RuntimeError('context is shut down')
    bench.receive('rear')
    bench.step()
    assert bench.account('rear') == (1, 0, 0, {'publish_error': 1})
    assert bench.errors == [('rear', 'near', DropReason.PUBLISH_ERROR, bench.publish_error)]
    assert bench.statistics.rate_out['rear', 'near'].total == 0


def test_exception_of_the_settings_getter_loses_one_frame(bench):
    bench.receive('rear')
    config, bench.config = bench.config, None
    bench.step()
    assert bench.account('rear') == (1, 0, 0, {'inference_error': 1})
    assert isinstance(bench.errors[0][3], AttributeError)
    bench.config = config
    bench.receive('rear')
    bench.step()
    assert bench.account('rear') == (2, 1, 0, {'inference_error': 1})


def test_reporter_that_fails_loses_nothing_more(bench):
    bench.processor._on_error = raises(RuntimeError('no logger'))
    bench.receive('rear', MalformedImageError('x'))
    bench.step()
    bench.receive('rear')
    bench.step()
    assert bench.account('rear') == (2, 1, 0, {'bad_image': 1})


def test_what_ends_a_thread_still_settles_the_frame(bench):
    bench.detectors['near'].behave = raises(SystemExit())
    bench.receive('front')
    with pytest.raises(SystemExit):
        bench.step()
    assert bench.account('front', 'near') == (1, 0, 0, {'inference_error': 1})
    assert bench.account('front', 'far') == (1, 0, 0, {'inference_error': 1})


def test_abandoned_worker_publishes_nothing_and_counts_once(bench):
    def hang():
        bench.monitor.is_abandoned = True  # the node gave up while this inference ran
    bench.detectors['near'].behave = hang
    bench.receive('front')
    bench.step()
    assert not bench.published
    assert bench.detectors['far'].calls == 0
    for model in ('near', 'far'):
        assert bench.account('front', model) == (1, 0, 0, {'inference_error': 1})
    assert bench.statistics.models['near'].percentiles()['inference'] is None


@pytest.mark.parametrize('late_error', [None, InferenceError('late')])
def test_given_up_frame_is_settled_at_once_and_not_again(bench, late_error):
    entered, gate = threading.Event(), threading.Event()

    def hang():
        entered.set()
        gate.wait(5.0)
        if late_error is not None:
            raise late_error
    bench.detectors['near'].behave = hang
    bench.receive('front')
    thread = threading.Thread(target=bench.step)
    thread.start()
    assert entered.wait(5.0)
    assert bench.account('front') == (1, 0, 1, {})
    assert bench.processor.abandon(DropReason.INACTIVE) == 2
    assert bench.processor.abandon(DropReason.INACTIVE) == 0
    for model in ('near', 'far'):
        assert bench.account('front', model) == (1, 0, 0, {'inactive': 1})
    gate.set()
    thread.join(5.0)
    assert not bench.published
    assert not bench.errors
    assert bench.detectors['far'].calls == 0
    for model in ('near', 'far'):
        assert bench.account('front', model) == (1, 0, 0, {'inactive': 1})


def test_giving_up_between_frames_does_nothing(bench):
    assert bench.processor.abandon() == 0
    bench.receive('rear')
    bench.step()
    assert bench.processor.abandon() == 0
    assert bench.account('rear') == (1, 1, 0, {})


def test_result_given_up_while_it_is_published_counts_as_published(bench):
    """The claim decides: never published and dropped, never neither."""
    bench.publish_error = None
    publish = bench.publish

    def publish_slowly(*arguments):
        assert bench.processor.abandon() == 0
        assert bench.account('rear') == (1, 0, 1, {})
        publish(*arguments)
    bench.processor._publish = publish_slowly
    bench.receive('rear')
    bench.step()
    assert bench.account('rear') == (1, 1, 0, {})


def test_giving_up_races_with_publishing_and_never_miscounts(bench):
    ended = threading.Event()

    def give_up():
        while not ended.is_set():
            bench.processor.abandon(DropReason.INACTIVE)
            time.sleep(0)

    thread = threading.Thread(target=give_up)
    thread.start()
    for _ in range(500):
        bench.receive('front')
        bench.step()
    ended.set()
    thread.join()
    for model in ('near', 'far'):
        received, published, in_flight, dropped = bench.account('front', model)
        assert (received, in_flight) == (500, 0)
        assert published + dropped.get('inactive', 0) == 500
        assert published == sum(entry[1] == model for entry in bench.published)


def skipping(*models, is_paused=False):
    return SheddingStep(3, 'x', None, frozenset(models), is_paused)


def test_skipped_model_sees_nothing_and_its_frame_is_heat(bench):
    bench.shed.current = skipping('near')
    bench.receive('front')
    bench.step()
    assert bench.account('front', 'near') == (1, 0, 0, {'thermal': 1})
    assert bench.account('front', 'far') == (1, 1, 0, {})
    assert bench.detectors['near'].calls == 0
    assert bench.monitor.steps == 1
    assert bench.statistics.models['near'].percentiles()['processing'] is None
    assert not bench.errors


def test_no_pixel_is_touched_when_no_model_is_left(bench):
    bench.shed.current = skipping('near')
    bench.receive('rear', MalformedImageError('never looked at'))
    bench.step()
    assert bench.account('rear') == (1, 0, 0, {'thermal': 1})
    assert bench.images == 0
    assert not bench.errors
    assert bench.statistics.cameras['rear'].last_age_s == 0.0
    bench.shed.current = skipping('near', 'far')
    bench.receive('front')
    bench.step()
    assert bench.images == 0
    for model in ('near', 'far'):
        assert bench.account('front', model) == (1, 0, 0, {'thermal': 1})


def test_skipping_begins_and_ends_with_the_next_frame(bench):
    def begin():
        bench.shed.current = skipping('far')  # while a frame is in work
    bench.detectors['near'].behave = begin
    bench.receive('front')
    bench.step()
    assert bench.account('front', 'far') == (1, 1, 0, {})
    bench.detectors['near'].behave = None
    bench.receive('front')
    bench.step()
    assert bench.account('front', 'far') == (2, 1, 0, {'thermal': 1})
    bench.shed.current = NOTHING_SHED
    bench.receive('front')
    bench.step()
    assert bench.account('front', 'far') == (3, 2, 0, {'thermal': 1})


def test_stale_frame_is_not_blamed_on_heat(bench):
    bench.shed.current = skipping('near')
    bench.receive('front', age_s=10.0)
    bench.step()
    for model in ('near', 'far'):
        assert bench.account('front', model) == (1, 0, 0, {'stale': 1})


def test_bad_image_is_lost_to_the_models_that_are_left(bench):
    bench.shed.current = skipping('near')
    bench.receive('front', MalformedImageError('x'))
    bench.step()
    assert bench.account('front', 'near') == (1, 0, 0, {'thermal': 1})
    assert bench.account('front', 'far') == (1, 0, 0, {'bad_image': 1})


def test_pause_is_none_of_the_processors_business(bench):
    bench.receive('rear')
    bench.shed.current = skipping(is_paused=True)
    bench.step()
    assert bench.account('rear') == (1, 1, 0, {})
