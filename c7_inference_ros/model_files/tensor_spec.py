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

"""What is known of one input or output of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class TensorSpec:
    """
    One input or output tensor of a model.

    :param name: tensor name in the model.
    :param dtype: NumPy dtype of an element.
    :param shape: dimensions; -1 where the model leaves one open.
    :param max_shape: largest shape that will be used, open dimensions resolved where known.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    max_shape: tuple[int, ...] = ()

    @property
    def max_bytes(self) -> int | None:
        """Bytes of the tensor at its largest shape; None while a dimension is open."""
        shape = self.max_shape or self.shape
        if any(size < 0 for size in shape):
            return None
        return int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize
