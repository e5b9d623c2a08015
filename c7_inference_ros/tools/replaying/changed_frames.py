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

"""The part of the page about a baseline: what the gate says, and changed frames side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from typing import Iterable
from typing import Iterator
from typing import Mapping
from typing import Sequence

from c7_inference_ros.errors import BagError
from c7_inference_ros.errors import ImageError
from c7_inference_ros.tools.bags.reader import Bag
from c7_inference_ros.tools.replaying.annotated import read_lines
from c7_inference_ros.tools.replaying.outputs import LINES
from c7_inference_ros.tools.replaying.streams import CameraStream
from c7_inference_ros.tools.reporting.gallery import Gallery
from c7_inference_ros.tools.reporting.gallery import Picture
from c7_inference_ros.tools.reporting.side_by_side import side_by_side
from c7_inference_ros.tools.reporting.thumbnails import jpeg
from c7_inference_ros.vision.images import to_bgr

#: Camera, model, number of the image.
Key = tuple[str, str, int]
#: Most frames that are shown, of all cameras and models.
MAX_SHOWN = 12


def changed_frames(report: Mapping[str, Any], lines_path: Path, bag: Bag,
                   streams: Sequence[CameraStream]) -> Iterator[Gallery]:
    """
    Yield the part of the page about the baseline of a report; nothing without one.

    :param report: ``report.json``.
    :param lines_path: the finished ``detections.jsonl``.
    :param bag: that both replays are of.
    """
    found = report['baseline']
    if not found:
        return
    said = [*(f'Regression: {line}' for line in found['regressions']),
            *(f'Not compared: {line}' for line in found['not_compared']),
            *(f'Different: {line}' for line in found['notes'])]
    if not found['regressions']:
        said.insert(0, 'No regression.')
    said += [f'Conditions {when}: {line}' for when, lines in found['conditions'].items()
             for line in lines]
    pictures: list[Picture] = []
    try:
        pictures = _pictures(_wanted(found['frames']), Path(found['report']).parent / LINES,
                             lines_path, bag, streams)
    except (BagError, OSError) as error:
        said.append(f'No frames are shown: {error}')
    yield Gallery(f'Compared with {found["report"]}', said, pictures)


def _wanted(frames: Mapping[str, Mapping[str, Any]]) -> dict[Key, str]:
    """Return the changed frames that are shown and what is different, the same of each stream."""
    changed = [(camera, model, changes['frames']) for camera, models in frames.items()
               for model, changes in models.items() if changes['frames']]
    each = max(1, MAX_SHOWN // max(1, len(changed)))
    return {(camera, model, frame['index']): _difference(frame)
            for camera, model, every in changed for frame in every[:each]}


def _difference(frame: Mapping[str, Any]) -> str:
    words = {'lost': 'lost', 'new': 'new', 'moved': 'moved', 'rescored': 'with another score'}
    return ', '.join(f'{len(frame[key])} {word}' for key, word in words.items() if frame[key])


def _pictures(wanted: Mapping[Key, str], before_path: Path, after_path: Path, bag: Bag,
              streams: Sequence[CameraStream]) -> list[Picture]:
    before, after = _kept(before_path, wanted), _kept(after_path, wanted)
    left = set(before) & set(after)
    made: dict[Key, Picture] = {}
    cameras: dict[str, list[str]] = {}
    for stream in streams:
        cameras.setdefault(stream.topic, []).append(stream.camera)
    for image in bag.images(tuple(cameras)) if left else ():
        keys = [key for key in left if key[2] == image.index and key[0] in cameras[image.topic]]
        for key in keys:
            left.discard(key)
            try:
                pixels = to_bgr(image.read())
            except ImageError:
                continue
            what = f'camera {key[0]}, model {key[1]}, frame {key[2]}: {wanted[key]}'
            made[key] = Picture(jpeg(side_by_side(pixels, before[key], after[key])), 'jpeg',
                                f'Before and after, {what}', what)
        if not left:
            break
    return [made[key] for key in wanted if key in made]


def _kept(path: Path, wanted: Iterable[Key]) -> dict[Key, dict[str, Any]]:
    keys = set(wanted)
    return {key: line for line in read_lines(path)
            if (key := (line['camera'], line['model'], line['index'])) in keys}
