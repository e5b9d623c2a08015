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

"""GPU clocks and load, memory clock and power rails of Jetsons, one attribute at a time."""

import errno

from c7_inference_ros.thermal.cpu_clocks import cpu_clocks
from c7_inference_ros.thermal.cpu_clocks import cpu_governor
from c7_inference_ros.thermal.hwmon import named_chips
from c7_inference_ros.thermal.jetson_clocks import read_gpu
from c7_inference_ros.thermal.jetson_power import read_rails
from c7_inference_ros.thermal.sysfs import SysfsReader
import pytest
from thermal_sysfs import FaultyReader


def devfreq(tree, entry, now, most=None, node=None):
    """Write a devfreq device, hertz."""
    tree.write(f'class/devfreq/{entry}/cur_freq', now)
    if most is not None:
        tree.write(f'class/devfreq/{entry}/max_freq', most)
    if node is not None:
        tree.write(f'class/devfreq/{entry}/device/of_node/name', node)


def gpu_of(tree, failing=None):
    """Return (clocks, load, settings, faults)."""
    sysfs = SysfsReader(tree.root, FaultyReader(failing))
    gpu = read_gpu(sysfs)
    return values(gpu.clocks_mhz), values(gpu.load), values(gpu.settings), sysfs.faults


def rails_of(tree, failing=None):
    """Return (watts, warnings, faults)."""
    sysfs = SysfsReader(tree.root, FaultyReader(failing))
    rails = read_rails(sysfs, named_chips(sysfs))
    return values(rails.power_w), rails.warnings, sysfs.faults


def values(readings):
    """Return name to value."""
    return {name: reading.value for name, reading in readings.items()}


# GPU


@pytest.mark.parametrize('entry, node', [
    ('17000000.gpu', None), ('17000000.ga10b', None), ('17000000.gv11b', None),
    ('gpu-gpc-0', None), ('anything', b'gpu\0'), ('anything', b'ga10b\0'),
    ('17000000.gpu', b'gpu\0')])
def test_the_gpu_is_found_by_folder_or_device_tree(tree, entry, node):
    devfreq(tree, entry, 306_000_000, 918_000_000, node)
    devfreq(tree, '15340000.vic', 600_000_000, 600_000_000, b'vic\0')
    devfreq(tree, '13e00000.host1x', 1, 1)
    clocks, _, _, faults = gpu_of(tree)
    assert (clocks, faults) == ({'gpu': 306.0, 'gpu_max': 918.0}, [])


@pytest.mark.parametrize('entry, node', [
    ('15340000.vic', b'vic\0'), ('gpu', None), ('gpu-gpc', None), ('xyz.gpu', None),
    ('anything', b'gpu-bus\0'), ('anything', b'')])
def test_other_devices_are_no_gpu(tree, entry, node):
    devfreq(tree, entry, 306_000_000, 918_000_000, node)
    assert gpu_of(tree) == ({}, {}, {}, [])


def test_the_domains_of_a_thor_are_told_apart(tree):
    for entry, mhz in (('gpu-nvd-0', 1692), ('gpu-gpc-0', 1575), ('gpu-gpc-1', 1570)):
        devfreq(tree, entry, mhz * 1_000_000)
    assert gpu_of(tree)[0] == {'gpu': 1575.0, 'gpu_gpc1': 1570.0, 'gpu_nvd': 1692.0}


def test_a_gpu_that_is_off_has_a_limit_and_no_clock(tree):
    devfreq(tree, 'gpu-gpc-0', 0, 1_575_000_000)
    assert gpu_of(tree)[0] == {'gpu': 0.0, 'gpu_max': 1575.0}
    clocks, _, _, faults = gpu_of(tree, {'cur_freq': errno.EAGAIN})
    assert (clocks, faults) == ({'gpu_max': 1575.0}, [])


@pytest.mark.parametrize('content', ['fast', '-1', '9' * 18, 20_000_000_001, '9' * 40])
def test_a_clock_that_is_none_is_a_fault(tree, content):
    devfreq(tree, '17000000.gpu', content, 918_000_000)
    clocks, _, _, faults = gpu_of(tree)
    assert clocks == {'gpu_max': 918.0}
    assert len(faults) == 1
    assert 'class/devfreq/17000000.gpu/cur_freq' in faults[0]


