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
import threading
import time
from typing import Callable
from typing import NamedTuple

from c7_inference_ros.errors import TelemetryUnavailableError
from c7_inference_ros.thermal.source import ThermalSource
from c7_inference_ros.thermal.state import ThermalState

#: Called with the state before and the state after a change.
TransitionCallback = Callable[[ThermalState, ThermalState], None]

_LOCK_WAIT_S = 0.1
_LOSS_INTERVAL_NS = 30_000_000_000


class _Session:
    """One start, up to its stop. A thread of an earlier session has no say any more."""

    def __init__(self, started_ns: int) -> None:
        self.started_ns = started_ns
        self.stopped = threading.Event()
        self.polled = threading.Event()
        self.thread: threading.Thread | None = None
        self.told: ThermalState | None = None  # what on_transition knows
        self.last_loss_ns: int | None = None


class _Published(NamedTuple):
    """What a session read last."""

    session: _Session
    state: ThermalState
    at_ns: int


class ThermalStatePublisher:
    """
    Polls a source in a daemon thread and answers with the latest state at once.

    :param source: read by one thread at a time.
    :param poll_hz: polls per second, 0.1 to 50.
    :param clock_ns: monotonic clock, nanoseconds.
    :param on_transition: called, in the polling thread, when throttling begins or ends and when
        telemetry is lost or comes back; once each. A source that has no telemetry, or a machine
        that throttles, at the first poll counts as a change. A loss is told at most every 30 s: a
        shorter one in between is not told, and neither is its end.
    :param log: told about exceptions that are bugs in the source or in ``on_transition``.
    :param stale_periods: a state older than this many periods is not shown any more.
    :param join_timeout_s: longest wait of :meth:`stop` for the thread.
    :raises ValueError: a rate, age or wait out of range.
    """

    def __init__(
            self, source: ThermalSource, poll_hz: float = 1.0,
            clock_ns: Callable[[], int] = time.monotonic_ns,
            on_transition: TransitionCallback | None = None, *,
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
        self._log = log
        self._join_timeout_s = join_timeout_s
        self._control = threading.Lock()  # start and stop
        self._reading = threading.Lock()  # the source is read by one thread at a time
        self._telling = threading.Lock()  # transitions are told one after the other
        # Plain references, replaced as a whole: snapshot() takes no lock.
        self._session = _Session(clock_ns())
        self._latest: _Published | None = None
        self._last_bug = ''

    @property
    def source_name(self) -> str:
        """Return the name of the source."""
        return self._source.name

    def start(self) -> None:
        """Begin to poll, at once; nothing happens when polling already."""
        with self._control:
            if self._session.thread is not None:
                return
            idle, session = self._session, _Session(self._clock_ns())
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
            self._session = _Session(self._clock_ns())
        if session.thread is not threading.current_thread():  # a callback may stop us
            session.thread.join(self._join_timeout_s)

    def snapshot(self) -> ThermalState:
        """
        Return the latest state, or the unavailable one when that is too old; never waits.

        :returns: unavailable before the first poll, after :meth:`stop`, and when the last poll
            began more than ``stale_periods`` periods ago.
        """
        now_ns = self._clock_ns()
        session = self._session
        latest = self._latest
        if latest is None or latest.session is not session:
            why = ('has not answered yet' if session.thread is not None else
                   'is not being polled')
            return ThermalState.unavailable(
                f'thermal source {self._source.name} {why}', now_ns, self._source.name)
        if now_ns - latest.at_ns > self._stale_ns:
            return self._stale(latest.at_ns, now_ns)
        return latest.state

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
            state = self.snapshot()
            is_starting = not session.polled.is_set() and (
                state.measured_at_ns - session.started_ns <= self._stale_ns)
            if not state.is_telemetry_available and not is_starting:
                self._tell(session, state)
        finally:
            self._telling.release()

    def _run(self, session: _Session) -> None:
        while not session.stopped.is_set():
            # A thread of an earlier session may still hang in the source: wait for it in steps,
            # so that this one can be stopped.
            if not self._reading.acquire(timeout=_LOCK_WAIT_S):
                continue
            began = time.monotonic()
            try:
                self._poll_once(session)
            except Exception as error:  # nothing may end this thread
                self._report_bug(f'thermal poll failed with {type(error).__name__}: {error}')
            finally:
                self._reading.release()
            # The read counts into the period, but a slow source is left in peace for a while.
            spent = time.monotonic() - began
            session.stopped.wait(max(self._period_s - spent, self._period_s / 10.0))

    def _poll_once(self, session: _Session | None = None) -> ThermalState:
        """Read the source once, publish and tell; tests call it without a thread."""
        session = session or self._session
        at_ns = self._clock_ns()
        state = self._read(at_ns)
        if session is not self._session:
            return state
        self._latest = _Published(session, state, at_ns)
        session.polled.set()
        now_ns = self._clock_ns()
        # A state that took too long to read is shown to nobody: it is a loss.
        late = now_ns - at_ns > self._stale_ns
        with self._telling:
            self._tell(session, self._stale(at_ns, now_ns) if late else state)
        return state

    def _read(self, at_ns: int) -> ThermalState:
        name = self._source.name
        try:
            state = self._source.read(at_ns)
        except TelemetryUnavailableError as error:
            return ThermalState.unavailable(str(error), at_ns, name)
        except Exception as error:
            problem = f'thermal source {name} failed with {type(error).__name__}: {error}'
            self._report_bug(problem)
            return ThermalState.unavailable(problem, at_ns, name)
        if not isinstance(state, ThermalState):
            problem = (f'thermal source {name} returned {type(state).__name__}, expected a'
                       ' ThermalState')
            self._report_bug(problem)
            return ThermalState.unavailable(problem, at_ns, name)
        return state

    def _tell(self, session: _Session, state: ThermalState) -> None:
        """Call ``on_transition`` if the state differs from what it knows; ``_telling`` is held."""
        if session is not self._session:
            return
        previous = session.told
        if previous is None:
            previous = ThermalState.unavailable(
                f'thermal source {self._source.name} has not answered yet',
                session.started_ns, self._source.name)
            before = (True, False)
        else:
            before = (previous.is_telemetry_available, previous.is_throttling)
        after = (state.is_telemetry_available, state.is_throttling)
        if before[0] and not after[0]:
            last_ns, now_ns = session.last_loss_ns, state.measured_at_ns
            if last_ns is not None and now_ns - last_ns < _LOSS_INTERVAL_NS:
                return  # told later if it lasts, forgotten with its recovery if not
            session.last_loss_ns = now_ns
        session.told = state
        if before == after or self._on_transition is None:
            return
        try:
            self._on_transition(previous, state)
        except Exception as error:
            self._report_bug(f'on_transition failed with {type(error).__name__}: {error}')

    def _stale(self, at_ns: int, now_ns: int) -> ThermalState:
        return ThermalState.unavailable(
            f'the last reading of thermal source {self._source.name} began'
            f' {(now_ns - at_ns) / 1e9:.1f} s ago, expected at most {self._stale_ns / 1e9:.1f} s;'
            ' its sensors hang or the machine is overloaded', now_ns, self._source.name)

    def _report_bug(self, problem: str) -> None:
        """Log a problem, once while it stays the same."""
        if problem == self._last_bug:
            return
        self._last_bug = problem
        try:
            self._log(problem)
        except Exception:  # a broken log must not end the thread
            pass


def snapshot_of(publisher: ThermalStatePublisher | None) -> ThermalState:
    """Return the snapshot of an injected publisher; the unavailable one when there is none."""
    if publisher is None:
        return ThermalState.unavailable('the runtime was given no thermal publisher',
                                        time.monotonic_ns())
    return publisher.snapshot()
