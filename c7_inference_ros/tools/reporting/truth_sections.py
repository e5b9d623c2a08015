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

"""The parts of a page that compare what was found with ground truth, and show frames."""

from __future__ import annotations

from typing import Any
from typing import Iterable
from typing import Mapping
from typing import Sequence

from c7_inference_ros.tools.reporting.boxes import BLUE
from c7_inference_ros.tools.reporting.boxes import GRAY
from c7_inference_ros.tools.reporting.boxes import RED
from c7_inference_ros.tools.reporting.boxes import YELLOW
from c7_inference_ros.tools.reporting.gallery import Gallery
from c7_inference_ros.tools.reporting.text import facts
from c7_inference_ros.tools.reporting.text import Html
from c7_inference_ros.tools.reporting.text import picture
from c7_inference_ros.tools.reporting.text import section
from c7_inference_ros.tools.reporting.text import share
from c7_inference_ros.tools.reporting.text import table
from c7_inference_ros.tools.reporting.text import tag
from c7_inference_ros.tools.reporting.thumbnails import Thumbnail

#: Classes of the matrix; a larger one cannot be read.
MAX_MATRIX = 12
_BACKGROUND = 'background'


def evaluation(report: Mapping[str, Any], plots: Any) -> Html:
    """Return the comparison with ground truth; nothing without one."""
    found = report.get('evaluation')
    if not found:
        return Html('')
    parts: list[Any] = []
    for model, one in found.items():
        frames = one['frames']
        parts += [
            tag('h3', model),
            facts((('mAP50-95', share(one['mAP50_95'])), ('mAP50', share(one['mAP50'])),
                   ('Precision', share(one['precision'])), ('Recall', share(one['recall'])),
                   ('F1', share(one['f1'])),
                   ('Frames', ', '.join(f'{count} {what}' for what, count in frames.items())))),
            tag('p', f'Precision, recall and F1 hold for an overlap of {one["iou"]:g} and the '
                     f'thresholds of the run. Average precision knows nothing below the lowest '
                     f'score, which is {share(one["lowest_score"])}.', class_='soft'),
            *_problems(one.get('problems', ())),
            table(('Class', 'AP50-95', 'AP50', 'Precision', 'Recall', 'F1', 'Right', 'Wrong',
                   'Missed'), (
                (name, *(share(values.get(key)) for key in (
                    'ap', 'ap50', 'precision', 'recall', 'f1')), values['tp'], values['fp'],
                 values['fn']) for name, values in _by_objects(one['per_class']))),
            tag('h3', f'{model}: what was taken for what'), _confusion(one['confusion'])]
        if plots is not None and one['pr_curves']:
            parts += [tag('h3', f'{model}: precision over recall'),
                      tag('div', Html(plots.precision_recall(one)), class_='plot')]
    return section('Against ground truth', *parts)


def frames(thumbnails: Sequence[Thumbnail], report: Mapping[str, Any]) -> Html:
    """Return the drawn frames; nothing without."""
    if not thumbnails:
        return Html('')
    judged = report.get('evaluation') or {}
    key = [(BLUE, 'right'), (RED, 'wrong'), (YELLOW, 'missed'), (GRAY, 'not judged')]
    parts: list[Any] = []
    for model in dict.fromkeys(one.model for one in thumbnails):
        parts.append(tag('h3', f'{model}: the frames with the lowest F1' if model in judged else
                         f'{model}: frames evenly over the bag'))
        if model in judged:
            parts.append(tag('p', *(tag('span', tag('i', style=f'color: {_css(color)}'), what)
                                    for color, what in key), class_='key soft'))
        parts.append(tag('div', *(picture(
            one.jpeg, 'jpeg', f'frame {one.index} of {one.camera}',
            f'{one.camera} {one.index}, stamp {one.stamp_ns}: {one.what}')
            for one in thumbnails if one.model == model), class_='gallery'))
    return section('Frames to look at', *parts)


def galleries(given: Iterable[Gallery]) -> Iterable[Html]:
    """Yield the parts that others add."""
    for one in given:
        yield section(one.title, *(tag('p', line) for line in one.lines), tag('div', *(
            picture(shown.data, shown.kind, shown.title, shown.caption)
            for shown in one.pictures), class_='gallery wide'))


def _problems(lines: Sequence[str]) -> Iterable[Html]:
    if lines:
        yield tag('ul', *(tag('li', line) for line in lines), class_='problems')


def _by_objects(classes: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    return sorted(classes.items(), key=lambda item: (-item[1]['tp'] - item[1]['fn'], item[0]))


def _confusion(found: Mapping[str, Any]) -> Html:
    """Return the matrix: rows are what is there, columns what was found."""
    labels, matrix = found['labels'], found['matrix']
    most = sorted(range(len(labels) - 1), key=lambda one: (
        -sum(matrix[one]) - sum(row[one] for row in matrix), one))
    shown = [*sorted(most[:MAX_MATRIX]), len(labels) - 1]
    left_out = len(labels) - len(shown)
    rows = []
    for row in shown:
        total = sum(matrix[row]) or 1
        rows.append((_side(labels, row, 'nothing there'), *(
            _cell(matrix[row][column], matrix[row][column] / total, row, column, len(labels))
            for column in shown)))
    note = 'Rows: what is there. Columns: what was found. Shade: share of the row.'
    if left_out:
        note += f' {left_out} classes with fewer boxes are left out.'
    return tag('div', table(('', *(_side(labels, column, 'not found') for column in shown)), rows,
                            caption=note), class_='confusion')


def _side(labels: Sequence[str], at: int, background: str) -> str:
    return background if at == len(labels) - 1 and labels[at] == _BACKGROUND else labels[at]


def _cell(count: int, part: float, row: int, column: int, size: int) -> Html:
    if row == column == size - 1:
        return tag('td', '', class_='n')
    kinds = ' '.join(['n', *(['right'] if row == column else []), *([] if count else ['zero'])])
    return tag('td', count or '·', class_=kinds,
               style=f'background: rgba(var(--heat), {0.55 * part:.2f})' if count else '')


def _css(color: tuple[int, int, int]) -> str:
    blue, green, red = color
    return f'rgb({red}, {green}, {blue})'
