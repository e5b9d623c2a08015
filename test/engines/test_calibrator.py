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

"""Implicit INT8 calibration, driven by a double of TensorRT 10.3 that swallows what it can."""

from contextlib import contextmanager
import struct

from c7_inference_ros.engines.building.builder import BuildRequest
from c7_inference_ros.engines.building.direct_builder import DirectBuilder
from c7_inference_ros.engines.calibration.calibration_cache import cache_parts
from c7_inference_ros.engines.calibration.calibration_cache import CalibrationCache
from c7_inference_ros.engines.calibration.calibration_table import parse_table
from c7_inference_ros.engines.calibration.calibrator import implicit_calibration
from c7_inference_ros.engines.calibration.calibrator import ImplicitDataset
from c7_inference_ros.engines.tensorrt_api import load_tensorrt
from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import CalibrationCacheError
from c7_inference_ros.errors import EngineBuildError
from doubles_install import install
import numpy as np
import pytest

onnx = pytest.importorskip('onnx', reason='onnx is not installed; run: make env')
BATCH, COUNT = 2, 5


@pytest.fixture()
def doubles(monkeypatch):
    """Install the double of TensorRT 10.3, with a context that is current."""
    found = install(monkeypatch, '10.3')
    found.gpu.is_initialized = True
    found.gpu.stack.append(found.gpu.retain_primary())
    yield found
    found.assert_clean()
    assert not found.gpu.memory.blocks


