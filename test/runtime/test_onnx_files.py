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

"""Damaged, foreign and unsupported model files: one distinct, actionable line each."""

import random

from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.errors import C7Error
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.model_files import reading
from c7_inference_ros.model_files.onnx_file import scan_onnx
from c7_inference_ros.runtime.factory import build_inference_runtime
from c7_inference_ros.runtime.ort.model import read_onnx_model
from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from runtime_models import node
from runtime_models import save
from runtime_models import scale_model
from runtime_models import shared_model


@pytest.fixture
def runtime(budget):
    pytest.importorskip('onnxruntime')
    return build_inference_runtime('onnx_trt_ep', budget=budget)


def refusal(runtime, path, error=EngineDeserializeError):
    """Load a model that must be refused; return the message without its path."""
    with pytest.raises(error) as caught:
        runtime.deserialize_engine(EngineCacheEntry(path))
    text = str(caught.value)
    assert '\n' not in text and str(path) in text
    assert len(text) < 600
    return text.replace(str(path), 'MODEL')


def test_specs_of_a_model_are_what_the_onnx_package_reads(tmp_path):
    path = scale_model(tmp_path / 'm.onnx', batch='batch')
    model = read_onnx_model(EngineCacheEntry(path))
    assert [(spec.name, spec.dtype, spec.shape, spec.max_shape) for spec in model.inputs] == [
        ('x', np.float32, (-1, 3, 4, 4), (1, 3, 4, 4))]
    assert [(spec.name, spec.shape) for spec in model.outputs] == [
        ('y', (-1, 3, 4, 4)), ('total', (-1, 4, 4))]
    assert model.io_bytes == 4 * (48 + 48 + 16)
    assert model.weight_bytes == path.stat().st_size and model.external_bytes == 0


@pytest.mark.parametrize('name', ['yolox_nano.onnx', 'deimv2_hgnetv2_atto_coco.onnx',
                                  'pedestrian_ssdlite_tfod_nms.onnx'])
def test_specs_of_real_models_are_those_of_onnxruntime(name):
    onnxruntime = pytest.importorskip('onnxruntime')
    path = shared_model(name)
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    scanned = scan_onnx(path, path.read_bytes())
    types = {'tensor(float)': 'float32', 'tensor(uint8)': 'uint8', 'tensor(int64)': 'int64'}
    for ours, theirs in ((scanned.inputs, session.get_inputs()),
                         (scanned.outputs, session.get_outputs())):
        assert [(spec.name, str(spec.dtype), spec.shape) for spec in ours] == [
            (one.name, types[one.type],
             tuple(size if isinstance(size, int) else -1 for size in one.shape))
            for one in theirs]


def test_weights_that_are_listed_as_inputs_are_no_inputs(tmp_path, runtime):
    path = save(tmp_path / 'old.onnx', [node('Add', ['x', 'w'], ['y'])],
                {'x': ('FLOAT', [2]), 'w': ('FLOAT', [2])}, {'y': ('FLOAT', [2])},
                weights={'w': np.ones(2, np.float32)}, ir=3)
    handle = runtime.deserialize_engine(EngineCacheEntry(path))
    assert [spec.name for spec in handle.inputs] == ['x']
    assert runtime.infer(handle, {'x': np.zeros(2, np.float32)})['y'].tolist() == [1, 1]


def test_every_truncation_is_recognised(tmp_path):
    data = scale_model(tmp_path / 'm.onnx').read_bytes()
    path = tmp_path / 'cut.onnx'
    for length in range(1, len(data)):
        with pytest.raises(EngineDeserializeError) as caught:
            scan_onnx(path, data[:length])
        assert 'truncated' in str(caught.value) or length < 3
    scan_onnx(path, data)


