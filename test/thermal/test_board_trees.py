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

"""The planted boards are consistent, answer as a kernel does, and can be heated."""

import errno
import os
from pathlib import Path
import re
import threading

import board_files
from board_files import read_board
from board_trees import BOARDS
from board_trees import plant
import pytest
from ramp import Ramp

pytestmark = pytest.mark.long

SLOWS = re.compile(r'cpufreq-.*|devfreq-.*|.*-throttle-alert')
ORIN = ('orin_agx', 'orin_nx', 'orin_nano')


@pytest.fixture(params=BOARDS)
def board(request):
    return request.param


@pytest.fixture(params=[False, True], ids=['as_recorded', 'shuffled'])
def tree(request, board, tmp_path):
    return plant(board, tmp_path, shuffled=request.param)


def links(root):
    return [Path(folder, name) for folder, folders, files in os.walk(root)
            for name in (*folders, *files) if Path(folder, name).is_symlink()]


def trips(tree, folder):
    """Return (type, millidegrees, hysteresis) of every trip of a zone."""
    numbers = sorted(int(path.name.split('_')[2]) for path in folder.glob('trip_point_*_type'))
    assert numbers == list(range(len(numbers)))
    return [(tree.text(folder / f'trip_point_{number}_type'),
             tree.integer(folder / f'trip_point_{number}_temp'),
             tree.integer(folder / f'trip_point_{number}_hyst')) for number in numbers]


def bindings(tree, folder):
    """Return (type of the cooling device, index of the trip) of every binding of a zone."""
    return [(tree.text(link / 'type'), tree.integer(folder / f'{link.name}_trip_point'))
            for link in sorted(folder.glob('cdev*')) if link.is_symlink()]


def shape(tree):
    """Return all that does not depend on how the kernel numbered things."""
    return ({zone: (trips(tree, folder), bindings(tree, folder))
             for zone, folder in tree.zones.items()},
            {kind: tree.integer(folder / 'max_state')
             for kind, folder in tree.cooling_devices.items()},
            sorted((tree.text(chip / 'name'), sorted(os.listdir(chip)))
                   for chip in (tree.sysfs_root / 'class/hwmon').iterdir()))


def content(tree):
    return {path: path.read_bytes() for path in tree.root.rglob('*')
            if path.is_file() and not path.is_symlink()}


# The files


def test_every_link_resolves_inside_the_board(tree):
    found = links(tree.root)
    assert len(found) > 50
    for link in found:
        assert not os.readlink(link).startswith('/'), f'{link} leaves the board'
        assert link.exists(), f'{link} leads nowhere'
        assert link.resolve().is_relative_to(tree.root)


@pytest.mark.parametrize('kind', ['thermal', 'hwmon', 'devfreq'])
def test_class_folders_are_links_to_devices_which_link_back(tree, kind):
    folder = tree.sysfs_root / 'class' / kind
    assert list(folder.iterdir())
    for link in folder.iterdir():
        assert link.is_symlink()
        device = link.resolve()
        assert device.name == link.name
        assert device.is_relative_to(tree.sysfs_root / 'devices')
        assert (device / 'subsystem').resolve() == folder


def test_every_binding_names_a_trip_that_can_be_followed(tree):
    bound = set()
    for zone, folder in tree.zones.items():
        known = trips(tree, folder)
        for kind, index in bindings(tree, folder):
            bound.add(kind)
            assert 0 <= index < len(known), f'{zone} binds {kind} to a trip that it lacks'
            word = known[index][0]
            assert word == ('active' if kind == 'pwm-fan' else 'passive'), (zone, kind)
    # On Thor the device tree leaves the fan to a service.
    assert bound >= set(tree.cooling_devices) - ({'pwm-fan'} if tree.board == 'thor' else set())


def test_a_board_slows_before_it_stops_and_warns_before_it_slows(tree):
    for zone, folder in tree.zones.items():
        known = trips(tree, folder)
        slows = {known[index][1] for kind, index in bindings(tree, folder)
                 if SLOWS.fullmatch(kind)}
        stops = [temperature for word, temperature, _ in known if word in ('critical', 'hot')]
        assert len(stops) == 1, zone
        assert all(temperature < stops[0] for temperature in slows)
        for kind, index in bindings(tree, folder):
            if kind == 'hot-surface-alert':
                assert known[index] == ('passive', 70000, 8000)
                assert known[index][1] < min(slows)


