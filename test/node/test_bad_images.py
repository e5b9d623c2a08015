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

"""Images that cannot be: counted, told in one line, never a wrong box, never a lost node."""

import array

from client import encode
from client import GREY
from client import image_message
from client import RELIABLE
from client import WARN
from harness import BOXES
from harness import boxes_of
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image


def changed(**fields):
    """Return a grey image with some fields that do not fit."""
    message = image_message(GREY)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def compressed(data):
    """Return bytes as a compressed image."""
    return CompressedImage(format='jpeg', data=bytes(data))


NOISE = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
RAW = {
    'wrong size': (changed(height=480), 'bad_image', ['64x480', '9216 bytes', 'expected 92160']),
    'data cut off': (changed(data=array.array('B', bytes(100))), 'bad_image',
                     ['100 bytes', 'expected 9216']),
    'no data': (changed(data=array.array('B')), 'bad_image', ['0 bytes', 'expected 9216']),
    'step too small': (changed(step=64), 'bad_image', ['step of 64', 'at least 192']),
    'step of nothing': (changed(step=0), 'bad_image', ['step of 0', 'at least 192']),
    'step too large': (changed(step=1 << 31), 'bad_image', ['9216 bytes', str(48 << 31)]),
    'zero size': (Image(encoding='bgr8'), 'bad_image', ['0x0', 'at least 1x1']),
    'zero height': (changed(height=0), 'bad_image', ['64x0', 'at least 1x1']),
    'too large': (changed(height=8001, width=8000, step=24000), 'bad_image',
                  ['8000x8001', 'at most 64000000 pixels']),
    'unknown encoding': (changed(encoding='bgr9'), 'bad_encoding', ["'bgr9'", 'bgr8']),
    'no encoding': (changed(encoding=''), 'bad_encoding', ["''", 'bgr8']),
    'a depth image': (changed(encoding='32FC7'), 'bad_encoding', ["'32FC7'", 'bgr8'])}
JPEG, PNG = encode(NOISE), encode(NOISE, '.png')
COMPRESSED = {
    'truncated JPEG': (compressed(JPEG[:len(JPEG) // 2]), 'bad_image', ['JPEG', 'end']),
    'JPEG without its last bytes': (compressed(JPEG[:-2]), 'bad_image', ['JPEG', 'ffd9']),
    'truncated PNG': (compressed(PNG[:len(PNG) // 2]), 'bad_image', ['PNG']),
    'no data': (compressed(b''), 'bad_image', ['no data', 'JPEG or PNG']),
    'only a beginning': (compressed(JPEG[:3]), 'bad_image', ['JPEG']),
    'another format': (compressed(b'RIFF0000WEBP' + bytes(100)), 'bad_encoding', ['WebP']),
    'no picture': (compressed(b'hello, camera'), 'bad_encoding', ['expected JPEG']),
    'more pixels than allowed': (
        compressed(encode(np.zeros((8001, 8000), np.uint8), '.png')), 'bad_image',
        ['8000x8001', 'at most 64000000 pixels'])}


@pytest.mark.parametrize('name', RAW)
def test_a_bad_raw_image_is_refused(scripted, name):
    check(scripted, '/camera/image_raw', {}, *RAW[name])


@pytest.mark.parametrize('name', COMPRESSED)
def test_a_bad_compressed_image_is_refused(scripted, name):
    check(scripted, '/camera/image_raw/compressed',
          {'cameras.camera.image_transport': 'compressed'}, *COMPRESSED[name])


def check(scripted, topic, parameters, bad, reason, fragments):
    """Send one bad image between good ones."""
    process, client = scripted({}, parameters)
    camera, detections = client.camera(topic), client.detections()
    camera.deliver(detections)
    process.mark()
    stamp = camera.send(bad)
    line = process.wait_for_line('frame dropped')
    assert line.startswith('[WARN]')
    assert f'camera camera: frame dropped ({reason})' in line
    for fragment in fragments:
        assert fragment in line
    assert len(detections.wait_for_stamp(camera.publish()).detections) == len(BOXES)
    assert not detections.of_stamp(stamp)
    # A machine without sensors says so when its first poll has ended, which may be only now.
    lines = [line for line in process.lines('WARN', 'ERROR', 'FATAL', None)
             if 'no temperature of host' not in line]
    assert len(lines) == 1
    report = client.report('model detector', lambda status: status.dropped())
    status = report['model detector']
    assert status.dropped() == {reason: 1}
    assert int(status['received']) == int(status['published']) + 1
    assert int(status['in_flight']) == 0
    assert fragments[0] in report['camera camera']['last_problem']
    assert report['camera camera'].level == WARN


def test_a_flood_of_bad_images_does_not_flood_the_log(scripted):
    process, client = scripted()
    camera, detections = client.camera(), client.detections()
    camera.deliver(detections)
    for _ in range(50):
        camera.send(changed(step=1))
        client.spin(0.01)
    status = client.status('model detector', lambda status: status.number('received') >= 40)
    assert status.dropped()['bad_image'] >= 10
    assert len([line for line in process.lines('WARN') if 'frame dropped' in line]) <= 2
    assert camera.deliver(detections).detections


def test_rows_with_bytes_between_them_are_read(scripted):
    process, client = scripted()
    camera, detections = client.camera(), client.detections()
    camera.deliver(detections)
    padded = np.zeros((48, 200), np.uint8)
    message = Image(height=48, width=64, encoding='bgr8', step=200,
                    data=array.array('B', padded.tobytes()))
    assert len(detections.wait_for_stamp(camera.send(message)).detections) == len(BOXES)


@pytest.mark.parametrize('extension', ['.jpg', '.png'])
def test_the_largest_compressed_image_is_detected_in(scripted, extension):
    data = encode(np.full((8000, 8000), 90, np.uint8), extension)
    process, client = scripted({}, {'cameras.camera.image_transport': 'compressed',
                                    'max_image_age': 0.0, 'inference_timeout': 60.0})
    camera, detections = client.camera('/camera/image_raw/compressed'), client.detections()
    camera.deliver(detections)
    rows = boxes_of(detections.wait_for_stamp(camera.publish(data)))
    # Letterboxed into 64x48: 48x48 with 8 columns of padding at each side.
    scale = 8000 / 48
    assert rows[0] == pytest.approx([0, 6 * scale, 16 * scale, 30 * scale, 0.9, 0], abs=scale)


def test_the_largest_raw_image_is_detected_in(scripted):
    # 64 MB fill the whole shared memory: only reliable readers get such a message.
    process, client = scripted({}, {
        'max_image_age': 0.0, 'inference_timeout': 60.0,
        'qos_overrides./camera/image_raw.subscription.reliability': 'reliable'})
    camera, detections = client.camera(qos=RELIABLE), client.detections()
    camera.deliver(detections)
    stamp = camera.publish(np.full((8000, 8000), 90, np.uint8))
    assert len(detections.wait_for_stamp(stamp).detections) == len(BOXES)


def test_an_answer_of_nan_gives_no_box(scripted):
    # Calls 1 and 2 are the warm-up.
    process, client = scripted({'faults': [{'at': 20, 'error': 'nan'}]})
    camera, detections = client.camera(), client.detections()
    camera.deliver(detections)
    for _ in range(40):
        camera.deliver(detections)
    found = [boxes_of(message) for message in detections.messages]
    assert [rows for rows in found if len(rows) != len(BOXES)] in ([[]], [])
    assert all(rows == [pytest.approx(row) for row in BOXES] for rows in found if rows)
    assert found[-1]
