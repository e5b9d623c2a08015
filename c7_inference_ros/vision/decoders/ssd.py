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
SSD with decoded boxes and scores: ``boxes [1,N,4]`` or ``[1,N,1,4]``, ``scores [1,N,C]``.

Boxes are (x1, y1, x2, y2) in 0 to 1 of the network input; scores are probabilities, one column for
each class and none for the background. Every class is a candidate for itself. Whether a model
counts in pixels or has a background column cannot be seen in the shapes: this decoder is never
chosen by itself.
"""

from __future__ import annotations

from functools import partial
from typing import Mapping

from c7_inference_ros.errors import InferenceError
from c7_inference_ros.vision.decoders.base import HeadDecoder
from c7_inference_ros.vision.decoders.base import make_decoder
from c7_inference_ros.vision.decoders.base import match_specs
from c7_inference_ros.vision.decoders.base import ModelSignature
from c7_inference_ros.vision.decoders.candidates import Array
from c7_inference_ros.vision.decoders.candidates import as_float32
from c7_inference_ros.vision.decoders.candidates import Candidates
from c7_inference_ros.vision.decoders.shapes import MismatchError
from c7_inference_ros.vision.decoders.shapes import Pattern
from c7_inference_ros.vision.letterbox import ImageGeometry
import numpy as np

EXPECTS = ('outputs boxes [1,N,4] in 0 to 1 and scores [1,N,C] without background '
           '(only when set by name)')
_ROLES = {'boxes': ('boxes',), 'scores': ('scores', 'confs')}
#: A decoded box may reach past the image, but not this many times its size.
_FARTHEST = 16.0


def match(model: ModelSignature, is_certain: bool) -> HeadDecoder:
    """
    Return the decoder of a model.

    :param is_certain: take only what can be nothing else: never true here.
    :raises MismatchError: when the outputs are something else.
    """
    specs = model.by_role(_ROLES)
    rank = len(specs['boxes'].shape)
    patterns: dict[str, Pattern] = {'boxes': (1, 'N', 1, 4) if rank == 4 else (1, 'N', 4),
                                    'scores': (1, 'N', 'C')}
    classes = match_specs(specs, patterns)['C']
    if is_certain:
        raise MismatchError('boxes and scores do not tell pixels from 0 to 1')
    return make_decoder('ssd', model, specs, patterns, partial(read, full_name=model.full_name),
                        num_classes=classes if classes != -1 else None, needs_nms=True)


def read(arrays: Mapping[str, Array], geometry: ImageGeometry, floor: float, full_name: str
         ) -> Candidates:
    """Return every pair of box and class that reaches the floor."""
    scores = as_float32(arrays['scores'][0])
    index, class_ids = np.nonzero(scores >= floor)
    boxes = as_float32(arrays['boxes'][0].reshape(-1, 4)[index])
    is_far = (np.abs(boxes) > _FARTHEST) & np.isfinite(boxes)
    if is_far.any():
        raise InferenceError(
            f'{full_name}: a box coordinate of {boxes[is_far][0]:g} found, expected 0 to 1 of the '
            f'network input; this model counts in pixels, which {full_name} ssd does not read')
    size = np.array((geometry.network_width, geometry.network_height) * 2, np.float32)
    return Candidates(boxes * size, scores[index, class_ids], class_ids)
