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

"""Pictures that others add to a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence


@dataclass(frozen=True)
class Picture:
    """
    One picture.

    :param data: of a file.
    :param kind: ``png`` or ``jpeg``.
    :param title: what it shows, for who cannot see it.
    :param caption: below it.
    """

    data: bytes
    kind: str
    title: str
    caption: str


@dataclass(frozen=True)
class Gallery:
    """
    A part of the page with pictures across its width, such as changed frames side by side.

    :param lines: above the pictures, a paragraph each.
    """

    title: str
    lines: Sequence[str]
    pictures: Sequence[Picture]
