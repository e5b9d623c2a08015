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
From an ONNX file to a TensorRT network that is really the model.

The parser answers True to bytes that are no model, a profile that is wrong adds as -1, and a
failed build is None: all of that is checked here, where the reason can still be told.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any
from typing import Iterator
from typing import Mapping
from typing import Sequence

from c7_inference_ros.engines.building.builder import BuildRequest
from c7_inference_ros.engines.building.profiles import largest_shapes
from c7_inference_ros.engines.building.profiles import NetworkInput
from c7_inference_ros.engines.tensorrt_api import TensorrtApi
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.model_files.onnx_file import check_external_data
from c7_inference_ros.model_files.onnx_file import scan_onnx
from c7_inference_ros.model_files.protobuf_scan import fields
from c7_inference_ros.model_files.reading import open_model_file
from c7_inference_ros.model_files.reading import read_bytes
from c7_inference_ros.model_files.tensor_spec import TensorSpec
import numpy as np

#: Element types by their name in ``tensorrt.DataType``; the names of NumPy where it has the type.
TYPE_NAMES = {'FLOAT': 'float32', 'HALF': 'float16', 'BF16': 'bfloat16', 'INT8': 'int8',
              'INT32': 'int32', 'INT64': 'int64', 'BOOL': 'bool', 'UINT8': 'uint8',
              'FP8': 'float8', 'INT4': 'int4', 'FP4': 'float4'}
_NOT_IN_NUMPY = {'bfloat16', 'float8', 'int4', 'float4'}
# Numbers of onnx.ModelProto, GraphProto and NodeProto.
_GRAPH, _NODE, _NAME, _OP_TYPE = 7, 1, 3, 4


@dataclass(frozen=True)
class ParsedNetwork:
    """
    A network that came from an ONNX file, checked.

    :param network: ``INetworkDefinition``.
    :param parser: must live as long as the network, which holds its weights.
    :param inputs: as the network has them.
    :param tensor_types: outputs of its layers, constants aside, by element type.
    :param has_quantization: whether it has Q/DQ layers.
    :param operators: operator type of each named node of the ONNX.
    """

    network: Any
    parser: Any
    inputs: tuple[NetworkInput, ...]
    tensor_types: Mapping[str, int]
    has_quantization: bool
    operators: Mapping[str, str] = field(default_factory=dict)


def parse_network(api: TensorrtApi, builder: Any, request: BuildRequest) -> ParsedNetwork:
    """
    Read an ONNX file into a new network.

    The builder must not have an error recorder yet: a parser that is made for a network with one
    crashes the process when both are freed (TensorRT-RTX 1.4 and 1.7).

    :param builder: ``Builder``.
    :raises EngineBuildError: the file is no usable model, or TensorRT cannot use it.
    """
    data = read_onnx(request.onnx)
    network = builder.create_network(api.network_flags(request.is_strongly_typed))
    if network is None:
        raise EngineBuildError(f'{api.package} {api.version} makes no network; its installation '
                               f'is broken, install it again')
    parser = api.trt.OnnxParser(network, api.log.logger)
    # The path tells the parser where weights lie beside the model.
    is_parsed = parser.parse(data, str(request.onnx))
    if not is_parsed or parser.num_errors:
        raise EngineBuildError(
            f'{request.model} cannot be built by {api.package} {api.version}: '
            f'{_parser_problem(parser, data)}; change the model or its export, or run it with '
            f'runtime onnx_trt_ep')
    for what in ('num_layers', 'num_inputs', 'num_outputs'):
        if getattr(network, what) < 1:
            raise EngineBuildError(
                f'{request.model}: {api.package} read {request.onnx} without an error into a '
                f'network with {what} = {getattr(network, what)}, expected 1 or more; export the '
                f'model again')
    inputs = tuple(NetworkInput(one.name, tuple(one.shape), one.is_shape_tensor)
                   for one in (network.get_input(index) for index in range(network.num_inputs)))
    types, has_quantization = _tensor_types(network)
    return ParsedNetwork(network, parser, inputs, types, has_quantization,
                         {name: kind for name, kind in nodes_of(data) if name})


