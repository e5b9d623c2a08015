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

"""Thermal zones and hwmon chips of ordinary machines, healthy, failing and hot."""

import errno
import os

from c7_inference_ros.errors import TelemetryUnavailableError
from c7_inference_ros.thermal.linux import LinuxThermalSource
from c7_inference_ros.thermal.source import ThermalSource
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest
from thermal_sysfs import FaultyReader
from thermal_sysfs import laptop
from thermal_sysfs import SysfsTree

SECOND = 1_000_000_000


def zones_of(state):
    """Return name to temperature."""
    return {zone.name: zone.temperature_c for zone in state.zones}


def clocks_of(state):
    """Return name to MHz of the one device."""
    device, = state.devices
    return {name: reading.value for name, reading in device.clocks_mhz.items()}


def zone_named(state, name):
    """Return the one reading of that name."""
    found, = [zone for zone in state.zones if zone.name == name]
    return found


def test_a_healthy_laptop_is_read_completely(laptop_tree):
    source = LinuxThermalSource(laptop_tree.root)
    assert source.is_present()
    state = source.read(7 * SECOND)
    assert zones_of(state) == {
        'acpitz': 45.0, 'x86_pkg_temp': 47.0, 'iwlwifi_1': 40.0, 'coretemp Package id 0': 47.0,
        'coretemp Core 0': 46.0, 'coretemp Core 1': 44.0, 'nvme Composite': 38.85,
        'nvme Sensor 1': 39.85}
    assert state.faults == ()
    assert (state.is_throttling, state.throttle_reasons) == (False, ())
    assert state.is_telemetry_available
    assert state.measured_at_ns == 7 * SECOND
    assert state.source == 'linux'
    assert clocks_of(state) == {'cpu': 2000.0, 'cpu_mean': 1400.0}
    assert state.hottest.temperature_c == 47.0


def test_limits_are_the_hardwares_own(laptop_tree):
    state = LinuxThermalSource(laptop_tree.root).read(0)
    acpitz = zone_named(state, 'acpitz')
    assert (acpitz.warn_c, acpitz.critical_c) == (95.0, 103.0)
    assert acpitz.source == 'class/thermal/thermal_zone0'
    package = zone_named(state, 'x86_pkg_temp')
    assert (package.warn_c, package.critical_c) == (None, None)
    core = zone_named(state, 'coretemp Core 0')
    assert (core.warn_c, core.critical_c) == (100.0, 100.0)
    assert core.source == 'class/hwmon/hwmon2/temp2_input'
    assert zone_named(state, 'nvme Composite').warn_c == 83.85
    assert zone_named(state, 'nvme Sensor 1').warn_c is None  # 65261.85 C: no limit at all


def test_a_machine_without_sensors_says_so(tree):
    tree.cooling(0, 'Processor', 0)
    tree.cpu(0, khz=2_400_000)
    source = LinuxThermalSource(tree.root)
    assert not source.is_present()
    with pytest.raises(TelemetryUnavailableError, match='no thermal zone and no hwmon') as caught:
        source.read(0)
    assert str(tree.root) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_root_that_does_not_exist_is_a_machine_without_sensors(tmp_path):
    source = LinuxThermalSource(tmp_path / 'nowhere')
    assert not source.is_present()
    with pytest.raises(TelemetryUnavailableError):
        source.read(0)


def test_the_machine_under_test_is_read_without_a_crash():
    source = LinuxThermalSource()
    descriptors = len(os.listdir('/proc/self/fd'))
    for now_ns in (0, SECOND):
        try:
            state = source.read(now_ns)
        except TelemetryUnavailableError as error:
            assert '/sys' in str(error)
        else:
            assert source.is_present() or state.is_throttling
            assert all(-40.0 <= zone.temperature_c <= 150.0 for zone in state.zones)
            assert len({zone.name for zone in state.zones}) == len(state.zones)
    assert len(os.listdir('/proc/self/fd')) == descriptors


@pytest.mark.parametrize('code', [errno.ENODATA, errno.EAGAIN, errno.EINVAL, errno.EACCES,
                                  errno.EIO, errno.ENODEV])
def test_a_zone_that_fails_is_a_fault_and_the_others_are_read(laptop_tree, code):
    reader = FaultyReader({'thermal_zone2/temp': code})
    state = LinuxThermalSource(laptop_tree.root, reader).read(0)
    assert 'iwlwifi_1' not in zones_of(state)
    assert len(state.zones) == 7
    fault, = state.faults
    assert 'thermal_zone2/temp' in fault
    assert errno.errorcode[code] in fault


