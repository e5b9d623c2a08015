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

"""Bounds how long one inference may take."""

from __future__ import annotations

import time
from typing import Callable
from typing import Protocol


class Busy(Protocol):
    """Something that is at work or not."""

    @property
    def busy_since_ns(self) -> int | None:
        """When the work began, nanoseconds of the monotonic clock; None when idle."""


class Watchdog:
    """
    Notices that work takes too long; has no thread of its own.

    :param worker: what is watched.
    :param timeout_s: returns the longest time, seconds; asked at every check, so that it may be
        changed.
    :param on_expired: called by :meth:`check` with the time that the work has taken, seconds.
    :param clock_ns: monotonic clock, nanoseconds; the one of the worker.
    """

    def __init__(self, worker: Busy, timeout_s: Callable[[], float],
                 on_expired: Callable[[float], None],
                 clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """Begin with nothing expired."""
        self._worker = worker
        self._timeout_s = timeout_s
        self._on_expired = on_expired
        self._clock_ns = clock_ns
        self._expired_ns: int | None = None

    def check(self, now_ns: int | None = None) -> bool:
        """
        Look once; for a timer, always the same thread.

        :param now_ns: the monotonic clock, nanoseconds; read when None.
        :returns: True once for each piece of work that takes too long.
        """
        since_ns = self._worker.busy_since_ns
        if since_ns is None or since_ns == self._expired_ns:
            return False
        elapsed_s = ((self._clock_ns() if now_ns is None else now_ns) - since_ns) / 1e9
        if elapsed_s <= self._timeout_s():
            return False
        self._expired_ns = since_ns
        self._on_expired(elapsed_s)
        return True
