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

"""Engines are published whole, whatever happens at whatever moment, and one after the other."""

from dataclasses import replace
import errno
import fcntl
import os
from pathlib import Path
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading

from c7_inference_ros.engines.filename import engine_name
from c7_inference_ros.engines.trust.engine_folder import EngineFolder
from c7_inference_ros.engines.trust.gate import EngineGate
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import EngineSchemaMismatchError
import killed_publisher
import pytest
import trust_files as files
from trust_files import ORIN
from trust_files import publish

NAME = engine_name('yolox_nano', ORIN, PrecisionMode.FP16).build()
UNSIGNED = {NAME, f'{NAME}.json', f'{NAME}.sha256'}
SIGNED = UNSIGNED | {f'{NAME}.sig'}


def names(folder):
    return set(os.listdir(folder))


def modes(folder):
    return {name: stat.S_IMODE((folder / name).stat().st_mode) for name in os.listdir(folder)}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / 'engines'


@pytest.mark.parametrize('umask', [0o000, 0o022, 0o077, 0o777])
def test_folder_and_files_are_for_their_owner_alone(folder, umask):
    key, _ = files.make_keys(folder.parent)
    before = os.umask(umask)
    try:
        path = publish(folder, private_key=key)
    finally:
        os.umask(before)
    assert path == folder / NAME
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert names(folder) == SIGNED
    assert set(modes(folder).values()) == {0o600}


def test_a_new_folder_is_never_open_to_others(folder, monkeypatch):
    """Not even for the moment between its making and the setting of its mode."""
    seen = []
    monkeypatch.setattr(os, 'chmod', lambda path, mode: seen.append(
        stat.S_IMODE(os.stat(path).st_mode)))
    before = os.umask(0)
    try:
        EngineFolder(folder)
    finally:
        os.umask(before)
    assert seen == [0o700]


def test_a_link_that_is_planted_meanwhile_is_not_written_through(folder, monkeypatch):
    path = publish(folder)
    before = path.read_bytes()
    victim = folder.parent / 'victim'
    victim.write_bytes(b'precious')
    real = EngineFolder._write_next

    def plant(self, target, parts, sha256):
        target.with_name(target.name + '.next').symlink_to(victim)
        real(self, target, parts, sha256)

    monkeypatch.setattr(EngineFolder, '_write_next', plant)
    with pytest.raises(EngineBuildError):
        publish(folder, io_bytes=5)
    assert victim.read_bytes() == b'precious' and path.read_bytes() == before


