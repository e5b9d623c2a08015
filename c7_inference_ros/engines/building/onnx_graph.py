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

"""Small rewrites of ONNX graphs that leave what they compute as it is."""

from __future__ import annotations

from fnmatch import fnmatchcase
import heapq
from typing import Any
from typing import Iterable
from typing import Sequence

from c7_inference_ros.engines.building.builder_settings import no_such_node
from c7_inference_ros.errors import EngineBuildError
import numpy as np

#: NumPy types by the type names of ONNX Runtime.
NUMPY_TYPES = {'tensor(float)': np.float32, 'tensor(float16)': np.float16,
               'tensor(double)': np.float64, 'tensor(uint8)': np.uint8, 'tensor(int8)': np.int8,
               'tensor(uint16)': np.uint16, 'tensor(int16)': np.int16,
               'tensor(int32)': np.int32, 'tensor(int64)': np.int64, 'tensor(bool)': np.bool_,
               'tensor(uint32)': np.uint32, 'tensor(uint64)': np.uint64}
#: Where the arithmetic of a network is; what comes after the last of them is bookkeeping.
HEAVY_OPERATORS = frozenset((
    'Attention', 'BatchNormalization', 'Conv', 'ConvTranspose', 'DeformConv', 'Einsum', 'GRU',
    'Gemm', 'GridSample', 'If', 'LSTM', 'LayerNormalization', 'Loop', 'MatMul', 'RNN', 'Scan'))
_SUMS = frozenset(('Add', 'Div', 'Max', 'Mul', 'ReduceMean', 'ReduceSum', 'Reciprocal', 'Sqrt'))
_NEAR = 5
_ROOTS = frozenset(('Reciprocal', 'Sqrt'))
_FLOAT, _HALF = 1, 10


def signature(model: Any) -> tuple[tuple[Any, ...], ...]:
    """Return names, types and shapes of the inputs and outputs of a model."""
    weights = {one.name for one in model.graph.initializer}
    return tuple(
        tuple((one.name, one.type.SerializeToString(deterministic=True)) for one in values)
        for values in ([one for one in model.graph.input if one.name not in weights],
                       model.graph.output))


def matching_nodes(nodes: Iterable[Any], patterns: Sequence[str], model: str) -> set[str]:
    """
    Return the names of the nodes whose name or operator type fits a pattern.

    :raises EngineBuildError: a pattern fits none.
    """
    listed = list(nodes)
    found: set[str] = set()
    for pattern in patterns:
        fitting = {node.name for node in listed if fnmatchcase(node.name, pattern)
                   or fnmatchcase(node.op_type, pattern)}
        if not fitting:
            raise EngineBuildError(no_such_node(
                model, pattern, {node.name for node in listed},
                {node.op_type for node in listed}))
        found |= fitting
    return found


def tail(nodes: Sequence[Any]) -> set[str]:
    """Return the names of the nodes after which no heavy operator comes."""
    users: dict[str, list[Any]] = {}
    for node in nodes:
        for name in node.input:
            users.setdefault(name, []).append(node)
    is_tail: dict[str, bool] = {}
    # Last node first: its users are known by then, as the nodes are in order.
    for node in reversed(nodes):
        is_tail[node.name] = node.op_type not in HEAVY_OPERATORS and all(
            is_tail[user.name] for name in node.output for user in users.get(name, ()))
    return {name for name, is_so in is_tail.items() if is_so}


def squares(nodes: Sequence[Any]) -> set[str]:
    """
    Return the names of the nodes between a square and the root of its sum, both included.

    The square of 256 is more than float16 holds.
    """
    users: dict[str, list[Any]] = {}
    for node in nodes:
        for name in node.input:
            users.setdefault(name, []).append(node)
    found: set[str] = set()
    for node in nodes:
        if node.op_type != 'Pow' and not (
                node.op_type == 'Mul' and len(set(node.input)) == 1):
            continue
        path = _path_to_root(node, users, set())
        found |= path or ({node.name} if node.op_type == 'Pow' else set())
    return found


def _path_to_root(node: Any, users: dict[str, list[Any]], seen: set[str]) -> set[str]:
    """Return the nodes from here to the nearest roots; none where sums lead to no root."""
    if node.op_type in _ROOTS:
        return {node.name}
    found: set[str] = set()
    for name in node.output:
        for user in users.get(name, ()):
            if user.op_type in _SUMS and user.name not in seen and len(seen) < _NEAR:
                found |= _path_to_root(user, users, seen | {user.name})
    return found | {node.name} if found else found


