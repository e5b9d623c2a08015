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

"""What every runtime does the same, over every strategy that can be imported here."""

import gc
import hashlib
import inspect
import os
from pathlib import Path

from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import EngineHashMismatchError
from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.errors import EngineSidecarMissingError
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.errors import OutOfMemoryError
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.runtime.base import EngineHandle
from c7_inference_ros.runtime.base import InferenceRuntime
from c7_inference_ros.runtime.factory import build_inference_runtime
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.runtime.process_memory import rss_bytes
from c7_inference_ros.thermal.state import ThermalState
import numpy as np
import pytest
from runtime_models import scale_model
from runtime_models import shared_model
from torch_models import scale_program
from torch_models import scale_script

DUMMY = Path(__file__).resolve().parents[2] / 'config' / 'dummy_model.yaml'
METHODS = ('compile_engine', 'deserialize_engine', 'infer', 'release_engine', 'thermal_state',
           'current_runtime_label')


class Strategy:
    """
    One runtime with one model that it loads.

    :param first_step: method of the runtime before which nothing may be created.
    """

    def __init__(self, name, path, first_step=''):
        self.name, self.path, self.first_step = name, path, first_step

    def build(self, budget, thermal=None):
        try:
            return build_inference_runtime(self.name, budget=budget, thermal=thermal)
        except RuntimeNotAvailableError as error:
            pytest.skip(str(error))

    def feed(self, handle, seed=0):
        random = np.random.default_rng(seed)
        return {spec.name: random.random(spec.max_shape).astype(spec.dtype)
                for spec in handle.inputs}

    def trusted(self, runtime):
        """Return the model with its hash."""
        return runtime.compile_engine(self.path, BuildConfig())

    def file_name(self, stem):
        """Return a name that a model may have."""
        return f'{stem}{self.path.suffix}'

    def label(self):
        """Return what the runtime calls itself."""
        if self.name == 'dummy':
            return 'dummy'
        if self.name == 'pytorch_fp16':
            import torch
            device = 'cuda:0, float16' if torch.cuda.is_available() else 'cpu, float32'
            return f'PyTorch {torch.__version__} [{device}]'
        import onnxruntime
        return f'ONNX Runtime {onnxruntime.__version__} [CPUExecutionProvider]'


class TensorrtStrategy(Strategy):
    """An engine on a double of TensorRT, or on the GPU of this machine."""

    def __init__(self, path, make_runtime, label):
        super().__init__('tensorrt', path, '_load_api')
        self._make_runtime, self._label = make_runtime, label

    def build(self, budget, thermal=None):
        return self._make_runtime(budget=budget, thermal=thermal)

    def trusted(self, runtime):
        return EngineCacheEntry(self.path, hashlib.sha256(self.path.read_bytes()).hexdigest())

    def file_name(self, stem):
        return f'{stem}__{self.path.name.partition("__")[2]}'

    def label(self):
        return self._label


def on_double(generation, tmp_path, monkeypatch):
    from tensorrt_bench import Bench
    bench = Bench(monkeypatch, tmp_path / 'engines', generation)
    entry = bench.engine(scale_model(tmp_path / 'scale.onnx'))
    return TensorrtStrategy(entry.path, bench.runtime, 'TensorRT')


def on_gpu(tmp_path):
    import gpu_results
    subject, _ = gpu_results.subject_of(scale_model(tmp_path / 'scale.onnx'), 'fp32', tmp_path)
    return TensorrtStrategy(subject.entry.path, subject.make_runtime, 'TensorRT')


@pytest.fixture(params=[
    'onnx_trt_ep', 'onnx_trt_ep-yolox_nano', 'dummy',
    'tensorrt-double-10.3', 'tensorrt-double-rtx1.7',
    pytest.param('tensorrt-gpu', marks=pytest.mark.gpu),
    pytest.param('pytorch_fp16-torchscript', marks=pytest.mark.torch),
    pytest.param('pytorch_fp16-program', marks=pytest.mark.torch)])
def strategy(request, tmp_path, monkeypatch):
    name, _, kind = request.param.partition('-')
    if name == 'dummy':
        return Strategy('dummy', DUMMY)
    if name == 'onnx_trt_ep':
        path = shared_model('yolox_nano.onnx') if kind else scale_model(tmp_path / 'scale.onnx')
        return Strategy('onnx_trt_ep', path, '_make_session')
    if name == 'tensorrt':
        return (on_gpu(tmp_path) if kind == 'gpu' else
                on_double(kind.removeprefix('double-'), tmp_path, monkeypatch))
    make = scale_script if kind == 'torchscript' else scale_program
    return Strategy('pytorch_fp16', make(tmp_path / 'scale.pt'), '_load')


@pytest.fixture
def runtime(strategy, budget):
    return strategy.build(budget)


@pytest.fixture
def handle(strategy, runtime):
    handle = runtime.deserialize_engine(EngineCacheEntry(strategy.path))
    yield handle
    runtime.release_engine(handle)


