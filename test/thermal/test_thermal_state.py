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

"""The records: what they refuse and what they answer."""

import copy
import dataclasses
import pickle

from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import Reading
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.thermal.state import ZoneReading
import pytest

MAPPINGS = ('throttle_flags', 'clocks_mhz', 'load', 'power_w', 'over_current_events',
            'over_current_totals', 'settings')


def device_of(*zones, name='host', **changes):
    """Return a device with telemetry."""
    values = {'source': 'test', 'measured_at_ns': 5_000_000_000, 'is_telemetry_available': True,
              'clocks_mhz': {'cpu_max': Reading(800.0, 'cpufreq')}}
    return DeviceState(name=name, zones=zones, **{**values, **changes})


def state_of(*devices):
    """Return a state of devices."""
    return ThermalState(devices, 6_000_000_000)


def hot(name):
    """Return a device that throttles."""
    return device_of(ZoneReading('die', 99.0, 'x'), name=name, is_throttling=True,
                     throttle_reasons=(f'{name} is hot',))


def lost(name):
    """Return a device without telemetry."""
    return DeviceState.unavailable(name, 'test', f'{name} is gone', 7, model='m', hardware_id='i')


@pytest.mark.parametrize('wrap', [lambda *zones: device_of(*zones),
                                  lambda *zones: state_of(device_of(*zones))])
def test_hottest_is_the_first_of_the_warmest(wrap):
    zones = [ZoneReading('a', 40.0, 'x'), ZoneReading('b', 55.5, 'x'), ZoneReading('c', 55.5, 'x')]
    assert wrap(*zones).hottest is zones[1]
    assert wrap(ZoneReading('frost', -20.0, 'x')).hottest.temperature_c == -20.0
    assert wrap().hottest is None


def test_the_hottest_zone_of_a_state_is_that_of_any_device():
    state = state_of(device_of(ZoneReading('die', 40.0, 'x')), hot('gpu0'), lost('gpu1'))
    assert state.hottest.temperature_c == 99.0
    assert [zone.temperature_c for zone in state.zones] == [40.0, 99.0]


def test_age_counts_seconds_from_the_injected_clock():
    assert device_of().age_s(7_250_000_000) == 2.25
    assert state_of(device_of()).age_s(7_250_000_000) == 1.25


def test_a_device_that_is_unavailable_says_why_and_nothing_else():
    device = lost('gpu0')
    assert (device.name, device.source, device.measured_at_ns) == ('gpu0', 'test', 7)
    assert (device.model, device.hardware_id, device.faults) == ('m', 'i', ('gpu0 is gone',))
    assert not device.is_telemetry_available and not device.is_throttling
    assert device.hottest is None and device.zones == () and device.warnings == ()
    assert all(getattr(device, name) == {} for name in MAPPINGS)


def test_a_state_that_is_unavailable_names_the_devices_or_else_the_source():
    state = ThermalState.unavailable('no sensor', 42, 'nvml', ('gpu0', 'gpu1'))
    assert [device.name for device in state.devices] == ['gpu0', 'gpu1']
    assert not state.is_telemetry_available and not state.is_throttling
    assert (state.hottest, state.zones, state.throttle_reasons) == (None, (), ())
    assert (state.faults, state.measured_at_ns, state.source) == (('no sensor',), 42, 'nvml')
    assert all(device.measured_at_ns == 42 for device in state.devices)
    assert [device.name for device in ThermalState.unavailable('x', 1, 'linux').devices] == [
        'linux']
    assert ThermalState.unavailable('x', 1).source == 'none'
    from_iterator = ThermalState.unavailable('x', 1, 'nvml', (f'gpu{n}' for n in range(2)))
    assert len(from_iterator.devices) == 2


def test_without_telemetry_every_device_stays_and_nothing_is_known_of_it():
    state = state_of(hot('gpu0'), device_of(model='board', hardware_id='7')).without_telemetry(
        'it hangs', 99)
    assert [device.name for device in state.devices] == ['gpu0', 'host']
    assert state.faults == ('it hangs',) and state.measured_at_ns == 99
    assert all(device == DeviceState.unavailable(
        device.name, 'test', 'it hangs', 99, model=device.model, hardware_id=device.hardware_id)
        for device in state.devices)
    assert (state.devices[1].model, state.devices[1].hardware_id) == ('board', '7')


