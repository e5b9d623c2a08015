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

"""Files are replaced whole or not at all, whatever kills the writer."""

import errno
import os
import signal
import stat
import subprocess
import sys
import threading

from c7_inference_ros.engines.atomic_file import write_atomically
from c7_inference_ros.engines.atomic_file import write_problem
import pytest

OLD, NEW = b'old' * 1000, b'new' * 2000


@pytest.fixture
def target(tmp_path):
    path = tmp_path / 'thing.bin'
    path.write_bytes(OLD)
    return path


def names(path):
    return sorted(os.listdir(path.parent))


def test_a_file_is_made_and_replaced(tmp_path):
    path = tmp_path / 'thing.bin'
    write_atomically(path, OLD)
    assert path.read_bytes() == OLD
    write_atomically(path, memoryview(bytearray(NEW)))
    assert path.read_bytes() == NEW
    write_atomically(path, b'')
    assert path.read_bytes() == b''
    assert names(path) == ['thing.bin']


@pytest.mark.parametrize('umask', [0o000, 0o022, 0o777])
@pytest.mark.parametrize('mode', [0o600, 0o644])
def test_permissions_do_not_depend_on_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / 'thing.bin', OLD, mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / 'thing.bin').stat().st_mode) == mode


def test_a_link_is_replaced_and_not_followed(tmp_path):
    precious = tmp_path / 'precious.bin'
    precious.write_bytes(OLD)
    link = tmp_path / 'thing.bin'
    link.symlink_to(precious)
    write_atomically(link, NEW)
    assert precious.read_bytes() == OLD
    assert link.read_bytes() == NEW
    assert not link.is_symlink()


def test_bytes_reach_the_disk_before_they_get_the_name(target, monkeypatch):
    order = []

    def traced(name):
        real = getattr(os, name)

        def call(*arguments, **options):
            kind = name
            if name == 'fsync':
                is_folder = stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
                kind = 'fsync folder' if is_folder else 'fsync file'
            order.append(kind)
            return real(*arguments, **options)
        monkeypatch.setattr(os, name, call)

    for name in ('write', 'fsync', 'replace'):
        traced(name)
    write_atomically(target, NEW)
    assert order == ['write', 'fsync file', 'replace', 'fsync folder']


@pytest.mark.parametrize('call', ['fchmod', 'write', 'fsync', 'replace'])
def test_a_failure_leaves_the_old_file_and_nothing_else(target, monkeypatch, call):
    def fail(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match='No space') as caught:
        write_atomically(target, NEW)
    monkeypatch.undo()
    assert target.read_bytes() == OLD
    assert names(target) == ['thing.bin']
    assert 'the disk is full' in write_problem(caught.value, target)


def test_a_short_write_is_carried_on(target, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, 'write', lambda file, data: real(file, data[:7]))
    write_atomically(target, NEW)
    assert target.read_bytes() == NEW


def test_what_a_killed_writer_left_is_removed_and_a_living_one_is_left_alone(target):
    code = ('import os, sys\n'
            'from pathlib import Path\n'
            'from c7_inference_ros.engines.atomic_file import write_atomically\n'
            'def wait(*arguments):\n'
            '    print("written", flush=True)\n'
            '    sys.stdin.read()\n'
            'os.fsync = wait\n'
            'write_atomically(Path(sys.argv[1]), b"child" * 1000)\n')
    with subprocess.Popen([sys.executable, '-c', code, str(target)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b'written\n'
        assert len(names(target)) == 2
        write_atomically(target, NEW)
        assert len(names(target)) == 2, 'the temporary file of a living writer was removed'
        child.send_signal(signal.SIGKILL)
    assert target.read_bytes() == NEW
    assert len(names(target)) == 2
    write_atomically(target, OLD)
    assert names(target) == ['thing.bin']


def test_files_that_only_look_like_leftovers_are_left_alone(target):
    for name in ('.thing.bin.backup.tmp', '.other.bin.1-1.tmp', 'thing.bin.1-1.tmp'):
        (target.parent / name).write_bytes(OLD)
    write_atomically(target, NEW)
    assert len(names(target)) == 4


def test_writers_at_the_same_time_leave_one_whole_file(target):
    contents = [bytes([number]) * 300_000 for number in range(1, 9)]

    def write(data):
        for _ in range(10):
            write_atomically(target, data)
    threads = [threading.Thread(target=write, args=(data,)) for data in contents]
    for thread in threads:
        thread.start()
    seen = set()
    while any(thread.is_alive() for thread in threads):
        seen.add(target.read_bytes())
    for thread in threads:
        thread.join()
    assert seen <= {OLD, *contents}
    assert target.read_bytes() in contents
    assert names(target) == ['thing.bin']


@pytest.mark.parametrize('number, words', [
    (errno.ENOSPC, 'the disk is full'), (errno.EDQUOT, 'the disk is full'),
    (errno.EACCES, 'may not write'), (errno.EROFS, 'read-only'), (errno.ENOENT, 'is no folder'),
    (errno.EEXIST, 'a file has the name that a folder should have'),
    (errno.ENAMETOOLONG, 'choose a shorter one'), (errno.EIO, 'check the medium')])
def test_problems_are_put_into_one_line(tmp_path, number, words):
    line = write_problem(OSError(number, os.strerror(number)), tmp_path / 'thing.bin')
    assert words in line
    assert str(tmp_path / 'thing.bin') in line
    assert '\n' not in line
