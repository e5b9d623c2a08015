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

"""The polling thread: fresh states, honest losses, transitions once, and a clean end."""

import os
import threading
import time

from c7_inference_ros.errors import TelemetryUnavailableError
from c7_inference_ros.thermal.linux import LinuxThermalSource
from c7_inference_ros.thermal.publisher import ThermalStatePublisher
from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.thermal.state import ZoneReading
import pytest

SECOND = 1_000_000_000


def cool_state(now_ns, throttling=False):
    """Return a state with one zone."""
    return ThermalState((device('host', now_ns, throttling),), now_ns)


def device(name, now_ns, throttling=False):
    """Return a device with one zone."""
    return DeviceState(
        name, 'script', now_ns, True,
        zones=(ZoneReading('zone', 96.0 if throttling else 45.0, 'script'),),
        is_throttling=throttling, throttle_reasons=('hot',) if throttling else (),
        model=f'model of {name}', hardware_id=f'serial of {name}')


class ScriptedSource:
    """Answers ``cool``, ``hot``, an exception or any other object, as its ``answer`` says."""

    name = 'script'
    device_names = ('host',)

    def __init__(self, answer='cool'):
        self.answer = answer
        self.signs = frozenset()
        self.reads = 0
        self.glances = 0

    def is_present(self):
        """Return True."""
        return True

    def read(self, now_ns):
        """Return or raise the answer."""
        self.reads += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer in ('cool', 'hot'):
            return cool_state(now_ns, self.answer == 'hot')
        return self.answer

    def glance(self, now_ns):
        """Return or raise the signs."""
        self.glances += 1
        if isinstance(self.signs, Exception):
            raise self.signs
        return self.signs


class HangingSource(ScriptedSource):
    """Hangs in every read while ``gate`` is clear."""

    def __init__(self, is_open=False):
        super().__init__()
        self.gate = threading.Event()
        self.inside = threading.Event()
        self.readers = 0
        self.most_readers = 0
        if is_open:
            self.gate.set()

    def read(self, now_ns):
        """Wait for the gate."""
        self.readers += 1
        self.most_readers = max(self.most_readers, self.readers)
        self.inside.set()
        try:
            if not self.gate.wait(30.0):
                raise AssertionError('the test left the gate shut')
            return super().read(now_ns)
        finally:
            self.readers -= 1


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now_ns = 100 * SECOND

    def __call__(self):
        """Return the time."""
        return self.now_ns

    def advance(self, seconds):
        """Move on."""
        self.now_ns += int(seconds * 1e9)


LOST = TelemetryUnavailableError('nothing can be read')


@pytest.fixture
def clock():
    """Return a clock at 100 s."""
    return Clock()


def recorder():
    """Return a callback and the list of what it was told."""
    told = []

    def flags(state):
        return (state.is_telemetry_available, state.is_throttling)

    def callback(previous, current):
        told.append((flags(previous), flags(current)))

    return callback, told


