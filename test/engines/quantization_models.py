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

"""Models for the tests of quantisation, and looking into what became of them."""

import numpy as np
import pytest

onnx = pytest.importorskip('onnx', reason='onnx is not installed; run: make env')
ort = pytest.importorskip('onnxruntime', reason='onnxruntime is not installed; run: make env')
helper, kinds = onnx.helper, onnx.TensorProto
#: The layers of mixed_model that can be quantised, by type.
LAYERS = {'conv1': 'Conv', 'conv2': 'Conv', 'fc': 'Gemm', 'mm': 'MatMul'}


def weights(seed=5):
    """Return the weights of mixed_model, by name."""
    generator = np.random.default_rng(seed)

    def normal(*shape):
        return generator.normal(scale=0.3, size=shape).astype(np.float32)

    return {'w1': normal(8, 3, 3, 3), 'b1': normal(8), 'w2': normal(8, 8, 3, 3), 'b2': normal(8),
            'gamma': normal(8) + 1, 'beta': normal(8), 'mean': normal(8),
            'var': np.abs(normal(8)) + 0.5, 'wf': normal(6, 8), 'bf': normal(6),
            'wm': normal(6, 5)}


def mixed_model(path, opset=17, is_external=False, values=None, element='FLOAT'):
    """
    Write Conv, Relu, Conv + BatchNormalization with a residual, pooling, Gemm, MatMul.

    x is [1, 3, 12, 12]; y is [1, 5] and self, a product of two activations, is [1, 8, 8].
    """
    node = helper.make_node
    nodes = [
        node('Conv', ['x', 'w1', 'b1'], ['c1'], 'conv1', pads=[1] * 4),
        node('Relu', ['c1'], ['r1'], 'relu1'),
        node('Conv', ['r1', 'w2', 'b2'], ['c2'], 'conv2', pads=[1] * 4),
        node('BatchNormalization', ['c2', 'gamma', 'beta', 'mean', 'var'], ['n2'], 'norm'),
        node('Add', ['r1', 'n2'], ['sum'], 'residual'),
        node('GlobalAveragePool', ['sum'], ['pooled'], 'pool'),
        node('Flatten', ['pooled'], ['flat'], 'flatten'),
        node('Gemm', ['flat', 'wf', 'bf'], ['f'], 'fc', transB=1),
        node('MatMul', ['f', 'wm'], ['y'], 'mm'),
        node('Flatten', ['sum'], ['rows'], 'rows', axis=2),
        node('Transpose', ['rows'], ['columns'], 'columns'),
        node('MatMul', ['rows', 'columns'], ['self'], 'products')]
    kind = getattr(kinds, element)
    number = np.float32 if element == 'FLOAT' else np.float16
    graph = helper.make_graph(
        nodes, 'mixed', [helper.make_tensor_value_info('x', kind, [1, 3, 12, 12])],
        [helper.make_tensor_value_info('y', kind, [1, 5]),
         helper.make_tensor_value_info('self', kind, [8, 8])],
        [onnx.numpy_helper.from_array(value.astype(number), name)
         for name, value in (values or weights()).items()])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid('', opset)])
    entry = model.metadata_props.add()
    entry.key, entry.value = 'names', '["car"]'
    if is_external:
        onnx.save_model(model, str(path), save_as_external_data=True, size_threshold=0,
                        location=f'{path.stem}.data')
    else:
        onnx.save_model(model, str(path))
    return path


def save(path, nodes, inputs, outputs, initializers=None, opset=17):
    """Write a model of nodes; inputs and outputs are shapes by name, all float32."""
    graph = helper.make_graph(
        nodes, 'g', [helper.make_tensor_value_info(name, kinds.FLOAT, shape)
                     for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kinds.FLOAT, shape)
         for name, shape in outputs.items()],
        [onnx.numpy_helper.from_array(value, name)
         for name, value in (initializers or {}).items()])
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[
        helper.make_opsetid('', opset)]), str(path))
    return path


def images(count=20, seed=1, shape=(1, 3, 12, 12)):
    """Return inputs of mixed_model."""
    generator = np.random.default_rng(seed)
    return [{'x': generator.normal(size=shape).astype(np.float32)} for _ in range(count)]


def run(model, feed):
    """Run a model (path or bytes) in ONNX Runtime as it comes."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model if isinstance(model, bytes) else str(model), options,
                                   providers=['CPUExecutionProvider'])
    return session.run(None, feed)


class Graph:
    """A quantised model, looked into."""

    def __init__(self, data):
        self.model = onnx.load_from_string(data)
        onnx.checker.check_model(self.model, full_check=True)
        self.values = {one.name: onnx.numpy_helper.to_array(one)
                       for one in self.model.graph.initializer}
        self.producers = {output: node for node in self.model.graph.node for output in node.output}
        self.nodes = {node.name: node for node in self.model.graph.node}

    def of(self, kind):
        return [node for node in self.model.graph.node if node.op_type == kind]

    def producer(self, name, index):
        """Return what makes an input of a node; None for an input of the model or a weight."""
        return self.producers.get(self.nodes[name].input[index])
