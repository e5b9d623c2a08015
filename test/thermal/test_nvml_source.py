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

"""NVIDIA GPUs through the real pynvml, over a compiled library in the place of the driver's."""

import gc
import os
from pathlib import Path
import subprocess
import sys
import threading
import time

from c7_inference_ros.errors import TelemetryUnavailableError
from c7_inference_ros.thermal import nvml as nvml_module
from c7_inference_ros.thermal.nvml import NvmlThermalSource
from c7_inference_ros.thermal.nvml import RETRY_NS
import libnvml_double as lib
from libnvml_double import LibnvmlDouble
import pytest

pynvml = pytest.importorskip('pynvml', reason='pynvml (nvidia-ml-py) is not installed')
NEW = ('nvmlDeviceGetTemperatureV', 'nvmlDeviceGetMarginTemperature',
       'nvmlDeviceGetCurrentClocksEventReasons')
pytestmark = pytest.mark.skipif(
    not all(hasattr(pynvml, function) for function in NEW),
    reason='this pynvml is older than nvidia-ml-py 12.570: it lacks functions that are tested')

S = 1_000_000_000
MADE = []
UUID = 'GPU-11111111-2222-3333-4444-555555555555'
OTHER = 'GPU-22222222-2222-3333-4444-555555555555'


@pytest.fixture(params=['580'])
def nvml(request, monkeypatch):
    """Return a driver without a GPU; the tests' own environment chooses none."""
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    double = LibnvmlDouble(request.param)
    double.install(monkeypatch)
    yield double
    for source in MADE:
        source.close()
    MADE.clear()


@pytest.fixture
def gpu(nvml):
    """Return the driver's only GPU."""
    return nvml.add()


def make(environment=None, root='/sys'):
    """Return a source that lets go of NVML with the test, and not in the middle of another."""
    source = NvmlThermalSource(root, {} if environment is None else environment)
    MADE.append(source)
    return source


def present(environment=None):
    """Return a source that is present."""
    source = make(environment)
    assert source.is_present(), source.absence
    return source


def only(source, now_ns=0):
    """Return the state of the only device."""
    device, = source.read(now_ns).devices
    return device


def values(readings):
    return {name: reading.value for name, reading in readings.items()}


# --- a healthy GPU ---


def test_everything_that_a_gpu_says(gpu):
    gpu.field(82, 60)
    gpu.say(lib.MEMORY_MAX, threshold=100)
    source = present()
    assert source.device_names == ('gpu0',)
    state = source.read(7)
    assert state.measured_at_ns == 7
    device, = state.devices
    assert (device.name, device.source, device.model, device.hardware_id) == (
        'gpu0', 'nvml', 'NVIDIA GeForce RTX 3090', UUID)
    assert device.is_telemetry_available and not device.is_throttling
    assert device.faults == () and device.warnings == ()
    assert [(zone.name, zone.temperature_c, zone.warn_c, zone.throttle_c, zone.critical_c)
            for zone in device.zones] == [('gpu', 45.0, 93.0, 93.0, 98.0),
                                          ('memory', 60.0, 100.0, 100.0, None)]
    assert values(device.clocks_mhz) == {'gpu': 1200, 'gpu_max': 2100, 'sm': 1210, 'sm_max': 2100,
                                         'memory': 9501, 'memory_max': 9751}
    assert values(device.load) == {'gpu': 0.3, 'memory': 0.1}
    assert values(device.power_w) == {'board': 120.5}
    assert values(device.settings) == {
        'performance_state': 'P2', 'power_limit': '350 W', 'persistence_mode': 'on',
        'compute_mode': 'default', 'target_temperature': '83 C'}
    assert not any(values(device.throttle_flags).values())
    assert device.clocks_mhz['gpu'].source == 'nvmlDeviceGetClockInfo'


def test_application_clocks_are_a_setting_and_no_throttling(gpu):
    gpu.say(0, application_clock=1410)
    gpu.say(2, application_clock=1215)
    gpu.say(reasons=lib.APPLICATION_CLOCKS)
    device = only(present())
    assert device.settings['application_clocks'].value == 'gpu 1410 MHz, memory 1215 MHz'
    assert device.throttle_flags['application_clocks'].value
    assert not device.is_throttling and device.warnings == ()


def test_settings_that_change_are_seen_after_a_minute(gpu):
    source = present()
    only(source, 0)
    gpu.say(limit_milliwatts=200_000)
    assert only(source, 59 * S).settings['power_limit'].value == '350 W'
    assert only(source, 61 * S).settings['power_limit'].value == '200 W'


# --- throttling ---


