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

"""One frame with its detections, as evaluation takes it, whoever made it."""

from __future__ import annotations

from dataclasses import dataclass
import json
from typing import Any
from typing import Mapping
from typing import Sequence

from c7_inference_ros.errors import ConfigurationError
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class EvaluatedFrame:
    """
    What a model said of one picture.

    :param camera: name of the camera; empty for pictures of a folder.
    :param index: position among the images of the camera, from 0.
    :param stamp_ns: of the image's header.
    :param width: of the picture, pixels; 0 where nobody knows.
    :param height: of the picture, pixels.
    :param boxes: float64 ``[N, 4]``, (x1, y1, x2, y2) in pixels.
    :param scores: float32 ``[N]``.
    :param labels: class name of each box.
    :param file_name: of a picture in a folder; empty for a frame of a bag.
    :param frame_id: of the image's header.
    :param dropped: why there is no result; empty where there is one.
    :param model: which model it was.
    """

    camera: str
    index: int
    stamp_ns: int
    width: int
    height: int
    boxes: NDArray[np.float64]
    scores: NDArray[np.float32]
    labels: Sequence[str]
    file_name: str = ''
    frame_id: str = ''
    dropped: str = ''
    model: str = ''

    @property
    def name(self) -> str:
        """What people call it."""
        if self.file_name:
            return self.file_name
        return f'frame {self.index} of {self.camera or "the camera"} (stamp {self.stamp_ns})'


def name_of(names: Sequence[str], class_id: int) -> str:
    """Return the name of a class, or its number where it has none."""
    return names[class_id] if 0 <= class_id < len(names) else str(class_id)


def as_frame(given: Any, names: Sequence[str] = ()) -> EvaluatedFrame:
    """
    Make a frame of what replay yields or wrote.

    :param given: an :class:`EvaluatedFrame`, a ``FrameResult``, or a line of
        ``detections.jsonl`` as text or parsed.
    :param names: class names in the model's order, for a ``FrameResult``.
    :raises ConfigurationError: the line is none of ``detections.jsonl``.
    """
    if isinstance(given, EvaluatedFrame):
        return given
    if isinstance(given, (str, bytes)):
        try:
            given = json.loads(given)
        except ValueError as error:
            raise ConfigurationError(
                f'a line of detections is no JSON ({error}), expected a line of '
                f'detections.jsonl as replay writes it') from error
    if isinstance(given, Mapping):
        return _of_line(given)
    found = given.detections
    shared = {key: getattr(given, key) for key in (
        'camera', 'index', 'stamp_ns', 'width', 'height', 'frame_id', 'dropped', 'model')}
    if found is None:
        return EvaluatedFrame(**shared, boxes=np.zeros((0, 4)), scores=np.zeros(0, np.float32),
                              labels=())
    return EvaluatedFrame(
        **shared, boxes=found.boxes.astype(np.float64), scores=found.scores,
        labels=[name_of(names, int(class_id)) for class_id in found.class_ids])


def _of_line(line: Mapping[str, Any]) -> EvaluatedFrame:
    try:
        found = line['detections'] or []
        return EvaluatedFrame(
            camera=str(line['camera']), index=int(line['index']), stamp_ns=int(line['stamp_ns']),
            width=int(line['width']), height=int(line['height']), model=str(line['model']),
            frame_id=str(line['frame_id']), dropped=str(line['dropped']),
            boxes=np.array([one['box'] for one in found], np.float64).reshape(-1, 4),
            scores=np.array([one['score'] for one in found], np.float32),
            labels=[str(one['label']) for one in found])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f'a line of detections cannot be used ({type(error).__name__}: {error}), expected a '
            f'line of detections.jsonl as replay writes it') from error
