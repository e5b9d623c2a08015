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

"""Bags of every kind are read alike, and damaged ones are refused with one line."""

import os
import re
import shutil
import sqlite3
import struct
import sys
import tempfile
import tracemalloc

import bag_bench as bench
from bag_bench import FRONT
from bag_bench import PERIOD
from bag_bench import REAR
from bag_bench import T0
from c7_inference_ros.errors import BagError
from c7_inference_ros.errors import ImageError
from c7_inference_ros.errors import MalformedImageError
from c7_inference_ros.errors import UnsupportedEncodingError
from c7_inference_ros.tools.bags.images import header_of
from c7_inference_ros.tools.bags.reader import open_bag
import numpy as np
import pytest


@pytest.mark.parametrize('kind', bench.KINDS)
def test_every_kind_gives_the_same_images(tmp_path, kind):
    path = bench.make_bag(tmp_path / 'bag', bench.two_cameras(), kind)
    with open_bag(path) as bag:
        assert bag.storage == kind.partition('-')[0]
        assert bag.image_topics == (FRONT, REAR)
        assert [(info.name, info.count) for info in bag.topics] == [(FRONT, 4), (REAR, 4)]
        assert (bag.start_ns, bag.end_ns) == (T0, T0 + 3 * PERIOD + 5_000_000)
        found = list(bag.images(bag.image_topics))
        assert [(one.topic, one.index) for one in found] == [
            (topic, index) for index in range(4) for topic in (FRONT, REAR)]
        assert [one.stamp_ns for one in found] == [
            T0 + index * PERIOD + offset for index in range(4) for offset in (0, 5_000_000)]
        assert [one.log_ns for one in found] == [one.stamp_ns for one in found]
        assert {one.frame_id for one in found} == {'camera'}
        for one in found:
            image = one.read()
            assert image.pixels.shape == (6, 8, 3) and image.encoding == 'bgr8'
            assert (image.pixels == one.index + 1).all()
        assert bag.problems == ()


@pytest.mark.parametrize('kind', ['sqlite3', 'mcap', 'mcap-file', 'sqlite3-message'])
def test_the_file_of_a_bag_is_read_without_its_folder(tmp_path, kind):
    path = bench.recorded_file(bench.make_bag(tmp_path / 'bag', bench.two_cameras(), kind))
    with open_bag(path) as bag:
        assert bag.storage == kind.partition('-')[0]
        values = [int(one.read().pixels[0, 0, 0]) for one in bag.images(bag.image_topics)]
    assert values == [1, 1, 2, 2, 3, 3, 4, 4]


def test_metadata_yaml_stands_for_its_folder(tmp_path):
    path = bench.make_bag(tmp_path / 'bag', bench.frames())
    with open_bag(path / 'metadata.yaml') as bag:
        assert bag.count(FRONT) == 4


@pytest.mark.parametrize('storage', ['sqlite3', 'mcap'])
def test_files_of_a_split_bag_follow_each_other(tmp_path, storage):
    path = bench.make_bag(tmp_path / 'bag', bench.frames(6), storage)
    other = bench.make_bag(tmp_path / 'next', bench.frames(6, offset=6 * PERIOD), storage)
    file = bench.recorded_file(other)
    shutil.copy(file, path)
    name = bench.recorded_file(path).name
    bench.with_metadata(path, f'- {name}', f'- {name}\n  - {file.name}')
    bench.with_metadata(path, '  - message_count: 6\n    topic_metadata',
                        '  - message_count: 12\n    topic_metadata')
    with open_bag(path) as bag:
        found = list(bag.images([FRONT]))
        assert [one.index for one in found] == list(range(12))
        assert [one.stamp_ns for one in found] == [T0 + at * PERIOD for at in range(12)]
        assert bag.problems == ()


def test_some_topics_from_some_image_on(tmp_path):
    path = bench.make_bag(tmp_path / 'bag', bench.two_cameras())
    with open_bag(path) as bag:
        assert [one.index for one in bag.images([REAR])] == [0, 1, 2, 3]
        assert [one.index for one in bag.images([REAR], start=3)] == [3]
        assert [(one.topic, one.index) for one in bag.images([REAR, FRONT, REAR], 5)] == [
            (REAR, 2), (FRONT, 3), (REAR, 3)]
        assert list(bag.images([REAR], start=4)) == []


def test_shared_bags():
    for name, topic, count in (('road_compressed_mcap', '/camera/image_raw/compressed', 38),
                               ('road_raw_sqlite3', '/camera/image_raw', 5)):
        with open_bag(bench.shared_bag(name)) as bag:
            assert bag.image_topics == (topic,)
            found = list(bag.images(bag.image_topics))
            assert len(found) == count and found[0].stamp_ns == bag.start_ns == T0
            assert {one.read().pixels.shape for one in found} == {(360, 640, 3)}