def test_has_the_methods_of_the_protocol_with_their_signatures(runtime):
    assert isinstance(runtime, InferenceRuntime)
    for name in METHODS:
        wanted = inspect.signature(getattr(InferenceRuntime, name))
        assert inspect.signature(getattr(type(runtime), name)) == wanted, name


def test_describes_the_model(strategy, handle):
    assert handle.name == strategy.path.stem
    assert handle.inputs and handle.outputs and not handle.is_released
    assert all(size > 0 for spec in handle.inputs for size in spec.max_shape)
    assert handle.memory.basis and handle.memory.predicted_host_bytes > 0
    assert handle.memory.measured_host_bytes is not None


def test_answers_with_the_outputs_it_declared(strategy, runtime, handle):
    outputs = runtime.infer(handle, strategy.feed(handle))
    assert list(outputs) == [spec.name for spec in handle.outputs]
    for spec in handle.outputs:
        array = outputs[spec.name]
        assert array.dtype == spec.dtype and array.shape == spec.shape
        assert array.flags.c_contiguous and np.isfinite(array).all()
        assert array.any()


def test_same_input_gives_the_same_output_in_another_runtime(strategy, budget):
    found = []
    for _ in range(2):
        runtime = strategy.build(budget)
        handle = runtime.deserialize_engine(EngineCacheEntry(strategy.path))
        calls = [runtime.infer(handle, strategy.feed(handle, seed)) and {
            name: array.copy() for name, array in
            runtime.infer(handle, strategy.feed(handle, seed)).items()} for seed in range(3)]
        found.append(calls)
        runtime.release_engine(handle)
    for first, second in zip(*found):
        for name, array in first.items():
            assert np.array_equal(array, second[name])


def test_release_is_idempotent_and_gives_the_budget_back(strategy, runtime, budget):
    handle = runtime.deserialize_engine(EngineCacheEntry(strategy.path))
    assert budget.totals()['host'].predicted_bytes > 0
    for _ in range(3):
        runtime.release_engine(handle)
        assert handle.is_released
    assert [row.name for row in budget.table()] == ['total', 'total']
    assert budget.totals()['host'].predicted_bytes == 0


def test_foreign_handles_are_ignored_by_release_and_refused_by_infer(strategy, runtime, budget):
    other = strategy.build(budget)
    foreign = other.deserialize_engine(EngineCacheEntry(strategy.path))
    unknown = EngineHandle('unknown', (), (), {})
    for one in (foreign, unknown):
        runtime.release_engine(one)
        assert not one.is_released
        with pytest.raises(InferenceError, match='was not loaded by this runtime'):
            runtime.infer(one, {})
    assert other.infer(foreign, strategy.feed(foreign))
    other.release_engine(foreign)


def test_infer_after_release_is_an_inference_error(strategy, runtime):
    handle = runtime.deserialize_engine(EngineCacheEntry(strategy.path))
    feed = strategy.feed(handle)
    runtime.release_engine(handle)
    with pytest.raises(InferenceError, match=f'{strategy.path.stem} was released'):
        runtime.infer(handle, feed)


def test_a_wrong_feed_is_refused_with_found_and_expected(strategy, runtime, handle):
    good = strategy.feed(handle)
    name, array = next(iter(good.items()))
    shape = ', '.join(map(str, array.shape))
    expected = rf'expected {name} {array.dtype} \[{shape}\]'
    wrong = {
        rf"input '{name}' is missing": {},
        rf"'extra' is no input of the model; the model takes {name}": {**good, 'extra': array},
        rf"input '{name}' is float64 \[{shape}\], {expected}": {name: array.astype(np.float64)},
        rf"input '{name}' is {array.dtype} \[2, .*\], {expected}":
            {name: np.concatenate([array, array])},
        rf"input '{name}' is {array.dtype} \[\d+\], {expected}": {name: array.ravel()},
        rf"input '{name}' is a list, expected a NumPy array": {name: [1, 2]},
        rf"input '{name}' is not C-contiguous": {name: np.asfortranarray(array)},
    }
    for message, feed in wrong.items():
        with pytest.raises(InferenceError, match=message) as caught:
            runtime.infer(handle, feed)
        assert '\n' not in str(caught.value) and handle.name in str(caught.value)
    assert runtime.infer(handle, good), 'a refused feed must not harm the model'


def test_outputs_are_reused_buffers_and_the_input_is_left_alone(strategy, runtime, handle):
    feed = strategy.feed(handle)
    before = {name: array.copy() for name, array in feed.items()}
    first = runtime.infer(handle, feed)
    second = runtime.infer(handle, feed)
    for name, array in first.items():
        assert np.shares_memory(array, second[name])
    for name, array in feed.items():
        assert np.array_equal(array, before[name])


def test_thermal_state_is_the_injected_one(strategy, budget):
    state = ThermalState.unavailable('a stand-in', 42)

    class Publisher:

        def snapshot(self):
            return state

    assert strategy.build(budget, Publisher()).thermal_state() is state


def test_thermal_state_without_a_publisher_is_unavailable(runtime):
    state = runtime.thermal_state()
    assert not state.is_telemetry_available
    assert state.faults == ('the runtime was given no thermal publisher',)
    assert state.measured_at_ns > 0


