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

"""Whether a machine is too hot for its load."""

import itertools

from c7_inference_ros.thermal.heat import Heat
from c7_inference_ros.thermal.heat import HeatWatch
from c7_inference_ros.thermal.heat import judge
from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import Reading
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.thermal.state import ZoneReading
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

SECOND = 1_000_000_000
LIMIT = 99.0


def device(name='jetson', throttles='', **zones):
    """Return a device whose zones are given as a temperature, or as (temperature, limit)."""
    readings = []
    for zone, value in zones.items():
        celsius, limit = value if isinstance(value, tuple) else (value, LIMIT)
        readings.append(ZoneReading(zone, celsius, 'x', throttle_c=limit))
    return DeviceState(name, 'test', 0, True, tuple(readings), bool(throttles),
                       (throttles,) if throttles else ())


def lost(name='gpu0', reason='NVML is gone'):
    return DeviceState.unavailable(name, 'test', reason, 0)


def state(*devices, at_s=0):
    return ThermalState(devices, at_s * SECOND)


@pytest.mark.parametrize('celsius, expected', [
    (20.0, Heat.COOL), (88.9, Heat.COOL), (89.0, Heat.WARM), (93.9, Heat.WARM),
    (94.0, Heat.HOT), (99.0, Heat.HOT), (120.0, Heat.HOT)])
def test_margins_are_measured_from_the_limit_of_the_zone(celsius, expected):
    found = judge(state(device(cpu=15.0, gpu=celsius)), 5.0, 10.0)
    assert found.heat is expected
    assert f'jetson zone gpu is at {celsius:.1f} C' in found.reason


def test_reason_names_device_zone_temperature_limit_and_margin():
    hot = judge(state(device(gpu=(95.25, 99.5))), 5.0, 10.0).reason
    assert hot == ('jetson zone gpu is at 95.2 C, at or above 94.5 C: it slows the machine at'
                   ' 99.5 C, and the shed margin is 5 K')
    warm = judge(state(device(gpu=92.0)), 5.0, 10.0).reason
    assert 'not below 89.0 C' in warm and 'recover margin is 10 K' in warm
    cool = judge(state(device(gpu=50.0)), 5.0, 10.0).reason
    assert ', below 89.0 C' in cool


def test_zone_closest_to_its_own_limit_decides_not_the_warmest():
    found = judge(state(device(gpu=(70.0, 72.0), cpu=(90.0, 110.0))), 5.0, 10.0)
    assert found.heat is Heat.HOT
    assert 'zone gpu' in found.reason


def test_throttling_is_hot_whatever_the_temperatures_say():
    found = judge(state(device(throttles='gpu-throttle-alert is at state 1', gpu=40.0)), 5.0, 10.0)
    assert found.heat is Heat.HOT
    assert found.reason == ('jetson throttles: gpu-throttle-alert is at state 1; its zone gpu is'
                            ' at 40.0 C of 99.0 C')
    trip = 'gpu is at 99.5 C, at or above its passive trip of 99.0 C'
    assert judge(state(device(throttles=trip, gpu=99.5)), 5.0, 10.0).reason == (
        f'jetson throttles: {trip}')  # said once


def test_heat_that_is_known_counts_though_something_else_is_unknown():
    assert judge(state(lost(), device(gpu=95.0)), 5.0, 10.0).heat is Heat.HOT
    assert judge(state(lost(), device(throttles='x')), 5.0, 10.0).heat is Heat.HOT


def test_nothing_is_cool_while_a_device_cannot_be_read():
    for celsius in (20.0, 92.0):
        found = judge(state(device(gpu=celsius), lost()), 5.0, 10.0)
        assert found.heat is Heat.UNKNOWN
        assert found.reason == 'gpu0 has no telemetry: NVML is gone'
    assert judge(ThermalState.unavailable('no sensor', 0), 5.0, 10.0).heat is Heat.UNKNOWN


def test_device_that_shows_nothing_is_unknown():
    found = judge(state(device()), 5.0, 10.0)
    assert found.heat is Heat.UNKNOWN
    assert 'neither a temperature nor a sign' in found.reason


