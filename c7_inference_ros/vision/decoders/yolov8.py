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
YOLOv8 and its successors (v9, v11, v12): ``[1,4+C,N]``, no objectness.

Boxes are (center x, center y, width, height) in pixels of the network input. Every class of an
anchor is a candidate for itself. The transposed layout ``[1,N,4+C]`` looks like a YOLOX head of
one class less: it is read when the decoder is set by name.
"""

from __future__ import annotations

from functools import partial
from typing import Mapping

from c7_inference_ros.vision.decoders.anchors import strides_by_count
from c7_inference_ros.vision.decoders.base import HeadDecoder
from c7_inference_ros.vision.decoders.base import make_decoder
from c7_inference_ros.vision.decoders.base import match_specs
from c7_inference_ros.vision.decoders.base import ModelSignature
from c7_inference_ros.vision.decoders.candidates import Array
from c7_inference_ros.vision.decoders.candidates import as_float32
from c7_inference_ros.vision.decoders.candidates import Candidates
from c7_inference_ros.vision.decoders.candidates import centers_to_corners
from c7_inference_ros.vision.decoders.shapes import MismatchError
from c7_inference_ros.vision.letterbox import ImageGeometry
import numpy as np

EXPECTS = 'one output [1,4+C,N], boxes decoded, no objectness (by name also [1,N,4+C])'
_PATTERNS = {'head': (1, 'A', 'B')}


def match(model: ModelSignature, is_certain: bool) -> HeadDecoder:
    """
    Return the decoder of a model.

    :param is_certain: take only what can be nothing else.
    :raises MismatchError: when the outputs are something else.
    """
    head = model.only_output()
    sizes = match_specs({'head': head}, _PATTERNS)
    first, second = sizes['A'], sizes['B']
    counts = strides_by_count(model.network_wh)
    if is_certain:
        if first < 5 or first in counts or second not in (-1, *counts):
            raise MismatchError(f'{head} found, expected [1,4+C,N] with N of '
                                f'{" or ".join(map(str, counts))}')
        is_transposed = False
    elif -1 in (first, second):
        # The open size is the number of anchors; two open sizes say nothing: the usual layout.
        is_transposed = first == -1 and second != -1
    else:
        is_transposed = second not in counts and (first in counts or first > second)
    values, anchors = (second, first) if is_transposed else (first, second)
    if anchors in [3 * count for count in counts]:
        raise MismatchError(f'{head} found, and three anchors a cell are those of yolov5')
    if values != -1 and values < 5:
        raise MismatchError(f'{head} found, expected at least 5 values an anchor')
    return make_decoder(
        'yolov8', model, {'head': head}, _PATTERNS, partial(read, is_transposed=is_transposed),
        num_classes=values - 4 if values != -1 else None, needs_nms=True)


def read(arrays: Mapping[str, Array], geometry: ImageGeometry, floor: float,
         is_transposed: bool = False) -> Candidates:
    """Return every pair of anchor and class that reaches the floor."""
    head = arrays['head'][0]
    columns = as_float32(head.T if is_transposed else head)
    # The best class of an anchor settles most of them at a third of the cost.
    index = np.flatnonzero(columns[4:].max(axis=0) >= floor)
    scores = columns[4:, index]
    class_ids, found = np.nonzero(scores >= floor)
    return Candidates(centers_to_corners(columns[:4, index[found]].T), scores[class_ids, found],
                      class_ids)
