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

from c7_inference_ros.vision.detections import Detections
import numpy as np
import pytest


def some(count: int = 3) -> Detections:
    return Detections(np.arange(count * 4, dtype=np.float32).reshape(count, 4),
                      np.linspace(0.9, 0.5, count, dtype=np.float32),
                      np.arange(count, dtype=np.int32))


def test_empty_has_the_shapes_of_a_result():
    empty = Detections.empty()
    assert len(empty) == 0
    assert empty.boxes.shape == (0, 4)
    assert [empty.boxes.dtype, empty.scores.dtype, empty.class_ids.dtype] == [
        np.float32, np.float32, np.int32]


@pytest.mark.parametrize('which, expected', [
    (np.array([True, False, True]), [0, 2]),
    (np.array([2, 0]), [2, 0]),
    (slice(0, 1), [0]),
    (np.zeros(3, bool), []),
    (np.zeros(0, np.int64), []),
])
def test_select_keeps_boxes_scores_and_classes_together(which, expected):
    every = some()
    chosen = every.select(which)
    assert chosen.class_ids.tolist() == expected
    assert chosen.boxes.tolist() == every.boxes[expected].tolist()
    assert chosen.scores.tolist() == every.scores[expected].tolist()


@pytest.mark.parametrize('boxes, scores, class_ids, named', [
    (np.zeros((2, 4), np.float32), np.zeros(3, np.float32), np.zeros(3, np.int32), 'boxes'),
    (np.zeros((3, 5), np.float32), np.zeros(3, np.float32), np.zeros(3, np.int32), 'boxes'),
    (np.zeros((3, 4), np.float64), np.zeros(3, np.float32), np.zeros(3, np.int32), 'boxes'),
    (np.zeros((3, 4), np.float32), np.zeros((3, 1), np.float32), np.zeros(3, np.int32), 'scores'),
    (np.zeros((3, 4), np.float32), np.zeros(3, np.float32), np.zeros(2, np.int32), 'class_ids'),
    (np.zeros((3, 4), np.float32), np.zeros(3, np.float32), np.zeros(3, np.int64), 'class_ids'),
])
def test_arrays_that_do_not_agree_are_refused_by_name(boxes, scores, class_ids, named):
    with pytest.raises(ValueError, match=rf'Detections\.{named} is .*, expected '):
        Detections(boxes, scores, class_ids)
