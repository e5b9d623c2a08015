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

"""What the runtime side of the TensorRT doubles does when something is not as it must be."""

import ctypes
import gc
import threading

import cuda_codes as codes
from engine_bench import Bench
from engine_bench import double_model
from engine_bench import make_log
from engine_bench import make_recorder
from engine_bench import nonzero_model
from engine_bench import reshape_model
from libcuda_double import LibcudaDouble
import numpy as np
import pytest
from simulated_memory import MIB
from tensorrt_double import GENERATIONS
from tensorrt_double import make_tensorrt
from trt_plan import make_plan

RANGE = {'x': ((1, 4), (2, 4), (8, 4))}


def load(gpu, trt, log, plan, recorder=None, **settings):
    """Deserialise a plan."""
    runtime = trt.Runtime(log)
    runtime.error_recorder = recorder
    for name, value in settings.items():
        setattr(runtime, name, value)
    return runtime.deserialize_cuda_engine(plan)


@pytest.fixture
def make_bench(gpu, cuda, tmp_path):
    """Return what makes a bench from a model and the claims of its plan."""
    def make(model=double_model, generation='10.3', strategy=None, **claims):
        trt = make_tensorrt(generation, gpu)
        log = make_log(trt)
        if model is double_model:
            claims.setdefault('profiles', [RANGE])
        plan = make_plan(model(tmp_path / 'model.onnx'), generation, **claims)
        engine = load(gpu, trt, log, plan)
        kind = trt.ExecutionContextAllocationStrategy
        context = engine.create_execution_context(
            kind.STATIC if strategy is None else getattr(kind, strategy))
        return Bench(trt, cuda, gpu, log, engine, context, cuda.Stream(), {})

    return make


@pytest.fixture
def bench(make_bench):
    """Return a bench that is ready to run with a batch of two."""
    made = make_bench()
    assert made.context.set_input_shape('x', (2, 4))
    made.bind('x', 32)
    made.bind('y', 32)
    return made


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


def test_what_a_generation_has_not_is_not_there():
    modules = {name: make_tensorrt(name) for name in GENERATIONS}
    assert hasattr(modules['10.3'].BuilderFlag, 'FP16')
    assert not hasattr(modules['11.1'].BuilderFlag, 'FP16')
    assert hasattr(modules['rtx1.4'].BuilderFlag, 'FP16')
    assert not hasattr(modules['rtx1.4'].IBuilderConfig, 'int8_calibrator')
    assert not hasattr(modules['rtx1.7'].BuilderFlag, 'FP16')
    assert not hasattr(modules['10.3'], 'IStreamReaderV2')
    assert not hasattr(modules['10.3'].ICudaEngine, 'create_runtime_config')
    assert hasattr(modules['10.3'].ICudaEngine, 'device_memory_size')
    assert not hasattr(modules['11.1'].ICudaEngine, 'device_memory_size')
    assert not hasattr(modules['11.1'], 'IInt8EntropyCalibrator2')
    assert not hasattr(modules['10.13'].ICudaEngine, 'get_engine_stat')
    assert hasattr(modules['10.16'].ICudaEngine, 'get_engine_stat')
    flag = 'NetworkDefinitionCreationFlag'
    assert int(getattr(modules['10.3'], flag).STRONGLY_TYPED) == 1
    assert int(getattr(modules['11.1'], flag).STRONGLY_TYPED) == 0
    assert not hasattr(getattr(modules['11.1'], flag), 'EXPLICIT_BATCH')


def spoil(plan, at, value):
    """Return a plan with one byte changed."""
    return plan[:at] + bytes([value]) + plan[at + 1:]


@pytest.mark.parametrize('spoiled, expected', [
    (lambda plan: b'', 'empty memory buffer'),
    (lambda plan: b'junk', 'minBufferSize'),
    (lambda plan: b'junk' * 50, 'magicTag'),
    (lambda plan: plan[:-9], 'plan.header.size == blobSize'),
    (lambda plan: spoil(plan, 25, 9), 'expecting library version 10.3.0.26 got 10.9.0.26'),
])
def test_a_plan_that_cannot_be_loaded_gives_none_and_a_reason(gpu, cuda, tmp_path, spoiled,
                                                              expected):
    trt = make_tensorrt('10.3', gpu)
    log, recorder = make_log(trt), make_recorder(trt)
    plan = spoiled(make_plan(double_model(tmp_path / 'm.onnx'), profiles=[RANGE]))
    assert load(gpu, trt, log, plan) is None
    assert expected in log.errors()
    # With a recorder the logger hears nothing.
    assert load(gpu, trt, log, plan, recorder) is None
    assert expected in recorder.heard[0][1] and not log.errors()


