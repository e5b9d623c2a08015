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
What a builder of the bindings is told, and whether it took it.

Toolkits differ in their defaults (TF32 is off in Polygraphy and on elsewhere) and the builder
clamps some values without a word, so that everything is set and read back.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any
from typing import Sequence

from c7_inference_ros.engines.building.builder import BuildRequest
from c7_inference_ros.engines.building.network import ParsedNetwork
from c7_inference_ros.engines.tensorrt_api import TensorrtApi
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineBuildError

PROFILING_VERBOSITY = 'LAYER_NAMES_ONLY'
#: Values of ``extras['hardware_compatibility']`` by their name in ``HardwareCompatibilityLevel``.
HARDWARE_COMPATIBILITY = {'none': 'NONE', 'ampere_plus': 'AMPERE_PLUS',
                          'same_compute_capability': 'SAME_COMPUTE_CAPABILITY'}
_MAX_LEVEL = 5
_ONNX_LAYER = '[ONNX Layer: '
_TAKES_NO_PRECISION = {'CONSTANT', 'SHAPE', 'CAST', 'QUANTIZE', 'DEQUANTIZE', 'ASSERTION'}


def precision_flags(api: TensorrtApi, request: BuildRequest) -> tuple[str, ...]:
    """
    Return the builder flags of a precision; none where the ONNX decides.

    INT8 comes with FP16: without, everything that is not quantised would run in float32.

    :raises ConfigurationError: flags are asked for, but the types are strong.
    """
    precision = request.config.precision
    if request.is_strongly_typed:
        return ()
    if not api.has_weak_typing:
        if precision is PrecisionMode.FP32:
            return ()
        raise ConfigurationError(
            f'{request.model}: {api.package} {api.version} takes the precision from the types of '
            f'the ONNX, and {precision.value} was asked for by flags; convert the model')
    flags = {PrecisionMode.FP32: (), PrecisionMode.FP16: ('FP16',),
             PrecisionMode.MIXED: ('FP16',), PrecisionMode.INT8: ('INT8', 'FP16')}[precision]
    if flags and request.config.high_precision_nodes:
        flags += ('OBEY_PRECISION_CONSTRAINTS',)
    return flags


def hardware_compatibility(api: TensorrtApi, request: BuildRequest) -> str:
    """
    Return on which other GPUs the engine is to run: ``none`` unless the extras say otherwise.

    :raises ConfigurationError: the package does not have that.
    """
    wanted = str(request.config.extras.get('hardware_compatibility', 'none'))
    if wanted not in HARDWARE_COMPATIBILITY:
        raise ConfigurationError(
            f'hardware_compatibility is {wanted!r}, expected '
            f'{" or ".join(HARDWARE_COMPATIBILITY)}')
    if wanted == 'none':
        return wanted
    levels = getattr(api.trt, 'HardwareCompatibilityLevel', None)
    if api.is_rtx or not hasattr(levels, HARDWARE_COMPATIBILITY[wanted]):
        why = ('its engines run on every GPU it supports' if api.is_rtx
               else 'this version does not have it')
        raise ConfigurationError(
            f'hardware_compatibility {wanted} is nothing for {api.package} {api.version}: {why}; '
            f'leave it out')
    return wanted


def configure(api: TensorrtApi, config: Any, request: BuildRequest,
              flags: Sequence[str]) -> None:
    """
    Set everything that engines depend on in an ``IBuilderConfig``.

    :param flags: of :func:`precision_flags`.
    """
    trt, wanted = api.trt, request.config
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, wanted.workspace_bytes)
    config.builder_optimization_level = wanted.optimization_level
    config.profiling_verbosity = getattr(trt.ProfilingVerbosity, PROFILING_VERBOSITY)
    (config.set_flag if wanted.is_tf32_allowed else config.clear_flag)(trt.BuilderFlag.TF32)
    for flag in flags:
        config.set_flag(getattr(trt.BuilderFlag, flag))
    level = hardware_compatibility(api, request)
    if level != 'none':
        config.hardware_compatibility_level = getattr(
            trt.HardwareCompatibilityLevel, HARDWARE_COMPATIBILITY[level])