@pytest.mark.parametrize('board', ORIN)
def test_the_order_of_trips_on_orin_is_not_the_order_of_temperatures(board, tmp_path):
    tree = plant(board, tmp_path)
    assert [temperature for _, temperature, _ in trips(tree, tree.zones['cpu-thermal'])] == [
        99000, 104500, 70000]
    assert not any(SLOWS.fullmatch(kind)
                   for kind, _ in bindings(tree, tree.zones['tj-thermal']))


def test_states_of_a_clock_are_its_frequencies(tree):
    for kind, folder in tree.cooling_devices.items():
        most = tree.integer(folder / 'max_state')
        if kind.startswith('cpufreq-cpu'):
            table = (f'sys/devices/system/cpu/cpufreq/policy{kind[len("cpufreq-cpu"):]}'
                     '/scaling_available_frequencies')
        elif kind.startswith('devfreq-'):
            table = f'sys/class/devfreq/{kind[len("devfreq-"):]}/available_frequencies'
        else:
            continue
        assert most == len(tree.text(table).split()) - 1, kind


def test_the_board_is_idle_at_45_c(tree):
    temperatures = {zone: tree.integer(folder / 'temp') for zone, folder in tree.zones.items()
                    if tree.is_readable(folder / 'temp')}
    assert temperatures['tj-thermal'] == 45000 == max(temperatures.values())
    assert min(temperatures.values()) > 35000
    assert not any(tree.integer(folder / 'cur_state')
                   for kind, folder in tree.cooling_devices.items() if kind != 'pwm-fan')


def test_device_tree_strings_end_with_nul_and_no_line(tree):
    base = tree.sysfs_root / 'firmware/devicetree/base'
    model = (base / 'model').read_bytes()
    assert model.startswith(b'NVIDIA Jetson') and model.endswith(b'\0') and b'\n' not in model
    compatible = (base / 'compatible').read_bytes()
    assert compatible.split(b'\0')[-2:] == [
        b'nvidia,tegra264' if tree.board == 'thor' else b'nvidia,tegra234', b'']


def test_the_gpu_is_found_by_every_path_that_the_board_has(tree):
    assert (tree.sysfs_root / 'devices/platform/gpu.0/load').exists() is (tree.board != 'thor')
    name = tree.gpu_clock / 'device/of_node/name'
    if tree.board == 'thor':
        assert not name.exists()
    else:
        assert name.read_bytes() == b'gpu\0'
        assert (tree.sysfs_root / 'devices/platform/17000000.gpu').resolve() == (
            tree.sysfs_root / 'devices/platform/gpu.0').resolve() == (
            tree.gpu_clock / 'device').resolve()


def test_the_power_mode_of_the_status_is_one_of_the_configuration(tree):
    text = (tree.root / 'etc/nvpmodel.conf').read_text()
    modes = [int(number) for number in re.findall(r'^< POWER_MODEL ID=(\d+)', text, re.M)]
    assert modes == list(range(4))
    status = tree.text('var/lib/nvpmodel/status')
    assert int(status[len('pmode:'):]) in modes and status.startswith('pmode:000')


# The planter


def test_shuffling_changes_every_number_and_nothing_else(board, tmp_path):
    plain = plant(board, tmp_path / 'plain')
    other = plant(board, tmp_path / 'other', shuffled=True)
    assert shape(other) == shape(plain)
    for mine, theirs in ((plain.zones, other.zones),
                         (plain.cooling_devices, other.cooling_devices)):
        assert mine.keys() == theirs.keys()
        assert not [kind for kind in mine if mine[kind].name == theirs[kind].name]
    for chip in ('pwmfan', 'ina3221', 'soctherm_oc'):
        assert {x.name for x in plain.hwmon(chip)} != {x.name for x in other.hwmon(chip)}
    for zone, folder in plain.zones.items():
        assert plain.is_readable(folder / 'temp') is other.is_readable(other.zones[zone] / 'temp')


def test_planting_twice_gives_the_same(board, tmp_path):
    one = plant(board, tmp_path / 'one', shuffled=True)
    two = plant(board, tmp_path / 'two', shuffled=True)
    assert ({path.relative_to(one.root): data for path, data in content(one).items()}
            == {path.relative_to(two.root): data for path, data in content(two).items()})


