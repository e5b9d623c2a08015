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

"""Puts calibration images onto the GPU, for TensorRT's calibrator to read."""

from __future__ import annotations

from typing import Any

from c7_inference_ros.runtime.cuda.device import CudaDevice
from c7_inference_ros.runtime.cuda.device import open_device
from c7_inference_ros.runtime.cuda.memory import DeviceMemory
from numpy.typing import NDArray


class CudaCopier:
    """
    The ``DeviceCopier`` of :mod:`c7_inference_ros.engines.calibration.calibrator`.

    All calls come from one thread: the one that builds.

    :param index: number of the GPU.
    """

    def __init__(self, index: int = 0) -> None:
        """Touch no GPU yet."""
        self._index = index
        self._device: CudaDevice | None = None
        self._memory: dict[str, DeviceMemory] = {}

    def open_gpu(self) -> None:
        """
        Make the primary context of the GPU current, which TensorRT uses, too.

        :raises RuntimeNotAvailableError: PyCUDA, the driver or the GPU is not here.
        :raises DeviceLostError: the GPU was broken before and does not come back.
        """
        if self._device is None:
            self._device = open_device(self._index)

    def copy(self, name: str, array: NDArray[Any]) -> int:
        """
        Copy one input to the device, and wait: TensorRT reads it on a stream of its own.

        :param name: of the input; its buffer is used again for the next batch.
        :param array: C-contiguous.
        :returns: device address, valid until the next copy of the same input.
        :raises InferenceRuntimeError: CUDA refuses.
        """
        self.open_gpu()
        device = self._device
        assert device is not None
        memory = self._memory.get(name)
        if memory is None or memory.size < array.nbytes:
            if memory is not None:
                device.free(memory)
            memory = self._memory[name] = device.allocate(
                array.nbytes, f'calibration images ({name})')
        # Not page-locked: it is waited for anyway.
        device.copy_to_device(memory.address, array)
        device.synchronize()
        return memory.address

    def free(self) -> None:
        """Give the buffers and the context back; idempotent."""
        device, self._device = self._device, None
        self._memory.clear()
        if device is not None:
            device.close()