def prepare(onnx: Any, model: Any) -> None:
    """
    Give every node a name of its own, and make every constant an initializer.

    Casts of constants are computed: a model may keep float16 weights and compute in float32.
    """
    graph = model.graph
    for function in model.functions:
        raise EngineBuildError(
            f'the model has the function {function.name}, which is not converted; export it '
            f'without functions')
    imported = {one.domain for one in model.opset_import}
    # TensorRT's parser does not ask for it, and exporters of its plugins forget it.
    model.opset_import.extend(onnx.helper.make_opsetid(domain, 1) for domain in sorted(
        {node.domain for node in graph.node} - imported - {'', 'ai.onnx'}))
    taken: set[str] = set()
    constants = {one.name: one for one in graph.initializer}
    outputs = {one.name for one in graph.output}
    nodes = []
    for index, node in enumerate(graph.node):
        value = None
        if node.output and node.output[0] not in outputs:
            value = _constant_value(onnx, node, constants)
        if value is not None:
            tensor = onnx.numpy_helper.from_array(value, node.output[0])
            constants[tensor.name] = tensor
            continue
        name = node.name or f'{node.op_type}_{index}'
        while name in taken:
            name += '_'
        taken.add(name)
        node.name = name
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in graph.node for name in _inputs(node)} | outputs
    kept = [one for name, one in constants.items() if name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def unshare_constants(onnx: Any, model: Any, kept: set[str]) -> None:
    """
    Give nodes that stay in float32 constants of their own.

    :param kept: names of those nodes.
    """
    graph = model.graph
    in_half = {name for node in graph.node if node.name not in kept for name in _inputs(node)}
    shared = {one.name: one for one in graph.initializer
              if one.data_type == _FLOAT and one.name in in_half}
    copies = {}
    for node in graph.node:
        if node.name not in kept:
            continue
        for index, name in enumerate(node.input):
            if name in shared:
                if name not in copies:
                    copies[name] = onnx.TensorProto()
                    copies[name].CopyFrom(shared[name])
                    copies[name].name = f'{name}__float32'
                node.input[index] = copies[name].name
    graph.initializer.extend(copies.values())


def clean_up(onnx: Any, model: Any) -> None:
    """Remove round trips through float16 and nodes that nobody uses; put the nodes in order."""
    graph = model.graph
    maker = {name: node for node in graph.node for name in node.output}
    outputs = {one.name for one in graph.output}
    replaced: dict[str, str] = {}
    for node in graph.node:
        origin = maker.get(node.input[0]) if node.op_type == 'Cast' and node.input else None
        # float32 -> float16 -> float32, inserted between two nodes that stay in float32.
        if (origin is not None and _target(node) == _FLOAT and origin.op_type == 'Cast'
                and _target(origin) == _HALF and _is_inserted(node) and _is_inserted(origin)):
            replaced[node.output[0]] = origin.input[0]
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = replaced.get(name, name)
    for name in outputs & set(replaced):
        _rename(graph, replaced[name], name)
    _drop_unused(graph)
    nodes = _in_order(graph)
    del graph.node[:]
    graph.node.extend(nodes)
    # Types and shapes between nodes are inferred again by whoever reads the model.
    del graph.value_info[:]


def _constant_value(onnx: Any, node: Any, constants: dict[str, Any]) -> Any:
    """Return the array that a node always gives; None when it depends on something."""
    attributes = {one.name: one for one in node.attribute}
    if node.op_type == 'Constant':
        if 'value' in attributes:
            return onnx.numpy_helper.to_array(attributes['value'].t)
        for name, kind in (('value_float', np.float32), ('value_floats', np.float32),
                           ('value_int', np.int64), ('value_ints', np.int64)):
            if name in attributes:
                return np.array(onnx.helper.get_attribute_value(attributes[name]), kind)
    elif node.op_type == 'Cast' and node.input[0] in constants:
        source = onnx.numpy_helper.to_array(constants[node.input[0]])
        kind = onnx.helper.tensor_dtype_to_np_dtype(_target(node))
        if source.dtype.kind in 'fiub' and kind.kind in 'fiub':
            return source.astype(kind)
    return None


def _target(cast: Any) -> int:
    return next((int(one.i) for one in cast.attribute if one.name == 'to'), 0)


def _is_inserted(cast: Any) -> bool:
    """Whether the converter made a cast."""
    return '_cast' in cast.name


def _inputs(node: Any) -> set[str]:
    """Return everything a node reads, its subgraphs included."""
    names = set(node.input)
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs]:
            for inner in graph.node:
                names |= _inputs(inner)
            names |= {one.name for one in graph.output}
    return names


def _rename(graph: Any, old: str, new: str) -> None:
    """Call a tensor by the name of a graph output, which takes its place."""
    for node in graph.node:
        if new in node.output:
            node.output[list(node.output).index(new)] = f'{new}__dropped'
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new


def _drop_unused(graph: Any) -> None:
    while True:
        used = {name for node in graph.node for name in _inputs(node)}
        used |= {one.name for one in graph.output}
        nodes = [node for node in graph.node if used & set(node.output)]
        if len(nodes) == len(graph.node):
            break
        del graph.node[:]
        graph.node.extend(nodes)
    weights = [one for one in graph.initializer if one.name in used]
    del graph.initializer[:]
    graph.initializer.extend(weights)


def _in_order(graph: Any) -> list[Any]:
    """Sort nodes so that each comes after those it reads from, otherwise as they were."""
    nodes = list(graph.node)
    maker = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    waits_for = [{maker[name] for name in _inputs(node) if name in maker} for node in nodes]
    users: dict[int, list[int]] = {}
    for index, needed in enumerate(waits_for):
        for other in needed:
            users.setdefault(other, []).append(index)
    ready = [index for index, needed in enumerate(waits_for) if not needed]
    heapq.heapify(ready)
    ordered = []
    while ready:
        index = heapq.heappop(ready)
        ordered.append(nodes[index])
        for user in users.get(index, ()):
            waits_for[user].discard(index)
            if not waits_for[user]:
                heapq.heappush(ready, user)
    return ordered
