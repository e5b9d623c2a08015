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

"""Shapes and profiles of an execution context of the TensorRT doubles."""

from __future__ import annotations

from typing import Any

from cuda_codes import CudaCallError
import numpy as np
from simulated_stream import Work
from trt_binding import report
from trt_engine import give_back
from trt_enqueue import host_values
from trt_plan import Plan
from trt_plan import Tensor
from trt_runtime import Refused
from trt_shapes import nbytes
from trt_shapes import output_shapes

USAGE = (3, 'API Usage Error')


class ContextShapes:
    """The part of IExecutionContext that knows shapes."""

    _plan: Plan
    _gpu: Any
    _trt: Any
    _engine: Any
    _shapes: dict[str, list[int]]
    _addresses: dict[str, int]
    _alone: Any
    _injected: Any
    _tensor: Any
    _refuse: Any
    _take_memory: Any

    def set_input_shape(self, name: str, shape: Any) -> bool:
        """Set the shape of an input; false when it does not fit."""
        if not isinstance(shape, (tuple, list, self._trt.Dims)):
            raise TypeError('set_input_shape(): incompatible function arguments: a shape is a '
                            f'tuple, a list or Dims, not {type(shape).__name__}')
        if len(shape) > self._trt.Dims.MAX_DIMS:
            raise RuntimeError('The number of input dims exceeds the maximum allowed number of '
                               'dimensions')
        sizes = list(self._trt.Dims(shape))
        with self._alone('set_input_shape'):
            if not self._injected('set_input_shape'):
                return False
            tensor = self._tensor(name, 'setInputShape')
            if tensor is None:
                return False
            if not tensor.is_input:
                return self._refuse('setInputShape', f'{name} is not an input.')
            if len(sizes) != len(tensor.shape) or any(
                    own not in (-1, size) for own, size in zip(tensor.shape, sizes)):
                return self._refuse(
                    'setInputShape', 'Parameter check failed, condition: engineDims.d[i] == '
                    f'dims.d[i]. Static dimension mismatch while setting input shape for {name}.'
                    f' Set dimensions are {sizes}. Expected dimensions are {tensor.shape}.')
            low, _, high = self._plan.profiles[self._profile][name]
            if any(not least <= size <= most for least, size, most in zip(low, sizes, high)):
                return self._refuse(
                    'setInputShape', 'Parameter check failed, condition: '
                    f'satisfyProfile(runtimeDims, profile). Set dimension {sizes} for tensor '
                    f'{name} does not satisfy any optimization profiles. Valid range for '
                    f'profile {self._profile}: {low}..{high}.')
            if self._input_shape(tensor) != sizes:
                self._is_warm, self._needed = False, None
            self._shapes[name] = sizes
            return True

    def _input_shape(self, tensor: Tensor) -> list[int]:
        found = self._shapes.get(tensor.name)
        if found is not None:
            return list(found)
        low, _, high = self._plan.profiles[self._profile][tensor.name]
        return [size if least != most else least
                for size, least, most in zip(tensor.shape, low, high)]

    def _open_inputs(self) -> list[str]:
        return [one.name for one in self._plan.tensors
                if one.is_input and -1 in self._input_shape(one)]

    def _unset_host_inputs(self) -> list[str]:
        return [one.name for one in self._plan.tensors
                if one.is_input and one.is_on_host and not self._addresses.get(one.name)]

    def _output_shapes(self) -> dict[str, list[int]]:
        outputs = [one for one in self._plan.tensors if not one.is_input]
        if self._open_inputs() or self._unset_host_inputs():
            return {one.name: list(one.shape) for one in outputs}
        shapes = {one.name: self._input_shape(one) for one in self._plan.tensors if one.is_input}
        return output_shapes(self._plan, shapes, host_values(self))

    def get_tensor_shape(self, name: str) -> Any:
        """Return the shape now; -1 where open."""
        tensor = self._tensor(name, 'getTensorShape')
        if tensor is None:
            return self._engine._dims(None)
        return self._trt.Dims(self._input_shape(tensor) if tensor.is_input
                              else self._output_shapes()[name])

    def get_tensor_strides(self, name: str) -> Any:
        """Return the strides in elements."""
        shape = list(self.get_tensor_shape(name))
        return self._trt.Dims([int(np.prod(shape[index + 1:])) for index in range(len(shape))])

    def infer_shapes(self) -> list[str]:
        """Return the inputs that are not specified enough; raises on an injected failure."""
        with self._alone('infer_shapes'):
            if not self._injected('infer_shapes'):
                raise RuntimeError('infer_shapes error code: -1')
            return [*dict.fromkeys(self._open_inputs() + self._unset_host_inputs())]

    def get_max_output_size(self, name: str) -> int:
        """Return an upper bound in bytes; -1 where there is none."""
        tensor = self._plan.tensor(name)
        if tensor is None or tensor.is_input or self._open_inputs():
            return -1
        shape = tensor.largest if tensor.depends_on_data else self._output_shapes()[name]
        return -1 if shape is None or -1 in shape else nbytes(tensor.dtype, shape)

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        """Select a profile; open shapes are open again. Raises where it fails."""
        with self._alone('set_optimization_profile_async'):
            try:
                self._gpu.injected('set_optimization_profile_async')
                self._select(profile_index, stream_handle)
            except CudaCallError as error:
                report(self, 'IExecutionContext::setOptimizationProfileAsync', 1,
                       'Cuda Runtime', str(error))
            except Refused as refusal:
                report(self, 'IExecutionContext::setOptimizationProfileAsync', *refusal.args)
            else:
                return True
        raise RuntimeError('Error in set optimization profile async.')

    def _select(self, index: int, stream_handle: int) -> None:
        if not 0 <= index < len(self._plan.profiles):
            raise Refused(*USAGE, 'Parameter check failed, condition: profileIndex >= 0 && '
                          f'profileIndex < getNbOptimizationProfiles(), index {index}.')
        context = self._gpu.runtime_context()
        stream = self._gpu.stream_of(stream_handle, 'cudaMemcpyAsync', context)
        if self._grows and self._plan.context_bytes[index] != self._memory_size:
            give_back(self, self._memory, self._memory_size)
            self._memory = 0
            self._take_memory(self._plan.context_bytes[index])
        self._profile, self._shapes, self._needed = index, {}, None
        self._is_warm, self._profile_stream = False, stream_handle
        stream.enqueue(Work('setOptimizationProfile', self._profile_is_set))

    def _profile_is_set(self) -> None:
        self._profile_stream = 0
