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

"""What the Jetson source reads of the four planted boards: every zone, clock, rail and mode."""

from board_trees import BOARDS
from board_trees import plant
from c7_inference_ros.thermal.jetson import JetsonThermalSource
import pytest

SECOND = 1_000_000_000
ORIN = {'warn_c': 99.0, 'throttle_c': 99.0, 'critical_c': 104.5}
THOR = {'warn_c': 109.0, 'throttle_c': 109.0, 'critical_c': 114.5}
ORIN_BLOCKS = ('cpu', 'gpu', 'cv0', 'cv1', 'cv2', 'soc0', 'soc1', 'soc2')
ORIN_AWAKE = {'cpu-thermal': 45.0, 'gpu-thermal': 43.687, 'soc0-thermal': 44.156,
              'soc1-thermal': 44.531, 'soc2-thermal': 43.968, 'tj-thermal': 45.0}
MODELS = {
    'orin_agx': 'NVIDIA Jetson AGX Orin Developer Kit',
    'orin_nx': 'NVIDIA Jetson Orin NX Engineering Reference Developer Kit',
    'orin_nano': 'NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super',
    'thor': 'NVIDIA Jetson AGX Thor Developer Kit'}
ZONES = {
    'orin_agx': {**ORIN_AWAKE, 'tboard-thermal': 37.5, 'tdiode-thermal': 39.75},
    'orin_nx': ORIN_AWAKE,
    'orin_nano': ORIN_AWAKE,
    'thor': {'cpu-thermal': 44.531, 'soc012-thermal': 45.0, 'soc345-thermal': 44.156,
             'tj-thermal': 45.0}}
FLAGS = {
    'orin_agx': {'cpufreq-cpu0', 'cpufreq-cpu4', 'cpufreq-cpu8', 'devfreq-17000000.gpu',
                 *(f'{block}-throttle-alert' for block in ORIN_BLOCKS)},
    'orin_nx': {'cpufreq-cpu0', 'cpufreq-cpu4', 'devfreq-17000000.gpu',
                *(f'{block}-throttle-alert' for block in ORIN_BLOCKS)},
    'thor': {*(f'cpufreq-cpu{cpu}' for cpu in range(0, 14, 2)), 'devfreq-gpu-gpc-0',
             'devfreq-gpu-nvd-0', 'cpu-throttle-alert', 'gpu-throttle-alert',
             'soc012-throttle-alert', 'soc345-throttle-alert'}}
FLAGS['orin_nano'] = FLAGS['orin_nx']
CLOCKS = {
    'orin_agx': {'gpu': 306.0, 'gpu_max': 1300.5, 'cpu': 729.6, 'cpu_mean': 729.6,
                 'cpu_max': 2201.6},
    'orin_nx': {'gpu': 306.0, 'gpu_max': 918.0, 'cpu': 729.6, 'cpu_mean': 729.6,
                'cpu_max': 1984.0},
    'orin_nano': {'gpu': 306.0, 'gpu_max': 1020.0, 'cpu': 729.6, 'cpu_mean': 729.6,
                  'cpu_max': 1728.0},
    'thor': {'gpu': 0.0, 'gpu_max': 1575.0, 'gpu_nvd': 0.0, 'gpu_nvd_max': 1692.0, 'cpu': 972.0,
             'cpu_mean': 972.0, 'cpu_max': 2601.0}}
RAILS = {
    'orin_agx': {'VDD_GPU_SOC': 3.36224, 'VDD_CPU_CV': 0.48032, 'VIN_SYS_5V0': 4.86864,
                 'VDDQ_VDD2_1V8AO': 0.39744},
    'orin_nx': {'VDD_IN': 5.41728, 'VDD_CPU_GPU_CV': 0.881408, 'VDD_SOC': 1.60256},
    'orin_nano': {'VDD_IN': 5.016, 'VDD_CPU_GPU_CV': 0.8, 'VDD_SOC': 1.4},
    'thor': {'VIN': 23.0, 'VDD_GPU': 0.0, 'VDD_CPU_SOC_MSS': 6.501600, 'VIN_SYS_5V0': 6.51264}}
MODES = {
    'orin_agx': {0: 'MAXN', 1: 'MODE_15W', 2: 'MODE_30W', 3: 'MODE_50W'},
    'orin_nx': {0: 'MAXN', 1: '10W', 2: '15W', 3: '25W'},
    'orin_nano': {0: '15W', 1: '25W', 2: 'MAXN_SUPER', 3: '7W'},
    'thor': {0: 'MAXN', 1: '120W', 2: '90W', 3: '70W'}}
