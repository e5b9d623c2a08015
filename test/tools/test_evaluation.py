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

"""Detections against ground truth: matched to the right frames, counted, reported, refused."""

import json
from types import SimpleNamespace

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.evaluation.coco_truth import read_coco
from c7_inference_ros.tools.evaluation.evaluation import evaluate
from c7_inference_ros.tools.evaluation.evaluation import Evaluator
from c7_inference_ros.vision.detections import Detections
import numpy as np
import pytest

pytest.importorskip('pycocotools', reason='pycocotools is not installed; run: make env')
NAMES = ('car', 'cat')
CAR, CAT = (10, 10, 50, 40), (60, 10, 90, 60)


def coco(tmp_path, images, categories=NAMES, replaced=()):
    """Write a COCO file; ``images`` has (entries of the image, boxes with class and crowd)."""
    content = {'images': [], 'annotations': [],
               'categories': [{'id': 7 + index, 'name': name}
                              for index, name in enumerate(categories)]}
    for number, (entries, boxes) in enumerate(images):
        content['images'].append({'id': 100 + number, 'width': 100, 'height': 80, **entries})
        for (x1, y1, x2, y2), kind, *crowd in boxes:
            content['annotations'].append({
                'id': len(content['annotations']) + 1, 'image_id': 100 + number,
                'category_id': 7 + kind, 'bbox': [x1, y1, x2 - x1, y2 - y1],
                'area': (x2 - x1) * (y2 - y1), 'iscrowd': int(bool(crowd))})
    path = tmp_path / 'labels.json'
    path.write_text(json.dumps({**content, **dict(replaced)}))
    return path


def frame(index, boxes=(), stamp=None, camera='front', size=(100, 80), dropped='', frame_id=''):
    """Return what replay yields for a frame: boxes with class and score."""
    found = None if dropped else Detections(
        np.array([box[0] for box in boxes], np.float32).reshape(-1, 4),
        np.array([box[2] for box in boxes], np.float32),
        np.array([box[1] for box in boxes], np.int32))
    return SimpleNamespace(
        camera=camera, model='m', index=index, stamp_ns=index * 40_000_000 if stamp is None
        else stamp, log_ns=0, frame_id=frame_id, width=size[0], height=size[1],
        dropped=dropped, detections=found, problem='')


@pytest.fixture()
def truth(tmp_path):
    """Return two labelled frames, 0 with a car and a cat, 2 with nothing."""
    return read_coco(coco(tmp_path, [({'file_name': 'a_0000.png'}, [(CAR, 0), (CAT, 1)]),
                                     ({'file_name': 'a_0002.png'}, [])]))


def test_all_right_and_an_unlabelled_frame_is_not_an_empty_one(truth):
    right = [(CAR, 0, 0.9), (CAT, 1, 0.8)]
    # Frame 1 is unlabelled: its detections are neither right nor wrong.
    done = evaluate([frame(0, right), frame(1, right), frame(2)], truth, NAMES).as_dict()
    assert (done['mAP50_95'], done['mAP50']) == pytest.approx((1.0, 1.0))
    assert (done['tp'], done['fp'], done['fn'], done['f1']) == (2, 0, 0, 1.0)
    assert done['frames'] == {'total': 3, 'evaluated': 2, 'unlabelled': 1, 'dropped': 0}
    assert done['worst_frames'] == [] and done['problems'] == []
    # Frame 2 is labelled and empty: whatever is detected there is wrong.
    done = evaluate([frame(0, right), frame(2, [(CAR, 0, 0.95)])], truth, NAMES).as_dict()
    assert done['per_class']['car'] == pytest.approx({
        'ap': 0.5, 'ap50': 0.5, 'precision': 0.5, 'recall': 1.0, 'f1': 2 / 3, 'tp': 1, 'fp': 1,
        'fn': 0})
    assert done['worst_frames'] == [{'camera': 'front', 'index': 2, 'stamp_ns': 80_000_000,
                                     'name': 'frame 2 of front (stamp 80000000)', 'f1': 0.0,
                                     'fp': 1, 'fn': 0}]
    json.dumps(done, allow_nan=False)


