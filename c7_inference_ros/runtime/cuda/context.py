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
The primary context of one GPU on PyCUDA's stack of one thread.

A thread with an empty stack can do nothing with PyCUDA, and one that ends with a full one aborts
the process; so leaving empties the stack whatever else fails.
"""

from __future__ import annotations

from typing import Any
from typing import Sequence
import warnings

from c7_inference_ros.errors import InferenceError
from c7_inference_ros.runtime.cuda.driver import CudaDriver
from c7_inference_ros.runtime.cuda.driver import CudaDriverError
from c7_inference_ros.runtime.cuda.errors import one_line
from c7_inference_ros.runtime.cuda.memory import Lingering
from c7_inference_ros.runtime.cuda.owner_thread import OwnerThread

#: Contexts that were left while somebody still held arrays of their page-locked memory.
_kept: list[PrimaryContext] = []
#: Contexts that were not left, oldest first; of every thread.
_held: list[PrimaryContext] = []


class PrimaryContext:
    """
    The context that TensorRT and other libraries share; current from here to :meth:`leave`.

    A thread may hold the one of its GPU several times, and leave them in any order.

    :param driver: the module ``pycuda.driver``.
    :param library: the driver functions that PyCUDA lacks.
    :param index: number of the GPU.
    :raises InferenceError: the thread holds another GPU.
    """

    def __init__(self, driver: Any, library: CudaDriver, index: int) -> None:
        """Retain the context and push it."""
        for other in [one for one in tuple(_kept) if one._driver is driver]:
            other.leave('')
        self._driver: Any = driver
        self._library = library
        self._index = index
        self._owner = OwnerThread()
        self._lingering: list[Lingering] = []
        self._dead: list[Any] = []
        self._lost = ''
        self._is_left = False
        others = self._held_here()
        for other in others:
            if other._index != index:
                raise InferenceError(
                    f'GPU {index} cannot be opened by a thread that holds GPU {other._index}: '
                    f'what it calls would go to the wrong one; give each GPU its own thread')
        self._below: int
        if others:
            # Pushed once: PyCUDA pops what is on top, and could not leave in another order.
            self._below = others[0]._below
            self._context: Any = others[0]._context
            _held.append(self)
            return
        self._below = library.current_context()
        self._context = driver.Device(index).retain_primary_context()
        try:
            self._context.push()
        except BaseException:
            self.leave('')
            raise
        _held.append(self)

    @property
    def is_held(self) -> bool:
        """Whether it has not been left; any thread may ask."""
        return not self._is_left

    def leave(self, lost: str, lingering: Sequence[Lingering] = (),
              dead: Sequence[Any] = ()) -> str:
        """
        Pop and release the context, unless this thread holds it once more; idempotent.

        :param lost: why it is broken, or empty. A broken one is destroyed, so that the next one
            is new.
        :param lingering: memory that somebody may still read: the context is kept for it, if it
            works, until the next one is made by this thread.
        :param dead: what belongs to a broken context, and can only go after it.
        :returns: why it is broken, now that it was left; or empty.
        """
        if self._context is None or not self._owner.is_current:
            return lost
        self._lingering += lingering
        self._dead += dead
        lost = lost or self._lost
        if self._is_left:
            return self._give_up(lost)
        self._is_left = True
        if self in _held:
            _held.remove(self)
        for other in self._held_here()[:1]:
            other._lingering += self._lingering
            other._dead += self._dead
            other._lost = lost
            self._context = None
            return lost
        try:
            if self._driver.Context.get_current() == self._context:
                self._driver.Context.pop()
        except self._driver.Error as error:
            # Of earlier work, reported here; detaching empties the stack all the same.
            lost = lost or one_line(error)
        return self._give_up(lost)

    def _give_up(self, lost: str) -> str:
        """Detach, unless somebody still reads memory of a context that works."""
        if not lost:
            self._lingering = [one for one in self._lingering if not one.free_if_unused()]
            if self._lingering:
                if self not in _kept:
                    _kept.append(self)
                    warnings.warn('arrays of released models are still in use, which keeps the '
                                  'CUDA context; copy outputs that are needed for longer',
                                  RuntimeWarning, stacklevel=5)
                return lost
        if self in _kept:
            _kept.remove(self)
        context, self._context = self._context, None
        handle = int(getattr(context, 'handle', 0))
        context.detach()
        self._restore_stack(handle, lost)
        self._lingering.clear()
        if lost:
            try:
                self._library.reset_primary_context(self._index)
            except CudaDriverError as error:
                lost = f'{lost}; its context cannot be made anew ({error}): restart the process'
        self._dead.clear()
        return lost

    def _held_here(self) -> list[PrimaryContext]:
        """Return what this thread holds, oldest first."""
        return [one for one in tuple(_held)  # other threads may change it meanwhile
                if one._driver is self._driver and one._owner.is_current]

    def _restore_stack(self, handle: int, lost: str) -> None:
        """Take off the driver's own stack what PyCUDA pushed to detach and does not take off."""
        # A broken context may not have been pushed: the same one of somebody else stays then.
        keeps = (0, self._below) if lost else (0,)
        try:
            if handle not in keeps and self._library.current_context() == handle:
                self._library.pop_context()
        except CudaDriverError:
            pass  # a broken context; it goes anyway
