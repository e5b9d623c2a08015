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

"""Greedy association, held against what pycocotools decides for the same boxes."""

from c7_inference_ros.tools.evaluation.association import associate
from c7_inference_ros.tools.evaluation.association import Counts
from c7_inference_ros.tools.evaluation.association import IGNORED
from c7_inference_ros.tools.evaluation.association import overlaps
from c7_inference_ros.tools.evaluation.association import WRONG
from c7_inference_ros.tools.evaluation.coco_metrics import indexed
from c7_inference_ros.tools.evaluation.ground_truth import FrameTruth
import numpy as np
import pytest


def truth_of(boxes, classes=None, crowd=None):
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    size = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return FrameTruth('truth', boxes, np.array(classes or [0] * len(boxes), np.int64),
                      np.array(crowd or [False] * len(boxes), np.bool_), size)


def find(boxes, scores, truth, classes=None, **options):
    return associate(np.array(boxes, np.float64).reshape(-1, 4), np.array(scores, np.float32),
                     np.array(classes or [0] * len(scores), np.int64), truth, **options).tolist()


def test_the_highest_score_chooses_first_and_takes_what_it_overlaps_most():
    truth = truth_of([(0, 0, 10, 10), (2, 0, 12, 10)])
    boxes = [(1, 0, 11, 10), (2, 0, 12, 10), (2, 0, 12, 10)]
    # The second is best and takes the second object; the third, next, takes what is left.
    assert find(boxes, [0.5, 0.9, 0.8], truth) == [WRONG, 1, 0]


def test_one_to_one_and_only_from_the_threshold_on():
    truth = truth_of([(0, 0, 10, 10)])
    assert find([(0, 0, 10, 5)], [0.9], truth) == [0]
    assert find([(0, 0, 10, 4.99)], [0.9], truth) == [WRONG]
    assert find([(0, 0, 10, 4.99)], [0.9], truth, least_overlap=0.4) == [0]
    assert find([(0, 0, 10, 10)] * 2, [0.8, 0.9], truth) == [WRONG, 0]
    assert find([], [], truth) == [] and find([(0, 0, 1, 1)], [0.9], truth_of([])) == [WRONG]


def test_classes_are_kept_apart_unless_told_otherwise():
    truth = truth_of([(0, 0, 10, 10)], classes=[1])
    assert find([(0, 0, 10, 10)], [0.9], truth) == [WRONG]
    assert find([(0, 0, 10, 10)], [0.9], truth, class_agnostic=True) == [0]


def test_a_crowd_takes_any_number_and_makes_nothing_right():
    truth = truth_of([(0, 0, 100, 100), (0, 0, 10, 10)], crowd=[True, False])
    boxes = [(0, 0, 10, 10), (20, 20, 30, 30), (40, 40, 50, 50), (95, 95, 110, 110)]
    assert find(boxes, [0.6, 0.7, 0.8, 0.9], truth) == [1, IGNORED, IGNORED, WRONG]


@pytest.mark.parametrize('seed', range(12))
def test_as_pycocotools_decides(seed):
    """TP, FP and ignored of each detection, for several classes and crowds."""
    cocoeval = pytest.importorskip('pycocotools.cocoeval')
    random = np.random.default_rng(seed)

    def some(count):
        corner = random.uniform(0, 60, (count, 2))
        return np.concatenate((corner, corner + random.uniform(15, 40, (count, 2))), axis=1)

    objects, kinds = some(25), random.integers(0, 3, 25)
    crowd = random.random(25) < 0.2
    # Near the objects, so that several compete for one.
    found = np.repeat(objects, 2, axis=0) + random.normal(0, 2, (50, 4))
    found = np.concatenate((found, some(10)))
    classes = np.concatenate((np.repeat(kinds, 2), random.integers(0, 3, 10)))
    scores = random.permutation(60).astype(np.float32) / 61 + np.float32(0.01)

    truth = FrameTruth('one', objects, kinds, crowd, np.full(25, 100.0))
    ours = associate(found, scores, classes, truth)
    coco = indexed({
        'images': [{'id': 1}], 'categories': [{'id': kind} for kind in range(3)],
        'annotations': [
            {'id': index + 1, 'image_id': 1, 'category_id': int(kinds[index]), 'area': 100.0,
             'bbox': [*box[:2], *(box[2:] - box[:2])], 'iscrowd': int(crowd[index])}
            for index, box in enumerate(objects)]})
    rows = np.column_stack((np.ones(60), found[:, :2], found[:, 2:] - found[:, :2], scores,
                            classes))
    result = cocoeval.COCOeval(coco, coco.loadRes(rows), 'bbox')
    result.evaluate()
    theirs = np.full(60, 99)
    for image in result.evalImgs[:3 * 4]:
        if image is None or image['aRng'] != result.params.areaRng[0]:
            continue
        for number, match, ignored in zip(image['dtIds'], image['dtMatches'][0],
                                          image['dtIgnore'][0]):
            theirs[number - 1] = IGNORED if ignored else int(match) - 1 if match else WRONG
    assert 99 not in theirs and set(theirs) >= {WRONG, IGNORED}
    assert ours.tolist() == theirs.tolist()


def test_raising_a_threshold_only_takes_the_worst_away():
    random = np.random.default_rng(5)
    corner = random.uniform(0, 50, (40, 2))
    boxes = np.concatenate((corner, corner + 20), axis=1)
    truth = truth_of(boxes[::3])
    scores = random.random(40).astype(np.float32)
    every = associate(boxes, scores, np.zeros(40, np.int64), truth)
    for threshold in (0.2, 0.5, 0.8):
        left = scores >= threshold
        again = associate(boxes[left], scores[left], np.zeros(left.sum(), np.int64), truth)
        assert again.tolist() == every[left].tolist()


def test_overlap_with_a_crowd_is_over_the_detection():
    value = overlaps(np.array([[0.0, 0, 10, 10]]), np.array([[5.0, 0, 100, 100]] * 2),
                     np.array([False, True]))
    assert value[0].tolist() == pytest.approx([50 / (100 + 9500 - 50), 0.5])
    empty = overlaps(np.array([[3.0, 3, 3, 3]]), np.array([[3.0, 3, 3, 3]]), np.array([False]))
    assert empty.tolist() == [[0.0]]


def test_figures_that_do_not_exist_are_none():
    assert Counts(0, 0, 0).as_dict() == {'precision': None, 'recall': None, 'f1': None,
                                         'tp': 0, 'fp': 0, 'fn': 0}
    assert Counts(0, 2, 0).precision == 0.0 and Counts(0, 2, 0).recall is None
    both = Counts(1, 1, 0) + Counts(2, 0, 3)
    assert (both.tp, both.fp, both.fn, both.objects) == (3, 1, 3, 6)
    assert both.f1 == pytest.approx(2 * 0.75 * 0.5 / 1.25)
