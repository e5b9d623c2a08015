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

"""Small bags of every kind, and bags damaged in every way, for tests of what reads bags."""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rosbags.rosbag2', reason='rosbags is not installed; run: make env')

T0 = 1_700_000_000_000_000_000
PERIOD = 40_000_000
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
#: Kinds that :func:`make_bag` makes of the same images.
KINDS = ('sqlite3', 'mcap', 'mcap-chunks', 'sqlite3-file', 'mcap-file', 'sqlite3-message',
         'mcap-message', 'rosbag1', 'rosbag1-lz4', 'rosbag1-bz2')
FRONT, REAR = '/front/image_raw', '/rear/image_raw/compressed'


def pixels_of(index, height=6, width=8, channels=3):
    """Return a picture whose every value is its index + 1."""
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.full(shape, (index + 1) % 256, np.uint8)


class Frame:
    """
    One image to record.

    :param log_ns: when it is recorded; the stamp when None.
    :param encoding: of a raw image; ``png`` or ``jpeg`` makes a compressed one.
    :param edit: takes the serialised message and returns what is recorded.
    """

    def __init__(self, topic, stamp_ns, pixels, encoding='bgr8', frame_id='camera', log_ns=None,
                 edit=None):
        self.topic, self.stamp_ns, self.pixels, self.encoding = topic, stamp_ns, pixels, encoding
        self.frame_id, self.edit = frame_id, edit
        self.log_ns = stamp_ns if log_ns is None else log_ns

    @property
    def msgtype(self):
        return COMPRESSED if self.encoding in ('png', 'jpeg') else IMAGE


def frames(count=4, topic=FRONT, encoding='bgr8', offset=0, size=(6, 8)):
    """Return frames 40 ms apart whose values are 1, 2, 3, ..."""
    channels = {'mono8': 1, 'bgra8': 4, 'rgba8': 4, 'bayer_rggb8': 1}.get(encoding, 3)
    return [Frame(topic, T0 + index * PERIOD + offset, pixels_of(index, *size, channels), encoding)
            for index in range(count)]


def two_cameras(count=4):
    """Return a raw and a compressed camera, 5 ms apart."""
    return sorted(frames(count) + frames(count, REAR, 'png', 5_000_000),
                  key=lambda frame: frame.log_ns)


def make_bag(path, images, kind='mcap', others=()):
    """
    Write a bag.

    :param path: folder; for ROS 1 ``.bag`` is added.
    :param others: (topic, msgtype, log_ns, message) of other types.
    :returns: what to open.
    """
    kind, _, option = kind.partition('-')
    is_ros1 = kind == 'rosbag1'
    store = types(is_ros1)
    path = path.with_suffix('.bag') if is_ros1 else path
    entries = [(frame.topic, frame.msgtype, frame.log_ns, frame_message(store, frame, is_ros1),
                frame.edit) for frame in images]
    entries += [(*other, None) for other in others]
    with _writer(path, kind, option) as writer:
        connections = {}
        for topic, msgtype, log_ns, message, edit in sorted(entries, key=lambda one: one[2]):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, msgtype, typestore=store)
            serialize = store.serialize_ros1 if is_ros1 else store.serialize_cdr
            raw = bytes(serialize(message, msgtype))
            writer.write(connections[topic], log_ns, edit(raw) if edit else raw)
    return path


@contextmanager
def _writer(path, kind, option):
    from rosbags import rosbag1
    from rosbags import rosbag2
    if kind == 'rosbag1':
        writer = rosbag1.Writer(path)
        if option:
            writer.set_compression(getattr(rosbag1.Writer.CompressionFormat, option.upper()))
    else:
        writer = rosbag2.Writer(path, version=9, storage_plugin=getattr(
            rosbag2.StoragePlugin, kind.upper()))
        mode = {'file': 'FILE', 'message': 'MESSAGE', 'chunks': 'STORAGE'}.get(option)
        if mode:
            writer.set_compression(getattr(rosbag2.CompressionMode, mode),
                                   rosbag2.CompressionFormat.ZSTD)
    with writer:
        yield writer


def types(is_ros1=False):
    """Return the types that the package writes and reads with."""
    from c7_inference_ros.tools.bags.types import typestore
    return typestore(is_ros1)


def header(store, stamp_ns, frame_id='camera', is_ros1=False):
    """Return a header."""
    time = store.types['builtin_interfaces/msg/Time'](*divmod(stamp_ns, 1_000_000_000))
    kind = store.types['std_msgs/msg/Header']
    return kind(7, time, frame_id) if is_ros1 else kind(time, frame_id)


def frame_message(store, frame, is_ros1=False):
    """Return the message of a frame."""
    head = header(store, frame.stamp_ns, frame.frame_id, is_ros1)
    if frame.msgtype == COMPRESSED:
        import cv2
        data = cv2.imencode(f'.{frame.encoding}', frame.pixels)[1].reshape(-1)
        return store.types[COMPRESSED](head, frame.encoding, data)
    height, width = frame.pixels.shape[:2]
    step = frame.pixels.nbytes // height
    return store.types[IMAGE](head, height, width, frame.encoding, 0, step,
                              np.ascontiguousarray(frame.pixels).reshape(-1).view(np.uint8))


def text(store, log_ns):
    """Return (type, log time, message) of something that is no image."""
    kind = 'std_msgs/msg/String'
    return kind, log_ns, store.types[kind](f'at {log_ns}')


def recorded_file(bag):
    """Return the file of a bag that holds its messages."""
    if bag.is_file():
        return bag
    return next(path for path in sorted(bag.iterdir()) if path.name != 'metadata.yaml')


def cut_off(bag, part=0.6):
    """Cut the recorded file of a bag."""
    file = recorded_file(bag)
    data = file.read_bytes()
    file.write_bytes(data[:int(len(data) * part)])
    return bag


def without_metadata(bag):
    """Remove metadata.yaml, as a recording that was killed."""
    (bag / 'metadata.yaml').unlink()
    return bag


def with_metadata(bag, before, after):
    """Replace text in metadata.yaml."""
    path = bag / 'metadata.yaml'
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    return bag


def shared_bag(name):
    """Return a bag of ../shared/data/bags, or skip."""
    path = Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'bags' / name
    if not path.exists():
        pytest.skip(f'../shared/data/bags/{name} is not here')
    return path
