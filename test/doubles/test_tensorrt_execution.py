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

"""What an inference in the TensorRT doubles needs, and what goes wrong without."""

import gc
import threading

import cuda_codes as codes
from engine_bench import double_model
from engine_bench import load
from engine_bench import make_log
from engine_bench import RANGE
from engine_bench import reshape_model
import numpy as np
import pytest
from simulated_memory import MIB
from tensorrt_double import GENERATIONS
from tensorrt_double import make_tensorrt
from trt_plan import make_plan


def test_an_inference_is_computed_when_the_stream_is_waited_for(bench):
    bench.put('x', np.full((2, 4), 3, np.float32))
    assert bench.enqueue()
    assert not bench.stream.is_done()
    bench.stream.synchronize()
    assert (bench.get('y', (2, 4)) == 6).all()


@pytest.mark.parametrize('generation', GENERATIONS)
def test_every_generation_runs(gpu, make_bench, generation):
    bench = make_bench(generation=generation)
    assert bench.context.set_input_shape('x', [1, 4])
    bench.bind('x', 16)
    bench.bind('y', 16)
    bench.put('x', np.ones((1, 4), np.float32))
    assert bench.enqueue()
    bench.stream.synchronize()
    assert (bench.get('y', (1, 4)) == 2).all()
    assert bench.trt.__version__.startswith(generation.removeprefix('rtx'))
    del bench
    gc.collect()
    assert gpu.count_live() == {}


