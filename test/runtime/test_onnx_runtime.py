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

"""What only the ONNX Runtime strategy does: numbers, memory, threads, silence."""

import os
import subprocess
import sys
import time

from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.errors import OutOfMemoryError
from c7_inference_ros.model_files import reading
from c7_inference_ros.runtime.factory import build_inference_runtime
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.runtime.process_memory import rss_bytes
import numpy as np
import pytest
from runtime_models import gather_model
from runtime_models import node
from runtime_models import save
from runtime_models import scale_model
from runtime_models import shared_model

onnxruntime = pytest.importorskip('onnxruntime')
AFFINITY_PROGRAM = """
import os
from pathlib import Path
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.runtime.factory import build_inference_runtime
from c7_inference_ros.runtime.memory_budget import MemoryBudget
runtime = build_inference_runtime('onnx_trt_ep', budget=MemoryBudget(1 << 30, 1 << 30))
before = os.listdir('/proc/self/task')
handle = runtime.deserialize_engine(EngineCacheEntry(Path(MODEL)))
print(len(set(os.listdir('/proc/self/task')) - set(before)))
"""


@pytest.fixture
def runtime(budget):
    return build_inference_runtime('onnx_trt_ep', budget=budget)


def load(runtime, path, **extras):
    return runtime.deserialize_engine(EngineCacheEntry(path, extras=extras))


def test_numbers_are_right_and_outputs_are_overwritten(tmp_path, runtime):
    metadata = {'names': "{0: 'person'}"}
    handle = load(runtime, scale_model(tmp_path / 'm.onnx', metadata=metadata))
    assert handle.metadata == metadata
    random = np.random.default_rng(0)
    for _ in range(3):
        x = random.random((1, 3, 4, 4)).astype(np.float32)
        outputs = runtime.infer(handle, {'x': x})
        assert np.array_equal(outputs['y'], 2 * x)
        assert np.allclose(outputs['total'], (2 * x).sum(axis=1))
        kept = outputs['y']
    runtime.infer(handle, {'x': np.zeros_like(x)})
    assert not kept.any(), 'valid until the next call only'


def test_real_model_gives_the_numbers_of_a_plain_session(runtime):
    path = shared_model('yolox_nano.onnx')
    handle = load(runtime, path)
    x = np.random.default_rng(1).random((1, 3, 416, 416)).astype(np.float32) * 255
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    plain = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    assert np.allclose(runtime.infer(handle, {'images': x})['output'],
                       plain.run(None, {'images': x})[0], rtol=1e-4, atol=1e-4)


def test_open_batch_takes_one_image_unless_told_otherwise(tmp_path, runtime):
    path = scale_model(tmp_path / 'm.onnx', batch='batch')
    handle = load(runtime, path)
    assert handle.inputs[0].shape == (-1, 3, 4, 4) and handle.inputs[0].max_bytes == 192
    assert runtime.infer(handle, {'x': np.ones((1, 3, 4, 4), np.float32)})['y'].shape[0] == 1
    two = np.ones((2, 3, 4, 4), np.float32)
    with pytest.raises(InferenceError, match=r'float32 \[2, 3, 4, 4\], expected x float32 \[1,'):
        runtime.infer(handle, {'x': two})
    handle = load(runtime, path, input_shapes={'x': (2, 3, 4, 4)})
    assert handle.inputs[0].max_bytes == 384
    assert (runtime.infer(handle, {'x': two})['total'] == 6).all()
    assert runtime.infer(handle, {'x': two[:1]})['y'].shape[0] == 1
    with pytest.raises(InferenceError, match=r'expected x float32 \[1..2, 3, 4, 4\]'):
        runtime.infer(handle, {'x': np.ones((3, 3, 4, 4), np.float32)})


def test_a_fixed_profile_settles_the_shapes(tmp_path, runtime):
    path = scale_model(tmp_path / 'm.onnx', batch='batch')
    fixed, ranged = (2, 3, 4, 4), (1, 3, 4, 4)
    entry = runtime.compile_engine(path, BuildConfig(profiles=(
        OptimizationProfile('p', {'x': (fixed, fixed, fixed)}),)))
    assert entry.extras == {'input_shapes': {'x': fixed}} and entry.path == path
    assert entry.sha256 == reading.check_sha256(path, path.read_bytes(), '')
    entry = runtime.compile_engine(path, BuildConfig(profiles=(
        OptimizationProfile('p', {'x': (ranged, fixed, fixed)}),)))
    assert not entry.extras


