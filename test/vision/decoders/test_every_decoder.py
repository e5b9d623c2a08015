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

"""What holds for every decoder, whatever the layout of its tensors."""

from dataclasses import replace

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import InferenceError
from encoders import CLASSES
from encoders import encode
from encoders import GEOMETRIES
from encoders import NAMES
from encoders import plain_geometry
from encoders import settings_of
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest

EVERY = pytest.mark.parametrize('name', NAMES)
#: Families whose class ids are floats or come from a list may name any class.
LISTED = ('yolov10', 'detr', 'efficient_nms', 'tf_detection')
APART = [(10, 10, 60, 50), (100, 20, 180, 120), (200, 150, 300, 240)]


def decode(case, geometry=None, **options):
    return case.select().decode(case.outputs, geometry or plain_geometry(),
                                settings_of(**options))


@EVERY
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_boxes_come_back_to_the_source_image(name, data):
    source = (data.draw(st.integers(40, 4000)), data.draw(st.integers(40, 3000)))
    # Up to 30 times: a longer picture would have boxes of less than a network pixel.
    ratio = source[0] / source[1]
    source = source if 1 / 30 < ratio < 30 else (source[0], source[0])
    geometry = GEOMETRIES[data.draw(st.sampled_from(sorted(GEOMETRIES)))](source)
    boxes, class_ids = [], []
    for column in range(data.draw(st.integers(1, 3))):
        left = source[0] * (column + data.draw(st.floats(0.05, 0.3))) / 3
        top = source[1] * data.draw(st.floats(0.0, 0.5))
        boxes.append((left, top, left + source[0] * data.draw(st.floats(0.05, 0.2)),
                      top + source[1] * data.draw(st.floats(0.1, 0.5))))
        class_ids.append(data.draw(st.integers(0, CLASSES - 1)))
    scores = [0.9 - 0.1 * i for i in range(len(boxes))]
    case = encode(name, geometry.boxes_to_network(np.array(boxes)), scores, class_ids, geometry)
    found = decode(case, geometry)
    assert found.class_ids.tolist() == class_ids
    np.testing.assert_allclose(found.boxes, boxes, atol=1.0)
    np.testing.assert_allclose(found.scores, scores, atol=1e-5)


@EVERY
def test_nothing_above_the_threshold_is_an_empty_answer(name):
    for case in (encode(name, [], [], []), encode(name, APART, [0.3, 0.2, 0.39], [0, 1, 2])):
        found = decode(case)
        assert len(found) == 0
        assert found.boxes.shape == (0, 4)


@EVERY
def test_detections_are_sorted_best_first(name):
    found = decode(encode(name, APART, [0.5, 0.9, 0.7], [0, 1, 2]))
    np.testing.assert_allclose(found.scores, [0.9, 0.7, 0.5], atol=1e-5)
    assert found.class_ids.tolist() == [1, 2, 0]
    np.testing.assert_allclose(found.boxes[0], APART[1], atol=0.01)


@EVERY
def test_the_best_are_kept_where_there_are_too_many(name):
    found = decode(encode(name, APART, [0.5, 0.9, 0.7], [0, 1, 2]), max_detections=2)
    assert found.class_ids.tolist() == [1, 2]


@EVERY
def test_class_filter(name):
    found = decode(encode(name, APART, [0.5, 0.9, 0.7], [0, 1, 2]), wanted=[0, 2])
    assert found.class_ids.tolist() == [2, 0]
    assert len(decode(encode(name, APART, [0.5, 0.9, 0.7], [0, 1, 2]), wanted=[])) == 0


@EVERY
def test_thresholds_of_single_classes(name):
    case = encode(name, APART, [0.45, 0.9, 0.25], [0, 1, 2])
    found = decode(case, thresholds={1: 0.95, 2: 0.2})
    assert found.class_ids.tolist() == [0, 2]


# The others compute the score, as a product or a sigmoid: it is not exact.
@pytest.mark.parametrize('name', [name for name in NAMES
                                  if name not in ('yolox', 'yolov5', 'detr_raw')])
def test_a_score_equal_to_the_threshold_is_kept(name):
    assert len(decode(encode(name, APART[:1], [0.75], [1]), threshold=0.75)) == 1


@EVERY
@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('where', range(4))
def test_boxes_that_are_not_finite_are_dropped(name, bad, where):
    boxes = np.array(APART, float)
    boxes[1, where] = bad
    case = encode(name, APART, [0.5, 0.9, 0.7], [0, 1, 2])
    broken = _with_bad_boxes(case, name, encode(name, APART[1:2], [0.9], [1]), bad, where)
    found = decode(broken)
    assert found.class_ids.tolist() == [2, 0]
    assert np.isfinite(found.boxes).all()


