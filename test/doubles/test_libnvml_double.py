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

"""The NVML double against pynvml: layouts, versions and return codes."""

import ctypes
import os
import subprocess
import sys

import libnvml_double
from libnvml_double import LibnvmlDouble
import pytest

pynvml = pytest.importorskip('pynvml', reason='pynvml (nvidia-ml-py) is not installed')
pytestmark = pytest.mark.skipif(
    not hasattr(pynvml, 'nvmlDeviceGetTemperatureV'),
    reason='this pynvml is older than nvidia-ml-py 12.570: it lacks functions that are tested')


@pytest.fixture
def nvml(monkeypatch):
    """Return a double that pynvml loads."""
    double = LibnvmlDouble()
    double.install(monkeypatch)
    return double


@pytest.mark.parametrize('structure, theirs', [
    ('temperature_v1', 'c_nvmlTemperature_v1_t'), ('margin_v1', 'c_nvmlMarginTemperature_v1_t'),
    ('violation_time', 'c_nvmlViolationTime_t'), ('utilization', 'c_nvmlUtilization_t'),
    ('field_value', 'c_nvmlFieldValue_t')])
def test_structures_are_as_large_as_those_of_pynvml(nvml, structure, theirs):
    assert nvml.size(structure) == ctypes.sizeof(getattr(pynvml, theirs)) > 0


def test_a_structure_of_another_version_is_refused(nvml):
    nvml.add()
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    wrong = pynvml.c_nvmlTemperature_v1_t(version=0x200000C, sensorType=0)
    call = pynvml._nvmlGetFunctionPointer('nvmlDeviceGetTemperatureV')
    assert call(handle, ctypes.byref(wrong)) == pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH


def test_calls_before_the_start_and_after_the_end_are_uninitialized(nvml):
    nvml.add()
    for _ in range(2):
        with pytest.raises(pynvml.NVMLError_Uninitialized):
            pynvml.nvmlDeviceGetCount()
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        assert pynvml.nvmlDeviceGetTemperatureV(handle, 0) == 45
        pynvml.nvmlShutdown()
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        pynvml.nvmlShutdown()


def test_a_handle_of_an_earlier_start_is_refused(nvml):
    nvml.add()
    pynvml.nvmlInit()
    old = pynvml.nvmlDeviceGetHandleByIndex(0)
    pynvml.nvmlShutdown()
    pynvml.nvmlInit()
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceGetTemperatureV(old, 0)


def test_starts_are_counted_and_the_last_end_counts(nvml):
    nvml.add()
    pynvml.nvmlInit()
    pynvml.nvmlInit()
    pynvml.nvmlShutdown()
    assert pynvml.nvmlDeviceGetCount() == 1
    assert (nvml.starts, nvml.references) == (2, 1)


def test_a_text_that_does_not_fit_is_refused(nvml):
    nvml.add()
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    call = pynvml._nvmlGetFunctionPointer('nvmlDeviceGetName')
    assert call(handle, ctypes.create_string_buffer(8), 8) == libnvml_double.INSUFFICIENT_SIZE


def test_fields_have_a_type_and_a_code_of_their_own(nvml):
    gpu = nvml.add()
    gpu.field(82, 60)
    gpu.field(193, -8, libnvml_double.SIGNED)
    gpu.field(75, 1 << 40, libnvml_double.UNSIGNED_LONG_LONG)
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    memory, shutdown, violation, other, beyond = pynvml.nvmlDeviceGetFieldValues(
        handle, [82, 193, 75, 200, 9999])
    assert (memory.value.uiVal, shutdown.value.siVal, violation.value.ullVal) == (60, -8, 1 << 40)
    assert other.nvmlReturn == pynvml.NVML_ERROR_NOT_SUPPORTED
    assert beyond.nvmlReturn == pynvml.NVML_ERROR_INVALID_ARGUMENT


def test_generations_lack_functions(monkeypatch):
    for generation, lacking in (('470', 'nvmlDeviceGetTemperatureV'),
                                ('next', 'nvmlDeviceGetViolationStatus')):
        with monkeypatch.context() as patch:
            LibnvmlDouble(generation).install(patch)
            pynvml.nvmlInit()
            with pytest.raises(pynvml.NVMLError_FunctionNotFound):
                pynvml._nvmlGetFunctionPointer(lacking)


def test_pynvml_loads_it_by_its_own_name_in_a_process_of_its_own(tmp_path):
    """Without any patch: the loader finds it as it finds the driver's."""
    code = ('import pynvml\n'
            'pynvml.nvmlInit()\n'
            'print(pynvml.nvmlDeviceGetCount(), pynvml.nvmlLib._name)\n'
            'pynvml.nvmlShutdown()\n')
    folder = libnvml_double.compiled('580').parent
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, 'LD_LIBRARY_PATH': f'{folder}:{os.environ.get("LD_LIBRARY_PATH", "")}'})
    assert done.stdout.split() == ['0', libnvml_double.SONAME], done.stderr
