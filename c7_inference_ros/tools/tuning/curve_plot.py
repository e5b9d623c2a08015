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

"""The picture of a tuning: what each threshold would have given, and which was taken."""

from __future__ import annotations

import io
from typing import Any
from typing import Sequence

from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.tools.tuning.choose import Choice
from c7_inference_ros.tools.tuning.choose import f1_of
from c7_inference_ros.tools.tuning.choose import precision_of
from c7_inference_ros.tools.tuning.choose import Present
from c7_inference_ros.tools.tuning.choose import values_of
from c7_inference_ros.tools.tuning.choose import Wish
from c7_inference_ros.tools.tuning.sweep import FN
from c7_inference_ros.tools.tuning.sweep import FP
from c7_inference_ros.tools.tuning.sweep import Swept
from c7_inference_ros.tools.tuning.sweep import TP
import numpy as np

_MOST_CLASSES = 8


def draw(swept: Swept, present: Present, choice: Choice, wish: Wish, tuned: Sequence[int],
         names: Sequence[str], title: str) -> bytes:
    """
    Return a PNG: what each score threshold gives, and the best for each NMS threshold.

    :param tuned: classes that have enough objects.
    :raises RuntimeNotAvailableError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeNotAvailableError(
            f'the curve cannot be drawn without matplotlib ({error}); install it, for example '
            f'with: pip install matplotlib') from error
    figure = Figure(figsize=(11, 4.5), dpi=110, layout='constrained')
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, gridspec_kw={'width_ratios': (3, 2)})
    row = list(swept.overlaps).index(choice.overlap)
    if choice.by_class:
        _classes(left, swept, row, present, choice, tuned, names)
    else:
        _all_boxes(left, swept, row, present, choice, wish, tuned)
    left.set(xlabel='score threshold', ylim=(0, 1.02), xlim=(0, 1),
             title=f'at an NMS threshold of {choice.overlap:g}')
    right.plot(swept.overlaps, [_best(one, choice, wish, tuned) for one in swept.counts],
               marker='o', color='black', label=_objective(wish, tuned))
    right.axvline(present.overlap, color='0.5', linestyle=':', label='before')
    right.axvline(choice.overlap, color='tab:red', linestyle='--', label='after')
    right.set(xlabel='NMS threshold', ylim=(0, 1.02), title='with the best score thresholds')
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize='small')
    figure.suptitle(title)
    stream = io.BytesIO()
    figure.savefig(stream, format='png')
    return stream.getvalue()


def _all_boxes(axes: Any, swept: Swept, row: int, present: Present, choice: Choice, wish: Wish,
               tuned: Sequence[int]) -> None:
    total = swept.counts[row].sum(axis=0)
    recall = total[:, TP] / np.maximum(total[:, TP] + total[:, FN], 1)
    precision = np.where(total[:, TP] + total[:, FP] > 0, precision_of(total), np.nan)
    for values, name in ((precision, 'precision'), (recall, 'recall'), (f1_of(total), 'F1')):
        axes.plot(swept.scores, values, label=f'{name} of all boxes')
    values = values_of(swept.counts[row], wish, tuned)
    axes.plot(swept.scores, np.where(values < 0.0, np.nan, values), color='black', linewidth=2,
              label=_objective(wish, tuned))
    free = present.scores[~present.has_own]
    if len(free):
        axes.axvline(free[0], color='0.5', linestyle=':', label='before')
    if choice.score is not None:
        axes.axvline(choice.score, color='tab:red', linestyle='--', label='after')


def _classes(axes: Any, swept: Swept, row: int, present: Present, choice: Choice,
             tuned: Sequence[int], names: Sequence[str]) -> None:
    objects = swept.counts[row, :, 0, TP] + swept.counts[row, :, 0, FN]
    for kind in sorted(tuned, key=lambda one: -objects[one])[:_MOST_CLASSES]:
        values = f1_of(swept.counts[row, kind])
        line, = axes.plot(swept.scores, values, label=f'F1 of {names[kind]} ({objects[kind]})')
        for at, marker in ((present.scores[kind], 'o'), (choice.by_class[kind], '*')):
            axes.plot(at, np.interp(at, swept.scores, values), marker, markersize=9,
                      color=line.get_color(), markeredgecolor='black')
    axes.plot([], [], 'o', color='w', markeredgecolor='black', label='before')
    axes.plot([], [], '*', color='w', markeredgecolor='black', markersize=9, label='after')


def _best(counts: Any, choice: Choice, wish: Wish, tuned: Sequence[int]) -> float:
    """Return the best value for one NMS threshold; NaN where nothing is allowed."""
    if choice.by_class:
        best = [float(values_of(counts[kind][None], wish, [0]).max()) for kind in tuned]
    else:
        best = [float(values_of(counts, wish, tuned).max())]
    return float('nan') if min(best) < 0.0 else sum(best) / len(best)


def _objective(wish: Wish, tuned: Sequence[int]) -> str:
    whose = 'all boxes' if wish.is_over_all_boxes else f'{len(tuned)} tuned classes, mean'
    if wish.min_precision is None:
        return f'F1 of {whose}: maximised'
    return f'recall of {whose}, at a precision of {wish.min_precision:g}: maximised'
