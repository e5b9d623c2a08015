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

"""Output tensors of each family that hold known boxes: what the decoders are tested with."""

from dataclasses import dataclass
from typing import Callable
from typing import Dict
from typing import List
from typing import Tuple

from c7_inference_ros.vision.decoders.base import OutputSpec
from c7_inference_ros.vision.decoders.registry import select_decoder
from c7_inference_ros.vision.letterbox import letterbox_geometry
from c7_inference_ros.vision.letterbox import stretch_geometry
from c7_inference_ros.vision.settings import DetectionSettings
import numpy as np

FULL_NAME = 'models.front.decoder'
#: Small enough for fast tests, not square, and all strides fit.
NETWORK = (320, 256)
CLASSES = 5
NAMES = ('yolox', 'yolov5', 'yolov8', 'yolov8_transposed', 'yolov10', 'detr', 'detr_raw',
         'efficient_nms', 'tf_detection', 'ssd', 'ssd_rank4')


@dataclass
class Case:
    """A model's signature and the outputs of one inference."""

    decoder: str
    outputs: Dict[str, np.ndarray]
    inputs: Tuple[OutputSpec, ...] = ()

    def specs(self) -> List[OutputSpec]:
        """Declare the outputs as the model would."""
        return [OutputSpec(name, array.shape, array.dtype)
                for name, array in self.outputs.items()]

    def select(self, name='', network=NETWORK):
        """Select the decoder by its name."""
        inputs = (image_spec(network), *self.inputs)
        return select_decoder(name or self.decoder, inputs, self.specs(), network, FULL_NAME)


def image_spec(network=NETWORK):
    return OutputSpec('images', (1, 3, network[1], network[0]), np.dtype(np.float32))


def settings_of(threshold=0.4, classes=CLASSES, wanted=None, thresholds=None, nms_threshold=0.45,
                agnostic=False, max_detections=300):
    mask = np.ones(classes, bool)
    if wanted is not None:
        mask[:] = False
        mask[list(wanted)] = True
    scores = np.full(classes, threshold, np.float32)
    for class_id, value in (thresholds or {}).items():
        scores[class_id] = value
    return DetectionSettings(
        score_thresholds=scores, class_mask=mask, nms_threshold=nms_threshold,
        class_agnostic_nms=agnostic, max_detections=max_detections)


GEOMETRIES = {
    'center': lambda source: letterbox_geometry(source, NETWORK, 'center'),
    'top_left': lambda source: letterbox_geometry(source, NETWORK, 'top_left'),
    'stretch': lambda source: stretch_geometry(source, NETWORK)}


def plain_geometry(network=NETWORK):
    """Take an image that has the size of the network input."""
    return stretch_geometry(network, network)