@pytest.mark.parametrize(('text', 'line'), [
    ('name: value\n', 1), ('[sys]\n\nonly-a-word\n', 3), ('[sys]\n| loose\n', 2)])
def test_a_line_that_is_no_entry_is_refused_with_its_number(text, line, tmp_path, monkeypatch):
    (tmp_path / 'odd.txt').write_text(text)
    monkeypatch.setattr(board_files, '_FOLDER', tmp_path)
    with pytest.raises(ValueError, match=f'odd.txt:{line}: '):
        read_board('odd')


def test_every_form_of_entry_is_read(tmp_path, monkeypatch):
    (tmp_path / 'odd.txt').write_text(
        '# a comment\n[sys/a:b]\nx: 1\ny := a\\0b\nlink -> ../c\ngone ! EIO\n'
        'lines:\n| p\n|\n| q\n')
    monkeypatch.setattr(board_files, '_FOLDER', tmp_path)
    entries = {entry.path: entry for entry in read_board('odd')}
    assert entries['sys/a:b/x'].content == b'1\n'
    assert entries['sys/a:b/y'].content == b'a\0b'
    assert entries['sys/a:b/link'].target == '../c'
    assert entries['sys/a:b/gone'].error == 'EIO'
    assert entries['sys/a:b/lines'].content == b'p\n\nq\n'


# The reader


def read(tree, path):
    return tree.read_bytes(str(tree.root / path))


def test_blocks_that_are_off_answer_eagain_by_every_path(tree):
    off = {zone for zone, folder in tree.zones.items() if not tree.is_readable(folder / 'temp')}
    assert off == ({'gpu-thermal'} if tree.board == 'thor'
                   else {'cv0-thermal', 'cv1-thermal', 'cv2-thermal'})
    for zone in off:
        for folder in (tree.zones[zone], tree.zones[zone].resolve()):
            with pytest.raises(BlockingIOError) as caught:
                read(tree, folder / 'temp')
            assert caught.value.errno == errno.EAGAIN
            assert read(tree, folder / 'type') == f'{zone}\n'.encode()


def test_the_clock_that_the_hardware_measures_is_for_root_alone(tree):
    with pytest.raises(PermissionError):
        read(tree, 'sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_cur_freq')


def test_channels_that_are_not_connected_have_no_data(tmp_path):
    tree = plant('orin_agx', tmp_path)
    chip = tree.hwmon('ina3221')[1]
    for name in ('in1_input', 'curr1_input', 'in3_input', 'curr3_input'):
        with pytest.raises(OSError) as caught:
            read(tree, chip / name)
        assert caught.value.errno == errno.ENODATA
    assert read(tree, chip / 'in2_label') == b'VDDQ_VDD2_1V8AO\n'
    assert not (chip / 'in1_label').exists()


def test_a_file_that_is_missing_is_missing(tree):
    with pytest.raises(FileNotFoundError):
        read(tree, 'sys/class/thermal/thermal_zone99/temp')


@pytest.mark.parametrize('code', [errno.EAGAIN, errno.EACCES, errno.EIO, errno.ENOENT])
def test_faults_last_until_they_are_healed(tree, code):
    path = tree.zones['cpu-thermal'] / 'temp'
    tree.fail('cpu-thermal', code)
    tree.set_temperature('cpu-thermal', 60)
    with pytest.raises(OSError) as caught:
        read(tree, path.resolve())
    assert (caught.value.errno, caught.value.filename) == (code, str(path.resolve()))
    tree.heal('cpu-thermal')
    assert read(tree, path) == b'60000\n'


def test_a_folder_fails_with_all_that_is_in_it_and_blocks_stay_off_when_all_is_healed(tree):
    chip = tree.hwmon('soctherm_oc')[0]
    tree.fail(chip, errno.EIO)
    for name in ('name', 'oc1_event_cnt', 'oc3_throt_en'):
        with pytest.raises(OSError, match='error'):
            read(tree, chip / name)
    tree.heal()
    assert read(tree, chip / 'name') == b'soctherm_oc\n'
    off = 'gpu-thermal' if tree.board == 'thor' else 'cv1-thermal'
    assert not tree.is_readable(tree.zones[off] / 'temp')


