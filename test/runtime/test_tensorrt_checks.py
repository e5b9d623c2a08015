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

"""What a double alone does not miss: waits, checked answers, and reasons that are told."""

import gc
import sys

from c7_inference_ros.engines.trust.gate import EngineGate
from c7_inference_ros.errors import DeviceLostError
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.errors import OutOfMemoryError
from c7_inference_ros.runtime.cuda.device import open_device
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.runtime.trt import execution
from c7_inference_ros.runtime.trt.activation_arena import ActivationArena
from c7_inference_ros.runtime.trt.engine_memory import EngineMemory
from c7_inference_ros.runtime.trt.gpu_allocator import GpuMemoryPool
from c7_inference_ros.runtime.trt.graph_replay import GraphReplay
import numpy as np
import pytest
from runtime_models import node
from runtime_models import save
from simulated_stream import SimulatedStream
from simulated_stream import Work
from tensorrt_bench import Bench
from tensorrt_bench import feed_of
from tensorrt_bench import MIB

PROFILE = {'x': ((1, 3, 4, 4), (2, 3, 4, 4), (20, 3, 4, 4))}


# Waits --------------------------------------------------------------------------------------

@pytest.mark.parametrize('made_by, used_by', [
    ('deserialize_cuda_engine', 'create_execution_context'),
    ('create_execution_context', 'execute_async_v3')])
def test_what_tensorrt_copies_on_a_stream_of_its_own_is_waited_for(bench, scale, monkeypatch,
                                                                   made_by, used_by):
    """Weights and constants come on another stream; one that does not block waits for none."""
    kinds = (bench.trt.Runtime, bench.trt.ICudaEngine, bench.trt.IExecutionContext)
    maker, user = (next(kind for kind in kinds if hasattr(kind, name))
                   for name in (made_by, used_by))
    make, use = getattr(maker, made_by), getattr(user, used_by)
    copies, left = [], []

    def making(self, *arguments):
        made = make(self, *arguments)
        context = bench.gpu.current()
        stream = SimulatedStream(bench.gpu, context, 1)
        context.streams[stream.handle] = stream
        stream.enqueue(Work('a copy of TensorRT', lambda: None))
        copies.append(stream)
        return made

    def using(self, *arguments):
        left.append([len(stream.queue) for stream in copies])
        return use(self, *arguments)

    monkeypatch.setattr(maker, made_by, making)
    monkeypatch.setattr(user, used_by, using)
    runtime = bench.runtime()
    runtime.deserialize_engine(bench.engine(scale))
    assert copies and left[0] == [0]
    runtime.close()
    bench.assert_released()


@pytest.fixture
def device(bench):
    """Return an open GPU."""
    device = open_device()
    yield device
    device.close()
    bench.assert_released_gpu()


@pytest.fixture
def pool(device):
    """Return a pool with room for 1 MiB while TensorRT infers."""
    budget = MemoryBudget(MIB, MIB)
    pool = GpuMemoryPool(EngineMemory(device, budget.reserve('model', []), 'model'))
    pool.phase = 'inference'
    yield pool
    pool.close()
    assert budget.totals()['device'].measured_bytes == 0


def enqueue_on(bench, device, address, size=256):
    """Put work on the stream of a device that uses memory; return what is on the stream."""
    stream = bench.gpu.primary.streams[device.stream_handle]
    stream.enqueue(Work('a kernel', lambda: None, ((address, size),)))
    return stream.queue


def test_idle_memory_is_not_given_to_another_stream(bench, device, pool):
    first = pool.allocate(5000, 256, device.stream_handle)
    queue = enqueue_on(bench, device, first)
    assert pool.deallocate(first, device.stream_handle) and queue, 'it did not wait'
    assert pool.allocate(5000, 256, device.stream_handle + 8) != first
    assert pool.allocate(5000, 256) != first
    assert pool.allocate(5000, 256, device.stream_handle) == first


