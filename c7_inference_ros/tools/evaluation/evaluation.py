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

"""The detections of one model against ground truth: what replay and tune report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any
from typing import Iterable
from typing import Mapping
from typing import Sequence

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.evaluation.association import associate
from c7_inference_ros.tools.evaluation.association import Counts
from c7_inference_ros.tools.evaluation.association import IGNORED
from c7_inference_ros.tools.evaluation.association import WRONG
from c7_inference_ros.tools.evaluation.coco_metrics import coco_figures
from c7_inference_ros.tools.evaluation.coco_metrics import CocoFigures
from c7_inference_ros.tools.evaluation.coco_metrics import indexed
from c7_inference_ros.tools.evaluation.frames import as_frame
from c7_inference_ros.tools.evaluation.frames import EvaluatedFrame
from c7_inference_ros.tools.evaluation.ground_truth import class_map
from c7_inference_ros.tools.evaluation.ground_truth import FrameTruth
from c7_inference_ros.tools.evaluation.ground_truth import GroundTruth
from c7_inference_ros.tools.evaluation.ground_truth import Matching
import numpy as np
from numpy.typing import NDArray

BACKGROUND = 'background'
MOST_WORST_FRAMES = 20


@dataclass(frozen=True)
class FrameScore:
    """How one frame went."""

    camera: str
    index: int
    stamp_ns: int
    name: str
    counts: Counts

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {'camera': self.camera, 'index': self.index, 'stamp_ns': self.stamp_ns,
                'name': self.name, 'f1': self.counts.f1, 'fp': self.counts.fp,
                'fn': self.counts.fn}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """
    What came out.

    :param coco: average precision, by index of the class as category.
    :param labels: classes that are judged.
    :param counts: right, wrong and missed, by class.
    :param confusion: ``[class + 1, class + 1]``, object by detection; the last is background.
    :param frame_scores: of every frame with something in it or detected in it.
    :param frames: how many frames there were, were evaluated, were unlabelled and were dropped.
    :param least_overlap: intersection over union that makes a detection right.
    :param lowest_score: of all detections; average precision knows nothing below it.
    :param problems: what people should know, one line each.
    """

    coco: CocoFigures
    labels: Sequence[str]
    counts: Mapping[str, Counts]
    confusion: NDArray[np.int64]
    frame_scores: Sequence[FrameScore]
    frames: Mapping[str, int]
    least_overlap: float
    lowest_score: float | None
    problems: Sequence[str]

    @property
    def total(self) -> Counts:
        """The counts of all classes together."""
        return sum(self.counts.values(), Counts())

    @property
    def worst_frames(self) -> list[FrameScore]:
        """The frames with the lowest F1, of equal ones those with the most mistakes first."""
        wrong = [one for one in self.frame_scores if one.counts.fp or one.counts.fn]
        return sorted(wrong, key=lambda one: (
            one.counts.f1 or 0.0, -one.counts.fp - one.counts.fn, one.camera, one.index)
        )[:MOST_WORST_FRAMES]

    def as_dict(self) -> dict[str, Any]:
        """Return it for ``report.json``; null where a figure does not exist."""
        index = {name: number for number, name in enumerate(self.labels)}
        used = [number for number in range(len(self.labels))
                if self.confusion[number].any() or self.confusion[:, number].any()]
        shown = [*used, len(self.labels)]
        return {
            'mAP50_95': self.coco.map50_95, 'mAP50': self.coco.map50,
            **self.total.as_dict(), 'iou': self.least_overlap, 'lowest_score': self.lowest_score,
            'per_class': {name: {
                'ap': self.coco.ap50_95.get(index[name]), 'ap50': self.coco.ap50.get(index[name]),
                **counts.as_dict()} for name, counts in self.counts.items()},
            'confusion': {'labels': [*(self.labels[number] for number in used), BACKGROUND],
                          'matrix': self.confusion[np.ix_(shown, shown)].tolist()},
            'pr_curves': {self.labels[number]: {
                'recall': _rounded(curve.recall), 'precision': _rounded(curve.precision),
                'score': _rounded(curve.score)} for number, curve in self.coco.curves.items()},
            'worst_frames': [one.as_dict() for one in self.worst_frames],
            'frames': dict(self.frames), 'problems': list(self.problems)}


class Evaluator:
    """
    Takes the frames of one model, one by one, and keeps the boxes of the labelled ones.

    :param truth: what is in the pictures.
    :param names: class names of the model in its order; empty takes every class of the ground
        truth for one that the model has.
    :param what: the frames, for messages.
    :param least_overlap: intersection over union that makes a detection right.
    :raises ConfigurationError: the model and the ground truth have no class in common.
    """

    def __init__(self, truth: GroundTruth, names: Sequence[str] = (),
                 what: str = 'the frames', least_overlap: float = 0.5) -> None:
        """Begin without frames."""
        self._truth = truth
        self._names = names
        self._what = what
        self._common, self._problems = class_map(truth, names)
        self._class_of = {truth.classes[index]: index for index in self._common}
        self._matching = Matching(truth, what)
        self._least_overlap = least_overlap
        size = len(truth.classes)
        self._counts = np.zeros((size, 3), np.int64)  # tp, fp, fn
        self._confusion = np.zeros((size + 1, size + 1), np.int64)
        self._scores: list[FrameScore] = []
        self._images: list[dict[str, Any]] = []
        self._boxes: list[dict[str, Any]] = []
        self._rows: list[NDArray[np.float64]] = []
        self._frames = {'total': 0, 'evaluated': 0, 'unlabelled': 0, 'dropped': 0}
        self._model: str | None = None
        self._lowest: float | None = None
        self._unjudged: Counter[str] = Counter()

    def add(self, given: Any) -> None:
        """
        Take a frame: see :func:`as_frame`.

        A frame that was dropped is not evaluated: that the model would have failed in it is not
        known. It is counted.

        :raises ConfigurationError: the ground truth is that of another picture.
        """
        frame = as_frame(given, self._names)
        if self._model is None:
            self._model = frame.model
        elif self._model != frame.model:
            raise ConfigurationError(
                f'frames of the models {self._model} and {frame.model} are mixed, expected those '
                f'of one; evaluate each model by itself')
        self._frames['total'] += 1
        truth = self._matching.find(frame)
        if truth is None:
            self._frames['unlabelled'] += 1
        elif frame.dropped:
            self._frames['dropped'] += 1
        else:
            self._frames['evaluated'] += 1
            self._evaluate(frame, truth)

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes of the ground truth."""
        return self._truth.classes

    def truth_of(self, given: Any) -> FrameTruth | None:
        """Return what is really in a frame, of the classes that are judged; None if unlabelled."""
        found = self._truth.of(as_frame(given, self._names))
        return None if found is None else judged_truth(found, self._common)

    def finish(self) -> Evaluation:
        """
        Return what came out.

        :raises ConfigurationError: no frame is labelled.
        """
        problems = [*self._problems, *self._matching.check()]
        if self._frames['dropped']:
            problems.append(f'{self._frames["dropped"]} labelled frames were dropped; they count '
                            f'neither as right nor as missed')
        if self._unjudged:
            some = ', '.join(name for name, _ in self._unjudged.most_common(3))
            problems.append(
                f'{sum(self._unjudged.values())} detections are of classes that '
                f'{self._truth.source} does not label ({some}); they are neither right nor wrong')
        classes = self._truth.classes
        ids = [index + 1 for index in sorted(self._common)]
        figures = coco_figures(indexed({
            'images': self._images, 'annotations': self._boxes,
            'categories': [{'id': one, 'name': classes[one - 1]} for one in ids]}),
            np.concatenate(self._rows) if self._rows else (), ids)
        figures = CocoFigures(
            figures.map50_95, figures.map50,
            {number - 1: value for number, value in figures.ap50_95.items()},
            {number - 1: value for number, value in figures.ap50.items()},
            {number - 1: curve for number, curve in figures.curves.items()})
        counts = {classes[index]: Counts(*map(int, self._counts[index]))
                  for index in sorted(self._common) if self._counts[index].any()}
        return Evaluation(figures, classes, counts, self._confusion, self._scores, self._frames,
                          self._least_overlap, self._lowest, problems)

    def _evaluate(self, frame: EvaluatedFrame, truth: FrameTruth) -> None:
        truth = judged_truth(truth, self._common)
        classes = np.array([self._class_of.get(label, -1) for label in frame.labels], np.int64)
        judged = classes >= 0
        self._unjudged.update(label for label, is_judged in zip(frame.labels, judged)
                              if not is_judged)
        boxes, scores, classes = frame.boxes[judged], frame.scores[judged], classes[judged]
        if len(scores):
            low = float(scores.min())
            self._lowest = low if self._lowest is None else min(self._lowest, low)
        found = associate(boxes, scores, classes, truth, self._least_overlap)
        counts = count_by_class(found, classes, truth, len(self._truth.classes))
        self._counts += counts
        total = Counts(*map(int, counts.sum(axis=0)))
        if total != Counts():
            self._scores.append(FrameScore(frame.camera, frame.index, frame.stamp_ns, frame.name,
                                           total))
        self._confuse(associate(boxes, scores, classes, truth, self._least_overlap, True),
                      classes, truth)
        self._keep_for_coco(frame, truth, boxes, scores, classes)

    def _confuse(self, found: NDArray[np.int64], classes: NDArray[np.int64],
                 truth: FrameTruth) -> None:
        background = len(self._truth.classes)
        right = found >= 0
        np.add.at(self._confusion, (truth.classes[found[right]], classes[right]), 1)
        self._confusion[background] += np.bincount(classes[found == WRONG],
                                                   minlength=background + 1)
        missed = ~truth.is_crowd
        missed[found[right]] = False
        self._confusion[:, background] += np.bincount(truth.classes[missed],
                                                      minlength=background + 1)

    def _keep_for_coco(self, frame: EvaluatedFrame, truth: FrameTruth, boxes: NDArray[np.float64],
                       scores: NDArray[np.float32], classes: NDArray[np.int64]) -> None:
        image = len(self._images) + 1
        self._images.append({'id': image, 'width': frame.width, 'height': frame.height})
        for box, area, kind, is_crowd in zip(truth.boxes.tolist(), truth.areas.tolist(),
                                             truth.classes.tolist(), truth.is_crowd.tolist()):
            self._boxes.append({
                'id': len(self._boxes) + 1, 'image_id': image, 'category_id': kind + 1,
                'bbox': _corner_and_size(box), 'area': area, 'iscrowd': int(is_crowd)})
        self._rows.append(np.column_stack((
            np.full(len(boxes), image), boxes[:, :2], boxes[:, 2:] - boxes[:, :2], scores,
            classes + 1)).astype(np.float64))


