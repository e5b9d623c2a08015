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

"""What /diagnostics says of heat, from the states alone; and how zones become topics."""

from board_trees import BOARDS
from board_trees import plant
from c7_inference_ros.node.thermal_diagnostics import shedding_status
from c7_inference_ros.node.thermal_diagnostics import temperature_status
from c7_inference_ros.node.thermal_watch import with_recent_warnings
from c7_inference_ros.node.zone_topics import topic_token
from c7_inference_ros.node.zone_topics import topic_tokens
from c7_inference_ros.pipeline.load_shedder import SheddingStatus
from c7_inference_ros.pipeline.shedding import NOTHING_SHED
from c7_inference_ros.pipeline.shedding import SheddingStep
from c7_inference_ros.thermal.heat import Heat
from c7_inference_ros.thermal.jetson import JetsonThermalSource
from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import Reading
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.thermal.state import ZoneReading
from client import ERROR
from client import OK
from client import STALE
from client import Status
from client import WARN
import pytest

SECOND = 1_000_000_000
HOST = 'vehicle-7'


def zone(celsius, name='gpu-thermal', **limits):
    """Return a zone of an Orin: 70 C warns, 99 C slows, 104.5 C stops."""
    limits = {'warn_c': 70.0, 'throttle_c': 99.0, 'critical_c': 104.5, **limits}
    return ZoneReading(name, celsius, f'class/thermal/{name}', **limits)


def device(*zones, name='jetson', **fields):
    return DeviceState(name, 'jetson', 5 * SECOND, True, zones=zones, **fields)


def temperature(state, now_ns=6 * SECOND):
    return Status(temperature_status(f'node: temperature {state.name}', HOST, state, now_ns))


# --- temperature ---

@pytest.mark.parametrize('celsius, level, words', [
    (45.0, OK, ['45.0 C at gpu-thermal']),
    (69.9, OK, ['69.9 C']),
    (70.0, WARN, ['gpu-thermal is at 70.0 C', '70.0 C']),
    (104.4, WARN, ['104.4 C']),
    (104.5, ERROR, ['gpu-thermal is at 104.5 C', 'critical is 104.5 C'])])
def test_levels_come_from_the_limits_of_the_hardware(celsius, level, words):
    status = temperature(device(zone(40.0, 'cpu-thermal'), zone(celsius)))
    assert status.level == level
    assert all(word in status.message for word in words)
    assert (status['hottest_zone'], status.number('hottest_c')) == ('gpu-thermal', celsius)


def test_a_zone_without_limits_is_never_judged():
    status = temperature(device(zone(140.0, warn_c=None, throttle_c=None, critical_c=None)))
    assert status.level == OK
    assert not any(key.startswith('limit.') for key in status.values)


def test_heat_that_slows_the_device_is_an_error_however_cool_it_looks():
    status = temperature(device(
        zone(50.0), is_throttling=True, throttle_reasons=('gpu-throttle-alert is at state 1',)))
    assert status.level == ERROR
    assert 'jetson throttles: gpu-throttle-alert is at state 1' in status.message
    assert status['throttling'] == 'true'


def test_a_power_cap_warns_and_is_not_called_throttling():
    status = temperature(device(zone(50.0), warnings=('the power cap lowers the clock',)))
    assert (status.level, status['throttling']) == (WARN, 'false')
    assert status.message == status['warnings'] == 'the power cap lowers the clock'


