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

from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.thermal.state import ZoneReading
import pytest


def state_of(*zones, **changes):
    """Return a state with telemetry."""
    values = {
        'zones': zones, 'is_throttling': False, 'throttle_reasons': (),
        'clocks_mhz': {'cpu_max': 800.0}, 'power_w': {}, 'over_current_events': {},
        'measured_at_ns': 5_000_000_000, 'is_telemetry_available': True, 'source': 'test',
        'faults': ()}
    return ThermalState(**{**values, **changes})


def test_hottest_is_the_first_of_the_warmest():
    zones = [ZoneReading('a', 40.0, 'x'), ZoneReading('b', 55.5, 'x'), ZoneReading('c', 55.5, 'x')]
    assert state_of(*zones).hottest is zones[1]
    assert state_of(ZoneReading('frost', -20.0, 'x')).hottest.temperature_c == -20.0
    assert state_of().hottest is None


def test_age_counts_seconds_from_the_injected_clock():
    assert state_of().age_s(7_250_000_000) == 2.25


def test_unavailable_says_why_and_nothing_else():
    state = ThermalState.unavailable('no sensor', 42, 'linux')
    assert not state.is_telemetry_available
    assert not state.is_throttling
    assert state.hottest is None
    assert state.zones == ()
    assert (state.faults, state.measured_at_ns, state.source) == (('no sensor',), 42, 'linux')


@pytest.mark.parametrize('changes', [
    {'zones': (ZoneReading('a', 20.0, 'x'),)},
    {'is_throttling': True, 'throttle_reasons': ('hot',)},
])
def test_without_telemetry_there_is_no_cool_and_no_throttle(changes):
    with pytest.raises(ValueError, match='is_telemetry_available=False'):
        state_of(is_telemetry_available=False, **changes)


def test_throttling_needs_a_reason():
    with pytest.raises(ValueError, match='throttle_reasons'):
        state_of(is_throttling=True)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_reading_is_finite(value):
    with pytest.raises(ValueError, match="'acpitz'"):
        ZoneReading('acpitz', value, 'x')


def test_nothing_changes_a_state_from_outside():
    clocks = {'cpu_max': 800.0}
    state = state_of(clocks_mhz=clocks)
    clocks['cpu_max'] = 1.0
    assert state.clocks_mhz['cpu_max'] == 800.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.is_throttling = True


def test_states_can_be_compared_hashed_stored_and_turned_into_a_dict():
    state = state_of(ZoneReading('a', 40.0, 'x', 90.0, 100.0))
    assert copy.deepcopy(state) == state
    assert pickle.loads(pickle.dumps(state)) == state
    assert hash(state) == hash(copy.deepcopy(state))
    assert dataclasses.asdict(state)['zones'][0]['critical_c'] == 100.0
