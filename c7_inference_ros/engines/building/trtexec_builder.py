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
The branch that builds with NVIDIA's command-line tool, where there are no Python bindings.

The tool has traps, and each is closed here: it benchmarks after building unless told not to, so
that a saved engine may come with a failure; it calibrates INT8 with random data when it has no
cache; its options differ between versions and an unknown one fails the build.
"""

from __future__ import annotations

from functools import cached_property
import mmap
import os
from pathlib import Path
import shlex
import tempfile
from typing import Any

from c7_inference_ros.engines.building.bindings_build import check_plan
from c7_inference_ros.engines.building.builder import BuildRequest
from c7_inference_ros.engines.building.builder import BuiltEngine
from c7_inference_ros.engines.building.builder import TRTEXEC
from c7_inference_ros.engines.building.onnx_summary import OnnxSummary
from c7_inference_ros.engines.building.onnx_summary import summarize
from c7_inference_ros.engines.building.profiles import largest_shapes
from c7_inference_ros.engines.building.profiles import NetworkInput
from c7_inference_ros.engines.building.profiles import settle_profiles
from c7_inference_ros.engines.building.timing_cache import timing_key
from c7_inference_ros.engines.building.timing_cache import TimingCacheFile
from c7_inference_ros.engines.building.trtexec_flags import flags_of
from c7_inference_ros.engines.building.trtexec_flags import shape_flags
from c7_inference_ros.engines.building.trtexec_tool import ask_tool
from c7_inference_ros.engines.building.trtexec_tool import how_it_ended
from c7_inference_ros.engines.building.trtexec_tool import last_lines
from c7_inference_ros.engines.building.trtexec_tool import lines_marked
from c7_inference_ros.engines.building.trtexec_tool import run_tool
from c7_inference_ros.engines.building.trtexec_tool import Tool
from c7_inference_ros.engines.building.trtexec_tool import ToolFacts
from c7_inference_ros.engines.building.trtexec_tool import ToolRun
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.engines.types import TENSORRT
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.model_files.tensor_spec import TensorSpec


class TrtexecBuilder:
    """
    Builds with ``trtexec``, or ``tensorrt_rtx`` for TensorRT-RTX.

    :param tool: of :func:`c7_inference_ros.engines.building.trtexec_tool.find_tool`.
    :raises RuntimeNotAvailableError: it does not run.
    """

    name = TRTEXEC

    def __init__(self, tool: Tool) -> None:
        """Ask the tool for its version."""
        self._tool = tool
        self._facts: ToolFacts = ask_tool(tool)

    @property
    def path(self) -> Path:
        """The program."""
        return self._tool.path

    @property
    def package(self) -> str:
        """``tensorrt`` or ``tensorrt_rtx``."""
        return self._tool.package

    @property
    def version(self) -> str:
        """Version of the tool, dotted; without the build number where it does not say it."""
        return self._facts.version

    @cached_property
    def has_weak_typing(self) -> bool:
        """Whether flags may choose the precision."""
        return self.package == TENSORRT and self._facts.major < 11

    @property
    def has_implicit_calibration(self) -> bool:
        """Whether INT8 ranges may come from a calibration cache."""
        return self.has_weak_typing

    def build(self, request: BuildRequest) -> BuiltEngine:
        """
        Build one engine in a process of its own; from any thread.

        :raises EngineBuildError: it could not be built, or not in time; the message has the
            tool's last words.
        :raises ConfigurationError: the request asks for what the tool does not have.
        """
        summary = summarize(request.onnx)
        inputs = [NetworkInput(spec.name, spec.shape) for spec in summary.inputs]
        profiles = settle_profiles(request.model, inputs, request.config.profiles)
        with tempfile.TemporaryDirectory(prefix='build_engine_') as folder:
            engine, kept = Path(folder, 'engine.plan'), Path(folder, 'timings.cache')
            timings, state = self._prepare_timings(request, kept)
            command = [
                str(self.path), f'--onnx={request.onnx}', f'--saveEngine={engine}',
                *flags_of(request, self._facts, self.package, self.has_weak_typing, summary),
                *shape_flags(request.model, profiles)]
            if timings is not None:
                command.append(f'--timingCacheFile={kept}')
            run = run_tool(command, request.config.timeout_s, self._report(request))
            plan = self._take(request, run, engine)
            if timings is not None and kept.is_file():
                timings.store(lambda _: kept.read_bytes())
        return self._result(request, run, plan, profiles, summary, inputs, command, state)

    def _report(self, request: BuildRequest) -> Any:
        """Turn the time that the tool runs into progress, once a second."""
        reported = [-1]

        def on_wait(seconds: float) -> None:
            if request.on_progress is not None and int(seconds) > reported[0]:
                reported[0] = int(seconds)
                request.on_progress(self.path.name, int(seconds), int(request.config.timeout_s))
        return on_wait

    def _prepare_timings(self, request: BuildRequest, kept: Path
                         ) -> tuple[TimingCacheFile | None, str]:
        """Give the tool a copy of the kept timings, which it reads and writes unguarded."""
        if request.config.timing_cache is None:
            return None, 'none'
        if self.package != TENSORRT:
            return None, f'none: {self.package} times nothing'
        file = TimingCacheFile(request.config.timing_cache,
                               timing_key(self.package, self.version, request.host))
        found = file.load()
        if found.data:
            kept.write_bytes(found.data)
        return file, found.state

    def _take(self, request: BuildRequest, run: ToolRun, engine: Path) -> memoryview:
        """Return the engine that the tool wrote; the file may go, the memory stays."""
        is_there = engine.is_file() and engine.stat().st_size > 0
        errors = '; '.join(lines_marked(run.output, '[E]')[-4:])
        if run.code != 0:
            unused = '; the engine that it had saved is not used' if is_there else ''
            raise EngineBuildError(
                f'{request.model} could not be built as {request.config.precision.value}: '
                f'{self.path.name} {self.version} {how_it_ended(run.code)}: '
                f'{errors or last_lines(run.output)}{unused}')
        if not is_there:
            raise EngineBuildError(
                f'{request.model} could not be built: {self.path.name} {self.version} ended well '
                f'but saved no engine: {errors or last_lines(run.output)}')
        descriptor = os.open(engine, os.O_RDONLY | os.O_CLOEXEC)
        try:
            plan = memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
        finally:
            os.close(descriptor)
        check_plan(plan, self.package, self.version, request.model)
        return plan

    def _result(self, request: BuildRequest, run: ToolRun, plan: memoryview,
                profiles: tuple[OptimizationProfile, ...], summary: OnnxSummary,
                inputs: list[NetworkInput], command: list[str], state: str) -> BuiltEngine:
        largest = largest_shapes(inputs, profiles)
        warnings = lines_marked(run.output, '[W]')
        if state.startswith('ignored'):
            warnings = (f'timing cache {state}', *warnings)
        wanted = request.config
        return BuiltEngine(
            plan, self.name, self.package, self.version,
            tuple(TensorSpec(spec.name, spec.dtype, spec.shape, largest[spec.name])
                  for spec in summary.inputs),
            summary.outputs_for(largest), profiles, warnings=warnings,
            hardware_compatibility=str(wanted.extras.get('hardware_compatibility', 'none')),
            context_bytes=(None,) * max(1, len(profiles)), seconds=run.seconds,
            settings={'workspace_bytes': wanted.workspace_bytes,
                      'optimization_level': wanted.optimization_level,
                      'is_tf32_allowed': wanted.is_tf32_allowed,
                      'profiling_verbosity': 'LAYER_NAMES_ONLY', 'timing_cache': state,
                      'is_strongly_typed': request.is_strongly_typed or not self.has_weak_typing,
                      'command': shlex.join([self.path.name, *command[1:]])})
