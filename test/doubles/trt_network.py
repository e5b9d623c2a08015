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

"""Networks of the TensorRT doubles."""

from __future__ import annotations

from typing import Any

from trt_binding import Bound
from trt_binding import report
from trt_binding import setting
from trt_onnx import LoadedGraph

LAYERS = {
    'Conv': 'CONVOLUTION', 'ConvTranspose': 'DECONVOLUTION', 'Relu': 'ACTIVATION',
    'Sigmoid': 'ACTIVATION', 'MatMul': 'MATRIX_MULTIPLY', 'Gemm': 'MATRIX_MULTIPLY',
    'Add': 'ELEMENTWISE', 'Mul': 'ELEMENTWISE', 'Sub': 'ELEMENTWISE', 'Div': 'ELEMENTWISE',
    'Concat': 'CONCATENATION', 'Resize': 'RESIZE', 'Constant': 'CONSTANT', 'Cast': 'CAST',
    'MaxPool': 'POOLING', 'AveragePool': 'POOLING', 'Reshape': 'SHUFFLE',
    'Transpose': 'SHUFFLE', 'QuantizeLinear': 'QUANTIZE', 'DequantizeLinear': 'DEQUANTIZE',
    'Softmax': 'SOFTMAX', 'Slice': 'SLICE', 'ReduceSum': 'REDUCE', 'Gather': 'GATHER'}


class ITensor(Bound):
    """A tensor of a network."""

    name = setting('name')
    dtype = setting('dtype')
    location = setting('location')
    allowed_formats = setting('allowed_formats', 8191)
    broadcast_across_batch = setting('broadcast_across_batch', False)
    is_shape_tensor = property(lambda self: self._is_shape)
    is_execution_tensor = property(lambda self: not self._is_shape)
    is_network_input = property(lambda self: self._role == 'input')
    is_network_output = property(lambda self: self._role == 'output')

    def _set_up(self, name: str, dtype: str, shape: Any, role: str = '') -> None:
        self._name, self._role, self._is_shape = name, role, False
        self._dtype = getattr(self._trt.DataType, dtype)
        self._location = self._trt.TensorLocation.DEVICE
        self._sizes, self._range = list(shape), None

    def _get_shape(self) -> Any:
        return self._trt.Dims(self._sizes)

    def _put_shape(self, value: Any) -> None:
        self._sizes = list(self._trt.Dims(value))

    shape = property(_get_shape, _put_shape)
    dynamic_range = property(lambda self: self._range,
                             lambda self, value: self.set_dynamic_range(*value))

    def set_dynamic_range(self, min: float, max: float) -> bool:  # noqa: A002
        """Set the INT8 range."""
        self._range = (float(min), float(max))
        return True

    def reset_dynamic_range(self) -> None:
        """Forget the INT8 range."""
        self._range = None


class ILayer(Bound):
    """A layer of a network."""

    name = setting('name')
    metadata = setting('metadata', '')
    type = property(lambda self: self._kind)  # noqa: A003
    num_inputs = property(lambda self: len(self._inputs))
    num_outputs = property(lambda self: len(self._outputs))
    precision_is_set = property(lambda self: self._wanted is not None)

    def _set_up(self, network: Any, node: Any, inputs: Any, outputs: Any) -> None:
        self._network, self._inputs, self._outputs = network, inputs, outputs
        self._name = node.name or f'node_of_{node.output[0]}'
        self._metadata = f'[ONNX Layer: {self._name}]'
        kinds = self._trt.LayerType
        self._kind = getattr(kinds, LAYERS.get(node.op_type, 'PLUGIN_V2'),
                             kinds.IDENTITY)
        self._wanted: Any = None
        self._output_types: dict[int, Any] = {}

    def _get_precision(self) -> Any:
        return self._trt.DataType.FLOAT if self._wanted is None else self._wanted

    def _put_precision(self, value: Any) -> None:
        if self._network._is_strongly_typed:
            report(self._network, 'ILayer::setPrecision', 3, 'API Usage Error',
                   f'{self._name}: precision cannot be set in a strongly typed network.')
            return
        self._wanted = value

    precision = property(_get_precision, _put_precision)

    def reset_precision(self) -> None:
        """Forget the precision."""
        self._wanted = None

    def get_input(self, index: int) -> Any:
        """Return an input; None past the end."""
        return self._inputs[index] if 0 <= index < len(self._inputs) else None

    def get_output(self, index: int) -> Any:
        """Return an output; None past the end."""
        return self._outputs[index] if 0 <= index < len(self._outputs) else None

    def set_output_type(self, index: int, dtype: Any) -> None:
        """Set the type of an output."""
        if self._network._is_strongly_typed:
            report(self._network, 'ILayer::setOutputType', 3, 'API Usage Error',
                   f'{self._name}: output type cannot be set in a strongly typed network.')
            return
        self._output_types[index] = dtype

    def get_output_type(self, index: int) -> Any:
        """Return the type of an output."""
        return self._output_types.get(index, self._outputs[index]._dtype)

    def output_type_is_set(self, index: int) -> bool:
        """Whether the type of an output was set."""
        return index in self._output_types

    def reset_output_type(self, index: int) -> None:
        """Forget the type of an output."""
        self._output_types.pop(index, None)


