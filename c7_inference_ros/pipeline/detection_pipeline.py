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

"""One model, loaded: an image in, detections out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import time
from types import MappingProxyType
from typing import Any
from typing import Callable
from typing import Mapping

from c7_inference_ros.config import ModelConfig
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.pipeline.engine_processing import with_processing
from c7_inference_ros.pipeline.model_contract import load_handle
from c7_inference_ros.pipeline.model_contract import ModelContract
from c7_inference_ros.pipeline.model_contract import resolve_contract
from c7_inference_ros.runtime.base import EngineHandle
from c7_inference_ros.runtime.base import InferenceRuntime
from c7_inference_ros.runtime.base import TensorMap
from c7_inference_ros.vision.decoders.base import Decoder
from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.images import SourceImage
from c7_inference_ros.vision.labels import Labels
from c7_inference_ros.vision.letterbox import ImageGeometry
from c7_inference_ros.vision.preprocess import Preprocessor
from c7_inference_ros.vision.preprocess import PreprocessSpec
from c7_inference_ros.vision.settings import detection_settings
from c7_inference_ros.vision.settings import DetectionSettings
import numpy as np
import numpy.typing as npt


@dataclass(slots=True)
class StageTimings:
    """
    How long the stages of one detection took, seconds; filled in by the pipeline.

    :param preprocess_s: pixels to input tensor.
    :param inference_s: the runtime.
    :param decode_s: output tensors to detections in source pixels.
    """

    preprocess_s: float = 0.0
    inference_s: float = 0.0
    decode_s: float = 0.0


class DetectionPipeline:
    """
    A loaded model with its preprocessing, decoder, labels and settings.

    Made by :meth:`load`. Everything but :meth:`settings_for`, :meth:`apply_settings` and the
    properties belongs to the thread that owns the runtime.
    """

    def __init__(self, runtime: InferenceRuntime, handle: EngineHandle, contract: ModelContract,
                 config: ModelConfig,
                 clock_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        """Allocate what every frame needs; :meth:`load` checks first."""
        self._runtime = runtime
        self._handle = handle
        self._contract = contract
        self._name = config.name
        self._settings = contract.settings
        self._clock_ns = clock_ns
        self._preprocessor = Preprocessor(contract.spec)
        self._tensor = _input_tensor(handle, contract, self._preprocessor.shape)
        self._feed: dict[str, npt.NDArray[Any]] = {contract.image_input: self._tensor}

    @classmethod
    def load(cls, runtime: InferenceRuntime, config: ModelConfig, path: Path,
             labels_path: Path | None = None,
             extras: Mapping[str, Any] | None = None) -> DetectionPipeline:
        """
        Load a model and check it against its configuration.

        :param path: the model file, found.
        :param labels_path: the labels file, found; ``config.labels`` as it stands when None.
        :param extras: settings for the runtime, by name.
        :raises ConfigurationError: with one line for everything that does not fit; the model is
            released.
        :raises InferenceRuntimeError: the model does not load.
        """
        handle = load_handle(runtime, config, path, extras or {})
        try:
            config = with_processing(config, handle.processing)
            contract = resolve_contract(handle, config, labels_path)
            return cls(runtime, handle, contract, config)
        except BaseException:
            runtime.release_engine(handle)
            raise

    @property
    def name(self) -> str:
        """Name of the model in parameters and topics."""
        return self._name

    @property
    def handle(self) -> EngineHandle:
        """The loaded model."""
        return self._handle

    @property
    def feed(self) -> TensorMap:
        """The input tensors as the latest :meth:`prepare` left them; of the pipeline."""
        return MappingProxyType(self._feed)

    @property
    def spec(self) -> PreprocessSpec:
        """What is done to an image."""
        return self._contract.spec

    @property
    def decoder(self) -> Decoder:
        """What reads the outputs."""
        return self._contract.decoder

    @property
    def labels(self) -> Labels:
        """Class names."""
        return self._contract.labels

    @property
    def settings(self) -> DetectionSettings:
        """Thresholds and filters in force."""
        return self._settings

    def describe(self) -> dict[str, Any]:
        """Return what the pipeline is, for logs and diagnostics: text and numbers by name."""
        spec = self.spec
        return {
            'model': self._handle.name, 'decoder': self.decoder.name,
            'input': f'{self._contract.image_input} {spec.dtype.name} '
                     f'{"x".join(map(str, self._tensor.shape))}',
            'network_width': spec.width, 'network_height': spec.height, 'layout': spec.layout,
            'resize': spec.resize, 'color_order': spec.color_order,
            'classes': len(self.labels), 'labels': self.labels.source,
            'nms': 'here' if self.decoder.needs_nms else 'in the model'}

    def settings_for(self, config: ModelConfig) -> DetectionSettings:
        """
        Check dynamic settings without using them; any thread.

        :raises ConfigurationError: with one line for everything that is wrong.
        """
        return detection_settings(config, self.labels, f'models.{self._name}')

    def apply_settings(self, config: ModelConfig) -> None:
        """
        Use other dynamic settings from the next decode on; any thread.

        :raises ConfigurationError: and the settings stay as they are.
        """
        self._settings = self.settings_for(config)

    def prepare(self, image: SourceImage) -> ImageGeometry:
        """
        Write an image into the input tensors and return where it lies in them.

        :raises InferenceError: the model was released.
        """
        if self._handle.is_released:
            raise InferenceError(f'{self._handle.name} was released; load it before running it')
        geometry = self._preprocessor(image, self._tensor)
        for name, dtype in self._contract.extra_inputs.items():
            self._feed[name] = self.decoder.extra_input(name, geometry, dtype)
        return geometry

    def infer(self) -> TensorMap:
        """
        Run the model on what :meth:`prepare` wrote.

        :returns: output arrays by name, valid until the next call.
        :raises InferenceError: the runtime failed.
        """
        return self._runtime.infer(self._handle, self._feed)

    def decode(self, outputs: TensorMap, geometry: ImageGeometry) -> Detections:
        """Return the detections in the outputs, in source pixels, best first."""
        return self.decoder.decode(outputs, geometry, self._settings)

    def detect(self, image: SourceImage, timings: StageTimings | None = None) -> Detections:
        """
        Return what the model sees in an image.

        :param timings: filled with the durations of the stages.
        :returns: boxes in pixels of the image, best first.
        :raises InferenceError: the runtime failed, or its outputs are not what was promised.
        """
        clock_ns = self._clock_ns
        began_ns = clock_ns()
        geometry = self.prepare(image)
        prepared_ns = clock_ns()
        outputs = self.infer()
        inferred_ns = clock_ns()
        detections = self.decode(outputs, geometry)
        if timings is not None:
            timings.preprocess_s = (prepared_ns - began_ns) / 1e9
            timings.inference_s = (inferred_ns - prepared_ns) / 1e9
            timings.decode_s = (clock_ns() - inferred_ns) / 1e9
        return detections

    def warm_up(self, rounds: int = 2) -> None:
        """
        Run black images through all stages, so that the first real one is as fast as the rest.

        :param rounds: number of images.
        :raises ConfigurationError: the decoder cannot read what the model really answers.
        :raises InferenceError: the runtime failed.
        """
        image = SourceImage(np.zeros((self.spec.height, self.spec.width, 3), np.uint8), 'bgr8')
        for _ in range(rounds):
            geometry = self.prepare(image)
            outputs = self.infer()
            try:
                self.decode(outputs, geometry)
            except (InferenceError, ArithmeticError, LookupError, ValueError) as error:
                found = ', '.join(f'{name} {array.dtype} {list(array.shape)}'
                                  for name, array in outputs.items())
                raise ConfigurationError(
                    f'models.{self._name}.decoder {self.decoder.name} cannot read what the model '
                    f'answers ({type(error).__name__}: {error}): found {found}; choose another '
                    f'decoder or model') from error

    def release(self) -> None:
        """Give the model back; idempotent."""
        # The tensor may lie in memory of the runtime, which waits for whoever still holds it.
        self._feed = {}
        self._tensor = np.empty(0, self.spec.dtype)
        self._runtime.release_engine(self._handle)


def _input_tensor(handle: EngineHandle, contract: ModelContract,
                  shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return where images are written: the runtime's own page-locked memory where it has some."""
    view = getattr(handle, 'input_view', None)
    if view is None:
        return np.zeros(shape, contract.spec.dtype)
    tensor: npt.NDArray[Any] = view(contract.image_input, shape)
    return tensor
