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

from c7_inference_ros.vision.nms import nms
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest


def slow_nms(boxes, scores, class_ids, threshold, class_agnostic, max_detections):
    """Compare every pair in plain Python."""
    def area(box):
        return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)

    def overlaps(one, two):
        inner = area((max(one[0], two[0]), max(one[1], two[1]),
                      min(one[2], two[2]), min(one[3], two[3])))
        if min(one[2], two[2]) < max(one[0], two[0]) or min(one[3], two[3]) < max(one[1], two[1]):
            inner = 0.0
        return inner > threshold * (area(one) + area(two) - inner)

    kept = []
    for index in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        rivals = [k for k in kept if class_agnostic or class_ids[k] == class_ids[index]]
        if not any(overlaps(boxes[k].tolist(), boxes[index].tolist()) for k in rivals):
            kept.append(index)
    return kept[:max_detections]


def arrays(boxes, scores, class_ids):
    return (np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32),
            np.array(class_ids, np.int32))


@st.composite
def crowds(draw):
    """Draw boxes on a small grid, so that overlaps, ties and empty boxes are common."""
    count = draw(st.integers(0, 40))
    corner, size = st.integers(0, 12), st.integers(0, 8)
    boxes = []
    for _ in range(count):
        left, top = draw(corner), draw(corner)
        boxes.append((left, top, left + draw(size), top + draw(size)))
    scores = draw(st.lists(st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9]),
                           min_size=count, max_size=count))
    class_ids = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    return arrays(boxes, scores, class_ids)


@given(crowds(), st.sampled_from([0.0, 0.25, 0.45, 0.5, 0.65, 1.0]), st.booleans(),
       st.integers(1, 45))
@settings(max_examples=300, deadline=None)
def test_agrees_with_a_slow_implementation(crowd, threshold, class_agnostic, limit):
    kept = nms(*crowd, threshold, class_agnostic, limit)
    assert kept.tolist() == slow_nms(*crowd, threshold, class_agnostic, limit)


@given(crowds(), st.sampled_from([0.3, 0.5]), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_classes_do_not_touch_each_other(crowd, threshold, random):
    boxes, scores, class_ids = crowd
    together = set(nms(boxes, scores, class_ids, threshold).tolist())
    for class_id in set(class_ids.tolist()):
        own = np.flatnonzero(class_ids == class_id)
        alone = nms(boxes[own], scores[own], class_ids[own], threshold)
        assert set(own[alone].tolist()) == {k for k in together if class_ids[k] == class_id}


def test_same_box_of_two_classes_is_kept_unless_agnostic():
    crowd = arrays([(0, 0, 10, 10), (0, 0, 10, 10)], [0.8, 0.9], [1, 2])
    assert nms(*crowd, 0.5).tolist() == [1, 0]
    assert nms(*crowd, 0.5, class_agnostic=True).tolist() == [1]


@pytest.mark.parametrize('threshold, expected', [(0.5, [0, 1]), (0.4999, [0])])
def test_overlap_must_be_above_the_threshold(threshold, expected):
    # Areas 10 and 5, one inside the other: the overlap is 0.5 exactly.
    crowd = arrays([(0, 0, 10, 1), (0, 0, 5, 1)], [0.9, 0.8], [0, 0])
    assert nms(*crowd, threshold).tolist() == expected


def test_equal_scores_keep_their_order():
    crowd = arrays([(i, 0, i + 10, 10) for i in range(20)], [0.5] * 20, [0] * 20)
    assert nms(*crowd, 1.0).tolist() == list(range(20))
    assert nms(*crowd, 0.5).tolist() == [0, 4, 8, 12, 16]


def test_a_dropped_box_drops_nothing():
    # 0 drops 1; 1 would have dropped 2, which 0 does not reach.
    crowd = arrays([(0, 0, 10, 10), (4, 0, 14, 10), (8, 0, 18, 10)], [0.9, 0.8, 0.7], [0] * 3)
    assert nms(*crowd, 0.4).tolist() == [0, 2]


def test_nothing_in_nothing_out():
    kept = nms(*arrays([], [], []), 0.5, False, 300)
    assert kept.shape == (0,)
    assert kept.dtype == np.int64


def test_huge_boxes_do_not_overflow():
    huge = float(np.finfo(np.float32).max) / 4
    crowd = arrays([(-huge, -huge, huge, huge), (-huge, -huge, huge, huge), (0, 0, 1, 1)],
                   [0.9, 0.8, 0.7], [0] * 3)
    with np.errstate(all='raise'):
        assert nms(*crowd, 0.5).tolist() == [0, 2]


def test_limit_keeps_the_best():
    crowd = arrays([(20 * i, 0, 20 * i + 10, 10) for i in range(10)],
                   [0.1 * i for i in range(10)], [0] * 10)
    assert nms(*crowd, 0.5, max_detections=3).tolist() == [9, 8, 7]
