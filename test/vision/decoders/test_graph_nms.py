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

"""Models that suppress in their graph and return padded lists: EfficientNMS and TensorFlow."""

from c7_inference_ros.errors import InferenceError
from encoders import encode
from encoders import plain_geometry
from encoders import settings_of
import numpy as np
import pytest

LISTS = pytest.mark.parametrize('name', ['efficient_nms', 'tf_detection'])
COUNT = {'efficient_nms': 'num_dets', 'tf_detection': 'num_detections:0'}
BOXES = [(10, 10, 60, 50), (100, 20, 180, 120)]


def decode(case):
    return case.select().decode(case.outputs, plain_geometry(), settings_of())


@LISTS
def test_rows_past_the_count_are_padding(name):
    case = encode(name, BOXES, [0.5, 0.9], [0, 1])
    case.outputs[COUNT[name]][:] = 1
    assert decode(case).class_ids.tolist() == [0]
    case.outputs[COUNT[name]][:] = 0
    assert len(decode(case)) == 0


@LISTS
@pytest.mark.parametrize('count', [-1, 101])
def test_a_count_that_cannot_be_is_refused(name, count):
    case = encode(name, BOXES, [0.5, 0.9], [0, 1])
    case.outputs[COUNT[name]][:] = count
    with pytest.raises(InferenceError, match=f'{COUNT[name]} is {count}, expected 0 to 100'):
        decode(case)


@pytest.mark.parametrize('count', [np.nan, np.inf])
def test_a_count_that_is_no_number_is_refused(count):
    case = encode('tf_detection', BOXES, [0.5, 0.9], [0, 1])
    case.outputs['num_detections:0'][:] = count
    with pytest.raises(InferenceError, match='expected 0 to 100'):
        decode(case)


def test_tensorflow_counts_classes_from_one_and_boxes_from_y():
    case = encode('tf_detection', [], [], [])
    case.outputs['detection_boxes:0'][0, 0] = (0.25, 0.5, 0.5, 0.75)
    case.outputs['detection_classes:0'][0, 0] = 3
    case.outputs['detection_scores:0'][0, 0] = 0.9
    case.outputs['num_detections:0'][:] = 1
    found = decode(case)
    assert found.class_ids.tolist() == [2]
    np.testing.assert_allclose(found.boxes, [(160, 64, 240, 128)])


def test_efficient_nms_with_the_long_names_is_set_by_name():
    case = encode('efficient_nms', BOXES, [0.5, 0.9], [0, 1])
    case.outputs = {name.replace('num_dets', 'num_detections').replace('det_', 'detection_'): array
                    for name, array in case.outputs.items()}
    assert 'detection_boxes' in case.outputs
    assert decode(case).class_ids.tolist() == [1, 0]
