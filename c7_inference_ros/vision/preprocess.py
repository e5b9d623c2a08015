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
From an image of any size and encoding to the input tensor of a network.

The picture is resized first, in its own encoding and still as bytes: everything after that
touches only network-sized data. Colour order, scale, mean, std, type and layout are then
applied in one pass that writes into the caller's tensor, by a table of 256 values per channel,
which is as exact as the element type allows.
"""

from __future__ import annotations

from typing import Any

from c7_inference_ros.vision.images import SourceImage
from c7_inference_ros.vision.letterbox import ImageGeometry
from c7_inference_ros.vision.letterbox import letterbox_geometry
from c7_inference_ros.vision.letterbox import stretch_geometry
from c7_inference_ros.vision.preprocess_spec import PreprocessSpec
from c7_inference_ros.vision.preprocess_spec import resolve_preprocess
import numpy as np
from numpy.typing import NDArray

__all__ = ['Preprocessor', 'PreprocessSpec', 'resolve_preprocess']


class Preprocessor:
    """
    Write images into the input tensor of one network.

    Buffers are as large as the network input and kept from one image to the next, so one
    instance serves one thread.

    :param spec: what the network expects.
    """

    def __init__(self, spec: PreprocessSpec) -> None:
        """Make the tables and buffers."""
        self.spec = spec
        self._tables = value_tables(spec)
        self._is_identity = bool(
            (self._tables == np.arange(256, dtype=spec.dtype)[:, None]).all())
        # cv2.LUT takes float16 values as any other two bytes.
        self._cv_type = np.dtype(np.uint16) if spec.dtype == np.float16 else spec.dtype
        self._packed_table = self._tables.view(self._cv_type)[None]
        self._plane_tables = [np.ascontiguousarray(self._packed_table[0, :, index])
                              for index in range(spec.channels)]
        # One row of padding [W, C] that lies in memory as the tensor does: a quick copy.
        row = np.broadcast_to(self._tables[spec.pad_value], (spec.width, spec.channels))
        self._padding = np.array(row, order='C' if spec.layout == 'nhwc' else 'F')
        self._resized = np.empty(spec.width * spec.height * 4, np.uint8)
        self._arranged = np.empty(spec.width * spec.height * 4, np.uint8)
        self._geometry: ImageGeometry | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the input tensor, one image."""
        return self.spec.shape

    def __call__(self, image: SourceImage, out: NDArray[Any]) -> ImageGeometry:
        """
        Write one image into ``out``, every element of it.

        :param image: the image; its pixels may be read-only and strided by rows.
        :param out: C-contiguous tensor of :attr:`shape` and the dtype of the spec.
        :returns: where the picture lies in the tensor.
        :raises ValueError: when ``out`` is another tensor; that is a mistake of the caller.
        """
        spec = self.spec
        if (out.shape != spec.shape or out.dtype != spec.dtype
                or not (out.flags.c_contiguous and out.flags.writeable)):
            raise ValueError(
                f'out is {out.dtype} {list(out.shape)}, C-contiguous {out.flags.c_contiguous}, '
                f'writeable {out.flags.writeable}; expected {spec.dtype} {list(spec.shape)}')
        geometry = self._geometry_of(image)
        left, top = int(geometry.pad_x), int(geometry.pad_y)
        right, bottom = left + geometry.picture_width, top + geometry.picture_height
        self._fill_padding(out, left, top, right, bottom)
        picture = self._resize(image.pixels, right - left, bottom - top)
        tensor = out.view(self._cv_type)[0]
        if spec.layout == 'nhwc' and spec.channels == 3:
            packed = self._in_model_order(picture, image.encoding)
            self._convert(packed, self._packed_table, tensor[top:bottom, left:right])
            return geometry
        channels_first = tensor if spec.layout == 'nchw' else tensor.transpose(2, 0, 1)
        for index, plane in enumerate(self._planes(picture, image.encoding)):
            self._convert(plane, self._plane_tables[index],
                          channels_first[index, top:bottom, left:right])
        return geometry

    def _geometry_of(self, image: SourceImage) -> ImageGeometry:
        last, source = self._geometry, (image.width, image.height)
        if last is None or (last.source_width, last.source_height) != source:
            network = (self.spec.width, self.spec.height)
            self._geometry = last = (
                stretch_geometry(source, network) if self.spec.resize == 'stretch'
                else letterbox_geometry(source, network, self.spec.anchor))
        return last

    def _fill_padding(self, out: NDArray[Any], left: int, top: int, right: int,
                      bottom: int) -> None:
        # On every call, for the tensor is the caller's and may have held anything since.
        tensor = out[0] if self.spec.layout == 'nhwc' else out[0].transpose(1, 2, 0)
        tensor[:top] = self._padding
        tensor[bottom:] = self._padding
        tensor[top:bottom, :left] = self._padding[:left]
        tensor[top:bottom, right:] = self._padding[right:]

    def _resize(self, pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
        """Return the picture in network size; the pixels themselves where they have it."""
        if pixels.shape[:2] == (height, width):
            return pixels
        import cv2

        wanted = (height, width, *pixels.shape[2:])
        resized = self._resized[:int(np.prod(wanted))].reshape(wanted)
        # Enlarging with INTER_AREA is neither an average nor bilinear; no model asks for that.
        shrinks = height <= pixels.shape[0] and width <= pixels.shape[1]
        method = (cv2.INTER_AREA if self.spec.interpolation == 'area' and shrinks
                  else cv2.INTER_LINEAR)
        return _kept(cv2.resize(pixels, (width, height), dst=resized, interpolation=method),
                     resized)

    def _planes(self, picture: NDArray[np.uint8], encoding: str) -> list[NDArray[np.uint8]]:
        """Return one ``[h, w]`` per channel of the network, in its order."""
        import cv2

        if picture.ndim == 2:
            return [picture] * self.spec.channels
        size = picture.shape[0] * picture.shape[1]
        planes = [self._arranged[index * size:(index + 1) * size].reshape(picture.shape[:2])
                  for index in range(picture.shape[2])]
        if self.spec.channels == 1:
            code = getattr(cv2, f'COLOR_{encoding[:-1].upper()}2GRAY')
            return [_kept(cv2.cvtColor(picture, code, dst=planes[0]), planes[0])]
        planes = [_kept(split, plane) for split, plane in zip(cv2.split(picture, planes), planes)]
        same = encoding.startswith(self.spec.color_order)
        return planes[:3] if same else planes[2::-1]

    def _in_model_order(self, picture: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
        """Return one ``[h, w, 3]`` in the network's colour order."""
        import cv2

        source = 'GRAY' if picture.ndim == 2 else encoding[:-1].upper()
        wanted = self.spec.color_order.upper()
        if source == wanted:
            return picture
        shape = (*picture.shape[:2], 3)
        packed = self._arranged[:int(np.prod(shape))].reshape(shape)
        code = getattr(cv2, f'COLOR_{source}2{wanted}')
        return _kept(cv2.cvtColor(picture, code, dst=packed), packed)

    def _convert(self, source: NDArray[np.uint8], table: NDArray[Any],
                 target: NDArray[Any]) -> None:
        # A plain copy converts bytes to bytes and to float32 faster than the table does.
        if self._is_identity and target.dtype != np.uint16:
            np.copyto(target, source)
            return
        import cv2

        _kept(cv2.LUT(source, table, dst=target), target)


def value_tables(spec: PreprocessSpec) -> NDArray[Any]:
    """
    Return the network value of each pixel value.

    :returns: ``[256, channels]`` of the dtype of the spec.
    """
    pixels = np.arange(256, dtype=np.float64)[:, None] * spec.scale
    mean, std = np.array(spec.mean)[:spec.channels], np.array(spec.std)[:spec.channels]
    return np.ascontiguousarray(((pixels - mean) / std).astype(spec.dtype))


def _kept(result: Any, wanted: NDArray[Any]) -> NDArray[Any]:
    """Return ``wanted``, which OpenCV wrote in place, or was given the result of otherwise."""
    if result is not wanted and not np.may_share_memory(result, wanted):
        np.copyto(wanted, result)
    return wanted
