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

"""The same network gives the same numbers in every runtime that can be imported here."""

from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.runtime.factory import build_inference_runtime
from c7_inference_ros.runtime.pytorch import runtime as pytorch_fp16_runtime
import numpy as np
from parity_model import as_onnx
from parity_model import as_program
from parity_model import as_torchscript
from parity_model import in_numpy
from parity_model import picture
import pytest

#: Largest error by precision, as a share of the largest value of the output. Sums of 72 products
#: are rounded once each: 72 times half the distance of two numbers is 4e-6 and 3.5e-2; errors add
#: up like a random walk, so that a tenth of the second must do.
TOLERANCES = {'fp32': 4e-6, 'fp16': 3.5e-3}


def onnx_trt_ep(tmp_path, budget, monkeypatch):
    return (build_inference_runtime('onnx_trt_ep', budget=budget),
            EngineCacheEntry(as_onnx(tmp_path / 'net.onnx')))


def torchscript(tmp_path, budget, monkeypatch):
    return (build_inference_runtime('pytorch_fp16', budget=budget),
            EngineCacheEntry(as_torchscript(tmp_path / 'net.ts')))


def program(tmp_path, budget, monkeypatch):
    return (build_inference_runtime('pytorch_fp16', budget=budget),
            EngineCacheEntry(as_program(tmp_path / 'net.pt2')))


def tensorrt_double(tmp_path, budget, monkeypatch):
    from tensorrt_bench import Bench
    bench = Bench(monkeypatch, tmp_path / 'engines')
    return bench.runtime(budget=budget), bench.engine(as_onnx(tmp_path / 'net.onnx'), 'net')


def tensorrt_gpu(precision):
    def build(tmp_path, budget, monkeypatch):
        import gpu_results
        subject, _ = gpu_results.subject_of(as_onnx(tmp_path / 'net.onnx'), precision, tmp_path)
        return subject.make_runtime(budget=budget), subject.entry
    return build


def in_half(make):
    """Return the same in float16 on a CPU, as PyTorch computes on a GPU."""
    def half(tmp_path, budget, monkeypatch):
        torch = pytest.importorskip('torch')
        monkeypatch.setattr(pytorch_fp16_runtime, '_choose_device',
                            lambda *args: ('cpu', torch.float16, ''))
        return make(tmp_path, budget, monkeypatch)
    return half


RUNTIMES = {'onnx_trt_ep-fp32': onnx_trt_ep, 'tensorrt-double-fp32': tensorrt_double,
            'tensorrt-gpu-fp32': tensorrt_gpu('fp32'), 'tensorrt-gpu-fp16': tensorrt_gpu('fp16'),
            'pytorch_fp16-torchscript-fp32': torchscript,
            'pytorch_fp16-program-fp32': program,
            'pytorch_fp16-torchscript-fp16': in_half(torchscript),
            'pytorch_fp16-program-fp16': in_half(program)}


def error_of(found, expected):
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def marks_of(name):
    return [getattr(pytest.mark, word) for word in ('torch', 'gpu') if word in name]


@pytest.mark.parametrize('name', [pytest.param(name, marks=marks_of(name)) for name in RUNTIMES])
def test_outputs_are_those_of_the_network_in_numpy(name, tmp_path, budget, monkeypatch):
    try:
        runtime, entry = RUNTIMES[name](tmp_path, budget, monkeypatch)
    except RuntimeNotAvailableError as error:
        pytest.skip(str(error))
    precision = name.rpartition('-')[2]
    if name.startswith('pytorch') and precision == 'fp32' and 'cuda' in (
            runtime.current_runtime_label()):
        precision = 'fp16'
    handle = runtime.deserialize_engine(entry)
    errors = []
    for seed in range(5):
        outputs = {key: array.copy() for key, array in
                   runtime.infer(handle, {'image': picture(seed)}).items()}
        for key, expected in zip(('features', 'scores'), in_numpy(picture(seed))):
            assert outputs[key].shape == expected.shape and outputs[key].dtype == np.float32
            errors.append(error_of(outputs[key], expected))
    assert max(errors) <= TOLERANCES[precision], f'{name}: {max(errors):.2e}'
    if precision == 'fp16':
        assert max(errors) > TOLERANCES['fp32'], 'it is not computed in float16'
    runtime.release_engine(handle)


def test_the_network_is_one_that_tells_runtimes_apart():
    """Values of both signs and sizes go through it, and every part of it matters."""
    features, scores = in_numpy(picture(0))
    assert 0.3 < (features > 0).mean() < 1 and scores.min() < 0 < scores.max()
    assert error_of(in_numpy(picture(1))[1], scores) > 10 * TOLERANCES['fp16']
