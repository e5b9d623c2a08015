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

from c7_inference_ros.vision.annotate import class_color
from c7_inference_ros.vision.annotate import draw
from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.labels import Labels
from c7_inference_ros.vision.picture_text import BLACK
from c7_inference_ros.vision.picture_text import contrast
from c7_inference_ros.vision.picture_text import drawable
from c7_inference_ros.vision.picture_text import TextStyle
from c7_inference_ros.vision.picture_text import WHITE
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest

LABELS = Labels(('person', 'car', 'Füßgänger 自行车', 'a very long name of a class ' * 9), 'file')
GREY = 90


def blank(height=480, width=640):
    return np.full((height, width, 3), GREY, np.uint8)


def found(*rows) -> Detections:
    """Make detections of rows (x1, y1, x2, y2, class)."""
    table = np.array(rows, np.float32).reshape(-1, 5)
    scores = np.linspace(0.99, 0.5, len(table)).astype(np.float32)
    return Detections(table[:, :4].copy(), scores, table[:, 4].astype(np.int32))


def is_color(picture, color):
    return (picture == np.array(color, np.uint8)).all(axis=-1)


def test_box_is_outlined_where_it_is_and_the_image_is_kept():
    image = blank()
    picture = draw(image, found((200, 150, 400, 350, 0)), LABELS)
    color = class_color(0)
    for x, y in ((200, 250), (400, 250), (300, 150), (300, 350)):
        assert picture[y, x].tolist() == list(color)
    assert picture[250, 300].tolist() == [GREY] * 3
    assert (image == GREY).all()
    assert picture.shape == image.shape and picture.dtype == np.uint8


def test_name_stands_on_a_plate_above_the_box():
    picture = draw(blank(), found((200, 150, 400, 350, 0)), LABELS)
    plate = picture[150 - TextStyle(480 // 45).plate_height:149, 200:260]
    assert is_color(plate, class_color(0)).mean() > 0.5
    # Strokes are smoothed, so that hardly a pixel is quite white.
    text = (np.abs(plate.astype(int) - contrast(class_color(0))).max(axis=-1) < 80).sum()
    assert text > 30, 'there is no text on the plate'


def test_score_is_written():
    pictures = []
    for score in (0.91, 0.52):
        one = found((200, 150, 400, 350, 0))
        one.scores[:] = score
        pictures.append(draw(blank(), one, LABELS))
    assert (pictures[0] != pictures[1]).any()


def test_nothing_found_is_the_image():
    assert (draw(blank(), Detections.empty(), LABELS) == blank()).all()


def test_colors_are_the_same_every_time_and_differ():
    colors = [class_color(class_id) for class_id in range(1000)]
    assert len(set(colors)) == 1000
    assert colors == [class_color(class_id) for class_id in range(1000)]
    for first, second in zip(colors, colors[1:]):
        assert np.abs(np.subtract(first, second)).max() > 60


@pytest.mark.parametrize('row', [
    (0, 0, 640, 480, 0), (0, 0, 100, 5, 0), (600, 0, 640, 20, 3), (0, 470, 30, 480, 0),
    (639, 479, 640, 480, 1), (-50, -50, 10, 10, 1), (100, 100, 100, 100, 2)])
def test_plate_stays_inside_the_picture(row):
    # Around a larger picture nothing may be drawn, and the whole plate must be there.
    from c7_inference_ros.vision import annotate

    style = TextStyle(10)
    box = np.clip(np.round(row[:4]), 0, [639, 479, 639, 479]).astype(int).tolist()
    text = style.cut(f'{LABELS.name_of(row[4])} 0.99', 640)
    size = style.plate_width(text), style.plate_height
    left, top, right, bottom = annotate._place(size, box, (640, 480), [])
    assert 0 <= left and 0 <= top and right <= 640 and bottom <= 480
    assert (right - left, bottom - top) == size
    picture = draw(blank(), found(row), LABELS)
    assert is_color(picture[top:bottom, left:right], class_color(row[4])).mean() > 0.4


def test_plates_of_boxes_at_the_same_place_are_beside_each_other():
    rows = [(200, 150, 400, 350, 0), (201, 150, 401, 350, 1), (199, 151, 400, 350, 0)]
    picture = draw(blank(), found(*rows), LABELS)
    plate_area = TextStyle(480 // 45).plate_height * TextStyle(480 // 45).plate_width('car 0.75')
    outline = 4 * 2 * 200
    assert is_color(picture, class_color(1)).sum() > 0.5 * plate_area
    two = is_color(picture, class_color(0)).sum()
    assert two > outline / 2 + plate_area


def test_outline_is_thicker_on_a_larger_picture():
    widths = []
    for scale in (1, 4):
        picture = draw(blank(480 * scale, 640 * scale),
                       found((200 * scale, 150 * scale, 400 * scale, 350 * scale, 0)), LABELS)
        widths.append(is_color(picture[250 * scale, :300 * scale], class_color(0)).sum())
    assert 1 <= widths[0] < widths[1]


def test_class_without_a_name_and_numbers_that_are_none_do_not_stop_it():
    broken = found((10, 10, np.nan, 50, 0), (20, 20, np.inf, 60, 1), (30, 200, 90, 260, 777))
    picture = draw(blank(), broken, LABELS)
    assert is_color(picture, class_color(777)).any()
    assert not is_color(picture, class_color(0)).any()


@pytest.mark.parametrize('shape', [(1, 1), (1, 640), (480, 1), (7, 9), (3000, 4000)])
def test_any_size_of_picture(shape):
    height, width = shape
    picture = draw(blank(*shape), found((0, 0, width, height, 0), (0, 0, 1, 1, 3)), LABELS)
    assert picture.shape == (*shape, 3)
    assert (picture != GREY).any()


def test_strided_read_only_image():
    image = np.zeros((48, 200), np.uint8)[:, :64 * 3].reshape(48, 64, 3)
    image.flags.writeable = False
    assert draw(image, found((5, 20, 40, 40, 0)), LABELS).any()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(*[st.floats(-1e9, 1e9, width=32)] * 4, st.integers(0, 5)), max_size=8),
       st.integers(1, 300), st.integers(1, 300))
def test_any_boxes_on_any_picture(rows, height, width):
    assert draw(blank(height, width), found(*rows), LABELS).shape == (height, width, 3)


def test_text_is_cut_to_a_width_and_to_what_can_be_drawn():
    style = TextStyle(12)
    for width in (5, 40, 100, 300):
        text = style.cut(LABELS.names[3], width)
        assert text == '' or style.plate_width(text) <= width
    assert style.cut('person 0.97', 10_000) == 'person 0.97'
    assert style.cut('a long name', 60).endswith('..')
    assert drawable('Füßgänger 自行车') == 'Fu?ganger ???'
    assert drawable('a\tb\n') == 'a?b?'


@pytest.mark.parametrize('color, expected', [
    ((0, 0, 0), WHITE), ((255, 255, 255), BLACK), ((255, 0, 0), WHITE), ((0, 255, 255), BLACK)])
def test_text_has_contrast(color, expected):
    assert contrast(color) == expected
