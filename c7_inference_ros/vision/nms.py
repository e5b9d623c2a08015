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

"""Greedy non-maximum suppression, vectorised over the boxes that are left."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def nms(boxes: npt.NDArray[np.floating[Any]], scores: npt.NDArray[np.floating[Any]],
        class_ids: npt.NDArray[np.integer[Any]], iou_threshold: float,
        class_agnostic: bool = False, max_detections: int | None = None
        ) -> npt.NDArray[np.int64]:
    """
    Choose the boxes that no better box of their class overlaps too much.

    A box is dropped when its intersection over union with a better one that was kept is above
    the threshold. Equal scores keep the order of the input, so the result is the same every
    time. The work is bounded by ``max_detections`` passes over the boxes: the best come first, so
    stopping there changes nothing.

    :param boxes: (x1, y1, x2, y2) finite, [N, 4], any unit.
    :param scores: finite, [N].
    :param class_ids: [N].
    :param iou_threshold: 0 to 1.
    :param class_agnostic: let boxes of different classes suppress each other.
    :param max_detections: largest number of boxes to keep; None for any.
    :returns: indices of the kept boxes, int64 [M], best first.
    """
    order = np.argsort(-scores, kind='stable')
    limit = len(order) if max_detections is None else max_detections
    # float64: the areas of huge boxes would overflow float32.
    left, top, right, bottom = np.ascontiguousarray(boxes[order].T, dtype=np.float64)
    areas = np.maximum(right - left, 0.0) * np.maximum(bottom - top, 0.0)
    classes = class_ids[order]
    is_alive = np.ones(len(order), dtype=bool)
    kept: list[int] = []
    best = 0
    while len(kept) < limit and best < len(order):
        kept.append(best)
        rest = slice(best + 1, None)
        width = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest])
        height = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest])
        overlap = np.maximum(width, 0.0) * np.maximum(height, 0.0)
        is_hit = overlap > iou_threshold * (areas[best] + areas[rest] - overlap)
        if not class_agnostic:
            is_hit &= classes[rest] == classes[best]
        is_alive[rest] &= ~is_hit
        following = is_alive[rest]
        step = int(following.argmax()) if len(following) else 0
        best = best + 1 + step if len(following) and following[step] else len(order)
    return order[np.array(kept, dtype=np.int64)]
