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

"""ONNX Runtime and PyTorch on a real GPU, against ONNX Runtime in float32 on the CPU."""

from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.runtime.factory import build_inference_runtime
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from gpu_measure.fallback_figures import fallback
import numpy as np
import parity_model
import pytest

CUDA, TENSORRT, CPU = ('CUDAExecutionProvider', 'TensorrtExecutionProvider',
                       'CPUExecutionProvider')


def assert_good(figures):
    bad = [f'{one.what}: {one.text}, limit {one.limit}' for one in figures if not one.is_good]
    assert not bad, '; '.join(bad)


@pytest.mark.gpu(CUDA)
def test_onnx_trt_ep_on_cuda(network):
    figures = fallback('onnx_trt_ep', network, network, 'fp32', execution_providers=(CUDA, CPU),
                       allow_cpu_fallback=False)
    assert_good(figures)
    assert CUDA in figures[0].note, 'it ran somewhere else'


@pytest.mark.gpu(TENSORRT)
def test_onnx_trt_ep_on_tensorrt_with_its_cache(network, tmp_path):
    from c7_inference_ros.parameter_groups import EngineConfig
    engines = EngineConfig(directory=str(tmp_path / 'engines'))
    for start in ('first', 'second'):
        budget = MemoryBudget(1 << 36, 1 << 36)
        runtime = build_inference_runtime(
            'onnx_trt_ep', budget=budget, execution_providers=(TENSORRT, CUDA, CPU),
            allow_cpu_fallback=False, engines=engines)
        handle = runtime.deserialize_engine(EngineCacheEntry(network))
        assert runtime.fallbacks == (), f'{start} start: {runtime.fallbacks}'
        assert TENSORRT in runtime.current_runtime_label()
        image = parity_model.picture(0)
        outputs = runtime.infer(handle, {'image': image})
        features, scores = parity_model.in_numpy(image)
        assert np.allclose(outputs['scores'], scores, atol=1e-2)
        runtime.release_engine(handle)
    folder, = (place for place in (tmp_path / 'engines' / 'ort').iterdir() if place.is_dir())
    assert list(folder.glob('*.engine')) and (folder / 'record.json.sha256').is_file()


@pytest.mark.gpu('torch')
@pytest.mark.torch
@pytest.mark.parametrize('make', [parity_model.as_torchscript, parity_model.as_program])
def test_pytorch_in_float16(network, tmp_path, make):
    figures = fallback('pytorch_fp16', make(tmp_path / 'network.pt'), network, 'fp16',
                       allow_cpu_fallback=False)
    assert_good(figures)
    assert 'cuda:0, float16' in figures[0].note
