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

"""What came out of the node, with the time of its arrival; and the bag that is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import struct
from typing import Any
from typing import Mapping

from c7_inference_ros.errors import BagError
from c7_inference_ros.tools.bags.types import DETECTIONS
from c7_inference_ros.tools.bags.types import LABEL_INFO
from c7_inference_ros.tools.bags.types import typestore
from c7_inference_ros.tools.bags.types import VISION_INFO
from c7_inference_ros.tools.bags.writer import BagWriter
from demo.errors import DemoError

TYPES = {'detections': DETECTIONS,
         'diagnostics': 'diagnostic_msgs/msg/DiagnosticArray',
         'label_info': LABEL_INFO,
         'vision_info': VISION_INFO}
LEVELS = ('OK', 'WARN', 'ERROR', 'STALE')


@dataclass(frozen=True)
class Recorded:
    """
    One message.

    :param raw: serialised.
    :param arrived_ns: monotonic clock of this process.
    :param sim_ns: simulated time, the log time in the bag.
    """

    raw: bytes
    arrived_ns: int
    sim_ns: int


@dataclass(frozen=True)
class Status:
    """One status of the diagnostics."""

    level: str
    message: str
    values: Mapping[str, str]


class Recording:
    """
    Messages by kind, in the order of their arrival, and when each image was sent.

    :param node: fully qualified name of the node, without the leading slash.
    :param camera: name of the camera.
    :param model: name of the model.
    """

    def __init__(self, node: str, camera: str, model: str) -> None:
        """Begin with nothing."""
        self.topics = {'detections': f'/{node}/{camera}/{model}/detections',
                       'diagnostics': '/diagnostics',
                       'label_info': f'/{node}/{model}/label_info',
                       'vision_info': f'/{node}/{model}/vision_info'}
        self.messages: dict[str, list[Recorded]] = {name: [] for name in self.topics}
        self.sent_ns: dict[int, int] = {}
        self.received_ns: dict[int, int] = {}
        self.status: dict[str, Status] = {}
        self.peak_temperature: tuple[float, str] | None = None
        self._node = node

    def add(self, name: str, raw: bytes, arrived_ns: int, sim_ns: int) -> None:
        """Take a serialised message."""
        raw = bytes(raw)
        self.messages[name].append(Recorded(raw, arrived_ns, sim_ns))
        if name == 'detections':
            self.received_ns.setdefault(stamp_of(raw), arrived_ns)
        elif name == 'diagnostics':
            self._read_diagnostics(raw)

    def latencies_ms(self) -> dict[int, float]:
        """Return, by image stamp, the time from publishing it to its detections."""
        return {stamp: (self.received_ns[stamp] - sent) / 1e6
                for stamp, sent in self.sent_ns.items() if stamp in self.received_ns}

    def temperatures(self) -> dict[str, Status]:
        """Return the status of each device that shows its heat, by the device's name."""
        prefix = 'temperature '
        return {name[len(prefix):]: status for name, status in self.status.items()
                if name.startswith(prefix)}

    def detections_by_stamp(self) -> dict[int, Any]:
        """Return the detection arrays by image stamp."""
        return {stamp_of(item.raw): self._decode('detections', item.raw)
                for item in self.messages['detections']}

    def class_names(self) -> dict[int, str]:
        """Return what label_info says the classes are called."""
        if not self.messages['label_info']:
            return {}
        info = self._decode('label_info', self.messages['label_info'][-1].raw)
        return {item.class_id: item.class_name for item in info.class_map}

    def write_bag(self, folder: Path) -> int:
        """
        Write everything into a rosbag2 (mcap) with the message definitions.

        The folder appears whole or not at all.

        :returns: number of messages.
        :raises DemoError: it cannot be written.
        """
        topics = {topic: TYPES[name] for name, topic in self.topics.items()}
        ordered = sorted(((item.sim_ns, self.topics[name], item.raw) for name, items
                          in self.messages.items() for item in items),
                         key=lambda entry: entry[0])
        try:
            with BagWriter(folder, topics) as writer:
                for sim_ns, topic, raw in ordered:
                    writer.write_raw(topic, sim_ns, raw)
        except BagError as error:
            raise DemoError(str(error)) from error
        return len(ordered)

    def _decode(self, name: str, raw: bytes) -> Any:
        return typestore().deserialize_cdr(raw, TYPES[name])

    def _read_diagnostics(self, raw: bytes) -> None:
        prefix = f'{self._node}: '
        for item in self._decode('diagnostics', raw).status:
            if item.name.startswith(prefix):
                self.status[item.name[len(prefix):]] = Status(
                    LEVELS[item.level] if item.level < len(LEVELS) else str(item.level),
                    item.message, {entry.key: entry.value for entry in item.values})
        for device, status in self.temperatures().items():
            celsius = status.values.get('hottest_c')
            if celsius and (not self.peak_temperature
                            or float(celsius) > self.peak_temperature[0]):
                self.peak_temperature = (
                    float(celsius), f'{device} {status.values.get("hottest_zone", "")}')


def stamp_of(raw: bytes) -> int:
    """Return the header's stamp in ns of a serialised message that begins with its header."""
    order = '<' if raw[1] & 1 else '>'
    seconds, nanoseconds = struct.unpack_from(f'{order}iI', raw, 4)
    return seconds * 1_000_000_000 + nanoseconds