def test_the_worst_frames_come_first(truth):
    wrong = [((0, 60, 20, 80), 0, 0.5), ((30, 60, 50, 80), 0, 0.5)]
    done = evaluate([frame(0, [(CAR, 0, 0.9), *wrong]), frame(2, wrong)], truth, NAMES)
    assert [one.index for one in done.worst_frames] == [2, 0]
    # Equally bad by F1: the one with more mistakes.
    done = evaluate([frame(0, wrong[:1]), frame(2, wrong[:1])], truth, NAMES)
    assert [(one.index, one.counts.fp, one.counts.fn) for one in done.worst_frames] == [
        (0, 1, 2), (2, 1, 0)]
    done = evaluate([frame(0), frame(2, wrong * 2)], truth, NAMES)
    assert [one.index for one in done.worst_frames] == [2, 0]


def test_confusion_with_classes_and_background(truth):
    # The car is called a cat, the cat is missed, and a cat is seen where nothing is.
    done = evaluate([frame(0, [(CAR, 1, 0.9), ((0, 60, 20, 80), 1, 0.3)]), frame(2)], truth, NAMES)
    found = done.as_dict()
    assert found['confusion'] == {'labels': ['car', 'cat', 'background'],
                                  'matrix': [[0, 1, 0], [0, 0, 1], [0, 1, 0]]}
    assert (found['tp'], found['fp'], found['fn'], found['precision']) == (0, 2, 2, 0.0)
    assert found['lowest_score'] == pytest.approx(0.3)
    assert done.total.objects == 2 and found['mAP50'] == 0.0 and found['pr_curves'] == {}


def test_curves_end_where_the_detections_end(truth):
    done = evaluate([frame(0, [(CAR, 0, 0.9), ((0, 0, 5, 5), 0, 0.95)]), frame(2)], truth, NAMES)
    curves = done.as_dict()['pr_curves']
    assert list(curves) == ['car']
    assert set(curves['car']['precision']) == {0.5} and curves['car']['recall'][-1] == 1.0
    # Recall 0 is there before the first right one.
    assert curves['car']['score'] == [0.95, *[0.9] * 100]


def test_a_crowd_counts_for_nothing(tmp_path):
    truth = read_coco(coco(tmp_path, [({'file_name': '0.png'}, [
        (CAR, 0), ((50, 0, 100, 80), 0, 'crowd')])]))
    done = evaluate([frame(0, [(CAR, 0, 0.5), (CAT, 0, 0.9), ((60, 60, 70, 70), 0, 0.8)])],
                    truth, NAMES).as_dict()
    assert (done['tp'], done['fp'], done['fn']) == (1, 0, 0)
    assert done['mAP50'] == pytest.approx(1.0)
    assert done['confusion']['matrix'] == [[1, 0], [0, 0]]


def test_dropped_frames_are_counted_and_not_blamed(truth):
    done = evaluate([frame(0, dropped='stale'), frame(2)], truth, NAMES).as_dict()
    assert done['frames'] == {'total': 2, 'evaluated': 1, 'unlabelled': 0, 'dropped': 1}
    assert done['fn'] == 0 and done['mAP50'] is None and done['f1'] is None
    assert done['problems'] == ['1 labelled frames were dropped; they count neither as right nor '
                                'as missed']


def test_lines_of_a_file_give_the_same(truth):
    frames = [frame(0, [(CAR, 0, 0.9), (CAR, 1, 0.25)]), frame(1), frame(2, [(CAT, 1, 0.5)])]
    lines = [json.dumps({
        'camera': one.camera, 'model': 'm', 'index': one.index, 'stamp_ns': one.stamp_ns,
        'log_ns': 0, 'frame_id': '', 'width': 100, 'height': 80, 'dropped': '',
        'detections': [{
            'class_id': int(kind), 'label': NAMES[kind], 'score': round(float(score), 6),
            'box': box.tolist()} for box, score, kind in zip(
                one.detections.boxes, one.detections.scores, one.detections.class_ids)]})
        for one in frames]
    assert (evaluate(lines, truth, NAMES).as_dict() == evaluate(frames, truth, NAMES).as_dict()
            == evaluate(map(json.loads, lines), truth, NAMES).as_dict())
    for line, why in (('{', 'no JSON'), ('{"camera": "front"}', 'cannot be used')):
        with pytest.raises(ConfigurationError, match=why):
            evaluate([line], truth, NAMES)


