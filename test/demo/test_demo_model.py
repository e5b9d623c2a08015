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

"""Any ONNX model gets parameters that the node accepts, and says what was assumed."""

from pathlib import Path
import shutil

from c7_inference_ros.config import DECODERS
from c7_inference_ros.config import load_config
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.parameter_groups import PreprocessConfig
from c7_inference_ros.parameter_spec import specs_of
from c7_inference_ros.vision.family import usual_preprocess
from c7_inference_ros.vision.family import usual_preprocess_source
from demo.errors import DemoError
from demo.model import described_setup
from demo.model import model_name
from demo.model import shipped_setup
from demo.parameter_file import read_parameters
from demo.parameter_file import write_parameters
import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / 'shared' / 'models'
FAMILIES = [name for name in DECODERS if name != 'auto']


def shared(name):
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f'../shared/models/{name} is not here')
    return path


def describe(path, tmp_path, labels='', decoder='auto'):
    setup = described_setup(ROOT, path, labels, decoder, tmp_path / 'params.yaml')
    config = load_config(read_parameters(setup.params))
    return setup, config, config.models[setup.model]


@pytest.mark.parametrize('family', FAMILIES)
def test_usual_preprocessing_is_made_of_parameters(family):
    specs = {spec.name: spec for spec in specs_of(PreprocessConfig)}
    values = usual_preprocess(family)
    for key, value in values.items():
        coerced, problem = specs[key].coerce(value, key)
        assert problem is None and coerced == value
    assert not {'layout', 'dtype', 'width', 'height'} & set(values)
    assert usual_preprocess_source(family)
    with pytest.raises(TypeError):
        values['scale'] = 2.0


def test_usual_preprocessing_of_known_families():
    assert (usual_preprocess('yolox')['anchor'], usual_preprocess('yolox')['color_order'],
            usual_preprocess('yolox')['scale']) == ('top_left', 'bgr', 1.0)
    assert usual_preprocess('yolov8')['scale'] == pytest.approx(1 / 255)
    assert usual_preprocess('detr')['resize'] == 'stretch'
    with pytest.raises(ConfigurationError, match="did you mean 'yolox'"):
        usual_preprocess('yolo_x')


def test_shipped_model_is_described_alike_twice(tmp_path):
    """config/demo.yaml and what is found out about the file agree."""
    shipped = shipped_setup(ROOT)
    assert (shipped.camera, shipped.model) == ('camera', 'person')
    by_hand = load_config(read_parameters(shipped.params)).models['person']
    _, _, found = describe(shipped.path, tmp_path, decoder='ssd')
    assert (found.decoder, found.preprocess) == (by_hand.decoder, by_hand.preprocess)


@pytest.mark.parametrize('name, decoder, expected, classes', [
    ('yolox_nano.onnx', 'yolox', {'resize': 'letterbox', 'anchor': 'top_left',
                                  'color_order': 'bgr', 'scale': 1.0}, '80 classes'),
    ('deimv2_hgnetv2_atto_coco.onnx', 'detr', {'resize': 'stretch', 'color_order': 'rgb'},
     'does not tell'),
    ('pedestrian_ssdlite_tfod_nms.onnx', 'tf_detection', {
        'resize': 'stretch', 'scale': 1.0, 'width': 640, 'height': 272}, 'numbers')])
def test_models_that_people_have(name, decoder, expected, classes, tmp_path):
    setup, config, model = describe(shared(name), tmp_path)
    assert model.decoder == decoder
    assert {key: getattr(model.preprocess, key) for key in expected} == expected
    assert Path(model.path) == shared(name).resolve()
    assert model.labels == ('' if classes == 'numbers' else str(ROOT / 'config' / 'coco80.txt'))
    assert not config.autostart
    assert any(classes in note for note in setup.notes)
    head = ' '.join(line[2:] for line in setup.params.read_text().splitlines()
                    if line.startswith('#'))
    assert all(note in head for note in setup.notes)
    assert usual_preprocess_source(decoder) in head


