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
Entropy calibration: how large the values of a tensor are that int8 should tell apart.

A histogram of magnitudes is kept for each tensor. From it the threshold is taken at which the
distribution loses least when it is clipped and put into 128 steps (Kullback-Leibler divergence;
the method of TensorRT's entropy calibrator). ONNX Runtime's own entropy calibrator puts 128 bins
into 128 steps, which leaves nothing to choose: its thresholds are the largest values.

Bins are as wide as a power of two, so that histograms grow exactly, the order of the images does
not matter, and only one image's tensors are in memory at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Part of the key of a cache; changes with anything here that changes a threshold.
ALGORITHM = 'entropy-4096/128'
_BINS = 4096
_STEPS = 128
#: The best threshold is looked for among this many.
_CANDIDATES = 240


class MagnitudeHistogram:
    """Magnitudes of one tensor, over all images."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.maximum = 0.0
        self.counts: NDArray[np.int64] = np.zeros(_BINS, np.int64)
        self._exponent: int | None = None

    def add(self, values: NDArray[Any]) -> None:
        """
        Count values.

        :raises ValueError: one of them is no finite number.
        """
        magnitudes = np.abs(values, dtype=np.float32).ravel()
        largest = float(magnitudes.max(initial=0.0))
        if not np.isfinite(largest):
            raise ValueError(f'it has {largest}')
        if largest == 0.0:
            # Zeros lie in the first bin at every width; thresholds do not depend on it.
            return
        exponent = int(np.frexp(largest)[1])
        if self._exponent is None:
            self._exponent = exponent
        while self._exponent < exponent:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(axis=1),
                                          np.zeros(_BINS // 2, np.int64)])
            self._exponent += 1
        scaled = np.ldexp(magnitudes, 12 - self._exponent)  # 2 ** 12 bins
        self.counts += np.bincount(np.minimum(scaled.astype(np.int32), _BINS - 1),
                                   minlength=_BINS)
        self.maximum = max(self.maximum, largest)

    def threshold(self) -> float:
        """Return the largest magnitude that is told apart; 0 where all values are zero."""
        if self._exponent is None:
            return 0.0
        used = int(np.flatnonzero(self.counts)[-1]) + 1
        counts = self.counts[:used].astype(np.float64)
        if used > 1:
            # Exact zeros, of which ReLU makes many, say nothing about the step.
            counts[0] = counts[1]
        bins = best_bins(counts)
        width = float(np.ldexp(1.0, self._exponent - 12))
        return float(np.float32(min(bins * width, self.maximum)))


def best_bins(counts: NDArray[np.float64]) -> int:
    """
    Return after how many bins to clip.

    :param counts: values in each bin, from zero on.
    """
    size = len(counts)
    if size <= _STEPS or not counts.any():
        return size
    tail = np.concatenate([np.cumsum(counts[::-1])[::-1], [0.0]])
    is_used = counts > 0
    # Clipped values go into the last bin, which therefore has to be one that is used.
    ends = np.flatnonzero(is_used) + 1
    ends = ends[ends >= _STEPS]
    wanted = np.linspace(_STEPS, size, _CANDIDATES)
    candidates = np.unique(ends[np.searchsorted(ends, wanted).clip(max=len(ends) - 1)])
    best, least = size, np.inf
    for bins in candidates[::-1]:
        divergence = _divergence(counts[:bins], is_used[:bins], tail[bins])
        if divergence < least:
            best, least = int(bins), divergence
    return best


def _divergence(counts: NDArray[np.float64], is_used: NDArray[np.bool_], clipped: float) -> float:
    """Return what is lost between values clipped into these bins and the same in 128 steps."""
    size = len(counts)
    step = np.arange(size) * _STEPS // size
    in_step = np.bincount(step, counts, _STEPS)
    used_in_step = np.bincount(step, is_used, _STEPS)
    quantized = in_step[step] / np.maximum(used_in_step[step], 1.0)
    total = float(quantized[is_used].sum())
    reference = counts[is_used]
    reference[-1] += clipped
    reference /= reference.sum()
    return float((reference * np.log(reference * total / quantized[is_used])).sum())
