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
The allocator that TensorRT takes the memory of one engine from.

It counts, so that weights and contexts are known exactly, and it says no where the budget is
passed: TensorRT then gives up, which it reports as None, instead of taking more than was granted.
Called by TensorRT in the middle of its own calls: nothing may be raised, and nobody may hold a
lock that is wanted here.
"""

from __future__ import annotations

from collections import Counter
from collections import defaultdict
from typing import Any

from c7_inference_ros.errors import InferenceRuntimeError
from c7_inference_ros.runtime.cuda.memory import DeviceMemory
from c7_inference_ros.runtime.memory_table import size_text
from c7_inference_ros.runtime.trt.engine_memory import EngineMemory


class GpuMemoryPool:
    """
    What the allocator does, in Python terms.

    :param memory: where the memory comes from and is counted.
    """

    def __init__(self, memory: EngineMemory) -> None:
        """Begin with nothing."""
        self._memory = memory
        self._device = memory.device
        self._blocks: dict[int, tuple[DeviceMemory, str]] = {}
        #: Given back on the stream, and free to be taken on the same stream: no waiting.
        self._idle: dict[int, list[DeviceMemory]] = defaultdict(list)
        #: What TensorRT does at the moment, for the count.
        self.phase = 'deserialize'
        #: Whether TensorRT takes its memory here at all.
        self.is_used = False
        #: Why the last request was refused, or empty.
        self.refusal = ''

    def by_phase(self) -> dict[str, int]:
        """Return the bytes that are taken by the phase in which they were asked for."""
        sizes: Counter[str] = Counter()
        for block, phase in self._blocks.values():
            sizes[phase] += block.size
        return dict(sizes)

    def allocate(self, size: int, alignment: int, stream: int | None = None) -> int | None:
        """
        Return the address of new memory.

        :param size: bytes; 0 gives None.
        :param alignment: a power of two, or 0 for any.
        :param stream: the stream that it is used on, where there is one.
        :returns: None when it is refused; :attr:`refusal` says why.
        """
        if size <= 0:
            return None
        try:
            block = self._idle_block(size, stream) or self._new_block(size)
        except InferenceRuntimeError as error:
            self.refusal = str(error)
            return None
        if alignment and block.address % alignment:
            self.refusal = (f'{self._memory.name}: TensorRT asked for {size_text(size)} at a '
                            f'multiple of {alignment}, the driver gave {block.address:#x}')
            self._memory.free(block)
            return None
        self._blocks[block.address] = (block, self.phase)
        return block.address

    def deallocate(self, address: int, stream: int | None = None) -> bool:
        """
        Take memory back.

        :param stream: the stream that was the last to use it, where there is one.
        :returns: False when the address is not known or cannot be freed now.
        """
        if not address:
            return True
        if address not in self._blocks:
            return False
        block, _ = self._blocks[address]
        try:
            if stream == self._device.stream_handle and self.phase == 'inference':
                self._idle[block.size].append(block)
            else:
                self._settle()
                self._memory.free(block)
        except InferenceRuntimeError as error:
            self.refusal = str(error)  # the wrong thread; close() frees it
            return False
        del self._blocks[address]
        return True

    def close(self) -> None:
        """Free everything, also what TensorRT kept; after the engine is gone."""
        if self._blocks or any(self._idle.values()):
            self._settle()
        self._drop_idle()
        for block, _ in self._blocks.values():
            self._memory.free(block)
        self._blocks.clear()

    def _idle_block(self, size: int, stream: int | None) -> DeviceMemory | None:
        idle = self._idle.get(size)
        return idle.pop() if idle and stream == self._device.stream_handle else None

    def _new_block(self, size: int) -> DeviceMemory:
        self._device.check()
        if self._device.is_capturing:
            raise InferenceRuntimeError(f'{self._memory.name} allocates {size_text(size)} while '
                                        f'it runs, which a CUDA graph cannot hold')
        try:
            return self._memory.device_memory(size, f'TensorRT ({self.phase})')
        except InferenceRuntimeError:
            if not any(self._idle.values()):
                raise
        self._settle()
        self._drop_idle()
        return self._memory.device_memory(size, f'TensorRT ({self.phase})')

    def _drop_idle(self) -> None:
        for blocks in self._idle.values():
            while blocks:
                self._memory.free(blocks.pop())

    def _settle(self) -> None:
        """Wait for work that may still use what is freed next."""
        if not self._device.lost and not self._device.is_capturing:
            self._device.check_thread()
            try:
                self._device.synchronize(is_everything=True)
            except InferenceRuntimeError:
                pass  # the device knows now that it is lost; what is freed goes with it


def make_allocator(trt: Any, pool: GpuMemoryPool) -> Any:
    """
    Return an allocator for ``Runtime.gpu_allocator``; it must outlive what is made with it.

    :param trt: the module of TensorRT.
    :returns: None where the module has no such interface.
    """
    base: Any = getattr(trt, 'IGpuAsyncAllocator', getattr(trt, 'IGpuAllocator', None))
    if base is None:
        return None

    class GpuAllocator(base):  # type: ignore[misc]
        """
        All five methods: TensorRT calls one or the other by version, and misses none silently.

        None is a refusal. For a request to resize it means that there is no resizing, and
        TensorRT then moves the memory itself.
        """

        def __init__(self) -> None:
            base.__init__(self)

        def allocate(self, size: int, alignment: int, flags: int) -> int | None:
            return pool.allocate(int(size), int(alignment))

        def allocate_async(self, size: int, alignment: int, stream: Any,
                           flags: Any) -> int | None:
            # The binding passes the stream before the flags, its documentation says the
            # opposite. Flags are a few bits, a stream other than the default one is a pointer.
            handle = max(int(stream or 0), int(flags or 0))
            return pool.allocate(int(size), int(alignment), handle)

        def deallocate(self, memory: int) -> bool:
            return pool.deallocate(int(memory or 0))

        def deallocate_async(self, memory: int, stream: int) -> bool:
            return pool.deallocate(int(memory or 0), int(stream or 0))

        def reallocate(self, address: int, alignment: int, new_size: int) -> int | None:
            return None

    pool.is_used = True
    return GpuAllocator()
