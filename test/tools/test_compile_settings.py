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

"""What a user may write for ``compile_engine compile``, and what is said of everything else."""

import dataclasses
import json
from pathlib import Path

from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.model_files.tensor_spec import TensorSpec
from c7_inference_ros.parameter_groups import PreprocessConfig
from c7_inference_ros.tools.compile_arguments import parse
from c7_inference_ros.tools.compile_request import closed_profile
from c7_inference_ros.tools.compile_request import make_request
from c7_inference_ros.tools.compile_settings import SETTINGS
import numpy as np
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RANGE = ((1, 3, 320, 320), (4, 3, 320, 320), (8, 3, 320, 320))


def request_of(*arguments):
    return make_request(parse(['compile', *map(str, arguments)]).values)


def problems_of(*arguments):
    with pytest.raises(ConfigurationError) as caught:
        request_of(*arguments)
    for problem in caught.value.problems:
        assert '\n' not in problem
    return list(caught.value.problems)


def config_file(folder, values):
    path = folder / 'CONFIG.json'
    path.write_text(values if isinstance(values, str) else json.dumps(values), encoding='utf-8')
    return path


def parameters(folder, models, **others):
    path = folder / 'params.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': {
        'model_names': list(models), 'models': models, **others}}}), encoding='utf-8')
    return path


def test_defaults_are_those_of_the_record():
    assert request_of('m.onnx').build == BuildConfig()


def test_every_build_setting_from_the_command_line(tmp_path):
    key = tmp_path / 'key.pem'
    key.touch()
    request = request_of(
        'm.onnx', '--precision', 'mixed', '--keep-fp32', '/head/*', '--keep-fp32', 'Softmax',
        '--output-dir', 'out', '--workspace', '512MiB', '--optimization-level', '5', '--tf32',
        '--timing-cache', 'timings', '--package', 'tensorrt_rtx', '--branch', 'direct',
        '--timeout', '12.5', '--sign', key,
        '--profile', 'batch:image:0=1x3x320x320,4x3x320x320,8x3x320x320',
        '--profile', 'batch:size=1x2', '--profile', 'one:image:0=1x3x320x320')
    assert request.model == Path('m.onnx') and request.sign_key == key
    build = request.build
    assert build.precision is PrecisionMode.MIXED
    assert build.high_precision_nodes == ('/head/*', 'Softmax')
    assert build.output_dir == Path('out') and build.timing_cache == Path('timings')
    assert build.workspace_bytes == 512 << 20 and build.optimization_level == 5
    assert build.is_tf32_allowed and build.timeout_s == 12.5
    assert (build.package, build.branch) == ('tensorrt_rtx', 'direct')
    assert [(one.name, dict(one.shapes)) for one in build.profiles] == [
        ('batch', {'image:0': RANGE, 'size': ((1, 2),) * 3}),
        ('one', {'image:0': ((1, 3, 320, 320),) * 3})]


def test_a_file_says_the_same(tmp_path):
    (tmp_path / 'pictures').mkdir()
    path = config_file(tmp_path, {
        'model': 'm.onnx', 'output_dir': 'out', 'precision': 'int8', 'workspace': 1 << 29,
        'profiles': {'batch': {'images': dict(zip(('min', 'opt', 'max'), RANGE))},
                     'one': {'images': [1, 3, 320, 320]},
                     'lists': {'images': RANGE}},
        'keep_fp32': ['Softmax'], 'optimization_level': 1, 'tf32': True, 'timeout': 30,
        'decoder': 'yolox', 'preprocess': {'color_order': 'bgr', 'scale': 1},
        'calibration_images': 'pictures'})
    request = request_of(path)
    assert request.model == tmp_path / 'm.onnx'
    assert request.build.output_dir == tmp_path / 'out'
    assert request.calibration.images == tmp_path / 'pictures'
    assert request.calibration.config == request.model_config
    assert request.calibration.high_precision_nodes == ('Softmax',)
    assert request.build.profiles[0].shapes['images'] == RANGE
    assert request.build.profiles[2].shapes['images'] == RANGE
    assert request.build.profiles[1].shapes['images'] == ((1, 3, 320, 320),) * 3
    assert request.build.workspace_bytes == 512 << 20 and request.build.is_tf32_allowed
    assert request.build.processing['preprocess']['color_order'] == 'bgr'
    assert request.build.processing['preprocess']['scale'] == 1.0
    assert request.build.processing['decoder'] == 'yolox'
    # The command line goes over the file, and its paths are the user's.
    over = request_of(path, '--output-dir', 'here', '--no-tf32', '--workspace', '2 GiB')
    assert over.build.output_dir == Path('here') and not over.build.is_tf32_allowed
    assert over.build.workspace_bytes == 2 << 30
    absolute = request_of(config_file(tmp_path, {'model': str(tmp_path / 'sub' / 'm.onnx')}))
    assert absolute.model == tmp_path / 'sub' / 'm.onnx'


