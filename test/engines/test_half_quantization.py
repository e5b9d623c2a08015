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

"""Quantised models whose other layers become float16."""

from c7_inference_ros.engines.building.onnx_conversion import convert_to_half
from c7_inference_ros.engines.calibration.quantizable_model import open_session
from c7_inference_ros.engines.calibration.quantizable_model import read_quantizable
from c7_inference_ros.engines.calibration.quantization import measure_ranges
from c7_inference_ros.engines.calibration.quantization import quantize
import numpy as np
import pytest
import quantization_models as models
from quantization_models import kinds
from quantization_models import onnx
from quantization_models import ort


@pytest.fixture(scope='module')
def quantized(tmp_path_factory):
    """Return the path of a quantised model, opset 13."""
    folder = tmp_path_factory.mktemp('half_qdq')
    model = read_quantizable(models.mixed_model(folder / 'mixed.onnx', opset=13))
    ranges = measure_ranges(model, models.images(), 20)
    path = folder / 'mixed.qdq.onnx'
    path.write_bytes(quantize(model, ranges, ()))
    return path


class Converted:
    """A converted model, looked into."""

    def __init__(self, path):
        self.data = path.read_bytes()
        self.graph = models.Graph(self.data)
        model = onnx.shape_inference.infer_shapes(self.graph.model, strict_mode=True)
        self.types = {one.name: one.type.tensor_type.elem_type for one in (
            *model.graph.input, *model.graph.value_info, *model.graph.output)}

    def made(self, node):
        return self.types[node.output[0]]

    def pairs_of(self, name):
        return [self.graph.producer(name, index) for index in (0, 1)]


def test_what_is_not_int8_is_float16(quantized, tmp_path):
    half = convert_to_half(quantized, tmp_path / 'half.onnx')
    again = convert_to_half(quantized, tmp_path / 'again.onnx')
    assert half.path.read_bytes() == again.path.read_bytes() and half.warnings == ()
    found = Converted(half.path)
    for name in models.LAYERS:
        layer = found.graph.nodes[name]
        assert found.made(layer) == kinds.FLOAT16
        # No cast between: TensorRT makes one layer of the pairs and what they belong to.
        assert [pair.op_type for pair in found.pairs_of(name)] == ['DequantizeLinear'] * 2
        assert [found.made(pair) for pair in found.pairs_of(name)] == [kinds.FLOAT16] * 2
        quantizer = found.graph.producers[found.pairs_of(name)[0].input[0]]
        assert quantizer.op_type == 'QuantizeLinear'
        scales = [found.graph.values[node.input[1]]
                  for node in (quantizer, found.pairs_of(name)[0])]
        assert [one.dtype for one in scales] == [np.float32, np.float16]
        assert scales[0] == scales[1]
    graph = found.graph.model.graph
    assert {one.type.tensor_type.elem_type for one in (*graph.input, *graph.output)} == {
        kinds.FLOAT}
    # That they are in float32 is no decision to be reported.
    assert not {node.name for node in found.graph.of('QuantizeLinear')} & set(half.kept)


def test_it_computes_nearly_the_same(quantized, tmp_path):
    half = convert_to_half(quantized, tmp_path / 'half.onnx')
    before, after = (open_session(path, 'q') for path in (quantized, half.path))
    for feed in models.images(5, seed=3):
        for one, other in zip(before.run(None, feed), after.run(None, feed)):
            assert np.abs(one - other).max() < 0.02 * np.abs(one).max()


def test_a_layer_that_stays_has_its_pairs_in_float32(quantized, tmp_path):
    half = convert_to_half(quantized, tmp_path / 'half.onnx', ['conv2'])
    found = Converted(half.path)
    assert [found.made(one) for one in (*found.pairs_of('conv2'), found.graph.nodes['conv2'])
            ] == [kinds.FLOAT] * 3
    assert [found.made(one) for one in (*found.pairs_of('conv1'), found.graph.nodes['conv1'])
            ] == [kinds.FLOAT16] * 3
    assert 'conv2' in half.kept


def test_a_scale_that_float16_cannot_hold_keeps_its_layer(quantized, tmp_path):
    model = onnx.load(str(quantized))
    scale = next(node.input[1] for node in model.graph.node
                 if node.op_type == 'DequantizeLinear' and 'w2' in node.input[0])
    for one in model.graph.initializer:
        if one.name == scale:
            small = onnx.numpy_helper.to_array(one) * np.float32(1e-5)
            one.CopyFrom(onnx.numpy_helper.from_array(small, scale))
    path = tmp_path / 'small.onnx'
    onnx.save(model, str(path))
    found = Converted(convert_to_half(path, tmp_path / 'half.onnx').path)
    assert [found.made(one) for one in (*found.pairs_of('conv2'), found.graph.nodes['conv2'])
            ] == [kinds.FLOAT] * 3
    assert found.made(found.graph.nodes['conv1']) == kinds.FLOAT16


def test_an_opset_that_cannot_be_raised_is_told(quantized, tmp_path, monkeypatch):
    def fails(model, version):
        raise RuntimeError('no adapter')

    monkeypatch.setattr(onnx.version_converter, 'convert_version', fails)
    half = convert_to_half(quantized, tmp_path / 'half.onnx')
    assert len(half.warnings) == 1 and 'opset 13' in half.warnings[0]
    assert 'no adapter' in half.warnings[0]
    found = Converted(half.path)
    assert found.made(found.graph.nodes['conv1']) == kinds.FLOAT16
    assert {found.made(node) for node in found.graph.of('DequantizeLinear')} == {kinds.FLOAT}


def test_why_quantizers_stay_in_float32():
    """When this fails ONNX Runtime rounds, and the casts may go."""
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node('QuantizeLinear', ['x', 's', 'z'], ['q'])], 'g',
        [helper.make_tensor_value_info('x', kinds.FLOAT16, [4])],
        [helper.make_tensor_value_info('q', kinds.INT8, [4])],
        [onnx.numpy_helper.from_array(np.float16(1), 's'),
         onnx.numpy_helper.from_array(np.int8(0), 'z')])
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid('', 19)])
    session = ort.InferenceSession(model.SerializeToString(), providers=['CPUExecutionProvider'])
    values = np.array([0.9, 1.9, -2.9, 3.2], np.float16)
    assert session.run(None, {'x': values})[0].tolist() != [1, 2, -3, 3]
