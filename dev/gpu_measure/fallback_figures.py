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

"""What is measured of the runtimes beside TensorRT, where they run on a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.runtime.factory import build_inference_runtime
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from gpu_measure.figures import Figure
from gpu_measure.figures import percentile
from gpu_measure.figures import timed
from gpu_measure.figures import TOLERANCES
from gpu_measure.tensorrt_figures import difference
from gpu_measure.tensorrt_figures import GIB
from gpu_measure.tensorrt_figures import MIB
import numpy as np


def fallback(name: str, path: Path, onnx: Path, precision: str, rounds: int = 200,
             seeds: int = 5, **settings: Any) -> list[Figure]:
    """
    Return latency, memory and difference to ONNX Runtime on a CPU of one runtime.

    :param name: of the runtime.
    :param path: the model that it loads.
    :param onnx: the same model as ONNX, for the reference.
    :param precision: arithmetic of the runtime.
    :param settings: of :func:`build_inference_runtime`.
    """
    budget = MemoryBudget(64 * GIB, 64 * GIB)
    runtime = build_inference_runtime(name, budget=budget, **settings)
    handle = runtime.deserialize_engine(EngineCacheEntry(path))
    label = runtime.current_runtime_label()
    reference = build_inference_runtime('onnx_trt_ep', budget=MemoryBudget(GIB, 64 * GIB))
    expected_of = reference.deserialize_engine(EngineCacheEntry(onnx))
    try:
        worst = 0.0
        for seed in range(seeds):
            random = np.random.default_rng(seed)
            feed = {spec.name: random.random(spec.max_shape).astype(spec.dtype)
                    for spec in handle.inputs}
            expected = reference.infer(expected_of, feed)
            found = runtime.infer(handle, feed)
            worst = max(worst, *(difference(found[key], expected[key]) for key in expected))
        samples = timed(lambda: runtime.infer(handle, feed), rounds)
        device = handle.memory.measured_device_bytes
    finally:
        runtime.release_engine(handle)
        reference.release_engine(expected_of)
    notes = '; '.join((label, *runtime.fallbacks))
    figures = [Figure(f'{name}, inference, p50', percentile(samples, 0.5) * 1e3, 'ms', note=notes),
               Figure(f'{name}, outputs against ONNX Runtime in float32', worst, '',
                      TOLERANCES[precision], notes)]
    if device is not None:
        figures.append(Figure(f'{name}, device memory, measured', device / MIB, 'MiB'))
    return figures
