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
Images that INT8 is calibrated with: a folder of pictures, or an image topic of a rosbag.

Every image has its place and its hash before the first one is used, so that it is known from what
a calibration was made; an image that is another one when its turn comes ends the calibration.
They go through the preprocessing of the node itself.
"""

from __future__ import annotations

from contextlib import contextmanager
import hashlib
from pathlib import Path
from typing import Any
from typing import Iterator
from typing import Protocol

from c7_inference_ros.errors import BagError
from c7_inference_ros.errors import CalibrationCacheError
from c7_inference_ros.errors import ImageError
from c7_inference_ros.pipeline.model_contract import ModelContract
from c7_inference_ros.tools.bags.images import BagImage
from c7_inference_ros.tools.bags.reader import open_bag
from c7_inference_ros.vision.images import decode_compressed
from c7_inference_ros.vision.images import SourceImage
from c7_inference_ros.vision.letterbox import ImageGeometry
from c7_inference_ros.vision.preprocess import Preprocessor
import numpy as np
from numpy.typing import NDArray

#: Fewer images say too little about the ranges.
MIN_IMAGES = 16
#: More images cost time and change little.
MAX_IMAGES = 500
_PICTURES = ('.jpg', '.jpeg', '.png')


class ImageDataset(Protocol):
    """Images in a defined order."""

    @property
    def sha256(self) -> str:
        """Hash of the content of all images in their order."""

    @property
    def description(self) -> str:
        """Where they come from, for people."""

    def __len__(self) -> int:
        """Return how many there are."""

    def images(self) -> Iterator[SourceImage]:
        """
        Yield them, one at a time.

        :raises CalibrationCacheError: one cannot be read, or changed.
        """


class PictureFolder:
    """
    The JPEG and PNG files of a folder and its subfolders, in the order of their names.

    :param folder: where they are.
    :param minimum: fewer are refused.
    :param maximum: of more, this many are taken, evenly spread.
    :raises CalibrationCacheError: there are too few, or one cannot be read.
    """

    def __init__(self, folder: Path, minimum: int = MIN_IMAGES, maximum: int = MAX_IMAGES
                 ) -> None:
        """List and hash them."""
        try:
            paths = sorted((path for path in folder.rglob('*')
                            if path.suffix.lower() in _PICTURES and path.is_file()
                            and not path.name.startswith('.')),
                           key=lambda path: path.relative_to(folder).as_posix())
        except OSError as error:
            raise CalibrationCacheError(f'{folder} cannot be read ({error.strerror or error}); '
                                        f'correct the path') from error
        _check_count(len(paths), minimum, f'{folder}', f'{", ".join(_PICTURES)} files')
        self._files = [(path, hashlib.sha256(_read(path)).hexdigest())
                       for path in _spread(paths, maximum)]
        self.sha256 = _joined(digest for _, digest in self._files)
        self.description = f'{len(self)} pictures in {folder.resolve().name}'

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._files)

    def images(self) -> Iterator[SourceImage]:
        """Yield them; see :meth:`ImageDataset.images`."""
        for path, digest in self._files:
            data = _read(path)
            _check_same(data, digest, str(path))
            with _readable(str(path)):
                image = decode_compressed(data)
            yield image


class BagTopic:
    """
    The images of one topic of a rosbag, in the order of the recording.

    :param bag: folder of the bag, or its file; a bag of ROS 1 as well.
    :param topic: of ``sensor_msgs/Image`` or ``sensor_msgs/CompressedImage``.
    :param every: take every n-th image.
    :param minimum: fewer are refused.
    :param maximum: of more, this many are taken, evenly spread.
    :raises CalibrationCacheError: there are too few, or the bag cannot be read.
    :raises RuntimeNotAvailableError: rosbags is not installed.
    """

    def __init__(self, bag: Path, topic: str, every: int = 1, minimum: int = MIN_IMAGES,
                 maximum: int = MAX_IMAGES) -> None:
        """Read and hash them."""
        self._bag = bag
        self._topic = topic
        digests = [hashlib.sha256(image.raw).hexdigest() for image in self._recorded()]
        positions = list(range(0, len(digests), max(1, every)))
        _check_count(len(positions), minimum, f'{topic} of {bag}',
                     'images' if every <= 1 else f'images when every {every}th is taken')
        self._chosen = {at: digests[at] for at in _spread(positions, maximum)}
        self.sha256 = _joined(self._chosen.values())
        self.description = f'{len(self)} images of {topic} in {bag.resolve().name}'

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._chosen)

    def images(self) -> Iterator[SourceImage]:
        """Yield them; see :meth:`ImageDataset.images`."""
        for at, image in enumerate(self._recorded()):
            if at not in self._chosen:
                continue
            name = f'image {at + 1} of {self._topic} in {self._bag}'
            _check_same(image.raw, self._chosen[at], name)
            with _readable(name):
                pixels = image.read()
            yield pixels

    def _recorded(self) -> Iterator[BagImage]:
        try:
            with open_bag(self._bag) as bag:
                yield from bag.images([self._topic])
        except BagError as error:
            raise CalibrationCacheError(str(error)) from error


class FeedMaker:
    """
    Makes the inputs of a network of an image, as the node does.

    :param contract: of the model.
    """

    def __init__(self, contract: ModelContract) -> None:
        """Make the buffers of the preprocessing."""
        self._contract = contract
        self._preprocessor = Preprocessor(contract.spec)

    def __call__(self, image: SourceImage) -> tuple[dict[str, NDArray[Any]], ImageGeometry]:
        """Return new arrays by input, and where the image lies in the network's picture."""
        contract = self._contract
        tensor: NDArray[Any] = np.empty(self._preprocessor.shape, contract.spec.dtype)
        geometry = self._preprocessor(image, tensor)
        return {contract.image_input: tensor, **{
            name: contract.decoder.extra_input(name, geometry, dtype)
            for name, dtype in contract.extra_inputs.items()}}, geometry


def calibration_feeds(dataset: ImageDataset, contract: ModelContract
                      ) -> Iterator[dict[str, NDArray[Any]]]:
    """
    Yield the inputs of the network for each image, one image at a time.

    :raises CalibrationCacheError: an image cannot be read.
    """
    make = FeedMaker(contract)
    for image in dataset.images():
        yield make(image)[0]


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Say which image could not be read."""
    try:
        yield
    except ImageError as error:
        raise CalibrationCacheError(
            f'{name} cannot be used: {error}; take it away, or replace it') from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CalibrationCacheError(f'{path} cannot be read ({error.strerror or error}); correct '
                                    f'its permissions, or take it away') from error


def _check_count(found: int, minimum: int, where: str, what: str) -> None:
    if found < max(1, minimum):
        raise CalibrationCacheError(
            f'{where} has {found} {what}, expected at least {max(1, minimum)} to calibrate with; '
            f'give images from the cameras that the model will see')


def _check_same(data: bytes, digest: str, name: str) -> None:
    if hashlib.sha256(data).hexdigest() != digest:
        raise CalibrationCacheError(f'{name} changed while it was calibrated with; start again')


def _spread(items: list[Any], maximum: int) -> list[Any]:
    """Return at most so many, evenly spread over all."""
    if len(items) <= maximum:
        return items
    return [items[index * len(items) // maximum] for index in range(maximum)]


def _joined(digests: Any) -> str:
    return hashlib.sha256('\n'.join(digests).encode()).hexdigest()
