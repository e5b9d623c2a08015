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

"""What can be said of an ONNX model without a builder to ask."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Mapping

from c7_inference_ros.engines.building.network import nodes_of
from c7_inference_ros.engines.building.network import read_onnx
from c7_inference_ros.model_files.onnx_file import scan_onnx
from c7_inference_ros.model_files.protobuf_scan import fields
from c7_inference_ros.model_files.tensor_spec import TensorSpec
import numpy as np

# Numbers of onnx.ModelProto, GraphProto, NodeProto, AttributeProto and TensorProto.DataType.
_GRAPH, _NODE, _OP_TYPE, _ATTRIBUTE, _ATTRIBUTE_INT, _FLOAT16 = 7, 1, 4, 5, 3, 10


@dataclass(frozen=True)
class OnnxSummary:
    """
    A model, as far as a scan shows it.

    :param path: the file.
    :param inputs: inputs, open dimensions -1.
    :param outputs: outputs, the same.
    :param nodes: operator type of each named node.
    :param has_quantization: whether it has Q/DQ nodes.
    :param has_half: whether it computes in float16.
    """

    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    nodes: Mapping[str, str]
    has_quantization: bool
    has_half: bool

    def outputs_for(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[TensorSpec, ...]:
        """
        Return the outputs with their largest shapes; -1 where nothing here can tell.

        :param shapes: the largest shape of each input.
        """
        known = {spec.name: spec.shape for spec in self.outputs}
        if any(size < 0 for shape in known.values() for size in shape):
            known.update(_inferred(self.path, shapes))
        return tuple(replace(spec, max_shape=known[spec.name]) for spec in self.outputs)


def summarize(path: Path) -> OnnxSummary:
    """
    Look into an ONNX file.

    :raises EngineBuildError: it is no model, damaged or incomplete.
    """
    data = read_onnx(path)
    scanned = scan_onnx(path, data)
    nodes = list(nodes_of(data))
    kinds = {kind for _, kind in nodes}
    return OnnxSummary(
        path, scanned.inputs, scanned.outputs, {name: kind for name, kind in nodes if name},
        bool({'QuantizeLinear', 'DequantizeLinear'} & kinds),
        any(spec.dtype == np.float16 for spec in scanned.inputs) or _casts_to_half(data))


def _casts_to_half(data: bytes) -> bool:
    """Whether a node turns numbers into float16; float16 weights alone may be turned back."""
    for number, _, graph in fields(memoryview(data)):
        if number != _GRAPH or isinstance(graph, int):
            continue
        for part, _, node in fields(graph):
            if part != _NODE or isinstance(node, int):
                continue
            values = [(field, value) for field, _, value in fields(node)
                      if not isinstance(value, int)]
            is_cast = any(field == _OP_TYPE and bytes(value) == b'Cast' for field, value in values)
            if is_cast and any(
                    one == _ATTRIBUTE_INT and kind == _FLOAT16 for field, value in values
                    if field == _ATTRIBUTE for one, _, kind in fields(value)):
                return True
    return False


def _inferred(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Let ONNX infer the shapes of outputs; nothing where it is not installed or cannot."""
    try:
        import onnx
        import onnx.shape_inference
    except ImportError:
        return {}
    model = onnx.load(str(path), load_external_data=False)
    for one in model.graph.input:
        if one.name in shapes:
            for dimension, size in zip(one.type.tensor_type.shape.dim, shapes[one.name]):
                dimension.dim_value = size
    for one in model.graph.output:
        one.type.tensor_type.ClearField('shape')
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:
        # It refuses models that it does not understand; they may be good all the same.
        return {}
    found = {}
    for one in inferred.graph.output:
        tensor = one.type.tensor_type
        if tensor.HasField('shape'):
            found[one.name] = tuple(size.dim_value if size.dim_value > 0 else -1
                                    for size in tensor.shape.dim)
    return found
