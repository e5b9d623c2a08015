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

from contextlib import ExitStack
from pathlib import Path
import sys

from c7_inference_ros.config import load_config
from c7_inference_ros.pipeline.detection_pipeline import DetectionPipeline
from c7_inference_ros.pipeline.model_contract import load_handle
from c7_inference_ros.pipeline.model_contract import resolve_contract
from c7_inference_ros.tools.benchmarking import raw_loops
from c7_inference_ros.tools.benchmarking.measure import Bench
from c7_inference_ros.tools.benchmarking.measure import BLOCK
from c7_inference_ros.tools.benchmarking.measure import measure
from c7_inference_ros.tools.benchmarking.measure import Plan
from c7_inference_ros.tools.benchmarking.measure import Samples
from c7_inference_ros.tools.benchmarking.measure import take_samples
from c7_inference_ros.tools.benchmarking.raw_loops import Loop
from c7_inference_ros.tools.benchmarking.raw_loops import loops_of
from c7_inference_ros.tools.benchmarking.results import compare
from c7_inference_ros.tools.benchmarking.results import result_of
from c7_inference_ros.tools.benchmarking.subjects import Subject
from c7_inference_ros.vision.images import SourceImage
import numpy as np
import pytest

for _folder in ('pipeline', 'runtime'):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / _folder))

from scripted_models import dummy_runtime  # noqa: E402, I100
from scripted_models import model_config  # noqa: E402
from scripted_models import picture  # noqa: E402
from scripted_models import write_script  # noqa: E402

MODEL = Path(__file__).resolve().parents[2] / 'models' / 'person_ssdlite.onnx'


class SimulatedTime:
    """A clock that only a sleep, and each look at it, moves on."""

    LOOK_NS = 1000

    def __init__(self):
        self.now_ns = 0
        self.slept = 0

    def __call__(self):
        self.now_ns += self.LOOK_NS
        return self.now_ns

    def sleep(self, seconds):
        self.slept += 1
        self.now_ns += round(seconds * 1e9)


def scripted(folder, clock, **changes):
    """Return (runtime, pipeline) that live in simulated time."""
    path = write_script(folder, **changes)
    runtime = dummy_runtime(sleep=clock.sleep)
    config = model_config(path)
    handle = load_handle(runtime, config, path, {})
    return runtime, DetectionPipeline(runtime, handle, resolve_contract(handle, config), config,
                                      clock_ns=clock)


def test_a_known_latency_is_what_is_measured(tmp_path):
    clock, samples = SimulatedTime(), Samples()
    runtime, pipeline = scripted(tmp_path, clock, latency_s=0.0125)
    with ExitStack() as undo:
        loops = loops_of(runtime, pipeline, load_config({}), undo).loops
        take_samples(pipeline, loops, [picture()] * 30, samples, clock_ns=clock)
    look = clock.LOOK_NS / 1e9
    assert [loop.name for loop in loops] == ['runtime.infer']
    assert clock.slept == 60 and len(samples.at_s) == 30
    assert list(samples.stages['inference']) == pytest.approx([0.0125 + look] * 30)
    assert list(samples.raw['runtime.infer']) == pytest.approx([0.0125 + look] * 30)
    assert list(samples.stages['preprocess']) == pytest.approx([look] * 30)
    assert list(samples.stages['decode']) == pytest.approx([look] * 30)
    assert list(samples.stages['whole']) == pytest.approx([0.0125 + 5 * look] * 30)
    assert samples.detections == 60
    # Each began when the one before had ended.
    assert np.diff(samples.at_s) == pytest.approx([0.025 + 8 * look] * 29)


def test_a_jitter_is_measured_value_by_value(tmp_path):
    clock, samples = SimulatedTime(), Samples()
    _, pipeline = scripted(tmp_path, clock, latency_s=0.01, jitter={'max_s': 0.01, 'seed': 7})
    take_samples(pipeline, (), [picture()] * 20, samples, clock_ns=clock)
    expected = [0.01 + 0.01 * np.random.default_rng((7, call)).random() for call in range(1, 21)]
    assert list(samples.stages['inference']) == pytest.approx(expected, abs=2e-6)


def test_back_to_back_inferences_count_as_single_ones_and_the_order_changes(tmp_path):
    clock, samples, order = SimulatedTime(), Samples(), []
    _, pipeline = scripted(tmp_path, clock)

    def loop(name, seconds, inferences):
        def call(feed):
            assert feed['images'].shape == (1, 3, 48, 64)
            order.append(name)
            clock.sleep(seconds)
        return Loop(name, '', call, inferences)

    loops = (loop('a', 0.004, 1), loop('b', 0.008, 4))
    take_samples(pipeline, loops, [picture()] * 4, samples, clock_ns=clock)
    assert list(samples.raw['a']) == pytest.approx([0.004] * 4, abs=2e-6)
    assert list(samples.raw['b']) == pytest.approx([0.002] * 4, abs=2e-6)
    assert order == ['b', 'a', 'a', 'b', 'b', 'a', 'a', 'b']


def subject(label, path, **values):
    return Subject(label, load_config({
        'runtime': 'dummy', 'models.detector.path': str(path),
        'models.detector.decoder': 'yolov10', **values}))


