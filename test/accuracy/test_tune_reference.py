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

"""Tuning the reference models on real pictures, checked by another way through the same model."""

import json

from c7_inference_ros.tools.console import GOOD
from c7_inference_ros.tools.evaluation.coco_truth import read_coco
from c7_inference_ros.tools.evaluation.evaluation import evaluate
from c7_inference_ros.tools.evaluation.frames import EvaluatedFrame
from c7_inference_ros.tools.node_parameters import load_parameter_file
from c7_inference_ros.tools.tune import main
from c7_inference_ros.vision.images import decode_compressed
from coco import COCO_NAMES
from coco import DEIM
from coco import Detector
from coco import need
from coco import PICTURES
from coco import YOLOX
import numpy as np
import pytest

PARAMETERS = """# Two detectors.
/**:
  ros__parameters:
    model_names: [nano, atto]  # in this order
    models:
      nano:
        path: {yolox}
        labels: {labels}
        preprocess: {{resize: letterbox, anchor: top_left, color_order: bgr, scale: 1.0}}
        # Found by hand.
        score_threshold: 0.4
      atto: {{path: {deim}, labels: {labels}, preprocess: {{resize: stretch}}}}
"""


def counts(recipe, model, truth):
    """Return tp, fp, fn of a model with the settings of a file, through another pipeline."""
    detector = Detector(recipe, **{name: getattr(model, name) for name in (
        'score_threshold', 'class_score_thresholds', 'nms_threshold')})
    frames = []
    for index, one in enumerate(truth.frames):
        image = decode_compressed((PICTURES / 'images' / one.name).read_bytes())
        found = detector(image)
        frames.append(EvaluatedFrame(
            '', index, 0, image.width, image.height, found.boxes.astype(np.float64),
            found.scores, [detector.labels.names[kind] for kind in found.class_ids],
            file_name=one.name))
    return evaluate(frames, truth, detector.labels.names)


@pytest.mark.parametrize('name, recipe, options', [
    ('nano', YOLOX, ['--average', 'micro']),
    ('nano', YOLOX, ['--scope', 'class', '--min-objects', '5']),
    ('nano', YOLOX, ['--min-precision', '0.9']), ('atto', DEIM, [])],
    ids=['all_boxes', 'by_class', 'precision', 'without_nms'])
def test_what_is_written_does_what_was_said(tmp_path, capsys, name, recipe, options):
    pytest.importorskip('pycocotools')
    need(PICTURES, COCO_NAMES, YOLOX.path, DEIM.path)
    text = PARAMETERS.format(yolox=YOLOX.path, deim=DEIM.path, labels=COCO_NAMES)
    (tmp_path / 'p.yaml').write_text(text)
    assert main([str(PICTURES / 'images'), '--params-file', str(tmp_path / 'p.yaml'),
                 '--ground-truth', str(PICTURES / 'instances.json'), '--holdout', '0',
                 '--output', str(tmp_path / 'tuned.yaml'), '--model-name', name, '--json',
                 *options]) == GOOD
    said = json.loads(capsys.readouterr().out)
    truth = read_coco(PICTURES / 'instances.json')
    for moment, file in (('before', 'p.yaml'), ('after', 'tuned.yaml')):
        model = load_parameter_file(tmp_path / file).models[name]
        found = counts(recipe, model, truth)
        assert said['tuning'][moment]['all'] == found.total.as_dict()
        assert said['tuning'][moment]['per_class'] == {
            label: one.as_dict() for label, one in found.counts.items()}
    before, after = (said['tuning'][moment] for moment in ('before', 'after'))
    if '--min-precision' in options:
        assert after['all']['precision'] >= 0.9 > before['all']['precision']
    elif 'micro' in options:
        assert after['all']['f1'] > before['all']['f1'] + 0.02
    else:
        assert after['macro_f1'] > before['macro_f1'] + 0.02
    # Only values changed or were added: every line of before is there, comments and all.
    new = (tmp_path / 'tuned.yaml').read_text()
    kept = [line for line in text.splitlines() if 'threshold' not in line and (
        name == 'nano' or 'atto: ' not in line)]
    rest = iter(new.splitlines())
    assert all(any(line == other for other in rest) for line in kept)
    other = 'atto' if name == 'nano' else 'nano'
    assert load_parameter_file(tmp_path / 'tuned.yaml').models[other] == load_parameter_file(
        tmp_path / 'p.yaml').models[other]
    assert (load_parameter_file(tmp_path / 'tuned.yaml').models[name].nms_threshold == 0.45
            or name == 'nano')
