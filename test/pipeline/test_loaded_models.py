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

"""Models are loaded together or not at all, and what they took is told."""

import threading

from c7_inference_ros.config import load_config
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import OutOfMemoryError
from c7_inference_ros.pipeline.loaded_models import LoadedModels
from c7_inference_ros.pipeline.scheduler import FrameScheduler
import pytest
import yaml

MIB = 1 << 20


def script(folder, name='model', **changes):
    """Write a scripted model and return its path."""
    path = folder / f'{name}.yaml'
    path.write_text(yaml.safe_dump({
        'inputs': [{'name': 'images', 'shape': [1, 3, 32, 32]}],
        'outputs': [{'name': 'output0', 'shape': [1, 4, 6]}],
        'detections': [[1, 1, 9, 9, 0.9, 0]], **changes}), encoding='utf-8')
    return str(path)


def load_models(paths, **values):
    """Load scripted models by name."""
    config = load_config({
        'runtime': 'dummy', 'model_names': list(paths), **values,
        **{f'models.{name}.path': path for name, path in paths.items()}})
    return LoadedModels(config, FrameScheduler(config.camera_names), None)


def test_models_are_loaded_and_released_with_their_thread(tmp_path):
    before = threading.active_count()
    models = load_models({'a': script(tmp_path), 'b': script(tmp_path)})
    assert list(models.pipelines) == ['a', 'b']
    assert models.release(5.0) and models.release(5.0)
    assert threading.active_count() == before
    assert all(row.predicted_bytes == 0 for row in models.budget.table())


def test_one_wrong_model_leaves_nothing_loaded_and_all_problems_are_told(tmp_path):
    before = threading.active_count()
    with pytest.raises(ConfigurationError) as caught:
        load_models({'a': script(tmp_path), 'b': str(tmp_path / 'none.onnx'), 'c': ''})
    assert len(caught.value.problems) == 2
    assert 'models.b.path' in caught.value.problems[0]
    assert 'models.c.path' in caught.value.problems[1]
    assert threading.active_count() == before


def test_the_second_model_is_refused_when_both_do_not_fit(tmp_path):
    memory = {'device_bytes': 6 * MIB}
    paths = {'a': script(tmp_path, 'first', memory=memory),
             'b': script(tmp_path, 'second', memory=memory)}
    with pytest.raises(OutOfMemoryError, match='second.*memory.device_budget_bytes'):
        load_models(paths, **{'memory.device_budget_bytes': 12 * MIB - 1})
    models = load_models(paths, **{'memory.device_budget_bytes': 12 * MIB})
    models.release(5.0)


def test_a_model_that_takes_far_more_than_predicted_is_named(tmp_path):
    models = load_models({'a': script(tmp_path, memory={
        'device_bytes': 100 * MIB, 'measured_device_bytes': 200 * MIB})})
    line, = models.memory_drift()
    assert 'model a took 200.0 MiB, predicted were 100.0 MiB' in line
    values = models.memory_values()
    assert values['device_predicted_bytes'] == 100 * MIB
    assert values['device_measured_bytes'] == values['a.measured_bytes'] == 200 * MIB
    models.release(5.0)
    models = load_models({'a': script(tmp_path, memory={'device_bytes': 100 * MIB})})
    assert models.memory_drift() == []
    models.release(5.0)


def test_activation_enforces_what_was_measured(tmp_path):
    models = load_models({'a': script(tmp_path, memory={
        'device_bytes': MIB, 'measured_device_bytes': 9 * MIB})},
        **{'memory.device_budget_bytes': 8 * MIB})
    with pytest.raises(OutOfMemoryError, match='memory.device_budget_bytes'):
        models.check_memory(0)
    models.release(5.0)


@pytest.mark.parametrize(('providers', 'expected'), [
    (['TensorrtExecutionProvider', 'CPUExecutionProvider'], {'precision': 'int8'}),
    (['CPUExecutionProvider'], {})])
def test_the_tensorrt_provider_is_told_the_precision(tmp_path, monkeypatch, providers, expected):
    told = []

    def load(runtime, config, path, labels, extras):
        told.append(extras)
        raise ConfigurationError('seen enough')

    monkeypatch.setattr('c7_inference_ros.pipeline.loaded_models.DetectionPipeline.load', load)
    model = tmp_path / 'model.onnx'
    model.touch()
    with pytest.raises(ConfigurationError, match='seen enough'):
        load_models({'a': str(model)}, runtime='onnx_trt_ep', execution_providers=providers,
                    **{'models.a.precision': 'int8'})
    assert told == [expected]


def test_a_model_that_cannot_be_released_keeps_no_other_one(tmp_path, monkeypatch):
    told, closed = [], []
    config = load_config({
        'runtime': 'dummy', 'model_names': ['a', 'b'],
        **{f'models.{name}.path': script(tmp_path, name) for name in 'ab'}})
    models = LoadedModels(config, FrameScheduler(config.camera_names), None, told.append)
    monkeypatch.setattr(type(models.runtime), 'close', lambda self: closed.append(self),
                        raising=False)

    def fail():
        raise RuntimeError('stuck')

    models.pipelines['b'].release = fail
    assert models.release(5.0)
    assert 'a' not in [row.name for row in models.budget.table()]
    assert closed == [models.runtime] and [str(error) for error in told] == ['stuck']
