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

"""Boxes on pictures, coloured by what is said of them rather than by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from typing import Iterable
from typing import Mapping
from typing import Sequence

from c7_inference_ros.tools.evaluation.association import associate
from c7_inference_ros.tools.evaluation.association import IGNORED
from c7_inference_ros.tools.evaluation.ground_truth import FrameTruth
from c7_inference_ros.vision.picture_text import Color
from c7_inference_ros.vision.picture_text import TextStyle
import numpy as np
from numpy.typing import NDArray

#: Colours that the colour-blind tell apart (Okabe and Ito); blue, green, red.
BLUE: Color = (233, 180, 86)
RED: Color = (0, 94, 213)
YELLOW: Color = (66, 228, 240)
GRAY: Color = (170, 170, 170)
#: A box needs so much of another to be the same object.
LEAST_OVERLAP = 0.5


@dataclass(frozen=True)
class Box:
    """
    One box to draw.

    :param corners: x1, y1, x2, y2, pixels of the picture.
    :param text: beside it; may be empty.
    :param is_dashed: for what is not there, but should be.
    """

    corners: Sequence[float]
    text: str
    color: Color
    is_dashed: bool = False


def draw_boxes(image: NDArray[Any], boxes: Iterable[Box], width: int = 0) -> NDArray[np.uint8]:
    """
    Return a copy with boxes on it, the first on top.

    :param image: bgr8.
    :param width: of the result, pixels; 0 keeps that of the image.
    """
    import cv2

    scale = width / image.shape[1] if width else 1.0
    size = (width or image.shape[1], max(1, round(image.shape[0] * scale)))
    picture = np.ascontiguousarray(image, np.uint8) if scale == 1.0 else np.asarray(
        cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1.0 else
                   cv2.INTER_LINEAR), np.uint8)
    picture = picture.copy()
    style = TextStyle(int(np.clip(min(picture.shape[:2]) / 36, 9, 28)))
    thickness = max(1, round(min(picture.shape[:2]) / 220))
    last = np.array([picture.shape[1] - 1, picture.shape[0] - 1] * 2)
    shown = [(np.clip(np.round(np.array(box.corners, np.float64) * scale), 0,
                      last).astype(int).tolist(), box)
             for box in boxes if np.isfinite(np.array(box.corners, np.float64)).all()][::-1]
    for corners, box in shown:
        _outline(picture, corners, box, thickness)
    for corners, box in shown:
        text = style.cut(box.text, picture.shape[1])
        if text:
            plate = style.plate_width(text)
            x = max(0, min(corners[0], picture.shape[1] - plate))
            above = corners[1] - style.plate_height
            y = above if above >= 0 else min(corners[1], picture.shape[0] - style.plate_height)
            style.draw_plate(picture, text, x, max(0, y), plate, box.color)
    return picture


def judged_boxes(line: Mapping[str, Any], truth: FrameTruth | None,
                 classes: Sequence[str] = ()) -> list[Box]:
    """
    Return the boxes of a frame, by what ground truth says of them.

    Blue: right, or not judged. Red: wrong. Yellow and dashed: an object that was missed. Grey: in
    a region of uncounted objects.

    :param line: of ``detections.jsonl``.
    :param truth: what is really there; None where nobody says.
    :param classes: names of the classes of the ground truth.
    """
    found = line['detections']
    if truth is None:
        return [_found_box(one, BLUE) for one in found]
    place = {name: number for number, name in enumerate(classes)}
    kinds = np.array([place.get(one['label'], -1) for one in found], np.int64)
    judged = np.flatnonzero(kinds >= 0)
    verdicts = associate(_corners(found)[judged], _scores(found)[judged], kinds[judged], truth,
                         LEAST_OVERLAP)
    boxes = []
    for number, verdict in zip(judged.tolist(), verdicts.tolist()):
        color = BLUE if verdict >= 0 else GRAY if verdict == IGNORED else RED
        boxes.append(_found_box(found[number], color))
    boxes += [_found_box(one, GRAY) for one, kind in zip(found, kinds) if kind < 0]
    taken = set(verdicts.tolist())
    boxes += [Box(corners, classes[kind], YELLOW, True) for number, (corners, kind, is_crowd)
              in enumerate(zip(truth.boxes.tolist(), truth.classes.tolist(),
                               truth.is_crowd.tolist()))
              if not is_crowd and number not in taken]
    return boxes


def changed_boxes(line: Mapping[str, Any], other: Mapping[str, Any], color: Color) -> list[Box]:
    """
    Return the boxes of a frame: those that another run of it has not in colour, the rest grey.

    :param line: of ``detections.jsonl``.
    :param other: of the same frame.
    """
    found, others = line['detections'], other['detections']
    names = sorted({one['label'] for one in (*found, *others)})
    place = {name: number for number, name in enumerate(names)}
    corners = _corners(others)
    truth = FrameTruth('', corners, np.array([place[one['label']] for one in others], np.int64),
                       np.zeros(len(others), np.bool_), np.zeros(len(others)))
    kinds = np.array([place[one['label']] for one in found], np.int64)
    pairs = associate(_corners(found), _scores(found), kinds, truth, LEAST_OVERLAP).tolist()
    boxes = [_found_box(one, GRAY if pair >= 0 else color) for one, pair in zip(found, pairs)]
    return sorted(boxes, key=lambda box: box.color == GRAY)


def _found_box(one: Mapping[str, Any], color: Color) -> Box:
    return Box(one['box'], f'{one["label"]} {one["score"]:.2f}', color)


def _corners(found: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    return np.array([one['box'] for one in found], np.float64).reshape(-1, 4)


def _scores(found: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
    return np.array([one['score'] for one in found], np.float32)


def _outline(picture: NDArray[np.uint8], corners: Sequence[int], box: Box,
             thickness: int) -> None:
    import cv2

    x1, y1, x2, y2 = corners
    if not box.is_dashed:
        cv2.rectangle(picture, (x1, y1), (x2, y2), box.color, thickness, cv2.LINE_8)
        return
    step = 5 * thickness
    for begin, end in (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x2, y2), (x1, y2)),
                       ((x1, y2), (x1, y1))):
        length = max(abs(end[0] - begin[0]), abs(end[1] - begin[1]), 1)
        for at in range(0, length, 2 * step):
            parts = [tuple(round(b + (e - b) * min(stop, length) / length)
                           for b, e in zip(begin, end)) for stop in (at, at + step)]
            cv2.line(picture, parts[0], parts[1], box.color, thickness, cv2.LINE_8)
