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

"""NVML on a real GPU: values that can be true, and the same ones as nvidia-smi gives."""

import re
import shutil
import subprocess
import time

from c7_inference_ros.thermal.nvml import NvmlThermalSource
from c7_inference_ros.thermal.source_selection import select_source
import pytest

pytestmark = pytest.mark.gpu('nvml')

S = 1_000_000_000


@pytest.fixture
def source():
    """Return the source, present."""
    source = NvmlThermalSource('/sys')
    assert source.is_present(), source.absence
    yield source
    source.close()


def test_what_it_says_can_be_true(source):
    source.read(0)
    for device in source.read(S).devices:
        assert device.is_telemetry_available, device.faults
        assert device.faults == ()
        assert re.fullmatch(r'GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', device.hardware_id)
        assert device.model
        zone = device.zones[0]
        assert zone.name == 'gpu' and 5.0 <= zone.temperature_c <= 110.0
        assert zone.throttle_c is not None and 55.0 <= zone.throttle_c <= 125.0
        assert zone.critical_c is None or zone.critical_c >= zone.throttle_c
        for clock in ('gpu', 'sm', 'memory'):
            now, most = device.clocks_mhz[clock].value, device.clocks_mhz[f'{clock}_max'].value
            assert 0.0 <= now <= most * 1.05, clock
        assert all(0.0 <= load.value <= 1.0 for load in device.load.values())
        assert all(0.5 <= watts.value <= 2000.0 for watts in device.power_w.values())
        assert re.fullmatch(r'P([0-9]|1[0-5])', device.settings['performance_state'].value)
        assert {'sw_thermal_slowdown', 'hw_thermal_slowdown',
                'thermal_violation'} <= set(device.throttle_flags)
        heat = [name for name, flag in device.throttle_flags.items()
                if flag.value and 'therm' in name]
        assert device.is_throttling == bool(heat), 'an idle GPU says the same in both ways'


def test_it_agrees_with_nvidia_smi(source):
    program = shutil.which('nvidia-smi')
    if program is None:
        pytest.skip('nvidia-smi is not here')
    query = ('uuid,name,temperature.gpu,clocks.max.graphics,clocks.max.memory,'
             'enforced.power.limit,persistence_mode')
    rows = subprocess.run([program, f'--query-gpu={query}', '--format=csv,noheader,nounits'],
                          capture_output=True, text=True, check=True, timeout=60).stdout
    theirs = {row.split(', ')[0]: row.split(', ')[1:] for row in rows.strip().splitlines()}
    for device in source.read(0).devices:
        name, celsius, clock, memory, watts, persistence = theirs[device.hardware_id]
        assert device.model == name
        assert abs(device.zones[0].temperature_c - float(celsius)) <= 5.0
        assert device.clocks_mhz['gpu_max'].value == float(clock)
        assert device.clocks_mhz['memory_max'].value == float(memory)
        if watts.replace('.', '').isdigit():
            assert float(device.settings['power_limit'].value.split()[0]) == pytest.approx(
                float(watts), abs=0.01)
        assert device.settings['persistence_mode'].value == (
            'on' if persistence == 'Enabled' else 'off')


def test_a_poll_and_its_glances_cost_less_than_a_hundredth_of_a_core(source):
    source.read(0)
    began = time.thread_time_ns()
    for second in range(1, 21):
        source.read(second * S)
        for _ in range(3):
            source.glance(second * S)
    per_second_ns = (time.thread_time_ns() - began) / 20
    assert per_second_ns / len(source.device_names) < S / 100


def test_this_machine_is_given_its_gpu():
    reasons = []
    chosen = select_source('/sys', on_reason=reasons.append)
    assert 'gpu' in ''.join(chosen.device_names), reasons