def test_idle_memory_that_makes_room_is_waited_for(bench, device, pool):
    first = pool.allocate(MIB // 2, 256, device.stream_handle)
    queue = enqueue_on(bench, device, first)
    assert pool.deallocate(first, device.stream_handle) and queue
    assert pool.allocate(MIB // 4 * 3, 256, device.stream_handle) and not queue


@pytest.mark.parametrize('phase, other', [('context', 0), ('inference', 8)])
def test_memory_that_is_freed_at_once_is_waited_for(bench, device, pool, phase, other):
    """At another time than an inference, or by another stream than ours."""
    first = pool.allocate(5000, 256, device.stream_handle)
    queue = enqueue_on(bench, device, first)
    pool.phase = phase
    assert pool.deallocate(first, device.stream_handle + other) and not queue
    assert not bench.gpu.memory.blocks


def test_memory_at_the_wrong_multiple_is_refused_and_given_back(bench, device, pool):
    assert pool.allocate(5000, 1 << 60, device.stream_handle) is None
    assert 'asked for 5000 bytes at a multiple of' in pool.refusal
    assert not bench.gpu.memory.blocks and pool.by_phase() == {}


@pytest.mark.parametrize('is_idle', [False, True])
def test_what_tensorrt_kept_is_waited_for_and_freed(bench, device, pool, is_idle):
    first = pool.allocate(5000, 256, device.stream_handle)
    queue = enqueue_on(bench, device, first)
    if is_idle:
        assert pool.deallocate(first, device.stream_handle)
    assert queue and bench.gpu.memory.blocks
    pool.close()
    assert not queue and not bench.gpu.memory.blocks


def test_scratch_memory_goes_with_its_engine_while_others_stay(bench, scale):
    runtime = bench.runtime()
    runtime.deserialize_engine(bench.engine(scale, context_bytes=MIB))
    before = bench.gpu.memory.used, bench.budget.table()
    handle = runtime.deserialize_engine(bench.engine(scale, name='other', context_bytes=MIB,
                                                     enqueue_bytes=4 * MIB))
    runtime.infer(handle, feed_of(handle))
    assert bench.gpu.memory.used >= before[0] + 4 * MIB
    runtime.release_engine(handle)
    assert (bench.gpu.memory.used, bench.budget.table()) == before
    runtime.close()
    bench.assert_released()


def test_shared_activations_are_waited_for_before_they_move(bench, device):
    class User:

        def __init__(self, needed):
            self.needed_bytes = needed
            self.given = []

        def use_memory(self, address, size):
            self.given.append((address, size))

    arena = ActivationArena(MemoryBudget(MIB, MIB))
    first, second = User(1000), User(5000)
    arena.join(device, first, 'first')
    queue = enqueue_on(bench, device, first.given[-1][0])
    arena.join(device, second, 'second')
    assert not queue and first.given[-1] == second.given[-1] and second.given[-1][1] == 5000
    for user in (first, second):
        arena.leave(user)
    assert arena.size == 0


def test_a_graph_that_the_arena_made_void_is_freed(bench, scale):
    runtime = bench.runtime()
    for index in range(3):
        runtime.deserialize_engine(bench.engine(scale, name=f'model{index}',
                                                context_bytes=(index + 1) * MIB))
        assert len(bench.gpu.primary.graphs) == index + 1
    runtime.close()
    bench.assert_released()


def test_what_was_changed_in_between_is_not_recorded_at_once(device):
    """The first enqueue after a change prepares, which no graph can hold."""
    replay = GraphReplay(device)
    replay.is_wanted = True
    enqueued = []

    def enqueue():
        enqueued.append(device.is_capturing)

    for drops in (False, True, False, False):
        if drops:
            replay.drop()
        replay.run('shapes', 1, enqueue)
    assert enqueued == [False, False, True]
    replay.drop()


def test_the_plan_is_gone_before_the_context_is_made(bench, scale, monkeypatch):
    plans, holders = [], []
    validate, create = EngineGate.validate, bench.trt.ICudaEngine.create_execution_context

    def validating(self, *arguments, **named):
        trusted = validate(self, *arguments, **named)
        plans.append(trusted.data)
        return trusted

    def creating(self, *arguments):
        holders.append(sys.getrefcount(plans[0]) - 2)  # the list and the call itself
        return create(self, *arguments)

    monkeypatch.setattr(EngineGate, 'validate', validating)
    monkeypatch.setattr(bench.trt.ICudaEngine, 'create_execution_context', creating)
    runtime = bench.runtime()
    runtime.deserialize_engine(bench.engine(scale))
    assert holders == [0]
    runtime.close()


# Answers ------------------------------------------------------------------------------------

def test_memory_that_a_context_does_not_take_is_an_error(bench, scale, monkeypatch):
    """The call returns nothing, whether it worked or not; only the recorder knows."""
    take = bench.trt.IExecutionContext.set_device_memory
    monkeypatch.setattr(bench.trt.IExecutionContext, 'set_device_memory',
                        lambda self, memory, size: take(self, memory, 256))
    with pytest.raises(InferenceError, match='was not given its memory.*256 bytes'):
        bench.runtime().deserialize_engine(bench.engine(scale, context_bytes=MIB))
    gc.collect()
    bench.assert_released()


def test_an_allocator_that_a_context_does_not_take_is_an_error(bench, tmp_path, monkeypatch):
    model = save(tmp_path / 'nonzero.onnx', [node('NonZero', ['x'], ['found'])],
                 {'x': ('FLOAT', [8])}, {'found': ('INT64', [1, 'count'])})
    monkeypatch.setattr(bench.trt.IExecutionContext, 'set_output_allocator',
                        lambda self, name, output_allocator: False)
    with pytest.raises(InferenceError, match='does not take an allocator for output found'):
        bench.runtime().deserialize_engine(bench.engine(model, data_dependent={'found': None}))
    gc.collect()
    bench.assert_released()


@pytest.mark.parametrize('call', ['deserialize_cuda_engine', 'create_execution_context',
                                  'set_optimization_profile_async'])
def test_a_sticky_error_inside_a_call_of_tensorrt_is_a_lost_device(bench, scale, call):
    bench.gpu.fail(call, 700)
    with pytest.raises(DeviceLostError, match='illegal memory access'):
        bench.runtime().deserialize_engine(bench.engine(scale))
    gc.collect()
    bench.assert_released()


def test_memory_that_ran_out_inside_tensorrt_is_told_as_that(monkeypatch, tmp_path, scale):
    """Without the allocator, what TensorRT says is the only sign."""
    bench = Bench(monkeypatch, tmp_path / 'engines', total_bytes=200 * MIB)
    bench.budget = MemoryBudget(1 << 30, 1 << 30)
    monkeypatch.delattr(bench.trt, 'IGpuAsyncAllocator')
    monkeypatch.delattr(bench.trt, 'IGpuAllocator')
    with pytest.raises(OutOfMemoryError, match='the memory of GPU 0 ran out: .*OutOfMemory'):
        bench.runtime().deserialize_engine(bench.engine(scale, weights_bytes=100 * MIB))
    gc.collect()
    bench.assert_released()


def test_plugins_are_registered_before_the_engine_is_loaded(bench, scale, monkeypatch):
    steps = []
    register = bench.trt.init_libnvinfer_plugins
    load = bench.trt.Runtime.deserialize_cuda_engine

    def registering(logger, namespace):
        steps.append(('plugins', namespace))
        return register(logger, namespace)

    def loading(self, *arguments):
        steps.append(('load', ''))
        return load(self, *arguments)

    monkeypatch.setattr(bench.trt, 'init_libnvinfer_plugins', registering)
    monkeypatch.setattr(bench.trt.Runtime, 'deserialize_cuda_engine', loading)
    runtime = bench.runtime()
    runtime.deserialize_engine(bench.engine(scale))
    assert steps == [('plugins', ''), ('load', '')]
    runtime.close()


@pytest.mark.parametrize('owner, name, answer, reason', [
    ('ICudaEngine', 'streamable_weights_size', property(lambda self: 1000),
     'the engine streams its weights'),
    ('IExecutionContext', 'is_stream_capturable', lambda self, stream: False,
     'tensorrt says that its work cannot be captured')])
def test_an_engine_that_says_it_cannot_be_captured_is_not(bench, scale, monkeypatch, owner, name,
                                                          answer, reason):
    monkeypatch.setattr(getattr(bench.trt, owner), name, answer, raising=False)
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(scale))
    assert runtime.fallbacks == (f'{handle.name}: no CUDA graph: {reason}',)
    assert 'cuStreamBeginCapture' not in bench.gpu.calls
    runtime.close()
    bench.assert_released()


# Buffers and shapes ---------------------------------------------------------------------------

@pytest.fixture
def rest(tmp_path):
    """Write a model whose output is the larger the smaller its input is."""
    return save(
        tmp_path / 'rest.onnx',
        [node('Shape', ['x'], ['batch'], end=1), node('Sub', ['all', 'batch'], ['rest']),
         node('ReduceSum', ['x'], ['sum'], keepdims=0), node('Expand', ['sum', 'rest'], ['y'])],
        {'x': ('FLOAT', ['batch', 4])}, {'y': ('FLOAT', ['rest'])},
        weights={'all': np.array([3000], np.int64)})


REST = {'x': ((1, 4), (1, 4), (2000, 4))}


@pytest.mark.parametrize('is_integrated', [False, True])
def test_an_output_that_is_larger_for_smaller_inputs(monkeypatch, tmp_path, rest, is_integrated):
    """Its memory moves; what was settled for other shapes must not read where it was."""
    bench = Bench(monkeypatch, tmp_path / 'engines', is_integrated=is_integrated)
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(rest, profiles=[REST]))
    assert handle.outputs[0].max_shape == (1000,)
    held = []
    for seed, batch in enumerate((2000, 1500, 2000, 1, 1500, 2000, 1)):
        feed = feed_of(handle, seed, {'x': (batch, 4)})
        found = runtime.infer(handle, feed)['y']
        assert found.shape == (3000 - batch,)
        np.testing.assert_allclose(found, feed['x'].sum(), rtol=1e-4)
        held.append(found)
    assert handle.engine_memory.taken(False) == 2000 * 16 + 2999 * 4
    held.clear()
    del found
    if not is_integrated:
        weights = sum(handle.pool.by_phase().values())
        assert handle.engine_memory.taken(True) == weights + 2000 * 16 + 2999 * 4
        blocks = sum(block.size for block in bench.gpu.memory.blocks.values())
        assert handle.engine_memory.taken(True) + runtime._arena.size == blocks
    runtime.close()
    bench.assert_released()