def _with_bad_boxes(case, name, only, bad, where):
    """Spoil one coordinate of the box with score 0.9, found by its value in the tensor."""
    for tensor, array in case.outputs.items():
        if name.startswith(('detr', 'ssd', 'efficient', 'tf_')) and 'boxes' not in tensor:
            continue
        rows = array.reshape(-1, array.shape[-1]) if name != 'yolov8' else array[0].T
        values = only.outputs[tensor]
        values = values.reshape(-1, array.shape[-1]) if name != 'yolov8' else values[0].T
        wanted = next(row for row in values if np.any(row[:4] != values[-1][:4]))
        match = [i for i, row in enumerate(rows) if np.array_equal(row[:4], wanted[:4])]
        assert len(match) == 1
        rows[match[0], where] = bad
    return case


@pytest.mark.parametrize('name, bad', [
    (name, bad) for name in NAMES for bad in (np.nan, np.inf, -np.inf)])
def test_scores_that_are_not_finite_are_dropped(name, bad):
    case = encode(name, APART, [0.5, bad, 0.7], [0, 1, 2])
    assert decode(case).class_ids.tolist() == [2, 0]


@EVERY
@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings('error')
def test_outputs_full_of_broken_numbers_give_nothing_and_no_warning(name, bad):
    case = encode(name, APART, [0.5, 0.9, 0.7], [0, 1, 2])
    for tensor, array in case.outputs.items():
        if np.issubdtype(array.dtype, np.floating) and 'num' not in tensor:
            array[:] = bad
    assert len(decode(case)) == 0


@EVERY
@pytest.mark.filterwarnings('error')
def test_only_the_scores_are_whole(name):
    """Arithmetic with infinite boxes is nothing to warn about on every frame."""
    case = encode(name, APART, [0.5, 0.9, 0.7], [0, 1, 2])
    for tensor, array in case.outputs.items():
        if 'boxes' in tensor:
            array[:] = np.inf
        elif array.ndim == 3 and not name.startswith(('ssd', 'detr')):
            (array[:, :4] if name == 'yolov8' else array[..., :4])[:] = np.inf
    assert len(decode(case)) == 0


@EVERY
def test_overlap_is_that_of_whole_boxes(name):
    """Cut at the image border, these two would be nearly the same."""
    case = encode(name, [(-100, 20, 50, 120), (-2, 20, 50, 120)], [0.9, 0.8], [1, 1])
    assert len(decode(case, agnostic=True)) == 2


@EVERY
def test_a_rounding_above_one_is_a_score_of_one(name):
    found = decode(encode(name, APART[:1], [1.004 if name != 'detr_raw' else 1 - 1e-9], [1]))
    assert found.scores.tolist() == [1.0]


@EVERY
def test_half_floats(name):
    case = encode(name, APART, [0.5, 0.9, 0.7], [0, 1, 2], dtype=np.float16)
    found = decode(case)
    assert found.class_ids.tolist() == [1, 2, 0]
    assert found.boxes.dtype == found.scores.dtype == np.float32
    np.testing.assert_allclose(found.boxes, [APART[1], APART[2], APART[0]], atol=0.3)
    np.testing.assert_allclose(found.scores, [0.9, 0.7, 0.5], atol=1e-3)


@EVERY
def test_boxes_without_area_are_dropped(name):
    boxes = [(10, 10, 60, 50), (100, 20, 100, 120), (200, 150, 300, 150)]
    assert decode(encode(name, boxes, [0.5, 0.9, 0.7], [0, 1, 2])).class_ids.tolist() == [0]


@EVERY
def test_boxes_are_cut_at_the_image_and_dropped_outside(name):
    # A wide picture in the middle: 56 rows of padding above and below.
    geometry = GEOMETRIES['center']((640, 288))
    boxes = [(-20, 40, 60, 100), (100, 2, 180, 50), (250, 150, 330, 250)]
    found = decode(encode(name, boxes, [0.7, 0.9, 0.5], [0, 1, 2], geometry), geometry)
    assert found.class_ids.tolist() == [0, 2]
    np.testing.assert_allclose(found.boxes, [(0, 0, 120, 88), (500, 188, 640, 288)], atol=0.1)