@pytest.mark.parametrize('claims, settings, expected', [
    ({'sm': '86'}, {}, 'incompatible device, expecting compute 8.7 got compute 8.6'),
    ({'sm': '86', 'is_hardware_compatible': True}, {}, None),
    ({'carries_host_code': True}, {}, 'engineHostCodeAllowed'),
    ({'carries_host_code': True}, {'engine_host_code_allowed': True}, None),
    ({'weights_bytes': 9 << 30}, {}, f'Requested size was {9 << 30} bytes'),
])
def test_a_plan_of_another_machine_is_refused(gpu, cuda, tmp_path, claims, settings, expected):
    trt = make_tensorrt('10.3', gpu)
    log = make_log(trt)
    plan = make_plan(double_model(tmp_path / 'm.onnx'), profiles=[RANGE], **claims)
    engine = load(gpu, trt, log, plan, **settings)
    assert (engine is None) == (expected is not None)
    assert (expected or '') in log.errors()


def test_another_model_of_the_same_sm_only_warns(gpu, cuda, tmp_path):
    trt = make_tensorrt('10.3', gpu)
    log = make_log(trt)
    plan = make_plan(double_model(tmp_path / 'm.onnx'), profiles=[RANGE], device_name='Other')
    assert load(gpu, trt, log, plan) is not None
    assert any(severity == 2 and 'different models of devices' in text
               for severity, text in log.heard)


def test_a_thread_without_a_context_takes_the_primary_one_for_good(gpu, tmp_path):
    trt = make_tensorrt('10.3', gpu)
    plan = make_plan(double_model(tmp_path / 'm.onnx'), profiles=[RANGE])
    assert load(gpu, trt, make_log(trt), plan) is not None
    assert gpu.implicit_retains == 1
    with pytest.raises(AssertionError, match='because no context was current'):
        gpu.assert_released()


def test_shapes_are_checked_and_set_without_an_exception(make_bench):
    bench = make_bench()
    context, engine = bench.context, bench.engine
    assert context.infer_shapes() == ['x']
    assert tuple(context.get_tensor_shape('y')) == (-1, 4)
    assert not context.set_input_shape('nope', (1, 4))
    assert 'Given invalid tensor name: nope' in bench.log.errors()
    for shape in ((9, 4), (1, 5), (1, 4, 1)):
        assert not context.set_input_shape('x', shape)
        assert bench.log.errors()
    with pytest.raises(TypeError):
        context.set_input_shape('x', np.array([1, 4]))
    with pytest.raises(RuntimeError, match='exceeds the maximum'):
        context.set_input_shape('x', (1,) * 9)
    assert context.set_input_shape('x', (3, 4))
    assert context.infer_shapes() == [] and tuple(context.get_tensor_shape('y')) == (3, 4)
    assert tuple(engine.get_tensor_shape('x')) == (-1, 4)
    assert [tuple(shape) for shape in engine.get_tensor_profile_shape('x', 0)] == [
        (1, 4), (2, 4), (8, 4)]
    with pytest.raises(ValueError):
        len(engine.get_tensor_shape('nope'))
    assert engine.get_tensor_mode('nope') == bench.trt.TensorIOMode.NONE
    assert bench.trt.TensorIOMode.INPUT != 1


def test_what_is_unset_makes_the_enqueue_false(make_bench):
    bench = make_bench()
    assert not bench.enqueue() and 'Not all input dimensions' in bench.log.errors()
    bench.context.set_input_shape('x', (2, 4))
    bench.bind('x', 32)
    assert not bench.enqueue() and 'output tensor y' in bench.log.errors()
    assert not bench.context.set_tensor_address('nope', 0)
    assert not bench.context.set_tensor_address('y', int(bench.buffers['x']) + 8)
    assert 'not aligned' in bench.log.errors()
    bench.bind('y', 32)
    assert not bench.context.execute_async_v3(12345)
    assert 'invalid resource handle' in bench.log.errors()
    assert bench.enqueue()
    bench.stream.synchronize()


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


