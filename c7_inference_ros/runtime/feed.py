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

"""The one check of what a runtime is fed, so that every runtime refuses in the same words."""

from __future__ import annotations

from typing import Any

from c7_inference_ros.errors import InferenceError
from c7_inference_ros.model_files.tensor_spec import TensorSpec
from c7_inference_ros.runtime.base import EngineHandle
from c7_inference_ros.runtime.base import TensorMap
import numpy as np


def check_feed(handle: EngineHandle, inputs: TensorMap) -> None:
    """
    Check the inputs of one inference.

    :raises InferenceError: a name, element type, shape or memory layout is not the model's; one
        line for everything.
    """
    problems = [problem for spec in handle.inputs
                if (problem := _problem(spec, inputs.get(spec.name)))]
    if len(inputs) > len(handle.inputs) or problems:
        names = {spec.name for spec in handle.inputs}
        problems += [f'{name!r} is no input of the model' for name in inputs if name not in names]
    if problems:
        expected = ', '.join(_expected(spec) for spec in handle.inputs) or 'no input'
        raise InferenceError(f'{handle.name}: {"; ".join(problems)}; the model takes {expected}')


def _problem(spec: TensorSpec, value: Any) -> str:
    if value is None:
        return f'input {spec.name!r} is missing'
    if not isinstance(value, np.ndarray):
        return f'input {spec.name!r} is a {type(value).__name__}, expected a NumPy array'
    if value.dtype != spec.dtype or not _fits(spec, value.shape):
        return (f'input {spec.name!r} is {value.dtype} {list(value.shape)}, '
                f'expected {_expected(spec)}')
    if not value.flags.c_contiguous:
        return f'input {spec.name!r} is not C-contiguous; pass numpy.ascontiguousarray of it'
    return ''


def _fits(spec: TensorSpec, shape: tuple[int, ...]) -> bool:
    if shape == spec.shape:
        return True
    largest = spec.max_shape or spec.shape
    return len(shape) == len(spec.shape) and all(
        size == fixed if fixed >= 0 else size >= 1 and (most < 0 or size <= most)
        for size, fixed, most in zip(shape, spec.shape, largest))


def _expected(spec: TensorSpec) -> str:
    """Describe an input; an open dimension with its largest size as 1..4."""
    largest = spec.max_shape or spec.shape
    sizes = [str(fixed) if fixed >= 0 else '?' if most < 0 else '1' if most == 1 else f'1..{most}'
             for fixed, most in zip(spec.shape, largest)]
    return f'{spec.name} {spec.dtype} [{", ".join(sizes)}]'