@pytest.mark.parametrize('code', [errno.EIO, errno.EACCES])
def test_a_clock_that_fails_is_a_fault(tree, code):
    devfreq(tree, '17000000.gpu', 306_000_000, 918_000_000)
    clocks, _, _, faults = gpu_of(tree, {'max_freq': code})
    assert clocks == {'gpu': 306.0}
    assert errno.errorcode[code] in faults[0]


@pytest.mark.parametrize('home', [
    'devices/platform/gpu.0', 'devices/gpu.0', 'class/devfreq/17000000.gpu/device',
    'devices/platform/bus@0/17000000.gpu', 'devices/platform/17000000.gpu'])
def test_the_load_is_found_wherever_a_release_puts_it(tree, home):
    devfreq(tree, '17000000.gpu', 306_000_000)
    tree.write(f'{home}/load', 437)
    sysfs = SysfsReader(tree.root)
    reading = read_gpu(sysfs).load['gpu']
    assert (reading.value, reading.source) == (0.437, f'{home}/load')
    assert sysfs.faults == []


@pytest.mark.parametrize('content, share', [(0, 0.0), (1000, 1.0), (1001, None), (-1, None),
                                            ('busy', None)])
def test_a_load_is_a_share(tree, content, share):
    tree.write('devices/platform/gpu.0/load', content)
    _, load, _, faults = gpu_of(tree)
    assert load == ({} if share is None else {'gpu': share})
    assert len(faults) == (share is None)


def test_the_load_of_a_gpu_that_sleeps_is_no_fault(tree):
    tree.write('devices/platform/gpu.0/load', 0)
    assert gpu_of(tree, {'/load': errno.EAGAIN}) == ({}, {}, {}, [])


def test_the_governor_is_a_setting(tree):
    devfreq(tree, '17000000.gpu', 306_000_000)
    tree.write('class/devfreq/17000000.gpu/governor', 'nvhost_podgov')
    assert gpu_of(tree)[2] == {'gpu_governor': 'nvhost_podgov'}
    tree.write('class/devfreq/17000000.gpu/governor', b'\x00\x01')
    assert gpu_of(tree)[2] == {}


# Memory


def test_the_memory_clock_of_a_thor(tree):
    devfreq(tree, 'bwmgr', 3_200_000_000, 4_266_000_000)
    assert gpu_of(tree)[0] == {'emc': 3200.0, 'emc_max': 4266.0}


def test_a_thor_whose_kernel_lacks_the_limit_has_the_cap(tree):
    devfreq(tree, 'bwmgr', 3_200_000_000)
    tree.write('kernel/nvpmodel_clk_cap/emc', 4_266_000_000)
    assert gpu_of(tree)[0] == {'emc': 3200.0, 'emc_max': 4266.0}


def test_the_limit_in_force_counts_more_than_the_cap(tree):
    devfreq(tree, 'bwmgr', 3_200_000_000, 4_266_000_000)
    tree.write('kernel/nvpmodel_clk_cap/emc', 2_133_000_000)
    assert gpu_of(tree)[0]['emc_max'] == 4266.0


def test_an_orin_shows_the_cap_alone(tree):
    tree.write('kernel/nvpmodel_clk_cap/emc', 3_199_000_000)
    sysfs = SysfsReader(tree.root)
    reading = read_gpu(sysfs).clocks_mhz['emc_max']
    assert (reading.value, reading.source) == (3199.0, 'kernel/nvpmodel_clk_cap/emc')
    tree.write('kernel/nvpmodel_clk_cap/emc', 0)  # no cap
    assert gpu_of(tree)[0] == {}


# CPU


def policy(tree, number, now, most, governor='schedutil'):
    """Write a cpufreq policy, kHz."""
    for name, value in (('cur_freq', now), ('max_freq', most), ('governor', governor)):
        tree.write(f'devices/system/cpu/cpufreq/policy{number}/scaling_{name}', value)


