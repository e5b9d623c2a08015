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

"""Strict reading of a JSON object: every key is there and of its type, or one line says so."""

from __future__ import annotations

import math
import re
from typing import Any
from typing import Callable
from typing import Iterable
from typing import Iterator
from typing import NoReturn
from typing import Sequence
from typing import TypeVar

from c7_inference_ros.errors import EngineSchemaMismatchError

_Value = TypeVar('_Value')
#: Counts, sizes and dimensions have 64 bits; Python's integers, and so JSON's, have no end.
_LARGEST = (1 << 63) - 1


class JsonReader:
    """
    One JSON object and where it stands in its file.

    Every method raises :class:`EngineSchemaMismatchError` that names the key, what was found and
    what was expected. Numbers are never taken from true and false.

    :param value: the object, as :mod:`json` gives it.
    :param name: the file.
    :param where: keys that lead to the object, joined by dots.
    """

    def __init__(self, value: dict[str, Any], name: str, where: str = '') -> None:
        """Keep the object and its place for messages."""
        self._value = value
        self._name = name
        self._where = where

    def keys(self) -> Iterator[str]:
        """Return the keys in their order."""
        return iter(self._value)

    def only(self, keys: Iterable[str]) -> None:
        """Refuse keys that are not known and miss keys that are not there."""
        known = set(keys)
        for key in sorted(self._value.keys() - known):
            self._refuse_word(key, 'unknown', f'one of {", ".join(sorted(known))}')
        for key in sorted(known - self._value.keys()):
            self._refuse_word(key, 'missing', 'a value')

    def inside(self, key: str) -> JsonReader:
        """Return a reader of an object in the object."""
        return JsonReader(self.mapping(key), self._name, self._path(key))

    def items(self, key: str) -> Iterator[JsonReader]:
        """Return a reader of every object in a list."""
        for number, item in enumerate(self._list(key)):
            if not isinstance(item, dict):
                self._refuse(f'{key}[{number}]', item, 'an object')
            yield JsonReader(item, self._name, f'{self._path(key)}[{number}]')

    def optional(self, key: str, read: Callable[[str], _Value]) -> _Value | None:
        """Read a value that may be null."""
        return None if self._get(key) is None else read(key)

    def text(self, key: str) -> str:
        """Read text."""
        value = self._get(key)
        return value if isinstance(value, str) else self._refuse(key, value, 'text')

    def choice(self, key: str, choices: Sequence[str]) -> str:
        """Read one of some words."""
        value = self._get(key)
        if not isinstance(value, str) or value not in choices:
            self._refuse(key, value, f'one of {", ".join(choices)}')
        return value

    def sha256(self, key: str) -> str:
        """Read a SHA-256."""
        value = self._get(key)
        if not isinstance(value, str) or not re.fullmatch('[0-9a-f]{64}', value):
            self._refuse(key, value, '64 lowercase hex characters')
        return value

    def integer(self, key: str, minimum: int = 0) -> int:
        """Read a whole number."""
        return self._integer(key, self._get(key), minimum)

    def integers(self, key: str, minimum: int = 0) -> tuple[int, ...]:
        """Read a list of whole numbers."""
        return tuple(self._integer(f'{key}[{number}]', item, minimum)
                     for number, item in enumerate(self._list(key)))

    def optional_integers(self, key: str) -> tuple[int | None, ...]:
        """Read a list of whole numbers and nulls."""
        return tuple(None if item is None else self._integer(f'{key}[{number}]', item, 0)
                     for number, item in enumerate(self._list(key)))

    def number(self, key: str) -> float:
        """Read a number with a fraction."""
        value = self._get(key)
        if type(value) is not float or not math.isfinite(value):
            self._refuse(key, value, 'a number with a decimal point')
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        """Read an object whose content is free."""
        value = self._get(key)
        return value if isinstance(value, dict) else self._refuse(key, value, 'an object')

    def counts(self, key: str) -> dict[str, int]:
        """Read an object of whole numbers."""
        reader = self.inside(key)
        return {name: reader.integer(name) for name in reader.keys()}

    def texts_by_key(self, key: str) -> dict[str, str]:
        """Read an object of texts."""
        reader = self.inside(key)
        return {name: reader.text(name) for name in reader.keys()}

    def texts(self, key: str) -> tuple[str, ...]:
        """Read a list of texts."""
        return tuple(
            item if isinstance(item, str) else self._refuse(f'{key}[{number}]', item, 'text')
            for number, item in enumerate(self._list(key)))

    def _get(self, key: str) -> Any:
        if key not in self._value:
            self._refuse_word(key, 'missing', 'a value')
        return self._value[key]

    def _list(self, key: str) -> list[Any]:
        value = self._get(key)
        return value if isinstance(value, list) else self._refuse(key, value, 'a list')

    def _integer(self, key: str, value: Any, minimum: int) -> int:
        if type(value) is not int or not minimum <= value <= _LARGEST:
            self._refuse(key, value, f'a whole number from {minimum} to {_LARGEST}')
        return value

    def _path(self, key: str) -> str:
        return f'{self._where}.{key}' if self._where else key

    def _refuse(self, key: str, found: object, expected: str) -> NoReturn:
        self._refuse_word(key, _shown(found), expected)

    def _refuse_word(self, key: str, found: str, expected: str) -> NoReturn:
        raise EngineSchemaMismatchError(
            f'{self._name}: {self._path(key)} is {found}, expected {expected}; compile the engine '
            f'again, or copy its manifest again')


def _shown(value: object) -> str:
    """Return a value in one short line."""
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'