@pytest.mark.parametrize('reason, flag', [(lib.SW_THERMAL, 'sw_thermal_slowdown'),
                                          (lib.HW_THERMAL, 'hw_thermal_slowdown'),
                                          (lib.HW_THERMAL | lib.HW_SLOWDOWN,
                                           'hw_thermal_slowdown')])
def test_heat_that_lowers_the_clocks_is_throttling(gpu, reason, flag):
    gpu.say(reasons=reason)
    source = present()
    device = only(source)
    assert device.is_throttling and device.warnings == ()
    assert device.throttle_flags[flag].value
    assert len(device.throttle_reasons) == 1 and 'gpu0' in device.throttle_reasons[0]
    gpu.say(reasons=lib.IDLE)
    assert not only(source, S).is_throttling


@pytest.mark.parametrize('reason, flag, word', [
    (lib.POWER_CAP, 'sw_power_cap', 'power limit'),
    (lib.BRAKE, 'hw_power_brake_slowdown', 'power brake'),
    (lib.BRAKE | lib.HW_SLOWDOWN, 'hw_power_brake_slowdown', 'power brake'),
    (lib.SYNC_BOOST, 'sync_boost', 'sync boost'),
    (lib.HW_SLOWDOWN, 'hw_slowdown', 'NVML does not say which'),
    (0x200, 'board_limit', 'board limit'),
    (0x4000, 'reason_0x4000', 'newer than this program')])
def test_what_is_not_heat_is_a_warning(gpu, reason, flag, word):
    gpu.say(reasons=reason)
    device = only(present())
    assert not device.is_throttling
    assert device.throttle_flags[flag].value
    warning, = device.warnings
    assert word in warning


def test_a_hardware_slowdown_at_the_limit_is_heat(gpu):
    gpu.say(reasons=lib.HW_SLOWDOWN, celsius=93)
    device = only(present())
    assert device.is_throttling and device.warnings == ()


def test_a_gpu_at_its_limit_that_is_not_slowed_does_not_throttle(gpu):
    gpu.say(celsius=94, reasons=0)
    assert not only(present()).is_throttling


def test_without_reasons_the_temperature_decides(gpu):
    gpu.answer(lib.NOT_SUPPORTED, 'nvmlDeviceGetCurrentClocksEventReasons',
               'nvmlDeviceGetCurrentClocksThrottleReasons')
    source = present()
    device = only(source)
    assert device.is_telemetry_available and not device.is_throttling
    assert set(device.throttle_flags) == {'thermal_violation'} and device.faults == ()
    gpu.say(celsius=93)
    device = only(source, S)
    assert device.is_throttling
    assert 'is at 93 C, at or above its limit of 93 C' in device.throttle_reasons[0]


# --- between the polls ---


def test_throttling_between_two_polls_is_caught(gpu):
    gpu.say(lib.THERMAL, violation=5 * S)
    source = present()
    assert not only(source, 0).is_throttling, 'the first poll only sets the baseline'
    gpu.say(lib.THERMAL, violation=5 * S + 120_000_000)
    device = only(source, S)
    assert device.is_throttling
    assert device.throttle_reasons == (
        'heat held the clocks of gpu0 down for 120.0 ms of the last 1000 ms',)
    assert device.throttle_flags['thermal_violation'].value
    device = only(source, 2 * S)
    assert not device.is_throttling and not device.throttle_flags['thermal_violation'].value


def test_a_rise_by_power_is_a_warning_told_once(gpu):
    source = present()
    only(source, 0)
    gpu.say(lib.POWER, violation=50_000_000)
    device = only(source, S)
    assert not device.is_throttling
    assert device.warnings == ('the power limit held the clocks of gpu0 down for 50.0 ms of the'
                               ' last 1000 ms',)
    gpu.say(lib.POWER, violation=90_000_000)
    gpu.say(reasons=lib.POWER_CAP)
    warning, = only(source, 2 * S).warnings
    assert warning == 'the power limit of gpu0 holds its clocks down'


def test_a_counter_that_jumps_back_starts_anew(gpu):
    gpu.say(lib.THERMAL, violation=500 * S)
    source = present()
    only(source, 0)
    gpu.say(lib.THERMAL, violation=1000)
    assert not only(source, S).is_throttling
    gpu.say(lib.THERMAL, violation=2000)
    assert only(source, 2 * S).is_throttling


def test_a_rise_of_long_ago_is_not_told_as_new(gpu):
    source = present()
    only(source, 0)
    gpu.say(lib.THERMAL, violation=S)
    assert not only(source, 31 * S).is_throttling


