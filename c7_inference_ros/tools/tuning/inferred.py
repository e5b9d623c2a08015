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

"""The model that is tuned: its raw outputs once, its detections for any thresholds."""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType
from typing import Any
from typing import Callable

from c7_inference_ros.config import ModelConfig
from c7_inference_ros.config import NodeConfig
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import ImageError
from c7_inference_ros.parameter_spec import nearest
from c7_inference_ros.pipeline.loaded_models import LoadedModels
from c7_inference_ros.pipeline.scheduler import FrameScheduler
from c7_inference_ros.tools.evaluation.association import associate
from c7_inference_ros.tools.evaluation.evaluation import judged_truth
from c7_inference_ros.tools.evaluation.ground_truth import class_map
from c7_inference_ros.tools.evaluation.ground_truth import FrameTruth
from c7_inference_ros.tools.evaluation.ground_truth import GroundTruth
from c7_inference_ros.tools.tuning.samples import Samples
from c7_inference_ros.tools.tuning.tensor_store import TensorStore
from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.images import SourceImage
from c7_inference_ros.vision.labels import Labels
from c7_inference_ros.vision.letterbox import ImageGeometry
from c7_inference_ros.vision.settings import DetectionSettings
import numpy as np
from numpy.typing import NDArray

_INFERENCE_TIMEOUT_S = 600.0
_RELEASE_TIMEOUT_S = 10.0


def model_of(config: NodeConfig, name: str, path: str) -> str:
    """
    Return which model is meant.

    :param name: what the user says; may be empty where there is one model.
    :param path: of the parameter file, for messages.
    """
    names = ', '.join(config.model_names)
    if name and name not in config.models:
        near = nearest(name, config.model_names)
        hint = f'; did you mean {near}?' if near else ''
        raise ConfigurationError(f'--model-name is {name!r}, but {path} has {names}{hint}')
    if not name and len(config.model_names) > 1:
        raise ConfigurationError(f'{path} has {len(config.model_names)} models ({names}); say '
                                 f'which one is meant with --model-name')
    return name or config.model_names[0]


class TunedModel:
    """
    One model of a parameter file, loaded as the node does. A context manager.

    :param config: of the node.
    :param name: of the model.
    :raises ConfigurationError: it cannot be used.
    :raises InferenceRuntimeError: it does not load.
    """

    def __init__(self, config: NodeConfig, name: str) -> None:
        """Load it."""
        self.config: ModelConfig = config.models[name]
        only = replace(config, model_names=(name,), models={name: self.config})
        self._models = LoadedModels(only, FrameScheduler(config.camera_names), None)
        self._pipeline = self._models.pipelines[name]

    def __enter__(self) -> TunedModel:
        """Return it."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Give it back."""
        self._models.release(_RELEASE_TIMEOUT_S)

    @property
    def labels(self) -> Labels:
        """Class names."""
        return self._pipeline.labels

    @property
    def needs_nms(self) -> bool:
        """Whether boxes are suppressed behind the model, with ``nms_threshold``."""
        return self._pipeline.decoder.needs_nms

    def settings(self, **changes: Any) -> DetectionSettings:
        """Return what the decoder keeps, with some parameters changed."""
        return self._pipeline.settings_for(replace(self.config, **changes))

    def infer(self, image: SourceImage) -> tuple[dict[str, NDArray[Any]], ImageGeometry]:
        """
        Return a copy of the raw outputs, and where the picture lay in the input.

        :raises InferenceError: the model fails.
        """
        def run() -> tuple[dict[str, NDArray[Any]], ImageGeometry]:
            geometry = self._pipeline.prepare(image)
            outputs = self._pipeline.infer()
            return {name: np.array(array) for name, array in outputs.items()}, geometry
        return self._models.worker.call(run, _INFERENCE_TIMEOUT_S)

    def decode(self, outputs: dict[str, NDArray[Any]], geometry: ImageGeometry,
               settings: DetectionSettings) -> Detections:
        """Return the detections; a pure function, in any thread."""
        return self._pipeline.decoder.decode(outputs, geometry, settings)


class InferredSamples:
    """
    What a model answered for each labelled picture, ready to be decoded again and again.

    :param model: that is tuned.
    :param store: where the raw outputs are kept.
    :param truth: all ground truth.
    :raises ConfigurationError: the model and the ground truth have no class in common.
    """

    def __init__(self, model: TunedModel, store: TensorStore, truth: GroundTruth,
                 least_overlap: float) -> None:
        """Begin without pictures."""
        self._model = model
        self._store = store
        self._least_overlap = least_overlap
        self.classes = truth.classes
        common, self.problems = class_map(truth, model.labels.names)
        names = model.labels.names
        published = model.settings().class_mask
        #: Classes that are labelled, known to the model and published.
        self.common = frozenset(index for index in common
                                if published[names.index(truth.classes[index])])
        class_of = {truth.classes[index]: index for index in self.common}
        #: Index into the classes of the ground truth by class id of the model; -1 without one.
        self._class_of = np.array([class_of.get(name, -1) for name in names] or [-1], np.int64)
        #: Class id of the model by index of the class.
        self.id_of = {index: names.index(truth.classes[index]) for index in self.common}
        self.keys: list[tuple[str, Any]] = []
        self._truths: list[FrameTruth] = []
        self._geometries: list[ImageGeometry] = []

    def __len__(self) -> int:
        """Return how many pictures were inferred."""
        return len(self.keys)

    def collect(self, samples: Samples, progress: Callable[[int, int], None]) -> None:
        """
        Infer every labelled picture, once.

        :param progress: told how many of how many pictures are done.
        :raises ConfigurationError: the ground truth is of other pictures, or one is broken.
        """
        broken = []
        for done, sample in enumerate(samples, 1):
            try:
                image = sample.read()
            except ImageError as error:
                broken.append(f'{sample.name} ({error})')
                continue
            outputs, geometry = self._model.infer(image)
            self._store.add(outputs)
            self.keys.append((sample.camera, sample.key))
            self._truths.append(judged_truth(sample.truth, self.common))
            self._geometries.append(geometry)
            progress(done, len(samples))
        self.problems += samples.problems()
        if broken:
            self.problems.append(f'{len(broken)} labelled frames cannot be read and are left '
                                 f'out, first {broken[0]}')
        if not self.keys:
            raise ConfigurationError('no labelled picture could be read; look at the lines above')

    def truth(self, number: int) -> FrameTruth:
        """Return what is in a picture, of the classes that the model has."""
        return self._truths[number]

    def judge(self, number: int, settings: DetectionSettings
              ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """
        Decode a picture and find out which detections are right.

        :returns: class, score and object (see
            :func:`~c7_inference_ros.tools.evaluation.association.associate`) of each detection of
            a class that is labelled.
        """
        found = self._model.decode(self._store.get(number), self._geometries[number], settings)
        ids = found.class_ids
        known = (ids >= 0) & (ids < len(self._class_of))
        classes = np.full(len(ids), -1, np.int64)
        classes[known] = self._class_of[ids[known]]
        judged = classes >= 0
        classes, scores = classes[judged], found.scores[judged]
        objects = associate(found.boxes[judged].astype(np.float64), scores, classes,
                            self._truths[number], self._least_overlap)
        return classes, scores, objects
