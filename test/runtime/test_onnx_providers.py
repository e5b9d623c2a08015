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

"""Execution providers: what was wanted, what is there, and never a silent difference."""

from dataclasses import replace
from pathlib import Path

from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import DeviceLostError
from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.model_files.tensor_spec import TensorSpec
from c7_inference_ros.runtime.factory import build_inference_runtime
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.runtime.ort import providers as onnx_providers
from c7_inference_ros.runtime.ort.providers import check_precision
from c7_inference_ros.runtime.ort.providers import provider_options
from c7_inference_ros.runtime.ort.providers import ProviderSettings
from c7_inference_ros.runtime.ort.runtime import OnnxTrtEpRuntime
import numpy as np
import pytest
from runtime_models import scale_model

CPU, CUDA, TENSORRT = onnx_providers.CPU, onnx_providers.CUDA, onnx_providers.TENSORRT
KNOWN = (TENSORRT, CUDA, 'OpenVINOExecutionProvider', CPU)
onnxruntime = pytest.importorskip('onnxruntime')


def choose(wanted, available, allow=True):
    return onnx_providers.choose_providers(wanted, available, KNOWN, allow)


@pytest.mark.parametrize(('wanted', 'available', 'chosen', 'absent'), [
    ((CPU,), (CPU,), (CPU,), ()),
    ((CUDA, CPU), (CUDA, CPU), (CUDA, CPU), ()),
    ((TENSORRT, CUDA, CPU), (CUDA, CPU), (CUDA, CPU), (TENSORRT,)),
    ((CUDA, CPU), (CPU,), (CPU,), (CUDA,)),
    ((TENSORRT, CUDA), (CPU,), (CPU,), (TENSORRT, CUDA)),
    ((CPU, CUDA), (CUDA, CPU), (CPU, CUDA), ()),
    ((CPU, CPU), (CPU,), (CPU,), ())])
def test_order_is_kept_and_what_is_absent_is_told(wanted, available, chosen, absent):
    found, sentences = choose(wanted, available)
    assert found == chosen
    assert len(sentences) == len(absent)
    for name, sentence in zip(absent, sentences):
        assert name in sentence and 'install onnxruntime-gpu' in sentence
        assert 'python3-onnxruntime-gpu-pip' in sentence and '\n' not in sentence


@pytest.mark.parametrize('wanted', [(CUDA,), (CUDA, CPU), (TENSORRT, CUDA, CPU)])
def test_the_cpu_is_refused_where_it_may_not_stand_in(wanted):
    with pytest.raises(RuntimeNotAvailableError, match=f'{wanted[0]} is not in the installed.*'
                                                       'allow_cpu_fallback is false'):
        choose(wanted, (CPU,), allow=False)
    choose(wanted, (CUDA, CPU), allow=False)
    choose((CPU, *wanted), (CPU,), allow=False)


def test_a_misspelt_provider_is_refused_with_the_nearest():
    with pytest.raises(RuntimeNotAvailableError,
                       match="has 'CudaExecutionProvider'.*did you mean 'CUDAExecutionProvider'"):
        choose(('CudaExecutionProvider', CPU), (CPU,))
    for name in ('CUDA', 'cuda', 'CUDAExecutionProvidr'):
        with pytest.raises(RuntimeNotAvailableError, match="mean 'CUDAExecutionProvider'"):
            choose((name,), (CPU,))
    with pytest.raises(RuntimeNotAvailableError, match='execution_providers is empty'):
        choose((), (CPU,))


def test_what_the_providers_are_told():
    settings = ProviderSettings(1, 4 << 30, 3 << 30, inputs=(
        TensorSpec('x', np.dtype('float32'), (-1, 3), (1, 3)),))
    assert provider_options(TENSORRT, settings) == {
        'device_id': 1, 'trt_engine_cache_enable': False, 'trt_max_workspace_size': 1 << 30,
        'trt_fp16_enable': False, 'trt_int8_enable': False}
    assert provider_options(CUDA, settings) == {
        'device_id': 1, 'gpu_mem_limit': 3 << 30, 'arena_extend_strategy': 'kSameAsRequested'}
    assert provider_options(CPU, settings) == {}
    for precision, fp16, int8 in (('fp16', True, False), ('int8', True, True)):
        options = provider_options(TENSORRT, replace(settings, precision=precision))
        assert (options['trt_fp16_enable'], options['trt_int8_enable']) == (fp16, int8)
    cached = provider_options(TENSORRT, replace(settings, cache=Path('here')))
    assert cached['trt_engine_cache_enable'] and cached['trt_engine_cache_path'] == 'here'


