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

"""Several sources as one: whatever one of them does, the others are read."""

from c7_inference_ros.errors import TelemetryUnavailableError
from c7_inference_ros.thermal.combined import CombinedSource
from c7_inference_ros.thermal.source import ThermalSource
from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.thermal.state import ZoneReading
import pytest


def measured(name, celsius, source, **more):
    """Return a device that was measured."""
    return DeviceState(name, source, 0, True, (ZoneReading('gpu', celsius, 'x'),), **more)


class Scripted:
    """A source that says what it is told to; an exception is raised."""

    def __init__(self, name, devices, answer=None, signs=frozenset(), present=True):
        """Say the devices at 40 C by default."""
        self.name = name
        self.device_names = tuple(devices)
        self.answer = answer or [measured(device, 40.0, name) for device in devices]
        self.signs = signs
        self.present = present
        self.looked = 0

    def is_present(self):
        self.looked += 1
        return self.present

    def read(self, now_ns):
        if isinstance(self.answer, Exception):
            raise self.answer
        return (ThermalState(tuple(self.answer), now_ns) if isinstance(self.answer, list)
                else self.answer)

    def glance(self, now_ns):
        if isinstance(self.signs, Exception):
            raise self.signs
        return self.signs


@pytest.fixture
def host():
    return Scripted('linux', ['host'])


@pytest.fixture
def gpus():
    return Scripted('nvml', ['gpu0', 'gpu1'])


@pytest.fixture
def both(host, gpus):
    return CombinedSource([host, gpus])


def by_name(state):
    return {device.name: device for device in state.devices}


def test_all_devices_are_in_one_state(both):
    assert isinstance(both, ThermalSource)
    assert both.name == 'linux+nvml'
    state = both.read(7)
    assert [device.name for device in state.devices] == ['host', 'gpu0', 'gpu1']
    assert tuple(by_name(state)) == both.device_names
    assert state.measured_at_ns == 7 and state.is_telemetry_available


@pytest.mark.parametrize('error, text', [
    (TelemetryUnavailableError('the sensors are gone'), 'the sensors are gone'),
    (ZeroDivisionError('a bug'), 'thermal source nvml failed with ZeroDivisionError: a bug')])
def test_a_source_that_fails_leaves_its_devices_without_telemetry(both, gpus, error, text):
    gpus.answer = [measured('gpu0', 60.0, 'nvml', model='RTX', hardware_id='GPU-1'),
                   measured('gpu1', 61.0, 'nvml')]
    both.read(0)
    gpus.answer = error
    state = both.read(9)
    devices = by_name(state)
    assert devices['host'].is_telemetry_available and not state.is_telemetry_available
    for name in ('gpu0', 'gpu1'):
        assert not devices[name].is_telemetry_available
        assert devices[name].faults == (text,)
        assert (devices[name].source, devices[name].measured_at_ns) == ('nvml', 9)
    assert (devices['gpu0'].model, devices['gpu0'].hardware_id) == ('RTX', 'GPU-1')
    assert (both.read(10).devices[1].model) == 'RTX', 'also when it fails twice'


def test_all_sources_may_fail(both, host, gpus):
    host.answer = gpus.answer = TelemetryUnavailableError('nothing')
    state = both.read(0)
    assert tuple(by_name(state)) == ('host', 'gpu0', 'gpu1')
    assert not any(device.is_telemetry_available for device in state.devices)


def test_a_device_that_its_source_does_not_speak_of_is_unknown_not_cool(both, gpus):
    gpus.answer = [measured('gpu1', 50.0, 'nvml')]
    devices = by_name(both.read(0))
    assert devices['gpu1'].is_telemetry_available
    assert devices['gpu0'].faults == ('thermal source nvml says nothing of it',)


def test_a_device_of_another_source_cannot_be_overwritten(both, gpus):
    gpus.answer = [measured('host', 99.0, 'nvml'), measured('gpu0', 50.0, 'nvml')]
    devices = by_name(both.read(0))
    assert devices['host'].hottest.temperature_c == 40.0
    assert set(devices) == {'host', 'gpu0', 'gpu1'}


def test_what_is_no_state_is_a_failure(both, gpus):
    gpus.answer = 'hot'
    devices = by_name(both.read(0))
    assert 'thermal source nvml failed with AttributeError' in devices['gpu0'].faults[0]
    assert devices['host'].is_telemetry_available


def test_a_glance_holds_the_signs_of_all_and_survives_one(both, host, gpus):
    host.signs, gpus.signs = frozenset({'Processor'}), frozenset({'Processor', 'gpu0 brake'})
    assert both.glance(0) == {'linux: Processor', 'nvml: Processor', 'nvml: gpu0 brake'}
    host.signs = OSError('gone')
    assert both.glance(0) == {'nvml: Processor', 'nvml: gpu0 brake'}


def test_it_is_present_when_any_is_and_every_one_is_asked(both, host, gpus):
    assert both.is_present()
    assert (host.looked, gpus.looked) == (1, 1), 'a source finds its devices when it is asked'
    host.present = False
    assert both.is_present()
    gpus.present = False
    assert not both.is_present()


@pytest.mark.parametrize('sources', [
    [], [Scripted('linux', ['host']), Scripted('other', ['gpu0', 'host'])]])
def test_no_source_and_a_name_twice_are_refused(sources):
    with pytest.raises(ValueError, match='each device name once'):
        CombinedSource(sources)
