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

"""Frames that are worth a look, read again from the bag and drawn small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from typing import Iterable
from typing import Mapping
from typing import Sequence

from c7_inference_ros.errors import ImageError
from c7_inference_ros.tools.evaluation.evaluation import Evaluator
from c7_inference_ros.tools.reporting.boxes import draw_boxes
from c7_inference_ros.tools.reporting.boxes import judged_boxes
from c7_inference_ros.vision.images import to_bgr
import numpy as np
from numpy.typing import NDArray

WIDTH = 480
_QUALITY = 80
#: Frames of each model: the worst by ground truth, or evenly over the bag without it.
MAX_WORST, MAX_EVEN = 12, 6
Key = tuple[str, str, int]


@dataclass(frozen=True)
class Thumbnail:
    """
    One drawn frame.

    :param jpeg: the picture, a JPEG file.
    :param what: one line on what is to be seen.
    """

    camera: str
    model: str
    index: int
    stamp_ns: int
    jpeg: bytes
    what: str


def wanted_frames(report: Mapping[str, Any]) -> dict[Key, str]:
    """
    Return the frames that are to be shown, and why, by (camera, model, index).

    :param report: ``report.json``.
    """
    wanted: dict[Key, str] = {}
    evaluation = report.get('evaluation') or {}
    for model in report['models']:
        judged = evaluation.get(model)
        if judged is not None:
            for frame in judged['worst_frames'][:MAX_WORST]:
                wanted[(frame['camera'], model, frame['index'])] = (
                    f'F1 {frame["f1"] or 0.0:.2f}: {frame["fp"]} wrong, {frame["fn"]} missed')
            continue
        cameras = [camera for camera, models in report['counts'].items() if model in models]
        for camera in cameras:
            frames = report['counts'][camera][model]['received']
            most = max(1, MAX_EVEN // len(cameras))
            for index in np.unique(np.linspace(0, frames - 1, min(most, frames)).astype(int)):
                wanted[(camera, model, int(index))] = ''
    return wanted


def draw_thumbnails(wanted: Mapping[Key, str], images: Iterable[Any],
                    cameras: Mapping[str, Sequence[str]], lines: Iterable[Mapping[str, Any]],
                    judges: Mapping[str, Evaluator] | None = None) -> list[Thumbnail]:
    """
    Read the wanted frames again and draw what was found, in the order in which they are wanted.

    Frames that cannot be decoded are left out: the report counts them as dropped.

    :param images: of the bag; only those that are wanted are decoded.
    :param cameras: which cameras look at a topic.
    :param lines: of ``detections.jsonl``.
    :param judges: what knows what is really there, by model.
    """
    kept = {(line['camera'], line['model'], line['index']): line for line in lines
            if (line['camera'], line['model'], line['index']) in wanted}
    left = set(kept)
    made: dict[Key, Thumbnail] = {}
    if not left:
        return []
    for image in images:
        keys = [key for key in left if key[2] == image.index
                and key[0] in cameras.get(image.topic, ())]
        if not keys:
            continue
        try:
            pixels = to_bgr(image.read())
        except ImageError:
            pixels = None
        for key in keys:
            left.discard(key)
            if pixels is not None:
                made[key] = _thumbnail(kept[key], wanted[key], pixels,
                                       (judges or {}).get(key[1]))
        if not left:
            break
    return [made[key] for key in wanted if key in made]


def jpeg(picture: NDArray[np.uint8]) -> bytes:
    """Return a picture as a JPEG file."""
    import cv2

    _, data = cv2.imencode('.jpg', picture, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    return data.tobytes()


def _thumbnail(line: Mapping[str, Any], why: str, pixels: NDArray[np.uint8],
               judge: Evaluator | None) -> Thumbnail:
    boxes = judged_boxes(line, None) if judge is None else judged_boxes(
        line, judge.truth_of(line), judge.classes)
    number = len(line['detections'])
    what = f'dropped: {line["dropped"]}' if line['dropped'] else (
        f'{number} detection{"" if number == 1 else "s"}')
    return Thumbnail(line['camera'], line['model'], line['index'], line['stamp_ns'],
                     jpeg(draw_boxes(pixels, boxes, WIDTH)), why or what)
