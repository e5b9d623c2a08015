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

"""What applications implement for TensorRT (logger, recorder, allocators), and shapes."""

from __future__ import annotations

import operator
import sys
from typing import Any

from trt_binding import Bound
from trt_binding import call_back
from trt_binding import override
from trt_binding import setting


class Dims(Bound):
    """A shape: compares with lists and tuples, has no hash."""

    _is_constructible = True
    _is_missing = False
    MAX_DIMS = 8
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, shape: Any = ()) -> None:
        """Take a shape."""
        self._is_initialized = True
        self._sizes = [operator.index(size) for size in shape]

    def __len__(self) -> int:
        """Return the rank; it is -1 for a tensor that is not there, and len raises."""
        if self._is_missing:
            raise ValueError('__len__() should return >= 0')
        return len(self._sizes)

    def __getitem__(self, index: Any) -> Any:
        """Return a size, or a tuple of them."""
        found = self._sizes[index]
        return tuple(found) if isinstance(index, slice) else found

    def __setitem__(self, index: int, size: int) -> None:
        """Set a size."""
        self._sizes[index] = operator.index(size)

    def __eq__(self, other: object) -> bool:
        """Compare sizes."""
        if isinstance(other, (list, tuple, Dims)):
            return list(self._sizes) == [*other]
        return NotImplemented

    def __repr__(self) -> str:
        """Show as a tuple."""
        return f'({", ".join(map(str, self._sizes))})'

    __str__ = __repr__


class IVersionedInterface(Bound):
    """Base of interfaces with a version."""


class ILogger(Bound):
    """Logger that an application implements."""

    _is_constructible = True

    def log(self, severity: Any, msg: str) -> None:
        """Take a message."""
        raise RuntimeError('Tried to call pure virtual function "ILogger::log"')

    def _write(self, severity: Any, text: str) -> None:
        print('[ERROR] Exception caught in log(): Tried to call pure virtual function '
              '"ILogger::log"', file=sys.stderr)


class Logger(ILogger):
    """Logger that writes to standard error."""

    _is_constructible = True
    min_severity = setting('min_severity')

    def __init__(self, min_severity: Any = None) -> None:
        """Take the least severity to print."""
        self._is_initialized = True
        self._min_severity = (self._trt.ILogger.Severity.WARNING if min_severity is None
                              else min_severity)

    def log(self, severity: Any, msg: str) -> None:
        """Print a message."""
        self._write(severity, msg)

    def _write(self, severity: Any, text: str) -> None:
        if int(severity) <= int(self._min_severity):
            print(f'[TRT] [{severity.name[0]}] {text}', file=sys.stderr)


class IErrorRecorder(Bound):
    """
    Error recorder that an application implements.

    The binding documents ``num_errors`` but calls ``get_num_errors``.
    """

    _is_constructible = True
    MAX_DESC_LENGTH = 127

    def clear(self) -> None:
        """Forget the errors."""

    def get_error_code(self, arg0: int) -> Any:
        """Return a code."""

    def get_error_desc(self, arg0: int) -> str:
        """Return a text."""
        return ''

    def has_overflowed(self) -> bool:
        """Whether errors were lost."""
        return False

    def num_errors(self) -> int:
        """Return how many there are."""
        return 0

    def report_error(self, arg0: Any, arg1: str) -> bool:
        """Take an error."""
        return False


class IGpuAllocator(IVersionedInterface):
    """
    Synchronous allocator of an application.

    The binding calls only ``allocate``, ``reallocate`` and ``deallocate`` of a subclass:
    ``allocate_async`` that is overridden here is never called.
    """

    _is_constructible = True

    def allocate(self, size: int, alignment: int, flags: int) -> Any:
        """Allocate."""

    def allocate_async(self, size: int, alignment: int, flags: int, stream: int) -> Any:
        """Allocate in the order of a stream."""

    def deallocate(self, memory: Any) -> bool:
        """Free."""
        return False

    def deallocate_async(self, memory: Any, stream: int) -> bool:
        """Free in the order of a stream."""
        return False

    def reallocate(self, address: Any, alignment: int, new_size: int) -> Any:
        """Resize."""

    def _obtain(self, size: int, stream: int) -> int:
        return as_address(self, 'allocate', 'allocate', (size, 256, 0))

    def _give_back(self, address: int, stream: int) -> bool:
        return bool(call_back(self, 'deallocate', address, default=False))


