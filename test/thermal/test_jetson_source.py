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

"""A Jetson that fails: broken sensors, garbage, containers; and what is no Jetson."""

import errno
import os
import shutil
import time

from board_trees import BOARDS
from board_trees import plant
from c7_inference_ros.errors import TelemetryUnavailableError
from c7_inference_ros.thermal.jetson import JetsonThermalSource
from c7_inference_ros.thermal.source import ThermalSource
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
import pytest
from thermal_sysfs import FaultyReader

SECOND = 1_000_000_000
CORES = ('cpu-thermal', 'gpu-thermal', 'tj-thermal')


@pytest.fixture
def board(tmp_path):
    """Return an Orin NX, healthy and cool."""
    return plant('orin_nx', tmp_path)


@pytest.fixture
def source(board):
    """Return the source of that board."""
    return JetsonThermalSource(board.sysfs_root, board.read_bytes)


def read(source, now_ns=0):
    """Return the one device."""
    device, = source.read(now_ns).devices
    return device


def names(device):
    """Return the names of the zones that were read."""
    return {zone.name for zone in device.zones}


def test_the_source_fits_the_interface(source):
    assert isinstance(source, ThermalSource)
    assert (source.name, source.device_names) == ('jetson', ('jetson',))
    state = source.read(7 * SECOND)
    assert [device.name for device in state.devices] == ['jetson']
    assert state.measured_at_ns == 7 * SECOND
    assert state.source == 'jetson'


def test_nothing_is_read_before_it_is_asked_for(tmp_path):
    def explode(path):
        raise AssertionError(path)
    JetsonThermalSource(tmp_path, explode)


# Zones


@pytest.mark.parametrize('code', [errno.EAGAIN, errno.EINVAL, errno.ENODATA])
def test_a_sleeping_block_is_no_fault(board, source, code):
    board.fail('soc1-thermal', code)
    device = read(source)
    assert 'soc1-thermal' not in names(device)
    assert device.faults == ()
    assert device.is_telemetry_available


def test_a_sleeping_block_may_be_empty_or_disabled(board, source):
    board.write(board.zones['soc1-thermal'] / 'temp', b'')
    board.write(board.zones['soc2-thermal'] / 'mode', 'disabled')
    device = read(source)
    assert not names(device) & {'soc1-thermal', 'soc2-thermal'}
    assert device.faults == ()


@pytest.mark.parametrize('zone', CORES)
@pytest.mark.parametrize('code', [errno.EAGAIN, errno.EINVAL, errno.EIO, errno.EACCES])
def test_a_processors_zone_that_fails_is_listed(board, source, zone, code):
    board.fail(zone, code)
    device = read(source)
    assert zone not in names(device)
    fault, = device.faults
    assert fault.startswith(f'{zone}: class/thermal/thermal_zone')
    assert errno.errorcode[code] in fault


@pytest.mark.parametrize('zone', CORES)
def test_a_processors_zone_that_is_empty_or_disabled_is_listed(board, source, zone):
    board.write(board.zones[zone] / 'temp', b'')
    fault, = read(source).faults
    assert fault.startswith(f'{zone}: ')
    assert 'holds nothing' in fault
    board.write(board.zones[zone] / 'mode', 'disabled')
    fault, = read(source, SECOND).faults
    assert zone in fault and 'disabled' in fault


@pytest.mark.parametrize('code', [errno.EIO, errno.EACCES, errno.ENODEV])
def test_a_sleeping_block_does_not_answer_like_a_broken_one(board, source, code):
    board.fail('soc1-thermal', code)
    fault, = read(source).faults
    assert fault.startswith('soc1-thermal: ')


def test_garbage_of_a_block_that_may_sleep_is_a_fault(board, source):
    board.write(board.zones['soc1-thermal'] / 'temp', 'warm')
    fault, = read(source).faults
    assert "'warm'" in fault