@pytest.mark.parametrize('entries, stamps', [
    ([{'file_name': 'x', 'stamp_ns': 1700000000040000001},
      {'file_name': 'y', 'stamp_ns': '1700000000080000001'}], True),
    ([{'file_name': 'cam/1700000000.040000001.png'}, {'file_name': '1700000000_080000001.jpg'}],
     True),
    ([{'file_name': 'f1700000000040000001.png'}, {'file_name': '1700000000080000001.png'}], True),
    ([{'file_name': 'run2/frame_000001.png'}, {'file_name': 'run2/frame_2.png'}], False)])
def test_how_frames_are_matched(tmp_path, entries, stamps):
    truth = read_coco(coco(tmp_path, [(entries[0], [(CAR, 0)]), (entries[1], [(CAT, 1)])]))
    assert truth.rule == ('by exact stamp' if stamps else 'by index')
    first = 1700000000000000001
    frames = [frame(index, [(CAR, 0, 0.9)] if index == 1 else [(CAT, 1, 0.9)],
                    stamp=first + index * 40_000_000) for index in range(4)]
    if stamps:  # then the index does not matter
        for one in frames:
            one.index += 5
    done = evaluate(frames, truth, NAMES)
    assert done.total.tp == 2 and done.total.fp == 0
    assert done.frames['evaluated'] == 2 and done.frames['unlabelled'] == 2
    if stamps:
        for one in frames:
            one.stamp_ns += 1
        with pytest.raises(ConfigurationError, match='other pictures'):
            evaluate(frames, truth, NAMES)


def test_cameras_are_told_apart(tmp_path):
    two = [({'file_name': f'{camera}_1.png', 'camera': camera}, [(CAR, kind)])
           for kind, camera in enumerate(('front', 'rear'))]
    truth = read_coco(coco(tmp_path, two))
    frames = [frame(1, [(CAR, 0, 0.9)]), frame(1, [(CAR, 1, 0.9)], camera='rear')]
    assert evaluate(frames, truth, NAMES).total.as_dict()['f1'] == 1.0
    truth = read_coco(coco(tmp_path, [({'file_name': '1.png'}, [(CAR, 0)])]))
    with pytest.raises(ConfigurationError, match='both front and rear have such a frame; give '
                                                 'each image its "camera"'):
        evaluate(frames, truth, NAMES)


def test_ground_truth_of_other_pictures(truth, tmp_path):
    with pytest.raises(ConfigurationError, match=(
            r'labels.json is ground truth of other pictures: none of its 2 \(a_0000.png, '
            r'a_0002.png; matched by index\) is one of the 2 of the bag night '
            r'\(frame 5 of front \(stamp 200000000\) to frame 6')):
        evaluate([frame(5), frame(6)], truth, NAMES, 'the bag night')
    with pytest.raises(ConfigurationError, match='a_0000.png there is 100x80, but frame 0 of '
                                                 r'front \(stamp 0\) is 640x360 pixels'):
        evaluate([frame(0, size=(640, 360))], truth, NAMES)
    with pytest.raises(ConfigurationError, match='other pictures'):
        evaluate([], truth, NAMES)
    # A part of them is another thing, and is said.
    done = evaluate([frame(0)], truth, NAMES)
    assert done.problems == [f'1 of 2 labelled pictures of {tmp_path}/labels.json are none of '
                             f'the frames, for example a_0002.png']


