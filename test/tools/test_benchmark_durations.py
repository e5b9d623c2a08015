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

import itertools
import math

from c7_inference_ros.tools.benchmarking.durations import distribution
from c7_inference_ros.tools.benchmarking.durations import independent_samples
from c7_inference_ros.tools.benchmarking.durations import quantile_bounds
from c7_inference_ros.tools.benchmarking.durations import ratio_of
import numpy as np
import pytest

P95 = -math.log(0.05)  # of an exponential distribution with mean 1


def test_percentiles_are_those_of_the_nodes_diagnostics():
    from c7_inference_ros.pipeline.windows import LatencyWindow
    window = LatencyWindow()
    values = np.random.default_rng(1).exponential(size=300)
    for value in values:
        window.add(value)
    expected, found = window.percentiles(), distribution(values)
    assert (found.p50, found.p95, found.p99, found.max, found.count) == (
        expected.p50, expected.p95, expected.p99, expected.max, expected.count)
    assert (found.quantiles[0], found.quantiles[50], found.quantiles[100]) == (
        values.min(), expected.p50, expected.max)


@pytest.mark.parametrize('count', [20, 59, 72, 73, 100, 200])
def test_bounds_are_the_order_statistics_that_the_binomial_distribution_gives(count):
    # P(B <= rank), by its definition.
    at_most = list(itertools.accumulate(
        math.comb(count, k) * 0.95 ** k * 0.05 ** (count - k) for k in range(count + 1)))
    ordered = np.arange(1, count + 1, dtype=float)  # each sample is its own rank
    ranks = range(1, count + 1)
    low = max((rank for rank in ranks if at_most[rank - 1] <= 0.025), default=None)
    high = min((rank for rank in ranks if 1 - at_most[rank - 1] <= 0.025), default=None)
    assert quantile_bounds(ordered, 0.95, count) == (low, high)
    assert (high is None) == (count < 72)


def coverage(sample, rounds=200):
    """Return how often the bounds hold the true p95."""
    held = 0
    for _ in range(rounds):
        low, high = distribution(sample()).p95_bounds
        held += (low is None or low <= P95) and (high is None or P95 <= high)
    return held / rounds


def test_bounds_hold_the_true_value_as_often_as_they_say():
    random = np.random.default_rng(2)
    assert coverage(lambda: random.exponential(size=200)) > 0.92


def test_samples_that_come_in_groups_count_for_less():
    random = np.random.default_rng(3)

    def grouped():
        return np.repeat(random.exponential(size=200), 10)

    found = distribution(grouped())
    assert found.count == 2000 and 100 < found.independent < 400
    assert coverage(grouped) > 0.9
    # Taken for independent, they would promise too much.
    ordered = np.sort(grouped())
    narrow, wide = quantile_bounds(ordered, 0.95, 2000), quantile_bounds(ordered, 0.95, 200)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_independent_samples_count_whole():
    random = np.random.default_rng(4)
    worth = [independent_samples(random.random(500) > 0.95) for _ in range(50)]
    assert np.median(worth) == 500
    assert independent_samples(np.zeros(10, bool)) == 10


def test_a_ratio_sees_through_drift_that_hits_both_sides():
    random = np.random.default_rng(5)
    drift = np.linspace(1.0, 2.0, 400)
    raw = drift * random.lognormal(0, 0.02, 400)
    found = ratio_of(raw * random.lognormal(np.log(1.1), 0.02, 400), raw)
    assert found.bounds.low < 1.1 < found.bounds.high
    assert found.bounds.high - found.bounds.low < 0.03


def test_noise_is_no_difference_and_a_difference_is_no_noise():
    random = np.random.default_rng(6)

    def bounds(factor):
        return ratio_of(random.lognormal(0, 0.2, 200) * factor,
                        random.lognormal(0, 0.2, 200)).bounds

    same = [low <= 1.0 <= high for low, high in (bounds(1.0) for _ in range(200))]
    assert np.mean(same) > 0.9
    assert bounds(1.3).low > 1.0
    assert ratio_of(np.ones(59), np.ones(59)).bounds == (None, None)


def test_json_is_in_milliseconds():
    found = distribution(np.full(100, 0.002)).as_dict()
    assert found['p95'] == found['p95_low'] == found['p95_high'] == 2.0
    assert found['independent_samples'] == 100 and len(found['quantiles']) == 101