def wait_until(condition, timeout_s=10.0):
    """Wait for a condition of another thread, and fail when it does not come."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, 'the condition did not come'
        time.sleep(0.002)


UNKNOWN, COOL, HOT = (False, False), (True, False), (True, True)


def test_before_the_first_poll_nothing_is_known(clock):
    publisher = ThermalStatePublisher(ScriptedSource(), clock_ns=clock)
    state = publisher.snapshot()
    assert not state.is_telemetry_available
    assert 'script is not being polled' in state.faults[0]


def test_a_poll_is_shown_until_it_is_three_periods_old(clock):
    publisher = ThermalStatePublisher(ScriptedSource(), poll_hz=2.0, clock_ns=clock)
    publisher._poll_once()
    clock.advance(1.5)
    state = publisher.snapshot()
    assert state.hottest.temperature_c == 45.0
    assert state.age_s(clock()) == 1.5
    clock.advance(0.001)
    stale = publisher.snapshot()
    assert not stale.is_telemetry_available
    assert stale.measured_at_ns == clock()
    assert '1.5 s ago' in stale.faults[0]
    publisher._poll_once()
    assert publisher.snapshot().is_telemetry_available


@pytest.mark.parametrize('answer, words', [
    (LOST, 'nothing can be read'), (KeyError('zone'), 'KeyError'), (None, 'NoneType'),
    (42, 'expected a ThermalState')])
def test_a_source_that_fails_is_no_telemetry(clock, answer, words):
    source = ScriptedSource()
    logged = []
    publisher = ThermalStatePublisher(source, clock_ns=clock, log=logged.append)
    publisher._poll_once()
    source.answer = answer
    for _ in range(3):
        publisher._poll_once()
    state = publisher.snapshot()
    assert not state.is_telemetry_available
    assert state.zones == ()
    assert words in state.faults[0]
    assert len(logged) == (0 if answer is LOST else 1)  # a bug is logged, once


def test_throttling_is_told_when_it_begins_and_when_it_ends(clock):
    source = ScriptedSource()
    callback, told = recorder()
    publisher = ThermalStatePublisher(source, clock_ns=clock, on_transition=callback)
    for answer in ('cool', 'cool', 'hot', 'hot', 'hot', 'cool', 'cool'):
        source.answer = answer
        publisher._poll_once()
        clock.advance(1.0)
    assert told == [(COOL, HOT), (HOT, COOL)]


def test_the_state_before_a_change_is_the_latest_of_before(clock):
    source = ScriptedSource()
    pairs = []
    publisher = ThermalStatePublisher(
        source, clock_ns=clock, on_transition=lambda *states: pairs.append(states))
    for answer in ('cool', 'cool', 'hot'):
        source.answer = answer
        publisher._poll_once()
        clock.advance(1.0)
    (previous, current), = pairs
    assert (previous.measured_at_ns, current.measured_at_ns) == (101 * SECOND, 102 * SECOND)


@pytest.mark.parametrize('first, expected', [
    ('cool', []), ('hot', [(UNKNOWN, HOT)]), (LOST, [(UNKNOWN, UNKNOWN)])])
def test_a_bad_start_is_told_and_a_good_one_is_not(clock, first, expected):
    callback, told = recorder()
    publisher = ThermalStatePublisher(
        ScriptedSource(first), clock_ns=clock, on_transition=callback)
    for _ in range(3):
        publisher._poll_once()
    assert told == expected


def test_loss_and_return_of_telemetry_are_told_once(clock):
    source = ScriptedSource()
    callback, told = recorder()
    publisher = ThermalStatePublisher(source, clock_ns=clock, on_transition=callback)
    for answer in ('cool', LOST, LOST, LOST, 'cool', 'cool'):
        source.answer = answer
        publisher._poll_once()
        clock.advance(1.0)
    assert told == [(COOL, UNKNOWN), (UNKNOWN, COOL)]


def test_a_loss_while_hot_does_not_end_the_heat(clock):
    source = ScriptedSource('hot')
    callback, told = recorder()
    publisher = ThermalStatePublisher(source, clock_ns=clock, on_transition=callback)
    for answer in ('hot', LOST, 'hot', 'cool'):
        source.answer = answer
        publisher._poll_once()
        clock.advance(1.0)
    assert told == [(UNKNOWN, HOT), (HOT, UNKNOWN), (UNKNOWN, HOT), (HOT, COOL)]


def test_telemetry_that_comes_and_goes_is_told_at_most_every_half_minute(clock):
    source = ScriptedSource()
    callback, told = recorder()
    publisher = ThermalStatePublisher(source, clock_ns=clock, on_transition=callback)
    for second in range(120):
        source.answer = LOST if second % 2 else 'cool'
        publisher._poll_once()
        clock.advance(1.0)
    losses = [pair for pair in told if pair == (COOL, UNKNOWN)]
    assert 3 <= len(losses) <= 4
    assert len(told) - len(losses) in (len(losses), len(losses) - 1)


def test_a_loss_that_was_held_back_is_told_when_it_lasts(clock):
    source = ScriptedSource()
    callback, told = recorder()
    publisher = ThermalStatePublisher(source, clock_ns=clock, on_transition=callback)
    for answer in ['cool', LOST, 'cool'] + [LOST] * 40:
        source.answer = answer
        publisher._poll_once()
        clock.advance(1.0)
    assert told == [(COOL, UNKNOWN), (UNKNOWN, COOL), (COOL, UNKNOWN)]


def test_heat_is_told_while_losses_are_held_back(clock):
    source = ScriptedSource()
    callback, told = recorder()
    publisher = ThermalStatePublisher(source, clock_ns=clock, on_transition=callback)
    for answer in ('cool', LOST, 'cool', LOST, 'hot'):
        source.answer = answer
        publisher._poll_once()
        clock.advance(1.0)
    assert told[-1] == (COOL, HOT)


def test_a_read_that_took_too_long_is_a_loss(clock):
    class SlowSource(ScriptedSource):

        def read(self, now_ns):
            """Take four periods."""
            clock.advance(4.0)
            return super().read(now_ns)

    callback, told = recorder()
    publisher = ThermalStatePublisher(SlowSource(), clock_ns=clock, on_transition=callback)
    publisher._poll_once()
    assert not publisher.snapshot().is_telemetry_available
    assert told == [(UNKNOWN, UNKNOWN)]


def test_the_hot_transition_of_a_real_tree_is_seen_within_a_second(laptop_tree):
    seen = threading.Event()
    publisher = ThermalStatePublisher(
        LinuxThermalSource(laptop_tree.root), poll_hz=10.0, stale_periods=50.0,
        on_transition=lambda previous, current: current.is_throttling and seen.set())
    publisher.start()
    try:
        assert publisher.wait_for_first_poll(10.0)
        assert not publisher.snapshot().is_throttling
        laptop_tree.temperature(0, 96000)
        assert seen.wait(1.0)
        state = publisher.snapshot()
        assert state.is_throttling
        assert state.hottest.name == 'acpitz'
    finally:
        publisher.stop()


def test_polls_come_at_the_rate_that_was_asked_for():
    source = ScriptedSource()
    publisher = ThermalStatePublisher(source, poll_hz=20.0)
    publisher.start()
    time.sleep(1.0)
    publisher.stop()
    assert 5 <= source.reads <= 22  # fewer on a machine under load, never more


def test_exceptions_in_source_callback_and_log_leave_the_thread_running():
    source = ScriptedSource(ValueError('bug in the source'))

    def broken(*_):
        raise RuntimeError('bug outside')

    publisher = ThermalStatePublisher(source, poll_hz=50.0, on_transition=broken, log=broken)
    publisher.start()
    try:
        wait_until(lambda: source.reads >= 3)
        source.answer = 'cool'
        wait_until(lambda: publisher.snapshot().is_telemetry_available)
        source.answer = 'hot'
        wait_until(lambda: publisher.snapshot().is_throttling)
    finally:
        publisher.stop()


def test_a_failing_clock_does_not_end_the_thread():
    clock, logged, broken = Clock(), [], threading.Event()

    def read_clock():
        if broken.is_set() and threading.current_thread().daemon:
            raise OSError('no clock')
        return clock()

    source = ScriptedSource()
    publisher = ThermalStatePublisher(source, poll_hz=50.0, clock_ns=read_clock, log=logged.append)
    publisher.start()
    assert publisher.wait_for_first_poll(10.0)
    broken.set()
    wait_until(lambda: logged)
    clock.now_ns = 200 * SECOND
    broken.clear()
    wait_until(lambda: publisher.snapshot().measured_at_ns == 200 * SECOND)
    publisher.stop()
    assert logged == ['thermal poll failed with OSError: no clock']


def test_a_broken_callback_is_logged(clock):
    logged = []

    def broken(previous, current):
        raise RuntimeError('bug outside')

    publisher = ThermalStatePublisher(
        ScriptedSource('hot'), clock_ns=clock, on_transition=broken, log=logged.append)
    publisher._poll_once()
    assert logged == ['on_transition failed with RuntimeError: bug outside']
    assert publisher.snapshot().is_throttling


def test_after_stop_nothing_is_known_and_start_begins_again():
    source = ScriptedSource()
    publisher = ThermalStatePublisher(source, poll_hz=50.0, stale_periods=100.0)
    publisher.stop()  # nothing to stop yet
    for _ in range(2):
        publisher.start()
        publisher.start()
        assert publisher.wait_for_first_poll(10.0)
        assert publisher.snapshot().is_telemetry_available
        publisher.stop()
        publisher.stop()
        state = publisher.snapshot()
        assert not state.is_telemetry_available
        assert 'not being polled' in state.faults[0]
        reads = source.reads
        time.sleep(0.1)
        assert source.reads == reads


def test_a_restart_on_a_hot_board_is_told_again():
    callback, told = recorder()
    publisher = ThermalStatePublisher(
        ScriptedSource('hot'), poll_hz=50.0, on_transition=callback)
    for rounds in (1, 2):
        publisher.start()
        wait_until(lambda: len(told) >= rounds)
        publisher.stop()
    assert told == [(UNKNOWN, HOT)] * 2


def test_a_callback_may_stop_the_publisher():
    logged = []

    def stop(previous, current):
        publisher.stop()

    publisher = ThermalStatePublisher(
        ScriptedSource('hot'), poll_hz=50.0, on_transition=stop, log=logged.append)
    publisher.start()
    wait_until(lambda: publisher._session.thread is None)
    assert 'not being polled' in publisher.snapshot().faults[0]
    assert logged == []


def test_stop_does_not_wait_for_the_next_poll():
    publisher = ThermalStatePublisher(ScriptedSource(), poll_hz=0.1, join_timeout_s=8.0)
    publisher.start()
    thread = publisher._session.thread
    assert publisher.wait_for_first_poll(10.0)
    began = time.monotonic()
    publisher.stop()
    assert time.monotonic() - began < 5.0
    assert not thread.is_alive()
    assert thread.daemon


def test_a_system_without_threads_left_can_be_tried_again(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    publisher = ThermalStatePublisher(ScriptedSource())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, 'start', refuse)
        with pytest.raises(RuntimeError, match='new thread'):
            publisher.start()
    assert 'not being polled' in publisher.snapshot().faults[0]
    publisher.start()
    assert publisher.wait_for_first_poll(10.0)
    publisher.stop()


def test_fifty_rounds_leave_no_thread_and_no_descriptor(laptop_tree):
    publisher = ThermalStatePublisher(LinuxThermalSource(laptop_tree.root), poll_hz=50.0)

    def count():
        return threading.active_count(), len(os.listdir('/proc/self/fd'))

    before = count()
    for _ in range(50):
        publisher.start()
        assert publisher.wait_for_first_poll(10.0)
        publisher.stop()
    assert count() == before


def test_a_hanging_source_blocks_neither_snapshot_nor_stop():
    source = HangingSource(is_open=True)
    publisher = ThermalStatePublisher(source, poll_hz=50.0, join_timeout_s=0.2)
    publisher.start()
    assert publisher.wait_for_first_poll(10.0)
    source.inside.clear()
    source.gate.clear()
    assert source.inside.wait(10.0)
    wait_until(lambda: not publisher.snapshot().is_telemetry_available)
    assert 'ago' in publisher.snapshot().faults[0]
    began = time.monotonic()
    for _ in range(1000):
        publisher.snapshot()
    assert time.monotonic() - began < 1.0
    began = time.monotonic()
    publisher.stop()
    assert time.monotonic() - began < 2.0
    source.gate.set()


def test_what_a_hanging_read_returns_after_stop_is_shown_to_nobody():
    source = HangingSource()
    callback, told = recorder()
    publisher = ThermalStatePublisher(source, poll_hz=50.0, on_transition=callback,
                                      on_state=told.append, join_timeout_s=0.05)
    source.answer = 'hot'
    publisher.start()
    thread = publisher._session.thread
    assert source.inside.wait(10.0)
    publisher.stop()
    source.gate.set()
    thread.join(10.0)
    assert not thread.is_alive()
    assert not publisher.snapshot().is_telemetry_available
    assert told == []


def test_restarts_over_a_hanging_source_neither_pile_up_nor_read_twice_at_once():
    source = HangingSource()
    publisher = ThermalStatePublisher(source, poll_hz=50.0, join_timeout_s=1.0)
    before = threading.active_count()
    publisher.start()
    assert source.inside.wait(10.0)
    publisher.stop()
    for _ in range(5):
        publisher.start()
        publisher.stop()
    wait_until(lambda: threading.active_count() == before + 1)  # the one that hangs
    publisher.start()
    assert 'has not answered yet' in publisher.snapshot().faults[0]
    source.gate.set()
    wait_until(lambda: publisher.snapshot().is_telemetry_available)
    publisher.stop()
    wait_until(lambda: threading.active_count() == before)
    assert source.most_readers == 1


@pytest.mark.parametrize('hangs_at_once', [True, False])
def test_the_loss_by_a_hang_is_told_by_whoever_checks(hangs_at_once):
    source = HangingSource(is_open=not hangs_at_once)
    clock = Clock()
    callback, told = recorder()
    publisher = ThermalStatePublisher(
        source, clock_ns=clock, on_transition=callback, join_timeout_s=0.05)
    publisher.start()
    try:
        if not hangs_at_once:
            assert publisher.wait_for_first_poll(10.0)
        publisher.check_stale()
        assert told == []
        clock.advance(4.0)
        for _ in range(3):
            publisher.check_stale()
        assert told == [(UNKNOWN if hangs_at_once else COOL, UNKNOWN)]
    finally:
        source.gate.set()
        publisher.stop()
    publisher.check_stale()
    assert len([pair for pair in told if pair[1] == UNKNOWN]) == 1


def test_a_day_of_polls_keeps_nothing(clock):
    source = ScriptedSource()
    callback, told = recorder()
    publisher = ThermalStatePublisher(source, clock_ns=clock, on_transition=callback)
    for second in range(20_000):
        source.answer = LOST if second % 5000 == 4999 else 'cool'
        state = publisher._poll_once()
        assert publisher.snapshot() is state
        clock.advance(1.0)
    assert len(told) == 7


@pytest.mark.parametrize('settings, words', [
    ({'poll_hz': 0.0}, 'poll_hz is 0.0'), ({'poll_hz': 51.0}, 'poll_hz'),
    ({'poll_hz': float('nan')}, 'poll_hz'), ({'stale_periods': 0.5}, 'stale_periods'),
    ({'join_timeout_s': -1.0}, 'join_timeout_s')])
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        ThermalStatePublisher(ScriptedSource(), **settings)


def gpus(now_ns, *names, hot=()):
    """Return a state of some devices."""
    return ThermalState(tuple(device(name, now_ns, name in hot) for name in names), now_ns)


class GpuSource(ScriptedSource):
    """Answers with the devices in ``present``; those in ``hot`` throttle."""

    device_names = ('gpu0', 'gpu1')

    def __init__(self):
        super().__init__()
        self.present = ['gpu0', 'gpu1']
        self.hot = ()
        self.age_ns = 0

    def read(self, now_ns):
        """Return the state, or raise the answer."""
        super().read(now_ns)
        return gpus(now_ns - self.age_ns, *self.present, hot=self.hot)


def names_of(state):
    return [one.name for one in state.devices]


def test_transitions_are_told_for_each_device_alone(clock):
    source, told = GpuSource(), []
    publisher = ThermalStatePublisher(
        source, clock_ns=clock, on_transition=lambda before, after: told.append(
            (after.name, before.is_throttling, after.is_throttling)))
    for source.hot in ((), ('gpu1',), ('gpu1', 'gpu0'), ('gpu0',), ()):
        publisher._poll_once()
        clock.advance(1.0)
    assert told == [('gpu1', False, True), ('gpu0', False, True), ('gpu1', True, False),
                    ('gpu0', True, False)]


def test_the_loss_of_one_device_does_not_hold_back_the_loss_of_another(clock):
    source, told = GpuSource(), []
    publisher = ThermalStatePublisher(
        source, clock_ns=clock, on_transition=lambda before, after: told.append(
            (after.name, after.is_telemetry_available)))
    for second in range(25):
        source.present = [['gpu0', 'gpu1'], ['gpu1'], ['gpu0']][second % 3]
        publisher._poll_once()
        clock.advance(1.0)
    assert sorted(told) == [('gpu0', False), ('gpu0', True), ('gpu1', False), ('gpu1', True)]


def test_a_device_that_vanishes_stays_in_its_place_without_telemetry(clock):
    source = GpuSource()
    publisher = ThermalStatePublisher(source, clock_ns=clock)
    publisher._poll_once()
    source.present = ['gpu1']
    clock.advance(1.0)
    publisher._poll_once()
    state = publisher.snapshot()
    assert names_of(state) == ['gpu0', 'gpu1']
    lost, present = state.devices
    assert present.is_telemetry_available
    assert not lost.is_telemetry_available and not state.is_telemetry_available
    assert lost.zones == () and lost.measured_at_ns == clock()
    assert 'no longer shows gpu0' in lost.faults[0]
    assert (lost.model, lost.hardware_id) == ('model of gpu0', 'serial of gpu0')
    source.present = ['gpu1', 'gpu0']  # in another order
    publisher._poll_once()
    assert names_of(publisher.snapshot()) == ['gpu0', 'gpu1']
    assert publisher.snapshot().is_telemetry_available


def test_a_device_that_appears_later_stays_as_well(clock):
    source = GpuSource()
    publisher = ThermalStatePublisher(source, clock_ns=clock)
    for source.present in (['gpu0'], ['gpu2', 'gpu0'], ['gpu0', 'gpu1']):
        publisher._poll_once()
    state = publisher.snapshot()
    assert names_of(state) == ['gpu0', 'gpu1', 'gpu2']
    assert [one.is_telemetry_available for one in state.devices] == [True, True, False]


def test_a_device_that_a_source_measured_long_ago_is_not_current(clock):
    source = GpuSource()
    publisher = ThermalStatePublisher(source, clock_ns=clock)
    source.age_ns = 3 * SECOND
    publisher._poll_once()
    assert publisher.snapshot().is_telemetry_available
    source.age_ns += 1
    publisher._poll_once()
    state = publisher.snapshot()
    assert not any(one.is_telemetry_available for one in state.devices)
    assert 'measured gpu0 3.0 s ago' in state.devices[0].faults[0]


def unknown_in_some_way(way, publisher, source, clock):
    """Make a publisher know nothing of its devices."""
    if way == 'not started':
        return
    publisher._poll_once()
    if way == 'stale':
        clock.advance(3.1)
    elif way == 'lost':
        source.answer = LOST
        publisher._poll_once()
    elif way == 'bug':
        source.answer = KeyError('zone')
        publisher._poll_once()
    elif way == 'stopped':
        publisher.start()
        publisher.stop()


@pytest.mark.parametrize('way', ['not started', 'stale', 'lost', 'bug', 'stopped'])
def test_a_state_without_telemetry_keeps_every_device(clock, way):
    source = GpuSource()
    publisher = ThermalStatePublisher(source, clock_ns=clock, log=lambda text: None)
    unknown_in_some_way(way, publisher, source, clock)
    state = publisher.snapshot()
    assert names_of(state) == ['gpu0', 'gpu1']
    assert not any(one.is_telemetry_available or one.zones for one in state.devices)
    assert {one.source for one in state.devices} == {'script'}
    if way != 'not started':
        assert state.devices[1].hardware_id == 'serial of gpu1'


def test_a_source_that_names_no_device_stands_for_one(clock):
    class Nameless(ScriptedSource):
        device_names = ()

    publisher = ThermalStatePublisher(Nameless(LOST), clock_ns=clock)
    publisher._poll_once()
    assert names_of(publisher.snapshot()) == ['script']


def test_every_state_is_given_before_its_transitions(clock):
    source, events = ScriptedSource(), []
    publisher = ThermalStatePublisher(
        source, clock_ns=clock, on_state=events.append,
        on_transition=lambda before, after: events.append(after))
    for source.answer in ('cool', 'hot', LOST):
        publisher._poll_once()
        assert publisher.snapshot() is [one for one in events if isinstance(one, ThermalState)][-1]
        clock.advance(1.0)
    cool, hot, hot_device, lost, lost_device = events
    assert not cool.is_throttling
    assert hot.devices == (hot_device,) and hot.is_throttling
    assert lost.devices == (lost_device,) and not lost.is_telemetry_available


def test_a_state_that_was_read_too_slowly_is_given_without_telemetry(clock):
    class SlowSource(ScriptedSource):

        def read(self, now_ns):
            """Take four periods."""
            clock.advance(4.0)
            return super().read(now_ns)

    states = []
    publisher = ThermalStatePublisher(SlowSource(), clock_ns=clock, on_state=states.append)
    publisher._poll_once()
    assert [state.is_telemetry_available for state in states] == [False]


def test_a_callback_for_states_may_fail_and_may_stop_the_publisher(clock):
    logged, told = [], []

    def broken(state):
        raise RuntimeError('bug outside')

    publisher = ThermalStatePublisher(
        ScriptedSource('hot'), clock_ns=clock, on_state=broken, log=logged.append,
        on_transition=lambda *states: told.append(states))
    publisher._poll_once()
    publisher._poll_once()
    assert logged == ['on_state failed with RuntimeError: bug outside']
    assert len(told) == 1

    stopped = threading.Event()

    def stop(state):
        stopping.stop()
        stopped.set()

    stopping = ThermalStatePublisher(
        ScriptedSource('hot'), poll_hz=50.0, on_state=stop, log=logged.append,
        on_transition=lambda *states: told.append(states))
    stopping.start()
    thread = stopping._session.thread
    assert stopped.wait(10.0)
    if thread is not None:
        thread.join(10.0)
    assert len(logged) == 1 and len(told) == 1  # nothing is told of what has ended


def test_a_sign_between_two_polls_is_polled_at_once():
    source, seen = ScriptedSource(), threading.Event()
    publisher = ThermalStatePublisher(
        source, poll_hz=0.1, on_transition=lambda before, after: seen.set())
    publisher.start()
    try:
        assert publisher.wait_for_first_poll(10.0)
        wait_until(lambda: source.glances >= 2)
        assert source.reads == 1
        source.answer = 'hot'
        source.signs = frozenset({'cpu-throttle'})
        assert seen.wait(5.0)  # the next regular poll is 10 s after the first
        assert publisher.snapshot().is_throttling
        glances = source.glances
        wait_until(lambda: source.glances >= glances + 3)
        assert source.reads == 2  # the same sign is no news
        source.answer, source.signs = 'cool', frozenset()
        wait_until(lambda: not publisher.snapshot().is_throttling, 5.0)
    finally:
        publisher.stop()


def test_the_throttle_of_a_real_tree_shows_within_a_second_at_the_default_rate(laptop_tree):
    seen = threading.Event()
    publisher = ThermalStatePublisher(
        LinuxThermalSource(laptop_tree.root), stale_periods=50.0,
        on_transition=lambda before, after: after.is_throttling and seen.set())
    publisher.start()
    try:
        assert publisher.wait_for_first_poll(10.0)
        laptop_tree.cooling(0, 'Processor', 3)
        assert seen.wait(1.0)
    finally:
        publisher.stop()


@pytest.mark.parametrize('signs', [ValueError('bug in the glance'), LOST, None])
def test_a_glance_that_fails_neither_ends_the_thread_nor_polls_in_a_loop(signs):
    source, logged = ScriptedSource(), []
    source.signs = signs
    publisher = ThermalStatePublisher(source, poll_hz=0.1, log=logged.append)
    publisher.start()
    try:
        wait_until(lambda: source.glances >= 5)
        assert source.reads == 1
        assert publisher.snapshot().is_telemetry_available
        assert len(logged) == (0 if signs is LOST else 1)
        assert all(line.startswith('glance of thermal source script failed') for line in logged)
        source.answer, source.signs = 'hot', frozenset({'cpu-throttle'})
        wait_until(lambda: publisher.snapshot().is_throttling, 5.0)
    finally:
        publisher.stop()


def test_signs_that_flicker_do_not_poll_more_often_than_four_times_a_second():
    class Flickering(ScriptedSource):

        def __init__(self):
            super().__init__()
            self.read_at = []

        def read(self, now_ns):
            """Note when."""
            self.read_at.append(time.monotonic())
            return super().read(now_ns)

        def glance(self, now_ns):
            """Return something else each time."""
            super().glance(now_ns)
            return frozenset({str(self.glances)})

    source = Flickering()
    publisher = ThermalStatePublisher(source, poll_hz=0.9)
    publisher.start()
    wait_until(lambda: len(source.read_at) >= 9, 30.0)
    publisher.stop()
    # Reads begin after their glance, which may take longer once than another time.
    gaps = [after - before for before, after in zip(source.read_at, source.read_at[1:])]
    assert sum(gaps) / len(gaps) >= 0.249


def test_at_four_polls_a_second_nobody_glances():
    source = ScriptedSource()
    publisher = ThermalStatePublisher(source, poll_hz=4.0)
    publisher.start()
    wait_until(lambda: source.reads >= 3)
    publisher.stop()
    assert source.glances == 0


class HangingGlance(HangingSource):
    """Hangs in every glance but the first."""

    def read(self, now_ns):
        """Return the answer at once."""
        return ScriptedSource.read(self, now_ns)

    def glance(self, now_ns):
        """Wait for the gate."""
        if self.glances:
            self.inside.set()
            assert self.gate.wait(30.0), 'the test left the gate shut'
        return super().glance(now_ns)


def test_a_glance_that_hangs_shows_and_is_told_like_a_read_that_hangs(clock):
    source, callback_told = HangingGlance(), recorder()
    callback, told = callback_told
    publisher = ThermalStatePublisher(
        source, clock_ns=clock, on_transition=callback, join_timeout_s=0.05)
    publisher.start()
    thread = publisher._session.thread
    try:
        assert publisher.wait_for_first_poll(10.0)
        assert source.inside.wait(10.0)
        assert publisher.snapshot().is_telemetry_available
        clock.advance(3.1)
        assert not publisher.snapshot().is_telemetry_available
        publisher.check_stale()
        assert told == [(COOL, UNKNOWN)]
        began = time.monotonic()
        publisher.stop()
        assert time.monotonic() - began < 2.0
    finally:
        source.signs = frozenset({'cpu-throttle'})
        source.gate.set()
        publisher.stop()
    reads = source.reads
    thread.join(10.0)
    assert not thread.is_alive()
    assert source.reads == reads  # nobody wants to know any more
    assert told == [(COOL, UNKNOWN)]


def test_a_glance_that_took_too_long_is_told_by_the_polling_thread(clock):
    class SlowGlance(ScriptedSource):

        def glance(self, now_ns):
            """Take four periods."""
            clock.advance(4.0)
            return super().glance(now_ns)

    callback, told = recorder()
    publisher = ThermalStatePublisher(SlowGlance(), clock_ns=clock, on_transition=callback)
    publisher._poll_once()
    publisher._glance_once()
    assert told == [(COOL, UNKNOWN)]
    publisher._poll_once()
    assert told == [(COOL, UNKNOWN), (UNKNOWN, COOL)]


def test_a_bug_is_logged_once_whatever_its_text_says_and_whatever_fails_besides(clock):
    source, logged = ScriptedSource(), []
    publisher = ThermalStatePublisher(source, clock_ns=clock, log=logged.append)
    for number in range(20):
        source.answer = ValueError(f'{number} is wrong')
        source.signs = KeyError(number)
        publisher._poll_once()
        publisher._glance_once()
    source.answer = OSError('another kind')
    publisher._poll_once()
    assert logged == ['thermal source script failed with ValueError: 0 is wrong',
                      'glance of thermal source script failed with KeyError: 0',
                      'thermal source script failed with OSError: another kind']
