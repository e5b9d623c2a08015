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
What was found over time, counted into bins while ``detections.jsonl`` is read once.

Nothing of a frame is kept, so that an hour of video needs no more memory than a second.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Iterable
from typing import Mapping

#: Most bins of a stream.
MAX_BINS = 120
#: Classes that are shown by name, the most frequent ones; the rest together.
MAX_CLASSES = 7
OTHERS = 'others'


@dataclass
class Bin:
    """Some frames of one stream that follow each other."""

    frames: int = 0
    dropped: int = 0
    #: Of the first image, nanoseconds.
    log_ns: int = 0
    found: Counter[str] = field(default_factory=Counter)

    @property
    def published(self) -> int:
        """Frames with a result."""
        return self.frames - self.dropped


class Timelines:
    """
    The streams of a report.

    :param report: ``report.json``; what it says of the number of frames makes the bins.
    """

    def __init__(self, report: Mapping[str, Any]) -> None:
        """Begin without frames."""
        self._size = {(camera, model): max(1, -(-account['received'] // MAX_BINS))
                      for camera, models in report['counts'].items()
                      for model, account in models.items()}
        self._seen: Counter[tuple[str, str]] = Counter()
        self.bins: dict[tuple[str, str], list[Bin]] = {stream: [] for stream in self._size}
        #: First and last image of all.
        self.start_ns, self.end_ns = 0, 0

    def read(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Count the lines of ``detections.jsonl``."""
        for line in lines:
            self.add(line)

    def add(self, line: Mapping[str, Any]) -> None:
        """Count one line; one of a stream that is not in the report does not count."""
        stream = line['camera'], line['model']
        if stream not in self._size:
            return
        log_ns = line['log_ns']
        self.start_ns = min(self.start_ns or log_ns, log_ns)
        self.end_ns = max(self.end_ns, log_ns)
        bins = self.bins[stream]
        if self._seen[stream] % self._size[stream] == 0:
            bins.append(Bin(log_ns=log_ns))
        self._seen[stream] += 1
        bins[-1].frames += 1
        if line['dropped']:
            bins[-1].dropped += 1
        else:
            bins[-1].found.update(one['label'] for one in line['detections'])

    def frames(self, stream: tuple[str, str]) -> int:
        """Return how many frames of a stream were counted."""
        return self._seen[stream]

    def classes(self, stream: tuple[str, str]) -> dict[str, list[float | None]]:
        """
        Return the mean number of detections a frame, by class and bin.

        The most frequent classes by name, the rest as :data:`OTHERS`; None where every frame of
        a bin was dropped.
        """
        bins = self.bins[stream]
        total: Counter[str] = Counter()
        for one in bins:
            total.update(one.found)
        named = [name for name, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))
                 ][:MAX_CLASSES]
        rows = {name: [_mean(one.found[name], one) for one in bins] for name in named}
        if len(total) > len(named):
            rows[OTHERS if OTHERS not in rows else f'{OTHERS} (together)'] = [
                _mean(sum(one.found.values()) - sum(one.found[name] for name in named), one)
                for one in bins]
        return rows


def _mean(found: int, one: Bin) -> float | None:
    return found / one.published if one.published else None