def test_no_zone_at_all_is_no_telemetry(board, source):
    for zone in board.zones:
        board.fail(zone, errno.EAGAIN)
    assert source.is_present()
    with pytest.raises(TelemetryUnavailableError, match='EAGAIN') as caught:
        source.read(0)
    assert str(board.sysfs_root) in str(caught.value)
    assert '\n' not in str(caught.value)
    assert source.glance(0) == frozenset()


def test_a_board_that_throttles_is_told_also_without_a_temperature(board, source):
    for zone in board.zones:
        board.fail(zone, errno.EIO)
    board.set_cooling('gpu-throttle-alert', 1)
    device = read(source)
    assert device.is_throttling
    assert device.zones == ()
    assert len(device.faults) == len(board.zones)
    assert source.glance(0) == {'gpu-throttle-alert'}


def test_without_bindings_the_highest_passive_trip_slows(board):
    for folder in board.zones.values():
        for path in list(folder.iterdir()):
            if path.name.startswith('cdev'):
                path.unlink()
    source = JetsonThermalSource(board.sysfs_root, board.read_bytes)
    device = read(source)
    limits = {zone.name: zone.throttle_c for zone in device.zones}
    assert limits['cpu-thermal'] == 99.0
    board.set_temperature('cpu-thermal', 75.0)
    assert not read(source, SECOND).is_throttling
    board.set_temperature('cpu-thermal', 99.0)
    assert read(source, 2 * SECOND).is_throttling


def test_a_critical_zone_is_told_as_such(board, source):
    board.set_temperature('tj-thermal', 104.5)
    reason, = read(source).throttle_reasons
    assert reason == 'tj-thermal is at 104.5 C, at or above its critical trip of 104.5 C'


def test_the_constant_of_a_power_chip_is_no_temperature(board, source):
    board.write(board.zones['soc1-thermal'] / 'type', 'PMIC-Die')
    board.write(board.zones['soc1-thermal'] / 'temp', 100000)
    device = read(source)
    assert 'PMIC-Die' not in names(device)
    assert device.hottest.temperature_c == 45.0


def test_a_name_of_several_lines_stays_one(board, source):
    board.write(board.zones['soc1-thermal'] / 'type', b'soc1\nthermal\x1b[31m\n')
    device = read(source)
    assert r'soc1\nthermal\x1b[31m' in names(device)


# Throttling


def test_a_cooling_state_that_fails_is_a_fault(board, source):
    board.fail(board.cooling_devices['gpu-throttle-alert'] / 'cur_state', errno.EIO)
    device = read(source)
    assert 'gpu-throttle-alert' not in device.throttle_flags
    fault, = device.faults
    assert 'cur_state' in fault
    assert not device.is_throttling


def test_heat_that_ends_leaves_no_sign(board, source):
    board.set_cooling('cpufreq-cpu0', 3)
    board.set_cooling('cpu-throttle-alert', 1)
    assert source.glance(0) == {'cpufreq-cpu0', 'cpu-throttle-alert'}
    assert len(read(source).throttle_reasons) == 2
    board.set_cooling('cpufreq-cpu0', 0)
    board.set_cooling('cpu-throttle-alert', 0)
    assert not read(source, SECOND).is_throttling


def test_a_glance_reads_neither_rails_nor_clocks_nor_modes(board):
    seen = []

    def record(path):
        seen.append(path)
        return board.read_bytes(path)
    source = JetsonThermalSource(board.sysfs_root, record)
    source.read(0)
    source.glance(1)
    seen.clear()
    source.glance(2)
    assert seen
    assert {os.path.basename(path) for path in seen} == {'temp', 'cur_state'}


def test_constants_are_read_once_a_minute(board):
    seen = []

    def record(path):
        seen.append(path)
        return board.read_bytes(path)
    source = JetsonThermalSource(board.sysfs_root, record)
    source.read(0)
    first = len(seen)
    seen.clear()
    source.read(SECOND)
    assert not [path for path in seen if path.endswith(
        ('type', '_label', 'trip_point_0_temp', 'nvpmodel.conf', 'model', 'name'))]
    second = len(seen)
    assert second < first / 2
    seen.clear()
    source.read(62 * SECOND)
    assert len(seen) == first


