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
The text that TensorRT's calibrator writes and reads: scales of tensors, by name.

TensorRT accepts what it can read of it and calibrates again, without a word, where it cannot; a
calibrator that has a cache and no images then has nothing to give. So it is checked here.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
import re
import struct
from typing import Iterable
from typing import Mapping

from c7_inference_ros.errors import CalibrationCacheError

ALGORITHM = 'EntropyCalibration2'
_HEADER = re.compile(r'TRT-([0-9]{4,6})-([A-Za-z0-9]+)')
_SCALE = re.compile(r'[0-9a-f]{8}')


@dataclass(frozen=True)
class CalibrationTable:
    """
    What a table holds.

    :param version: number of the TensorRT that wrote it, for example 100300.
    :param scales: of one step of a tensor's int8 values, by name of the tensor.
    """

    version: int
    scales: Mapping[str, float]


def version_number(version: str) -> int:
    """Return the number that TensorRT of this version writes into its tables."""
    major, minor, patch = (int(part) for part in version.split('.')[:3])
    # The digits of 8.x and before were packed more tightly.
    return major * 10000 + minor * 100 + patch if major >= 10 else (
        major * 1000 + minor * 100 + patch)


def parse_table(data: bytes, version: str, inputs: Iterable[str] = ()) -> CalibrationTable:
    """
    Read and check a table.

    :param version: of the TensorRT that is to use it.
    :param inputs: inputs of the network, which have to be in it.
    :raises CalibrationCacheError: it is malformed, or from another version or algorithm.
    """
    try:
        lines = data.decode('utf-8').splitlines()
    except UnicodeDecodeError as error:
        raise _malformed(f'byte {error.start} is no text') from error
    header = _HEADER.fullmatch(lines[0]) if lines else None
    if header is None:
        raise _malformed(f'it begins with {lines[0][:40] if lines else ""!r}, expected '
                         f'TRT-<version>-{ALGORITHM}')
    if header[2] != ALGORITHM:
        raise _malformed(f'it is from the algorithm {header[2]}, expected {ALGORITHM}')
    expected = version_number(version)
    if int(header[1]) != expected:
        raise _malformed(f'it is from TensorRT {header[1]}, expected {expected}')
    scales: dict[str, float] = {}
    for number, line in enumerate(lines[1:], 2):
        # Names of tensors may hold colons.
        name, colon, text = line.rpartition(':')
        text = text.strip()
        if not colon or not name or not _SCALE.fullmatch(text):
            raise _malformed(f'line {number} is {line[:60]!r}, expected a tensor and eight hex '
                             f'digits')
        scale = struct.unpack('>f', bytes.fromhex(text))[0]
        if not math.isfinite(scale) or scale <= 0.0:
            raise _malformed(f'line {number}: the scale of {name} is {scale}, expected more '
                             f'than 0')
        if name in scales:
            raise _malformed(f'line {number}: {name} is there twice')
        scales[name] = scale
    missing = [name for name in inputs if name not in scales]
    if missing or not scales:
        raise _malformed(f'it has no scale of {", ".join(missing) or "any tensor"}')
    return CalibrationTable(expected, scales)


def _malformed(what: str) -> CalibrationCacheError:
    return CalibrationCacheError(
        f'the calibration table is malformed: {what}; delete the cache and its sidecars to have '
        f'it made again')
