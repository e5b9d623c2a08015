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

"""Files given to pytorch_fp16, told apart without PyTorch."""

import json
import os
from pathlib import Path
import pickle
import zipfile

from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import EngineHashMismatchError
from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.runtime.pytorch.errors import is_out_of_memory
from c7_inference_ros.runtime.pytorch.errors import last_line
from c7_inference_ros.runtime.pytorch.model import EXPORTED
from c7_inference_ros.runtime.pytorch.model import read_torch_model
from c7_inference_ros.runtime.pytorch.model import TORCHSCRIPT
import numpy as np
import pytest

SCRIPT = {'m/data.pkl': b'', 'm/constants.pkl': b'', 'm/code/__torch__.py': b'', 'm/version': b'3'}
PROGRAM = {'m/models/model.json': b'{}', 'm/archive_format': b'pt2',
           'm/data/weights/model_weights_config.json': b'{"config": {}}'}
CHECKPOINT = {'m/data.pkl': b'', 'm/data/0': b'', 'm/version': b'3'}
TENSORS = {'inputs': [{'name': 'x', 'dtype': 'float32', 'shape': [1, 3, -1, 4]}],
           'outputs': [{'name': 'y', 'dtype': 'int64', 'shape': [1]}]}


def save(path, members):
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def describe(path, content):
    text = content if isinstance(content, str) else json.dumps(content)
    path.with_name(f'{path.name}.json').write_text(text, encoding='utf-8')


def read(path, **entry):
    return read_torch_model(EngineCacheEntry(path, **entry))


def test_a_torchscript_with_its_description(tmp_path):
    path = save(tmp_path / 'm.ts', SCRIPT)
    describe(path, {**TENSORS, 'metadata': {'names': "{0: 'person'}"}})
    model = read(path)
    assert model.kind == TORCHSCRIPT and model.data == path.read_bytes()
    (x,), (y,) = model.inputs, model.outputs
    assert (x.name, x.dtype, x.shape) == ('x', np.float32, (1, 3, -1, 4))
    assert (y.name, y.dtype, y.shape) == ('y', np.int64, (1,))
    assert model.metadata == {'names': "{0: 'person'}"}
    assert read(path, sha256=model.sha256).sha256 == model.sha256
    with pytest.raises(EngineHashMismatchError, match='expected 0000'):
        read(path, sha256='0' * 64)


def test_a_torchscript_without_one_says_what_to_write(tmp_path):
    path = save(tmp_path / 'm.ts', SCRIPT)
    with pytest.raises(EngineSchemaMismatchError) as caught:
        read(path)
    text = str(caught.value)
    assert f'{path}.json, which would, does not exist' in text and '\n' not in text
    # The example in the message is one that is accepted.
    describe(path, text[text.index('{"inputs"'):])
    assert [spec.name for spec in read(path).inputs] == ['images']


def test_the_description_on_the_page_is_accepted(tmp_path):
    page = (Path(__file__).resolve().parents[2] / 'docs' / 'pytorch_models.md').read_text(
        encoding='utf-8')
    path = save(tmp_path / 'm.ts', SCRIPT)
    describe(path, page.partition('```json')[2].partition('```')[0])
    model = read(path)
    assert model.inputs[0].shape == (1, 3, 640, 640) and 'person' in model.metadata['names']


def test_an_exported_program_needs_none(tmp_path):
    model = read(save(tmp_path / 'm.pt2', PROGRAM))
    assert (model.kind, model.inputs, model.outputs) == (EXPORTED, None, None)


@pytest.mark.parametrize(('members', 'words'), [
    (CHECKPOINT, 'is a PyTorch checkpoint: a Python pickle.*never loaded here; export the model'),
    ({'readme.txt': b'hello'}, 'is a ZIP archive with readme.txt in it, expected a TorchScript'),
    ({}, 'a file that begins with the bytes 50 4b 05 06'),
    ({**PROGRAM, 'm/data/constants/custom_obj_0': b''}, 'holds an object that is no tensor'),
    ({**PROGRAM, 'm/data/constants/opaque_obj_0': b''}, 'holds an object that is no tensor'),
    ({**PROGRAM, 'm/data/aotinductor/model/model.so': b''}, 'holds compiled code'),
    ({**PROGRAM, 'm/data/weights/model_weights_config.json':
      b'{"config": {"w": {"path_name": "weight_0", "use_pickle": true}}}'},
     'holds weights as Python pickles'),
    ({**PROGRAM, 'm/data/weights/model_weights_config.json': b'nothing'},
     'holds weights as Python pickles')])
