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

"""The real TensorRT-RTX on a machine without a GPU: everything up to the missing driver."""

from c7_inference_ros.engines.host import probe_host
from c7_inference_ros.engines.tensorrt_api import load_tensorrt
from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.runtime.cuda.device import open_device
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.runtime.trt.buffers import make_output_allocator
from c7_inference_ros.runtime.trt.engine_memory import EngineMemory
from c7_inference_ros.runtime.trt.gpu_allocator import GpuMemoryPool
from c7_inference_ros.runtime.trt.gpu_allocator import make_allocator
from c7_inference_ros.runtime.trt.runtime import TensorrtRuntime
import pytest
from runtime_models import scale_model
from tensorrt_bench import install

pytestmark = pytest.mark.builder


@pytest.fixture(scope='module')
def entry(tmp_path_factory):
    """Return a real engine, built through the runtime itself."""
    pytest.importorskip('tensorrt_rtx', reason='TensorRT-RTX is not installed; run: make env')
    folder = tmp_path_factory.mktemp('engines')
    runtime = TensorrtRuntime(budget=MemoryBudget(1 << 30, 1 << 30), package='tensorrt_rtx',
                              directory=folder / 'out', open_device=open_device_never)
    entry = runtime.compile_engine(scale_model(folder / 'scale.onnx'),
                                   BuildConfig(precision=PrecisionMode.FP32))
    assert entry.path.parent == folder / 'out' and len(entry.sha256) == 64
    return entry


def open_device_never(index):
    raise AssertionError('the GPU was opened')


def test_without_a_driver_there_is_one_clear_line(entry, monkeypatch):
    """The double stands in for PyCUDA; TensorRT is real, and says that there is no driver."""
    real = load_tensorrt('tensorrt_rtx')
    doubles = install(monkeypatch, 'rtx1.7')
    budget = MemoryBudget(1 << 30, 1 << 30)
    runtime = TensorrtRuntime(budget=budget, host=probe_host('tensorrt_rtx'),
                              load_api=lambda package: real)
    with pytest.raises(EngineDeserializeError, match='cannot be deserialised by tensorrt_rtx '
                                                     '.*driver') as caught:
        runtime.deserialize_engine(entry)
    text = str(caught.value)
    assert '\n' not in text and str(entry.path) in text and 'compile it again' in text
    del caught
    doubles.assert_released()
    assert [row.name for row in budget.table()] == ['total', 'total']


def test_without_pycuda_nothing_is_loaded(entry, monkeypatch):
    def no_pycuda(index):
        raise RuntimeNotAvailableError('runtime tensorrt needs the Python package pycuda')

    budget = MemoryBudget(1 << 30, 1 << 30)
    runtime = TensorrtRuntime(budget=budget, open_device=no_pycuda)
    with pytest.raises(RuntimeNotAvailableError, match='pycuda'):
        runtime.deserialize_engine(entry)
    assert [row.name for row in budget.table()] == ['total', 'total']


def test_an_unreadable_model_is_a_build_error(tmp_path):
    pytest.importorskip('tensorrt_rtx', reason='TensorRT-RTX is not installed; run: make env')
    runtime = TensorrtRuntime(budget=MemoryBudget(1, 1), open_device=open_device_never)
    with pytest.raises(EngineBuildError, match='does not exist'):
        runtime.compile_engine(tmp_path / 'no.onnx', BuildConfig())


def test_the_real_bindings_take_our_allocators(monkeypatch):
    pytest.importorskip('tensorrt_rtx', reason='TensorRT-RTX is not installed; run: make env')
    api = load_tensorrt('tensorrt_rtx')
    install(monkeypatch, '10.3')
    device = open_device()
    pool = GpuMemoryPool(EngineMemory(
        device, MemoryBudget(1 << 20, 1 << 20).reserve('model', []), 'model'))
    allocator = make_allocator(api.trt, pool)
    runtime = api.trt.Runtime(api.log.logger)
    runtime.gpu_allocator = allocator
    assert isinstance(allocator, api.trt.IGpuAsyncAllocator)
    assert isinstance(make_output_allocator(api.trt, None), api.trt.IOutputAllocator)
    del runtime, allocator
    device.close()