def test_truncated_real_models(tmp_path, runtime):
    data = shared_model('yolox_nano.onnx').read_bytes()
    path = tmp_path / 'cut.onnx'
    for length in (10, 100, 4096, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        assert 'truncated' in refusal(runtime, path)
    # What a power cut leaves: the right length, zeros at the end.
    path.write_bytes(data[:len(data) // 2].ljust(len(data), b'\0'))
    assert 'damaged' in refusal(runtime, path)
    path.write_bytes(bytes(len(data)))
    assert 'begins with the bytes 00 00' in refusal(runtime, path)


@pytest.mark.parametrize(('head', 'kind'), [
    (b'\x89PNG\r\n\x1a\n', 'a PNG image'), (b'\xff\xd8\xff\xe0', 'a JPEG image'),
    (b'PK\x03\x04', 'PyTorch checkpoint'), (b'\x1c\0\0\0TFL3', 'a TensorFlow Lite model'),
    (b'version https://git-lfs.github.com/spec/v1\n', 'run "git lfs pull"'),
    (b'ftrt', 'a TensorRT engine'), (b'<html>\n<body>', "a text file beginning with '<html>'")])
def test_files_that_are_something_else_are_named(tmp_path, runtime, head, kind):
    path = tmp_path / 'model.onnx'
    path.write_bytes(head + (b'' if head[:1] in (b'v', b'<') else bytes(range(256))))
    assert kind in refusal(runtime, path)


@given(st.binary(min_size=1, max_size=200))
@example(b'\x08')
@example(b'\x08\x08')
@example(b'\x08\x08:\x00')
@example(b'\x08\x08:\x02\x0a\x00B\x00')
def test_random_bytes_are_refused_and_nothing_else(data):
    with pytest.raises(EngineDeserializeError):
        scan_onnx(reading.Path('random.onnx'), data)


def test_random_damage_gives_an_error_of_ours_or_a_model(tmp_path, runtime, budget):
    data = bytearray(scale_model(tmp_path / 'm.onnx').read_bytes())
    path = tmp_path / 'damaged.onnx'
    source = random.Random(7)
    refused = 0
    for _ in range(200):
        damaged = bytearray(data)
        for _ in range(source.choice((1, 1, 4))):
            damaged[source.randrange(len(data))] ^= 1 << source.randrange(8)
        path.write_bytes(damaged)
        try:
            runtime.release_engine(runtime.deserialize_engine(EngineCacheEntry(path)))
        except C7Error as error:
            refused += 1
            assert '\n' not in str(error)
    assert refused > 50
    assert budget.totals()['host'].predicted_bytes == 0


def test_unsupported_models_have_distinct_remedies(tmp_path, runtime):
    x, y = {'x': ('FLOAT', [1, 4])}, {'y': ('FLOAT', [1, 4])}
    one = [node('Relu', ['x'], ['y'])]
    found = {
        'opset': refusal(runtime, save(tmp_path / 'a.onnx', one, x, y, opset=99)),
        'ir': refusal(runtime, save(tmp_path / 'b.onnx', one, x, y, ir=99)),
        'operator': refusal(runtime, save(
            tmp_path / 'c.onnx', [node('NoSuchOp', ['x'], ['y'])], x, y)),
        'domain': refusal(runtime, save(
            tmp_path / 'd.onnx', [node('Custom', ['x'], ['y'], domain='com.maker')], x, y,
            domains=['com.maker'])),
        'kernel': refusal(runtime, save(
            tmp_path / 'e.onnx', [node('LpPool', ['x'], ['y'], kernel_shape=[1, 1])],
            {'x': ('DOUBLE', [1, 1, 4, 4])}, {'y': ('DOUBLE', [1, 1, 4, 4])})),
        'graph': refusal(runtime, save(
            tmp_path / 'f.onnx', [node('Relu', ['nowhere'], ['y'])], x, y)),
    }
    assert 'uses ONNX opset 99, ONNX Runtime' in found['opset']
    assert 'reads up to' in found['opset'] and 'older opset' in found['opset']
    assert 'is in ONNX IR version 99' in found['ir']
    assert 'uses the operator NoSuchOp in opset 17' in found['operator']
    assert 'uses the operator com.maker:Custom, which' in found['domain']
    assert 'uses the operator LpPool(11) with an element type' in found['kernel']
    assert 'nowhere' in found['graph'] and 'onnx.checker' in found['graph']
    assert len(set(found.values())) == len(found)


def test_metadata_that_is_no_text(tmp_path, runtime, budget):
    path = scale_model(tmp_path / 'm.onnx', metadata={'names': 'person'})
    path.write_bytes(path.read_bytes().replace(b'person', b'per\xffon'))
    assert 'utf-8' in refusal(runtime, path)
    assert budget.totals()['host'].predicted_bytes == 0


def test_types_that_arrays_cannot_hold(tmp_path, runtime):
    for kind, name in (('STRING', 'string'), ('BFLOAT16', 'bfloat16')):
        path = save(tmp_path / f'{kind}.onnx', [node('Identity', ['x'], ['y'])],
                    {'x': (kind, [1])}, {'y': (kind, [1])})
        assert f'x is {name}, expected a tensor of float32' in refusal(
            runtime, path, EngineSchemaMismatchError)


def test_an_output_that_is_not_as_declared(tmp_path, runtime, budget):
    path = save(tmp_path / 'lies.onnx', [node('Unsqueeze', ['x', 'axis'], ['y'])],
                {'x': ('FLOAT', [1, 4])}, {'y': ('FLOAT', [1, 8])},
                weights={'axis': np.array([0], np.int64)})
    assert 'declares an output as [1, 8], but an inference gives [1, 1, 4]' in refusal(
        runtime, path, EngineSchemaMismatchError)
    path = save(tmp_path / 'open.onnx', [node('Unsqueeze', ['x', 'axis'], ['y'])],
                {'x': ('FLOAT', ['n', 4]), 'axis': ('INT64', [1])}, {'y': ('FLOAT', ['n', 4])})
    assert 'declares output y as [-1, 4], but an inference gives [1, 1, 4]' in refusal(
        runtime, path, EngineSchemaMismatchError)
    assert budget.totals()['host'].predicted_bytes == 0


class TestExternalWeights:
    """Models whose weights lie in a file beside them."""

    def make(self, folder):
        folder.mkdir(exist_ok=True)
        return scale_model(folder / 'm.onnx', is_external=True)

    def test_runs_from_any_working_directory(self, tmp_path, runtime, monkeypatch):
        path = self.make(tmp_path / 'models')
        monkeypatch.chdir(tmp_path)
        for place in (path, path.relative_to(tmp_path)):
            handle = runtime.deserialize_engine(EngineCacheEntry(place))
            feed = {'x': np.ones((1, 3, 4, 4), np.float32)}
            assert (runtime.infer(handle, feed)['total'] == 6).all()
            size = path.stat().st_size + (path.parent / 'm.data').stat().st_size
            assert handle.memory.items[0].predicted_bytes == size

    def test_missing(self, tmp_path, runtime):
        path = self.make(tmp_path / 'models')
        (path.parent / 'm.data').unlink()
        text = refusal(runtime, path)
        assert 'keeps weights in' in text and 'm.data, which does not exist; copy it' in text

    def test_truncated(self, tmp_path, runtime):
        path = self.make(tmp_path / 'models')
        data = (path.parent / 'm.data').read_bytes()
        (path.parent / 'm.data').write_bytes(data[:-1])
        text = refusal(runtime, path)
        assert f'found {len(data) - 1} bytes, expected at least {len(data)}' in text

    def test_outside_the_folder(self, tmp_path, runtime):
        path = self.make(tmp_path / 'models')
        path.write_bytes(path.read_bytes().replace(b'm.data', b'../m.d'))
        assert "keeps weights in '../m.d', expected a file in its own folder" in refusal(
            runtime, path)

    def test_a_hash_would_not_cover_them(self, tmp_path, runtime):
        from c7_inference_ros.engines.types import BuildConfig
        path = self.make(tmp_path / 'models')
        assert runtime.compile_engine(path, BuildConfig()).sha256 == ''
        digest = reading.check_sha256(path, path.read_bytes(), '')
        with pytest.raises(EngineDeserializeError, match='m.data, which its SHA-256 does not'):
            runtime.deserialize_engine(EngineCacheEntry(path, sha256=digest))


def test_a_file_too_large_for_onnx_is_not_read(tmp_path, runtime, monkeypatch):
    path = tmp_path / 'huge.onnx'
    with path.open('wb') as file:
        file.truncate(1 << 31)  # sparse
    monkeypatch.setattr('c7_inference_ros.runtime.ort.model.read_bytes',
                        lambda *args: pytest.fail('the file was read'))
    assert 'at most 2147483647' in refusal(runtime, path)


def test_a_file_past_the_budget_is_not_read(tmp_path, monkeypatch):
    from c7_inference_ros.errors import OutOfMemoryError
    from c7_inference_ros.runtime.memory_budget import MemoryBudget
    pytest.importorskip('onnxruntime')
    path = tmp_path / 'large.onnx'
    with path.open('wb') as file:
        file.truncate(1 << 30)
    runtime = build_inference_runtime('onnx_trt_ep', budget=MemoryBudget(0, 1 << 20))
    monkeypatch.setattr('c7_inference_ros.runtime.ort.model.read_bytes',
                        lambda *args: pytest.fail('the file was read'))
    with pytest.raises(OutOfMemoryError, match='large needs 1024.0 MiB of host memory'):
        runtime.deserialize_engine(EngineCacheEntry(path))


def test_a_missing_file_names_its_neighbours(tmp_path, runtime):
    scale_model(tmp_path / 'there.onnx')
    text = refusal(runtime, tmp_path / 'not_there.onnx')
    assert 'its folder has there.onnx' in text
