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

"""What became of one frame, and its line in ``detections.jsonl``."""

from __future__ import annotations

from dataclasses import dataclass
import json
from typing import Any

from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.labels import Labels

_DIGITS = 6


@dataclass(frozen=True)
class FrameResult:
    """
    What one model made of one image.

    :param camera: name of the camera.
    :param model: name of the model.
    :param index: number of the image on its topic, from 0.
    :param stamp_ns: header stamp of the image, nanoseconds.
    :param log_ns: when it was recorded, nanoseconds.
    :param frame_id: of the header.
    :param width: of the image, pixels; 0 when it was dropped before it was decoded.
    :param height: the same.
    :param dropped: why it was dropped; empty when its detections were published.
    :param detections: what was found; None when it was dropped.
    :param problem: the exception behind a drop, one line; empty without one.
    """

    camera: str
    model: str
    index: int
    stamp_ns: int
    log_ns: int
    frame_id: str
    width: int
    height: int
    dropped: str = ''
    detections: Detections | None = None
    problem: str = ''

    def as_dict(self, labels: Labels) -> dict[str, Any]:
        """Return the values of the line; nothing that differs from run to run."""
        return {
            'camera': self.camera, 'model': self.model, 'index': self.index,
            'stamp_ns': self.stamp_ns, 'log_ns': self.log_ns, 'frame_id': self.frame_id,
            'width': self.width, 'height': self.height, 'dropped': self.dropped,
            'detections': [] if self.detections is None else detection_dicts(self.detections,
                                                                             labels)}

    def line(self, labels: Labels) -> str:
        """Return the line, without its end."""
        return json.dumps(self.as_dict(labels), separators=(',', ':'), allow_nan=False)


def detection_dicts(detections: Detections, labels: Labels) -> list[dict[str, Any]]:
    """Return detections for JSON, best first; boxes are x1, y1, x2, y2 in pixels."""
    return [{'class_id': class_id, 'label': labels.name_of(class_id),
             'score': round(score, _DIGITS), 'box': [round(value, _DIGITS) for value in box]}
            for class_id, score, box in zip(detections.class_ids.tolist(),
                                            detections.scores.tolist(),
                                            detections.boxes.tolist())]