def test_machine_without_limits_is_judged_by_its_throttle_flags():
    warm_laptop = state(device('host', acpitz=(95.0, None)))
    assert judge(warm_laptop, 5.0, 10.0).heat is Heat.COOL
    assert judge(state(device('host', 'a core throttles', acpitz=(40.0, None))), 5.0,
                 10.0).heat is Heat.HOT
    flags = DeviceState('gpu0', 'nvml', 0, True,
                        throttle_flags={'sw_thermal': Reading(False, 'x')})
    assert judge(state(flags), 5.0, 10.0).heat is Heat.COOL


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-20.0, 130.0), st.one_of(st.none(), st.floats(40.0, 120.0))),
                min_size=1, max_size=6),
       st.floats(0.0, 50.0), st.floats(0.1, 50.0), st.booleans(), st.booleans())
def test_cool_means_measured_and_far_from_every_limit(zones, shed, gap, throttles, is_lost):
    recover = shed + gap
    devices = [device(throttles='x' if throttles else '',
                      **{f'z{number}': zone for number, zone in enumerate(zones)})]
    if is_lost:
        devices.append(lost())
    found = judge(state(*devices), shed, recover)
    margins = [limit - celsius for celsius, limit in zones if limit is not None]
    is_hot = throttles or any(margin <= shed for margin in margins)
    assert (found.heat is Heat.HOT) == is_hot
    if not is_hot:
        assert (found.heat is Heat.UNKNOWN) == is_lost
        assert (found.heat is Heat.COOL) == (not is_lost and all(m > recover for m in margins))
    assert found.reason and '\n' not in found.reason


class Watched:
    """States one after the other."""

    def __init__(self):
        self.watch = HeatWatch()

    def __call__(self, at_s, *devices):
        return self.watch.judge(state(*devices, at_s=at_s), 5.0, 10.0)


@pytest.mark.parametrize('last_c', [89.0, 90.0, 97.0])  # at and above what is cool
def test_zone_that_vanishes_while_warm_does_not_look_cool(last_c):
    watch = Watched()
    watch(0, device(cpu=50.0, gpu=last_c))
    found = watch(1, device(cpu=50.0))
    assert found.heat is Heat.UNKNOWN
    assert found.reason == 'jetson zone gpu cannot be read, and was not cool 1 s ago'
    assert watch(60, device(cpu=50.0)).heat is Heat.UNKNOWN
    assert watch(61, device(cpu=50.0)).heat is Heat.COOL  # a block that was switched off
    assert watch(62, device(cpu=50.0, gpu=96.0)).heat is Heat.HOT


def test_zone_that_loses_its_limit_counts_as_one_that_cannot_be_read():
    watch = Watched()
    watch(0, device(cpu=50.0, gpu=97.0))
    assert watch(1, device(cpu=50.0, gpu=(97.0, None))).heat is Heat.UNKNOWN


def test_zone_that_vanishes_while_cool_is_not_missed():
    watch = Watched()
    watch(0, device(cpu=50.0, cv0=97.0))
    watch(1, device(cpu=50.0, cv0=60.0))
    assert watch(2, device(cpu=50.0)).heat is Heat.COOL


def test_device_whose_limits_are_all_gone_stays_unknown():
    watch = Watched()
    watch(0, device(cpu=50.0, board=(40.0, None)))
    for at_s in (1, 100, 100_000):
        found = watch(at_s, device(board=(40.0, None)))
        assert found.heat is Heat.UNKNOWN
        assert found.reason == 'jetson shows no zone with a limit any more, for example cpu'
    assert watch(100_001, device(cpu=50.0)).heat is Heat.COOL


def test_zone_of_one_device_does_not_stand_for_that_of_another():
    watch = Watched()
    watch(0, device('gpu0', core=50.0), device('gpu1', core=97.0))
    assert watch(1, device('gpu0', core=50.0), device('gpu1', memory=50.0)).heat is Heat.UNKNOWN


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from((None, 50.0, 91.0, 96.0)),
                          st.sampled_from((None, 50.0, 91.0, 96.0))), min_size=1, max_size=12))
def test_memory_only_ever_turns_cool_into_unknown(temperatures):
    watch = Watched()
    for at_s, pair in zip(itertools.count(), temperatures):
        zones = {name: celsius for name, celsius in zip('ab', pair) if celsius is not None}
        now = device(board=(30.0, None), **zones)
        alone, remembered = judge(state(now), 5.0, 10.0), watch(at_s, now)
        assert remembered == alone or (alone.heat, remembered.heat) == (Heat.COOL, Heat.UNKNOWN)
        if None not in pair:
            assert remembered == alone