def test_cpu_clocks_by_policy(tree):
    policy(tree, 0, 729_600, 1_497_600)
    policy(tree, 4, 1_497_600, 1_728_000, 'performance')
    tree.cpu(0, khz=1)  # what a policy says counts
    sysfs = SysfsReader(tree.root)
    assert values(cpu_clocks(sysfs)) == pytest.approx(
        {'cpu': 1497.6, 'cpu_mean': 1113.6, 'cpu_max': 1728.0})
    assert values(cpu_governor(sysfs)) == {'cpu_governor': 'performance, schedutil'}
    assert sysfs.faults == []


def test_a_policy_whose_cpus_are_offline_is_no_fault(tree):
    policy(tree, 0, 729_600, 1_497_600)
    policy(tree, 4, 1_497_600, 1_728_000, 'performance')
    sysfs = SysfsReader(tree.root, FaultyReader({
        f'policy4/scaling_{name}': errno.EBUSY for name in ('cur_freq', 'max_freq', 'governor')}))
    assert values(cpu_clocks(sysfs)) == {'cpu': 729.6, 'cpu_mean': 729.6, 'cpu_max': 1497.6}
    assert values(cpu_governor(sysfs)) == {'cpu_governor': 'schedutil'}
    assert sysfs.faults == []


@pytest.mark.parametrize('content', [20_000_001, -1, 'fast'])
def test_a_cpu_clock_that_is_none_is_a_fault(tree, content):
    policy(tree, 0, 729_600, 1_497_600)
    policy(tree, 4, content, 1_728_000)
    sysfs = SysfsReader(tree.root)
    assert values(cpu_clocks(sysfs)) == {'cpu': 729.6, 'cpu_mean': 729.6, 'cpu_max': 1728.0}
    fault, = sysfs.faults
    assert 'policy4/scaling_cur_freq' in fault


def test_cpus_without_a_clock_have_none(tree):
    sysfs = SysfsReader(tree.root)
    assert (cpu_clocks(sysfs), cpu_governor(sysfs), sysfs.faults) == ({}, {}, [])


# Rails


def ina3221(tree, index, device, channels):
    """Write a monitor: channel to (label, millivolts, milliamperes), with its shunts and sum."""
    folder = f'devices/platform/{device}/hwmon/hwmon{index}'
    tree.write(f'{folder}/name', 'ina3221')
    tree.link(f'{folder}/device', f'devices/platform/{device}')
    tree.link(f'class/hwmon/hwmon{index}', folder)
    for number, (label, millivolts, milliamperes) in channels.items():
        tree.write(f'{folder}/in{number}_label', label)
        tree.write(f'{folder}/in{number}_input', millivolts)
        tree.write(f'{folder}/in{number + 3}_input', 400)
        tree.write(f'{folder}/curr{number}_input', milliamperes)
        for kind in ('crit', 'max'):
            tree.write(f'{folder}/curr{number}_{kind}', 4984)
            tree.write(f'{folder}/curr{number}_{kind}_alarm', 0)
    tree.write(f'{folder}/in7_label', 'sum of shunt voltages')
    tree.write(f'{folder}/in7_input', 1200)
    tree.write(f'{folder}/curr4_input', 999)
    return folder


@pytest.fixture
def monitor(tree):
    """Return the folder of the monitor of an Orin Nano."""
    return ina3221(tree, 1, '1-0040', {1: ('VDD_IN', 5016, 1500), 2: ('NC', 5016, 3),
                                       3: ('VDD_SOC', 5000, 400)})


def test_a_rail_is_voltage_times_current(tree, monitor):
    assert rails_of(tree) == ({'VDD_IN': 7.524, 'VDD_SOC': 2.0}, [], [])
    sysfs = SysfsReader(tree.root)
    reading = read_rails(sysfs, named_chips(sysfs)).power_w['VDD_IN']
    assert reading.source == 'class/hwmon/hwmon1/curr1_input'


def test_a_sum_of_shunt_voltages_is_no_rail_even_with_a_current(tree, monitor):
    tree.write(f'{monitor}/curr7_input', 1000)
    assert set(rails_of(tree)[0]) == {'VDD_IN', 'VDD_SOC'}


def test_a_label_without_a_current_is_no_rail_and_no_fault(tree, monitor):
    tree.write(f'{monitor}/in5_label', 'VDD_ELSE')
    assert rails_of(tree) == ({'VDD_IN': 7.524, 'VDD_SOC': 2.0}, [], [])


