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

"""What is not in the deployment list, or not as it is there, is refused."""

import hashlib
import subprocess

from c7_inference_ros.engines.trust.deployment_list import DeploymentList
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineHashMismatchError
import pytest

A, B = hashlib.sha256(b'a').hexdigest(), hashlib.sha256(b'b').hexdigest()


def listed(tmp_path, text):
    path = tmp_path / 'released.txt'
    path.write_text(text, encoding='utf-8', newline='')
    return DeploymentList(path)


@pytest.mark.parametrize('text', [
    f'{A}  a.engine\n{B}  b.engine\n', f'{A} *a.engine\r\n{B} *b.engine\r\n',
    f'# fleet 7\n\n  {A}  a.engine\n   # old: {B}  a.engine\n{B}  releases/7/b.engine',
    f'{A}  a.engine\n{A}  other/a.engine\n{B}  b.engine'])
def test_what_is_listed_is_accepted(tmp_path, text):
    released = listed(tmp_path, text)
    released.check('a.engine', A)
    released.check('b.engine', B)
    assert 'a.engine' in released
    assert 'c.engine' not in released


def test_what_is_missing_or_different_is_refused(tmp_path):
    released = listed(tmp_path, f'{A}  a.engine\n')
    with pytest.raises(EngineHashMismatchError, match='is not in the deployment list') as missing:
        released.check('b.engine', B)
    with pytest.raises(EngineHashMismatchError, match=f'expects {A}') as different:
        released.check('a.engine', B)
    assert missing.value.stage == different.value.stage == 'deployment'
    assert 'a.engine' in str(missing.value)


@pytest.mark.parametrize('text, words', [
    ('', 'lists no engine'), ('# nothing\n', 'lists no engine'),
    (f'{A} a.engine\n', 'line 1 is'), (f'{A}\n', 'line 1 is'), (f'{A}  \n', 'line 1 is'),
    (f'\n{A.upper()}  a.engine\n', 'line 2 is'), (f'{A[1:]}  a.engine\n', 'line 1 is'),
    (f'{A}  a.engine\n{B}  b/a.engine\n', 'line 2 has a second SHA-256'),
    ('{"a.engine": 1}', 'line 1 is')])
def test_a_broken_list_is_refused_when_it_is_configured(tmp_path, text, words):
    with pytest.raises(ConfigurationError, match=words) as caught:
        listed(tmp_path, text)
    assert 'released.txt' in str(caught.value)
    assert 'sha256sum' in str(caught.value) or 'remove' in str(caught.value)


@pytest.mark.parametrize('make, words', [
    (lambda path: None, 'No such file'), (lambda path: path.mkdir(), 'Is a directory'),
    (lambda path: path.write_bytes(b'\xff\xfe' * 10), 'decode'),
    (lambda path: path.write_bytes(b'#' * (1 << 24) + b'#'), 'more than')])
def test_a_list_that_cannot_be_read(tmp_path, make, words):
    path = tmp_path / 'released.txt'
    make(path)
    with pytest.raises(ConfigurationError, match=words):
        DeploymentList(path)


def test_lists_of_sha256sum_are_understood(tmp_path):
    (tmp_path / 'a.engine').write_bytes(b'a')
    try:
        said = subprocess.run(['sha256sum', 'a.engine'], cwd=tmp_path, capture_output=True,
                              text=True, check=True)
    except FileNotFoundError:
        pytest.skip('sha256sum is not installed')
    listed(tmp_path, said.stdout).check('a.engine', A)
