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
One GPU for one thread; the only place that imports PyCUDA.

The thread that opens the device holds its context until it closes it, and every call checks that
it comes from there: PyCUDA works on a stack of contexts of the calling thread.
"""

from __future__ import annotations

import atexit
from contextlib import contextmanager
from typing import Any
from typing import Callable
from typing import Iterator

from c7_inference_ros.errors import DeviceLostError
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.errors import InferenceRuntimeError
from c7_inference_ros.errors import OutOfMemoryError
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.runtime.cuda.context import PrimaryContext
from c7_inference_ros.runtime.cuda.driver import CudaDriver
from c7_inference_ros.runtime.cuda.driver import CudaDriverError
from c7_inference_ros.runtime.cuda.errors import is_sticky
from c7_inference_ros.runtime.cuda.errors import one_line
from c7_inference_ros.runtime.cuda.memory import DeviceMemory
from c7_inference_ros.runtime.cuda.memory import Lingering
from c7_inference_ros.runtime.cuda.memory import PageLocked
from c7_inference_ros.runtime.cuda.owner_thread import OwnerThread
from c7_inference_ros.runtime.memory_table import size_text
from c7_inference_ros.runtime.process_memory import available_bytes
import numpy as np
import numpy.typing as npt

#: What TensorRT asks of every address.
ALIGNMENT = 256
#: ``CU_STREAM_NON_BLOCKING``: no hidden waiting for the default stream, also while capturing.
_NON_BLOCKING = 1


class CudaDevice:
    """
    An open GPU; made by :func:`open_device`, used and closed by the same thread.

    :param driver: the module ``pycuda.driver``.
    :param library: the driver functions that PyCUDA lacks.
    :param index: number of the GPU.
    :param read_available: reads the free memory of the machine.
    """

    def __init__(self, driver: Any, library: CudaDriver, index: int,
                 read_available: Callable[[], int | None]) -> None:
        """Take the primary context and make it current; use :func:`open_device`."""
        self._driver = driver
        self.library = library
        self.index = index
        self._read_available = read_available
        self._owner = OwnerThread()
        self._live: dict[int, DeviceMemory | PageLocked] = {}
        #: Page-locked memory that was freed but is still read.
        self._lingering: list[Lingering] = []
        #: What was freed after the context broke; it goes with the context.
        self._dead: list[Any] = []
        self.is_capturing = False  # the stream records instead of running
        self._lost = ''
        device = driver.Device(index)
        self.name: str = device.name()
        major, minor = device.compute_capability()
        self.sm = f'{major}{minor}'
        attribute = driver.device_attribute
        self.is_integrated = bool(device.get_attribute(attribute.INTEGRATED))
        self.total_bytes = int(device.total_memory())
        self._context = PrimaryContext(driver, library, index)
        self._stream: Any = None
        atexit.register(self._close_at_exit)
        try:
            driver.Context.synchronize()
            driver.mem_get_info()
            self._stream = driver.Stream(_NON_BLOCKING)
            self.stream_handle = int(self._stream.handle)
        except BaseException as error:
            if isinstance(error, driver.Error) and is_sticky(one_line(error)):
                self._lost = one_line(error)
            self._leave()
            raise

    @property
    def lost(self) -> str:
        """Why nothing works any more, or empty; any thread may ask."""
        return self._lost

    def check(self) -> None:
        """
        Refuse a call from another thread, and any call once the device is closed or lost.

        :raises InferenceError: the caller is in the wrong thread, or too late.
        :raises DeviceLostError: the context is broken.
        """
        self.check_thread()
        if not self._context.is_held:
            raise InferenceError(f'GPU {self.index} was closed; load the model again')
        if self._lost:
            raise self.lost_error('nothing was done')

    def check_thread(self) -> None:
        """Refuse a call from another thread than the one that opened the device."""
        self._owner.check(f'GPU {self.index}')

    def allocate(self, size: int, what: str) -> DeviceMemory:
        """
        Allocate device memory.

        :param what: what for, for errors.
        :raises OutOfMemoryError: the device has no more.
        """
        self.check()
        try:
            memory = DeviceMemory(self._driver.mem_alloc(max(size, 1)), size)
        except self._driver.Error as error:
            raise self.failure(f'{size_text(size)} of device memory for {what} cannot be '
                               f'allocated', error) from error
        self._live[id(memory)] = memory
        if memory.address % ALIGNMENT:
            address = memory.address
            self.free(memory)
            raise InferenceError(f'device memory for {what} lies at {address:#x}, expected a '
                                 f'multiple of {ALIGNMENT}; this is a bug of the driver')
        return memory

    def page_locked(self, size: int, what: str, is_mapped: bool = False) -> PageLocked:
        """
        Allocate page-locked host memory.

        :param is_mapped: give it an address on the GPU, too.
        :raises OutOfMemoryError: the machine has no more.
        """
        self.check()
        flags = self._driver.host_alloc_flags
        try:
            array = self._driver.pagelocked_empty(
                max(size, 1), np.uint8,
                mem_flags=flags.PORTABLE | (flags.DEVICEMAP if is_mapped else 0))
            memory = PageLocked(array, is_mapped)
        except self._driver.Error as error:
            raise self.failure(f'{size_text(size)} of page-locked memory for {what} cannot be '
                               f'allocated', error) from error
        self._live[id(memory)] = memory
        self._lingering = [one for one in self._lingering if not one.free_if_unused()]
        return memory

    def free(self, memory: DeviceMemory | PageLocked) -> None:
        """Free memory of this device; idempotent. What is still read is freed when it is not."""
        self.check_thread()
        if self._live.pop(id(memory), None) is None:
            return
        if self._lost:
            self._dead.append(memory)
        elif (left := memory.free()) is not None:
            self._lingering.append(left)

    def copy_to_device(self, address: int, array: npt.NDArray[Any]) -> None:
        """Copy page-locked memory to the device, on the stream; does not wait."""
        try:
            self._driver.memcpy_htod_async(address, array, self._stream)
        except self._driver.Error as error:
            raise self.failure('copying an input to the device failed', error) from error

    def copy_to_host(self, array: npt.NDArray[Any], address: int) -> None:
        """Copy device memory into page-locked memory, on the stream; does not wait."""
        try:
            self._driver.memcpy_dtoh_async(array, address, self._stream)
        except self._driver.Error as error:
            raise self.failure('copying an output from the device failed', error) from error

    def synchronize(self, is_everything: bool = False) -> None:
        """
        Wait for everything on the stream; errors of the work before appear here.

        :param is_everything: wait for all other streams of the context, too.
        """
        try:
            (self._driver.Context if is_everything else self._stream).synchronize()
        except self._driver.Error as error:
            raise self.failure('the work on the GPU failed', error) from error

    def free_bytes(self) -> int:
        """
        Return how much memory the device has left.

        Where the GPU shares the machine's memory, CUDA knows nothing of what programs use and of
        what the kernel could take back: the smaller figure counts.
        """
        self.check()
        try:
            free = int(self._driver.mem_get_info()[0])
        except self._driver.Error as error:
            raise self.failure('the free memory cannot be read', error) from error
        available = self._read_available() if self.is_integrated else None
        return free if available is None else min(free, available)

    def failure(self, what: str, error: BaseException) -> InferenceRuntimeError:
        """
        Return the error of this package for one of CUDA; looks whether the context still works.

        :param what: what did not work.
        """
        text = one_line(error)
        if not self._lost and is_sticky(text, getattr(error, 'code', None)):
            self._lost = text
        if self.is_broken():
            return self.lost_error(f'{what} ({text})')
        if isinstance(error, self._driver.MemoryError):
            free = self._free_text()
            return OutOfMemoryError(f'{what}: {text}; {free}free memory on it, or load fewer or '
                                    f'smaller models')
        return InferenceError(f'{what}: {text}')

    def is_broken(self) -> bool:
        """Return whether the context is broken; tries harmless calls where that is not known."""
        if not self._lost and self._context.is_held and not self.is_capturing:
            try:
                self._driver.Context.synchronize()
                self._driver.mem_get_info()
            except self._driver.Error as error:
                self._lost = one_line(error)
        return bool(self._lost)

    def close(self) -> None:
        """
        Give everything back and leave the context; idempotent.

        After a lost device the primary context is destroyed, so that :meth:`open` gets a new one.

        :raises InferenceError: the caller is not the owner thread; nothing was done.
        """
        if not self._context.is_held:
            return
        self.check_thread()
        for memory in reversed(list(self._live.values())):
            self.free(memory)
        self._leave()

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Keep from looking after the context while a stream is captured: that would end it."""
        self.is_capturing = True
        try:
            yield
        finally:
            self.is_capturing = False

    def _leave(self) -> None:
        atexit.unregister(self._close_at_exit)
        if self._lost:
            self._dead += [*self._lingering, self._stream]
            self._lingering.clear()
        self._stream = None  # the last reference, while the context is current
        self._lost = self._context.leave(self._lost, self._lingering, self._dead)
        self._dead.clear()

    def _close_at_exit(self) -> None:
        # At the end of the main thread; other threads have ended, or are frozen as they are.
        if self._owner.is_current:
            self.close()

    def _free_text(self) -> str:
        try:
            return (f'{size_text(int(self._driver.mem_get_info()[0]))} of '
                    f'{size_text(self.total_bytes)} are free on {self.name}; ')
        except self._driver.Error:
            return ''

    def lost_error(self, what: str) -> DeviceLostError:
        """Return the error for what did not work because the context is broken."""
        return DeviceLostError(f'{what}: GPU {self.index} ({self.name}) is lost after an error '
                               f'({self._lost}); release the models and configure again')


