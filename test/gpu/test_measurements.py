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

"""The measurements themselves, on doubles: what they see is there, and none is written down."""

from dataclasses import replace
import sys

from gpu_measure import page
from gpu_measure import presence
from gpu_measure import tensorrt_figures
from gpu_measure.fallback_figures import fallback
from gpu_measure.figures import Figure
from gpu_measure.figures import percentile
import gpu_results
import numpy as np
import pytest

ROUNDS = {'deserialise': 3, 'inference': 5, 'flat_memory': 20}


@pytest.fixture
def bench(tmp_path, monkeypatch):
    from tensorrt_bench import Bench
    return Bench(monkeypatch, tmp_path / 'engines')


@pytest.fixture
def double(bench, network):
    """Return the small network as an engine of the double of TensorRT 10.3."""
    entry = bench.engine(network, 'network')
    return tensorrt_figures.Subject('network, fp32', entry, network, 'fp32', 'tensorrt',
                                    bench.runtime, is_double=True)


@pytest.mark.filterwarnings('error')
def test_everything_is_measured_on_the_double(bench, double):
    label, figures = gpu_results.measure(double, **ROUNDS)
    assert label == 'network, fp32 (TEST DOUBLE, no GPU)'
    found = {one.what: one for one in figures}
    assert len(found) == len(figures) == 19
    bad = [f'{one.what}: {one.text} ({one.note})' for one in figures if not one.is_good]
    assert not bad, bad
    assert found['device memory, predicted'].value > 1
    assert found['deserialise, p95'].limit == 5
    assert found['outputs against ONNX Runtime in float32'].value < 1e-6
    bench.assert_released()


def test_figures_of_a_double_are_never_written(double, tmp_path):
    target = tmp_path / 'page.md'
    with pytest.raises(gpu_results.DoubleError, match='network, fp32: figures of a test double'):
        gpu_results.write_page(target, 'text', [double])
    assert not target.exists()


def test_wrong_memory_is_seen(bench, network):
    """The manifest says half of what the engine takes."""
    entry = bench.engine(network, 'network', manifest={'weights_bytes': 4 << 20},
                         weights_bytes=8 << 20)
    subject = tensorrt_figures.Subject('n', entry, network, 'fp32', 'tensorrt', bench.runtime)
    off = tensorrt_figures.memory(subject)[-1]
    assert off.value > 50 and not off.is_good


def test_wrong_outputs_are_seen(bench, double, network, tmp_path):
    """The engine is of another model than the one that it is compared with."""
    import parity_model
    other = dict(parity_model.weights())
    other['fc.bias'] = other['fc.bias'] + 1
    subject = replace(double, onnx=parity_model.as_onnx(tmp_path / 'other.onnx', other))
    figure, = tensorrt_figures.outputs(subject, seeds=1)
    assert not figure.is_good and 'output scores' in figure.note
    assert tensorrt_figures.difference(np.ones(3), np.array([1, 1, 2])) == 0.5
    assert tensorrt_figures.difference(np.ones(3), np.ones(2)) == float('inf')
    assert tensorrt_figures.difference(np.array([np.nan]), np.ones(1)) == float('inf')


def test_memory_that_grows_is_seen(double, monkeypatch):
    from c7_inference_ros.runtime.trt.runtime import TensorrtRuntime
    free = iter([1000, 900])
    monkeypatch.setattr(TensorrtRuntime, 'free_device_bytes', lambda self: next(free))
    host, device = tensorrt_figures.flat_memory(double, rounds=5)
    assert host.is_good and not device.is_good
    assert device.value == pytest.approx(100 / (1 << 20))


def test_an_engine_that_is_not_refused_is_seen(double, monkeypatch):
    from c7_inference_ros.runtime.memory_budget import MemoryBudget
    monkeypatch.setattr(tensorrt_figures, 'MemoryBudget',
                        lambda device, host: MemoryBudget(1 << 40, 1 << 40))
    figure, = tensorrt_figures.refusal(double)
    assert not figure.is_good and figure.note == 'it was not refused'


def test_a_fallback_is_compared_with_the_reference(network, tmp_path):
    """On the CPU, where the comparison is with itself; another model is seen."""
    import parity_model
    figures = fallback('onnx_trt_ep', network, network, 'fp32', rounds=3, seeds=2)
    assert [one.what for one in figures] == [
        'onnx_trt_ep, inference, p50', 'onnx_trt_ep, outputs against ONNX Runtime in float32']
    assert all(one.is_good and 'CPUExecutionProvider' in one.note for one in figures)
    other = parity_model.as_onnx(tmp_path / 'other.onnx', {
        **parity_model.weights(), 'fc.bias': np.ones(5, np.float32)})
    assert not fallback('onnx_trt_ep', other, network, 'fp32', rounds=1, seeds=1)[1].is_good


def test_percentiles():
    samples = list(range(1, 101))
    assert [percentile(samples, share) for share in (0.5, 0.95, 0.99, 1)] == [50, 95, 99, 100]
    assert percentile([7], 0.95) == 7


