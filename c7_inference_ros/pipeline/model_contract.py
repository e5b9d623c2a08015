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

"""What a model file offers and what the configuration says, checked against each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Mapping
from typing import Sequence

from c7_inference_ros.config import ModelConfig
from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.model_files.tensor_spec import TensorSpec
from c7_inference_ros.pipeline.engine_processing import metadata_with_labels
from c7_inference_ros.runtime.base import EngineHandle
from c7_inference_ros.runtime.base import InferenceRuntime
from c7_inference_ros.vision.decoders.base import Decoder
from c7_inference_ros.vision.decoders.base import OutputSpec
from c7_inference_ros.vision.decoders.registry import select_decoder
from c7_inference_ros.vision.labels import Labels
from c7_inference_ros.vision.labels import load_labels
from c7_inference_ros.vision.preprocess import PreprocessSpec
from c7_inference_ros.vision.preprocess import resolve_preprocess
from c7_inference_ros.vision.settings import detection_settings
from c7_inference_ros.vision.settings import DetectionSettings
import numpy as np


@dataclass(frozen=True)
class ModelContract:
    """
    Everything that is known about a model before its first frame.

    :param image_input: name of the input that takes the image.
    :param extra_inputs: element type of every other input, by name; the decoder fills them.
    :param spec: what is done to an image.
    :param decoder: what reads the outputs.
    :param labels: class names.
    :param settings: thresholds and filters to begin with.
    """

    image_input: str
    extra_inputs: Mapping[str, np.dtype[Any]]
    spec: PreprocessSpec
    decoder: Decoder
    labels: Labels
    settings: DetectionSettings


def load_handle(runtime: InferenceRuntime, config: ModelConfig, path: Path,
                extras: Mapping[str, Any]) -> EngineHandle:
    """
    Load a model; open dimensions of its inputs are settled before memory is predicted.

    The names and layout of the inputs are only known once it was loaded, so that a model with
    open dimensions that the runtime could not settle alone is loaded twice.

    :param extras: settings for the runtime, by name.
    :raises InferenceRuntimeError: the model does not load.
    """
    handle = runtime.deserialize_engine(EngineCacheEntry(path, extras=extras))
    shapes = _closed_shapes(handle, config)
    if not shapes:
        return handle
    runtime.release_engine(handle)
    return runtime.deserialize_engine(EngineCacheEntry(
        path, extras={**extras, 'input_shapes': shapes}))


def resolve_contract(handle: EngineHandle, config: ModelConfig,
                     labels_path: Path | None = None) -> ModelContract:
    """
    Check a loaded model against its configuration.

    :param labels_path: the labels file, found; ``config.labels`` as it stands when None.
    :raises ConfigurationError: with one line for everything that does not fit.
    """
    prefix = f'models.{config.name}'
    problems: list[str] = []
    image = _image_input(handle, prefix)
    spec: PreprocessSpec | None = None
    decoder: Decoder | None = None
    labels: Labels | None = None
    settings: DetectionSettings | None = None
    try:
        spec = resolve_preprocess(config.preprocess, image.shape, image.dtype,
                                  f'{prefix}.preprocess')
    except ConfigurationError as error:
        problems += error.problems
    # Without preprocessing the size may be unknown, and decoders are chosen by it.
    network_wh = (spec.width, spec.height) if spec else _declared_size(image, config)
    if network_wh is not None:
        try:
            decoder = select_decoder(config.decoder, _specs(handle.inputs),
                                     _specs(handle.outputs), network_wh, f'{prefix}.decoder')
            _check_extra_inputs(handle, image, decoder, prefix)
        except ConfigurationError as error:
            problems += error.problems
    try:
        metadata = metadata_with_labels(handle.metadata, handle.processing)
        labels = load_labels(str(labels_path) if labels_path else config.labels, metadata,
                             decoder.num_classes if decoder else None, f'{prefix}.labels')
        settings = detection_settings(config, labels, prefix)
    except ConfigurationError as error:
        problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    assert spec is not None and decoder is not None
    assert labels is not None and settings is not None
    extras = {tensor.name: tensor.dtype for tensor in handle.inputs if tensor is not image}
    return ModelContract(image.name, extras, spec, decoder, labels, settings)


def _image_input(handle: EngineHandle, prefix: str) -> TensorSpec:
    images = [spec for spec in handle.inputs if len(spec.shape) == 4]
    if len(images) == 1:
        return images[0]
    raise ConfigurationError(
        f'{prefix}.path {handle.name}: found {len(images)} inputs with 4 dimensions among '
        f'{_listed(handle.inputs)}, expected one, the image; use a model with one image input')


def _check_extra_inputs(handle: EngineHandle, image: TensorSpec, decoder: Decoder,
                        prefix: str) -> None:
    unfilled = [spec for spec in handle.inputs
                if spec is not image and spec.name not in decoder.extra_inputs]
    if unfilled:
        filled = ', '.join(decoder.extra_inputs) or 'none'
        raise ConfigurationError(
            f'{prefix}.path {handle.name}: nothing fills input {_listed(unfilled)}; besides the '
            f'image {image.name}, decoder {decoder.name} fills {filled}; choose another decoder '
            f'or export the model without that input')


def _closed_shapes(handle: EngineHandle, config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the inputs for one image; empty where there is nothing to settle."""
    if all(size >= 0 for spec in handle.inputs for size in spec.max_shape or spec.shape):
        return {}
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        image = _image_input(handle, '')
        shapes[image.name] = resolve_preprocess(
            config.preprocess, image.shape, image.dtype, '').shape
    except ConfigurationError:
        return {}  # the check against the configuration says what is wrong
    for spec in handle.inputs:
        if spec is not image:
            # Open sizes of the other inputs are numbers of images.
            shapes[spec.name] = tuple(1 if size < 0 else size for size in spec.shape)
    return shapes


def _declared_size(image: TensorSpec, config: ModelConfig) -> tuple[int, int] | None:
    shape = image.shape
    row = 1 if shape[3] in (1, 3) and shape[1] not in (1, 3) else 2
    height = shape[row] if shape[row] > 0 else config.preprocess.height
    width = shape[row + 1] if shape[row + 1] > 0 else config.preprocess.width
    return (width, height) if width > 0 and height > 0 else None


def _specs(tensors: Sequence[TensorSpec]) -> list[OutputSpec]:
    return [OutputSpec(spec.name, spec.shape, spec.dtype) for spec in tensors]


def _listed(tensors: Sequence[TensorSpec]) -> str:
    return ', '.join(f'{spec.name} {spec.dtype} {list(spec.shape)}' for spec in tensors) or 'none'