def evaluate(frames: Iterable[Any], truth: GroundTruth, names: Sequence[str] = (),
             what: str = 'the frames', least_overlap: float = 0.5) -> Evaluation:
    """
    Compare the frames of one model with ground truth; see :class:`Evaluator`.

    :param frames: ``FrameResult``, or lines of ``detections.jsonl``.
    :raises ConfigurationError: the ground truth is that of other pictures, or of other classes.
    """
    evaluator = Evaluator(truth, names, what, least_overlap)
    for frame in frames:
        evaluator.add(frame)
    return evaluator.finish()


def judged_truth(truth: FrameTruth, classes: frozenset[int]) -> FrameTruth:
    """Return the part of some classes."""
    which = np.isin(truth.classes, list(classes))
    return truth if which.all() else FrameTruth(
        truth.name, truth.boxes[which], truth.classes[which], truth.is_crowd[which],
        truth.areas[which], truth.width, truth.height, truth.camera, truth.frame_id)


def count_by_class(found: NDArray[np.int64], classes: NDArray[np.int64], truth: FrameTruth,
                   size: int) -> NDArray[np.int64]:
    """
    Return right, wrong and missed by class, ``[size, 3]``.

    :param found: of :func:`associate`.
    :param classes: of the detections.
    """
    right = np.bincount(classes[found >= 0], minlength=size)
    wrong = np.bincount(classes[(found != IGNORED) & (found < 0)], minlength=size)
    objects = np.bincount(truth.classes[~truth.is_crowd], minlength=size)
    return np.stack((right, wrong, objects - right), axis=1)


def _corner_and_size(box: Sequence[float]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [round(float(value), 6) for value in values]