@pytest.mark.parametrize('content, words', [
    ('', 'holds nothing'), ('warm', "'warm'"), (b'\xff\xfe\x00', r'\\xff'), ('45.5', "'45.5'"),
    ('4_5000', "'4_5000'"), ('0x2d', "'0x2d'"), ('45000 46000', 'whole number'),
    ('9' * 500, 'whole number'), ('127000', '127.0 C'), ('127500', '127.5 C'),
    ('-273000', '-273.0 C'), ('-274000', '-274.0 C'), ('151000', '151.0 C'),
    ('-40001', '-40.0 C'), ('2147483647', '2147483.6 C')])
def test_garbage_is_a_fault_never_a_temperature(laptop_tree, content, words):
    laptop_tree.temperature(2, content)
    state = LinuxThermalSource(laptop_tree.root).read(0)
    assert 'iwlwifi_1' not in zones_of(state)
    fault, = state.faults
    assert words in fault
    assert '\n' not in fault


@pytest.mark.parametrize('millidegrees', [-40000, -1, 0, 126999, 128000, 150000])
def test_every_believable_temperature_is_kept(tree, millidegrees):
    tree.zone(0, 'soc', millidegrees)
    state = LinuxThermalSource(tree.root).read(0)
    assert zones_of(state) == {'soc': millidegrees / 1000.0}
    assert not state.is_throttling


def test_a_disabled_zone_is_a_fault(laptop_tree):
    laptop_tree.write('class/thermal/thermal_zone2/mode', 'disabled')
    state = LinuxThermalSource(laptop_tree.root).read(0)
    assert 'iwlwifi_1' not in zones_of(state)
    assert 'iwlwifi_1' in state.faults[0]
    assert 'disabled' in state.faults[0]


def test_a_zone_without_a_type_or_a_mode_is_named_by_its_folder(tree):
    tree.zone(3, None, 30000, mode=None)
    assert zones_of(LinuxThermalSource(tree.root).read(0)) == {'thermal_zone3': 30.0}


def test_a_chip_that_calls_its_sensor_broken_is_believed(laptop_tree):
    laptop_tree.chip(2, 'coretemp', 'devices/platform/coretemp.0', {2: {'fault': 1}})
    state = LinuxThermalSource(laptop_tree.root).read(0)
    assert 'coretemp Core 0' not in zones_of(state)
    assert 'broken' in state.faults[0]


def test_nothing_readable_is_no_telemetry_though_sensors_exist(laptop_tree):
    reader = FaultyReader({'/temp': errno.EAGAIN, '_input': errno.EIO})
    source = LinuxThermalSource(laptop_tree.root, reader)
    assert source.is_present()
    with pytest.raises(TelemetryUnavailableError, match='EAGAIN'):
        source.read(0)


def test_throttling_is_told_even_when_no_temperature_can_be_read(laptop_tree):
    laptop_tree.cooling(1, 'Processor', 3)
    reader = FaultyReader({'/temp': errno.EAGAIN, '_input': errno.EIO})
    state = LinuxThermalSource(laptop_tree.root, reader).read(0)
    assert state.is_throttling
    assert state.is_telemetry_available
    assert state.zones == ()
    assert len(state.faults) == 8


def test_a_sensor_that_vanishes_between_listing_and_reading_is_a_fault(laptop_tree):
    (laptop_tree.root / 'devices/virtual/thermal/thermal_zone2/temp').unlink()
    state = LinuxThermalSource(laptop_tree.root).read(0)
    assert state.faults == ('iwlwifi_1: class/thermal/thermal_zone2/temp is missing',)


def test_a_chip_made_from_a_zone_is_counted_once(laptop_tree):
    names = [zone.name for zone in LinuxThermalSource(laptop_tree.root).read(0).zones]
    assert not [name for name in names if name.startswith(('acpitz ', 'iwlwifi_1 '))]


def test_a_mirror_without_a_device_link_is_known_by_its_name(tree):
    tree.zone(0, 'cpu-thermal', 50000)
    tree.chip(0, 'cpu_thermal', None, {1: {'input': 50000}})
    tree.chip(1, 'board', None, {1: {'input': 40000}})
    assert zones_of(LinuxThermalSource(tree.root).read(0)) == {
        'cpu-thermal': 50.0, 'board temp1': 40.0}


def test_another_chip_of_the_same_name_is_no_mirror(tree):
    tree.zone(0, 'nvme', 50000)
    tree.chip(0, 'nvme', 'devices/pci/nvme0', {1: {'input': 41000}})
    assert zones_of(LinuxThermalSource(tree.root).read(0)) == {'nvme': 50.0, 'nvme temp1': 41.0}


