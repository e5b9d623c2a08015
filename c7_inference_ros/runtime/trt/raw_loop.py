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
from dataclasses import dataclass
from typing import Any
from typing import Callable
from typing import Iterator
from typing import Sequence

from c7_inference_ros.engines.tensorrt_api import load_tensorrt
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.model_files.tensor_spec import TensorSpec
from c7_inference_ros.runtime.base import TensorMap
from c7_inference_ros.runtime.cuda.device import CudaDevice
from c7_inference_ros.runtime.cuda.device import open_device
import numpy as np


@dataclass(frozen=True)
class RawLoop:
    """
    An engine in its shortest loops; made by :func:`raw_loop`.

    :param run: copies the inputs to the device, runs it once, copies the outputs back and waits.
    :param enqueue: runs it so many times back to back on inputs that lie on the device, and waits
        once: what the GPU alone takes.
    """

    run: Callable[[], None]
    enqueue: Callable[[int], None]


class _Tensor:

    def __init__(self, device: CudaDevice, spec: TensorSpec) -> None:
        size = spec.max_bytes
        if size is None:
            raise InferenceError(f'the size of {spec.name} depends on the data')
        self.name, self.shape = spec.name, spec.max_shape or spec.shape
        self.host = device.page_locked(size, spec.name)
        self.array = self.host.view(self.shape, spec.dtype)
        self.device = device.allocate(size, spec.name)


def _bind(context: Any, ins: list[_Tensor], outs: list[_Tensor], values: TensorMap) -> None:
    for tensor in ins:
        tensor.array[...] = values.get(tensor.name, np.zeros(tensor.shape, tensor.array.dtype))
        if not context.set_input_shape(tensor.name, tuple(tensor.shape)):
            raise InferenceError(f'set_input_shape of {tensor.name} refused')
    for tensor in (*ins, *outs):
        if not context.set_tensor_address(tensor.name, tensor.device.address):
            raise InferenceError(f'set_tensor_address of {tensor.name} refused')


@contextmanager
def raw_loop(package: str, plan: bytes, inputs: Sequence[TensorSpec],
             outputs: Sequence[TensorSpec], index: int = 0,
             values: TensorMap | None = None) -> Iterator[RawLoop]:
    """
    Give what runs an engine, on inputs that lie in page-locked memory.

    The thread may have the GPU open already; the engine is loaded once more.

    :param package: ``tensorrt`` or ``tensorrt_rtx``.
    :param plan: bytes of an engine that was built here.
    :param inputs: tensors with their shapes settled.
    :param outputs: the same.
    :param index: number of the GPU.
    :param values: of the inputs, by name; zeros where there are none.
    :raises InferenceError: TensorRT refuses the engine, or a call.
    """
    api = load_tensorrt(package)
    device = open_device(index)
    engine: Any = None
    context: Any = None
    runtime: Any = None
    ins: list[_Tensor] = []
    outs: list[_Tensor] = []
    try:
        runtime = api.trt.Runtime(api.log.logger)
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise InferenceError(f'{package} cannot load the engine a second time')
        context = engine.create_execution_context()
        ins += [_Tensor(device, spec) for spec in inputs]
        outs += [_Tensor(device, spec) for spec in outputs]
        _bind(context, ins, outs, values or {})

        def launch() -> None:
            if not context.execute_async_v3(device.stream_handle):
                raise InferenceError('execute_async_v3 refused')

        def run() -> None:
            for tensor in ins:
                device.copy_to_device(tensor.device.address, tensor.array)
            launch()
            for tensor in outs:
                device.copy_to_host(tensor.array, tensor.device.address)
            device.synchronize()

        def enqueue(count: int) -> None:
            for _ in range(count):
                launch()
            device.synchronize()

        run()
        yield RawLoop(run, enqueue)
    finally:
        # Whoever still holds the loop holds no array of the device.
        ins.clear()
        outs.clear()
        context = engine = runtime = None  # noqa: F841  # in this order
        device.close()