def open_device(index: int = 0, *, driver: Any = None, library: CudaDriver | None = None,
                read_available: Callable[[], int | None] = available_bytes) -> CudaDevice:
    """
    Open a GPU for the calling thread.

    :param index: number of the GPU.
    :param driver: stands in for ``pycuda.driver``.
    :param library: stands in for the driver library.
    :param read_available: reads the free memory of the machine.
    :raises RuntimeNotAvailableError: PyCUDA, the driver or the GPU is not here.
    :raises DeviceLostError: the GPU was broken before and does not come back.
    """
    driver = _import_pycuda() if driver is None else driver
    try:
        library = CudaDriver() if library is None else library
        driver.init()
        count = int(driver.Device.count())
        if not 0 <= index < count:
            raise RuntimeNotAvailableError(
                f'GPU {index} is not here, CUDA sees {count}; set engines.device to a number '
                f'below {count}')
        return CudaDevice(driver, library, index, read_available)
    except (driver.Error, CudaDriverError) as error:
        text = one_line(error)
        if is_sticky(text, getattr(error, 'code', None)):
            raise DeviceLostError(
                f'GPU {index} does not come back after an error ({text}); restart the process, '
                f'and the machine if that does not help') from error
        raise RuntimeNotAvailableError(
            f'GPU {index} cannot be opened: {text}; check the NVIDIA driver with nvidia-smi (on a '
            f'Jetson: that this user is in the groups video and render)') from error


def _import_pycuda() -> Any:
    try:
        import pycuda.driver
    except ImportError as error:
        text = one_line(error)
        if (error.name or '').partition('.')[0] == 'pycuda':
            raise RuntimeNotAvailableError(
                f'runtime tensorrt needs the Python package pycuda, which is not installed '
                f'({text}); pip install pycuda, which compiles against the CUDA toolkit'
            ) from error
        raise RuntimeNotAvailableError(
            f'runtime tensorrt needs the Python package pycuda, which is installed but does not '
            f'load: {text}; install the NVIDIA driver, or build pycuda again for this CUDA '
            f'version') from error
    return pycuda.driver
