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

"""How many images of a camera are taken, and why the others are not."""

import random
import tracemalloc

from c7_inference_ros.pipeline.accounting import DropReason
from c7_inference_ros.pipeline.rate_limit import CameraGate
from c7_inference_ros.pipeline.rate_limit import RateLimit
from c7_inference_ros.pipeline.shedding import NOTHING_SHED
from c7_inference_ros.pipeline.shedding import SheddingStep
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

SECOND = 1_000_000_000
PAUSED = SheddingStep(3, 'intake is paused', 5.0, is_paused=True)


def shed_to(rate_hz):
    return SheddingStep(1, 'x', rate_hz)


def stream(rate_hz, seconds, jitter_s=0.0, seed=0, begin_s=1.0):
    """Return the moments at which images arrive, nanoseconds."""
    chance = random.Random(seed)
    moments = [begin_s + number / rate_hz + chance.uniform(-0.5, 0.5) * jitter_s
               for number in range(int(rate_hz * seconds))]
    return [round(moment * SECOND) for moment in sorted(moments)]


def admitted(moments, rate_hz):
    limit = RateLimit()
    return [moment for moment in moments if limit.admit(moment, rate_hz)]


@pytest.mark.parametrize('camera_hz', [10.0, 10.01, 12.0, 14.9, 15.0, 20.0, 24.0, 25.0, 29.97,
                                       30.0, 60.0, 119.88])
@pytest.mark.parametrize('jitter_s', [0.0, 0.005, 0.02])
def test_camera_that_is_faster_comes_out_at_the_limit(camera_hz, jitter_s):
    moments = stream(camera_hz, 60.0, jitter_s)
    passed = admitted(moments, 10.0)
    assert len(passed) == pytest.approx(600, abs=4), len(passed) / 60.0
    # Evenly: no second of it is far from ten images.
    for second in range(2, 58):
        inside = sum(second <= moment / SECOND < second + 1 for moment in passed)
        assert 9 <= inside <= 11


@pytest.mark.parametrize('camera_hz', [0.5, 5.0, 9.0, 9.99, 10.0])
@pytest.mark.parametrize('jitter_s', [0.0, 0.02, 0.049])
def test_camera_that_is_slower_loses_nothing(camera_hz, jitter_s):
    moments = stream(camera_hz, 100.0, jitter_s)
    assert admitted(moments, 10.0) == moments


def test_nothing_is_caught_up_after_a_pause():
    before, after = stream(30.0, 10.0), stream(30.0, 10.0, begin_s=1000.0)
    passed = admitted(before + after, 10.0)
    late = [moment for moment in passed if moment >= after[0]]
    assert late[0] == after[0]
    assert sum(moment < after[0] + SECOND for moment in late) <= 11
    assert len(late) <= 101


def test_clock_that_stands_still_admits_once():
    limit = RateLimit()
    assert [limit.admit(5 * SECOND, 10.0) for _ in range(100)] == [True] + [False] * 99


@pytest.mark.parametrize('rate_hz', [5e-324, 1e-300, 1e-6])
def test_lowest_rates_admit_the_first_only(rate_hz):
    limit = RateLimit()
    assert [limit.admit(number * SECOND, rate_hz) for number in range(3)] == [True, False, False]


def test_change_of_rate_acts_on_the_next_image():
    limit = RateLimit()
    moments = stream(100.0, 30.0)
    passed = [moment for number, moment in enumerate(moments)
              if limit.admit(moment, 10.0 if number < 1000 else 50.0 if number < 2000 else 1.0)]
    counts = [sum(low * SECOND <= moment < high * SECOND for moment in passed)
              for low, high in ((1, 11), (11, 21), (21, 31))]
    assert counts[0] == pytest.approx(100, abs=1)
    assert counts[1] == pytest.approx(500, abs=2)
    assert counts[2] == pytest.approx(10, abs=1)


GAPS = st.lists(st.one_of(st.integers(0, 5_000_000), st.integers(0, 300_000_000),
                          st.just(0), st.integers(0, 20 * SECOND)), max_size=80)


@settings(deadline=None)
@given(GAPS, st.floats(0.1, 1000.0))
def test_no_time_lets_more_through_than_it_should(gaps, rate_hz):
    moments, now = [], SECOND
    for gap in gaps:
        now += gap
        moments.append(now)
    passed = admitted(moments, rate_hz)
    period = int(SECOND / rate_hz)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            assert last - first + 1 <= (passed[last] - passed[first]) / period + 2
    # An image a full period and a half after the last is never held back.
    previous = None
    for moment in moments:
        if previous is None or moment - previous >= 1.5 * period:
            assert moment in passed
        previous = max((other for other in passed if other <= moment), default=None)


STEPS = st.sampled_from((NOTHING_SHED, shed_to(20.0), shed_to(10.0), shed_to(5.0), PAUSED))
ARRIVALS = st.lists(st.tuples(st.integers(0, 150_000_000), STEPS), max_size=80)