def test_a_state_has_telemetry_only_when_each_device_has():
    assert state_of(device_of(), hot('gpu0')).is_telemetry_available
    assert not state_of(device_of(), lost('gpu0')).is_telemetry_available
    assert not state_of(lost('gpu0'), device_of()).is_telemetry_available


def test_a_state_throttles_when_any_device_does():
    assert not state_of(device_of(), lost('gpu0')).is_throttling
    state = state_of(lost('gpu1'), hot('gpu0'), hot('gpu2'))
    assert state.is_throttling
    assert state.throttle_reasons == ('gpu0 is hot', 'gpu2 is hot')


def test_sources_and_faults_of_devices_are_joined_each_once():
    state = state_of(device_of(source='linux', faults=('a', 'b')),
                     device_of(name='gpu0', source='nvml', faults=('b', 'c')),
                     device_of(name='gpu1', source='nvml'))
    assert state.source == 'linux+nvml'
    assert state.faults == ('a', 'b', 'c')


@pytest.mark.parametrize('names', [(), ('gpu0', 'gpu0')])
def test_a_state_of_nothing_and_two_devices_of_one_name_are_refused(names):
    with pytest.raises(ValueError, match='expected at least one, each with its own name'):
        state_of(*(device_of(name=name) for name in names))


@pytest.mark.parametrize('changes', [
    {'zones': (ZoneReading('a', 20.0, 'x'),)},
    {'is_throttling': True, 'throttle_reasons': ('hot',)},
])
def test_without_telemetry_there_is_no_cool_and_no_throttle(changes):
    with pytest.raises(ValueError, match="'host' has is_telemetry_available=False"):
        DeviceState('host', 'test', 1, False, **changes)


def test_throttling_needs_a_reason():
    with pytest.raises(ValueError, match="'host' has is_throttling=True with no throttle_reasons"):
        device_of(is_throttling=True)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), float('-inf')])
def test_a_reading_is_finite(value):
    with pytest.raises(ValueError, match="'acpitz'"):
        ZoneReading('acpitz', value, 'x')


@pytest.mark.parametrize('value', [float('nan'), float('inf'), float('-inf')])
@pytest.mark.parametrize('name', ['warn_c', 'critical_c', 'throttle_c'])
def test_a_limit_is_finite(name, value):
    """A zone that is compared with NaN is never hot, and hides those that are."""
    with pytest.raises(ValueError, match=f"{name} of 'acpitz' is {value}, expected a finite"):
        ZoneReading('acpitz', 40.0, 'x', **{name: value})


@pytest.mark.parametrize('name', MAPPINGS)
def test_no_mapping_of_a_device_changes_from_outside(name):
    given = {'one': Reading(1.0, 'x')}
    device = device_of(**{name: given})
    given['two'] = Reading(2.0, 'x')
    assert getattr(device, name) == {'one': Reading(1.0, 'x')}


def test_no_field_can_be_set():
    zone = ZoneReading('a', 1.0, 'x')
    for record, name in ((device_of(), 'is_throttling'), (state_of(device_of()), 'devices'),
                         (zone, 'temperature_c'), (Reading(1, 'x'), 'value')):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, name, None)


def test_states_can_be_compared_hashed_stored_and_turned_into_a_dict():
    state = state_of(device_of(ZoneReading('a', 40.0, 'x', 90.0, 100.0, 95.0)), lost('gpu0'))
    assert copy.deepcopy(state) == state
    assert pickle.loads(pickle.dumps(state)) == state
    assert hash(state) == hash(copy.deepcopy(state))
    assert state != state_of(device_of(ZoneReading('a', 40.1, 'x', 90.0, 100.0, 95.0)))
    device = dataclasses.asdict(state)['devices'][0]
    assert device['zones'][0]['critical_c'] == 100.0
    assert device['zones'][0]['throttle_c'] == 95.0
    assert device['clocks_mhz']['cpu_max'] == {'value': 800.0, 'source': 'cpufreq'}
