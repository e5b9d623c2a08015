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

"""Small models that the real builder turns into an engine within a moment."""

import numpy as np
import pytest


def small_model(path, batch=1, scale=2.0, is_external=False, metadata=None, seed=1):
    """
    Write a convolution with a Relu, scaled; x is float32 [batch, 3, 16, 16].

    :param batch: ``'N'`` leaves it open.
    :param scale: a weight, so that models can differ in nothing else.
    :param is_external: whether the weights go into ``<stem>.data``.
    """
    onnx = pytest.importorskip('onnx', reason='onnx is not installed; run: make env')
    helper, kinds = onnx.helper, onnx.TensorProto
    weights = np.random.default_rng(seed).normal(size=(8, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node('Conv', ['x', 'w'], ['c'], name='/conv', pads=[1] * 4),
         helper.make_node('Relu', ['c'], ['r'], name='/relu'),
         helper.make_node('Mul', ['r', 's'], ['y'], name='/scale')],
        'graph', [helper.make_tensor_value_info('x', kinds.FLOAT, [batch, 3, 16, 16])],
        [helper.make_tensor_value_info('y', kinds.FLOAT, [batch, 8, 16, 16])],
        [onnx.numpy_helper.from_array(weights, 'w'),
         onnx.numpy_helper.from_array(np.array(scale, np.float32), 's')])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid('', 17)])
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    if is_external:
        path.with_suffix('.data').unlink(missing_ok=True)  # it would be appended to
        onnx.save_model(model, str(path), save_as_external_data=True, size_threshold=0,
                        location=f'{path.stem}.data')
    else:
        onnx.save_model(model, str(path))
    return path


def quantised_model(path, batch=1):
    """Write the convolution of :func:`small_model` with Q/DQ pairs before it."""
    onnx = pytest.importorskip('onnx', reason='onnx is not installed; run: make env')
    helper, kinds = onnx.helper, onnx.TensorProto
    weights = np.random.default_rng(1).integers(-127, 128, (8, 3, 3, 3)).astype(np.int8)

    def tensor(name, value, kind):
        return onnx.numpy_helper.from_array(np.array(value, kind), name)

    graph = helper.make_graph(
        [helper.make_node('QuantizeLinear', ['x', 'xs', 'z'], ['xq'], name='/xq'),
         helper.make_node('DequantizeLinear', ['xq', 'xs', 'z'], ['xd'], name='/xd'),
         helper.make_node('DequantizeLinear', ['w', 'ws', 'z'], ['wd'], name='/wd'),
         helper.make_node('Conv', ['xd', 'wd'], ['c'], name='/conv', pads=[1] * 4),
         helper.make_node('Relu', ['c'], ['y'], name='/relu')],
        'graph', [helper.make_tensor_value_info('x', kinds.FLOAT, [batch, 3, 16, 16])],
        [helper.make_tensor_value_info('y', kinds.FLOAT, [batch, 8, 16, 16])],
        [tensor('w', weights, np.int8), tensor('xs', 0.01, np.float32),
         tensor('ws', 0.01, np.float32), tensor('z', 0, np.int8)])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid('', 17)])
    onnx.save_model(model, str(path))
    return path
