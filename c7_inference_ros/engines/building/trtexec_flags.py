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

"""What the command-line tool is told, by its version."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Sequence

from c7_inference_ros.engines.building.builder import BuildRequest
from c7_inference_ros.engines.building.builder_settings import HARDWARE_COMPATIBILITY
from c7_inference_ros.engines.building.builder_settings import no_such_node
from c7_inference_ros.engines.building.onnx_summary import OnnxSummary
from c7_inference_ros.engines.building.trtexec_tool import ToolFacts
from c7_inference_ros.engines.calibration.calibration_table import parse_table
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.engines.types import TENSORRT_RTX
from c7_inference_ros.errors import CalibrationCacheError
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineBuildError

_HARDWARE = {'ampere_plus': 'ampere+', 'same_compute_capability': 'sameComputeCapability'}
#: Of one argument, in the kernel.
_MAX_ARGUMENT = 120_000


def flags_of(request: BuildRequest, facts: ToolFacts, package: str, has_weak_typing: bool,
             summary: OnnxSummary) -> list[str]:
    """
    Return the options of a build, without files and shapes.

    :raises ConfigurationError: the tool cannot do what is asked for.
    :raises EngineBuildError: the model does not fit its precision.
    """
    wanted = request.config
    # Without it the tool runs the engine, too, and may fail after a good build.
    flags = ['--skipInference', f'--memPoolSize=workspace:{wanted.workspace_bytes}B',
             f'--builderOptimizationLevel={wanted.optimization_level}',
             '--profilingVerbosity=layer_names_only']
    if not wanted.is_tf32_allowed:
        flags.append('--noTF32')
    compatibility = str(wanted.extras.get('hardware_compatibility', 'none'))
    if compatibility not in HARDWARE_COMPATIBILITY or (
            compatibility != 'none' and package == TENSORRT_RTX):
        raise ConfigurationError(
            f'hardware_compatibility {compatibility!r} is nothing for {package}; leave it out')
    if compatibility != 'none':
        flags.append(f'--hardwareCompatibilityLevel={_HARDWARE[compatibility]}')
    if has_weak_typing:
        flags += _precision_flags(request, facts, summary)
    _check_types(request, summary, has_weak_typing)
    unknown = sorted({flag.split('=')[0] for flag in flags} - facts.options)
    if unknown:
        raise ConfigurationError(
            f'the tool of {package} {facts.version} does not know {", ".join(unknown)}; use the '
            f'branch direct')
    return flags


def shape_flags(model: str, profiles: Sequence[OptimizationProfile]) -> list[str]:
    """
    Return the options that give the shapes of settled profiles.

    :raises ConfigurationError: the tool cannot be told the name of an input.
    """
    flags = []
    for number, profile in enumerate(profiles):
        if len(profiles) > 1:
            flags.append(f'--profile={number}')
        for bound, option in enumerate(('--minShapes', '--optShapes', '--maxShapes')):
            shapes = []
            for name, sizes in profile.shapes.items():
                if ',' in name or "'" in name:
                    raise ConfigurationError(
                        f'{model}: trtexec cannot be given the shape of the input {name!r}, '
                        f'because of its comma or quote; use the branch direct')
                shapes.append(f'{name}:{"x".join(str(size) for size in sizes[bound])}')
            flags.append(f'{option}={",".join(shapes)}')
    return flags


def _precision_flags(request: BuildRequest, facts: ToolFacts, summary: OnnxSummary) -> list[str]:
    precision = request.config.precision
    if request.is_strongly_typed:
        return ['--stronglyTyped']
    if precision is PrecisionMode.FP32:
        return []
    flags = ['--fp16']
    if precision is PrecisionMode.INT8:
        flags.append('--int8')
        if not summary.has_quantization:
            flags.append(f'--calib={_cache_of(request, facts, summary)}')
    if request.config.high_precision_nodes:
        layers = _layers(request, summary)
        flags += ['--precisionConstraints=obey', f'--layerPrecisions={layers}',
                  f'--layerOutputTypes={layers}']
    return flags


def _cache_of(request: BuildRequest, facts: ToolFacts, summary: OnnxSummary) -> str:
    """Return a calibration cache that the tool will take; it would make numbers up otherwise."""
    cache = request.calibration_cache
    if cache is None:
        raise ConfigurationError(
            f'{request.model} is to be built as int8 by trtexec, which would calibrate it with '
            f'random numbers: the model has no QuantizeLinear nodes and there is no calibration '
            f'cache; quantise the model, or calibrate it with the branch direct first')
    try:
        parse_table(cache.read_bytes(), facts.version, [spec.name for spec in summary.inputs])
    except OSError as error:
        raise CalibrationCacheError(
            f'calibration cache {cache} cannot be read ({error.strerror}), and trtexec would '
            f'calibrate with random numbers; calibrate with the branch direct first') from error
    except CalibrationCacheError as error:
        raise CalibrationCacheError(
            f'calibration cache {cache} would be ignored by trtexec, which then calibrates with '
            f'random numbers: {error}') from error
    return str(cache)


def _check_types(request: BuildRequest, summary: OnnxSummary, has_weak_typing: bool) -> None:
    """Refuse a model that has not the types of its precision."""
    precision = request.config.precision
    if precision is PrecisionMode.FP32 and summary.has_half:
        raise EngineBuildError(
            f'{request.model} is to be built as fp32, but computes in float16; build it as fp16 '
            f'or mixed, or give the float32 model')
    is_strong = request.is_strongly_typed or not has_weak_typing
    if is_strong and precision is PrecisionMode.INT8 and not summary.has_quantization:
        raise EngineBuildError(
            f'{request.model} is to be built as int8 with strong types, but has no '
            f'QuantizeLinear and DequantizeLinear nodes; quantise {request.onnx} first')
    if is_strong and precision in (PrecisionMode.FP16, PrecisionMode.MIXED) and (
            not summary.has_half):
        raise EngineBuildError(
            f'{request.model} is to be built as {precision.value} with strong types, but has no '
            f'float16 arithmetic; convert {request.onnx} first')


def _layers(request: BuildRequest, summary: OnnxSummary) -> str:
    """Name the layers that stay in float32 as the tool wants them: by the names of their nodes."""
    names = []
    for pattern in request.config.high_precision_nodes:
        fitting = [name for name, kind in summary.nodes.items()
                   if fnmatchcase(name, pattern) or fnmatchcase(kind, pattern)]
        if not fitting:
            raise EngineBuildError(no_such_node(request.model, pattern, set(summary.nodes),
                                                set(summary.nodes.values())))
        names += fitting
    bad = next((name for name in names if set(name) & set(',\'"')), None)
    layers = ','.join(f'{name}:fp32' for name in dict.fromkeys(names))
    if bad is not None or len(layers) > _MAX_ARGUMENT:
        what = f'node {bad!r}' if bad is not None else f'{len(names)} nodes'
        raise ConfigurationError(
            f'{request.model}: trtexec cannot be told to keep {what} in float32; use the branch '
            f'direct')
    return layers