def test_the_page_says_how_it_was_made_and_what_is_bad():
    groups = [page.Group('engine', [Figure('a', 1.0, 's', 5.0), Figure('b', 9.0, 's', 5.0, 'x|y')],
                         ['gpu0: GPU clock 1800 of 2100 MHz', 'CPU: turbo on'])]
    text = page.results_page('python3 dev/gpu_results.py --precision fp16', '2026-01-01',
                             {'tensorrt': '10.3.0'}, groups, ['pytorch_fp16: no PyTorch'])
    assert '$ python3 dev/gpu_results.py --precision fp16' in text
    assert '**Not every figure is within its limit**' in text and '| b | **9 s** | 5 s |' in text
    assert '| a | 1 s | 5 s |' in text and '| tensorrt | 10.3.0 |' in text
    assert '## Not measured' in text and 'x/y' in text
    assert 'Measured with\n\n- gpu0: GPU clock 1800 of 2100 MHz\n- CPU: turbo on\n' in text


def test_figures_without_their_conditions_are_not_written():
    with pytest.raises(ValueError, match='engine: figures without their conditions'):
        page.results_page('x', '2026-01-01', {}, [
            page.Group('engine', [Figure('a', 1.0, 's')], [])])


def test_the_committed_page_is_honest():
    """Either nothing was measured, or the page was written by the command."""
    text = gpu_results.PAGE.read_text(encoding='utf-8')
    assert text == page.unmeasured_page() or (
        'Measured on ' in text and f'$ {page.COMMAND}' in text and 'DOUBLE' not in text
        and '| GPU (' in text)


def test_without_a_gpu_nothing_is_written(tmp_path, capsys):
    if not presence.missing_for_tensorrt():
        pytest.skip('this machine has everything that is needed')
    target = tmp_path / 'page.md'
    assert gpu_results.main(['--output', str(target)]) == 2
    said = capsys.readouterr().err
    assert 'nothing can be measured here: no ' in said and not target.exists()


@pytest.fixture
def command(double, monkeypatch):
    """Let the command find the double where it looks for a GPU, and measure it shortly."""
    measure = gpu_results.measure
    monkeypatch.setattr(presence, 'missing_for_tensorrt', lambda: '')
    monkeypatch.setattr(gpu_results, 'subject_of', lambda *arguments: (double, [
        Figure('build', 1.0, 's')]))
    monkeypatch.setattr(gpu_results, 'measure', lambda subject, tell: measure(
        subject, tell, **ROUNDS))
    monkeypatch.setattr(sys, 'argv', ['gpu_results.py', '--precision', 'fp32'])
    return gpu_results.main


def test_the_command_refuses_a_double(command, network, tmp_path):
    target = tmp_path / 'page.md'
    with pytest.raises(gpu_results.DoubleError):
        command(['--model', str(network), '--precision', 'fp32', '--output', str(target)])
    assert not target.exists()


def test_the_command_writes_the_whole_page(command, double, network, tmp_path, monkeypatch,
                                           capsys):
    """Were it no double: the same figures, the exact command, and what could not be measured."""
    monkeypatch.setattr(gpu_results, 'subject_of', lambda *arguments: (
        replace(double, is_double=False), [Figure('build', 1.0, 's')]))
    target = tmp_path / 'page.md'
    status = command(['--model', str(network), '--precision', 'fp32', '--output', str(target)])
    text = target.read_text(encoding='utf-8')
    assert status == 0, text
    assert '$ python3 dev/gpu_results.py --precision fp32' in text
    assert text.count('\n| ') > 20 and '| build | 1 s |' in text
    assert '## Not measured' in text and 'onnx_trt_ep on CUDAExecutionProvider: no' in text
    assert text.count('Measured with\n\n- CPU: ') == 1
    assert 'Every figure is within its limit.' in text
    assert f'{target} is written' in capsys.readouterr().out


def test_every_missing_piece_is_named():
    def none():
        return 'no NVIDIA driver'

    everything = presence.missing_for_tensorrt(lambda name: True, none)
    assert everything == ('no NVIDIA driver, no PyCUDA (pip install pycuda), no TensorRT (the '
                          'Python package tensorrt or tensorrt_rtx)')
    assert presence.missing_for_tensorrt(lambda name: False, lambda: '') == ''
    assert presence.missing_for_tensorrt(lambda name: name == 'tensorrt', lambda: '') == ''
    assert presence.missing_for_nvml(lambda name: True, none) == (
        'no NVIDIA driver, no pynvml (pip install nvidia-ml-py)')
    assert presence.missing_for_nvml(lambda name: False, lambda: '') == ''
    assert 'no NoSuchProvider in ONNX' in presence.missing_for_onnx('NoSuchProvider', lambda: '')

    class Driver:
        code, gpus = 0, 0

        def cuInit(self, flags):  # noqa: N802
            return self.code

        def cuDeviceGetCount(self, count):  # noqa: N802
            count._obj.value = self.gpus
            return 0

    driver = Driver()
    assert presence._count_gpus(lambda name: driver) == 'no NVIDIA GPU (the driver sees none)'
    driver.gpus = 2
    assert presence._count_gpus(lambda name: driver) == 2
    driver.code = 100
    assert 'cuInit gave error 100' in presence._count_gpus(lambda name: driver)
