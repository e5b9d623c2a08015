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

"""The trust gate of calibration products: what is reused, made again, or refused untouched."""

import hashlib
import json
import os
from pathlib import Path
import re
import signal
import subprocess
import sys

from c7_inference_ros.engines.calibration import calibration_cache
from c7_inference_ros.engines.calibration.calibration_cache import cache_parts
from c7_inference_ros.engines.calibration.calibration_cache import CalibrationCache
from c7_inference_ros.errors import CalibrationCacheError
from c7_inference_ros.errors import EngineBuildError
import pytest

ROOT = Path(__file__).resolve().parents[2]
OLD, NEW = b'old ranges', b'new ranges, and more of them'
PARTS = {'dataset': 'd' * 64, 'images': 17, 'onnx_sha256': 'a' * 64,
         'preprocessing': {'scale': 1.0, 'color_order': 'bgr'}, 'calibrator': 'entropy',
         'batch': 1, 'profile': {'images': [1, 3, 416, 416]}, 'version': '10.3.0'}
SUFFIXES = ('', '.sha256', '.dataset_sha256', '.made_from.json')


def parse(data):
    if data.startswith(b'bad'):
        raise CalibrationCacheError('the calibration table is malformed: bad')
    return data.decode()


def make(folder, **changes):
    return CalibrationCache(folder / 'm.calib_cache', cache_parts(**{**PARTS, **changes}), parse)


def file(folder, suffix=''):
    return folder / f'm.calib_cache{suffix}'


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture()
def stored(tmp_path):
    """Make a folder with a cache of OLD."""
    make(tmp_path).store(OLD)
    return tmp_path


def test_nothing_there_is_to_be_made(tmp_path):
    checked = make(tmp_path).check()
    assert not checked.is_reusable and checked.data == b'' and 'is not there' in checked.reason


def test_stored_is_reused(stored):
    checked = make(stored).check()
    assert (checked.content, checked.data) == (OLD.decode(), OLD)
    assert file(stored, '.sha256').read_text() == hashlib.sha256(OLD).hexdigest()
    assert re.fullmatch('[0-9a-f]{64}', file(stored, '.dataset_sha256').read_text())
    assert sorted(contents(stored)) == sorted(f'm.calib_cache{suffix}' for suffix in SUFFIXES)
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in stored.iterdir())


@pytest.mark.parametrize('change, named', [
    ({'dataset': 'e' * 64}, 'data set changed'), ({'images': 18}, 'images changed from 17 to 18'),
    ({'onnx_sha256': 'b' * 64}, 'ONNX model changed'),
    ({'preprocessing': {'scale': 1.0, 'color_order': 'rgb'}},
     'preprocessing changed (color_order)'),
    ({'calibrator': 'minmax'}, 'calibrator changed from entropy to minmax'),
    ({'batch': 2}, 'batch changed from 1 to 2'),
    ({'profile': {'images': [1, 3, 320, 320]}}, 'profile changed'),
    ({'version': '10.4.0'}, 'version changed from 10.3.0 to 10.4.0')])
def test_stale_is_made_again_and_the_change_is_named(stored, change, named):
    before = contents(stored)
    cache = make(stored, **change)
    checked = cache.check()
    assert not checked.is_reusable
    assert 'intact, but stale' in checked.reason and named in checked.reason
    assert contents(stored) == before
    cache.store(NEW)
    assert cache.check().data == NEW
    assert not make(stored).check().is_reusable


def test_order_of_the_images_counts(stored):
    # The hash of a data set is over its images in their order; see test_calibration_data.
    first, second = (hashlib.sha256(text).hexdigest() for text in (b'a\nb', b'b\na'))
    assert make(stored, dataset=first).key != make(stored, dataset=second).key


DAMAGES = {
    'a bit': lambda folder: flip(file(folder), 3),
    'the last bit': lambda folder: flip(file(folder), len(OLD) * 8 - 1),
    'truncated': lambda folder: file(folder).write_bytes(OLD[:-1]),
    'empty': lambda folder: file(folder).write_bytes(b''),
    'longer': lambda folder: file(folder).write_bytes(OLD + b'\n'),
    'other file': lambda folder: file(folder).write_bytes(NEW),
    'a folder': lambda folder: (file(folder).unlink(), file(folder).mkdir()),
    'no sidecar': lambda folder: file(folder, '.sha256').unlink(),
    'other sidecar': lambda folder: file(folder, '.sha256').write_text('0' * 64),
    'short sidecar': lambda folder: file(folder, '.sha256').write_text('0' * 63),
    'upper case sidecar': lambda folder: file(folder, '.sha256').write_text(
        hashlib.sha256(OLD).hexdigest().upper()),
    'sidecar with a name': lambda folder: file(folder, '.sha256').write_text(
        f'{hashlib.sha256(OLD).hexdigest()}  m.calib_cache\n'),
    'empty sidecar': lambda folder: file(folder, '.sha256').write_bytes(b''),
    'binary sidecar': lambda folder: file(folder, '.sha256').write_bytes(bytes(range(128, 192))),
    'short data set sidecar': lambda folder: file(folder, '.dataset_sha256').write_text('0' * 63),
    'empty data set sidecar': lambda folder: file(folder, '.dataset_sha256').write_bytes(b''),
    'words as data set sidecar': lambda folder: file(folder, '.dataset_sha256').write_text('x')}


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