def test_what_is_refused_by_what_is_in_it(tmp_path, members, words):
    path = save(tmp_path / 'm.pt', members)
    describe(path, TENSORS)
    with pytest.raises(EngineDeserializeError, match=words) as caught:
        read(path)
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)


def test_a_pickle_without_an_archive(tmp_path):
    path = tmp_path / 'm.pt'
    path.write_bytes(pickle.dumps({'weights': [1.0]}, protocol=2))
    with pytest.raises(EngineDeserializeError, match='a Python pickle.*expected a TorchScript'):
        read(path)


def test_two_files_of_one_name(tmp_path):
    path = save(tmp_path / 'm.pt2', PROGRAM)
    with pytest.warns(UserWarning, match='Duplicate'), zipfile.ZipFile(path, 'a') as archive:
        archive.writestr('m/models/model.json', b'{"other": 1}')
    with pytest.raises(EngineDeserializeError, match='two files of one name'):
        read(path)


def test_every_truncation_and_a_flipped_byte_are_refused(tmp_path):
    path = save(tmp_path / 'm.ts', {**SCRIPT, 'm/data/0': os.urandom(500)})
    describe(path, TENSORS)
    whole = path.read_bytes()
    for size in range(1, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(EngineDeserializeError):
            read(path)
    broken = bytearray(whole)
    broken[whole.index(b'm/data/0') + 100] ^= 1
    path.write_bytes(broken)
    with pytest.raises(EngineDeserializeError, match='checksum of m/data/0 in it is wrong'):
        read(path)


@pytest.mark.parametrize(('content', 'words'), [
    ('{', 'is no JSON'), ('[1]', 'holds a list'),
    ({**TENSORS, 'input': []}, 'has input, expected inputs, outputs and metadata only'),
    ({'inputs': TENSORS['inputs']}, 'outputs is None, expected a list'),
    ({**TENSORS, 'inputs': []}, r'inputs is \[\], expected a list'),
    ({**TENSORS, 'inputs': [{'name': 'x'}]}, r'inputs\[0\] is .*expected name, dtype and shape'),
    ({**TENSORS, 'inputs': [{'name': 'x', 'dtype': 'f4', 'shape': [1]}]},
     r"inputs\[0\].dtype is 'f4', expected one of float32"),
    ({**TENSORS, 'outputs': [{'name': 'x', 'dtype': 'bool', 'shape': [0]}]},
     r'outputs\[0\].shape is \[0\], expected a list of sizes'),
    ({**TENSORS, 'outputs': TENSORS['outputs'] * 2}, 'outputs has y, y; give every tensor'),
    ({**TENSORS, 'metadata': {'names': 1}}, 'metadata is .*expected texts by name')])
def test_a_wrong_description_says_where(tmp_path, content, words):
    path = save(tmp_path / 'm.ts', SCRIPT)
    describe(path, content)
    with pytest.raises(EngineSchemaMismatchError, match=words) as caught:
        read(path)
    assert f'{path}.json' in str(caught.value) and '\n' not in str(caught.value)


def test_a_description_that_is_no_file(tmp_path):
    path = save(tmp_path / 'm.ts', SCRIPT)
    os.mkfifo(f'{path}.json')
    with pytest.raises(EngineDeserializeError, match='m.ts.json is a device, pipe or socket'):
        read(path)


def test_the_size_is_admitted_before_the_file_is_read(tmp_path):
    path = save(tmp_path / 'm.ts', SCRIPT)
    admitted = []

    def admit(size):
        admitted.append(size)
        raise MemoryError

    with pytest.raises(MemoryError):
        read_torch_model(EngineCacheEntry(path), admit)
    assert admitted == [path.stat().st_size]


def test_what_pytorch_says_in_one_line():
    script = ('The following operation failed in the TorchScript interpreter.\n'
              'Traceback of TorchScript (most recent call last):\n  File "m.py", line 9\n'
              'RuntimeError: index 9 is out of bounds\n')
    assert last_line(script) == 'RuntimeError: index 9 is out of bounds'
    lost = ('CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be '
            'asynchronously reported at some other API call\nCompile with `TORCH_USE_CUDA_DSA`')
    assert last_line(lost) == 'CUDA error: an illegal memory access was encountered'
    assert is_out_of_memory('CUDA out of memory. Tried to allocate 2 GiB')
    assert is_out_of_memory("DefaultCPUAllocator: can't allocate memory: you tried")
    assert last_line('') == 'no reason given' and len(last_line('x' * 999)) == 303