def test_a_folder_that_is_there_keeps_its_mode(folder):
    folder.mkdir()
    folder.chmod(0o755)
    publish(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert set(modes(folder).values()) == {0o600}


def test_missing_parents_are_made(tmp_path):
    path = publish(tmp_path / 'var/lib/engines')
    EngineGate(ORIN).validate(path)


def test_what_is_published_passes_the_gate_and_is_complete(folder):
    plan = files.tensorrt_plan(3)
    key, public = files.make_keys(folder.parent)
    path = publish(folder, memoryview(bytearray(plan)), private_key=key)
    trusted = EngineGate(ORIN, public_key=public).validate(path)
    assert trusted.data == plan
    assert trusted.manifest == files.manifest_for(
        engine_sha256=trusted.sha256, engine_bytes=len(plan), model='yolox_nano')


def test_a_signed_engine_is_replaced_by_one_without_signature(folder):
    key, public = files.make_keys(folder.parent)
    publish(folder, private_key=key)
    assert names(folder) == SIGNED
    publish(folder)
    assert names(folder) == UNSIGNED
    publish(folder, private_key=key)
    EngineGate(ORIN, public_key=public).validate(folder / NAME)


@pytest.mark.parametrize('change, words', [
    ({'host': replace(ORIN, sm='86')}, 'host is'),
    ({'precision': PrecisionMode.FP32}, 'precision is'),
    ({'engine_sha256': '0' * 64}, 'engine_sha256 is'),
    ({'engine_bytes': 5}, 'engine_bytes is 5'), ({'model': 'other'}, 'model is other')])
def test_a_manifest_of_another_engine_is_not_published(folder, change, words):
    with pytest.raises(EngineSchemaMismatchError, match=f'cannot be published: .*{words}'):
        EngineFolder(folder).publish(
            NAME, files.tensorrt_plan(), replace(files.manifest_for(), **change))
    assert names(folder) == set()


@pytest.mark.parametrize('plan, words', [
    (b'junk' * 100, 'expected a plan'), (files.rtx_plan(), 'package of the plan is tensorrt_rtx'),
    (files.tensorrt_plan(version=(10, 4, 0, 0)), 'version of the plan is 10.4.0.0')])
def test_another_plan_is_not_published(folder, plan, words):
    with pytest.raises(EngineSchemaMismatchError, match=words):
        publish(folder, plan)
    assert names(folder) == set()


def test_a_cut_plan_is_not_published(folder):
    with pytest.raises(EngineSchemaMismatchError, match='length of the plan is 2999'):
        publish(folder, files.rtx_plan()[:-1], host=files.RTX)


def test_a_key_that_is_none_leaves_the_old_engine(folder):
    pytest.importorskip('cryptography', reason='cryptography is not installed here')
    path = publish(folder, files.tensorrt_plan(1))
    with pytest.raises(ConfigurationError):
        publish(folder, files.tensorrt_plan(2), private_key=folder.parent / 'none.pem')
    assert EngineGate(ORIN).validate(path).data == files.tensorrt_plan(1)
    assert names(folder) == UNSIGNED


# What a killed publication leaves ---------------------------------------------------------------

def accepted(folder, public):
    """Return the seed of the engine that the gate accepts; None where there is none."""
    try:
        trusted = EngineGate(ORIN, public_key=public).validate(folder / NAME)
    except EngineDeserializeError as error:
        assert 'does not exist' in str(error)
        return None
    return next(seed for seed in SEEDS if killed_publisher.plan(seed) == trusted.data)


SEEDS = (1, 2, 3, 100, 101)


@pytest.fixture
def no_fsync(monkeypatch):
    monkeypatch.setattr(os, 'fsync', killed_publisher.settle_nothing)


@pytest.mark.parametrize('old, new', [
    (None, 'unsigned'), ('unsigned', 'unsigned'), ('unsigned', 'signed'), ('signed', 'signed'),
    ('signed', 'unsigned')])
def test_a_kill_at_any_step_leaves_the_old_engine_or_the_new_one(tmp_path, no_fsync, old, new):
    key, public = files.make_keys(tmp_path) if 'signed' in (old, new) else ('-', None)
    keys = {'signed': str(key), 'unsigned': '-'}
    # With a key the gate also finds a signature of another publication.
    public = public if old in (None, 'signed') and new == 'signed' else None
    start = tmp_path / 'start'
    EngineFolder(start)
    if old:
        killed_publisher.publish(start, 1, keys[old])
    expected = SIGNED if new == 'signed' else UNSIGNED
    results = []
    with killed_publisher.Publisher() as publisher:
        for step, folder, is_killed in all_steps(publisher, start, tmp_path, 2, keys[new]):
            seed = accepted(folder, public)
            assert seed in ((1 if old else None), 2), f'step {step} leaves neither'
            results.append(seed)
            assert is_killed or (seed == 2 and names(folder) == expected)
            # Whatever was left: the next publication goes through, and nothing stays.
            killed_publisher.publish(folder, 3, keys[new])
            assert accepted(folder, public) == 3
            assert names(folder) == expected
            assert set(modes(folder).values()) == {0o600}
    assert results[0] != 2
    assert len(results) > 30, 'the steps are not what this test believes'
    befores = results[:results.index(2)]
    assert 2 not in befores
    assert len(befores) > 15


def test_a_second_kill_after_a_kill(tmp_path, no_fsync):
    """From everything that one kill leaves, at every fifth step of the next publication."""
    key, public = files.make_keys(tmp_path)
    start = tmp_path / 'start'
    killed_publisher.publish(start, 1, str(key))
    with killed_publisher.Publisher() as publisher:
        left = {}
        for _, folder, _ in all_steps(publisher, start, tmp_path, 2, key):
            kinds = {name.partition('.tmp')[0].rstrip('-0123456789') for name in names(folder)}
            left.setdefault((frozenset(kinds), accepted(folder, public)), folder)
        assert len(left) > 8
        for number, ((_, seed), folder) in enumerate(left.items()):
            for step, again, is_killed in all_steps(
                    publisher, folder, tmp_path, 3, key, number % 5 + 1, 5):
                found = accepted(again, public)
                assert found in (seed, 3), f'{folder.name}, then {step}: neither is left'
                assert is_killed or (found == 3 and names(again) == SIGNED)
                shutil.rmtree(again)


def all_steps(publisher, start, tmp_path, seed, key, first=1, stride=1):
    """Kill a publication at each of its steps in turn; yield what is left and if it was killed."""
    for how in ('before', 'half'):
        step, is_killed = first - stride, True
        while is_killed:
            step += stride
            folder = tmp_path / f'{start.name}_{step}{how[0]}'
            shutil.copytree(start, folder, symlinks=True)
            is_killed = publisher.step(step, how, folder, seed, key)
            yield (step, how), folder, is_killed


def test_finish_completes_or_discards(tmp_path, no_fsync):
    """The same without a new publication: what readers see stays, and the folder becomes tidy."""
    start = tmp_path / 'start'
    killed_publisher.publish(start, 1, '-')
    seen = set()
    with killed_publisher.Publisher() as publisher:
        for _, folder, _ in all_steps(publisher, start, tmp_path, 2, '-'):
            seed = accepted(folder, None)
            EngineFolder(folder).finish(NAME)
            assert accepted(folder, None) == seed
            assert names(folder) == UNSIGNED
            seen.add(seed)
    assert seen == {1, 2}


def test_kills_at_any_time(tmp_path, folder):
    """Large engines, so that the kills also meet the kernel in the middle of its work."""
    chance = random.Random(3)
    key, public = files.make_keys(tmp_path)
    killed_publisher.publish(folder, 100, str(key))
    seen = set()
    with killed_publisher.Publisher() as publisher:
        for _ in range(30):
            publisher.loop(chance.randrange(4), chance.random(), folder, 100, key)
            seed = accepted(folder, public)
            assert seed in (100, 101)
            seen.add(seed)
    killed_publisher.publish(folder, 1, str(key))
    assert accepted(folder, public) == 1
    assert names(folder) == SIGNED
    assert seen == {100, 101}


def test_readers_never_meet_a_mixture(folder):
    """The gate, without a lock, while engines are published as fast as they can be."""
    plans = [files.tensorrt_plan(seed) for seed in (1, 2)]
    path = publish(folder, plans[0])
    stop = threading.Event()
    problems = []

    def write():
        try:
            while not stop.is_set():
                for plan in plans:
                    publish(folder, plan)
        except Exception as error:  # noqa: B902  seen by the main thread
            problems.append(error)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        gate = EngineGate(ORIN)
        seen = [gate.validate(path).data for _ in range(1500)]
    finally:
        stop.set()
        writer.join()
    assert not problems
    assert all(data in plans for data in seen)
    changes = sum(one is not other and one != other for one, other in zip(seen, seen[1:]))
    assert changes > 5, 'nothing was published in the meantime'


# Locks ------------------------------------------------------------------------------------------

HOLD = ('import sys\n'
        'from pathlib import Path\n'
        'from c7_inference_ros.engines.trust.engine_folder import EngineFolder\n'
        'with EngineFolder(Path(sys.argv[1])).lock(sys.argv[2]):\n'
        '    print("held", flush=True)\n'
        '    sys.stdin.readline()\n')


def holder(folder):
    process = subprocess.Popen([sys.executable, '-c', HOLD, str(folder), NAME], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == 'held\n'
    return process


def test_who_waits_is_told_for_whom_and_goes_on(folder):
    told = []

    def on_wait(text):
        told.append(text)
        process.stdin.write('\n')
        process.stdin.flush()
    with holder(folder) as process:
        with EngineFolder(folder).lock(NAME, 60.0, on_wait):
            assert process.wait(30) == 0
    line, = told
    assert f'process {process.pid} ' in line
    assert NAME in line
    assert names(folder) == set()


def test_who_waits_in_vain_is_told_for_whom(folder):
    with holder(folder) as process:
        with pytest.raises(EngineBuildError, match=rf'process {process.pid} \(.*after 0.1 s'):
            with EngineFolder(folder).lock(NAME, 0.1):
                raise AssertionError('two hold the lock')
        with EngineFolder(folder).lock('other.engine', 0.0):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        with EngineFolder(folder).lock(NAME, 5.0):
            pass
    assert names(folder) == set()


def test_publish_waits_for_the_lock_and_does_not_wait_for_itself(folder):
    engines = EngineFolder(folder)
    with engines.lock(NAME):
        engines.publish(NAME, files.tensorrt_plan(1), files.manifest_for())
        with engines.lock(NAME, 0.0):
            engines.finish(NAME)
        done = threading.Event()

        def other():
            engines.publish(NAME, files.tensorrt_plan(2), files.manifest_for())
            done.set()
        thread = threading.Thread(target=other)
        thread.start()
        assert not done.wait(0.3), 'another thread published though the lock is held'
        assert EngineGate(ORIN).validate(folder / NAME).data == files.tensorrt_plan(1)
    assert done.wait(30)
    thread.join()
    assert EngineGate(ORIN).validate(folder / NAME).data == files.tensorrt_plan(2)
    assert names(folder) == UNSIGNED


def test_only_one_at_a_time_holds_the_lock(folder):
    inside, most = [0], [0]

    def work():
        for _ in range(30):
            with EngineFolder(folder).lock(NAME, 60.0):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1
    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert names(folder) == set()


def test_the_lock_is_let_go_by_an_exception(folder):
    engines = EngineFolder(folder)
    with pytest.raises(KeyError):
        with engines.lock(NAME):
            raise KeyError
    with engines.lock(NAME, 0.0):
        pass


# Disks that are full, folders that cannot be written --------------------------------------------

@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EIO])
def test_a_failure_of_any_operation_leaves_the_old_engine_or_the_new_one(
        tmp_path, monkeypatch, number):
    plans = {seed: files.tensorrt_plan(seed) for seed in (1, 2, 3)}
    step, is_failed = 0, True
    seen = set()
    while is_failed:
        step += 1
        folder = tmp_path / str(step)
        path = publish(folder, plans[1])
        with monkeypatch.context() as patch:
            is_failed = fail_at(patch, step, number)
            try:
                publish(folder, plans[2])
                is_raised = False
            except EngineBuildError as error:
                is_raised = True
                assert '\n' not in str(error)
                assert number != errno.ENOSPC or 'the disk is full' in str(error)
                assert number != errno.EIO or 'check the medium' in str(error)
            is_failed = is_failed[0] >= step
        data = EngineGate(ORIN).validate(path).data
        assert data in (plans[1], plans[2])
        assert is_raised or data == plans[2], 'it failed and did not say so'
        seen.add((is_raised, plans[1] == data))
        publish(folder, plans[3])
        assert EngineGate(ORIN).validate(path).data == plans[3]
        assert names(folder) == UNSIGNED
    assert (True, True) in seen
    assert (False, False) in seen


