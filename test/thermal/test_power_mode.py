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

"""The power mode of a Jetson as nvpmodel leaves it on disk, in every form that is known."""

import errno

from c7_inference_ros.thermal.power_mode import PowerMode
from c7_inference_ros.thermal.sysfs import SysfsCache
from c7_inference_ros.thermal.sysfs import SysfsReader
import pytest
from thermal_sysfs import FaultyReader

CONFIG = """\
# FORMAT:
# < POWER_MODEL ID=id_num NAME=mode_name >
# < POWER_MODEL ID=9 NAME=COMMENTED >

< PARAM TYPE=FILE NAME=CPU_ONLINE >
CORE_0 /sys/devices/system/cpu/cpu0/online

< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
GPU MAX_FREQ 918000000
# MAXN_SUPER is the NONE power model to release all constraints
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
  <POWER_MODEL ID=3 NAME=MODE_30W_4CORE>

# mandatory section to configure the default power mode
< PM_CONFIG DEFAULT=2 >
"""


class Host:
    """A file system with the files of nvpmodel."""

    def __init__(self, root):
        self.root = root
        self.reader = FaultyReader()
        self.mode = PowerMode()
        self.cache = SysfsCache()
        self.faults = []
        self.write('etc/nvpmodel.conf', CONFIG)
        self.write('var/lib/nvpmodel/status', 'pmode:0002')

    def write(self, path, text):
        """Write a file as it is: nvpmodel ends its status without a line end."""
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def read(self):
        """Return name to value, and keep the faults."""
        sysfs = SysfsReader(self.root, self.reader, self.cache)
        found = self.mode.read(sysfs)
        self.faults = sysfs.faults
        assert all(reading.source == 'var/lib/nvpmodel/status' for reading in found.values())
        return {name: reading.value for name, reading in found.items()}


@pytest.fixture
def host(tmp_path):
    """Return a board in mode 2."""
    return Host(tmp_path)


@pytest.mark.parametrize('status, number, name', [
    ('pmode:0002', '2', 'MAXN_SUPER'), ('pmode:0000\n', '0', '15W'),
    ('pmode:0001 fmode:quiet\n', '1', '25W'), ('pmode:0002 fmode:fanNull', '2', 'MAXN_SUPER'),
    ('pmode: 3', '3', 'MODE_30W_4CORE')])
def test_every_form_of_the_status(host, status, number, name):
    host.write('var/lib/nvpmodel/status', status)
    assert host.read() == {'power_mode': name, 'power_mode_id': number}
    assert host.faults == []


def test_a_mode_that_changes_is_seen_at_the_next_poll(host):
    assert host.read()['power_mode'] == 'MAXN_SUPER'
    host.write('var/lib/nvpmodel/status', 'pmode:0001')
    assert host.read()['power_mode'] == '25W'


def test_the_names_are_read_once(host):
    host.read()
    host.reader.failing = {'nvpmodel.conf': errno.EACCES}
    assert host.read()['power_mode'] == 'MAXN_SUPER'


def test_names_that_change_are_read_anew_when_the_cache_is(host):
    host.read()
    host.write('etc/nvpmodel.conf', CONFIG.replace('MAXN_SUPER', 'OTHER'))
    assert host.read()['power_mode'] == 'MAXN_SUPER'
    host.cache.renew(0, 'another machine')
    assert host.read()['power_mode'] == 'OTHER'


def test_a_long_configuration_is_read_whole(host):
    lines = ''.join(f'CPU_ONLINE CORE_{n} 1\n' for n in range(1500))
    host.write('etc/nvpmodel.conf', lines + CONFIG)
    assert len(lines) > 20_000
    assert host.read()['power_mode'] == 'MAXN_SUPER'


def test_the_configuration_that_nvpmodel_was_given_names_the_modes(host):
    host.write('etc/nvpmodel/own.conf', '< POWER_MODEL ID=2 NAME=OWN >\n')
    host.write('var/lib/nvpmodel/conf_file_path', '/etc/nvpmodel/own.conf\n')
    assert host.read()['power_mode'] == 'OWN'


@pytest.mark.parametrize('path', ['', '\n', 'nvpmodel.conf', '/../../etc/passwd', '/etc/a\0b',
                                  '/etc/x\n/etc/y', b'\xff\xfe'])
def test_a_path_that_is_none_leads_to_the_usual_file(host, path):
    host.write('var/lib/nvpmodel/conf_file_path', path)
    assert host.read()['power_mode'] == 'MAXN_SUPER'
    assert host.faults == []


def test_no_status_is_one_fault_that_says_what_to_do(host):
    (host.root / 'var/lib/nvpmodel/status').unlink()
    assert host.read() == {}
    assert host.faults == [
        'var/lib/nvpmodel/status is missing, the power mode is unknown; in a container mount'
        ' /var/lib/nvpmodel and /etc/nvpmodel.conf read only']


def test_a_status_that_may_not_be_read_is_one_fault(host):
    host.reader.failing = {'/status': errno.EACCES}
    assert host.read() == {}
    fault, = host.faults
    assert 'EACCES' in fault


@pytest.mark.parametrize('status', ['', 'pmode:', 'pmode:two', 'fmode:quiet', '0002', b'\xff',
                                    'pmode:99999999999', 'pmode:-1'])
def test_a_status_that_is_none_is_one_fault(host, status):
    host.write('var/lib/nvpmodel/status', status)
    assert host.read() == {}
    fault, = host.faults
    assert fault.startswith('var/lib/nvpmodel/status holds ')
    assert 'expected pmode:' in fault


def test_no_configuration_leaves_the_number(host):
    (host.root / 'etc/nvpmodel.conf').unlink()
    assert host.read() == {'power_mode_id': '2'}
    fault, = host.faults
    assert fault.startswith('etc/nvpmodel.conf is missing, the name of power mode 2 is unknown')


def test_a_configuration_that_may_not_be_read_leaves_the_number(host):
    host.reader.failing = {'nvpmodel.conf': errno.EIO}
    assert host.read() == {'power_mode_id': '2'}
    fault, = host.faults
    assert 'EIO' in fault


@pytest.mark.parametrize('number', [4, 9])
def test_a_mode_that_nobody_defines_leaves_the_number(host, number):
    host.write('var/lib/nvpmodel/status', f'pmode:{number:04d}')
    assert host.read() == {'power_mode_id': str(number)}
    assert host.faults == [
        f'etc/nvpmodel.conf defines no power mode {number}, its name is unknown; expected a line'
        f' < POWER_MODEL ID={number} NAME=... >']


@pytest.mark.parametrize('path', ['var/lib/nvpmodel/status', 'etc/nvpmodel.conf'])
def test_a_folder_or_a_loop_in_place_of_a_file(host, path):
    target = host.root / path
    target.unlink()
    target.mkdir()
    assert 'power_mode' not in host.read()
    assert len(host.faults) == 1
    target.rmdir()
    target.symlink_to(target.name)
    assert 'power_mode' not in host.read()
    assert 'ELOOP' in host.faults[0]
