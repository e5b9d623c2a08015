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
"""The committed person detector: what it promises, and that it can be made again."""

import ast
import hashlib
import json
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / 'models' / 'person_ssdlite.onnx'
MANIFEST = json.loads((ROOT / 'models' / 'MANIFEST.json').read_text())[MODEL.name]
SHARED = ROOT.parent / 'shared'
UNREDUCED = SHARED / 'models' / 'pedestrian_ssdlite_tfod_nms.onnx'
PICTURES = SHARED / 'data' / 'coco_val_subset'
MOST_BYTES = 7_000_000
OPERATORS = {'Add', 'Cast', 'Clip', 'Concat', 'Conv', 'Exp', 'Flatten', 'Mul', 'Reshape',
             'Sigmoid', 'Split', 'Sub', 'Transpose'}

needs_unreduced = pytest.mark.skipif(
    not UNREDUCED.is_file(), reason='../shared/models/pedestrian_ssdlite_tfod_nms.onnx is absent')


@pytest.fixture(scope='module')
def session():
    onnxruntime = pytest.importorskip('onnxruntime')
    return onnxruntime.InferenceSession(str(MODEL), providers=['CPUExecutionProvider'])


@pytest.fixture(scope='module')
def unreduced():
    onnxruntime = pytest.importorskip('onnxruntime')
    return onnxruntime.InferenceSession(str(UNREDUCED), providers=['CPUExecutionProvider'])


@pytest.fixture(scope='module')
def graph():
    return pytest.importorskip('onnx').load(str(MODEL))


def people(session, pixels):
    """
    Run the detector on network-sized RGB pixels, uint8 [300, 300, 3].

    :returns: boxes [1917, 4] and scores [1917].
    """
    images = ((pixels.astype(np.float32) - 127.5) / 127.5).transpose(2, 0, 1)[None]
    boxes, scores = session.run(['boxes', 'scores'], {'images': np.ascontiguousarray(images)})
    return boxes[0], scores[0, :, 0]


def overlap(one, other):
    """Return the intersection over union of two xyxy boxes."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    common = np.prod(np.clip(sides, 0, None))
    return common / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - common)


def picture(name):
    """Return a reference picture as RGB, and its people's boxes as relative xyxy."""
    cv2 = pytest.importorskip('cv2')
    if not PICTURES.is_dir():
        pytest.skip('../shared/data/coco_val_subset is absent')
    truth = json.loads((PICTURES / 'instances.json').read_text())
    entry = next(i for i in truth['images'] if i['file_name'] == name)
    rgb = cv2.imread(str(PICTURES / 'images' / name))[:, :, ::-1]
    size = np.array([entry['width'], entry['height']] * 2, float)
    boxes = np.array([a['bbox'] for a in truth['annotations']
                      if a['image_id'] == entry['id'] and a['category_id'] == 1],
                     float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    pixels = cv2.resize(np.ascontiguousarray(rgb), (300, 300), interpolation=cv2.INTER_AREA)
    return pixels, boxes / size


def test_file_is_the_pinned_one():
    data = MODEL.read_bytes()
    assert len(data) <= MOST_BYTES
    assert len(data) == MANIFEST['bytes']
    assert hashlib.sha256(data).hexdigest() == MANIFEST['sha256']


def test_readme_and_licence_go_with_the_file():
    text = (ROOT / 'models' / 'README.md').read_text()
    assert MANIFEST['sha256'] in text
    assert MANIFEST['source_sha256'] in text
    licence = (ROOT / 'models' / 'person_ssdlite.LICENSE').read_text()
    assert 'Permission is hereby granted, free of charge' in licence
    assert 'Copyright (c) 2018 cftang' in licence


def test_tensors(session):
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
        ('images', 'tensor(float)', [1, 3, 300, 300])]
    assert [(o.name, o.type, o.shape) for o in session.get_outputs()] == [
        ('boxes', 'tensor(float)', [1, 1917, 4]), ('scores', 'tensor(float)', [1, 1917, 1])]


