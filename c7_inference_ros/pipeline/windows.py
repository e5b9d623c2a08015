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

"""Sliding windows over the hot path: adding a value allocates nothing that stays."""

from __future__ import annotations

from dataclasses import dataclass
import threading

import numpy as np
from numpy.typing import NDArray

_NANOSECONDS = 1e9


@dataclass(frozen=True)
class Percentiles:
    """
    Distribution of the latest values of one stage, in seconds.

    :param count: number of values that it was made of.
    :param max: largest of them.
    """

    p50: float
    p95: float
    p99: float
    count: int
    max: float  # noqa: A003


class LatencyWindow:
    """
    The latest durations of one stage; one thread adds, others may read.

    :param capacity: how many values are kept.
    """

    def __init__(self, capacity: int = 512) -> None:
        """Allocate the whole window."""
        if capacity < 1:
            raise ValueError(f'capacity is {capacity}, expected at least 1')
        self._ring = np.zeros(capacity, np.float64)
        self._added = 0
        self._lock = threading.Lock()

    @property
    def total(self) -> int:
        """Number of values added since the last reset, those that fell out included."""
        return self._added

    def add(self, seconds: float) -> None:
        """Keep one value; the oldest one falls out when the window is full."""
        with self._lock:
            self._ring[self._added % self._ring.size] = seconds
            self._added += 1

    def values(self) -> NDArray[np.float64]:
        """Return what is in the window in seconds, the oldest first."""
        with self._lock:
            at = self._added % self._ring.size
            older = self._ring[at:] if self._added > self._ring.size else self._ring[:0]
            newer = self._ring[:self._added] if self._added <= self._ring.size else self._ring[:at]
            return np.concatenate((older, newer))

    def percentiles(self) -> Percentiles | None:
        """
        Return the distribution of what is in the window, or None when nothing is.

        Linear interpolation between the closest ranks: definition 7 of Hyndman and Fan, Sample
        Quantiles in Statistical Packages (1996), NumPy's default.
        """
        with self._lock:
            values = self._ring[:self._added].copy()
        if values.size == 0:
            return None
        p50, p95, p99 = np.percentile(values, (50, 95, 99), method='linear').tolist()
        return Percentiles(p50, p95, p99, int(values.size), float(values.max()))

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            self._added = 0


class RateWindow:
    """
    Events per second over the latest seconds; one thread adds, others may read.

    :param window_s: length of the window, seconds.
    :param capacity: most events that are kept; at a higher rate the window is shorter.
    """

    def __init__(self, window_s: float = 5.0, capacity: int = 1024) -> None:
        """Allocate the whole window."""
        if window_s <= 0.0 or capacity < 2:
            raise ValueError(f'window_s is {window_s} and capacity {capacity}, expected more than'
                             f' 0 and at least 2')
        self._window_ns = int(window_s * _NANOSECONDS)
        self._ring = np.zeros(capacity, np.int64)
        self._added = 0
        self._lock = threading.Lock()

    @property
    def total(self) -> int:
        """Number of events since the last reset."""
        return self._added

    @property
    def last_ns(self) -> int | None:
        """When the last event was, or None before the first."""
        with self._lock:
            if self._added == 0:
                return None
            return int(self._ring[(self._added - 1) % self._ring.size])

    def add(self, now_ns: int) -> None:
        """Count one event at ``now_ns`` of the monotonic clock."""
        with self._lock:
            self._ring[self._added % self._ring.size] = now_ns
            self._added += 1

    def rate_hz(self, now_ns: int) -> float:
        """
        Return the mean rate over the window that ends at ``now_ns``.

        While the events known do not reach back to the beginning of the window, the rate is that
        of the intervals since the first of them: a stream that began a second ago is not shown
        as slow.
        """
        with self._lock:
            stamps = self._ring[:self._added].copy()
        recent = stamps[stamps > now_ns - self._window_ns]
        if recent.size == 0:
            return 0.0
        if recent.size < stamps.size:
            return float(recent.size / (self._window_ns / _NANOSECONDS))
        span_ns = now_ns - int(recent.min())
        return (recent.size - 1) * _NANOSECONDS / span_ns if span_ns > 0 else 0.0

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            self._added = 0
