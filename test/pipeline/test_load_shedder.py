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

"""Down and up the ladder, as the heat of the machine says."""

import itertools
import logging
import threading

from c7_inference_ros.config import load_config
from c7_inference_ros.pipeline.load_shedder import LoadShedder
from c7_inference_ros.pipeline.shedding import ladder
from c7_inference_ros.thermal.heat import Heat
from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.thermal.state import ZoneReading
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

SECOND = 1_000_000_000
TEMPERATURES = {Heat.COOL: 50.0, Heat.WARM: 91.0, Heat.HOT: 95.0, Heat.UNKNOWN: None}
LAST = 4


def configured(policy='shed', **values):
    """Return settings with five levels: 10 Hz, 5 Hz, no far, pause."""
    return load_config({'model_names': ['near', 'far'], 'models.near.priority': 1,
                        'thermal.policy': policy, **values})


class Bench:
    """A shedder, its clock, and what it told."""

    def __init__(self, policy='shed', **values):
        self.clock_ns = 50 * SECOND
        self.told = []
        self.shedder = LoadShedder(
            configured(policy, **values), lambda: self.clock_ns,
            lambda before, after, reason: self.told.append((before.level, after.level, reason)))
        self.shedder.start()

    @property
    def level(self):
        return self.shedder.current.level

    def update(self, heat, after_s=0.0):
        """Let time pass, show a state, and return the level."""
        self.clock_ns += round(after_s * SECOND)
        celsius = TEMPERATURES[heat]
        device = (DeviceState.unavailable('board', 'test', 'gone', self.clock_ns)
                  if celsius is None else
                  DeviceState('board', 'test', self.clock_ns, True,
                              (ZoneReading('tj', celsius, 'x', throttle_c=99.0),)))
        self.shedder.update(ThermalState((device,), self.clock_ns))
        return self.level

    def down(self, levels):
        """Go down so many levels."""
        for _ in range(levels):
            self.update(Heat.HOT, 10.0)
        assert self.level == levels


@pytest.fixture
def bench():
    return Bench()


def test_hot_goes_down_and_cool_comes_back_one_step_a_dwell(bench):
    assert bench.level == 0
    levels = [bench.update(Heat.HOT, 1.0) for _ in range(50)]
    # At once, then every 10 s, then it is at its end.
    assert levels == [1] * 10 + [2] * 10 + [3] * 10 + [4] * 20
    # A dwell after it was hot last, then every 10 s.
    levels = [bench.update(Heat.COOL, 1.0) for _ in range(50)]
    assert levels == [4] * 9 + [3] * 10 + [2] * 10 + [1] * 10 + [0] * 11
    assert [(before, after) for before, after, _ in bench.told] == [
        (0, 1), (1, 2), (2, 3), (3, 4), (4, 3), (3, 2), (2, 1), (1, 0)]
    assert all('board zone tj' in reason for *_, reason in bench.told)


def test_steps_are_those_of_the_ladder(bench):
    steps = ladder(configured())
    for step in steps[1:]:
        bench.update(Heat.HOT, 10.0)
        assert bench.shedder.current == step


@pytest.mark.parametrize('heat', [Heat.WARM, Heat.UNKNOWN])
def test_warm_and_unknown_hold(bench, heat):
    bench.down(2)
    for _ in range(100):
        assert bench.update(heat, 60.0) == 2
    assert bench.update(Heat.HOT) == 3  # the dwell is long over


def test_loss_of_telemetry_is_never_cool():
    bench = Bench()
    for _ in range(100):
        assert bench.update(Heat.UNKNOWN, 60.0) == 0
    bench.down(LAST)
    for _ in range(100):
        bench.update(Heat.UNKNOWN, 600.0)
    assert bench.level == LAST
    assert bench.shedder.status().heat is Heat.UNKNOWN
    assert 'no telemetry: gone' in bench.shedder.status().reason


