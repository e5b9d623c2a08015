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

"""Accuracy on real pictures: the numbers that the models have in other people's hands."""

from coco import AnySizeDetector
from coco import COCO_NAMES
from coco import DEIM
from coco import Detector
from coco import mean_average_precision
from coco import need
from coco import PEDESTRIAN
from coco import PERSON
from coco import YOLOX
import pytest

#: The usual settings for measuring: almost every box, suppressed late.
MEASURE = {'score_threshold': 0.001, 'nms_threshold': 0.65, 'max_detections': 300}


@pytest.mark.parametrize('recipe, decoder, expected', [
    (YOLOX, 'yolox', (0.2556, 0.4869)), (DEIM, 'detr', (0.2047, 0.3443))],
    ids=['yolox_nano', 'deimv2_atto'])
def test_all_classes(recipe, decoder, expected):
    need(COCO_NAMES)
    detector = Detector(recipe, **MEASURE)
    assert detector.decoder.name == decoder
    found = mean_average_precision(detector, detector.labels.names)
    assert found == pytest.approx(expected, abs=0.005)


def test_person_with_suppression_in_the_graph():
    assert Detector(PEDESTRIAN, **MEASURE).decoder.name == 'tf_detection'
    found = mean_average_precision(AnySizeDetector(PEDESTRIAN, **MEASURE), ['person'])
    assert found == pytest.approx((0.1899, 0.4019), abs=0.005)


def test_shipped_person_detector():
    detector = Detector(PERSON, **MEASURE)
    assert detector.labels.names == ('person',)
    _, found = mean_average_precision(detector, detector.labels.names)
    assert found == pytest.approx(0.4019, abs=0.01)