def test_open_sizes_load_without_a_run_and_say_so(tmp_path, runtime):
    path = save(tmp_path / 'm.onnx', [node('Relu', ['x'], ['y'])],
                {'x': ('FLOAT', [1, 'h', 'w'])}, {'y': ('FLOAT', [1, 'h', 'w'])})
    handle = load(runtime, path)
    assert 'without an inference' in handle.memory.basis
    for size in (2, 3):
        x = np.full((1, size, size), -1, np.float32)
        assert runtime.infer(handle, {'x': x})['y'].shape == (1, size, size)


def test_an_error_of_onnxruntime_is_mapped_and_the_model_lives_on(tmp_path, runtime, capfd):
    handle = load(runtime, gather_model(tmp_path / 'm.onnx'))
    x = np.arange(4, dtype=np.float32)
    for _ in range(2):
        with pytest.raises(InferenceError, match='m failed in ONNX Runtime .* bounds') as caught:
            runtime.infer(handle, {'x': x, 'index': np.array([9], np.int64)})
        assert '\n' not in str(caught.value)
        assert 'Gather' in str(caught.value.__cause__)
        good = runtime.infer(handle, {'x': x, 'index': np.array([3], np.int64)})
        assert good['y'].tolist() == [3]
    assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize('problem', [MemoryError(), RuntimeError('std::bad_alloc'),
                                     RuntimeError('Failed to allocate memory for requested')])
def test_out_of_memory_is_told_apart(tmp_path, runtime, monkeypatch, problem):
    path = scale_model(tmp_path / 'm.onnx')
    handle = load(runtime, path)

    def fail(*args, **kwargs):
        raise problem

    monkeypatch.setattr(handle.session, 'run_with_iobinding', fail)
    with pytest.raises(OutOfMemoryError) as caught:
        runtime.infer(handle, {'x': np.ones((1, 3, 4, 4), np.float32)})
    assert caught.value.__cause__ is problem
    monkeypatch.setattr(onnxruntime, 'InferenceSession', fail)
    with pytest.raises(OutOfMemoryError, match='memory ran out'):
        load(runtime, path)


def test_the_bytes_that_were_hashed_are_the_bytes_that_are_loaded(tmp_path, runtime, monkeypatch):
    path, other = scale_model(tmp_path / 'm.onnx'), save(
        tmp_path / 'other.onnx', [node('Relu', ['x'], ['y'])],
        {'x': ('FLOAT', [2])}, {'y': ('FLOAT', [2])})
    trusted = runtime.compile_engine(path, BuildConfig())
    check = reading.check_sha256

    def swap_after_hashing(*args):
        digest = check(*args)
        path.write_bytes(other.read_bytes())
        return digest

    monkeypatch.setattr('c7_inference_ros.runtime.ort.model.check_sha256', swap_after_hashing)
    handle = runtime.deserialize_engine(trusted)
    assert [spec.name for spec in handle.outputs] == ['y', 'total']
    feed = {'x': np.ones((1, 3, 4, 4), np.float32)}
    assert (runtime.infer(handle, feed)['total'] == 6).all()


