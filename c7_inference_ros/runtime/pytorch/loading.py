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
Turning the bytes of a model into something that PyTorch can call.

Everything here is given the module ``torch``; only the runtime imports it.
"""

from __future__ import annotations

from dataclasses import dataclass
import io
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Sequence

from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.model_files.tensor_spec import TensorSpec
from c7_inference_ros.runtime.pytorch.model import description_path
from c7_inference_ros.runtime.pytorch.model import EXPORTED
from c7_inference_ros.runtime.pytorch.model import TorchModel
import numpy as np

CPU = 'cpu'


@dataclass(frozen=True)
class LoadedProgram:
    """
    A model in host memory.

    :param inputs: as it or its description says, open dimensions -1.
    :param outputs: the same.
    :param place: moves it to a device and element type; returns what takes the input tensors in
        their order and gives the output tensors in theirs.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    place: Callable[[str, Any], Callable[[list[Any]], list[Any]]]


def load_program(torch: Any, model: TorchModel) -> LoadedProgram:
    """
    Load a model into host memory.

    :raises EngineDeserializeError: a pickle in it holds more than tensors.
    :raises EngineSchemaMismatchError: it and its description differ.
    """
    return (_load_exported if model.kind == EXPORTED else _load_torchscript)(torch, model)


def _load_torchscript(torch: Any, model: TorchModel) -> LoadedProgram:
    module = torch.jit.load(io.BytesIO(model.data), map_location=CPU).eval()
    inputs, outputs = model.inputs or (), model.outputs or ()
    names = [spec.name for spec in outputs]

    def call(tensors: list[Any]) -> list[Any]:
        found = module(*tensors)
        if not isinstance(found, dict):
            return _counted(torch.utils._pytree.tree_leaves(found), names)
        if not set(names) <= set(found):
            raise ValueError(f'it answers with {", ".join(found)}, declared are '
                             f'{", ".join(names)}')
        return [found[name] for name in names]

    def place(device: str, dtype: Any) -> Callable[[list[Any]], list[Any]]:
        module.to(device=device, dtype=dtype)
        return call

    return LoadedProgram(inputs, outputs, place)


def _load_exported(torch: Any, model: TorchModel) -> LoadedProgram:
    for name, data in model.pickles():
        try:
            torch.load(io.BytesIO(data), map_location=CPU, weights_only=True)
        except Exception as error:
            # torch.export.load would try again without any restriction.
            raise EngineDeserializeError(
                f'{model.path}: {name} in it is a pickle of more than tensors, which may run code '
                f'of its author and is never loaded here; export the model again, without example '
                f'inputs of other types') from error
    program = torch.export.load(io.BytesIO(model.data))
    inputs, outputs = _signature(torch, model.path, program)
    if model.inputs is not None and model.outputs is not None:
        inputs = _described(model.path, 'inputs', inputs, model.inputs)
        outputs = _described(model.path, 'outputs', outputs, model.outputs)
    names = [spec.name for spec in outputs]
    tree = torch.utils._pytree

    def place(device: str, dtype: Any) -> Callable[[list[Any]], list[Any]]:
        # Tensors that the graph itself makes are made on the device that it was exported on.
        moved = program if device == CPU else torch.export.passes.move_to_device_pass(
            program, device)
        module = moved.module().to(device=device, dtype=dtype)
        _drop_type_checks(torch, module)

        def call(tensors: list[Any]) -> list[Any]:
            arguments, named = tree.tree_unflatten(tensors, program.call_spec.in_spec)
            return _counted(tree.tree_leaves(module(*arguments, **named)), names)

        return call

    return LoadedProgram(inputs, outputs, place)


def _signature(torch: Any, path: Path, program: Any
               ) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return inputs and outputs as an exported program declares them."""
    signature = program.graph_signature
    values = {node.name: node.meta.get('val') for node in program.graph.nodes}
    names = list(signature.user_outputs)
    # A model that answers with a dictionary names its outputs; else the nodes' names stand.
    answer = torch.utils._pytree.tree_unflatten(list(names), program.call_spec.out_spec)
    keys = dict.fromkeys(names, '')
    if isinstance(answer, dict):
        keys = {node: key for key, node in answer.items() if isinstance(node, str)}
    return (tuple(_spec(torch, path, name, name, values) for name in signature.user_inputs),
            tuple(_spec(torch, path, name, keys.get(name) or name, values) for name in names))


def _spec(torch: Any, path: Path, node: Any, name: str, values: dict[str, Any]) -> TensorSpec:
    value = values.get(node)
    if not isinstance(value, torch.Tensor):
        raise EngineSchemaMismatchError(
            f'{path}: {node!r} goes in or comes out and is no tensor; export the model with '
            f'tensors only')
    kind = str(value.dtype).removeprefix('torch.')
    try:
        dtype = np.dtype(kind)
    except TypeError as error:
        raise EngineSchemaMismatchError(
            f'{path}: {node} is {kind}, which no array can hold; export the model with another '
            f'type') from error
    return TensorSpec(name, dtype, tuple(size if isinstance(size, int) else -1
                                         for size in value.shape))


def _described(path: Path, key: str, found: Sequence[TensorSpec],
               described: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Return the tensors with the names of the description, which must fit the program."""
    if len(found) != len(described) or any(
            one.dtype != other.dtype or len(one.shape) != len(other.shape)
            or any(size not in (-1, real) for size, real in zip(one.shape, other.shape))
            for one, other in zip(found, described)):
        raise EngineSchemaMismatchError(
            f'{description_path(path)}: {key} are {_listed(described)}, the program has '
            f'{_listed(found)}; correct the description or export the model again')
    return tuple(described)


def _drop_type_checks(torch: Any, module: Any) -> None:
    """Remove the checks that a tensor has the type of the export: it is changed on purpose."""
    for part in module.modules():
        if not isinstance(part, torch.fx.GraphModule):
            continue
        for node in list(part.graph.nodes):
            if node.target is torch.ops.aten._assert_tensor_metadata.default:
                part.graph.erase_node(node)
        part.recompile()


def _counted(tensors: list[Any], names: Sequence[str]) -> list[Any]:
    if len(tensors) != len(names):
        raise ValueError(f'it answers with {len(tensors)} tensors, declared are {len(names)} '
                         f'({", ".join(names)})')
    return tensors


def _listed(specs: Sequence[TensorSpec]) -> str:
    return ', '.join(f'{spec.name} {spec.dtype} {list(spec.shape)}' for spec in specs) or 'none'
