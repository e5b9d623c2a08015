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

"""The engine cache of ONNX Runtime's TensorRT provider: recorded, verified, else set aside."""

import multiprocessing
import os
import re
import shutil

from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.runtime.ort import cache as onnx_cache
from c7_inference_ros.runtime.ort.engine_cache import cache_key
from c7_inference_ros.runtime.ort.engine_cache import cache_problem
from c7_inference_ros.runtime.ort.engine_cache import OrtEngineCache
from c7_inference_ros.runtime.ort.providers import CPU
from c7_inference_ros.runtime.ort.providers import CUDA
from c7_inference_ros.runtime.ort.providers import TENSORRT
from c7_inference_ros.runtime.ort.runtime import OnnxTrtEpRuntime
import pytest
from runtime_models import scale_model

ENGINE, PROFILE = 'TensorrtExecutionProvider_graph_1_0_0_sm87.engine', 'graph_1_0_0.profile'
VERSIONS = {'onnxruntime': '1.23.2', 'libnvinfer.so.10': '100300', 'sm': '87'}
KEY = cache_key('a' * 64, VERSIONS, {'trt_fp16_enable': True})


@pytest.fixture
def cache(tmp_path):
    return OrtEngineCache(tmp_path / 'engines', clock=lambda: 0)


def provide(folder, engine=b'an engine'):
    """Write what the provider writes, with the permissions that it leaves."""
    for name, data in ((ENGINE, engine), (PROFILE, b'shapes')):
        (folder.path / name).write_bytes(data)
        (folder.path / name).chmod(0o644)


def filled(cache):
    with cache.folder(KEY) as folder:
        assert not folder.is_filled and not folder.note
        provide(folder)
        cache.record(folder)
    return folder.path


def mode(path):
    return path.lstat().st_mode & 0o777


def test_what_is_recorded_is_given_again(cache):
    path = filled(cache)
    assert path == cache.root / KEY
    assert mode(cache.root) == mode(path) == 0o700
    assert {mode(place) for place in path.iterdir()} == {0o600}
    before = {place.name: place.stat().st_mtime_ns for place in path.iterdir()}
    assert set(before) == {ENGINE, PROFILE, 'record.json', 'record.json.sha256'}
    with cache.folder(KEY) as folder:
        assert folder.path == path and folder.is_filled and not folder.note
        cache.record(folder)
    assert {place.name: place.stat().st_mtime_ns for place in path.iterdir()} == before, (
        'an unchanged cache is written to again')


def test_an_engine_that_is_added_by_the_provider_is_recorded(cache):
    path = filled(cache)
    with cache.folder(KEY) as folder:
        (path / 'another.engine').write_bytes(b'for other shapes')
        cache.record(folder)
    with cache.folder(KEY) as folder:
        assert folder.is_filled and mode(path / 'another.engine') == 0o600


def flip(place):
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    place.write_bytes(data)


def replace_by_link(place):
    target = place.parent.parent / 'elsewhere'
    place.rename(target)
    place.symlink_to(target)


def replace_folder_by_link(path):
    target = path.with_name('elsewhere')
    path.rename(target)
    path.symlink_to(target)


DAMAGE = {
    'a flipped byte': (lambda path: flip(path / ENGINE), 'the bytes of .*engine are not'),
    'a truncated engine': (lambda path: os.truncate(path / ENGINE, 3), 'the bytes of .*engine'),
    'an unknown engine': (lambda path: (path / 'x.engine').touch(0o600), 'x.engine in it was nev'),
    'a missing engine': (lambda path: (path / ENGINE).unlink(), 'is recorded and missing'),
    'no record': (lambda path: (path / 'record.json').unlink(), 'record.json is missing'),
    'no sidecar': (lambda path: (path / 'record.json.sha256').unlink(), 'sha256 is missing'),
    'an edited record': (lambda path: flip(path / 'record.json'), 'sidecar vouches for'),
    'an edited sidecar': (lambda path: flip(path / 'record.json.sha256'), 'expected 64|vouches'),
    'a link to an engine': (lambda path: replace_by_link(path / ENGINE), 'engine is a link'),
    'a link to a record': (lambda path: replace_by_link(path / 'record.json'), 'record.json is a'),
    'a link to the folder': (replace_folder_by_link, 'is a link, expected a folder'),
    'an engine for all': (lambda path: (path / ENGINE).chmod(0o644), 'mode 0644, which lets'),
    'a folder for all': (lambda path: path.chmod(0o755), 'mode 0755, which lets other users'),
    'a folder in it': (lambda path: (path / 'x').mkdir(), 'x in it was never recorded'),
    'a pipe': (lambda path: ((path / ENGINE).unlink(), os.mkfifo(path / ENGINE, 0o600)),
               'is something else, expected a file'),
    'a file as folder': (lambda path: (shutil.rmtree(path), path.touch()), 'expected a folder'),
}