@pytest.fixture()
def model(tmp_path):
    """Write y = a * x + b; both are inputs, of two images."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    infos = [helper.make_tensor_value_info(name, kind, [BATCH, 4]) for name in ('x', 'b', 'y')]
    graph = helper.make_graph(
        [helper.make_node('Mul', ['x', 'a'], ['m'], name='mul'),
         helper.make_node('Add', ['m', 'b'], ['y'], name='add')], 'g', infos[:2], infos[2:],
        [onnx.numpy_helper.from_array(np.full([1], 3, np.float32), 'a')])
    path = tmp_path / 'm.onnx'
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid('', 17)]),
              str(path))
    return path


class Copier:
    """Puts batches into the simulated GPU, a buffer for each input."""

    def __init__(self, gpu):
        self.gpu, self.blocks, self.copies, self.frees = gpu, {}, [], 0

    def copy(self, name, array):
        assert array.flags.c_contiguous
        if name not in self.blocks:
            self.blocks[name] = self.gpu.allocate(array.nbytes, f'calibration {name}')
        address = self.blocks[name].address
        self.gpu.memory.view(address, array.nbytes)[:] = array.view(np.uint8).ravel()
        self.copies.append((name, float(array.flat[0])))
        return address

    def free(self):
        self.frees += 1
        for block in self.blocks.values():
            self.gpu.release(block.address)
        self.blocks = {}


def batches(count=COUNT, **others):
    for index in range(count):
        value = np.full((BATCH, 4), index + 1, np.float32)
        yield {'b': value * 10, 'unused': value, 'x': value, **others}


def gate(tmp_path, version='10.3.0', **changes):
    parts = cache_parts(**{
        'dataset': 'd' * 64, 'images': COUNT * BATCH, 'onnx_sha256': 'a' * 64,
        'preprocessing': {}, 'calibrator': 'c', 'batch': BATCH, 'profile': None,
        'version': version, **changes})
    return CalibrationCache(tmp_path / 'm.calib_cache', parts,
                            lambda data: parse_table(data, version, ('x', 'b')))


@contextmanager
def calibrating(doubles, tmp_path, make=batches, count=COUNT, cache=None):
    """Give a calibrator and its copier."""
    copier = Copier(doubles.gpu)
    dataset = ImplicitDataset(make, count, BATCH, ('x', 'b'))
    try:
        with implicit_calibration(doubles.trt, dataset, cache or gate(tmp_path), copier
                                  ) as calibrator:
            yield calibrator, copier
    finally:
        assert not copier.blocks


def build(model, calibrator):
    config = BuildConfig(precision=PrecisionMode.INT8, package='tensorrt')
    return DirectBuilder(load_tensorrt('tensorrt')).build(BuildRequest(
        model, model.name, config, is_strongly_typed=False, calibrator=calibrator))


def forbidden():
    raise AssertionError('a batch was pulled')
    yield {}


def files(tmp_path):
    return {path.name: path.read_bytes() for path in tmp_path.glob('m.calib_cache*')}


def test_every_batch_in_order_and_a_cache_of_them(doubles, tmp_path, model):
    with calibrating(doubles, tmp_path) as (calibrator, copier):
        assert calibrator.get_batch_size() == BATCH
        assert build(model, calibrator).plan
    # In the order that TensorRT asks in, which is that of the network.
    assert copier.copies == [(name, index * factor) for index in range(1, COUNT + 1)
                             for name, factor in (('x', 1.0), ('b', 10.0))]
    assert calibrator.session.pulled == COUNT and copier.frees >= 1
    checked = gate(tmp_path).check()
    assert checked.content.scales['x'] == pytest.approx(COUNT / 127)
    assert checked.content.scales['y'] == pytest.approx(COUNT * 13 / 127)
    doubles.assert_clean()


def test_reused_cache_pulls_no_batch(doubles, tmp_path, model):
    with calibrating(doubles, tmp_path) as (calibrator, _):
        build(model, calibrator)
    before = files(tmp_path)
    with calibrating(doubles, tmp_path, forbidden) as (calibrator, copier):
        assert build(model, calibrator).plan
        assert calibrator.session.is_reused
    assert calibrator.session.pulled == 0 and not copier.copies
    assert files(tmp_path) == before


def test_stale_cache_is_made_again(doubles, tmp_path, model):
    with calibrating(doubles, tmp_path) as (calibrator, _):
        build(model, calibrator)
    other = gate(tmp_path, dataset='e' * 64)
    with calibrating(doubles, tmp_path, lambda: batches(2), 2, other) as (calibrator, _):
        build(model, calibrator)
        assert 'data set changed' in calibrator.session.reason
    assert calibrator.session.pulled == 2
    assert other.check().content.scales['x'] == pytest.approx(2 / 127)


def broken_at(index, error):
    def make():
        for number, batch in enumerate(batches()):
            if number == index:
                raise error
            yield batch
    return make


@pytest.mark.parametrize('make, count, why', [
    (broken_at(0, OSError('the disk')), COUNT, 'batch 1 of 5: OSError: the disk'),
    (broken_at(3, OSError('the disk')), COUNT, 'batch 4 of 5: OSError: the disk'),
    (broken_at(2, CalibrationCacheError('7.jpg cannot be used')), COUNT, '7.jpg cannot be used'),
    (lambda: batches(3), COUNT, 'ended after 3 of 5 batches'),
    (lambda: batches(0), COUNT, 'ended after 0 of 5 batches'),
    (lambda: batches(x=np.ones((BATCH, 4), np.float64)), COUNT, 'x as float64'),
    (lambda: batches(x=np.ones((BATCH - 1, 4), np.float32)), COUNT,
     r'float32 \[1, 4\], expected 2'),
    (lambda: ({'x': batch['x']} for batch in batches()), COUNT, "asked for the input 'b'")],
    ids=['first', 'fourth', 'image', 'short', 'none', 'type', 'size', 'input'])
def test_what_tensorrt_swallows_fails_the_build(doubles, tmp_path, model, make, count, why):
    gate(tmp_path, dataset='0' * 64).store(table(b'old'))
    before = files(tmp_path)
    with pytest.raises(CalibrationCacheError, match=why):
        with calibrating(doubles, tmp_path, make, count) as (calibrator, _):
            build(model, calibrator)
    # TensorRT wrote what it made of the batches before; nobody took it.
    assert files(tmp_path) == before


def table(name):
    scale = struct.pack('>f', 1.0).hex().encode()
    return b'TRT-100300-EntropyCalibration2\n' + b''.join(
        one + b': ' + scale + b'\n' for one in (b'x', b'b', name))


def test_empty_data_set(doubles, tmp_path):
    with pytest.raises(CalibrationCacheError, match='data set is empty'):
        with calibrating(doubles, tmp_path, forbidden, 0):
            pass
    assert not files(tmp_path)


def test_damaged_cache_ends_it_before_anything(doubles, tmp_path):
    gate(tmp_path).store(table(b'y'))
    (tmp_path / 'm.calib_cache').write_bytes(table(b'z'))
    before = files(tmp_path)
    with pytest.raises(CalibrationCacheError, match='is damaged'):
        with calibrating(doubles, tmp_path, forbidden):
            pass
    assert files(tmp_path) == before


def test_a_table_that_tensorrt_refuses_fails_the_build(doubles, tmp_path, model):
    """A table of another version behind the gate: TensorRT would calibrate again, silently."""
    cache = CalibrationCache(tmp_path / 'm.calib_cache', gate(tmp_path).parts,
                             lambda data: parse_table(data, '10.4.0', ('x', 'b')))
    cache.store(table(b'y').replace(b'100300', b'100400'))
    with pytest.raises(CalibrationCacheError, match='did not accept the table'):
        with calibrating(doubles, tmp_path, forbidden, cache=cache) as (calibrator, _):
            build(model, calibrator)


def test_a_table_that_is_malformed_is_not_stored(doubles, tmp_path):
    with pytest.raises(CalibrationCacheError, match='malformed'):
        with calibrating(doubles, tmp_path) as (calibrator, _):
            while calibrator.get_batch(['x', 'b']):
                pass
            calibrator.write_calibration_cache(memoryview(b'TRT-100300-EntropyCalibration2\n'))
    assert not files(tmp_path)


def test_the_builders_own_error_stays(doubles, tmp_path):
    with pytest.raises(EngineBuildError, match='no such file'):
        with calibrating(doubles, tmp_path):
            raise EngineBuildError('no such file')


def test_a_builder_that_never_asks_is_found_out(doubles, tmp_path, model):
    with calibrating(doubles, tmp_path) as (calibrator, _):
        build(model, calibrator)
    with pytest.raises(CalibrationCacheError, match='never asked for the calibration cache'):
        with calibrating(doubles, tmp_path, forbidden):
            pass


def test_the_table_is_copied_during_the_call(doubles, tmp_path):
    memory = bytearray(table(b'y'))
    with calibrating(doubles, tmp_path) as (calibrator, _):
        while calibrator.get_batch(['x', 'b']):
            pass
        calibrator.write_calibration_cache(memoryview(memory))
        memory[:] = bytes(len(memory))
    assert gate(tmp_path).check().data == table(b'y')


def test_an_interrupt_is_not_swallowed(doubles, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with calibrating(doubles, tmp_path, broken_at(1, KeyboardInterrupt())) as (calibrator, _):
            while calibrator.get_batch(['x', 'b']):
                pass
