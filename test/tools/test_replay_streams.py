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

"""Which topic of a bag is which camera."""

from c7_inference_ros.config import load_config
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.bags.reader import BagTopicInfo
from c7_inference_ros.tools.replaying.streams import find_streams
import pytest

RAW, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
ONE = {'cameras.camera.image_topic': 'camera/image_raw'}
TWO = {'camera_names': ('left', 'right'), 'cameras.left.image_topic': '/left',
       'cameras.right.image_topic': '/right', 'cameras.right.image_transport': 'compressed'}


def topics(*entries):
    return [BagTopicInfo(name, kind, count) for name, kind, count in entries]


def find(values, found, **options):
    return [(stream.camera, stream.topic, bool(stream.note)) for stream in
            find_streams(load_config(values), found, **options)]


def test_the_topic_of_the_file_comes_first():
    found = topics(('/camera/image_raw', RAW, 3), ('/camera/image_raw/compressed', COMPRESSED, 3))
    assert find(ONE, found) == [('camera', '/camera/image_raw', False)]
    compressed = {**ONE, 'cameras.camera.image_transport': 'compressed'}
    assert find(compressed, found) == [('camera', '/camera/image_raw/compressed', False)]


def test_relative_topics_are_below_the_namespace_of_the_node():
    found = topics(('/vehicle/camera/image_raw', RAW, 3), ('/camera/image_raw', RAW, 3))
    assert find(ONE, found, namespace='/vehicle') == [
        ('camera', '/vehicle/camera/image_raw', False)]


@pytest.mark.parametrize('transport, name, kind', [
    ('raw', '/camera/image_raw/compressed', COMPRESSED), ('compressed', '/camera/image_raw', RAW)])
def test_the_other_transport_is_taken_and_told(transport, name, kind):
    values = {**ONE, 'cameras.camera.image_transport': transport}
    found = topics((name, kind, 3), ('/other', RAW, 3))
    assert find(values, found) == [('camera', name, True)]


def test_the_only_image_topic_is_taken_for_the_only_camera():
    found = topics(('/rear/compressed', COMPRESSED, 3), ('/imu', 'sensor_msgs/msg/Imu', 9))
    assert find(ONE, found) == [('camera', '/rear/compressed', True)]


def test_no_topic_is_guessed_among_several_or_for_several_cameras():
    for values, found in ((ONE, topics(('/a', RAW, 3), ('/b', RAW, 3))),
                          (TWO, topics(('/left', RAW, 3), ('/rear', COMPRESSED, 3))),
                          (TWO, topics(('/left', RAW, 3)))):
        with pytest.raises(ConfigurationError):
            find(values, found)


def test_every_camera_finds_its_own():
    found = topics(('/left', RAW, 3), ('/right/compressed', COMPRESSED, 3))
    assert find(TWO, found) == [('left', '/left', False), ('right', '/right/compressed', False)]


def test_a_chosen_topic_goes_over_the_file():
    found = topics(('/camera/image_raw', RAW, 3), ('/b/compressed', COMPRESSED, 3))
    assert find(ONE, found, chosen={'camera': '/b/compressed'}) == [
        ('camera', '/b/compressed', False)]


@pytest.mark.parametrize('found, chosen, words', [
    (topics(('/front/image_raw', RAW, 3), ('/rear', RAW, 3)), {},
     ['/camera/image_raw is not in the bag', 'image topics are /front/image_raw, /rear',
      '--topic camera=/front/image_raw']),
    (topics(('/camera/image_raw', 'sensor_msgs/msg/Imu', 3), ('/a', RAW, 1), ('/b', RAW, 1)), {},
     ['/camera/image_raw is sensor_msgs/msg/Imu, which is no image', 'image topics are /a, /b']),
    (topics(('/imu', 'sensor_msgs/msg/Imu', 3)), {},
     ['no other topic is an image (found /imu)', 'record sensor_msgs/Image']),
    (topics(('/camera/image_raw', RAW, 0)), {}, ['/camera/image_raw has no message']),
    (topics(('/camera/image_raw', RAW, 3)), {'camera': '/camera/imageraw'},
     ['chosen topic /camera/imageraw is not in the bag', '--topic camera=/camera/image_raw']),
    (topics(('/camera/image_raw', RAW, 3)), {'camra': '/camera/image_raw'},
     ["--topic names camera 'camra', expected one of camera"])])
def test_what_cannot_be_found_is_told_with_what_there_is(found, chosen, words):
    with pytest.raises(ConfigurationError) as caught:
        find(ONE, found, chosen=chosen)
    (problem,) = caught.value.problems
    assert all(word in problem for word in words), problem
