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

from c7_inference_ros.errors import InferenceError
from encoders import encode
from encoders import plain_geometry
from encoders import settings_of
import numpy as np
import pytest


def decode(case, **options):
    return case.select().decode(case.outputs, plain_geometry(), settings_of(**options))


def test_every_class_of_a_box_is_a_candidate():
    case = encode('ssd', [(10, 10, 60, 50)], [0.9], [1])
    case.outputs['scores'][0, 9, 3] = 0.7
    assert decode(case).class_ids.tolist() == [1, 3]
    assert decode(case, agnostic=True).class_ids.tolist() == [1]


def test_boxes_may_reach_past_the_input():
    found = decode(encode('ssd', [(-50, -30, 400, 300)], [0.9], [1]))
    np.testing.assert_allclose(found.boxes, [(0, 0, 320, 256)])


def test_pixels_are_refused():
    case = encode('ssd', [(10, 10, 60, 50)], [0.9], [1])
    case.outputs['boxes'] *= 320
    with pytest.raises(InferenceError, match='this model counts in pixels'):
        decode(case)


def test_a_model_of_one_class():
    case = encode('ssd', [(10, 10, 60, 50)], [0.9], [0])
    case.outputs['scores'] = case.outputs['scores'][:, :, :1]
    assert case.select().num_classes == 1
    assert decode(case, classes=1).class_ids.tolist() == [0]