def test_classes_go_by_name(tmp_path):
    truth = read_coco(coco(tmp_path, [({'file_name': '0.png'}, [(CAR, 0), (CAT, 1)])],
                           categories=('motor car', 'cat')))
    done = evaluate([frame(0, [(CAT, 0, 0.9), (CAR, 1, 0.8)])], truth, ('cat', 'motorcar'))
    assert done.problems[:-1] == [
        f"{tmp_path}/labels.json has 1 boxes of 'motor car', which is no class of the model and "
        f"is not counted against it; did you mean 'motorcar'?"]
    assert done.total.as_dict() == {'precision': 1.0, 'recall': 1.0, 'f1': 1.0, 'tp': 1, 'fp': 0,
                                    'fn': 0}
    done = evaluate([frame(0, [(CAT, 0, 0.9), (CAR, 2, 0.8)])], truth, ('cat', 'x', 'dog'))
    assert done.problems[-1].startswith('1 detections are of classes that')
    assert '(dog); they are neither right nor wrong' in done.problems[-1]
    assert (done.total.tp, done.total.fp) == (1, 0)
    with pytest.raises(ConfigurationError, match='has no class of the model: it has motor car, '
                                                 'cat, the model bus'):
        Evaluator(truth, ('bus',))


def test_models_are_not_mixed(truth):
    other = frame(1)
    other.model = 'n'
    with pytest.raises(ConfigurationError, match='models m and n are mixed'):
        evaluate([frame(0), other], truth, NAMES)


@pytest.mark.parametrize('more, why', [
    ({'images': []}, 'no images'), ({'images': [{'id': 1}]}, "KeyError: 'file_name'"),
    ({'annotations': [{'id': 4, 'image_id': 1, 'category_id': 7, 'bbox': [0, 0, 1, 1]}]},
     'annotation 4 belongs to image 1'),
    ({'annotations': [{'id': 4, 'image_id': 100, 'category_id': 7, 'bbox': [0, 0, -1, 1]}]},
     'annotation 4 has bbox'),
    ({'annotations': [{'id': 4, 'image_id': 100, 'category_id': 7, 'bbox': [0, 0, 1]}]},
     'ValueError'),
    ({'annotations': [{'id': 4, 'image_id': 100, 'category_id': 7,
                       'bbox': [0, float('nan'), 1, 1]}]}, 'annotation 4 has bbox'),
    ({'images': [{'id': 1, 'file_name': 'a'}, {'id': 1, 'file_name': 'b'}]}, 'image 1 more'),
    ({'images': [{'id': 1, 'file_name': 'a'}, {'id': 2, 'file_name': 'a'}]}, 'file_name'),
    ({'images': [{'id': 100, 'file_name': 'a1.png'}, {'id': 2, 'file_name': 'b1.png'}]},
     'are the same frame 1: a1.png and b1.png'),
    ({'categories': [{'id': 7, 'name': 'car'}, {'id': 8, 'name': 'car'}]}, "'car' more than"),
    ({'categories': 5}, 'TypeError')])
def test_files_that_are_no_ground_truth(tmp_path, more, why):
    with pytest.raises(ConfigurationError, match=why):
        read_coco(coco(tmp_path, [({'file_name': '0.png'}, [(CAR, 0)])], replaced=more))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigurationError, match='cannot be read'):
        read_coco(tmp_path / 'none.json')
    (tmp_path / 'x.json').write_text('[' * 100_000)
    with pytest.raises(ConfigurationError, match='no JSON'):
        read_coco(tmp_path / 'x.json')
    (tmp_path / 'x.json').write_text('[]')
    with pytest.raises(ConfigurationError, match='no ground truth in COCO format'):
        read_coco(tmp_path / 'x.json')


@pytest.mark.parametrize('entries, why', [
    ([{'file_name': 'street.png'}, {'file_name': '1.png'}], 'see street.png'),
    ([{'file_name': '1.png'}, {'file_name': '1700000000040000000.png'}], 'not all indices or'),
    ([{'file_name': '1.png', 'stamp_ns': 5}, {'file_name': '2.png'}], '2.png has none')])
def test_no_rule_for_frames_of_a_bag(tmp_path, entries, why):
    truth = read_coco(coco(tmp_path, [(one, []) for one in entries]))
    with pytest.raises(ConfigurationError, match=why):
        evaluate([frame(1)], truth, NAMES)
