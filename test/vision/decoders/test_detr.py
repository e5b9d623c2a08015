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

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.vision.letterbox import letterbox_geometry
from c7_inference_ros.vision.letterbox import stretch_geometry
from encoders import Case
from encoders import encode
from encoders import NETWORK
from encoders import plain_geometry
from encoders import settings_of
import numpy as np
import pytest

INT64 = np.dtype(np.int64)


def sizes_for(geometry, dtype=INT64):
    return encode('detr', [], [], []).select().extra_input('orig_target_sizes', geometry, dtype)


def test_boxes_are_asked_for_in_pixels_of_a_stretched_source():
    sizes = sizes_for(stretch_geometry((1280, 720), NETWORK))
    assert sizes.dtype == np.int64
    assert sizes.tolist() == [[1280, 720]]


@pytest.mark.parametrize('anchor', ['center', 'top_left'])
def test_boxes_are_asked_for_in_network_pixels_of_a_letterbox(anchor):
    assert sizes_for(letterbox_geometry((1280, 720), NETWORK, anchor)).tolist() == [[*NETWORK]]


def test_a_letterbox_that_the_picture_fills_is_a_stretch():
    assert sizes_for(letterbox_geometry((640, 512), NETWORK, 'center')).tolist() == [[640, 512]]


def test_extra_input_has_the_type_that_the_model_wants():
    assert sizes_for(plain_geometry(), np.dtype(np.float32)).dtype == np.float32


def test_boxes_in_source_pixels_are_taken_as_they_are():
    case = encode('detr', [], [], [])
    case.outputs['boxes'][0, 5] = (100, 50, 900.5, 600)
    case.outputs['scores'][0, 5] = 0.9
    case.outputs['labels'][0, 5] = 2
    found = case.select().decode(case.outputs, stretch_geometry((1280, 720), NETWORK),
                                 settings_of())
    np.testing.assert_allclose(found.boxes, [(100, 50, 900.5, 600)], atol=1e-3)


def test_without_the_input_for_sizes_the_boxes_have_no_unit():
    case = encode('detr', [], [], [])
    case.inputs = ()
    with pytest.raises(ConfigurationError, match='expected orig_target_sizes'):
        case.select()


def raw(logits, boxes):
    return Case('detr', {'logits': np.array([logits], np.float32),
                         'pred_boxes': np.array([boxes], np.float32)})


def test_raw_logits_are_sigmoids_each_class_for_itself():
    case = raw([[0.0, 2.0, -9, -9, -9], [-9, -9, -9, -9, -1.0], [-9, -9, -9, -9, -9]],
               [(0.5, 0.5, 0.5, 0.25), (0.25, 0.25, 0.1, 0.1), (0.5, 0.5, 1.0, 1.0)])
    found = case.select().decode(case.outputs, plain_geometry(), settings_of(0.2))
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp([-2.0, 0.0, 1.0])), atol=1e-6)
    assert found.class_ids.tolist() == [1, 0, 4]
    np.testing.assert_allclose(found.boxes[:2], [(80, 96, 240, 160)] * 2, atol=1e-3)


def test_raw_keeps_as_many_as_there_are_queries():
    case = raw([[3.0, 2.0, 1.5, 1.0, 0.5], [2.5, -9, -9, -9, -9]], [(0.5, 0.5, 0.5, 0.5)] * 2)
    found = case.select().decode(case.outputs, plain_geometry(), settings_of())
    assert found.class_ids.tolist() == [0, 0]
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp([-3.0, -2.5])), atol=1e-6)


@pytest.mark.parametrize('logit', [np.inf, -np.inf, np.nan])
def test_raw_logits_that_are_not_finite_are_dropped(logit):
    case = raw([[logit, -9, -9, -9, -9], [-9, 2.0, -9, -9, -9]], [(0.5, 0.5, 0.5, 0.5)] * 2)
    found = case.select().decode(case.outputs, plain_geometry(), settings_of())
    assert found.class_ids.tolist() == [1]


def test_raw_logits_may_be_large():
    case = raw([[1e4, -1e4, -9, -9, -9]], [(0.5, 0.5, 0.5, 0.5)])
    found = case.select().decode(case.outputs, plain_geometry(), settings_of())
    assert found.scores.tolist() == [1.0]