class TestAllocators:
    """The allocator of an application."""

    def make(self, trt, base, cuda, answer):
        """Return an allocator whose answer a function gives."""
        class Allocator(getattr(trt, base)):

            def __init__(self):
                getattr(trt, base).__init__(self)
                self.calls, self.held = [], {}

            def _give(self, kind, *arguments):
                self.calls.append((kind, arguments))
                return answer(self, arguments[0])

            def allocate(self, *arguments):
                return self._give('allocate', *arguments)

            def allocate_async(self, *arguments):
                return self._give('allocate_async', *arguments)

            def deallocate(self, memory):
                self.calls.append(('deallocate', (memory,)))
                self.held.pop(memory).free()
                return True

            def deallocate_async(self, memory, stream):
                self.calls.append(('deallocate_async', (memory, stream)))
                self.held.pop(memory).free()
                return True

        return Allocator()

    @staticmethod
    def real(cuda):
        """Return an answer that allocates."""
        def answer(allocator, size):
            memory = cuda.mem_alloc(size)
            allocator.held[int(memory)] = memory
            return int(memory)

        return answer

    @pytest.mark.parametrize('base, call', [('IGpuAllocator', 'allocate'),
                                            ('IGpuAsyncAllocator', 'allocate_async')])
    def test_it_gives_and_gets_back_weights_and_activations(self, gpu, cuda, tmp_path, base,
                                                            call):
        trt = make_tensorrt('10.3', gpu)
        allocator = self.make(trt, base, cuda, self.real(cuda))
        plan = make_plan(double_model(tmp_path / 'm.onnx'), profiles=[RANGE],
                         weights_bytes=1000, context_bytes=2000, persistent_bytes=500)
        engine = load(gpu, trt, make_log(trt), plan, gpu_allocator=allocator)
        context = engine.create_execution_context()
        assert [(kind, arguments[0]) for kind, arguments in allocator.calls] == [
            (call, 1000), (call, 500), (call, 2000)]
        if base == 'IGpuAsyncAllocator':
            # (size, alignment, stream, flags), whatever the documentation says.
            assert allocator.calls[0][1][2] > 1 << 32 and allocator.calls[0][1][3] == 0
        del context, engine
        gc.collect()
        assert not allocator.held

    def test_what_an_enqueue_needs_is_asked_and_given_back_on_its_stream(self, gpu, cuda,
                                                                         tmp_path):
        trt = make_tensorrt('10.3', gpu)
        allocator = self.make(trt, 'IGpuAsyncAllocator', cuda, self.real(cuda))
        plan = make_plan(double_model(tmp_path / 'm.onnx'), profiles=[RANGE],
                         enqueue_bytes=4096)
        engine = load(gpu, trt, make_log(trt), plan, gpu_allocator=allocator)
        bench = Bench(trt, cuda, gpu, None, engine, engine.create_execution_context(),
                      cuda.Stream(), {})
        bench.context.set_input_shape('x', (2, 4))
        bench.bind('x', 32)
        bench.bind('y', 32)
        allocator.calls.clear()
        assert bench.enqueue()
        (first, asked), (last, given) = allocator.calls
        assert (first, asked) == ('allocate_async', (4096, 256, bench.stream.handle, 0))
        assert last == 'deallocate_async' and given[1] == bench.stream.handle
        bench.stream.synchronize()
        del bench, engine
        gc.collect()
        assert not allocator.held

    @pytest.mark.parametrize('answer', [0, None, 'x', ValueError('no'), 0x1000])
    def test_anything_but_memory_makes_it_fail(self, gpu, cuda, tmp_path, capfd, answer):
        def give(_allocator, _size):
            if isinstance(answer, Exception):
                raise answer
            return answer

        trt = make_tensorrt('10.3', gpu)
        log = make_log(trt)
        allocator = self.make(trt, 'IGpuAsyncAllocator', cuda, give)
        plan = make_plan(double_model(tmp_path / 'm.onnx'), profiles=[RANGE])
        assert load(gpu, trt, log, plan, gpu_allocator=allocator) is None
        assert 'Requested size was' in log.errors()
        printed = capfd.readouterr().err
        assert ('could not be interpreted as an int' in printed) == (answer in (None, 'x'))
        assert ('Exception caught in allocate(): ValueError: no' in printed) == isinstance(
            answer, Exception)
        if answer == 0x1000:
            assert 'no aligned device memory' in gpu.violations.pop()

    def test_it_must_be_one(self, gpu):
        trt = make_tensorrt('10.3', gpu)
        runtime = trt.Runtime(make_log(trt))
        with pytest.raises(TypeError):
            runtime.gpu_allocator = object()
        with pytest.raises(AttributeError):
            _ = runtime.gpu_allocator


