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

"""Small real ONNX models, made by the tests that need them."""

from pathlib import Path

import numpy as np
import pytest

SHARED_MODELS = Path(__file__).resolve().parents[3] / 'shared' / 'models'


def shared_model(name):
    """Return a model of ../shared/models; the test is skipped where there is none."""
    path = SHARED_MODELS / name
    if not path.is_file():
        pytest.skip(f'../shared/models/{name} is not here')
    return path


def save(path, nodes, inputs, outputs, weights=None, opset=17, ir=8, metadata=None,
         is_external=False, domains=()):
    """
    Write an ONNX model and return its path.

    :param nodes: of ``onnx.helper.make_node``.
    :param inputs: (type name, shape) by tensor name.
    :param outputs: the same.
    :param weights: array by name.
    :param is_external: whether the weights go into ``<stem>.data``.
    """
    onnx = pytest.importorskip('onnx', reason='onnx is not installed; run: make env')
    helper, types = onnx.helper, onnx.TensorProto

    def infos(tensors):
        return [helper.make_tensor_value_info(name, getattr(types, kind), shape)
                for name, (kind, shape) in tensors.items()]

    graph = helper.make_graph(
        nodes, 'graph', infos(inputs), infos(outputs),
        [onnx.numpy_helper.from_array(value, name) for name, value in (weights or {}).items()])
    model = helper.make_model(
        graph, ir_version=ir, opset_imports=[
            helper.make_opsetid('', opset), *(helper.make_opsetid(name, 1) for name in domains)])
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    if is_external:
        onnx.save_model(model, str(path), save_as_external_data=True, size_threshold=0,
                        location=f'{path.stem}.data')
    else:
        onnx.save_model(model, str(path))
    return path


def node(kind, inputs, outputs, **attributes):
    """Make one operator."""
    onnx = pytest.importorskip('onnx', reason='onnx is not installed; run: make env')
    return onnx.helper.make_node(kind, inputs, outputs, **attributes)


def scale_model(path, batch=1, is_external=False, metadata=None):
    """Write y = 2 * x, total = the sum of y over the channels; x is float32 [batch, 3, 4, 4]."""
    return save(
        path, [node('Constant', [], ['axes'], value_ints=[1]),
               node('Mul', ['x', 'two'], ['y']),
               node('ReduceSum', ['y', 'axes'], ['total'], keepdims=0)],
        {'x': ('FLOAT', [batch, 3, 4, 4])},
        {'y': ('FLOAT', [batch, 3, 4, 4]), 'total': ('FLOAT', [batch, 4, 4])},
        weights={'two': np.full((1, 3, 1, 1), 2, np.float32)}, is_external=is_external,
        metadata=metadata)


def gather_model(path):
    """Write y = x[index], which fails in the runtime for an index past 3."""
    return save(path, [node('Gather', ['x', 'index'], ['y'])],
                {'x': ('FLOAT', [4]), 'index': ('INT64', [1])}, {'y': ('FLOAT', [1])})
