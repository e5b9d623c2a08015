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

"""One manifest has one sequence of bytes, and whatever was edited is refused."""

from dataclasses import fields
from dataclasses import replace
import hashlib
import json

from c7_inference_ros.engines.trust.manifest import manifest_bytes
from c7_inference_ros.engines.trust.manifest import manifest_path
from c7_inference_ros.engines.trust.manifest import parse_manifest
from c7_inference_ros.engines.trust.manifest import read_manifest
from c7_inference_ros.engines.types import EngineManifest
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import EngineHashMismatchError
from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.errors import InferenceRuntimeError
from c7_inference_ros.model_files.tensor_spec import TensorSpec
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
import trust_files as files

FULL = files.manifest_for(
    engine_sha256=hashlib.sha256(b'plan').hexdigest(), engine_bytes=4, model='yolox_nano')

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2 ** 70, 2 ** 70) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8)


def document(**changes):
    """Return the document of the full manifest with changes, and its own hash made to fit."""
    values = json.loads(manifest_bytes(FULL))
    for path, value in changes.items():
        *parents, key = path.split('__')
        place = values
        for parent in parents:
            place = place[int(parent) if parent.isdigit() else parent]
        key = int(key) if key.isdigit() else key
        if value is KeyError:
            del place[key]
        else:
            place[key] = value
    values.pop('content_sha256', None)

    def dump():
        return json.dumps(values, sort_keys=True, indent=1).encode() + b'\n'
    values['content_sha256'] = hashlib.sha256(dump()).hexdigest()
    return dump()


def test_the_round_trip_is_exact():
    data = manifest_bytes(FULL)
    assert parse_manifest(data, 'x.json') == FULL
    assert manifest_bytes(parse_manifest(data, 'x.json')) == data
    for field in fields(EngineManifest):
        assert getattr(FULL, field.name) not in ('', 0, (), {}, None), (
            f'{field.name} is empty in the example, so that nothing shows that it is kept')


def test_the_smallest_manifest():
    small = EngineManifest('0' * 64, 1, '1' * 64, '', HostTuple('87', 'x86', 'tensorrt', '10.3'),
                           PrecisionMode.FP32, (), ())
    assert parse_manifest(manifest_bytes(small), 'x.json') == small


@given(settings=st.dictionaries(st.text(), json_values, max_size=3),
       metadata=st.dictionaries(st.text(), st.text(), max_size=3),
       warnings=st.lists(st.text(), max_size=3).map(tuple),
       seconds=st.floats(0, 1e9, allow_nan=False), shape=st.lists(st.integers(-1, 99)).map(tuple),
       contexts=st.lists(st.none() | st.integers(0, 2 ** 60), max_size=3).map(tuple))
def test_whatever_is_written_is_read_back(settings, metadata, warnings, seconds, shape, contexts):
    full = replace(FULL, settings=settings, processing=settings, metadata=metadata,
                   warnings=warnings, build_seconds=seconds, context_bytes=contexts,
                   inputs=(TensorSpec('x', np.dtype('float16'), shape, shape),))
    data = manifest_bytes(full)
    assert parse_manifest(data, 'x.json') == full
    assert manifest_bytes(parse_manifest(data, 'x.json')) == data


def test_the_file_is_for_people_too(tmp_path):
    path = manifest_path(tmp_path / 'a.engine')
    assert path.name == 'a.engine.json'
    path.write_bytes(manifest_bytes(FULL))
    assert read_manifest(path) == FULL
    values = json.loads(path.read_text(encoding='ascii'))
    assert values['schema_version'] == 1
    assert values['precision'] == 'fp16'
    assert values['host']['platform'] == '36.4.3'
    assert values['inputs'][0] == {'name': 'images', 'dtype': 'uint8', 'shape': [-1, 3, -1, 416],
                                   'max_shape': [4, 3, 416, 416]}
    assert values['profiles'][0]['shapes']['images']['opt'] == [2, 3, 416, 416]