#: The first mode of each board as its vendor flashes it.
BOOTED = {'orin_agx': 'MAXN', 'orin_nx': 'MAXN', 'orin_nano': 'MAXN_SUPER', 'thor': 'MAXN'}


@pytest.fixture(params=BOARDS)
def board(request, tmp_path):
    """Return one board after the other, with its numbers as they are."""
    return plant(request.param, tmp_path)


@pytest.fixture(params=BOARDS)
def renumbered(request, tmp_path):
    """Return one board after the other, each zone, cooling device and chip with another number."""
    return plant(request.param, tmp_path, shuffled=True)


def read(tree, source=None, now_ns=0):
    """Return the one device of a board."""
    source = source or JetsonThermalSource(tree.sysfs_root, tree.read_bytes)
    device, = source.read(now_ns).devices
    return device


def values(readings):
    """Return name to value."""
    return {name: reading.value for name, reading in readings.items()}


def content(device):
    """Return everything that does not depend on the numbers of kernel devices."""
    return ({(zone.name, zone.temperature_c, zone.warn_c, zone.throttle_c, zone.critical_c)
             for zone in device.zones}, device.is_throttling, device.warnings, device.model,
            values(device.throttle_flags), values(device.clocks_mhz), values(device.load),
            values(device.power_w), values(device.over_current_events), values(device.settings))


def test_every_zone_is_read_with_its_own_limits(board):
    device = read(board)
    assert {zone.name: zone.temperature_c for zone in device.zones} == ZONES[board.board]
    limits = THOR if board.board == 'thor' else ORIN
    for zone in device.zones:
        found = {name: getattr(zone, name) for name in limits}
        if zone.name == 'tj-thermal' and board.board != 'thor':
            assert found == {**limits, 'warn_c': None, 'throttle_c': None}
        elif zone.name.startswith('t') and zone.name != 'tj-thermal':
            assert found['throttle_c'] is None  # a sensor of the carrier board slows nothing
        else:
            assert found == limits, zone.name


def test_a_healthy_board_is_cool_and_has_no_fault(board):
    device = read(board)
    assert JetsonThermalSource(board.sysfs_root, board.read_bytes).is_present()
    assert device.is_telemetry_available
    assert (device.is_throttling, device.throttle_reasons, device.warnings) == (False, (), ())
    if board.board == 'thor':  # its GPU is switched off while nothing uses it
        fault, = device.faults
        assert fault.startswith('gpu-thermal: class/thermal/thermal_zone')
        assert 'EAGAIN' in fault
    else:
        assert device.faults == ()


def test_the_flags_are_those_that_mean_heat(board):
    flags = read(board).throttle_flags
    assert set(flags) == FLAGS[board.board]
    assert not any(values(flags).values())


def test_clocks_load_and_governors(board):
    device = read(board)
    assert values(device.clocks_mhz) == pytest.approx(CLOCKS[board.board])
    assert values(device.load) == ({} if board.board == 'thor' else {'gpu': 0.0})
    assert device.settings['gpu_governor'].value == 'nvhost_podgov'
    assert device.settings['cpu_governor'].value == 'schedutil'


def test_rails_without_shunt_voltages_and_unconnected_channels(board):
    assert values(read(board).power_w) == pytest.approx(RAILS[board.board])


def test_identity_and_power_mode(board):
    device = read(board)
    assert device.model == MODELS[board.board]
    assert device.hardware_id.isdigit() and len(device.hardware_id) == 13
    assert device.settings['power_mode'].value == BOOTED[board.board]


def test_every_power_mode_has_its_name_and_its_clocks(board):
    source = JetsonThermalSource(board.sysfs_root, board.read_bytes)
    most = {}
    for number, name in MODES[board.board].items():
        board.set_power_mode(number)
        device = read(board, source, (number + 1) * SECOND)
        assert device.settings['power_mode'].value == name
        assert device.settings['power_mode_id'].value == str(number)
        most[name] = (device.clocks_mhz['gpu_max'].value, device.clocks_mhz['cpu_max'].value)
        assert device.faults == read(board).faults
        assert not device.is_throttling
    free = BOOTED[board.board]
    assert all(gpu <= most[free][0] and cpu <= most[free][1] for gpu, cpu in most.values())
    if board.board != 'thor':  # the caps of whose modes are not documented
        assert min(gpu for gpu, _ in most.values()) < most[free][0]


