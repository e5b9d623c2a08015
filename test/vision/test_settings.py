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

from c7_inference_ros.config import ModelConfig
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.vision.labels import Labels
from c7_inference_ros.vision.settings import detection_settings
import numpy as np
import pytest

LABELS = Labels(('person', 'bicycle', 'car', 'traffic light', 'a=b'), 'metadata')
UNNAMED = Labels((), 'numbers')


def problems_of(labels=LABELS, **config) -> tuple:
    with pytest.raises(ConfigurationError) as caught:
        detection_settings(ModelConfig(**config), labels, 'models.front')
    assert not any('\n' in problem for problem in caught.value.problems)
    return caught.value.problems


def test_defaults_want_every_class_at_one_threshold():
    config = ModelConfig()
    made = detection_settings(config, LABELS)
    assert made.class_mask.tolist() == [True] * 5 and made.class_mask.dtype == np.bool_
    assert made.score_thresholds.tolist() == [np.float32(config.score_threshold)] * 5
    assert made.score_thresholds.dtype == np.float32
    assert (made.nms_threshold, made.class_agnostic_nms, made.max_detections) == (
        config.nms_threshold, config.class_agnostic_nms, config.max_detections)


def test_class_filter_and_thresholds_by_name():
    made = detection_settings(ModelConfig(
        score_threshold=0.25, classes=('car', 'person', ''),
        class_score_thresholds=('', 'car=0.5', ' traffic light = 1', 'a=b=0')), LABELS)
    assert made.class_mask.tolist() == [True, False, True, False, False]
    assert made.score_thresholds.tolist() == [0.25, 0.25, 0.5, 1.0, 0.0]


def test_star_among_names_is_every_class():
    made = detection_settings(ModelConfig(classes=('car', '*')), LABELS)
    assert made.class_mask.all() and made.unnamed_threshold is not None


@pytest.mark.parametrize('entry, parts', [
    ('car', ['"person=0.5"']), ('=0.5', ['"person=0.5"']), ('car=', ['"person=0.5"']),
    ('car=high', ['"person=0.5"']), ('car=nan', ['"person=0.5"']),
    ('car=1.5', ['from 0 to 1', '1.5']), ('car=-0.1', ['from 0 to 1']),
    ('car=inf', ['from 0 to 1']),
    ('trafic light=0.5', ["did you mean 'traffic light'?"]),
    ('zebra=0.5', ['expected one of person, bicycle']),
])
def test_threshold_that_cannot_be_used(entry, parts):
    (problem,) = problems_of(class_score_thresholds=(entry,))
    assert problem.startswith(f'models.front.class_score_thresholds has {entry!r}')
    assert all(part in problem for part in parts)


def test_class_that_the_model_does_not_have():
    (problem,) = problems_of(classes=('persn',))
    assert problem == ("models.front.classes has 'persn', which is no class of this model; "
                       "did you mean 'person'?")


@pytest.mark.parametrize('classes', [(), ('',)])
def test_no_class_at_all_is_refused(classes):
    (problem,) = problems_of(classes=classes)
    assert 'models.front.classes names no class' in problem


def test_every_problem_is_said_at_once():
    assert len(problems_of(classes=('persn', 'zebra'),
                           class_score_thresholds=('car=2', 'car=0.5', 'car=0.6'))) == 4


def test_keep_applies_mask_and_thresholds_with_the_threshold_itself_kept():
    made = detection_settings(ModelConfig(
        score_threshold=0.4, classes=('person', 'car'), class_score_thresholds=('car=0.7',)),
        LABELS)
    scores = np.array([0.4, 0.39, 0.9, 0.69, 0.7, np.nan, 0.9, 0.9], np.float32)
    ids = np.array([0, 0, 1, 2, 2, 0, -1, 80])
    assert made.keep(scores, ids).tolist() == [
        True, False, False, False, True, False, False, False]


def test_model_without_names_is_filtered_by_number():
    made = detection_settings(ModelConfig(
        score_threshold=0.4, classes=('7',), class_score_thresholds=('9=0.1',)), UNNAMED)
    assert made.class_mask.nonzero()[0].tolist() == [7]
    scores, ids = np.full(4, 0.5, np.float32), np.array([0, 7, 9, 500])
    assert made.keep(scores, ids).tolist() == [False, True, False, False]
    every = detection_settings(ModelConfig(class_score_thresholds=('9=0.6',)), UNNAMED)
    assert every.keep(scores, ids).tolist() == [True, True, False, True]
    assert every.keep(np.full(4, 0.3, np.float32), ids).tolist() == [False] * 4
    assert 'use class numbers from 0' in problems_of(UNNAMED, classes=('car',))[0]