def encode(name, boxes, scores, class_ids, geometry=None, dtype=np.float32) -> Case:
    """
    Write detections as a model of a family would answer them.

    :param boxes: (x1, y1, x2, y2) in network pixels.
    :param geometry: what graphs that scale their boxes are told.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    return _ENCODERS[name](boxes, list(scores), list(class_ids), geometry or plain_geometry(),
                           dtype)


def _cells(strides=(8, 16, 32), network=NETWORK):
    return [(column, row, stride) for stride in strides
            for row in range(network[1] // stride) for column in range(network[0] // stride)]


def _centers(boxes):
    return np.concatenate(((boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]), 1)


def _yolox(boxes, scores, class_ids, geometry, dtype):
    cells = _cells()
    head = np.zeros((1, len(cells), 5 + CLASSES))
    taken = set()
    for (x, y, w, h), score, class_id in zip(_centers(boxes), scores, class_ids):
        # The cell that holds the center, of the first level where it is free.
        index = next(i for i, (column, row, stride) in enumerate(cells) if i not in taken
                     and int(np.clip(x, 0, NETWORK[0] - 1)) // stride == column
                     and int(np.clip(y, 0, NETWORK[1] - 1)) // stride == row)
        taken.add(index)
        column, row, stride = cells[index]
        with np.errstate(all='ignore'):
            head[0, index, :5] = (x / stride - column, y / stride - row, np.log(w / stride),
                                  np.log(h / stride), 0.95)
        head[0, index, 5 + int(class_id)] = score / 0.95
    return Case('yolox', {'output': head.astype(dtype)})


def _yolov5(boxes, scores, class_ids, geometry, dtype):
    head = np.zeros((1, 3 * len(_cells()), 5 + CLASSES))
    for i, (box, score, class_id) in enumerate(zip(_centers(boxes), scores, class_ids)):
        head[0, 7 * i + 3, :4] = box
        head[0, 7 * i + 3, 4] = 0.95
        head[0, 7 * i + 3, 5 + int(class_id)] = score / 0.95
    return Case('yolov5', {'output0': head.astype(dtype)})


def _yolov8(boxes, scores, class_ids, geometry, dtype):
    head = np.zeros((1, 4 + CLASSES, len(_cells())))
    for i, (box, score, class_id) in enumerate(zip(_centers(boxes), scores, class_ids)):
        head[0, :4, 5 * i + 2] = box
        head[0, 4 + int(class_id), 5 * i + 2] = score
    return Case('yolov8', {'output0': head.astype(dtype)})


def _yolov8_transposed(*arguments):
    head = _yolov8(*arguments).outputs['output0']
    return Case('yolov8', {'output0': np.ascontiguousarray(head.transpose(0, 2, 1))})


def _listed(boxes, scores, class_ids, padding, rows=100):
    """Return boxes, scores and classes as padded lists."""
    count = len(scores)
    lists = np.zeros((1, rows, 4)), np.zeros((1, rows)), np.full((1, rows), float(padding))
    lists[0][0, :count] = boxes
    lists[1][0, :count] = scores
    lists[2][0, :count] = class_ids
    return lists


def _yolov10(boxes, scores, class_ids, geometry, dtype):
    box_list, score_list, class_list = _listed(boxes, scores, class_ids, 0)
    head = np.concatenate((box_list, score_list[..., None], class_list[..., None]), axis=2)
    return Case('yolov10', {'output0': head.astype(dtype)})


def _detr(boxes, scores, class_ids, geometry, dtype):
    # As the graphs do: boxes in 0 to 1 of the input, times the size that they are given.
    probe = Case('detr', {'labels': np.zeros((1, 3), np.int64),
                          'boxes': np.zeros((1, 3, 4), np.float32),
                          'scores': np.zeros((1, 3), np.float32)}, (SIZES,))
    size = probe.select().extra_input('orig_target_sizes', geometry, np.dtype(np.int64))
    assert size.dtype == np.int64 and size.shape == (1, 2)
    scaled = boxes / np.array(NETWORK * 2) * np.concatenate((size[0], size[0]))
    box_list, score_list, class_list = _listed(scaled, scores, class_ids, 0)
    return Case('detr', {'labels': class_list.astype(np.int64), 'boxes': box_list.astype(dtype),
                         'scores': score_list.astype(dtype)}, (SIZES,))


SIZES = OutputSpec('orig_target_sizes', (-1, 2), np.dtype(np.int64))


def _detr_raw(boxes, scores, class_ids, geometry, dtype):
    queries = 100
    logits = np.full((1, queries, CLASSES), -12.0)
    centers = np.full((1, queries, 4), 0.5)
    for i, (box, score, class_id) in enumerate(zip(_centers(boxes), scores, class_ids)):
        centers[0, i + 10] = box / np.array(NETWORK * 2)
        with np.errstate(all='ignore'):
            logits[0, i + 10, int(class_id)] = np.log(score / (1 - score))
    return Case('detr', {'pred_logits': logits.astype(dtype), 'pred_boxes': centers.astype(dtype)})


def _efficient_nms(boxes, scores, class_ids, geometry, dtype):
    box_list, score_list, class_list = _listed(boxes, scores, class_ids, -1)
    return Case('efficient_nms', {
        'num_dets': np.array([[len(scores)]], np.int32), 'det_boxes': box_list.astype(dtype),
        'det_scores': score_list.astype(dtype), 'det_classes': class_list.astype(np.int32)})


def _tf_detection(boxes, scores, class_ids, geometry, dtype):
    normalised = (boxes / np.array(NETWORK * 2))[:, [1, 0, 3, 2]]
    box_list, score_list, class_list = _listed(normalised, scores,
                                               [float(i) + 1 for i in class_ids], 1)
    return Case('tf_detection', {
        'detection_boxes:0': box_list.astype(dtype),
        'detection_classes:0': class_list.astype(dtype),
        'detection_scores:0': score_list.astype(dtype),
        'num_detections:0': np.array([len(scores)], np.float32)})


def _ssd(boxes, scores, class_ids, geometry, dtype):
    rows = 200
    all_boxes, all_scores = np.zeros((1, rows, 4)), np.zeros((1, rows, CLASSES))
    for i, (box, score, class_id) in enumerate(zip(boxes, scores, class_ids)):
        all_boxes[0, i + 9] = box / np.array(NETWORK * 2)
        all_scores[0, i + 9, int(class_id)] = score
    return Case('ssd', {'boxes': all_boxes.astype(dtype), 'scores': all_scores.astype(dtype)})


def _ssd_rank4(*arguments):
    case = _ssd(*arguments)
    case.outputs['boxes'] = case.outputs['boxes'][:, :, None, :]
    return case


_ENCODERS: Dict[str, Callable[..., Case]] = {
    name: globals()[f'_{name}'] for name in NAMES}
