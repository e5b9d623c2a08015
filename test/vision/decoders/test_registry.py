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

from c7_inference_ros.config import DECODERS
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.vision.decoders.base import OutputSpec
from c7_inference_ros.vision.decoders.registry import EXPECTED_OUTPUTS
from c7_inference_ros.vision.decoders.registry import select_decoder
from encoders import encode
from encoders import FULL_NAME
from encoders import image_spec
from encoders import NAMES
from encoders import plain_geometry
from encoders import settings_of
import numpy as np
import pytest

FLOAT, INT64, INT32 = np.dtype(np.float32), np.dtype(np.int64), np.dtype(np.int32)
SIZES = ('orig_target_sizes', (-1, 2), INT64)
#: Cells of strides 8, 16, 32 (and 64) for the usual input sizes.
CELLS_416, CELLS_640, CELLS_1280 = 3549, 8400, 34000


def specs(*tensors):
    return [OutputSpec(name, shape, dtype) for name, shape, dtype in tensors]


def select(outputs, network=(640, 640), name='auto', inputs=()):
    return select_decoder(name, [image_spec(network), *specs(*inputs)], specs(*outputs), network,
                          FULL_NAME)


def refused(outputs, network=(640, 640), name='auto', inputs=()):
    with pytest.raises(ConfigurationError) as caught:
        select(outputs, network, name, inputs)
    message = str(caught.value)
    assert '\n' not in message
    assert message.startswith(FULL_NAME)
    return message


def one(*shape):
    return [('output0', shape, FLOAT)]


EFFICIENT = [('num_dets', (1, 1), INT32), ('det_boxes', (1, 100, 4), FLOAT),
             ('det_scores', (1, 100), FLOAT), ('det_classes', (1, 100), INT32)]
TENSORFLOW = [('num_detections:0', (-1,), FLOAT), ('detection_boxes:0', (-1, -1, -1), FLOAT),
              ('detection_scores:0', (-1, -1), FLOAT), ('detection_classes:0', (-1, -1), FLOAT)]
DETR = [('labels', (-1, -1), INT64), ('boxes', (-1, -1, 4), FLOAT), ('scores', (-1, -1), FLOAT)]
SSD = [('boxes', (1, 1917, 4), FLOAT), ('scores', (1, 1917, 1), FLOAT)]


def test_every_configurable_name_has_a_decoder():
    assert {'auto', *EXPECTED_OUTPUTS} == set(DECODERS)


@pytest.mark.parametrize('outputs, network, inputs, name, classes', [
    (one(1, CELLS_416, 85), (416, 416), (), 'yolox', 80),
    (one(-1, CELLS_640, 6), (640, 640), (), 'yolox', 1),
    (one(1, CELLS_1280, 85), (1280, 1280), (), 'yolox', 80),
    (one(1, 3 * CELLS_640, 85), (640, 640), (), 'yolov5', 80),
    (one(1, 3 * CELLS_640, 6), (640, 640), (), 'yolov5', 1),
    (one(1, 3 * CELLS_1280, 85), (1280, 1280), (), 'yolov5', 80),
    (one(1, 84, CELLS_640), (640, 640), (), 'yolov8', 80),
    (one(1, 5, CELLS_640), (640, 640), (), 'yolov8', 1),
    (one(-1, 84, -1), (640, 640), (), 'yolov8', 80),
    (one(1, 6, CELLS_640), (640, 640), (), 'yolov8', 2),
    (one(1, 84, 6300), (640, 480), (), 'yolov8', 80),
    (one(1, 300, 6), (640, 640), (), 'yolov10', None),
    (one(-1, 300, 6), (640, 640), (), 'yolov10', None),
    (DETR, (320, 320), (SIZES,), 'detr', None),
    (EFFICIENT, (640, 640), (), 'efficient_nms', None),
    (TENSORFLOW, (300, 300), (), 'tf_detection', None)])
def test_auto_where_it_is_certain(outputs, network, inputs, name, classes):
    decoder = select(outputs, network, 'auto', inputs)
    assert (decoder.name, decoder.num_classes) == (name, classes)
    assert decoder.extra_inputs == tuple(spec[0] for spec in inputs)


