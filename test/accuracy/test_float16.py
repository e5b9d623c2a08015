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

from c7_inference_ros.engines.onnx_conversion import convert_to_half
from c7_inference_ros.vision.images import decode_compressed
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
USE = {'score_threshold': 0.3, 'nms_threshold': 0.6, 'max_detections': 100}


def distance(single, half):
    """Return how many detections half has not, and how far the others' boxes moved, pixels."""
    missing, moved = 0, []
    for path in sorted((PICTURES / 'images').iterdir()):
        image = decode_compressed(path.read_bytes())
        expected, found = single(image), half(image)
        for box, class_id in zip(expected.boxes, expected.class_ids):
            near = [float(np.abs(box - other).max())
                    for other, kind in zip(found.boxes, found.class_ids) if kind == class_id]
            if not near or min(near) > 8:
                missing += 1
            else:
                moved.append(min(near))
    return missing, float(np.mean(moved))


@pytest.mark.parametrize('recipe, most_missing', [(YOLOX, 1), (DEIM, 3), (PERSON, 2)],
                         ids=['yolox_nano', 'deimv2_atto', 'person'])
def test_float16_sees_the_same(tmp_path, recipe, most_missing):
    need(recipe.path, PICTURES)
    pytest.importorskip('onnx')
    half = replace(recipe, path=convert_to_half(recipe.path, tmp_path / 'half.onnx').path)
    single_map, half_map = (
        mean_average_precision(detector, detector.labels.names)[1]
        for detector in (Detector(one, **MEASURE) for one in (recipe, half)))
    assert half_map == pytest.approx(single_map, abs=0.01)
    missing, moved = distance(Detector(recipe, **USE), Detector(half, **USE))
    assert missing <= most_missing and moved < 0.5
