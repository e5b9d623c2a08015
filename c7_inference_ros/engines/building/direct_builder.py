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

"""The branch that speaks to the builder of the Python bindings itself."""

from __future__ import annotations

from typing import Any

from c7_inference_ros.engines.building.bindings_build import build_with_bindings
from c7_inference_ros.engines.building.bindings_build import Stage
from c7_inference_ros.engines.building.builder import BuildRequest
from c7_inference_ros.engines.building.builder import BuiltEngine
from c7_inference_ros.engines.building.builder import DIRECT
from c7_inference_ros.engines.building.builder_settings import configure
from c7_inference_ros.engines.building.builder_settings import keep_layers
from c7_inference_ros.engines.building.builder_settings import precision_flags
from c7_inference_ros.engines.building.builder_settings import read_back
from c7_inference_ros.engines.building.network import add_profiles
from c7_inference_ros.engines.building.network import fill_profile
from c7_inference_ros.engines.building.timing_cache import timing_key
from c7_inference_ros.engines.building.timing_cache import TimingCacheFile
from c7_inference_ros.engines.tensorrt_api import TensorrtApi
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineBuildError


class BindingsBuilder:
    """
    What the branches with Python bindings have in common.

    :param api: the package that builds.
    """

    name = ''

    def __init__(self, api: TensorrtApi) -> None:
        """Keep the package."""
        self.api = api

    @property
    def package(self) -> str:
        """``tensorrt`` or ``tensorrt_rtx``."""
        return self.api.package

    @property
    def version(self) -> str:
        """Full version of the package, dotted."""
        return self.api.version

    @property
    def has_weak_typing(self) -> bool:
        """Whether flags may choose the precision."""
        return self.api.has_weak_typing

    @property
    def has_implicit_calibration(self) -> bool:
        """Whether INT8 ranges may come from a calibrator."""
        return self.api.has_implicit_calibration

    def build(self, request: BuildRequest) -> BuiltEngine:
        """
        Build one engine; from any thread.

        :raises EngineBuildError: it could not be built; the message has the real reason.
        :raises ConfigurationError: the request asks for what the package does not have.
        """
        return build_with_bindings(self.api, self.name, request, self._make_plan)

    def _make_plan(self, stage: Stage) -> Any:
        raise NotImplementedError


class DirectBuilder(BindingsBuilder):
    """Builds with ``IBuilderConfig``."""

    name = DIRECT

    def _make_plan(self, stage: Stage) -> Any:
        api, request = stage.api, stage.request
        flags = precision_flags(api, request)
        config = stage.builder.create_builder_config()
        configure(api, config, request, flags)
        if stage.progress.monitor is not None:
            config.progress_monitor = stage.progress.monitor
        add_profiles(stage.builder, config, stage.parsed, request.model, stage.profiles)
        if needs_calibrator(stage):
            config.int8_calibrator = request.calibrator
            if stage.profiles:
                # A profile of its own: TensorRT calibrates at the optimum shape.
                config.set_calibration_profile(fill_profile(
                    stage.builder.create_optimization_profile(), stage.parsed, request.model,
                    stage.profiles[0]))
        stage.settings.update(read_back(api, config, request))
        if 'OBEY_PRECISION_CONSTRAINTS' in flags:
            stage.settings['layers_kept_in_float32'] = keep_layers(api, stage.parsed, request)
        timings = KeptTimings(stage, config)
        memory = stage.builder.build_serialized_network(stage.parsed.network, config)
        if memory is not None:
            timings.store()
        return memory


def needs_calibrator(stage: Stage) -> bool:
    """
    Whether INT8 ranges come from the calibrator of the request.

    :raises ConfigurationError: they would have to, and there is none.
    """
    request = stage.request
    if (request.config.precision is not PrecisionMode.INT8 or request.is_strongly_typed
            or stage.parsed.has_quantization):
        return False
    if request.calibrator is None:
        raise ConfigurationError(
            f'{request.model} is to be built as int8, but has no QuantizeLinear nodes and the '
            f'request no calibrator; quantise the model, or give calibration data')
    if not stage.api.has_implicit_calibration:
        raise ConfigurationError(
            f'{request.model} is to be built as int8 with a calibrator, which '
            f'{stage.api.package} {stage.api.version} does not have; quantise the model')
    return True


class KeptTimings:
    """
    The timing cache of one build.

    :param stage: the build; is told in its settings and warnings what became of the cache.
    :param config: ``IBuilderConfig``.
    """

    def __init__(self, stage: Stage, config: Any) -> None:
        """Hand kept timings to the builder, or an empty cache that it fills."""
        self._file: TimingCacheFile | None = None
        self._config = config
        request, api = stage.request, stage.api
        stage.settings['timing_cache'] = 'none'
        if request.config.timing_cache is None:
            return
        if not api.has_timing_cache:
            stage.settings['timing_cache'] = f'none: {api.package} times nothing'
            return
        self._file = TimingCacheFile(request.config.timing_cache,
                                     timing_key(api.package, api.version, request.host))
        kept = self._file.load()
        self._cache = config.create_timing_cache(kept.data)
        state = kept.state
        # False: it was measured on another device.
        if self._cache is not None and not config.set_timing_cache(self._cache, False):
            self._cache = config.create_timing_cache(b'')
            config.set_timing_cache(self._cache, False)
            state = (f'ignored: {request.config.timing_cache} was measured on another device; '
                     f'it is written anew')
        if self._cache is None:
            raise EngineBuildError(f'{request.model}: TensorRT makes no timing cache; leave '
                                   f'timing_cache out')
        self._loaded = kept.data if state == 'used' else b''
        stage.settings['timing_cache'] = state
        if state.startswith('ignored'):
            stage.warnings.append(f'timing cache {state}')

    def store(self) -> None:
        """Keep what was measured, together with what other builds kept meanwhile."""
        if self._file is not None:
            self._file.store(self._merge)

    def _merge(self, kept: bytes) -> bytes:
        # What this build started from is in its cache already.
        if kept and kept != self._loaded:
            other = self._config.create_timing_cache(kept)
            if other is not None:
                self._cache.combine(other, False)
        return bytes(memoryview(self._cache.serialize()))
