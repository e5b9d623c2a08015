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

from c7_inference_ros.errors import InferenceError
from c7_inference_ros.vision.decoders import candidates
from c7_inference_ros.vision.decoders.anchors import make_grid
from c7_inference_ros.vision.decoders.anchors import strides_by_count
from encoders import Case
from encoders import encode
from encoders import plain_geometry
from encoders import settings_of
import numpy as np
import pytest


def decode(case, name='', geometry=None, network=(320, 256), **options):
    return case.select(name, network).decode(case.outputs, geometry or plain_geometry(network),
                                             settings_of(**options))


def test_cells_of_the_usual_inputs():
    assert strides_by_count((416, 416)) == {3549: (8, 16, 32)}
    assert strides_by_count((640, 640)) == {8400: (8, 16, 32), 8500: (8, 16, 32, 64)}
    assert strides_by_count((650, 640)) == {}


def test_cells_run_along_rows_from_the_finest_level():
    cells, strides = make_grid((64, 32), (8, 16, 32))
    assert strides.ravel().tolist() == [8.0] * 32 + [16.0] * 8 + [32.0] * 2
    assert cells[:9].tolist() == [[x, 0] for x in range(8)] + [[0, 1]]
    assert cells[-2:].tolist() == [[0, 0], [1, 0]]


@pytest.mark.parametrize('anchor, stride, cell', [(0, 8, (0, 0)), (43, 8, (3, 1)),
                                                  (1280 + 21, 16, (1, 1)),
                                                  (1280 + 320 + 79, 32, (9, 7))])
def test_yolox_takes_cell_and_stride_of_the_anchor(anchor, stride, cell):
    head = np.zeros((1, 1680, 10), np.float32)
    head[0, anchor, :5] = (0.5, 0.25, np.log(2.0), np.log(0.5), 0.8)
    head[0, anchor, 6:8] = (0.75, 0.25)
    found = decode(Case('yolox', {'output': head}))
    x, y = (cell[0] + 0.5) * stride, (cell[1] + 0.25) * stride
    expected = (x - stride, y - stride / 4, x + stride, y + stride / 4)
    np.testing.assert_allclose(found.boxes, [np.clip(expected, 0, (320, 256, 320, 256))],
                               atol=1e-3)
    np.testing.assert_allclose(found.scores, [0.6], atol=1e-6)
    assert found.class_ids.tolist() == [1]


def test_yolox_with_a_fourth_level():
    network = (640, 640)
    head = np.zeros((1, 8500, 10), np.float32)
    head[0, 8400 + 11, :6] = (0.5, 0.5, 0.0, 0.0, 0.9, 0.9)
    found = decode(Case('yolox', {'output': head}), network=network)
    np.testing.assert_allclose(found.boxes, [(64, 64, 128, 128)], atol=1e-3)


def test_yolox_of_another_input_size_is_refused_at_run_time():
    case = Case('yolox', {'output': np.zeros((1, 1680, 10), np.float32)})
    decoder = case.select()
    with pytest.raises(InferenceError, match='1600 anchors found, expected 1680 or 1700'):
        decoder.decode({'output': np.zeros((1, 1600, 10), np.float32)}, plain_geometry(),
                       settings_of())


def test_yolox_does_not_take_pixels_for_offsets():
    """Heads with decoded boxes have the shape of the raw one; exp() of pixels fills the image."""
    rng = np.random.default_rng(1)
    cells, strides = make_grid((320, 256), (8, 16, 32))
    decoded = np.concatenate(((cells + 0.5) * strides, rng.uniform(2, 40, (1680, 2)),
                              rng.uniform(0, 1, (1680, 6))), axis=1).astype(np.float32)
    case = Case('yolox', {'output': decoded[None]})
    with pytest.raises(InferenceError, match='holds pixels.*set models.front.decoder to yolov5'):
        decode(case)
    assert len(decode(case, 'yolov5')) > 0
    raw = np.concatenate((rng.normal(0.5, 2, (1680, 2)), rng.normal(1, 1, (1680, 2)),
                          rng.uniform(0, 1, (1680, 6))), axis=1).astype(np.float32)
    assert len(decode(Case('yolox', {'output': raw[None]}))) > 0