def test_a_channel_without_a_label_is_no_rail(tree, monitor):
    (tree.root / monitor / 'in3_label').unlink()
    assert set(rails_of(tree)[0]) == {'VDD_IN'}


def test_a_disabled_channel_is_no_fault(tree, monitor):
    tree.write(f'{monitor}/in3_enable', 0)
    assert rails_of(tree, {'in3_input': errno.EIO}) == ({'VDD_IN': 7.524}, [], [])
    (tree.root / monitor / 'in3_enable').unlink()
    assert rails_of(tree, {'curr3_input': errno.ENODATA}) == ({'VDD_IN': 7.524}, [], [])


@pytest.mark.parametrize('code', [errno.EAGAIN, errno.EREMOTEIO, errno.ETIMEDOUT])
def test_a_bus_that_fails_is_one_fault(tree, monitor, code):
    watts, _, faults = rails_of(tree, {'_input': code})
    assert watts == {}
    fault, = faults
    assert errno.errorcode[code] in fault
    assert 'and 3 more' in fault


def test_an_idle_rail_may_be_slightly_negative(tree, monitor):
    tree.write(f'{monitor}/curr3_input', -32)
    assert rails_of(tree)[0]['VDD_SOC'] == pytest.approx(-0.16)


def test_a_power_that_no_board_takes_is_a_fault(tree, monitor):
    tree.write(f'{monitor}/curr1_input', 9_999_999)
    watts, _, faults = rails_of(tree)
    assert set(watts) == {'VDD_SOC'}
    assert 'VDD_IN' in faults[0]


@pytest.mark.parametrize('kind, word', [('crit', 'critical'), ('max', 'warning')])
def test_an_alarm_is_a_warning(tree, monitor, kind, word):
    tree.write(f'{monitor}/curr1_{kind}_alarm', 1)
    assert rails_of(tree)[1] == [f'VDD_IN: current above the {word} limit of 5.0 A'
                                 f' (class/hwmon/hwmon1/curr1_{kind}_alarm)']
    (tree.root / monitor / f'curr1_{kind}').unlink()
    assert rails_of(tree)[1] == [f'VDD_IN: current above the {word} limit'
                                 f' (class/hwmon/hwmon1/curr1_{kind}_alarm)']


def test_the_alarm_of_the_sum_and_of_nothing_is_none(tree, monitor):
    tree.write(f'{monitor}/curr4_crit_alarm', 1)
    tree.write(f'{monitor}/curr2_crit_alarm', 1)  # not connected
    assert rails_of(tree)[1] == []


@pytest.mark.parametrize('first, second', [(1, 2), (9, 3)])
def test_equal_rails_are_numbered_by_device(tree, first, second):
    ina3221(tree, first, '1-0040', {1: ('VDD_IN', 5000, 1000)})
    ina3221(tree, second, '1-0041', {1: ('VDD_IN', 5000, 2000)})
    assert rails_of(tree)[0] == {'VDD_IN': 5.0, 'VDD_IN#2': 10.0}


def ina238(tree, **attributes):
    """Write the input monitor of a Thor."""
    tree.write('class/hwmon/hwmon4/name', 'ina238')
    for name, value in attributes.items():
        tree.write(f'class/hwmon/hwmon4/{name}', value)


@pytest.mark.parametrize('label', ['label', 'power1_label', 'in1_label'])
def test_an_ina238_tells_watts_itself(tree, label):
    ina238(tree, in1_input=20000, curr1_input=1150, power1_input=23_100_000, **{label: 'VIN'})
    assert rails_of(tree) == ({'VIN': 23.1}, [], [])


def test_an_ina238_without_a_label_has_the_name_of_its_chip(tree):
    ina238(tree, power1_input=23_100_000, power1_max=140_000_000, power1_max_alarm=1)
    watts, warnings, faults = rails_of(tree)
    assert (watts, faults) == ({'ina238': 23.1}, [])
    assert warnings == ['ina238: power above the warning limit of 140.0 W'
                        ' (class/hwmon/hwmon4/power1_max_alarm)']


def test_other_chips_are_no_power_monitors(tree):
    tree.write('class/hwmon/hwmon0/name', 'nvme')
    tree.write('class/hwmon/hwmon0/power1_input', 5)
    assert rails_of(tree) == ({}, [], [])