def test_one_engine_serves_every_number_of_images():
    inputs = (TensorSpec('x', np.dtype('float32'), (-1, 3), (4, 3)),
              TensorSpec('size', np.dtype('int64'), (2,), (2,)))
    options = provider_options(TENSORRT, ProviderSettings(inputs=inputs))
    assert options['trt_profile_min_shapes'] == 'x:1x3,size:2'
    assert options['trt_profile_opt_shapes'] == options['trt_profile_max_shapes'] == 'x:4x3,size:2'
    for odd in (TensorSpec('x:0', np.dtype('float32'), (-1, 3), (4, 3)),
                TensorSpec('y', np.dtype('float32'), (-1, -1), (4, -1))):
        options = provider_options(TENSORRT, ProviderSettings(inputs=(*inputs, odd)))
        assert 'trt_profile_min_shapes' not in options


def test_precisions_that_the_tensorrt_provider_has():
    path = Path('m.onnx')
    for precision in ('fp32', 'fp16', PrecisionMode.FP16):
        assert check_precision(path, b'', precision) in ('fp32', 'fp16')
    assert check_precision(path, b'.QuantizeLinear.', PrecisionMode.INT8) == 'int8'
    with pytest.raises(EngineSchemaMismatchError, match='m.onnx has no QuantizeLinear operator'):
        check_precision(path, b'', 'int8')
    with pytest.raises(EngineSchemaMismatchError, match="at fp32, fp16, int8, found .*'mixed'"):
        check_precision(path, b'', 'mixed')


@pytest.fixture
def model(tmp_path):
    return EngineCacheEntry(scale_model(tmp_path / 'scale.onnx'))


def build(wanted, allow=True, budget=None):
    return build_inference_runtime(
        'onnx_trt_ep', budget=budget or MemoryBudget(1 << 30, 1 << 30),
        execution_providers=wanted, allow_cpu_fallback=allow)


def test_a_provider_that_this_onnxruntime_lacks(model):
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip('this ONNX Runtime has CUDA')
    runtime = build((CUDA, CPU))
    handle = runtime.deserialize_engine(model)
    assert len(runtime.fallbacks) == 1 and CUDA in runtime.fallbacks[0]
    assert runtime.current_runtime_label().endswith(f'[{CPU}]')
    runtime.release_engine(handle)
    with pytest.raises(RuntimeNotAvailableError):
        build((CUDA, CPU), allow=False)


class PretendGpu:
    """An ONNX Runtime that has CUDA built in and does with it what a broken installation does."""

    def __init__(self, monkeypatch, behaviour):
        self.asked = []
        self.behaviour = behaviour
        real = onnxruntime.InferenceSession

        def session(data, options, providers, **others):
            names = [name for name, _ in providers]
            self.asked.append((names, dict(providers), others, options.log_severity_level))
            if names[0] != CPU and self.behaviour == 'raises':
                raise RuntimeError(f'[ONNXRuntimeError] : 1 : FAIL : {names[0]} error: no device')
            # With a library missing, ONNX Runtime logs that and goes on without the provider.
            made = real(data, options, providers=[CPU], **others)
            if self.behaviour == 'works':
                monkeypatch.setattr(made, 'get_providers',
                                    lambda: list(dict.fromkeys([*names, CPU])))
            return made

        monkeypatch.setattr(onnxruntime, 'InferenceSession', session)
        monkeypatch.setattr(onnxruntime, 'get_available_providers',
                            lambda: [TENSORRT, CUDA, CPU])


@pytest.mark.parametrize(('behaviour', 'words'), [
    ('silent', 'did not load, the session has CPUExecutionProvider'), ('raises', 'no device')])
def test_a_provider_that_does_not_load(model, monkeypatch, behaviour, words):
    PretendGpu(monkeypatch, behaviour)
    runtime = build((TENSORRT, CUDA, CPU))
    assert runtime.fallbacks == ()
    handles = [runtime.deserialize_engine(model) for _ in range(2)]
    assert len(runtime.fallbacks) == 2, 'one sentence a provider, not one a model'
    for name, sentence in zip((TENSORRT, CUDA), runtime.fallbacks):
        assert name in sentence and words in sentence
    assert runtime.current_runtime_label().endswith(f'[{CPU}]')
    for handle in handles:
        assert handle.memory.predicted_device_bytes == 0 < handle.memory.predicted_host_bytes
        runtime.release_engine(handle)


@pytest.mark.parametrize('behaviour', ['silent', 'raises'])
def test_a_provider_that_does_not_load_is_refused(model, monkeypatch, behaviour):
    PretendGpu(monkeypatch, behaviour)
    budget = MemoryBudget(1 << 30, 1 << 30)
    runtime = build((CUDA, CPU), allow=False, budget=budget)
    with pytest.raises(RuntimeNotAvailableError, match=f'{CUDA}.*allow_cpu_fallback is false'):
        runtime.deserialize_engine(model)
    assert budget.totals()['host'].predicted_bytes == 0