@settings(deadline=None)
@given(ARRIVALS, st.sampled_from((0.0, 4.0, 7.0, 10.0, 15.0, 30.0)))
def test_heat_is_blamed_exactly_for_what_the_own_limit_would_have_taken(arrivals, max_rate_hz):
    gate, alone, now = CameraGate(), RateLimit(), SECOND
    for gap, step in arrivals:
        now += gap
        reason = gate.drop_reason(now, max_rate_hz, step)
        is_wanted = max_rate_hz == 0.0 or alone.admit(now, max_rate_hz)
        # The own limit drops the same images whatever is shed.
        assert (reason is DropReason.RATE_LIMITED) == (not is_wanted)
        if is_wanted:
            assert reason in (None, DropReason.THERMAL)
            if step.is_paused:
                assert reason is DropReason.THERMAL
            elif step is NOTHING_SHED or 0.0 < max_rate_hz <= step.max_rate_hz:
                assert reason is None


@settings(deadline=None)
@given(st.sampled_from((0.0, 4.0, 7.0, 10.0, 15.0, 30.0)), st.sampled_from((3.0, 5.0, 10.0, 20.0)),
       st.floats(30.0, 120.0), st.integers(0, 1000))
def test_effective_rate_is_the_lower_of_the_two(max_rate_hz, shed_hz, camera_hz, seed):
    gate = CameraGate()
    moments = stream(camera_hz, 40.0, 0.01, seed)
    taken = [gate.drop_reason(moment, max_rate_hz, shed_to(shed_hz)) for moment in moments].count(
        None)
    own_hz = min(max_rate_hz or camera_hz, camera_hz)
    lower = 40.0 * min(own_hz, shed_hz)
    assert taken <= lower + 3
    # What the own limit takes is uneven. Where that leaves a whole period of the other empty, as
    # it may when the two are close and the camera is hardly faster, some of the rate is lost.
    is_even = max_rate_hz == 0.0 or shed_hz >= own_hz or (
        1.0 / own_hz + 1.0 / camera_hz + 0.01 <= 1.0 / shed_hz)
    assert taken >= (lower - 3 if is_even else 0.7 * lower)


def test_pause_takes_nothing_and_its_end_brings_no_burst():
    gate = CameraGate()
    for moment in stream(30.0, 10.0):
        assert gate.drop_reason(moment, 0.0, PAUSED) is DropReason.THERMAL
    after = stream(30.0, 1.0, begin_s=20.0)
    taken = [moment for moment in after if gate.drop_reason(moment, 0.0, shed_to(5.0)) is None]
    assert taken[0] == after[0]
    assert len(taken) in (5, 6)


def test_pause_of_a_limited_camera_splits_the_reasons():
    gate = CameraGate()
    reasons = [gate.drop_reason(moment, 10.0, PAUSED) for moment in stream(30.0, 60.0)]
    assert reasons.count(DropReason.THERMAL) == pytest.approx(600, abs=3)
    assert reasons.count(DropReason.RATE_LIMITED) == pytest.approx(1200, abs=3)


def test_shedding_begins_with_the_image_after_the_last_that_was_taken():
    for max_rate_hz in (0.0, 30.0):
        gate = CameraGate()
        moments = stream(30.0, 3.0)
        assert gate.drop_reason(moments[0], max_rate_hz, NOTHING_SHED) is None
        # 33 ms after the last: too soon for 5 Hz.
        assert gate.drop_reason(moments[1], max_rate_hz, shed_to(5.0)) is DropReason.THERMAL


def test_own_limit_begins_with_the_image_after_the_last_that_was_taken():
    gate = CameraGate()
    moments = stream(30.0, 1.0)
    assert gate.drop_reason(moments[0], 0.0, NOTHING_SHED) is None
    assert gate.drop_reason(moments[1], 5.0, NOTHING_SHED) is DropReason.RATE_LIMITED


def test_shed_rate_that_is_not_below_the_own_limit_drops_nothing():
    gate = CameraGate()
    assert gate.drop_reason(SECOND, 10.0, PAUSED) is DropReason.THERMAL
    # Late for one point of the own grid, early for the next; a grid begun here would drop it.
    for later_ns in (149_000_000, 151_000_000):
        assert gate.drop_reason(SECOND + later_ns, 10.0, shed_to(10.0)) is None


def test_limit_keeps_no_memory():
    gate = CameraGate()
    moments = stream(30.0, 200.0)
    tracemalloc.start()
    try:
        for moment in moments[:1000]:
            gate.drop_reason(moment, 20.0, shed_to(10.0))
        before = tracemalloc.get_traced_memory()[0]
        for moment in moments[1000:]:
            gate.drop_reason(moment, 20.0, shed_to(10.0))
        assert tracemalloc.get_traced_memory()[0] - before < 1000
    finally:
        tracemalloc.stop()
