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

from c7_inference_ros.vision.contact_sheet import contact_sheet
import numpy as np
import pytest


def plain(height, width, color):
    return np.full((height, width, 3), color, np.uint8)


def area_of(sheet, color):
    """Return (left, top, width, height, pixels) of a colour on a sheet."""
    rows, columns = (np.abs(sheet.astype(int) - color).max(axis=-1) <= 1).nonzero()
    return (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1, len(rows))


RED, GREEN, BLUE, YELLOW, PINK = (
    (0, 0, 200), (0, 200, 0), (200, 0, 0), (0, 200, 200), (200, 0, 200))


def test_pictures_lie_in_reading_order_and_do_not_overlap():
    colors = (RED, GREEN, BLUE, YELLOW, PINK)
    sheet = contact_sheet([plain(60, 80, color) for color in colors], 2, 160)
    areas = [area_of(sheet, color) for color in colors]
    for left, top, width, height, pixels in areas:
        assert (width, height, pixels) == (160, 120, 160 * 120)
    assert areas[0][0] == areas[2][0] == areas[4][0] < areas[1][0] == areas[3][0]
    assert areas[0][1] == areas[1][1] < areas[2][1] == areas[3][1] < areas[4][1]
    assert areas[0][0] + 160 < areas[1][0] and areas[0][1] + 120 < areas[2][1]


def test_pictures_of_different_sizes_keep_their_aspect_ratio():
    sheet = contact_sheet([plain(40, 400, RED), plain(400, 100, GREEN), plain(300, 300, BLUE)],
                          3, 100)
    assert area_of(sheet, RED)[2:4] == (100, 10)
    assert area_of(sheet, GREEN)[2:4] == (38, 150)
    assert area_of(sheet, BLUE)[2:4] == (100, 100)


def test_caption_is_written_below_its_picture_and_stays_in_its_column():
    images = [plain(60, 80, RED), plain(60, 80, GREEN)]
    without = contact_sheet(images, 2, 160)
    sheet = contact_sheet(images, 2, 160, ['a very long caption ' * 9, ''])
    assert sheet.shape[0] > without.shape[0] and sheet.shape[1] == without.shape[1]
    left, top, width, height, _ = area_of(sheet, RED)
    below = sheet[top + height:]
    assert (below[:, left:left + width].max(axis=-1) > 150).any()
    assert not (below[:, left + width:].max(axis=-1) > 150).any()


def test_fewer_pictures_than_columns_leave_no_empty_columns():
    assert contact_sheet([plain(60, 80, RED)], 5, 160).shape[1] < 200


@pytest.mark.parametrize('images, columns, width, captions', [
    ([], 2, 100, []), ([plain(6, 8, RED)], 0, 100, []), ([plain(6, 8, RED)], 1, 0, []),
    ([plain(6, 8, RED)], 1, 100, ['a', 'b'])])
def test_impossible_sheet(images, columns, width, captions):
    with pytest.raises(ValueError, match='expected at least one image'):
        contact_sheet(images, columns, width, captions)


@pytest.mark.parametrize('shape', [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_pictures(shape):
    assert (contact_sheet([plain(*shape, RED)], 1, 64) == 200).any()
