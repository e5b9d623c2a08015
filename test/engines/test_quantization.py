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

"""Explicit INT8: what is quantised and how, that it builds for real, and what is refused."""

import hashlib
import json
import os
from pathlib import Path
import struct
import subprocess
import sys

from c7_inference_ros.engines.building.builder import BuildRequest
from c7_inference_ros.engines.building.direct_builder import DirectBuilder
from c7_inference_ros.engines.calibration.quantizable_model import read_quantizable
from c7_inference_ros.engines.calibration.quantization import check_explicit_support
from c7_inference_ros.engines.calibration.quantization import layers_without_range
from c7_inference_ros.engines.calibration.quantization import measure_ranges
from c7_inference_ros.engines.calibration.quantization import pack_ranges
from c7_inference_ros.engines.calibration.quantization import quantize
from c7_inference_ros.engines.calibration.quantization import unpack_ranges
from c7_inference_ros.engines.tensorrt_api import load_tensorrt
from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import CalibrationCacheError
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.errors import EngineDeserializeError
import numpy as np
import pytest
import quantization_models as models

ROOT = Path(__file__).resolve().parents[2]
onnx = models.onnx


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    return models.mixed_model(tmp_path_factory.mktemp('mixed') / 'mixed.onnx')


@pytest.fixture(scope='module')
def model(path):
    return read_quantizable(path)


@pytest.fixture(scope='module')
def ranges(model):
    return measure_ranges(model, models.images(), 20)


# What is found ----------------------------------------------------------------------------


def test_layers_are_found_and_keep_their_names(model):
    assert {layer.name: layer.kind for layer in model.layers.values()} == models.LAYERS
    assert model.activations == ('x', 'r1', 'flat', 'f')
    # Batch normalisation is part of the convolution, so that its scales are quantised with it.
    assert not [node for node in model.model.graph.node if node.op_type == 'BatchNormalization']


@pytest.mark.parametrize('opset', [11, 12, 13, 18])
def test_older_and_newer_opsets(tmp_path, opset):
    path = models.mixed_model(tmp_path / 'm.onnx', opset)
    model = read_quantizable(path)
    assert set(model.layers) == set(models.LAYERS)
    found = models.Graph(quantize(model, dict.fromkeys(model.activations, 4.0), ()))
    assert found.model.opset_import[0].version == max(opset, 13)
    assert len(found.model.opset_import) == 1


def test_constants_that_are_computed_are_weights(tmp_path):
    """The shipped detector keeps weights as float16 behind Cast."""
    weight = np.ones((4, 3, 1, 1), np.float16)
    path = models.save(
        tmp_path / 'm.onnx', [models.helper.make_node('Cast', ['h'], ['w'], to=1),
                              models.helper.make_node('Conv', ['x', 'w'], ['y'], 'conv')],
        {'x': [1, 3, 4, 4]}, {'y': [1, 4, 4, 4]}, {'h': weight})
    assert list(read_quantizable(path).layers) == ['conv']


def test_layers_without_names_get_one(tmp_path):
    weight = np.ones((3, 3, 1, 1), np.float32)
    node = models.helper.make_node
    path = models.save(
        tmp_path / 'm.onnx', [node('Conv', ['x', 'w'], ['a']), node('Conv', ['a', 'w'], ['b']),
                              node('Conv', ['b', 'w'], ['c'], 'same'),
                              node('Conv', ['c', 'w'], ['y'], 'same')],
        {'x': [1, 3, 4, 4]}, {'y': [1, 3, 4, 4]}, {'w': weight})
    assert list(read_quantizable(path).layers) == ['Conv#0', 'Conv#1', 'same', 'same#3']


def test_what_leaves_the_model_stays_as_it_is(tmp_path):
    weight = np.ones((3, 3, 1, 1), np.float32)
    node = models.helper.make_node
    path = models.save(
        tmp_path / 'm.onnx', [node('Conv', ['x', 'w'], ['a'], 'one'),
                              node('Conv', ['a', 'w'], ['y'], 'two')],
        {'x': [1, 3, 4, 4]}, {'a': [1, 3, 4, 4], 'y': [1, 3, 4, 4]}, {'w': weight})
    assert list(read_quantizable(path).layers) == ['one']


