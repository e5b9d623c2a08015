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
What models of a family usually want done to an image.

A model file does not say how its images were prepared in training, and a wrong guess costs
accuracy without an error. These are starting points for a model whose settings nobody wrote
down: the node never applies them by itself, tools write them into a YAML file for the user to
check.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Mapping
from typing import Union

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.parameter_spec import nearest

Value = Union[str, int, float, 'tuple[float, ...]']

_UNIT = 1.0 / 255.0
_ZERO, _ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def _wants(resize: str, color_order: str, scale: float, *, anchor: str = 'center',
           interpolation: str = 'linear', mean: tuple[float, ...] = _ZERO,
           std: tuple[float, ...] = _ONE) -> Mapping[str, Value]:
    return MappingProxyType({
        'resize': resize, 'interpolation': interpolation, 'anchor': anchor,
        'pad_value': 114, 'color_order': color_order, 'scale': scale, 'mean': mean, 'std': std})


_USUAL: Mapping[str, tuple[Mapping[str, Value], str]] = {
    'yolox': (
        _wants('letterbox', 'bgr', 1.0, anchor='top_left'),
        'YOLOX, yolox/data/data_augment.py: preproc; models from before version 0.1.1 want '
        "rgb, 1/255 and ImageNet's mean and std instead (its option legacy)"),
    'yolov5': (
        _wants('letterbox', 'rgb', _UNIT),
        'ultralytics/yolov5, utils/augmentations.py: letterbox; utils/dataloaders.py'),
    'yolov8': (
        _wants('letterbox', 'rgb', _UNIT),
        'ultralytics, ultralytics/data/augment.py: LetterBox; engine/predictor.py: preprocess'),
    'yolov10': (
        _wants('letterbox', 'rgb', _UNIT),
        'THU-MIG/yolov10, which prepares images as Ultralytics YOLOv8 does'),
    'detr': (
        _wants('stretch', 'rgb', _UNIT),
        'RT-DETR, D-FINE and DEIM: Resize and ToTensor of their validation transforms; DEIMv2 '
        "with a DINOv3 backbone (S to X) wants ImageNet's mean and std as well"),
    'efficient_nms': (
        _wants('letterbox', 'rgb', _UNIT),
        'the TensorRT plugin EfficientNMS is mostly exported behind Ultralytics models; taken '
        'from yolov8'),
    'tf_detection': (
        _wants('stretch', 'rgb', 1.0),
        'TensorFlow object detection API, exporter: raw uint8 RGB in, resized in the graph'),
    'ssd': (
        _wants('stretch', 'rgb', 1.0, interpolation='area', mean=(127.5, 127.5, 127.5),
               std=(127.5, 127.5, 127.5)),
        "models/README.md: the shipped person detector, TensorFlow's MobileNet SSD"),
}


def usual_preprocess(decoder_name: str) -> Mapping[str, Value]:
    """
    Return the usual preprocessing of a family of models.

    :param decoder_name: a decoder of the registry, not ``auto``.
    :returns: values of the parameters under ``models.<name>.preprocess``; layout, dtype and
        size are left to the model.
    :raises ConfigurationError: for a name that is no decoder.
    """
    return _of(decoder_name)[0]


def usual_preprocess_source(decoder_name: str) -> str:
    """
    Return where :func:`usual_preprocess` has its values from, one line for a user to check.

    :param decoder_name: a decoder of the registry, not ``auto``.
    :raises ConfigurationError: for a name that is no decoder.
    """
    return _of(decoder_name)[1]


def _of(decoder_name: str) -> tuple[Mapping[str, Value], str]:
    try:
        return _USUAL[decoder_name]
    except KeyError:
        near = nearest(decoder_name, _USUAL)
        hint = f'; did you mean {near!r}?' if near else ''
        raise ConfigurationError(
            f'no usual preprocessing is known for decoder {decoder_name!r}, expected one of '
            f'{", ".join(_USUAL)}{hint}') from None
