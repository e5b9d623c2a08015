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
ONNX models as quantisation needs them: read whole, constants folded, types known.

The float32 model is brought to an opset with scales by channel, and its constants are folded by
ONNX Runtime's basic optimisations, which also fold batch normalisation into convolutions. Names of
layers stay, because users name the layers that are to stay in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
import tempfile
from typing import Any
from typing import Iterable
from typing import Mapping

from c7_inference_ros.engines.onnx_source import OnnxSource
from c7_inference_ros.engines.onnx_source import read_onnx_source
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.errors import RuntimeNotAvailableError

#: Operators whose inputs and weights become int8.
OPERATORS = ('Conv', 'MatMul', 'Gemm')
#: DequantizeLinear has scales by channel since this opset.
_OPSET = 13
QDQ = ('QuantizeLinear', 'DequantizeLinear')


@dataclass(frozen=True)
class Layer:
    """
    One layer that can be quantised.

    :param name: of its node.
    :param kind: type of its operator.
    :param activation: tensor that goes in; its weights are constants.
    """

    name: str
    kind: str
    activation: str


@dataclass(frozen=True)
class QuantizableModel:
    """
    A float32 model that is ready to be quantised.

    :param source: the file that it is from.
    :param model: ``onnx.ModelProto``; not to be changed.
    :param layers: by name, in the model's order.
    """

    source: OnnxSource
    model: Any
    layers: Mapping[str, Layer]

    @property
    def activations(self) -> tuple[str, ...]:
        """Tensors whose ranges are needed."""
        return tuple(dict.fromkeys(layer.activation for layer in self.layers.values()))

    def matching(self, patterns: Iterable[str]) -> frozenset[str]:
        """
        Return the layers that patterns of names or operator types name.

        :raises EngineBuildError: a pattern fits nothing.
        """
        found: set[str] = set()
        for pattern in patterns:
            names = {layer.name for layer in self.layers.values()
                     if fnmatchcase(layer.name, pattern) or fnmatchcase(layer.kind, pattern)}
            if not names and not any(
                    fnmatchcase(node.name, pattern) or fnmatchcase(node.op_type, pattern)
                    for node in self.model.graph.node):
                raise EngineBuildError(
                    f'{self.source.path}: the pattern {pattern!r} of layers in float32 fits no '
                    f'layer; correct it, the layers are called like '
                    f'{", ".join(list(self.layers)[:3])}')
            found |= names
        return frozenset(found)


def read_quantizable(path: Path) -> QuantizableModel:
    """
    Read a float32 model and find the layers that can be quantised.

    :raises EngineDeserializeError: the file cannot be used.
    :raises EngineBuildError: it cannot be quantised.
    :raises RuntimeNotAvailableError: onnx or ONNX Runtime is not installed.
    """
    source = read_onnx_source(path)
    onnx = import_onnx()
    try:
        model = onnx.load(str(path))
    except Exception as error:
        raise EngineBuildError(f'{path} cannot be read: {_line(error)}; export it again'
                               ) from error
    if any(node.op_type in QDQ for node in model.graph.node):
        raise EngineBuildError(
            f'{path} is quantised already (it has QuantizeLinear); build it without calibration '
            f'data, or give its float32 original')
    _name_nodes(model)
    model = _fold(path, _raise_opset(path, model))
    layers = _layers(model)
    if not layers:
        raise EngineBuildError(
            f'{path} has no {", ".join(OPERATORS)} with float32 input and constant weights, so '
            f'that nothing can be quantised; give the float32 model, or build for another '
            f'precision')
    return QuantizableModel(source, model, layers)


def import_onnx() -> Any:
    """
    Import onnx.

    :raises RuntimeNotAvailableError: it is not installed.
    """
    try:
        import onnx
        import onnx.version_converter
    except ImportError as error:
        raise RuntimeNotAvailableError(
            f'INT8 calibration needs onnx, which cannot be imported ({_line(error)}); install '
            f'it, for example with: pip install onnx') from error
    return onnx