def test_memory_is_reserved_before_and_measured_after(tmp_path, monkeypatch):
    budget = MemoryBudget(1 << 30, 1 << 30)
    runtime = build_inference_runtime('onnx_trt_ep', budget=budget)
    size = 64 << 20
    path = save(tmp_path / 'big.onnx', [node('Add', ['x', 'w'], ['y'])],
                {'x': ('FLOAT', [size // 4])}, {'y': ('FLOAT', [size // 4])},
                weights={'w': np.ones(size // 4, np.float32)})
    reserved = []
    real = onnxruntime.InferenceSession

    def session(*args, **kwargs):
        reserved.append(budget.totals()['host'].predicted_bytes)
        return real(*args, **kwargs)

    monkeypatch.setattr(onnxruntime, 'InferenceSession', session)
    before = rss_bytes()
    handle = load(runtime, path)
    assert reserved == [path.stat().st_size + 2 * size]
    assert handle.memory.predicted_host_bytes == reserved[0]
    # The weights and the output stay; the bytes of the file and the feed of the warm-up do not.
    assert 1.9 * size < handle.memory.measured_host_bytes < 2.5 * size
    assert budget.totals()['host'].measured_bytes == handle.memory.measured_host_bytes
    runtime.release_engine(handle)
    assert rss_bytes() - before < 16 << 20
    assert budget.totals()['host'].measured_bytes is None


def test_idle_threads_do_not_spin(budget):
    runtime = build_inference_runtime('onnx_trt_ep', budget=budget, intra_op_threads=2)
    handle = load(runtime, shared_model('yolox_nano.onnx'))
    feed = {'images': np.zeros((1, 3, 416, 416), np.float32)}
    idle = 0.0
    for _ in range(10):
        runtime.infer(handle, feed)
        before = time.process_time()
        time.sleep(0.03)
        idle += time.process_time() - before
    # Spinning takes a whole CPU of these 0.3 s.
    assert idle < 0.05, f'{idle:.3f} s of CPU time between inferences'


def test_release_gives_the_memory_back_to_the_system(runtime):
    path = shared_model('yolox_nano.onnx')
    for _ in range(2):
        handle = load(runtime, path)
        loaded = rss_bytes()
        runtime.release_engine(handle)
        assert loaded - rss_bytes() > 12 << 20


@pytest.mark.parametrize(('threads', 'made'), [(1, 0), (3, 2)])
def test_number_of_threads(tmp_path, budget, threads, made):
    runtime = build_inference_runtime('onnx_trt_ep', budget=budget, intra_op_threads=threads)
    # By name: threads of sessions that other tests left behind may end meanwhile.
    before = set(os.listdir('/proc/self/task'))
    handle = load(runtime, scale_model(tmp_path / 'm.onnx'))
    assert len(set(os.listdir('/proc/self/task')) - before) == made
    runtime.release_engine(handle)
    assert not set(os.listdir('/proc/self/task')) - before


def test_threads_stay_within_the_cpu_affinity(tmp_path):
    if (os.cpu_count() or 1) < 2:
        pytest.skip('one CPU only')
    path = scale_model(tmp_path / 'm.onnx')
    program = AFFINITY_PROGRAM.replace('MODEL', repr(str(path)))
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True,
                          check=True)
    assert done.stdout == '0\n' and done.stderr == ''


def test_loading_and_running_print_nothing(tmp_path, runtime, capfd):
    # A weight that nothing uses and a shape that ONNX Runtime warns of.
    path = save(tmp_path / 'm.onnx', [node('Relu', ['x'], ['y'])],
                {'x': ('FLOAT', [2])}, {'y': ('FLOAT', [2])},
                weights={'unused': np.ones(2, np.float32)})
    handle = load(runtime, path)
    runtime.infer(handle, {'x': np.ones(2, np.float32)})
    runtime.release_engine(handle)
    assert capfd.readouterr() == ('', '')


def test_float16_and_bool_tensors(tmp_path, runtime):
    path = save(tmp_path / 'm.onnx', [node('Less', ['x', 'z'], ['y'])],
                {'x': ('FLOAT16', [3]), 'z': ('FLOAT16', [3])}, {'y': ('BOOL', [3])})
    handle = load(runtime, path)
    found = runtime.infer(handle, {'x': np.array([1, 2, 3], np.float16),
                                   'z': np.array([2, 2, 4], np.float16)})
    assert found['y'].tolist() == [True, False, True]


def test_closing_releases_the_models_and_the_gpu(budget, tmp_path, monkeypatch):
    runtime = build_inference_runtime('onnx_trt_ep', budget=budget)
    closed = []
    monkeypatch.setattr(runtime._query, 'close', lambda: closed.append('gpu'))
    handle = runtime.deserialize_engine(EngineCacheEntry(scale_model(tmp_path / 'scale.onnx')))
    runtime.close()
    runtime.close()
    assert handle.is_released and closed == ['gpu', 'gpu']
    assert budget.totals()['host'].predicted_bytes == 0
