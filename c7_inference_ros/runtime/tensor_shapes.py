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

"""Settling the open dimensions of a model's tensors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from typing import Mapping
from typing import Sequence

from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.model_files.tensor_spec import TensorSpec


def resolve_shapes(path: Path, inputs: Sequence[TensorSpec],
                   extras: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    """
    Return inputs with their largest shapes: as given, or else for a batch of one.

    :param path: the model, for messages.
    :param extras: ``input_shapes`` (name to shape) is used.
    :raises EngineSchemaMismatchError: a shape that is given does not fit the model.
    """
    shapes: Mapping[str, Any] = extras.get('input_shapes', {})
    names = [spec.name for spec in inputs]
    for name in shapes:
        if name not in names:
            raise EngineSchemaMismatchError(
                f'{path}: input_shapes has {name!r}, the model has {", ".join(names)}; correct '
                f'the name')
    return tuple(_given(path, spec, tuple(int(size) for size in shapes[spec.name]))
                 if spec.name in shapes else one_image(spec) for spec in inputs)


def one_image(spec: TensorSpec) -> TensorSpec:
    """Return a tensor with an open first dimension, the number of images, settled as 1."""
    if spec.shape and spec.shape[0] < 0:
        return replace(spec, max_shape=(1, *spec.shape[1:]))
    return replace(spec, max_shape=spec.shape)


def _given(path: Path, spec: TensorSpec, shape: tuple[int, ...]) -> TensorSpec:
    if len(shape) != len(spec.shape) or any(
            size < 1 or fixed not in (-1, size) for size, fixed in zip(shape, spec.shape)):
        raise EngineSchemaMismatchError(
            f'{path}: input_shapes gives {spec.name} as {list(shape)}, the model has '
            f'{list(spec.shape)} with -1 for open; give a shape that fits')
    return replace(spec, max_shape=shape)
