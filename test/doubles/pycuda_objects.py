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
What belongs to a context in ``pycuda.driver``: streams, events, device and page-locked memory.

Written from the C++ source of PyCUDA 2026.1: such an object can only be freed by the thread that
made its context, or where that is current; elsewhere the destructor warns and leaks.
"""

from __future__ import annotations

from typing import Any
import warnings

import cuda_codes as codes
from cuda_codes import CudaCallError
import numpy as np
from pycuda_context import cleanup
from pycuda_context import Context
from pycuda_context import destruct
from pycuda_context import OfGpu
from pycuda_context import translate
from simulated_gpu import thread_token
from simulated_memory import Block
from simulated_stream import SimulatedEvent
from simulated_stream import SimulatedStream
from simulated_stream import Work

DEVICEMAP = 2
PAGE = 4096


class OfContext(OfGpu):
    """Something that belongs to the context that was current when it was made."""

    _type = ''
    _context_class: type[Context]
    _ward: Context | None = None

    def _acquire(self) -> None:
        self._ward = self._context_class._current()
        if self._ward is None:
            raise CudaCallError('explicit_context_dependent', codes.INVALID_CONTEXT,
                                'no currently active context?')

    def _clean_up(self, call: Any, *arguments: Any) -> None:
        ward = self._ward
        if ward is None or not ward._is_valid:
            return
        must_switch = self._context_class._current() is not ward
        if must_switch and thread_token() != ward._thread:
            text = f'{self._type} in out-of-thread context could not be cleaned up'
            self._gpu.warnings.append(text)
            warnings.warn(text, UserWarning, stacklevel=3)
            return
        if must_switch:
            ward.push()
        try:
            cleanup(self._gpu, call, *arguments)
        finally:
            if must_switch:
                ward._pop()


class Stream(OfContext):
    """A stream."""

    _type = 'stream'
    _simulated: SimulatedStream | None = None

    def __init__(self, flags: int = 0) -> None:
        """Make one in the current context."""
        with translate():
            self._acquire()
            context = self._gpu.enter_context('cuStreamCreate')
            self._simulated = SimulatedStream(self._gpu, context, flags)
            context.streams[self._simulated.handle] = self._simulated

    @property
    def handle(self) -> int:
        """The CUstream."""
        return self._simulated.handle  # type: ignore[union-attr]

    def synchronize(self) -> None:
        """Wait until everything is done."""
        with translate():
            self._gpu.finish_stream(self._live('cuStreamSynchronize'), 'cuStreamSynchronize')

    def is_done(self) -> bool:
        """Return whether everything is done; the GPU does one thing more each time."""
        with translate():
            context = self._gpu.enter_context('cuStreamQuery')
            stream = self._live('cuStreamQuery')
            stream.refuse_if_capturing('cuStreamQuery')
            if not stream.queue:
                return True
            if not self._gpu.is_hanging:
                stream.step()
            if context.error:
                raise CudaCallError('cuStreamQuery', context.error)
            return False

    def wait_for_event(self, evt: Event) -> None:
        """Let this stream wait for an event."""
        with translate():
            self._gpu.enter_context('cuStreamWaitEvent')
            self._live('cuStreamWaitEvent').enqueue(Work('cuStreamWaitEvent', evt._finish))

    def _live(self, function: str) -> SimulatedStream:
        simulated = self._simulated
        assert simulated is not None
        if not simulated.context.is_alive:
            raise CudaCallError(function, codes.CONTEXT_IS_DESTROYED)
        return simulated

    def _destroy(self) -> None:
        self._gpu.enter_context('cuStreamDestroy')
        stream = self._live('cuStreamDestroy')
        # Destroying does not wait, and what was enqueued is still done.
        if not self._gpu.is_hanging:
            stream.finish()
        stream.context.streams.pop(stream.handle, None)

    def __del__(self) -> None:
        """Destroy it, where that is possible."""
        if self._simulated is not None:
            destruct(self._gpu, self._clean_up, self._destroy)


class Event(OfContext):
    """An event."""

    _type = 'event'
    _simulated: SimulatedEvent | None = None

    def __init__(self, flags: int = 0) -> None:
        """Make one in the current context."""
        with translate():
            self._acquire()
            context = self._gpu.enter_context('cuEventCreate')
            self._simulated = SimulatedEvent(context, flags)
            context.events[self._simulated.handle] = self._simulated

    def record(self, stream: Stream | None = None) -> Event:
        """Mark the place in a stream."""
        with translate():
            context = self._gpu.enter_context('cuEventRecord')
            event = self._simulated
            assert event is not None
            event.stream = context.streams[0] if stream is None else stream_of(stream)
            event.is_pending, event.was_recorded = event.stream.capture is None, True
            event.stream.enqueue(Work('cuEventRecord', event.mark))
        return self

    def _finish(self) -> None:
        event = self._simulated
        if event is not None and event.stream is not None:
            event.stream.finish(lambda: not event.is_pending)

    def synchronize(self) -> Event:
        """Wait until the GPU came by."""
        with translate():
            context = self._gpu.enter_context('cuEventSynchronize')
            self._finish()
            if context.error:
                raise CudaCallError('cuEventSynchronize', context.error)
        return self

    def query(self) -> bool:
        """Return whether the GPU came by; it does one thing more each time."""
        with translate():
            self._gpu.enter_unsafe('cuEventQuery')
            event = self._simulated
            assert event is not None
            if event.is_pending and not self._gpu.is_hanging:
                event.stream.step()
                return False
            return not event.is_pending

    def time_since(self, start: Event) -> float:
        """Return the milliseconds between two events."""
        with translate():
            self._gpu.enter_context('cuEventElapsedTime')
            first, last = start._simulated, self._simulated
            assert first is not None and last is not None
            if not (first.was_recorded and last.was_recorded) or 1 & (first.flags >> 1) or (
                    1 & (last.flags >> 1)):
                raise CudaCallError('cuEventElapsedTime', codes.INVALID_HANDLE)
            if first.is_pending or last.is_pending:
                raise CudaCallError('cuEventElapsedTime', codes.NOT_READY)
            return (last.passed_at - first.passed_at) * 1000

    def time_till(self, end: Event) -> float:
        """Return the milliseconds until another event."""
        return end.time_since(self)

    def _destroy(self) -> None:
        self._gpu.enter_context('cuEventDestroy')
        event = self._simulated
        assert event is not None
        event.context.events.pop(event.handle, None)

    def __del__(self) -> None:
        """Destroy it, where that is possible."""
        if self._simulated is not None:
            destruct(self._gpu, self._clean_up, self._destroy)


def stream_of(stream: Any) -> SimulatedStream:
    """Take a stream argument; a number is none."""
    if not isinstance(stream, Stream):
        raise TypeError(f'No registered converter was able to extract a C++ reference to type '
                        f'pycuda::stream from this Python object of type '
                        f'{type(stream).__name__}')
    simulated = stream._simulated
    assert simulated is not None
    return simulated


class DeviceAllocation(OfContext):
    """Device memory."""

    _type = 'device_allocation'
    _block: Block | None = None
    _is_held = False

    def __init__(self, block: Block, *, _token: object = None) -> None:
        """Only mem_alloc makes one."""
        if _token is not Context:
            raise TypeError('This class cannot be instantiated from Python')
        self._acquire()
        self._block, self._is_held = block, True

    def __int__(self) -> int:
        """Return the address; also of memory that was freed."""
        return self._block.address  # type: ignore[union-attr]

    __index__ = __int__

    def free(self) -> None:
        """Free it; a second time raises."""
        with translate():
            if not self._is_held:
                raise CudaCallError('device_allocation::free', codes.INVALID_HANDLE)
            self._clean_up(self._gpu.release, int(self))
            self._ward, self._is_held = None, False

    def __del__(self) -> None:
        """Free it, where that is possible."""
        if self._is_held:
            destruct(self._gpu, self.free)


class HostPointer(OfContext):
    """Host memory that the driver knows."""


class PagelockedHostAllocation(HostPointer):
    """Page-locked host memory; the base of the array that ``pagelocked_empty`` returns."""

    _type = 'pagelocked_host_allocation'
    _is_held = False

    def __init__(self, nbytes: int, flags: int, *, _token: object = None) -> None:
        """Only pagelocked_empty makes one."""
        if _token is not Context:
            raise TypeError('This class cannot be instantiated from Python')
        context = self._gpu.enter_unsafe('cuMemHostAlloc')
        if nbytes <= 0 or flags & ~7:
            raise CudaCallError('cuMemHostAlloc', codes.INVALID_VALUE)
        raw = np.empty(nbytes + PAGE, np.uint8)
        start = -raw.ctypes.data % PAGE
        self._data, self.nbytes, self._flags = raw[start:start + nbytes], nbytes, flags
        self._mapped: Block | None = None
        self._pinned = self._gpu.memory.pin(self._data, context)
        if flags & DEVICEMAP:
            self._mapped = self._gpu.memory.map_host(self._data, context)
        self._acquire()
        self._is_held = True

    def get_device_pointer(self) -> int:
        """Return the address of mapped memory on the device."""
        with translate():
            self._gpu.enter_context('cuMemHostGetDevicePointer')
            if self._mapped is None or not self._is_held:
                raise CudaCallError('cuMemHostGetDevicePointer', codes.INVALID_VALUE)
            return self._mapped.address

    def get_flags(self) -> int:
        """Return the flags it was made with."""
        with translate():
            self._gpu.enter_context('cuMemHostGetFlags')
        return self._flags

    def free(self) -> None:
        """Free it; a second time raises. Arrays over it must not be used any more."""
        with translate():
            if not self._is_held:
                raise CudaCallError('pagelocked_host_allocation::free', codes.INVALID_HANDLE)
            self._clean_up(self._release)
            self._ward, self._is_held = None, False

    def _release(self) -> None:
        context = self._gpu.enter_unsafe('cuMemFreeHost')
        if self._mapped is not None:
            if any(stream.touches(self._mapped.address, self.nbytes)
                   for stream in context.streams.values()):
                self._gpu.violated('mapped host memory was freed while work that uses it was '
                                   'still enqueued')
            self._gpu.memory.release(self._mapped.address)
        self._gpu.memory.unpin(self._pinned)

    def __del__(self) -> None:
        """Free it, where that is possible."""
        if self._is_held:
            destruct(self._gpu, self.free)
