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
Which layers lose the accuracy that int8 costs.

The quantised model is given a switch for every layer: one session can then run any choice of
layers, and a choice costs one run instead of a new model.
"""

from __future__ import annotations

from typing import Any
from typing import Callable
from typing import Collection
from typing import Mapping
from typing import Sequence

from c7_inference_ros.engines.calibration.quantizable_model import import_onnx
from c7_inference_ros.engines.calibration.quantizable_model import open_session
from c7_inference_ros.engines.calibration.quantizable_model import QDQ
from c7_inference_ros.engines.calibration.quantizable_model import QuantizableModel
from c7_inference_ros.engines.calibration.quantizable_model import serialize
import numpy as np
from numpy.typing import NDArray

Feed = Mapping[str, NDArray[Any]]
_SWITCHES = 'c7_is_quantized'


class SwitchableModel:
    """
    A quantised model whose layers can be switched back to float32 one by one.

    :param model: the float32 model.
    :param quantized: what the ``quantize`` of
        :mod:`c7_inference_ros.engines.calibration.quantization` made of it.
    """

    def __init__(self, model: QuantizableModel, quantized: bytes) -> None:
        """Build the switches in and load the model."""
        switchable, self.layers = _with_switches(model, quantized)
        name = str(model.source.path)
        self._session = open_session(serialize(switchable, name), name)
        self._is_on = np.ones(len(self.layers), np.bool_)

    def exclude(self, layers: Collection[str]) -> None:
        """Run these layers in float32, and all others in int8, from now on."""
        self._is_on = np.array([name not in layers for name in self.layers], np.bool_)

    def run(self, names: Sequence[str] | None, feed: Feed) -> list[NDArray[Any]]:
        """Run the model as it is switched; as ``run`` of a session of ONNX Runtime."""
        outputs: list[NDArray[Any]] = self._session.run(names, {**feed, _SWITCHES: self._is_on})
        return outputs

    def rank(self, feeds: Sequence[Feed],
             on_layer: Callable[[int, int], None] = lambda done, total: None) -> list[str]:
        """
        Return the layers, the one whose int8 disturbs the outputs most first.

        Each is quantised alone; what that changes in the outputs is related to how much their
        values vary.

        :param feeds: inputs, image by image.
        :param on_layer: told how far it is.
        """
        self.exclude(self.layers)
        references = [self.run(None, feed) for feed in feeds]
        errors = np.zeros(len(self.layers))
        for index in range(len(self.layers)):
            self._is_on = np.arange(len(self.layers)) == index
            for feed, reference in zip(feeds, references):
                errors[index] += sum(map(_relative_error, self.run(None, feed), reference))
            on_layer(index + 1, len(self.layers))
        return [self.layers[index] for index in np.argsort(-errors, kind='stable')]


def _relative_error(found: NDArray[Any], reference: NDArray[Any]) -> float:
    """Return the squared error over the variance, averaged over the last axis."""
    if found.shape != reference.shape:
        return 1.0
    if reference.dtype.kind != 'f' or reference.size == 0:
        return float((found != reference).mean()) if reference.size else 0.0
    # The columns of a head are boxes, scores and classes, each of its own size.
    axes = tuple(range(reference.ndim - 1))
    wanted = reference.astype(np.float64)
    error = ((found - wanted) ** 2).mean(axis=axes)
    return float(np.nan_to_num(error / (wanted.var(axis=axes) + 1e-12), nan=1e12).mean())


def _with_switches(model: QuantizableModel, quantized: bytes) -> tuple[Any, tuple[str, ...]]:
    onnx = import_onnx()
    helper = onnx.helper
    switchable = onnx.load_from_string(quantized)
    graph = switchable.graph
    originals = {node.name: node for node in model.model.graph.node if node.name in model.layers}
    weights = {one.name: one for one in model.model.graph.initializer}
    present = {one.name for one in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    layers: list[str] = []
    nodes: list[Any] = []
    for node in graph.node:
        original = originals.get(node.name)
        if original is None or node.input[0] == original.input[0]:
            nodes.append(node)
            continue
        at = f'{_SWITCHES}/{len(layers)}'
        if original.input[1] not in present:
            graph.initializer.append(weights[original.input[1]])
            present.add(original.input[1])
        graph.initializer.append(
            onnx.numpy_helper.from_array(np.array(len(layers), np.int64), f'{at}/index'))
        nodes.append(helper.make_node('Gather', [_SWITCHES, f'{at}/index'], [f'{at}/is_on'], at))
        # Only the branch that is taken is computed.
        nodes.append(helper.make_node(
            'If', [f'{at}/is_on'], [node.output[0]], node.name,
            then_branch=_branch(f'{at}/int8', [
                *_pairs(producers[node.input[0]], producers),
                *_pairs(producers[node.input[1]], producers), node]),
            else_branch=_branch(f'{at}/float32', [original])))
        layers.append(node.name)
    # What nobody reads any more are the pairs that went into the branches.
    read = {name for node in nodes for name in node.input}
    read |= {info.name for info in graph.output}
    for _ in range(2):
        nodes = [node for node in nodes
                 if node.op_type not in QDQ or read.intersection(node.output)]
        read = {name for node in nodes for name in node.input}
    del graph.node[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info(
        _SWITCHES, onnx.TensorProto.BOOL, [len(layers)]))
    return switchable, tuple(layers)


def _pairs(dequantize: Any, producers: Mapping[str, Any]) -> list[Any]:
    """Return DequantizeLinear, and QuantizeLinear before it where there is one."""
    before = producers.get(dequantize.input[0])
    return [dequantize] if before is None else [before, dequantize]


def _branch(name: str, nodes: Sequence[Any]) -> Any:
    """Return a graph of copies of nodes; what they make is called otherwise than outside."""
    onnx = import_onnx()
    made = {output for node in nodes for output in node.output}
    copies = []
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = f'{name}/{node.name}'
        for names in (copy.input, copy.output):
            for index, tensor in enumerate(names):
                if tensor in made:
                    names[index] = f'{name}/{tensor}'
        copies.append(copy)
    output = onnx.helper.make_tensor_value_info(
        copies[-1].output[0], onnx.TensorProto.FLOAT, None)
    return onnx.helper.make_graph(copies, name, [], [output])
