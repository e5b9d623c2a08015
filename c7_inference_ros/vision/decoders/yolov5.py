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
YOLOv5 and YOLOv7: ``[1,N,5+C]``, boxes decoded in the graph, with an objectness.

Boxes are (center x, center y, width, height) in pixels of the network input; score = objectness *
class, and every class of an anchor is a candidate for itself. YOLOv6 and YOLOX exported with
decoded boxes have the same form and one anchor for each cell, as a raw YOLOX head has: for these
the decoder is set by name.
"""

from __future__ import annotations

from typing import Mapping

from c7_inference_ros.vision.decoders.anchors import strides_by_count
from c7_inference_ros.vision.decoders.base import HeadDecoder
from c7_inference_ros.vision.decoders.base import make_decoder
from c7_inference_ros.vision.decoders.base import match_specs
from c7_inference_ros.vision.decoders.base import ModelSignature
from c7_inference_ros.vision.decoders.base import OutputSpec
from c7_inference_ros.vision.decoders.candidates import Array
from c7_inference_ros.vision.decoders.candidates import Candidates
from c7_inference_ros.vision.decoders.candidates import centers_to_corners
from c7_inference_ros.vision.decoders.candidates import with_objectness
from c7_inference_ros.vision.decoders.shapes import MismatchError
from c7_inference_ros.vision.letterbox import ImageGeometry

EXPECTS = 'one output [1,N,5+C], boxes decoded, objectness (auto: N of three anchors a cell)'
_PATTERNS = {'head': (1, 'N', 'V')}


def match(model: ModelSignature, is_certain: bool) -> HeadDecoder:
    """
    Return the decoder of a model.

    :param is_certain: take only what can be nothing else.
    :raises MismatchError: when the outputs are something else.
    """
    head = _head(model)
    sizes = match_specs({'head': head}, _PATTERNS)
    cells = strides_by_count(model.network_wh)
    counts = [3 * count for count in cells]
    if is_certain and sizes['N'] not in counts:
        raise MismatchError(f'{head} found, expected N of {" or ".join(map(str, counts))} for '
                            f'{model.network_wh[0]}x{model.network_wh[1]}')
    if -1 not in sizes.values() and sizes['V'] > sizes['N'] not in (*cells, *counts):
        raise MismatchError(f'{head} found, expected [1,N,5+C] and not the transposed layout')
    if sizes['V'] < 6 and (is_certain or sizes['V'] != -1):
        raise MismatchError(f'{head} found, expected at least 6 values an anchor')
    return make_decoder(
        'yolov5', model, {'head': head}, _PATTERNS, read,
        num_classes=sizes['V'] - 5 if sizes['V'] != -1 else None, needs_nms=True)


def read(arrays: Mapping[str, Array], geometry: ImageGeometry, floor: float) -> Candidates:
    """Return every pair of anchor and class that reaches the floor."""
    rows = arrays['head'][0]
    index, scores, class_ids = with_objectness(rows, floor)
    return Candidates(centers_to_corners(rows[index, :4]), scores, class_ids)


def _head(model: ModelSignature) -> OutputSpec:
    # Older exports return the three feature maps of rank 5 as well.
    found = [spec for spec in model.outputs if len(spec.shape) == 3]
    if len(found) != 1 or any(len(spec.shape) not in (3, 5) for spec in model.outputs):
        raise MismatchError(f'{len(model.outputs)} outputs found, expected one [1,N,5+C]')
    return found[0]
