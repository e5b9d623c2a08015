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

"""Allocators of an application in the TensorRT doubles."""

import gc

from engine_bench import Bench
from engine_bench import double_model
from engine_bench import load
from engine_bench import make_log
from engine_bench import nonzero_model
from engine_bench import RANGE
import numpy as np
import pytest
from tensorrt_double import make_tensorrt
from trt_plan import make_plan


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
