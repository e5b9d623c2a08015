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

"""The images of a bag with what was found drawn on them, from ``detections.jsonl``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Iterable
from typing import Iterator
from typing import Mapping
from typing import Sequence

from c7_inference_ros.errors import ImageError
from c7_inference_ros.tools.replaying.outputs import ReplayOutputError
from c7_inference_ros.tools.replaying.outputs import writing
from c7_inference_ros.tools.replaying.streams import CameraStream
from c7_inference_ros.vision.annotate import draw
from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.images import to_bgr
from c7_inference_ros.vision.labels import Labels
import numpy as np
import numpy.typing as npt

_JPEG_QUALITY = 90
_DEFAULT_HZ, _MAX_HZ = 10.0, 120.0
#: (line of detections.jsonl, the image with what was found; bgr8).
Take = Callable[[Mapping[str, Any], npt.NDArray[np.uint8]], None]


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of ``detections.jsonl``."""
    with path.open(encoding='ascii') as file:
        for line in file:
            yield json.loads(line)


def draw_all(images: Iterable[Any], streams: Sequence[CameraStream], lines_path: Path,
             labels: Mapping[str, Labels], models_of: Callable[[str], Sequence[str]],
             take: Take) -> None:
    """
    Draw every result on its image, after the run, so that drawing costs no frame of it.

    :param images: of the bag, in the order of the run.
    :param lines_path: the finished ``detections.jsonl``.
    :param labels: class names by model.
    :param models_of: names of the models that look at a camera.
    :param take: gets the pictures; images that cannot be decoded are left out.
    """
    lines = read_lines(lines_path)
    for image in images:
        pixels = None
        for stream in streams:
            if stream.topic != image.topic:
                continue
            for model in models_of(stream.camera):
                line = next(lines)
                if (line['camera'], line['model'], line['index']) != (stream.camera, model,
                                                                      image.index):
                    raise ReplayOutputError(
                        f'{lines_path} does not go with the bag: image {image.index} of '
                        f'{image.topic} is followed by {line["index"]} of {line["camera"]}; was '
                        f'the bag written to meanwhile?')
                try:
                    pixels = to_bgr(image.read()) if pixels is None else pixels
                except ImageError:
                    continue
                take(line, draw(pixels, detections_of(line), labels[model]))


def detections_of(line: Mapping[str, Any]) -> Detections:
    """Return the detections in a line."""
    found = line['detections']
    return Detections(
        np.array([one['box'] for one in found], np.float32).reshape(-1, 4),
        np.array([one['score'] for one in found], np.float32),
        np.array([one['class_id'] for one in found], np.int32))


class Pictures:
    """
    One JPEG a frame, ``<camera>_<model>/<index>.jpg``; dropped frames have none.

    :param folder: where to.
    """

    def __init__(self, folder: Path) -> None:
        """Write nothing yet."""
        self._folder = folder

    def __call__(self, line: Mapping[str, Any], picture: npt.NDArray[np.uint8]) -> None:
        """
        Write one picture.

        :raises ReplayOutputError: it cannot be written.
        """
        import cv2

        if line['dropped']:
            return
        path = self._folder / f'{line["camera"]}_{line["model"]}' / f'{line["index"]:06d}.jpg'
        _, data = cv2.imencode('.jpg', picture, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.tobytes())

    def close(self) -> None:
        """Do nothing more."""


class Videos:
    """
    One MPEG-4 video a stream, ``<camera>_<model>.mp4``; dropped frames are shown bare.

    Images of another size than those before begin a further video.

    :param folder: where to.
    :param rates_hz: images a second by camera.
    """

    def __init__(self, folder: Path, rates_hz: Mapping[str, float]) -> None:
        """Write nothing yet."""
        self._folder = folder
        self._rates_hz = rates_hz
        self._open: dict[tuple[str, str], _Video] = {}
        self._parts: dict[tuple[str, str], int] = {}

    def __call__(self, line: Mapping[str, Any], picture: npt.NDArray[np.uint8]) -> None:
        """
        Write one frame.

        :raises ReplayOutputError: it cannot be written.
        """
        stream = line['camera'], line['model']
        size = picture.shape[1], picture.shape[0]
        video = self._open.get(stream)
        if video is None or video.size != size:
            if video is not None:
                video.close()
            part = self._parts[stream] = self._parts.get(stream, 0) + 1
            name = '_'.join(stream) + (f'_{part}' if part > 1 else '')
            rate_hz = self._rates_hz.get(stream[0], 0.0)
            video = self._open[stream] = _Video(
                self._folder / f'{name}.mp4', size,
                min(rate_hz, _MAX_HZ) if rate_hz > 0.0 else _DEFAULT_HZ)
        video.write(picture)

    def close(self) -> None:
        """
        Finish the videos.

        :raises ReplayOutputError: one of them is not whole.
        """
        for video in self._open.values():
            video.close()


class _Video:

    def __init__(self, path: Path, size: tuple[int, int], rate_hz: float) -> None:
        import cv2

        self.size = size
        self._path = path
        self._frames = 0
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), rate_hz, size)
        if not self._writer.isOpened():
            raise ReplayOutputError(
                f'{path} cannot be written by this OpenCV ({cv2.__version__}): it has no MPEG-4 '
                f'encoder, or the disk is full; take --annotated pictures')

    def write(self, picture: npt.NDArray[np.uint8]) -> None:
        self._writer.write(picture)
        self._frames += 1

    def close(self) -> None:
        import cv2

        self._writer.release()
        # OpenCV does not tell when a frame cannot be written.
        reader = cv2.VideoCapture(str(self._path))
        found = int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) if reader.isOpened() else 0
        reader.release()
        if found != self._frames:
            raise ReplayOutputError(
                f'{self._path} has {found} of {self._frames} frames; is the disk full? Free space '
                f'there, or take --annotated pictures')
