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
What is measured of the TensorRT runtime.

Each function takes a :class:`Subject` and returns its figures. On the test doubles the functions
prove themselves; what they return there is labelled and never written down.
"""

from __future__ import annotations

from dataclasses import dataclass
import os
from pathlib import Path
import time
from typing import Any
from typing import Callable

from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.errors import OutOfMemoryError
from c7_inference_ros.runtime.base import TensorMap
from c7_inference_ros.runtime.factory import build_inference_runtime
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.runtime.process_memory import rss_bytes
from c7_inference_ros.runtime.trt.activation_arena import ACTIVATIONS
from c7_inference_ros.runtime.trt.raw_loop import raw_loop
from gpu_measure.figures import Figure
from gpu_measure.figures import percentile
from gpu_measure.figures import timed
from gpu_measure.figures import TOLERANCES
import numpy as np
import numpy.typing as npt

GIB, MIB = 1 << 30, 1 << 20
DESERIALISE_LIMIT_S = 5.0
MEMORY_LIMIT = 0.10
#: Growth over 10,000 inferences that an allocator may be blamed for.
FLAT_HOST_BYTES, FLAT_DEVICE_BYTES = 8 * MIB, 0


@dataclass(frozen=True)
class Subject:
    """
    One engine, and how it is run.

    :param title: model and precision, for people.
    :param entry: the engine.
    :param onnx: the model that it was built from.
    :param precision: what it was built for.
    :param package: ``tensorrt`` or ``tensorrt_rtx``.
    :param make_runtime: returns a runtime; takes ``budget`` and ``use_cuda_graph``.
    :param is_double: whether this is no GPU but a test double of one.
    """

    title: str
    entry: EngineCacheEntry
    onnx: Path
    precision: str
    package: str
    make_runtime: Callable[..., Any]
    is_double: bool = False

    @property
    def label(self) -> str:
        """Return the title; a double says that it is one."""
        return f'{self.title} (TEST DOUBLE, no GPU)' if self.is_double else self.title


class Loaded:
    """A runtime with the engine of a subject in it, for a with block."""

    def __init__(self, subject: Subject, budget: MemoryBudget | None = None,
                 **settings: Any) -> None:
        self.budget = budget or MemoryBudget(64 * GIB, 64 * GIB)
        self.runtime = subject.make_runtime(budget=self.budget, **settings)
        self.entry = subject.entry

    def __enter__(self) -> Loaded:
        self.handle = self.runtime.deserialize_engine(self.entry)
        return self

    def __exit__(self, *error: object) -> None:
        self.runtime.release_engine(self.handle)

    def feed(self, seed: int = 0) -> dict[str, npt.NDArray[Any]]:
        """Return random inputs."""
        random = np.random.default_rng(seed)
        return {spec.name: random.random(spec.max_shape).astype(spec.dtype)
                for spec in self.handle.inputs}


def build(compile_it: Callable[[], EngineCacheEntry], title: str
          ) -> tuple[EngineCacheEntry, list[Figure]]:
    """Return how long building takes, and how large the engine is, with what was built."""
    started = time.perf_counter()
    entry = compile_it()
    seconds, size = time.perf_counter() - started, os.path.getsize(entry.path) / MIB
    return entry, [Figure(f'build, {title}', seconds, 's'),
                   Figure(f'size of the engine, {title}', size, 'MiB')]


def deserialise(subject: Subject, rounds: int = 20) -> list[Figure]:
    """Return how long an engine takes to load, gate and warm-up included."""
    runtime = subject.make_runtime(budget=MemoryBudget(64 * GIB, 64 * GIB))
    samples = []
    for _ in range(rounds):
        started = time.perf_counter()
        handle = runtime.deserialize_engine(subject.entry)
        samples.append(time.perf_counter() - started)
        runtime.release_engine(handle)
    how = f'{rounds} rounds, with the gate, the context and the warm-up'
    return [Figure('deserialise, p50', percentile(samples, 0.5), 's', note=how),
            Figure('deserialise, p95', percentile(samples, 0.95), 's', DESERIALISE_LIMIT_S, how)]


def inference(subject: Subject, rounds: int = 500) -> list[Figure]:
    """Return how long an inference takes, against the raw engine loop on the same engine."""
    figures: list[Figure] = []
    p50: dict[str, float] = {}
    for name, use_graph in (('without CUDA graph', False), ('with CUDA graph', True)):
        with Loaded(subject, use_cuda_graph=use_graph) as loaded:
            feed, runtime, handle = loaded.feed(), loaded.runtime, loaded.handle
            timed(lambda: runtime.infer(handle, feed), max(1, rounds // 10))
            samples = timed(lambda: runtime.infer(handle, feed), rounds)
            note = '' if handle.execution.has_graph or not use_graph else handle.execution.note
            specs = handle.inputs, handle.outputs
        p50[name] = percentile(samples, 0.5)
        figures += [Figure(f'inference {name}, p{share:g}', percentile(samples, share / 100) * 1e3,
                           'ms', note=note) for share in (50, 95, 99)]
    with raw_loop(subject.package, subject.entry.path.read_bytes(), *specs) as loop:
        timed(loop.run, max(1, rounds // 10))
        raw = percentile(timed(loop.run, rounds), 0.5)
    return [*figures, Figure('raw engine loop, p50', raw * 1e3, 'ms'),
            Figure('inference against the raw engine loop', p50['without CUDA graph'] / raw, '',
                   note='p50 without CUDA graph, both with copies in and out'),
            Figure('gain of the CUDA graph', p50['without CUDA graph'] / p50['with CUDA graph'],
                   '', note='p50 without it divided by p50 with it')]


def memory(subject: Subject) -> list[Figure]:
    """Return how far the measured device memory is from the prediction."""
    with Loaded(subject) as loaded:
        total = loaded.budget.totals()['device']
        basis = loaded.handle.memory.basis
    measured = total.measured_bytes
    off = (float('nan') if measured is None or not total.predicted_bytes
           else abs(measured - total.predicted_bytes) / total.predicted_bytes)
    return [Figure('device memory, predicted', total.predicted_bytes / MIB, 'MiB'),
            Figure('device memory, measured',
                   float('nan') if measured is None else measured / MIB, 'MiB', note=basis),
            Figure('device memory, measured against predicted', off * 100, '%',
                   MEMORY_LIMIT * 100)]


def flat_memory(subject: Subject, rounds: int = 10_000) -> list[Figure]:
    """Return what many inferences leave behind."""
    with Loaded(subject) as loaded:
        feed, runtime, handle = loaded.feed(), loaded.runtime, loaded.handle
        timed(lambda: runtime.infer(handle, feed), 100)
        before = rss_bytes() or 0, runtime.free_device_bytes()
        timed(lambda: runtime.infer(handle, feed), rounds)
        after = rss_bytes() or 0, runtime.free_device_bytes()
    return [Figure(f'host memory after {rounds} inferences', (after[0] - before[0]) / MIB, 'MiB',
                   FLAT_HOST_BYTES / MIB, 'growth of the process'),
            Figure(f'device memory after {rounds} inferences', (before[1] - after[1]) / MIB, 'MiB',
                   FLAT_DEVICE_BYTES / MIB,
                   'what is less free on the GPU, which nothing else may use meanwhile')]


def refusal(subject: Subject) -> list[Figure]:
    """Return by how much a refused second engine changes the free memory of the GPU."""
    with Loaded(subject) as first:
        total = first.budget.totals()['device']
        # A second one needs no activations of its own.
        again = sum(item.predicted_bytes for item in first.handle.memory.items
                    if item.is_device and item.name != ACTIVATIONS)
    limit = max(total.predicted_bytes, total.measured_bytes or 0) + again // 2
    with Loaded(subject, budget=MemoryBudget(limit, 64 * GIB)) as loaded:
        before = loaded.runtime.free_device_bytes()
        table = loaded.budget.table()
        try:
            second = loaded.runtime.deserialize_engine(subject.entry)
        except OutOfMemoryError as error:
            said, changed = str(error), before - loaded.runtime.free_device_bytes()
        else:
            loaded.runtime.release_engine(second)
            return [Figure('refusal of a second engine', float('nan'), 'bytes', 0,
                           'it was not refused')]
        is_same = loaded.budget.table() == table
    return [Figure('refusal of a second engine, change of the free memory', abs(changed), 'bytes',
                   0, said),
            Figure('refusal of a second engine, change of the ledger', 0 if is_same else 1, '', 0)]


def outputs(subject: Subject, seeds: int = 5) -> list[Figure]:
    """Return the largest difference to ONNX Runtime in float32 on a CPU."""
    reference = build_inference_runtime('onnx_trt_ep', budget=MemoryBudget(GIB, 64 * GIB))
    handle = reference.deserialize_engine(EngineCacheEntry(subject.onnx))
    worst, which = 0.0, ''
    with Loaded(subject) as loaded:
        for seed in range(seeds):
            feed = loaded.feed(seed)
            expected = reference.infer(handle, feed)
            # The outputs lie in memory of the engine, which may not be held after it is gone.
            errors = _differences(loaded.runtime.infer(loaded.handle, feed), expected)
            worst, which = max((worst, which), *((error, name) for name, error in errors.items()))
    reference.release_engine(handle)
    return [Figure('outputs against ONNX Runtime in float32', worst, '',
                   TOLERANCES[subject.precision],
                   f'largest difference as a share of the largest value, output {which}')]


def _differences(found: TensorMap, expected: TensorMap) -> dict[str, float]:
    return {name: difference(array, expected[name]) for name, array in found.items()}


def difference(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    """Return the largest difference of two arrays as a share of the largest value."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float('inf')
    largest = np.abs(expected.astype(np.float64)).max(initial=0.0) or 1.0
    return float(np.abs(found.astype(np.float64) - expected).max(initial=0.0) / largest)


#: In the order of the page.
MEASUREMENTS = (deserialise, inference, memory, flat_memory, refusal, outputs)
