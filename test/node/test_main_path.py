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

"""The main job over real DDS between processes."""

import signal
import time

from client import encode
from client import GREY
from client import image_message
from client import to_ns
from graph import ROOT
from harness import BOXES
from harness import boxes_of
from harness import dummy_model
from harness import dummy_parameters
from harness import NAMES
from harness import shared_picture
import numpy as np
import pytest


def test_a_node_lives_through_its_whole_life(ros, tmp_path):
    first = dummy_model(tmp_path / 'first.yaml')
    second = dummy_model(tmp_path / 'second.yaml', names=('dog',),
                         detections=[[1, 2, 3, 4, 0.5, 0]])
    process, client = ros.start(dummy_parameters(first))
    camera, detections = client.camera(), client.detections()
    assert client.state() == 'unconfigured'
    client.change_states('configure', 'activate')
    assert client.state() == 'active'
    camera.deliver(detections)
    for number in range(5):
        stamp = camera.publish(frame_id=f'camera_{number}')
        array = detections.wait_for_stamp(stamp)
        assert array.header.frame_id == f'camera_{number}'
        assert boxes_of(array) == [pytest.approx(row) for row in BOXES]
        assert all(element.header == array.header for element in array.detections)
    client.change_states('deactivate')
    assert client.state() == 'inactive'
    client.wait(lambda: camera.subscribers() == 0, 'the subscription is gone')
    received = client.status('model detector')['received']
    silent = [camera.publish() for _ in range(3)]
    assert client.status('model detector')['received'] == received
    client.change_states('activate')
    camera.deliver(detections)
    assert not any(detections.of_stamp(stamp) for stamp in silent)
    client.change_states('deactivate', 'cleanup')
    assert client.state() == 'unconfigured'
    client.wait(lambda: detections.publishers() == 0, 'the publisher is gone')
    client.set('models.detector.path', str(second))
    client.change_states('configure', 'activate')
    array = camera.deliver(detections)
    assert boxes_of(array) == [pytest.approx([1, 2, 3, 4, 0.5, 0])]
    assert process.stop() == 0
    assert not process.lines('ERROR', 'FATAL')


def test_diagnostics_account_for_every_image(scripted):
    process, client = scripted()
    camera, detections = client.camera(), client.detections()
    camera.deliver(detections)
    before = client.status('model detector')
    for _ in range(20):
        detections.wait_for_stamp(camera.publish())
    wanted = int(before['published']) + 20
    report = client.report('model detector',
                           lambda status: status.number('published') >= wanted)
    status = report['model detector']
    assert (int(status['received']), int(status['published'])) == (wanted, wanted)
    assert int(status['in_flight']) == 0
    assert status.dropped() == {}
    assert status.number('processing_p50_ms') > 0
    assert status.number('rate_out_hz') > 0
    assert status.number('age_p99_ms') >= status.number('age_p50_ms') > 0
    assert int(report['camera camera']['received']) == wanted


def test_an_image_without_a_detection_gives_an_empty_array(scripted):
    process, client = scripted({'detections': []})
    camera, detections = client.camera(), client.detections()
    camera.deliver(detections)
    stamp = camera.publish(frame_id='left')
    array = detections.wait_for_stamp(stamp)
    assert array.header.frame_id == 'left'
    assert array.detections == []


@pytest.mark.parametrize('offset_ns', [0, 123_456_789, -250_000_000])
def test_stamps_are_those_of_the_images_to_the_nanosecond(scripted, offset_ns):
    process, client = scripted({}, {'max_image_age': 0.0})
    camera, detections = client.camera(), client.detections()
    camera.deliver(detections)
    stamp = camera.publish(stamp_ns=time.time_ns() + offset_ns)
    array = detections.wait_for_stamp(stamp)
    assert [to_ns(element.header.stamp) for element in array.detections] == [stamp] * 2


def test_people_are_found_by_the_shipped_detector_and_configuration(ros):
    picture = shared_picture('000000000785.jpg')
    process, client = ros.start(ROOT / 'config' / 'inference.yaml')
    client.change_states('configure', 'activate')
    camera, detections = client.camera(), client.detections(model='person')
    raw = boxes_of(camera.deliver(detections, picture))
    assert len(raw) == 1
    x1, y1, x2, y2, score, class_id = raw[0]
    # The skier, as annotated: 280, 44 to 499, 388.
    assert _overlap((x1, y1, x2, y2), (280, 44, 499, 388)) > 0.7
    assert (class_id, score > 0.4) == (0, True)
    rgb = camera.send(image_message(picture[:, :, ::-1], 'rgb8'))
    assert boxes_of(detections.wait_for_stamp(rgb)) == [pytest.approx(raw[0], abs=1e-3)]
    assert boxes_of(camera.deliver(detections, np.zeros_like(picture))) == []
    assert process.stop() == 0


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('transitions', [
    (), ('configure',), ('configure', 'activate'),
    ('configure', 'activate', 'deactivate', 'cleanup', 'unconfigured_shutdown')],
    ids=['unconfigured', 'inactive', 'active', 'finalized'])
def test_a_signal_ends_the_node_in_every_state(scripted, number, transitions):
    process, client = scripted(transitions=transitions)
    if transitions[-1:] == ('activate',):
        camera = client.camera()
        camera.deliver(client.detections())
        camera.publish()
    assert process.stop(number) == 0
    assert not process.lines('ERROR', 'FATAL')


def test_a_signal_while_an_inference_is_in_work(scripted):
    process, client = scripted({'latency_s': 0.5})
    camera = client.camera()
    detections = client.detections()
    camera.deliver(detections)
    camera.publish()
    assert process.stop() == 0


def test_compressed_images(scripted):
    process, client = scripted({}, {'cameras.camera.image_transport': 'compressed'})
    camera, detections = client.camera('/camera/image_raw/compressed'), client.detections()
    camera.deliver(detections)
    for extension in ('.jpg', '.png'):
        stamp = camera.publish(encode(GREY, extension))
        assert len(detections.wait_for_stamp(stamp).detections) == len(BOXES)


def test_every_encoding_that_is_viewed_as_it_is(scripted):
    process, client = scripted()
    camera, detections = client.camera(), client.detections()
    camera.deliver(detections)
    for encoding, channels in (('bgr8', 3), ('rgb8', 3), ('mono8', 1), ('bgra8', 4), ('rgba8', 4)):
        pixels = np.full((48, 64, channels), 90, np.uint8).squeeze()
        stamp = camera.send(image_message(pixels, encoding))
        assert len(detections.wait_for_stamp(stamp).detections) == len(BOXES)


def test_boxes_are_in_pixels_of_the_source_image(scripted):
    process, client = scripted()
    camera, detections = client.camera(), client.detections()
    camera.deliver(detections)
    stamp = camera.publish(np.zeros((96, 128, 3), np.uint8))
    rows = boxes_of(detections.wait_for_stamp(stamp))
    assert rows == [pytest.approx([2 * value for value in box[:4]] + box[4:]) for box in BOXES]
    assert [NAMES[row[5]] for row in rows] == ['person', 'car']


def _overlap(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    inside = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return inside / (sum(areas) - inside)
