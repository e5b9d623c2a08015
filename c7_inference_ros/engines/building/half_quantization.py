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
Q/DQ pairs of a model whose other layers become float16.

DequantizeLinear gives float16, so that what follows is float16 without a cast in between;
QuantizeLinear stays in float32 behind a cast, because the one of ONNX Runtime 1.23 cuts float16
values off instead of rounding them, which costs yolox_nano a quarter of its mAP: with it, what is
measured would not be what TensorRT computes.
"""

from __future__ import annotations

from typing import Any
from typing import Collection

from c7_inference_ros.engines.building.onnx_graph import HEAVY_OPERATORS
import numpy as np

QDQ = QUANTIZE, DEQUANTIZE = 'QuantizeLinear', 'DequantizeLinear'
#: DequantizeLinear has float16 scales since this opset.
_OPSET = 19
#: A scale that float16 changes by a larger part of it shows in int8.
_MOST_ROUNDED = 2.0 ** -9


def raise_opset(onnx: Any, model: Any) -> tuple[Any, tuple[str, ...]]:
    """
    Return a quantised model with an opset in which DequantizeLinear may give float16.

    :returns: the model, which is the given one where nothing is to be done, and a warning where
        it cannot be done.
    """
    opset = _opset(model)
    if opset >= _OPSET or not any(node.op_type == DEQUANTIZE for node in model.graph.node):
        return model, ()
    try:
        return onnx.version_converter.convert_version(model, _OPSET), ()
    except Exception as error:
        why = ' '.join(str(error).split())[:300]
        return model, (
            f'it has opset {opset}, and could not be converted to {_OPSET} ({why}): int8 values '
            f'are given back as float32 and cast to float16; export it with opset {_OPSET}',)


def with_their_pairs(onnx: Any, model: Any, kept: Collection[str]) -> set[str]:
    """
    Return the nodes that stay in float32, with the Q/DQ nodes that have to stay with them.

    A layer and the pairs at its inputs have one type: TensorRT makes one int8 layer of them.

    :param kept: names of the nodes that stay for other reasons.
    """
    nodes = list(model.graph.node)
    found = set(kept) | quantizers(model)
    dequantizers = [node for node in nodes if node.op_type == DEQUANTIZE]
    if not dequantizers:
        return found
    if _opset(model) < _OPSET:
        return found | {node.name for node in dequantizers}
    users: dict[str, list[Any]] = {}
    for node in nodes:
        for name in node.input:
            users.setdefault(name, []).append(node)
    constants = {one.name: one for one in model.graph.initializer}
    for node in dequantizers:
        scale = constants.get(node.input[1])
        if scale is not None and not _survives(onnx.numpy_helper.to_array(scale)):
            found |= {node.name, *(user.name for user in users.get(node.output[0], ())
                                   if user.op_type in HEAVY_OPERATORS)}
    for node in dequantizers:
        readers = users.get(node.output[0], ())
        if readers and all(reader.name in found for reader in readers):
            found.add(node.name)
    return found


def quantizers(model: Any) -> set[str]:
    """Return the names of the QuantizeLinear nodes."""
    return {node.name for node in model.graph.node if node.op_type == QUANTIZE}


def round_scales(onnx: Any, model: Any, kept: Collection[str]) -> None:
    """
    Round the scales of DequantizeLinear nodes in float16, so that QuantizeLinear has the same.

    :param kept: names of the nodes that stay in float32.
    """
    halved = {node.input[1] for node in model.graph.node
              if node.op_type == DEQUANTIZE and node.name not in kept}
    for one in model.graph.initializer:
        if one.name in halved and one.data_type == onnx.TensorProto.FLOAT:
            rounded = onnx.numpy_helper.to_array(one).astype(np.float16).astype(np.float32)
            one.CopyFrom(onnx.numpy_helper.from_array(rounded, one.name))


def _opset(model: Any) -> int:
    return max((int(one.version) for one in model.opset_import if one.domain in ('', 'ai.onnx')),
               default=0)


def _survives(scale: Any) -> bool:
    """Whether float16 holds a scale closely enough."""
    if scale.dtype != np.float32:
        return True
    with np.errstate(over='ignore'):
        rounded = scale.astype(np.float16).astype(np.float32)
    return bool((np.abs(rounded - scale) <= np.abs(scale) * _MOST_ROUNDED).all())
