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
INT8 for one model: from images to a quantised ONNX that is accurate enough, or a refusal.

.. code-block:: python

    prepared = prepare(CalibrationRequest(model, config, cache, images=folder))
    ...                      # prepared.parts says what the engine will depend on
    int8 = calibrate(prepared)
    int8.quantized           # bytes of the Q/DQ model, for the builder
    int8.record, int8.accuracy   # for the manifest

The ranges are kept in the calibration cache, and with them which layers stay in float32 and how
accurate the result was. As long as nothing that they depend on changes, no image is looked at
again.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import hashlib
import logging
from pathlib import Path
from typing import Any
from typing import Mapping

from c7_inference_ros.config import ModelConfig
from c7_inference_ros.engines.build_key import key_of
from c7_inference_ros.engines.builder import OnProgress
from c7_inference_ros.engines.calibration_cache import cache_parts
from c7_inference_ros.engines.calibration_cache import CACHE_SUFFIX
from c7_inference_ros.engines.calibration_cache import CalibrationCache
from c7_inference_ros.engines.calibration_table import ALGORITHM as TABLE_ALGORITHM
from c7_inference_ros.engines.calibration_table import CalibrationTable
from c7_inference_ros.engines.calibration_table import parse_table
from c7_inference_ros.engines.calibrator import ImplicitDataset
from c7_inference_ros.engines.entropy import ALGORITHM
from c7_inference_ros.engines.onnx_source import OnnxSource
from c7_inference_ros.engines.onnx_source import read_onnx_source
from c7_inference_ros.engines.quantizable_model import QuantizableModel
from c7_inference_ros.engines.quantizable_model import read_quantizable
from c7_inference_ros.engines.quantization import layers_without_range
from c7_inference_ros.engines.quantization import measure_ranges
from c7_inference_ros.engines.quantization import METHOD
from c7_inference_ros.engines.quantization import pack_ranges
from c7_inference_ros.engines.quantization import quantize
from c7_inference_ros.engines.quantization import quantizer_version
from c7_inference_ros.engines.quantization import unpack_ranges
from c7_inference_ros.engines.types import AccuracyCheck
from c7_inference_ros.errors import CalibrationCacheError
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.pipeline.model_contract import ModelContract
from c7_inference_ros.pipeline.model_contract import resolve_contract
from c7_inference_ros.runtime.base import EngineHandle
from c7_inference_ros.tools.accuracy import LabelledPictures
from c7_inference_ros.tools.accuracy import measuring
from c7_inference_ros.tools.accuracy import METRIC
from c7_inference_ros.tools.calibration_data import BagTopic
from c7_inference_ros.tools.calibration_data import calibration_feeds
from c7_inference_ros.tools.calibration_data import ImageDataset
from c7_inference_ros.tools.calibration_data import MAX_IMAGES
from c7_inference_ros.tools.calibration_data import MIN_IMAGES
from c7_inference_ros.tools.calibration_data import PictureFolder
from c7_inference_ros.tools.layer_choice import choose_layers
from c7_inference_ros.tools.layer_choice import LayerChoice

MAX_DROP = 0.03
SEARCH_TIMEOUT_S = 600.0
_log = logging.getLogger(__name__)


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
                'layers in float32': sorted(request.high_precision_nodes)}

    def parts_for(self, calibrator: str, version: str) -> dict[str, Any]:
        """Return what the product of a calibrator of some version depends on."""
        spec = self.contract.spec
        return cache_parts(
            dataset=self.dataset.sha256, images=len(self.dataset),
            onnx_sha256=self.source.sha256, preprocessing=spec.to_dict(), calibrator=calibrator,
            batch=1, profile={self.contract.image_input: list(spec.shape)}, version=version)


@dataclass(frozen=True)
class Int8Model:
    """
    A quantised model that was accepted.

    :param quantized: bytes of the ONNX model with Q/DQ pairs.
    :param excluded: layers that stay float32.
    :param accuracy: how it was checked, or None.
    :param is_reused: whether the ranges came from the cache.
    :param reason: why, one clause.
    :param record: for :attr:`EngineManifest.calibration`, plain values.
    """

    quantized: bytes
    excluded: tuple[str, ...]
    accuracy: AccuracyCheck | None
    is_reused: bool
    reason: str
    record: Mapping[str, Any] = field(default_factory=dict)


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


