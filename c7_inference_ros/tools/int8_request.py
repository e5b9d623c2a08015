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

"""What an INT8 calibration is asked for, and what it depends on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c7_inference_ros.config import ModelConfig
from c7_inference_ros.engines.calibration.calibration_cache import cache_parts
from c7_inference_ros.engines.calibration.calibration_cache import CACHE_SUFFIX
from c7_inference_ros.engines.calibration.entropy import ALGORITHM
from c7_inference_ros.engines.calibration.quantization import quantizer_version
from c7_inference_ros.engines.onnx_source import OnnxSource
from c7_inference_ros.engines.onnx_source import read_onnx_source
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.pipeline.model_contract import ModelContract
from c7_inference_ros.pipeline.model_contract import resolve_contract
from c7_inference_ros.runtime.base import EngineHandle
from c7_inference_ros.tools.accuracy import LabelledPictures
from c7_inference_ros.tools.accuracy import measuring
from c7_inference_ros.tools.accuracy import METRIC
from c7_inference_ros.tools.calibration_data import BagTopic
from c7_inference_ros.tools.calibration_data import ImageDataset
from c7_inference_ros.tools.calibration_data import MAX_IMAGES
from c7_inference_ros.tools.calibration_data import MIN_IMAGES
from c7_inference_ros.tools.calibration_data import PictureFolder

MAX_DROP = 0.03
SEARCH_TIMEOUT_S = 600.0
EXPLICIT, IMPLICIT = METHODS = ('explicit', 'implicit')


@dataclass(frozen=True)
class CalibrationRequest:
    """
    What INT8 is to be made of.

    :param model: the float32 ONNX file.
    :param config: how the node uses the model: preprocessing, decoder.
    :param cache: ``<x>.calib_cache``; beside the model unless given.
    :param labels: file with class names; what ``config`` says when None.
    :param images: folder of pictures to calibrate with, or None.
    :param bag: rosbag to calibrate with, or None.
    :param topic: image topic in that bag.
    :param every: take every n-th image of the bag.
    :param min_images: fewer are refused.
    :param max_images: of more, this many are taken.
    :param accuracy_images: folder of pictures that accuracy is checked on; no check when None.
    :param accuracy_annotations: their ground truth, COCO format.
    :param max_drop: largest accepted loss of mAP50 against float32.
    :param high_precision_nodes: patterns of layers that stay float32 whatever their accuracy.
    :param is_half: whether layers that are not int8 become float16 in the model; else the
        builder chooses by its flags.
    :param method: ``explicit`` Q/DQ, or ``implicit``: the calibrator of TensorRT 10.x.
    :param profiles: that the engine is built with, as far as they were given.
    :param search_timeout_s: after this long the search for layers takes the best that it has.
    """

    model: Path
    config: ModelConfig | None
    cache: Path | None = None
    labels: Path | None = None
    images: Path | None = None
    bag: Path | None = None
    topic: str = ''
    every: int = 1
    min_images: int = MIN_IMAGES
    max_images: int = MAX_IMAGES
    accuracy_images: Path | None = None
    accuracy_annotations: Path | None = None
    max_drop: float = MAX_DROP
    high_precision_nodes: tuple[str, ...] = ()
    is_half: bool = True
    method: str = EXPLICIT
    profiles: tuple[OptimizationProfile, ...] = ()
    search_timeout_s: float = SEARCH_TIMEOUT_S


@dataclass(frozen=True)
class PreparedCalibration:
    """
    A request whose model, images and ground truth were read and hashed.

    :param request: what was asked for.
    :param source: the model.
    :param contract: preprocessing and decoder, with settings for measuring accuracy.
    :param dataset: images to calibrate with.
    :param truth: pictures to measure accuracy on, or None.
    """

    request: CalibrationRequest
    source: OnnxSource
    contract: ModelContract
    dataset: ImageDataset
    truth: LabelledPictures | None

    @property
    def cache(self) -> Path:
        """Where the calibration cache is."""
        return self.request.cache or self.request.model.with_suffix(CACHE_SUFFIX)

    @property
    def parts(self) -> dict[str, Any]:
        """Everything that the ranges depend on, plain values by a name for people."""
        return self.parts_for(ALGORITHM, quantizer_version())

    @property
    def accuracy_parts(self) -> dict[str, Any]:
        """What the choice of float32 layers depends on besides, plain values."""
        request, contract = self.request, self.contract
        return {'ground truth': self.truth.sha256 if self.truth else None,
                'limit': request.max_drop, 'metric': METRIC, 'decoder': contract.decoder.name,
                'labels': list(contract.labels.names),
                'other layers': 'float16' if request.is_half else 'by flags',
                'layers in float32': sorted(request.high_precision_nodes)}

    def parts_for(self, calibrator: str, version: str) -> dict[str, Any]:
        """Return what the product of a calibrator of some version depends on."""
        spec = self.contract.spec
        return cache_parts(
            dataset=self.dataset.sha256, images=len(self.dataset),
            onnx_sha256=self.source.sha256, preprocessing=spec.to_dict(), calibrator=calibrator,
            batch=1, profile={self.contract.image_input: list(spec.shape)}, version=version)


def prepare(request: CalibrationRequest) -> PreparedCalibration:
    """
    Read and hash what a calibration depends on; seconds, no inference.

    :raises ConfigurationError: settings, labels or ground truth do not fit.
    :raises CalibrationCacheError: there are too few images, or one cannot be read.
    :raises EngineDeserializeError: the model cannot be used.
    :raises RuntimeNotAvailableError: something that is needed is not installed.
    """
    if request.config is None:
        raise ConfigurationError(
            f'{request.model} cannot be calibrated without its preprocessing; give the parameter '
            f'file of the node, or preprocess in CONFIG.json')
    source = read_onnx_source(request.model)
    handle = EngineHandle(request.model.stem, source.inputs, source.outputs, source.metadata)
    contract = resolve_contract(handle, measuring(request.config), request.labels)
    dataset: ImageDataset
    if request.images is not None:
        dataset = PictureFolder(request.images, request.min_images, request.max_images)
    elif request.bag is not None:
        dataset = BagTopic(request.bag, request.topic, request.every, request.min_images,
                           request.max_images)
    else:
        raise ConfigurationError(f'{request.model} cannot be calibrated without images; give a '
                                 f'folder of pictures, or a rosbag and its image topic')
    truth = None
    if request.accuracy_images is not None:
        if request.accuracy_annotations is None:
            raise ConfigurationError(f'{request.accuracy_images} has no ground truth; give its '
                                     f'annotations in COCO format')
        truth = LabelledPictures(request.accuracy_images, request.accuracy_annotations)
        truth.category_ids(contract.labels.names)
    return PreparedCalibration(request, source, contract, dataset, truth)