def fail_at(patch, step, number):
    """Make the n-th operation that takes space or time of a disk fail; return the counter."""
    count = [0]

    def counted(name):
        real = getattr(os, name)

        def operation(*arguments, **options):
            count[0] += 1
            if count[0] == step:
                raise OSError(number, os.strerror(number))
            return real(*arguments, **options)
        patch.setattr(os, name, operation)
    for name in ('write', 'fsync', 'replace'):
        counted(name)
    return count


FULL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import trust_files
from c7_inference_ros.engines.trust.gate import EngineGate
from c7_inference_ros.errors import EngineBuildError
folder = Path(sys.argv[1]) / 'engines'
path = trust_files.publish(folder, trust_files.tensorrt_plan(1, size=400_000))
try:
    trust_files.publish(folder, trust_files.tensorrt_plan(2, size=2_000_000))
except EngineBuildError as error:
    print(error)
trusted = EngineGate(trust_files.ORIN).validate(path)
assert trusted.data == trust_files.tensorrt_plan(1, size=400_000)
print(sorted(file.name for file in folder.iterdir()))
trust_files.publish(folder, trust_files.tensorrt_plan(3, size=400_000))
assert EngineGate(trust_files.ORIN).validate(path).data[:9] == b'ftrt' + bytes(5)
print('done')
"""


def test_a_disk_that_is_really_full(tmp_path):
    """On a file system of one megabyte, in a mount namespace of its own."""
    command = ['unshare', '-rm', 'sh', '-c',
               'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" -c "$3" "$1" "$4"', 'sh',
               str(tmp_path), sys.executable, FULL, str(Path(__file__).parent)]
    try:
        probe = subprocess.run(['unshare', '-rm', 'mount', '-t', 'tmpfs', 'tmpfs', str(tmp_path)],
                               capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip('unshare is not installed')
    if probe.returncode:
        pytest.skip('this machine lets nobody mount a file system in a namespace')
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    error, left, end = done.stdout.splitlines()
    assert 'the disk is full' in error
    assert 'bytes are free' in error
    assert left == str(sorted(UNSIGNED))
    assert end == 'done'


UNWRITABLE = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import trust_files
from c7_inference_ros.errors import EngineBuildError
os.chdir(sys.argv[1])
if not os.geteuid():
    os.seteuid(65534)
for folder in (Path('.'), Path('new')):
    try:
        trust_files.publish(folder, trust_files.tensorrt_plan(2))
    except EngineBuildError as error:
        print(error)
"""


