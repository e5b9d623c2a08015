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

"""The TensorRT runtime on a real GPU; figures of the same functions go to docs/gpu_results.md."""

from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from gpu_measure import tensorrt_figures
import pytest

pytestmark = pytest.mark.gpu


def assert_good(figures):
    bad = [f'{one.what}: {one.text}, limit {one.limit} ({one.note})'
           for one in figures if not one.is_good]
    assert not bad, '; '.join(bad)


def test_the_network_gives_the_outputs_of_onnx_runtime(subject):
    assert_good(tensorrt_figures.outputs(subject))


def test_an_unchanged_model_is_reused(subject, network):
    runtime = subject.make_runtime(budget=MemoryBudget(1 << 36, 1 << 36))
    config = BuildConfig(precision=PrecisionMode(subject.precision),
                         output_dir=subject.entry.path.parent)
    before = subject.entry.path.stat().st_mtime_ns
    assert runtime.compile_engine(network, config).path == subject.entry.path
    assert subject.entry.path.stat().st_mtime_ns == before


def test_deserialising_takes_less_than_five_seconds(detector):
    assert_good(tensorrt_figures.deserialise(detector, rounds=10))


def test_the_prediction_of_memory_is_within_a_tenth(detector):
    assert_good(tensorrt_figures.memory(detector))


def test_a_refused_engine_leaves_the_free_memory_as_it_was(detector):
    assert_good(tensorrt_figures.refusal(detector))


def test_ten_thousand_inferences_leave_nothing_behind(subject):
    assert_good(tensorrt_figures.flat_memory(subject))


def test_the_runtime_adds_little_to_the_raw_engine_loop(detector):
    """A checked copy into page-locked memory and some bookkeeping: no multiple of the engine."""
    figures = {one.what: one for one in tensorrt_figures.inference(detector, rounds=200)}
    assert_good(figures.values())
    assert figures['inference against the raw engine loop'].value < 1.5
    with tensorrt_figures.Loaded(detector, use_cuda_graph=True) as loaded:
        if loaded.handle.execution.has_graph:
            assert figures['gain of the CUDA graph'].value > 0.9, 'the graph makes it slower'
        else:
            assert loaded.handle.execution.note, 'there is no graph, and nothing says why'


def test_loading_and_releasing_leaves_nothing_behind(detector):
    """200 rounds with another engine loaded, so that the GPU stays open to be asked."""
    with tensorrt_figures.Loaded(detector) as loaded:
        def rounds(count):
            for _ in range(count):
                loaded.runtime.release_engine(loaded.runtime.deserialize_engine(detector.entry))
            return loaded.runtime.free_device_bytes()
        assert rounds(5) - rounds(200) <= 0
