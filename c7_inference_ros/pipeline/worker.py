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

"""The one thread that owns the runtime and everything loaded with it."""

from __future__ import annotations

from collections import deque
import threading
import time
from typing import Any
from typing import Callable
from typing import Generic
from typing import TypeVar

from c7_inference_ros.pipeline.frame_slot import Frame
from c7_inference_ros.pipeline.scheduler import FrameScheduler

T = TypeVar('T')
FrameHandler = Callable[[Frame], None]


class _Call(Generic[T]):
    """One function that somebody waits for."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self.ended = threading.Event()
        self.results: list[T] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.results.append(self._function())
        except BaseException as error:  # raised again where the caller waits
            self.error = error
        finally:
            self.ended.set()


class InferenceWorker:
    """
    A daemon thread that runs calls (load, warm up, release) and, between them, frames.

    The thread begins with the object and ends with :meth:`stop`. One that hangs in foreign code
    cannot be ended: it is abandoned, takes no more work and ends when that code returns.

    :param scheduler: where frames wait; may outlive the worker.
    :param on_error: told about exceptions that a handler let out, in the worker's thread.
    :param name: name of the thread.
    :param clock_ns: monotonic clock, nanoseconds.
    """

    def __init__(self, scheduler: FrameScheduler,
                 on_error: Callable[[BaseException], None] | None = None, *,
                 name: str = 'inference_worker',
                 clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """Start the thread."""
        self._scheduler = scheduler
        self._condition = scheduler.condition  # guards everything below, too
        self._on_error = on_error
        self._clock_ns = clock_ns
        self._calls: deque[_Call[Any]] = deque()
        self._handler: FrameHandler | None = None
        self._busy_since_ns: int | None = None
        self._is_stopping = False
        self._is_abandoned = False
        self._last: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def busy_since_ns(self) -> int | None:
        """When the frame in work, or its latest :meth:`progress`, began; None between frames."""
        return self._busy_since_ns

    @property
    def is_abandoned(self) -> bool:
        """Whether the thread hung when it was told to stop; what it still makes is void."""
        return self._is_abandoned

    @property
    def is_alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    def progress(self) -> None:
        """Restart :attr:`busy_since_ns`; for a handler that runs several models in turn."""
        self._busy_since_ns = self._clock_ns()

    def call(self, function: Callable[[], T], timeout_s: float) -> T:
        """
        Run a function on the owner thread, before any waiting frame, and wait for it.

        :param timeout_s: longest wait in seconds. A function that has not begun by then never
            does; one that has cannot be stopped, and what it returns is lost: let it leave what
            has to be released where the ``last`` function of :meth:`stop` finds it.
        :returns: what the function returns.
        :raises TimeoutError: it has not ended in time.
        :raises RuntimeError: the worker was stopped.
        """
        if threading.current_thread() is self._thread:
            return function()
        call = _Call(function)
        with self._condition:
            if self._is_stopping:
                raise RuntimeError('the inference worker was stopped; make a new one')
            self._calls.append(call)
            self._condition.notify_all()
        if not call.ended.wait(timeout_s):
            with self._condition:
                if call in self._calls:
                    self._calls.remove(call)
                    where = 'waited for the work before it'
                else:
                    where = 'was at work'
            if not call.ended.is_set():
                raise TimeoutError(f'the call {where} for {timeout_s:g} s on the inference worker')
        try:
            if call.error is not None:
                raise call.error
            return call.results[0]
        finally:
            del call  # the error's traceback refers to this frame

    def start_frames(self, handler: FrameHandler) -> None:
        """
        Let a handler work on frames, one after the other; replaces the handler before.

        :raises RuntimeError: the worker was stopped.
        """
        with self._condition:
            if self._is_stopping:
                raise RuntimeError('the inference worker was stopped; make a new one')
            self._handler = handler
            self._condition.notify_all()

    def stop_frames(self, drain_timeout_s: float) -> bool:
        """
        Take no more frames, and wait for the one in work.

        From a handler itself this does not wait.

        :param drain_timeout_s: longest wait in seconds; 0 only looks.
        :returns: False when a frame is still in work.
        """
        with self._condition:
            self._handler = None
            if threading.current_thread() is self._thread:
                return self._busy_since_ns is None
            return self._condition.wait_for(lambda: self._busy_since_ns is None, drain_timeout_s)

    def stop(self, timeout_s: float, last: Callable[[], None] | None = None) -> bool:
        """
        End the thread; calls that have not begun fail. Idempotent.

        :param timeout_s: longest wait in seconds.
        :param last: run by the thread before it ends, also when it comes back long after it was
            abandoned: releases what only the owner thread may release. Only that of the first
            :meth:`stop` counts.
        :returns: False when the thread hangs: it is abandoned.
        """
        with self._condition:
            self._handler = None
            if not self._is_stopping:
                self._is_stopping = True
                self._last = last
            for call in self._calls:
                call.error = RuntimeError('the inference worker was stopped before the call began')
                call.ended.set()
            self._calls.clear()
            self._condition.notify_all()
        if threading.current_thread() is self._thread:
            return False
        self._thread.join(timeout_s)
        self._is_abandoned = self._thread.is_alive()
        return not self._is_abandoned

    def _run(self) -> None:
        while (work := self._next()) is not None:
            work()
            # Held by this name, a frame would live on until the next one comes.
            del work
        if self._last is not None:
            self._guarded(self._last)

    def _next(self) -> Callable[[], None] | None:
        """Wait for work and return it, or None when stopped; calls go before frames."""
        with self._condition:
            while not self._is_stopping:
                if self._calls:
                    return self._calls.popleft().run
                if self._handler is not None:
                    frame = self._scheduler.poll()
                    if frame is not None:
                        # Under the lock: a frame taken and nobody busy is never seen.
                        self._busy_since_ns = self._clock_ns()
                        handler = self._handler
                        return lambda: self._handle(handler, frame)
                self._condition.wait()
            return None

    def _handle(self, handler: FrameHandler, frame: Frame) -> None:
        self._guarded(lambda: handler(frame))
        with self._condition:
            self._busy_since_ns = None
            self._condition.notify_all()

    def _guarded(self, function: Callable[[], None]) -> None:
        try:
            function()
        except BaseException as error:  # nothing may end this thread
            if self._on_error is not None:
                try:
                    self._on_error(error)
                except BaseException:
                    pass  # nobody is left to tell
