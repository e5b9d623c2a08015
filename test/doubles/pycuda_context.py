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
Errors, contexts and the per-thread stack of ``pycuda.driver`` over a simulated GPU.

Written from the C++ source of PyCUDA 2026.1 (``src/cpp/cuda.hpp``), rule by rule: a context stack
per thread that aborts the process when a thread ends with something on it, and contexts that only
the thread that made them can give up.
"""

from __future__ import annotations

import sys
import threading
from typing import Any
import weakref

import cuda_codes as codes
from cuda_codes import CudaCallError
from simulated_gpu import SimulatedGpu
from simulated_gpu import thread_token


class Error(Exception):
    """Base of what the driver double raises."""


class MemoryError(Error):  # noqa: A001
    """Out of memory."""


class LogicError(Error):
    """A call that could not work."""


class LaunchError(Error):
    """A kernel that died."""


class RuntimeError(Error):  # noqa: A001
    """Not ready, no device, ECC."""


for _class in (Error, MemoryError, LogicError, LaunchError, RuntimeError):
    _class.__module__ = 'pycuda._driver'

_LAUNCH = (codes.LAUNCH_FAILED, 701, codes.LAUNCH_TIMEOUT, 703)
_RUNTIME = (codes.NO_DEVICE, 209, 301, codes.NOT_READY, codes.ECC_UNCORRECTABLE)


def translated(error: CudaCallError) -> Error:
    """Return the exception that PyCUDA makes of a driver error."""
    if error.code in _LAUNCH:
        return LaunchError(str(error))
    if error.code == codes.OUT_OF_MEMORY:
        return MemoryError(str(error))
    if error.code in _RUNTIME:
        return RuntimeError(str(error))
    return (Error if error.code == codes.UNKNOWN else LogicError)(str(error))


class translate:  # noqa: N801
    """A with block whose driver errors become PyCUDA's."""

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, _kind: Any, error: BaseException | None, _trace: Any) -> None:
        """Translate."""
        if isinstance(error, CudaCallError):
            raise translated(error) from None


class ThreadStack(list):  # type: ignore[type-arg]
    """PyCUDA's contexts of one thread; dies with the thread."""

    def __init__(self, gpu: SimulatedGpu) -> None:
        """Begin empty."""
        super().__init__()
        self._gpu = weakref.ref(gpu)
        self._thread = threading.current_thread().name

    def __del__(self) -> None:
        """Abort the process, which the double only notes, when a context is left."""
        gpu = self._gpu()
        if self and gpu is not None:
            gpu.aborts.append(f'The context stack was not empty upon module cleanup (thread '
                              f'{self._thread!r}, {len(self)} contexts)')


class OfGpu:
    """Something that knows its GPU; the factory makes a subclass for each."""

    _gpu: SimulatedGpu
    _stacks: threading.local


class Context(OfGpu):
    """A context, and the static functions of the stack."""

    def __init__(self, simulated: Any, *, _token: object = None) -> None:
        """Only the factory makes one."""
        if _token is not Context:
            raise TypeError('This class cannot be instantiated from Python')
        self._simulated, self._thread, self._is_valid = simulated, thread_token(), True

    def __eq__(self, other: object) -> bool:
        """Compare by handle."""
        return isinstance(other, Context) and self.handle == other.handle

    def __hash__(self) -> int:
        """Hash like the real one: by handle and object."""
        return hash((self.handle, id(self)))

    @property
    def handle(self) -> int:
        """The CUcontext."""
        return int(self._simulated.handle)

    @classmethod
    def _stack(cls) -> ThreadStack:
        if not hasattr(cls._stacks, 'stack'):
            cls._stacks.stack = ThreadStack(cls._gpu)
        stack: ThreadStack = cls._stacks.stack
        return stack

    @classmethod
    def _current(cls, but: Any = None) -> Context | None:
        stack = cls._stack()
        while stack:
            top: Context = stack[-1]
            if top is not but and top._is_valid:
                return top
            stack.pop()
        return None

    @classmethod
    def _prepare_switch(cls) -> None:
        if cls._stack():
            cls._pop_driver()

    @classmethod
    def _pop_driver(cls) -> None:
        cls._gpu.enter('cuCtxPopCurrent')
        if not cls._gpu.stack:
            raise CudaCallError('cuCtxPopCurrent', codes.INVALID_CONTEXT)
        cls._gpu.stack.pop()

    def _push_driver(self) -> None:
        self._gpu.enter('cuCtxPushCurrent')
        if not self._simulated.is_alive:
            raise CudaCallError('cuCtxPushCurrent', codes.CONTEXT_IS_DESTROYED)
        self._gpu.stack.append(self._simulated)

    def push(self) -> None:
        """Make this context current in this thread."""
        with translate():
            self._prepare_switch()
            self._push_driver()
            self._stack().append(self)

    @classmethod
    def _pop(cls) -> None:
        cls._prepare_switch()
        if not cls._stack():
            raise CudaCallError('context::pop', codes.INVALID_CONTEXT,
                                'cannot pop non-current context')
        cls._current()
        if not cls._stack():
            raise CudaCallError('m_stack::pop', codes.INVALID_CONTEXT,
                                'cannot pop context from empty stack')
        cls._stack().pop()
        below = cls._current()
        if below is not None:
            below._push_driver()

    def detach(self) -> None:
        """Give the context up."""
        with translate():
            if not self._is_valid:
                raise CudaCallError('context::detach', codes.INVALID_CONTEXT,
                                    'cannot detach from invalid context')
            was_active = self._current() is self
            if was_active:
                self._detach_driver()
            elif self._thread == thread_token():
                cleanup(self._gpu, self._push_driver)
                self._detach_driver()
            else:
                self._gpu.violated('a context was detached by another thread than its own: '
                                   'PyCUDA says nothing and leaks it')
            self._is_valid = False
            if was_active:
                below = self._current(self)
                if below is not None:
                    below._push_driver()

    def _detach_driver(self) -> None:
        if self._simulated.is_primary:
            cleanup(self._gpu, self._gpu.release_primary)
        else:
            self._gpu.destroy_context(self._simulated)

    def __del__(self) -> None:
        """Detach, as the C++ destructor does."""
        if self.__dict__.get('_is_valid'):
            destruct(self._gpu, self.detach)


def cleanup(gpu: SimulatedGpu, call: Any, *arguments: Any) -> None:
    """Call the driver in a destructor: an error is printed and forgotten."""
    try:
        call(*arguments)
    except CudaCallError as error:
        print(f'PyCUDA WARNING: a clean-up operation failed (dead context maybe?)\n{error}',
              file=sys.stderr)


def destruct(gpu: SimulatedGpu, call: Any, *arguments: Any) -> None:
    """Do what a C++ destructor does: an exception that leaves it ends the process."""
    try:
        call(*arguments)
    except (Error, CudaCallError) as error:
        gpu.aborts.append(f'std::terminate: {error}')
