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

"""
Percentiles of durations, and how far they can be trusted.

Bounds of a percentile come from order statistics, which ask for no distribution. Neighbouring
inferences resemble each other (a clock changes, another program wakes up), so that a number of
samples says less than as many independent ones: slow samples that come in groups make the bounds
wider. Ratios are judged on consecutive parts of the run, where drift hits both sides alike.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Any
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: That the true value lies within the bounds.
CONFIDENCE = 0.95
Values = NDArray[np.float64]
#: Farthest distance over which samples are compared with each other.
_MAX_LAG = 500
_PARTS = 20
#: Two-sided 95 % quantile of Student's distribution with one degree of freedom less than parts.
_STUDENT = 2.093
#: Fewer samples in a part have no median worth the name.
_MIN_PART = 3


class Bounds(NamedTuple):
    """
    Where the true value lies, with the probability :data:`CONFIDENCE`.

    :param low: None where the samples are too few to say.
    :param high: the same.
    """

    low: float | None
    high: float | None


@dataclass(frozen=True)
class Distribution:
    """
    Durations of one thing, seconds.

    :param count: number of samples.
    :param independent: as many independent samples would say as much about the p95.
    :param p95_bounds: of the p95.
    :param quantiles: at 0, 1, … 100 %.
    """

    count: int
    independent: float
    mean: float
    p50: float
    p95: float
    p99: float
    max: float  # noqa: A003
    p95_bounds: Bounds
    quantiles: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON, milliseconds."""
        return {'count': self.count, 'independent_samples': round(self.independent, 1),
                **{name: _ms(getattr(self, name)) for name in ('mean', 'p50', 'p95', 'p99',
                                                               'max')},
                'p95_low': _ms(self.p95_bounds.low), 'p95_high': _ms(self.p95_bounds.high),
                'confidence': CONFIDENCE, 'quantiles': [_ms(value) for value in self.quantiles]}


class Ratio(NamedTuple):
    """
    A quotient of two durations.

    :param bounds: with the probability :data:`CONFIDENCE`.
    """

    value: float
    bounds: Bounds

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        low, high = (None if bound is None else round(bound, 4) for bound in self.bounds)
        return {'value': round(self.value, 4), 'low': low, 'high': high}


def distribution(values: Values) -> Distribution:
    """
    Sum up durations.

    Percentiles are interpolated between the closest ranks, as those of the node's diagnostics.

    :param values: seconds, at least one, in the order in which they were measured.
    """
    p50, p95, p99 = np.percentile(values, (50, 95, 99)).tolist()
    independent = independent_samples(values > p95)
    return Distribution(
        int(values.size), independent, float(values.mean()), p50, p95, p99, float(values.max()),
        quantile_bounds(np.sort(values), 0.95, independent),
        tuple(np.percentile(values, np.arange(101)).tolist()))


def quantile_bounds(ordered: Values, share: float, independent: float) -> Bounds:
    """
    Return bounds of a quantile by order statistics.

    :param ordered: samples, rising.
    :param share: of the samples that lie below the quantile, 0 to 1.
    :param independent: how many independent samples say as much.
    """
    count = max(1, min(ordered.size, math.floor(independent)))
    tail = (1.0 - CONFIDENCE) / 2.0
    below = _binomial_cdf(count, share)
    low = int(np.searchsorted(below, tail, side='right'))  # largest rank with P(B < rank) <= tail
    high = int(np.argmax(1.0 - below <= tail)) + 1  # smallest rank with P(B >= rank) <= tail

    def at(rank: int) -> float:
        return float(ordered[-(-rank * ordered.size // count) - 1])

    return Bounds(at(low) if low >= 1 else None, at(high) if high <= count else None)


def independent_samples(is_slow: NDArray[np.bool_]) -> float:
    """
    Return how many independent samples say as much about a share as these do.

    :param is_slow: which samples lie beyond it, in the order in which they were measured.
    """
    count = is_slow.size
    centred = is_slow - is_slow.mean()
    variance = float(np.dot(centred, centred))
    if variance <= 0.0:
        return float(count)
    noise = 1.96 / math.sqrt(count)
    together = 1.0
    for lag in range(1, min(_MAX_LAG, count // 4) + 1):
        correlation = float(np.dot(centred[:-lag], centred[lag:])) / variance
        if correlation < noise:
            break
        together += 2.0 * correlation
    return count / together


def ratio_of(above: Values, below: Values) -> Ratio:
    """
    Return the quotient of two medians.

    With enough samples it is the mean (geometric) over consecutive parts of the run, so that a
    drift of the machine cancels.

    :param above: durations, in the order in which they were measured.
    :param below: of something else, measured in turn with the first.
    """
    if min(above.size, below.size) < _PARTS * _MIN_PART:
        return Ratio(float(np.median(above) / np.median(below)), Bounds(None, None))
    parts = np.log([np.median(one) / np.median(other) for one, other in zip(
        np.array_split(above, _PARTS), np.array_split(below, _PARTS))])
    middle, reach = float(parts.mean()), _STUDENT * float(parts.std(ddof=1)) / math.sqrt(_PARTS)
    return Ratio(math.exp(middle), Bounds(math.exp(middle - reach), math.exp(middle + reach)))


def _binomial_cdf(count: int, share: float) -> Values:
    """Return P(B <= k) for k from 0 to count."""
    tries = np.arange(1, count + 1)
    steps = np.log((count - tries + 1) / tries) + math.log(share / (1.0 - share))
    logarithms = np.concatenate(([0.0], np.cumsum(steps))) + count * math.log(1.0 - share)
    found: Values = np.minimum(np.cumsum(np.exp(logarithms)), 1.0)
    return found


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 4)
