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

"""A model in PyTorch, and the buffers between it and its callers."""

from __future__ import annotations

import gc
import math
from types import MappingProxyType
from typing import Any
from typing import Mapping
from typing import Sequence

from c7_inference_ros.model_files.tensor_spec import TensorSpec
from c7_inference_ros.runtime.base import EngineHandle
from c7_inference_ros.runtime.base import TensorMap
from c7_inference_ros.runtime.memory_budget import Reservation
from c7_inference_ros.runtime.process_memory import trim
import numpy as np
import numpy.typing as npt


class TorchHandle(EngineHandle):
    """
    A model in PyTorch.

    :param torch: the module.
    :param call: takes the input tensors in their order, returns the output tensors in theirs.
    :param device: where the model lies.
    :param dtype: element type that floating point inputs are given to the model in.
    :param is_cyclic: whether the model holds itself, so that letting go of it frees nothing.
    """

    def __init__(self, name: str, inputs: tuple[TensorSpec, ...],
                 outputs: tuple[TensorSpec, ...], metadata: Mapping[str, str], *, torch: Any,
                 call: Any, device: str, dtype: Any, is_cyclic: bool,
                 reservation: Reservation) -> None:
        """Take over the model and what was reserved for it; allocate the buffers."""
        super().__init__(name, inputs, outputs, metadata)
        self.call = call
        self.reservation = reservation
        self._is_cyclic = is_cyclic
        self._torch = torch
        self._device = device
        self._dtype = dtype
        self._staged = {spec.name: self._buffer(spec, spec.max_shape) for spec in inputs
                        if _is_known(spec.max_shape)}
        self._outs = {spec.name: self._buffer(spec, spec.max_shape) for spec in outputs
                      if _is_known(spec.max_shape)}

    def run(self, inputs: TensorMap) -> TensorMap:
        """
        Run the model once, as it stands: nothing is fused or reordered by what ran before.

        :raises ValueError: an output has another shape than was declared.
        """
        torch = self._torch
        with torch.inference_mode(), torch.jit.optimized_execution(False):
            found = self.call([self._stage(spec, inputs[spec.name]) for spec in self.inputs])
            results: dict[str, npt.NDArray[Any]] = {}
            for spec, tensor in zip(self.outputs, found):
                results[spec.name] = self._fetch(spec, tensor)
            if self._is_on_gpu:
                torch.cuda.synchronize(self._device)
        return MappingProxyType(results)

    def close(self) -> None:
        """Drop the model, its buffers and what was reserved."""
        self.call = None
        self._staged, self._outs = {}, {}
        self.is_released = True
        if self._is_cyclic:
            gc.collect()
        if self._is_on_gpu:
            self._torch.cuda.empty_cache()
        trim()
        self.reservation.release()

    @property
    def _is_on_gpu(self) -> bool:
        return self._device != 'cpu'

    def _buffer(self, spec: TensorSpec, shape: Sequence[int]) -> Any:
        return self._torch.empty(tuple(shape), dtype=getattr(self._torch, str(spec.dtype)),
                                 pin_memory=self._is_on_gpu)

    def _stage(self, spec: TensorSpec, array: npt.NDArray[Any]) -> Any:
        """Copy an input, which the model may write into, and move it to the device."""
        if spec.name in self._staged:
            tensor = _part(self._staged[spec.name], array.shape)
            np.copyto(tensor.numpy(), array)
        else:
            tensor = self._torch.from_numpy(array.copy())
        dtype = self._dtype if tensor.is_floating_point() else tensor.dtype
        return tensor.to(self._device, dtype, non_blocking=True)

    def _fetch(self, spec: TensorSpec, tensor: Any) -> npt.NDArray[Any]:
        shape = tuple(tensor.shape)
        if len(shape) != len(spec.shape) or any(
                size not in (-1, real) for size, real in zip(spec.shape, shape)):
            raise ValueError(f'output {spec.name} is {list(shape)}, declared was '
                             f'{list(spec.shape)}')
        out = self._outs.get(spec.name)
        if out is None or tensor.numel() > out.numel():
            out = self._buffer(spec, shape)
        out = _part(out, shape)
        out.copy_(tensor, non_blocking=True)
        array: npt.NDArray[Any] = out.numpy()
        return array


def _part(buffer: Any, shape: Sequence[int]) -> Any:
    """Return the beginning of a buffer as a tensor of a shape that is at most as large."""
    return buffer.view(-1)[:math.prod(shape)].view(tuple(shape))


def _is_known(shape: Sequence[int]) -> bool:
    return all(size >= 0 for size in shape)
