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
The steps of a build that every branch with Python bindings takes.

A branch adds the one step in the middle: from a network and its profiles to a plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from functools import partial
import time
from typing import Any
from typing import Callable

from c7_inference_ros.engines.building.build_messages import failure_reason
from c7_inference_ros.engines.building.build_messages import useful_warnings
from c7_inference_ros.engines.building.build_progress import BuildProgress
from c7_inference_ros.engines.building.builder import BuildRequest
from c7_inference_ros.engines.building.builder import BuiltEngine
from c7_inference_ros.engines.building.builder_settings import hardware_compatibility
from c7_inference_ros.engines.building.network import check_precision
from c7_inference_ros.engines.building.network import parse_network
from c7_inference_ros.engines.building.network import ParsedNetwork
from c7_inference_ros.engines.building.network import tensor_specs
from c7_inference_ros.engines.building.profiles import settle_profiles
from c7_inference_ros.engines.tensorrt_api import TensorrtApi
from c7_inference_ros.engines.trust.plan_header import parse_plan_header
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.errors import EngineSchemaMismatchError
import numpy as np


@dataclass
class Stage:
    """
    A build on its way.

    :param api: the package that builds.
    :param request: what is built.
    :param builder: ``Builder``.
    :param parsed: the network.
    :param profiles: settled.
    :param progress: reports, and stops the build.
    :param settings: what the branch found to be set; it fills this in.
    :param warnings: of this package, not of TensorRT.
    """

    api: TensorrtApi
    request: BuildRequest
    builder: Any
    parsed: ParsedNetwork
    profiles: tuple[OptimizationProfile, ...]
    progress: BuildProgress
    settings: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def build_with_bindings(api: TensorrtApi, branch: str, request: BuildRequest,
                        make_plan: Callable[[Stage], Any]) -> BuiltEngine:
    """
    Build one engine.

    :param branch: name of the branch.
    :param make_plan: the branch's own step; returns ``IHostMemory``, or None when it failed.
    :raises EngineBuildError: it could not be built; the message has the real reason.
    """
    started = time.monotonic()
    progress = BuildProgress(api, request.on_progress)
    with api.log.capture(is_of_this_thread=True) as said:
        builder = api.trt.Builder(api.log.logger)
        parsed = parse_network(api, builder, request)
        check_precision(request, parsed)
        profiles = settle_profiles(request.model, parsed.inputs, request.config.profiles)
        inputs, outputs = tensor_specs(parsed, request.model, profiles)
        stage = Stage(api, request, builder, parsed, profiles, progress)
        # Only now: see parse_network.
        owners = (builder, parsed.network)
        for owner in owners:
            owner.error_recorder = api.log.recorder
        try:
            memory = make_plan(stage)
        finally:
            for owner in owners:
                owner.error_recorder = None
        progress.check()
        if memory is None:
            raise EngineBuildError(
                f'{request.model} could not be built as {request.config.precision.value} by '
                f'{api.package} {api.version} ({branch}): {failure_reason(said)}')
        plan = view_of(memory)
        check_plan(plan, api.package, api.version, request.model)
        weights, contexts = measure_engine(api, plan, max(1, len(profiles)))
        warnings = (*stage.warnings, *useful_warnings(said.warnings()))
    return BuiltEngine(
        plan, branch, api.package, api.version, inputs, outputs, profiles,
        tensor_types=parsed.tensor_types, warnings=tuple(dict.fromkeys(warnings)),
        hardware_compatibility=hardware_compatibility(api, request), weights_bytes=weights,
        context_bytes=contexts, settings=stage.settings, seconds=time.monotonic() - started)


def view_of(memory: Any) -> memoryview:
    """
    Return the bytes of an ``IHostMemory`` without copying them; the view keeps it alive.

    Its own buffer claims to hold one-byte floats, which nothing can read.
    """
    array = np.frombuffer(memory, np.uint8)
    array.flags.writeable = False
    return array.data


def check_plan(plan: memoryview | bytes, package: str, version: str, model: str) -> None:
    """
    Check that bytes are a whole plan of the library that should have written them.

    :param version: dotted; its last parts may be missing.
    :raises EngineBuildError: they are not.
    """
    try:
        header = parse_plan_header(plan, f'the engine of {model}')
    except EngineSchemaMismatchError as error:
        raise EngineBuildError(f'the builder wrote no engine: {error}') from error
    size = memoryview(plan).nbytes
    if header.total_bytes not in (None, size):
        raise EngineBuildError(
            f'the engine of {model} has {size} bytes, but says that it has {header.total_bytes}; '
            f'it was not written whole: build it again')
    if header.package != package or not header.is_version(version):
        raise EngineBuildError(
            f'the engine of {model} was written by {header.package} {header.version_text}, but '
            f'{package} {version} was to build it; the bindings or tool and the library are of '
            f'different versions: install matching ones')


def measure_engine(api: TensorrtApi, plan: Any, profiles: int
                   ) -> tuple[int | None, tuple[int | None, ...]]:
    """
    Load a new engine once to learn how much memory it takes.

    Engines of TensorRT-RTX are compiled when they are loaded, for the GPU at hand, which need not
    be that of the vehicle: their sizes are not asked for.

    :returns: weights, activation memory by profile; None where this machine cannot tell.
    """
    unknown: tuple[int | None, ...] = (None,) * profiles
    if api.is_rtx:
        return None, unknown
    engine = api.trt.Runtime(api.log.logger).deserialize_cuda_engine(plan)
    if engine is None:
        return None, unknown
    statistic = getattr(getattr(api.trt, 'EngineStat', None), 'TOTAL_WEIGHTS_SIZE', None)
    weights = None if statistic is None else _size(
        lambda: getattr(engine, 'get_engine_stat')(statistic))
    return weights, tuple(_size(partial(_context_bytes, engine, number))
                          for number in range(profiles))


def _context_bytes(engine: Any, profile: int) -> Any:
    by_profile = getattr(engine, 'get_device_memory_size_for_profile_v2', None)
    return by_profile(profile) if by_profile else getattr(engine, 'device_memory_size_v2', None)


def _size(ask: Callable[[], Any]) -> int | None:
    try:
        size = ask()
    except (AttributeError, RuntimeError, TypeError):
        return None
    return int(size) if size is not None and size >= 0 else None