def test_a_trip_that_is_garbage_is_a_fault_in_every_poll(board, source):
    board.write(board.zones['cpu-thermal'] / 'trip_point_0_temp', 'hot')
    for now_ns in (0, SECOND):
        device = read(source, now_ns)
        fault, = device.faults
        assert "trip_point_0_temp holds 'hot'" in fault
    cpu, = [zone for zone in device.zones if zone.name == 'cpu-thermal']
    assert (cpu.throttle_c, cpu.critical_c) == (None, 104.5)


def test_a_chip_behind_another_device_is_seen_after_a_minute(board, source):
    def first_rail(now_ns):
        return next(iter(read(source, now_ns).power_w))
    assert first_rail(0) == 'VDD_IN'
    (chip,) = board.hwmon('ina3221')
    extra = chip.resolve().parent.parent / 'hwmon77'
    extra.mkdir()
    for name, text in (('name', 'ina3221'), ('in1_label', 'EXTRA'), ('in1_input', '5000'),
                       ('curr1_input', '10')):
        (extra / name).write_text(text)
    (extra / 'device').symlink_to('9-0099')
    (board.sysfs_root / 'class/hwmon/hwmon77').symlink_to(extra)
    assert first_rail(SECOND) == 'VDD_IN'
    (extra / 'device').unlink()
    (extra / 'device').symlink_to('0-0001')
    assert first_rail(2 * SECOND) == 'VDD_IN'
    assert first_rail(70 * SECOND) == 'EXTRA'


def test_a_cooling_device_that_appears_is_seen_at_once(board, source):
    read(source)
    folder = board.sysfs_root / 'devices/virtual/thermal/cooling_device77'
    folder.mkdir()
    (folder / 'type').write_text('thermal-devfreq-0\n')
    (folder / 'cur_state').write_text('2\n')
    (board.sysfs_root / 'class/thermal/cooling_device77').symlink_to(folder)
    assert source.glance(1) == {'thermal-devfreq-0'}
    assert read(source, 2).throttle_reasons == (
        'cooling device thermal-devfreq-0 is at state 2 (1 active)',)


# What is a Jetson, and what is not


@pytest.mark.parametrize('name', BOARDS)
def test_a_container_that_masks_the_device_tree(tmp_path, name):
    board = plant(name, tmp_path)
    whole = read(JetsonThermalSource(board.sysfs_root, board.read_bytes))
    shutil.rmtree(board.sysfs_root / 'firmware')
    for path in ('etc', 'var'):
        shutil.rmtree(board.root / path)
    source = JetsonThermalSource(board.sysfs_root, board.read_bytes)
    assert source.is_present()
    device = read(source)
    assert (device.model, device.hardware_id) == ('', '')
    assert device.zones == whole.zones
    assert device.clocks_mhz == whole.clocks_mhz
    assert device.load == whole.load
    assert 'power_mode' not in device.settings
    fault = device.faults[-1]
    assert fault.startswith('var/lib/nvpmodel/status is missing')
    assert 'container' in fault


def test_a_board_of_another_maker_is_not_present(board, source):
    board.write('sys/firmware/devicetree/base/compatible', b'radxa,rock-5b\0rockchip,rk3588\0')
    assert not source.is_present()
    assert source.absence == ("firmware/devicetree/base/compatible names 'rockchip,rk3588',"
                              ' expected nvidia,tegra and a number')


def test_a_gpu_and_a_gpu_zone_alone_are_found_on_many_boards(tree):
    for index, kind in enumerate(('soc-thermal', 'cpu-thermal', 'gpu-thermal')):
        tree.zone(index, kind, 45000)
    tree.cooling(0, 'devfreq-fb000000.gpu', 0)
    tree.write('class/devfreq/fb000000.gpu/cur_freq', 300_000_000)
    source = JetsonThermalSource(tree.root)
    assert not source.is_present()
    assert 'tj-thermal' in source.absence