def test_other_messages_and_two_iterations(tmp_path):
    store = bench.types()
    others = [('/text', *bench.text(store, at)) for at in (T0 + 3, T0 + 1)]
    path = bench.make_bag(tmp_path / 'bag', bench.frames(), others=others)
    with open_bag(path) as bag:
        assert [(log_ns, message.data) for log_ns, message in bag.messages('/text')] == [
            (T0 + 1, f'at {T0 + 1}'), (T0 + 3, f'at {T0 + 3}')]
        assert bag.image_topics == (FRONT,) and bag.count('/text') == 2
        images = bag.images([FRONT])
        next(images)
        with pytest.raises(RuntimeError, match='is being read already'):
            next(bag.messages('/text'))
        images.close()
        assert len(list(bag.images([FRONT]))) == 4


def test_a_bag_without_definitions_of_messages(tmp_path):
    path = bench.make_bag(tmp_path / 'bag', bench.two_cameras(), 'sqlite3')
    connection = sqlite3.connect(bench.recorded_file(path))
    # As recorders before ROS 2 Iron left them.
    connection.executescript('DROP TABLE message_definitions; DROP TABLE schema; '
                             'ALTER TABLE topics DROP COLUMN type_description_hash')
    connection.close()
    with open_bag(path) as bag:
        assert [int(one.read().pixels[0, 0, 0]) for one in bag.images([REAR])] == [1, 2, 3, 4]


# Encodings --------------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['mcap', 'rosbag1'])
@pytest.mark.parametrize('encoding', ['bgr8', 'rgb8', 'mono8', 'bgra8', 'rgba8'])
def test_eight_bits_are_views_of_the_message(tmp_path, kind, encoding):
    path = bench.make_bag(tmp_path / 'bag', bench.frames(1, encoding=encoding), kind)
    with open_bag(path) as bag:
        image, = bag.images([FRONT])
        pixels = image.read()
        assert pixels.encoding == encoding and (pixels.pixels == 1).all()
        assert not pixels.pixels.flags.owndata


def test_other_encodings_need_cv_bridge(tmp_path, monkeypatch):
    path = bench.make_bag(tmp_path / 'bag', bench.frames(2, encoding='bayer_rggb8'))
    with open_bag(path) as bag:
        one, other = bag.images([FRONT])
        try:
            import cv_bridge  # noqa: F401
        except ImportError:
            pass
        else:
            image = one.read()
            assert (image.encoding, image.pixels.shape) == ('bgr8', (6, 8, 3))
        monkeypatch.setitem(sys.modules, 'cv_bridge', None)
        with pytest.raises(UnsupportedEncodingError, match='install ros-.ROS_DISTRO-cv-bridge'):
            other.read()


# One bad message, and the rest goes on ----------------------------------------------------------


