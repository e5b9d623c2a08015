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

"""A day of polls on a simulated clock, with faults that come and go, held against the truth."""

import bisect
import collections
import gc
import heapq
import os
import random
import re
import sys
import threading

from c7_inference_ros.thermal.heat import Heat
from c7_inference_ros.thermal.heat import HeatWatch
from c7_inference_ros.thermal.heat import ZONE_MEMORY_NS
from c7_inference_ros.thermal.poll_schedule import PollSchedule
from c7_inference_ros.thermal.publisher import ThermalStatePublisher

SECOND = 1_000_000_000
DAY_S = 86_400
STALE_NS = 3 * SECOND
LOSS_INTERVAL_NS = 30 * SECOND


class Clock:
    """A clock that runs only when it is told to."""

    def __init__(self):
        self.now_ns = 1000 * SECOND

    def __call__(self):
        """Return the time in nanoseconds."""
        return self.now_ns


class Rules:
    """
    What ``on_transition`` may tell of one device, by the words of its documentation.

    Kept apart from the implementation: it is fed with each state that was shown.
    """

    def __init__(self):
        self.known = (True, False)
        self.last_loss_ns = None
        self.expected = collections.deque()
        self.told = 0

    def tell(self, now_ns, flags):
        """Compare what is told with what should be."""
        assert self.expected and (now_ns, flags) == self.expected.popleft()
        self.told += 1

    def show(self, now_ns, flags):
        """Note what should be told of a state; what was expected before has been told by then."""
        assert not self.expected
        if self.known[0] and not flags[0]:
            if self.last_loss_ns is not None and now_ns - self.last_loss_ns < LOSS_INTERVAL_NS:
                return
            self.last_loss_ns = now_ns
        if flags != self.known:
            self.expected.append((now_ns, flags))
        self.known = flags


