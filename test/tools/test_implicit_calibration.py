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

"""The calibrator of TensorRT 10.x, from the command line to the engine, on the doubles."""

from dataclasses import replace
import gc
import json
from pathlib import Path
import struct

from c7_inference_ros.engines import compiler
from c7_inference_ros.engines.building.branches import choose_branch
from c7_inference_ros.engines.host import HostFacts
from c7_inference_ros.engines.onnx_source import read_onnx_source
from c7_inference_ros.engines.trust.gate import EngineGate
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.errors import CalibrationCacheError
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.tools import calibration_data
from c7_inference_ros.tools import cuda_copier
from c7_inference_ros.tools.compile_engine import main
from c7_inference_ros.tools.compile_request import make_request
from c7_inference_ros.tools.cuda_copier import CudaCopier
from c7_inference_ros.tools.int8_calibration import int8_quantizer
from doubles_install import install
import numpy as np
import pytest
from trt_plan import version_of

onnx = pytest.importorskip('onnx', reason='onnx is not installed; run: make env')
pytest.importorskip('onnxruntime', reason='onnxruntime is not installed; run: make env')
cv2 = pytest.importorskip('cv2', reason='OpenCV is not installed; run: make env')
COUNT = 16
FILES = ['detector.implicit.calib_cache', 'detector.implicit.calib_cache.dataset_sha256',
         'detector.implicit.calib_cache.made_from.json', 'detector.implicit.calib_cache.sha256']


def machine(monkeypatch, generation='10.3'):
    """Put the doubles in place, on a machine whose facts are known."""
    doubles = install(monkeypatch, generation)
    package = 'tensorrt_rtx' if generation.startswith('rtx') else 'tensorrt'
    monkeypatch.setattr(compiler, 'probe_facts', lambda: HostFacts(
        '87', 'Jetson Orin Nano', '36.4.3', {package: version_of(generation)}, {}))
    return doubles


@pytest.fixture()
def doubles(monkeypatch):
    found = machine(monkeypatch)
    yield found
    assert not found.gpu.stack, 'a CUDA context is still current'
    released(found)


def released(doubles):
    """Fail if anything is left; networks and tensors of the doubles refer to each other."""
    gc.collect()
    doubles.assert_released()


def let_go(doubles):
    """Reset the primary context that TensorRT alone took and keeps, as at the process's end."""
    assert doubles.gpu.primary_retains == doubles.gpu.implicit_retains
    doubles.gpu.primary_retains = doubles.gpu.implicit_retains = 0
    doubles.gpu.contexts.clear()
    doubles.gpu.stack.clear()


@pytest.fixture()
def job(tmp_path):
    """Write a model, pictures and CONFIG.json; return the folder."""
    helper, kinds = onnx.helper, onnx.TensorProto
    weights = np.random.default_rng(3).normal(size=(6, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node('Conv', ['images', 'w'], ['c'], name='conv', pads=[1] * 4,
                          strides=[8, 8]),
         helper.make_node('Relu', ['c'], ['r'], name='relu'),
         helper.make_node('Reshape', ['r', 'shape'], ['output'], name='reshape')], 'g',
        [helper.make_tensor_value_info('images', kinds.FLOAT, ['N', 3, 32, 32])],
        [helper.make_tensor_value_info('output', kinds.FLOAT, ['N', 6, 16])],
        [onnx.numpy_helper.from_array(weights, 'w'),
         onnx.numpy_helper.from_array(np.array([0, 6, 16]), 'shape')])
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid('', 17)]),
              str(tmp_path / 'detector.onnx'))
    (tmp_path / 'pictures').mkdir()
    for index in range(COUNT):
        picture(tmp_path, index)
    (tmp_path / 'labels.txt').write_text('car\nperson\n')
    (tmp_path / 'config.json').write_text(json.dumps({
        'model': 'detector.onnx', 'output_dir': 'engines', 'precision': 'int8',
        'preprocess': {'resize': 'stretch'}, 'decoder': 'yolov8', 'labels': 'labels.txt',
        'calibration_images': 'pictures'}))
    return tmp_path


def picture(folder, index, brightness=0):
    values = np.random.default_rng(index).integers(0, 200, (32, 32, 3), np.uint8)
    assert cv2.imwrite(str(folder / 'pictures' / f'{index:02}.png'), values + np.uint8(brightness))