def read_onnx(path: Path) -> bytes:
    """
    Return the bytes of an ONNX file that is whole, with all its weights.

    :raises EngineBuildError: it is something else, damaged or incomplete.
    """
    try:
        with open_model_file(path) as (file, _):
            data = read_bytes(path, file)
        check_external_data(path, scan_onnx(path, data).external)
    except EngineDeserializeError as error:
        raise EngineBuildError(str(error)) from error
    return data


def check_precision(request: BuildRequest, parsed: ParsedNetwork) -> None:
    """
    Refuse a network whose types are not those that its engine would claim to have.

    :raises EngineBuildError: the ONNX should have been converted, or not been.
    """
    precision, types = request.config.precision, parsed.tensor_types
    half, single = types.get('float16', 0), types.get('float32', 0)
    found = ', '.join(f'{count} {name}' for name, count in sorted(types.items()))
    if precision is PrecisionMode.FP32 and half:
        raise EngineBuildError(
            f'{request.model} is to be built as fp32, but computes in float16 ({found}); build '
            f'it as fp16 or mixed, or give the float32 model')
    if not request.is_strongly_typed:
        return
    if precision in (PrecisionMode.FP16, PrecisionMode.MIXED) and not half:
        raise EngineBuildError(
            f'{request.model} is to be built as {precision.value} with strong types, but has no '
            f'float16 tensor ({found}); convert {request.onnx} first')
    if precision is PrecisionMode.MIXED and not single:
        raise EngineBuildError(
            f'{request.model} is to be built as mixed, but nothing is left in float32 ({found}); '
            f'name the nodes that are to stay, or build it as fp16')
    if precision is PrecisionMode.INT8 and not parsed.has_quantization:
        raise EngineBuildError(
            f'{request.model} is to be built as int8 with strong types, but has no '
            f'QuantizeLinear and DequantizeLinear nodes ({found}); quantise {request.onnx} first')


def add_profiles(builder: Any, config: Any, parsed: ParsedNetwork, model: str,
                 profiles: Sequence[OptimizationProfile]) -> list[Any]:
    """
    Add settled profiles to a builder configuration.

    :param config: ``IBuilderConfig``.
    :returns: the ``IOptimizationProfile`` of each.
    :raises EngineBuildError: TensorRT refuses one.
    """
    added = []
    for number, profile in enumerate(profiles):
        made = fill_profile(builder.create_optimization_profile(), parsed, model, profile)
        index = config.add_optimization_profile(made)
        if not made or index != number:
            raise _refused(model, profile, f'it was added as number {index}')
        added.append(made)
    return added


def fill_profile(made: Any, parsed: ParsedNetwork, model: str, profile: OptimizationProfile
                 ) -> Any:
    """
    Write the ranges of a settled profile into an ``IOptimizationProfile`` and return it.

    :raises EngineBuildError: TensorRT refuses one.
    """
    for one in parsed.inputs:
        if one.name not in profile.shapes:
            continue
        try:
            if one.is_shape_tensor:
                made.set_shape_input(one.name, *profile.shapes[one.name])
            else:
                made.set_shape(one.name, *profile.shapes[one.name])
        except (RuntimeError, TypeError, ValueError) as error:
            raise _refused(model, profile, f'input {one.name}: {error}') from error
    return made


def tensor_specs(parsed: ParsedNetwork, model: str, profiles: Sequence[OptimizationProfile]
                 ) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """
    Return the inputs and outputs with their largest shapes.

    :param profiles: as they are built.
    :raises EngineBuildError: a tensor has a type that no array can have.
    """
    network = parsed.network
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    open_shapes = [tuple(one.shape) for one in outputs]
    answers = [_output_shapes(inputs, outputs, largest_shapes(parsed.inputs, (profile,)))
               for profile in profiles or (OptimizationProfile('', {}),)]
    for tensor, one in zip(inputs, parsed.inputs):
        tensor.shape = one.shape
    known = [shapes for shapes in answers if shapes is not None]
    most = ([_most(shapes) for shapes in zip(*known)] if len(known) == len(answers)
            else open_shapes)
    largest = largest_shapes(parsed.inputs, profiles)
    return (tuple(TensorSpec(tensor.name, _numpy_type(model, tensor), one.shape,
                             largest[one.name]) for tensor, one in zip(inputs, parsed.inputs)),
            tuple(TensorSpec(tensor.name, _numpy_type(model, tensor), *shapes)
                  for tensor, *shapes in zip(outputs, open_shapes, most)))


