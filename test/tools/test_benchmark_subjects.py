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

from c7_inference_ros.config import load_config
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.benchmarking.subjects import only_models
from c7_inference_ros.tools.benchmarking.subjects import parse_comparisons
from c7_inference_ros.tools.benchmarking.subjects import subjects_of
import pytest

TENSORRT, CUDA, CPU = ('TensorrtExecutionProvider', 'CUDAExecutionProvider',
                       'CPUExecutionProvider')


@pytest.fixture
def folder(tmp_path):
    for name in ('net.onnx', 'net.ts', 'other.onnx'):
        (tmp_path / name).write_bytes(b'')
    return tmp_path


def config_of(folder, name='net.onnx', **values):
    return load_config({'models.detector.path': str(folder / name), **values})


def labels(found):
    return [one.label for one in found[0]], {one.label: one.reason for one in found[1]}


def test_nothing_to_compare_is_the_configuration(folder):
    config = config_of(folder)
    (only,), absent = subjects_of(config, {})
    assert only.config == config and only.label == 'onnx_trt_ep' and not absent


def test_another_runtime_takes_the_file_of_the_same_name(folder):
    config = config_of(folder)
    subjects, absent = subjects_of(config, {'runtime': ('pytorch_fp16', 'onnx_trt_ep')})
    assert [(one.label, one.is_configured) for one in subjects] == [
        ('onnx_trt_ep', True), ('pytorch_fp16', False)]
    assert subjects[0].config == config and not absent
    assert subjects[1].config.models['detector'].path == str(folder / 'net.ts')
    assert subjects[1].config.runtime == 'pytorch_fp16'


def test_a_runtime_without_a_file_is_named_with_the_reason(folder):
    found = labels(subjects_of(config_of(folder, 'other.onnx'), {
        'runtime': ('onnx_trt_ep', 'pytorch_fp16')}))
    assert found[0] == ['onnx_trt_ep']
    assert 'there is no other.pt2 or other.ts or other.pt beside' in found[1]['pytorch_fp16']


def test_an_engine_gives_the_name_of_its_model(folder):
    engine = 'net__sm87_jp36.4.3_trt10.3.0_fp16.engine'
    config = config_of(folder, engine, runtime='tensorrt')
    subjects, _ = subjects_of(config, {'runtime': ('tensorrt', 'onnx_trt_ep')})
    assert subjects[1].config.models['detector'].path == str(folder / 'net.onnx')


def test_a_precision_that_changes_nothing_is_not_a_subject(folder):
    names, reasons = labels(subjects_of(config_of(folder), {'precision': ('fp16', 'int8')}))
    assert names == ['onnx_trt_ep']
    assert set(reasons) == {'onnx_trt_ep fp16', 'onnx_trt_ep int8'}
    assert all('run the model as its file is' in reason for reason in reasons.values())


def test_precisions_of_engines(folder):
    config = config_of(folder, runtime='tensorrt')
    subjects, absent = subjects_of(config, {'precision': ('int8', 'fp16')})
    assert [(one.label, one.is_configured) for one in subjects] == [
        ('tensorrt fp16', True), ('tensorrt int8', False)]
    assert subjects[1].config.models['detector'].precision == 'int8' and not absent


def test_under_the_name_of_a_gpu_nothing_else_may_run(folder):
    config = config_of(folder)
    subjects, _ = subjects_of(config, {'provider': (CUDA, CPU)})
    assert [(one.label, one.is_configured, one.needs) for one in subjects] == [
        ('onnx_trt_ep CPU', True, CPU), ('onnx_trt_ep CUDA', False, CUDA)]
    assert subjects[1].config.execution_providers == (CUDA,)
    assert not subjects[1].config.allow_cpu_fallback
    fallback = config_of(folder, execution_providers=[TENSORRT, CPU])
    subjects, _ = subjects_of(fallback, {'precision': ('fp16',)})
    assert [(one.label, one.needs) for one in subjects] == [('onnx_trt_ep fp16', TENSORRT)]


@pytest.mark.parametrize('texts, words', [
    (['runtme=dummy'], ["'runtme' cannot be compared", 'did you mean runtime?']),
    (['precision=fp61'], ["precision has 'fp61'", 'did you mean fp16?']),
    (['precision'], ['has no value']), (['precision=', 'runtime=dummy'], ['has no value']),
    (['runtime=dummy', 'runtime=tensorrt'], ['given twice'])])
def test_what_cannot_be_compared(texts, words):
    with pytest.raises(ConfigurationError) as caught:
        parse_comparisons(texts)
    assert len(caught.value.problems) == 1
    assert all(word in caught.value.problems[0] for word in words)


def test_comparisons_are_read():
    assert parse_comparisons(['runtime=dummy, tensorrt,dummy', 'precision=fp16']) == {
        'runtime': ('dummy', 'tensorrt'), 'precision': ('fp16',)}


def test_some_models_only(folder):
    config = load_config({'model_names': ['near', 'far']})
    assert list(only_models(config, ['far']).models) == ['far']
    assert only_models(config, []) == config
    with pytest.raises(ConfigurationError, match='--model fa is not in model_names.*mean far'):
        only_models(config, ['fa'])
