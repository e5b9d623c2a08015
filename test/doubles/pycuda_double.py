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
A double of ``pycuda.driver`` 2026.1 over a simulated GPU.

``make_pycuda(gpu)`` returns the module. Names and signatures are those of
``src/wrapper/wrap_cudadrv.cpp``: what has no argument names there takes positions only, a stream
is a ``Stream`` and not a number, an address is an int or an allocation and not a NumPy integer.
"""

from __future__ import annotations

import enum
import gc
import threading
import types
from typing import Any

import cuda_codes as codes
from cuda_codes import CudaCallError
import numpy as np
import pycuda_context
from pycuda_context import Context
from pycuda_context import translate
from pycuda_copies import make_copies
from pycuda_objects import DeviceAllocation
from pycuda_objects import Event
from pycuda_objects import HostPointer
from pycuda_objects import PagelockedHostAllocation
from pycuda_objects import Stream
from simulated_gpu import SimulatedGpu

VERSION_TEXT = '2026.1'

#: Numbers of CUdevice_attribute; the ones that a simulated GPU answers.
device_attribute = enum.IntEnum('device_attribute', {
    'MAX_THREADS_PER_BLOCK': 1, 'WARP_SIZE': 10, 'CLOCK_RATE': 13, 'GPU_OVERLAP': 15,
    'MULTIPROCESSOR_COUNT': 16, 'KERNEL_EXEC_TIMEOUT': 17, 'INTEGRATED': 18,
    'CAN_MAP_HOST_MEMORY': 19, 'CONCURRENT_KERNELS': 31, 'ECC_ENABLED': 32,
    'MEMORY_CLOCK_RATE': 36, 'GLOBAL_MEMORY_BUS_WIDTH': 37, 'ASYNC_ENGINE_COUNT': 40,
    'UNIFIED_ADDRESSING': 41, 'COMPUTE_CAPABILITY_MAJOR': 75, 'COMPUTE_CAPABILITY_MINOR': 76,
    'MANAGED_MEMORY': 83, 'PAGEABLE_MEMORY_ACCESS': 88,
    'PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES': 100})
ctx_flags = enum.IntEnum('ctx_flags', {
    'SCHED_AUTO': 0, 'SCHED_SPIN': 1, 'SCHED_YIELD': 2, 'BLOCKING_SYNC': 4,
    'SCHED_BLOCKING_SYNC': 4, 'SCHED_MASK': 7, 'MAP_HOST': 8, 'LMEM_RESIZE_TO_MAX': 16})
event_flags = enum.IntEnum('event_flags', {
    'DEFAULT': 0, 'BLOCKING_SYNC': 1, 'DISABLE_TIMING': 2})


class host_alloc_flags:  # noqa: N801
    """Flags of page-locked memory."""

    PORTABLE = 1
    DEVICEMAP = 2
    WRITECOMBINED = 4


class Device(pycuda_context.OfGpu):
    """One device."""

    _context_class: type[Context]

    def __init__(self, ordinal: int) -> None:
        """Take a device by number."""
        with translate():
            self._gpu.enter('cuDeviceGet')
            self._gpu.check_ordinal(ordinal, 'cuDeviceGet')
        self._ordinal = ordinal

    @classmethod
    def count(cls) -> int:
        """Return the number of devices."""
        with translate():
            cls._gpu.enter('cuDeviceGetCount')
        return cls._gpu.count

    def name(self) -> str:
        """Return the name."""
        return self._gpu.traits.name

    def pci_bus_id(self) -> str:
        """Return the PCI address."""
        return '0000:01:00.0'

    def compute_capability(self) -> tuple[int, int]:
        """Return (major, minor)."""
        return self._gpu.traits.compute_capability

    def total_memory(self) -> int:
        """Return the bytes of the device."""
        return self._gpu.memory.total

    def get_attribute(self, attr: device_attribute) -> int:  # type: ignore[valid-type]
        """Return one attribute."""
        if not isinstance(attr, device_attribute):
            raise TypeError(f'Device.get_attribute takes a device_attribute, not {attr!r}')
        traits = self._gpu.traits
        values = {
            'MAX_THREADS_PER_BLOCK': 1024, 'WARP_SIZE': 32, 'CLOCK_RATE': 1_020_000,
            'GPU_OVERLAP': 1, 'MULTIPROCESSOR_COUNT': traits.multiprocessors,
            'KERNEL_EXEC_TIMEOUT': 0, 'INTEGRATED': int(traits.is_integrated),
            'CAN_MAP_HOST_MEMORY': 1, 'CONCURRENT_KERNELS': 1, 'ECC_ENABLED': 0,
            'MEMORY_CLOCK_RATE': 3_199_000, 'GLOBAL_MEMORY_BUS_WIDTH': 128,
            'ASYNC_ENGINE_COUNT': 2, 'UNIFIED_ADDRESSING': 1,
            'COMPUTE_CAPABILITY_MAJOR': traits.compute_capability[0],
            'COMPUTE_CAPABILITY_MINOR': traits.compute_capability[1], 'MANAGED_MEMORY': 1,
            'PAGEABLE_MEMORY_ACCESS': 0, 'PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES': 0}
        return values[attr.name]

    def make_context(self, flags: int = 0) -> Context:
        """Make a context of its own; it is current at once."""
        with translate():
            self._context_class._prepare_switch()
            self._gpu.enter('cuCtxCreate')
            simulated = self._gpu.new_context(False)
            self._gpu.stack.append(simulated)
            context = self._context_class(simulated, _token=Context)
            self._context_class._stack().append(context)
            return context

    def retain_primary_context(self) -> Context:
        """Take the primary context; it is not current before it is pushed."""
        with translate():
            self._gpu.enter('cuDevicePrimaryCtxRetain')
            return self._context_class(self._gpu.retain_primary(), _token=Context)

    def __eq__(self, other: object) -> bool:
        """Compare by number."""
        return isinstance(other, Device) and self._ordinal == other._ordinal

    def __hash__(self) -> int:
        """Hash by number."""
        return self._ordinal


def make_pycuda(gpu: SimulatedGpu) -> types.ModuleType:
    """Return a module like ``pycuda.driver`` for one GPU."""
    module: Any = types.ModuleType('pycuda.driver')
    binding = {'_gpu': gpu, '_stacks': threading.local()}

    def current() -> Context | None:
        return context_class._current()

    def synchronize() -> None:
        with translate():
            gpu.finish_all('cuCtxSynchronize')

    def get_device() -> Device:
        with translate():
            gpu.enter_context('cuCtxGetDevice')
        return module.Device(0)  # type: ignore[no-any-return]

    def pop() -> None:
        with translate():
            context_class._pop()

    context_class: type[Context] = type('Context', (Context,), {
        **binding, 'get_current': staticmethod(current), 'pop': staticmethod(pop),
        'synchronize': staticmethod(synchronize), 'get_device': staticmethod(get_device)})
    binding['_context_class'] = context_class
    module.Context = context_class
    for base in (Device, Stream, Event, DeviceAllocation, PagelockedHostAllocation):
        setattr(module, base.__name__, type(base.__name__, (base,), dict(binding)))
    module.HostAllocation = module.PagelockedHostAllocation
    for name in ('Error', 'MemoryError', 'LogicError', 'LaunchError', 'RuntimeError'):
        setattr(module, name, getattr(pycuda_context, name))
    module.HostPointer = HostPointer
    for value in (device_attribute, ctx_flags, event_flags, host_alloc_flags):
        setattr(module, value.__name__, value)
    for function in (*_general_functions(gpu, module), *make_copies(gpu)):
        setattr(module, function.__name__, function)
    return module  # type: ignore[no-any-return]


def _general_functions(gpu: SimulatedGpu, module: Any) -> list[Any]:
    def init(flags: int = 0) -> None:
        with translate():
            gpu.enter('cuInit')
            if gpu.count == 0:
                raise CudaCallError('cuInit', codes.NO_DEVICE)
            gpu.is_initialized = True

    def get_version() -> tuple[int, int, int]:
        return 12, 6, 0

    def get_driver_version() -> int:
        return gpu.traits.driver_version

    def mem_get_info() -> tuple[int, int]:
        with translate():
            gpu.enter_context('cuMemGetInfo')
            return gpu.memory.free_bytes(), gpu.memory.total

    def mem_alloc(size: int, /) -> DeviceAllocation:
        with translate():
            try:
                block = gpu.allocate(int(size), 'mem_alloc')
            except CudaCallError as error:
                if error.code != codes.OUT_OF_MEMORY:
                    raise
                # PyCUDA lets Python collect what is unreachable and tries once more.
                gc.collect()
                block = gpu.allocate(int(size), 'mem_alloc')
            return module.DeviceAllocation(block, _token=Context)  # type: ignore[no-any-return]

    def pagelocked_empty(shape: Any, dtype: Any, order: str = 'C',
                         mem_flags: int = 0) -> np.ndarray:
        kind = np.dtype(dtype)
        dims = (int(shape),) if np.ndim(shape) == 0 else tuple(int(size) for size in shape)
        nbytes = kind.itemsize * int(np.prod(dims, dtype=np.int64))
        with translate():
            holder = module.PagelockedHostAllocation(nbytes, mem_flags, _token=Context)
        strides = np.empty(dims, kind, order='F').strides if order == 'F' else None
        holder.__array_interface__ = {
            'version': 3, 'shape': dims, 'typestr': kind.str, 'strides': strides,
            'data': (holder._data.ctypes.data, False)}
        return np.asarray(holder)

    def pagelocked_zeros(shape: Any, dtype: Any, order: str = 'C',
                         mem_flags: int = 0) -> np.ndarray:
        result = pagelocked_empty(shape, dtype, order, mem_flags)
        result.fill(0)
        return result

    return [init, get_version, get_driver_version, mem_get_info, mem_alloc, pagelocked_empty,
            pagelocked_zeros]
