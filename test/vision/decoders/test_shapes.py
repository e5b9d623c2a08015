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

from c7_inference_ros.vision.decoders.shapes import match_shapes
from c7_inference_ros.vision.decoders.shapes import MismatchError
from c7_inference_ros.vision.decoders.shapes import shape_text
import pytest

LISTS = {'boxes': (1, 'K', 4), 'scores': (1, 'K')}


def test_letters_get_their_sizes():
    assert match_shapes(LISTS, {'boxes': (1, 7, 4), 'scores': (1, 7)}) == {'K': 7}


@pytest.mark.parametrize('boxes, scores, size', [
    ((-1, -1, -1), (-1, -1), -1), ((-1, -1, 4), (1, 7), 7), ((1, 7, 4), (1, -1), 7)])
def test_open_sizes_agree_with_everything(boxes, scores, size):
    assert match_shapes(LISTS, {'boxes': boxes, 'scores': scores}) == {'K': size}


@pytest.mark.parametrize('boxes, scores, message', [
    ((1, 7, 5), (1, 7), 'boxes has shape [1,7,5], expected [1,K,4] with K=7'),
    ((1, 7, 4), (1, 8), 'scores has shape [1,8], expected [1,K] with K=7'),
    ((2, -1, 4), (2, 8), 'boxes has shape [2,?,4], expected [1,K,4]'),
    ((1, 7), (1, 7), 'boxes has shape [1,7], expected [1,K,4] with K=7'),
    ((1, 7, 4), (), 'scores has shape [], expected [1,K] with K=7')])
def test_a_mismatch_says_found_and_expected(boxes, scores, message):
    with pytest.raises(MismatchError) as caught:
        match_shapes(LISTS, {'boxes': boxes, 'scores': scores})
    assert str(caught.value) == message


def test_open_sizes_are_question_marks():
    assert shape_text((1, -1, 85)) == '[1,?,85]'
