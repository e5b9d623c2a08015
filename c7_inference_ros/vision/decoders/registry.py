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

"""Choose a decoder by name, or by the outputs of the model where they leave no doubt."""

from __future__ import annotations

from types import ModuleType
from typing import Mapping
from typing import Sequence

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.vision.decoders import detr
from c7_inference_ros.vision.decoders import efficient_nms
from c7_inference_ros.vision.decoders import ssd
from c7_inference_ros.vision.decoders import tf_detection
from c7_inference_ros.vision.decoders import yolov10
from c7_inference_ros.vision.decoders import yolov5
from c7_inference_ros.vision.decoders import yolov8
from c7_inference_ros.vision.decoders import yolox
from c7_inference_ros.vision.decoders.base import Decoder
from c7_inference_ros.vision.decoders.base import ModelSignature
from c7_inference_ros.vision.decoders.base import OutputSpec
from c7_inference_ros.vision.decoders.shapes import MismatchError

AUTO = 'auto'
_MODULES: Mapping[str, ModuleType] = {
    'yolox': yolox, 'yolov5': yolov5, 'yolov8': yolov8, 'yolov10': yolov10, 'detr': detr,
    'efficient_nms': efficient_nms, 'tf_detection': tf_detection, 'ssd': ssd}
#: What each decoder reads, by its name.
EXPECTED_OUTPUTS: Mapping[str, str] = {
    name: module.EXPECTS for name, module in _MODULES.items()}


def select_decoder(name: str, inputs: Sequence[OutputSpec], outputs: Sequence[OutputSpec],
                   network_wh: tuple[int, int], full_name: str) -> Decoder:
    """
    Return the decoder of a model.

    :param name: ``auto`` or a name of :data:`EXPECTED_OUTPUTS`.
    :param inputs: every input of the model, the image among them.
    :param outputs: every output of the model.
    :param network_wh: width and height of the image input, in pixels.
    :param full_name: full parameter name, for example ``models.detector.decoder``.
    :raises ConfigurationError: when the name is not known, the outputs are not what the decoder
        reads, or ``auto`` cannot tell.
    """
    model = ModelSignature(tuple(inputs), tuple(outputs), network_wh, full_name)
    if name == AUTO:
        return _inspect(model)
    if name not in _MODULES:
        raise ConfigurationError(f'{full_name} is {name!r}, expected one of '
                                 f'{", ".join((AUTO, *_MODULES))}')
    found = _try(name, model, is_certain=False)
    if isinstance(found, str):
        others = _fitting(model)
        hint = f'set {full_name} to {" or ".join(others)}' if others else 'use another model'
        raise ConfigurationError(
            f'{full_name} is {name}, and the outputs of the model do not fit: {found}; {name} '
            f'reads {EXPECTED_OUTPUTS[name]}; {hint}')
    return found


def _inspect(model: ModelSignature) -> Decoder:
    found = {name: _try(name, model, is_certain=True) for name in _MODULES}
    certain = [decoder for decoder in found.values() if not isinstance(decoder, str)]
    if len(certain) == 1:
        return certain[0]
    tensors = ', '.join(map(str, model.outputs))
    possible = _fitting(model)
    if possible:
        raise ConfigurationError(
            f'{model.full_name} is auto, and the outputs of the model do not tell what they mean: '
            f'{tensors} found for an input of {model.network_wh[0]}x{model.network_wh[1]}; set '
            f'{model.full_name} to {_expectations(possible)}')
    raise ConfigurationError(
        f'{model.full_name} is auto, and no decoder reads the outputs of the model: {tensors} '
        f'found, expected {_expectations(list(_MODULES))}; export the model in one of these forms')


def _expectations(names: Sequence[str]) -> str:
    return ', or '.join(f'{name} ({EXPECTED_OUTPUTS[name]})' for name in names)


def _fitting(model: ModelSignature) -> list[str]:
    return [name for name in _MODULES
            if not isinstance(_try(name, model, is_certain=False), str)]


def _try(name: str, model: ModelSignature, is_certain: bool) -> Decoder | str:
    """Return the decoder, or why it does not fit."""
    try:
        decoder: Decoder = _MODULES[name].match(model, is_certain)
        return decoder
    except MismatchError as error:
        return str(error)