def import_onnxruntime() -> Any:
    """
    Import ONNX Runtime.

    :raises RuntimeNotAvailableError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeNotAvailableError(
            f'INT8 calibration needs ONNX Runtime, which cannot be imported ({_line(error)}); '
            f'install it, for example with: pip install onnxruntime') from error
    return onnxruntime


def open_session(model: bytes | Path, name: str) -> Any:
    """
    Load a model into ONNX Runtime on the CPU.

    Quantised layers are computed in float32 from values that were rounded to int8. That is exact,
    while the int8 kernels saturate on some CPUs.

    :param name: what to call it in messages.
    :raises EngineBuildError: ONNX Runtime does not run it.
    """
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry('session.disable_quant_qdq', '1')
    try:
        return ort.InferenceSession(model if isinstance(model, bytes) else str(model), options,
                                    providers=['CPUExecutionProvider'])
    except Exception as error:
        raise _does_not_run(name, error) from error


def serialize(model: Any, name: str) -> bytes:
    """
    Return the bytes of a model, the same ones whenever the model is the same.

    :raises EngineBuildError: it is too large for one file.
    """
    try:
        return bytes(model.SerializeToString(deterministic=True))
    except ValueError as error:
        raise EngineBuildError(
            f'{name} has more than 2 GiB, which explicit quantisation cannot handle; use a '
            f'smaller model or another precision') from error


def _name_nodes(model: Any) -> None:
    """Give every node a name of its own: layers are excluded by name."""
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f'{node.name or node.op_type}#{index}'
        taken.add(node.name)


def _raise_opset(path: Path, model: Any) -> Any:
    opset = max((one.version for one in model.opset_import if one.domain in ('', 'ai.onnx')),
                default=0)
    if opset >= _OPSET:
        return model
    try:
        return import_onnx().version_converter.convert_version(model, _OPSET)
    except Exception as error:
        raise EngineBuildError(
            f'{path} has opset {opset}, INT8 needs {_OPSET}, and it cannot be converted: '
            f'{_line(error)}; export it again with opset {_OPSET} or newer') from error


def _fold(path: Path, model: Any) -> Any:
    """Return the model with constants folded and shapes inferred."""
    onnx, ort = import_onnx(), import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory(prefix='c7_int8.') as folder:
        optimized = Path(folder) / 'model.onnx'
        options.optimized_model_filepath = str(optimized)
        try:
            ort.InferenceSession(serialize(model, str(path)), options,
                                 providers=['CPUExecutionProvider'])
            folded = onnx.load(str(optimized))
        except EngineBuildError:
            raise
        except Exception as error:
            raise _does_not_run(str(path), error) from error
    # ONNX Runtime lists all the domains that it knows; TensorRT warns about them.
    used = {node.domain for node in folded.graph.node} | {'', 'ai.onnx'}
    imports = [one for one in folded.opset_import if one.domain in used]
    del folded.opset_import[:]
    folded.opset_import.extend(imports)
    return onnx.shape_inference.infer_shapes(folded)


def _layers(model: Any) -> dict[str, Layer]:
    float32 = import_onnx().TensorProto.FLOAT
    graph = model.graph
    weights = {one.name: one for one in graph.initializer}
    types = {info.name: info.type.tensor_type.elem_type
             for info in (*graph.input, *graph.value_info)}
    outputs = {info.name for info in graph.output}
    layers: dict[str, Layer] = {}
    for node in graph.node:
        if node.op_type not in OPERATORS or node.domain not in ('', 'ai.onnx'):
            continue
        activation, weight = node.input[0], weights.get(node.input[1])
        is_plain = weight is not None and weight.data_type == float32 and (
            len(weight.dims) == 2 if node.op_type != 'Conv' else not _is_depthwise(node, weight))
        # What leaves the model is left as it is.
        if is_plain and types.get(activation) == float32 and activation not in outputs and not any(
                attribute.name == 'transA' and attribute.i for attribute in node.attribute):
            layers[node.name] = Layer(node.name, node.op_type, activation)
    return layers


def _is_depthwise(convolution: Any, weight: Any) -> bool:
    """
    Whether each channel is filtered on its own.

    There is little arithmetic in it that int8 could save. TensorRT-RTX fills up its int8 weights
    with zeros, to more than five times the memory of person_ssdlite's.
    """
    group = next((one.i for one in convolution.attribute if one.name == 'group'), 1)
    return bool(group > 1 and weight.dims[1] == 1)


def _does_not_run(name: str, error: Exception) -> EngineBuildError:
    return EngineBuildError(
        f'{name} does not run in ONNX Runtime, where INT8 ranges are measured: {_line(error)}; '
        f'quantise it with another tool, and build the quantised model without calibration data')


def _line(error: Exception) -> str:
    return ' '.join(str(error).split())
