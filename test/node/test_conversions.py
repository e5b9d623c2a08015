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

"""Messages to pixels and back, and who is published to, without a graph."""

import sys

from builtin_interfaces.msg import Time
from c7_inference_ros.errors import MalformedImageError
from c7_inference_ros.errors import UnsupportedEncodingError
from c7_inference_ros.node import conversions
from c7_inference_ros.node.model_outputs import ModelOutputs
from c7_inference_ros.vision.annotate import draw
from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.images import SourceImage
from c7_inference_ros.vision.images import to_bgr
from c7_inference_ros.vision.labels import Labels
from c7_inference_ros.vision.message_image import to_source_image
from client import image_message
import numpy as np
import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Header

BAYER = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)


def test_a_view_shares_the_memory_of_the_message():
    message = image_message(np.zeros((4, 6, 3), np.uint8))
    image = to_source_image(message)
    message.data[0] = 77
    assert image.pixels[0, 0, 0] == 77


def test_a_bayer_pattern_goes_through_cv_bridge():
    pytest.importorskip('cv_bridge')
    image = to_source_image(image_message(BAYER, 'bayer_rggb8'))
    assert (image.encoding, image.pixels.shape) == ('bgr8', (48, 64, 3))
    assert image.pixels.std() > 0


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1', '8UC2'])
def test_numbers_are_no_picture(encoding):
    message = image_message(np.zeros((48, 64, 2), np.uint16), encoding)
    with pytest.raises(UnsupportedEncodingError, match=f'{encoding}.*not colours.*publish bgr8'):
        to_source_image(message)


@pytest.mark.parametrize('encoding', ['yuv422_yuy2', 'rgb16', 'bgr9'])
def test_other_encodings_are_converted_or_refused_with_what_to_publish(encoding):
    pytest.importorskip('cv_bridge')
    shape = {'rgb16': (48, 64, 3), 'yuv422_yuy2': (48, 64, 2)}.get(encoding, (48, 64))
    kind = np.uint16 if '16' in encoding else np.uint8
    message = image_message(np.zeros(shape, kind), encoding)
    try:
        image = to_source_image(message)
    except UnsupportedEncodingError as error:
        # Which of them cv_bridge knows depends on its version; a refusal says what to do.
        assert encoding in str(error) and 'publish bgr8' in str(error)
    else:
        assert image.encoding == 'bgr8'
        assert image.pixels.shape == (48, 64, 3) and image.pixels.dtype == np.uint8


def test_without_cv_bridge_the_package_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'cv_bridge', None)
    with pytest.raises(UnsupportedEncodingError) as caught:
        to_source_image(image_message(BAYER, 'bayer_rggb8'))
    for fragment in ("'bayer_rggb8'", 'cv_bridge', 'install ros-$ROS_DISTRO-cv-bridge'):
        assert fragment in str(caught.value)


@pytest.mark.parametrize('fields', [{'height': 0}, {'width': 0}, {'step': 7}, {'height': 100}])
def test_what_cv_bridge_would_read_past_is_refused_before(fields):
    pytest.importorskip('cv_bridge')
    message = image_message(BAYER, 'bayer_rggb8')
    for name, value in fields.items():
        setattr(message, name, value)
    with pytest.raises(MalformedImageError):
        to_source_image(message)


def test_boxes_become_centres_and_sizes():
    header = Header(frame_id='front', stamp=Time(sec=3, nanosec=5))
    array = conversions.to_detection_array(header, Detections(
        np.array([[10, 20, 30, 60]], np.float32), np.array([0.5], np.float32),
        np.array([7], np.int32)))
    element, = array.detections
    assert (element.bbox.center.position.x, element.bbox.center.position.y) == (20.0, 40.0)
    assert (element.bbox.size_x, element.bbox.size_y, element.bbox.center.theta) == (20, 40, 0)
    result, = element.results
    assert (result.hypothesis.class_id, result.hypothesis.score) == ('7', 0.5)
    assert element.header == array.header == header


@pytest.mark.parametrize('encoding', ['bgr8', 'rgb8', 'mono8', 'bgra8', 'rgba8'])
def test_annotating_never_writes_into_the_message(encoding):
    channels = {'mono8': 1, 'bgra8': 4, 'rgba8': 4}.get(encoding, 3)
    pixels = np.zeros((48, 64, channels), np.uint8).squeeze()
    image = SourceImage(pixels, encoding)
    detections = Detections(np.array([[4, 4, 40, 40]], np.float32), np.array([0.5], np.float32),
                            np.array([0], np.int32))
    drawn = draw(to_bgr(image), detections, Labels(('person',), 'here'))
    assert drawn.any() and drawn.shape == (48, 64, 3)
    assert not pixels.any()


class Publisher:
    """Counts what is published."""

    def __init__(self, topic):
        """Begin with no subscriber."""
        self.topic, self.subscribers, self.messages = topic, 0, []

    def get_subscription_count(self):
        """Return how many look."""
        return self.subscribers

    def publish(self, message):
        """Keep a message."""
        self.messages.append(message)


class FakeNode:
    """Makes publishers that send nothing."""

    def __init__(self):
        """Begin without a publisher."""
        self.publishers = {}

    def create_lifecycle_publisher(self, kind, topic, qos, **options):
        """Return a publisher."""
        self.publishers[topic] = Publisher(topic)
        return self.publishers[topic]

    def destroy_lifecycle_publisher(self, publisher):
        """Forget a publisher."""
        del self.publishers[publisher.topic]


def test_annotated_images_are_made_only_while_somebody_is_subscribed():
    node = FakeNode()
    outputs = ModelOutputs(node, 'cars', ['front'], Labels(('car',), 'numbers'), 'a model')
    found = node.publishers['~/front/cars/detections']
    annotated = node.publishers['~/front/cars/annotated']
    image = SourceImage(np.zeros((48, 64, 3), np.uint8), 'bgr8')

    def publish():
        outputs.publish('front', Header(frame_id='front'), Detections(
            np.array([[10, 10, 30, 30]], np.float32), np.array([0.5], np.float32),
            np.array([0], np.int32)), image)

    publish()
    assert (len(found.messages), len(annotated.messages)) == (1, 0)
    annotated.subscribers = 1
    publish()
    assert (len(found.messages), len(annotated.messages)) == (2, 1)
    assert isinstance(annotated.messages[0], Image)
    assert annotated.messages[0].header.frame_id == 'front'
    annotated.subscribers = 0
    publish()
    assert (len(found.messages), len(annotated.messages)) == (3, 1)
    assert not image.pixels.any()
    outputs.destroy()
    outputs.destroy()
    assert not node.publishers