def test_equal_names_are_numbered_and_keep_their_number_when_one_fails(tree):
    for index, temp in ((0, 20000), (2, 22000), (10, 30000)):
        tree.zone(index, 'acpitz', temp)
    assert zones_of(LinuxThermalSource(tree.root).read(0)) == {
        'acpitz': 20.0, 'acpitz#2': 22.0, 'acpitz#3': 30.0}
    reader = FaultyReader({'thermal_zone2/temp': errno.EINVAL})
    assert zones_of(LinuxThermalSource(tree.root, reader).read(0)) == {
        'acpitz': 20.0, 'acpitz#3': 30.0}


@pytest.mark.parametrize('first, second', [(4, 7), (7, 4), (9, 10), (10, 9)])
def test_equal_chips_are_numbered_by_device_not_by_probe_order(tree, first, second):
    tree.chip(first, 'nvme', 'devices/pci/nvme2', {1: {'label': 'Composite', 'input': 41000}})
    tree.chip(second, 'nvme', 'devices/pci/nvme10', {1: {'label': 'Composite', 'input': 52000}})
    assert zones_of(LinuxThermalSource(tree.root).read(0)) == {
        'nvme Composite': 41.0, 'nvme Composite#2': 52.0}


def test_fans_radios_and_settings_do_not_throttle(laptop_tree):
    laptop_tree.cooling(4, 'Fan', 1)
    laptop_tree.cooling(7, 'pwm-fan', 200)
    laptop_tree.cooling(8, 'iwlwifi_1', 4)
    laptop_tree.cooling(9, 'LCD', 50)
    laptop_tree.cooling(10, 'hot-surface-alert', 1)
    assert not LinuxThermalSource(laptop_tree.root).read(0).is_throttling


@pytest.mark.parametrize('kind', [
    'Processor', 'cpufreq-cpu0', 'thermal-cpufreq-0', 'devfreq-17000000.gpu',
    'thermal-devfreq-0', 'idle-cpu3', 'intel_powerclamp'])
def test_a_cooling_device_that_slows_the_processor_is_throttling(laptop_tree, kind):
    laptop_tree.cooling(5, kind, 2, most=7)
    state = LinuxThermalSource(laptop_tree.root).read(0)
    assert state.is_throttling
    assert state.throttle_reasons == (f'cooling device {kind} is at state 2 of 7 (1 active)',)
    laptop_tree.cooling(5, kind, 0)
    assert not LinuxThermalSource(laptop_tree.root).read(0).is_throttling


def test_many_cooling_devices_of_a_kind_are_one_reason(laptop_tree):
    for index, cooling_state in enumerate((1, 3, 0, 2)):
        laptop_tree.cooling(index, 'Processor', cooling_state)
    state = LinuxThermalSource(laptop_tree.root).read(0)
    assert state.throttle_reasons == ('cooling device Processor is at state 3 of 10 (3 active)',)


@pytest.mark.parametrize('temp, word', [(94999, None), (95000, 'passive'), (102000, 'passive'),
                                        (103000, 'critical')])
def test_a_zone_at_its_trip_point_is_throttling(laptop_tree, temp, word):
    laptop_tree.temperature(0, temp)
    state = LinuxThermalSource(laptop_tree.root).read(0)
    assert state.is_throttling == (word is not None)
    if word:
        reason, = state.throttle_reasons
        assert f'{word} trip' in reason
        assert reason.startswith('acpitz is at')


def test_a_passive_trip_that_slows_nothing_is_no_throttle(tree):
    # As on a Jetson Orin: at 70 C the surface is hot, at 99 C the processor slows down.
    tree.cooling(0, 'hot-surface-alert', 1)
    tree.cooling(1, 'cpufreq-cpu0', 0)
    tree.zone(0, 'tj-thermal', 75000, bindings=[(0, 0), (1, 1)],
              trips=[('passive', 70000), ('passive', 99000), ('critical', 104500)])
    source = LinuxThermalSource(tree.root)
    state = source.read(0)
    assert not state.is_throttling
    assert zone_named(state, 'tj-thermal').warn_c == 99.0
    tree.temperature(0, 99000)
    assert source.read(SECOND).is_throttling


def test_a_hot_trip_warns_and_trips_without_bindings_count(tree):
    tree.zone(0, 'soc', 80000, trips=[('hot', 90000), ('passive', 85000)])
    source = LinuxThermalSource(tree.root)
    state = source.read(0)
    assert zone_named(state, 'soc').warn_c == 85.0
    assert not state.is_throttling
    tree.temperature(0, 85000)
    assert source.read(SECOND).is_throttling


def test_a_threshold_of_x86_pkg_temp_is_a_notification_not_a_trip(laptop_tree):
    laptop_tree.zone(1, 'x86_pkg_temp', 60000, trips=[('passive', 50000)])
    assert not LinuxThermalSource(laptop_tree.root).read(0).is_throttling


