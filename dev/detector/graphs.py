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
"""Read a converted graph by names and operators, and collect the nodes of a new one."""

from typing import Any
from typing import Dict
from typing import List
from typing import Sequence

import numpy as np
from numpy.typing import NDArray
import onnx
from onnx import helper
from onnx import numpy_helper

Array = NDArray[Any]
#: Elements of the largest weight that keeps its 32 bits.
LARGEST_FLOAT32_WEIGHT = 4096


class ReductionError(Exception):
    """The source graph is not the one that this script knows."""


class Source:
    """Look up nodes and constants of the converted graph, loop bodies included."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """
        Index a model.

        :param model: the converted detector.
        """
        self._constants: Dict[str, onnx.TensorProto] = {}
        self._producers: Dict[str, onnx.NodeProto] = {}
        self._nodes: Dict[str, onnx.NodeProto] = {}
        self._index(model.graph)

    def _index(self, graph: onnx.GraphProto) -> None:
        for tensor in graph.initializer:
            self._constants.setdefault(tensor.name, tensor)
        for node in graph.node:
            self._nodes.setdefault(node.name, node)
            for output in node.output:
                self._producers.setdefault(output, node)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    self._index(attribute.g)

    def constant(self, name: str) -> Array:
        """Return the constant called name."""
        if name not in self._constants:
            raise ReductionError(f'constant {name} is not in the source graph')
        return numpy_helper.to_array(self._constants[name])

    def producer(self, tensor: str) -> onnx.NodeProto:
        """Return the node that computes a tensor."""
        if tensor not in self._producers:
            raise ReductionError(f'no node of the source graph computes {tensor}')
        return self._producers[tensor]

    def node(self, name: str) -> onnx.NodeProto:
        """Return the node called name."""
        if name not in self._nodes:
            raise ReductionError(f'node {name} is not in the source graph')
        return self._nodes[name]

    def only(self, op: str) -> onnx.NodeProto:
        """Return the one node of an operator."""
        found = [n for n in self._nodes.values() if n.op_type == op]
        if len(found) != 1:
            raise ReductionError(f'{len(found)} nodes {op} are in the source graph, expected 1')
        return found[0]

    def operand(self, node: onnx.NodeProto) -> Array:
        """Return the one constant that a node takes."""
        found = [i for i in node.input if i in self._constants]
        if len(found) != 1:
            raise ReductionError(f'{node.name} takes {len(found)} constants, expected 1')
        return self.constant(found[0])

    def number(self, *names: str) -> float:
        """Return the scalar that every one of the named nodes takes."""
        values = {float(self.operand(self.node(n)).item()) for n in names}
        if len(values) != 1:
            raise ReductionError(f'{names} take {sorted(values)}, expected one value')
        return values.pop()


class Target:
    """Collect nodes and constants of the reduced graph."""

    def __init__(self) -> None:
        """Start empty."""
        self.nodes: List[onnx.NodeProto] = []
        self.initializers: List[onnx.TensorProto] = []
        self._known: Dict[str, Array] = {}

    def constant(self, name: str, value: Array) -> str:
        """Store a constant once and return its name."""
        if name not in self._known:
            self._known[name] = value
            self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def weight(self, name: str, value: Array) -> str:
        """
        Store a weight, large ones as float16, and return the name of its float32 tensor.

        The cast is constant, so a runtime folds it when it loads the model: half of the
        file, none of the cost. Small weights (depthwise, stem) make most of the rounding
        error and little of the file: these stay float32.
        """
        if value.size <= LARGEST_FLOAT32_WEIGHT:
            return self.constant(name, value.astype(np.float32))
        half = value.astype(np.float16)
        if not np.isfinite(half).all():
            raise ReductionError(f'weight {name} does not fit in float16')
        self.constant(f'{name}/half', half)
        return self.node('Cast', [f'{name}/half'], name, to=onnx.TensorProto.FLOAT)

    def node(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node with one output that has the node's own name, and return it."""
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name
