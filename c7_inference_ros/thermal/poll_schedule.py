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

"""When the polling thread looks at its source: in full each period, shortly in between."""

from __future__ import annotations

import math

#: Seconds between two short looks: a sign of throttling shows well within a second.
GLANCE_PERIOD_S = 0.25


class PollSchedule:
    """
    Decides at each look whether it becomes a poll, and how long to wait for the next one.

    Each look begins with a glance. It becomes a poll when the period is over, or when the signs
    differ from those that were glanced just before the latest poll: what changed while that poll
    was reading is seen by the next look at the latest. Has no clock of its own.

    :param period_s: seconds between two polls.
    :param glance_s: seconds between two looks; none in between where the period is not longer.
    """

    def __init__(self, period_s: float, glance_s: float = GLANCE_PERIOD_S) -> None:
        """Begin with a poll that is due."""
        self.has_glances = period_s > glance_s
        self._period_s = period_s
        self._glance_s = glance_s
        self._due_s = -math.inf
        self._polled_s = -math.inf
        self._signs: frozenset[str] | None = None

    def is_poll_due(self, now_s: float, signs: frozenset[str] | None) -> bool:
        """
        Return whether to poll now; the caller then does.

        :param now_s: when the look began.
        :param signs: what the glance saw, None when it saw nothing at all: no reason to poll.
        """
        is_regular = now_s >= self._due_s
        if not is_regular and (signs is None or signs == self._signs):
            return False
        if signs is not None:
            self._signs = signs
        if is_regular:
            self._due_s = now_s + self._period_s
        self._polled_s = now_s
        return True

    def wait_s(self, began_s: float, ended_s: float) -> float:
        """
        Return how long to wait for the next look; a slow source is left in peace for a while.

        :param began_s: when the latest look began.
        :param ended_s: when it ended.
        """
        rest_s = self._period_s / 10.0 if self._polled_s == began_s else 0.0
        poll_s = max(self._due_s, ended_s + rest_s)
        if not self.has_glances:
            return poll_s - ended_s
        poll_s = max(poll_s, self._polled_s + self._glance_s)
        glance_s = max(began_s + self._glance_s, ended_s + (ended_s - began_s))
        return max(min(poll_s, glance_s) - ended_s, self._glance_s / 10.0)