def test_a_rise_longer_than_the_time_is_a_fault_and_no_heat(gpu):
    source = present()
    only(source, 0)
    gpu.say(lib.THERMAL, violation=3600 * S)
    device = only(source, S)
    assert not device.is_throttling
    assert 'rose by 3600.0 s in 1.0 s' in device.faults[0]


def test_a_poll_that_was_held_up_may_find_a_longer_rise(gpu):
    source = present()
    only(source, 0)
    gpu.say(lib.THERMAL, violation=4 * S)
    gpu.say(reference_us=5_000_000)
    assert only(source, S).is_throttling, 'the driver counted for five seconds and not for one'


def test_a_counter_of_all_ones_is_none(gpu):
    gpu.say(lib.THERMAL, violation=0)
    source = present()
    only(source, 0)
    gpu.say(lib.THERMAL, violation=-1)
    device = only(source, S)
    assert not device.is_throttling and device.faults == ()


def test_a_poll_that_cannot_read_the_counter_loses_no_throttling(gpu):
    source = present()
    only(source, 0)
    gpu.answer(lib.UNKNOWN, 'nvmlDeviceGetViolationStatus')
    device = only(source, S)
    assert 'nvmlDeviceGetViolationStatus answered Unknown Error' in device.faults[0]
    gpu.answer(lib.SUCCESS, 'nvmlDeviceGetViolationStatus')
    gpu.say(lib.THERMAL, violation=1000)
    assert only(source, 2 * S).is_throttling


# --- older and newer drivers ---


@pytest.mark.parametrize('nvml', ['470'], indirect=True)
def test_a_driver_before_535(gpu):
    gpu.say(celsius=-5, reasons=lib.SW_THERMAL)
    device = only(present())
    assert device.zones[0].temperature_c == -5.0, 'the older function has no sign'
    assert device.zones[0].throttle_c == 93.0
    assert device.is_throttling
    assert device.faults == ()


@pytest.mark.parametrize('nvml', ['next'], indirect=True)
def test_a_driver_without_what_is_deprecated(gpu):
    gpu.field(75, 7_000_000, lib.UNSIGNED_LONG_LONG)
    gpu.field(74, 0, lib.UNSIGNED_LONG_LONG)
    source = present()
    device = only(source, 0)
    assert device.zones[0].temperature_c == 45.0 and device.faults == ()
    gpu.field(75, 9_000_000, lib.UNSIGNED_LONG_LONG)
    assert only(source, S).throttle_reasons == (
        'heat held the clocks of gpu0 down for 2.0 ms of the last 1000 ms',)


def test_a_pynvml_of_an_older_distribution(gpu, monkeypatch):
    for function in NEW:
        monkeypatch.delattr(pynvml, function)
    monkeypatch.setattr(pynvml, 'nvmlDeviceGetName', lambda handle: b'Quadro \xff')
    gpu.say(celsius=-5, reasons=lib.SW_THERMAL)
    device = only(present())
    assert device.zones[0].temperature_c == -5.0 and device.is_throttling
    assert (device.model, device.hardware_id, device.faults) == ('Quadro \\xff', UUID, ())


def test_a_gpu_that_gives_margins_in_place_of_limits(gpu):
    """Ada and later: the distance to the limit, and limits as distances."""
    gpu.answer(lib.NOT_SUPPORTED, 'nvmlDeviceGetTemperatureThreshold')
    gpu.field(193, -8, lib.SIGNED)
    gpu.say(celsius=31, margin=56)
    source = present()
    zone = only(source).zones[0]
    assert (zone.throttle_c, zone.critical_c) == (87.0, 95.0)
    gpu.say(celsius=86, margin=0)
    zone = only(source, S).zones[0]
    assert zone.throttle_c == zone.temperature_c == 86.0


def test_a_margin_that_cannot_be_true_is_no_limit(gpu):
    gpu.answer(lib.NOT_SUPPORTED, 'nvmlDeviceGetTemperatureThreshold')
    gpu.say(celsius=35, margin=-5)
    device = only(present())
    assert device.zones[0].throttle_c is None
    assert 'nvmlDeviceGetMarginTemperature at 35 C says 30, expected 50 to 130' in device.faults[0]


def test_a_limit_stays_while_it_cannot_be_read(gpu):
    source = present()
    assert only(source, 0).zones[0].throttle_c == 93.0
    gpu.answer(lib.UNKNOWN, 'nvmlDeviceGetTemperatureThreshold')
    gpu.say(margin=30)
    device = only(source, 61 * S)
    assert device.zones[0].throttle_c == 93.0 and device.faults
    gpu.answer(lib.SUCCESS, 'nvmlDeviceGetTemperatureThreshold')
    gpu.say(lib.GPU_MAX, threshold=90)
    device = only(source, 62 * S)
    assert device.zones[0].throttle_c == 90.0 and device.faults == ()


