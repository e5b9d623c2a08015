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

"""When the next image of a bag is delivered, and what time it is then."""

from __future__ import annotations

from dataclasses import replace
import time
from typing import Callable
from typing import Protocol

from c7_inference_ros.config import NodeConfig

EVERY_FRAME, REAL_TIME = 'every-frame', 'real-time'
MODES = (EVERY_FRAME, REAL_TIME)
#: Between two looks at what else may happen, seconds.
LOOK_S = 0.1
_NANOSECONDS = 1_000_000_000


class Clock(Protocol):
    """A clock that can be waited for."""

    def now_ns(self) -> int:
        """Return the time, nanoseconds; it never goes back."""

    def sleep_until(self, time_ns: int) -> None:
        """Return when it is so late."""


class MonotonicClock:
    """The monotonic clock of the machine."""

    def now_ns(self) -> int:
        """Return the time, nanoseconds."""
        return time.monotonic_ns()

    def sleep_until(self, time_ns: int) -> None:
        """Return when it is so late."""
        left_ns = time_ns - time.monotonic_ns()
        if left_ns > 0:
            time.sleep(left_ns / _NANOSECONDS)


class Pacing(Protocol):
    """One mode of replaying."""

    @property
    def mode(self) -> str:
        """One of :data:`MODES`."""

    @property
    def rate(self) -> float:
        """Recorded seconds in a second; 0 where the recorded times do not matter."""

    @property
    def late_max_s(self) -> float:
        """How late an image was delivered at worst, seconds."""

    @property
    def is_lossless(self) -> bool:
        """Whether each image waits until the one before it is settled."""

    def in_force(self, config: NodeConfig) -> NodeConfig:
        """Return the settings with what this mode does not apply taken out."""

    def wait_for(self, log_ns: int, look: Callable[[], None]) -> None:
        """
        Return when an image is due.

        :param log_ns: when it was recorded, nanoseconds.
        :param look: called now and then while waiting; may raise.
        """

    def clock_ns(self) -> int:
        """Return the time that durations are measured with, nanoseconds; any thread."""

    def replayed_ns(self) -> int:
        """Return what the clock of the vehicle would show, nanoseconds; any thread."""


class EveryFrame:
    """
    One image after the other, each through every model, as fast as the machine can.

    What depends on how fast the machine is does not apply: the age limit, the rate limits and
    what is shed because of heat. The clock stands at the recording of the image and runs while
    it is processed.
    """

    mode = EVERY_FRAME
    rate = 0.0
    late_max_s = 0.0
    is_lossless = True

    def __init__(self, clock: Clock | None = None) -> None:
        """Begin at zero."""
        self._clock = clock or MonotonicClock()
        self._delivered = 0, self._clock.now_ns()

    def in_force(self, config: NodeConfig) -> NodeConfig:
        """Return the settings without limits of age and rate."""
        cameras = {name: replace(camera, max_rate=0.0)
                   for name, camera in config.cameras.items()}
        return replace(config, max_image_age=0.0, cameras=cameras)

    def wait_for(self, log_ns: int, look: Callable[[], None]) -> None:
        """Set the clock to the image."""
        look()
        self._delivered = log_ns, self._clock.now_ns()

    def clock_ns(self) -> int:
        """Return the time, nanoseconds."""
        return self._clock.now_ns()

    def replayed_ns(self) -> int:
        """Return when the image was recorded, plus the time since it was delivered."""
        log_ns, delivered_ns = self._delivered
        return log_ns + self._clock.now_ns() - delivered_ns


class RealTime:
    """
    Each image when it was recorded, whether or not the one before it is through.

    :param rate: recorded seconds in a second.
    :param clock: what is waited for.
    """

    mode = REAL_TIME
    is_lossless = False

    def __init__(self, rate: float = 1.0, clock: Clock | None = None) -> None:
        """Begin with the first image."""
        self.rate = rate
        self.late_max_s = 0.0
        self._clock = clock or MonotonicClock()
        self._begin: tuple[int, int] | None = None

    def in_force(self, config: NodeConfig) -> NodeConfig:
        """Return the settings; limits of the rate are per recorded second."""
        cameras = {name: replace(camera, max_rate=camera.max_rate * self.rate)
                   for name, camera in config.cameras.items()}
        return replace(config, cameras=cameras)

    def wait_for(self, log_ns: int, look: Callable[[], None]) -> None:
        """Return when so much time has passed since the first image as in the recording."""
        now_ns = self._clock.now_ns()
        if self._begin is None:
            self._begin = log_ns, now_ns
        due_ns = self._begin[1] + round((log_ns - self._begin[0]) / self.rate)
        look()
        while (now_ns := self._clock.now_ns()) < due_ns:
            self._clock.sleep_until(min(due_ns, now_ns + round(LOOK_S * _NANOSECONDS)))
            look()
        self.late_max_s = max(self.late_max_s, (now_ns - due_ns) / _NANOSECONDS)

    def clock_ns(self) -> int:
        """Return the time, nanoseconds."""
        return self._clock.now_ns()

    def replayed_ns(self) -> int:
        """Return the recorded time that goes with now."""
        if self._begin is None:
            return 0
        log_ns, began_ns = self._begin
        return log_ns + round((self._clock.now_ns() - began_ns) * self.rate)