def test_a_folder_that_may_not_be_written(folder):
    """Somebody else compiles; root, who may write everywhere, becomes another user."""
    path = publish(folder, files.tensorrt_plan(1))
    folder.chmod(0o555)
    done = subprocess.run([sys.executable, '-c', UNWRITABLE, str(folder),
                           str(Path(__file__).parent)], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stdout
    assert all('may not write in' in line and 'uid' in line for line in lines)
    folder.chmod(0o700)
    assert EngineGate(ORIN).validate(path).data == files.tensorrt_plan(1)
    assert names(folder) == UNSIGNED


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / 'engines').write_text('hello')
    with pytest.raises(EngineBuildError, match='engines'):
        EngineFolder(tmp_path / 'engines')
    with pytest.raises(EngineBuildError, match='engines'):
        EngineFolder(tmp_path / 'engines/within')


def test_the_disk_is_written_before_the_names(folder, monkeypatch):
    """A power cut keeps what was synchronised, and loses anything else in any order."""
    publish(folder, files.tensorrt_plan(1))
    order = []

    def traced(name, describe):
        real = getattr(os, name)

        def operation(*arguments, **options):
            order.append(describe(*arguments))
            return real(*arguments, **options)
        monkeypatch.setattr(os, name, operation)

    def settled(descriptor):
        name = os.readlink(f'/proc/self/fd/{descriptor}')
        return 'sync folder' if name == str(folder) else f'sync {short(name)}'

    def short(path):
        return os.path.basename(str(path)).replace(NAME, 'x').partition('.tmp')[0]
    traced('fsync', settled)
    traced('replace', lambda source, target: f'rename {short(target)}')
    publish(folder, files.tensorrt_plan(2))
    sidecar = next(step for step in order if step.startswith('sync .x.next.sha256'))
    assert order == [
        'sync x.next', 'sync x.next.json', 'sync x.next.sig', 'sync folder', sidecar,
        'rename x.next.sha256', 'sync folder', 'rename x', 'rename x.json', 'sync folder',
        'rename x.sha256', 'sync folder']