def test_a_junction_zone_without_a_gpu_is_not_enough(tree):
    tree.zone(0, 'tj-thermal', 45000)
    source = JetsonThermalSource(tree.root)
    assert not source.is_present()
    assert 'class/devfreq' in source.absence
    tree.write('class/devfreq/17000000.gpu/cur_freq', 300_000_000)
    assert source.is_present()
    assert source.absence == ''


def test_throttle_alerts_stand_for_the_junction_zone(tree):
    tree.zone(0, 'cpu-thermal', 45000)
    tree.cooling(0, 'cpu-throttle-alert', 0)
    tree.write('class/devfreq/gpu-gpc-0/cur_freq', 300_000_000)
    assert JetsonThermalSource(tree.root).is_present()


def test_laptops_and_empty_machines_are_not_present(laptop_tree, tmp_path):
    for root in (laptop_tree.root, tmp_path / 'nowhere'):
        source = JetsonThermalSource(root)
        assert not source.is_present()
        assert source.absence
        assert '\n' not in source.absence


def test_a_jetson_whose_sensors_are_hidden_says_so(tree):
    tree.write('firmware/devicetree/base/compatible', b'nvidia,p3767\0nvidia,tegra234\0')
    source = JetsonThermalSource(tree.root)
    assert source.is_present()
    with pytest.raises(TelemetryUnavailableError, match='tj-thermal'):
        source.read(0)


def test_the_machine_under_test_is_answered_without_a_crash():
    source = JetsonThermalSource()
    descriptors = len(os.listdir('/proc/self/fd'))
    try:
        state = source.read(0)
    except TelemetryUnavailableError as error:
        assert '/sys' in str(error)
    else:
        assert all(-40.0 <= zone.temperature_c <= 150.0 for zone in state.zones)
    assert len(os.listdir('/proc/self/fd')) == descriptors


def test_identity_that_is_garbage_is_left_out(board, source):
    board.write('sys/firmware/devicetree/base/model', b'\xff\n\x01\0')
    board.fail('sys/firmware/devicetree/base/serial-number', errno.EACCES)
    device = read(source)
    assert (device.model.isprintable(), device.hardware_id) == (True, '')
    assert len(device.faults) == 1


# Anything at all


def test_every_single_file_may_fail(board):
    paths = [path for path in (board.sysfs_root / 'class').rglob('*') if path.is_file()]
    for folder in ('class', 'devices', 'firmware'):
        paths += [path for path in (board.sysfs_root / folder).rglob('*') if path.is_file()]
    endings = sorted({f'/{path.name}' for path in paths})
    assert len(endings) > 50
    for ending in endings:
        for code in (errno.EAGAIN, errno.EACCES, errno.EIO):
            source = JetsonThermalSource(board.sysfs_root, FaultyReader({ending: code}))
            source.is_present()
            try:
                device = read(source)
            except TelemetryUnavailableError as error:
                assert ending == '/temp'
                assert '\n' not in str(error)
                continue
            assert device.zones
            assert not device.is_throttling
            assert device.is_telemetry_available
            if code == errno.EIO and ending in ('/cur_state', '/curr1_input', '/cur_freq',
                                                '/oc1_event_cnt', '/status'):
                assert [fault for fault in device.faults if ending in fault], ending


GARBAGE = st.one_of(
    st.binary(max_size=40), st.integers(-10 ** 20, 10 ** 20).map(lambda n: b'%d\n' % n),
    st.sampled_from([b'', b'\0', b'-1', b'1e3', b'NaN', b'9' * 400, b'pmode:\n', b'pmode:99999',
                     b'../../../etc/passwd', b'/\0', b'disabled', b'passive\n', b'tj-thermal\n',
                     b'< POWER_MODEL ID=1 NAME=\xff >', b'soctherm_oc\n', b'ina3221\n']))
MUTATIONS = st.sampled_from(['garbage', 'missing', 'folder', 'loop', 'errno', 'dangling'])
CODES = st.sampled_from([errno.EAGAIN, errno.EACCES, errno.EIO, errno.EINVAL, errno.ENODATA,
                         errno.ENODEV, errno.EBUSY, errno.ENXIO])