def test_hot_zone_that_fails_does_not_bring_the_load_back(bench):
    bench.down(2)
    bench.clock_ns += 20 * SECOND
    failed = DeviceState('board', 'test', 0, True, (ZoneReading('air', 20.0, 'x'),))
    for _ in range(100):
        bench.clock_ns += 60 * SECOND
        bench.shedder.update(ThermalState((failed,), bench.clock_ns))
    assert bench.level == 2


HEATS = st.lists(st.tuples(st.sampled_from(tuple(Heat)), st.sampled_from(
    (0.0, 0.0, 0.3, 1.0, 5.0, 9.999, 10.0, 10.001, 30.0))), max_size=80)


@settings(deadline=None)
@given(HEATS, st.sampled_from((0.1, 1.0, 10.0, 25.0)))
def test_at_most_one_step_a_dwell_whatever_the_states_are(heats, dwell_s):
    bench = Bench(**{'thermal.dwell': dwell_s})
    moments, level, hot_ns = [], 0, None
    for heat, after_s in heats:
        new = bench.update(heat, after_s)
        assert abs(new - level) <= 1
        if new != level:
            assert heat is (Heat.HOT if new > level else Heat.COOL)
            moments.append(bench.clock_ns)
        elif heat is Heat.HOT and level < LAST or heat is Heat.COOL and level > 0:
            # What could have been a step waits for the dwell.
            since = moments[-1] if heat is Heat.HOT else max(moments[-1], hot_ns)
            assert bench.clock_ns - since < dwell_s * SECOND
        hot_ns = bench.clock_ns if heat is Heat.HOT else hot_ns
        level = new
    assert all(later - earlier >= dwell_s * SECOND
               for earlier, later in zip(moments, moments[1:]))
    assert len(bench.told) == len(moments) == bench.shedder.status().steps_taken


def test_clock_that_stands_still_allows_one_step(bench):
    for _ in range(100):
        bench.update(Heat.HOT)
        bench.update(Heat.COOL)
    assert bench.level == 1
    assert len(bench.told) == 1


def test_way_down_waits_for_the_last_step_and_the_way_up_for_the_last_hot_state_too(bench):
    bench.update(Heat.HOT)
    assert bench.update(Heat.COOL, 9.0) == 1
    assert bench.update(Heat.HOT, 0.5) == 1
    assert bench.update(Heat.COOL, 0.5) == 1  # hot half a second ago
    assert bench.update(Heat.HOT, 0.5) == 2
    assert bench.update(Heat.WARM, 9.0) == 2
    assert bench.update(Heat.COOL, 1.0) == 1
    assert bench.update(Heat.COOL, 9.9) == 1
    assert bench.update(Heat.COOL, 0.1) == 0


@pytest.mark.parametrize('cool_s', [1, 2, 5, 9])
def test_throttling_that_comes_and_goes_never_brings_the_load_back(cool_s):
    """A machine whose zones name no limit has only its flags, and those know no hysteresis."""
    bench = Bench()
    levels = []
    for second in range(200):
        bench.clock_ns += SECOND
        is_hot = second % (cool_s + 1) == 0
        device = DeviceState(
            'gpu0', 'test', bench.clock_ns, True, (ZoneReading('gpu', 70.0, 'x'),),
            is_throttling=is_hot, throttle_reasons=('it is hot',) * is_hot)
        bench.shedder.update(ThermalState((device,), bench.clock_ns))
        levels.append(bench.level)
    assert levels == sorted(levels) and levels[-1] == LAST
    for _ in range(40):
        bench.update(Heat.COOL, 1.0)
    assert bench.level == 0


def test_longer_dwell_counts_for_the_way_up_as_well(bench):
    bench.down(2)
    bench.shedder.configure(configured(**{'thermal.dwell': 20.0}))
    assert bench.update(Heat.COOL, 19.9) == 2
    assert bench.update(Heat.COOL, 0.1) == 1


