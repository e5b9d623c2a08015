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

from c7_inference_ros.vision.letterbox import letterbox_geometry
from c7_inference_ros.vision.letterbox import stretch_geometry
from hypothesis import example
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest

SIDES = st.one_of(st.integers(1, 40), st.integers(1, 20000))
SIZES = st.tuples(SIDES, SIDES)
NETWORKS = st.tuples(st.integers(1, 2000), st.integers(1, 2000))
KINDS = st.sampled_from(['center', 'top_left', 'stretch'])


def geometry_of(kind, source, network):
    if kind == 'stretch':
        return stretch_geometry(source, network)
    return letterbox_geometry(source, network, kind)


@settings(deadline=None, max_examples=500)
@given(SIZES, NETWORKS, KINDS, st.lists(st.floats(0, 1), min_size=4, max_size=4))
@example((1, 20000), (416, 416), 'top_left', [0.0, 0.25, 1.0, 0.75])
@example((20000, 1), (416, 416), 'center', [0.0, 0.0, 1.0, 1.0])
@example((1, 1), (640, 384), 'center', [0.0, 0.0, 1.0, 1.0])
def test_inverse_agrees_within_a_pixel(source, network, kind, where):
    geometry = geometry_of(kind, source, network)
    box = np.array([where], np.float32) * np.array([*source, *source], np.float32)
    there = geometry.boxes_to_network(box)
    back = geometry.boxes_to_source(there)
    assert there.dtype == back.dtype == np.float32
    np.testing.assert_allclose(back, box, atol=1.0)
    assert (there >= -1e-3).all()
    assert (there <= np.array([*network, *network]) + 1e-3).all()


@settings(deadline=None, max_examples=500)
@given(SIZES, NETWORKS, KINDS)
@example((10000, 3), (416, 416), 'top_left')
@example((3, 10000), (32, 32), 'center')
def test_picture_lies_inside_the_network_input(source, network, kind):
    geometry = geometry_of(kind, source, network)
    assert 1 <= geometry.picture_width <= network[0] - geometry.pad_x
    assert 1 <= geometry.picture_height <= network[1] - geometry.pad_y
    assert geometry.pad_x >= 0 and geometry.pad_y >= 0
    whole = geometry.boxes_to_network(np.array([[0, 0, *source]], np.float32))[0]
    np.testing.assert_allclose(whole, [
        geometry.pad_x, geometry.pad_y, geometry.pad_x + geometry.picture_width,
        geometry.pad_y + geometry.picture_height], rtol=1e-6)


@settings(deadline=None, max_examples=300)
@given(SIZES, NETWORKS)
def test_top_left_is_the_preprocessing_of_yolox(source, network):
    # As preproc() in yolox/data/data_augment.py.
    ratio = min(network[1] / source[1], network[0] / source[0])
    geometry = letterbox_geometry(source, network, 'top_left')
    assert (geometry.picture_width, geometry.picture_height) == (
        max(1, int(source[0] * ratio)), max(1, int(source[1] * ratio)))
    assert (geometry.pad_x, geometry.pad_y) == (0, 0)


@settings(deadline=None, max_examples=300)
@given(SIZES, NETWORKS)
def test_center_is_the_letterbox_of_ultralytics(source, network):
    # As LetterBox(auto=False, center=True) in ultralytics/data/augment.py.
    ratio = min(network[1] / source[1], network[0] / source[0])
    width, height = max(1, round(source[0] * ratio)), max(1, round(source[1] * ratio))
    dw, dh = (network[0] - width) / 2, (network[1] - height) / 2
    left, right = round(dw - 0.1), round(dw + 0.1)
    top, bottom = round(dh - 0.1), round(dh + 0.1)
    geometry = letterbox_geometry(source, network, 'center')
    assert (geometry.picture_width, geometry.picture_height) == (width, height)
    assert (geometry.pad_x, geometry.pad_y) == (left, top)
    assert (left + width + right, top + height + bottom) == network


@pytest.mark.parametrize('source, network, anchor, expected', [
    ((640, 480), (416, 416), 'top_left', (416, 312, 0, 0)),
    ((640, 480), (416, 416), 'center', (416, 312, 0, 52)),
    ((1280, 720), (640, 640), 'center', (640, 360, 0, 140)),
    ((333, 500), (640, 640), 'center', (426, 640, 107, 0)),
    ((333, 500), (416, 416), 'top_left', (277, 416, 0, 0)),
])
def test_known_placements(source, network, anchor, expected):
    geometry = letterbox_geometry(source, network, anchor)
    assert (geometry.picture_width, geometry.picture_height,
            geometry.pad_x, geometry.pad_y) == expected


def test_boxes_are_clipped_to_the_source_and_nan_stays():
    geometry = letterbox_geometry((640, 480), (416, 416), 'center')
    boxes = np.array([[-50, 0, 500, 416], [0, 0, np.nan, 400]], np.float32)
    kept = boxes.copy()
    back = geometry.boxes_to_source(boxes)
    assert back[0].tolist() == [0, 0, 640, 480]
    assert np.isnan(back[1, 2])
    np.testing.assert_array_equal(boxes, kept)


def test_no_boxes_and_integer_boxes():
    geometry = stretch_geometry((640, 480), (320, 320))
    assert geometry.boxes_to_source(np.zeros((0, 4), np.float32)).shape == (0, 4)
    assert geometry.boxes_to_source(np.array([[32, 32, 160, 320]])).tolist() == [
        [64, 48, 320, 480]]


def test_unknown_anchor():
    with pytest.raises(ValueError, match='expected center or top_left'):
        letterbox_geometry((640, 480), (416, 416), 'left')