def test_a_margin_stays_while_it_cannot_be_read(gpu):
    gpu.answer(lib.NOT_SUPPORTED, 'nvmlDeviceGetTemperatureThreshold')
    source = present()
    assert only(source, 0).zones[0].throttle_c == 93.0
    gpu.answer(lib.UNKNOWN, 'nvmlDeviceGetMarginTemperature')
    gpu.say(celsius=90)
    assert only(source, S).zones[0].throttle_c == 93.0
    gpu.answer(lib.SUCCESS, 'nvmlDeviceGetMarginTemperature')
    gpu.say(margin=-80)
    assert only(source, 2 * S).zones[0].throttle_c == 93.0


# --- calls that fail ---

OPTIONAL = ['nvmlDeviceGetFieldValues', 'nvmlDeviceGetClockInfo', 'nvmlDeviceGetMaxClockInfo',
            'nvmlDeviceGetUtilizationRates', 'nvmlDeviceGetPowerUsage',
            'nvmlDeviceGetEnforcedPowerLimit', 'nvmlDeviceGetPerformanceState',
            'nvmlDeviceGetPersistenceMode', 'nvmlDeviceGetComputeMode',
            'nvmlDeviceGetApplicationsClock', 'nvmlDeviceGetTemperatureThreshold',
            'nvmlDeviceGetMarginTemperature', 'nvmlDeviceGetViolationStatus',
            'nvmlDeviceGetCurrentClocksEventReasons', 'nvmlDeviceGetName', 'nvmlDeviceGetUUID']


@pytest.mark.parametrize('function', OPTIONAL)
@pytest.mark.parametrize('code, is_fault', [
    (lib.NOT_SUPPORTED, False), (lib.FUNCTION_NOT_FOUND, False), (25, False), (26, False),
    (lib.UNKNOWN, True), (lib.NO_PERMISSION, True), (lib.INSUFFICIENT_SIZE, True), (777, True)])
def test_each_call_may_fail_alone(gpu, function, code, is_fault):
    if function == 'nvmlDeviceGetMarginTemperature':
        gpu.answer(lib.NOT_SUPPORTED, 'nvmlDeviceGetTemperatureThreshold')
    gpu.answer(code, function)
    source = present()
    first, second = only(source, 0), only(source, S)
    for device in (first, second):
        assert device.is_telemetry_available
        assert device.zones[0].temperature_c == 45.0
        if not is_fault:
            assert device.faults == (), 'what a GPU does not have is no fault'
    is_asked_at_first_only = function in ('nvmlDeviceGetName', 'nvmlDeviceGetUUID')
    if is_fault and not is_asked_at_first_only:
        assert all(function in fault for fault in second.faults) and second.faults
        assert first.faults == second.faults, 'the same words, so that a log can tell'
    if function != 'nvmlDeviceGetName':
        assert first.model
    if function != 'nvmlDeviceGetUUID':
        assert first.hardware_id


@pytest.mark.parametrize('number, setting', [
    ('celsius', {'celsius': 151}), ('celsius', {'celsius': -41}),
    ('load', {'load_gpu': 101}), ('power', {'milliwatts': 10_000_001})])
def test_a_number_that_cannot_be_true_is_a_fault(gpu, number, setting):
    source = present()
    gpu.say(**setting)
    device = only(source)
    fault, = device.faults
    assert str(*setting.values()) in fault and 'expected' in fault and 'ignored' in fault
    assert device.is_telemetry_available == (number != 'celsius')
    assert 'gpu' not in device.load or number != 'load'
    assert not device.power_w or number != 'power'


def test_a_temperature_that_fails_is_no_telemetry_and_never_cool(gpu):
    gpu.say(celsius=92)
    source = present()
    assert only(source, 0).is_telemetry_available
    gpu.answer(lib.UNKNOWN, 'nvmlDeviceGetTemperatureV')
    device = only(source, S)
    assert not device.is_telemetry_available
    assert device.zones == () and device.hardware_id == UUID
    assert device.faults == (
        'nvmlDeviceGetTemperatureV answered Unknown Error (NVML error 999)',)
    gpu.say(reasons=lib.HW_THERMAL)
    assert only(source, 2 * S).is_throttling, 'that it throttles is known without'


def test_a_memory_sensor_that_fails_is_no_telemetry(gpu):
    gpu.field(82, 99)
    source = present()
    assert only(source, 0).is_telemetry_available
    gpu.field(82, 0, code=lib.UNKNOWN)
    assert not only(source, S).is_telemetry_available
    gpu.field(82, 50)
    assert only(source, 2 * S).is_telemetry_available


