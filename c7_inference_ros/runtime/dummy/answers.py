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

"""Writing scripted detections into output tensors, moving a step with every call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from typing import Mapping
from typing import Sequence

from c7_inference_ros.model_files.tensor_spec import TensorSpec
import numpy as np
import numpy.typing as npt

_EFFICIENT_NMS = ('num_dets', 'det_boxes', 'det_scores', 'det_classes')


@dataclass(frozen=True)
class Encoding:
    """
    How detections lie in the outputs.

    :param list_name: the output ``[1, K, 6]``; empty for the four outputs of EfficientNMS.
    :param capacity: K, how many fit.
    """

    list_name: str
    capacity: int


@dataclass(frozen=True)
class Answers:
    """
    What a scripted model finds.

    :param outputs: output tensors; what no detection is written into stays zero.
    :param encoding: how detections are written, None without any.
    :param detections: float64 [N,6]: x1, y1, x2, y2 in pixels of the network input, score, class.
    :param motion: (dx, dy), pixels a call; boxes turn back at the border.
    """

    outputs: tuple[TensorSpec, ...]
    encoding: Encoding | None
    detections: npt.NDArray[np.float64]
    motion: tuple[float, float]

    def write(self, call: int, network_wh: tuple[int, int],
              outputs: Mapping[str, npt.NDArray[Any]]) -> None:
        """
        Fill the outputs of one call.

        :param call: 0 for the first.
        :param network_wh: width and height that the boxes stay within, pixels.
        :param outputs: arrays by name; overwritten whole.
        """
        for array in outputs.values():
            array.fill(0)
        count = len(self.detections)
        if self.encoding is None or count == 0:
            return
        boxes = self._boxes(call, network_wh)
        scores, classes = self.detections[:, 4], self.detections[:, 5]
        if self.encoding.list_name:
            rows = outputs[self.encoding.list_name][0]
            rows[:count, :4] = boxes
            rows[:count, 4] = scores
            rows[:count, 5] = classes
        else:
            outputs['num_dets'][0, 0] = count
            outputs['det_boxes'][0, :count] = boxes
            outputs['det_scores'][0, :count] = scores
            outputs['det_classes'][0, :count] = classes

    def _boxes(self, call: int, network_wh: tuple[int, int]) -> npt.NDArray[np.float64]:
        boxes = self.detections[:, :4].copy()
        for axis, (step, size) in enumerate(zip(self.motion, network_wh)):
            low, high = boxes[:, axis], boxes[:, axis + 2]
            room = np.maximum(size - (high - low), 0.0)
            start = np.clip(low, 0.0, room) if step else low
            moved = _turning(start + call * step, room) if step else start
            boxes[:, axis], boxes[:, axis + 2] = moved, moved + (high - low)
        return boxes


def encoding_of(outputs: Sequence[TensorSpec]) -> Encoding | None:
    """Return how detections can be written into outputs, or None."""
    shapes = {spec.name: spec.shape for spec in outputs}
    if len(outputs) == 1:
        shape = outputs[0].shape
        if len(shape) == 3 and shape[0] == 1 and shape[2] == 6:
            return Encoding(outputs[0].name, shape[1])
    elif set(shapes) == set(_EFFICIENT_NMS):
        capacity = shapes['det_scores'][-1]
        if shapes == {'num_dets': (1, 1), 'det_boxes': (1, capacity, 4),
                      'det_scores': (1, capacity), 'det_classes': (1, capacity)}:
            return Encoding('', capacity)
    return None


def image_size(inputs: Sequence[npt.NDArray[Any]]) -> tuple[int, int]:
    """Return (width, height) of the first input that is a picture; (0, 0) without one."""
    for array in inputs:
        if array.ndim == 4:
            height, width = array.shape[2:] if array.shape[1] in (1, 3, 4) else array.shape[1:3]
            return int(width), int(height)
    return 0, 0


def _turning(position: npt.NDArray[np.float64],
             room: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Fold positions into 0..room, as a ball that turns back at both ends."""
    period = np.where(room > 0, 2 * room, 1.0)
    folded = np.mod(position, period)
    return np.where(room > 0, np.where(folded > room, period - folded, folded), 0.0)