def cut(raw):
    return raw[:len(raw) // 2]


@pytest.mark.parametrize('kind', bench.KINDS)
def test_a_message_that_was_cut_off(tmp_path, kind):
    images = bench.frames(4)
    images[1].edit, images[2].edit = cut, lambda raw: raw[:9]
    path = bench.make_bag(tmp_path / 'bag', images, kind)
    with open_bag(path) as bag:
        found = list(bag.images([FRONT]))
        assert [one.index for one in found] == [0, 1, 2, 3]
        for index in (1, 2):
            with pytest.raises(MalformedImageError, match='the message is damaged'):
                found[index].read()
        assert found[1].stamp_ns == T0 + PERIOD
        # Not even the stamp can be read; the time of recording stands in for it.
        assert (found[2].stamp_ns, found[2].frame_id) == (T0 + 2 * PERIOD, '')
        assert int(found[3].read().pixels[0, 0, 0]) == 4


@pytest.mark.parametrize('kind', ['sqlite3-message', 'mcap-message'])
def test_a_compressed_message_that_is_damaged(tmp_path, kind):
    path = bench.make_bag(tmp_path / 'bag', bench.frames(4, size=(60, 80)), kind)
    file = bench.recorded_file(path)
    data = bytearray(file.read_bytes())
    at = data.index(b'\x28\xb5\x2f\xfd', data.index(b'\x28\xb5\x2f\xfd') + 4)
    data[at + 5:at + 12] = b'\xff' * 7
    file.write_bytes(data)
    with open_bag(path) as bag:
        found = list(bag.images([FRONT]))
        damaged = []
        for one in found:
            try:
                assert int(one.read().pixels[0, 0, 0]) == one.index + 1
            except MalformedImageError as error:
                assert 'compressed data are broken' in str(error)
                damaged.append(one)
        assert len(found) == 4 and len(damaged) == 1


def test_a_picture_that_is_no_picture(tmp_path):
    images = bench.frames(2, REAR, 'png')
    images[0].edit = lambda raw: raw.replace(b'PNG', b'XNG')
    with open_bag(bench.make_bag(tmp_path / 'bag', images)) as bag:
        first, second = bag.images([REAR])
        with pytest.raises(ImageError, match='JPEG|PNG'):
            first.read()
        assert second.read().pixels.shape == (6, 8, 3)


@pytest.mark.parametrize('kind', ['mcap', 'rosbag1'])
def test_bytes_of_any_kind_never_raise_anything_else(tmp_path, kind):
    random = np.random.default_rng(5)

    def spoil(raw):
        data = np.frombuffer(raw, np.uint8).copy()
        data[random.integers(0, len(data), random.integers(1, 8))] = random.integers(0, 256)
        return data[:random.integers(0, len(data) + 1)].tobytes() if random.integers(2) else (
            data.tobytes())

    images = bench.frames(400) + bench.frames(100, REAR, 'png')
    for image in images:
        image.edit = spoil
    with open_bag(bench.make_bag(tmp_path / 'bag', images, kind)) as bag:
        outcomes = {'read': 0, 'refused': 0}
        for one in bag.images([FRONT, REAR]):
            try:
                one.read()
                outcomes['read'] += 1
            except ImageError as error:
                assert '\n' not in str(error)
                outcomes['refused'] += 1
    assert outcomes['read'] > 20 and outcomes['refused'] > 200


@pytest.mark.parametrize('raw, is_ros1, wanted', [
    (b'\0\1\0\0' + struct.pack('<iII', 7, 8, 4) + b'cam\0', False, (7_000_000_008, 'cam')),
    (b'\0\0\0\0' + struct.pack('>iII', 7, 8, 4) + b'cam\0', False, (7_000_000_008, 'cam')),
    (b'\0\1\0\0' + struct.pack('<iII', -1, 8, 1) + b'\0', False, (-999_999_992, '')),
    (struct.pack('<IIII', 99, 3_000_000_000, 8, 3) + b'camera', True,
     (3_000_000_000_000_000_008, 'cam')),
    (b'\0\1\0\0' + struct.pack('<iII', 7, 1_000_000_000, 4) + b'cam\0', False, None),
    (b'\0\1\0\0' + struct.pack('<iII', 7, 8, 40) + b'cam\0', False, None),
    (struct.pack('<IIII', 99, 7, 8, 40) + b'cam', True, None),
    (b'\0\1\0\0' + struct.pack('<iII', 7, 8, 4) + b'c\xffm\0', False, None),
    (b'\0\1\0\0' + struct.pack('<iI', 7, 8), False, None),
    (b'', False, None), (b'', True, None)])
def test_headers_from_bytes(raw, is_ros1, wanted):
    assert header_of(raw, is_ros1) == wanted


# Stamps -----------------------------------------------------------------------------------------


def test_stamps_that_do_not_advance(tmp_path):
    images = bench.frames(6)
    for index, (stamp, log) in enumerate([(0, 0), (5, 1), (3, 2), (3, 3), (3, 4), (2, 5)]):
        images[index].stamp_ns = T0 + stamp * 1_000_000
        images[index].log_ns = T0 + log
    with open_bag(bench.make_bag(tmp_path / 'bag', images)) as bag:
        assert bag.problems == ()
        assert len(list(bag.images([FRONT]))) == 6
        back, repeated = bag.problems
        assert back == (f'stamps of {FRONT} go back 2 times, first at image 2 by 2 ms; check the '
                        f'clock of the camera')
        assert repeated.startswith(f'2 images of {FRONT} have the stamp of the image before, '
                                   f'first image 3;')
        list(bag.images([FRONT]))
        assert len(bag.problems) == 2


def test_two_cameras_with_clocks_of_their_own_are_fine(tmp_path):
    images = bench.frames(3) + bench.frames(3, REAR, 'png', -3_600_000_000_000)
    for image in images[3:]:
        image.log_ns = image.stamp_ns + 3_600_000_000_000 + 7
    with open_bag(bench.make_bag(tmp_path / 'bag', images)) as bag:
        assert len(list(bag.images([FRONT, REAR]))) == 6
        assert bag.problems == ()


# Refused ----------------------------------------------------------------------------------------


def refused(path):
    """Return the one line that a bag is refused with, when opened or when read."""
    with pytest.raises(BagError) as caught:
        with open_bag(path) as bag:
            for one in bag.images(bag.image_topics):
                one.read()
    line = str(caught.value)
    assert str(path) in line and '\n' not in line and '; ' in line
    return line


@pytest.mark.parametrize('kind', bench.KINDS)
@pytest.mark.parametrize('part', [0, 0.01, 0.3, 0.9, 0.999])
def test_a_bag_that_was_cut_off(tmp_path, kind, part):
    images = bench.frames(30, size=(60, 80)) + bench.frames(30, REAR, 'png')
    path = bench.cut_off(bench.make_bag(tmp_path / 'bag', images, kind), part)
    line = refused(path)
    assert 'cut off' in line or 'is empty' in line


def test_a_recording_that_was_killed(tmp_path):
    path = bench.without_metadata(bench.make_bag(tmp_path / 'bag', bench.frames()))
    assert f'metadata.yaml is missing, as after a recording that was killed; write it with: ' \
           f'ros2 bag reindex {path}' in refused(path)


@pytest.mark.parametrize('rest', ['wal', 'journal'])
def test_a_database_whose_last_messages_lie_beside_it(tmp_path, rest):
    path = bench.make_bag(tmp_path / 'bag', bench.frames(), 'sqlite3')
    (path / f'bag.db3-{rest}').write_bytes(b'')
    with open_bag(path) as bag:
        assert bag.count(FRONT) == 4
    (path / f'bag.db3-{rest}').write_bytes(b'x')
    assert f'bag.db3-{rest} holds messages that are not in bag.db3 yet' in refused(path)


def test_folders_that_are_no_bag(tmp_path):
    assert 'it is not there' in refused(tmp_path / 'nowhere')
    assert 'holds no metadata.yaml' in refused(tmp_path)
    bench.make_bag(tmp_path / 'one', bench.frames())
    bench.make_bag(tmp_path / 'two', bench.frames())
    assert 'it holds several bags; give one of them: one, two' in refused(tmp_path)
    bench.make_bag(tmp_path / 'three', bench.frames(), 'rosbag1')
    assert 'give one of its files: three.bag' in refused(tmp_path)


def test_files_that_are_no_bag(tmp_path):
    (tmp_path / 'x.mcap').write_bytes(b'hello world, this is text')
    (tmp_path / 'x.db3').write_bytes(b'hello world, this is text')
    (tmp_path / 'x.bag').write_bytes(b'hello world, this is text')
    (tmp_path / 'x.mcap.zstd').write_bytes(b'hello world, this is text')
    (tmp_path / 'x.mp4').write_bytes(b'hello')
    for name, kind in (('x.mcap', 'mcap'), ('x.db3', 'sqlite3'), ('x.bag', 'rosbag1')):
        assert f'does not begin as a file of {kind} does' in refused(tmp_path / name)
    refused(tmp_path / 'x.mcap.zstd')
    assert "it ends in '.mp4', expected a folder with metadata.yaml" in refused(tmp_path / 'x.mp4')


@pytest.mark.parametrize('before, after, wanted', [
    ('storage_identifier: mcap', 'storage_identifier: rocksdb', "its storage is 'rocksdb', "
     'expected sqlite3 or mcap'),
    ('  - bag.mcap', '  - gone.mcap', 'gone.mcap of its 1 files is missing'),
    ('relative_file_paths', 'files_of_it', "no 'relative_file_paths'"),
    ('rosbag2_bagfile_information:', 'rosbag2_bagfile_information: [', 'makes no sense'),
    ('version: 9', 'version: 99', 'version 99 not supported'),
    ('serialization_format: cdr', 'serialization_format: protobuf', 'protobuf'),
])
def test_metadata_that_cannot_be_used(tmp_path, before, after, wanted):
    path = bench.make_bag(tmp_path / 'bag', bench.frames())
    assert wanted in refused(bench.with_metadata(path, before, after))


@pytest.mark.parametrize('text', ['', 'null', '[]', 'text', '\x00', 'a: b', 'a: [', '\xff' * 9])
def test_metadata_that_is_something_else(tmp_path, text):
    path = bench.make_bag(tmp_path / 'bag', bench.frames())
    (path / 'metadata.yaml').write_text(text, encoding='latin-1')
    assert 'its metadata.yaml makes no sense' in refused(path)


def test_topics_that_are_no_images(tmp_path):
    others = [('/front/text', *bench.text(bench.types(), T0))]
    path = bench.make_bag(tmp_path / 'bag', bench.two_cameras(), others=others)
    with open_bag(path) as bag:
        with pytest.raises(BagError) as caught:
            bag.images(['/front/text'])
        assert (f'has std_msgs/msg/String on /front/text, expected sensor_msgs/msg/Image or '
                f'sensor_msgs/msg/CompressedImage; its image topics are {FRONT}, {REAR}'
                ) in str(caught.value)
        with pytest.raises(BagError) as caught:
            bag.images(['/front/image'])
        assert f'nothing on /front/image (did you mean {FRONT}?), expected images' in str(
            caught.value)
        with pytest.raises(BagError, match='has no topic /txt; it has /front/image_raw, /front/t'):
            bag.messages('/txt')
        with pytest.raises(BagError, match='has no images on no topic'):
            bag.images([])


def test_a_bag_without_frames(tmp_path):
    others = [('/text', *bench.text(bench.types(), T0))]
    with open_bag(bench.make_bag(tmp_path / 'bag', [], others=others)) as bag:
        assert bag.image_topics == ()
        with pytest.raises(BagError, match='has no images on no topic; its image topics are none'):
            bag.images(bag.image_topics)
    with open_bag(bench.make_bag(tmp_path / 'empty', [])) as bag:
        assert (bag.topics, bag.start_ns, bag.end_ns) == ((), 0, 0)


@pytest.mark.parametrize('kind', ['mcap', 'sqlite3'])
def test_images_that_the_index_promises_and_the_file_lacks(tmp_path, kind):
    path = bench.make_bag(tmp_path / 'bag', bench.frames(4), kind)
    bench.with_metadata(path, '  - message_count: 4\n    topic_metadata',
                        '  - message_count: 9\n    topic_metadata')
    with open_bag(path) as bag:
        assert len(list(bag.images([FRONT]))) == 4
        line, = bag.problems
        assert f'{FRONT} has 4 images, expected 9 by the index' in line


def test_damage_amid_a_bag_says_how_far_it_was_read(tmp_path):
    path = bench.make_bag(tmp_path / 'bag', bench.frames(12, size=(400, 400)), 'mcap-chunks')
    file = bench.recorded_file(path)
    data = bytearray(file.read_bytes())
    marks = [at.start() for at in re.finditer(re.escape(b'\x28\xb5\x2f\xfd'), data)]
    assert len(marks) > 3
    data[marks[2] + 8:marks[2] + 30] = b'\xff' * 22
    file.write_bytes(data)
    with open_bag(path) as bag:
        images = bag.images([FRONT])
        read = []
        with pytest.raises(BagError, match=r'it is damaged after message (\d+) of') as caught:
            for one in images:
                read.append(one)
        assert read and f'after message {len(read)} of' in str(caught.value)


def test_nothing_stays_open_or_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'temporary'))
    (tmp_path / 'temporary').mkdir()
    for kind in ('mcap-file', 'sqlite3-file', 'mcap', 'sqlite3', 'rosbag1'):
        path = bench.make_bag(tmp_path / f'{kind}_bag', bench.two_cameras(), kind)
        with open_bag(path) as bag:
            next(bag.images([FRONT]))
            if kind.endswith('file'):
                assert os.listdir(tmp_path / 'temporary')
        bag.close()
    bench.cut_off(bench.make_bag(tmp_path / 'cut', bench.two_cameras(), 'mcap-file'))
    refused(tmp_path / 'cut')
    (tmp_path / 'x.db3').write_bytes(b'SQLite format 3\0' + bytes(300))
    refused(tmp_path / 'x.db3')
    assert os.listdir(tmp_path / 'temporary') == []
    opened = [os.readlink(f'/proc/self/fd/{name}') for name in os.listdir('/proc/self/fd')
              if os.path.islink(f'/proc/self/fd/{name}')]
    assert [path for path in opened if path.startswith(str(tmp_path))] == []


@pytest.mark.parametrize('kind', ['mcap-chunks', 'sqlite3-message', 'rosbag1-lz4'])
def test_memory_does_not_grow_with_the_length_of_a_bag(tmp_path, kind):
    frame = bench.pixels_of(1, 720, 1280)
    images = [bench.Frame(FRONT, T0 + at * PERIOD, frame) for at in range(100)]
    path = bench.make_bag(tmp_path / 'bag', images, kind)
    tracemalloc.start()
    try:
        with open_bag(path) as bag:
            assert sum(one.read().height for one in bag.images([FRONT])) == 100 * 720
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A frame, its message, its chunk, and what it was decompressed from; all are 100 frames.
    assert peak < 8 * frame.nbytes
