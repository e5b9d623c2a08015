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

"""Float16 models: the same detections, the same bytes every time, and nothing lost on the way."""

import hashlib

from builder_models import PERSON
from builder_models import save
from builder_models import shared_model
from c7_inference_ros.engines.building import onnx_graph
from c7_inference_ros.engines.building.onnx_conversion import convert_to_half
from c7_inference_ros.errors import EngineBuildError
import numpy as np
import pytest

onnx = pytest.importorskip('onnx', reason='onnx is not installed; run: make env')
onnxruntime = pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')


def run(path, feed):
    """Run a model on the CPU; return its outputs by name."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options,
                                           providers=['CPUExecutionProvider'])
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, feed)))


def types_of(path):
    """Return the operator type and the types of the outputs of each node, by node name."""
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)), strict_mode=True)
    types = {one.name: onnx.TensorProto.DataType.Name(one.type.tensor_type.elem_type)
             for one in (*model.graph.value_info, *model.graph.output)}
    return {node.name: (node.op_type, *(types[name] for name in node.output))
            for node in model.graph.node}


@pytest.mark.parametrize('name, shapes, scale, bound', [
    ('yolox_nano.onnx', {'images': (1, 3, 416, 416)}, 255, 0.025),
    ('person_ssdlite.onnx', {'images': (1, 3, 300, 300)}, 1, 0.025),
    # Its best 300 boxes come in another order.
    ('deimv2_hgnetv2_atto_coco.onnx', {'images': (2, 3, 320, 320), 'orig_target_sizes': (2, 2)},
     1, None)], ids=['yolox', 'person', 'deimv2'])
def test_models_keep_their_answers_and_their_bytes(tmp_path, name, shapes, scale, bound):
    path = PERSON if name == PERSON.name else shared_model(name)
    half = convert_to_half(path, tmp_path / 'half.onnx', shapes=shapes)
    again = convert_to_half(path, tmp_path / 'again.onnx', shapes=shapes)
    first, second = (one.path.read_bytes() for one in (half, again))
    assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()
    assert half.half_nodes > len(half.kept) > 0 and half.warnings == ()
    assert len(first) < 0.6 * path.stat().st_size or name == PERSON.name  # float16 already
    onnx.checker.check_model(onnx.load(str(half.path)), full_check=True)
    numbers = np.random.default_rng(1)
    feed = {key: numbers.random(shape, np.float32) * np.float32(scale) if key == 'images'
            else np.full(shape, 640, np.int64) for key, shape in shapes.items()}
    before, after = run(path, feed), run(half.path, feed)
    for key, value in before.items():
        assert after[key].dtype == value.dtype and after[key].shape == value.shape
        if bound is not None:
            error = np.abs(after[key] - value).max() / max(1.0, np.abs(value).max())
            assert error < bound, key
    if bound is None:
        assert np.abs(before['scores'] - after['scores']).max() < 0.05


def test_the_end_of_a_network_stays_in_float32(tmp_path):
    """There boxes become pixels, of which float16 counts whole ones past 1024 only."""
    path = save(
        tmp_path / 'boxes.onnx',
        [('Conv', ['x', 'w'], ['c']), ('Sigmoid', ['c'], ['s']), ('Mul', ['s', 'size'], ['m']),
         ('Add', ['m', 'corner'], ['boxes'])],
        {'x': ('FLOAT', [1, 1, 8, 8])}, {'boxes': ('FLOAT', [1, 1, 8, 8])},
        {'w': np.full((1, 1, 1, 1), 0.5, np.float32), 'size': np.float32(1.0),
         'corner': np.float32(3000.25)})
    half = convert_to_half(path, tmp_path / 'half.onnx')
    assert half.kept == ('make_boxes', 'make_m', 'make_s') and half.half_nodes == 1
    feed = {'x': np.random.default_rng(1).random((1, 1, 8, 8), np.float32)}
    assert np.abs(run(path, feed)['boxes'] - run(half.path, feed)['boxes']).max() < 0.001
    # No value between two nodes of float32 goes through float16.
    kinds = types_of(half.path)
    assert [kinds[f'make_{name}'][1] for name in ('c', 's', 'm', 'boxes')] == [
        'FLOAT16', 'FLOAT', 'FLOAT', 'FLOAT']
    assert [kind for kind, *_ in kinds.values()].count('Cast') == 2


def test_squares_do_not_overflow(tmp_path):
    """As in layer normalisation: 300 squared is more than float16 holds."""
    path = save(
        tmp_path / 'norm.onnx',
        [('MatMul', ['x', 'w'], ['h']), ('ReduceMean', ['h'], ['mean'], {'axes': [1]}),
         ('Sub', ['h', 'mean'], ['d']), ('Pow', ['d', 'two'], ['p']),
         ('ReduceMean', ['p'], ['v'], {'axes': [1]}), ('Add', ['v', 'eps'], ['e']),
         ('Sqrt', ['e'], ['r']), ('Div', ['d', 'r'], ['n']), ('MatMul', ['n', 'w'], ['y'])],
        {'x': ('FLOAT', [1, 8])}, {'y': ('FLOAT', [1, 8])},
        {'w': np.eye(8, dtype=np.float32), 'two': np.float32(2), 'eps': np.float32(1e-12)})
    half = convert_to_half(path, tmp_path / 'half.onnx')
    assert {'make_p', 'make_v', 'make_e', 'make_r'} <= set(half.kept)
    assert not {'make_h', 'make_d', 'make_n', 'make_y'} & set(half.kept)
    feed = {'x': np.linspace(-900, 900, 8, dtype=np.float32)[None]}
    before, after = run(path, feed)['y'], run(half.path, feed)['y']
    assert np.isfinite(after).all() and np.abs(before - after).max() < 0.01


def test_constants_that_float16_cannot_hold_are_told(tmp_path):
    path = save(
        tmp_path / 'large.onnx',
        [('Add', ['x', 'huge'], ['a']), ('Mul', ['a', 'tiny'], ['b']),
         ('MatMul', ['b', 'w'], ['y'])],
        {'x': ('FLOAT', [4, 4])}, {'y': ('FLOAT', [4, 4])},
        {'huge': np.float32(1e6), 'tiny': np.float32(1e-6), 'w': np.eye(4, dtype=np.float32)})
    half = convert_to_half(path, tmp_path / 'half.onnx')
    assert half.kept == ('make_a', 'make_b')
    assert half.warnings == ('huge reaches 1e+06, more than float16 holds (65504): make_a stay '
                             'in float32',)
    feed = {'x': np.ones((4, 4), np.float32)}
    assert np.allclose(run(path, feed)['y'], run(half.path, feed)['y'], rtol=1e-3)


def test_what_is_named_stays(tmp_path):
    plain = convert_to_half(PERSON, tmp_path / 'plain.onnx')
    model = onnx.load(str(PERSON))
    named = next(node.name for node in model.graph.node if node.op_type == 'Conv')
    kept = convert_to_half(PERSON, tmp_path / 'kept.onnx', [named[:-3] + '*', 'Clip'])
    assert named in kept.kept and named not in plain.kept
    clips = [node.name for node in model.graph.node if node.op_type == 'Clip']
    assert set(clips) <= set(kept.kept)
    kinds = types_of(kept.path)
    assert {kinds[name][1] for name in (named, *clips)} == {'FLOAT'}


def test_a_pattern_that_fits_nothing_is_refused_with_what_is_near(tmp_path):
    with pytest.raises(EngineBuildError, match="'boxes/mn', which fits no node name and no operat"
                                               '.*near are boxes/min'):
        convert_to_half(PERSON, tmp_path / 'half.onnx', ['boxes/mn'])
    assert not (tmp_path / 'half.onnx').exists()


def test_constants_are_not_shared_with_what_stays(tmp_path):
    """Else those of float32 nodes would be rounded, too."""
    path = save(
        tmp_path / 'shared.onnx',
        [('Mul', ['x', 'k'], ['a']), ('MatMul', ['a', 'w'], ['b']), ('Mul', ['b', 'k'], ['y'])],
        {'x': ('FLOAT', [4, 4])}, {'y': ('FLOAT', [4, 4])},
        {'k': np.float32(1.0004), 'w': np.eye(4, dtype=np.float32)})
    half = convert_to_half(path, tmp_path / 'half.onnx')
    assert half.kept == ('make_y',)
    weights = {one.name: onnx.numpy_helper.to_array(one)
               for one in onnx.load(str(half.path)).graph.initializer}
    assert weights['k'].dtype == np.float16 and weights['k__float32'] == np.float32(1.0004)


def test_weights_may_lie_beside_the_model(tmp_path):
    model = onnx.load(str(PERSON))
    beside = tmp_path / 'person.onnx'
    onnx.save_model(model, str(beside), save_as_external_data=True, location='person.data',
                    size_threshold=0)
    whole = convert_to_half(PERSON, tmp_path / 'whole.onnx')
    half = convert_to_half(beside, tmp_path / 'half.onnx')
    assert half.kept == whole.kept
    (tmp_path / 'person.data').unlink()
    with pytest.raises(EngineBuildError, match='person.data, which does not exist'):
        convert_to_half(beside, tmp_path / 'again.onnx')
    # Nothing of it is needed any more.
    assert run(half.path, {'images': np.zeros((1, 3, 300, 300), np.float32)})


def test_a_round_trip_that_the_model_wants_stays(tmp_path):
    """Casts of the author are arithmetic, those of the converter are not."""
    path = save(
        tmp_path / 'casts.onnx',
        [('MatMul', ['x', 'w'], ['a']), ('Cast', ['a'], ['i'], {'to': onnx.TensorProto.INT32}),
         ('Cast', ['i'], ['f'], {'to': onnx.TensorProto.FLOAT}), ('Mul', ['f', 'k'], ['y'])],
        {'x': ('FLOAT', [1, 4])}, {'y': ('FLOAT', [1, 4])},
        {'w': np.eye(4, dtype=np.float32), 'k': np.float32(0.1)})
    half = convert_to_half(path, tmp_path / 'half.onnx')
    feed = {'x': np.array([[1.6, -2.7, 3.2, 4.9]], np.float32)}
    assert np.array_equal(run(path, feed)['y'], run(half.path, feed)['y'])


def test_nodes_without_names_and_constants_of_nodes(tmp_path):
    helper, kinds = onnx.helper, onnx.TensorProto
    constant = helper.make_tensor('value', kinds.FLOAT, [4, 4], np.eye(4).ravel())
    graph = helper.make_graph(
        [helper.make_node('Constant', [], ['w'], value=constant),
         helper.make_node('MatMul', ['x', 'w'], ['a']),
         helper.make_node('TopK', ['a', 'k'], ['y', 'i'], axis=1)], 'g',
        [helper.make_tensor_value_info('x', kinds.FLOAT, [1, 4])],
        [helper.make_tensor_value_info('y', kinds.FLOAT, [1, 2]),
         helper.make_tensor_value_info('i', kinds.INT64, [1, 2])],
        [onnx.numpy_helper.from_array(np.array([2]), 'k')])
    path = tmp_path / 'unnamed.onnx'
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid('', 17)]),
              str(path))
    half = convert_to_half(path, tmp_path / 'half.onnx')
    assert half.kept == ('TopK_2',)
    found = run(half.path, {'x': np.array([[1, 4, 3, 2]], np.float32)})
    assert found['y'].tolist() == [[4, 3]] and found['i'].tolist() == [[1, 2]]


@pytest.mark.parametrize('domain', ['', 'TRT'])
def test_plugins_of_tensorrt_stay_and_are_told(tmp_path, domain):
    path = save(
        tmp_path / 'nms.onnx',
        [('MatMul', ['x', 'w'], ['boxes']), ('MatMul', ['x', 'v'], ['scores']),
         ('EfficientNMS_TRT', ['boxes', 'scores'], ['n', 'b', 's', 'c'], {'domain': domain})],
        {'x': ('FLOAT', [1, 10, 4])},
        {'n': ('INT32', [1, 1]), 'b': ('FLOAT', [1, 5, 4]), 's': ('FLOAT', [1, 5]),
         'c': ('INT32', [1, 5])},
        {'w': np.eye(4, dtype=np.float32), 'v': np.ones((4, 2), np.float32)})
    half = convert_to_half(path, tmp_path / 'half.onnx')
    assert half.kept == ('make_n',)
    assert half.warnings == ('ONNX does not know EfficientNMS_TRT: these stay in float32, and the '
                             'converted model was not tried out',)
    nodes = {node.name: node for node in onnx.load(str(half.path)).graph.node}
    plugin = nodes['make_n']
    assert plugin.domain == domain and list(plugin.output) == ['n', 'b', 's', 'c']
    makers = {name: node for node in nodes.values() for name in node.output}
    for name in plugin.input:
        cast = makers[name]
        assert cast.op_type == 'Cast' and cast.attribute[0].i == onnx.TensorProto.FLOAT
        assert makers[cast.input[0]].op_type == 'MatMul'


def test_junk_is_refused_before_it_is_parsed(tmp_path):
    junk = tmp_path / 'junk.onnx'
    junk.write_bytes(b'junk')
    with pytest.raises(EngineBuildError, match='expected an ONNX model'):
        convert_to_half(junk, tmp_path / 'half.onnx')


def test_what_cannot_be_converted_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_graph, 'clean_up', lambda onnx, model: None)
    with pytest.raises(EngineBuildError, match='cannot be converted to float16: .*topologically'):
        convert_to_half(PERSON, tmp_path / 'half.onnx')
    assert not (tmp_path / 'half.onnx').exists()
