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

"""One frame as two runs see it, beside each other."""

from __future__ import annotations

from typing import Any
from typing import Mapping

from c7_inference_ros.tools.reporting.boxes import BLUE
from c7_inference_ros.tools.reporting.boxes import changed_boxes
from c7_inference_ros.tools.reporting.boxes import draw_boxes
from c7_inference_ros.tools.reporting.boxes import RED
from c7_inference_ros.vision.picture_text import BLACK
from c7_inference_ros.vision.picture_text import Color
from c7_inference_ros.vision.picture_text import TextStyle
import numpy as np
from numpy.typing import NDArray

#: Of each half, pixels.
HALF_WIDTH = 640
_GAP = 6


def side_by_side(image: NDArray[Any], before: Mapping[str, Any], after: Mapping[str, Any],
                 titles: tuple[str, str] = ('before', 'after'), width: int = HALF_WIDTH
                 ) -> NDArray[np.uint8]:
    """
    Return one picture of a frame with what was found before, and what is found after.

    What only one of them has is in colour, red before and blue after; the rest is grey.

    :param image: of the frame, bgr8.
    :param before: line of ``detections.jsonl`` of the earlier run.
    :param after: the same of the later one.
    :param titles: above the halves.
    :param width: of each half, pixels.
    :returns: bgr8, on top of each half what it is and how many boxes it has.
    """
    left = _half(image, before, after, titles[0], RED, width)
    right = _half(image, after, before, titles[1], BLUE, width)
    gap = np.full((left.shape[0], _GAP, 3), 255, np.uint8)
    return np.concatenate((left, gap, right), axis=1)


def _half(image: NDArray[Any], line: Mapping[str, Any], other: Mapping[str, Any], title: str,
          color: Color, width: int) -> NDArray[np.uint8]:
    boxes = changed_boxes(line, other, color)
    picture = draw_boxes(image, boxes, width)
    style = TextStyle(max(8, width // 45))
    number = len(boxes)
    what = f'dropped: {line["dropped"]}' if line['dropped'] else (
        f'{number} detection{"" if number == 1 else "s"}')
    bar = np.zeros((style.plate_height, width, 3), np.uint8)
    style.draw_plate(bar, style.cut(f'{title}: {what}', width), 0, 0, width, BLACK)
    return np.concatenate((bar, picture), axis=0)
