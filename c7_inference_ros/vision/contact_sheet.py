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

"""Many pictures on one, for a report."""

from __future__ import annotations

from typing import Any
from typing import Sequence

from c7_inference_ros.vision.picture_text import Color
from c7_inference_ros.vision.picture_text import TextStyle
import numpy as np
from numpy.typing import NDArray

_BACKGROUND: Color = (32, 30, 28)
#: Tallest tile, as a multiple of its width; a taller picture is made narrower.
_TALLEST = 1.5


def contact_sheet(images: Sequence[NDArray[Any]], columns: int, tile_width: int,
                  captions: Sequence[str] = ()) -> NDArray[np.uint8]:
    """
    Lay pictures out in rows, each scaled into a tile with its caption below.

    :param images: uint8 ``[H, W, 3]`` in bgr8, of any sizes; at least one.
    :param columns: tiles in a row.
    :param tile_width: width of a tile, in pixels.
    :param captions: one line for each picture, or empty.
    :returns: uint8 ``[H, W, 3]`` in bgr8.
    :raises ValueError: without pictures, columns or width, or with captions of another number.
    """
    import cv2

    if not images or columns < 1 or tile_width < 8 or len(captions) not in (0, len(images)):
        raise ValueError(
            f'contact_sheet got {len(images)} images, {len(captions)} captions, {columns} columns '
            f'and a tile width of {tile_width}, expected at least one image, no captions or as '
            f'many, at least 1 column and a width of at least 8 px')
    columns = min(columns, len(images))
    style = TextStyle(int(np.clip(tile_width / 32, 8, 24)))
    caption_height = style.plate_height if captions else 0
    gap = max(2, tile_width // 60)
    sizes = [_tile_size(image, tile_width) for image in images]
    # A row is as high as its tallest tile.
    heights = [max(height for _, height in sizes[first:first + columns])
               for first in range(0, len(images), columns)]
    sheet = np.full((sum(heights) + len(heights) * (caption_height + gap) + gap,
                     columns * (tile_width + gap) + gap, 3), _BACKGROUND, np.uint8)
    for index, (image, (width, height)) in enumerate(zip(images, sizes)):
        row, column = divmod(index, columns)
        x = gap + column * (tile_width + gap)
        y = gap + sum(heights[:row]) + row * (caption_height + gap)
        # Averaging areas keeps thin box outlines whole when a picture is made much smaller.
        tile = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        top, left = y + (heights[row] - height) // 2, x + (tile_width - width) // 2
        sheet[top:top + height, left:left + width] = tile
        if captions:
            style.draw_plate(sheet, style.cut(captions[index], tile_width), x, y + heights[row],
                             tile_width, _BACKGROUND)
    return sheet


def _tile_size(image: NDArray[Any], tile_width: int) -> tuple[int, int]:
    """Return the (width, height) of a picture in its tile."""
    height, width = image.shape[:2]
    ratio = min(tile_width / width, tile_width * _TALLEST / height)
    return max(1, round(width * ratio)), max(1, round(height * ratio))