def paths_of(board):
    """Return the files that the source reads of a board, and their folders."""
    seen = set()

    def record(path):
        seen.add(os.path.relpath(path, board.root))
        return board.read_bytes(path)
    source = JetsonThermalSource(board.sysfs_root, record)
    source.is_present()
    source.read(0)
    seen |= {os.path.dirname(path) for path in seen} | {'sys/class', 'sys/class/thermal'}
    return sorted(path for path in seen if (board.root / path).exists())


@pytest.fixture(scope='module')
def planted(tmp_path_factory):
    """Return what gives root and paths of a board by its name, for trees that are broken."""
    root = tmp_path_factory.mktemp('planted')
    boards = {name: plant(name, root / name) for name in BOARDS}
    known = {name: (board.root, paths_of(board)) for name, board in boards.items()}
    return lambda name: known[name]


class Breakage:
    """Breaks paths of one tree, and mends them all."""

    def __init__(self, root):
        self.root = root
        self.aside = []

    def replace(self, path, what, content=b''):
        """Put something else in the place of a file or a folder."""
        if not (path.exists() or path.is_symlink()):
            return  # below a folder that is gone already
        aside = self.root / f'aside{len(self.aside)}'
        path.rename(aside)
        self.aside.append((path, aside))
        if what == 'garbage':
            path.write_bytes(content)
        elif what == 'folder':
            path.mkdir()
        elif what == 'loop':
            path.symlink_to(path.name)
        elif what == 'dangling':
            path.symlink_to('nowhere')

    def mend(self):
        """Put everything back, the last first."""
        for path, aside in reversed(self.aside):
            if path.is_symlink() or path.is_file():
                path.unlink()
            elif path.is_dir():
                path.rmdir()
            aside.rename(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_tree_breaks_the_source(planted, data):
    root, paths = planted(data.draw(st.sampled_from(BOARDS)))
    breakage, errors = Breakage(root), {}
    try:
        for _ in range(data.draw(st.integers(1, 30))):
            path = data.draw(st.sampled_from(paths))
            what = data.draw(MUTATIONS)
            if what == 'errno':
                errors[f'/{path}'] = data.draw(CODES)
            else:
                breakage.replace(root / path, what, data.draw(GARBAGE))
        check_everything_is_believable(root, errors)
    finally:
        breakage.mend()


def check_everything_is_believable(root, errors):
    """Poll three times and look at each word and number."""
    source = JetsonThermalSource(root / 'sys', FaultyReader(errors))
    assert isinstance(source.is_present(), bool)
    assert '\n' not in source.absence
    for now_ns in (0, SECOND, 70 * SECOND):
        assert all('\n' not in sign for sign in source.glance(now_ns))
        try:
            device = read(source, now_ns)
        except TelemetryUnavailableError as error:
            assert '\n' not in str(error)
            continue
        assert all(-40.0 <= zone.temperature_c <= 150.0 for zone in device.zones)
        assert all(0 <= reading.value <= 20000 for reading in device.clocks_mhz.values())
        assert all(0 <= reading.value <= 1 for reading in device.load.values())
        assert all(abs(reading.value) <= 2000 for reading in device.power_w.values())
        assert all(reading.value == 0 for reading in device.over_current_events.values())
        texts = (*device.faults, *device.warnings, *device.throttle_reasons, device.model,
                 device.hardware_id, *(zone.name for zone in device.zones), *device.power_w,
                 *device.throttle_flags,
                 *(reading.value for reading in device.settings.values()))
        assert all(text.isprintable() and text.isascii() for text in texts)
        assert len(names(device)) == len(device.zones)


def test_a_poll_costs_less_than_a_hundredth_of_a_core(board):
    source = JetsonThermalSource(board.sysfs_root)
    source.read(0)
    begin = time.thread_time_ns()
    for now_ns in range(100):  # 100 polls with the glances between them
        source.read(now_ns)
        for _ in range(3):
            source.glance(now_ns)
    assert (time.thread_time_ns() - begin) / 100 < 10_000_000  # 10 ms of each second; 1 ms here
