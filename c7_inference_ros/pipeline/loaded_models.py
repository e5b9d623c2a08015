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

"""Everything between configure and cleanup: runtime, budget, models and their thread."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Callable

from c7_inference_ros.config import NodeConfig
from c7_inference_ros.engines.host import probe_host
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import InferenceRuntimeError
from c7_inference_ros.pipeline.detection_pipeline import DetectionPipeline
from c7_inference_ros.pipeline.model_lookup import find_model
from c7_inference_ros.pipeline.model_lookup import runtime_extras
from c7_inference_ros.pipeline.scheduler import FrameScheduler
from c7_inference_ros.pipeline.worker import InferenceWorker
from c7_inference_ros.resources import find_file
from c7_inference_ros.runtime.base import InferenceRuntime
from c7_inference_ros.runtime.factory import build_inference_runtime
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.runtime.memory_budget import size_text
from c7_inference_ros.thermal.publisher import ThermalStatePublisher

#: Longest wait for loading and warming up all models; a manager gave up long before.
LOAD_TIMEOUT_S = 300.0
#: Longest wait for a number that the device knows.
QUERY_TIMEOUT_S = 5.0
#: More than predicted by this much is drift; allocators round up and libraries grow a little.
DRIFT_FACTOR, DRIFT_BYTES = 1.25, 64 << 20


class LoadedModels:
    """
    The models of one configuration, loaded on the one thread that owns the runtime.

    :param config: what to load.
    :param scheduler: where frames wait for the worker.
    :param thermal: where the runtime takes its thermal state from.
    :param on_error: told about exceptions that a frame handler let out.
    :raises ConfigurationError: what the user has to correct; nothing stays loaded.
    :raises InferenceRuntimeError: a model does not load or does not fit; nothing stays loaded.
    :raises RuntimeNotAvailableError: the runtime is not installed.
    """

    def __init__(self, config: NodeConfig, scheduler: FrameScheduler,
                 thermal: ThermalStatePublisher | None,
                 on_error: Callable[[BaseException], None] | None = None) -> None:
        """Load everything, or nothing."""
        self.budget = MemoryBudget(config.memory.device_budget_bytes,
                                   config.memory.host_budget_bytes)
        self.pipelines: dict[str, DetectionPipeline] = {}
        self.worker = InferenceWorker(scheduler, on_error)
        self._runtime: InferenceRuntime | None = None
        self._host: HostTuple | None = None
        try:
            self.worker.call(lambda: self._load(config, thermal), LOAD_TIMEOUT_S)
        except TimeoutError as error:
            self.release(0.0)
            raise InferenceRuntimeError(
                f'loading the models has not ended after {LOAD_TIMEOUT_S:g} s: {error}; look at '
                f'the model files and the load of the machine') from error
        except BaseException:
            self.release(LOAD_TIMEOUT_S)
            raise

    @property
    def runtime(self) -> InferenceRuntime:
        """What runs the models."""
        assert self._runtime is not None  # set by the constructor, or it raised
        return self._runtime

    def warnings(self) -> tuple[str, ...]:
        """Return what runs otherwise than it was asked for, one sentence each."""
        return tuple(getattr(self._runtime, 'fallbacks', ()))

    def check_memory(self, free_floor_bytes: int) -> None:
        """
        Enforce the budget on what was really taken; activating calls it.

        :param free_floor_bytes: free memory that must be left on the machine.
        :raises OutOfMemoryError: itemised, in one line.
        """
        read_free = getattr(self._runtime, 'free_device_bytes', None)
        free = None if read_free is None else self.worker.call(read_free, QUERY_TIMEOUT_S)
        self.budget.check_measured(free_floor_bytes, device_free_bytes=free)

    def memory_values(self) -> dict[str, int | str]:
        """Return predicted and measured bytes by key, in all and by model; '' where unknown."""
        values: dict[str, int | str] = {}
        for place, total in self.budget.totals().items():
            values[f'{place}_predicted_bytes'] = total.predicted_bytes
            values[f'{place}_measured_bytes'] = _known(total.measured_bytes)
        for name, pipeline in self.pipelines.items():
            memory = pipeline.handle.memory
            values[f'{name}.predicted_bytes'] = (
                memory.predicted_device_bytes + memory.predicted_host_bytes)
            values[f'{name}.measured_bytes'] = _known(memory.measured_bytes)
            values[f'{name}.basis'] = memory.basis
        return values

    def memory_drift(self) -> list[str]:
        """Return one sentence for each model that took clearly more than was predicted."""
        lines = []
        for name, pipeline in self.pipelines.items():
            memory = pipeline.handle.memory
            predicted = memory.predicted_device_bytes + memory.predicted_host_bytes
            if (memory.measured_bytes or 0) > predicted * DRIFT_FACTOR + DRIFT_BYTES:
                lines.append(f'model {name} took {size_text(memory.measured_bytes or 0)}, '
                             f'predicted were {size_text(predicted)}')
        return lines

    def release(self, timeout_s: float) -> bool:
        """
        Give everything back and end the thread; idempotent.

        :param timeout_s: longest wait for the thread, seconds.
        :returns: False when the thread hangs; it releases what it can if it ever comes back.
        """
        return self.worker.stop(timeout_s, last=self._release)

    def _load(self, config: NodeConfig, thermal: ThermalStatePublisher | None) -> None:
        self._runtime = build_inference_runtime(
            config.runtime, execution_providers=config.execution_providers,
            allow_cpu_fallback=config.allow_cpu_fallback,
            intra_op_threads=config.intra_op_threads, engines=config.engines,
            budget=self.budget, thermal=thermal)
        problems: list[str] = []
        for name, model in config.models.items():
            try:
                path = find_model(config, model, self._this_host)
                labels = find_file(model.labels, f'models.{name}.labels') if model.labels else None
                self.pipelines[name] = DetectionPipeline.load(
                    self._runtime, model, path, labels, runtime_extras(config, model))
                self.pipelines[name].warm_up()
            except ConfigurationError as error:
                # The next model may be wrong too: one round of corrections is enough.
                problems += error.problems
        if problems:
            raise ConfigurationError(problems)

    def _this_host(self, config: NodeConfig) -> HostTuple:
        if self._host is None:
            self._host = probe_host(config.engines.package, device=config.engines.device)
        return self._host

    def _release(self) -> None:
        with ExitStack() as undo:  # one that fails keeps the others from nothing
            # A runtime with a GPU holds its context until the last of its thread.
            undo.callback(getattr(self._runtime, 'close', lambda: None))
            for pipeline in self.pipelines.values():
                undo.callback(pipeline.release)


def _known(value: int | None) -> int | str:
    return '' if value is None else value
