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
Right and wrong detections for every threshold, from one decoding for each NMS threshold.

Suppression and association both let the best detection choose first, so that a higher score
threshold takes detections away and changes nothing else: the counts for all thresholds come from
the detections at the lowest. That is not so where boxes of different classes suppress each other
and each class has its own threshold, or where ``max_detections`` cuts; therefore what is chosen is
decoded once more with exactly these settings, and only those figures are reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable
from typing import Sequence

from c7_inference_ros.tools.evaluation.association import IGNORED
from c7_inference_ros.tools.evaluation.evaluation import count_by_class
from c7_inference_ros.tools.tuning.inferred import InferredSamples
from c7_inference_ros.tools.tuning.inferred import TunedModel
from c7_inference_ros.vision.settings import DetectionSettings
import numpy as np
from numpy.typing import NDArray

#: Score and NMS thresholds that are tried, besides the present ones.
SCORES = tuple(round(step / 100, 2) for step in range(5, 96))
OVERLAPS = tuple(round(step / 100, 2) for step in range(30, 81, 5))
TP, FP, FN = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Swept:
    """
    Counts for every setting that was tried.

    :param scores: score thresholds, rising, ``[T]``.
    :param overlaps: NMS thresholds, rising, ``[K]``.
    :param counts: right, wrong and missed, int64 ``[K, C, T, 3]``, of the pictures tuned on.
    """

    scores: NDArray[np.float64]
    overlaps: Sequence[float]
    counts: NDArray[np.int64]


def sweep(model: TunedModel, samples: InferredSamples, which: Sequence[int],
          present_scores: Sequence[float], is_nms_kept: bool,
          progress: Callable[[int, int], None]) -> Swept:
    """
    Count what is right and wrong for every setting.

    :param which: numbers of the pictures.
    :param present_scores: thresholds that are in force, of any class; tried, too.
    :param is_nms_kept: try no other NMS threshold.
    :param progress: told how many of how many decodings are done.
    """
    scores = np.unique(np.array([*SCORES, *present_scores], np.float64))
    present = model.config.nms_threshold
    overlaps = [present] if is_nms_kept else sorted({*OVERLAPS, present})
    steps = scores.astype(np.float32)  # as the decoder compares
    counts = np.zeros((len(overlaps), len(samples.classes), len(scores), 3), np.int64)
    for row, overlap in enumerate(overlaps):
        settings = model.settings(score_threshold=float(scores[0]), class_score_thresholds=('',),
                                  nms_threshold=overlap)
        for done, number in enumerate(which, 1):
            classes, found, objects = samples.judge(number, settings)
            # How many of the thresholds each detection passes.
            passed = np.searchsorted(steps, found, side='right')
            for kind, is_kind in ((TP, objects >= 0), (FP, (objects < 0) & (objects != IGNORED))):
                is_kind = is_kind & (passed > 0)
                np.add.at(counts[row, :, :, kind], (classes[is_kind], passed[is_kind] - 1), 1)
            truth = samples.truth(number)
            counts[row, :, 0, FN] += np.bincount(truth.classes[~truth.is_crowd],
                                                 minlength=len(samples.classes))
            progress(row * len(which) + done, len(overlaps) * len(which))
    objects_of = counts[:, :, :1, FN].copy()
    # A detection that passes a threshold passes all below.
    counts[..., :2] = np.flip(np.cumsum(np.flip(counts[..., :2], axis=2), axis=2), axis=2)
    counts[..., FN] = objects_of - counts[..., TP]
    return Swept(scores, overlaps, counts)


def count(samples: InferredSamples, which: Sequence[int], settings: DetectionSettings
          ) -> NDArray[np.int64]:
    """Return right, wrong and missed by class, ``[C, 3]``, of one setting, really decoded."""
    counts = np.zeros((len(samples.classes), 3), np.int64)
    for number in which:
        classes, _, objects = samples.judge(number, settings)
        counts += count_by_class(objects, classes, samples.truth(number), len(samples.classes))
    return counts
