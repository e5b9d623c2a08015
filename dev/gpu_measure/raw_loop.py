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
The same engine without the runtime: TensorRT called in the shortest loop that gives an answer.

What the runtime adds to an inference (checks, bookkeeping, the copy into page-locked memory) is
the difference to this.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any
from typing import Callable
from typing import Iterator
from typing import Sequence

from c7_inference_ros.engines.tensorrt_api import load_tensorrt
from c7_inference_ros.model_files.tensor_spec import TensorSpec
from c7_inference_ros.runtime.cuda.device import CudaDevice
from c7_inference_ros.runtime.cuda.device import open_device
import numpy as np


class _Tensor:

    def __init__(self, device: CudaDevice, spec: TensorSpec) -> None:
        size = spec.max_bytes
        assert size is not None, f'{spec.name} has an open size'
        self.name, self.shape = spec.name, spec.max_shape or spec.shape
        self.host = device.page_locked(size, spec.name)
        self.array = self.host.view(self.shape, spec.dtype)
        self.device = device.allocate(size, spec.name)


def _bind(context: Any, ins: list[_Tensor], outs: list[_Tensor]) -> None:
    for tensor in ins:
        tensor.array[...] = np.zeros(tensor.shape, tensor.array.dtype)
        if not context.set_input_shape(tensor.name, tuple(tensor.shape)):
            raise RuntimeError(f'set_input_shape of {tensor.name} refused')
    for tensor in (*ins, *outs):
        if not context.set_tensor_address(tensor.name, tensor.device.address):
            raise RuntimeError(f'set_tensor_address of {tensor.name} refused')


@contextmanager
def raw_loop(package: str, plan: bytes, inputs: Sequence[TensorSpec],
             outputs: Sequence[TensorSpec], index: int = 0) -> Iterator[Callable[[], None]]:
    """
    Give a function that runs an engine once, on inputs that lie in page-locked memory.

    :param package: ``tensorrt`` or ``tensorrt_rtx``.
    :param plan: bytes of an engine that was built here.
    :param inputs: tensors with their shapes settled.
    :param outputs: the same.
    """
    api = load_tensorrt(package)
    device = open_device(index)
    engine: Any = None
    context: Any = None
    runtime: Any = None
    try:
        runtime = api.trt.Runtime(api.log.logger)
        engine = runtime.deserialize_cuda_engine(plan)
        context = engine.create_execution_context()
        ins = [_Tensor(device, spec) for spec in inputs]
        outs = [_Tensor(device, spec) for spec in outputs]
        _bind(context, ins, outs)

        def run() -> None:
            for tensor in ins:
                device.copy_to_device(tensor.device.address, tensor.array)
            if not context.execute_async_v3(device.stream_handle):
                raise RuntimeError('execute_async_v3 refused')
            for tensor in outs:
                device.copy_to_host(tensor.array, tensor.device.address)
            device.synchronize()

        run()
        yield run
        # Whoever still holds the function holds no array of the device.
        ins.clear()
        outs.clear()
    finally:
        context = engine = runtime = None  # noqa: F841  # in this order
        device.close()
