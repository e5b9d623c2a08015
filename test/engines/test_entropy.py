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

"""Thresholds of entropy calibration."""

from c7_inference_ros.engines.calibration.entropy import best_bins
from c7_inference_ros.engines.calibration.entropy import MagnitudeHistogram
import numpy as np
import pytest


def threshold(*parts):
    histogram = MagnitudeHistogram()
    for part in parts:
        histogram.add(np.asarray(part, np.float32))
    return histogram.threshold()


@pytest.fixture(scope='module')
def normal():
    return np.random.default_rng(7).normal(size=200_000).astype(np.float32)


def test_an_outlier_is_clipped(normal):
    found = threshold(normal, [80.0])
    assert 3.0 < found < 8.0


def test_what_is_evenly_spread_is_not_clipped():
    values = np.linspace(-3.0, 3.0, 100_001)
    assert threshold(values) == pytest.approx(3.0, rel=0.01)


def test_it_is_never_beyond_the_largest_value(normal):
    assert threshold(normal) <= float(np.abs(normal).max())
    assert threshold([0.3]) == pytest.approx(0.3)


def test_sign_and_order_and_chunks_do_not_matter(normal):
    whole = threshold(normal)
    assert threshold(-normal) == whole
    assert threshold(*np.array_split(np.sort(np.abs(normal)), 7)) == whole
    assert threshold(*np.array_split(np.sort(np.abs(normal))[::-1], 7)) == whole


@pytest.mark.parametrize('power', [-40, -3, 5, 60])
def test_it_scales_with_the_values(normal, power):
    assert threshold(np.ldexp(normal, power)) == np.ldexp(threshold(normal), power)


def test_zeros_say_nothing(normal):
    relu = np.maximum(normal, 0.0)
    assert threshold(np.zeros(500_000), relu) == pytest.approx(threshold(relu), rel=0.05)


def test_always_zero():
    assert threshold(np.zeros((2, 3))) == 0.0
    assert threshold() == 0.0
    assert threshold(np.zeros((0, 3))) == 0.0


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError):
        MagnitudeHistogram().add(np.array([1.0, value], np.float32))


def test_memory_does_not_grow(normal):
    histogram = MagnitudeHistogram()
    for power in range(-60, 60):
        histogram.add(np.ldexp(normal[:100], power))
    assert histogram.counts.size == 4096 and histogram.counts.sum() == 120 * 100


def test_too_few_bins_are_all_kept():
    assert best_bins(np.ones(100)) == 100
    assert best_bins(np.zeros(300)) == 300


def test_against_the_definition():
    """The divergence of every candidate, written down as in NVIDIA's description."""
    generator = np.random.default_rng(3)
    counts = generator.poisson(1e4 * np.exp(-np.arange(366) / 40.0)).astype(np.float64)
    divergences = {}
    for bins in range(128, 367):
        reference = counts[:bins].copy()
        reference[-1] += counts[bins:].sum()
        expanded = np.zeros(bins)
        groups = [np.flatnonzero(np.arange(bins) * 128 // bins == step) for step in range(128)]
        for group in groups:
            used = group[counts[group] > 0]
            if used.size:
                expanded[used] = counts[group].sum() / used.size
        both = (reference > 0) & (expanded > 0)
        if (reference[~both] > 0).any():
            continue
        p, q = reference / reference.sum(), expanded / expanded.sum()
        divergences[bins] = float((p[both] * np.log(p[both] / q[both])).sum())
    assert best_bins(counts) == min(divergences, key=divergences.get)