@pytest.mark.parametrize('what', DAMAGE)
def test_anything_else_is_set_aside_with_its_reason(cache, what):
    damage, words = DAMAGE[what]
    path = filled(cache)
    damage(path)
    aside = path.with_name(f'{KEY}.refused-19700101T000000Z')
    with cache.folder(KEY) as folder:
        assert folder.path == path and not folder.is_filled
        assert os.listdir(path) == [] and mode(path) == 0o700
        assert os.path.lexists(aside), 'what was refused is kept to be looked at'
        assert '\n' not in folder.note and aside.name in folder.note
        assert re.search(words, folder.note), folder.note
        provide(folder)
        cache.record(folder)
    with cache.folder(KEY) as folder:
        assert folder.is_filled and not folder.note


def test_another_owner_is_refused(cache, monkeypatch):
    filled(cache)
    real = os.geteuid()
    monkeypatch.setattr(os, 'geteuid', lambda: real + 1)
    with pytest.raises(PermissionError), cache.folder(KEY):
        pass
    # The folder of all caches is ours, one in it is not.
    monkeypatch.setattr('c7_inference_ros.runtime.ort.engine_cache._make_private',
                        lambda root: None)
    with cache.folder(KEY) as folder:
        assert f'belongs to uid {real}, not to this user' in folder.note


@pytest.mark.parametrize('spoil', [lambda root: root.chmod(0o750),
                                   lambda root: replace_folder_by_link(root)])
def test_the_folder_of_all_caches_must_be_private(cache, spoil):
    filled(cache)
    spoil(cache.root)
    with pytest.raises(PermissionError) as caught, cache.folder(KEY):
        pass
    sentence = cache_problem(cache.root, caught.value)
    assert str(cache.root) in sentence and ('chmod 700' in sentence or 'a link' in sentence)


def test_only_the_latest_refused_folders_are_kept(tmp_path):
    times = iter(range(100))
    cache = OrtEngineCache(tmp_path, clock=lambda: next(times))
    for number in range(6):
        path = filled(cache)
        (path / 'x').touch()
        with cache.folder(KEY) as folder:
            assert folder.note
            os.utime(next(place for place in cache.root.glob(f'{KEY}.refused-*')
                          if f'{number:02d}Z' in place.name), (number, number))
    kept = sorted(place.name[-3:-1] for place in cache.root.glob(f'{KEY}.refused-*'))
    assert kept == ['03', '04', '05']


def test_every_setting_has_its_own_folder():
    keys = {KEY, cache_key('b' * 64, VERSIONS, {'trt_fp16_enable': True}),
            cache_key('a' * 64, {**VERSIONS, 'sm': '86'}, {'trt_fp16_enable': True}),
            cache_key('a' * 64, VERSIONS, {'trt_fp16_enable': False})}
    assert len(keys) == 4 and all(len(key) == 32 for key in keys)
    assert KEY == cache_key('a' * 64, dict(reversed(VERSIONS.items())), {'trt_fp16_enable': True})


def _hold(root, has_it, may_go):
    with OrtEngineCache(root).folder(KEY) as folder:
        has_it.set()
        may_go.wait(30)
        provide(folder)
        OrtEngineCache(root).record(folder)


