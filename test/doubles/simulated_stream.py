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

"""
Streams whose work is done when somebody waits for it, and CUDA graphs.

Nothing is done when it is enqueued: a copy reads its source, and a kernel its inputs, when the
stream is synchronised. A result that is read without waiting is not there, and a buffer that is
filled again too early changes what an earlier call sees.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from dataclasses import field
import itertools
import threading
import time
from typing import Any
from typing import Callable

from cuda_codes import CAPTURE_IMPLICIT
from cuda_codes import CAPTURE_INVALIDATED
from cuda_codes import CAPTURE_UNMATCHED
from cuda_codes import CAPTURE_UNSUPPORTED
from cuda_codes import CAPTURE_WRONG_THREAD
from cuda_codes import CudaCallError
from cuda_codes import INVALID_VALUE

#: Above 2**32 and below 2**63: a handle that is cut to 32 bits on its way is not this one.
_HANDLES = itertools.count(0x0B00_0000_1000, 0x100)
CAPTURE_GLOBAL, CAPTURE_THREAD_LOCAL, CAPTURE_RELAXED = 0, 1, 2
NON_BLOCKING = 1


def new_handle() -> int:
    """Return a handle that was never given before."""
    return next(_HANDLES)


@dataclass
class Work:
    """
    One thing a stream does.

    :param name: for messages: ``kernel``, ``cuMemcpyHtoDAsync``...
    :param run: does it; raises CudaCallError.
    :param ranges: device ranges (address, size) that it uses.
    :param scratch: ranges that nothing else may use at the same time.
    """

    name: str
    run: Callable[[], Any]
    ranges: tuple[tuple[int, int], ...] = ()
    scratch: tuple[tuple[int, int], ...] = ()


@dataclass
class Capture:
    """A capture under way."""

    mode: int
    thread: int
    work: list[Work] = field(default_factory=list)
    is_invalidated: bool = False


class SimulatedGraph:
    """A captured graph."""

    def __init__(self, work: list[Work]) -> None:
        """Keep the work in its order."""
        self.handle, self.work = new_handle(), list(work)


class SimulatedGraphExec(SimulatedGraph):
    """A graph that can be launched."""


class SimulatedEvent:
    """An event: where it was recorded, and when the GPU passed it."""

    def __init__(self, context: Any, flags: int) -> None:
        """Begin unrecorded, which counts as done."""
        self.handle, self.context, self.flags = new_handle(), context, flags
        self.is_pending = False
        self.was_recorded = False
        self.passed_at = 0.0
        self.stream: Any = None

    def mark(self) -> None:
        """Note that the GPU came by."""
        self.is_pending, self.passed_at = False, time.perf_counter()


class SimulatedStream:
    """
    One stream.

    :param gpu: the GPU.
    :param context: the context it belongs to.
    :param flags: 1 does not wait for the legacy default stream.
    """

    def __init__(self, gpu: Any, context: Any, flags: int, handle: int | None = None) -> None:
        """Begin idle."""
        self.gpu, self.context, self.flags = gpu, context, flags
        self.handle = new_handle() if handle is None else handle
        self.queue: deque[Work] = deque()
        self.capture: Capture | None = None
        self._running = threading.RLock()

    def enqueue(self, work: Work) -> None:
        """Add work, or record it when a capture is under way."""
        if self.capture is None:
            self._check_scratch(work)
            self.queue.append(work)
        elif self.capture.is_invalidated:
            raise CudaCallError(work.name, CAPTURE_INVALIDATED)
        else:
            self.capture.work.append(work)

    def _check_scratch(self, work: Work) -> None:
        for address, size in work.scratch:
            if any(other is not self and other.touches(address, size)
                   for other in tuple(self.context.streams.values())):
                self.gpu.violated(f'activation memory {address:#x} is used by two streams at '
                                  f'once')

    def step(self) -> bool:
        """Do the next thing; return whether there was one."""
        with self._running:
            try:
                work = self.queue.popleft()
            except IndexError:
                return False
            try:
                if work.name == 'kernel':
                    self.gpu.injected('kernel')
                work.run()
            except CudaCallError as error:
                self.gpu.break_context(self.context, error.code)
            return True

    def finish(self, until: Callable[[], bool] = lambda: False) -> None:
        """Do everything that is enqueued, or what comes before a condition holds."""
        while not until():
            self.gpu.wait_while_hanging()
            if not self.step():
                return

    def refuse_if_capturing(self, function: str) -> None:
        """Fail a call that may not be made while this stream is captured."""
        if self.capture is not None:
            self.capture.is_invalidated = True
            raise CudaCallError(function, CAPTURE_UNSUPPORTED)

    def begin_capture(self, mode: int) -> None:
        """Start to record."""
        if mode not in (CAPTURE_GLOBAL, CAPTURE_THREAD_LOCAL, CAPTURE_RELAXED):
            raise CudaCallError('cuStreamBeginCapture', INVALID_VALUE)
        if self.handle == 0:
            raise CudaCallError('cuStreamBeginCapture', CAPTURE_UNSUPPORTED)
        if self.capture is not None:
            self.capture.is_invalidated = True
            raise CudaCallError('cuStreamBeginCapture', CAPTURE_UNSUPPORTED)
        self.capture = Capture(mode, threading.get_ident())

    def end_capture(self) -> SimulatedGraph:
        """Stop to record and return the graph."""
        capture = self.capture
        if capture is None:
            raise CudaCallError('cuStreamEndCapture', CAPTURE_UNMATCHED)
        if capture.mode != CAPTURE_RELAXED and capture.thread != threading.get_ident():
            raise CudaCallError('cuStreamEndCapture', CAPTURE_WRONG_THREAD)
        self.capture = None
        if capture.is_invalidated:
            raise CudaCallError('cuStreamEndCapture', CAPTURE_INVALIDATED)
        return SimulatedGraph(capture.work)

    def touches(self, address: int, size: int) -> bool:
        """Whether work that is still to be done uses a device range."""
        return any(start < address + size and address < start + length
                   for work in tuple(self.queue)
                   for start, length in (*work.ranges, *work.scratch))


def refuse_unsafe_call(streams: Any, function: str) -> None:
    """
    Fail a call that may not be made while a thread captures (memory, global waits).

    In thread-local mode it concerns only the thread that captures; in global mode all threads.
    """
    for stream in tuple(streams):
        capture = stream.capture
        if capture is not None and capture.mode != CAPTURE_RELAXED and (
                capture.mode == CAPTURE_GLOBAL or capture.thread == threading.get_ident()):
            capture.is_invalidated = True
            raise CudaCallError(function, CAPTURE_UNSUPPORTED)


def refuse_legacy_stream(streams: Any, function: str) -> None:
    """Fail work on the default stream while a stream that waits for it is captured."""
    for stream in tuple(streams):
        if stream.capture is not None and not stream.flags & NON_BLOCKING:
            stream.capture.is_invalidated = True
            raise CudaCallError(function, CAPTURE_IMPLICIT)
