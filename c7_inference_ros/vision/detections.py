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

"""What a detector saw in one image: a structure of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Detections:
    """
    Boxes of one image, with one score and one class each.

    :param boxes: float32 ``[N, 4]``, (x1, y1, x2, y2) in pixels; (0, 0) is the outer corner of
        the first pixel, so that a box over a whole image is (0, 0, width, height).
    :param scores: float32 ``[N]``, 0 to 1.
    :param class_ids: int32 ``[N]``, index into the labels, from 0.
    :raises ValueError: when shapes or types do not agree; that is a mistake in a decoder.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]

    def __post_init__(self) -> None:
        """Check shapes and types, so that a mistake shows where it was made."""
        for name, array, dtype, shape in (
                ('boxes', self.boxes, np.float32, (len(self.scores), 4)),
                ('scores', self.scores, np.float32, (len(self.scores),)),
                ('class_ids', self.class_ids, np.int32, (len(self.scores),))):
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(
                    f'Detections.{name} is {array.dtype} {list(array.shape)}, '
                    f'expected {np.dtype(dtype)} {list(shape)}')

    @classmethod
    def empty(cls) -> Detections:
        """Return no detections."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.scores)

    def select(self, which: NDArray[Any] | slice) -> Detections:
        """
        Return some of the detections.

        :param which: bool mask ``[N]``, integer indices in the wanted order, or a slice.
        """
        return Detections(self.boxes[which], self.scores[which], self.class_ids[which])

    def centers_and_sizes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return centres (x, y) and sizes (width, height) in pixels, as messages hold them."""
        boxes = self.boxes.astype(np.float64)
        return (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