def compile_job(job, capsys, *arguments):
    """Run the command line; return its exit code and its JSON object."""
    capsys.readouterr()
    code = main(['compile', str(job / 'config.json'), '--json', '--calibration-method',
                 'implicit', *arguments])
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture()
def pulled(monkeypatch):
    """Count the images that calibration looks at."""
    seen = []
    whole = calibration_data.PictureFolder.images

    def images(self):
        for image in whole(self):
            seen.append(image)
            yield image

    monkeypatch.setattr(calibration_data.PictureFolder, 'images', images)
    return seen


def test_built_reused_and_built_again(doubles, job, capsys, pulled):
    code, built = compile_job(job, capsys)
    assert (code, built['status']) == (0, 'BUILT'), built
    assert len(pulled) == COUNT
    folder = job / 'engines'
    assert sorted(path.name for path in folder.glob('*calib_cache*')) == FILES
    table = (folder / FILES[0]).read_bytes()
    lines = table.decode().splitlines()
    assert lines[0] == 'TRT-100300-EntropyCalibration2'
    scales = {name: struct.unpack('>f', bytes.fromhex(text))[0]
              for name, text in (line.rsplit(': ', 1) for line in lines[1:])}
    # What TensorRT read from the device are the pictures as the node prepares them.
    largest = max(image.pixels.max() for image in pulled) / 255
    assert scales['images'] * 127 == pytest.approx(largest, rel=1e-5)

    manifest = built['manifest']
    assert manifest['accuracy'] is None
    calibration = manifest['calibration']
    assert (calibration['method'], calibration['images']) == ('implicit', COUNT)
    assert calibration['accuracy'].startswith('not measured') and len(
        calibration['dataset_sha256']) == 64
    assert manifest['settings']['flags'] == ['FP16', 'INT8']
    released(doubles)

    code, again = compile_job(job, capsys)
    assert (code, again['status'], len(pulled)) == (0, 'REUSED', COUNT)
    assert again['manifest'] == manifest

    # The engine is made anew from the ranges that are there: no image is pulled.
    for path in folder.glob('*.engine*'):
        path.unlink()
    code, other = compile_job(job, capsys)
    assert (code, other['status'], len(pulled)) == (0, 'BUILT', COUNT)
    assert other['manifest']['calibration'] == calibration
    assert (folder / FILES[0]).read_bytes() == table
    let_go(doubles)

    picture(job, 5, brightness=50)
    code, changed = compile_job(job, capsys)
    assert (code, changed['status'], len(pulled)) == (0, 'BUILT', 2 * COUNT)
    assert changed['reason'].startswith('calibration changed')
    assert (folder / FILES[0]).read_bytes() != table


def test_a_reused_cache_touches_no_gpu_of_ours(doubles, job, capsys, monkeypatch):
    assert compile_job(job, capsys)[0] == 0
    for path in (job / 'engines').glob('*.engine*'):
        path.unlink()
    monkeypatch.setattr(cuda_copier, 'open_device', lambda index: pytest.fail('a GPU was opened'))
    assert compile_job(job, capsys)[0] == 0
    let_go(doubles)


def test_the_node_may_refuse_what_nobody_measured(doubles, job, capsys):
    code, built = compile_job(job, capsys)
    assert code == 0
    host = compiler.probe_facts().host('tensorrt')
    path = Path(built['engine'])
    EngineGate(host).validate(path)
    with pytest.raises(EngineSchemaMismatchError, match='accuracy'):
        EngineGate(host, max_accuracy_drop=0.05).validate(path)


@pytest.mark.parametrize('generation', ['rtx1.7', '11.1'])
def test_versions_without_a_calibrator_are_refused(monkeypatch, job, capsys, generation):
    doubles = machine(monkeypatch, generation)
    code, said = compile_job(job, capsys)
    assert code == 2 and 'calibration_method is implicit, but tensorrt' in str(said)
    assert 'has no calibrator' in str(said) and 'explicit' in str(said)
    assert not list((job / 'engines').glob('*.engine'))
    released(doubles)


def test_a_corrupt_cache_is_refused_and_left(doubles, job, capsys, pulled):
    assert compile_job(job, capsys)[0] == 0
    cache = job / 'engines' / FILES[0]
    cache.write_bytes(cache.read_bytes() + b'x: 3f800000\n')
    before = cache.read_bytes()
    code, said = compile_job(job, capsys)
    assert code == 1 and 'is damaged' in str(said)
    assert cache.read_bytes() == before and len(pulled) == COUNT


