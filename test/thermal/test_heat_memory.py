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

"""What heat was seen before its sensor failed, or while another one was failing."""

from c7_inference_ros.thermal.heat import Heat
from c7_inference_ros.thermal.heat import HeatWatch
from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import Reading
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.thermal.state import ZoneReading
import pytest

SECOND = 1_000_000_000


def judged(watch, at_s, *, zones, flags=None, throttles=False):
    """Return the verdict on a device with zones and flags, given as name to value."""
    return watch.judge(ThermalState((DeviceState(
        'host', 'linux', at_s * SECOND, True,
        zones=tuple(ZoneReading(name, celsius, 'x', throttle_c=95.0)
                    for name, celsius in zones.items()),
        is_throttling=throttles, throttle_reasons=('a counter rose',) * throttles,
        throttle_flags={name: Reading(value, 'x') for name, value in (flags or {}).items()}),),
        at_s * SECOND), 5.0, 10.0)


@pytest.mark.parametrize('later, heat', [(1, Heat.UNKNOWN), (60, Heat.UNKNOWN), (61, Heat.COOL)])
def test_zone_that_cannot_be_read_while_its_device_throttles_may_be_the_hot_one(later, heat):
    watch = HeatWatch()
    judged(watch, 0, zones={'cpu': 50.0, 'board': 40.0})
    assert judged(watch, 1, zones={'board': 40.0}).heat is Heat.COOL
    assert judged(watch, 2, zones={'board': 40.0}, throttles=True).heat is Heat.HOT
    found = judged(watch, 2 + later, zones={'board': 40.0})
    assert found.heat is heat
    assert heat is Heat.COOL or 'host zone cpu cannot be read' in found.reason


def test_zone_that_has_been_gone_for_long_is_not_held_against_a_device_that_throttles():
    watch = HeatWatch()
    judged(watch, 0, zones={'old': 50.0, 'board': 40.0})
    judged(watch, 61, zones={'board': 40.0}, throttles=True)
    assert judged(watch, 62, zones={'board': 40.0}).heat is Heat.COOL


def test_zone_that_fails_while_its_device_throttles_for_long_is_held_against_it():
    watch = HeatWatch()
    judged(watch, 0, zones={'cpu': 50.0, 'board': 40.0})
    for at_s in range(1, 200):
        judged(watch, at_s, zones={'board': 40.0}, throttles=True)
    assert judged(watch, 200, zones={'board': 40.0}).heat is Heat.UNKNOWN


def test_zone_that_is_read_again_is_believed():
    watch = HeatWatch()
    judged(watch, 0, zones={'cpu': 50.0, 'board': 40.0})
    judged(watch, 1, zones={'board': 40.0}, throttles=True)
    assert judged(watch, 2, zones={'cpu': 50.0, 'board': 40.0}).heat is Heat.COOL


@pytest.mark.parametrize('later, heat', [(1, Heat.UNKNOWN), (60, Heat.UNKNOWN), (61, Heat.COOL)])
def test_flag_that_was_set_and_cannot_be_read_does_not_look_cool(later, heat):
    watch = HeatWatch()
    zones = {'cpu': 50.0}
    judged(watch, 0, zones=zones, flags={'cpu-throttle-alert': True}, throttles=True)
    found = judged(watch, later, zones=zones)
    assert found.heat is heat
    assert heat is Heat.COOL or found.reason == (
        f'host throttle flag cpu-throttle-alert cannot be read, and was set {later} s ago')


@pytest.mark.parametrize('flag, throttles', [(False, False), (True, False)])
def test_flag_that_told_of_no_heat_is_not_missed(flag, throttles):
    watch = HeatWatch()
    judged(watch, 0, zones={'cpu': 50.0}, flags={'sw_power_cap': flag}, throttles=throttles)
    assert judged(watch, 1, zones={'cpu': 50.0}).heat is Heat.COOL


def test_flag_that_is_read_as_clear_is_believed():
    watch = HeatWatch()
    judged(watch, 0, zones={'cpu': 50.0}, flags={'alert': True}, throttles=True)
    assert judged(watch, 1, zones={'cpu': 50.0}, flags={'alert': False}).heat is Heat.COOL
    assert judged(watch, 2, zones={'cpu': 50.0}).heat is Heat.COOL
