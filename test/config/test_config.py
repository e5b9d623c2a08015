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

"""The records of config.py: every default is legal, every wrong value gets a line that helps."""

import dataclasses
from pathlib import Path
import subprocess
import sys

from c7_inference_ros.config import CameraConfig
from c7_inference_ros.config import load_config
from c7_inference_ros.config import ModelConfig
from c7_inference_ros.config import NodeConfig
from c7_inference_ros.config import parameters_of
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.parameter_spec import specs_of
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / 'config').glob('*.yaml'))
NODE_YAML = [path for path in SHIPPED if 'ros__parameters' in path.read_text(encoding='utf-8')]


def flatten(tree, prefix=''):
    """Return nested mappings as dotted names, as ROS does."""
    values = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            values.update(flatten(value, f'{prefix}{key}.'))
        else:
            values[prefix + key] = value
    return values


def problems_of(**values):
    with pytest.raises(ConfigurationError) as caught:
        load_config({name.replace('__', '.'): value for name, value in values.items()})
    return caught.value.problems


def test_defaults_are_legal_and_reach_the_configuration():
    config = load_config({})
    assert config.camera_names == ('camera',)
    assert config.cameras['camera'].image_topic == 'camera/image_raw'
    assert config.models['detector'].preprocess.scale == pytest.approx(1 / 255)
    for _, spec, default in parameters_of(('a',), ('b',)):
        value, problem = spec.coerce(default, spec.name)
        assert problem is None and value == default


def test_every_field_is_a_parameter_with_description():
    for kind in (NodeConfig, CameraConfig, ModelConfig):
        specs = list(specs_of(kind))
        assert len({spec.name for spec in specs}) == len(specs)
        assert all(spec.description.endswith('.') for spec in specs)
        fields = {field.name for field in dataclasses.fields(kind)}
        fields -= {'cameras', 'models'} if kind is NodeConfig else {'name'}
        assert fields == {spec.name.partition('.')[0] for spec in specs}


def test_values_reach_their_camera_and_model():
    config = load_config({
        'camera_names': ['left', 'right'], 'model_names': ['a', 'b'],
        'cameras.right.models': ['b'], 'cameras.right.image_transport': 'compressed',
        'models.b.preprocess.mean': [1, 2.5, 3], 'models.b.score_threshold': 1})
    assert config.cameras['left'].image_topic == 'left/image_raw'
    assert config.cameras['right'].image_transport == 'compressed'
    assert config.models_of('left') == ('a', 'b')
    assert config.models_of('right') == ('b',)
    assert config.models['b'].preprocess.mean == (1.0, 2.5, 3.0)
    assert config.models['b'].score_threshold == 1.0
    assert config.models['a'].score_threshold == 0.4


@pytest.mark.parametrize('values, words', [
    ({'max_image_age': 'soon'}, ['max_image_age', "'soon'", 'double', '0.5']),
    ({'max_image_age': True}, ['max_image_age', 'True', 'double']),
    ({'max_image_age': float('nan')}, ['max_image_age', 'finite']),
    ({'max_image_age': -0.1}, ['max_image_age', '-0.1', 'at least 0 s']),
    ({'intra_op_threads': 1.5}, ['intra_op_threads', '1.5', 'integer']),
    ({'runtime': 'dumy'}, ['runtime', "'dumy'", 'onnx_trt_ep', "did you mean 'dummy'"]),
    ({'camera_names': 'front'}, ['camera_names', "'front'", 'string array']),
    ({'camera_names': ['a', 'a']}, ['camera_names', "'a'", 'more than once']),
    ({'camera_names': []}, ['camera_names', 'at least one']),
    ({'model_names': ['Big Model']}, ['model_names', "'Big Model'", 'topic names']),
    ({'model_names': ['a__b']}, ['model_names', "'a__b'"]),
    ({'models.detector.preprocess.mean': [1.0]}, ['mean', '1 elements', 'expected 3']),
    ({'models.detector.preprocess.std': [1.0, 0.0, 1.0]}, ['std', 'at least 1e-06']),
    ({'models.detector.scorethreshold': 0.5},
     ['unknown parameter models.detector.scorethreshold', 'models.detector.score_threshold']),
    ({'score_threshold': 0.5}, ['unknown parameter score_threshold',
                                'models.detector.score_threshold']),
    ({'modls.detector.path': 'x'}, ['modls.detector.path', 'models.detector.path']),
    ({'cameras.camera.models': ['detctor']}, ['cameras.camera.models', "'detctor'",
                                              "did you mean 'detector'"]),
])
def test_a_wrong_value_is_one_line_that_says_what_to_do(values, words):
    lines = problems_of(**values)
    assert len(lines) == 1, lines
    assert '\n' not in lines[0]
    for word in words:
        assert word in lines[0]


def test_everything_wrong_is_reported_at_once():
    lines = problems_of(runtime='x', max_image_age='y', modelnames=['a'])
    assert len(lines) == 3


@pytest.mark.parametrize('path', NODE_YAML, ids=lambda path: path.name)
def test_shipped_yaml_loads(path):
    tree = yaml.safe_load(path.read_text(encoding='utf-8'))
    (node, content), = tree.items()
    assert node == '/**'
    config = load_config(flatten(content['ros__parameters']))
    for model in config.models.values():
        assert (ROOT / model.path).is_file(), f'{path.name} names {model.path}'


def test_the_main_yaml_states_no_other_default():
    """What config/inference.yaml sets to make the default visible is the default."""
    values = flatten(yaml.safe_load(
        (ROOT / 'config' / 'inference.yaml').read_text(encoding='utf-8'))['/**'])
    values = {name.partition('.')[2]: value for name, value in values.items()}
    defaults = {name: list(default) if isinstance(default, tuple) else default
                for name, _, default in parameters_of(('camera',), ('person',))}
    # What the shipped model needs, by its own page.
    chosen = {'model_names', 'models.person.path', 'models.person.nms_threshold',
              'models.person.decoder'}
    preprocess = {name for name in values if '.preprocess.' in name}
    for name in set(values) - chosen - preprocess:
        assert values[name] == defaults[name], name


def test_reference_page_is_generated_from_the_records():
    done = subprocess.run([sys.executable, str(ROOT / 'dev' / 'generate_docs.py'), '--check'],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