def test_everything_wrong_in_a_file_is_said_at_once(tmp_path):
    path = config_file(tmp_path, {
        'model': 7, 'precision': 'fp61', 'workspace': True, 'optimization_level': 9,
        'tf32': 'yes', 'timeout': 'long', 'keep_fp32': 'Softmax', 'sign': 'no_such_key.pem',
        'profiles': {'batch': {'images': {'min': [1], 'opt': [1, 2], 'max': [3]}}},
        'preprocess': {'color': 'bgr', 'scale': 'big'}, 'branch': 'fast', 'brnch': 1})
    assert problems_of(path) == [
        f"{path}: unknown setting 'brnch'; did you mean 'branch'?",
        f'{path}: model is 7, expected text that is not empty',
        f"{path}: precision is 'fp61', expected one of fp32, fp16, int8, mixed; did you mean "
        f"'fp16'?",
        f'{path}: workspace is True, expected bytes, or a size from 1MiB to 16TiB such as 512MiB '
        f'or 2GiB',
        f'{path}: optimization_level is 9, expected 0 to 5',
        f"{path}: tf32 is 'yes', expected true or false",
        f"{path}: timeout is 'long', expected a number from 1 to 86400 s",
        f"{path}: keep_fp32 is 'Softmax', expected a list of texts, for example "
        f'["/head/*", "Softmax"]',
        f"{path}: profiles is {{'batch': {{'images': {{'min': [1], 'opt': [1, 2], 'max': [3]}}}}}}"
        f", min, opt and max of input 'images' of profile 'batch' have 1, 2 and 1 dimensions, "
        f'expected the same number',
        f"{path}: preprocess is {{'color': 'bgr', 'scale': 'big'}}, unknown color; did you mean "
        f"'color_order'?; scale is 'big' (str), expected double, for example 0.00392156862745098",
        f"{path}: branch is 'fast', expected one of auto, direct, polygraphy, trtexec",
        f'{path}: sign is {tmp_path}/no_such_key.pem, which does not exist; correct the path']


@pytest.mark.parametrize(('content', 'said'), [
    ('{"modle": "m.onnx"}', "unknown setting 'modle'; did you mean 'model'?"),
    ('{"zzz": 1}', "unknown setting 'zzz', expected one of model, precision, output_dir"),
    ('{"model": "a", "model": "b"}', "has 'model' more than once"),
    ('{"model": "a", "timeout": NaN}', 'is no JSON (NaN is no number)'),
    ('[1]', 'holds a JSON list, expected an object'), ('model: a', 'is no JSON'),
    ('', 'is no JSON'), ('[' * 100000, 'is no JSON'), ('{}', 'no model; give MODEL.onnx'),
    ('{"model": "\\ud800"}', 'expected a name in UTF-8'),
    ('{"model": "a\\u0000"}', 'expected a path without NUL')])
def test_files_that_are_no_configuration(tmp_path, content, said):
    path = config_file(tmp_path, content)
    assert any(said in problem for problem in problems_of(path)), problems_of(path)


def test_a_file_that_is_not_there(tmp_path):
    assert problems_of(tmp_path / 'no.json') == [
        f'{tmp_path}/no.json cannot be read (No such file or directory); correct the path']


@pytest.mark.parametrize(('arguments', 'said'), [
    (['m.onnx', '--precison', 'fp16'],
     'unrecognized arguments: --precison fp16; did you mean --precision?; see compile_engine '
     '--help'),
    (['m.onnx', '--timeout'],
     'argument --timeout: expected one argument; see compile_engine compile --help'),
    (['m.onnx', '--workspace', '0'],
     "--workspace is '0', expected bytes, or a size from 1MiB to 16TiB such as 512MiB or 2GiB"),
    (['m.onnx', '--optimization-level', '3.5'],
     "--optimization-level is '3.5', expected a whole number from 0 to 5"),
    (['m.onnx', '--timeout', 'nan'],
     "--timeout is 'nan', expected a number from 1 to 86400 s"),
    (['m.onnx', '--profile', 'images=1x3'],
     "--profile is ['images=1x3'], found 'images=1x3', expected PROFILE:INPUT=MIN,OPT,MAX such "
     'as batch:images=1x3x320x320,4x3x320x320,8x3x320x320'),
    (['m.onnx', '--profile', 'a:x=2,1,3'],
     "--profile is ['a:x=2,1,3'], input 'x' of profile 'a' has min [2], opt [1] and max [3], "
     'expected min <= opt <= max in every dimension'),
    (['m.onnx', '--profile', 'a:x=1', '--profile', 'a:x=2'],
     "--profile is ['a:x=1', 'a:x=2'], profile 'a' has input 'x' twice; keep one of them"),
    (['m.onnx', '--precision', 'mixed'],
     'precision is mixed, which is fp16 with named layers in float32; name them with '
     '--keep-fp32, or set --precision fp16'),
    (['m.onnx', '--keep-fp32', 'a'],
     '--keep-fp32 is for mixed and int8, but precision is fp16; set --precision mixed or take it '
     'away'),
    (['m.onnx', '--calibration-topic', '/image', '--precision', 'int8'],
     '--calibration-topic needs --calibration-bag; add it'),
    (['m.onnx', '--precision', 'int8', '--accuracy-images', '.', '--accuracy-annotations',
      __file__], '--accuracy-images needs --calibration-images or --calibration-bag; add one'),
    (['m.onnx', '--precision', 'int8', '--calibration-images', '.'],
     '--calibration-images needs to know what the model wants done to an image; add '
     '--params-file, or preprocess in CONFIG.json'),
    (['m.onnx', '--model-name', 'a'], '--model-name needs --params-file; add it'),
    (['a.engine'], 'MODEL is a.engine, an engine, expected the ONNX model that it is built from; '
                   'give that as MODEL.onnx'),
    ([], 'no model; give MODEL.onnx, a CONFIG.json with "model", or --params-file')])
