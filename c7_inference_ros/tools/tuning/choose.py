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

"""Which setting is best: the highest F1, or the most that is found at a wanted precision."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from typing import Mapping
from typing import Sequence

from c7_inference_ros.errors import C7Error
from c7_inference_ros.tools.tuning.sweep import FN
from c7_inference_ros.tools.tuning.sweep import FP
from c7_inference_ros.tools.tuning.sweep import Swept
from c7_inference_ros.tools.tuning.sweep import TP
import numpy as np
from numpy.typing import NDArray

#: Values that differ by less are the same.
_EQUAL = 1e-9
Counts = NDArray[np.int64]
Values = NDArray[np.float64]


class UnreachableError(C7Error):
    """No setting does what was asked for; the answer is no."""


@dataclass(frozen=True)
class Wish:
    """
    What is asked for.

    :param is_by_class: tune a threshold for each class, not one for all.
    :param is_micro: judge all boxes together, not the mean over the classes.
    :param min_precision: precision that has to be held, for the most recall; None for the
        highest F1.
    """

    is_by_class: bool = False
    is_micro: bool = False
    min_precision: float | None = None

    @property
    def is_over_all_boxes(self) -> bool:
        """Whether what is maximised is counted over the boxes of all classes."""
        return not self.is_by_class and (self.is_micro or self.min_precision is not None)


@dataclass(frozen=True, eq=False)
class Present:
    """
    What is in force.

    :param scores: threshold of each class, ``[C]``.
    :param has_own: which classes have a threshold of their own, ``[C]``.
    :param overlap: NMS threshold.
    """

    scores: NDArray[np.float64]
    has_own: NDArray[np.bool_]
    overlap: float


@dataclass(frozen=True)
class Choice:
    """
    The setting that is best.

    :param overlap: NMS threshold.
    :param score: for all classes without one of their own; None when it stays.
    :param by_class: by index of the class.
    """

    overlap: float
    score: float | None = None
    by_class: Mapping[int, float] = field(default_factory=dict)


def f1_of(counts: Counts) -> Values:
    """Return F1 of counts ``[..., 3]``; 0 where there is nothing at all."""
    both = 2 * counts[..., TP]
    return _share(both, both + counts[..., FP] + counts[..., FN])


def precision_of(counts: Counts) -> Values:
    """Return precision of counts ``[..., 3]``; 0 where nothing is detected."""
    return _share(counts[..., TP], counts[..., TP] + counts[..., FP])


def value_of(counts: Counts, wish: Wish, tuned: Sequence[int]) -> float:
    """
    Return what is maximised, of the counts by class ``[C, 3]``.

    :param tuned: classes that have enough objects.
    """
    return float(values_of(counts[:, None], wish, tuned)[0])


def values_of(counts: Counts, wish: Wish, tuned: Sequence[int]) -> Values:
    """Return what is maximised, ``[T]``, of counts ``[C, T, 3]``; negative where not allowed."""
    if wish.min_precision is None:
        if wish.is_micro:
            return f1_of(counts.sum(axis=0))
        mean: Values = f1_of(counts[list(tuned)]).mean(axis=0)
        return mean
    # Precision is held over all boxes, or by the one class that is looked at.
    total = counts.sum(axis=0)
    recall = _share(total[..., TP], total[..., TP] + total[..., FN])
    allowed = (precision_of(total) >= wish.min_precision) & (total[..., TP] > 0)
    return np.where(allowed, recall, -1.0)


def choose(swept: Swept, wish: Wish, present: Present, tuned: Sequence[int],
           names: Sequence[str]) -> Choice:
    """
    Return the best setting; of equally good ones the present, else the middle of the widest range.

    A maximum that a single object decides is narrow, and the middle of a wide range stays good
    when other pictures shift it.

    :param tuned: classes that have enough objects; not empty.
    :param names: of the classes, for messages.
    :raises UnreachableError: nothing reaches the precision.
    """
    find = _choose_by_class if wish.is_by_class else _choose_for_all
    return find(swept, wish, present, tuned, names)


def _choose_for_all(swept: Swept, wish: Wish, present: Present, tuned: Sequence[int],
                    names: Sequence[str]) -> Choice:
    shape = swept.counts.shape
    where = np.tile(np.arange(shape[2]), (shape[1], 1))
    own = np.flatnonzero(present.has_own)
    where[own] = np.searchsorted(swept.scores, present.scores[own])[:, None]
    counts = np.take_along_axis(swept.counts, where[None, :, :, None], axis=2)
    values = np.stack([values_of(one, wish, tuned) for one in counts])
    if values.max() < 0.0:
        raise UnreachableError(
            f'no setting reaches a precision of {wish.min_precision:g}; the best is '
            f'{_best_precision(counts, wish, tuned):.3f}')
    # Where all classes have their own, the present threshold moves nothing.
    free = np.flatnonzero(~present.has_own)
    score = float(present.scores[free[0]]) if len(free) else float(swept.scores[0])
    row, column = _middle(values, swept, score, present.overlap)
    return Choice(swept.overlaps[row], float(swept.scores[column]))


def _choose_by_class(swept: Swept, wish: Wish, present: Present, tuned: Sequence[int],
                     names: Sequence[str]) -> Choice:
    values = {kind: np.stack([values_of(one[kind][None], wish, [0]) for one in swept.counts])
              for kind in tuned}
    best = np.stack([values[kind].max(axis=1) for kind in tuned])
    reached = (best >= 0.0).all(axis=0)
    if not reached.any():
        failing = [kind for kind, row in zip(tuned, best) if row.max() < 0.0] or list(tuned)
        listed = ', '.join(
            f'{names[kind]} {precision_of(swept.counts[:, kind]).max():.3f}' for kind in failing)
        raise UnreachableError(
            f'no setting reaches a precision of {wish.min_precision:g} for every class; the best '
            f'of those that fail: {listed}; name the others with --class')
    total = np.where(reached, best.sum(axis=0), -1.0)
    rows = np.flatnonzero(total >= total.max() - _EQUAL)
    row = min(rows, key=lambda one: abs(swept.overlaps[one] - present.overlap))
    chosen = {kind: float(swept.scores[_middle(
        values[kind][row:row + 1], swept, float(present.scores[kind]), present.overlap)[1]])
        for kind in tuned}
    return Choice(swept.overlaps[row], by_class=chosen)


def _middle(values: Values, swept: Swept, score: float, overlap: float) -> tuple[int, int]:
    """Return row and column of the best value, see :func:`choose`."""
    is_best = values >= values.max() - _EQUAL
    rows = range(len(values))
    for row in rows:
        column = int(np.searchsorted(swept.scores, score))
        known = len(values) == 1 or swept.overlaps[row] == overlap
        if known and column < len(swept.scores) and swept.scores[column] == score and (
                is_best[row, column]):
            return row, column
    runs = [(row, *run) for row in rows for run in _runs(is_best[row])]
    row, first, last = max(runs, key=lambda run: (
        swept.scores[run[2]] - swept.scores[run[1]],
        -abs(swept.overlaps[run[0]] - overlap) if len(values) > 1 else 0.0))
    middle = (swept.scores[first] + swept.scores[last]) / 2
    inside = np.abs(swept.scores[first:last + 1] - middle)
    return row, first + int(inside.argmin())


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return first and last index of each stretch of True."""
    edges = np.diff(np.concatenate(([0], flags.astype(np.int8), [0])))
    return list(zip(np.flatnonzero(edges == 1).tolist(),
                    (np.flatnonzero(edges == -1) - 1).tolist()))


def _best_precision(counts: Counts, wish: Wish, tuned: Sequence[int]) -> float:
    return float(precision_of(counts.sum(axis=1)).max())


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Values:
    result: Values = part / np.maximum(whole, 1)
    return result
