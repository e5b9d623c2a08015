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

"""
Reads bags of ROS 1 and ROS 2, one message at a time: nothing is kept, whatever their length.

.. code-block:: python

    with open_bag(path) as bag:
        for image in bag.images(bag.image_topics):
            pixels = image.read()
"""

from __future__ import annotations

from dataclasses import dataclass
import difflib
from pathlib import Path
from typing import Any
from typing import Iterable
from typing import Iterator

from c7_inference_ros.errors import BagError
from c7_inference_ros.errors import MalformedImageError
from c7_inference_ros.tools.bags.images import BagImage
from c7_inference_ros.tools.bags.images import header_of
from c7_inference_ros.tools.bags.images import one_line
from c7_inference_ros.tools.bags.storage import decompressed
from c7_inference_ros.tools.bags.storage import is_compressed
from c7_inference_ros.tools.bags.storage import open_storage
from c7_inference_ros.tools.bags.storage import refuse
from c7_inference_ros.tools.bags.types import IMAGE_TYPES
from c7_inference_ros.tools.bags.types import store_of


@dataclass(frozen=True)
class BagTopicInfo:
    """
    What a bag says about one topic.

    :param count: number of its messages.
    """

    name: str
    msgtype: str
    count: int


class Bag:
    """
    An open bag; made by :func:`open_bag`, closed by ``with`` or :meth:`close`.

    One iteration runs at a time; for two, open the bag twice.
    """

    def __init__(self, path: Path) -> None:
        """Open it."""
        self.path = path
        self._opened = open_storage(path)
        self._is_ros1 = self._opened.kind == 'rosbag1'
        self._stores: dict[int, Any] = {}
        self._stamps: dict[str, _Stamps] = {}
        self._lost: dict[str, str] = {}
        self._is_reading = False
        reader = self._opened.reader
        counts: dict[tuple[str, str], int] = {}
        for connection in reader.connections:
            key = (connection.topic, connection.msgtype)
            counts[key] = counts.get(key, 0) + connection.msgcount
        self.topics = tuple(BagTopicInfo(*key, count) for key, count in sorted(counts.items()))
        self.image_topics = tuple(dict.fromkeys(
            topic.name for topic in self.topics if topic.msgtype in IMAGE_TYPES))
        is_empty = not reader.message_count
        self.start_ns = 0 if is_empty else int(reader.start_time)
        self.end_ns = 0 if is_empty else int(reader.end_time) - 1
        _leave_messages_compressed(reader)

    def __enter__(self) -> Bag:
        """Return the bag."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the files; idempotent."""
        self._opened.stack.close()

    @property
    def storage(self) -> str:
        """``sqlite3``, ``mcap`` or ``rosbag1``."""
        return self._opened.kind

    @property
    def compression(self) -> str:
        """``file``, ``message``, or empty; chunks that mcap compresses itself do not count."""
        return self._opened.compression

    @property
    def problems(self) -> tuple[str, ...]:
        """What the last reading of each topic noticed that did not end it, one line each."""
        return (*(line for stamps in self._stamps.values() for line in stamps.problems()),
                *self._lost.values())

    def count(self, topic: str) -> int:
        """Return how many messages a topic has."""
        return sum(info.count for info in self.topics if info.name == topic)

    def images(self, topics: Iterable[str], start: int = 0) -> Iterator[BagImage]:
        """
        Yield the images of some topics in the order in which they were recorded.

        :param start: skip that many of them; those that follow keep their index.
        :raises BagError: a topic is not of images, there are none, or the bag is damaged.
        """
        names = tuple(dict.fromkeys(topics))
        for name in names:
            self._check_image_topic(name)
        if not sum(self.count(name) for name in names):
            raise BagError(f'{self.path} has no images on {", ".join(names) or "no topic"}; its '
                           f'image topics are {self._image_list()}')
        return self._images(names, start)

    def messages(self, topic: str) -> Iterator[tuple[int, Any]]:
        """
        Yield log time in ns and message of one topic, of any type.

        :raises BagError: the topic is not there, or the bag or a message is damaged.
        """
        if not any(info.name == topic for info in self.topics):
            raise BagError(f'{self.path} has no topic {topic}{self._nearest(topic)}; it has '
                           f'{_some([info.name for info in self.topics])}')
        return self._messages(topic)

    def _images(self, names: tuple[str, ...], start: int) -> Iterator[BagImage]:
        indices = dict.fromkeys(names, 0)
        for name in names:
            self._stamps[name] = _Stamps(name)
            self._lost.pop(name, None)
        for at, (connection, log_ns, raw) in enumerate(self._raw(names)):
            topic, index = connection.topic, indices[connection.topic]
            indices[topic] = index + 1
            header = header_of(raw, self._is_ros1)
            if header is not None:
                self._stamps[topic].add(index, header[0])
            if at >= start:
                stamp_ns, frame_id = header or (log_ns, '')
                yield BagImage(topic, connection.msgtype, index, stamp_ns, log_ns, frame_id,
                               raw, self._decoder(connection))
        for name in names:
            if indices[name] != self.count(name):
                self._lost[name] = (
                    f'{name} has {indices[name]} images, expected {self.count(name)} by the '
                    f'index of {self.path}; it was cut off or is damaged')

    def _messages(self, topic: str) -> Iterator[tuple[int, Any]]:
        for index, (connection, log_ns, raw) in enumerate(self._raw((topic,))):
            try:
                message = self._decoder(connection)(raw)
            except Exception as error:
                raise BagError(f'message {index} of {topic} in {self.path} is damaged '
                               f'({one_line(error)}); record it again') from error
            yield log_ns, message

    def _raw(self, names: tuple[str, ...]) -> Iterator[tuple[Any, int, bytes]]:
        """Yield connection, log time and decompressed message."""
        if self._is_reading:
            raise RuntimeError(f'{self.path} is being read already; open it a second time')
        self._is_reading = True
        read = 0
        try:
            wanted = [one for one in self._opened.reader.connections if one.topic in names]
            for connection, log_ns, raw in self._opened.reader.messages(connections=wanted):
                if not self._is_ros1:
                    raw = _decompressed_or_broken(raw)
                yield connection, int(log_ns), raw
                read += 1
        except (BagError, GeneratorExit):
            raise
        except Exception as error:
            raise refuse(self.path, f'it is damaged after message {read} of '
                                    f'{", ".join(names)} ({one_line(error)}); copy it again, or '
                                    f'record it again') from error
        finally:
            self._is_reading = False

    def _decoder(self, connection: Any) -> Any:
        """Return what makes messages of the bytes of one connection."""
        def decode(raw: bytes) -> Any:
            if not self._is_ros1 and is_compressed(raw):
                raise MalformedImageError('the message is damaged: its compressed data are '
                                          'broken; copy the bag again')
            store = self._stores.get(connection.id)
            if store is None:
                store = store_of(connection, self._is_ros1)
                self._stores[connection.id] = store
            if self._is_ros1:
                return store.deserialize_ros1(raw, connection.msgtype)
            return store.deserialize_cdr(raw, connection.msgtype)
        return decode

    def _check_image_topic(self, name: str) -> None:
        kinds = [info.msgtype for info in self.topics if info.name == name]
        if not kinds:
            raise BagError(f'{self.path} has nothing on {name}{self._nearest(name)}, expected '
                           f'images; its image topics are {self._image_list()}')
        wrong = [kind for kind in kinds if kind not in IMAGE_TYPES]
        if wrong:
            raise BagError(f'{self.path} has {wrong[0]} on {name}, expected '
                           f'{" or ".join(IMAGE_TYPES)}; its image topics are '
                           f'{self._image_list()}')

    def _nearest(self, name: str) -> str:
        near = difflib.get_close_matches(name, [info.name for info in self.topics], 1)
        return f' (did you mean {near[0]}?)' if near else ''

    def _image_list(self) -> str:
        return _some(list(self.image_topics))


