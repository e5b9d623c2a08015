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

"""What a CUDA error means: memory ran out, one call failed, or the context is broken."""

from __future__ import annotations

import traceback

#: Beginnings or parts of what ``cuGetErrorString`` says of errors that break the context: ECC and
#: NVLink (214, 220), illegal address (700), launch timeout (702), destroyed context (709), assert
#: (710), and the faults of a kernel (714 to 719).
_STICKY_TEXTS = (
    'uncorrectable ecc', 'uncorrectable nvlink', 'illegal memory access',
    'launch timed out', 'context is destroyed', 'device-side assert', 'hardware stack error',
    'illegal instruction', 'misaligned address', 'operation not supported on global/shared',
    'invalid program counter', 'unspecified launch failure', 'unknown error')
#: The same as numbers.
_STICKY_CODES = frozenset((214, 220, 700, 702, 709, 710, *range(714, 720), 999))
_NO_MEMORY = ('out of memory', 'outofmemory', 'out_of_memory')


def is_sticky(text: str, code: int | None = None) -> bool:
    """Return whether after this error nothing works until the context is made anew."""
    if code is not None:
        return code in _STICKY_CODES
    lower = text.lower()
    return any(part in lower for part in _STICKY_TEXTS)


def is_out_of_memory(text: str) -> bool:
    """Return whether an error says that device memory ran out."""
    lower = text.lower()
    return any(part in lower for part in _NO_MEMORY)


def one_line(error: BaseException) -> str:
    """Return the text of an error as one line; its class where it has none."""
    return ' '.join(str(error).split()) or type(error).__name__


def forget_frames(error: BaseException) -> None:
    """
    Drop what the frames of an error refer to.

    An engine or a buffer that only a traceback still refers to would outlive the context that it
    lives in.
    """
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__