def test_a_memory_without_sensor_is_no_zone(gpu):
    gpu.field(82, 0)
    device = only(present())
    assert [zone.name for zone in device.zones] == ['gpu'] and device.faults == ()


def test_a_field_that_the_driver_does_not_know_is_no_fault(gpu):
    gpu.field(82, 0, code=lib.INVALID_ARGUMENT)
    assert only(present()).faults == ()
    gpu.field(82, 0, code=lib.GPU_IS_LOST)
    assert not only(present()).is_telemetry_available


def test_an_unknown_performance_state_is_none(gpu):
    gpu.say(performance_state=32)
    assert 'performance_state' not in only(present()).settings


def test_a_gpu_without_a_temperature_tells_by_its_reasons(gpu):
    gpu.answer(lib.NOT_SUPPORTED, 'nvmlDeviceGetTemperatureV', 'nvmlDeviceGetTemperature')
    source = present()
    device = only(source)
    assert device.is_telemetry_available and device.zones == () and device.faults == ()
    gpu.say(reasons=lib.SW_THERMAL)
    assert only(source, S).is_throttling


# --- GPUs that go away ---


@pytest.mark.parametrize('code', [lib.GPU_IS_LOST, lib.RESET_REQUIRED])
def test_a_lost_gpu_stays_in_the_state_and_the_other_goes_on(nvml, gpu, code):
    nvml.add(uuid=OTHER)
    source = present()
    gpu.answer(code)
    lost, other = source.read(0).devices
    assert not lost.is_telemetry_available and not lost.is_throttling and lost.zones == ()
    assert (lost.name, lost.hardware_id, lost.model) == ('gpu0', UUID, 'NVIDIA GeForce RTX 3090')
    assert f'(NVML error {code})' in lost.faults[0] and 'reboot' in lost.faults[0]
    assert other.is_telemetry_available and other.hardware_id == OTHER
    assert not source.read(S).is_telemetry_available


def test_a_gpu_that_comes_back_is_seen_and_the_attempts_are_rare(nvml, gpu):
    source = present()
    only(source, 0)
    gpu.answer(lib.GPU_IS_LOST)
    for second in range(1, 11):
        assert not only(source, second * S).is_telemetry_available
    assert nvml.starts == 2, 'one at the beginning, one attempt in ten seconds'
    gpu.answer(lib.SUCCESS)
    assert not only(source, 11 * S).is_telemetry_available
    gpu.say(lib.THERMAL, violation=2 * S)
    gpu.say(limit_milliwatts=100_000)
    device = only(source, 2 * S + RETRY_NS)
    assert device.is_telemetry_available and not device.is_throttling
    assert device.settings['power_limit'].value == '100 W'
    assert nvml.starts == 3 and nvml.references == 1


def test_a_gpu_that_left_the_bus_does_not_give_its_name_to_another(nvml, gpu):
    nvml.add(uuid=OTHER).say(celsius=70)
    source = present()
    gpu.answer(lib.GPU_IS_LOST)
    source.read(0)
    gpu.say(present=0)
    gone, other = source.read(S).devices
    assert (gone.name, gone.hardware_id, gone.is_telemetry_available) == ('gpu0', UUID, False)
    assert 'does not see it any more' in gone.faults[0]
    assert (other.name, other.hardware_id) == ('gpu1', OTHER)
    assert other.zones[0].temperature_c == 70.0
    gpu.say(present=1)
    gpu.answer(lib.SUCCESS)
    back, _ = source.read(S + RETRY_NS).devices
    assert back.is_telemetry_available and back.zones[0].temperature_c == 45.0


def test_another_gpu_in_its_place_does_not_take_its_name(nvml, gpu):
    source = present()
    gpu.answer(lib.GPU_IS_LOST)
    only(source, 0)
    gpu.say(present=0)
    nvml.add(uuid=OTHER)
    device = only(source, S)
    assert (device.hardware_id, device.is_telemetry_available) == (UUID, False)


def test_a_gpu_that_cannot_tell_who_it_is_keeps_its_own_reason(gpu):
    source = present()
    gpu.answer(lib.GPU_IS_LOST)
    gpu.answer(lib.GPU_IS_LOST, 'nvmlDeviceGetHandleByIndex_v2')
    only(source, 0)
    assert only(source, S).faults == (
        'gpu0: nvmlDeviceGetHandleByIndex answered GPU is lost (NVML error 15); it fell off the'
        ' bus; a reset or a reboot brings it back',)