def test_observe_watches_and_sheds_nothing():
    bench = Bench('observe')
    for _ in range(10):
        assert bench.update(Heat.HOT, 60.0) == 0
    status = bench.shedder.status()
    assert (status.policy, status.heat, status.step.level) == ('observe', Heat.HOT, 0)
    assert not bench.told


def test_observe_lets_go_at_once_and_shed_begins_anew(bench):
    bench.down(3)
    bench.shedder.configure(configured('observe'))
    assert bench.level == 0
    assert bench.told[-1] == (3, 0, 'thermal.policy was set to observe')
    bench.update(Heat.HOT, 1.0)
    assert bench.level == 0
    bench.shedder.configure(configured('shed'))
    assert bench.level == 0
    assert bench.update(Heat.HOT) == 1
    assert bench.update(Heat.HOT) == 1


@pytest.mark.parametrize('heat, values, expected', [
    (Heat.WARM, {'thermal.shed_margin': 8.0}, 3),  # 91 C is hot now
    (Heat.WARM, {'thermal.recover_margin': 7.0}, 1)])  # 91 C is cool now
def test_margins_act_on_the_next_state(bench, heat, values, expected):
    bench.down(2)
    bench.update(heat, 20.0)
    bench.shedder.configure(configured(**values))
    assert bench.level == 2
    assert bench.update(heat) == expected


def test_dwell_acts_on_the_next_state(bench):
    bench.down(1)
    assert bench.update(Heat.HOT, 2.0) == 1
    bench.shedder.configure(configured(**{'thermal.dwell': 2.0}))
    assert bench.update(Heat.HOT) == 2


def test_changed_ladder_keeps_its_place(bench):
    bench.down(2)
    bench.shedder.configure(configured(**{'thermal.shed_rates': [8.0, 4.0]}))
    assert (bench.level, bench.shedder.current.max_rate_hz) == (2, 4.0)
    told = len(bench.told)
    bench.shedder.configure(configured(**{'thermal.shed_rates': [4.0]}))
    assert (bench.level, bench.shedder.current.max_rate_hz) == (1, 4.0)
    assert bench.told[told:] == [(2, 1, 'the settings of what is shed were changed')]
    assert bench.shedder.status().steps_taken == 2  # this one was not because of heat
    assert bench.shedder.status().levels == 3


def test_priorities_change_which_models_are_skipped_at_once(bench):
    bench.down(3)
    assert bench.shedder.current.skipped_models == {'far'}
    bench.shedder.configure(configured(**{'models.far.priority': 2}))
    assert bench.shedder.current.skipped_models == {'near'}
    assert bench.level == 3
    assert [told[:2] for told in bench.told] == [(0, 1), (1, 2), (2, 3)]  # of levels only
    bench.shedder.configure(configured(**{'models.far.priority': 1}))
    assert not bench.shedder.current.skipped_models
    assert bench.level == 2


def test_configuring_the_same_changes_nothing(bench):
    bench.down(3)
    bench.clock_ns += 5 * SECOND
    before = bench.shedder.status()
    bench.shedder.configure(configured())
    assert bench.shedder.status() == before
    assert bench.update(Heat.HOT, 4.9) == 3  # the dwell goes on
    assert bench.update(Heat.HOT, 0.1) == 4


def test_limit_of_shedding_is_the_end_of_the_ladder():
    bench = Bench(**{'thermal.shed_limit': 'rate'})
    for _ in range(10):
        bench.update(Heat.HOT, 10.0)
    assert bench.level == 2
    assert not bench.shedder.current.is_paused


def test_ladder_without_steps_stays_where_it_is():
    bench = Bench(**{'thermal.shed_limit': 'rate', 'thermal.shed_rates': [0.0]})
    assert bench.update(Heat.HOT, 100.0) == 0
    assert bench.shedder.status().levels == 0


def test_inactive_shedder_sheds_nothing(bench):
    bench.down(3)
    told = list(bench.told)
    bench.shedder.stop()
    assert bench.level == 0
    assert bench.update(Heat.HOT, 100.0) == 0
    status = bench.shedder.status()
    assert (status.is_active, status.heat) == (False, Heat.HOT)
    bench.shedder.stop()
    assert bench.told == told


