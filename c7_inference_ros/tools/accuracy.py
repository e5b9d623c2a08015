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
How good an ONNX model is on pictures with ground truth: COCO's mean average precision.

The model runs in ONNX Runtime between the package's own preprocessing and decoder, so that what is
measured is what the node would publish.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
import hashlib
import json
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Iterator
from typing import Mapping
from typing import Sequence

from c7_inference_ros.config import EVERY
from c7_inference_ros.config import ModelConfig
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.errors import ImageError
from c7_inference_ros.pipeline.model_contract import ModelContract
from c7_inference_ros.tools.calibration_data import FeedMaker
from c7_inference_ros.tools.evaluation.coco_metrics import coco_class
from c7_inference_ros.tools.evaluation.coco_metrics import coco_figures
from c7_inference_ros.tools.evaluation.coco_metrics import indexed
from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.images import decode_compressed
from c7_inference_ros.vision.images import SourceImage
from numpy.typing import NDArray

METRIC = 'mAP50'
#: The usual settings for measuring: almost every box, suppressed late.
SCORE_FLOOR, NMS_THRESHOLD, MAX_DETECTIONS = 0.001, 0.65, 300
#: Runs a network: names of the outputs and arrays by input to arrays.
Run = Callable[[Sequence[str], Mapping[str, NDArray[Any]]], Sequence[NDArray[Any]]]


def measuring(config: ModelConfig) -> ModelConfig:
    """Return the settings of a model with thresholds that hide nothing from the measurement."""
    return replace(config, score_threshold=SCORE_FLOOR, nms_threshold=NMS_THRESHOLD,
                   max_detections=MAX_DETECTIONS, class_score_thresholds=('',),
                   classes=(EVERY,), class_agnostic_nms=False)


@dataclass(frozen=True)
class Accuracy:
    """
    Mean average precision, 0..1.

    :param map50: at an overlap of 0.5.
    :param map50_95: averaged over overlaps of 0.5 to 0.95.
    """

    map50: float
    map50_95: float


class LabelledPictures:
    """
    Pictures and their boxes, in COCO's format.

    :param images: folder of the pictures.
    :param annotations: ``instances.json``.
    :raises ConfigurationError: they cannot be read, or do not fit together.
    :raises RuntimeNotAvailableError: pycocotools is not installed.
    """

    def __init__(self, images: Path, annotations: Path) -> None:
        """Read the boxes and hash the pictures."""
        coco_class()
        self._images = images
        try:
            data = annotations.read_bytes()
            described = json.loads(data)
            self._pictures = [(entry['id'], images / entry['file_name'])
                              for entry in described['images']]
            self._ids = {entry['name']: entry['id'] for entry in described['categories']}
            self.truth = indexed(described)
            boxes = len(described['annotations'])
        except OSError as error:
            raise ConfigurationError(f'{annotations} cannot be read ({error.strerror or error}); '
                                     f'correct the path') from error
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f'{annotations} is no ground truth in COCO format '
                f'({type(error).__name__}: {error}), expected images, annotations and '
                f'categories') from error
        if not self._pictures or not boxes:
            raise ConfigurationError(
                f'{annotations} has {len(self._pictures)} images and {boxes} boxes, expected '
                f'some of both to measure accuracy with')
        digests = [hashlib.sha256(data).hexdigest()]
        digests += [hashlib.sha256(_read(path)).hexdigest() for _, path in self._pictures]
        #: Hash of pictures and boxes.
        self.sha256 = hashlib.sha256('\n'.join(digests).encode()).hexdigest()

    def __len__(self) -> int:
        """Return how many pictures there are."""
        return len(self._pictures)

    def __iter__(self) -> Iterator[tuple[int, SourceImage]]:
        """Yield id and pixels of each picture."""
        for image_id, path in self._pictures:
            try:
                image = decode_compressed(_read(path))
            except ImageError as error:
                raise ConfigurationError(f'{path} cannot be used: {error}; replace it') from error
            yield image_id, image

    def category_ids(self, names: Sequence[str]) -> dict[int, int]:
        """
        Return the category of each class of a model, by class id; other classes are left out.

        :param names: class names in the model's order.
        :raises ConfigurationError: no class has ground truth.
        """
        found = {index: self._ids[name] for index, name in enumerate(names) if name in self._ids}
        if not found:
            raise ConfigurationError(
                f'accuracy cannot be measured: the model has the classes '
                f'{", ".join(names[:5]) or "(none are known)"}, the ground truth has '
                f'{", ".join(list(self._ids)[:5])}; set labels to a file with the names of the '
                f'model, called as in the ground truth')
        return found


def mean_average_precision(pictures: LabelledPictures,
                           detect: Callable[[SourceImage], Detections],
                           names: Sequence[str]) -> Accuracy:
    """
    Measure a detector; COCO itself takes the best 100 boxes of each class and picture.

    Classes that the model does not have are not counted against it.

    :param detect: returns the boxes of a picture, in its pixels.
    :param names: class names in the model's order.
    """
    categories = pictures.category_ids(names)
    rows = [[image_id, x1, y1, x2 - x1, y2 - y1, score, categories[int(class_id)]]
            for image_id, image in pictures
            for (x1, y1, x2, y2), score, class_id in _boxes(detect(image))
            if int(class_id) in categories]
    figures = coco_figures(pictures.truth, rows, tuple(categories.values()))
    return Accuracy(figures.map50 or 0.0, figures.map50_95 or 0.0)


class OnnxDetector:
    """
    A network between the package's preprocessing and decoder.

    :param contract: of the model, with the settings of :func:`measuring`.
    :param output_names: of the network.
    :param run: ``run`` of a session of ONNX Runtime.
    """

    def __init__(self, contract: ModelContract, output_names: Sequence[str], run: Run) -> None:
        """Make the buffers."""
        self._contract = contract
        self._output_names = tuple(output_names)
        self._run = run
        self._feed_maker = FeedMaker(contract)

    def __call__(self, image: SourceImage) -> Detections:
        """
        Return the detections of an image, in its pixels.

        :raises EngineBuildError: the network fails.
        """
        feed, geometry = self._feed_maker(image)
        try:
            outputs = self._run(self._output_names, feed)
        except Exception as error:
            raise EngineBuildError(f'the model fails while its accuracy is measured: '
                                   f'{" ".join(str(error).split())}') from error
        return self._contract.decoder.decode(dict(zip(self._output_names, outputs)), geometry,
                                             self._contract.settings)


def _boxes(found: Detections) -> Iterator[tuple[Any, Any, Any]]:
    return zip(found.boxes, found.scores, found.class_ids)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f'{path} cannot be read ({error.strerror or error}); the ground '
                                 f'truth names it') from error
