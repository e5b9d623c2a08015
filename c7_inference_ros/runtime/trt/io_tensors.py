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

"""The input and output tensors of an engine, read from it and held against its manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Iterator
from typing import Mapping
from typing import TYPE_CHECKING

from c7_inference_ros.engines.tensorrt_api import TensorrtApi
from c7_inference_ros.engines.types import EngineManifest
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.model_files.tensor_spec import TensorSpec
import numpy as np

if TYPE_CHECKING:
    from c7_inference_ros.engines.tensorrt_api import CudaEngine

#: Element types of TensorRT that NumPy has, by name.
_DTYPES: dict[str, Any] = {
    'FLOAT': np.float32, 'HALF': np.float16, 'INT8': np.int8, 'UINT8': np.uint8,
    'INT32': np.int32, 'INT64': np.int64, 'BOOL': np.bool_}


@dataclass(frozen=True)
class IoTensor:
    """
    One input or output of an engine in one optimisation profile.

    :param spec: name, element type, shape; for an input its largest shape.
    :param is_input: whether it is fed.
    :param is_host: whether TensorRT wants it in host memory (values that decide on shapes).
    :param smallest: smallest shape of an input.
    :param values: largest values of an input that decides on shapes.
    """

    spec: TensorSpec
    is_input: bool
    is_host: bool
    smallest: tuple[int, ...] = ()
    values: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Name of the tensor."""
        return self.spec.name


def as_shape(dims: Any) -> tuple[int, ...]:
    """Return the sizes in a ``Dims`` of TensorRT."""
    return tuple(int(size) for size in dims)


def read_io(api: TensorrtApi, engine: CudaEngine, path: Path,
            profile: int) -> tuple[IoTensor, ...]:
    """
    Return the tensors of an engine.

    :param path: the engine's file, for errors.
    :param profile: index of the optimisation profile.
    :raises EngineDeserializeError: a tensor that arrays cannot hold.
    """
    modes, places = api.trt.TensorIOMode, api.trt.TensorLocation
    tensors = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        mode = engine.get_tensor_mode(name)
        if mode not in (modes.INPUT, modes.OUTPUT):
            raise EngineDeserializeError(
                f'{path}: tensor {name!r} is neither input nor output; compile it again')
        is_input = mode == modes.INPUT
        is_host = engine.get_tensor_location(name) == places.HOST
        shape = as_shape(engine.get_tensor_shape(name))
        spec = TensorSpec(name, _dtype(engine, path, name), shape)
        _check_linear(engine, path, name, profile)
        if not is_input:
            tensors.append(IoTensor(spec, False, is_host))
        elif is_host:
            # Binding quirk in all versions: the signature names the arguments the wrong way
            # round, so that they are passed by position: number first.
            get_values: Any = engine.get_tensor_profile_values
            ranges = get_values(profile, name)
            values = tuple(int(value) for value in ranges[2]) if ranges else ()
            tensors.append(IoTensor(TensorSpec(name, spec.dtype, shape, shape), True, True,
                                    shape, values))
        else:
            smallest, _, largest = _profile_shape(engine, name, shape, profile)
            tensors.append(IoTensor(TensorSpec(name, spec.dtype, shape, largest), True, False,
                                    smallest))
    if not any(one.is_input for one in tensors) or all(one.is_input for one in tensors):
        raise EngineDeserializeError(
            f'{path} has {len(tensors)} tensors, expected at least one input and one output; it '
            f'was built of an empty network: compile it again')
    return tuple(tensors)


def check_io(path: Path, tensors: tuple[IoTensor, ...], engine: CudaEngine,
             manifest: EngineManifest) -> None:
    """
    Hold an engine against its manifest.

    :raises EngineSchemaMismatchError: everything that differs, in one line.
    """
    problems = list(_differences('input', [one.spec for one in tensors if one.is_input],
                                 manifest.inputs))
    problems += _differences('output', [one.spec for one in tensors if not one.is_input],
                             manifest.outputs)
    if manifest.profiles and len(manifest.profiles) != engine.num_optimization_profiles:
        problems.append(f'the engine has {engine.num_optimization_profiles} profiles, the '
                        f'manifest {len(manifest.profiles)}')
    else:
        fed = {one.name: one.spec.shape
               for one in tensors if one.is_input and not one.is_host}
        for index, profile in enumerate(manifest.profiles):
            for name, wanted in profile.shapes.items():
                if name not in fed:
                    continue
                found = _profile_shape(engine, name, fed[name], index)
                if found != tuple(tuple(shape) for shape in wanted):
                    problems.append(f'profile {profile.name!r} takes {name} as {_range(found)}, '
                                    f'the manifest says {_range(wanted)}')
    if problems:
        raise EngineSchemaMismatchError(
            f'{path} is not what its manifest says: {"; ".join(problems)}; compile it again')


def _differences(kind: str, found: list[TensorSpec],
                 wanted: tuple[TensorSpec, ...]) -> Iterator[str]:
    by_name: Mapping[str, TensorSpec] = {spec.name: spec for spec in wanted}
    for spec in found:
        other = by_name.get(spec.name)
        if other is None:
            yield f'{kind} {spec.name!r} is not in the manifest'
        elif (spec.dtype, spec.shape) != (other.dtype, tuple(other.shape)):
            yield (f'{kind} {spec.name} is {spec.dtype} {list(spec.shape)}, the manifest says '
                   f'{other.dtype} {list(other.shape)}')
    names = {spec.name for spec in found}
    for spec in wanted:
        if spec.name not in names:
            yield f'{kind} {spec.name!r} of the manifest is not in the engine'


def _dtype(engine: CudaEngine, path: Path, name: str) -> np.dtype[Any]:
    kind: Any = engine.get_tensor_dtype(name)
    known = _DTYPES.get(kind.name)
    if known is None:
        raise EngineDeserializeError(
            f'{path}: tensor {name!r} has elements of type {kind.name}, expected one of '
            f'{", ".join(_DTYPES)}, which arrays can hold; export the model with float inputs '
            f'and outputs')
    return np.dtype(known)


def _check_linear(engine: CudaEngine, path: Path, name: str, profile: int) -> None:
    layout: Any = engine.get_tensor_format(name, profile)
    if layout.name != 'LINEAR':
        raise EngineDeserializeError(
            f'{path}: tensor {name!r} has the memory layout {layout.name}, expected LINEAR, which '
            f'arrays have; compile it without other formats for inputs and outputs')


def _profile_shape(engine: CudaEngine, name: str, shape: tuple[int, ...],
                   profile: int) -> tuple[tuple[int, ...], ...]:
    """Return the smallest, best and largest shape of an input; a fixed one has no other."""
    if min(shape, default=0) >= 0:
        return (shape, shape, shape)
    return tuple(as_shape(dims) for dims in engine.get_tensor_profile_shape(name, profile))


def _range(shapes: Any) -> str:
    smallest, _, largest = shapes
    return f'{list(smallest)} to {list(largest)}'