@pytest.mark.parametrize('function, is_integrated', [
    ('cuMemAlloc', False), ('cuMemHostAlloc', False), ('cuMemHostAlloc', True)])
def test_an_output_that_cannot_grow_leaves_no_address_of_what_was_freed(
        monkeypatch, tmp_path, rest, function, is_integrated):
    bench = Bench(monkeypatch, tmp_path / 'engines', is_integrated=is_integrated)
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(rest, profiles=[REST]))
    bench.gpu.fail(function, 2, times=2 if function == 'cuMemAlloc' else 1)  # PyCUDA tries again
    with pytest.raises(OutOfMemoryError, match='output y'):
        runtime.infer(handle, feed_of(handle, 0, {'x': (1, 4)}))
    for seed, batch in enumerate((2000, 2000, 2000, 1, 2000)):
        feed = feed_of(handle, seed, {'x': (batch, 4)})
        np.testing.assert_allclose(runtime.infer(handle, feed)['y'], feed['x'].sum(), rtol=1e-4)
    runtime.close()
    bench.assert_released()
    bench.doubles.assert_clean()


@pytest.mark.parametrize('place', ['device', 'host'])
def test_memory_that_cannot_be_had_is_not_noted(bench, device, place):
    budget = MemoryBudget(MIB, MIB)
    memory = EngineMemory(device, budget.reserve('model', []), 'model')
    bench.gpu.fail('cuMemAlloc' if place == 'device' else 'cuMemHostAlloc', 1)
    with pytest.raises(InferenceError):
        (memory.device_memory if place == 'device' else memory.page_locked)(1000, 'it')
    assert memory.taken(True) == memory.taken(False) == 0
    assert not budget.totals()[place].measured_bytes


