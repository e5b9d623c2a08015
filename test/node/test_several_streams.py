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

"""Several cameras and models by name lists; annotated images for those who look."""

from client import encode
from client import ERROR
from client import GREY
from harness import BOXES
from harness import boxes_of
from harness import dummy_model
import numpy as np
import pytest
from sensor_msgs.msg import Image

CAR = [[2, 2, 20, 20, 0.8, 0]]


@pytest.fixture
def four_streams(ros, tmp_path):
    """Return a function that starts two cameras, raw and compressed, and two models."""
    def start(changes=None):
        process, client = ros.start({
            'runtime': 'dummy', 'memory.free_floor_bytes': 0, 'camera_names': ['front', 'rear'],
            'model_names': ['people', 'cars'],
            'cameras.rear.image_transport': 'compressed',
            'models.people.path': str(dummy_model(tmp_path / 'people.yaml')),
            'models.cars.path': str(dummy_model(tmp_path / 'cars.yaml', names=('car',),
                                                detections=CAR)),
            **(changes or {})})
        client.change_states('configure', 'activate')
        return process, client
    return start


def test_every_camera_goes_through_every_model(four_streams):
    process, client = four_streams()
    front, rear = client.camera('/front/image_raw'), client.camera('/rear/image_raw/compressed')
    found = {(camera, model): client.detections(camera, model)
             for camera in ('front', 'rear') for model in ('people', 'cars')}
    for model, boxes in (('people', BOXES), ('cars', CAR)):
        assert boxes_of(front.deliver(found['front', model])) == [
            pytest.approx(row) for row in boxes]
        assert boxes_of(rear.deliver(found['rear', model], encode(GREY))) == [
            pytest.approx(row) for row in boxes]
    stamp = front.publish(frame_id='front_optical')
    for model in ('people', 'cars'):
        message = found['front', model].wait_for_stamp(stamp)
        assert message.header.frame_id == 'front_optical'
        assert not found['rear', model].of_stamp(stamp)
    report = client.report('model cars', lambda status: status['in_flight'] == '0')
    assert report['model people'].balance() == report['model cars'].balance() == {
        '': 0, 'camera.front.': 0, 'camera.rear.': 0}
    status = report['model cars']
    assert int(status['received']) == (int(status['camera.front.received'])
                                       + int(status['camera.rear.received']))
    assert report['camera rear']['topic'] == '/rear/image_raw/compressed'
    assert report['camera rear']['transport'] == 'compressed'


def test_a_camera_is_seen_by_its_models_only(four_streams):
    process, client = four_streams({'cameras.front.models': ['cars']})
    front = client.camera('/front/image_raw')
    cars, people = client.detections('front', 'cars'), client.detections('front', 'people')
    front.deliver(cars)
    assert not people.publishers()
    report = client.report('model cars', lambda status: status.number('published') > 0)
    assert int(report['model people']['received']) == 0
    rear = client.camera('/rear/image_raw/compressed')
    rear.deliver(client.detections('rear', 'people'))
    assert not people.messages


def test_a_silent_or_fast_camera_does_not_hold_the_other(four_streams):
    process, client = four_streams({'diagnostics.image_timeout': 0.5})
    rear = client.camera('/rear/image_raw/compressed')
    detections = client.detections('rear', 'cars')
    rear.deliver(detections)  # front never published
    report = client.report('camera front', lambda status: 'nothing publishes' in status.message)
    assert report['camera front'].level == ERROR
    front = client.camera('/front/image_raw')
    front.deliver(client.detections('front', 'cars'))
    stamps = []
    for _ in range(10):
        for _ in range(10):
            front.publish()
            client.spin(0.002)
        stamps.append(rear.publish())
        detections.wait_for_stamp(stamps[-1])


def test_models_that_fail_do_not_hold_the_others(four_streams, tmp_path):
    broken = dummy_model(tmp_path / 'broken.yaml',
                         faults=[{'at': 3, 'error': 'inference', 'count': 100000}])
    process, client = four_streams({'models.people.path': str(broken)})
    front = client.camera('/front/image_raw')
    cars, people = client.detections('front', 'cars'), client.detections('front', 'people')
    front.deliver(cars)
    report = client.report('model people', lambda status: status.dropped())
    assert set(report['model people'].dropped()) == {'inference_error'}
    assert report['model cars'].dropped() == {}
    assert not people.messages


def test_who_looks_gets_annotated_images(scripted):
    process, client = scripted()
    camera, detections = client.camera(), client.detections()
    picture = np.zeros((96, 128, 3), np.uint8)
    camera.deliver(detections, picture)
    annotated = client.subscribe(Image, '~/camera/detector/annotated')
    client.wait(lambda: annotated.publishers() and client.node.get_publishers_info_by_topic(
        annotated.topic), 'the publisher of annotated images')

    def seen():
        stamp = camera.publish(picture)
        detections.wait_for_stamp(stamp)
        client.spin(0.05)
        return annotated.of_stamp(stamp)

    image, = client.wait(seen, 'an annotated image')
    assert (image.width, image.height, image.encoding, image.step) == (128, 96, 'bgr8', 384)
    assert image.header.frame_id == 'camera_optical'
    pixels = np.frombuffer(image.data, np.uint8).reshape(96, 128, 3)
    x1, y1, x2, y2 = (round(2 * value) for value in BOXES[0][:4])
    for line in (pixels[y1 - 1:y1 + 2, (x1 + x2) // 2], pixels[y2 - 1:y2 + 2, (x1 + x2) // 2],
                 pixels[(y1 + y2) // 2, x1 - 1:x1 + 2], pixels[(y1 + y2) // 2, x2 - 1:x2 + 2]):
        assert line.any()
    assert not pixels[-10:].any()
