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

"""A loaded engine, and the steps of loading one; each is taken back when a later one fails."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from typing import Mapping

from c7_inference_ros.engines.tensorrt_api import TensorrtApi
from c7_inference_ros.engines.types import EngineManifest
from c7_inference_ros.model_files.tensor_spec import TensorSpec
from c7_inference_ros.runtime.base import EngineHandle
from c7_inference_ros.runtime.cuda.device import CudaDevice
from c7_inference_ros.runtime.cuda.errors import forget_frames
from c7_inference_ros.runtime.memory_budget import Reservation
from c7_inference_ros.runtime.process_memory import trim
from c7_inference_ros.runtime.trt.activation_arena import ActivationArena
from c7_inference_ros.runtime.trt.context import TensorrtContext
from c7_inference_ros.runtime.trt.engine import TensorrtEngine
from c7_inference_ros.runtime.trt.engine_memory import EngineMemory
from c7_inference_ros.runtime.trt.execution import TensorrtExecution
from c7_inference_ros.runtime.trt.gpu_allocator import GpuMemoryPool
from c7_inference_ros.runtime.trt.io_tensors import check_io
from c7_inference_ros.runtime.trt.io_tensors import IoTensor
from c7_inference_ros.runtime.trt.io_tensors import read_io
import numpy as np
import numpy.typing as npt


class TensorrtHandle(EngineHandle):
    """
    An engine on a device; made by :func:`load_handle`.

    :param path: the engine.
    :param manifest: what is known of it.
    :param tensors: its inputs and outputs, with the largest shapes to come.
    :param execution: what runs it.
    :param memory: what it takes.
    :param pool: what TensorRT takes of that.
    :param undo: gives everything back, in order.
    """

    def __init__(self, path: Path, manifest: EngineManifest, tensors: tuple[IoTensor, ...],
                 execution: TensorrtExecution, memory: EngineMemory, pool: GpuMemoryPool,
                 undo: ExitStack) -> None:
        """Describe the model as its manifest and the engine do."""
        super().__init__(path.stem, tuple(one.spec for one in tensors if one.is_input),
                         tuple(one.spec for one in tensors if not one.is_input),
                         manifest.metadata, manifest.processing)
        self.path = path
        self.execution = execution
        self.engine_memory = memory
        self.pool = pool
        self._undo = undo

    def input_view(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """
        Return the page-locked memory of an input.

        Fed to :meth:`TensorrtRuntime.infer` as it is, it saves one copy.
        """
        return self.execution.input_view(name, shape)

    def close(self) -> None:
        """Give everything back; idempotent."""
        self.is_released = True
        self._undo.close()


def load_handle(path: Path, manifest: EngineManifest, plan: list[bytes], *, api: TensorrtApi,
                device: CudaDevice, arena: ActivationArena, reservation: Reservation,
                profile: int, inputs: Mapping[str, tuple[int, ...]],
                use_cuda_graph: bool) -> TensorrtHandle:
    """
    Load an engine that was trusted and admitted, and run it twice.

    :param plan: the bytes that were trusted; taken out, so that nobody keeps them.
    :param api: the TensorRT that it was built with.
    :param device: where it goes.
    :param arena: where its activations lie.
    :param reservation: what it was granted; given back by the caller.
    :param profile: index of the optimisation profile.
    :param inputs: largest shapes to come, by input.
    :param use_cuda_graph: capture a graph where that is possible.
    :raises InferenceRuntimeError: it cannot be loaded; everything is as it was.
    """
    with ExitStack() as undo:
        try:
            return _load(undo, path, manifest, plan, api, device, arena, reservation, profile,
                         inputs, use_cuda_graph)
        except BaseException as error:
            forget_frames(error)
            raise


def _load(undo: ExitStack, path: Path, manifest: EngineManifest, plan: list[bytes],
          api: TensorrtApi, device: CudaDevice, arena: ActivationArena, reservation: Reservation,
          profile: int, inputs: Mapping[str, tuple[int, ...]],
          use_cuda_graph: bool) -> TensorrtHandle:
    memory = EngineMemory(device, reservation, path.stem)
    pool = GpuMemoryPool(memory)
    loaded = TensorrtEngine(api, device, pool, path)
    undo.callback(loaded.close)
    engine = loaded.load(plan.pop())
    trim()
    tensors = read_io(api, engine, path, profile)
    check_io(path, tensors, engine, manifest)
    del engine  # the last reference is to be the one that is closed
    tensors = tuple(_at_most(one, inputs) for one in tensors)
    context = TensorrtContext(loaded, profile, use_cuda_graph)
    undo.callback(context.close)
    # Before it is given memory, as NVIDIA does: how much it needs depends on its profile.
    context.select_profile()
    undo.callback(arena.leave, context)
    arena.join(device, context, path.stem)
    execution = TensorrtExecution(loaded, context, tensors, memory, use_cuda_graph)
    undo.callback(execution.close)
    execution.prepare()
    shapes = execution.output_shapes()
    execution.warm_up()
    return TensorrtHandle(
        path, manifest, tuple(one if one.is_input else _with_shape(one, shapes)
                              for one in tensors), execution, memory, pool, undo.pop_all())


def measured_device_bytes(handle: TensorrtHandle, counts: bool, free_difference: int) -> int:
    """
    Return what a handle really takes of the device, without the shared activations.

    :param counts: whether TensorRT took its memory through the allocator.
    :param free_difference: how much less is free than before it was loaded.
    """
    taken = handle.engine_memory.taken(True)
    return taken if counts else max(taken, free_difference)


def _at_most(tensor: IoTensor, inputs: Mapping[str, tuple[int, ...]]) -> IoTensor:
    """Return an input with the largest shape to come instead of the largest possible."""
    shape = inputs.get(tensor.name, ())
    if not tensor.is_input or tensor.is_host or not shape or min(shape) < 0:
        return tensor
    return replace(tensor, spec=replace(tensor.spec, max_shape=shape))


def _with_shape(tensor: IoTensor, shapes: Mapping[str, tuple[int, ...]]) -> IoTensor:
    shape = shapes[tensor.name]
    # An open dimension of the engine that is known for the largest inputs.
    largest = tuple(np.maximum(shape, -1).tolist())
    spec: TensorSpec = replace(tensor.spec, max_shape=largest)
    return replace(tensor, spec=spec)