def _output_shapes(inputs: Sequence[Any], outputs: Sequence[Any],
                   shapes: Mapping[str, tuple[int, ...]]) -> list[tuple[int, ...]] | None:
    """
    Return the shapes of outputs for shapes of inputs; the network infers them itself.

    None where they contradict each other: the build will fail, and say why.
    """
    for tensor in inputs:
        tensor.shape = shapes[tensor.name]
    try:
        return [tuple(one.shape) for one in outputs]
    except (RuntimeError, ValueError):
        return None


def _most(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the largest size of each dimension; -1 where one is not known."""
    return tuple(-1 if min(sizes) < 0 else max(sizes) for sizes in zip(*shapes))


def _refused(model: str, profile: OptimizationProfile, why: str) -> EngineBuildError:
    ranges = ', '.join(f'{name} {[list(shape) for shape in shapes]}'
                       for name, shapes in profile.shapes.items())
    return EngineBuildError(f'{model}: TensorRT refuses the profile {profile.name!r} ({ranges}): '
                            f'{why}; correct its shapes')


def _tensor_types(network: Any) -> tuple[dict[str, int], bool]:
    """Count outputs of layers by type, and see whether there is a Q/DQ layer."""
    counts: Counter[str] = Counter()
    has_quantization = False
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        kind = layer.type.name
        has_quantization |= kind in ('QUANTIZE', 'DEQUANTIZE')
        if kind == 'CONSTANT':
            continue
        for number in range(layer.num_outputs):
            tensor = layer.get_output(number)
            if tensor is not None:
                counts[TYPE_NAMES.get(tensor.dtype.name, tensor.dtype.name.lower())] += 1
    return dict(sorted(counts.items())), has_quantization


def _numpy_type(model: str, tensor: Any) -> np.dtype[Any]:
    name = TYPE_NAMES.get(tensor.dtype.name, tensor.dtype.name)
    if name in _NOT_IN_NUMPY or name not in TYPE_NAMES.values():
        raise EngineBuildError(
            f'{model}: tensor {tensor.name!r} has elements of type {name}, which no array has; '
            f'export the model with float32 or float16 inputs and outputs')
    return np.dtype(name)


def _parser_problem(parser: Any, data: bytes) -> str:
    """Say which nodes the parser cannot use and why."""
    problems = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        name = getattr(error, 'node_name', lambda: '')()
        kind = getattr(error, 'node_operator', lambda: '')()
        node = f'node {name or error.node()}{f" ({kind})" if kind else ""}: '
        problems.append(f'{node if error.node() >= 0 else ""}{" ".join(error.desc().split())}')
    missing = sorted({kind for _, kind in nodes_of(data)
                      if not parser.supports_operator(kind)})
    if missing:
        problems.insert(0, f'it does not have the operators {", ".join(missing)}')
    more = f'; and {len(problems) - 4} more' if len(problems) > 4 else ''
    return '; '.join(dict.fromkeys(problems[:4])) + more or 'the parser gave no reason'


def nodes_of(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield (name, operator type) of the nodes of a model that was scanned before."""
    for number, _, graph in fields(memoryview(data)):
        if number != _GRAPH or isinstance(graph, int):
            continue
        for part, _, node in fields(graph):
            if part == _NODE and not isinstance(node, int):
                texts = {field: str(text, 'utf-8', 'replace') for field, _, text in fields(node)
                         if field in (_NAME, _OP_TYPE) and not isinstance(text, int)}
                yield texts.get(_NAME, ''), texts.get(_OP_TYPE, '')