def test_label_says_what_runs(strategy, handle, runtime):
    assert runtime.current_runtime_label().startswith(strategy.label())


def test_over_budget_nothing_is_created(strategy, monkeypatch):
    budget = MemoryBudget(0, 100)
    runtime = strategy.build(budget)
    if strategy.first_step:
        monkeypatch.setattr(runtime, strategy.first_step,
                            lambda *arguments: pytest.fail('something was created'))
    with pytest.raises(OutOfMemoryError) as caught:
        runtime.deserialize_engine(EngineCacheEntry(strategy.path))
    assert strategy.path.stem in str(caught.value)
    assert 'memory.host_budget_bytes' in str(caught.value) and '\n' not in str(caught.value)
    assert [row.name for row in budget.table()] == ['total', 'total']


def test_the_hash_is_checked_before_loading(strategy, runtime, budget):
    entry = strategy.trusted(runtime)
    assert len(entry.sha256) == 64
    runtime.release_engine(runtime.deserialize_engine(entry))
    with pytest.raises(EngineHashMismatchError, match=f'{strategy.path}.*expected {"0" * 64}'):
        runtime.deserialize_engine(EngineCacheEntry(strategy.path, sha256='0' * 64))
    assert budget.totals()['host'].predicted_bytes == 0


def test_input_shapes_that_do_not_fit_are_refused(strategy, runtime, handle):
    name = handle.inputs[0].name
    for shapes, message in (({name: (1, 2)}, rf'gives {name} as \[1, 2\], the model has|'
                                             rf'takes {name} from .*, not \[1, 2\]; give'),
                            ({'no': (1,)}, f"input_shapes has 'no', the model has {name}")):
        with pytest.raises(EngineSchemaMismatchError, match=message):
            runtime.deserialize_engine(
                EngineCacheEntry(strategy.path, extras={'input_shapes': shapes}))


def test_unusable_files_have_one_line_each(strategy, runtime, tmp_path):
    paths = {name: tmp_path / strategy.file_name(name)
             for name in ('missing', 'empty', 'folder', 'picture', 'pipe')}
    paths['empty'].touch()
    paths['folder'].mkdir()
    paths['picture'].write_bytes(b'\x89PNG\r\n\x1a\n' + bytes(100))
    os.mkfifo(paths['pipe'])
    for path in paths.values():
        # An engine has one, and is judged by it before its content.
        path.with_name(f'{path.name}.sha256').write_text(
            hashlib.sha256(path.read_bytes() if path.is_file() else b'').hexdigest())
    loading, compiling = set(), set()
    for name, words in (('missing', 'does not exist'), ('folder', 'is a folder|no regular file'),
                        ('empty', 'is empty|no readable manifest'),
                        ('pipe', 'is a device|no regular file'),
                        ('picture', 'PNG|no YAML|no readable manifest')):
        path = paths[name]
        for error, call, messages in (
                ((EngineDeserializeError, EngineSidecarMissingError),
                 lambda: runtime.deserialize_engine(EngineCacheEntry(path)), loading),
                (EngineBuildError, lambda: runtime.compile_engine(path, BuildConfig()),
                 compiling)):
            with pytest.raises(error, match=words) as caught:
                call()
            assert str(path) in str(caught.value) and '\n' not in str(caught.value)
            messages.add(str(caught.value).replace(str(path), '').replace(path.name, ''))
    assert len(compiling) == 5
    # The gate has one word for whatever is no regular file, and looks for the manifest of an
    # engine before it looks at its header.
    assert len(loading) == (3 if strategy.name == 'tensorrt' else 5)


def test_unreadable_file(strategy, runtime, tmp_path, monkeypatch):
    path = tmp_path / strategy.file_name('secret')
    path.write_bytes(strategy.path.read_bytes())
    path.chmod(0)
    if os.access(path, os.R_OK):  # root may read everything
        real = os.open

        def refuse(name, *args, **kwargs):
            if Path(name).name == path.name:
                raise PermissionError(13, 'Permission denied')
            return real(name, *args, **kwargs)
        monkeypatch.setattr(os, 'open', refuse)
    with pytest.raises(EngineDeserializeError, match=f'{path} may not be read by this user'):
        runtime.deserialize_engine(EngineCacheEntry(path))


def test_fifty_rounds_leave_nothing_behind(strategy, runtime):
    def measure():
        gc.collect()  # of what other tests left behind
        return (rss_bytes(), len(os.listdir('/proc/self/fd')), set(os.listdir('/proc/self/task')))

    for count in range(50):
        handle = runtime.deserialize_engine(EngineCacheEntry(strategy.path))
        runtime.infer(handle, strategy.feed(handle))
        runtime.release_engine(handle)
        if count == 4:
            before = measure()
    after = measure()
    assert after[1] == before[1], 'file descriptors are left'
    assert not after[2] - before[2], 'threads are left'
    assert after[0] - before[0] < 2 << 20, f'{after[0] - before[0]} bytes grew in 45 rounds'