@pytest.mark.parametrize('name', ['yolox', 'yolov5', 'yolov8', 'yolov8_transposed'])
def test_every_class_of_an_anchor_is_a_candidate(name):
    case = encode(name, [(10, 10, 60, 50)], [0.9], [1])
    head = next(iter(case.outputs.values()))
    rows = head[0].T if name == 'yolov8' else head[0]
    rows[rows[:, -4] > 0.5, -2] = 0.6
    assert decode(case).class_ids.tolist() == [1, 3]
    assert decode(case, agnostic=True).class_ids.tolist() == [1]
    # A class is found where another, that nobody wants, scores higher.
    assert decode(case, wanted=[3]).class_ids.tolist() == [3]
    assert decode(case, thresholds={1: 0.95}).class_ids.tolist() == [3]


def test_yolov5_needs_objectness_and_class():
    head = np.zeros((1, 5040, 10), np.float32)
    head[0, :2, :4] = (50, 50, 20, 20)
    head[0, 0, 4:6] = (0.3, 1.0)
    head[0, 1, 4:6] = (1.0, 0.3)
    head[0, 2] = (200, 50, 20, 20, 0.7, 0.7, 0, 0, 0, 0)
    found = decode(Case('yolov5', {'output0': head}))
    np.testing.assert_allclose(found.boxes, [(190, 40, 210, 60)])
    np.testing.assert_allclose(found.scores, [0.49], atol=1e-6)


def test_yolov5_of_old_exports_with_its_feature_maps():
    case = encode('yolov5', [(10, 10, 60, 50)], [0.9], [1])
    case.outputs['350'] = np.zeros((1, 3, 32, 40, 10), np.float32)
    case.outputs['416'] = np.zeros((1, 3, 16, 20, 10), np.float32)
    assert decode(case).class_ids.tolist() == [1]
    assert case.select('auto').name == 'yolov5'


def test_yolov8_knows_its_layout_by_the_anchors():
    """Fewer anchors than values: the longer side is not always the anchors."""
    network = (64, 64)
    head = np.zeros((1, 4 + 200, 84), np.float32)
    head[0, :4, 3] = (32, 16, 20, 10)
    head[0, 4 + 150, 3] = 0.9
    for array in (head, head.transpose(0, 2, 1)):
        case = Case('yolov8', {'output0': array})
        assert case.select(network=network).num_classes == 200
        found = decode(case, network=network, classes=200)
        np.testing.assert_allclose(found.boxes, [(22, 11, 42, 21)])
        assert found.class_ids.tolist() == [150]


def test_yolov8_with_levels_of_its_own():
    """A head with stride 4 has another number of anchors; the boxes are decoded, any will do."""
    head = np.zeros((1, 9, 6800), np.float32)
    head[0, :5, 6000] = (50, 50, 20, 20, 0.9)
    assert len(decode(Case('yolov8', {'output0': head}))) == 1


def test_yolov10_rows_need_no_order():
    head = np.zeros((1, 300, 6), np.float32)
    head[0, 250] = (10, 10, 50, 60, 0.5, 3)
    head[0, 299] = (10, 10, 50, 60, 0.9, 1)
    found = decode(Case('yolov10', {'output0': head}))
    assert found.class_ids.tolist() == [1, 3]


def test_a_model_that_sees_something_everywhere_is_bounded(monkeypatch):
    """The worst candidates are left out before suppression, never the best."""
    monkeypatch.setattr(candidates, 'MAX_CANDIDATES', 4)
    boxes = [(40 * i, 10, 40 * i + 30, 50) for i in range(7)]
    found = decode(encode('yolov8', boxes, [0.5, 0.9, 0.6, 0.8, 0.55, 0.7, 0.45], [0] * 7))
    np.testing.assert_allclose(found.scores, [0.9, 0.8, 0.7, 0.6], atol=1e-6)
    head = np.full((1, 9, 1680), 0.5, np.float32)
    assert len(decode(Case('yolov8', {'output0': head}), threshold=0.0)) <= 4
