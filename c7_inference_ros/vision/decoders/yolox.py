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
YOLOX, raw head: ``[1,N,5+C]``, one anchor for each cell of strides 8, 16, 32 (and 64).

xy = (xy + cell) * stride, wh = exp(wh) * stride, score = objectness * class; both are sigmoided in
the graph. Every class of a cell is a candidate for itself. A head that was exported with its boxes
decoded is read by ``yolov5``.
"""

from __future__ import annotations

from functools import partial
from typing import Mapping

from c7_inference_ros.errors import InferenceError
from c7_inference_ros.vision.decoders.anchors import make_grid
from c7_inference_ros.vision.decoders.anchors import strides_by_count
from c7_inference_ros.vision.decoders.base import HeadDecoder
from c7_inference_ros.vision.decoders.base import make_decoder
from c7_inference_ros.vision.decoders.base import match_specs
from c7_inference_ros.vision.decoders.base import ModelSignature
from c7_inference_ros.vision.decoders.candidates import Array
from c7_inference_ros.vision.decoders.candidates import as_float32
from c7_inference_ros.vision.decoders.candidates import Candidates
from c7_inference_ros.vision.decoders.candidates import centers_to_corners
from c7_inference_ros.vision.decoders.candidates import with_objectness
from c7_inference_ros.vision.decoders.shapes import MismatchError
from c7_inference_ros.vision.letterbox import ImageGeometry
import numpy as np

EXPECTS = 'one output [1,N,5+C], raw, N cells of strides 8, 16, 32 (and 64)'
_PATTERNS = {'head': (1, 'N', 'V')}


def match(model: ModelSignature, is_certain: bool) -> HeadDecoder:
    """
    Return the decoder of a model.

    :param is_certain: take only what can be nothing else.
    :raises MismatchError: when the outputs are something else.
    """
    head = model.only_output()
    sizes = match_specs({'head': head}, _PATTERNS)
    counts = strides_by_count(model.network_wh)
    if not counts:
        raise MismatchError(f'the network input is {model.network_wh[0]}x{model.network_wh[1]}, '
                            f'expected multiples of 32')
    if sizes['N'] not in counts and (is_certain or sizes['N'] != -1):
        raise MismatchError(f'{head} found, expected N of {" or ".join(map(str, counts))} for '
                            f'{model.network_wh[0]}x{model.network_wh[1]}')
    if sizes['V'] < 6 and (is_certain or sizes['V'] != -1):
        raise MismatchError(f'{head} found, expected at least 6 values an anchor')
    grids = {count: make_grid(model.network_wh, strides) for count, strides in counts.items()}
    return make_decoder(
        'yolox', model, {'head': head}, _PATTERNS,
        partial(read, grids=grids, full_name=model.full_name),
        num_classes=sizes['V'] - 5 if sizes['V'] != -1 else None, needs_nms=True)


def read(arrays: Mapping[str, Array], geometry: ImageGeometry, floor: float,
         grids: Mapping[int, tuple[Array, Array]], full_name: str) -> Candidates:
    """Return the pairs that reach the floor; ``grids`` has cells and strides by count."""
    rows = arrays['head'][0]
    if len(rows) not in grids:
        raise InferenceError(f'{full_name}: {len(rows)} anchors found, expected '
                             f'{" or ".join(map(str, grids))} for this network input')
    # Offsets are a few cells. Pixels look alike by shape only: half of the centers lie right of
    # the middle of the input.
    width = geometry.network_width
    is_pixel = (rows[:, 0] > width / 2) & (rows[:, 0] < 2 * width)
    if np.count_nonzero(is_pixel) > len(rows) // 10:
        raise InferenceError(
            f'{full_name}: the output holds pixels, expected the raw YOLOX head; set {full_name} '
            f'to yolov5 if it has an objectness ([1,N,5+C]), to yolov8 if not ([1,N,4+C])')
    index, scores, class_ids = with_objectness(rows, floor)
    cells, strides = grids[len(rows)]
    values = as_float32(rows[index, :4])
    boxes = np.concatenate((values[:, :2] + cells[index], np.exp(values[:, 2:])), axis=1)
    return Candidates(centers_to_corners(boxes * strides[index]), scores, class_ids)