def test_an_image_that_cannot_be_read_leaves_no_engine(doubles, job, capsys, monkeypatch):
    """The bindings make "no more images" of every exception."""
    whole = calibration_data.PictureFolder.images

    def images(self):
        for index, image in enumerate(whole(self)):
            if index == 7:
                raise CalibrationCacheError('07.png cannot be used')
            yield image

    monkeypatch.setattr(calibration_data.PictureFolder, 'images', images)
    code, said = compile_job(job, capsys)
    assert code == 1 and '07.png cannot be used' in str(said)
    assert not list((job / 'engines').glob('*.engine'))
    assert not list((job / 'engines').glob('*.calib_cache'))


def failing(whole, fail):
    """Return what lets CUDA fail once images are asked for."""
    def images(self):
        fail()
        yield from whole(self)
    return images


@pytest.mark.parametrize('call', ['cuMemAlloc', 'cuMemcpyHtoDAsync', 'cuStreamSynchronize'])
def test_an_error_of_cuda_leaves_no_engine(doubles, job, capsys, monkeypatch, call):
    monkeypatch.setattr(calibration_data.PictureFolder, 'images', failing(
        calibration_data.PictureFolder.images, lambda: doubles.gpu.fail(call, 2, times=2)))
    code, said = compile_job(job, capsys)
    assert code == 1 and 'calibration failed at batch 1 of 16' in str(said), said
    assert not list((job / 'engines').glob('*.engine'))


def test_without_cuda_nothing_is_built(doubles, job, capsys, monkeypatch):
    def missing(index):
        raise RuntimeNotAvailableError('PyCUDA is not installed')

    monkeypatch.setattr(cuda_copier, 'open_device', missing)
    code, said = compile_job(job, capsys)
    assert code == 1 and 'PyCUDA is not installed' in str(said)
    assert not list((job / 'engines').glob('*.engine'))


class Tool:
    """As much of the trtexec branch as calibration asks for."""

    name, package, version = 'trtexec', 'tensorrt', version_of('10.3')
    has_weak_typing = has_implicit_calibration = True


def test_trtexec_takes_a_verified_cache_only(doubles, job, capsys):
    request = make_request({'model': str(job / 'config.json'), 'calibration_method': 'implicit'})
    source, stem = read_onnx_source(request.model), job / 'engines' / 'x'
    with int8_quantizer(request.calibration) as quantize:
        with pytest.raises(CalibrationCacheError, match='needs a verified cache, and .* is not '
                                                        'there; calibrate with the branch direct'):
            quantize(source, Tool, stem)
        assert compile_job(job, capsys)[0] == 0
        quantization = quantize(source, Tool, stem)
        assert quantization.calibrating is None
        assert quantization.calibration_cache.parent != job / 'engines'
        assert quantization.calibration_cache.read_bytes() == (
            job / 'engines' / FILES[0]).read_bytes()


def test_a_usual_shape_of_several_images_is_refused(doubles, job):
    """Else TensorRT would read past the end of the one image."""
    request = make_request({'model': str(job / 'config.json'), 'calibration_method': 'implicit'})
    shapes = ((1, 3, 32, 32), (4, 3, 32, 32), (8, 3, 32, 32))
    wanted = replace(request.calibration,
                     profiles=(OptimizationProfile('batch', {'images': shapes}),))
    builder = choose_branch(request.build).builder
    with int8_quantizer(wanted) as quantize:
        with pytest.raises(ConfigurationError, match='profile batch has the usual shape'):
            quantize(read_onnx_source(request.model), builder, job / 'engines' / 'x')


def test_accuracy_cannot_be_asked_for(job):
    with pytest.raises(ConfigurationError) as caught:
        make_request({'model': str(job / 'config.json'), 'calibration_method': 'implicit',
                      'accuracy_images': str(job / 'pictures'),
                      'accuracy_annotations': str(job / 'config.json')})
    assert ['--accuracy-images cannot be with implicit calibration' in one
            for one in caught.value.problems] == [True]


def test_the_copier_grows_its_buffers_and_gives_them_back(doubles):
    copier = CudaCopier()
    small, large = np.arange(4, dtype=np.float32), np.arange(64, dtype=np.float32)
    try:
        first = copier.copy('x', small)
        assert copier.copy('x', small) == first
        other = copier.copy('y', small)
        assert other != first
        address = copier.copy('x', large)
        view = doubles.gpu.memory.view(address, large.nbytes)
        assert view.tobytes() == large.tobytes()
    finally:
        copier.free()
        copier.free()
