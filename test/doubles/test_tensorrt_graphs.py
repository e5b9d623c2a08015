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

"""Capturing an inference of the TensorRT doubles in a CUDA graph."""

import ctypes
import gc

from libcuda_double import LibcudaDouble
import numpy as np
import pytest


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
