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

"""The page of one replay: its report, and frames that are read from the bag once more."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from typing import Iterable
from typing import Iterator
from typing import Mapping
from typing import Sequence

from c7_inference_ros.errors import BagError
from c7_inference_ros.tools.bags.reader import Bag
from c7_inference_ros.tools.console import Progress
from c7_inference_ros.tools.evaluation.evaluation import Evaluator
from c7_inference_ros.tools.replaying.annotated import read_lines
from c7_inference_ros.tools.replaying.streams import CameraStream
from c7_inference_ros.tools.reporting.gallery import Gallery
from c7_inference_ros.tools.reporting.html import page
from c7_inference_ros.tools.reporting.thumbnails import draw_thumbnails
from c7_inference_ros.tools.reporting.thumbnails import Thumbnail
from c7_inference_ros.tools.reporting.thumbnails import wanted_frames


def replay_page(report: Mapping[str, Any], lines_path: Path, bag: Bag,
                streams: Sequence[CameraStream], judges: Mapping[str, Evaluator],
                progress: Progress, more: Iterable[Gallery] = ()) -> bytes:
    """
    Return ``report.html``.

    A bag that cannot be read again costs the frames, not the page.

    :param report: ``report.json``.
    :param lines_path: the finished ``detections.jsonl``.
    :param judges: what knows what is really in a frame, by model.
    :param more: parts to add.
    """
    cameras: dict[str, list[str]] = {}
    for stream in streams:
        cameras.setdefault(stream.topic, []).append(stream.camera)
    thumbnails: list[Thumbnail] = []
    notes = []
    try:
        thumbnails = draw_thumbnails(wanted_frames(report), _images(bag, cameras, progress),
                                     cameras, read_lines(lines_path), judges)
    except BagError as error:
        notes.append(f'No frames are shown: {error}')
    return page(report, read_lines(lines_path), thumbnails, more, notes)


def _images(bag: Bag, cameras: Mapping[str, Sequence[str]], progress: Progress) -> Iterator[Any]:
    total = sum(bag.count(topic) for topic in cameras)
    for done, image in enumerate(bag.images(tuple(cameras))):
        progress.update('report', done, max(total, done + 1))
        yield image