def test_a_part_of_the_page_locked_input_is_copied_to_its_beginning(bench, dynamic):
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(dynamic, profiles=[PROFILE]))
    view = handle.input_view('x', (20, 3, 4, 4))
    view[...] = np.arange(20, dtype=np.float32)[:, None, None, None]
    found = runtime.infer(handle, {'x': view[5:7]})['y']
    assert found[:, 0, 0, 0].tolist() == [10, 12]
    del view, found
    runtime.close()
    bench.assert_released()


def test_combinations_of_shapes_are_not_kept_for_ever(bench, dynamic):
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(dynamic, profiles=[PROFILE]))
    for batch in (*range(1, 21), *range(1, 21)):
        feed = feed_of(handle, batch, {'x': (batch, 3, 4, 4)})
        assert np.array_equal(runtime.infer(handle, feed)['y'], feed['x'] * 2)
        assert len(handle.execution._bindings) <= execution._MAX_BINDINGS
    runtime.close()
    bench.assert_released()


# What an engine may say of its tensors ---------------------------------------------------------

@pytest.mark.parametrize('method, answer, words', [
    ('get_tensor_format', lambda trt: trt.TensorFormat.CHW4, "'x' has the memory layout CHW4"),
    ('get_tensor_dtype', lambda trt: trt.DataType.BF16, "'x' has elements of type BF16"),
    ('get_tensor_mode', lambda trt: trt.TensorIOMode.NONE, "'x' is neither input nor output"),
    ('get_tensor_mode', lambda trt: trt.TensorIOMode.INPUT, 'built of an empty network')])
def test_tensors_that_arrays_cannot_hold_are_refused(bench, scale, monkeypatch, method, answer,
                                                     words):
    given = answer(bench.trt)
    monkeypatch.setattr(bench.trt.ICudaEngine, method, lambda self, *arguments: given)
    with pytest.raises(EngineDeserializeError, match=words) as caught:
        bench.runtime().deserialize_engine(bench.engine(scale))
    assert '\n' not in str(caught.value)
    del caught
    gc.collect()
    bench.assert_released()


@pytest.mark.parametrize('probe', ['cuCtxSynchronize', 'cuMemGetInfo'])
def test_after_an_error_each_of_the_two_harmless_calls_tells_a_broken_context(bench, device,
                                                                              probe):
    """The error itself may be of the call; waiting may succeed where nothing is on its way."""
    bench.gpu.fail('cuMemHostAlloc', 1)
    bench.gpu.fail(probe, 1)
    with pytest.raises(DeviceLostError, match=f'{probe} failed'):
        device.page_locked(100, 'it')
    assert device.lost
