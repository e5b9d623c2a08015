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

"""The doubles stand where the package looks for the real modules, and are gone after the test."""

import ctypes
import importlib
import sys

from c7_inference_ros.engines.tensorrt_api import load_tensorrt
from c7_inference_ros.errors import RuntimeNotAvailableError
from doubles_install import install
from engine_bench import double_model
import pytest
from tensorrt_double import GENERATIONS
from trt_plan import make_plan


@pytest.mark.parametrize('generation', GENERATIONS)
def test_the_package_finds_the_generation_that_was_installed(monkeypatch, generation, tmp_path):
    doubles = install(monkeypatch, generation, is_integrated=True)
    is_rtx = generation.startswith('rtx')
    api = load_tensorrt()
    assert api.trt is doubles.trt and api.is_rtx == is_rtx
    assert api.has_weak_typing == generation.startswith('10.')
    assert api.has_implicit_calibration == generation.startswith('10.')
    with pytest.raises(RuntimeNotAvailableError):
        load_tensorrt('tensorrt' if is_rtx else 'tensorrt_rtx')
    driver = importlib.import_module('pycuda.driver')
    driver.init()
    assert driver.Device(0).get_attribute(driver.device_attribute.INTEGRATED) == 1
    runtime = api.trt.Runtime(api.log.logger)
    runtime.error_recorder = api.log.recorder
    with api.log.capture() as said:
        assert runtime.deserialize_cuda_engine(b'junk' * 50) is None
    assert 'magicTag' in said.reason()
    context = driver.Device(0).retain_primary_context()
    context.push()
    plan = make_plan(double_model(tmp_path / 'm.onnx', 2), generation, sm='any')
    assert runtime.deserialize_cuda_engine(plan).num_io_tensors == 2
    del runtime, api
    context.pop()
    context.detach()
    doubles.assert_released()


def test_libcuda_is_found_by_its_name(monkeypatch):
    driver = pytest.importorskip('c7_inference_ros.runtime.cuda.driver')
    doubles = install(monkeypatch)
    library = driver.ctypes.CDLL('libcuda.so.1')
    version = driver.ctypes.c_int()
    assert library.cuDriverGetVersion(driver.ctypes.byref(version)) == 0
    assert version.value == doubles.gpu.traits.driver_version
    assert driver.ctypes.CDLL(None) is not None


def test_nothing_is_left_after_a_test():
    assert not hasattr(sys.modules.get('tensorrt'), '_gpu')
    assert not hasattr(sys.modules.get('tensorrt_rtx'), '_gpu')
    assert 'pycuda.driver' not in sys.modules
    driver = pytest.importorskip('c7_inference_ros.runtime.cuda.driver')
    assert driver.ctypes is ctypes