def test_activation_begins_anew(bench):
    bench.down(2)
    bench.shedder.stop()
    bench.shedder.start()
    status = bench.shedder.status()
    assert (status.is_active, status.steps_taken, status.since_s) == (True, 0, 0.0)
    assert (status.heat, status.reason) == (Heat.UNKNOWN, 'no thermal state has been read yet')
    assert bench.update(Heat.HOT) == 1  # no dwell of before


def test_hot_zone_that_fails_over_an_activation_does_not_look_cool(bench):
    bench.down(1)
    bench.shedder.stop()
    bench.shedder.start()
    failed = DeviceState('board', 'test', 0, True, (ZoneReading('air', 20.0, 'x'),))
    bench.shedder.update(ThermalState((failed,), bench.clock_ns))
    assert bench.shedder.status().heat is Heat.UNKNOWN


def test_status_says_what_is_shed_and_why(bench):
    bench.down(2)
    bench.update(Heat.WARM, 7.5)
    status = bench.shedder.status()
    assert status.policy == 'shed'
    assert status.step is bench.shedder.current
    assert (status.step.level, status.levels, status.steps_taken) == (2, LAST, 2)
    assert status.heat is Heat.WARM
    assert 'board zone tj is at 91.0 C' in status.reason
    assert status.since_s == pytest.approx(7.5)
    assert status.is_active


def test_listener_that_fails_ends_nothing(bench, caplog):
    calls = []

    def fail(*told):
        calls.append(told)
        raise OSError('log is full')
    bench.shedder._on_step = fail
    with caplog.at_level(logging.WARNING):
        bench.down(3)
    assert [(before.level, after.level) for before, after, _ in calls] == [(0, 1), (1, 2), (2, 3)]
    assert 'on_step failed with OSError: log is full' in caplog.text


def test_nobody_has_to_listen():
    shedder = LoadShedder(configured())
    shedder.start()
    hot = DeviceState('board', 'test', 0, True, (ZoneReading('tj', 95.0, 'x', throttle_c=99.0),))
    shedder.update(ThermalState((hot,), 0))
    assert shedder.current.level == 1


def test_listener_may_use_the_shedder_and_is_told_in_order(bench):
    def listen(before, after, reason):
        bench.told.append((before.level, after.level))
        if after.level == 3:
            bench.shedder.configure(configured('observe'))
            bench.told.append('configured')
    bench.shedder._on_step = listen
    for _ in range(3):
        bench.update(Heat.HOT, 10.0)
    assert bench.told == [(0, 1), (1, 2), (2, 3), 'configured', (3, 0)]


def test_listener_that_fails_misses_nothing_that_came_meanwhile(bench):
    def listen(before, after, reason):
        bench.told.append((before.level, after.level))
        if after.level == 2:
            bench.shedder.configure(configured('observe'))
            raise OSError('log is full')
    bench.shedder._on_step = listen
    bench.update(Heat.HOT, 10.0)
    bench.update(Heat.HOT, 10.0)
    assert bench.told == [(0, 1), (1, 2), (2, 0)]


def test_slow_listener_holds_nobody_up_and_misses_nothing(bench):
    entered, gate, told = threading.Event(), threading.Event(), []

    def listen(before, after, reason):
        entered.set()
        assert gate.wait(10.0)
        told.append((before.level, after.level))
    bench.shedder._on_step = listen
    thread = threading.Thread(target=bench.update, args=(Heat.HOT,))
    thread.start()
    assert entered.wait(10.0)
    # The listener still runs; everything else goes on in this thread.
    assert bench.level == 1
    bench.update(Heat.HOT, 10.0)
    bench.shedder.configure(configured('observe'))
    assert bench.level == 0
    assert bench.shedder.status().policy == 'observe'
    bench.shedder.stop()
    assert not told
    gate.set()
    thread.join(10.0)
    assert not thread.is_alive()
    assert told == [(0, 1), (1, 2), (2, 0)]


