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
Copies of ``pycuda.driver`` over a simulated GPU.

An asynchronous copy is done when its stream is waited for. From pageable memory the driver takes
a copy of the source at once, and into pageable memory it waits: only page-locked memory is used
late, and must stay as it is until then.
"""

from __future__ import annotations

from typing import Any

import cuda_codes as codes
from cuda_codes import CudaCallError
import numpy as np
from pycuda_context import translate
from pycuda_objects import DeviceAllocation
from pycuda_objects import stream_of
from simulated_gpu import SimulatedGpu
from simulated_memory import bytes_at
from simulated_stream import refuse_legacy_stream
from simulated_stream import Work


def pointer(value: Any) -> int:
    """Take an address as Boost.Python does."""
    if isinstance(value, (int, DeviceAllocation)):
        return int(value)
    raise TypeError(f'Python argument types did not match C++ signature: an address is an int or '
                    f'an allocation, not {type(value).__name__}')


def host_bytes(value: Any, is_written: bool) -> tuple[np.ndarray, Any]:
    """Return the bytes of a buffer, and what keeps them alive; it must be contiguous."""
    if isinstance(value, np.ndarray):
        if not (value.flags.c_contiguous or value.flags.f_contiguous):
            raise ValueError('ndarray is not contiguous')
        if is_written and not value.flags.writeable:
            raise ValueError('buffer source array is read-only')
        return bytes_at(value.ctypes.data, value.nbytes), value
    view = memoryview(value)
    if not view.contiguous:
        raise BufferError('memoryview: underlying buffer is not contiguous')
    if is_written and view.readonly:
        raise BufferError('Object is not writable.')
    return np.frombuffer(view.cast('B'), np.uint8), value


def make_copies(gpu: SimulatedGpu) -> list[Any]:
    """Return the functions that copy and fill."""
    memory = gpu.memory

    def check(address: int, size: int, function: str) -> None:
        memory.view(address, size, function, codes.INVALID_VALUE)

    def wait_for_blocking_streams(function: str) -> None:
        context = gpu.enter_context(function)
        refuse_legacy_stream(context.streams.values(), function)
        gpu.finish_blocking_streams(context)
        if context.error:
            raise CudaCallError(function, context.error)

    def memcpy_htod(dest: Any, src: Any) -> None:
        source, _ = host_bytes(src, False)
        with translate():
            wait_for_blocking_streams('cuMemcpyHtoD')
            memory.view(pointer(dest), source.nbytes, 'cuMemcpyHtoD',
                        codes.INVALID_VALUE)[:] = source

    def memcpy_dtoh(dest: Any, src: Any) -> None:
        target, _ = host_bytes(dest, True)
        with translate():
            wait_for_blocking_streams('cuMemcpyDtoH')
            target[:] = memory.view(pointer(src), target.nbytes, 'cuMemcpyDtoH',
                                    codes.INVALID_VALUE)

    def enqueue(stream: Any, function: str, host: np.ndarray, keep: Any, address: int,
                is_upload: bool) -> None:
        context = gpu.enter_context(function)
        queue = context.streams[0] if stream is None else stream_of(stream)
        check(address, host.nbytes, function)
        pinned = memory.pinned_range(host.ctypes.data, host.nbytes)
        if pinned is None and queue.capture is not None:
            queue.refuse_if_capturing(function)
        source = host.copy() if pinned is None and is_upload else host

        def run(_keep: Any = keep) -> None:
            if pinned is not None and not pinned.is_held:
                gpu.violated(f'{function} used page-locked memory that was freed')
            device = memory.view(address, host.nbytes)
            if is_upload:
                device[:] = source
            else:
                host[:] = device

        queue.enqueue(Work(function, run, ((address, host.nbytes),)))
        if pinned is None and not is_upload:
            # A copy into pageable memory returns when it is done.
            gpu.finish_stream(queue, function)

    def memcpy_htod_async(dest: Any, src: Any, stream: Any = None) -> None:
        source, keep = host_bytes(src, False)
        with translate():
            enqueue(stream, 'cuMemcpyHtoDAsync', source, keep, pointer(dest), True)

    def memcpy_dtoh_async(dest: Any, src: Any, stream: Any = None) -> None:
        target, keep = host_bytes(dest, True)
        with translate():
            enqueue(stream, 'cuMemcpyDtoHAsync', target, keep, pointer(src), False)

    def memcpy_dtod_async(dest: Any, src: Any, size: int, stream: Any = None) -> None:
        first, last = pointer(dest), pointer(src)
        with translate():
            context = gpu.enter_context('cuMemcpyDtoDAsync')
            queue = context.streams[0] if stream is None else stream_of(stream)
            for address in (first, last):
                check(address, size, 'cuMemcpyDtoDAsync')

            def run() -> None:
                memory.view(first, size)[:] = memory.view(last, size)

            queue.enqueue(Work('cuMemcpyDtoDAsync', run, ((first, size), (last, size))))

    def memset_d8_async(dest: Any, data: int, size: int, stream: Any = None) -> None:
        address = pointer(dest)
        with translate():
            context = gpu.enter_context('cuMemsetD8Async')
            queue = context.streams[0] if stream is None else stream_of(stream)
            check(address, size, 'cuMemsetD8Async')
            queue.enqueue(Work('cuMemsetD8Async',
                               lambda: memory.view(address, size).fill(data),
                               ((address, size),)))

    def memset_d8(dest: Any, data: int, size: int) -> None:
        with translate():
            wait_for_blocking_streams('cuMemsetD8')
            memory.view(pointer(dest), size, 'cuMemsetD8', codes.INVALID_VALUE).fill(data)

    return [memcpy_htod, memcpy_dtoh, memcpy_htod_async, memcpy_dtoh_async, memcpy_dtod_async,
            memset_d8_async, memset_d8]