def test_a_handle_that_is_void_is_taken_anew(nvml, gpu):
    source = present()
    gpu.answer(lib.INVALID_ARGUMENT, 'nvmlDeviceGetTemperatureV')
    assert not only(source, 0).is_telemetry_available
    gpu.answer(lib.SUCCESS, 'nvmlDeviceGetTemperatureV')
    assert only(source, S).is_telemetry_available
    assert nvml.starts == 2


def test_a_gpu_that_is_lost_from_the_start_is_named_and_found_later(nvml, gpu):
    nvml.add(uuid=OTHER)
    gpu.answer(lib.GPU_IS_LOST)
    source = present()
    assert source.device_names == ('gpu0', 'gpu1')
    lost, _ = source.read(0).devices
    assert not lost.is_telemetry_available and lost.hardware_id == ''
    gpu.answer(lib.SUCCESS)
    back, other = source.read(RETRY_NS).devices
    assert (back.hardware_id, other.hardware_id) == (UUID, OTHER)
    assert back.is_telemetry_available


@pytest.mark.parametrize('code', [lib.UNINITIALIZED, lib.DRIVER_NOT_LOADED])
def test_a_driver_that_goes_takes_all_gpus_along_and_comes_back(nvml, gpu, code):
    nvml.add(uuid=OTHER)
    source = present()
    nvml.answer(code, 'nvmlDeviceGetTemperatureV')
    nvml.answer(lib.DRIVER_NOT_LOADED, 'nvmlInitWithFlags')
    for second in range(3):
        state = source.read(second * S)
        assert [device.is_telemetry_available for device in state.devices] == [False, False]
        assert source.glance(second * S) == frozenset()
    assert nvml.references == 0
    nvml.answer(lib.SUCCESS, 'nvmlDeviceGetTemperatureV')
    nvml.answer(lib.SUCCESS, 'nvmlInitWithFlags')
    assert source.read(2 * RETRY_NS).is_telemetry_available
    assert nvml.references == 1


def test_handles_that_someone_else_made_void_are_taken_anew(nvml, gpu):
    source = present()
    pynvml.nvmlShutdown()
    assert not only(source, 0).is_telemetry_available
    assert only(source, RETRY_NS).is_telemetry_available


def test_a_driver_that_hangs_holds_up_only_its_caller(nvml, gpu):
    source = present()
    found = []
    thread = threading.Thread(target=lambda: found.append(source.read(0)), daemon=True)
    with nvml.hung('nvmlDeviceGetPowerUsage'):
        thread.start()
        deadline = time.monotonic() + 30
        while not nvml.waiting and time.monotonic() < deadline:
            time.sleep(0.005)
        assert nvml.waiting == 1 and not found
    thread.join(30)
    assert found[0].is_telemetry_available


# --- whether it is there at all ---


def absence(root='/sys', environment=None):
    """Return why a source is not present."""
    source = make(environment, root)
    assert not source.is_present()
    assert source.device_names == ()
    with pytest.raises(TelemetryUnavailableError, match='NVML: '):
        source.read(0)
    return source.absence


def test_no_driver_is_no_gpu(nvml):
    nvml.is_installed = False
    assert absence() == 'no NVIDIA driver'


def test_a_driver_that_is_not_loaded_is_no_gpu(nvml):
    nvml.answer(lib.DRIVER_NOT_LOADED, 'nvmlInitWithFlags')
    assert absence() == 'no NVIDIA driver'


def test_a_driver_of_another_version_says_what_to_do(nvml):
    nvml.answer(18, 'nvmlInitWithFlags')
    assert 'nvmlInit answered' in absence() and absence().endswith(
        'reboot after an update of the NVIDIA driver')


