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

"""What a latency figure is stored with: everything that is known, and by name what is not."""

import errno
import json
import threading

from board_trees import BOARDS
from board_trees import plant
from c7_inference_ros.thermal import conditions as conditions_module
from c7_inference_ros.thermal.conditions import ConditionsRecorder
from c7_inference_ros.thermal.conditions import NOT_SHOWN
from c7_inference_ros.thermal.conditions import read_conditions
from c7_inference_ros.thermal.conditions import record_conditions
from c7_inference_ros.thermal.cpu_settings import read_cpu_settings
from c7_inference_ros.thermal.jetson import JetsonThermalSource
from c7_inference_ros.thermal.linux import LinuxThermalSource
from c7_inference_ros.thermal.source import NullSource
from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import Reading
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.thermal.state import ZoneReading
from c7_inference_ros.thermal.sysfs import SysfsReader
import pytest
from thermal_sysfs import FaultyReader

CPUFREQ = 'devices/system/cpu/cpufreq'


def pc(tree, driver='intel_pstate', count=2):
    """Write a PC's cpufreq: clocks from 800 to 4800 MHz."""
    for index in range(count):
        for name, value in (('scaling_driver', driver), ('scaling_governor', 'powersave'),
                            ('scaling_cur_freq', 1_200_000 + index * 100_000),
                            ('scaling_max_freq', 4_800_000),
                            ('energy_performance_preference', 'balance_performance')):
            tree.write(f'{CPUFREQ}/policy{index}/{name}', value)
    tree.write('devices/system/cpu/intel_pstate/no_turbo', 0)
    tree.write('devices/system/cpu/smt/active', 1)
    return tree


def values(readings):
    return {name: reading.value for name, reading in readings.items()}


def gpu(at_s, *, celsius=60.0, throttles=False, mhz=1800.0, is_lost=False, total=0, mode='P0'):
    """Return a state of one GPU."""
    if is_lost:
        return ThermalState.unavailable('GPU is lost', at_s * 10**9, 'nvml', ('gpu0',))
    return ThermalState((DeviceState(
        'gpu0', 'nvml', at_s * 10**9, True, zones=(ZoneReading('gpu', celsius, 'nvml'),),
        is_throttling=throttles, throttle_reasons=('HW thermal slowdown',) * throttles,
        clocks_mhz={'gpu': Reading(mhz, 'n'), 'gpu_max': Reading(2100.0, 'n')},
        settings={'power_limit': Reading('250 W', 'n'), 'persistence_mode': Reading('on', 'n'),
                  'application_clocks': Reading('gpu 1800 MHz', 'n'),
                  'performance_state': Reading(mode, 'n')},
        over_current_totals={'oc1': Reading(total, 'n')}, model='Some GPU'),), at_s * 10**9)


def test_settings_of_a_pc(tree):
    settings = read_cpu_settings(SysfsReader(pc(tree).root))
    assert values(settings) == {
        'cpu_online': '0-3', 'cpu_smt': 'on', 'cpu_driver': 'intel_pstate',
        'cpu_governor': 'powersave', 'cpu_energy_preference': 'balance_performance',
        'cpu_turbo': 'on'}
    assert settings['cpu_turbo'].source == 'devices/system/cpu/intel_pstate/no_turbo'


@pytest.mark.parametrize('no_turbo, boost, turbo', [
    (0, None, 'on'), (1, None, 'off'), (None, 1, 'on'), (None, 0, 'off'), (1, 1, 'off'),
    (None, None, None), ('x', None, None)])
def test_turbo_is_told_by_either_driver(tree, no_turbo, boost, turbo):
    if no_turbo is not None:
        tree.write('devices/system/cpu/intel_pstate/no_turbo', no_turbo)
    if boost is not None:
        tree.write(f'{CPUFREQ}/boost', boost)
    settings = read_cpu_settings(SysfsReader(tree.root))
    assert values(settings).get('cpu_turbo') == turbo


def test_policies_that_differ_are_all_named_and_garbage_is_not(tree):
    pc(tree, count=4)
    tree.write(f'{CPUFREQ}/policy1/scaling_governor', 'performance')
    tree.write(f'{CPUFREQ}/policy2/scaling_governor', b'\xff\xfe\0')
    tree.write(f'{CPUFREQ}/policy3/energy_performance_preference', 'x' * 5000)
    settings = values(read_cpu_settings(SysfsReader(tree.root)))
    assert settings['cpu_governor'] == 'performance, powersave'
    assert settings['cpu_energy_preference'] == 'balance_performance'


@pytest.mark.parametrize('board', BOARDS)
def test_a_jetson_tells_its_power_mode_and_clocks(board, tmp_path):
    tree = plant(board, tmp_path)
    found = read_conditions(JetsonThermalSource(tree.sysfs_root, tree.read_bytes),
                            tree.sysfs_root, tree.read_bytes)
    part = found.as_dict()['devices']['jetson']
    assert part['settings']['power_mode'].startswith('MAXN')
    assert part['clocks_mhz']['gpu_max']['max'] > 900.0
    assert (part['throttled'], found.throttled) == (False, False)
    assert 'Jetson' in part['model']
    assert found.cpu.settings['cpu_governor'] == 'schedutil'
    assert found.cpu.clocks_mhz['cpu_max'].high_mhz > 1500.0
    assert 'cpu_turbo' not in found.cpu.unknown  # no board has it
    assert part['unknown'] == {'emc': NOT_SHOWN}
    line = found.one_line()
    for words in (f'power mode {part["settings"]["power_mode"]}', 'governor schedutil',
                  'unknown: memory clock', 'not throttled by heat', '45.0 C'):
        assert words in line
    assert '\n' not in line


