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

"""How long models take to load, again and again."""

from __future__ import annotations

from array import array
import functools
import time
from typing import Callable

from c7_inference_ros.config import NodeConfig
from c7_inference_ros.engines.host import probe_host
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.errors import InferenceRuntimeError
from c7_inference_ros.pipeline.loaded_models import LOAD_TIMEOUT_S
from c7_inference_ros.pipeline.model_contract import load_handle
from c7_inference_ros.pipeline.model_lookup import find_model
from c7_inference_ros.pipeline.model_lookup import runtime_extras
from c7_inference_ros.pipeline.scheduler import FrameScheduler
from c7_inference_ros.pipeline.worker import InferenceWorker
from c7_inference_ros.runtime.factory import build_inference_runtime
from c7_inference_ros.runtime.memory_budget import MemoryBudget

#: No further round begins after so long: some runtimes build an engine with every load.
LONGEST_S = 120.0
_RELEASE_TIMEOUT_S = 10.0


def load_times(config: NodeConfig, rounds: int, tell: Callable[[int, int], None]
               ) -> dict[str, array[float]]:
    """
    Load and release every model a number of times, one model at a time.

    A load is what the node waits for when it is configured: the checks of the file, the engine or
    session, its buffers, and the warm-up of the runtime. The file is in the page cache.

    :param tell: told how many rounds are done, and of how many.
    :returns: seconds, by model; fewer than asked for when they take too long.
    :raises InferenceRuntimeError: a model does not load any more.
    """
    loader = _Loader(config)
    worker = InferenceWorker(FrameScheduler(()), name='benchmark_loads')
    found: dict[str, array[float]] = {name: array('d') for name in config.models}
    wait_s = _RELEASE_TIMEOUT_S
    try:
        began = time.monotonic()
        for index in range(rounds):
            tell(index, rounds)
            if index and time.monotonic() - began > LONGEST_S:
                break
            for name in config.models:
                found[name].append(worker.call(functools.partial(loader.load, name),
                                               LOAD_TIMEOUT_S))
        tell(rounds, rounds)
    except TimeoutError as error:
        wait_s = 0.0
        raise InferenceRuntimeError(f'a model has not loaded after {LOAD_TIMEOUT_S:g} s; look at '
                                    f'its file and the load of the machine') from error
    finally:
        worker.stop(wait_s, last=loader.close)
    return found


class _Loader:

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._runtime = build_inference_runtime(
            config.runtime, execution_providers=config.execution_providers,
            allow_cpu_fallback=config.allow_cpu_fallback,
            intra_op_threads=config.intra_op_threads, engines=config.engines,
            budget=MemoryBudget(config.memory.device_budget_bytes,
                                config.memory.host_budget_bytes))
        self._host: HostTuple | None = None

    def load(self, name: str) -> float:
        model = self._config.models[name]
        path = find_model(self._config, model, self._this_host)
        extras = runtime_extras(self._config, model)
        began = time.monotonic()
        handle = load_handle(self._runtime, model, path, extras)
        took = time.monotonic() - began
        self._runtime.release_engine(handle)
        return took

    def close(self) -> None:
        getattr(self._runtime, 'close', lambda: None)()

    def _this_host(self, config: NodeConfig) -> HostTuple:
        if self._host is None:
            self._host = probe_host(config.engines.package, device=config.engines.device)
        return self._host
