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

"""Reads ONNX for the network of the TensorRT doubles, as leniently as TensorRT's parser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trt_plan import TYPES

_END_GROUP = 4


@dataclass
class LoadedGraph:
    """A model as far as a network needs it."""

    inputs: list[str]
    outputs: list[str]
    #: (name in trt.DataType, shape) by name.
    tensors: dict[str, tuple[str, list[int]]]
    nodes: list[Any]
    content: bytes

    @property
    def is_quantized(self) -> bool:
        """Whether the model carries its own INT8 ranges."""
        return any(node.op_type == 'QuantizeLinear' for node in self.nodes)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError('cut')
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def leading_message(data: bytes) -> bytes:
    """
    Return the part of a file that protobuf reads.

    It stops without an error at what looks like the end of a group, which is why TensorRT reads
    many files that are no models as empty ones.
    """
    at = 0
    try:
        while at < len(data):
            start = at
            tag, at = _varint(data, at)
            kind = tag & 7
            if kind == _END_GROUP:
                return data[:start] if start and data[0] == 8 else b''
            if kind == 0:
                _, at = _varint(data, at)
            elif kind == 2:
                size, at = _varint(data, at)
                at += size
            elif kind in (1, 5):
                at += 8 if kind == 1 else 4
            else:
                return data
    except ValueError:
        return data
    return data


def load_graph(data: bytes, folder: Path | None) -> LoadedGraph:
    """Load a model; raises what protobuf raises where it is cut or corrupt."""
    onnx = pytest.importorskip('onnx', reason='onnx is not installed; run: make env')
    model = onnx.ModelProto()
    model.ParseFromString(data)
    if folder is not None:
        onnx.external_data_helper.load_external_data_for_model(model, str(folder))
    content = model.SerializeToString()
    tensors: dict[str, tuple[str, list[int]]] = {}
    constants = {one.name for one in model.graph.initializer}
    inferred = onnx.shape_inference.infer_shapes(model).graph
    for info in (*inferred.input, *inferred.value_info, *inferred.output):
        kind = info.type.tensor_type
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type or 1))
        name = next((own for own, numpy in TYPES.values() if np.dtype(numpy) == dtype), 'FLOAT')
        tensors[info.name] = (name, [one.dim_value if one.HasField('dim_value') else -1
                                     for one in kind.shape.dim])
    for node in model.graph.node:
        for output in node.output:
            tensors.setdefault(output, ('FLOAT', []))
    return LoadedGraph([one.name for one in model.graph.input if one.name not in constants],
                       [one.name for one in model.graph.output], tensors,
                       list(model.graph.node), content)


def all_values(graph: LoadedGraph, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return every float value of the graph for some inputs, as a calibrator sees them."""
    onnx = pytest.importorskip('onnx', reason='onnx is not installed; run: make env')
    from trt_plan import session_of
    model = onnx.ModelProto()
    model.ParseFromString(graph.content)
    known = {one.name for one in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name and name not in known and graph.tensors[name][0] == 'FLOAT':
                model.graph.output.append(onnx.ValueInfoProto(name=name))
    session = session_of(model.SerializeToString())
    names = [one.name for one in session.get_outputs()]
    found = {**inputs, **dict(zip(names, session.run(names, inputs)))}
    return {name: value for name, value in found.items() if value.dtype == np.float32}
