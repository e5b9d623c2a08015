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

"""The figures of the reference models, through what replay and tune evaluate with."""

from c7_inference_ros.tools.evaluation.coco_truth import read_coco
from c7_inference_ros.tools.evaluation.evaluation import evaluate
from c7_inference_ros.tools.evaluation.frames import EvaluatedFrame
from c7_inference_ros.vision.images import decode_compressed
from coco import DEIM
from coco import Detector
from coco import mean_average_precision
from coco import need
from coco import PICTURES
from coco import YOLOX
import numpy as np
import pytest

MEASURE = {'score_threshold': 0.001, 'nms_threshold': 0.65, 'max_detections': 300}


@pytest.mark.parametrize('recipe, expected, f1', [
    (YOLOX, (0.2556, 0.4869), 0.4), (DEIM, (0.2047, 0.3443), 0.3)],
    ids=['yolox_nano', 'deimv2_atto'])
def test_reference_figures(recipe, expected, f1):
    pytest.importorskip('pycocotools')
    need(PICTURES)
    detector, truth = Detector(recipe, **MEASURE), read_coco(PICTURES / 'instances.json')
    frames, sure = [], []
    for index, one in enumerate(truth.frames):
        image = decode_compressed((PICTURES / 'images' / one.name).read_bytes())
        found = detector(image)
        for kept, into in ((found, frames), (found.select(found.scores >= 0.4), sure)):
            into.append(EvaluatedFrame(
                '', index, 0, image.width, image.height, kept.boxes.astype(np.float64),
                kept.scores, [detector.labels.names[kind] for kind in kept.class_ids],
                file_name=one.name))
    done = evaluate(frames, truth, detector.labels.names).as_dict()
    assert (done['mAP50_95'], done['mAP50']) == pytest.approx(expected, abs=0.005)
    # The same as where calibration is judged: one count, two ways in.
    assert (done['mAP50_95'], done['mAP50']) == pytest.approx(
        mean_average_precision(detector, detector.labels.names), abs=1e-9)
    assert done['frames']['evaluated'] == 17 and done['problems'] == []
    assert done['lowest_score'] < 0.02
    # What a node publishes is judged by precision and recall; its mAP knows nothing below 0.4.
    published = evaluate(sure, truth, detector.labels.names).as_dict()
    assert f1 < published['f1'] < 1.0 and published['mAP50'] < done['mAP50']
    assert published['precision'] > 0.6 and published['tp'] + published['fn'] == 170
