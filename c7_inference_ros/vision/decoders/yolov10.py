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
YOLOv10 and other heads that end in a list: ``[1,K,6]``, needs no suppression.

Each row is (x1, y1, x2, y2, score, class) in pixels of the network input. Ultralytics writes the
same when a model is exported with ``nms=True``.
"""

from __future__ import annotations

from typing import Mapping

from c7_inference_ros.vision.decoders.anchors import strides_by_count
from c7_inference_ros.vision.decoders.base import HeadDecoder
from c7_inference_ros.vision.decoders.base import make_decoder
from c7_inference_ros.vision.decoders.base import match_specs
from c7_inference_ros.vision.decoders.base import ModelSignature
from c7_inference_ros.vision.decoders.candidates import Array
from c7_inference_ros.vision.decoders.candidates import Candidates
from c7_inference_ros.vision.decoders.shapes import MismatchError
from c7_inference_ros.vision.letterbox import ImageGeometry
import numpy as np

EXPECTS = 'one output [1,K,6] of x1, y1, x2, y2, score, class'
_PATTERNS = {'head': (1, 'K', 6)}


def match(model: ModelSignature, is_certain: bool) -> HeadDecoder:
    """
    Return the decoder of a model.

    :param is_certain: take only what can be nothing else.
    :raises MismatchError: when the outputs are something else.
    """
    head = model.only_output()
    count = match_specs({'head': head}, _PATTERNS)['K']
    if is_certain:
        # A head of one class with an objectness has six values an anchor, too.
        cells = strides_by_count(model.network_wh)
        if -1 in head.shape[1:] or count in {n * each for n in cells for each in (1, 3)}:
            raise MismatchError(f'{head} found, which may be a YOLOX or YOLOv5 head of one class')
    return make_decoder('yolov10', model, {'head': head}, _PATTERNS, read,
                        num_classes=None, needs_nms=False)


def read(arrays: Mapping[str, Array], geometry: ImageGeometry, floor: float) -> Candidates:
    """Return the rows that reach the floor."""
    rows = arrays['head'][0]
    rows = rows[np.flatnonzero(rows[:, 4] >= floor)]
    return Candidates(rows[:, :4], rows[:, 4], rows[:, 5])