def test_two_processes_do_not_meet_in_one_folder(tmp_path):
    spawn = multiprocessing.get_context('fork')
    has_it, may_go = spawn.Event(), spawn.Event()
    other = spawn.Process(target=_hold, args=(tmp_path, has_it, may_go))
    other.start()
    assert has_it.wait(30)
    may_go.set()
    with OrtEngineCache(tmp_path).folder(KEY) as folder:
        assert folder.is_filled, 'it was entered while the other process wrote'
    other.join(30)
    assert other.exitcode == 0


# -- with sessions --


class PretendTensorrt:
    """An ONNX Runtime whose TensorRT provider writes and reads its cache as the real one does."""

    def __init__(self, monkeypatch):
        onnxruntime = pytest.importorskip('onnxruntime')
        real = onnxruntime.InferenceSession
        self.saw = []
        self.refuses = ()
        self.is_broken = False

        def session(data, options, providers, **others):
            names, told = [name for name, _ in providers], dict(providers)
            if names[0] == TENSORRT:
                folder = told[TENSORRT].get('trt_engine_cache_path')
                found = {} if folder is None else {
                    name: data for name in os.listdir(folder) if name.endswith('.engine')
                    for data in [open(os.path.join(folder, name), 'rb').read()]}  # noqa: SIM115
                self.saw.append(found)
                if self.is_broken:
                    raise RuntimeError('no device')
                if found and any(data in self.refuses for data in found.values()):
                    raise RuntimeError('TensorRT EP could not deserialize engine from cache')
                if folder is not None and not found:
                    with open(os.path.join(folder, ENGINE), 'wb') as file:
                        file.write(b'engine %d' % len(self.saw))
            made = real(data, options, providers=[CPU], **others)
            monkeypatch.setattr(made, 'get_providers', lambda: [*names])
            return made

        monkeypatch.setattr(onnxruntime, 'InferenceSession', session)
        monkeypatch.setattr(onnxruntime, 'get_available_providers',
                            lambda: [TENSORRT, CUDA, CPU])


@pytest.fixture
def pretend(monkeypatch):
    return PretendTensorrt(monkeypatch)


@pytest.fixture
def start(tmp_path):
    """Start a new runtime and load one model, as the node does; return what it has to say."""
    model = EngineCacheEntry(scale_model(tmp_path / 'scale.onnx'))

    def load(entry=model, providers=(TENSORRT, CUDA, CPU), allow=True, **options):
        runtime = OnnxTrtEpRuntime(
            execution_providers=providers, allow_cpu_fallback=allow, intra_op_threads=1,
            budget=MemoryBudget(1 << 30, 1 << 30),
            **{'directory': tmp_path / 'engines', 'read_versions': lambda: VERSIONS,
               'read_free_device': lambda: None, **options})
        runtime.release_engine(runtime.deserialize_engine(entry))
        return runtime
    return load


def folders(tmp_path):
    root = tmp_path / 'engines' / 'ort'
    return sorted(place for place in root.iterdir() if place.is_dir()) if root.exists() else []


def test_a_second_start_finds_the_engines(tmp_path, pretend, start):
    for _ in range(2):
        assert start().fallbacks == ()
    assert pretend.saw == [{}, {ENGINE: b'engine 1'}]
    path, = folders(tmp_path)
    assert mode(path) == 0o700 and mode(path / ENGINE) == 0o600
    assert not list(path.parent.glob('.*.lock')), 'the lock is left'


def test_what_was_changed_never_reaches_the_provider(tmp_path, pretend, start):
    start()
    (folders(tmp_path)[0] / ENGINE).write_bytes(b'of somebody else')
    sentence, = start().fallbacks
    assert 'engine are not the recorded ones; it was set aside as' in sentence
    assert start().fallbacks == ()
    assert pretend.saw == [{}, {}, {ENGINE: b'engine 2'}]


def test_a_refused_cache_is_said_although_the_provider_no_longer_loads(
        tmp_path, pretend, start, monkeypatch):
    start()
    flip(folders(tmp_path)[0] / ENGINE)
    pretend.is_broken = True
    said = '; '.join(start().fallbacks)
    assert 'no device' in said and 'set aside' in said
    assert pretend.saw == [{}, {}]


