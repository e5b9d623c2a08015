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

"""What a percentile of a run is known to be, from the durations that it was taken of."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

#: Share of runs of which the true percentile may lie beyond one end of the range.
ALPHA = 0.01
P95 = 0.95
#: With fewer durations the upper end of the range of a 95th percentile is not known.
LEAST_FRAMES = math.ceil(math.log(ALPHA) / math.log(P95))


def percentile_range(values: NDArray[np.float64],
                     share: float = P95) -> tuple[float | None, float | None]:
    """
    Return between which values a percentile lies, each end with a confidence of 99 %.

    The ends are order statistics, which suppose nothing about how durations are spread (David and
    Nagaraja, Order Statistics, 2003, section 7.1). Durations that follow each other are alike, so
    that fewer count than there are: see :func:`independent_count`.

    :param values: durations in the order of measuring.
    :param share: of the percentile, 0..1.
    :returns: the ends; None for one that so few durations do not tell.
    """
    count = independent_count(values > np.quantile(values, share)) if values.size else 0
    if not count:
        return None, None
    # How probable it is that k durations at most are below the percentile, for every k.
    below = np.arange(1, count + 1)
    steps = np.log((count - below + 1) / below) + math.log(share / (1.0 - share))
    log_share = np.concatenate(([0.0], np.cumsum(steps))) + count * math.log(1.0 - share)
    at_most = np.cumsum(np.exp(log_share))
    ordered = np.sort(values)
    low = int(np.searchsorted(at_most, ALPHA, side='right'))
    high = int(np.searchsorted(at_most, 1.0 - ALPHA)) + 1
    return (None if low < 1 else _ordered(ordered, low / count),
            None if high > count else _ordered(ordered, high / count))


def independent_count(is_above: NDArray[np.bool_]) -> int:
    """
    Return as how many independent samples a sequence counts.

    From the spread of the means of successive batches: one of independent samples is known.

    :param is_above: which durations are above the percentile, in the order of measuring.
    """
    count = int(is_above.size)
    size = max(1, math.isqrt(count))
    batches = is_above[:count // size * size].reshape(-1, size).mean(axis=1)
    share = float(is_above.mean())
    if len(batches) < 2 or not 0.0 < share < 1.0:
        return count
    inflation = float(batches.var(ddof=1)) * size / (share * (1.0 - share))
    return max(1, int(count / max(1.0, inflation)))


def _ordered(ordered: NDArray[np.float64], part: float) -> float:
    return float(ordered[min(ordered.size, max(1, math.ceil(part * ordered.size))) - 1])