@pytest.mark.parametrize('suffix', ['', '.json', '.sha256'])
def test_links_at_the_names_are_replaced_and_not_written_through(folder, suffix):
    path = publish(folder, files.tensorrt_plan(1))
    precious = folder.parent / 'precious'
    precious.write_text('precious')
    for place in (files.beside(path, suffix), files.beside(path, f'.next{suffix}')):
        if place.exists():
            place.unlink()
        place.symlink_to(precious)
    files.beside(path, '.next.sha256').unlink(missing_ok=True)
    publish(folder, files.tensorrt_plan(2))
    assert precious.read_text() == 'precious'
    assert EngineGate(ORIN).validate(path).data == files.tensorrt_plan(2)
    assert names(folder) == UNSIGNED


def test_a_lock_that_is_a_link_is_refused(folder):
    EngineFolder(folder)
    precious = folder.parent / 'precious'
    precious.write_text('precious')
    (folder / f'.{NAME}.lock').symlink_to(precious)
    with pytest.raises(EngineBuildError, match='cannot be written'):
        publish(folder)
    assert precious.read_text() == 'precious'


def test_a_lock_of_the_kernel_is_not_inherited_by_programs(folder):
    with EngineFolder(folder).lock(NAME):
        code = ('import fcntl, os\n'
                'print([os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")'
                ' if os.path.exists(f"/proc/self/fd/{fd}")])')
        said = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                              check=True, close_fds=False).stdout
        assert '.lock' not in said
        assert fcntl is not None
