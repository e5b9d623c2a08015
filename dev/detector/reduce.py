#!/usr/bin/env python3
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
Cut a TensorFlow SSD detector, converted to ONNX, down to its network.

The source is the output of tf2onnx for a frozen graph of the TensorFlow object detection
API: resize and normalisation in front, box decoding and non-maximum suppression behind, both
in loops. What is written here holds only convolutions, additions and clips, then the box decoding
with the anchors as constants and the sigmoid of the scores. Nothing depends on names that the
converter invents, so two conversions of one frozen graph give the same bytes.
"""

import argparse
import hashlib
import json
import math
from pathlib import Path
import sys
from typing import Dict
from typing import Optional
from typing import Sequence
from typing import Tuple

from graphs import Array
from graphs import ReductionError
from graphs import Source
from graphs import Target
import numpy as np
import onnx
from onnx import helper
from reproduce import FROZEN_GRAPH
from reproduce import FROZEN_GRAPH_SHA256
from reproduce import OPSET
from reproduce import PACKAGE

IR_VERSION = 7
LEVELS = 6
CLASS_NAMES = {0: 'person'}

# Names given by the authors of the frozen graph; the converter keeps them.
IMAGE = 'Preprocessor/sub:0'
IMAGE_SCALE = 'Preprocessor/mul'
IMAGE_OFFSET = 'Preprocessor/sub'
ANCHORS = 'Postprocessor/Tile'
SCORES = 'Postprocessor/convert_scores'
BOX_HEAD = 'BoxPredictor_{}/BoxEncodingPredictor/BiasAdd'
CLASS_HEAD = 'BoxPredictor_{}/ClassPredictor/BiasAdd'
INVERSE_XY_SCALES = ('Postprocessor/Decode/truediv', 'Postprocessor/Decode/truediv_1')
INVERSE_WH_SCALES = ('Postprocessor/Decode/truediv_2', 'Postprocessor/Decode/truediv_3')
NMS_MAXIMUM = (
    'Postprocessor/BatchMultiClassNonMaxSuppression/map/while/MultiClassNonMaxSuppression/Minimum')


class Copier:
    """Copy the network from the source to the target, batch normalisation folded."""

    def __init__(self, source: Source, target: Target) -> None:
        """Remember where to read and where to write."""
        self._source = source
        self._target = target
        self._done: Dict[str, str] = {IMAGE: 'images'}

    def tensor(self, name: str) -> str:
        """
        Copy whatever a tensor needs.

        :param name: tensor of the source graph.
        :returns: the same tensor's name in the target graph.
        :raises ReductionError: when an operator other than the expected ones is met.
        """
        if name in self._done:
            return self._done[name]
        node = self._source.producer(name)
        if node.op_type == 'Conv':
            result = self.convolution(node)
        elif node.op_type == 'BatchNormalization':
            result = self._normalised(node)
        elif node.op_type == 'Add':
            inputs = [self.tensor(i) for i in node.input]
            result = self._target.node('Add', inputs, node.name)
        elif node.op_type == 'Clip':
            limits = [self._target.constant(f'clip/{float(self._source.constant(i)):g}',
                                            self._source.constant(i)) for i in node.input[1:]]
            result = self._target.node('Clip', [self.tensor(node.input[0]), *limits], node.name)
        elif node.op_type == 'Reshape':
            result = self.tensor(self._through_reshape(name))
        else:
            raise ReductionError(
                f'{node.op_type} {node.name} found where a Conv, Add, Clip or '
                'BatchNormalization was expected')
        self._done[name] = result
        return result

    def convolution(self, node: onnx.NodeProto, weight: Optional[Array] = None,
                    bias: Optional[Array] = None) -> str:
        """Copy a convolution, with other weights where they are given."""
        if weight is None:
            weight, bias = self.parameters(node)
        data = self.tensor(node.input[0])
        inputs = [data, self._target.weight(f'{node.name}/weight', weight)]
        if bias is not None:
            inputs.append(self._target.constant(f'{node.name}/bias', bias.astype(np.float32)))
        attributes = {a.name: helper.get_attribute_value(a)
                      for a in sorted(node.attribute, key=lambda a: a.name)}
        return self._target.node('Conv', inputs, node.name, **attributes)

    def parameters(self, node: onnx.NodeProto) -> Tuple[Array, Optional[Array]]:
        """Return weight and bias of a convolution."""
        bias = self._source.constant(node.input[2]) if len(node.input) > 2 else None
        return self._source.constant(node.input[1]), bias

    def _normalised(self, node: onnx.NodeProto) -> str:
        conv = self._source.producer(self._through_reshape(node.input[0]))
        if conv.op_type != 'Conv':
            raise ReductionError(f'{node.name} follows {conv.op_type}, not a Conv')
        weight, bias = self.parameters(conv)
        gamma, beta, mean, variance = (
            self._source.constant(i).astype(np.float64) for i in node.input[1:])
        epsilon = next(a.f for a in node.attribute if a.name == 'epsilon')
        factor = gamma / np.sqrt(variance + epsilon)
        start = 0.0 if bias is None else bias
        return self.convolution(conv, (weight * factor[:, None, None, None]).astype(np.float32),
                                beta + (start - mean) * factor)

    def _through_reshape(self, tensor: str) -> str:
        # The converter wraps layers of 1x1 maps in reshapes to [-1, C, 1, 1]: nothing at batch 1.
        node = self._source.producer(tensor)
        while node.op_type == 'Reshape':
            shape = self._source.constant(node.input[1]).tolist()
            if shape[0] != -1 or shape[2:] != [1, 1]:
                raise ReductionError(f'{node.name} reshapes to {shape}')
            tensor = node.input[0]
            node = self._source.producer(tensor)
        return tensor


def head(copier: Copier, source: Source, target: Target, name: str,
         order: Sequence[int], group: int) -> str:
    """
    Copy one prediction layer and lay its output out as a row.

    :param name: convolution of the source graph with outputs [1, A * group, H, W].
    :param order: channels to keep out of each group, in the wanted order.
    :param group: channels per anchor.
    :returns: tensor [1, H * W * A * len(order)], anchors in the source's order.
    """
    node = source.node(name)
    weight, bias = copier.parameters(node)
    if bias is None or weight.shape[0] % group:
        raise ReductionError(f'{name} has weights {weight.shape}, not {group} for each anchor')
    keep = [a * group + c for a in range(weight.shape[0] // group) for c in order]
    conv = copier.convolution(node, weight[keep], bias[keep])
    nhwc = target.node('Transpose', [conv], f'{name}/nhwc', perm=[0, 2, 3, 1])
    return target.node('Flatten', [nhwc], f'{name}/row', axis=1)


def decode(target: Target, encodings: str, anchors: Array, xy: float, wh: float) -> None:
    """
    Add the box decoding of the faster R-CNN coder.

    :param encodings: tensor [1, N, 4] of (tx, ty, tw, th).
    :param anchors: (ymin, xmin, ymax, xmax), float [N, 4].
    :param xy: factor of the centre offsets, 0.1 for a coder scale of 10.
    :param wh: factor of the size exponents, 0.2 for a coder scale of 5.
    """
    low, high = anchors[None, :, 1::-1].astype(np.float64), anchors[None, :, :1:-1]
    size = high - low
    centre = target.constant('anchors/centre', (low + size / 2).astype(np.float32))
    step = target.constant('anchors/step', (size * xy).astype(np.float32))
    half = target.constant('anchors/half_size', (size / 2).astype(np.float32))
    factor = target.constant('anchors/exponent', np.array(wh, np.float32))
    target.nodes.append(helper.make_node(
        'Split', [encodings], ['encodings/xy', 'encodings/wh'], name='encodings/split', axis=2))
    offset = target.node('Mul', ['encodings/xy', step], 'boxes/offset')
    middle = target.node('Add', [offset, centre], 'boxes/centre')
    exponent = target.node('Mul', ['encodings/wh', factor], 'boxes/exponent')
    growth = target.node('Exp', [exponent], 'boxes/growth')
    reach = target.node('Mul', [growth, half], 'boxes/half_size')
    corners = [target.node('Sub', [middle, reach], 'boxes/min'),
               target.node('Add', [middle, reach], 'boxes/max')]
    target.node('Concat', corners, 'boxes', axis=2)


def metadata(source: Source, width: int, height: int) -> Dict[str, str]:
    """Return what a user of the file must know, as its metadata properties."""
    _, _, _, iou, score = source.only('NonMaxSuppression').input
    return {
        'names': repr(CLASS_NAMES),
        'task': 'detect',
        'imgsz': repr([height, width]),
        'description': 'Person detector: MobileNetV2 SSDLite, boxes decoded, no NMS',
        'preprocessing': json.dumps({
            'resize': 'stretch', 'interpolation': 'area', 'width': width, 'height': height,
            'color_order': 'rgb', 'layout': 'nchw', 'formula': '(pixel * scale - mean) / std',
            'scale': 1.0, 'mean': [127.5] * 3, 'std': [127.5] * 3}),
        'postprocessing': json.dumps({
            'boxes': 'xyxy, relative to the network input, not clipped',
            'scores': 'sigmoid, one column for each name, no background',
            'nms_iou_threshold': round(float(source.constant(iou)), 6),
            'nms_score_threshold': float(f'{float(source.constant(score)):.6g}'),
            'max_detections': int(source.number(NMS_MAXIMUM))}),
        'source': f'{FROZEN_GRAPH} of the PyPI package {PACKAGE}',
        'source_sha256': FROZEN_GRAPH_SHA256,
        'license': 'MIT, Copyright (c) 2018 cftang',
    }


def reduce_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """
    Build the reduced detector.

    :param model: the detector as tf2onnx writes it.
    :returns: input images [1, 3, H, W], outputs boxes [1, N, 4] and scores [1, N, C], float32.
    :raises ReductionError: when the model is not the expected graph.
    """
    source, target = Source(model), Target()
    height, width = source.operand(source.producer(source.only('Resize').input[3])).tolist()
    if not math.isclose(source.number(IMAGE_SCALE) * 127.5 * source.number(IMAGE_OFFSET), 1,
                        rel_tol=1e-6):
        raise ReductionError('the source does not normalise by x / 127.5 - 1')
    if source.node(SCORES).op_type != 'Sigmoid':
        raise ReductionError(f'{SCORES} is a {source.node(SCORES).op_type}, not a Sigmoid')
    anchors = source.operand(source.node(ANCHORS))[0]
    count, classes = len(anchors), len(CLASS_NAMES)
    copier = Copier(source, target)
    boxes = [head(copier, source, target, BOX_HEAD.format(i), (1, 0, 3, 2), 4)
             for i in range(LEVELS)]
    # Column 0 of each group is the background.
    scores = [head(copier, source, target, CLASS_HEAD.format(i), range(1, classes + 1),
                   classes + 1) for i in range(LEVELS)]
    rows = target.node('Concat', boxes, 'encodings/row', axis=1)
    shape = target.constant('encodings/shape', np.array([1, count, 4], np.int64))
    encodings = target.node('Reshape', [rows, shape], 'encodings')
    decode(target, encodings, anchors, source.number(*INVERSE_XY_SCALES),
           source.number(*INVERSE_WH_SCALES))
    rows = target.node('Concat', scores, 'logits/row', axis=1)
    shape = target.constant('logits/shape', np.array([1, count, classes], np.int64))
    logits = target.node('Reshape', [rows, shape], 'logits')
    target.node('Sigmoid', [logits], 'scores')

    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        target.nodes, 'person_ssdlite',
        [tensor('images', onnx.TensorProto.FLOAT, [1, 3, height, width])],
        [tensor('boxes', onnx.TensorProto.FLOAT, [1, count, 4]),
         tensor('scores', onnx.TensorProto.FLOAT, [1, count, classes])],
        target.initializers)
    result = helper.make_model(graph, producer_name='c7_inference_ros',
                               opset_imports=[helper.make_opsetid('', OPSET)],
                               ir_version=IR_VERSION)
    helper.set_model_props(result, metadata(source, width, height))
    onnx.checker.check_model(result, full_check=True)
    return result


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Reduce a file."""
    parser = argparse.ArgumentParser(description='Reduce a converted detector.')
    parser.add_argument('source', type=Path, help='ONNX file as tf2onnx writes it')
    parser.add_argument('output', type=Path, help='ONNX file to write')
    options = parser.parse_args(arguments)
    try:
        model = reduce_model(onnx.load(str(options.source)))
    except ReductionError as error:
        print(f'{options.source}: {error}; convert the package named in README.md',
              file=sys.stderr)
        return 2
    data = model.SerializeToString(deterministic=True)
    options.output.write_bytes(data)
    print(f'{options.output}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
