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

"""Models on real pictures through the package's own preprocessing and decoders, and their mAP."""

from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Dict
from typing import Iterable
from typing import Tuple

from c7_inference_ros.config import ModelConfig
from c7_inference_ros.parameter_groups import PreprocessConfig
from c7_inference_ros.tools import accuracy
from c7_inference_ros.tools.accuracy import LabelledPictures
from c7_inference_ros.vision.decoders.base import OutputSpec
from c7_inference_ros.vision.decoders.registry import select_decoder
from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.images import SourceImage
from c7_inference_ros.vision.labels import Labels
from c7_inference_ros.vision.labels import load_labels
from c7_inference_ros.vision.preprocess import Preprocessor
from c7_inference_ros.vision.preprocess import resolve_preprocess
from c7_inference_ros.vision.settings import detection_settings
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / 'shared'
PICTURES = SHARED / 'data' / 'coco_val_subset'
COCO_NAMES = SHARED / 'models' / 'coco80.txt'
_DTYPES = {'tensor(float)': np.float32, 'tensor(float16)': np.float16, 'tensor(uint8)': np.uint8,
           'tensor(int64)': np.int64, 'tensor(int32)': np.int32}


def need(*paths: Path) -> None:
    """Skip the test, naming the file, where a test input is absent."""
    for path in paths:
        if not path.exists():
            pytest.skip(f'../{path.relative_to(ROOT.parent)} is not here')


@dataclass(frozen=True)
class Recipe:
    """How a model is used, as a user would write it in the YAML."""

    path: Path
    preprocess: PreprocessConfig
    labels: Path = Path()
    decoder: str = 'auto'


YOLOX = Recipe(SHARED / 'models' / 'yolox_nano.onnx', PreprocessConfig(
    resize='letterbox', anchor='top_left', color_order='bgr', scale=1.0), COCO_NAMES)
DEIM = Recipe(SHARED / 'models' / 'deimv2_hgnetv2_atto_coco.onnx', PreprocessConfig(
    resize='stretch'), COCO_NAMES)
PEDESTRIAN = Recipe(SHARED / 'models' / 'pedestrian_ssdlite_tfod_nms.onnx', PreprocessConfig(
    resize='stretch', scale=1.0, width=300, height=300))
PERSON = Recipe(ROOT / 'models' / 'person_ssdlite.onnx', PreprocessConfig(
    resize='stretch', interpolation='area', scale=1.0, mean=(127.5,) * 3, std=(127.5,) * 3),
    decoder='ssd')


class Detector:
    """One ONNX model, run by onnxruntime alone: what is tested lies before and behind it."""

    def __init__(self, recipe: Recipe, **settings: Any) -> None:
        """
        Load and check a model.

        :param settings: fields of ModelConfig, such as ``score_threshold``.
        """
        onnxruntime = pytest.importorskip('onnxruntime')
        need(recipe.path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(recipe.path), options, providers=['CPUExecutionProvider'])
        inputs = [_spec(tensor) for tensor in self.session.get_inputs()]
        self.image_input, *self.other_inputs = sorted(inputs, key=lambda spec: -len(spec.shape))
        spec = resolve_preprocess(recipe.preprocess, self.image_input.shape,
                                  self.image_input.dtype, 'models.tested.preprocess')
        self.preprocessor = Preprocessor(spec)
        self.tensor = np.zeros(self.preprocessor.shape, spec.dtype)
        self.output_names = [tensor.name for tensor in self.session.get_outputs()]
        self.decoder = select_decoder(
            recipe.decoder, inputs, [_spec(tensor) for tensor in self.session.get_outputs()],
            (spec.width, spec.height), 'models.tested.decoder')
        labels = '' if recipe.labels == Path() else str(recipe.labels)
        if labels:
            need(recipe.labels)
        self.labels: Labels = load_labels(
            labels, self.session.get_modelmeta().custom_metadata_map, self.decoder.num_classes,
            'models.tested.labels')
        self.settings = detection_settings(
            ModelConfig(**settings), self.labels, 'models.tested')

    def __call__(self, image: SourceImage) -> Detections:
        """Return the detections of an image, in its pixels."""
        geometry = self.preprocessor(image, self.tensor)
        feeds = {self.image_input.name: self.tensor}
        for spec in self.other_inputs:
            feeds[spec.name] = self.decoder.extra_input(spec.name, geometry, spec.dtype)
        outputs = self.session.run(self.output_names, feeds)
        return self.decoder.decode(dict(zip(self.output_names, outputs)), geometry, self.settings)


class AnySizeDetector:
    """A model with open sizes that resizes images itself: it is given each in its own size."""

    def __init__(self, recipe: Recipe, **settings: Any) -> None:
        """Remember what the detectors for the single sizes are made of."""
        self._recipe = recipe
        self._settings = settings
        self._by_size: Dict[Tuple[int, int], Detector] = {}

    def __call__(self, image: SourceImage) -> Detections:
        """Return the detections of an image, in its pixels."""
        size = (image.width, image.height)
        if size not in self._by_size:
            preprocess = replace(self._recipe.preprocess, width=size[0], height=size[1])
            self._by_size[size] = Detector(
                replace(self._recipe, preprocess=preprocess), **self._settings)
        return self._by_size[size](image)


def _spec(tensor: Any) -> OutputSpec:
    shape = tuple(size if isinstance(size, int) else -1 for size in tensor.shape)
    return OutputSpec(tensor.name, shape, np.dtype(_DTYPES[tensor.type]))


def mean_average_precision(detector: Callable[[SourceImage], Detections], names: Iterable[str]
                           ) -> Tuple[float, float]:
    """
    Return mAP50-95 and mAP50 on the reference pictures.

    :param names: class names in the order of the model; others are not counted.
    """
    pytest.importorskip('pycocotools')
    need(PICTURES)
    pictures = LabelledPictures(PICTURES / 'images', PICTURES / 'instances.json')
    found = accuracy.mean_average_precision(pictures, detector, tuple(names))
    return found.map50_95, found.map50