@EVERY
def test_a_box_that_is_dropped_takes_no_place(name):
    geometry = GEOMETRIES['center']((640, 288))
    boxes = [(100, 2, 180, 50), (20, 100, 60, 140)]
    found = decode(encode(name, boxes, [0.9, 0.6], [1, 2], geometry), geometry,
                   max_detections=1)
    assert found.class_ids.tolist() == [2]


@EVERY
def test_suppression_where_the_model_does_not_do_it(name):
    boxes = [(10, 10, 110, 110), (14, 12, 112, 114), (12, 8, 108, 112)]
    case = encode(name, boxes, [0.6, 0.9, 0.8], [1, 1, 2])
    decoder = case.select()
    found = decode(case)
    if decoder.needs_nms:
        assert found.class_ids.tolist() == [1, 2]
        assert decode(case, agnostic=True).class_ids.tolist() == [1]
        assert decode(case, nms_threshold=0.99).class_ids.tolist() == [1, 2, 1]
    else:
        assert decode(case, agnostic=True).class_ids.tolist() == [1, 2, 1]


@EVERY
def test_outputs_are_not_changed_and_nothing_is_remembered(name):
    case = encode(name, APART, [0.5, 0.9, 0.7], [0, 1, 2])
    before = {tensor: array.copy() for tensor, array in case.outputs.items()}
    decoder = case.select()
    answers = [decoder.decode(case.outputs, plain_geometry(), settings_of()) for _ in range(2)]
    for tensor, array in case.outputs.items():
        np.testing.assert_array_equal(array, before[tensor])
    np.testing.assert_array_equal(answers[0].boxes, answers[1].boxes)
    for array in case.outputs.values():
        array[:] = 0
    assert answers[0].scores.max() > 0.8


@EVERY
def test_a_wrong_shape_at_run_time_is_refused(name):
    case = encode(name, APART, [0.5, 0.9, 0.7], [0, 1, 2])
    decoder = case.select()
    for tensor, array in case.outputs.items():
        broken = {**case.outputs, tensor: array[..., None]}
        with pytest.raises(InferenceError) as caught:
            decoder.decode(broken, plain_geometry(), settings_of())
        message = str(caught.value)
        assert tensor in message and 'expected [1' in message and '\n' not in message
        assert f'[{",".join(map(str, broken[tensor].shape))}]' in message
        assert message.startswith('models.front.decoder')


@EVERY
def test_a_batch_is_refused_when_configured(name):
    case = encode(name, APART, [0.5, 0.9, 0.7], [0, 1, 2])
    case.outputs = {tensor: np.concatenate((array, array))
                    for tensor, array in case.outputs.items()}
    with pytest.raises(ConfigurationError, match=r'\[2'):
        case.select()


@EVERY
def test_number_of_classes(name):
    decoder = encode(name, [], [], []).select()
    assert decoder.num_classes == (None if name in LISTED else CLASSES)
    assert decoder.needs_nms == name.startswith(('yolox', 'yolov5', 'yolov8', 'ssd'))


@pytest.mark.parametrize('name, class_id', [
    (name, class_id) for name in LISTED for class_id in (-1, -7, CLASSES, 1e9, np.nan, np.inf)
    if np.isfinite(class_id) or name not in ('detr', 'efficient_nms')])
def test_classes_that_do_not_exist_are_dropped(name, class_id):
    case = encode(name, APART, [0.5, 0.9, 0.7], [0, class_id, 2])
    if name == 'detr' and class_id == 1e9:
        case.outputs['labels'][0, 1] = 2 ** 62
    assert decode(case).class_ids.tolist() == [2, 0]


@pytest.mark.parametrize('name', LISTED)
def test_classes_without_a_name_have_a_threshold_of_their_own(name):
    """Where nobody knows how many classes a model has, any number may be one."""
    wanted = replace(settings_of(0.6, classes=2), unnamed_threshold=0.4)
    case = encode(name, APART, [0.5, 0.45, 0.7], [1, CLASSES, 2])
    found = case.select().decode(case.outputs, plain_geometry(), wanted)
    assert found.class_ids.tolist() == [2, CLASSES]
    for array in (case.outputs[tensor] for tensor in case.outputs if 'class' in tensor):
        array[0, 1] = 2 ** 31 - 1
        found = case.select().decode(case.outputs, plain_geometry(), wanted)
        assert found.class_ids.tolist() == [2]


@pytest.mark.parametrize('name', [name for name in NAMES if name != 'detr_raw'])
def test_scores_above_one_mean_another_head(name):
    with pytest.raises(InferenceError, match='score of .* found, expected 0 to 1'):
        decode(encode(name, APART, [0.5, 97.0, 0.7], [0, 1, 2]))
