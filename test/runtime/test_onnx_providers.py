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

from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.runtime import onnx_providers
from c7_inference_ros.runtime.factory import build_inference_runtime
from c7_inference_ros.runtime.memory_budget import MemoryBudget
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


def test_tensorrt_gets_a_quarter_of_the_budget_and_no_cache():
    assert onnx_providers.provider_options(TENSORRT, 4 << 30) == {
        'trt_engine_cache_enable': False, 'trt_max_workspace_size': 1 << 30}
    assert onnx_providers.provider_options(CPU, 4 << 30) == {}


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
        real = onnxruntime.InferenceSession

        def session(data, options, providers, **others):
            names = [name for name, _ in providers]
            self.asked.append((names, dict(providers), others, options.log_severity_level))
            if names[0] != CPU and behaviour == 'raises':
                raise RuntimeError(f'[ONNXRuntimeError] : 1 : FAIL : {names[0]} error: no device')
            # With a library missing, ONNX Runtime logs that and goes on without the provider.
            made = real(data, options, providers=[CPU], **others)
            if behaviour == 'works':
                monkeypatch.setattr(made, 'get_providers', lambda: [*names, CPU])
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
    assert runtime.fallbacks == ()
    assert f'[{TENSORRT}, {CUDA}' in runtime.current_runtime_label()
    assert handle.memory.predicted_device_bytes > 0
    (names, options, others, severity), = pretend.asked
    assert names == [TENSORRT, CUDA, CPU]
    assert options[TENSORRT]['trt_max_workspace_size'] == (1 << 30) // 4
    assert others['enable_fallback'] == 0 and severity == 3


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
