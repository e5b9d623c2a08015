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

"""Kept timings: whole, of this machine, or not at all."""

import multiprocessing
import os
import signal
from types import SimpleNamespace

from builder_models import PERSON
from builder_models import request
from c7_inference_ros.engines.building.direct_builder import KeptTimings
from c7_inference_ros.engines.building.timing_cache import timing_key
from c7_inference_ros.engines.building.timing_cache import TimingCacheFile
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.errors import EngineBuildError
import pytest

HOST = HostTuple('87', '36.4.3', 'tensorrt', '10.3.0', 'Orin Nano')


def test_what_is_stored_is_loaded(tmp_path):
    file = TimingCacheFile(tmp_path / 'deep' / 'timings', 'here')
    assert file.load().state == 'new'
    file.store(lambda kept: kept + b'one')
    file.store(lambda kept: kept + b' two')
    assert (file.load().data, file.load().state) == (b'one two', 'used')
    assert os.stat(file.path).st_mode & 0o777 == 0o600


@pytest.mark.parametrize('spoil, why', [
    (lambda file: file.path.write_bytes(b'one twx'), 'is damaged'),
    (lambda file: file.sidecar.unlink(), 'has no timings.json that vouches'),
    (lambda file: file.sidecar.write_text('{'), 'has an unreadable timings.json'),
    (lambda file: file.sidecar.write_text('[]'), 'has an unreadable timings.json')],
    ids=['flip', 'none', 'cut', 'list'])
def test_what_nobody_vouches_for_is_left_out(tmp_path, spoil, why):
    file = TimingCacheFile(tmp_path / 'timings', 'here')
    file.store(lambda kept: b'one two')
    spoil(file)
    found = file.load()
    assert found.data == b''
    assert found.state.startswith(f'ignored: {file.path} {why}')
    file.store(lambda kept: kept + b'anew')
    assert file.load().data == b'anew'


def test_timings_of_another_machine_are_left_out(tmp_path):
    TimingCacheFile(tmp_path / 'timings', 'there').store(lambda kept: b'one')
    found = TimingCacheFile(tmp_path / 'timings', 'here').load()
    assert found.data == b'' and 'is of there, this machine is here' in found.state


def test_the_key_names_everything(tmp_path):
    driver = tmp_path / 'version'
    assert timing_key('tensorrt', '10.3.0', HOST, driver) == (
        'tensorrt 10.3.0 sm87 36.4.3 Orin Nano')
    driver.write_text('NVRM version: NVIDIA 550.1\nGCC version\n')
    assert timing_key('tensorrt', '10.3.0', None, driver).endswith('NVIDIA 550.1')
    driver.write_text('')
    assert timing_key('tensorrt', '10.3.0', None, driver) == 'tensorrt 10.3.0'


def test_a_folder_that_is_none_is_told(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(EngineBuildError, match='timing cache .*file'):
        TimingCacheFile(tmp_path / 'file' / 'timings', 'here').load()


def _store_and_die(path, is_inside):
    def merge(kept):
        is_inside.set()
        signal.pause()

    TimingCacheFile(path, 'here').store(merge)


def test_a_writer_that_is_killed_leaves_the_old_timings_and_no_lock(tmp_path):
    file = TimingCacheFile(tmp_path / 'timings', 'here')
    file.store(lambda kept: b'old')
    context = multiprocessing.get_context('spawn')
    is_inside = context.Event()
    writer = context.Process(target=_store_and_die, args=(file.path, is_inside))
    writer.start()
    assert is_inside.wait(30)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join(10)
    assert file.load().data == b'old'


class Cache:
    """A timing cache of the bindings: takes any bytes, knows its own."""

    def __init__(self, data, is_of_this_device=True):
        self.data = data
        self.is_of_this_device = is_of_this_device

    def combine(self, other, ignore_mismatch):
        assert ignore_mismatch is False
        self.data += b'+' + other.data
        return True

    def serialize(self):
        return self.data


class Config:
    """The part of IBuilderConfig that timings need."""

    def __init__(self, refuses=b'-'):
        self.refuses = refuses
        self.used = None

    def create_timing_cache(self, data):
        return Cache(bytes(data))

    def set_timing_cache(self, cache, ignore_mismatch):
        assert ignore_mismatch is False
        if cache.data == self.refuses:
            return False
        self.used = cache
        return True


def stage_of(path, has_timing_cache=True):
    api = SimpleNamespace(package='tensorrt', version='10.3.0', has_timing_cache=has_timing_cache)
    made = request(PERSON, timing_cache=path)
    return SimpleNamespace(request=made, api=api, settings={}, warnings=[])


def test_a_build_keeps_what_it_and_others_measured(tmp_path):
    path = tmp_path / 'timings'
    stage, config = stage_of(path), Config()
    timings = KeptTimings(stage, config)
    assert stage.settings['timing_cache'] == 'new' and config.used.data == b''
    config.used.data = b'first'
    # Meanwhile another build stores its own.
    other_config = Config()
    other = KeptTimings(stage_of(path), other_config)
    other_config.used.data = b'second'
    other.store()
    timings.store()
    assert path.read_bytes() == b'first+second'
    stage, config = stage_of(path), Config()
    timings = KeptTimings(stage, config)
    assert (stage.settings['timing_cache'], config.used.data) == ('used', b'first+second')
    timings.store()
    assert path.read_bytes() == b'first+second'


def test_timings_that_tensorrt_refuses_are_replaced(tmp_path):
    path = tmp_path / 'timings'
    config = Config()
    KeptTimings(stage_of(path), config).store()
    TimingCacheFile(path, timing_key('tensorrt', '10.3.0', None)).store(lambda _: b'elsewhere')
    stage, config = stage_of(path), Config(refuses=b'elsewhere')
    KeptTimings(stage, config)
    assert config.used.data == b''
    assert 'was measured on another device' in stage.warnings[0]


def test_who_times_nothing_keeps_nothing(tmp_path):
    stage = stage_of(tmp_path / 'timings', has_timing_cache=False)
    KeptTimings(stage, None).store()
    assert stage.settings['timing_cache'] == 'none: tensorrt times nothing'
    assert not any(tmp_path.iterdir())