@pytest.mark.parametrize('is_stale', [False, True], ids=['current', 'stale'])
@pytest.mark.parametrize('damage', DAMAGES)
def test_damage_is_refused_and_left_as_it_is(stored, damage, is_stale):
    DAMAGES[damage](stored)
    before = {path: path.read_bytes() for path in stored.iterdir() if path.is_file()}
    cache = make(stored, **({'images': 99} if is_stale else {}))
    for attempt in (cache.check, lambda: cache.store(NEW)):
        with pytest.raises(CalibrationCacheError) as caught:
            attempt()
        assert str(stored) in str(caught.value) and 'delete it' in str(caught.value)
        assert '\n' not in str(caught.value)
    assert {path: path.read_bytes() for path in stored.iterdir() if path.is_file()} == before


def test_every_bit_is_covered(stored):
    for bit in range(len(OLD) * 8):
        flip(file(stored), bit)
        with pytest.raises(CalibrationCacheError, match='is damaged'):
            make(stored).check()
        flip(file(stored), bit)
    assert make(stored).check().is_reusable


def test_malformed_content_with_good_sidecars_is_refused(stored):
    file(stored).write_bytes(b'bad')
    file(stored, '.sha256').write_text(hashlib.sha256(b'bad').hexdigest())
    with pytest.raises(CalibrationCacheError, match='malformed'):
        make(stored).check()
    assert file(stored).read_bytes() == b'bad'


def test_malformed_content_is_never_stored(stored):
    before = contents(stored)
    with pytest.raises(CalibrationCacheError, match='malformed'):
        make(stored).store(b'bad')
    assert contents(stored) == before


def test_without_data_set_sidecar_it_is_made_again(stored):
    file(stored, '.dataset_sha256').unlink()
    checked = make(stored).check()
    assert not checked.is_reusable and 'nobody knows what it was made from' in checked.reason


@pytest.mark.parametrize('text', [None, b'', b'{', b'[]', b'{"scheme": 1}', b'\xff' * 9,
                                  b'[' * 5000])
def test_the_explanation_is_only_an_explanation(stored, text):
    if text is None:
        file(stored, '.made_from.json').unlink()
    else:
        file(stored, '.made_from.json').write_bytes(text)
    assert make(stored).check().is_reusable
    assert 'something that it was made from changed' in make(stored, images=3).check().reason


def test_a_forged_explanation_grants_nothing(stored):
    other = make(stored, images=3)
    file(stored, '.made_from.json').write_text(json.dumps(other.parts))
    assert not other.check().is_reusable


@pytest.mark.parametrize('suffix', ['', '.sha256', '.dataset_sha256'])
def test_what_is_too_large_is_said_to_be(stored, suffix):
    """A hole in a file takes no disk; of such a file no more is read than of a cache."""
    os.truncate(file(stored, suffix), 1 << 40)
    with pytest.raises(CalibrationCacheError, match='bytes, which no calibration cache has'):
        make(stored).check()


def test_a_pipe_is_no_cache(stored):
    file(stored, '.sha256').unlink()
    os.mkfifo(file(stored, '.sha256'))
    with pytest.raises(CalibrationCacheError):
        make(stored).check()


def test_two_at_a_time_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration_cache, 'LOCK_TIMEOUT_S', 0.05)
    with make(tmp_path / 'new').locked():
        with pytest.raises(EngineBuildError, match='is being written by'):
            with make(tmp_path / 'new').locked():
                pass
    with make(tmp_path / 'new').locked():
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(CalibrationCacheError, match='cannot be written'):
        with make(tmp_path / 'file' / 'x').locked():
            pass


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import test_calibration_cache as tests
from pathlib import Path

count = 0

def counting(function):
    def call(*arguments, **named):
        global count
        count += 1
        if count == {last} and not {after}:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **named)
        if count == {last}:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

os.replace, os.unlink = counting(os.replace), counting(os.unlink)
tests.make(Path({folder!r}), images=18).store(tests.NEW)
"""


@pytest.mark.parametrize('last, after', [
    (1, False), (2, False), (3, False), (4, False), (5, False), (6, False), (6, True), (7, True)])
def test_killed_while_storing(stored, last, after):
    """At each step: what is left is the old one, or nothing, or the new one; never damage."""
    script = KILLED.format(tests=str(Path(__file__).parent), folder=str(stored), last=last,
                           after=after)
    done = subprocess.run([sys.executable, '-c', script], cwd=ROOT, capture_output=True,
                          text=True, check=False, env={
                              **os.environ, 'PYTHONPATH': f'{ROOT}:{os.environ["PYTHONPATH"]}'
                              if os.environ.get('PYTHONPATH') else str(ROOT)})
    is_whole = (last, after) in ((6, True), (7, True))
    assert done.returncode == (0 if last == 7 else -signal.SIGKILL), done.stderr
    old, new = make(stored).check(), make(stored, images=18).check()
    assert old.is_reusable == ((last, after) == (1, False))
    assert new.is_reusable == is_whole
    if new.is_reusable:
        assert new.data == NEW
    make(stored, images=18).store(NEW)
    assert make(stored, images=18).check().data == NEW
    assert len(contents(stored)) == 4