def calibrate(prepared: PreparedCalibration,
              on_progress: OnProgress = lambda phase, step, total: None) -> Int8Model:
    """
    Quantise a model, with ranges from the cache or from its images.

    Other processes that calibrate into the same cache wait.

    :param on_progress: told how far it is.
    :raises CalibrationCacheError: the cache is damaged, or an image cannot be used; the cache
        stays as it was.
    :raises EngineBuildError: the model cannot be quantised, or loses too much accuracy.
    """
    model = read_quantizable(prepared.request.model)
    if model.source.sha256 != prepared.source.sha256:
        raise CalibrationCacheError(f'{model.source.path} changed meanwhile; start again')

    def parse(data: bytes) -> tuple[dict[str, float], dict[str, Any] | None]:
        return unpack_ranges(data, model)

    cache = CalibrationCache(prepared.cache, prepared.parts, parse)
    images = len(prepared.dataset)
    with cache.locked():
        checked = cache.check()
        _log.info('INT8 calibration of %s: %s', model.source.path, checked.reason)
        if checked.content is not None:
            ranges, kept = checked.content
        else:
            ranges, kept = measure_ranges(
                model, calibration_feeds(prepared.dataset, prepared.contract), images,
                lambda done, total: on_progress('calibrating', done, total)), None
            # Kept even if the accuracy is refused: another limit needs no new ranges.
            cache.store(pack_ranges(ranges, images, None))
        choice, quantized = _reuse_choice(prepared, model, ranges, kept)
        if choice is None:
            choice, quantized = choose_layers(
                model, ranges, prepared.contract, prepared.truth, prepared.request.max_drop,
                prepared.request.high_precision_nodes, prepared.request.search_timeout_s,
                on_progress)
            kept = {**choice.to_plain(), 'key': key_of(prepared.accuracy_parts),
                    'quantized_sha256': hashlib.sha256(quantized).hexdigest()}
            cache.store(pack_ranges(ranges, images, kept))
        data = pack_ranges(ranges, images, kept)
    is_reused = checked.content is not None
    skipped = sorted({*choice.excluded, *layers_without_range(model, ranges)})
    record = {
        'method': METHOD, 'calibrator': ALGORITHM, 'quantizer': quantizer_version(),
        'images': images, 'source': prepared.dataset.description,
        'dataset_sha256': prepared.dataset.sha256, 'layers': len(model.layers) - len(skipped),
        'float32_layers': skipped, 'cache': prepared.cache.name,
        'cache_sha256': hashlib.sha256(data).hexdigest(), 'cache_key': cache.key,
        'is_reused': is_reused,
        'quantized_onnx_sha256': hashlib.sha256(quantized).hexdigest()}
    return Int8Model(quantized, tuple(skipped), choice.accuracy, is_reused, checked.reason, record)


def implicit_calibration_inputs(prepared: PreparedCalibration, tensorrt_version: str
                                ) -> tuple[ImplicitDataset, CalibrationCache[CalibrationTable]]:
    """
    Return what :func:`c7_inference_ros.engines.calibrator.implicit_calibration` needs.

    :param tensorrt_version: of the TensorRT 10.x that builds.
    """
    inputs = tuple(spec.name for spec in prepared.source.inputs if spec.dtype.kind == 'f')
    dataset = ImplicitDataset(
        lambda: iter(calibration_feeds(prepared.dataset, prepared.contract)),
        len(prepared.dataset), 1, inputs)
    return dataset, CalibrationCache(
        prepared.cache, prepared.parts_for(f'TensorRT {TABLE_ALGORITHM}', tensorrt_version),
        lambda data: parse_table(data, tensorrt_version, inputs))


def _reuse_choice(prepared: PreparedCalibration, model: QuantizableModel,
                  ranges: Mapping[str, float], kept: Mapping[str, Any] | None
                  ) -> tuple[LayerChoice | None, bytes]:
    """Return the choice of before where it gives the very model that was accepted then."""
    if kept is None or kept.get('key') != key_of(prepared.accuracy_parts):
        return None, b''
    try:
        choice = LayerChoice.from_plain(kept)
    except (KeyError, TypeError, ValueError) as error:
        raise CalibrationCacheError(
            f'{prepared.cache} is malformed: its choice of layers cannot be read ({error}); '
            f'delete it and its sidecars to have it made again') from error
    quantized = quantize(model, ranges, choice.excluded)
    if hashlib.sha256(quantized).hexdigest() != kept.get('quantized_sha256'):
        return None, b''
    return choice, quantized
