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

"""One thread that polls a thermal source, and a snapshot that never waits for it."""

from __future__ import annotations

import logging
import math
import operator
import threading
import time
from typing import Callable
from typing import NamedTuple

from c7_inference_ros.errors import TelemetryUnavailableError
from c7_inference_ros.thermal.poll_schedule import PollSchedule
from c7_inference_ros.thermal.source import ThermalSource
from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.thermal.transitions import TransitionCallback
from c7_inference_ros.thermal.transitions import Transitions

#: Called with the state that a poll found.
StateCallback = Callable[[ThermalState], None]

_LOCK_WAIT_S = 0.1


class _Session:
    """One start, up to its stop. A thread of an earlier session has no say any more."""

    def __init__(self, started_ns: int, transitions: Transitions) -> None:
        self.started_ns = started_ns
        self.transitions = transitions
        self.stopped = threading.Event()
        self.polled = threading.Event()
        self.thread: threading.Thread | None = None
        self.bugs: set[tuple[str, str]] = set()


class _Published(NamedTuple):
    """What a session read last."""

    session: _Session
    state: ThermalState
    at_ns: int


class ThermalStatePublisher:
    """
    Polls a source in a daemon thread and answers with the latest state at once.

    Between two polls the thread glances at the source every 0.25 s, and polls at once when the
    signs of throttling have changed. Every device that the source has named stays in each state,
    without telemetry where nothing is known of it.

    :param source: read by one thread at a time.
    :param poll_hz: polls per second, 0.1 to 50.
    :param clock_ns: monotonic clock, nanoseconds.
    :param on_transition: called, in the polling thread, when a device begins or ends to throttle
        and when its telemetry is lost or comes back; once each. A device without telemetry, or
        one that throttles, at the first poll counts as a change. A loss is told at most every
        30 s for each device: a shorter one in between is not told, and neither is its end.
    :param on_state: called, in the polling thread, after every poll and before its transitions,
        with the state that :meth:`snapshot` returns from then on. The only way to see what is
        counted from poll to poll (events, throttling that is over) whole, since a poll at once
        may come between two snapshots.
    :param log: told about exceptions that are bugs in the source or in a callback, once for each
        kind of exception.
    :param stale_periods: a state older than this many periods is not shown any more.
    :param join_timeout_s: longest wait of :meth:`stop` for the thread.
    :raises ValueError: a rate, age or wait out of range.
    """

    def __init__(
            self, source: ThermalSource, poll_hz: float = 1.0,
            clock_ns: Callable[[], int] = time.monotonic_ns,
            on_transition: TransitionCallback | None = None, *,
            on_state: StateCallback | None = None,
            log: Callable[[str], None] = logging.getLogger(__name__).warning,
            stale_periods: float = 3.0, join_timeout_s: float = 1.0) -> None:
        """Check the settings; nothing is read before :meth:`start`."""
        for name, value, low, high in (('poll_hz', poll_hz, 0.1, 50.0),
                                       ('stale_periods', stale_periods, 1.0, 100.0),
                                       ('join_timeout_s', join_timeout_s, 0.0, 60.0)):
            if not (math.isfinite(value) and low <= value <= high):
                raise ValueError(f'{name} is {value}, expected {low} to {high}')
        self._source = source
        self._period_s = 1.0 / poll_hz
        self._stale_ns = int(stale_periods * self._period_s * 1e9)
        self._clock_ns = clock_ns
        self._on_transition = on_transition
        self._on_state = on_state
        self._log = log
        self._join_timeout_s = join_timeout_s
        self._control = threading.Lock()  # start and stop
        self._reading = threading.Lock()  # the source is read by one thread at a time
        self._telling = threading.Lock()  # transitions are told one after the other
        # Plain references, replaced as a whole: snapshot() takes no lock.
        self._session = self._new_session()
        self._latest: _Published | None = None
        # What stands for the devices while nothing is known of them; never asks the source.
        self._devices = ThermalState.unavailable(
            f'thermal source {source.name} has not answered yet', self._session.started_ns,
            source.name, source.device_names).devices

    @property
    def source_name(self) -> str:
        """Return the name of the source."""
        return self._source.name

    def start(self) -> None:
        """Begin to poll, at once; nothing happens when polling already."""
        with self._control:
            if self._session.thread is not None:
                return
            idle, session = self._session, self._new_session()
            session.thread = threading.Thread(
                target=self._run, args=(session,), name='thermal_poll', daemon=True)
            self._session = session
            try:
                session.thread.start()
            except RuntimeError:  # the system has no thread left
                self._session = idle
                raise

    def stop(self) -> None:
        """
        End polling; nothing happens when not polling.

        Returns within ``join_timeout_s`` even when the source hangs. Such a thread ends when the
        source returns and publishes nothing any more.
        """
        with self._control:
            session = self._session
            if session.thread is None:
                return
            session.stopped.set()
            self._session = self._new_session()
        if session.thread is not threading.current_thread():  # a callback may stop us
            session.thread.join(self._join_timeout_s)

    def snapshot(self) -> ThermalState:
        """
        Return the latest state, or its devices without telemetry when it is too old; never waits.

        :returns: without telemetry before the first poll, after :meth:`stop`, and when the last
            poll began more than ``stale_periods`` periods ago.
        """
        return self._view(self._session, self._clock_ns())[0]

    def wait_for_first_poll(self, timeout_s: float) -> bool:
        """
        Wait until the first poll since :meth:`start` has ended.

        :param timeout_s: longest wait in seconds.
        :returns: False when it has not.
        """
        return self._session.polled.wait(timeout_s)

    def check_stale(self) -> None:
        """
        Tell about a loss that the polling thread cannot tell: its source hangs.

        For a timer that shows diagnostics. ``on_transition`` is then called by this thread.
        """
        session = self._session
        if session.thread is None or not self._telling.acquire(blocking=False):
            return
        try:
            now_ns = self._clock_ns()
            is_starting = (not session.polled.is_set()
                           and now_ns - session.started_ns <= self._stale_ns)
            state, is_fresh = self._view(session, now_ns)
            if not (is_starting or is_fresh):
                self._tell(session, state)
        finally:
            self._telling.release()

    def poll_here(self) -> ThermalState:
        """Read the source once in this thread; not for a publisher that was started."""
        return self._poll_once()

    def _new_session(self) -> _Session:
        now_ns = self._clock_ns()
        return _Session(now_ns, Transitions(now_ns, self._source.name, self._on_transition))

    def _view(self, session: _Session, now_ns: int) -> tuple[ThermalState, bool]:
        """Return (state, whether it was read lately); a state without telemetry if it was not."""
        latest = self._latest
        name = self._source.name
        if latest is None or latest.session is not session:
            why = (f'thermal source {name} has not answered yet' if session.thread is not None else
                   f'thermal source {name} is not being polled')
        elif now_ns - latest.at_ns <= self._stale_ns:
            return latest.state, True
        else:
            why = (f'the last reading of thermal source {name} began'
                   f' {(now_ns - latest.at_ns) / 1e9:.1f} s ago, expected at most'
                   f' {self._stale_ns / 1e9:.1f} s; its sensors hang or the machine is overloaded')
        return self._unknown(why, now_ns), False

    def _unknown(self, why: str, now_ns: int) -> ThermalState:
        return ThermalState(self._devices, now_ns).without_telemetry(why, now_ns)

    def _run(self, session: _Session) -> None:
        schedule = PollSchedule(self._period_s)
        while not session.stopped.is_set():
            # A thread of an earlier session may still hang in the source: wait for it in steps,
            # so that this one can be stopped.
            if not self._reading.acquire(timeout=_LOCK_WAIT_S):
                continue
            began = time.monotonic()
            try:
                signs = self._glance_once(session) if schedule.has_glances else None
                if not session.stopped.is_set() and schedule.is_poll_due(began, signs):
                    self._poll_once(session)
            except Exception as error:  # nothing may end this thread
                self._report_bug(session, 'thermal poll', error)
            finally:
                self._reading.release()
            session.stopped.wait(schedule.wait_s(began, time.monotonic()))

    def _glance_once(self, session: _Session | None = None) -> frozenset[str] | None:
        """Return the signs that the source sees, None when it cannot say."""
        session = session or self._session
        signs = None
        try:
            signs = frozenset(self._source.glance(self._clock_ns()))
        except TelemetryUnavailableError:
            pass  # the next poll says so
        except Exception as error:
            self._report_bug(session, f'glance of thermal source {self._source.name}', error)
        # A glance that hung has kept the polls away for so long: that is told like a late read.
        state, is_fresh = self._view(session, self._clock_ns())
        if session.polled.is_set() and not is_fresh:
            with self._telling:
                self._tell(session, state)
        return signs

    def _poll_once(self, session: _Session | None = None) -> ThermalState:
        """Read the source once, publish and tell; tests call it without a thread."""
        session = session or self._session
        at_ns = self._clock_ns()
        state = self._completed(self._read(session, at_ns), at_ns)
        if session is not self._session:
            return state
        self._devices = state.devices
        self._latest = _Published(session, state, at_ns)
        session.polled.set()
        # A state that took too long to read is shown to nobody: it is a loss.
        shown, _ = self._view(session, self._clock_ns())
        if self._on_state is not None:
            try:
                self._on_state(shown)
            except Exception as error:
                self._report_bug(session, 'on_state', error)
        with self._telling:
            self._tell(session, shown)
        return state

    def _read(self, session: _Session, at_ns: int) -> ThermalState:
        name = self._source.name
        try:
            state = self._source.read(at_ns)
        except TelemetryUnavailableError as error:
            return self._unknown(str(error), at_ns)
        except Exception as error:
            return self._unknown(
                self._report_bug(session, f'thermal source {name}', error), at_ns)
        if not isinstance(state, ThermalState):
            return self._unknown(self._report_bug(
                session, f'thermal source {name}',
                TypeError(f'read returned {type(state).__name__}, expected a ThermalState')),
                at_ns)
        return state

    def _completed(self, state: ThermalState, at_ns: int) -> ThermalState:
        """Return the state with the devices that it has lost, and without what is too old."""
        name = self._source.name
        devices = {known.name: _lost(
            known, f'thermal source {name} no longer shows {known.name}; it was unplugged, reset'
            ' or its driver is gone', at_ns) for known in self._devices}
        for device in state.devices:
            age_ns = at_ns - device.measured_at_ns
            devices[device.name] = device if age_ns <= self._stale_ns else _lost(
                device, f'thermal source {name} measured {device.name} {age_ns / 1e9:.1f} s ago,'
                f' expected at most {self._stale_ns / 1e9:.1f} s', at_ns)
        completed = tuple(devices.values())
        if len(completed) == len(state.devices) and all(map(operator.is_, completed,
                                                            state.devices)):
            return state
        return ThermalState(completed, at_ns)

    def _tell(self, session: _Session, state: ThermalState) -> None:
        """Tell what is new of each device; ``_telling`` is held."""
        for device in state.devices:
            if session is not self._session:  # or no more, once a callback has stopped us
                return
            try:
                session.transitions.tell(device)
            except Exception as error:
                self._report_bug(session, 'on_transition', error)

    def _report_bug(self, session: _Session, what: str, error: Exception) -> str:
        """Log an exception, once for each kind of it in a session; return what was said."""
        problem = f'{what} failed with {type(error).__name__}: {error}'
        kind = (what, type(error).__name__)
        if kind not in session.bugs:
            session.bugs.add(kind)
            try:
                self._log(problem)
            except Exception:  # a broken log must not end the thread
                pass
        return problem


def _lost(device: DeviceState, why: str, now_ns: int) -> DeviceState:
    return DeviceState.unavailable(device.name, device.source, why, now_ns, model=device.model,
                                   hardware_id=device.hardware_id)


def snapshot_of(publisher: ThermalStatePublisher | None) -> ThermalState:
    """Return the snapshot of an injected publisher; the unavailable one when there is none."""
    if publisher is None:
        return ThermalState.unavailable('the runtime was given no thermal publisher',
                                        time.monotonic_ns())
    return publisher.snapshot()
