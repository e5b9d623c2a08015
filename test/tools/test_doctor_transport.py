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

"""What images need of the kernel: socket buffers, shared memory, segments that were left."""

import fcntl
import os

from c7_inference_ros.tools.machine.dds_profile import DdsProfile
from c7_inference_ros.tools.machine.dds_profile import read_profile
from c7_inference_ros.tools.machine.dds_profile import shipped_path
from c7_inference_ros.tools.machine.remedies import Remedies
from c7_inference_ros.tools.machine.transport import transport_findings
from doctor_bench import MIB
from doctor_bench import World
import pytest

WANTED = DdsProfile(shipped_path(), '', 64 * MIB, 4 * MIB)
DEAD, ALIVE, OLD = 'fastrtps_00000000000000aa', 'fastrtps_00000000000000bb', 'fastrtps_' + 16 * 'c'


@pytest.fixture
def world(tmp_path, monkeypatch):
    return World(tmp_path / 'root', monkeypatch)


@pytest.fixture
def look(world):
    def look(in_container=False):
        remedies = Remedies(False, 'noble', True, False, 'python3', True, False, in_container)
        return {one.name: one for one in transport_findings(world.around(), WANTED, remedies)}
    return look


def test_the_shipped_profile_is_understood():
    assert read_profile(shipped_path()) == WANTED


def test_enough_of_everything(look):
    assert {one.verdict.value for one in look().values()} == {'ok'}


def test_socket_buffers_that_are_too_small(world, look):
    world.write('proc/sys/net/core/rmem_max', '212992\n')
    found = look()['socket buffers']
    assert found.verdict.value == 'warn' and not found.is_blocking
    assert found.commands == (
        'sudo sysctl -w net.core.rmem_max=4194304',
        "printf 'net.core.rmem_max=4194304\\n' | sudo tee /etc/sysctl.d/60-c7-images.conf")
    assert 'set this on the host' in look(True)['socket buffers'].advice


@pytest.mark.parametrize('size, free, verdict', [
    (256 * MIB, 256 * MIB, 'ok'), (255 * MIB, 255 * MIB, 'warn'), (256 * MIB, 63 * MIB, 'warn')])
def test_shared_memory(world, look, size, free, verdict):
    world.shm = (size, free)
    assert look()['/dev/shm'].verdict.value == verdict


def test_shared_memory_that_is_too_small(world, look):
    world.shm = (64 * MIB, 64 * MIB)
    assert look()['/dev/shm'].commands == ('sudo mount -o remount,size=256m /dev/shm',)
    assert look(True)['/dev/shm'].commands == ('docker run --shm-size=256m ...',)
    world.shm = None
    assert look()['/dev/shm'].verdict.value == 'missing'


def test_segments_that_were_left(world, look):
    shm = world.root / 'dev/shm'
    for name in (DEAD, ALIVE, OLD):
        (shm / name).write_bytes(os.urandom(2 * MIB))
    for name in (DEAD, ALIVE):
        (shm / f'{name}_el').touch()
    (shm / 'fastrtps_port7410').write_bytes(b'x')
    (shm / 'somebody').write_bytes(b'x')
    with open(shm / f'{ALIVE}_el') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as Fast DDS does for as long as it lives
        found = look()['left segments']
        assert found.verdict.value == 'warn'
        assert found.values['stale'] == [DEAD, OLD] and found.values['segments'] == 3
        assert 4 * MIB <= found.values['stale_bytes'] < 5 * MIB
        assert found.commands == (f'rm -f /dev/shm/{DEAD}* /dev/shm/{OLD}*',)
        world.programs['fastdds'] = '/opt/ros/jazzy/bin/fastdds'
        assert look()['left segments'].commands == ('fastdds shm clean',)
        for name in (DEAD, OLD):
            (shm / name).unlink()
        assert look()['left segments'].verdict.value == 'ok'


def test_looking_holds_no_lock(world, look):
    shm = world.root / 'dev/shm'
    (shm / DEAD).touch()
    (shm / f'{DEAD}_el').touch()
    look()
    with open(shm / f'{DEAD}_el') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_limits_of_the_process(world, look):
    world.limits.update(RLIMIT_NOFILE=256, RLIMIT_AS=2 << 30)
    found = look()
    assert found['open files'].commands == ('ulimit -n 4096',)
    assert found['address space'].text == 'ulimit -v 2.0 GiB'
