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
Shapes that are checked against patterns such as ``(1, 'K', 4)``.

A letter stands for one size, the same wherever it occurs. -1 in a found shape is a size that the
model leaves open: it agrees with everything and says nothing.
"""

from __future__ import annotations

from typing import Mapping
from typing import Sequence

Pattern = tuple['int | str', ...]


class MismatchError(Exception):
    """Tensors are not what a decoder reads; the message says found and expected."""


def shape_text(shape: Sequence[int | str]) -> str:
    """Return a shape for a message: ``[1,?,85]``, open sizes as a question mark."""
    return f'[{",".join("?" if size == -1 else str(size) for size in shape)}]'


def match_shapes(patterns: Mapping[str, Pattern], shapes: Mapping[str, tuple[int, ...]]
                 ) -> dict[str, int]:
    """
    Check shapes against patterns.

    :param patterns: pattern by tensor name.
    :param shapes: shape by tensor name; has every name of the patterns.
    :returns: the size of each letter; -1 where the shapes leave it open.
    :raises MismatchError: naming the first tensor that disagrees.
    """
    sizes: dict[str, int] = {}
    for name, pattern in patterns.items():
        shape = shapes[name]
        fits = len(shape) == len(pattern)
        for found, wanted in zip(shape, pattern):
            known = sizes.get(wanted, -1) if isinstance(wanted, str) else wanted
            fits = fits and (found == known or -1 in (found, known))
            if isinstance(wanted, str):
                sizes[wanted] = found if known == -1 else known
        if not fits:
            bound = ', '.join(f'{letter}={size}' for letter, size in sizes.items()
                              if size != -1 and letter in pattern and len(patterns) > 1)
            raise MismatchError(
                f'{name} has shape {shape_text(shape)}, expected {shape_text(pattern)}'
                + (f' with {bound}' if bound else ''))
    return sizes
