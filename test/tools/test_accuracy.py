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

"""Measuring accuracy: ground truth that is read strictly, and COCO's numbers for known answers."""

import json

from c7_inference_ros.config import EVERY
from c7_inference_ros.config import ModelConfig
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.accuracy import LabelledPictures
from c7_inference_ros.tools.accuracy import mean_average_precision
from c7_inference_ros.tools.accuracy import measuring
from c7_inference_ros.vision.detections import Detections
import numpy as np
import pytest

cv2 = pytest.importorskip('cv2', reason='OpenCV is not installed; run: make env')
pytest.importorskip('pycocotools', reason='pycocotools is not installed; run: make env')
NAMES = ('car', 'cat')
#: x1, y1, x2, y2 and class of the boxes of each picture.
BOXES = {5: [(2, 3, 42, 33, 0), (50, 10, 90, 60, 1)], 9: [(10, 10, 60, 70, 0)]}


def described():
    boxes = [(image, box) for image, all_boxes in BOXES.items() for box in all_boxes]
    return {
        'images': [{'id': image, 'file_name': f'{image}.png', 'width': 100, 'height': 80}
                   for image in BOXES],
        'annotations': [
            {'id': index + 1, 'image_id': image, 'category_id': 30 + box[4], 'iscrowd': 0,
             'bbox': [box[0], box[1], box[2] - box[0], box[3] - box[1]],
             'area': (box[2] - box[0]) * (box[3] - box[1])}
            for index, (image, box) in enumerate(boxes)],
        'categories': [{'id': 30 + index, 'name': name} for index, name in enumerate(NAMES)]}


def write(folder, content=None, text=None):
    for image in BOXES:
        cv2.imwrite(str(folder / f'{image}.png'), np.full((80, 100, 3), image, np.uint8))
    path = folder / 'instances.json'
    path.write_text(text if text is not None else json.dumps(content or described()))
    return path


@pytest.fixture()
def pictures(tmp_path):
    return LabelledPictures(tmp_path, write(tmp_path))


def detector(boxes, ids=(0, 1), score=0.9):
    """Return the given boxes of each picture, which shows its id in its pixels."""
    def detect(image):
        found = boxes[int(image.pixels.flat[0])]
        return Detections(
            np.array([box[:4] for box in found], np.float32).reshape(-1, 4),
            np.full(len(found), score, np.float32),
            np.array([ids[box[4]] for box in found], np.int32))
    return detect


def test_all_right(pictures):
    found = mean_average_precision(pictures, detector(BOXES), NAMES)
    assert (found.map50, found.map50_95) == pytest.approx((1.0, 1.0))
    assert len(pictures) == 2 and [image for image, _ in pictures] == [5, 9]


def test_all_wrong(pictures):
    found = mean_average_precision(pictures, detector(BOXES, (1, 0)), NAMES)
    assert (found.map50, found.map50_95) == (0.0, 0.0)
    assert mean_average_precision(pictures, detector({5: [], 9: []}), NAMES).map50 == 0.0


def test_one_of_two_classes(pictures):
    cars = {image: [box for box in boxes if box[4] == 0] for image, boxes in BOXES.items()}
    assert mean_average_precision(pictures, detector(cars), NAMES).map50 == pytest.approx(0.5)
    # A model of cars only is not blamed for cats.
    assert mean_average_precision(pictures, detector(cars), ('car',)).map50 == pytest.approx(1.0)


def test_a_box_that_overlaps_by_half(pictures):
    """An overlap of 0.6 counts for 3 of the 10 thresholds."""
    shifted = {image: [(x1, y1, x1 + (x2 - x1) * 0.6, y2, kind) for x1, y1, x2, y2, kind in boxes]
               for image, boxes in BOXES.items()}
    found = mean_average_precision(pictures, detector(shifted), NAMES)
    assert found.map50 == pytest.approx(1.0)
    assert 0.1 < found.map50_95 < 0.35


def test_classes_go_by_name_and_others_are_left_out(pictures):
    names = ('dog', 'cat', 'car')
    found = mean_average_precision(pictures, detector(BOXES, (2, 1)), names)
    assert found.map50 == pytest.approx(1.0)
    assert pictures.category_ids(names) == {1: 31, 2: 30}
    # Detections of a class without ground truth, or without a name, count for nothing.
    assert mean_average_precision(pictures, detector(BOXES, (0, 7)), names).map50 == 0.0


def test_no_class_in_common(pictures):
    with pytest.raises(ConfigurationError, match='the model has the classes bus, the ground'):
        pictures.category_ids(['bus'])
    with pytest.raises(ConfigurationError, match='none are known'):
        pictures.category_ids([])


def test_the_hash_covers_pictures_and_boxes(tmp_path, pictures):
    assert LabelledPictures(tmp_path, tmp_path / 'instances.json').sha256 == pictures.sha256
    content = described()
    content['annotations'][0]['bbox'][0] += 1
    assert LabelledPictures(tmp_path, write(tmp_path, content)).sha256 != pictures.sha256
    write(tmp_path)
    cv2.imwrite(str(tmp_path / '5.png'), np.zeros((80, 100, 3), np.uint8))
    assert LabelledPictures(tmp_path, tmp_path / 'instances.json').sha256 != pictures.sha256


@pytest.mark.parametrize('text, why', [
    ('', 'no ground truth in COCO format'), ('[]', 'no ground truth'),
    ('{}', "KeyError: 'images'"),
    ('{"images": [], "annotations": [], "categories": []}', '0 images and 0 boxes'),
    ('{"images": [{"id": 1}], "annotations": [], "categories": []}', 'file_name')])
def test_ground_truth_that_is_none(tmp_path, text, why):
    with pytest.raises(ConfigurationError, match=why):
        LabelledPictures(tmp_path, write(tmp_path, text=text))


def test_files_that_are_missing_or_broken(tmp_path, pictures):
    with pytest.raises(ConfigurationError, match='missing.json cannot be read'):
        LabelledPictures(tmp_path, tmp_path / 'missing.json')
    (tmp_path / '9.png').write_bytes(b'hello')
    with pytest.raises(ConfigurationError, match='9.png cannot be used'):
        list(pictures)
    (tmp_path / '9.png').unlink()
    with pytest.raises(ConfigurationError, match='9.png cannot be read'):
        LabelledPictures(tmp_path, tmp_path / 'instances.json')


def test_nothing_is_hidden_from_the_measurement():
    config = measuring(ModelConfig(
        name='m', score_threshold=0.9, class_score_thresholds=('car=0.8',), classes=('car',),
        nms_threshold=0.1, class_agnostic_nms=True, max_detections=3, decoder='ssd'))
    assert (config.score_threshold, config.nms_threshold, config.max_detections) == (
        0.001, 0.65, 300)
    assert config.classes == (EVERY,) and config.class_score_thresholds == ('',)
    assert not config.class_agnostic_nms and (config.name, config.decoder) == ('m', 'ssd')


def test_nothing_is_printed(pictures, capsys):
    mean_average_precision(pictures, detector(BOXES), NAMES)
    assert capsys.readouterr() == ('', '')