def test_labels_beside_the_model_and_on_the_command_line(tmp_path):
    model_file = shutil.copy(shared('yolox_nano.onnx'), tmp_path / 'mine.onnx')
    names = [f'class {number}' for number in range(80)]
    (tmp_path / 'mine.txt').write_text('\n'.join(names))
    assert describe(model_file, tmp_path)[2].labels == str(tmp_path / 'mine.txt')
    (tmp_path / 'other.txt').write_text('\n'.join(names))
    found = describe(model_file, tmp_path, labels=str(tmp_path / 'other.txt'))
    assert found[2].labels == str(tmp_path / 'other.txt')
    (tmp_path / 'other.txt').write_text('one\ntwo\n')
    with pytest.raises(DemoError, match='has 2 names, expected 80') as caught:
        describe(model_file, tmp_path, labels=str(tmp_path / 'other.txt'))
    assert caught.value.exit_code == 2


def test_a_yaml_beside_the_model_wins(tmp_path):
    model_file = shutil.copy(shared('yolox_nano.onnx'), tmp_path / 'mine.onnx')
    write_parameters({'model_names': ['nano'], 'models.nano.decoder': 'yolox',
                      'models.nano.score_threshold': 0.3,
                      'models.nano.preprocess.mean': [1.0, 2.0, 3.0], 'autostart': True,
                      'max_image_age': 0.25}, ['Mine.'], tmp_path / 'mine.yaml')
    setup, config, model = describe(model_file, tmp_path)
    assert setup.model == 'nano' and config.model_names == ('nano',)
    assert (model.score_threshold, model.decoder) == (0.3, 'yolox')
    assert model.preprocess.mean == (1.0, 2.0, 3.0)
    assert model.preprocess.color_order == 'rgb', 'what it leaves open is the default'
    assert Path(model.path) == tmp_path / 'mine.onnx'
    assert config.max_image_age == 0.25 and not config.autostart
    assert config.cameras['camera'].image_topic == 'camera/image_raw'


@pytest.mark.parametrize('name, words', [
    ('missing.onnx', 'no such file'), ('', 'is a folder'), ('text.onnx', 'cannot be loaded')])
def test_a_bad_model_is_one_line(name, words, tmp_path):
    (tmp_path / 'text.onnx').write_text('no model')
    with pytest.raises(DemoError, match=words) as caught:
        describe(tmp_path / name, tmp_path)
    assert caught.value.exit_code == 2 and '\n' not in str(caught.value)


def test_a_missing_model_names_its_neighbours(tmp_path):
    (tmp_path / 'yolox.onnx').write_text('')
    with pytest.raises(DemoError, match='has yolox.onnx'):
        describe(tmp_path / 'yolo.onnx', tmp_path)


def test_a_decoder_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(DemoError, match='--decoder') as caught:
        describe(shared('yolox_nano.onnx'), tmp_path, decoder='detr')
    assert caught.value.exit_code == 2


@pytest.mark.parametrize('file, name', [
    ('yolox_nano.onnx', 'yolox_nano'), ('YOLOv8-n (1).onnx', 'yolov8_n_1'),
    ('9.onnx', 'detector'), ('ö.onnx', 'detector'), ('a__b-.onnx', 'a_b')])
def test_model_names_become_topics(file, name):
    from c7_inference_ros.config import is_name
    assert model_name(Path(file)) == name and is_name(name)


@pytest.mark.parametrize('text, words', [
    ('a: [', 'is no YAML'), ('a: 1', 'no ros__parameters'), ('', 'no ros__param')])
def test_a_file_without_parameters_is_refused(text, words, tmp_path):
    path = tmp_path / 'params.yaml'
    path.write_text(text)
    with pytest.raises(DemoError, match=words):
        read_parameters(path)


def test_two_models_are_refused(tmp_path):
    path = tmp_path / 'config' / 'demo.yaml'
    path.parent.mkdir()
    write_parameters({'camera_names': ['camera'], 'model_names': ['a', 'b']}, [], path)
    with pytest.raises(DemoError, match='expected one name'):
        shipped_setup(tmp_path)


def test_shipped_parameters_are_all_known():
    load_config(read_parameters(ROOT / 'config' / 'demo.yaml'))
