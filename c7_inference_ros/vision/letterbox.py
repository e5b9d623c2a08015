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
Where the pixels of an image lie in the input of a network, and the way back.

Coordinates are continuous: (0, 0) is the outer corner of the first pixel, as ``cv2.resize``
has it, so ``network = source * scale + pad`` holds exactly with the scale of each axis after
rounding to whole pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageGeometry:
    """
    One image in a network input; ``network = source * scale + pad``, in pixels.

    :param scale_x: columns that the picture has in the network input, per source column.
    :param scale_y: rows that the picture has in the network input, per source row.
    :param pad_x: whole columns of padding on the left.
    :param pad_y: whole rows of padding above.
    """

    source_width: int
    source_height: int
    network_width: int
    network_height: int
    scale_x: float
    scale_y: float
    pad_x: float
    pad_y: float

    @property
    def picture_width(self) -> int:
        """Columns of the network input that show the picture."""
        return round(self.source_width * self.scale_x)

    @property
    def picture_height(self) -> int:
        """Rows of the network input that show the picture."""
        return round(self.source_height * self.scale_y)

    def boxes_to_network(self, boxes: NDArray[Any]) -> NDArray[np.float32]:
        """
        Return boxes of the source image in network pixels.

        :param boxes: ``[N, 4]``, (x1, y1, x2, y2).
        :returns: a new float32 ``[N, 4]``.
        """
        moved = boxes * _twice(self.scale_x, self.scale_y) + _twice(self.pad_x, self.pad_y)
        return np.asarray(moved, np.float32)

    def boxes_to_source(self, boxes: NDArray[Any]) -> NDArray[np.float32]:
        """
        Return boxes of the network input in source pixels, clipped to the image.

        :param boxes: ``[N, 4]``, (x1, y1, x2, y2); NaN stays NaN.
        :returns: a new float32 ``[N, 4]``.
        """
        moved = (boxes - _twice(self.pad_x, self.pad_y)) / _twice(self.scale_x, self.scale_y)
        np.clip(moved, 0.0, _twice(self.source_width, self.source_height), out=moved)
        return np.asarray(moved, np.float32)


def letterbox_geometry(source_wh: tuple[int, int], network_wh: tuple[int, int],
                       anchor: str) -> ImageGeometry:
    """
    Place an image in a network input, its aspect ratio kept.

    Rounding is that of the projects whose models were trained with it: ``top_left`` that of
    YOLOX (sizes truncated), ``center`` that of Ultralytics (sizes rounded, an odd row or column
    of padding goes below or to the right).

    :param source_wh: width and height of the image, at least 1.
    :param network_wh: width and height of the network input, at least 1.
    :param anchor: ``center`` or ``top_left``.
    """
    ratio = min(network_wh[0] / source_wh[0], network_wh[1] / source_wh[1])
    if anchor == 'top_left':
        # An image of an extreme aspect ratio would lose its short side altogether.
        width, height = (max(1, int(side * ratio)) for side in source_wh)
        pad_x = pad_y = 0
    elif anchor == 'center':
        width, height = (max(1, round(side * ratio)) for side in source_wh)
        pad_x = max(0, round((network_wh[0] - width) / 2 - 0.1))
        pad_y = max(0, round((network_wh[1] - height) / 2 - 0.1))
    else:
        raise ValueError(f'anchor is {anchor!r}, expected center or top_left')
    return ImageGeometry(*source_wh, *network_wh, width / source_wh[0], height / source_wh[1],
                         pad_x, pad_y)


def stretch_geometry(source_wh: tuple[int, int], network_wh: tuple[int, int]) -> ImageGeometry:
    """Fill a network input with an image, each axis with its own scale; sizes as above."""
    return ImageGeometry(*source_wh, *network_wh, network_wh[0] / source_wh[0],
                         network_wh[1] / source_wh[1], 0, 0)


def _twice(x: float, y: float) -> NDArray[np.float64]:
    # float64: a float32 is not exact to a pixel where a long image is made very small.
    return np.array([x, y, x, y], np.float64)