def test_one_line_for_each_mistake(arguments, said):
    assert problems_of(*arguments) == [said]


def test_calibration_from_the_command_line(tmp_path):
    path = parameters(tmp_path, {'detector': {'path': 'm', 'precision': 'int8'}})
    arguments = ['m.onnx', '--params-file', path, '--calibration-bag', tmp_path,
                 '--calibration-topic', '/image', '--calibration-every', '5',
                 '--calibration-min-images', '3', '--calibration-max-images', '30',
                 '--accuracy-images', tmp_path, '--accuracy-annotations', path,
                 '--max-map-drop', '0.01']
    found = request_of(*arguments).calibration
    assert (found.model, found.bag, found.topic) == (Path('m.onnx'), tmp_path, '/image')
    assert (found.every, found.min_images, found.max_images) == (5, 3, 30)
    assert (found.accuracy_images, found.accuracy_annotations) == (tmp_path, path)
    assert found.max_drop == 0.01 and found.config.name == 'detector'
    assert request_of('m.onnx', '--params-file', path).calibration is None
    assert problems_of(*arguments, '--precision', 'fp16') == [
        f'--{name} is for int8, but precision is fp16; set --precision int8 or take it away'
        for name in ('calibration-bag', 'accuracy-images')]
    assert f'--accuracy-images is {path}, which is a file, expected a folder' in problems_of(
        *arguments[:13], '--accuracy-images', path, *arguments[15:])


def test_the_parameters_of_the_node_say_what_is_built(tmp_path):
    (tmp_path / 'm.onnx').touch()
    (tmp_path / 'names.txt').write_text('car\nperson\n', encoding='utf-8')
    path = parameters(tmp_path, {'detector': {
        'path': str(tmp_path / 'm.onnx'), 'precision': 'fp32', 'decoder': 'yolox',
        'labels': str(tmp_path / 'names.txt'), 'preprocess': {'color_order': 'bgr'}}},
        engines={'directory': str(tmp_path / 'engines'), 'package': 'tensorrt_rtx'})
    request = request_of('--params-file', path, '--model-name', 'detector')
    assert request.model == tmp_path / 'm.onnx' and request.model_config.name == 'detector'
    assert request.build.precision is PrecisionMode.FP32
    assert request.build.output_dir == tmp_path / 'engines'
    assert request.build.package == 'tensorrt_rtx'
    assert request.build.processing['labels'] == ['car', 'person']
    assert request.build.processing['decoder'] == 'yolox'
    assert request.build.processing['preprocess'] == {
        **{entry.name: list(value) if isinstance(value, tuple) else value
           for entry in dataclasses.fields(PreprocessConfig)
           for value in [getattr(PreprocessConfig(), entry.name)]}, 'color_order': 'bgr'}
    over = request_of('other.onnx', '--params-file', path, '--precision', 'fp16',
                      '--output-dir', 'out', '--package', 'tensorrt')
    assert over.model == Path('other.onnx') and over.build.precision is PrecisionMode.FP16
    assert (over.build.output_dir, over.build.package) == (Path('out'), 'tensorrt')


@pytest.mark.parametrize(('name', 'said'), [
    ('detectr', "has 'detector'; did you mean that?"),
    ('', 'has 2 models (detector, other); say which one is meant with --model-name')])
def test_which_model_of_the_parameters(tmp_path, name, said):
    path = parameters(tmp_path, {'detector': {'path': 'a'}, 'other': {'path': 'b'}})
    found = problems_of('m.onnx', '--params-file', path, *(['--model-name', name] if name else []))
    assert len(found) == 1 and found[0].endswith(said)


