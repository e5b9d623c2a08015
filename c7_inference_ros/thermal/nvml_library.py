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

"""The NVIDIA management library (NVML): the only importer of pynvml, and what its errors mean."""

from __future__ import annotations

from collections import deque
from typing import Any

#: Codes of nvmlReturn_t; an old pynvml lacks some of the names.
UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION = 1, 2, 3, 4
DRIVER_NOT_LOADED, IRQ_ISSUE, LIBRARY_NOT_FOUND, FUNCTION_NOT_FOUND = 9, 11, 12, 13
GPU_IS_LOST, RESET_REQUIRED, OPERATING_SYSTEM, DRIVER_MISMATCH = 15, 16, 17, 18
VERSION_MISMATCH, DEPRECATED, UNKNOWN = 25, 26, 999

#: This GPU or this driver does not have the value: no fault.
_ABSENT = {NOT_SUPPORTED, FUNCTION_NOT_FOUND, VERSION_MISMATCH, DEPRECATED}
#: The whole library has to be initialised anew.
_LIBRARY_LOST = {
    UNINITIALIZED: 'it is initialised again',
    DRIVER_NOT_LOADED: 'load the NVIDIA driver',
    LIBRARY_NOT_FOUND: 'install the NVIDIA driver',
    DRIVER_MISMATCH: 'reboot after an update of the NVIDIA driver'}
#: This GPU answers nothing any more.
_GPU_LOST = {
    GPU_IS_LOST: 'it fell off the bus; a reset or a reboot brings it back',
    RESET_REQUIRED: 'reset it (nvidia-smi --gpu-reset) or reboot',
    IRQ_ISSUE: 'look for its interrupts in the kernel log'}


class NvmlError(Exception):
    """
    One call that NVML did not answer.

    :param function: name of the function as NVML has it.
    :param code: nvmlReturn_t.
    :param text: what the code means.
    """

    def __init__(self, function: str, code: int, text: str) -> None:
        """Keep what a caller decides by."""
        super().__init__(f'{function} answered {text} (NVML error {code})')
        self.function = function
        self.code = code

    @property
    def is_absent(self) -> bool:
        """Return whether the value simply does not exist here."""
        return self.code in _ABSENT

    @property
    def is_library_lost(self) -> bool:
        """Return whether no GPU can be asked before the library is initialised anew."""
        return self.code in _LIBRARY_LOST

    @property
    def is_gpu_lost(self) -> bool:
        """Return whether this GPU answers nothing before the library is initialised anew."""
        return self.code in _GPU_LOST or self.is_library_lost

    @property
    def sentence(self) -> str:
        """Return what happened and, where anybody knows, what to do."""
        advice = _GPU_LOST.get(self.code) or _LIBRARY_LOST.get(self.code)
        return f'{self}; {advice}' if advice else str(self)


#: Initialised, and not needed any more: see :meth:`NvmlLibrary.abandon`.
_abandoned: deque[NvmlLibrary] = deque()


class NvmlLibrary:
    """NVML from :meth:`initialise` to :meth:`shutdown`; every failure is a NvmlError."""

    def __init__(self) -> None:
        """Import nothing yet."""
        self._binding: Any = None
        self._is_initialised = False
        self._missing: dict[str, str] = {}

    def initialise(self) -> None:
        """
        Initialise the library once; nothing happens when it is.

        :raises NvmlError: no pynvml, no driver, or the driver refuses.
        """
        if self._is_initialised:
            return
        if self._binding is None:
            try:
                import pynvml
            except Exception as error:  # a module for Python 2 raises SyntaxError
                raise NvmlError('import pynvml', LIBRARY_NOT_FOUND,
                                f'{type(error).__name__}: {error}') from error
            self._binding = pynvml
        while _abandoned:
            _abandoned.popleft().shutdown()
        self.call('nvmlInit')
        self._is_initialised = True

    def shutdown(self) -> None:
        """Undo :meth:`initialise`; what NVML says to that does not matter."""
        if self._is_initialised:
            self._is_initialised = False
            try:
                self.call('nvmlShutdown')
            except NvmlError:
                pass

    def abandon(self) -> None:
        """
        Let the next :meth:`initialise` of the process undo the one of this.

        For the garbage collector, which may run in the middle of a call of pynvml: pynvml's lock
        is then held by this very thread, and a call from here would wait for it for ever.
        """
        _abandoned.append(self)

    def call(self, function: str, *arguments: Any) -> Any:
        """
        Return what a function of pynvml returns.

        :raises NvmlError: NVML, or pynvml itself, did not answer.
        """
        if function in self._missing:
            raise NvmlError(function, FUNCTION_NOT_FOUND, self._missing[function])
        binding = getattr(self._binding, function, None)
        if binding is None:
            raise self._error(function, FUNCTION_NOT_FOUND, 'nothing: pynvml has no such function')
        try:
            return binding(*arguments)
        except self._binding.NVMLError as error:
            raise self._error(function, getattr(error, 'value', UNKNOWN), str(error)) from error
        except Exception as error:  # text that is no UTF-8, an argument that ctypes refuses
            raise NvmlError(function, UNKNOWN, f'{type(error).__name__}: {error}') from error

    def call_first(self, functions: tuple[str, ...], *arguments: Any) -> Any:
        """Call the first function that this driver has; newer names come first."""
        for function in functions[:-1]:
            try:
                return self.call(function, *arguments)
            except NvmlError as error:
                if not error.is_absent:
                    raise
        return self.call(functions[-1], *arguments)

    def _error(self, function: str, code: int, text: str) -> NvmlError:
        """Return the error; a function that is missing stays so in this process."""
        if code == FUNCTION_NOT_FOUND:
            self._missing[function] = text
        return NvmlError(function, code, text)


