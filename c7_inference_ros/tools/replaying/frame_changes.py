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

"""How the detections of two replays of the same images differ, frame by frame."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from dataclasses import field
import json
from pathlib import Path
from typing import Any
from typing import Iterator
from typing import Mapping

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.evaluation.association import overlaps
import numpy as np

Detection = Mapping[str, Any]
#: Intersection over union from which two boxes of a class are the same object, and below which
#: the object has moved.
SAME_OBJECT, SAME_PLACE = 0.5, 0.9
#: Difference of scores that is no change: other devices and precisions round differently.
SCORE_TOLERANCE = 0.05
#: Most frames that are named.
MAX_NAMED = 200
_KEY = ('camera', 'model', 'index', 'stamp_ns')


@dataclass(frozen=True)
class FrameChange:
    """
    What is different in one frame.

    :param camera: name of the camera.
    :param model: name of the model.
    :param index: number of the image.
    :param stamp_ns: of its header.
    :param lost: detections of the baseline that are not there any more.
    :param new: detections that the baseline has not.
    :param moved: (before, after) whose boxes differ.
    :param rescored: (before, after) whose scores differ, and their boxes do not.
    """

    camera: str
    model: str
    index: int
    stamp_ns: int
    lost: tuple[Detection, ...] = ()
    new: tuple[Detection, ...] = ()
    moved: tuple[tuple[Detection, Detection], ...] = ()
    rescored: tuple[tuple[Detection, Detection], ...] = ()

    def __bool__(self) -> bool:
        """Return whether anything is different."""
        return bool(self.lost or self.new or self.moved or self.rescored)

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return {'camera': self.camera, 'model': self.model, 'index': self.index,
                'stamp_ns': self.stamp_ns, 'lost': list(self.lost), 'new': list(self.new),
                **{name: [{'before': before, 'after': after} for before, after in pairs]
                   for name, pairs in (('moved', self.moved), ('rescored', self.rescored))}}


@dataclass
class StreamChanges:
    """
    What is different in the frames of one camera and model.

    :param compared: frames that both replays have detections of.
    :param changed: those of them that differ.
    :param lost: detections by class.
    :param new: detections by class.
    :param moved: detections.
    :param rescored: detections.
    :param first: frames that differ, :data:`MAX_NAMED` at most.
    """

    compared: int = 0
    changed: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    new: Counter[str] = field(default_factory=Counter)
    moved: int = 0
    rescored: int = 0
    first: list[FrameChange] = field(default_factory=list)

    def add(self, change: FrameChange) -> None:
        """Take what is different in one frame."""
        self.compared += 1
        if not change:
            return
        self.changed += 1
        self.lost.update(one['label'] for one in change.lost)
        self.new.update(one['label'] for one in change.new)
        self.moved += len(change.moved)
        self.rescored += len(change.rescored)
        if len(self.first) < MAX_NAMED:
            self.first.append(change)

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return {'compared': self.compared, 'changed': self.changed, 'lost': dict(self.lost),
                'new': dict(self.new), 'moved': self.moved, 'rescored': self.rescored,
                'frames': [one.as_dict() for one in self.first]}

    def text(self) -> str:
        """Return what is different, for people."""
        parts = [f'{sum(found.values())} {word} ({_classes(found)})'
                 for word, found in (('lost', self.lost), ('new', self.new)) if found]
        parts += [f'{count} {word}' for word, count in (
            ('moved', self.moved), ('with other scores', self.rescored)) if count]
        return ', '.join(parts)

    def named(self, most: int = 8) -> str:
        """Return the numbers of the frames that differ, the first few."""
        rest = self.changed - min(len(self.first), most)
        return ', '.join(str(one.index) for one in self.first[:most]) + (
            f' and {rest} more' if rest else '')


def compare_lines(before: Path, after: Path,
                  borders: Mapping[str, float]) -> dict[tuple[str, str], StreamChanges]:
    """
    Compare two files ``detections.jsonl``, a line of each at a time.

    :param before: that of the baseline.
    :param after: that of this replay.
    :param borders: score threshold by model, where both replays have the same: a detection that
        is there only once and hardly above it is no change.
    :returns: by camera and model.
    :raises ConfigurationError: they are of different images, or one is damaged.
    """
    found: dict[tuple[str, str], StreamChanges] = {}
    lines_before, lines_after = read_lines(before), read_lines(after)
    for number, line in enumerate(lines_after, 1):
        other = next(lines_before, None)
        if other is None:
            raise ConfigurationError(f'{before} ends before line {number}, {after} does not: the '
                                     f'baseline is not whole, or of other images')
        for name in _KEY:
            if line[name] != other[name]:
                raise ConfigurationError(
                    f'{before}:{number} has {name} {other[name]!r}, this replay has '
                    f'{line[name]!r}: the baseline is of other images')
        changes = found.setdefault((line['camera'], line['model']), StreamChanges())
        if not line['dropped'] and not other['dropped']:
            changes.add(compare_frame(other, line, borders.get(line['model'])))
    if next(lines_before, None) is not None:
        raise ConfigurationError(f'{before} has more lines than {after}: the baseline is of other '
                                 f'images')
    return found


def compare_frame(before: Mapping[str, Any], after: Mapping[str, Any],
                  border: float | None = None) -> FrameChange:
    """
    Compare two lines of the same image.

    Boxes of one class are paired greedily, the pair that overlaps most first.

    :param border: score threshold of both.
    """
    old, new = before['detections'], after['detections']
    pairs = [(old[one], new[two], overlap) for one, two, overlap in _pairs(old, new)]
    kept_old = {id(one) for one, _, _ in pairs}
    kept_new = {id(two) for _, two, _ in pairs}
    least = -1.0 if border is None else border + SCORE_TOLERANCE
    return FrameChange(
        after['camera'], after['model'], after['index'], after['stamp_ns'],
        lost=tuple(one for one in old if id(one) not in kept_old and one['score'] > least),
        new=tuple(one for one in new if id(one) not in kept_new and one['score'] > least),
        moved=tuple((one, two) for one, two, overlap in pairs if overlap < SAME_PLACE),
        rescored=tuple((one, two) for one, two, overlap in pairs if overlap >= SAME_PLACE
                       and abs(one['score'] - two['score']) > SCORE_TOLERANCE))


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """
    Yield the lines of ``detections.jsonl``.

    :raises ConfigurationError: it cannot be read, or a line is not one of it.
    """
    try:
        with path.open(encoding='utf-8') as file:
            for number, text in enumerate(file, 1):
                line = json.loads(text)
                line['detections'] = [
                    {'class_id': int(one['class_id']), 'label': str(one['label']),
                     'score': float(one['score']), 'box': [float(x) for x in one['box']]}
                    for one in line['detections']]
                if any(len(one['box']) != 4 for one in line['detections']):
                    raise ValueError('a box without 4 numbers')
                yield {name: line[name] for name in (*_KEY, 'dropped', 'detections')}
    except OSError as error:
        raise ConfigurationError(f'{path} cannot be read ({error.strerror}); it lies beside '
                                 f'report.json, keep both') from error
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f'{path}:{number} is no line of detections.jsonl '
                                 f'({type(error).__name__}: {error}); take the file as replay '
                                 f'wrote it') from error


def _pairs(old: list[Detection], new: list[Detection]) -> Iterator[tuple[int, int, float]]:
    if not old or not new:
        return
    boxes = [np.array([one['box'] for one in every], np.float64) for every in (old, new)]
    overlap = overlaps(boxes[0], boxes[1], np.zeros(len(new), bool))
    classes = [np.array([one['class_id'] for one in every]) for every in (old, new)]
    overlap[classes[0][:, None] != classes[1][None, :]] = -1.0
    taken_old, taken_new = set(), set()
    for flat in np.argsort(-overlap, axis=None, kind='stable').tolist():
        one, two = divmod(flat, len(new))
        if overlap[one, two] < SAME_OBJECT:
            return
        if one not in taken_old and two not in taken_new:
            taken_old.add(one)
            taken_new.add(two)
            yield one, two, float(overlap[one, two])


def _classes(found: Counter[str]) -> str:
    return ', '.join(f'{label} {count}' for label, count in found.most_common())