def test_a_warning_of_one_poll_stays_for_five_seconds_with_its_age():
    warned, now = device(zone(50.0), warnings=('oc1',)), device(zone(51.0))
    assert with_recent_warnings(now, warned, 7 * SECOND).warnings == ('2.0 s ago: oc1',)
    assert with_recent_warnings(now, warned, 10 * SECOND).warnings == ('5.0 s ago: oc1',)
    assert with_recent_warnings(now, warned, 10 * SECOND + SECOND // 10) is now
    assert with_recent_warnings(now, None, 7 * SECOND) is now
    assert with_recent_warnings(warned, device(zone(49.0), warnings=('oc2',)),
                                7 * SECOND) is warned
    lost = DeviceState.unavailable('jetson', 'jetson', 'gone', 7 * SECOND)
    assert with_recent_warnings(lost, warned, 7 * SECOND) is lost


def test_what_cannot_be_read_is_listed_and_does_not_alarm():
    status = temperature(device(zone(50.0), faults=('cv0-thermal cannot be read: EAGAIN',)))
    assert status.level == OK
    assert status['faults'] == 'cv0-thermal cannot be read: EAGAIN'


def test_without_telemetry_a_device_is_stale_with_the_reason():
    status = temperature(DeviceState.unavailable(
        'gpu0', 'nvml', 'the driver does not answer', 5 * SECOND, model='RTX',
        hardware_id='GPU-1'))
    assert status.level == STALE
    assert status.message == 'no temperature is known: the driver does not answer'
    assert status.hardware_id == 'GPU-1'
    assert (status['telemetry_available'], status['hottest_c'], status['model']) == (
        'false', '', 'RTX')


@pytest.mark.parametrize('faults, words', [
    (('gpu0 shows no temperature',), 'gpu0 shows no temperature'), ((), 'jetson shows none')])
def test_a_device_that_shows_no_temperature_is_stale_also_when_the_rest_is_read(faults, words):
    flags = {'gpu-throttle-alert': Reading(False, 'cur_state')}
    status = temperature(device(throttle_flags=flags, faults=faults))
    assert status.level == STALE
    assert words in status.message
    status = temperature(device(throttle_flags=flags, is_throttling=True,
                                throttle_reasons=('alert',)))
    assert status.level == ERROR  # what is known weighs more than what is not


def test_every_reading_is_there_with_its_unit_and_its_origin():
    status = temperature(device(
        zone(45.5), clocks_mhz={'gpu': Reading(612.0, 'devfreq/cur_freq')},
        load={'gpu': Reading(0.25, 'gpu.0/load')}, power_w={'VDD_IN': Reading(9.5, 'hwmon1')},
        throttle_flags={'gpu-throttle-alert': Reading(False, 'cooling_device3')},
        over_current_events={'oc3': Reading(4, 'oc3_event_cnt')},
        over_current_totals={'oc3': Reading(11, 'oc3_event_cnt')},
        settings={'power_mode': Reading('MAXN', '/var/lib/nvpmodel/status')},
        model='Jetson AGX Orin', hardware_id='1421', faults=('a', 'b')))
    expected = {
        'zone.gpu-thermal_c': ('45.500', 'class/thermal/gpu-thermal'),
        'clock.gpu_mhz': ('612.000', 'devfreq/cur_freq'), 'load.gpu': ('0.250', 'gpu.0/load'),
        'power.VDD_IN_w': ('9.500', 'hwmon1'),
        'throttle.gpu-throttle-alert': ('false', 'cooling_device3'),
        'over_current.oc3': ('4', 'oc3_event_cnt'),
        'over_current_total.oc3': ('11', 'oc3_event_cnt'),
        'setting.power_mode': ('MAXN', '/var/lib/nvpmodel/status')}
    for key, (value, origin) in expected.items():
        assert status[key] == value
        assert status[f'from.{key}'] == origin
    assert (status['limit.gpu-thermal.warn_c'], status['limit.gpu-thermal.throttle_c'],
            status['limit.gpu-thermal.critical_c']) == ('70.000', '99.000', '104.500')
    assert (status['model'], status.hardware_id, status['source']) == (
        'Jetson AGX Orin', '1421', 'jetson')
    assert (status['age_s'], status['faults']) == ('1.000', 'a; b')
    keys = list(status.values)
    first = next(index for index, key in enumerate(keys) if key.startswith('from.'))
    assert {key.removeprefix('from.') for key in keys[first:]} == set(expected)


def test_a_device_without_identity_has_that_of_the_machine():
    assert temperature(device(zone(40.0))).hardware_id == HOST


def test_one_device_that_is_silent_hides_nothing_of_the_other_and_is_not_hidden_by_it():
    state = ThermalState((device(zone(45.0), name='host'), DeviceState.unavailable(
        'gpu0', 'nvml', 'the driver does not answer', 5 * SECOND)), 5 * SECOND)
    assert [temperature(each).level for each in state.devices] == [OK, STALE]


@pytest.mark.parametrize('board', BOARDS)
def test_a_board_is_shown_whole(board, tmp_path):
    tree = plant(board, tmp_path)
    source = JetsonThermalSource(tree.sysfs_root, tree.read_bytes)

    def read(second):
        found, = source.read(second * SECOND).devices
        return temperature(found, second * SECOND)

    status = read(5)
    assert status.level == OK, status
    assert 'Jetson' in status['model'] and status.hardware_id not in ('', HOST)
    for key in ('zone.tj-thermal_c', 'limit.cpu-thermal.throttle_c',
                'limit.cpu-thermal.critical_c',
                'clock.gpu_mhz', 'clock.gpu_max_mhz', 'clock.cpu_mhz',
                'throttle.gpu-throttle-alert', 'setting.power_mode'):
        assert status[key] != '', key
    assert any(key.startswith('power.') for key in status.values)
    first = next(index for index, key in enumerate(status.values) if key.startswith('from.'))
    assert all(key.startswith('from.') for key in list(status.values)[first:])
    tree.set_cooling('gpu-throttle-alert', 1)
    hot = tree.hwmon('soctherm_oc')
    if hot:
        tree.count_over_current('oc3', 7)
    status = read(6)
    assert status.level == ERROR
    assert status['throttle.gpu-throttle-alert'] == 'true'
    if hot:
        assert (status['over_current.oc3'], status['over_current_total.oc3']) == ('7', '7')
    tree.set_cooling('gpu-throttle-alert', 0)
    status = read(7)
    assert status.level == OK
    if hot:
        assert (status['over_current.oc3'], status['over_current_total.oc3']) == ('0', '7')


# --- load shedding ---

def shedding(policy='shed', step=NOTHING_SHED, heat=Heat.COOL, **fields):
    return Status(shedding_status('node: load shedding', HOST, SheddingStatus(
        policy, step, 4, heat, 'tj-thermal is at 95.0 C', 12.5, 3, True, **fields)))


@pytest.mark.parametrize('policy, heat, level', [
    ('observe', Heat.COOL, OK), ('observe', Heat.HOT, OK), ('observe', Heat.UNKNOWN, OK),
    ('shed', Heat.COOL, OK), ('shed', Heat.WARM, OK), ('shed', Heat.HOT, OK),
    ('shed', Heat.UNKNOWN, WARN)])
def test_nothing_shed_warns_only_when_the_policy_cannot_know(policy, heat, level):
    status = shedding(policy, heat=heat)
    assert status.level == level
    assert (status['policy'], status['heat'], status['level']) == (policy, heat.value, '0')
    if level == OK:
        assert status.message == f'nothing is shed, policy {policy}, {heat.value}'
    else:
        assert 'tj-thermal is at 95.0 C' in status.message


@pytest.mark.parametrize('heat', list(Heat))
def test_what_is_shed_warns_with_the_step_and_the_reason(heat):
    status = shedding(step=SheddingStep(
        2, 'at most 5 Hz of each camera, no people', 5.0, frozenset({'people', 'cars'})),
        heat=heat)
    assert status.level == WARN
    assert status.message == ('step 2 of 4, at most 5 Hz of each camera, no people: '
                              'tj-thermal is at 95.0 C')
    assert {key: status[key] for key in (
        'step', 'level', 'levels', 'max_rate_hz', 'skipped_models', 'paused', 'reason', 'active',
        'seconds_in_step', 'steps_taken')} == {
        'step': 'at most 5 Hz of each camera, no people', 'level': '2', 'levels': '4',
        'max_rate_hz': '5.000', 'skipped_models': 'cars, people', 'paused': 'false',
        'reason': 'tj-thermal is at 95.0 C', 'active': 'true', 'seconds_in_step': '12.500',
        'steps_taken': '3'}


def test_a_policy_that_can_shed_nothing_warns_with_the_settings():
    status = shedding(why_empty='thermal.shed_limit is rate')
    assert status.level == WARN
    assert 'nothing can be shed whatever the heat: thermal.shed_limit is rate' in status.message
    assert shedding('observe', why_empty='thermal.shed_limit is rate').level == OK
    status = shedding(heat=Heat.UNKNOWN, why_empty='thermal.shed_limit is rate')
    assert 'the heat is unknown' in status.message and 'thermal.shed_limit' in status.message


def test_a_pause_is_shown_as_one():
    status = shedding(step=SheddingStep(4, 'intake is paused', None, frozenset(), True))
    assert (status['paused'], status['max_rate_hz']) == ('true', '')


# --- zones as topics ---

@pytest.mark.parametrize('name, token', [
    ('gpu-thermal', 'gpu_thermal'), ('CPU', 'cpu'), ('coretemp Package id 0',
                                                     'coretemp_package_id_0'),
    ('a__b', 'a_b'), ('-x-', 'x'), ('0', 'zone_0'), ('', 'zone'), ('µC/µm', 'c_m'),
    ('iwlwifi_1', 'iwlwifi_1')])
def test_a_zone_becomes_a_legal_topic_name(name, token):
    assert topic_token(name) == token


def test_only_zones_that_two_devices_share_carry_the_device():
    zones = [('host', 'Tctl'), ('host', 'gpu'), ('gpu0', 'GPU'), ('gpu0', 'memory')]
    assert topic_tokens(zones, {}) == {
        ('host', 'Tctl'): 'tctl', ('host', 'gpu'): 'host_gpu', ('gpu0', 'GPU'): 'gpu0_gpu',
        ('gpu0', 'memory'): 'memory'}


def test_zones_of_one_device_that_look_alike_are_numbered():
    zones = [('host', 'CPU 0'), ('host', 'cpu-0'), ('host', 'cpu_0'), ('host', 'cpu 0 2')]
    assert list(topic_tokens(zones, {}).values()) == ['cpu_0', 'cpu_0_2', 'cpu_0_3', 'cpu_0_2_2']


def test_a_zone_that_appears_later_takes_no_name_away():
    known = topic_tokens([('host', 'gpu')], {})
    assert known == {('host', 'gpu'): 'gpu'}
    assert topic_tokens([('host', 'gpu'), ('gpu0', 'gpu')], known) == {('gpu0', 'gpu'): 'gpu0_gpu'}