def test_the_power_mode_that_changes_meanwhile_is_both(tmp_path):
    tree = plant('orin_nx', tmp_path)
    source = JetsonThermalSource(tree.sysfs_root, tree.read_bytes)
    recorder = ConditionsRecorder(tree.sysfs_root, tree.read_bytes)
    recorder.add(source.read(0))
    tree.set_power_mode(1)
    recorder.add(source.read(10**9))
    recorder.look_at_cpu()
    found = recorder.conditions()
    jetson, = found.devices
    assert jetson.settings['power_mode'] == 'MAXN -> 10W'
    assert jetson.clocks_mhz['gpu_max'] == (conditions_module.ClockRange(612.0, 918.0))
    assert 'of 612 (at times 918) MHz' in found.one_line()


def test_a_short_throttle_in_between_is_told_with_the_hottest_moment():
    recorder = ConditionsRecorder('/nowhere')
    for at_s in range(10):
        recorder.add(gpu(at_s, celsius=60.0 + 30.0 * (at_s == 4), throttles=at_s == 5,
                         mhz=1800.0 - 600.0 * (at_s == 5)))
    found = recorder.conditions()
    device, = found.devices
    assert found.throttled is True and device.throttled is True
    assert device.reasons == ('HW thermal slowdown',)
    assert device.hottest.temperature_c == 90.0
    assert (device.clocks_mhz['gpu'].low_mhz, device.clocks_mhz['gpu'].high_mhz) == (1200, 1800)
    assert (found.states, found.duration_s) == (10, 9.0)
    assert 'THROTTLED by heat: HW thermal slowdown' in found.one_line()
    assert 'GPU clock 1200 to 1800 of 2100 MHz' in found.one_line()
    assert 'power limit 250 W' in found.one_line() and 'Some GPU' in found.one_line()


@pytest.mark.parametrize('lost, throttles, expected', [
    ((), (), False), ((3,), (), None), ((3,), (2,), True), (range(10), (), None),
    ((0,), (), None), ((9,), (), None)])
def test_a_moment_without_telemetry_leaves_open_whether_it_throttled(lost, throttles, expected):
    recorder = ConditionsRecorder('/nowhere')
    for at_s in range(10):
        recorder.add(gpu(at_s, is_lost=at_s in lost, throttles=at_s in throttles))
    found = recorder.conditions()
    assert found.throttled is expected
    assert found.as_dict()['devices']['gpu0']['throttled'] is expected
    unknown = found.devices[0].unknown
    assert ('throttled' in unknown) == (expected is None)
    if expected is None:
        assert unknown['throttled'] == (
            f'no telemetry in {len(lost)} of 10 looks: GPU is lost')
        assert 'whether it throttled' in found.one_line()
        assert 'not throttled' not in found.one_line()


def test_one_device_that_is_unknown_leaves_open_what_another_does_not_do():
    recorder = ConditionsRecorder('/nowhere')
    cool, = gpu(1).devices
    recorder.add(ThermalState(
        (cool, DeviceState.unavailable('host', 'linux', 'no sensor', 10**9)), 10**9))
    assert recorder.conditions().throttled is None


def test_nothing_polled_is_nothing_known():
    found = ConditionsRecorder('/nowhere').conditions()
    assert found.throttled is None
    assert found.lines() == (
        'CPU: unknown: CPUs and governor and clock and highest clock and turbo and energy'
        ' preference', 'temperature and throttling: unknown, nothing was polled')


def test_over_current_counts_what_happened_meanwhile_and_not_before():
    recorder = ConditionsRecorder('/nowhere')
    for at_s, total in ((0, 700), (1, 705), (2, 712)):
        recorder.add(gpu(at_s, total=total))
    found = recorder.conditions()
    assert found.devices[0].over_current_events == {'oc1': 12}
    assert 'over-current events: oc1 12' in found.one_line()


def test_a_gpu_without_a_setting_says_so():
    recorder = ConditionsRecorder('/nowhere')
    whole, = gpu(1).devices
    recorder.add(ThermalState((DeviceState(
        'gpu0', 'nvml', 1, True, zones=whole.zones,
        clocks_mhz={'gpu': Reading(1800.0, 'n')},
        faults=('nvmlDeviceGetEnforcedPowerLimit failed: unknown error',)),), 1))
    unknown = recorder.conditions().devices[0].unknown
    assert unknown == {
        'power_limit': 'nvmlDeviceGetEnforcedPowerLimit failed: unknown error',
        'application_clocks': NOT_SHOWN, 'persistence_mode': NOT_SHOWN, 'gpu_max': NOT_SHOWN}


