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
Just enough of the protobuf wire format to look into a file without its schema or a library.

Nothing is copied: length-delimited fields are views of the buffer.
"""

from __future__ import annotations

from typing import Iterator
from typing import Union

Value = Union[int, memoryview]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}


class WireError(Exception):
    """
    Bytes that are no protobuf message.

    :param message: what was found.
    :param offset: where, bytes from the start of the message.
    :param is_truncated: whether the message ends too early.
    """

    def __init__(self, message: str, offset: int, is_truncated: bool = False) -> None:
        """Keep the position for the report."""
        self.offset = offset
        self.is_truncated = is_truncated
        super().__init__(message)


def fields(message: memoryview) -> Iterator[tuple[int, int, Value]]:
    """
    Yield (field number, wire type, value) of one message, in file order.

    :returns: an integer for a varint, else the bytes of the field.
    :raises WireError: the message is cut off or malformed.
    """
    offset, end = 0, len(message)
    while offset < end:
        start = offset
        tag, offset = _varint(message, offset)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise WireError('field number 0', start)
        value: Value
        if wire == VARINT:
            value, offset = _varint(message, offset)
        elif wire in (BYTES, FIXED64, FIXED32):
            if wire == BYTES:
                length, offset = _varint(message, offset)
            else:
                length = _FIXED[wire]
            if length > end - offset:
                raise WireError(f'field {number} has {length} bytes, {end - offset} are left',
                                start, is_truncated=True)
            value = message[offset:offset + length]
            offset += length
        else:
            raise WireError(f'field {number} has wire type {wire}', start)
        yield number, wire, value


def signed(value: int) -> int:
    """Return a varint as the int64 that it encodes."""
    return value - (1 << 64) if value >> 63 else value


def packed(wire: int, value: Value) -> Iterator[int]:
    """Yield the integers of a repeated field, packed or not."""
    if isinstance(value, int):
        yield value
        return
    if wire != BYTES:
        raise WireError(f'wire type {wire} in a list of integers', 0)
    offset = 0
    while offset < len(value):
        number, offset = _varint(value, offset)
        yield number


def _varint(message: memoryview, offset: int) -> tuple[int, int]:
    result = shift = 0
    start = offset
    while True:
        if offset >= len(message):
            raise WireError('a number is cut off', start, is_truncated=True)
        byte = message[offset]
        offset += 1
        result |= (byte & 0x7f) << shift
        if not byte & 0x80:
            return result, offset
        shift += 7
        if shift > 63:
            raise WireError('a number has more than 64 bits', start)