def test_a_processor_chip_at_its_critical_limit_is_throttling(laptop_tree):
    laptop_tree.chip(2, 'coretemp', 'devices/platform/coretemp.0', {2: {'input': 100000}})
    state = LinuxThermalSource(laptop_tree.root).read(0)
    reason, = state.throttle_reasons
    assert reason.startswith('coretemp Core 0 is at 100.0 C')


def test_a_floating_board_sensor_above_its_limit_is_not_throttling(laptop_tree):
    laptop_tree.chip(4, 'nct6775', 'devices/platform/nct6775.656',
                     {9: {'label': 'AUXTIN3', 'input': 110000, 'crit': 80000}})
    state = LinuxThermalSource(laptop_tree.root).read(0)
    assert zones_of(state)['nct6775 AUXTIN3'] == 110.0
    assert not state.is_throttling


def test_throttle_counters_count_what_happened_between_polls(laptop_tree):
    source = LinuxThermalSource(laptop_tree.root)
    assert not source.read(0).is_throttling  # counts since boot are no news
    laptop_tree.cpu(1, core=5)
    for index in range(4):
        laptop_tree.cpu(index, package=8)
    state = source.read(SECOND)
    assert state.is_throttling
    assert sorted(state.throttle_reasons) == [
        'core_throttle_count rose by 2 on 1 CPUs since the last poll',
        'package_throttle_count rose by 1 on 4 CPUs since the last poll']
    assert not source.read(2 * SECOND).is_throttling


def test_a_counter_that_jumps_back_starts_anew(laptop_tree):
    source = LinuxThermalSource(laptop_tree.root)
    source.read(0)
    for index in range(4):
        laptop_tree.cpu(index, core=0, package=1)
    assert not source.read(SECOND).is_throttling
    laptop_tree.cpu(0, core=1)
    assert source.read(2 * SECOND).is_throttling


def test_a_counter_that_fails_once_loses_nothing(laptop_tree):
    reader = FaultyReader()
    source = LinuxThermalSource(laptop_tree.root, reader)
    source.read(0)
    reader.failing = {'core_throttle_count': errno.EIO}
    laptop_tree.cpu(2, core=9)
    state = source.read(SECOND)
    assert not state.is_throttling
    fault, = state.faults  # one sentence, not one per CPU
    assert 'and 3 more' in fault
    reader.failing = {}
    assert source.read(2 * SECOND).is_throttling


def test_a_rise_during_a_long_pause_is_not_now(laptop_tree):
    source = LinuxThermalSource(laptop_tree.root)
    source.read(0)
    laptop_tree.cpu(0, core=50)
    assert not source.read(31 * SECOND).is_throttling
    laptop_tree.cpu(0, core=51)
    assert source.read(61 * SECOND).is_throttling


def test_clocks_that_cannot_be_read_leave_the_temperatures(laptop_tree):
    reader = FaultyReader({'scaling_cur_freq': errno.EAGAIN})
    state = LinuxThermalSource(laptop_tree.root, reader).read(0)
    assert clocks_of(state) == {}
    assert len(state.zones) == 8
    assert len(state.faults) == 1


def test_the_source_fits_the_interface(tree):
    assert isinstance(LinuxThermalSource(tree.root), ThermalSource)


GARBAGE = st.one_of(st.binary(max_size=12), st.integers(-300_000, 300_000).map(str),
                    st.sampled_from(['', 'N/A', '-', '1e3', 'disabled', 'passive']))


@settings(max_examples=40, deadline=None)
@given(temps=st.lists(GARBAGE, min_size=3, max_size=3), state=GARBAGE, count=GARBAGE, trip=GARBAGE)
def test_any_content_gives_a_believable_state_or_no_telemetry(
        tmp_path_factory, temps, state, count, trip):
    tree = laptop(SysfsTree(tmp_path_factory.mktemp('any') / 'sys'))
    for index, content in enumerate(temps):
        tree.temperature(index, content)
    tree.write('class/thermal/cooling_device0/cur_state', state)
    tree.write('devices/system/cpu/cpu0/thermal_throttle/core_throttle_count', count)
    tree.write('class/thermal/thermal_zone0/trip_point_1_temp', trip)
    tree.write('class/thermal/thermal_zone0/trip_point_0_type', trip)
    found = LinuxThermalSource(tree.root).read(0)
    assert all(-40.0 <= zone.temperature_c <= 150.0 for zone in found.zones)
    zones = [zone for zone in found.zones if '/thermal_zone' in zone.source]
    assert len(zones) + sum('/temp' in fault for fault in found.faults) == 3
    assert all('\n' not in fault for fault in found.faults)
