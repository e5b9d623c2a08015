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

"""How many cells the heads of the YOLO family have for a network input."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Strides of the common heads: three levels, and four for large inputs.
STRIDE_SETS = ((8, 16, 32), (8, 16, 32, 64))


def strides_by_count(network_wh: tuple[int, int]) -> dict[int, tuple[int, ...]]:
    """
    Return the strides of the heads that fit a network input, by their number of cells.

    :param network_wh: width and height in pixels.
    """
    width, height = network_wh
    return {sum((width // stride) * (height // stride) for stride in strides): strides
            for strides in STRIDE_SETS if width % strides[-1] == 0 and height % strides[-1] == 0}


def make_grid(network_wh: tuple[int, int], strides: tuple[int, ...]
              ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """
    Return column and row of each cell, float32 [N, 2], and its stride in pixels, float32 [N, 1].

    :param network_wh: width and height in pixels, multiples of every stride.
    """
    cells, sizes = [], []
    for stride in strides:
        rows, columns = np.indices((network_wh[1] // stride, network_wh[0] // stride),
                                   dtype=np.float32)
        cells.append(np.stack((columns.ravel(), rows.ravel()), axis=1))
        sizes.append(np.full((rows.size, 1), stride, dtype=np.float32))
    return np.concatenate(cells), np.concatenate(sizes)
