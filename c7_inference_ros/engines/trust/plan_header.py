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
What the first bytes of a serialized engine (a plan) say, read without TensorRT.

.. code-block:: text

    offset  TensorRT            TensorRT-RTX
    0       'ftrt'              'vtrt'
    16                          total length, 64 bits
    24      major, minor, patch, build of the library that wrote it, one byte each
    28                          'vtrt'
    32                          GPUs it can be compiled for, one bit each

That is enough to tell a plan from junk, one library version from another, and (RTX) a whole file
from a cut one; it is no integrity check. All numbers are little-endian.
"""

from __future__ import annotations

from dataclasses import dataclass
import struct

from c7_inference_ros.engines.types import TENSORRT
from c7_inference_ros.engines.types import TENSORRT_RTX
from c7_inference_ros.errors import EngineSchemaMismatchError

_MAGIC = {b'ftrt': TENSORRT, b'vtrt': TENSORRT_RTX}
_VERSION_AT = 24
_HEADER_BYTES = {TENSORRT: 32, TENSORRT_RTX: 64}
#: Compute capabilities by bit of the target mask; later versions use more bits.
_TARGETS = ('75', '80', '86', '89', '120', '121')


@dataclass(frozen=True)
class PlanHeader:
    """
    What a plan says of itself.

    :param package: ``tensorrt`` or ``tensorrt_rtx``.
    :param version: major, minor, patch and build of the library that wrote the plan.
    :param total_bytes: length that the file has to have, or None where the plan does not say.
    :param target_mask: GPUs that an RTX plan can be compiled for; 0 for TensorRT.
    """

    package: str
    version: tuple[int, int, int, int]
    total_bytes: int | None = None
    target_mask: int = 0

    @property
    def version_text(self) -> str:
        """The version, dotted."""
        return '.'.join(str(number) for number in self.version)

    @property
    def targets(self) -> tuple[str, ...]:
        """Compute capabilities of :attr:`target_mask`; ``bit <n>`` where none is known."""
        return tuple(_TARGETS[bit] if bit < len(_TARGETS) else f'bit {bit}'
                     for bit in range(32) if self.target_mask >> bit & 1)

    def is_version(self, version: str) -> bool:
        """
        Whether the plan was written by a version of the library.

        :param version: dotted; Jetson packages leave the build number out, and then it is not
            compared.
        """
        wanted = [int(part) for part in version.split('.') if part.isdigit()][:len(self.version)]
        # The header has one byte for each.
        return bool(wanted) and [number & 0xff for number in wanted] == list(
            self.version[:len(wanted)])


def parse_plan_header(data: bytes | bytearray | memoryview, name: str = 'engine') -> PlanHeader:
    """
    Read the header of a plan.

    :param data: the plan, or at least its first 64 bytes.
    :param name: what it is called in messages.
    :raises EngineSchemaMismatchError: it is no plan, or ends within its header.
    """
    start = bytes(memoryview(data).cast('B')[:64])
    package = _MAGIC.get(start[:4])
    if package is None:
        found = f'{start[:4]!r}' if start else 'nothing'
        hint = ' (an ONNX file?)' if start[:1] == b'\x08' else ''
        raise EngineSchemaMismatchError(
            f'{name} begins with {found}{hint}, expected a plan of TensorRT (ftrt, version 8.6 or '
            f'newer) or TensorRT-RTX (vtrt); compile the model with compile_engine')
    if len(start) < _HEADER_BYTES[package]:
        raise EngineSchemaMismatchError(
            f'{name} is cut off within its header: {len(start)} bytes, expected at least '
            f'{_HEADER_BYTES[package]}; copy it again, or compile it again')
    major, minor, patch, build = start[_VERSION_AT:_VERSION_AT + 4]
    version = (major, minor, patch, build)
    if package == TENSORRT:
        return PlanHeader(package, version)
    if start[28:32] != start[:4]:
        raise EngineSchemaMismatchError(
            f'{name} has {start[28:32]!r} at byte 28 of its header, expected {start[:4]!r} as in '
            f'every plan of TensorRT-RTX; copy it again, or compile it again')
    total_bytes, = struct.unpack_from('<Q', start, 16)
    target_mask, = struct.unpack_from('<I', start, 32)
    return PlanHeader(package, version, total_bytes, target_mask)