def test_values_of_numpy_and_tuples_become_those_of_json():
    full = replace(FULL, settings={'a': np.float64(0.5), 'b': np.int64(3), 'c': (1, (2,)),
                                   'd': np.bool_(True), 'e': PrecisionMode.INT8})
    assert parse_manifest(manifest_bytes(full), 'x').settings == {
        'a': 0.5, 'b': 3, 'c': [1, [2]], 'd': True, 'e': 'int8'}


@pytest.mark.parametrize('changes, key', [
    ({'settings': {'a': object()}}, 'settings.a'), ({'settings': {'a': b'bytes'}}, 'settings.a'),
    ({'processing': {'a': [float('nan')]}}, 'processing.a'), ({'settings': {1: 2}}, 'settings'),
    ({'calibration': {'a': {'b': {1}}}}, 'calibration.a.b'), ({'engine_sha256': ''}, 'sha256'),
    ({'engine_bytes': 0}, 'engine_bytes'), ({'io_bytes': -1}, 'io_bytes'),
    ({'hardware_compatibility': 'all'}, 'hardware_compatibility'),
    ({'build_seconds': float('inf')}, 'build_seconds'),
    ({'inputs': (TensorSpec('x', np.dtype('complex64'), (1,)),)}, r'inputs\[0\].dtype')])
def test_what_the_file_could_not_give_back_is_not_written(changes, key):
    with pytest.raises((EngineSchemaMismatchError, ValueError), match=key):
        manifest_bytes(replace(FULL, **changes))


@pytest.mark.parametrize('path, value, expected', [
    ('schema_version', 2, 'schema_version is 2, expected 1'),
    ('schema_version', 0, 'schema_version is 0'), ('schema_version', True, 'whole number'),
    ('schema_version', '1', "schema_version is '1'"), ('schema_version', KeyError, 'missing'),
    ('surprise', 1, 'surprise is unknown'), ('host__gpu', 1, 'host.gpu is unknown'),
    ('engine_sha256', KeyError, 'engine_sha256 is missing'),
    ('engine_sha256', 'abc', "engine_sha256 is 'abc', expected 64 lowercase hex"),
    ('engine_sha256', 'A' * 64, 'expected 64 lowercase hex'),
    ('engine_bytes', -1, 'engine_bytes is -1, expected a whole number from 1'),
    ('engine_bytes', 4.0, 'engine_bytes is 4.0'), ('engine_bytes', True, 'engine_bytes is True'),
    ('onnx_sha256', None, 'onnx_sha256 is None'), ('build_key', 5, 'build_key is 5'),
    ('host', [], r'host is \[\], expected an object'), ('host__sm', 87, 'host.sm is 87'),
    ('host__version', KeyError, 'host.version is missing'),
    ('precision', 'fp8', "precision is 'fp8', expected one of fp32, fp16, int8, mixed"),
    ('inputs', {}, r'inputs is \{\}, expected a list'), ('inputs__0', 1, r'inputs\[0\] is 1'),
    ('inputs__0__dtype', 'half', r"inputs\[0\].dtype is 'half'"),
    ('inputs__0__shape__0', -2, r'inputs\[0\].shape\[0\] is -2'),
    ('inputs__0__shape__0', None, r'inputs\[0\].shape\[0\] is None'),
    ('outputs__1__name', None, r'outputs\[1\].name is None'),
    ('profiles__0__shapes__images__min', 3, r'profiles\[0\].shapes.images.min is 3'),
    ('profiles__0__shapes__images__max', KeyError, 'max is missing'),
    ('tensor_types__float16', 1.5, 'tensor_types.float16 is 1.5'),
    ('weights_bytes', 'many', "weights_bytes is 'many'"),
    ('context_bytes__0', -1, r'context_bytes\[0\] is -1'),
    ('hardware_compatibility', 'all', "hardware_compatibility is 'all'"),
    ('settings', None, 'settings is None'), ('metadata__author', 1, 'metadata.author is 1'),
    ('calibration', 'none', "calibration is 'none'"), ('accuracy', 1, 'accuracy is 1'),
    ('accuracy__limit', 1, 'accuracy.limit is 1, expected a number with a decimal point'),
    ('accuracy__dataset_sha256', '', "accuracy.dataset_sha256 is ''"),
    ('warnings__0', 0, r'warnings\[0\] is 0'), ('build_seconds', '1', "build_seconds is '1'"),
    ('built_at', None, 'built_at is None'), ('model', 7, 'model is 7'),
    ('io_bytes', 1 << 63, f'io_bytes is {1 << 63}, expected a whole number from 0 to'),
    ('inputs__0__max_shape__0', 10 ** 400, r'inputs\[0\].max_shape\[0\] is 1000'),
    ('weights_bytes', 10 ** 400, 'weights_bytes is 1000'),
    ('processing__labels', 5, 'processing.labels is 5, expected a list'),
    ('processing__labels', {'0': 'car'}, 'processing.labels is .*, expected a list'),
    ('processing__labels__0', 1, r'processing.labels\[0\] is 1, expected text'),
    ('processing__decoder', 1, 'processing.decoder is 1, expected text'),
    ('processing__preprocess', [], r'processing.preprocess is \[\], expected an object'),
])
def test_other_values_are_refused_by_key(path, value, expected):
    with pytest.raises(EngineSchemaMismatchError, match=expected) as caught:
        parse_manifest(document(**{path: value}), 'x.json')
    message = str(caught.value)
    assert message.startswith('x.json: ')
    assert 'expected' in message
    assert '\n' not in message


