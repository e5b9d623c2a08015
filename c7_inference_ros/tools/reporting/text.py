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

"""Pieces of HTML; every text that was not written here is escaped here."""

from __future__ import annotations

import base64
from html import escape
import re
from typing import Any
from typing import Iterable
from typing import Sequence

#: What no page can hold: control characters, halves of characters, and what is none at all; and
#: what would turn the direction of the text around it.
_UNFIT = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e'
                    '\u2066-\u2069]')


class Html(str):
    """A piece of HTML that is safe as it stands."""


def clean(value: Any) -> str:
    """Return a value as text that can stand in HTML and SVG once it is escaped."""
    return _UNFIT.sub('\ufffd', str(value))


def text(value: Any) -> Html:
    """Return a value as HTML: pieces of HTML as they are, all else escaped."""
    if isinstance(value, Html):
        return value
    if value is None:
        return Html('<span class="none">–</span>')
    if isinstance(value, float):
        value = f'{value:.6g}'
    return Html(escape(clean(value), quote=True))


def joined(parts: Iterable[Any], between: str = '') -> Html:
    """Return pieces one after the other."""
    return Html(between.join(text(part) for part in parts))


def tag(name: str, *parts: Any, **attributes: Any) -> Html:
    """
    Return an element.

    :param parts: what is in it.
    :param attributes: of it; ``class_`` is the class.
    """
    given = ''.join(f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
                    for key, value in attributes.items() if value != '')
    return Html(f'<{name}{given}>{joined(parts)}</{name}>')


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], numbers_from: int = 1,
          caption: str = '') -> Html:
    """
    Return a table that scrolls by itself where the page is narrow.

    :param numbers_from: columns from here on are numbers, at the right.
    """
    def row(cells: Sequence[Any], kind: str) -> Html:
        made = []
        for column, cell in enumerate(cells):
            if isinstance(cell, Html) and cell.startswith(('<td', '<th')):
                made.append(cell)
                continue
            is_head = kind == 'th' or column == 0
            scope = 'col' if kind == 'th' else 'row' if column == 0 else ''
            made.append(tag('th' if is_head else 'td', cell, scope=scope,
                            class_='n' if column >= numbers_from else ''))
        return tag('tr', *made)
    parts = [tag('caption', caption)] if caption else []
    return tag('div', tag('table', *parts, tag('thead', row(head, 'th')),
                          tag('tbody', *(row(cells, 'td') for cells in rows))),
               class_='scroll words' if numbers_from >= len(head) else 'scroll', tabindex='0')


def facts(pairs: Iterable[tuple[Any, Any]]) -> Html:
    """Return a list of names and values."""
    return tag('dl', *(tag('div', tag('dt', name), tag('dd', value)) for name, value in pairs))


def section(title: str, *parts: Any) -> Html:
    """Return a part of the page under its heading."""
    return tag('section', tag('h2', title), *parts)


def picture(data: bytes, kind: str, title: str, caption: Any) -> Html:
    """
    Return a picture with what it shows.

    :param data: of a file.
    :param kind: ``png`` or ``jpeg``.
    """
    source = f'data:image/{kind};base64,{base64.b64encode(data).decode()}'
    return tag('figure', Html(f'<img src="{source}" alt="{text(title)}">'),
               tag('figcaption', caption))


def milliseconds(value: float | None) -> str:
    """Return a duration for a table."""
    return '–' if value is None else f'{value:.2f}' if abs(value) < 1000 else f'{value:.0f}'


def share(value: float | None) -> str:
    """Return a figure from 0 to 1 for a table."""
    return '–' if value is None else f'{value:.3f}'
