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
TensorFlow's object detection API with suppression in the graph.

``num_detections [1]``, ``detection_boxes [1,K,4]`` as (ymin, xmin, ymax, xmax) in 0 to 1,
``detection_scores [1,K]``, ``detection_classes [1,K]``, numbered from 1. Names may end in ``:0``.
"""

from __future__ import annotations

from functools import partial
from typing import Mapping

from c7_inference_ros.vision.decoders.base import HeadDecoder
from c7_inference_ros.vision.decoders.base import make_decoder
from c7_inference_ros.vision.decoders.base import match_specs
from c7_inference_ros.vision.decoders.base import ModelSignature
from c7_inference_ros.vision.decoders.candidates import Array
from c7_inference_ros.vision.decoders.candidates import as_float32
from c7_inference_ros.vision.decoders.candidates import Candidates
from c7_inference_ros.vision.decoders.counts import valid_rows
from c7_inference_ros.vision.letterbox import ImageGeometry
import numpy as np

EXPECTS = ('outputs num_detections [1], detection_boxes [1,K,4], detection_scores [1,K], '
           'detection_classes [1,K]')
_ROLES = {'count': ('num_detections',), 'boxes': ('detection_boxes',),
          'scores': ('detection_scores',), 'classes': ('detection_classes',)}
_PATTERNS = {'count': (1,), 'boxes': (1, 'K', 4), 'scores': (1, 'K'), 'classes': (1, 'K')}
_FIRST_CLASS = 1


def match(model: ModelSignature, is_certain: bool) -> HeadDecoder:
    """
    Return the decoder of a model.

    :param is_certain: take only what can be nothing else; names and ranks decide.
    :raises MismatchError: when the outputs are something else.
    """
    specs = model.by_role(_ROLES)
    match_specs(specs, _PATTERNS)
    what = f'{model.full_name}: output {specs["count"].name}'
    return make_decoder('tf_detection', model, specs, _PATTERNS, partial(read, what=what),
                        num_classes=None, needs_nms=False)


def read(arrays: Mapping[str, Array], geometry: ImageGeometry, floor: float, what: str
         ) -> Candidates:
    """Return the valid rows that reach the floor."""
    scores = arrays['scores'][0]
    scores = scores[:valid_rows(arrays['count'], len(scores), what)]
    index = np.flatnonzero(scores >= floor)
    size = np.array((geometry.network_width, geometry.network_height) * 2, np.float32)
    boxes = as_float32(arrays['boxes'][0][index])[:, [1, 0, 3, 2]] * size
    return Candidates(boxes, scores[index], arrays['classes'][0][index] - _FIRST_CLASS)