class IGpuAsyncAllocator(IGpuAllocator):
    """
    Allocator of an application in the order of a stream.

    The binding calls ``allocate_async(size, alignment, stream, flags)``: the last two stand the
    other way round than its documentation says, in every release from 10.3 to 11.1.
    """

    _is_constructible = True

    def allocate(self, size: int, alignment: int, flags: int) -> Any:
        """Allocate."""

    def allocate_async(self, size: int, alignment: int, flags: int, stream: int) -> Any:
        """Allocate in the order of a stream."""

    def deallocate(self, memory: Any) -> bool:
        """Free."""
        return False

    def deallocate_async(self, memory: Any, stream: int) -> bool:
        """Free in the order of a stream."""
        return False

    def _obtain(self, size: int, stream: int) -> int:
        return as_address(self, 'allocate_async', 'allocate', (size, 256, stream, 0))

    def _give_back(self, address: int, stream: int) -> bool:
        return bool(call_back(self, 'deallocate_async', address, stream, default=False,
                              label='deallocate'))


class IOutputAllocator(Bound):
    """Allocator of outputs whose size is known only when they are computed."""

    _is_constructible = True

    def _obtain(self, name: str, memory: int, size: int, alignment: int, stream: int) -> int:
        if override(self, 'reallocate_output_async', False) is not None:
            return as_address(self, 'reallocate_output_async', 'reallocateOutputAsync',
                              (name, memory, size, alignment, stream))
        return as_address(self, 'reallocate_output', 'reallocateOutput',
                          (name, memory, size, alignment))

    def _notify(self, name: str, shape: Any) -> None:
        if override(self, 'notify_shape', False) is None:
            print('[ERROR] Exception caught in notifyShape(): Tried to call pure virtual '
                  'function "IOutputAllocator::notify_shape"', file=sys.stderr)
            return
        call_back(self, 'notify_shape', name, self._trt.Dims(shape), label='notifyShape')


class IProgressMonitor(Bound):
    """Hears how far a build is."""

    _is_constructible = True

    def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
        """Begin a phase."""

    def step_complete(self, phase_name: str, step: int) -> bool:
        """Take a step; false stops the build."""
        return True

    def phase_finish(self, phase_name: str) -> None:
        """End a phase."""


class IStreamReader(Bound):
    """Reader of a plan, piece by piece; a subclass's ``read`` takes the size only."""

    _is_constructible = True

    def read(self, destination: Any, size: int) -> Any:
        """Return the next bytes; only for documentation."""


class IStreamReaderV2(Bound):
    """Reader of a plan, piece by piece, that can seek."""

    _is_constructible = True

    def read(self, destination: Any, num_bytes: int, stream: int) -> Any:
        """Return the next bytes; only for documentation."""

    def seek(self, offset: int, where: Any) -> bool:
        """Go to a place."""
        return False


def as_address(owner: Any, name: str, label: str, arguments: tuple[Any, ...]) -> int:
    """
    Ask an application for memory, as the C++ side does.

    :returns: the address; 0 when nothing was returned, it is no number, or it raised.
    """
    answer = call_back(owner, name, *arguments, default=0, label=label)
    try:
        address = operator.index(answer)
    except TypeError:
        address = -1
    if address < 0:
        print(f'[ERROR] Return value of {label}() could not be interpreted as an int',
              file=sys.stderr)
        return 0
    return address
