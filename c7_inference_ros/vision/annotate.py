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

"""Detections drawn on the picture they were found in."""

from __future__ import annotations

import colorsys
from typing import Any

from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.labels import Labels
from c7_inference_ros.vision.picture_text import Color
from c7_inference_ros.vision.picture_text import TextStyle
import numpy as np
from numpy.typing import NDArray

#: Neighbouring class ids get hues that are far apart, and no two ids the same.
_GOLDEN_RATIO = 0.618033988749895
_Plate = tuple[int, int, int, int]


def class_color(class_id: int) -> Color:
    """Return the colour (blue, green, red) of a class, always the same one."""
    hue = (0.02 + class_id * _GOLDEN_RATIO) % 1.0
    value = (1.0, 0.85, 0.95)[class_id // 8 % 3]
    saturation = (0.85, 0.95, 0.6)[class_id // 24 % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(blue * 255), round(green * 255), round(red * 255)


def draw(image: NDArray[Any], detections: Detections, labels: Labels) -> NDArray[np.uint8]:
    """
    Draw boxes with class names and scores.

    :param image: uint8 ``[H, W, 3]`` in bgr8; it is not changed.
    :param detections: in pixels of ``image``, best first.
    :returns: a picture of the same size.
    """
    import cv2

    picture: NDArray[np.uint8] = np.array(image, np.uint8, order='C')
    height, width = picture.shape[:2]
    short = min(height, width)
    thickness = max(1, round(short / 240))
    style = TextStyle(int(np.clip(short / 45, 8, 40)))
    detections = detections.select(np.isfinite(detections.boxes).all(axis=1))
    last = [width - 1, height - 1] * 2
    corners = np.clip(np.round(detections.boxes), 0, last).astype(int).tolist()
    plates: list[_Plate] = []
    texts: list[str] = []
    for box, score, class_id in zip(corners, detections.scores, detections.class_ids):
        text = style.cut(f'{labels.name_of(int(class_id))} {score:.2f}', width)
        size = style.plate_width(text), style.plate_height
        plates.append(_place(size, box, (width, height), plates))
        texts.append(text)
    # The best come last and are on top; names are on top of every outline.
    order = range(len(corners) - 1, -1, -1)
    for index in order:
        x1, y1, x2, y2 = corners[index]
        cv2.rectangle(picture, (x1, y1), (x2, y2), class_color(int(detections.class_ids[index])),
                      thickness, cv2.LINE_8)
    for index in order:
        x, y, right, _ = plates[index]
        if texts[index]:
            style.draw_plate(picture, texts[index], x, y, right - x,
                             class_color(int(detections.class_ids[index])))
    return picture


def _place(size: tuple[int, int], box: list[int], picture: tuple[int, int],
           taken: list[_Plate]) -> _Plate:
    """Return where a plate goes: inside the picture and, if it can, beside the others."""
    x1, y1, x2, y2 = box
    width, height = size
    candidates = [(x1, y1 - height), (x1, y1), (x2 - width + 1, y1 - height),
                  (x1, y2 + 1), (x1, y2 - height + 1), (x2 - width + 1, y1)]
    plates: list[_Plate] = []
    for x, y in candidates:
        if y < 0 or y + height > picture[1]:
            continue
        x = max(0, min(x, picture[0] - width))
        plates.append((x, y, x + width, y + height))
    if not plates:
        x = max(0, min(x1, picture[0] - width))
        y = max(0, min(y1, picture[1] - height))
        return x, y, x + width, y + height
    return next((plate for plate in plates if not _overlaps(plate, taken)), plates[0])


def _overlaps(plate: _Plate, others: list[_Plate]) -> bool:
    left, top, right, bottom = plate
    return any(left < other[2] and other[0] < right and top < other[3] and other[1] < bottom
               for other in others)
