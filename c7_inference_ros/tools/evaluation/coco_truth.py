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
Ground truth in COCO's format.

Pictures of a folder are matched by ``file_name``, the path relative to the folder. Frames of a bag
are matched by ``stamp_ns`` of the images (a whole number, or text for programs whose numbers are
doubles), which all of them must have then; without it by the last number in each file name. When
that number has the form ``SECONDS.NANOSECONDS`` (nine digits behind the point or underscore), or
at least 16 digits, it is a stamp; otherwise it is the index of the frame among the images of its
camera, from 0. An image may say whose it is in ``camera``.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
import re
from typing import Any
from typing import Mapping
from typing import Sequence

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.evaluation.ground_truth import FrameTruth
from c7_inference_ros.tools.evaluation.ground_truth import GroundTruth
import numpy as np

_SPLIT_STAMP = re.compile(r'(?<!\d)(\d{1,10})[._](\d{9})(?!\d)')
_NUMBER = re.compile(r'\d+')
#: From so many digits on, a number is nanoseconds and no index: 10^15 ns are 12 days after 1970.
_STAMP_DIGITS = 16


def read_coco(path: Path) -> GroundTruth:
    """
    Read ``instances.json``.

    :raises ConfigurationError: it cannot be read, or is not COCO's format.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f'{path} cannot be read ({error.strerror or error}); correct '
                                 f'the path') from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f'{path} is no JSON ({error}), expected ground truth in COCO '
                                 f'format, or the name of a topic') from error
    try:
        return _read(path, content)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ConfigurationError(
            f'{path} is no ground truth in COCO format ({type(error).__name__}: {error}), '
            f'expected images (id, file_name), annotations (image_id, category_id, bbox) and '
            f'categories (id, name)') from error


def _read(path: Path, content: Mapping[str, Any]) -> GroundTruth:
    images, categories = content['images'], content['categories']
    names = [str(one['name']) for one in categories]
    classes = {one['id']: index for index, one in enumerate(categories)}
    _check_unique(path, 'category', [one['id'] for one in categories])
    _check_unique(path, 'category name', names)
    _check_unique(path, 'image', [one['id'] for one in images])
    _check_unique(path, 'file_name', [(one.get('camera', ''), one['file_name'])
                                      for one in images])
    if not images:
        raise ConfigurationError(f'{path} has no images, expected some to compare with')
    boxes: dict[Any, list[tuple[Any, ...]]] = {one['id']: [] for one in images}
    for one in content['annotations']:
        if one['image_id'] not in boxes or one['category_id'] not in classes:
            raise ConfigurationError(
                f'{path}: annotation {one.get("id")} belongs to image {one["image_id"]} and '
                f'category {one["category_id"]}, of which one does not exist; correct the file')
        boxes[one['image_id']].append(_box(path, one, classes[one['category_id']]))
    frames = [_frame(one, boxes[one['id']]) for one in images]
    by_file = {str(one['file_name']): frame for one, frame in zip(images, frames)}
    return GroundTruth(str(path), names, frames, by_file=by_file, **_bag_rule(images, frames))


def _box(path: Path, one: Mapping[str, Any], index: int) -> tuple[Any, ...]:
    left, top, width, height = (float(value) for value in one['bbox'])
    if not all(map(math.isfinite, (left, top, width, height))) or width < 0 or height < 0:
        raise ConfigurationError(
            f'{path}: annotation {one.get("id")} has bbox {one["bbox"]}, expected finite x, y, '
            f'width and height with sizes of at least 0; correct the file')
    return (left, top, left + width, top + height, float(one.get('area', width * height)),
            index, bool(one.get('iscrowd', 0)))


def _frame(image: Mapping[str, Any], boxes: Sequence[tuple[Any, ...]]) -> FrameTruth:
    return FrameTruth(
        name=str(image['file_name']),
        boxes=np.array([box[:4] for box in boxes], np.float64).reshape(-1, 4),
        areas=np.array([box[4] for box in boxes], np.float64),
        classes=np.array([box[5] for box in boxes], np.int64),
        is_crowd=np.array([box[6] for box in boxes], np.bool_),
        width=int(image.get('width') or 0), height=int(image.get('height') or 0),
        camera=str(image.get('camera') or ''))


def _bag_rule(images: Sequence[Mapping[str, Any]], frames: Sequence[FrameTruth]
              ) -> dict[str, Any]:
    """Return by what frames of a bag are found, as arguments of :class:`GroundTruth`."""
    stamped = [one for one in images if 'stamp_ns' in one]
    if len(stamped) == len(images):
        return {'by_stamp': _grouped([int(one['stamp_ns']) for one in images], frames)}
    if stamped:
        missing = next(one for one in images if 'stamp_ns' not in one)
        return {'no_rule': f'only {len(stamped)} of {len(images)} images have stamp_ns, for '
                           f'example {missing["file_name"]} has none; give it to all or to none'}
    numbers = [_number(str(one['file_name'])) for one in images]
    for kind in ('by_stamp', 'by_index'):
        if all(found is not None and found[0] == kind for found in numbers):
            return {kind: _grouped([found[1] for found in numbers if found], frames)}
    unlike = next((one['file_name'] for one, found in zip(images, numbers) if found is None),
                  images[0]['file_name'])
    return {'no_rule': f'its images have no stamp_ns, and their file names are not all indices '
                       f'or all stamps (see {unlike}); add stamp_ns to each image'}


def _number(name: str) -> tuple[str, int] | None:
    stem = Path(name).stem
    split = _SPLIT_STAMP.findall(name)
    if split:
        return 'by_stamp', int(split[-1][0]) * 1_000_000_000 + int(split[-1][1])
    digits = _NUMBER.findall(stem)
    if not digits:
        return None
    significant = digits[-1].lstrip('0') or '0'
    return ('by_stamp' if len(significant) >= _STAMP_DIGITS else 'by_index'), int(significant)


def _grouped(keys: Sequence[int], frames: Sequence[FrameTruth]) -> dict[int, list[FrameTruth]]:
    found: dict[int, list[FrameTruth]] = {}
    for key, frame in zip(keys, frames):
        twin = next((one for one in found.get(key, ()) if one.camera == frame.camera), None)
        if twin is not None:
            raise ConfigurationError(f'two labelled pictures are the same frame {key}: '
                                     f'{twin.name} and {frame.name}; keep one of them')
        found.setdefault(key, []).append(frame)
    return found


def _check_unique(path: Path, what: str, keys: Sequence[Any]) -> None:
    seen: set[Any] = set()
    for key in keys:
        if key in seen:
            raise ConfigurationError(f'{path} has {what} {key!r} more than once; keep one of them')
        seen.add(key)
