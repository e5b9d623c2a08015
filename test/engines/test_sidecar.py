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

"""A sidecar holds one hash and nothing else."""

import hashlib
import stat
import subprocess

from c7_inference_ros.engines.trust.sidecar import hash_file
from c7_inference_ros.engines.trust.sidecar import read_sidecar
from c7_inference_ros.engines.trust.sidecar import sidecar_path
from c7_inference_ros.engines.trust.sidecar import write_sidecar
from c7_inference_ros.errors import EngineHashMismatchError
from c7_inference_ros.errors import EngineSidecarMissingError
import pytest

HASH = hashlib.sha256(b'data').hexdigest()


def test_a_sidecar_is_written_and_read(tmp_path):
    path = tmp_path / 'a.b.engine'
    assert write_sidecar(path, HASH) == tmp_path / 'a.b.engine.sha256' == sidecar_path(path)
    assert sidecar_path(path).read_bytes() == HASH.encode()
    assert stat.S_IMODE(sidecar_path(path).stat().st_mode) == 0o600
    assert read_sidecar(path) == HASH


def test_one_newline_is_accepted(tmp_path):
    path = tmp_path / 'a.engine'
    sidecar_path(path).write_text(HASH + '\n')
    assert read_sidecar(path) == HASH


@pytest.mark.parametrize('content', [
    '', '\n', HASH[:-1], HASH + '0', HASH.upper(), HASH + '\n\n', HASH + '\r\n', ' ' + HASH,
    HASH + ' ', HASH + '  a.engine\n', '\n' + HASH, 'g' + HASH[1:], '\ufeff' + HASH, HASH + '\0',
    HASH * 1000, '٣' * 64])
def test_anything_else_is_refused(tmp_path, content):
    path = tmp_path / 'a.engine'
    sidecar_path(path).write_text(content, encoding='utf-8', newline='')
    with pytest.raises(EngineHashMismatchError, match='64 lowercase hex') as caught:
        read_sidecar(path)
    assert caught.value.stage == 'sidecar'
    assert len(str(caught.value)) < 500
    assert '\n' not in str(caught.value)


def test_every_flipped_bit_changes_the_hash_or_is_refused(tmp_path):
    path = tmp_path / 'a.engine'
    for bit in range(len(HASH) * 8):
        data = bytearray(HASH.encode())
        data[bit // 8] ^= 1 << bit % 8
        sidecar_path(path).write_bytes(data)
        try:
            assert read_sidecar(path) != HASH
        except EngineHashMismatchError:
            pass


def test_a_missing_or_unreadable_sidecar(tmp_path):
    path = tmp_path / 'a.engine'
    with pytest.raises(EngineSidecarMissingError, match='No such file'):
        read_sidecar(path)
    sidecar_path(path).mkdir()
    with pytest.raises(EngineSidecarMissingError, match='directory'):
        read_sidecar(path)


@pytest.mark.parametrize('value', ['', 'abc', HASH.upper(), HASH + '\n', None])
def test_only_a_hash_is_written(tmp_path, value):
    with pytest.raises(ValueError, match='64 lowercase hex'):
        write_sidecar(tmp_path / 'a.engine', value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('size', [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_files_are_hashed_in_pieces(tmp_path, size):
    path = tmp_path / 'a.engine'
    path.write_bytes(bytes(range(256)) * (size // 256) + bytes(size % 256))
    assert hash_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_hash_is_that_of_sha256sum(tmp_path):
    path = tmp_path / 'a.engine'
    path.write_bytes(b'data')
    try:
        said = subprocess.run(['sha256sum', str(path)], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip('sha256sum is not installed')
    assert said.stdout.split()[0] == hash_file(path) == HASH
