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

"""Asking the CUDA driver for free memory, with a driver that answers what it is told."""

import ctypes

from c7_inference_ros.runtime.cuda.query import CudaQuery
from c7_inference_ros.runtime.cuda.query import tensorrt_versions
import pytest


class Driver:
    """The functions of libcuda that are used, counting contexts."""

    def __init__(self, free=(1000,), failing=None):
        self.free = list(free)
        self.failing = failing
        self.retained = self.pushed = 0
        self.calls = []

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append(name)
            if name == self.failing:
                return 100  # CUDA_ERROR_NO_DEVICE
            if name == 'cuMemGetInfo_v2':
                assert self.pushed == 1, 'no context is current'
                arguments[0]._obj.value = self.free.pop(0)
            if name == 'cuDevicePrimaryCtxRetain':
                self.retained += 1
                arguments[0]._obj.value = 0x1000
            self.retained -= name == 'cuDevicePrimaryCtxRelease_v2'
            self.pushed += (name == 'cuCtxPushCurrent_v2') - (name == 'cuCtxPopCurrent_v2')
            return 0
        return call


def test_free_memory_within_the_primary_context():
    driver = Driver(free=(1000, 700))
    query = CudaQuery(0, driver)
    assert [query.free_bytes(), query.free_bytes()] == [1000, 700]
    assert (driver.retained, driver.pushed) == (1, 0), 'it holds one context, and leaves the stack'
    assert driver.calls.count('cuInit') == 1
    for _ in range(2):
        query.close()
    assert driver.retained == 0


@pytest.mark.parametrize('failing', ['cuInit', 'cuDeviceGet', 'cuDevicePrimaryCtxRetain',
                                     'cuCtxPushCurrent_v2', 'cuMemGetInfo_v2'])
def test_no_answer_is_none_and_the_stack_is_left(failing):
    driver = Driver(failing=failing)
    assert CudaQuery(0, driver).free_bytes() is None
    assert driver.pushed == 0


def test_no_driver_is_none():
    assert CudaQuery(0, object()).free_bytes() is None
    try:
        ctypes.CDLL('libcuda.so.1')
    except OSError:
        assert CudaQuery().free_bytes() is None


def test_the_version_of_every_tensorrt_library():
    class Library:

        @staticmethod
        def getInferLibVersion():  # noqa: N802
            return 100300

    def load(name):
        if name.endswith('.11'):
            raise OSError('cannot open shared object file')
        return Library

    assert tensorrt_versions(load) == {'libnvinfer.so.10': '100300'}
    assert tensorrt_versions(lambda name: object()) == {}
