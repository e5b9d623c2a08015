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
The DETR family, in two forms; neither needs suppression.

With post-processing in the graph (DEIMv2, D-FINE, RT-DETR): outputs ``labels``, ``boxes``,
``scores`` and the input ``orig_target_sizes``, (width, height), which scales the boxes.

Raw, when set by name: ``pred_logits [1,Q,C]`` and ``pred_boxes [1,Q,4]``, (center x, center y,
width, height) in 0 to 1 of the network input. Scores are the sigmoid of the logits (focal loss),
every class for itself, the best Q of them. A model with a softmax and a class for "no object"
(the first DETR, YOLOS) has outputs of the same shape and is not read.
"""

from __future__ import annotations

from typing import Mapping

from c7_inference_ros.vision.decoders.base import HeadDecoder
from c7_inference_ros.vision.decoders.base import make_decoder
from c7_inference_ros.vision.decoders.base import match_specs
from c7_inference_ros.vision.decoders.base import ModelSignature
from c7_inference_ros.vision.decoders.candidates import Array
from c7_inference_ros.vision.decoders.candidates import as_float32
from c7_inference_ros.vision.decoders.candidates import Candidates
from c7_inference_ros.vision.decoders.candidates import centers_to_corners
from c7_inference_ros.vision.decoders.shapes import MismatchError
from c7_inference_ros.vision.decoders.shapes import Pattern
from c7_inference_ros.vision.letterbox import ImageGeometry
import numpy as np
import numpy.typing as npt

SIZES_INPUT = 'orig_target_sizes'
EXPECTS = (f'outputs labels [1,K], boxes [1,K,4], scores [1,K] with the input {SIZES_INPUT} '
           f'(by name also pred_logits [1,Q,C], pred_boxes [1,Q,4])')
_ROLES = {'classes': ('labels',), 'boxes': ('boxes',), 'scores': ('scores',)}
_PATTERNS: dict[str, Pattern] = {'classes': (1, 'K'), 'boxes': (1, 'K', 4), 'scores': (1, 'K')}
_RAW_ROLES = {'scores': ('pred_logits', 'logits'), 'boxes': ('pred_boxes', 'boxes')}
_RAW_PATTERNS: dict[str, Pattern] = {'scores': (1, 'Q', 'C'), 'boxes': (1, 'Q', 4)}


def match(model: ModelSignature, is_certain: bool) -> HeadDecoder:
    """
    Return the decoder of a model.

    :param is_certain: take only what can be nothing else.
    :raises MismatchError: when the outputs are something else.
    """
    names = {spec.short_name for spec in model.outputs}
    if not is_certain and names & set(_RAW_ROLES['scores']):
        return _match_raw(model)
    specs = model.by_role(_ROLES)
    match_specs(specs, _PATTERNS)
    sizes = [spec for spec in model.inputs if spec.short_name == SIZES_INPUT]
    if len(sizes) != 1:
        inputs = ', '.join(map(str, model.inputs))
        raise MismatchError(f'inputs {inputs} found, expected {SIZES_INPUT} [1,2] among them')
    match_specs({'sizes': sizes[0]}, {'sizes': (1, 2)})
    return make_decoder('detr', model, specs, _PATTERNS, read, num_classes=None, needs_nms=False,
                        extras={sizes[0].name: target_size})


def target_size(geometry: ImageGeometry) -> tuple[int, int]:
    """
    Return the width and height that the graph shall scale its boxes to.

    This is the source image where the picture fills the network input. Where it does not, as in a
    letterbox, there is no such size, and the boxes are asked for in network pixels.
    """
    network = (geometry.network_width, geometry.network_height)
    if (geometry.picture_width, geometry.picture_height) == network:
        return geometry.source_width, geometry.source_height
    return network


def read(arrays: Mapping[str, Array], geometry: ImageGeometry, floor: float) -> Candidates:
    """Return the boxes that reach the floor."""
    index = np.flatnonzero(arrays['scores'][0] >= floor)
    width, height = target_size(geometry)
    scale = (geometry.network_width / width, geometry.network_height / height)
    boxes = arrays['boxes'][0][index] * np.array((*scale, *scale))
    return Candidates(boxes, arrays['scores'][0][index], arrays['classes'][0][index])


def _match_raw(model: ModelSignature) -> HeadDecoder:
    specs = model.by_role(_RAW_ROLES)
    classes = match_specs(specs, _RAW_PATTERNS)['C']
    return make_decoder('detr', model, specs, _RAW_PATTERNS, read_raw,
                        num_classes=classes if classes != -1 else None, needs_nms=False)


def read_raw(arrays: Mapping[str, Array], geometry: ImageGeometry, floor: float) -> Candidates:
    """Return the best pairs of query and class, at most one for each query on average."""
    logits = as_float32(arrays['scores'][0])
    scores = _sigmoid(logits)
    # An infinite logit is a broken number, not a certain score.
    queries, class_ids = np.nonzero((scores >= floor) & np.isfinite(logits))
    found = scores[queries, class_ids]
    best = np.argsort(-found, kind='stable')[:len(scores)]
    boxes = centers_to_corners(arrays['boxes'][0][queries[best]])
    size = np.array((geometry.network_width, geometry.network_height) * 2, np.float32)
    return Candidates(boxes * size, found[best], class_ids[best])


def _sigmoid(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    # tanh does not overflow.
    result: npt.NDArray[np.float32] = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return result