def test_metadata_tells_how_to_use_it(session):
    metadata = session.get_modelmeta().custom_metadata_map
    assert ast.literal_eval(metadata['names']) == {0: 'person'}
    assert metadata['source_sha256'] == MANIFEST['source_sha256']
    assert metadata['license'].startswith('MIT')
    before = json.loads(metadata['preprocessing'])
    assert (before['resize'], before['interpolation']) == ('stretch', 'area')
    assert (before['width'], before['height']) == (300, 300)
    assert (before['color_order'], before['layout']) == ('rgb', 'nchw')
    assert (before['scale'], before['mean'], before['std']) == (1.0, [127.5] * 3, [127.5] * 3)
    after = json.loads(metadata['postprocessing'])
    assert after['nms_iou_threshold'] == 0.6
    assert after['max_detections'] == 100


def test_graph_is_a_plain_network(graph):
    assert [(o.domain, o.version) for o in graph.opset_import] == [('', 13)]
    assert {n.op_type for n in graph.graph.node} == OPERATORS
    # Integers only as the constant shapes that Reshape asks for.
    floats = (1, 10)
    shapes = {n.input[1] for n in graph.graph.node if n.op_type == 'Reshape'}
    assert {i.name for i in graph.graph.initializer if i.data_type not in floats} == shapes
    casts = [a.i for n in graph.graph.node if n.op_type == 'Cast' for a in n.attribute]
    assert set(casts) == {1}


def test_large_weights_are_half_and_only_those(graph):
    for tensor in graph.graph.initializer:
        if len(tensor.dims) == 4:
            half = tensor.data_type == 10
            assert half == (np.prod(tensor.dims) > 4096), tensor.name


@pytest.mark.parametrize('value', [0, 127, 255])
def test_constant_picture_gives_proper_boxes_and_nobody(session, value):
    boxes, scores = people(session, np.full((300, 300, 3), value, np.uint8))
    assert np.isfinite(boxes).all()
    assert (boxes[:, :2] < boxes[:, 2:]).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    assert scores.max() < 0.5


def test_extreme_input_stays_finite(session):
    boxes, scores = session.run(
        None, {'images': np.full((1, 3, 300, 300), 1000, np.float32)})
    assert np.isfinite(boxes).all()
    assert np.isfinite(scores).all()


@pytest.mark.parametrize('name', [
    '000000000785.jpg', '000000001268.jpg', '000000007511.jpg', '000000008690.jpg',
    '000000261888.jpg', '000000547336.jpg'])
def test_finds_people(session, name):
    pixels, truth = picture(name)
    boxes, scores = people(session, pixels)
    best = scores.argmax()
    assert scores[best] > 0.5
    assert max(overlap(boxes[best], t) for t in truth) > 0.6


@needs_unreduced
def test_agrees_with_the_unreduced_graph(session, unreduced):
    compared = 0
    for path in sorted((PICTURES / 'images').glob('*.jpg')):
        pixels, _ = picture(path.name)
        expected, expected_scores = unreduced.run(
            ['detection_boxes:0', 'detection_scores:0'], {'image_tensor:0': pixels[None]})
        boxes, scores = people(session, pixels)
        if expected_scores[0, 0] < 0.2:
            continue
        best = scores.argmax()
        assert abs(scores[best] - expected_scores[0, 0]) < 0.003, path.name
        # The suppression in the graph clips boxes to the picture and has y first.
        assert np.abs(np.clip(boxes[best], 0, 1) - expected[0, 0, [1, 0, 3, 2]]).max() < 1e-3
        compared += 1
    assert compared >= 5


@needs_unreduced
def test_reduction_gives_the_committed_bytes():
    pytest.importorskip('onnx')
    done = subprocess.run(
        [sys.executable, str(ROOT / 'dev' / 'detector' / 'reproduce.py'), '--check',
         '--from-onnx', str(UNREDUCED)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_reduction_refuses_another_model(tmp_path):
    pytest.importorskip('onnx')
    output = tmp_path / 'out.onnx'
    done = subprocess.run(
        [sys.executable, str(ROOT / 'dev' / 'detector' / 'reproduce.py'), '--from-onnx',
         str(MODEL), '--output', str(output)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert 'is not in the source graph' in done.stderr or 'expected 1' in done.stderr
    assert not output.exists()


def test_tensorrt_builder_accepts_it():
    trt = pytest.importorskip('tensorrt_rtx')
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(MODEL.read_bytes())
    assert (network.num_layers > 100, network.num_inputs, network.num_outputs) == (True, 1, 2)
    assert builder.build_serialized_network(network, builder.create_builder_config()) is not None
