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

"""What conversion to float16 costs on real pictures, against the same model in float32."""

from dataclasses import replace

from c7_inference_ros.engines.building.onnx_conversion import convert_to_half
from coco import DEIM
from coco import Detector
from coco import mean_average_precision
from coco import need
from coco import PERSON
from coco import PICTURES
from coco import YOLOX
import numpy as np
import pytest

MEASURE = {'score_threshold': 0.001, 'nms_threshold': 0.65, 'max_detections': 300}


def measure(recipe):
    """Return mAP50, and boxes, scores and classes on each picture."""
    detector = Detector(recipe, **MEASURE)
    seen = []

    def detect(image):
        found = detector(image)
        seen.append([np.array(part) for part in (found.boxes, found.scores, found.class_ids)])
        return found

    return mean_average_precision(detect, detector.labels.names)[1], seen


def distance(single, half):
    """Return how many sure detections half has not, and how far the others' boxes moved."""
    missing, moved = 0, []
    for (boxes, scores, kinds), (others, other_scores, other_kinds) in zip(single, half):
        for box, score, kind in zip(boxes, scores, kinds):
            if score < 0.3:
                continue
            near = np.abs(others[(other_kinds == kind) & (other_scores > 0.25)] - box).max(
                1, initial=0).min(initial=np.inf)
            if near > 8:
                missing += 1
            else:
                moved.append(near)
    assert len(moved) > 20
    return missing, float(np.mean(moved))


@pytest.mark.parametrize('recipe, most_missing', [(YOLOX, 1), (DEIM, 3), (PERSON, 2)],
                         ids=['yolox_nano', 'deimv2_atto', 'person'])
def test_float16_sees_the_same(tmp_path, recipe, most_missing):
    need(recipe.path, PICTURES)
    pytest.importorskip('onnx')
    half = replace(recipe, path=convert_to_half(recipe.path, tmp_path / 'half.onnx').path)
    (single_map, single), (half_map, found) = measure(recipe), measure(half)
    assert half_map == pytest.approx(single_map, abs=0.01)
    missing, moved = distance(single, found)
    assert missing <= most_missing and moved < 0.5