class TestDataDependentOutputs:
    """Outputs whose shape is known only after the run."""

    def test_an_allocator_hears_the_shape(self, make_bench, cuda):
        bench = make_bench(nonzero_model, data_dependent={'y': [1, 4]})
        trt = bench.trt

        class Allocator(trt.IOutputAllocator):

            def __init__(self):
                trt.IOutputAllocator.__init__(self)
                self.asked, self.shape, self.memory = None, None, None

            def reallocate_output_async(self, name, memory, size, alignment, stream):
                self.asked = (name, memory, size, alignment, stream)
                self.memory = cuda.mem_alloc(size)
                return int(self.memory)

            def notify_shape(self, name, shape):
                self.shape = tuple(shape)

        assert bench.context.infer_shapes() == []
        assert tuple(bench.context.get_tensor_shape('y')) == (-1, -1)
        assert bench.context.get_max_output_size('y') == 32
        bench.bind('x', 16)
        assert not bench.enqueue() and 'output tensor y' in bench.log.errors()
        allocator = Allocator()
        assert bench.context.set_output_allocator('y', allocator)
        assert not bench.context.set_output_allocator('x', allocator)
        bench.put('x', np.array([0, 5, 0, 7], np.float32))
        assert bench.enqueue()
        assert allocator.shape == (1, 2)
        assert allocator.asked == ('y', 0, 16, 256, bench.stream.handle)
        bench.stream.synchronize()
        bench.buffers['y'] = allocator.memory
        assert bench.get('y', (1, 2), np.int64).tolist() == [[1, 3]]

    def test_an_allocator_without_memory_makes_the_enqueue_false(self, make_bench):
        bench = make_bench(nonzero_model, data_dependent={'y': None})
        trt = bench.trt

        class Allocator(trt.IOutputAllocator):

            def __init__(self):
                trt.IOutputAllocator.__init__(self)

            def reallocate_output(self, name, memory, size, alignment):
                raise MemoryError('none')

            def notify_shape(self, name, shape):
                raise AssertionError('not reached')

        allocator = Allocator()
        assert bench.context.get_max_output_size('y') == -1
        bench.bind('x', 16)
        bench.put('x', np.ones(4, np.float32))
        bench.context.set_output_allocator('y', allocator)
        assert not bench.enqueue() and 'the output allocator' in bench.log.errors()


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


class TestGraphs:
    """Capture of an enqueue."""

    @staticmethod
    def capture(bench, lib):
        """Try to capture an enqueue; return whether it was enqueued, and the graph."""
        stream, graph = ctypes.c_void_p(bench.stream.handle), ctypes.c_void_p()
        assert lib.cuStreamBeginCapture_v2(stream, 1) == 0
        is_enqueued = bench.enqueue()
        code = lib.cuStreamEndCapture(stream, ctypes.byref(graph))
        assert (code == 0) == is_enqueued
        return is_enqueued, graph

    def test_only_after_an_enqueue_with_the_same_shapes(self, gpu, bench):
        double = LibcudaDouble(gpu)
        lib = double.load('libcuda.so.1')
        assert not self.capture(bench, lib)[0]
        assert 'operation not permitted when stream is capturing' in bench.log.errors()
        assert bench.enqueue()
        bench.stream.synchronize()
        is_enqueued, graph = self.capture(bench, lib)
        assert is_enqueued
        instance = ctypes.c_void_p()
        assert lib.cuGraphInstantiateWithFlags(ctypes.byref(instance), graph,
                                               ctypes.c_ulonglong(0)) == 0
        lib.cuGraphDestroy(graph)
        for value in (1, 2):
            bench.put('x', np.full((2, 4), value, np.float32))
            assert lib.cuGraphLaunch(instance, ctypes.c_void_p(bench.stream.handle)) == 0
            bench.stream.synchronize()
            assert (bench.get('y', (2, 4)) == 2 * value).all()
        bench.context.set_input_shape('x', (1, 4))
        assert not self.capture(bench, lib)[0]
        # The graph outlives the context, which nobody may launch then.
        bench.context = None
        gc.collect()
        assert lib.cuGraphLaunch(instance, ctypes.c_void_p(bench.stream.handle)) == 0
        with pytest.raises(bench.cuda.LaunchError):
            bench.stream.synchronize()
        assert 'after its execution context was destroyed' in gpu.violations.pop()

    def test_never_where_the_engine_cannot(self, gpu, make_bench):
        bench = make_bench(is_capturable=False)
        bench.context.set_input_shape('x', (2, 4))
        bench.bind('x', 32)
        bench.bind('y', 32)
        assert bench.enqueue()
        bench.stream.synchronize()
        double = LibcudaDouble(gpu)
        assert not self.capture(bench, double.load('libcuda.so.1'))[0]


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
