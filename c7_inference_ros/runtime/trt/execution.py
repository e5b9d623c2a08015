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
Running one engine: copy in, enqueue or replay, copy out, wait once.

What one combination of input shapes needs is settled when it is first seen and kept, so that an
inference of the same shapes as before allocates nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from typing import Mapping

from c7_inference_ros.errors import DeviceLostError
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.errors import InferenceRuntimeError
from c7_inference_ros.runtime.base import TensorMap
from c7_inference_ros.runtime.cuda.errors import forget_frames
from c7_inference_ros.runtime.trt.buffers import DataDependentOutput
from c7_inference_ros.runtime.trt.buffers import make_output_allocator
from c7_inference_ros.runtime.trt.buffers import TensorBuffer
from c7_inference_ros.runtime.trt.context import TensorrtContext
from c7_inference_ros.runtime.trt.engine import TensorrtEngine
from c7_inference_ros.runtime.trt.engine_memory import EngineMemory
from c7_inference_ros.runtime.trt.graph_replay import GraphReplay
from c7_inference_ros.runtime.trt.io_tensors import IoTensor
import numpy as np
import numpy.typing as npt

#: Combinations of shapes that are kept; cameras and batches do not make more.
_MAX_BINDINGS = 16
#: No shape has more dimensions; an output that is a shape has no more elements.
_MAX_DIMS = 64
#: Outputs of unknown size get memory for the largest possible one up to this size.
_PREALLOCATED = 16 << 20

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Binding:
    """
    One combination of input shapes.

    :param shapes: shape by input.
    :param inputs: host array by input.
    :param outputs: host array by output; none of those whose shape depends on the data.
    """

    shapes: Mapping[str, tuple[int, ...]]
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


