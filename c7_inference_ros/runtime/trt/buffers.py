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
Where the inputs and outputs of an engine lie, on the host and on the device.

Every tensor has page-locked host memory of its largest size and, on a GPU with memory of its own,
device memory beside it, which is copied to or from. A GPU that shares the memory of the machine
reads and writes the page-locked memory itself.
"""

from __future__ import annotations

from typing import Any

from c7_inference_ros.errors import InferenceError
from c7_inference_ros.errors import InferenceRuntimeError
from c7_inference_ros.runtime.cuda.memory import DeviceMemory
from c7_inference_ros.runtime.cuda.memory import PageLocked
from c7_inference_ros.runtime.trt.engine_memory import EngineMemory
from c7_inference_ros.runtime.trt.io_tensors import IoTensor
import numpy as np
import numpy.typing as npt

#: Outputs whose size is only known when they are made grow in steps of this size.
_STEP = 64 << 10


class TensorBuffer:
    """
    Memory of one tensor.

    :param tensor: what lies there.
    :param memory: where the memory comes from.
    :param is_direct: the GPU works in the host memory itself.
    """

    def __init__(self, tensor: IoTensor, memory: EngineMemory, is_direct: bool) -> None:
        """Begin without memory."""
        self.tensor = tensor
        self.spec = tensor.spec
        self._memory = memory
        self._is_mapped = is_direct and not tensor.is_host
        #: Whether what the GPU sees has to be copied to or from the host.
        self.is_copied = not (is_direct or tensor.is_host)
        self._host: PageLocked | None = None
        self._on_device: DeviceMemory | None = None

    @property
    def address(self) -> int:
        """Where TensorRT finds the tensor; 0 before there is memory."""
        if self.is_copied:
            return self._on_device.address if self._on_device is not None else 0
        if self._host is None:
            return 0
        return self._host.device_address if self._is_mapped else self._host.address

    def has_room(self, size: int) -> bool:
        """Return whether :meth:`reserve` would change nothing."""
        return (self._host is not None and self._host.size >= size
                and (not self.is_copied or (
                    self._on_device is not None and self._on_device.size >= size)))

    def reserve(self, size: int) -> None:
        """Have room for a number of bytes, on the host and on the device."""
        self.reserve_device(size)
        self.reserve_host(size)

    def reserve_device(self, size: int) -> None:
        """Have room where the GPU works."""
        if not self.is_copied:
            self.reserve_host(size)
        elif self._on_device is None or self._on_device.size < size:
            self._free_device()
            self._on_device = self._memory.device_memory(size, self._what)

    def reserve_host(self, size: int) -> None:
        """Have room on the host."""
        if self._host is None or self._host.size < size:
            self._free_host()
            self._host = self._memory.page_locked(size, self._what, self._is_mapped)

    def view(self, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Return the host memory as an array of the tensor's type."""
        assert self._host is not None  # reserved before
        return self._host.view(shape, self.spec.dtype)

    def bytes_of(self, shape: tuple[int, ...]) -> int:
        """Return the size of the tensor in one shape."""
        return int(np.prod(shape, dtype=np.int64)) * self.spec.dtype.itemsize

    def free(self) -> None:
        """Give everything back; idempotent."""
        self._free_device()
        self._free_host()

    @property
    def _what(self) -> str:
        return f'{"input" if self.tensor.is_input else "output"} {self.spec.name}'

    def _free_device(self) -> None:
        memory, self._on_device = self._on_device, None
        self._memory.free(memory)

    def _free_host(self) -> None:
        memory, self._host = self._host, None
        self._memory.free(memory)


class DataDependentOutput:
    """
    An output whose shape is only known when it is made.

    TensorRT asks for memory in the middle of an inference and tells the shape before it returns.

    :param buffer: memory of the output; grows.
    """

    def __init__(self, buffer: TensorBuffer) -> None:
        """Begin without a shape."""
        self.buffer = buffer
        self.shape: tuple[int, ...] | None = None
        #: Why TensorRT was refused memory; raised once it has returned.
        self.problem: InferenceRuntimeError | None = None

    def begin(self) -> None:
        """Forget the shape of the inference before."""
        self.shape = None
        self.problem = None

    def reallocate(self, size: int) -> int:
        """Return the address of enough memory, or 0: nothing may be raised into TensorRT."""
        try:
            self.buffer.reserve_device(-(-max(size, 1) // _STEP) * _STEP)
        except InferenceRuntimeError as error:
            self.problem = error
            return 0
        return self.buffer.address

    def finish(self) -> tuple[int, ...]:
        """
        Return the shape, with room for it on the host.

        :raises InferenceError: TensorRT told none.
        :raises OutOfMemoryError: there is no room.
        """
        if self.problem is not None:
            raise self.problem
        shape = self.shape
        if shape is None or any(size < 0 for size in shape):
            told = 'no shape' if shape is None else f'the shape {list(shape)}'
            raise InferenceError(f'TensorRT told {told} for output {self.buffer.spec.name}; load '
                                 f'the model again')
        size = self.buffer.bytes_of(shape)
        self.buffer.reserve_host(-(-max(size, 1) // _STEP) * _STEP)
        return shape


def make_output_allocator(trt: Any, output: DataDependentOutput) -> Any:
    """Return an allocator for ``IExecutionContext.set_output_allocator``; must outlive that."""
    base: Any = trt.IOutputAllocator

    class OutputAllocator(base):  # type: ignore[misc]
        """All methods: TensorRT calls one or the other by version."""

        def __init__(self) -> None:
            base.__init__(self)

        def reallocate_output(self, tensor_name: str, memory: int, size: int,
                              alignment: int) -> int:
            return output.reallocate(int(size))

        def reallocate_output_async(self, tensor_name: str, memory: int, size: int,
                                    alignment: int, stream: int) -> int:
            return output.reallocate(int(size))

        def notify_shape(self, tensor_name: str, shape: Any) -> None:
            output.shape = tuple(int(size) for size in shape)

    return OutputAllocator()
