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

"""
Which detection is which object, decided greedily: the highest score chooses first.

A detection takes the free object that it overlaps most, when that is enough. One that overlaps no
free object, but lies in a crowd region, is neither right nor wrong, as with COCO. A detection
never changes what a better one took, so that raising the threshold of a class only takes its
worst detections away.
"""

from __future__ import annotations

from dataclasses import dataclass

from c7_inference_ros.tools.evaluation.ground_truth import FrameTruth
import numpy as np
from numpy.typing import NDArray

#: In place of the index of an object: wrong; and neither right nor wrong.
WRONG, IGNORED = -1, -2


def overlaps(boxes: NDArray[np.float64], truth: NDArray[np.float64],
             is_crowd: NDArray[np.bool_]) -> NDArray[np.float64]:
    """
    Return intersection over union; for a crowd, over the area of the detection alone.

    :param boxes: (x1, y1, x2, y2), ``[N, 4]``.
    :param truth: ``[M, 4]``.
    :param is_crowd: ``[M]``.
    :returns: ``[N, M]``, 0..1.
    """
    low = np.maximum(boxes[:, None, :2], truth[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], truth[None, :, 2:])
    common = np.prod(np.maximum(high - low, 0.0), axis=2)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)[:, None]
    others = np.prod(truth[:, 2:] - truth[:, :2], axis=1)[None, :]
    union = np.where(is_crowd[None, :], areas, areas + others - common)
    result: NDArray[np.float64] = common / np.maximum(union, np.finfo(np.float64).tiny)
    return result


def associate(boxes: NDArray[np.float64], scores: NDArray[np.float32],
              classes: NDArray[np.int64], truth: FrameTruth, least_overlap: float = 0.5,
              class_agnostic: bool = False) -> NDArray[np.int64]:
    """
    Return for each detection the index of its object, :data:`WRONG` or :data:`IGNORED`.

    :param boxes: of the detections, ``[N, 4]``.
    :param scores: ``[N]``.
    :param classes: ``[N]``, as in ``truth``.
    :param least_overlap: intersection over union that is enough.
    :param class_agnostic: let a detection take an object of another class.
    """
    found = np.full(len(boxes), WRONG, np.int64)
    if not len(boxes) or not len(truth):
        return found
    overlap = overlaps(boxes, truth.boxes, truth.is_crowd)
    if not class_agnostic:
        overlap[classes[:, None] != truth.classes[None, :]] = -1.0
    in_crowd = overlap[:, truth.is_crowd].max(axis=1, initial=-1.0) >= least_overlap
    overlap[:, truth.is_crowd] = -1.0
    for which in np.argsort(-scores, kind='stable'):
        best = int(overlap[which].argmax())
        if overlap[which, best] >= least_overlap:
            found[which] = best
            overlap[:, best] = -1.0
        elif in_crowd[which]:
            found[which] = IGNORED
    return found


@dataclass(frozen=True)
class Counts:
    """
    Right, wrong and missed, of one class or of all.

    :param tp: detections that are an object.
    :param fp: detections that are none.
    :param fn: objects that were not detected.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Return both together."""
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def objects(self) -> int:
        """How many objects there are."""
        return self.tp + self.fn

    @property
    def precision(self) -> float | None:
        """Share of the detections that are right; None where nothing was detected."""
        return _share(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float | None:
        """Share of the objects that were detected; None where there is no object."""
        return _share(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of both; None where there is neither an object nor a detection."""
        return _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the counts and what follows of them."""
        return {'precision': self.precision, 'recall': self.recall, 'f1': self.f1,
                'tp': self.tp, 'fp': self.fp, 'fn': self.fn}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