def test_a_missing_module_is_named_where_a_driver_is_loaded(nvml, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pynvml', None)
    assert absence().startswith('the Python module pynvml cannot be imported')
    monkeypatch.setattr(nvml_module.os.path, 'isdir', lambda path: path == '/sys/module/nvidia')
    assert 'install python3-pynvml (apt) or nvidia-ml-py (pip)' in absence()


def test_a_driver_without_a_gpu(nvml):
    assert absence() == 'the NVIDIA driver has no GPU'
    source = make()
    assert not source.is_present()
    assert nvml.references == 0, 'what is not used is let go at once'


@pytest.mark.parametrize('temperature, reasons', [(lib.UNKNOWN, lib.NOT_SUPPORTED),
                                                  (lib.NOT_SUPPORTED, lib.UNKNOWN)])
def test_a_gpu_that_fails_at_first_is_no_jetson(gpu, temperature, reasons):
    gpu.answer(temperature, 'nvmlDeviceGetTemperatureV', 'nvmlDeviceGetTemperature')
    gpu.answer(reasons, 'nvmlDeviceGetCurrentClocksEventReasons',
               'nvmlDeviceGetCurrentClocksThrottleReasons')
    assert not only(present()).is_telemetry_available


def test_a_jetson_where_nvml_answers_nothing(nvml, gpu):
    gpu.text(name='Orin (nvgpu)')
    gpu.answer(lib.NOT_SUPPORTED, 'nvmlDeviceGetTemperatureV', 'nvmlDeviceGetTemperature',
               'nvmlDeviceGetCurrentClocksEventReasons',
               'nvmlDeviceGetCurrentClocksThrottleReasons')
    assert absence() == (
        'NVML has neither temperature nor throttling of Orin (nvgpu), as on a Jetson')
    assert nvml.references == 0
    nvml.add(uuid=OTHER)
    assert present().device_names == ('gpu1',), 'the one that answers, beside it'


def test_a_recorded_tree_is_another_machine(nvml, gpu, tmp_path):
    assert absence(tmp_path) == f'{tmp_path} is not the sysfs of this machine'
    assert nvml.starts == 0
    assert make(root='/sys/').is_present()


def test_a_gpu_of_another_container_is_not_ours(nvml, gpu):
    gpu.say(readable=0)
    nvml.add(uuid=OTHER)
    source = present()
    assert source.device_names == ('gpu1',)
    assert source.read(0).is_telemetry_available


def test_nothing_is_imported_before_it_is_asked():
    code = ('import sys\n'
            'from c7_inference_ros.thermal.source_selection import select_source\n'
            'from c7_inference_ros.thermal.nvml import NvmlThermalSource\n'
            'NvmlThermalSource("/nowhere").is_present()\n'
            'print("pynvml" in sys.modules)\n')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True,
                          timeout=60)
    assert done.stdout.strip() == 'False'


# --- which GPUs ---


@pytest.fixture
def three(nvml):
    """Return a driver with three GPUs of one model; the last has two parts."""
    for digit in '123':
        nvml.add('NVIDIA A100', f'GPU-{digit}1111111-0000-0000-0000-00000000000{digit}')
    third = nvml.add('NVIDIA A100', 'GPU-31222222-0000-0000-0000-000000000004')
    third.text(0, part='MIG-aaaaaaaa-0000-0000-0000-000000000000')
    third.text(1, part='MIG-bbbbbbbb-0000-0000-0000-000000000000')
    return nvml


@pytest.mark.parametrize('visible, expected', [
    ('0', [0]), ('2,1', [1, 2]), ('0,2,-1,1', [0, 2]), (' 1 , 3 ', [1, 3]), ('1,9,0', [1]),
    ('1,1', [1]), ('GPU-11111111-0000-0000-0000-000000000001', [0]), ('GPU-2', [1]),
    ('gpu-2', []), ('GPU-3,0', []), ('GPU-311,GPU-312', [2, 3]), ('GPU-9', []),
    ('0,GPU-2', [0, 1]), ('MIG-GPU-21111111-0000-0000-0000-000000000002/1/0', [1]),
    ('MIG-bbbbbbbb-0000-0000-0000-000000000000', [3]), ('MIG-cccccccc', []), ('1,x,0', [1])])
def test_cuda_visible_devices(three, visible, expected):
    source = make({'CUDA_VISIBLE_DEVICES': visible})
    assert source.is_present() == bool(expected)
    assert source.device_names == tuple(f'gpu{number}' for number in expected)
    if not expected:
        assert source.absence == f'CUDA_VISIBLE_DEVICES={visible} leaves no GPU'


@pytest.mark.parametrize('visible', ['', '-1', 'NoDevFiles', 'none', '٣', ','])
def test_no_visible_device(three, visible):
    assert absence(environment={'CUDA_VISIBLE_DEVICES': visible}) == (
        f'CUDA_VISIBLE_DEVICES={visible} leaves no GPU')


def test_numbers_of_unequal_gpus_are_trusted_only_in_the_order_of_the_bus(nvml, gpu):
    """CUDA puts the fastest first otherwise, and nobody knows here which that is."""
    nvml.add('NVIDIA T400', OTHER)
    environment = {'CUDA_VISIBLE_DEVICES': '0'}
    assert present(environment).device_names == ('gpu0', 'gpu1')
    environment['CUDA_DEVICE_ORDER'] = 'PCI_BUS_ID'
    assert present(environment).device_names == ('gpu0',)
    environment['CUDA_DEVICE_ORDER'] = 'FASTEST_FIRST'
    assert present(environment).device_names == ('gpu0', 'gpu1')