def open_bag(path: Path) -> Bag:
    """
    Open a bag: a folder of rosbag2, one of its files, or a bag of ROS 1.

    :raises BagError: it cannot be read; the line says why, and what helps.
    :raises RuntimeNotAvailableError: rosbags is not installed.
    """
    return Bag(path)


class _Stamps:
    """Notices stamps that do not advance."""

    def __init__(self, topic: str) -> None:
        """Begin with nothing."""
        self._topic = topic
        self._last: int | None = None
        self._back: list[int] = []
        self._backs = self._repeats = self._first_repeat = 0

    def add(self, index: int, stamp_ns: int) -> None:
        """Take the next stamp."""
        if self._last is not None and stamp_ns < self._last:
            self._backs += 1
            self._back = self._back or [index, self._last - stamp_ns]
        elif stamp_ns == self._last:
            self._first_repeat = self._first_repeat if self._repeats else index
            self._repeats += 1
        self._last = stamp_ns

    def problems(self) -> list[str]:
        """Return what was noticed, one line each."""
        lines = []
        if self._backs:
            lines.append(f'stamps of {self._topic} go back {self._backs} times, first at image '
                         f'{self._back[0]} by {self._back[1] / 1e6:g} ms; check the clock of the '
                         f'camera')
        if self._repeats:
            lines.append(f'{self._repeats} images of {self._topic} have the stamp of the image '
                         f'before, first image {self._first_repeat}; check its driver')
        return lines


def _leave_messages_compressed(reader: Any) -> None:
    """Let one message that is broken not end the reading: they are decompressed here instead."""
    storage: Any = getattr(reader, 'storage', None)
    metadata: Any = getattr(storage, 'metadata', None)
    if getattr(metadata, 'compression_mode', None) == 'message':
        storage.metadata = metadata._replace(compression_mode=None)


def _decompressed_or_broken(raw: bytes) -> bytes:
    """Return the message, or its compressed bytes where they are broken."""
    try:
        return decompressed(raw)
    except Exception:
        return raw


def _some(names: list[str]) -> str:
    return ', '.join(names[:8]) + (f' and {len(names) - 8} more' if len(names) > 8 else '') \
        if names else 'none'