@pytest.mark.parametrize('outputs, network, possible', [
    # Any number of anchors: YOLOX, YOLOv5 or a transposed YOLOv8.
    (one(1, -1, 85), (640, 640), {'yolox', 'yolov5', 'yolov8'}),
    (one(1, -1, 6), (640, 640), {'yolox', 'yolov5', 'yolov8', 'yolov10'}),
    (one(-1, -1, -1), (640, 640), {'yolox', 'yolov5', 'yolov8', 'yolov10'}),
    # Anchors of another network size.
    (one(1, 3549, 85), (640, 640), {'yolov5', 'yolov8'}),
    # Pixels or 0 to 1, background or not?
    (SSD, (300, 300), {'ssd'}),
    # A softmax with "no object", or a sigmoid?
    ([('pred_logits', (1, 100, 92), FLOAT), ('pred_boxes', (1, 100, 4), FLOAT)], (800, 800),
     {'detr'}),
    # The names of TensorFlow, the shapes of EfficientNMS.
    ([('num_detections', (1, 1), INT32), ('detection_boxes', (1, 100, 4), FLOAT),
      ('detection_scores', (1, 100), FLOAT), ('detection_classes', (1, 100), INT32)], (640, 640),
     {'efficient_nms'})])
def test_auto_does_not_guess(outputs, network, possible):
    message = refused(outputs, network)
    for tensor in specs(*outputs):
        assert str(tensor) in message
    _, _, advice = message.partition(f'set {FULL_NAME} to ')
    assert {name for name in EXPECTED_OUTPUTS if f'{name} (' in advice} == possible
    for name in possible:
        assert select(outputs, network, name).name == name


@pytest.mark.parametrize('outputs', [
    # A classifier, segmentation, DETR without its second input, a head for another batch.
    one(1, 1000), [('output0', (1, 116, 8400), FLOAT), ('output1', (1, 32, 160, 160), FLOAT)],
    DETR, one(4, 84, 8400), [('output0', (1, 84, 8400), INT64)], one(1, 4, 8400), []])
def test_auto_says_what_it_found_where_nothing_fits(outputs):
    message = refused(outputs)
    assert 'no decoder reads' in message
    for tensor in specs(*outputs):
        assert str(tensor) in message
    for name, expected in EXPECTED_OUTPUTS.items():
        assert f'{name} ({expected})' in message


@pytest.mark.parametrize('name', EXPECTED_OUTPUTS)
def test_a_named_decoder_must_fit(name):
    message = refused([('prob', (1, 1000), FLOAT)], name=name)
    assert EXPECTED_OUTPUTS[name] in message
    assert 'use another model' in message


def test_a_named_decoder_that_does_not_fit_names_the_one_that_does():
    message = refused(one(1, 84, CELLS_640), name='yolox')
    assert 'output0 float32 [1,84,8400]' in message
    assert 'expected N of 8400 or' in message
    assert message.endswith(f'set {FULL_NAME} to yolov8')
    message = refused(one(1, 3 * CELLS_640, 85), name='yolov8')
    assert message.endswith(f'set {FULL_NAME} to yolov5')


def test_an_unknown_name_is_refused():
    message = refused(one(1, 84, CELLS_640), name='yolo99')
    assert "'yolo99'" in message and 'auto, yolox, ' in message


def test_yolox_needs_an_input_that_its_strides_divide():
    assert 'multiples of 32' in refused(one(1, 8400, 85), (650, 640), 'yolox')


@pytest.mark.parametrize('name', NAMES)
def test_open_sizes_are_read_at_run_time(name):
    """A model may leave every size open; the decoder then knows them from the frame."""
    case = encode(name, [(10, 10, 60, 50), (100, 20, 180, 120)], [0.5, 0.9], [0, 1])
    open_specs = [OutputSpec(spec.name, (-1,) * (len(spec.shape) - 1) + (
        (4,) if spec.shape[-1] == 4 else (spec.shape[-1],) if name == 'yolov8_transposed'
        else (-1,)), spec.dtype) for spec in case.specs()]
    if name == 'yolov8_transposed':
        open_specs = [OutputSpec('output0', (-1, -1, 9), FLOAT)]
    decoder = select_decoder(case.decoder, [image_spec(), *case.inputs], open_specs, (320, 256),
                             FULL_NAME)
    assert decoder.num_classes == (5 if name == 'yolov8_transposed' else None)
    found = decoder.decode(case.outputs, plain_geometry(), settings_of())
    assert found.class_ids.tolist() == [1, 0]
    np.testing.assert_allclose(found.boxes[0], (100, 20, 180, 120), atol=0.01)