class Questions:
    """
    What one GPU is asked during one poll; collects a sentence for every answer that failed.

    :param library: initialised.
    :param handle: the GPU as NVML names it.
    """

    def __init__(self, library: NvmlLibrary, handle: Any) -> None:
        """Start without faults."""
        self.faults: list[str] = []
        self._library = library
        self._handle = handle

    def ask(self, *functions: str, about: tuple[int, ...] = (), is_vital: bool = False) -> Any:
        """
        Return the answer of the first of these functions that the driver has.

        :param about: what it takes besides the GPU.
        :param is_vital: an invalid argument can only be the GPU itself.
        :returns: None when the value does not exist here or, with a fault, cannot be read.
        :raises NvmlError: the GPU is lost.
        """
        try:
            return self._library.call_first(functions, self._handle, *about)
        except NvmlError as error:
            if error.is_gpu_lost or (is_vital and error.code == INVALID_ARGUMENT):
                raise
            if not error.is_absent:
                self.faults.append(str(error))
            return None

    def number(self, *functions: str, about: tuple[int, ...] = (), low: int = 0,
               high: int) -> int | None:
        """Return a whole number from ``low`` to ``high``; the rest is as in :meth:`ask`."""
        value = self.ask(*functions, about=about)
        return None if value is None else self.believed(functions[0], value, low, high)

    def believed(self, what: str, value: int, low: int, high: int) -> int | None:
        """Return the number, or None and a fault when it cannot be true."""
        if low <= value <= high:
            return int(value)
        self.faults.append(f'{what} says {value}, expected {low} to {high}; it is ignored')
        return None

    def fields(self, *ids: int) -> dict[int, tuple[int, int]]:
        """
        Return the field values that this GPU has.

        :param ids: NVML_FI_... numbers.
        :returns: number of the field to its value and the time it is of, microseconds.
        """
        entries = self.ask('nvmlDeviceGetFieldValues', about=(list(ids),))  # type: ignore
        found = {}
        for entry in entries or ():
            if entry.nvmlReturn == 0:
                value = _field_value(entry)
                if value is not None:
                    found[int(entry.fieldId)] = (value, int(entry.timestamp))
            else:
                error = NvmlError(f'nvmlDeviceGetFieldValues({entry.fieldId})', entry.nvmlReturn,
                                  'an error')
                if error.is_gpu_lost:
                    raise error
                if not error.is_absent and error.code != INVALID_ARGUMENT:
                    self.faults.append(str(error))
        return found


def _field_value(entry: Any) -> int | None:
    """Return a whole number of a nvmlFieldValue_t; by its type, as the union says nothing."""
    kind, value = entry.valueType, entry.value
    if kind in (1, 5):  # unsigned and signed int
        number = int(value.uiVal)
        return number - (1 << 32) if kind == 5 and number >= 1 << 31 else number
    if kind in (2, 3):  # unsigned long, unsigned long long
        return int(value.ullVal)
    if kind == 4:  # signed long long
        return int(value.sllVal)
    return None