def read_back(api: TensorrtApi, config: Any, request: BuildRequest) -> dict[str, Any]:
    """
    Return what an ``IBuilderConfig`` really holds.

    :raises EngineBuildError: the builder did not take a setting.
    """
    trt, wanted = api.trt, request.config
    members = getattr(trt.BuilderFlag, '__members__')
    set_flags = sorted(name for name, flag in members.items() if config.get_flag(flag))
    settings: dict[str, Any] = {
        'workspace_bytes': int(config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE)),
        'optimization_level': int(config.builder_optimization_level),
        'is_tf32_allowed': 'TF32' in set_flags,
        'profiling_verbosity': config.profiling_verbosity.name,
        'flags': [name for name in set_flags if name != 'TF32'],
        'is_strongly_typed': request.is_strongly_typed or not api.has_weak_typing,
        'hardware_compatibility': hardware_compatibility(api, request)}
    expected = {'workspace_bytes': wanted.workspace_bytes,
                'optimization_level': wanted.optimization_level,
                'is_tf32_allowed': wanted.is_tf32_allowed,
                'profiling_verbosity': PROFILING_VERBOSITY}
    for name, value in expected.items():
        if settings[name] != value:
            hint = (f'0 to {_MAX_LEVEL}' if name == 'optimization_level'
                    else f'{name} of another size' if name == 'workspace_bytes' else 'the default')
            raise EngineBuildError(
                f'{request.model}: {name} {value} was set, but {api.package} {api.version} took '
                f'{settings[name]}; use {hint}')
    return settings


def keep_layers(api: TensorrtApi, parsed: ParsedNetwork, request: BuildRequest) -> int:
    """
    Keep layers in float32 where flags choose the precision (TensorRT 10.x).

    :returns: how many layers are kept.
    :raises EngineBuildError: a pattern fits no node.
    """
    patterns = request.config.high_precision_nodes
    unused, kept, names = set(patterns), 0, set()
    for index in range(parsed.network.num_layers):
        layer = parsed.network.get_layer(index)
        name = onnx_node(layer)
        kind = parsed.operators.get(name, '')
        names.add(name)
        fitting = {one for one in patterns
                   if fnmatchcase(name, one) or (kind and fnmatchcase(kind, one))}
        unused -= fitting
        if not fitting or layer.type.name in _TAKES_NO_PRECISION:
            continue
        outputs = [layer.get_output(number) for number in range(layer.num_outputs)]
        if any(one is None or one.is_shape_tensor or one.dtype.name not in ('FLOAT', 'HALF')
               for one in outputs):
            continue
        layer.precision = api.trt.DataType.FLOAT
        for number in range(layer.num_outputs):
            layer.set_output_type(number, api.trt.DataType.FLOAT)
        kept += 1
    if unused:
        raise EngineBuildError(no_such_node(request.model, sorted(unused)[0], names,
                                            set(parsed.operators.values())))
    return kept


def onnx_node(layer: Any) -> str:
    """Return the name of the ONNX node that a layer was made for; the layer's own if unknown."""
    said = str(getattr(layer, 'metadata', ''))
    start, end = said.find(_ONNX_LAYER), said.rfind(']')
    return said[start + len(_ONNX_LAYER):end] if 0 <= start < end else str(layer.name)


def no_such_node(model: str, pattern: str, names: set[str], kinds: set[str]) -> str:
    """Say that a pattern fits nothing, and what comes near."""
    import difflib
    near = difflib.get_close_matches(pattern, sorted(names | kinds), n=4, cutoff=0.4)
    hint = f'near are {", ".join(near)}' if near else (
        f'operator types are {", ".join(sorted(kinds)[:12])}')
    return (f'{model}: high_precision_nodes has {pattern!r}, which fits no node name and no '
            f'operator type; {hint}')
