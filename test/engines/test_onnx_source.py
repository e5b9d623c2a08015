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

"""The hash of a model covers its weights, wherever they lie."""

import hashlib

from c7_inference_ros.engines.onnx_source import read_onnx_source
from c7_inference_ros.errors import EngineDeserializeError
import engine_models
import pytest


def test_a_model_in_one_file_has_the_hash_of_the_file(tmp_path):
    path = engine_models.small_model(tmp_path / 'm.onnx', metadata={'names': '["car"]', 'é': '✓'})
    source = read_onnx_source(path)
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert source.size_bytes == path.stat().st_size and source.external == ()
    assert dict(source.metadata) == {'names': '["car"]', 'é': '✓'}
    assert [one.name for one in source.inputs] == ['x'] and source.opset == 17
    assert [one.name for one in source.outputs] == ['y']


def test_weights_in_another_file_count(tmp_path):
    path = engine_models.small_model(tmp_path / 'm.onnx', is_external=True)
    before = read_onnx_source(path)
    assert before.external == ('m.data',)
    assert before.size_bytes == path.stat().st_size + (tmp_path / 'm.data').stat().st_size
    # What the model is called is no part of what it is.
    assert read_onnx_source(path.rename(tmp_path / 'n.onnx')).sha256 == before.sha256
    data = bytearray((tmp_path / 'm.data').read_bytes())
    data[0] ^= 1
    (tmp_path / 'm.data').write_bytes(data)
    assert read_onnx_source(tmp_path / 'n.onnx').sha256 != before.sha256


def test_missing_and_damaged_models_are_named(tmp_path):
    path = engine_models.small_model(tmp_path / 'm.onnx', is_external=True)
    (tmp_path / 'm.data').unlink()
    with pytest.raises(EngineDeserializeError, match='m.data, which does not exist; copy it'):
        read_onnx_source(path)
    with pytest.raises(EngineDeserializeError, match='no.onnx does not exist'):
        read_onnx_source(tmp_path / 'no.onnx')
    for data, said in ((b'hello', 'is a text file'), (b'', 'is empty'),
                       (b'ftrt' + bytes(100), 'is a TensorRT engine'),
                       (path.read_bytes()[:-10], 'is truncated')):
        path.write_bytes(data)
        with pytest.raises(EngineDeserializeError, match=said):
            read_onnx_source(path)
