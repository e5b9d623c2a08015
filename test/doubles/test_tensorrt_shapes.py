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

"""Setting shapes, profiles and addresses of a context in the TensorRT doubles."""

import numpy as np
import pytest


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
