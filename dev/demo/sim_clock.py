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

"""Simulated time as a player of a bag gives it, smooth and never backwards."""

from __future__ import annotations

import threading
import time
from typing import Callable

#: Seconds of simulated time before the first image in which the node is set up.
LEAD_S = 10.0
#: Simulated time waits here until the bag is played.
HOLD_S = 0.5
RATE_HZ = 250


class SimClock:
    """
    Maps the monotonic clock to the time of the bag.

    Before :meth:`play` it runs from ``LEAD_S`` before the first image and waits ``HOLD_S`` before
    it; from then on it runs in real time.

    :param first_stamp_ns: stamp of the first image.
    :param monotonic_ns: the clock, for tests.
    """

    def __init__(self, first_stamp_ns: int,
                 monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """Start the lead."""
        self._monotonic_ns = monotonic_ns
        self._first_stamp_ns = first_stamp_ns
        self._hold_ns: int | None = first_stamp_ns - int(HOLD_S * 1e9)
        self._offset_ns = first_stamp_ns - int(LEAD_S * 1e9) - monotonic_ns()

    def now_ns(self) -> int:
        """Return the simulated time in nanoseconds."""
        now = self._monotonic_ns() + self._offset_ns
        hold = self._hold_ns
        return now if hold is None else min(now, hold)

    def play(self) -> None:
        """Let time run towards the first image, ``HOLD_S`` from now."""
        hold = self._first_stamp_ns - int(HOLD_S * 1e9)
        self._offset_ns = hold - self._monotonic_ns()
        self._hold_ns = None

    def seconds_until(self, stamp_ns: int) -> float:
        """Return how long until a simulated time, negative once it has passed."""
        return (stamp_ns - self.now_ns()) / 1e9


class ClockPublisher:
    """
    Publishes a :class:`SimClock` from a thread of its own.

    :param publish: takes a simulated time in nanoseconds and publishes it.
    """

    def __init__(self, clock: SimClock, publish: Callable[[int], None]) -> None:
        """Start publishing."""
        self._clock = clock
        self._publish = publish
        self._last_ns = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name='clock', daemon=True)
        self._thread.start()

    def tick(self) -> None:
        """Publish the time now; two threads can do so and time still never goes back."""
        with self._lock:
            # While time waits, whoever joins still has to hear what time it is.
            self._last_ns = max(self._last_ns, self._clock.now_ns())
            self._publish(self._last_ns)

    def stop(self) -> None:
        """Stop publishing; safe to call again."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(1.0 / RATE_HZ):
            self.tick()
