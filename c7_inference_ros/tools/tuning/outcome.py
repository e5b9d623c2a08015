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

"""What a tuning has to say: for people a table, for machines the same numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from typing import Mapping
from typing import Sequence

from c7_inference_ros.tools.console import table
from c7_inference_ros.tools.evaluation.association import Counts
import numpy as np
from numpy.typing import NDArray

_HEADER = ('CLASS', 'OBJECTS', 'THRESHOLD', 'PRECISION', 'RECALL', 'F1')


@dataclass(frozen=True, eq=False)
class Outcome:
    """
    One part of the pictures, with the settings of before and after.

    :param name: ``tuning`` or ``held out``.
    :param pictures: how many there are.
    :param before: right, wrong and missed by class, ``[C, 3]``, really decoded.
    :param after: the same.
    """

    name: str
    pictures: int
    before: NDArray[np.int64]
    after: NDArray[np.int64]

    def macro(self, tuned: Sequence[int]) -> tuple[float | None, float | None]:
        """Return the mean F1 of some classes, before and after."""
        return (mean_f1(self.before, tuned), mean_f1(self.after, tuned))

    def as_dict(self, names: Sequence[str], tuned: Sequence[int]) -> dict[str, Any]:
        """Return it for JSON."""
        return {'pictures': self.pictures, **{
            moment: {'all': as_counts(counts.sum(axis=0)).as_dict(),
                     'macro_f1': mean_f1(counts, tuned),
                     'per_class': {names[kind]: as_counts(counts[kind]).as_dict()
                                   for kind in range(len(names)) if counts[kind].any()}}
            for moment, counts in (('before', self.before), ('after', self.after))}}


def as_counts(row: NDArray[np.int64]) -> Counts:
    """Return three numbers as what they mean."""
    return Counts(*map(int, row))


def mean_f1(counts: NDArray[np.int64], tuned: Sequence[int]) -> float | None:
    """Return the mean F1 of those of some classes that occur; None where none does."""
    found = [value for kind in tuned if (value := as_counts(counts[kind]).f1) is not None]
    return sum(found) / len(found) if found else None


def lines(outcomes: Sequence[Outcome], names: Sequence[str], tuned: Sequence[int],
          thresholds: Mapping[int, tuple[float, float]]) -> list[str]:
    """
    Return the tables: each tuned class, the others together, all together.

    :param thresholds: before and after, by class.
    """
    shown: list[str] = []
    for one in outcomes:
        ordered = sorted(tuned, key=lambda kind: -int(one.before[kind, [0, 2]].sum()))
        rows = [(names[kind], *_cells(one.before[kind], one.after[kind], thresholds[kind]))
                for kind in ordered]
        others = [kind for kind in thresholds if kind not in tuned and (
            one.before[kind].any() or one.after[kind].any())]
        if others:
            rows.append((f'{len(others)} other', *_cells(
                one.before[others].sum(axis=0), one.after[others].sum(axis=0), None)))
        rows.append(('all boxes', *_cells(one.before.sum(axis=0), one.after.sum(axis=0), None)))
        before, after = one.macro(tuned)
        if len(tuned) > 1:
            rows.append((f'mean of the {len(tuned)}', '', '', '', '', _pair(before, after)))
        shown += [f'{one.name}, {one.pictures} pictures:', *table(rows, _HEADER)]
    return shown


def _cells(before: NDArray[np.int64], after: NDArray[np.int64],
           thresholds: tuple[float, float] | None) -> tuple[str, ...]:
    old, new = as_counts(before), as_counts(after)
    shown = '' if thresholds is None else f'{thresholds[0]:g}' if (
        thresholds[0] == thresholds[1]) else f'{thresholds[0]:g} -> {thresholds[1]:g}'
    return (str(old.objects), shown, _pair(old.precision, new.precision),
            _pair(old.recall, new.recall), _pair(old.f1, new.f1))


def _pair(before: float | None, after: float | None) -> str:
    return f'{_value(before)} -> {_value(after)}'


def _value(value: float | None) -> str:
    return '-' if value is None else f'{value:.3f}'