def test_a_provider_that_loads(model, monkeypatch):
    pretend = PretendGpu(monkeypatch, 'works')
    runtime = build((TENSORRT, CUDA, CPU), allow=False)
    handle = runtime.deserialize_engine(model)
    sentence, = runtime.fallbacks
    assert 'builds its engines anew at every start: engines.directory is empty' in sentence
    assert f'[{TENSORRT}, {CUDA}' in runtime.current_runtime_label()
    assert handle.memory.predicted_device_bytes > 0
    (names, options, others, severity), = pretend.asked
    assert names == [TENSORRT, CUDA, CPU]
    assert options[TENSORRT]['trt_max_workspace_size'] == (1 << 30) // 4
    assert options[CUDA]['gpu_mem_limit'] == 1 << 30
    assert others['enable_fallback'] == 0 and severity == 3
    runtime.deserialize_engine(model)
    assert runtime.fallbacks == (sentence,), 'it is said once'
    assert pretend.asked[1][1][CUDA]['gpu_mem_limit'] == (
        (1 << 30) - handle.memory.predicted_device_bytes)


def test_precision_comes_from_the_entry(model, monkeypatch):
    pretend = PretendGpu(monkeypatch, 'works')
    runtime = build((TENSORRT, CPU))
    entry = runtime.compile_engine(model.path, BuildConfig(precision=PrecisionMode.FP16))
    runtime.deserialize_engine(entry)
    runtime.deserialize_engine(model)
    found = [options[TENSORRT]['trt_fp16_enable'] for _, options, _, _ in pretend.asked]
    assert found == [True, False]
    with pytest.raises(EngineSchemaMismatchError, match='QuantizeLinear'):
        runtime.deserialize_engine(EngineCacheEntry(model.path, extras={'precision': 'int8'}))
    # The CPU takes a model as it is.
    monkeypatch.undo()
    runtime = build((CPU,))
    assert not runtime.compile_engine(model.path, BuildConfig()).extras
    runtime.deserialize_engine(EngineCacheEntry(model.path, extras={'precision': 'int8'}))


def test_one_model_of_two_falls_back(tmp_path, model, monkeypatch):
    """The label shows both, the sentence says which model, and releasing puts it right."""
    pretend = PretendGpu(monkeypatch, 'works')
    runtime = build((CUDA, CPU))
    first = runtime.deserialize_engine(model)
    pretend.behaviour = 'raises'
    second = runtime.deserialize_engine(EngineCacheEntry(scale_model(tmp_path / 'other.onnx')))
    sentence, = runtime.fallbacks
    assert 'no device (model other; other models have it)' in sentence
    assert runtime.current_runtime_label().endswith(f'[{CUDA}, {CPU} | {CPU}]')
    runtime.release_engine(second)
    assert runtime.current_runtime_label().endswith(f'[{CUDA}, {CPU}]')
    runtime.release_engine(first)


def test_device_memory_is_what_is_no_longer_free(model, monkeypatch):
    PretendGpu(monkeypatch, 'works')
    budget, free = MemoryBudget(1 << 30, 1 << 30), iter([10_000, 7_000, None, 5_000, 5_000, 6_000])
    runtime = OnnxTrtEpRuntime(
        execution_providers=(CUDA, CPU), allow_cpu_fallback=True, intra_op_threads=1,
        budget=budget, read_free_device=lambda: next(free))
    for measured in (3_000, None, 0):
        handle = runtime.deserialize_engine(model)
        assert handle.memory.measured_device_bytes == measured
        assert budget.totals()['device'].measured_bytes == measured
        runtime.release_engine(handle)
    monkeypatch.undo()
    runtime = build((CPU,))
    assert runtime.deserialize_engine(model).memory.measured_device_bytes is None


def test_a_lost_gpu_is_told_apart(model, monkeypatch):
    PretendGpu(monkeypatch, 'works')
    runtime = build((CUDA, CPU))
    handle = runtime.deserialize_engine(model)
    feed = {'x': np.ones((1, 3, 4, 4), np.float32)}
    prefix = '[ONNXRuntimeError] : 1 : FAIL : '
    for text, kind in (
            (f'{prefix}CUDA failure 700: an illegal memory access was encountered ; GPU=0',
             DeviceLostError), (f'{prefix}bad index', InferenceError)):
        def fail(inputs, text=text):
            raise RuntimeError(text)
        monkeypatch.setattr(handle, 'run', fail)
        with pytest.raises(InferenceError) as caught:
            runtime.infer(handle, feed)
        assert type(caught.value) is kind


def test_a_broken_model_is_not_taken_for_a_broken_provider(tmp_path, monkeypatch):
    from c7_inference_ros.errors import EngineDeserializeError
    from runtime_models import node, save
    PretendGpu(monkeypatch, 'raises')
    path = save(tmp_path / 'm.onnx', [node('NoSuchOp', ['x'], ['y'])],
                {'x': ('FLOAT', [1])}, {'y': ('FLOAT', [1])})
    runtime = build((CUDA, CPU))
    with pytest.raises(EngineDeserializeError, match='NoSuchOp'):
        runtime.deserialize_engine(EngineCacheEntry(path))
    assert runtime.fallbacks == ()
