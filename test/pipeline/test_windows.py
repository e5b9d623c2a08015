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

"""Sliding windows of durations and rates."""

import threading
import tracemalloc

from c7_inference_ros.pipeline.windows import LatencyWindow
from c7_inference_ros.pipeline.windows import RateWindow
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

SECOND = 1_000_000_000


def test_empty_window_has_no_percentiles():
    assert LatencyWindow().percentiles() is None


def test_percentiles_of_known_values():
    window = LatencyWindow(200)
    for value in range(101):
        window.add(value / 100)
    found = window.percentiles()
    assert (found.p50, found.p95, found.p99) == pytest.approx((0.50, 0.95, 0.99))
    assert (found.count, found.max) == (101, 1.0)


def test_percentiles_interpolate_between_ranks():
    window = LatencyWindow()
    window.add(1.0)
    window.add(2.0)
    found = window.percentiles()
    assert (found.p50, found.p95) == pytest.approx((1.5, 1.95))


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=100), st.integers(1, 40))
def test_only_the_latest_values_count(values, capacity):
    window = LatencyWindow(capacity)
    for value in values:
        window.add(value)
    kept = values[-capacity:]
    found = window.percentiles()
    assert found.count == len(kept)
    assert found.max == max(kept)
    assert found.p99 == pytest.approx(float(np.percentile(kept, 99)))
    assert window.total == len(values)


def test_reset_forgets():
    window = LatencyWindow(4)
    for value in range(9):
        window.add(value)
    window.reset()
    assert window.percentiles() is None
    window.add(5.0)
    assert window.percentiles().max == 5.0
    assert window.percentiles().count == 1


def test_adding_allocates_nothing_that_stays():
    latency, rate = LatencyWindow(), RateWindow()
    for number in range(2000):  # past both capacities
        latency.add(0.25)
        rate.add(number * SECOND)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(20_000):
            latency.add(0.25)
            rate.add(number)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 1024, f'{grown} bytes'


def test_one_thread_adds_while_another_reads():
    window, bad = LatencyWindow(64), []
    ended = threading.Event()

    def read():
        while not ended.is_set():
            found = window.percentiles()
            if found is not None and not 0.5 <= found.p50 <= found.p95 <= found.p99 <= found.max:
                bad.append(found)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(20_000):
        window.add(0.5 + number % 7)
    ended.set()
    reader.join()
    assert not bad


def test_nobody_has_no_rate():
    window = RateWindow()
    assert window.rate_hz(5 * SECOND) == 0.0
    assert window.last_ns is None
    window.add(SECOND)
    assert window.rate_hz(SECOND) == 0.0  # one event has no rate
    assert window.last_ns == SECOND


@pytest.mark.parametrize('rate', [2, 25, 100])
@pytest.mark.parametrize('seconds', [1, 3, 20])
def test_rate_of_a_steady_stream(rate, seconds):
    window = RateWindow(5.0)
    now_ns = 0
    for number in range(rate * seconds + 1):
        now_ns = 7 * SECOND + number * SECOND // rate
        window.add(now_ns)
    assert window.rate_hz(now_ns) == pytest.approx(rate, rel=0.01)
    assert window.total == rate * seconds + 1


def test_rate_falls_when_the_stream_stops():
    window = RateWindow(5.0)
    for number in range(100):
        window.add(number * SECOND // 10)
    end = 99 * SECOND // 10
    assert window.rate_hz(end) == pytest.approx(10.0)
    assert window.rate_hz(end + 2 * SECOND) == pytest.approx(6.0)
    assert window.rate_hz(end + 6 * SECOND) == 0.0


def test_rate_past_the_capacity_is_that_of_what_is_kept():
    window = RateWindow(5.0, capacity=16)
    for number in range(1000):
        window.add(number * SECOND // 1000)
    assert window.rate_hz(999 * SECOND // 1000) == pytest.approx(1000.0)


def test_reset_rate_begins_anew():
    window = RateWindow()
    for number in range(10):
        window.add(number * SECOND)
    window.reset()
    assert window.rate_hz(10 * SECOND) == 0.0
    assert window.total == 0


@pytest.mark.parametrize('make', [
    lambda: LatencyWindow(0), lambda: RateWindow(0.0), lambda: RateWindow(1.0, 1)])
def test_impossible_sizes_are_refused(make):
    with pytest.raises(ValueError, match='expected'):
        make()