@pytest.mark.parametrize('data, words', [
    (b'', 'no JSON'), (b'{', 'no JSON'), (b'[]', 'holds a list'), (b'null', 'NoneType'),
    (b'"x"', 'holds a str'), (b'{"a": 1, "a": 1}', "key 'a' is there twice"),
    (b'{"a": NaN}', 'NaN is no number'), (b'{"a": -Infinity}', '-Infinity is no number'),
    (b'[' * 100_000, 'no JSON'), ('{"ä": 1}'.encode(), 'no JSON'), (b'\xff\xfe', 'no JSON'),
    (b'{"schema_version": 1' + b' ' * (16 << 20) + b'}', 'has more than')])
def test_bytes_that_are_no_manifest(data, words):
    with pytest.raises(EngineSchemaMismatchError, match=words) as caught:
        parse_manifest(data, 'x.json')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('change', [
    (b'"images": 17', b'"images": 18'), (b'"pad": 114.5', b'"pad": 214.5'),
    (b'"limit": 0.03', b'"limit": 0.9'), (b'"person"', b'"parson"'), (b'"first"', b'"worst"')])
def test_an_edited_manifest_is_refused_though_every_value_is_fine(change):
    data = manifest_bytes(FULL)
    assert data.count(change[0]) >= 1
    with pytest.raises(EngineHashMismatchError, match='edited after it was written') as caught:
        parse_manifest(data.replace(*change, 1), 'x.json')
    assert caught.value.stage == 'manifest'


@pytest.mark.parametrize('change', [
    lambda data: data[:-1], lambda data: data + b'\n', lambda data: data.replace(b'\n', b'\r\n'),
    lambda data: data.replace(b'": ', b'":  ', 1), lambda data: b' ' + data,
    lambda data: data.replace(b'1.25', b'1.250'),
    lambda data: data.replace(b'\\u00eb', b'\\u00EB'),
    lambda data: json.dumps(json.loads(data)).encode()])
def test_bytes_with_the_same_meaning_are_refused(change):
    data = manifest_bytes(FULL)
    changed = change(data)
    assert json.loads(changed) == json.loads(data)
    with pytest.raises(EngineHashMismatchError, match='not in canonical form'):
        parse_manifest(changed, 'x.json')


def test_every_flipped_bit_is_refused():
    data = bytearray(manifest_bytes(FULL))
    for bit in range(len(data) * 8):
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InferenceRuntimeError):
            parse_manifest(bytes(data), 'x.json')
        data[bit // 8] ^= 1 << bit % 8
    assert parse_manifest(bytes(data), 'x.json') == FULL


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(EngineSchemaMismatchError, match='cannot be read: No such file'):
        read_manifest(tmp_path / 'x.json')