class TensorrtExecution:
    """
    An engine with a context, buffers and perhaps a CUDA graph.

    :param loaded: the engine.
    :param context: its context, with its profile, which works in memory already.
    :param tensors: inputs with the shapes that are the largest to come, and outputs.
    :param memory: where the buffers come from.
    :param use_cuda_graph: capture a graph where that is possible.
    """

    def __init__(self, loaded: TensorrtEngine, context: TensorrtContext,
                 tensors: tuple[IoTensor, ...], memory: EngineMemory,
                 use_cuda_graph: bool) -> None:
        """Keep the parts; :meth:`prepare` allocates."""
        self._loaded = loaded
        self._context = context
        self._device = loaded.device
        is_direct = self._device.is_integrated
        buffers = [TensorBuffer(one, memory, is_direct) for one in tensors]
        self._inputs = [one for one in buffers if one.tensor.is_input]
        self._outputs = [one for one in buffers if not one.tensor.is_input]
        self._deciding = [one for one in self._inputs if one.tensor.is_host]
        self._open: dict[str, DataDependentOutput] = {}
        self._allocators: list[Any] = []
        self._bindings: dict[Any, Binding] = {}
        self._key: Any = None
        self._is_fixed = not self._deciding and all(
            size >= 0 for one in self._inputs for size in one.spec.shape)
        self._use_cuda_graph = use_cuda_graph
        self._replay = GraphReplay(self._device)

    @property
    def has_graph(self) -> bool:
        """Whether a CUDA graph is replayed at the moment."""
        return self._replay.has_graph

    @property
    def note(self) -> str:
        """Why there is no CUDA graph although one was wanted; empty otherwise."""
        return self._replay.note

    @property
    def is_stale(self) -> bool:
        """Whether what was captured is void since the shared activations moved."""
        return self._replay.is_stale(self._context.generation)

    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the outputs as the inputs are now; -1 where data decides."""
        return {one.spec.name: self._context.shape_of(one.spec.name) for one in self._outputs}

    def prepare(self) -> None:
        """
        Allocate all buffers at their largest sizes and tell TensorRT where they are.

        :raises InferenceRuntimeError: TensorRT refuses something, or there is no memory.
        """
        for buffer in (*self._inputs, *self._outputs):
            if buffer.tensor.is_input:
                buffer.reserve(buffer.spec.max_bytes or 0)
            elif buffer.tensor.is_host:
                known = buffer.spec.max_bytes
                buffer.reserve(_MAX_DIMS * buffer.spec.dtype.itemsize if known is None else known)
            else:
                continue
            # Before shapes are inferred: values in host memory may decide on them.
            self._context.set_address(buffer.spec.name, buffer.address)
        for buffer in self._deciding:
            view = buffer.view(buffer.spec.max_shape)
            view[...] = np.reshape(buffer.tensor.values, view.shape) if buffer.tensor.values else 1
        self._key = self._key_of({
            one.spec.name: one.view(one.spec.max_shape) for one in self._inputs})
        self._bindings[self._key] = self._bind(
            {one.spec.name: one.spec.max_shape for one in self._inputs})
        self._replay.is_wanted = self._use_cuda_graph and not self._context.captures_itself
        if self._replay.is_wanted and (reason := self._why_no_graph()):
            self._replay.refuse(reason)

    def warm_up(self) -> None:
        """
        Run twice with zeros, which also captures the graph; what is slow once is over then.

        :raises InferenceRuntimeError: it does not run.
        """
        if self._key is None:
            return  # the last shapes were refused; the next ones are settled when they come
        # Constants of the context may still be on their way, on a stream that is not ours.
        self._device.synchronize(is_everything=True)
        self._loaded.pool.phase = 'inference'
        binding = self._bindings[self._key]
        for buffer in self._inputs:
            if not buffer.tensor.is_host:
                binding.inputs[buffer.spec.name].fill(0)
        for _ in range(2):
            self.run(binding.inputs)

    def run(self, inputs: TensorMap) -> TensorMap:
        """
        Run one inference; it replays the graph when the same shapes come for the third time.

        :param inputs: one array an input, of its type.
        :returns: page-locked arrays that the next call overwrites.
        :raises InferenceError: a shape that the profile does not allow, or TensorRT failed.
        :raises OutOfMemoryError: an output needs more memory than there is.
        :raises DeviceLostError: the context broke.
        """
        try:
            return self._run(inputs)
        except InferenceRuntimeError as error:
            # Whoever keeps the error must not keep the buffers.
            forget_frames(error)
            if not isinstance(error, DeviceLostError):
                # What was put on the stream before the failure still uses them.
                self._device.synchronize()
            raise

    def input_view(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return the page-locked memory of an input; what is written there needs no copy."""
        for buffer in self._inputs:
            if buffer.spec.name == name:
                return buffer.view(shape)
        raise KeyError(name)

    def close(self) -> None:
        """Give everything back: graph, context, buffers, in this order. Idempotent."""
        self._replay.drop()
        self._context.close()
        self._allocators.clear()
        self._bindings.clear()
        for buffer in (*self._inputs, *self._outputs):
            buffer.free()

    def _run(self, inputs: TensorMap) -> TensorMap:
        binding = self._binding_for(inputs)
        device = self._device
        for buffer in self._inputs:
            name = buffer.spec.name
            view, array = binding.inputs[name], inputs[name]
            if array.base is not view.base or not _is_same_memory(array, view):
                np.copyto(view, array)
            if buffer.is_copied:
                device.copy_to_device(buffer.address, view)
        for output in self._open.values():
            output.begin()
        self._launch()
        outputs = binding.outputs
        if self._open:
            outputs = {**outputs, **{name: output.buffer.view(output.finish())
                                     for name, output in self._open.items()}}
        for buffer in self._outputs:
            if buffer.is_copied and outputs[buffer.spec.name].nbytes:
                device.copy_to_host(outputs[buffer.spec.name], buffer.address)
        device.synchronize()
        if not self._open:
            return outputs
        return {one.spec.name: outputs[one.spec.name] for one in self._outputs}

    def _launch(self) -> None:
        # The number of the context's memory is part of what a graph is good for.
        try:
            self._replay.run(self._key, self._context.generation, self._context.enqueue)
        except InferenceRuntimeError:
            for output in self._open.values():
                if output.problem is not None:
                    raise output.problem from None
            raise

    def _binding_for(self, inputs: TensorMap) -> Binding:
        if self._is_fixed:
            return self._bindings[self._key]
        key = self._key_of(inputs)
        if key == self._key:
            return self._bindings[key]
        self._check_smallest(inputs)
        for buffer in self._deciding:
            np.copyto(buffer.view(buffer.spec.max_shape), inputs[buffer.spec.name])
        # Until everything is set, the context has no valid combination, and a graph of it is void.
        self._key = None
        self._replay.drop()
        binding = self._bind({name: array.shape for name, array in inputs.items()},
                             self._bindings.get(key))
        if len(self._bindings) >= _MAX_BINDINGS:
            self._bindings.pop(next(iter(self._bindings)))
        self._bindings[key] = binding
        self._key = key
        return binding

    def _key_of(self, inputs: TensorMap) -> Any:
        return (tuple(inputs[one.spec.name].shape for one in self._inputs),
                tuple(inputs[one.spec.name].tobytes() for one in self._deciding))

    def _bind(self, shapes: Mapping[str, tuple[int, ...]],
              known: Binding | None = None) -> Binding:
        """Set the shapes of the inputs and find out those of the outputs."""
        context = self._context
        for buffer in self._inputs:
            context.set_shape(buffer.spec.name, shapes[buffer.spec.name])
        context.infer_shapes()
        if known is not None:
            return known
        outputs: dict[str, Array] = {}
        for buffer in self._outputs:
            name = buffer.spec.name
            shape = context.shape_of(name)
            if any(size < 0 for size in shape):
                self._leave_open(buffer)
                continue
            size = buffer.bytes_of(shape)
            if not buffer.has_room(size):
                # Other shapes were settled with the memory that goes now, also if no other comes.
                self._bindings.clear()
                buffer.reserve(size)
            context.set_address(name, buffer.address)
            outputs[name] = buffer.view(shape)
        inputs = {one.spec.name: one.view(shapes[one.spec.name]) for one in self._inputs}
        return Binding(dict(shapes), inputs, MappingProxyType(outputs))

    def _leave_open(self, buffer: TensorBuffer) -> None:
        """Let an output be allocated while it is made."""
        name = buffer.spec.name
        if name in self._open:
            return
        output = DataDependentOutput(buffer)
        bound = self._context.max_output_bytes(name)
        if bound is not None and bound <= _PREALLOCATED:
            buffer.reserve(bound)
        allocator = make_output_allocator(self._loaded.api.trt, output)
        self._context.set_output_allocator(name, allocator)
        self._open[name] = output
        self._allocators.append(allocator)

    def _check_smallest(self, inputs: TensorMap) -> None:
        for buffer in self._inputs:
            shape, smallest = inputs[buffer.spec.name].shape, buffer.tensor.smallest
            if any(size < least for size, least in zip(shape, smallest)):
                raise InferenceError(
                    f'{self._loaded.path}: input {buffer.spec.name} is {list(shape)}, the '
                    f'smallest that its profile allows is {list(smallest)}; feed a larger one, or '
                    f'compile the engine with another profile')

    def _why_no_graph(self) -> str:
        if self._open:
            return f'the shape of output {", ".join(self._open)} depends on the data'
        if self._deciding:
            names = ', '.join(one.spec.name for one in self._deciding)
            return f'the values of input {names} decide on shapes'
        if getattr(self._loaded.engine, 'streamable_weights_size', 0) > 0:
            return 'the engine streams its weights'
        if not self._context.is_capturable():
            return f'{self._loaded.api.package} says that its work cannot be captured'
        return ''


def _is_same_memory(array: Array, view: Array) -> bool:
    """Return whether two arrays of one piece of memory begin at the same place."""
    return bool(array.__array_interface__['data'] == view.__array_interface__['data'])
