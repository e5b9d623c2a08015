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

"""When the thread polls: the schedule alone, with a clock made of numbers."""

from c7_inference_ros.thermal.poll_schedule import PollSchedule
import pytest

NONE, HOT, HOTTER = frozenset(), frozenset({'a'}), frozenset({'a', 'b'})


def play(schedule, signs_at, seconds, look_s=0.001, start_s=1000.0):
    """
    Return (times of all looks, times of polls) of a simulated thread, from its start.

    :param signs_at: returns the signs at a time.
    :param look_s: how long each look takes.
    """
    now, looks, polls = start_s, [], []
    while now < start_s + seconds:
        looks.append(now - start_s)
        if schedule.is_poll_due(now, signs_at(now - start_s)):
            polls.append(now - start_s)
        waited = schedule.wait_s(now, now + look_s)
        assert waited > 0.0
        now += look_s + waited
    return looks, polls


@pytest.mark.parametrize('period', [0.26, 0.3, 0.6, 1.0, 1.1, 10.0])
def test_quiet_signs_leave_the_regular_period_alone(period):
    looks, polls = play(PollSchedule(period), lambda now: NONE, 100.0)
    gaps = [after - before for before, after in zip(polls, polls[1:])]
    assert polls[0] == 0.0
    assert period - 1e-6 <= min(gaps) and max(gaps) < period + 0.03
    between = [after - before for before, after in zip(looks, looks[1:])]
    assert max(between) < 0.2501


@pytest.mark.parametrize('period', [0.02, 0.1, 0.25])
def test_at_four_polls_a_second_there_is_no_glance(period):
    schedule = PollSchedule(period)
    assert not schedule.has_glances
    looks, polls = play(schedule, lambda now: None, 10.0)
    assert looks == polls
    assert len(polls) == pytest.approx(10.0 / period, rel=0.02)


@pytest.mark.parametrize('change_s', [0.01, 0.24, 0.26, 0.5, 0.74, 0.99, 2.3])
def test_a_change_is_polled_within_a_quarter_of_a_second_and_the_period_stays(change_s):
    _, polls = play(PollSchedule(1.0), lambda now: HOT if now >= change_s else NONE, 5.0)
    first = min(poll for poll in polls if poll >= change_s)
    assert first - change_s <= 0.26
    regular = [poll for poll in polls if poll != first]
    gaps = [after - before for before, after in zip(regular, regular[1:])]
    assert all(gap == pytest.approx(1.0, abs=0.01) or gap == pytest.approx(2.0, abs=0.01)
               for gap in gaps)


@pytest.mark.parametrize('period', [0.3, 0.6, 0.7, 1.0, 1.01, 10.0])
def test_signs_that_flicker_poll_at_most_every_quarter_of_a_second(period):
    flicker = iter(range(10_000))
    _, polls = play(PollSchedule(period), lambda now: HOT if next(flicker) % 2 else NONE, 30.0)
    gaps = [after - before for before, after in zip(polls, polls[1:])]
    assert min(gaps) >= 0.25 - 1e-6
    assert len(polls) > 100


def test_what_changes_while_a_poll_reads_is_seen_by_the_next_look():
    # The baseline is what was glanced before the poll, not after it.
    schedule = PollSchedule(1.0)
    assert schedule.is_poll_due(0.0, NONE)
    assert schedule.is_poll_due(0.25, HOT)
    assert not schedule.is_poll_due(0.5, HOT)
    assert schedule.is_poll_due(0.75, HOTTER)
    assert schedule.is_poll_due(1.0, HOTTER)  # the regular one
    assert not schedule.is_poll_due(1.25, HOTTER)


def test_a_glance_that_failed_is_no_change_and_takes_nothing_away():
    schedule = PollSchedule(1.0)
    assert schedule.is_poll_due(0.0, HOT)
    assert not schedule.is_poll_due(0.25, None)
    assert not schedule.is_poll_due(0.5, HOT)
    assert schedule.is_poll_due(1.0, None)  # the regular one, blind
    assert not schedule.is_poll_due(1.25, HOT)
    assert schedule.is_poll_due(1.5, NONE)


@pytest.mark.parametrize('look_s', [0.2, 0.4, 0.9])
def test_a_slow_glance_leaves_the_sensors_in_peace_for_as_long(look_s):
    looks, polls = play(PollSchedule(10.0), lambda now: NONE, 100.0, look_s=look_s)
    between = [after - before for before, after in zip(looks, looks[1:])]
    assert min(gap for before, gap in zip(looks, between) if before + gap not in polls) >= (
        min(2 * look_s, 10.0) - 1e-6)
    assert len(polls) >= 9


def test_a_poll_slower_than_its_period_is_followed_by_a_rest():
    _, polls = play(PollSchedule(1.0), lambda now: NONE, 60.0, look_s=1.5)
    gaps = [after - before for before, after in zip(polls, polls[1:])]
    assert min(gaps) == pytest.approx(1.6)
    assert max(gaps) < 3.0  # no state grows old only because its source is slow
