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
The branch that builds through Polygraphy.

Its defaults are not used: the network is parsed and its profiles are settled here, and everything
that it would choose otherwise than the other branches (TF32 off, verbosity detailed, missing
shapes 1) is given. It never loads an engine, because its loaders let engines run code of the host.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import ExitStack
import os
import sys
import threading
from typing import Any
from typing import Iterator
import warnings

from c7_inference_ros.engines.building.bindings_build import Stage
from c7_inference_ros.engines.building.builder import POLYGRAPHY
from c7_inference_ros.engines.building.builder_settings import configure
from c7_inference_ros.engines.building.builder_settings import keep_layers
from c7_inference_ros.engines.building.builder_settings import precision_flags
from c7_inference_ros.engines.building.builder_settings import PROFILING_VERBOSITY
from c7_inference_ros.engines.building.builder_settings import read_back
from c7_inference_ros.engines.building.direct_builder import BindingsBuilder
from c7_inference_ros.engines.building.direct_builder import KeptTimings
from c7_inference_ros.engines.building.direct_builder import needs_calibrator
from c7_inference_ros.engines.tensorrt_api import TensorrtApi
from c7_inference_ros.engines.types import TENSORRT_RTX
from c7_inference_ros.errors import RuntimeNotAvailableError

_CHOICE = 'POLYGRAPHY_USE_TENSORRT_RTX'


class PolygraphyBuilder(BindingsBuilder):
    """
    Builds with ``polygraphy.backend.trt``.

    :param api: the package that builds.
    :raises RuntimeNotAvailableError: Polygraphy is not installed, or was set up for the other
        package; it can serve one a process.
    """

    name = POLYGRAPHY

    def __init__(self, api: TensorrtApi) -> None:
        """Import Polygraphy for the package."""
        super().__init__(api)
        self._backend, self._polygraphy = import_polygraphy(api.package)

    def _make_plan(self, stage: Stage) -> Any:
        with _silence.of(self._polygraphy.logger.G_LOGGER):
            return self._build(stage)

    def _build(self, stage: Stage) -> Any:
        api, request = stage.api, stage.request
        trt, wanted = api.trt, request.config
        flags = precision_flags(api, request)
        kept = (keep_layers(api, stage.parsed, request)
                if 'OBEY_PRECISION_CONSTRAINTS' in flags else None)
        arguments: dict[str, Any] = {
            'tf32': wanted.is_tf32_allowed,
            # An empty list, not its default: that would be one profile of ones.
            'profiles': [self._profile(stage, one.shapes) for one in stage.profiles],
            'memory_pool_limits': {trt.MemoryPoolType.WORKSPACE: wanted.workspace_bytes},
            'builder_optimization_level': wanted.optimization_level,
            'profiling_verbosity': getattr(trt.ProfilingVerbosity, PROFILING_VERBOSITY)}
        if 'FP16' in flags:
            arguments['fp16'] = True
        if 'INT8' in flags:
            arguments['int8'] = True
            if needs_calibrator(stage):
                arguments['calibrator'] = request.calibrator
        if kept is not None:
            arguments['precision_constraints'] = 'obey'
        if stage.progress.monitor is not None:
            arguments['progress_monitor'] = stage.progress.monitor
        create_config = self._backend.CreateConfig(**arguments)
        timings = []

        def config_of(builder: Any, network: Any) -> Any:
            config = create_config(builder, network)
            # For what Polygraphy has no argument; the rest is set to what it is.
            configure(api, config, request, flags)
            stage.settings.update(read_back(api, config, request))
            timings.append(KeptTimings(stage, config))
            return config

        if kept is not None:
            stage.settings['layers_kept_in_float32'] = kept
        stage.settings['polygraphy'] = self._polygraphy.__version__
        try:
            memory = self._backend.engine_bytes_from_network(
                (stage.builder, stage.parsed.network), config=config_of)
        except self._polygraphy.exception.PolygraphyException:
            # It knows only that there is no engine; the reason was said to log and recorder.
            return None
        timings[0].store()
        return memory

    def _profile(self, stage: Stage, shapes: Any) -> Any:
        profile = self._backend.Profile()
        for name, (smallest, best, largest) in shapes.items():
            profile.add(name, smallest, best, largest)
        return profile


def import_polygraphy(package: str) -> tuple[Any, Any]:
    """
    Import Polygraphy for TensorRT or for TensorRT-RTX.

    It reads once, at its first import, which of the two it is for.

    :returns: ``polygraphy.backend.trt`` and ``polygraphy``.
    :raises RuntimeNotAvailableError: it is not installed, or is there for the other package.
    """
    is_rtx = package == TENSORRT_RTX
    is_first = 'polygraphy' not in sys.modules
    before = os.environ.get(_CHOICE)
    if is_first:
        os.environ[_CHOICE] = '1' if is_rtx else '0'
    try:
        import polygraphy
        import polygraphy.backend.trt
        import polygraphy.config
        import polygraphy.exception
        import polygraphy.logger
    except ImportError as error:
        raise RuntimeNotAvailableError(
            f'the polygraphy branch needs the Python package polygraphy, which does not load '
            f'({" ".join(str(error).split())}); pip install polygraphy, or use the branch direct'
        ) from error
    finally:
        if is_first:
            if before is None:
                os.environ.pop(_CHOICE, None)
            else:
                os.environ[_CHOICE] = before
    serves_rtx = bool(getattr(polygraphy.config, 'USE_TENSORRT_RTX', False))
    if is_rtx and not hasattr(polygraphy.config, 'USE_TENSORRT_RTX'):
        raise RuntimeNotAvailableError(
            f'polygraphy {polygraphy.__version__} does not know TensorRT-RTX; pip install '
            f'"polygraphy>=0.49.26", or use the branch direct')
    if serves_rtx != is_rtx:
        other = 'tensorrt_rtx' if serves_rtx else 'tensorrt'
        raise RuntimeNotAvailableError(
            f'polygraphy was imported for {other} in this process and can serve only one; build '
            f'for {package} in a process of its own, or use the branch direct')
    return polygraphy.backend.trt, polygraphy


class _Silence:
    """
    Keeps Polygraphy from printing: what matters is in TensorRT's own log, which is captured.

    Its logger and Python's warnings are one for all threads, so that the last build restores them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._quiet = ExitStack()

    @contextmanager
    def of(self, logger: Any) -> Iterator[None]:
        """Silence a logger inside a with block."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._quiet.enter_context(logger.verbosity(logger.CRITICAL + 1))
                # It uses what the package has deprecated.
                self._quiet.enter_context(warnings.catch_warnings())
                warnings.simplefilter('ignore', DeprecationWarning)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._quiet.close()


_silence = _Silence()
