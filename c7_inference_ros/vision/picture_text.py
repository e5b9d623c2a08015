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

"""Text on pictures: sized in pixels, cut to a width, in the characters that OpenCV can draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
import unicodedata

from numpy.typing import NDArray

#: Blue, green, red.
Color = tuple[int, int, int]
BLACK: Color = (0, 0, 0)
WHITE: Color = (255, 255, 255)
_DOTS = '..'


@dataclass(frozen=True)
class TextStyle:
    """
    How text is drawn.

    :param height: height of a capital letter, in pixels.
    """

    height: int

    @property
    def thickness(self) -> int:
        """Thickness of the strokes, in pixels."""
        return max(1, round(self.height / 10))

    @property
    def margin(self) -> int:
        """Space around text on a plate, in pixels."""
        return max(1, round(self.height * 0.35))

    @property
    def plate_height(self) -> int:
        """Height of a plate with one line of text, in pixels."""
        # A quarter of the height for what hangs below the line.
        return self.height + self.height // 4 + 2 * self.margin

    def plate_width(self, text: str) -> int:
        """Return the width of a plate with ``text``, in pixels."""
        import cv2

        (width, _), _ = cv2.getTextSize(text, self._font, self._scale, self.thickness)
        return int(width) + 2 * self.margin

    def cut(self, text: str, width: int) -> str:
        """Return as much of ``text`` as fits on a plate of a width, with dots where it is cut."""
        text = drawable(text)
        if self.plate_width(text) <= width:
            return text
        for end in range(len(text) - 1, 0, -1):
            shorter = text[:end].rstrip() + _DOTS
            if self.plate_width(shorter) <= width:
                return shorter
        return ''

    def draw_plate(self, picture: NDArray[Any], text: str, x: int, y: int, width: int,
                   background: Color) -> None:
        """Draw a filled plate with its upper left corner at (x, y), and ``text`` on it."""
        import cv2

        cv2.rectangle(picture, (x, y), (x + width - 1, y + self.plate_height - 1), background,
                      cv2.FILLED)
        cv2.putText(picture, text, (x + self.margin, y + self.margin + self.height), self._font,
                    self._scale, contrast(background), self.thickness, cv2.LINE_AA)

    @property
    def _font(self) -> int:
        import cv2

        return cv2.FONT_HERSHEY_SIMPLEX

    @property
    def _scale(self) -> float:
        # A capital letter of the Hershey font is 21 units high, and one unit a pixel at scale 1.
        return self.height / 21.0


def drawable(text: str) -> str:
    """Return text in ASCII, all that OpenCV's fonts have; other characters become ``?``."""
    plain = unicodedata.normalize('NFKD', text)
    plain = ''.join(letter for letter in plain if not unicodedata.combining(letter))
    return ''.join(letter if ' ' <= letter <= '~' else '?' for letter in plain)


def contrast(color: Color) -> Color:
    """Return black or white, whichever is easier to read on a colour."""
    blue, green, red = color
    return BLACK if 0.114 * blue + 0.587 * green + 0.299 * red > 140 else WHITE