def test_weights_beside_the_model(tmp_path, path, model, ranges):
    beside = models.mixed_model(tmp_path / 'm.onnx', is_external=True)
    found = read_quantizable(beside)
    assert found.source.external == ('m.data',)
    feed = models.images(1)[0]
    for one, other in zip(models.run(quantize(found, ranges, ()), feed),
                          models.run(quantize(model, ranges, ()), feed)):
        np.testing.assert_array_equal(one, other)
    (tmp_path / 'm.data').write_bytes(bytes((tmp_path / 'm.data').stat().st_size))
    assert read_quantizable(beside).source.sha256 != found.source.sha256


def test_nothing_is_written_to_the_working_folder(tmp_path, path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = sorted(path.parent.iterdir())
    model = read_quantizable(path)
    quantize(model, measure_ranges(model, models.images(3), 3), ())
    assert not list(tmp_path.iterdir()) and sorted(path.parent.iterdir()) == before
    # The last line of standard output is the engine's path.
    assert capsys.readouterr() == ('', '')


# How it is quantised ------------------------------------------------------------------------


def test_every_layer_has_its_own_symmetric_pairs(model, ranges):
    found = models.Graph(quantize(model, ranges, ()))
    assert len(found.of('QuantizeLinear')) == len(models.LAYERS)
    assert len(found.of('DequantizeLinear')) == 2 * len(models.LAYERS)
    for node in (*found.of('QuantizeLinear'), *found.of('DequantizeLinear')):
        zero = found.values[node.input[2]]
        assert zero.dtype == np.int8 and not zero.any()
        assert (found.values[node.input[1]] > 0).all()
    for name, axis, channels in (('conv1', 0, 8), ('conv2', 0, 8), ('fc', 0, 6), ('mm', 1, 5)):
        activation, weight = (found.producer(name, index) for index in (0, 1))
        assert activation.op_type == weight.op_type == 'DequantizeLinear'
        assert found.producers[activation.input[0]].op_type == 'QuantizeLinear'
        assert found.values[activation.input[1]].shape == ()
        assert found.values[weight.input[0]].dtype == np.int8
        assert found.values[weight.input[1]].shape == (channels,)
        assert [one.i for one in weight.attribute if one.name == 'axis'] == [axis]
    # Biases stay float32, and so does what comes out of a layer.
    assert found.values[found.nodes['conv1'].input[2]].dtype == np.float32
    assert found.producer('relu1', 0).op_type == 'Conv'


def test_scales_are_those_of_the_ranges(model, ranges):
    found = models.Graph(quantize(model, ranges, ()))
    for layer in model.layers.values():
        scale = found.values[found.producer(layer.name, 0).input[1]]
        assert scale == np.float32(ranges[layer.activation] / 127)
    weight = models.weights()['w1']
    scales = found.values[found.producer('conv1', 1).input[1]]
    np.testing.assert_allclose(scales, np.abs(weight).max(axis=(1, 2, 3)) / 127, rtol=1e-6)


def test_a_tiny_bias_does_not_change_scales(tmp_path):
    """ONNX Runtime would coarsen weights for the sake of an int32 bias that is not made."""
    values = models.weights()
    values['w1'][3] *= 1e-9
    values['b1'][3] = 50.0
    model = read_quantizable(models.mixed_model(tmp_path / 'm.onnx', values=values))
    found = models.Graph(quantize(model, dict.fromkeys(model.activations, 4.0), ()))
    scales = found.values[found.producer('conv1', 1).input[1]]
    assert scales[3] == pytest.approx(np.abs(values['w1'][3]).max() / 127, rel=1e-5)


def test_additions_read_what_was_not_rounded(model, ranges):
    found = models.Graph(quantize(model, ranges, ()))
    assert 'DequantizeLinear' not in {
        found.producer('residual', index).op_type for index in (0, 1)}


@pytest.mark.parametrize('excluded', [{'conv1'}, {'conv2'}, {'conv1', 'fc', 'mm'}])
def test_excluded_layers_are_as_before(model, ranges, excluded):
    found = models.Graph(quantize(model, ranges, excluded))
    for name in models.LAYERS:
        producers = [found.producer(name, index) for index in (0, 1)]
        if name in excluded:
            assert 'DequantizeLinear' not in {one.op_type for one in producers if one}
        else:
            assert {one.op_type for one in producers} == {'DequantizeLinear'}


def test_two_layers_with_one_weight_and_one_input(tmp_path):
    weight = np.random.default_rng(0).normal(size=(3, 3, 1, 1)).astype(np.float32)
    node = models.helper.make_node
    path = models.save(
        tmp_path / 'm.onnx', [node('Relu', ['x'], ['r'], 'relu'),
                              node('Conv', ['r', 'w'], ['a'], 'one'),
                              node('Conv', ['r', 'w'], ['b'], 'two'),
                              node('Conv', ['r', 'w'], ['c'], 'three'),
                              node('Sum', ['a', 'b', 'c'], ['y'], 'sum')],
        {'x': [1, 3, 4, 4]}, {'y': [1, 3, 4, 4]}, {'w': weight})
    model = read_quantizable(path)
    # ONNX Runtime computes equal nodes once.
    names = list(model.layers)
    feed = models.images(1, shape=(1, 3, 4, 4))[0]
    data = quantize(model, {'r': 3.0}, names[1:])
    graph = models.Graph(data)
    assert graph.producer(names[0], 1).op_type == 'DequantizeLinear'
    np.testing.assert_allclose(models.run(data, feed)[0], models.run(path, feed)[0], atol=0.2)


def test_the_result_is_close_and_runs_as_it_comes(path, model, ranges):
    quantized = quantize(model, ranges, ())
    for feed in models.images(3, seed=9):
        for found, wanted in zip(models.run(quantized, feed), models.run(path, feed)):
            assert np.abs(found - wanted).max() < 0.06 * np.abs(wanted).max()
            assert np.abs(found - wanted).max() > 0


def test_it_says_what_the_original_said(model, ranges):
    found = models.Graph(quantize(model, ranges, ())).model
    assert {entry.key: entry.value for entry in found.metadata_props} == {'names': '["car"]'}
    assert [info.name for info in found.graph.input] == ['x']
    assert [info.name for info in found.graph.output] == ['y', 'self']


def test_the_same_bytes_in_every_process(path, model, ranges):
    wanted = hashlib.sha256(quantize(model, ranges, {'fc'})).hexdigest()
    script = (
        'import hashlib, json, sys; from pathlib import Path\n'
        'from c7_inference_ros.engines.calibration.quantizable_model import read_quantizable\n'
        'from c7_inference_ros.engines.calibration.quantization import quantize\n'
        'model = read_quantizable(Path(sys.argv[1]))\n'
        'data = quantize(model, json.loads(sys.argv[2]), {"fc"})\n'
        'print(hashlib.sha256(data).hexdigest())\n')
    for seed in ('1', '77'):
        done = subprocess.run(
            [sys.executable, '-c', script, str(path), json.dumps(ranges)], text=True, cwd=ROOT,
            capture_output=True, check=True,
            env={**os.environ, 'PYTHONHASHSEED': seed, 'PYTHONPATH': str(ROOT)})
        assert done.stdout.strip() == wanted


# Ranges -------------------------------------------------------------------------------------


def test_the_order_of_the_images_changes_no_range(model, ranges):
    assert measure_ranges(model, models.images()[::-1], 20) == ranges
    assert set(ranges) == set(model.activations)
    assert all(0 < value < 20 for value in ranges.values())


def test_images_are_pulled_one_at_a_time(model):
    alive, most = [], []

    def feeds():
        for feed in models.images(5):
            alive.append(feed)
            most.append(len(alive))
            yield feed
            alive.remove(feed)

    seen = []
    measure_ranges(model, feeds(), 5, lambda done, total: seen.append((done, total)))
    assert max(most) == 1 and seen == [(index, 5) for index in range(1, 6)]


@pytest.mark.parametrize('given, expected, why', [
    (0, 0, 'data set is empty'), (0, 5, 'got 0 images, expected 5'),
    (4, 5, 'got 4 images, expected 5'), (6, 5, 'got 6 images, expected 5')])
def test_a_short_data_set(model, given, expected, why):
    with pytest.raises(CalibrationCacheError, match=why):
        measure_ranges(model, models.images(given), expected)


def test_an_image_that_does_not_fit(model):
    feeds = [*models.images(2), {'x': np.zeros((1, 3, 9, 9, 1), np.float32)}]
    with pytest.raises(EngineBuildError, match='fails on calibration image 3'):
        measure_ranges(model, feeds, 3)


def test_values_that_are_no_numbers(model):
    feeds = models.images(2)
    feeds[1]['x'][0, 0, 0, 0] = np.nan
    with pytest.raises(EngineBuildError, match='on image 2, .*check preprocess'):
        measure_ranges(model, feeds, 2)


def test_a_layer_that_sees_only_zeros_stays_float32(tmp_path):
    values = models.weights()
    values['w1'][:], values['b1'][:] = 0.0, -1.0
    model = read_quantizable(models.mixed_model(tmp_path / 'm.onnx', values=values))
    ranges = measure_ranges(model, models.images(3), 3)
    assert ranges['r1'] == 0.0 and layers_without_range(model, ranges) == {'conv2'}
    graph = models.Graph(quantize(model, ranges, ()))
    assert graph.producer('conv2', 0).op_type == 'Relu'


# The product ----------------------------------------------------------------------------------


def test_ranges_survive_exactly(model, ranges):
    choice = {'excluded': ['fc'], 'accuracy': None}
    data = pack_ranges(ranges, 20, choice)
    assert unpack_ranges(data, model) == (ranges, choice)
    assert data == pack_ranges(dict(reversed(list(ranges.items()))), 20, choice)


def test_depthwise_convolutions_are_left_alone(tmp_path):
    generator = np.random.default_rng(1)
    weights = {name: generator.normal(size=shape).astype(np.float32) for name, shape in (
        ('wd', (4, 1, 3, 3)), ('wg', (4, 2, 3, 3)), ('wp', (4, 4, 1, 1)))}
    make = models.helper.make_node
    path = models.save(tmp_path / 'd.onnx', [
        make('Conv', ['x', 'wd'], ['d'], 'depthwise', group=4),
        make('Conv', ['d', 'wg'], ['g'], 'grouped', group=2),
        make('Conv', ['g', 'wp'], ['y'], 'pointwise')],
        {'x': [1, 4, 8, 8]}, {'y': [1, 4, 4, 4]}, weights)
    assert list(read_quantizable(path).layers) == ['grouped', 'pointwise']


@pytest.mark.parametrize('change', [
    lambda found: found.update(format=1), lambda found: found.update(method='implicit'),
    lambda found: found.update(ranges=[]), lambda found: found.update(choice=3),
    lambda found: found.pop('ranges'), lambda found: found.pop('choice'),
    lambda found: found['ranges'].update(x=-1.0), lambda found: found['ranges'].update(x='1'),
    lambda found: found['ranges'].update(x=None), lambda found: found['ranges'].pop('x'),
    lambda found: found['ranges'].update(z=1.0), lambda found: found['ranges'].update(x=1e999),
    lambda found: found['ranges'].update(x=True)])
def test_malformed_products(model, ranges, change):
    found = json.loads(pack_ranges(ranges, 20, None))
    change(found)
    with pytest.raises(CalibrationCacheError, match='malformed.*delete it'):
        unpack_ranges(json.dumps(found).encode(), model)


@pytest.mark.parametrize('data', [b'', b'{', b'[]', b'null', b'\xff', b'[' * 9999,
                                  struct.pack('>f', 1)])
def test_other_files(model, data):
    with pytest.raises(CalibrationCacheError, match='malformed'):
        unpack_ranges(data, model)


# Layers by pattern -----------------------------------------------------------------------------


@pytest.mark.parametrize('patterns, found', [
    ((), set()), (('conv*',), {'conv1', 'conv2'}), (('Gemm', 'm?'), {'fc', 'mm'}),
    (('Relu',), set()), (('*',), set(models.LAYERS))])
def test_patterns(model, patterns, found):
    assert model.matching(patterns) == found


def test_a_pattern_that_fits_nothing(model):
    with pytest.raises(EngineBuildError, match="'convolution' of layers .* called like conv1"):
        model.matching(['conv1', 'convolution'])


# Refusals --------------------------------------------------------------------------------------


def test_a_quantised_model_is_not_quantised_again(tmp_path, model, ranges):
    (tmp_path / 'q.onnx').write_bytes(quantize(model, ranges, ()))
    with pytest.raises(EngineBuildError, match='is quantised already'):
        read_quantizable(tmp_path / 'q.onnx')


def test_a_float16_model(tmp_path):
    with pytest.raises(EngineBuildError, match='no Conv, MatMul, Gemm with float32 input'):
        read_quantizable(models.mixed_model(tmp_path / 'm.onnx', element='FLOAT16'))


def test_a_model_that_onnxruntime_does_not_know(tmp_path):
    path = models.save(tmp_path / 'm.onnx', [models.helper.make_node('EfficientNMS_TRT', ['x'],
                                                                     ['y'])],
                       {'x': [1, 4]}, {'y': [1, 4]})
    with pytest.raises(EngineBuildError, match='does not run in ONNX Runtime'):
        read_quantizable(path)


def test_no_layer_is_left(model, ranges):
    with pytest.raises(EngineBuildError, match='all 4 layers would stay in float32'):
        quantize(model, ranges, models.LAYERS)


@pytest.mark.parametrize('data', [b'', b'hello', bytes(500)])
def test_files_that_are_no_model(tmp_path, data):
    (tmp_path / 'm.onnx').write_bytes(data)
    with pytest.raises(EngineDeserializeError):
        read_quantizable(tmp_path / 'm.onnx')


# Building ----------------------------------------------------------------------------------------


@pytest.mark.parametrize('package, version', [
    ('tensorrt', '10.3.0.26'), ('tensorrt', '11.4.0.106'), ('tensorrt_rtx', '1.7.1.116')])
def test_packages_that_build_it(package, version):
    check_explicit_support(package, version)


def test_a_package_that_does_not():
    with pytest.raises(EngineBuildError, match='TensorRT-RTX 1.4.0.76 cannot build INT8.*1.7'):
        check_explicit_support('tensorrt_rtx', '1.4.0.76')


@pytest.mark.builder
def test_it_builds_for_real(tmp_path, model, ranges):
    """All of Conv, Gemm and MatMul; TensorRT-RTX 1.4 is why there is a check up front."""
    pytest.importorskip('tensorrt_rtx', reason='tensorrt_rtx is not installed; run: make env')
    api = load_tensorrt('tensorrt_rtx')
    target = tmp_path / 'm.qdq.onnx'
    target.write_bytes(quantize(model, ranges, {'conv2'}))
    request = BuildRequest(target, 'm.onnx', BuildConfig(
        precision=PrecisionMode.INT8, package='tensorrt_rtx'))
    if api.numbers < (1, 5):
        with pytest.raises(EngineBuildError):
            check_explicit_support(api.package, api.version)
        with pytest.raises(EngineBuildError):
            DirectBuilder(api).build(request)
        return
    check_explicit_support(api.package, api.version)
    built = DirectBuilder(api).build(request)
    assert len(built.plan) > 1000
    assert built.tensor_types['int8'] >= 3
