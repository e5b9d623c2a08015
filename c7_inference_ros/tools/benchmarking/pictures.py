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

"""Pictures that models are measured on: of a folder, of a bag, or made of a given size."""

from __future__ import annotations

from dataclasses import dataclass
import hashlib
from pathlib import Path
import re
from typing import Any
from typing import Iterable
from typing import Iterator
from typing import Sequence

from c7_inference_ros.errors import BagError
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import ImageError
from c7_inference_ros.tools.bags.reader import Bag
from c7_inference_ros.tools.bags.reader import open_bag
from c7_inference_ros.vision.images import decode_compressed
from c7_inference_ros.vision.images import MAX_PIXELS
from c7_inference_ros.vision.images import SourceImage
import numpy as np

#: Decoded pictures stay in memory: of more, this many are taken, evenly spread.
MAX_PICTURES = 32
#: And together at most so many bytes.
MAX_BYTES = 512 << 20
_SUFFIXES = ('.jpg', '.jpeg', '.png')
_SIZE = re.compile(r'([1-9]\d{0,4})x([1-9]\d{0,4})')
#: Pictures of each size that is asked for.
_MADE = 4


@dataclass(frozen=True)
class Pictures:
    """
    Decoded pictures.

    :param kind: ``folder``, ``bag`` or ``made``.
    :param description: where they come from, for people.
    :param problems: what could not be used, one line each.
    """

    images: tuple[SourceImage, ...]
    kind: str
    description: str
    problems: tuple[str, ...] = ()

    @property
    def sizes(self) -> tuple[str, ...]:
        """Sizes of the pictures as ``640x480``, each once."""
        return tuple(dict.fromkeys(f'{image.width}x{image.height}' for image in self.images))

    def as_dict(self) -> dict[str, Any]:
        """Return what they are, for JSON; the hash is of the pixels in their order."""
        digest = hashlib.sha256()
        for image in self.images:
            digest.update(f'{image.width}x{image.height} {image.encoding}\n'.encode())
            digest.update(np.ascontiguousarray(image.pixels).data)
        return {'kind': self.kind, 'description': self.description, 'count': len(self.images),
                'sizes': list(self.sizes), 'sha256': digest.hexdigest(),
                'problems': list(self.problems)}


def pictures_of_folder(folder: Path) -> Pictures:
    """
    Return the JPEG and PNG files of a folder and its subfolders, in the order of their names.

    :raises ConfigurationError: it cannot be read, or no picture of it can be used.
    """
    try:
        if not folder.is_dir():
            what = 'a file' if folder.exists() else 'not there'
            raise ConfigurationError(f'--pictures {folder} is {what}, expected a folder of JPEG '
                                     f'or PNG files; correct the path')
        paths = sorted(path for path in folder.rglob('*')
                       if path.suffix.lower() in _SUFFIXES and path.is_file()
                       and not path.name.startswith('.'))
    except OSError as error:
        raise ConfigurationError(f'--pictures {folder} cannot be read '
                                 f'({error.strerror or error}); correct its permissions'
                                 ) from error
    if not paths:
        raise ConfigurationError(f'--pictures {folder} has no {", ".join(_SUFFIXES)} file; give '
                                 f'pictures of the cameras that the models will see')
    problems: list[str] = []
    images = _within_bytes(_decoded(_spread(paths), problems), problems)
    if not images:
        raise ConfigurationError(f'no picture in {folder} can be used: {problems[0]}')
    return Pictures(images, 'folder', f'{len(images)} of {len(paths)} pictures in '
                                      f'{folder.resolve().name}', tuple(problems))


def pictures_of_bag(path: Path, topic: str = '') -> Pictures:
    """
    Return images of one topic of a bag, spread over the recording.

    :param topic: needed where the bag has images on several.
    :raises ConfigurationError: the bag cannot be read, or has no image that can be used.
    """
    try:
        with open_bag(path) as bag:
            topic = topic or _only_topic(bag)
            problems: list[str] = []
            count = bag.count(topic)
            wanted = set(_spread(range(count)))
            images = _within_bytes(_read(bag, topic, wanted, problems), problems)
            problems += bag.problems
    except BagError as error:
        raise ConfigurationError(str(error)) from error
    if not images:
        raise ConfigurationError(f'no image on {topic} in {path} can be used: {problems[0]}')
    return Pictures(images, 'bag', f'{len(images)} of {count} images on {topic} in '
                                   f'{path.resolve().name}', tuple(problems))


def made_pictures(sizes: Sequence[str]) -> Pictures:
    """
    Make pictures of some sizes: always the same, with edges and noise, and nothing to detect.

    :param sizes: as ``1280x720``.
    :raises ConfigurationError: one is no size.
    """
    images = []
    for text in sizes:
        match = _SIZE.fullmatch(text)
        width, height = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 0 < width * height <= MAX_PIXELS:
            raise ConfigurationError(f'--sizes has {text!r}, expected WIDTHxHEIGHT as 1280x720, '
                                     f'at most {MAX_PIXELS} pixels')
        images += [_made(width, height, seed) for seed in range(_MADE)]
    return Pictures(tuple(images), 'made', f'{len(images)} made pictures with nothing to detect, '
                                           f'{", ".join(sizes)}')


def _decoded(paths: Iterable[Path], problems: list[str]) -> Iterator[SourceImage]:
    for path in paths:
        try:
            yield decode_compressed(path.read_bytes())
        except OSError as error:
            problems.append(f'{path} cannot be read ({error.strerror or error}); it is left out')
        except ImageError as error:
            problems.append(f'{path}: {error}; it is left out')


def _read(bag: Bag, topic: str, wanted: set[int], problems: list[str]
          ) -> Iterator[SourceImage]:
    for image in bag.images((topic,)):
        if image.index in wanted:
            try:
                yield image.read()
            except ImageError as error:
                problems.append(f'image {image.index} on {topic}: {error}; it is left out')


def _within_bytes(images: Iterable[SourceImage], problems: list[str]
                  ) -> tuple[SourceImage, ...]:
    found: list[SourceImage] = []
    total = 0
    for image in images:
        total += image.pixels.nbytes
        if total > MAX_BYTES and found:
            problems.append(f'only the first {len(found)} pictures are taken: together they may '
                            f'have {MAX_BYTES >> 20} MiB')
            break
        found.append(image)
    return tuple(found)


def _only_topic(bag: Bag) -> str:
    topics = bag.image_topics
    if len(topics) == 1:
        return topics[0]
    found = f'images on {len(topics)} topics ({", ".join(topics)})' if topics else 'no images'
    remedy = 'say which with --topic' if topics else 'give a bag with images'
    raise ConfigurationError(f'{bag.path} has {found}; {remedy}')


def _spread(items: Sequence[Any]) -> list[Any]:
    """Return at most :data:`MAX_PICTURES`, evenly spread over all."""
    count = min(len(items), MAX_PICTURES)
    return [items[index * len(items) // count] for index in range(count)]


def _made(width: int, height: int, seed: int) -> SourceImage:
    random = np.random.default_rng((width, height, seed))
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[...] = np.linspace(40, 200, width, dtype=np.float32)[None, :, None]
    for _ in range(20):
        top, left = random.integers(0, height), random.integers(0, width)
        pixels[top:top + height // 4 + 1, left:left + width // 6 + 1] = random.integers(0, 256, 3)
    pixels += random.integers(0, 16, pixels.shape, dtype=np.uint8)
    return SourceImage(pixels, 'bgr8')
