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
One GPU and its driver, on the CPU: what the PyCUDA, libcuda and TensorRT doubles stand on.

It keeps what a careful program must not rely on or must not do: work is late, errors are sticky,
contexts belong to threads, memory ends. What the real driver leaves undefined is recorded in
:attr:`SimulatedGpu.violations`, and a test that uses the fixture fails with it.
"""

from __future__ import annotations

from dataclasses import dataclass
import itertools
import threading
from typing import Any
import weakref

from cuda_codes import CONTEXT_IS_DESTROYED
from cuda_codes import CudaCallError
from cuda_codes import INVALID_CONTEXT
from cuda_codes import INVALID_DEVICE
from cuda_codes import INVALID_HANDLE
from cuda_codes import NOT_INITIALIZED
from simulated_faults import FaultInjection
from simulated_memory import Block
from simulated_memory import MIB
from simulated_memory import SimulatedMemory
from simulated_stream import new_handle
from simulated_stream import refuse_unsafe_call
from simulated_stream import SimulatedStream

_TOKENS = itertools.count(1)
_LOCAL = threading.local()


def thread_token() -> int:
    """Return a number of this thread that no later thread gets."""
    if not hasattr(_LOCAL, 'token'):
        _LOCAL.token = next(_TOKENS)
    return _LOCAL.token


@dataclass
class DeviceTraits:
    """What the GPU is."""

    name: str = 'Simulated Orin'
    compute_capability: tuple[int, int] = (8, 7)
    multiprocessors: int = 16
    is_integrated: bool = False
    driver_version: int = 12060


class SimulatedContext:
    """One CUDA context."""

    def __init__(self, is_primary: bool) -> None:
        """Begin healthy and empty."""
        self.handle, self.is_primary = new_handle(), is_primary
        self.is_alive = True
        self.error = 0
        self.streams: dict[int, SimulatedStream] = {}
        self.events: dict[int, Any] = {}
        self.graphs: dict[int, Any] = {}


class SimulatedGpu(FaultInjection):
    """
    One GPU.

    :param total_bytes: its memory.
    :param context_bytes: what a context takes of it.
    :param granularity: the driver takes memory in pieces of this size.
    :param count: number of devices; 0 for a machine without.
    :param traits: fields of :class:`DeviceTraits`.
    """

    def __init__(self, total_bytes: int = 8 << 30, context_bytes: int = 160 * MIB,
                 granularity: int = 2 * MIB, count: int = 1, **traits: Any) -> None:
        """Begin with a driver that was not initialised."""
        self.traits = DeviceTraits(**traits)
        self.memory = SimulatedMemory(total_bytes, granularity, self.traits.is_integrated)
        self.context_bytes, self.count = context_bytes, count
        self.is_initialized = False
        self.primary: SimulatedContext | None = None
        self.primary_retains = 0
        self.contexts: dict[int, SimulatedContext] = {}
        self.violations: list[str] = []
        self.aborts: list[str] = []
        self.warnings: list[str] = []
        self.implicit_retains = 0
        self.live: dict[str, weakref.WeakSet[Any]] = {}
        self._local = threading.local()
        self._lock = threading.RLock()
        self.set_up_faults()

    # Calls --------------------------------------------------------------------------------

    def enter(self, function: str) -> None:
        """Begin a driver call that needs no context."""
        if not self.is_initialized and function != 'cuInit':
            raise CudaCallError(function, NOT_INITIALIZED)
        self.injected(function)

    def enter_context(self, function: str) -> SimulatedContext:
        """Begin a driver call that needs a healthy current context."""
        self.enter(function)
        context = self.current()
        if context is None:
            raise CudaCallError(function, INVALID_CONTEXT)
        if not context.is_alive:
            raise CudaCallError(function, CONTEXT_IS_DESTROYED)
        if context.error or self.lost_forever:
            raise CudaCallError(function, context.error or self.lost_forever)
        return context

    def enter_unsafe(self, function: str) -> SimulatedContext:
        """Begin a driver call that may not be made by a thread that captures."""
        context = self.enter_context(function)
        refuse_unsafe_call(context.streams.values(), function)
        return context

    def check_ordinal(self, ordinal: int, function: str) -> None:
        """Refuse a device that is not there."""
        if not 0 <= ordinal < self.count:
            raise CudaCallError(function, INVALID_DEVICE)

    # Contexts -----------------------------------------------------------------------------

    @property
    def stack(self) -> list[SimulatedContext]:
        """The driver's context stack of this thread; PyCUDA has its own on top."""
        if not hasattr(self._local, 'stack'):
            self._local.stack = []
        return self._local.stack

    def current(self) -> SimulatedContext | None:
        """Return the context that is current in this thread."""
        return self.stack[-1] if self.stack else None

    def new_context(self, is_primary: bool) -> SimulatedContext:
        """Make a context; it takes memory."""
        with self._lock:
            context = SimulatedContext(is_primary)
            context.streams[0] = SimulatedStream(self, context, 0, handle=0)
            context.error = self.lost_forever
            self.memory.reserved += self.context_bytes
            self.contexts[context.handle] = context
            return context

    def destroy_context(self, context: SimulatedContext) -> None:
        """Free a context and all memory that was allocated in it."""
        with self._lock:
            if not context.is_alive:
                return
            context.is_alive = False
            self.memory.reserved -= self.context_bytes
            self.contexts.pop(context.handle, None)
            for block in [one for one in self.memory.blocks.values() if one.owner is context]:
                self.memory.release(block.address)
            for pinned in [one for one in self.memory.pinned.values() if one.owner is context]:
                self.memory.unpin(pinned)
            for stream in context.streams.values():
                stream.queue.clear()
                stream.capture = None

    def retain_primary(self) -> SimulatedContext:
        """Count one more user of the primary context, and make it if there is none."""
        with self._lock:
            self.primary_retains += 1
            if self.primary is None:
                self.primary = self.new_context(True)
            return self.primary

    def release_primary(self) -> None:
        """Count one user less; the last one destroys it."""
        with self._lock:
            if self.primary_retains == 0:
                raise CudaCallError('cuDevicePrimaryCtxRelease', INVALID_CONTEXT)
            self.primary_retains -= 1
            if self.primary_retains == 0:
                self.reset_primary()

    def reset_primary(self) -> None:
        """Destroy the primary context, whoever uses it; it is made anew when it is retained."""
        with self._lock:
            if self.primary is not None:
                self.destroy_context(self.primary)
                self.primary = None

    def runtime_context(self) -> SimulatedContext:
        """
        Return the context that the CUDA runtime, and so TensorRT, works in.

        That is the current one. Where there is none it takes the primary context for the rest
        of the process, which nobody can undo.
        """
        if self.current() is None:
            self.is_initialized = True
            self.implicit_retains += 1
            self.stack.append(self.retain_primary())
        return self.enter_context('cudaRuntime')

    def break_context(self, context: SimulatedContext, code: int) -> None:
        """Let everything in a context fail from now on."""
        with self._lock:
            context.error = code
            for stream in context.streams.values():
                stream.queue.clear()
                if stream.capture is not None:
                    stream.capture.is_invalidated = True

    # Memory and streams -------------------------------------------------------------------

    def allocate(self, size: int, purpose: str, function: str = 'cuMemAlloc') -> Block:
        """Allocate device memory in the current context."""
        context = self.enter_unsafe(function)
        with self._lock:
            return self.memory.allocate(size, context, purpose, function)

    def release(self, address: int, function: str = 'cuMemFree') -> None:
        """Free device memory; freeing what work on its way uses is recorded."""
        context = self.enter_unsafe(function)
        block = self.memory.blocks.get(address)
        if block is not None and any(
                stream.touches(address, block.size) for stream in context.streams.values()):
            self.violated(f'device memory {address:#x} ({block.purpose}) was freed while work '
                          f'that uses it was still enqueued')
        with self._lock:
            self.memory.release(address, function)

    def stream_of(self, handle: int, function: str, context: SimulatedContext | None = None,
                  ) -> SimulatedStream:
        """Return a stream of the current context by its handle."""
        context = context or self.enter_context(function)
        stream = context.streams.get(int(handle))
        if stream is None:
            raise CudaCallError(function, INVALID_HANDLE)
        return stream

    def finish_stream(self, stream: SimulatedStream, function: str) -> None:
        """Wait for a stream; raises the error that its work ended in."""
        context = self.enter_context(function)
        stream.refuse_if_capturing(function)
        if stream.handle == 0:
            self.finish_blocking_streams(context)
        stream.finish()
        self._raise_error(context, function)

    def finish_blocking_streams(self, context: SimulatedContext) -> None:
        """Do what the legacy default stream waits for."""
        for stream in tuple(context.streams.values()):
            if not stream.flags:
                stream.finish()

    def finish_all(self, function: str) -> None:
        """Wait for everything in the current context."""
        context = self.enter_unsafe(function)
        for stream in tuple(context.streams.values()):
            stream.finish()
        self._raise_error(context, function)

    @staticmethod
    def _raise_error(context: SimulatedContext, function: str) -> None:
        if context.error:
            raise CudaCallError(function, context.error)

    # Accounts -----------------------------------------------------------------------------

    def track(self, kind: str, thing: Any) -> None:
        """Count a TensorRT object for as long as it lives."""
        self.live.setdefault(kind, weakref.WeakSet()).add(thing)

    def count_live(self) -> dict[str, int]:
        """Return how many objects of each kind are alive."""
        return {kind: len(things) for kind, things in self.live.items() if len(things)}

    def assert_clean(self) -> None:
        """Fail if something was done that the real thing leaves undefined or aborts on."""
        assert not self.aborts, f'the process would have been aborted: {self.aborts}'
        assert not self.violations, self.violations
        assert not self.warnings, self.warnings

    def assert_released(self) -> None:
        """Fail if anything is left on the GPU."""
        held = [(block.purpose, block.size) for block in self.memory.blocks.values()]
        assert not held, f'device memory is still held: {held}'
        assert not self.memory.pinned, f'{len(self.memory.pinned)} page-locked buffers are held'
        assert not self.count_live(), f'TensorRT objects are alive: {self.count_live()}'
        assert self.primary_retains == self.implicit_retains == 0, (
            f'the primary context is retained {self.primary_retains} times, '
            f'{self.implicit_retains} of them by TensorRT because no context was current')
        assert not self.contexts, 'a context is still there'