def test_another_version_or_setting_is_another_folder(tmp_path, pretend, start):
    start()
    start(read_versions=lambda: {**VERSIONS, 'libnvinfer.so.10': '100700'})
    start(device=1)
    start(EngineCacheEntry(tmp_path / 'scale.onnx', extras={'precision': 'fp16'}))
    start(EngineCacheEntry(scale_model(tmp_path / 'scale.onnx', metadata={'other': 'bytes'})))
    assert pretend.saw == [{}] * 5 and len(folders(tmp_path)) == 5


@pytest.mark.parametrize(('providers', 'allow'), [
    ((TENSORRT, CUDA, CPU), True), ((TENSORRT, CPU), False)])
def test_engines_that_the_provider_no_longer_takes(tmp_path, pretend, start, providers, allow):
    """The driver was updated, say: the provider is not given up, its engines are."""
    start(providers=providers, allow=allow)
    pretend.refuses = (b'engine 1',)
    runtime = start(providers=providers, allow=allow)
    sentence, = runtime.fallbacks
    assert 'could not deserialize engine from cache' in sentence and 'set aside' in sentence
    assert runtime.current_runtime_label().split('[')[1].startswith(TENSORRT)
    assert pretend.saw == [{}, {ENGINE: b'engine 1'}, {}]
    assert start(providers=providers, allow=allow).fallbacks == ()


def test_engines_that_fail_when_they_run(tmp_path, pretend, start, monkeypatch):
    start()

    def fail(self, inputs):
        raise RuntimeError('[ONNXRuntimeError] : 11 : EP_FAIL : TensorRT EP execution failed')

    with monkeypatch.context() as patch:
        patch.setattr('c7_inference_ros.runtime.ort.handle.OnnxHandle.run', fail)
        with pytest.raises(EngineDeserializeError, match='execution failed'):
            start()
    assert [place.name.partition('.')[2][:7] for place in folders(tmp_path)] == ['', 'refused']
    start()
    assert pretend.saw[-1] == {}, 'an engine that failed is loaded again'


def test_a_start_that_is_killed_leaves_nothing_that_is_trusted(tmp_path, pretend, start,
                                                               monkeypatch):
    class Killed(BaseException):
        pass

    def die(self, folder):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(onnx_cache.SessionCache, '_record', die)
        with pytest.raises(Killed):
            start()
    sentence, = start().fallbacks
    assert 'record.json is missing, so that nothing vouches' in sentence
    assert pretend.saw == [{}, {}]


@pytest.mark.parametrize(('options', 'words'), [
    ({'directory': None}, 'builds its engines anew at every start: engines.directory is empty'),
    ({'cache_refusal': 'a list is asked for'}, 'at every start: a list is asked for')])
def test_no_cache_is_said(tmp_path, pretend, start, options, words):
    sentence, = start(**options).fallbacks
    assert words in sentence and pretend.saw == [{}] and not folders(tmp_path)


def test_no_cache_without_the_version_of_tensorrt(tmp_path, pretend, start, monkeypatch):
    monkeypatch.setattr(onnx_cache, 'tensorrt_versions', lambda: {})
    sentence, = start(read_versions=None).fallbacks
    assert 'are not kept: the version of TensorRT cannot be found out' in sentence
    assert not folders(tmp_path)


def test_no_cache_for_weights_that_no_hash_covers(tmp_path, pretend, start):
    path = scale_model(tmp_path / 'external.onnx', is_external=True)
    sentence, = start(EngineCacheEntry(path)).fallbacks
    assert 'external.onnx are built anew' in sentence and not folders(tmp_path)


def test_no_cache_in_a_folder_that_cannot_be_written(tmp_path, pretend, start):
    (tmp_path / 'engines').write_text('a file', encoding='utf-8')
    sentence, = start().fallbacks
    assert f'are not kept in {tmp_path / "engines" / "ort"}: ' in sentence


def test_without_tensorrt_nothing_is_made(tmp_path, pretend, start):
    assert start(providers=(CPU,)).fallbacks == ()
    assert not (tmp_path / 'engines').exists()
    with pytest.raises(RuntimeNotAvailableError):
        start(providers=(), allow=False)