def test_a_uuid_that_nobody_has_may_be_that_of_the_lost_gpu(nvml, gpu):
    nvml.add(uuid=OTHER)
    gpu.answer(lib.GPU_IS_LOST)
    assert present({'CUDA_VISIBLE_DEVICES': UUID}).device_names == ('gpu0',)


# --- glances, and the end ---


def test_a_glance_asks_for_the_reasons_only(nvml, gpu):
    nvml.add(uuid=OTHER).say(reasons=lib.HW_THERMAL | lib.HW_SLOWDOWN)
    source = present()
    before = {function: nvml.calls(function) for function in OPTIONAL}
    assert source.glance(0) == {'gpu1 hw_thermal_slowdown', 'gpu1 hw_slowdown'}
    gpu.say(reasons=lib.POWER_CAP | lib.IDLE)
    assert source.glance(0) == {'gpu1 hw_thermal_slowdown', 'gpu1 hw_slowdown'}
    after = {function: nvml.calls(function) for function in OPTIONAL}
    reasons = 'nvmlDeviceGetCurrentClocksEventReasons'
    assert after.pop(reasons) == before.pop(reasons) + 4
    assert after == before


def test_a_glance_at_a_lost_gpu_shows_nothing_and_does_not_fail(nvml, gpu):
    nvml.add(uuid=OTHER).say(reasons=lib.SW_THERMAL)
    source = present()
    gpu.answer(lib.GPU_IS_LOST)
    assert source.glance(0) == {'gpu1 sw_thermal_slowdown'}
    source.read(0)
    assert source.glance(0) == {'gpu1 sw_thermal_slowdown'}


def test_nvml_is_started_once_and_let_go_with_the_source(nvml, gpu):
    source = present()
    assert source.is_present()
    for second in range(5):
        source.read(second * S)
    assert (nvml.starts, nvml.references) == (1, 1)
    source.close()
    assert nvml.references == 0
    assert source.is_present() and nvml.references == 1


def test_a_source_that_nobody_has_any_more_is_let_go_by_the_next(nvml, gpu):
    source = NvmlThermalSource('/sys', {})
    assert source.is_present()
    calls = nvml.calls('nvmlShutdown')
    del source
    gc.collect()
    assert nvml.calls('nvmlShutdown') == calls, 'the collector may run while pynvml is locked'
    assert present().read(0).is_telemetry_available
    assert (nvml.calls('nvmlShutdown'), nvml.references) == (calls + 1, 1)


def test_the_collector_may_run_while_pynvml_holds_its_lock(nvml, gpu):
    source = NvmlThermalSource('/sys', {})
    assert source.is_present()

    def collect():
        nonlocal source
        with pynvml.libLoadLock:
            source = None
            gc.collect()

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert present().read(0).is_telemetry_available and nvml.references == 1


def test_a_driver_that_hangs_does_not_keep_the_process_from_ending():
    code = ('import pytest\n'
            'from libnvml_double import LibnvmlDouble\n'
            'from c7_inference_ros.thermal.nvml import NvmlThermalSource\n'
            'driver = LibnvmlDouble()\n'
            'driver.install(pytest.MonkeyPatch())\n'
            'driver.add()\n'
            'source = NvmlThermalSource("/sys", {})\n'
            'print(source.is_present())\n'
            'driver.hung("nvmlShutdown").__enter__()\n')
    folders = [str(Path(lib.__file__).parent), str(Path(nvml_module.__file__).parents[2])]
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60,
                          check=True, env={**os.environ, 'PYTHONPATH': os.pathsep.join(folders)})
    assert done.stdout.strip() == 'True'


def test_another_user_of_nvml_in_the_process_keeps_it(nvml, gpu):
    pynvml.nvmlInit()
    source = present()
    source.close()
    assert nvml.references == 1
    assert pynvml.nvmlDeviceGetCount() == 1


def test_a_day_of_polls_leaks_nothing(nvml, gpu):
    import tracemalloc
    source = present()
    faults = ['nvmlDeviceGetPowerUsage', 'nvmlDeviceGetTemperatureV',
              'nvmlDeviceGetViolationStatus']

    def run(start, count):
        for second in range(start, start + count):
            gpu.answer(lib.UNKNOWN if second % 3 else lib.SUCCESS, faults[second % len(faults)])
            gpu.answer(lib.GPU_IS_LOST if second % 40 > 35 else lib.SUCCESS)
            source.read(second * S)
            source.glance(second * S)

    tracemalloc.start()
    try:
        run(0, 400)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        run(400, 2000)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()
    assert nvml.references == 1
