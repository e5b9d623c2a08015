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

"""How many images of a camera are taken, and why the others are not."""

from __future__ import annotations

from c7_inference_ros.pipeline.accounting import DropReason
from c7_inference_ros.pipeline.shedding import SheddingStep

_SECOND_NS = 1_000_000_000
#: 30 years: a rate may be as low as a double can say.
_LONGEST_NS = 1e18


class RateLimit:
    """
    Lets at most so many events a second through, on a grid of points one period apart.

    Each point takes one event from half a period before it to half a period after, so a stream
    that is at least as fast as the limit comes out at exactly the limit whatever the ratio of the
    two, and jitter of up to half a period costs nothing. After a pause the grid begins anew:
    nothing is caught up. In any time T at most T / period + 2 events come through.

    Not thread-safe. The rate is given with each event, so a change acts on the next one.
    """

    __slots__ = ('_point_ns',)

    def __init__(self) -> None:
        """Begin with no event: the first one passes."""
        #: Grid point of the event that was let through last.
        self._point_ns: int | None = None

    def admit(self, now_ns: int, rate_hz: float) -> bool:
        """
        Return whether an event may pass, and count it if so.

        :param now_ns: monotonic clock, nanoseconds.
        :param rate_hz: the limit in force, more than 0.
        """
        if self._point_ns is None:
            self._point_ns = now_ns
            return True
        period_ns = int(min(_SECOND_NS / rate_hz, _LONGEST_NS))
        late_ns = now_ns - self._point_ns - period_ns
        tolerance_ns = period_ns // 2
        if late_ns < -tolerance_ns:
            return False
        self._point_ns = now_ns - late_ns if late_ns < tolerance_ns else now_ns
        return True

    def pass_freely(self, now_ns: int) -> None:
        """Count an event that no limit holds back, for the limit that may come next."""
        self._point_ns = now_ns


class CameraGate:
    """
    Decides for each image of one camera whether it is taken, by its own limit and by heat.

    The camera's own limit comes first, over all images, as if nothing were ever shed; what it
    lets through is then thinned out to the rate that is shed to. So what the own limit drops is
    the same with heat and without, and heat is blamed exactly for images that would have been
    taken without it. One thread at a time.
    """

    __slots__ = ('_own', '_shed')

    def __init__(self) -> None:
        """Begin with no image."""
        self._own = RateLimit()
        self._shed = RateLimit()

    def drop_reason(self, now_ns: int, max_rate_hz: float,
                    step: SheddingStep) -> DropReason | None:
        """
        Judge one image.

        :param now_ns: when it arrived, monotonic clock, nanoseconds.
        :param max_rate_hz: the camera's own limit; 0 for none.
        :param step: what is shed now.
        :returns: why it is dropped, None when it is taken.
        """
        if max_rate_hz > 0.0:
            if not self._own.admit(now_ns, max_rate_hz):
                return DropReason.RATE_LIMITED
        else:
            self._own.pass_freely(now_ns)
        if step.is_paused:
            return DropReason.THERMAL
        shed_hz = step.max_rate_hz
        if shed_hz is None or 0.0 < max_rate_hz <= shed_hz:
            self._shed.pass_freely(now_ns)
            return None
        return None if self._shed.admit(now_ns, shed_hz) else DropReason.THERMAL
