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
TensorRT's EfficientNMS plugin at the end of a graph: four outputs, suppression done.

``num_dets [1,1]``, ``det_boxes [1,K,4]`` as (x1, y1, x2, y2) in pixels of the network input,
``det_scores [1,K]``, ``det_classes [1,K]`` from 0. The long names (``num_detections``,
``detection_boxes``, ...) are those of TensorFlow's graphs, too, and are read when the decoder is
set by name.
"""

from __future__ import annotations

from functools import partial
from typing import Mapping

from c7_inference_ros.vision.decoders.base import HeadDecoder
from c7_inference_ros.vision.decoders.base import make_decoder
from c7_inference_ros.vision.decoders.base import match_specs
from c7_inference_ros.vision.decoders.base import ModelSignature
from c7_inference_ros.vision.decoders.candidates import Array
from c7_inference_ros.vision.decoders.candidates import Candidates
from c7_inference_ros.vision.decoders.counts import valid_rows
from c7_inference_ros.vision.letterbox import ImageGeometry
import numpy as np

EXPECTS = 'outputs num_dets [1,1], det_boxes [1,K,4], det_scores [1,K], det_classes [1,K]'
_ROLES = {'count': ('num_dets',), 'boxes': ('det_boxes',), 'scores': ('det_scores',),
          'classes': ('det_classes',)}
_LONG_ROLES = {'count': ('num_dets', 'num_detections'), 'boxes': ('det_boxes', 'detection_boxes'),
               'scores': ('det_scores', 'detection_scores'),
               'classes': ('det_classes', 'detection_classes')}
_PATTERNS = {'count': (1, 1), 'boxes': (1, 'K', 4), 'scores': (1, 'K'), 'classes': (1, 'K')}


def match(model: ModelSignature, is_certain: bool) -> HeadDecoder:
    """
    Return the decoder of a model.

    :param is_certain: take only what can be nothing else.
    :raises MismatchError: when the outputs are something else.
    """
    specs = model.by_role(_ROLES if is_certain else _LONG_ROLES)
    match_specs(specs, _PATTERNS)
    what = f'{model.full_name}: output {specs["count"].name}'
    return make_decoder('efficient_nms', model, specs, _PATTERNS, partial(read, what=what),
                        num_classes=None, needs_nms=False)


def read(arrays: Mapping[str, Array], geometry: ImageGeometry, floor: float, what: str
         ) -> Candidates:
    """Return the valid rows that reach the floor."""
    scores = arrays['scores'][0]
    scores = scores[:valid_rows(arrays['count'], len(scores), what)]
    index = np.flatnonzero(scores >= floor)
    return Candidates(arrays['boxes'][0][index], scores[index], arrays['classes'][0][index])
