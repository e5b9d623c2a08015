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
What is really in the pictures, and which frame each part of it belongs to.

A frame that is listed without boxes is labelled: nothing is in it, and whatever is detected there
is wrong. A frame that is not listed is unlabelled, and nothing is said of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping
from typing import Sequence

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.parameter_spec import nearest
from c7_inference_ros.tools.evaluation.frames import EvaluatedFrame
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class FrameTruth:
    """
    What is in one picture.

    :param name: what its source calls it.
    :param boxes: float64 ``[M, 4]``, (x1, y1, x2, y2) in pixels.
    :param classes: int64 ``[M]``, index into :attr:`GroundTruth.classes`.
    :param is_crowd: bool ``[M]``; a region with uncounted objects, in which detections are
        neither right nor wrong.
    :param areas: float64 ``[M]``, of the objects, square pixels; COCO gives that of the outline.
    :param width: of the picture, pixels; 0 where the source does not tell.
    :param height: of the picture, pixels.
    :param camera: whose picture it is; empty for any.
    :param frame_id: of the header; empty where the source has none.
    """

    name: str
    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    is_crowd: NDArray[np.bool_]
    areas: NDArray[np.float64]
    width: int = 0
    height: int = 0
    camera: str = ''
    frame_id: str = ''

    def __len__(self) -> int:
        """Return how many boxes there are."""
        return len(self.boxes)


class GroundTruth:
    """
    What is in all labelled pictures.

    :param source: the file or topic, for messages.
    :param classes: names of the classes that were labelled.
    :param frames: every labelled picture.
    :param by_file: by name of the file; empty where they have none.
    :param by_stamp: by stamp in ns.
    :param by_index: by position among the images of a camera, from 0.
    :param no_rule: why frames of a bag cannot be matched, where they cannot.
    """

    def __init__(self, source: str, classes: Sequence[str], frames: Sequence[FrameTruth], *,
                 by_file: Mapping[str, FrameTruth] | None = None,
                 by_stamp: Mapping[int, Sequence[FrameTruth]] | None = None,
                 by_index: Mapping[int, Sequence[FrameTruth]] | None = None,
                 no_rule: str = '') -> None:
        """Keep all of it."""
        self.source = source
        self.classes = tuple(classes)
        self.frames = tuple(frames)
        self._by_file = by_file or {}
        self._by_stamp = by_stamp
        self._by_index = by_index
        self._no_rule = no_rule

    @property
    def rule(self) -> str:
        """How frames of a bag are matched."""
        if self._by_stamp is not None:
            return 'by exact stamp'
        return 'by index' if self._by_index is not None else 'not at all'

    def of(self, frame: EvaluatedFrame) -> FrameTruth | None:
        """
        Return what is in a frame; None when it is unlabelled.

        :raises ConfigurationError: the ground truth is that of another picture, or tells nothing
            of frames in a bag.
        """
        found = self._find(frame)
        if found is not None and found.width and frame.width and (
                (found.width, found.height) != (frame.width, frame.height)):
            raise ConfigurationError(
                f'{self.source} is ground truth of other pictures: {found.name} there is '
                f'{found.width}x{found.height}, but {frame.name} is {frame.width}x{frame.height} '
                f'pixels; give the ground truth of these pictures')
        return found

    def _find(self, frame: EvaluatedFrame) -> FrameTruth | None:
        if frame.file_name:
            return self._by_file.get(frame.file_name)
        if self._by_stamp is not None:
            candidates = self._by_stamp.get(frame.stamp_ns, ())
        elif self._by_index is not None:
            candidates = self._by_index.get(frame.index, ())
        else:
            raise ConfigurationError(f'{self.source} cannot be matched to the frames of a bag: '
                                     f'{self._no_rule}')
        for one in candidates:
            if one.camera in ('', frame.camera) and (
                    not one.frame_id or not frame.frame_id or one.frame_id == frame.frame_id):
                return one
        return None


class Matching:
    """
    Which labelled pictures were met by frames.

    :param truth: what is matched.
    :param what: the frames, for messages.
    """

    def __init__(self, truth: GroundTruth, what: str) -> None:
        """Nothing was met yet."""
        self._truth = truth
        self._what = what
        self._met: dict[int, str] = {}
        self._first = self._last = ''
        self._rule = truth.rule
        self._seen = 0

    @property
    def met(self) -> int:
        """How many labelled pictures were met."""
        return len(self._met)

    def find(self, frame: EvaluatedFrame) -> FrameTruth | None:
        """
        Return what is in a frame; None when it is unlabelled.

        :raises ConfigurationError: see :meth:`GroundTruth.of`; also where two cameras claim the
            same labelled picture.
        """
        self._seen += 1
        self._first, self._last = self._first or frame.name, frame.name
        self._rule = 'by file name' if frame.file_name else self._truth.rule
        found = self._truth.of(frame)
        if found is None:
            return None
        camera = self._met.setdefault(id(found), frame.camera)
        if camera != frame.camera:
            raise ConfigurationError(
                f'{self._truth.source} does not tell whose picture {found.name} is: it is matched '
                f'{self._rule}, and both {camera} and {frame.camera} have such a frame; '
                f'give each image its "camera"')
        return found

    def check(self) -> list[str]:
        """
        Return what people should know of labelled pictures that were not met.

        :raises ConfigurationError: not one was met.
        """
        names = [one.name for one in self._truth.frames]
        if not self._met:
            raise ConfigurationError(
                f'{self._truth.source} is ground truth of other pictures: none of its '
                f'{len(names)} ({_shown(names)}; matched '
                f'{self._rule}) is one of the {self._seen} of {self._what} ({self._first} to '
                f'{self._last}); give the ground truth of these')
        missed = [one.name for one in self._truth.frames if id(one) not in self._met]
        if not missed:
            return []
        return [f'{len(missed)} of {len(names)} labelled pictures of {self._truth.source} are '
                f'none of {self._what}, for example {missed[0]}']


def class_map(truth: GroundTruth, names: Sequence[str]) -> tuple[frozenset[int], list[str]]:
    """
    Return which classes of the ground truth a model has, and what does not fit.

    :param names: class names of the model; empty when nobody knows them: then it has all.
    :returns: indices into :attr:`GroundTruth.classes`, and one line for each class that has boxes
        and is none of the model.
    :raises ConfigurationError: there is no class in common.
    """
    if not names:
        return frozenset(range(len(truth.classes))), []
    known = set(names)
    common = frozenset(index for index, name in enumerate(truth.classes) if name in known)
    if not common:
        raise ConfigurationError(
            f'{truth.source} has no class of the model: it has {_shown(truth.classes)}, the '
            f'model {_shown(names)}; classes go by their names, so call them alike')
    every = [one.classes for one in truth.frames]
    counts = np.bincount(np.concatenate(every) if every else np.zeros(0, np.int64),
                         minlength=len(truth.classes))
    lines = []
    for index, name in enumerate(truth.classes):
        if index not in common and counts[index]:
            near = nearest(name, names)
            hint = f'; did you mean {near!r}?' if near else ''
            lines.append(f'{truth.source} has {counts[index]} boxes of {name!r}, which is no '
                         f'class of the model and is not counted against it{hint}')
    return common, lines


def _shown(names: Sequence[str], most: int = 3) -> str:
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return (', '.join(names[:most]) or 'none') + more