class Day:
    """
    Runs a publisher through a day and compares all that it shows with the truth.

    :param source: what it polls.
    :param world: the truth; see long_worlds.
    :param clock: the simulated clock.
    """

    def __init__(self, source, world, clock):
        self.world = world
        self.clock = clock
        self.bugs = []
        self.rules = {}
        self.watch = HeatWatch()
        self.counts = dict.fromkeys((
            'polls', 'glances', 'late', 'lost', 'hot', 'cool', 'hidden heat', 'stale',
            'faulty', 'faults'), 0)
        self.heat_seen_ns = {}
        self.publisher = ThermalStatePublisher(
            source, clock_ns=clock, on_state=self._on_state, on_transition=self._on_transition,
            log=self.bugs.append)
        self.publisher._session.thread = threading.current_thread()  # the day polls
        self.schedule = PollSchedule(1.0)
        self.last_read = None
        self.last_poll_ns = None
        self.shown = None
        self.resources = {}

    def run(self, seconds=DAY_S):
        """
        Live for so long, and until there was a poll for each of these seconds.

        The end of each hour is looked at for leaks.
        """
        started_ns = self.clock.now_ns
        is_restless = True
        while (self.clock.now_ns - started_ns < seconds * SECOND
               or self.counts['polls'] < seconds):
            began_ns = self.clock.now_ns
            self.world.live(began_ns)
            # The thread glances four times a second. Here it does in the seconds in which
            # something happens and in the one after: in the rest of the day no sign can change.
            is_restless, was_restless = self.world.is_restless, is_restless
            for look in range(4 if is_restless else 1):
                if look:
                    self._sleep_until(began_ns + look * SECOND // 4)
                    self.world.live_on(self.clock.now_ns)
                self._look(is_restless or was_restless)
            self._sleep_until(began_ns + SECOND)
            hour = (self.clock.now_ns - started_ns) // (3600 * SECOND)
            if hour and hour not in self.resources:
                self.resources[hour] = resources()

    def hang(self, seconds):
        """Let the clock run on inside a read; others look at the publisher meanwhile."""
        for _ in range(round(seconds)):
            self._sleep_until(self.clock.now_ns + SECOND)
            self.publisher.check_stale()

    def _sleep_until(self, until_ns):
        """Pass time, and look at what the publisher shows on the way, as diagnostics do."""
        self.clock.now_ns = max(self.clock.now_ns, until_ns)
        if self.last_poll_ns is None:
            return
        state = self.publisher.snapshot()
        if self.clock.now_ns - self.last_poll_ns > STALE_NS:
            self.counts['stale'] += 1
            assert not state.is_telemetry_available and state.zones == ()
            assert not any(device.is_telemetry_available for device in state.devices)
            assert [device.name for device in state.devices] == list(self.world.devices)
            self._expect_told(state)
        else:
            assert state is self.last_read
            for device in state.devices:
                if device.is_telemetry_available:
                    assert self.clock.now_ns - device.measured_at_ns <= STALE_NS

    def _look(self, glances):
        """Do what the polling thread does at each look."""
        began_s = self.clock.now_ns / 1e9
        self.counts['glances'] += glances
        signs = self.publisher._glance_once() if glances else None
        if not self.schedule.is_poll_due(began_s, signs):
            assert not self.world.has_news(self.last_read), 'a glance overlooked a sign'
            return
        self.counts['polls'] += 1
        at_ns = self.clock.now_ns
        self.shown = None
        # Late or not, snapshot() belongs to this poll from its end on.
        state = self.publisher._poll_once()
        self.last_read, self.last_poll_ns = state, at_ns
        assert self.shown is not None, 'on_state was not called'
        is_late = self.clock.now_ns - at_ns > STALE_NS
        self.counts['late'] += is_late
        assert (self.shown is state) is not is_late
        if is_late:
            assert not self.shown.is_telemetry_available
        assert [device.name for device in state.devices] == list(self.world.devices)
        self.world.check(state, at_ns)
        self._judge(self.shown)

    def _judge(self, state):
        now_ns = self.clock.now_ns
        verdict = self.watch.judge(state, 3.0, 8.0)
        hot = self.world.hot_devices()
        self.counts['hot'] += bool(hot)
        self.counts['cool'] += verdict.heat is Heat.COOL
        assert (verdict.heat is Heat.HOT) == state.is_throttling  # no zone is near its limit
        assert state.is_telemetry_available or verdict.heat is not Heat.COOL
        for device in state.devices:
            if device.name not in hot:
                self.heat_seen_ns.pop(device.name, None)
                continue
            if device.is_throttling:
                self.heat_seen_ns[device.name] = now_ns
            else:
                self.counts['hidden heat'] += 1
            seen_ns = self.heat_seen_ns.get(device.name)
            if seen_ns is not None and now_ns - seen_ns < ZONE_MEMORY_NS:
                assert verdict.heat is not Heat.COOL, (verdict, now_ns)
        self.counts['lost'] += not state.is_telemetry_available
        self.counts['faulty'] += bool(state.faults)
        self.counts['faults'] += len(state.faults)

    def _on_state(self, state):
        self.shown = state
        self._expect_told(state)

    def _expect_told(self, state):
        for device in state.devices:
            self.rules.setdefault(device.name, Rules()).show(
                device.measured_at_ns, (device.is_telemetry_available, device.is_throttling))

    def _on_transition(self, before, after):
        assert before.name == after.name
        self.rules[after.name].tell(after.measured_at_ns,
                                    (after.is_telemetry_available, after.is_throttling))


class Faults:
    """
    Draws faults for files: which, when, how and for how long.

    :param cells: files to choose from.
    :param seed: of everything that is random.
    :param mean_s: mean time between two of them.
    :param answers: what they may answer: errnos, and bytes that are none of theirs.
    """

    def __init__(self, cells, seed, mean_s, answers):
        self._cells = cells
        self._random = random.Random(seed)
        self._mean_s = mean_s
        self._answers = answers
        self._next_ns = None
        self._healing = []
        self.drawn = 0

    def live(self, now_ns):
        """Begin and end faults; return whether any did."""
        if self._next_ns is None:
            self._draw(now_ns)
        changed = False
        while self._healing and self._healing[0][0] <= now_ns:
            heapq.heappop(self._healing)[2].fault = None
            changed = True
        while self._next_ns <= now_ns:
            changed = True
            cell = self._random.choice(self._cells)
            if cell.fault is None:
                self.drawn += 1
                cell.fault = self._random.choice(self._answers)
                lasts_ns = int(self._random.choice((0.5, 1, 2, 5, 20, 45)) * SECOND)
                heapq.heappush(self._healing, (now_ns + lasts_ns, self.drawn, cell))
            self._draw(now_ns)
        return changed

    def _draw(self, now_ns):
        self._next_ns = now_ns + int(self._random.expovariate(1 / self._mean_s) * SECOND)


class Episodes:
    """
    Stretches of time that come and go, each with a number.

    :param mean_s: mean time from the end of one to the beginning of the next.
    :param lasts_s: shortest and longest.
    """

    def __init__(self, seed, mean_s, lasts_s, end_s=DAY_S):
        draw = random.Random(seed)
        self._edges = []
        now = draw.expovariate(1 / mean_s)
        while now < end_s:
            end = now + draw.uniform(*lasts_s)
            self._edges += [int((1000 + now) * SECOND), int((1000 + end) * SECOND)]
            now = end + draw.expovariate(1 / mean_s)

    def number(self, now_ns):
        """Return the number of the one that is on now, None when there is none."""
        index = bisect.bisect_right(self._edges, now_ns)
        return index // 2 if index % 2 else None

    def __len__(self):
        return len(self._edges) // 2


def resources():
    """Return what a leak would let grow: a count each, and bytes."""
    gc.collect()
    status = open('/proc/self/status').read()
    return {'threads': threading.active_count(), 'files': len(os.listdir('/proc/self/fd')),
            'blocks': sys.getallocatedblocks(),
            'rss': int(re.search(r'VmRSS:\s+(\d+)', status)[1]) * 1024}
