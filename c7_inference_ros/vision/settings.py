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

"""Which detections a user wants: the dynamic part of a model's configuration, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Any

from c7_inference_ros.config import EVERY
from c7_inference_ros.config import ModelConfig
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.parameter_spec import nearest
from c7_inference_ros.vision.labels import Labels
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class DetectionSettings:
    """
    What a decoder keeps.

    :param score_thresholds: float32 ``[num_classes]``; scores below are dropped.
    :param class_mask: bool ``[num_classes]``; classes that are wanted.
    :param nms_threshold: intersection over union above which the weaker box is dropped.
    :param class_agnostic_nms: boxes of different classes suppress each other.
    :param max_detections: largest number of detections of one image.
    :param unnamed_threshold: threshold of class ids past ``num_classes``, which a model may
        answer where its outputs do not tell how many classes it has; None drops them.
    """

    score_thresholds: NDArray[np.float32]
    class_mask: NDArray[np.bool_]
    nms_threshold: float
    class_agnostic_nms: bool
    max_detections: int
    unnamed_threshold: float | None = None

    def keep(self, scores: NDArray[np.float32], class_ids: NDArray[Any]) -> NDArray[np.bool_]:
        """
        Return which of some candidates are wanted, for any class id.

        :param scores: ``[N]``.
        :param class_ids: integer ``[N]``; negative ids and NaN scores are never wanted.
        :returns: bool ``[N]``.
        """
        count = len(self.class_mask)
        named = (class_ids >= 0) & (class_ids < count)
        wanted = np.zeros(len(scores), np.bool_)
        ids = class_ids[named]
        wanted[named] = self.class_mask[ids] & (scores[named] >= self.score_thresholds[ids])
        if self.unnamed_threshold is not None:
            wanted |= (class_ids >= count) & (scores >= np.float32(self.unnamed_threshold))
        return wanted


def detection_settings(config: ModelConfig, labels: Labels,
                       full_prefix: str = 'models.detector') -> DetectionSettings:
    """
    Check a model's thresholds and class filter against its labels.

    :param full_prefix: ``models.<name>``, for messages.
    :raises ConfigurationError: with one line for each value that cannot be used.
    """
    problems: list[str] = []
    every = EVERY in config.classes
    wanted: set[int] = set()
    for name in config.classes:
        class_id = labels.id_of(name)
        if class_id is not None:
            wanted.add(class_id)
        elif name not in ('', EVERY):
            problems.append(f'{full_prefix}.classes has {name!r}, {_no_such_class(name, labels)}')
    if not wanted and not every and not problems:
        problems.append(f'{full_prefix}.classes names no class, expected {EVERY} for every '
                        f'class, or class names')
    thresholds: dict[int, float] = {}
    for entry in config.class_score_thresholds:
        if entry.strip():
            problem = _read_threshold(entry, labels, thresholds)
            if problem:
                problems.append(f'{full_prefix}.class_score_thresholds has {entry!r}, {problem}')
    if problems:
        raise ConfigurationError(problems)
    count = len(labels) or max([-1, *wanted, *thresholds]) + 1
    mask = np.full(count, every, np.bool_)
    mask[sorted(wanted)] = True
    scores = np.full(count, config.score_threshold, np.float32)
    for class_id, threshold in thresholds.items():
        scores[class_id] = threshold
    return DetectionSettings(
        scores, mask, config.nms_threshold, config.class_agnostic_nms, config.max_detections,
        config.score_threshold if every else None)


def _read_threshold(entry: str, labels: Labels, into: dict[int, float]) -> str | None:
    """Add one ``name=0.5`` to ``into``, or return what is wrong with it."""
    name, equals, text = entry.rpartition('=')
    name = name.strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not equals or not name or math.isnan(value):
        return 'expected a class name and a threshold such as "person=0.5"'
    if not 0.0 <= value <= 1.0:
        return f'expected a threshold from 0 to 1, found {value:g}'
    class_id = labels.id_of(name)
    if class_id is None:
        return _no_such_class(name, labels)
    if class_id in into:
        return f'but {name!r} has a threshold already; keep one of them'
    into[class_id] = value
    return None


def _no_such_class(name: str, labels: Labels) -> str:
    if not labels.names:
        return ('but the model has no class names; use class numbers from 0, or set labels to a '
                'file with one name a line')
    near = nearest(name, labels.names)
    if near:
        return f'which is no class of this model; did you mean {near!r}?'
    shown = ', '.join(labels.names[:5])
    more = f' and {len(labels) - 5} more' if len(labels) > 5 else ''
    return f'which is no class of this model, expected one of {shown}{more}'
