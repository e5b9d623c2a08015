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

"""Boxes by what is said of them, and a frame as two runs see it."""

from c7_inference_ros.tools.reporting.boxes import BLUE
from c7_inference_ros.tools.reporting.boxes import Box
from c7_inference_ros.tools.reporting.boxes import draw_boxes
from c7_inference_ros.tools.reporting.boxes import GRAY
from c7_inference_ros.tools.reporting.boxes import RED
from c7_inference_ros.tools.reporting.boxes import YELLOW
from c7_inference_ros.tools.reporting.side_by_side import side_by_side
import numpy as np
import pytest

IMAGE = np.zeros((360, 640, 3), np.uint8)


def line(*boxes, dropped=''):
    return {'dropped': dropped, 'detections': [
        {'label': label, 'score': 0.5, 'box': box} for label, box in boxes]}


def at(picture, x, y, bar):
    return tuple(picture[y + bar, x].tolist())


def test_what_only_one_run_has_is_in_colour():
    before = line(('car', [50, 100, 150, 200]), ('car', [300, 100, 400, 200]))
    after = line(('car', [52, 100, 152, 200]), ('bus', [300, 100, 400, 200]),
                 ('car', [500, 300, 560, 340]))
    picture = side_by_side(IMAGE, before, after)
    bar = picture.shape[0] - 360
    assert picture.shape[1] == 640 + 6 + 640 and 10 < bar < 60
    assert at(picture, 50, 180, bar) == GRAY
    assert at(picture, 300, 180, bar) == RED
    assert at(picture, 646 + 52, 180, bar) == GRAY
    assert at(picture, 646 + 300, 180, bar) == BLUE
    assert at(picture, 646 + 530, 340, bar) == BLUE
    assert at(picture, 530, 340, bar) == (0, 0, 0)
    assert not IMAGE.any()


def test_titles_are_above_each_half_and_a_drop_is_told():
    same = line(('car', [50, 100, 150, 200]))
    first = side_by_side(IMAGE, same, same)
    second = side_by_side(IMAGE, same, line(dropped='stale'))
    bar = first.shape[0] - 360
    assert first[:bar, :640].any() and first[:bar, 646:].any()
    # The left half differs by the colour of its box alone, the right one by what it says.
    assert (first[:bar, :640] == second[:bar, :640]).all()
    assert (first[:bar, 646:] != second[:bar, 646:]).any()
    assert at(second, 50, 180, bar) == RED and not second[bar:, 646:].any()


def test_a_small_image_is_made_larger_and_its_boxes_with_it():
    small = np.zeros((60, 80, 3), np.uint8)
    picture = draw_boxes(small, [Box([20, 20, 40, 40], '', BLUE)], 320)
    assert picture.shape == (240, 320, 3)
    assert tuple(picture[120, 80].tolist()) == BLUE and not picture[120, 120].any()


@pytest.mark.parametrize('corners', [
    [-1e30, -5, 1e30, 7], [np.nan, 0, 5, 5], [np.inf, 0, 5, 5], [10, 10, 10, 10], [50, 50, 2, 2]])
@pytest.mark.parametrize('is_dashed', [False, True])
def test_no_box_is_too_odd_to_draw(corners, is_dashed):
    picture = draw_boxes(IMAGE, [Box(corners, 'x' * 500, YELLOW, is_dashed)])
    assert picture.shape == IMAGE.shape


def test_dashes_are_dashes():
    picture = draw_boxes(IMAGE, [Box([100, 100, 500, 300], '', YELLOW, True)])
    edge = (picture[100, 100:501] == YELLOW).all(axis=1)
    assert 0.3 < edge.mean() < 0.7
