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

"""INT8 calibration of the TensorRT 10.x doubles, as the C++ side drives a Python calibrator."""

from __future__ import annotations

import operator
import struct
import sys
from typing import Any

import numpy as np
from trt_binding import Bound
from trt_binding import override
from trt_binding import report
from trt_onnx import all_values
from trt_plan import NUMPY
from trt_runtime import Refused
from trt_shapes import nbytes

_NAMES = {'ENTROPY_CALIBRATION': 'EntropyCalibration', 'MINMAX_CALIBRATION': 'MinMaxCalibration',
          'ENTROPY_CALIBRATION_2': 'EntropyCalibration2', 'LEGACY_CALIBRATION': 'Calibration'}


class IInt8Calibrator(Bound):
    """Calibrator that an application implements."""

    _is_constructible = True
    _algorithm = 'ENTROPY_CALIBRATION_2'

    def get_algorithm(self) -> Any:
        """Return the algorithm."""
        return getattr(self._trt.CalibrationAlgoType, self._algorithm)

    def get_batch_size(self) -> int:
        """Return the number of images in a batch; pure virtual."""
        raise RuntimeError('Tried to call pure virtual function "get_batch_size"')

    def get_batch(self, names: list[str]) -> Any:
        """Return device addresses; only for documentation."""
        return []

    def read_calibration_cache(self) -> Any:
        """Return a cache; only for documentation."""

    def write_calibration_cache(self, cache: Any) -> None:
        """Take a cache; only for documentation."""


class IInt8EntropyCalibrator(IInt8Calibrator):
    """Entropy calibrator."""

    _algorithm = 'ENTROPY_CALIBRATION'


class IInt8EntropyCalibrator2(IInt8Calibrator):
    """Entropy calibrator before fusion."""

    _algorithm = 'ENTROPY_CALIBRATION_2'


class IInt8MinMaxCalibrator(IInt8Calibrator):
    """Calibrator of extremes."""

    _algorithm = 'MINMAX_CALIBRATION'


class IInt8LegacyCalibrator(IInt8Calibrator):
    """The oldest calibrator."""

    _algorithm = 'LEGACY_CALIBRATION'


def header_of(trt: Any, algorithm: str) -> str:
    """Return the first line of a calibration cache."""
    major, minor, patch = (int(part) for part in trt.__version__.split('.')[:3])
    return f'TRT-{major * 10000 + minor * 100 + patch}-{_NAMES[algorithm]}'


def calibrate(builder: Any, network: Any, config: Any, calibrator: Any) -> None:
    """
    Find the ranges of a network, from the calibrator's cache or its batches.

    What the calibrator raises is printed and taken for the end of the data.

    :raises Refused: there was neither.
    """
    header = header_of(builder._trt, calibrator._algorithm)
    cache = _called(calibrator, 'read_calibration_cache')
    if cache is not None:
        if _first_line(cache) == header:
            return
        report(builder, 'IBuilder::buildSerializedNetwork', 1, 'Internal Error',
               'Calibration table does not match calibrator algorithm type.')
    _called(calibrator, 'get_batch_size', default=-1)
    limits: dict[str, float] = {}
    while True:
        values = _next_batch(builder, network, config, calibrator)
        if values is None:
            break
        for name, value in all_values(network._graph, values).items():
            limits[name] = max(limits.get(name, 0.0), float(np.abs(value).max(initial=0.0)))
    if not limits:
        raise Refused(2, 'Internal Error', 'Calibration failure occurred with no scaling '
                      'factors detected. This could be due to no int8 calibrator or '
                      'insufficient custom scales for network layers.')
    lines = [header, *(f'{name}: {struct.pack(">f", limit / 127 or 1.0).hex()}'
                       for name, limit in limits.items())]
    content = np.frombuffer('\n'.join(lines).encode() + b'\n', np.uint8).copy()
    _called(calibrator, 'write_calibration_cache', memoryview(content).toreadonly())
    # The memory belongs to TensorRT and is gone after the call.
    content[:] = 0


def _called(calibrator: Any, name: str, *arguments: Any, default: Any = None) -> Any:
    function = override(calibrator, name)
    if function is None:
        return default
    try:
        return function(*arguments)
    except Exception as error:
        print(f'[ERROR] Exception caught in {name}(): {type(error).__name__}: {error}',
              file=sys.stderr)
        return default


def _first_line(cache: Any) -> str:
    return bytes(cache).split(b'\n', 1)[0].decode('ascii', 'replace')


def _next_batch(builder: Any, network: Any, config: Any,
                calibrator: Any) -> dict[str, np.ndarray] | None:
    names = [tensor._name for tensor in network._inputs]
    answer = _called(calibrator, 'get_batch', list(names))
    if answer is None:
        return None
    try:
        addresses = [operator.index(one) for one in answer]
    except TypeError as error:
        print(f'[ERROR] Exception caught in get_batch(): {error}', file=sys.stderr)
        return None
    if not addresses:
        return None
    if len(addresses) < len(names):
        builder._gpu.violated(f'get_batch returned {len(addresses)} addresses for '
                              f'{len(names)} inputs: TensorRT reads past the end')
        return None
    profile = config._calibration_profile or (config._profiles or [None])[-1]
    values = {}
    for tensor, address in zip(network._inputs, addresses):
        ranges = None if profile is None else profile._shapes.get(tensor._name)
        shape = tensor._sizes if ranges is None else ranges[1]
        kind = tensor._dtype.name
        raw = builder._gpu.memory.view(address, nbytes(kind, shape))
        values[tensor._name] = raw.copy().view(NUMPY[kind]).reshape(shape)
    return values
