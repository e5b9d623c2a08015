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

"""The bound of one inference."""

from c7_inference_ros.pipeline.watchdog import Watchdog

SECOND = 1_000_000_000


class Work:
    """Something whose state a test sets."""

    busy_since_ns = None


def make(timeout=5.0):
    work, told, limit = Work(), [], [timeout]
    clock = [0]
    watchdog = Watchdog(work, lambda: limit[0], told.append, lambda: clock[0])
    return work, told, limit, clock, watchdog


def test_idle_never_expires():
    _, told, _, clock, watchdog = make()
    clock[0] = 1000 * SECOND
    assert not watchdog.check()
    assert not told


def test_expires_once_for_each_piece_of_work():
    work, told, _, clock, watchdog = make()
    work.busy_since_ns = 10 * SECOND
    clock[0] = 15 * SECOND
    assert not watchdog.check()  # the limit itself is allowed
    clock[0] = 16 * SECOND
    assert watchdog.check()
    clock[0] = 17 * SECOND
    assert not watchdog.check()
    assert told == [6.0]
    work.busy_since_ns = 20 * SECOND
    assert not watchdog.check()
    assert watchdog.check(now_ns=26 * SECOND)
    assert told == [6.0, 6.0]


def test_limit_may_change():
    work, told, limit, clock, watchdog = make(timeout=100.0)
    work.busy_since_ns = 0
    clock[0] = 3 * SECOND
    assert not watchdog.check()
    limit[0] = 2.0
    assert watchdog.check()
    assert told == [3.0]
