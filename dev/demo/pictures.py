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

"""The contact sheet, the annotated video and the plot of the latency."""

from __future__ import annotations

import os
from pathlib import Path
import textwrap
from typing import Any
from typing import Iterable
from typing import Mapping
from typing import Sequence

from c7_inference_ros.vision.annotate import draw
from c7_inference_ros.vision.contact_sheet import contact_sheet
from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.labels import Labels
import cv2
from demo.errors import DemoError
import numpy as np

COLUMNS, TILES = 3, 12
TILE_WIDTH = 640


class Annotator:
    """
    Draws what was found onto the images it was found in.

    :param arrays: Detection2DArray by image stamp.
    :param names: class name by number.
    """

    def __init__(self, arrays: Mapping[int, Any], names: Mapping[int, str]) -> None:
        """Keep them."""
        self._arrays = arrays
        self._labels = Labels(tuple(names.get(number, str(number))
                                    for number in range(max(names, default=-1) + 1)), 'message')

    def draw(self, stamp: int, image: np.ndarray) -> np.ndarray:
        """Return a copy of the image with its boxes."""
        if stamp not in self._arrays:
            return image.copy()
        return draw(image, to_detections(self._arrays[stamp]), self._labels)

    def caption(self, stamp: int, number: int) -> str:
        """Return what is written under an image."""
        if stamp not in self._arrays:
            return f'frame {number}   no result: lost or dropped'
        counts: dict[str, int] = {}
        for class_id in to_detections(self._arrays[stamp]).class_ids.tolist():
            name = self._labels.name_of(class_id)
            counts[name] = counts.get(name, 0) + 1
        found = ', '.join(f'{count} {name}' for name, count in counts.items())
        return f'frame {number}   {found or "nothing found"}'

    def count(self, stamp: int) -> int:
        """Return the number of boxes of an image."""
        return len(self._arrays[stamp].detections) if stamp in self._arrays else 0


def to_detections(array: Any) -> Detections:
    """Return the boxes of a Detection2DArray."""
    boxes, scores, class_ids = [], [], []
    for item in array.detections:
        center, hypothesis = item.bbox.center.position, item.results[0].hypothesis
        half_width, half_height = item.bbox.size_x / 2, item.bbox.size_y / 2
        boxes.append((center.x - half_width, center.y - half_height,
                      center.x + half_width, center.y + half_height))
        scores.append(hypothesis.score)
        class_ids.append(int(hypothesis.class_id))
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32),
                      np.array(class_ids, np.int32))


def chosen_frames(counts: Sequence[int], tiles: int = TILES) -> list[int]:
    """
    Return the numbers of frames for a contact sheet, spread over the clip.

    Of each equal part of the clip it is the frame with the most boxes, of several the middle one.

    :param counts: number of boxes by frame.
    """
    edges = np.linspace(0, len(counts), min(tiles, len(counts)) + 1).round().astype(int).tolist()
    chosen = []
    for begin, end in zip(edges, edges[1:]):
        most = max(counts[begin:end])
        best = [number for number in range(begin, end) if counts[number] == most]
        chosen.append(best[len(best) // 2])
    return chosen


def write_pictures(images: Iterable[tuple[int, np.ndarray]], sent: Sequence[int],
                   annotator: Annotator, rate_hz: float, folder: Path) -> None:
    """
    Write contact_sheet.png and annotated.mp4; each appears whole or not at all.

    :param images: (stamp, bgr image) of every frame that was sent.
    :param sent: their stamps.
    :raises DemoError: when OpenCV cannot write a file.
    """
    wanted = set(chosen_frames([annotator.count(stamp) for stamp in sent]))
    tiles, captions = [], []
    part = folder / '.annotated.part.mp4'
    video = None
    try:
        for number, (stamp, image) in enumerate(images):
            drawn = annotator.draw(stamp, image)
            if number in wanted:
                tiles.append(drawn)
                captions.append(annotator.caption(stamp, number))
            if video is None:
                height, width = image.shape[:2]
                video = cv2.VideoWriter(str(part), cv2.VideoWriter_fourcc(*'mp4v'), rate_hz,
                                        (width, height))
                if not video.isOpened():
                    raise DemoError(f'this OpenCV ({cv2.__version__}) cannot write MPEG-4 video; '
                                    f'is it built with FFmpeg?')
            video.write(drawn)
    finally:
        if video is not None:
            video.release()
    os.replace(part, folder / 'annotated.mp4')
    write_image(contact_sheet(tiles, COLUMNS, TILE_WIDTH, captions), folder / 'contact_sheet.png')


def write_image(image: np.ndarray, path: Path, options: Sequence[int] = ()) -> None:
    """Write a picture; it appears whole or not at all."""
    written, data = cv2.imencode(path.suffix, image, list(options))
    if not written:
        raise DemoError(f'OpenCV cannot write {path.name}')
    part = path.with_name(f'.{path.name}.part')
    part.write_bytes(data.tobytes())
    os.replace(part, path)


def write_latency_plot(latencies: Mapping[int, float], sent: Sequence[int],
                       percentiles: Mapping[str, float | None], title: str,
                       conditions: Sequence[str], path: Path) -> None:
    """
    Plot the latency of every frame and how often each occurs.

    :param conditions: lines that say in which conditions it was measured.
    """
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    numbers = [number for number, stamp in enumerate(sent) if stamp in latencies]
    values = [latencies[sent[number]] for number in numbers]
    figure, (over_time, how_often) = pyplot.subplots(
        1, 2, figsize=(10, 4.0), width_ratios=(2, 1), sharey=True, layout='constrained')
    over_time.plot(numbers, values, '.', color='#3465a4', markersize=4)
    missing = sorted(set(range(len(sent))) - set(numbers))
    if missing:
        over_time.plot(missing, [0] * len(missing), 'x', color='#cc0000', markersize=5,
                       label=f'{len(missing)} without a result')
        over_time.legend(loc='upper right')
    how_often.hist(values, bins=40, orientation='horizontal', color='#3465a4')
    for name, value in percentiles.items():
        if value is not None:
            how_often.axhline(value, color='#555753', linewidth=0.8)
            how_often.annotate(f'{name}  {value:.1f} ms', (1, value), ha='right', va='bottom',
                               xycoords=('axes fraction', 'data'), fontsize=8)
    over_time.set(xlabel='frame', ylabel='image out to detections in [ms]', title=title)
    how_often.set(xlabel='frames')
    over_time.set_ylim(bottom=0)
    over_time.grid(alpha=0.3)
    figure.supxlabel('\n'.join(textwrap.fill(line, 150) for line in conditions), x=0.01,
                     ha='left', fontsize=7)
    part = path.with_name(f'.{path.name}.part')
    figure.savefig(part, format='png', dpi=120)
    pyplot.close(figure)
    os.replace(part, path)