def test_everything_is_measured_in_turn_and_the_warm_up_does_not_count(tmp_path):
    told = []
    folders = [tmp_path / name for name in 'ab']
    benches = []
    try:
        for folder, latency in zip(folders, (0.001, 0.008)):
            folder.mkdir()
            benches.append(Bench(subject(folder.name, write_script(folder, latency_s=latency))))
            benches[-1].prepare(picture())
        images = [picture(64), picture(128)]
        _, took = measure(benches, images, Plan(63, 7), lambda *how_far: told.append(how_far))
        for bench in benches:
            samples = bench.samples['detector']
            assert len(samples.at_s) == 65 and all(len(one) == 65 for one in (
                *samples.stages.values(), *samples.raw.values()))
            assert 0.0 <= samples.at_s[0] and samples.at_s[-1] < took
            handle = bench.models.pipelines['detector'].handle
            assert handle.calls == 2 + 2 * (7 + 65)
            assert min(samples.stages['inference']) >= handle.script.latency_s
        # Blocks take turns, and each subject is the first of two as often as the second.
        first, second = (np.array(bench.samples['detector'].at_s).reshape(-1, BLOCK)[:, 0]
                         for bench in benches)
        assert list(first < second) == [True, False] * 6 + [True]
        benches[0].growth_bytes, benches[1].growth_bytes = 5000, None
        results = [result_of(bench, {'detector': folder / 'scripted.yaml'})
                   for bench, folder in zip(benches, folders)]
        found, = compare(benches)
        assert (found.subject, found.base) == ('b', 'a')
        assert found.p50.value > 1.3 and found.p50.bounds.low and found.raw.value > 1.3
        assert results[1].models['detector'].stages['whole'].count == 65
        # What the process grew by counts where it is more than the models say of themselves.
        assert [result.memory['host'][:2] for result in results] == [(1000, 5000), (1000, 1000)]
    finally:
        for bench in benches:
            bench.release()
            bench.release()
    assert told[-1] == ('samples', 1000, 1000)
    assert [bench.models.pipelines['detector'].handle.is_released for bench in benches] == [
        True, True]


def test_a_duration_goes_on_beyond_the_samples(tmp_path):
    bench = Bench(subject('a', write_script(tmp_path)))
    clock = SimulatedTime()
    clock.LOOK_NS = 100_000_000
    try:
        bench.prepare(picture())
        _, took = measure([bench], [picture()], Plan(20, 0, 3.0), lambda *how_far: None, clock)
    finally:
        bench.release()
    assert took == pytest.approx(3.0) and len(bench.samples['detector'].at_s) == 30 * BLOCK


def test_a_hang_is_said_and_given_up(tmp_path, monkeypatch):
    from c7_inference_ros.errors import InferenceError
    from c7_inference_ros.tools.benchmarking import measure as measuring
    monkeypatch.setattr(measuring, '_HANG_S', 0.05)
    bench = Bench(subject('a', write_script(
        tmp_path, faults=[{'at': 6, 'error': 'hang', 'for_s': 3.0}]), inference_timeout=0.05))
    try:
        bench.prepare(picture())
        with pytest.raises(InferenceError, match='^a: inferences have not returned for'):
            bench.run('detector', [picture()] * 5, 0)
    finally:
        bench.release()
    assert bench.models.worker.is_abandoned


def test_onnx_runtime_is_also_called_directly():
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    bench = Bench(Subject('ort', load_config({
        'models.detector.path': str(MODEL), 'models.detector.decoder': 'ssd'})))
    try:
        image = SourceImage(np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8),
                            'bgr8')
        bench.prepare(image)
        direct, own = bench.loops['detector'].loops
        pipeline = bench.models.pipelines['detector']
        bench.run('detector', [image], 0)

        def both():
            return (direct.call(pipeline.feed), dict(own.call(pipeline.feed)))

        found, expected = bench.models.worker.call(both, 30.0)
        assert (direct.name, own.name) == ('session.run', 'runtime.infer')
        for array, name in zip(found, pipeline.handle.output_names):
            assert np.array_equal(array, expected[name])
    finally:
        bench.release()


def test_tensorrt_is_also_called_directly(monkeypatch, tmp_path):
    """On the doubles: the raw loops run the engine, and the GPU is empty afterwards."""
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    from tensorrt_bench import Bench as Doubles
    doubles = Doubles(monkeypatch, tmp_path / 'engines')
    runtime = doubles.runtime()
    entry = doubles.engine(MODEL, 'person', {'processing': {
        'decoder': 'ssd', 'preprocess': {'resize': 'stretch'}}})
    config = load_config({})
    pipeline = DetectionPipeline.load(runtime, config.models['detector'], entry.path)
    samples = Samples()
    with ExitStack() as undo:
        pipeline.prepare(picture())
        found = loops_of(runtime, pipeline, config, undo)
        take_samples(pipeline, found.loops, [picture()] * 2, samples)
        assert found.problems == ()
    assert [(loop.name, loop.inferences) for loop in found.loops] == [
        ('raw engine', 1), ('enqueue', raw_loops.BACK_TO_BACK), ('runtime.infer', 1)]
    assert all(len(values) == 2 and min(values) > 0 for values in samples.raw.values())
    # What cannot be run beside the runtime is said.
    entry.path.unlink()
    with ExitStack() as undo:
        left = loops_of(runtime, pipeline, config, undo)
    assert [loop.name for loop in left.loops] == ['runtime.infer']
    assert 'cannot be run beside the runtime' in left.problems[0]
    del found, left
    pipeline.release()
    doubles.assert_released()