def test_an_address_that_is_no_device_memory_breaks_the_context(gpu, bench):
    host = np.zeros(1024, np.float32)
    assert bench.context.set_tensor_address('x', host.ctypes.data // 256 * 256 + 256)
    assert bench.enqueue()
    with pytest.raises(bench.cuda.LogicError, match='illegal memory access'):
        bench.stream.synchronize()
    assert not bench.enqueue()


def test_a_buffer_that_is_too_small_breaks_the_context(bench):
    bench.context.set_input_shape('x', (8, 4))
    assert bench.enqueue()
    with pytest.raises(bench.cuda.LogicError, match='illegal memory access'):
        bench.stream.synchronize()


def test_a_kernel_that_dies_shows_when_the_stream_is_waited_for(gpu, bench):
    gpu.fail('kernel', codes.LAUNCH_FAILED)
    assert bench.enqueue()
    with pytest.raises(bench.cuda.LaunchError, match='unspecified launch failure'):
        bench.stream.synchronize()


def test_profiles_open_the_shapes_again_and_a_wrong_one_raises(make_bench):
    bench = make_bench(profiles=[RANGE, {'x': ((9, 4), (9, 4), (16, 4))}],
                       context_bytes=[MIB, 4 * MIB])
    context = bench.context
    assert bench.engine.device_memory_size_v2 == 4 * MIB
    assert bench.engine.get_device_memory_size_for_profile_v2(0) == MIB
    assert context.active_optimization_profile == 0
    assert context.set_input_shape('x', (2, 4))
    assert context.set_optimization_profile_async(1, bench.stream.handle)
    assert context.infer_shapes() == ['x'] and not context.set_input_shape('x', (2, 4))
    assert context.set_input_shape('x', (16, 4))
    with pytest.raises(RuntimeError, match='^Error in set optimization profile async.$'):
        context.set_optimization_profile_async(2, bench.stream.handle)
    bench.bind('x', 256)
    bench.bind('y', 256)
    other = bench.cuda.Stream()
    assert context.execute_async_v3(other.handle)
    assert 'optimization profile' in bench.gpu.violations.pop()
    other.synchronize()
    bench.stream.synchronize()


def test_user_managed_memory_must_be_given_and_large_enough(make_bench):
    bench = make_bench(strategy='USER_MANAGED')
    context = bench.context
    context.set_input_shape('x', (2, 4))
    bench.bind('x', 32)
    bench.bind('y', 32)
    assert not bench.enqueue() and 'No device memory' in bench.log.errors()
    memory = bench.cuda.mem_alloc(2 * MIB)
    context.set_device_memory(int(memory) + 8, MIB)
    assert 'not aligned' in bench.log.errors() and not bench.enqueue()
    context.set_device_memory(int(memory), MIB - 256)
    assert not bench.enqueue() and 'are needed' in bench.log.errors()
    assert 0 < context.update_device_memory_size_for_shapes() <= MIB // 4
    context.set_device_memory(int(memory), MIB - 256)
    assert bench.enqueue()
    context.set_device_memory(int(memory), MIB)
    assert bench.enqueue()
    bench.stream.synchronize()


def test_one_arena_in_two_streams_at_once_is_recorded(make_bench, cuda):
    first = make_bench(strategy='USER_MANAGED')
    memory = cuda.mem_alloc(MIB)
    second = first.engine.create_execution_context(
        first.trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    for context in (first.context, second):
        context.set_input_shape('x', (2, 4))
        context.set_device_memory(int(memory), MIB)
    first.bind('x', 32)
    first.bind('y', 32)
    for name in ('x', 'y'):
        second.set_tensor_address(name, int(first.buffers[name]))
    assert first.enqueue() and second.execute_async_v3(first.stream.handle)
    first.stream.synchronize()
    other = cuda.Stream()
    assert first.enqueue() and second.execute_async_v3(other.handle)
    assert 'used by two streams at once' in first.gpu.violations.pop()
    first.stream.synchronize()
    other.synchronize()


def test_two_threads_in_one_context_are_recorded(gpu, bench):
    entered, leave = threading.Event(), threading.Event()

    def slow():
        entered.set()
        leave.wait(5)
        return False

    gpu.fail('execute_async_v3', 1, only_if=slow)
    thread = threading.Thread(target=bench.enqueue)
    thread.start()
    entered.wait(5)
    bench.context.infer_shapes()
    leave.set()
    thread.join()
    assert 'while another thread used the context' in gpu.violations[0]
    gpu.violations.clear()
    gpu.implicit_retains = 0


def test_a_context_whose_memory_cannot_be_had_is_none(make_bench, gpu):
    bench = make_bench(context_bytes=[MIB])
    gpu.fail('cudaMalloc', codes.OUT_OF_MEMORY)
    assert bench.engine.create_execution_context() is None
    assert 'OutOfMemory' in bench.log.errors()
    gpu.fail('create_execution_context', 1)
    assert bench.engine.create_execution_context() is None


def test_shape_tensors_lie_on_the_host_and_are_read_in_the_enqueue(make_bench):
    bench = make_bench(reshape_model, host_inputs=('shape',))
    trt, context = bench.trt, bench.context
    assert bench.engine.get_tensor_location('shape') == trt.TensorLocation.HOST
    assert bench.engine.is_shape_inference_io('shape')
    assert context.infer_shapes() == ['shape']
    shape = np.array([2, 2], np.int64)
    assert context.set_tensor_address('shape', shape.ctypes.data)
    assert context.infer_shapes() == [] and tuple(context.get_tensor_shape('y')) == (2, 2)
    bench.bind('x', 16)
    bench.bind('y', 16)
    bench.put('x', np.arange(4, dtype=np.float32))
    assert bench.enqueue()
    shape[:] = 4, 1
    bench.stream.synchronize()
    assert bench.get('y', (2, 2)).tolist() == [[0, 1], [2, 3]]
    assert tuple(context.get_tensor_shape('y')) == (4, 1)
    context.set_tensor_address('shape', int(bench.buffers['x']))
    assert 'crashes' in bench.gpu.violations.pop()


def test_objects_that_die_after_their_context_are_recorded(gpu, tmp_path):
    from pycuda_double import make_pycuda
    cuda = make_pycuda(gpu)
    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    context.push()
    trt = make_tensorrt('10.3', gpu)
    plan = make_plan(double_model(tmp_path / 'm.onnx'), profiles=[RANGE])
    engine = load(gpu, trt, make_log(trt), plan)
    context.pop()
    context.detach()
    del engine
    gc.collect()
    assert 'destroyed after its memory' in gpu.violations.pop()


def test_the_default_stream_is_warned_about(bench):
    assert bench.context.execute_async_v3(0)
    assert any('Using default stream' in text for _, text in bench.log.heard)
    bench.cuda.Context.synchronize()