def test_a_fault_needs_something_to_fail(tree):
    with pytest.raises(ValueError, match="no zone and no path 'gpu-therm'"):
        tree.fail('gpu-therm', errno.EIO)


# Changes


def test_a_reader_never_finds_an_empty_file(tmp_path):
    tree = plant('orin_nano', tmp_path)
    path = str(tree.zones['cpu-thermal'] / 'temp')
    names = sorted(os.listdir(tree.zones['cpu-thermal']))
    found, done = set(), threading.Event()

    def watch():
        while not done.is_set():
            found.add(tree.read_bytes(path))

    reader = threading.Thread(target=watch)
    reader.start()
    for number in range(500):
        tree.set_temperature('cpu-thermal', 9 if number % 2 else 100)
    done.set()
    reader.join()
    assert found <= {b'45000\n', b'9000\n', b'100000\n'}
    assert sorted(os.listdir(tree.zones['cpu-thermal'])) == names


def test_all_zones_are_set_but_blocks_stay_off(tree):
    off = {zone for zone, folder in tree.zones.items() if not tree.is_readable(folder / 'temp')}
    tree.set_all(71.5)
    for zone, folder in tree.zones.items():
        assert tree.is_readable(folder / 'temp') is (zone not in off)
        assert tree.integer(folder / 'temp') == 71500
    tree.set_temperature(next(iter(off)), 80)
    assert read(tree, tree.zones[next(iter(off))] / 'temp') == b'80000\n'


def test_a_cooling_device_takes_its_clock_down_with_the_limit_that_the_board_shows(tree):
    kind = f'devfreq-{tree.gpu_clock.name}'
    table = tree.gpu_frequencies()
    tree.set_gpu_clock(table[-1] / 1e6)
    assert tree.integer(tree.gpu_clock / 'cur_freq') == table[-1]
    tree.set_cooling(kind, 3)
    assert tree.integer(tree.gpu_clock / 'max_freq') == table[-4]
    assert tree.integer(tree.gpu_clock / 'cur_freq') == table[-4]
    tree.set_gpu_clock(table[-1] / 1e6)
    assert tree.integer(tree.gpu_clock / 'cur_freq') == table[-4]
    tree.set_cooling(kind, 0)
    assert tree.integer(tree.gpu_clock / 'max_freq') == table[-1]
    policy = tree.root / 'sys/devices/system/cpu/cpu0/cpufreq'
    tree.set_cooling('cpufreq-cpu0', 1)
    assert tree.integer(policy / 'scaling_max_freq') < tree.integer(policy / 'cpuinfo_max_freq')


def test_an_alert_shows_at_its_platform_device_and_has_its_own_limits(tree):
    tree.set_cooling('gpu-throttle-alert', 1)
    assert tree.text('sys/devices/platform/gpu-throttle-alert/thermal_trip_event') == '1'
    with pytest.raises(ValueError, match='states 0 to 2, not 3'):
        tree.set_cooling('gpu-throttle-alert', 3)


@pytest.mark.parametrize(('board', 'mode', 'cpus', 'gpu_hz', 'cpu_khz'), [
    ('orin_agx', 1, '0-3', 408000000, 1113600), ('orin_agx', 3, '0-11', 816000000, 1497600),
    ('orin_nx', 2, '0-3', 612000000, 1420800), ('orin_nano', 3, '0-3', 408000000, 960000)])
def test_a_power_mode_caps_clocks_and_switches_cpus_off(
        board, mode, cpus, gpu_hz, cpu_khz, tmp_path):
    tree = plant(board, tmp_path)
    before = content(tree)
    tree.set_gpu_clock(2000)
    tree.set_power_mode(mode)
    assert tree.text('var/lib/nvpmodel/status') == f'pmode:{mode:04d}'
    assert tree.text('sys/devices/system/cpu/online') == cpus
    assert tree.integer(tree.gpu_clock / 'max_freq') == gpu_hz
    assert tree.integer(tree.gpu_clock / 'cur_freq') == gpu_hz
    cpu = tree.root / 'sys/devices/system/cpu'
    assert tree.integer(cpu / 'cpu0/cpufreq/scaling_max_freq') == cpu_khz
    assert (cpu / 'cpu4/cpufreq').exists() is (cpus != '0-3')
    # Heat and power mode together: the tighter of the two counts.
    tree.set_cooling('devfreq-17000000.gpu', 1)
    assert tree.integer(tree.gpu_clock / 'max_freq') == gpu_hz
    tree.set_cooling('devfreq-17000000.gpu', 0)
    tree.set_power_mode(2 if board == 'orin_nano' else 0)
    tree.set_gpu_clock(306)
    assert content(tree) == before
    assert (cpu / 'cpu4/cpufreq').exists()


