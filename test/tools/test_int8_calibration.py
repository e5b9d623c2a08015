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

"""INT8 end to end with real models: accurate enough, built by the real builder, and reused."""

from dataclasses import replace
import json
from pathlib import Path
import shutil
import time

from c7_inference_ros.config import ModelConfig
from c7_inference_ros.engines.calibration.quantizable_model import open_session
from c7_inference_ros.engines.compiler import compile_engine
from c7_inference_ros.engines.tensorrt_api import load_tensorrt
from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import CalibrationCacheError
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.parameter_groups import PreprocessConfig
from c7_inference_ros.pipeline.model_contract import resolve_contract
from c7_inference_ros.tools import calibration_data
from c7_inference_ros.tools.accuracy import mean_average_precision
from c7_inference_ros.tools.accuracy import OnnxDetector
from c7_inference_ros.tools.calibration_data import BagTopic
from c7_inference_ros.tools.implicit_calibration import implicit_calibration_inputs
from c7_inference_ros.tools.int8_calibration import calibrate
from c7_inference_ros.tools.int8_calibration import CalibrationRequest
from c7_inference_ros.tools.int8_calibration import int8_quantizer
from c7_inference_ros.tools.int8_calibration import prepare
import pytest

ort = pytest.importorskip('onnxruntime', reason='onnxruntime is not installed; run: make env')
pytest.importorskip('onnx', reason='onnx is not installed; run: make env')
pytest.importorskip('pycocotools', reason='pycocotools is not installed; run: make env')
ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / 'shared'
PICTURES = SHARED / 'data' / 'coco_val_subset'
BAG = SHARED / 'data' / 'bags' / 'road_compressed_mcap'
TOPIC = '/camera/image_raw/compressed'
LIMIT = 0.03
CONFIGS = {
    'person_ssdlite': ModelConfig(
        name='person', path=str(ROOT / 'models' / 'person_ssdlite.onnx'), decoder='ssd',
        preprocess=PreprocessConfig(resize='stretch', interpolation='area', scale=1.0,
                                    mean=(127.5,) * 3, std=(127.5,) * 3)),
    'yolox_nano': ModelConfig(
        name='yolox', path=str(SHARED / 'models' / 'yolox_nano.onnx'),
        labels=str(SHARED / 'models' / 'coco80.txt'),
        preprocess=PreprocessConfig(anchor='top_left', color_order='bgr', scale=1.0))}
#: In int8 it costs most of the mAP of yolox_nano that int8 costs.
STEM = ('Conv_41',)


def need(*paths):
    for path in paths:
        if not path.exists():
            pytest.skip(f'{path.relative_to(ROOT.parent)} is not here')


def request_for(name, folder, **others):
    config = CONFIGS[name]
    need(Path(config.path), PICTURES)
    return CalibrationRequest(**{
        'model': Path(config.path), 'config': config, 'cache': folder / f'{name}.calib_cache',
        'images': PICTURES / 'images', 'accuracy_images': PICTURES / 'images',
        'accuracy_annotations': PICTURES / 'instances.json', **others})


class Made:
    """One calibration of a shared model, made once for all tests."""

    def __init__(self, name, folder):
        self.name, self.folder, self.steps = name, folder, []
        self.request = request_for(name, folder)
        self.prepared = prepare(self.request)
        started = time.monotonic()
        self.int8 = calibrate(self.prepared, lambda *step: self.steps.append(step))
        self.seconds = time.monotonic() - started

    def copied(self, folder, **others):
        """Return a request for a copy of the cache."""
        for path in self.folder.iterdir():
            shutil.copy(path, folder)
        return request_for(self.name, folder, **others)


_made = {}


@pytest.fixture(scope='session')
def made_in(tmp_path_factory):
    return tmp_path_factory.mktemp('int8')


def made_of(name, made_in):
    if name not in _made:
        (made_in / name).mkdir()
        _made[name] = Made(name, made_in / name)
    return _made[name]


@pytest.fixture(params=CONFIGS)
def made(request, made_in):
    return made_of(request.param, made_in)


@pytest.fixture()
def person(made_in):
    return made_of('person_ssdlite', made_in)


@pytest.fixture()
def yolox(made_in):
    return made_of('yolox_nano', made_in)


@pytest.fixture()
def no_batch(monkeypatch):
    """Let the test fail when an image is pulled for calibration."""
    def pulled(self):
        raise AssertionError('an image was pulled')
    monkeypatch.setattr(calibration_data.PictureFolder, 'images', pulled)
    monkeypatch.setattr(calibration_data.BagTopic, 'images', pulled)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def map50(prepared, run):
    outputs = [spec.name for spec in prepared.source.outputs]
    detector = OnnxDetector(prepared.contract, outputs, run)
    return mean_average_precision(prepared.truth, detector, prepared.contract.labels.names).map50


