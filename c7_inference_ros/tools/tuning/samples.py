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

"""Labelled pictures that thresholds are tuned on: of a folder, or frames of a bag."""

from __future__ import annotations

from dataclasses import dataclass
import hashlib
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Iterator
from typing import Mapping
from typing import Protocol
from typing import Sequence

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import ImageError
from c7_inference_ros.tools.evaluation.frames import EvaluatedFrame
from c7_inference_ros.tools.evaluation.ground_truth import FrameTruth
from c7_inference_ros.tools.evaluation.ground_truth import GroundTruth
from c7_inference_ros.tools.evaluation.ground_truth import Matching
from c7_inference_ros.vision.images import decode_compressed
from c7_inference_ros.vision.images import SourceImage
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Sample:
    """
    A labelled picture.

    :param name: for people.
    :param camera: whose it is; empty for a picture of a folder.
    :param key: what it is sorted by within its camera.
    :param truth: what is in it.
    :param read: returns its pixels.
    """

    name: str
    camera: str
    key: Any
    truth: FrameTruth
    read: Callable[[], SourceImage]


class Samples(Protocol):
    """Labelled pictures in a defined order."""

    @property
    def is_sequence(self) -> bool:
        """Whether neighbours show nearly the same."""

    def __len__(self) -> int:
        """Return how many pictures are looked through at most."""

    def __iter__(self) -> Iterator[Sample]:
        """Yield the labelled ones."""

    def problems(self) -> list[str]:
        """Return what people should know after all were seen, one line each."""


class FolderSamples:
    """
    Pictures of a folder, by the names in the ground truth.

    :raises ConfigurationError: some are not there.
    """

    is_sequence = False

    def __init__(self, folder: Path, truth: GroundTruth) -> None:
        """Look for the files."""
        self._folder = folder
        self._frames = sorted(truth.frames, key=lambda one: one.name)
        missing = [one.name for one in self._frames if not (folder / one.name).is_file()]
        if len(missing) == len(self._frames):
            raise ConfigurationError(
                f'{truth.source} is ground truth of other pictures: none of its '
                f'{len(missing)} (such as {missing[0]}) is in {folder}; give the ground truth of '
                f'these, or the folder that file_name is relative to')
        if missing:
            raise ConfigurationError(
                f'{folder} has not {len(missing)} of the {len(self._frames)} pictures that '
                f'{truth.source} names, for example {missing[0]}; add them, or take them out')

    def __len__(self) -> int:
        """Return how many pictures there are."""
        return len(self._frames)

    def __iter__(self) -> Iterator[Sample]:
        """Yield them by name."""
        for truth in self._frames:
            yield Sample(truth.name, '', truth.name, truth, self._reader(truth))

    def problems(self) -> list[str]:
        """Return nothing: what is wrong ends the run."""
        return []

    def _reader(self, truth: FrameTruth) -> Callable[[], SourceImage]:
        def read() -> SourceImage:
            path = self._folder / truth.name
            try:
                image = decode_compressed(path.read_bytes())
            except OSError as error:
                raise ConfigurationError(f'{path} cannot be read ({error.strerror or error}); '
                                         f'correct its permissions') from error
            except ImageError as error:
                raise ConfigurationError(f'{path} cannot be used: {error}; replace it') from error
            check_size(truth, image, str(path))
            return image
        return read


class BagSamples:
    """
    The labelled frames of a bag.

    :param bag: an open bag.
    :param topics: image topic by camera.
    :param truth: what is in the frames.
    """

    is_sequence = True

    def __init__(self, bag: Any, topics: Mapping[str, str], truth: GroundTruth) -> None:
        """Read nothing yet."""
        self._bag = bag
        self._cameras: dict[str, list[str]] = {}
        for camera, topic in topics.items():
            self._cameras.setdefault(topic, []).append(camera)
        self._matching = Matching(truth, f'the frames of {bag.path}')

    def __len__(self) -> int:
        """Return how many frames there are, with the unlabelled ones."""
        return sum(self._bag.count(topic) for topic in self._cameras)

    def __iter__(self) -> Iterator[Sample]:
        """Yield the labelled ones as they were recorded."""
        for image in self._bag.images(self._cameras):
            for camera in self._cameras[image.topic]:
                frame = EvaluatedFrame(
                    camera, image.index, image.stamp_ns, 0, 0, np.zeros((0, 4)),
                    np.zeros(0, np.float32), (), frame_id=image.frame_id)
                truth = self._matching.find(frame)
                if truth is not None:
                    yield Sample(frame.name, camera, (image.log_ns, image.index), truth,
                                 _bag_reader(image, truth, frame.name))

    def problems(self) -> list[str]:
        """
        Return which labelled pictures are no frames, and what the bag itself noticed.

        :raises ConfigurationError: the ground truth is of other pictures.
        """
        return [*self._matching.check(), *self._bag.problems]


def _bag_reader(image: Any, truth: FrameTruth, name: str) -> Callable[[], SourceImage]:
    def read() -> SourceImage:
        pixels: SourceImage = image.read()
        check_size(truth, pixels, name)
        return pixels
    return read


def check_size(truth: FrameTruth, image: SourceImage, name: str) -> None:
    """
    Compare the size of a picture with what its labels say.

    :raises ConfigurationError: they differ.
    """
    if truth.width and (truth.width, truth.height) != (image.width, image.height):
        raise ConfigurationError(
            f'{name} is {image.width}x{image.height} pixels, but {truth.name} of the ground '
            f'truth is {truth.width}x{truth.height}; give the ground truth of these pictures')


def held_out(samples: Sequence[tuple[str, Any]], share: float, is_sequence: bool
             ) -> NDArray[np.bool_]:
    """
    Return which pictures are kept aside; the same ones in every run.

    Of a folder those whose names have the lowest hashes. Of a recording its end, for each camera:
    neighbours show nearly the same, so that single frames among the others would be known.

    :param samples: camera and key of each.
    :param share: of all, 0..1.
    """
    result = np.zeros(len(samples), np.bool_)
    for camera in {camera for camera, _ in samples}:
        own = [index for index, (name, _) in enumerate(samples) if name == camera]
        count = round(share * len(own))
        if is_sequence:
            ordered = sorted(own, key=lambda index: samples[index][1], reverse=True)
        else:
            ordered = sorted(own, key=lambda index: hashlib.sha256(
                str(samples[index][1]).encode()).digest())
        result[ordered[:count]] = True
    return result
