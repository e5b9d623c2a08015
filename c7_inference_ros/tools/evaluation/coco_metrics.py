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

"""COCO's figures, counted by pycocotools; nothing here has an opinion of its own."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
import io
from typing import Any
from typing import Mapping
from typing import Sequence
from typing import Union

from c7_inference_ros.errors import RuntimeNotAvailableError
import numpy as np
from numpy.typing import NDArray

#: image, x, y, width, height, score, category of each detection.
Rows = Union[NDArray[np.float64], Sequence[Sequence[float]]]
_ALL_AREAS, _BEST_100 = 0, 2


@dataclass(frozen=True, eq=False)
class Curve:
    """
    Precision over recall of one class, at an overlap of 0.5, as COCO interpolates it.

    :param recall: rising, 101 values at most; it ends where the detections end.
    :param precision: the best that is reached at this recall or a higher one.
    :param score: lowest score that is needed for it.
    """

    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    score: NDArray[np.float64]


@dataclass(frozen=True)
class CocoFigures:
    """
    Average precision, 0..1; None where there is no ground truth.

    :param map50_95: mean over the classes, averaged over overlaps of 0.5 to 0.95.
    :param map50: the same at an overlap of 0.5.
    :param ap50_95: by category.
    :param ap50: by category.
    :param curves: by category.
    """

    map50_95: float | None
    map50: float | None
    ap50_95: Mapping[int, float | None]
    ap50: Mapping[int, float | None]
    curves: Mapping[int, Curve]


def coco_class() -> Any:
    """
    Return ``pycocotools.coco.COCO``.

    :raises RuntimeNotAvailableError: pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO
    except ImportError as error:
        raise RuntimeNotAvailableError(
            f'accuracy cannot be measured without pycocotools ({error}); install it, for '
            f'example with: pip install pycocotools') from error
    return COCO


def indexed(dataset: Mapping[str, Any]) -> Any:
    """Return a ``COCO`` of a dataset: images, annotations and categories."""
    with contextlib.redirect_stdout(io.StringIO()):
        found = coco_class()()
        found.dataset = dataset
        found.createIndex()
    return found


def coco_figures(truth: Any, rows: Rows, categories: Sequence[int]) -> CocoFigures:
    """
    Measure detections; COCO itself takes the best 100 boxes of each class and picture.

    :param truth: ``COCO`` with the ground truth.
    :param rows: the detections.
    :param categories: what is measured; the others are left out.
    """
    from pycocotools.cocoeval import COCOeval

    categories = sorted(categories)
    with contextlib.redirect_stdout(io.StringIO()):
        if len(rows):
            found = truth.loadRes(np.asarray(rows, np.float64))
        else:
            found = indexed({**truth.dataset, 'annotations': []})
        result = COCOeval(truth, found, 'bbox')
        result.params.catIds = categories
        result.evaluate()
        result.accumulate()
        result.summarize()
    # [overlap, recall, category, area, most detections]; -1 where there is no ground truth.
    precision = result.eval['precision'][:, :, :, _ALL_AREAS, _BEST_100]
    scores = result.eval['scores'][0, :, :, _ALL_AREAS, _BEST_100]
    reached = result.eval['recall'][0, :, _ALL_AREAS, _BEST_100]
    levels = np.asarray(result.params.recThrs)
    curves = {}
    for column, category in enumerate(categories):
        if precision[0, 0, column] > -1 and reached[column] > 0:
            part = slice(0, int(np.searchsorted(levels, reached[column], side='right')))
            curves[category] = Curve(levels[part], precision[0, part, column],
                                     scores[part, column])
    return CocoFigures(
        _known(result.stats[0]), _known(result.stats[1]),
        {category: _mean(precision[:, :, column]) for column, category in enumerate(categories)},
        {category: _mean(precision[0, :, column]) for column, category in enumerate(categories)},
        curves)


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[values > -1]
    return float(known.mean()) if known.size else None


def _known(value: Any) -> float | None:
    return None if value < 0 else float(value)