def test_update_does_not_undo_what_is_configured_meanwhile(bench):
    entered, gate = threading.Event(), threading.Event()

    def clock():
        if not entered.is_set():
            entered.set()
            assert gate.wait(10.0)
        return bench.clock_ns
    bench.shedder._clock_ns = clock
    threads = [threading.Thread(target=bench.update, args=(Heat.HOT,)),
               threading.Thread(target=bench.shedder.configure, args=(configured('observe'),))]
    threads[0].start()
    assert entered.wait(10.0)
    threads[1].start()
    threads[1].join(0.2)  # longer is no failure: it waits for the update
    gate.set()
    for thread in threads:
        thread.join(10.0)
    assert bench.shedder.status().policy == 'observe'
    assert bench.level == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(
    st.sampled_from(tuple(Heat)), st.sampled_from(('start', 'stop')),
    st.fixed_dictionaries({
        'policy': st.sampled_from(('observe', 'shed', 'shed')),
        'thermal.shed_rates': st.sampled_from(([0.0], [10.0, 5.0], [8.0], [20.0, 10.0, 5.0])),
        'thermal.shed_limit': st.sampled_from(('rate', 'models', 'pause')),
        'models.far.priority': st.sampled_from((0, 1, 2))})), max_size=60))
def test_step_is_always_one_of_the_ladder_in_force(events):
    bench = Bench()
    config = configured()
    for event in events:
        if isinstance(event, dict):
            config = configured(**event)
            bench.shedder.configure(config)
        elif isinstance(event, Heat):
            bench.update(event, 7.0)
        else:
            getattr(bench.shedder, event)()
        step, status = bench.shedder.current, bench.shedder.status()
        assert step == ladder(config)[step.level]
        assert status.step is step and status.levels == ladder(config)[-1].level
        if config.thermal.policy == 'observe' or not status.is_active:
            assert step.level == 0
    # What was told is the whole way, unless an activation began it anew.
    if not {'start', 'stop'} & {event for event in events if isinstance(event, str)}:
        path = [0, *(after for _, after, _ in bench.told)]
        assert [before for before, *_ in bench.told] == path[:-1]
        assert path[-1] == bench.level


def test_readers_never_see_a_torn_state():
    """One thread reads for every frame while others step, configure, start and stop."""
    configs = [configured('shed', **{'thermal.dwell': 0.1, 'thermal.shed_rates': rates,
                                     'models.far.priority': far})
               for rates, far in (([10.0, 5.0], 0), ([9.0], 2), ([0.0], 0))]
    configs.append(configured('observe'))
    allowed = {step for config in configs for step in ladder(config)}
    ladders = [ladder(config) for config in configs]
    ticks = itertools.count(0, SECOND)
    shedder = LoadShedder(configs[0], lambda: next(ticks))
    shedder.start()
    ended, bad, seen = threading.Event(), [], set()
    states = [ThermalState((DeviceState('board', 'test', 0, True, (
        ZoneReading('tj', celsius, 'x', throttle_c=99.0),)),), 0)
        for celsius in (95.0, 95.0, 50.0)]

    def read():
        while not ended.is_set():
            step, status = shedder.current, shedder.status()
            seen.add(step)
            fits = any(steps[-1].level == status.levels and status.step in steps
                       for steps in ladders)
            if step not in allowed or not fits or (
                    not status.is_active and status.step.level):
                bad.append((step, status))

    def work(functions):
        for _ in range(400):
            for function in functions:
                function()

    reader = threading.Thread(target=read)
    workers = [threading.Thread(target=work, args=(functions,)) for functions in (
        [lambda state=state: shedder.update(state) for state in states],
        [lambda config=config: shedder.configure(config) for config in configs],
        [shedder.stop, shedder.start])]
    for thread in (reader, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    ended.set()
    reader.join()
    assert not bad
    assert len(seen) > 1