def test_every_origin_is_a_file_below_the_root(board):
    device = read(board)
    tables = (device.throttle_flags, device.clocks_mhz, device.load, device.power_w,
              device.over_current_events, device.over_current_totals)
    origins = [reading.source for table in tables for reading in table.values()]
    assert len(origins) > 20
    for origin in origins:
        assert list(board.sysfs_root.glob(origin)), origin
    for zone in device.zones:
        assert board.text(board.sysfs_root / zone.source / 'type') == zone.name
    for name in ('power_mode', 'power_mode_id'):
        assert (board.root / device.settings[name].source).is_file()


def test_numbers_of_kernel_devices_do_not_matter(renumbered, tmp_path):
    straight = plant(renumbered.board, tmp_path / 'straight')
    assert content(read(renumbered)) == content(read(straight))


def test_a_throttle_is_seen_by_poll_and_glance(board):
    source = JetsonThermalSource(board.sysfs_root, board.read_bytes)
    assert source.glance(0) == frozenset()
    for kind in sorted(FLAGS[board.board]):
        board.set_cooling(kind, 1)
        device = read(board, source, SECOND)
        assert device.throttle_flags[kind].value
        reason, = device.throttle_reasons
        assert reason.startswith(f'cooling device {kind} is at state 1 of ')
        assert source.glance(SECOND) == {kind}
        board.set_cooling(kind, 0)
    assert not read(board, source, 2 * SECOND).is_throttling
    assert source.glance(2 * SECOND) == frozenset()


def test_fan_and_hot_surface_are_no_throttle(board):
    cooling = set(board.cooling_devices) - FLAGS[board.board]
    assert 'pwm-fan' in cooling
    assert board.board == 'thor' or 'hot-surface-alert' in cooling
    for kind in cooling:
        board.set_cooling(kind, 1)
    source = JetsonThermalSource(board.sysfs_root, board.read_bytes)
    assert not read(board, source).is_throttling
    assert source.glance(SECOND) == frozenset()


def test_the_surface_trip_warms_nothing_and_the_next_slows(board):
    limit = 109.0 if board.board == 'thor' else 99.0
    source = JetsonThermalSource(board.sysfs_root, board.read_bytes)
    board.set_all(limit - 0.5)  # far above 70 C
    device = read(board, source)
    assert not device.is_throttling
    assert source.glance(0) == frozenset()
    board.set_temperature('cpu-thermal', limit)
    device = read(board, source, SECOND)
    assert device.throttle_reasons == (
        f'cpu-thermal is at {limit:.1f} C, at or above its passive trip of {limit:.1f} C',)
    assert source.glance(SECOND) == {'cpu-thermal'}


def test_blocks_that_wake_up_show_their_temperature(board):
    source = JetsonThermalSource(board.sysfs_root, board.read_bytes)
    asleep = set(board.zones) - {zone.name for zone in read(board, source).zones}
    assert asleep == ({'gpu-thermal'} if board.board == 'thor' else
                      {'cv0-thermal', 'cv1-thermal', 'cv2-thermal'})
    for zone in asleep:
        board.set_temperature(zone, 51.5)
    device = read(board, source, SECOND)
    assert {zone.name for zone in device.zones if zone.temperature_c == 51.5} == asleep
    assert device.faults == ()


def test_clocks_load_and_rails_follow(board):
    source = JetsonThermalSource(board.sysfs_root, board.read_bytes)
    read(board, source)
    most = CLOCKS[board.board]['gpu_max']
    board.set_gpu_clock(most)
    board.set_gpu_load(0.87)
    rail = next(iter(RAILS[board.board]))
    board.set_rail(rail, 19.0, 2.5)
    device = read(board, source, SECOND)
    assert device.clocks_mhz['gpu'].value == pytest.approx(most)
    assert values(device.load) == ({} if board.board == 'thor' else {'gpu': 0.87})
    assert device.power_w[rail].value == pytest.approx(47.5)


def test_a_low_clock_under_load_is_no_throttle(board):
    board.set_gpu_clock(100.0)
    board.set_gpu_load(1.0)
    assert not read(board).is_throttling


def test_a_reboot_neither_throttles_nor_counts(board):
    source = JetsonThermalSource(board.sysfs_root, board.read_bytes)
    board.count_over_current('oc3', 500)
    read(board, source)
    board.count_over_current('oc3', 4)
    assert read(board, source, SECOND).over_current_events['oc3'].value == 4
    board.reboot()
    device = read(board, source, 2 * SECOND)
    assert values(device.over_current_events) == {'oc1': 0, 'oc2': 0, 'oc3': 0}
    assert device.over_current_totals['oc3'].value == 4
    assert not device.is_throttling
