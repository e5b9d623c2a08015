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

"""Shapes of outputs for shapes of inputs, asked of ONNX Runtime."""

from __future__ import annotations

from typing import Any
from typing import Mapping

import numpy as np
from trt_plan import NUMPY
from trt_plan import Plan


def compute(plan: Plan, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Run the model."""
    names = [tensor.name for tensor in plan.tensors if not tensor.is_input]
    values = plan.session.run(names, dict(inputs))
    return dict(zip(names, (np.ascontiguousarray(value) for value in values)))


def output_shapes(plan: Plan, shapes: Mapping[str, Any],
                  host_values: Mapping[str, Any]) -> dict[str, list[int]]:
    """
    Return the shape of every output; -1 where it depends on data.

    :param shapes: of every input.
    :param host_values: of the inputs that are shape tensors.
    """
    outputs = [tensor for tensor in plan.tensors if not tensor.is_input]
    fixed = {one.name: list(one.shape) for one in outputs}
    if all(one.depends_on_data or -1 not in one.shape for one in outputs):
        return fixed
    key = (tuple(sorted((name, tuple(shape)) for name, shape in shapes.items())),
           tuple(sorted((name, value.tobytes()) for name, value in host_values.items())))
    known: dict[Any, dict[str, list[int]]] = plan.__dict__.setdefault('_known_shapes', {})
    if key not in known:
        inputs = {one.name: host_values.get(
            one.name, np.zeros(shapes[one.name], NUMPY[one.dtype]))
            for one in plan.tensors if one.is_input}
        found = compute(plan, inputs)
        known[key] = {one.name: ([-1] * len(one.shape) if one.depends_on_data
                                 else list(found[one.name].shape)) for one in outputs}
    return known[key]


def nbytes(dtype: str, shape: Any) -> int:
    """Return the bytes of a tensor."""
    return int(np.dtype(NUMPY[dtype]).itemsize * np.prod(shape, dtype=np.int64))