def test_a_reading_that_failed_is_told_from_one_that_does_not_exist(tree):
    reader = FaultyReader({'policy0/scaling_governor': errno.EACCES})
    pc(tree, count=1)
    found = ConditionsRecorder(tree.root, reader).conditions()
    assert 'EACCES' in found.cpu.unknown['cpu_governor']
    (tree.root / CPUFREQ / 'policy0/scaling_governor').unlink()
    found = ConditionsRecorder(tree.root).conditions()
    assert found.cpu.unknown['cpu_governor'] == NOT_SHOWN
    assert set(found.cpu.unknown) == {'cpu_governor'}


@pytest.mark.parametrize('removed, name', [
    ('intel_pstate/no_turbo', 'cpu_turbo'), ('online', 'cpu_online'),
    ('cpufreq/policy0/energy_performance_preference', 'cpu_energy_preference'),
    ('cpufreq/policy0/scaling_cur_freq', 'cpu'), ('cpufreq/policy0/scaling_max_freq', 'cpu_max')])
def test_each_thing_that_a_pc_should_show_is_missed_by_name(tree, removed, name):
    pc(tree, count=1)
    assert ConditionsRecorder(tree.root).conditions().cpu.unknown == {}
    (tree.root / 'devices/system/cpu' / removed).unlink()
    assert set(ConditionsRecorder(tree.root).conditions().cpu.unknown) == {name}


def test_a_laptop_in_one_line(laptop_tree):
    pc(laptop_tree)
    found = read_conditions(LinuxThermalSource(laptop_tree.root), laptop_tree.root)
    assert found.lines() == (
        'CPU: CPUs 0-3, SMT on, driver intel_pstate, energy preference balance_performance,'
        ' governor powersave, turbo on, clock 1300 of 4800 MHz',
        'host: hottest x86_pkg_temp 47.0 C, not throttled by heat')


def test_a_machine_without_sensors_says_so():
    found = read_conditions(NullSource('there is no sensor'), '/nowhere')
    host = found.as_dict()['devices']['host']
    assert found.throttled is None
    assert host['unknown'] == {'temperature': 'there is no sensor',
                               'throttled': 'no telemetry in 1 of 1 looks: there is no sensor'}
    assert host['hottest'] is None


def test_a_source_that_raises_is_unknown():
    class Broken(NullSource):

        def read(self, now_ns):
            """Fail."""
            raise ValueError('bug')

    found = read_conditions(Broken('x'), '/nowhere')
    assert 'ValueError: bug' in found.devices[0].unknown['temperature']


def test_json_keeps_everything(laptop_tree):
    found = read_conditions(LinuxThermalSource(pc(laptop_tree).root), laptop_tree.root)
    stored = json.loads(json.dumps(found.as_dict()))
    assert stored == found.as_dict()
    assert stored['cpu']['clocks_mhz']['cpu'] == {'min': 1300.0, 'max': 1300.0}
    assert stored['devices']['host']['hottest'] == {'zone': 'x86_pkg_temp', 'celsius': 47.0}


class Scripted(NullSource):
    """A GPU that is what its fields say, and hangs while its gate is shut."""

    name = 'nvml'
    device_names = ('gpu0',)

    def __init__(self):
        super().__init__('')
        self.throttles = False
        self.reads = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def read(self, now_ns):
        """Return the state now."""
        assert self.gate.wait(30.0)
        device, = gpu(1, throttles=self.throttles).devices
        self.reads.release()
        return ThermalState((DeviceState(**{**vars(device), 'measured_at_ns': now_ns}),), now_ns)


def test_a_measurement_is_recorded_from_before_it_until_after_it(tree):
    source = Scripted()
    with record_conditions(pc(tree).root, source) as recorder:
        assert recorder.conditions().states >= 1
        before = recorder.conditions().states
        tree.write('devices/system/cpu/intel_pstate/no_turbo', 1)
    found = recorder.conditions()
    assert found.states > before  # one of after it
    assert found.throttled is False
    assert found.cpu.settings['cpu_turbo'] == 'on -> off'
    assert not [thread for thread in threading.enumerate() if thread.name == 'thermal_poll']


def test_heat_at_the_very_end_of_a_measurement_counts(tree):
    source = Scripted()
    with record_conditions(tree.root, source) as recorder:
        source.throttles = True
    assert recorder.conditions().throttled is True


def test_sensors_that_hang_leave_it_open(tree, monkeypatch):
    monkeypatch.setattr(conditions_module, '_WAIT_S', 1.7)  # longer than a state is fresh
    source = Scripted()
    with record_conditions(tree.root, source) as recorder:
        source.gate.clear()
    found = recorder.conditions()
    source.gate.set()
    assert found.throttled is None
    assert 'no telemetry' in found.devices[0].unknown['throttled']


def test_a_measurement_that_fails_ends_the_polling(tree):
    with pytest.raises(ZeroDivisionError):
        with record_conditions(tree.root, Scripted()):
            1 / 0
    assert not [thread for thread in threading.enumerate() if thread.name == 'thermal_poll']