class INetworkDefinition(Bound):
    """A network; filled by a parser."""

    _error_recorder: Any = None
    name = setting('name', 'Unnamed Network 0')
    error_recorder = property(lambda self: self._error_recorder,
                              lambda self, value: self.__dict__.update(_error_recorder=value))
    builder = property(lambda self: self._builder)
    flags = property(lambda self: self._flags)
    has_implicit_batch_dimension = property(lambda self: False)
    num_inputs = property(lambda self: len(self._inputs))
    num_outputs = property(lambda self: len(self._outputs))
    num_layers = property(lambda self: len(self._layers))

    def _set_up(self, builder: Any, flags: int) -> None:
        self._builder, self._logger = builder, builder._logger
        self._error_recorder = builder._error_recorder
        kind = self._trt.NetworkDefinitionCreationFlag
        strong = 1 << int(kind.STRONGLY_TYPED)
        is_choice = not self._trt._is_rtx and hasattr(kind, 'EXPLICIT_BATCH')
        self._flags = flags if is_choice else flags | strong
        self._is_strongly_typed = bool(self._flags & strong)
        self._graph: LoadedGraph | None = None
        self._parsers: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._layers: list[Any] = []

    def _fill(self, graph: LoadedGraph) -> None:
        make = self._trt.ITensor._make
        tensors = {name: make(name, *spec) for name, spec in graph.tensors.items()}
        self._graph = graph
        for role, names, target in (('input', graph.inputs, self._inputs),
                                    ('output', graph.outputs, self._outputs)):
            for name in names:
                tensors[name]._role = role
                target.append(tensors[name])
        for node in graph.nodes:
            ends = [[tensors.get(name) for name in names if name]
                    for names in (node.input, node.output)]
            self._layers.append(self._trt.ILayer._make(self, node, *ends))

    def _one_of(self, things: list[Any], index: int, method: str) -> Any:
        if 0 <= index < len(things):
            return things[index]
        report(self, f'INetworkDefinition::{method}', 3, 'API Usage Error',
               f'Parameter check failed, condition: (0) <= (index) && (index) < '
               f'({len(things)}). Invalid index: {index}.')
        return None

    def get_input(self, index: int) -> Any:
        """Return an input; None past the end."""
        return self._one_of(self._inputs, index, 'getInput')

    def get_output(self, index: int) -> Any:
        """Return an output; None past the end."""
        return self._one_of(self._outputs, index, 'getOutput')

    def get_layer(self, index: int) -> Any:
        """Return a layer; None past the end."""
        return self._one_of(self._layers, index, 'getLayer')

    def get_flag(self, flag: Any) -> bool:
        """Return a creation flag."""
        return bool(self._flags & 1 << int(flag))

    def mark_output(self, tensor: Any) -> None:
        """Make a tensor an output."""
        tensor._role = 'output'
        self._outputs.append(tensor)

    def unmark_output(self, tensor: Any) -> None:
        """Make an output an inner tensor."""
        tensor._role = ''
        self._outputs.remove(tensor)

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self._layers)

    def __getitem__(self, index: int) -> Any:
        """Return a layer; raises past the end."""
        if not -len(self._layers) <= index < len(self._layers):
            raise IndexError('Out of bounds')
        return self._layers[index]
