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

"""What every decoder ends with: thresholds, class filter, suppression, source pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from c7_inference_ros.errors import InferenceError
from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.letterbox import ImageGeometry
from c7_inference_ros.vision.nms import nms
from c7_inference_ros.vision.settings import DetectionSettings
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
#: A score this far above 1 is no rounding of a half float.
_SCORE_LIMIT = 1.01
_CLASS_LIMIT = 100_000
#: Candidates that are suppressed at most, the best ones, so that a broken model or a threshold
#: of 0 cannot hold up the frames; as many as Ultralytics takes.
MAX_CANDIDATES = 30_000


@dataclass(frozen=True)
class Candidates:
    """
    Boxes that a decoder read, not yet checked.

    :param boxes: (x1, y1, x2, y2) in pixels of the network input, float32 [N, 4].
    :param scores: float32 [N].
    :param class_ids: zero-based, [N], integers or whole floats.
    """

    boxes: Array
    scores: Array
    class_ids: Array


def as_float32(array: Array) -> npt.NDArray[np.float32]:
    """Return an array as float32, the same array where it is that already."""
    return array.astype(np.float32, copy=False)


def centers_to_corners(boxes: Array) -> npt.NDArray[np.float32]:
    """Return (x1, y1, x2, y2) of boxes (center x, center y, width, height), float32 [N, 4]."""
    centers, halves = as_float32(boxes[:, :2]), as_float32(boxes[:, 2:4]) / 2
    return np.concatenate((centers - halves, centers + halves), axis=1)


def with_objectness(rows: Array, floor: float) -> tuple[npt.NDArray[np.intp], Array, Array]:
    """
    Score anchors that carry an objectness and one score for each class.

    Every class of an anchor is a candidate for itself: a filter or threshold of one class must
    not depend on the others, and accuracy is measured that way.

    :param rows: [N, 5 + C]: box, objectness, classes.
    :param floor: lowest score of interest.
    :returns: for each pair of anchor and class that reaches the floor: the anchor's index, the
        score float32, the class.
    """
    # Class scores are at most 1, so an objectness below the floor settles it.
    index = np.flatnonzero(rows[:, 4] >= floor)
    likely = as_float32(rows[index, 4:])
    scores = likely[:, 1:] * likely[:, :1]
    found, class_ids = np.nonzero(scores >= floor)
    return index[found], scores[found, class_ids], class_ids


def score_floor(settings: DetectionSettings) -> float:
    """Return the lowest score that any wanted class publishes; infinity when none is wanted."""
    named = np.min(settings.score_thresholds, where=settings.class_mask, initial=np.inf)
    unnamed = settings.unnamed_threshold
    return float(named) if unnamed is None else min(float(named), unnamed)


def to_detections(candidates: Candidates, geometry: ImageGeometry, settings: DetectionSettings,
                  needs_nms: bool, full_name: str) -> Detections:
    """
    Turn candidates into what is published.

    Whatever is not finite or has no area inside the source image is dropped.

    :param full_name: full parameter name of the decoder, for messages.
    :returns: detections in source pixels, best first, at most ``settings.max_detections``.
    :raises InferenceError: when scores show that the tensors mean something else.
    """
    boxes, scores = as_float32(candidates.boxes), as_float32(candidates.scores)
    index = np.flatnonzero(np.isfinite(scores) & np.isfinite(boxes).all(axis=1))
    scores = scores[index]
    if len(scores) and scores.max() > _SCORE_LIMIT:
        raise InferenceError(
            f'{full_name}: a score of {scores.max():g} found, expected 0 to 1; the outputs are '
            f'not what this decoder reads, set {full_name} to the one that fits the model')
    class_ids = _whole(candidates.class_ids[index])
    is_wanted = settings.keep(scores, class_ids)
    index, scores, class_ids = index[is_wanted], scores[is_wanted], class_ids[is_wanted]
    if needs_nms and len(index) > MAX_CANDIDATES:
        best = np.argsort(-scores, kind='stable')[:MAX_CANDIDATES]
        index, scores, class_ids = index[best], scores[best], class_ids[best]
    # Suppression sees whole boxes: cutting them at the image border would change overlaps.
    boxes = boxes[index]
    in_source = geometry.boxes_to_source(boxes)
    is_visible = (in_source[:, 2] > in_source[:, 0]) & (in_source[:, 3] > in_source[:, 1])
    visible = np.flatnonzero(is_visible)
    scores, class_ids = scores[visible], class_ids[visible]
    if needs_nms:
        kept = nms(boxes[visible], scores, class_ids, settings.nms_threshold,
                   settings.class_agnostic_nms, settings.max_detections)
    else:
        kept = np.argsort(-scores, kind='stable')[:settings.max_detections]
    return Detections(boxes=in_source[visible[kept]], scores=np.minimum(scores[kept], 1.0),
                      class_ids=class_ids[kept])


def _whole(class_ids: Array) -> npt.NDArray[np.int32]:
    # Not every float fits into an integer: NaN and absurd classes become one that nobody wants.
    whole = np.rint(class_ids)
    return np.where((whole >= 0) & (whole < _CLASS_LIMIT), whole, -1).astype(np.int32)
