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

"""What one network wants done to an image: the user's settings, checked against the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.parameter_groups import PreprocessConfig
import numpy as np

_DTYPES = ('float32', 'float16', 'uint8')
_MAX_SIDE = 16384


@dataclass(frozen=True)
class PreprocessSpec:
    """
    Everything that turns an image into an input; network value = (pixel * scale - mean) / std.

    :param resize: ``letterbox`` or ``stretch``.
    :param anchor: ``center`` or ``top_left``, where a letterboxed picture lies.
    :param interpolation: ``linear``, or ``area`` to average pixels where the image shrinks.
    :param pad_value: pixel value of the padding, 0 to 255.
    :param color_order: ``rgb`` or ``bgr``.
    :param mean: three values in the network's colour order; the first for a grey network.
    :param std: as ``mean``.
    :param layout: ``nchw`` or ``nhwc``.
    :param dtype: element type of the input.
    :param width: columns of the input.
    :param height: rows of the input.
    :param channels: 3, or 1 for a network that looks at grey pictures.
    """

    resize: str
    anchor: str
    interpolation: str
    pad_value: int
    color_order: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: str
    dtype: np.dtype[Any]
    width: int
    height: int
    channels: int = 3

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the input tensor, one image."""
        if self.layout == 'nchw':
            return (1, self.channels, self.height, self.width)
        return (1, self.height, self.width, self.channels)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for manifests and summaries."""
        return {**self.__dict__, 'dtype': self.dtype.name, 'mean': list(self.mean),
                'std': list(self.std)}


def resolve_preprocess(config: PreprocessConfig, shape: tuple[int, ...], dtype: np.dtype[Any],
                       full_name: str) -> PreprocessSpec:
    """
    Join the settings of a model with what the model itself says of its input.

    :param shape: shape of the model's image input, -1 for what it leaves open.
    :param dtype: element type of the model's image input.
    :param full_name: full name of the settings, ``models.<name>.preprocess``.
    :raises ConfigurationError: with one line for each contradiction or missing value.
    """
    shown = f'[{", ".join("?" if side < 0 else str(side) for side in shape)}]'
    if len(shape) != 4 or shape[0] not in (1, -1):
        raise ConfigurationError(
            f'the image input of the model of {full_name} has shape {shown}, expected one image '
            f'as [1, 3, height, width] or [1, height, width, 3]; export the model with batch 1 '
            f'or an open batch')
    layout, problem = _layout(config.layout, shape, shown, full_name)
    if problem:
        raise ConfigurationError(problem)
    at = (1, 2, 3) if layout == 'nchw' else (3, 1, 2)
    channels, model_height, model_width = (shape[index] for index in at)
    problems: list[str] = []
    sides: dict[str, int] = {}
    for name, wanted, model in (('width', config.width, model_width),
                                ('height', config.height, model_height)):
        sides[name] = model if model > 0 else wanted
        if model > 0 and wanted not in (0, model):
            problems.append(
                f'{full_name}.{name} is {wanted}, but the model has {shown} ({layout}) and takes '
                f'only {model}; set it to 0 or {model}')
        elif model <= 0 and wanted == 0:
            problems.append(
                f'{full_name}.{name} is 0, but the model leaves it open with {shown} '
                f'({layout}); set it to the size that the model was trained with')
        elif model > _MAX_SIDE:
            problems.append(f'the image input of the model of {full_name} has shape {shown}, '
                            f'expected sides of at most {_MAX_SIDE}')
    problems += _dtype_problems(config, dtype, full_name)
    if problems:
        raise ConfigurationError(problems)
    return PreprocessSpec(
        config.resize, config.anchor, config.interpolation, config.pad_value,
        config.color_order, config.scale, tuple(config.mean), tuple(config.std), layout,
        np.dtype(dtype), sides['width'], sides['height'], 1 if channels == 1 else 3)


def _layout(wanted: str, shape: tuple[int, ...], shown: str, full_name: str
            ) -> tuple[str, str | None]:
    """Return the layout and None, or what is wrong."""
    by_index = {'nchw': shape[1], 'nhwc': shape[3]}
    if wanted != 'auto':
        if by_index[wanted] in (1, 3, -1):
            return wanted, None
        return wanted, (f'{full_name}.layout is {wanted}, but the model has {shown} with '
                        f'{by_index[wanted]} channels there, expected 3 or 1; set it to auto')
    for count in (3, 1):
        fitting = [layout for layout, channels in by_index.items() if channels == count]
        if len(fitting) == 1:
            return fitting[0], None
        if fitting:
            break
    why = 'could be both' if fitting else 'shows no 3 or 1 channels'
    return wanted, (f'{full_name}.layout is auto, but the model has {shown}, which {why}; set it '
                    f'to nchw or nhwc')


def _dtype_problems(config: PreprocessConfig, dtype: np.dtype[Any], full_name: str) -> list[str]:
    name = np.dtype(dtype).name
    if name not in _DTYPES:
        return [f'the image input of the model of {full_name} is {name}, expected one of '
                f'{", ".join(_DTYPES)}; export the model with one of these']
    problems = []
    if config.dtype not in ('auto', name):
        problems.append(f'{full_name}.dtype is {config.dtype}, but the model takes {name}; set '
                        f'it to auto or {name}')
    if config.scale <= 0.0:
        problems.append(f'{full_name}.scale is {config.scale:g}, which makes every pixel the '
                        f'same; expected more than 0')
    if name == 'uint8':
        if (config.scale, *config.mean, *config.std) != (1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0):
            problems.append(
                f'{full_name} has scale {config.scale:g}, mean {list(config.mean)} and std '
                f'{list(config.std)}, but the model takes uint8, whole pixel values; set scale '
                f'to 1.0, mean to 0.0 and std to 1.0')
    else:
        largest = max(abs((pixel * config.scale - mean) / std) for pixel in (0, 255)
                      for mean, std in zip(config.mean, config.std))
        limit = float(np.finfo(dtype).max)
        if largest > limit:
            problems.append(
                f'{full_name} has scale {config.scale:g}, mean {list(config.mean)} and std '
                f'{list(config.std)}, which give values of {largest:g}, expected at most '
                f'{limit:g} for {name}')
    return problems
