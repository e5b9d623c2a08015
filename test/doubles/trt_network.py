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

"""Network and ONNX parser of the TensorRT doubles; garbage parses without an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any
import weakref

from trt_binding import Bound
from trt_binding import log
from trt_binding import report
from trt_binding import setting
from trt_onnx import leading_message
from trt_onnx import load_graph
from trt_onnx import LoadedGraph

_LAYERS = {
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
        self._kind = getattr(kinds, _LAYERS.get(node.op_type, 'PLUGIN_V2'),
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


class ParserError(Bound):
    """Why a model was not read."""

    def _set_up(self, code: str, text: str, where: str) -> None:
        self._code, self._text, self._where = getattr(self._trt.ErrorCode, code), text, where

    def code(self) -> Any:
        """Return the kind."""
        return self._code

    def desc(self) -> str:
        """Return the text."""
        return self._text

    def func(self) -> str:
        """Return where in the parser."""
        return self._where

    def file(self) -> str:
        """Return the file of the parser."""
        return 'onnxProtoUtils.hpp'

    def line(self) -> int:
        """Return the line of the parser."""
        return 0

    def node(self) -> int:
        """Return the node; -1 for none."""
        return -1

    def node_name(self) -> str:
        """Return the name of the node."""
        return ''

    def node_operator(self) -> str:
        """Return the operator of the node."""
        return ''

    def __str__(self) -> str:
        """Show it."""
        return f'({self._where}): {self._code.name}: {self._text}'


class OnnxParser(Bound):
    """Reads ONNX into a network, once."""

    _is_constructible = True
    flags = setting('flags', 0)
    num_errors = property(lambda self: len(self._errors))

    def __init__(self, network: Any, logger: Any) -> None:
        """Take the network to fill."""
        if not isinstance(network, self._trt.INetworkDefinition) or not isinstance(
                logger, self._trt.ILogger):
            raise TypeError('__init__(): incompatible constructor arguments. The following '
                            'argument types are supported:\n    1. OnnxParser(network: '
                            'INetworkDefinition, logger: ILogger)')
        self._is_initialized = True
        if network._parsers:
            self._gpu.violated('a second parser was made for one network: the real library '
                               'crashes when they are freed')
        # The binding lets the network keep its parser, and not the other way round.
        network._parsers.append(self)
        self._network, self._logger = weakref.ref(network), logger
        self._errors: list[Any] = []
        self._has_model = False

    def _fail(self, code: str, text: str, where: str) -> bool:
        error = self._trt.ParserError._make(code, text, where)
        self._errors.append(error)
        log(self, self._trt.ILogger.Severity.ERROR, str(error))
        return False

    def parse(self, model: Any, path: str | None = None) -> bool:
        """Read a model from memory."""
        return self._read(bytes(memoryview(model).cast('B')),
                          None if path is None else Path(path).parent)

    def parse_from_file(self, model: str) -> bool:
        """Read a model from a file; with its external weights."""
        path = Path(model)
        if not path.is_file():
            return self._fail('INVALID_VALUE', 'Assertion failed: stat(onnxModelFile, &sb) == 0 '
                              '&& S_ISREG(sb.st_mode): Input file cannot be found, or is not a '
                              f'regular file: {model}', 'parseFromFile')
        return self._read(path.read_bytes(), path.parent)

    def _read(self, data: bytes, folder: Path | None) -> bool:
        if self._has_model:
            return self._fail('MODEL_DESERIALIZE_FAILED', 'Assertion failed: '
                              'model->ByteSizeLong() == 0: A model was previously parsed!',
                              'deserializeOnnxModel')
        network = self._network()
        if network is None:
            self._gpu.violated('a parser read into a network that was freed: keep a reference '
                               'to the network')
            return False
        message = leading_message(data)
        try:
            graph = load_graph(message, folder) if message else None
        except Exception as error:  # protobuf has an exception class of its own
            return self._fail('MODEL_DESERIALIZE_FAILED',
                              f'Failed to parse the ONNX model: {error}', 'deserializeOnnxModel')
        if graph is not None:
            self._has_model = True
            network._fill(graph)
        return True

    def get_error(self, index: int) -> Any:
        """Return an error."""
        return self._errors[index]

    def clear_errors(self) -> None:
        """Forget the errors."""
        self._errors.clear()

    def set_flag(self, flag: Any) -> None:
        """Set a flag of the parser."""
        self._flags = self.__dict__.get('_flags', 0) | 1 << int(flag)

    def clear_flag(self, flag: Any) -> None:
        """Clear a flag of the parser."""
        self._flags = self.__dict__.get('_flags', 0) & ~(1 << int(flag))

    def get_flag(self, flag: Any) -> bool:
        """Return a flag of the parser."""
        return bool(self.__dict__.get('_flags', 0) & 1 << int(flag))

    def supports_operator(self, op_name: str) -> bool:
        """Return whether the double has a layer for it."""
        return op_name in _LAYERS