# Accuracy -------------------------------------------------------------------------------------


def test_accuracy_is_within_the_limit(made):
    check = made.int8.accuracy
    print(f'\n{made.name}: float32 {check.reference:.4f}, int8 {check.measured:.4f}, '
          f'{made.int8.record["layers"]} layers in int8, float32: {made.int8.excluded}, '
          f'{made.seconds:.1f} s, {len(made.int8.quantized)} bytes')
    assert check.drop <= LIMIT == check.limit and check.images == 17
    assert check.reference == pytest.approx(
        {'person_ssdlite': 0.400, 'yolox_nano': 0.487}[made.name], abs=0.01)
    # What is written down is what a run of the returned bytes gives.
    assert map50(made.prepared, open_session(made.int8.quantized, 'q').run) == pytest.approx(
        check.measured, abs=1e-9)


def test_the_integer_kernels_of_onnxruntime_agree(made):
    """Measured with float32 arithmetic on rounded values; integers give nearly the same."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(made.int8.quantized, options,
                                   providers=['CPUExecutionProvider'])
    assert map50(made.prepared, session.run) == pytest.approx(
        made.int8.accuracy.measured, abs=0.03)


def test_layers_that_break_it_are_excluded_and_listed(yolox, person):
    assert set(yolox.int8.excluded) >= set(STEM)
    assert len(yolox.int8.excluded) < 30
    assert yolox.int8.record['float32_layers'] == list(yolox.int8.excluded)
    # Of 113 convolutions 30 are depthwise, and of 88 33.
    assert yolox.int8.record['layers'] == 83 - len(yolox.int8.excluded)
    assert person.int8.record['layers'] == 55


def test_the_record_says_where_the_ranges_are_from(made):
    record = made.int8.record
    assert record['method'] == 'explicit Q/DQ' and record['images'] == 17
    assert record['dataset_sha256'] == made.prepared.dataset.sha256
    assert record['source'] == '17 pictures in images'
    assert 'onnxruntime' in record['quantizer']
    assert json.loads(json.dumps(record)) == record
    calibrating = [step for step in made.steps if step[0] == 'calibrating']
    assert calibrating == [('calibrating', index, 17) for index in range(1, 18)]


# Reuse ----------------------------------------------------------------------------------------


def test_a_reused_cache_pulls_no_batch_and_gives_the_same(made, no_batch):
    before = files(made.folder)
    started = time.monotonic()
    again = calibrate(prepare(made.request))
    assert again.is_reused and not made.int8.is_reused
    assert again.quantized == made.int8.quantized
    # The engine's key is made of the record: an engine must not be built again for it.
    assert (again.record, again.accuracy) == (made.int8.record, made.int8.accuracy)
    assert files(made.folder) == before
    assert time.monotonic() - started < 30


@pytest.mark.builder
def test_compiled_for_real_and_reused_within_half_a_minute(made, tmp_path, no_batch):
    """Calibrated before: the whole compile, and the one after it, pull no batch."""
    pytest.importorskip('tensorrt_rtx', reason='tensorrt_rtx is not installed; run: make env')
    started = time.monotonic()
    results = []
    for _ in range(2):
        with int8_quantizer(made.request) as quantize:
            results.append(compile_engine(
                Path(made.request.model), build_config(tmp_path), host=host(), quantize=quantize))
    seconds = time.monotonic() - started
    built, reused = results
    print(f'\n{made.name}: {built.manifest.engine_bytes} bytes, {built.seconds:.1f} s and '
          f'{reused.seconds:.1f} s')
    assert [one.status for one in results] == ['BUILT', 'REUSED'] and seconds < 30
    assert built.manifest.calibration == made.int8.record
    assert built.manifest.accuracy == made.int8.accuracy
    types = built.manifest.tensor_types
    assert types['int8'] >= made.int8.record['layers']
    # The rest is in float16, but for the end of the network and what goes into QuantizeLinear.
    assert types['float16'] > 2 * types['float32']
    assert built.manifest.settings['nodes_kept_in_float32'] == made.int8.kept


def build_config(folder):
    return BuildConfig(precision=PrecisionMode.INT8, package='tensorrt_rtx', output_dir=folder)


def host():
    return HostTuple('any', 'x86', 'tensorrt_rtx', load_tensorrt('tensorrt_rtx').version)


def test_another_limit_needs_no_new_ranges(person, tmp_path, no_batch):
    request = person.copied(tmp_path, max_drop=0.2)
    other = calibrate(prepare(request))
    assert other.is_reused and other.accuracy.limit == 0.2
    assert calibrate(prepare(request)).record == other.record


def test_another_data_set_is_calibrated_anew(person, tmp_path, caplog):
    caplog.set_level('INFO')
    request = person.copied(tmp_path, max_images=16, accuracy_images=None,
                            accuracy_annotations=None)
    other = calibrate(prepare(request))
    assert not other.is_reused and other.accuracy is None
    assert other.record['images'] == 16
    assert other.record['cache_key'] != person.int8.record['cache_key']
    assert 'images changed from 17 to 16' in caplog.text and 'data set changed' in caplog.text
    assert calibrate(prepare(request)).is_reused


def test_other_preprocessing_is_calibrated_anew(person, tmp_path):
    config = CONFIGS['person_ssdlite']
    other = replace(config, preprocess=replace(config.preprocess, color_order='bgr'))
    prepared = prepare(person.copied(tmp_path, config=other))
    assert prepared.parts != person.prepared.parts
    assert {name for name, value in prepared.parts.items()
            if value != person.prepared.parts[name]} == {'preprocessing'}


# Refusals -------------------------------------------------------------------------------------


def test_worse_than_the_limit_is_refused_with_the_numbers(yolox, tmp_path, no_batch):
    request = yolox.copied(tmp_path, max_drop=0.0, search_timeout_s=0.0)
    before = files(tmp_path)
    with pytest.raises(EngineBuildError) as caught:
        calibrate(prepare(request))
    reference = yolox.int8.accuracy.reference
    assert f'{reference:.4f} in float32' in str(caught.value)
    assert 'accepted are 0' in str(caught.value) and 'max_map_drop' in str(caught.value)
    # The ranges are good for another limit.
    assert files(tmp_path) == before


@pytest.mark.builder
def test_nothing_is_published_of_a_model_that_is_refused(yolox, tmp_path):
    pytest.importorskip('tensorrt_rtx', reason='tensorrt_rtx is not installed; run: make env')
    (tmp_path / 'cache').mkdir()
    request = yolox.copied(tmp_path / 'cache', max_drop=0.0, search_timeout_s=0.0)
    with pytest.raises(EngineBuildError, match='int8 loses'):
        with int8_quantizer(request) as quantize:
            compile_engine(Path(request.model), build_config(tmp_path / 'engines'), host=host(),
                           quantize=quantize)
    assert not list((tmp_path / 'engines').glob('*.engine*'))


@pytest.mark.parametrize('suffix', ['', '.sha256', '.dataset_sha256'])
def test_a_damaged_cache_is_refused_and_left(person, tmp_path, no_batch, suffix):
    request = person.copied(tmp_path)
    path = tmp_path / f'person_ssdlite.calib_cache{suffix}'
    path.write_bytes(path.read_bytes()[:-1] + b'\x01')
    before = files(tmp_path)
    with pytest.raises(CalibrationCacheError):
        calibrate(prepare(request))
    assert files(tmp_path) == before


@pytest.mark.parametrize('count', [0, 3])
def test_an_empty_or_short_data_set_leaves_the_cache(person, tmp_path, count):
    (tmp_path / 'images').mkdir()
    for path in sorted((PICTURES / 'images').iterdir())[:count]:
        shutil.copy(path, tmp_path / 'images')
    request = person.copied(tmp_path, images=tmp_path / 'images')
    before = files(tmp_path)
    with pytest.raises(CalibrationCacheError, match=f'has {count} .*, expected at least 16'):
        prepare(request)
    assert files(tmp_path) == before


def test_calibration_that_ends_early_leaves_the_cache(person, tmp_path, monkeypatch):
    request = person.copied(tmp_path, max_images=16)
    prepared = prepare(request)
    whole = calibration_data.PictureFolder.images
    monkeypatch.setattr(calibration_data.PictureFolder, 'images',
                        lambda self: (image for image, _ in zip(whole(self), range(3))))
    before = files(tmp_path)
    with pytest.raises(CalibrationCacheError, match='got 3 images, expected 16'):
        calibrate(prepared)
    assert files(tmp_path) == before


def test_a_model_that_changes_meanwhile(tmp_path):
    need(Path(CONFIGS['yolox_nano'].path))
    model = tmp_path / 'm.onnx'
    shutil.copy(CONFIGS['yolox_nano'].path, model)
    model.chmod(0o644)
    prepared = prepare(request_for('yolox_nano', tmp_path, model=model))
    model.write_bytes(model.read_bytes() + b'\x32\x01x')  # a documentation string
    with pytest.raises(CalibrationCacheError, match='changed meanwhile'):
        calibrate(prepared)


@pytest.mark.parametrize('change, why', [
    ({'config': None}, 'without its preprocessing'), ({'images': None}, 'without images'),
    ({'accuracy_annotations': None}, 'has no ground truth')])
def test_what_is_missing_is_named(tmp_path, change, why):
    with pytest.raises(ConfigurationError, match=why):
        prepare(request_for('person_ssdlite', tmp_path, **change))


def test_an_older_builder_is_refused_before_anything_is_read(tmp_path):
    class Old:
        package, version = 'tensorrt_rtx', '1.4.0.76'

    request = replace(request_for('person_ssdlite', tmp_path), images=tmp_path / 'missing')
    with pytest.raises(EngineBuildError, match='1.4.0.76 cannot build INT8'):
        with int8_quantizer(request) as quantize:
            quantize(None, Old(), tmp_path / 'x')


# A bag ----------------------------------------------------------------------------------------


@pytest.mark.builder
def test_a_bag_topic_to_an_engine(tmp_path, monkeypatch):
    pytest.importorskip('tensorrt_rtx', reason='tensorrt_rtx is not installed; run: make env')
    pytest.importorskip('rosbags', reason='rosbags is not installed; run: make env')
    need(BAG)
    told = []
    request = request_for('yolox_nano', tmp_path, cache=None, images=None, bag=BAG, topic=TOPIC,
                          every=2, accuracy_images=None, accuracy_annotations=None,
                          high_precision_nodes=STEM)

    def compiled():
        with int8_quantizer(request, tell=told.append) as quantize:
            return compile_engine(Path(request.model), build_config(tmp_path), host=host(),
                                  quantize=quantize)

    built = compiled()
    calibration = built.manifest.calibration
    assert built.status == 'BUILT' and built.manifest.accuracy is None
    assert calibration['source'] == f'19 images of {TOPIC} in road_compressed_mcap'
    assert calibration['float32_layers'] == sorted(STEM)
    assert built.manifest.tensor_types['int8'] >= 81
    # Beside the engine, and good for the engines of other builders.
    assert calibration['cache'] == 'yolox_nano.calib_cache'
    assert (built.entry.path.parent / 'yolox_nano.calib_cache.dataset_sha256').is_file()
    assert told[0].startswith('INT8 ranges measured') and told[1].endswith(': Conv_41')

    monkeypatch.setattr(BagTopic, 'images', lambda self: pytest.fail('an image was pulled'))
    again = compiled()
    assert again.status == 'REUSED' and again.seconds < 30
    assert again.manifest == built.manifest


def test_a_model_calibrated_on_the_road_sees_the_two_cars(tmp_path):
    pytest.importorskip('rosbags', reason='rosbags is not installed; run: make env')
    need(BAG)
    request = request_for('yolox_nano', tmp_path, images=None, bag=BAG, topic=TOPIC, every=2,
                          accuracy_images=None, accuracy_annotations=None,
                          high_precision_nodes=STEM)
    prepared = prepare(request)
    int8 = calibrate(prepared)
    source = prepared.source
    contract = resolve_contract(_handle(source), replace(request.config, score_threshold=0.25))
    detector = OnnxDetector(contract, [spec.name for spec in source.outputs],
                            open_session(int8.quantized, 'q').run)
    car = contract.labels.names.index('car')
    for image in BagTopic(BAG, TOPIC, every=9, minimum=1).images():
        assert (detector(image).class_ids == car).sum() == 2


def _handle(source):
    from c7_inference_ros.runtime.base import EngineHandle
    return EngineHandle('yolox', source.inputs, source.outputs, source.metadata)


# The calibrator of TensorRT 10 ----------------------------------------------------------------


def test_what_the_implicit_calibrator_is_given(yolox, tmp_path):
    prepared = replace(yolox.prepared, request=replace(
        yolox.request, cache=tmp_path / 'x.calib_cache'))
    dataset, cache = implicit_calibration_inputs(prepared, '10.3.0.26')
    assert (dataset.count, dataset.batch_size, dataset.inputs) == (17, 1, ('images',))
    assert next(dataset.batches())['images'].shape == (1, 3, 416, 416)
    _, other = implicit_calibration_inputs(prepared, '10.4.0.1')
    assert len({cache.key, other.key, yolox.int8.record['cache_key']}) == 3
    table = b'TRT-100300-EntropyCalibration2\nimages: 3f800000\n'
    with cache.locked():
        cache.store(table)
    assert cache.check().data == table and not other.check().is_reusable