def test_parameters_that_are_wrong_are_said_with_their_file(tmp_path):
    path = parameters(tmp_path, {'detector': {'path': 'no.onnx', 'decoder': 'yolo', 'pth': 1}})
    first, second = problems_of('--params-file', path)
    assert first.startswith(f"{path}: models.detector.decoder is 'yolo', expected one of auto")
    assert second == f'{path}: unknown parameter models.detector.pth; did you mean models.' \
                     'detector.path?'
    path = parameters(tmp_path, {'detector': {'path': 'no.onnx', 'precision': 'mixed'}})
    missing, precision = problems_of('--params-file', path)
    assert missing.startswith(f"{path}: models.detector.path is 'no.onnx', but there is no file")
    assert precision.startswith('precision is mixed')
    assert problems_of('m.onnx', '--params-file', tmp_path / 'no.yaml') == [
        f'{tmp_path}/no.yaml cannot be read (No such file or directory); correct the path']


@pytest.mark.parametrize(('content', 'said'), [
    ('a: [', 'is no YAML'), ('a: 1', 'has no ros__parameters'), ('', 'has no ros__parameters'),
    ('\x00', 'is no YAML'),
    ('a: {ros__parameters: {}}\nb: {ros__parameters: {}}',
     'has parameters of 2 nodes (a, b); say which one is meant with --node-name')])
def test_files_that_are_no_parameters(tmp_path, content, said):
    path = tmp_path / 'params.yaml'
    path.write_text(content, encoding='utf-8')
    assert any(said in problem for problem in problems_of('m.onnx', '--params-file', path))


def test_what_a_file_says_of_one_node_goes_over_what_it_says_of_every_node(tmp_path):
    path = tmp_path / 'params.yaml'
    path.write_text("""
/**: {ros__parameters: {models: {detector: {decoder: yolox, precision: fp32}}}}
/front/inference: {ros__parameters: {models.detector.decoder: yolov8}}
rear: {inference: {ros__parameters: {models: {detector: {decoder: detr}}}}}
""", encoding='utf-8')
    for node, decoder in (('/front/inference', 'yolov8'), ('front/inference', 'yolov8'),
                          ('rear/inference', 'detr'), ('another', 'yolox')):
        request = request_of('m.onnx', '--params-file', path, '--node-name', node)
        assert request.model_config.decoder == decoder
        assert request.build.precision is PrecisionMode.FP32


def test_the_size_that_the_node_settles_becomes_the_profile(tmp_path):
    path = parameters(tmp_path, {'detector': {
        'path': 'm', 'preprocess': {'width': 320, 'height': 192}}})
    request = request_of('m.onnx', '--params-file', path)
    image = TensorSpec('images', np.dtype(np.float32), (-1, 3, -1, -1))
    profile, = closed_profile(request, (image,))
    assert profile.shapes == {'images': ((1, 3, 192, 320),) * 3}
    fixed = TensorSpec('images', np.dtype(np.float32), (-1, 3, 320, 320))
    assert closed_profile(request, (fixed,)) == ()
    with pytest.raises(ConfigurationError, match='models.detector.preprocess.width is 0, but'):
        closed_profile(request_of('m.onnx', '--params-file', parameters(
            tmp_path, {'detector': {'path': 'm'}})), (image,))
    given = request_of('m.onnx', '--params-file', path, '--profile', 'a:images=1x3x64x64')
    assert closed_profile(given, (image,)) == given.build.profiles


def test_processing_is_said_once(tmp_path):
    path = parameters(tmp_path, {'detector': {'path': 'm'}})
    assert problems_of('m.onnx', '--params-file', path, '--decoder', 'yolox') == [
        '--decoder and --params-file say the same thing; take one of them away']


def test_every_setting_is_on_the_page():
    """docs/engines.md has each setting by name and by option."""
    page = (ROOT / 'docs' / 'engines.md').read_text(encoding='utf-8')
    for setting in SETTINGS:
        assert f'`{setting.name}`' in page, setting.name
        if setting.name != 'model' and not setting.is_json_only:
            assert f'`{setting.flag}' in page, setting.flag


def test_the_example_on_the_page_is_good(tmp_path):
    page = (ROOT / 'docs' / 'engines.md').read_text(encoding='utf-8')
    example = page.partition('```json\n')[2].partition('```')[0]
    request = request_of(config_file(tmp_path, example))
    assert request.build.precision is PrecisionMode.MIXED
    assert [profile.name for profile in request.build.profiles] == ['one', 'batch']
    assert request.build.workspace_bytes == 512 << 20
    assert request.build.processing['preprocess']['anchor'] == 'top_left'
    assert set(json.loads(example)) <= {setting.name for setting in SETTINGS}