def test_an_unknown_power_mode_is_refused(tree):
    with pytest.raises(ValueError, match='no power mode 9'):
        tree.set_power_mode(9)


@pytest.mark.parametrize(('board', 'label'), [
    ('orin_agx', 'VDD_GPU_SOC'), ('orin_nx', 'VDD_IN'), ('orin_nano', 'VDD_SOC'),
    ('thor', 'VDD_GPU'), ('thor', 'VIN')])
def test_a_rail_is_set_with_all_that_follows_from_it(board, label, tmp_path):
    tree = plant(board, tmp_path, shuffled=True)
    others = {name: rail for name, rail in tree.rails().items() if name != label}
    tree.set_rail(label, 12.0, 2.5)
    assert tree.rails() == {**others, label: (12.0, 2.5)}
    if label == 'VIN':
        assert tree.integer(tree.hwmon('ina238')[0] / 'power1_input') == 30_000_000
        return
    chip = tree.hwmon('ina3221')[0]
    summed = [name for name in ('VDD_GPU_SOC', 'VDD_CPU_CV', 'VDD_IN', 'VDD_CPU_GPU_CV', 'VDD_SOC',
                                'VDD_GPU', 'VDD_CPU_SOC_MSS') if name in tree.rails()]
    total = round(sum(tree.rails()[name][1] for name in summed) * 1000)
    assert tree.integer(chip / 'curr4_input') == total
    assert tree.integer(chip / 'in7_input') == (
        total * tree.integer(chip / 'shunt1_resistor') // 1000)


def test_an_unknown_rail_is_refused_with_those_that_exist(tree):
    with pytest.raises(ValueError, match="no rail 'VDD_X', only V"):
        tree.set_rail('VDD_X', 1, 1)


def test_counters_rise_until_the_board_boots_again(tree):
    before = tree.over_current()
    tree.count_over_current('oc3', 5)
    tree.count_over_current('oc1', 1)
    assert tree.over_current() == {**before, 'oc3': before['oc3'] + 5, 'oc1': before['oc1'] + 1}
    tree.set_cooling('cpu-throttle-alert', 1)
    tree.reboot()
    assert set(tree.over_current().values()) == {0}
    assert tree.integer(tree.cooling_devices['cpu-throttle-alert'] / 'cur_state') == 0


# The ramp


def play(ramp, step_s=1.0):
    return [ramp.advance(number * step_s) for number in range(round(ramp.duration_s / step_s) + 1)]


def test_the_ramp_throttles_once_and_leaves_the_board_as_it_was(tree):
    before = content(tree)
    ramp = Ramp(tree, duration_s=60)
    truths = play(ramp)
    turns = [truth for last, truth in zip(truths, truths[1:])
             if truth.is_throttling is not last.is_throttling]
    assert [truth.is_throttling for truth in turns] == [True, False]
    assert turns[0].hottest_c >= ramp.throttle_c > turns[1].hottest_c
    assert ramp.throttle_c == (109 if tree.board == 'thor' else 99)
    assert max(truth.hottest_c for truth in truths) == ramp.peak_c < ramp.critical_c
    assert not truths[-1].is_throttling and truths[-1].hottest_c == 45
    oc3 = truths[-1].over_current['oc3'] - truths[0].over_current['oc3']
    assert oc3 > 100
    tree.count_over_current('oc3', -oc3)
    # At the start the die has not the same temperature everywhere; at the end it has.
    changed = {path for path, data in content(tree).items() if data != before[path]}
    assert {path.name for path in changed} <= {'temp'}


def test_in_the_ramp_the_gpu_is_hottest_and_the_junction_shows_it(tree):
    ramp = Ramp(tree, duration_s=60)
    for truth in play(ramp)[5:30]:
        heat = truth.temperatures_c
        assert truth.hottest == 'gpu-thermal'
        assert heat['tj-thermal'] == heat['gpu-thermal'] >= heat['cpu-thermal']
        soc = next(heat[zone] for zone in heat if zone.startswith('soc'))
        assert heat['cpu-thermal'] > soc > 45 or truth.time_s < 10


def test_in_the_ramp_clocks_and_power_fall_while_the_board_throttles(tree):
    ramp = Ramp(tree, duration_s=60)
    cool, hot = ramp.advance(15), ramp.advance(29)
    assert (cool.is_throttling, hot.is_throttling) == (False, True)
    assert cool.load == hot.load == 1.0
    assert cool.gpu_share == 1.0 > hot.gpu_share
    assert hot.gpu_mhz * 1e6 == tree.integer(tree.gpu_clock / 'max_freq')
    assert all(hot.rails_w[label] < cool.rails_w[label] for label in hot.rails_w)
    assert hot.cooling['gpu-throttle-alert'] == 1
    assert hot.cooling[f'devfreq-{tree.gpu_clock.name}'] > 1
    assert hot.cooling['cpufreq-cpu0'] > 1
    policy = tree.root / 'sys/devices/system/cpu/cpu0/cpufreq'
    assert tree.integer(policy / 'scaling_cur_freq') == tree.integer(policy / 'scaling_max_freq')
    assert tree.integer(policy / 'scaling_max_freq') < tree.integer(policy / 'cpuinfo_max_freq')


def test_the_ramp_depends_on_time_alone(board, tmp_path):
    fine = Ramp(plant(board, tmp_path / 'fine'), duration_s=60)
    coarse = Ramp(plant(board, tmp_path / 'coarse'), duration_s=60)
    for step in range(1, 100):
        fine.advance(step * 0.25)
    assert fine.advance(25) == coarse.advance(25)
    assert coarse.advance(25) == coarse.advance(25)
    assert coarse.advance(25.5).time_s == 25.5
    with pytest.raises(ValueError, match='cannot go back to 25 s'):
        coarse.advance(25)


@pytest.mark.parametrize('board', ORIN)
def test_a_hot_surface_alone_is_no_throttling(board, tmp_path):
    ramp = Ramp(plant(board, tmp_path), peak_c=85, duration_s=30)
    truths = play(ramp)
    assert max(truth.cooling['hot-surface-alert'] for truth in truths) == 1
    assert truths[-1].cooling['hot-surface-alert'] == 0
    assert not any(truth.is_throttling for truth in truths)
    assert {truth.gpu_share for truth in truths if truth.load == 1} == {1.0}


def test_a_ramp_to_where_the_board_shuts_down_is_refused(tree):
    with pytest.raises(ValueError, match='shuts down; its critical trip is 1[01]4.5 C'):
        Ramp(tree, peak_c=115)


def test_the_gpu_of_thor_has_a_temperature_while_it_works(tmp_path):
    tree = plant('thor', tmp_path)
    ramp = Ramp(tree, duration_s=60)
    assert 'gpu-thermal' not in ramp.advance(0).temperatures_c
    assert ramp.advance(1).temperatures_c['gpu-thermal'] >= 45
    assert 'gpu-thermal' in ramp.advance(56).temperatures_c
    assert 'gpu-thermal' not in ramp.advance(58).temperatures_c
    assert tree.integer(tree.gpu_clock / 'cur_freq') == 0


def test_the_ramp_reads_the_trips_of_the_board(tmp_path):
    tree = plant('orin_nx', tmp_path)
    for zone in ('cpu-thermal', 'gpu-thermal'):
        tree.write(tree.zones[zone] / 'trip_point_0_temp', 80000)
    ramp = Ramp(tree, duration_s=30)
    assert (ramp.throttle_c, ramp.peak_c) == (80, 83)
    first = next(truth for truth in play(ramp) if truth.is_throttling)
    assert 80 <= first.hottest_c <= 83


def test_a_zone_that_fails_moves_no_cooling_device(tmp_path):
    tree = plant('orin_nano', tmp_path)
    tree.fail('cpu-thermal', errno.EIO)
    truths = play(Ramp(tree, duration_s=30))
    assert not any(truth.cooling['cpu-throttle-alert'] for truth in truths)
    assert any(truth.cooling['gpu-throttle-alert'] for truth in truths)
