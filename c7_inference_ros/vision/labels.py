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

"""Class names of a model: from a file, from the model's metadata, or plain numbers."""

from __future__ import annotations

import ast
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any
from typing import Mapping
import warnings

from c7_inference_ros.errors import ConfigurationError

#: Metadata keys that hold names: Ultralytics writes ``names``, other exporters the rest.
METADATA_KEYS = ('names', 'labels', 'classes')
METADATA = 'metadata'
NUMBERS = 'numbers'
_MAX_BYTES = 1 << 20
_MAX_CLASSES = 100_000


@dataclass(frozen=True)
class Labels:
    """
    Names by class id.

    :param names: one name per class; empty where neither the model nor the user tells.
    :param source: the file, ``metadata``, or ``numbers`` where there are no names.
    """

    names: tuple[str, ...]
    source: str

    def __len__(self) -> int:
        """Return the number of known classes."""
        return len(self.names)

    def name_of(self, class_id: int) -> str:
        """Return the name of a class, or its number where it has no name."""
        return self.names[class_id] if 0 <= class_id < len(self.names) else str(class_id)

    def id_of(self, name: str) -> int | None:
        """Return the id of a name, or None; where there are no names a number is its own id."""
        if self.names:
            return self.names.index(name) if name in self.names else None
        if name.isascii() and name.isdigit() and len(name) <= 6 and int(name) < _MAX_CLASSES:
            return int(name)
        return None


def load_labels(path: str, metadata: Mapping[str, str], num_classes: int | None,
                full_name: str) -> Labels:
    """
    Find the class names of a model.

    :param path: file with one name a line, or empty to take what the model's metadata says.
    :param metadata: the model's metadata, as strings.
    :param num_classes: number of classes that the outputs have, or None where they do not tell.
    :param full_name: full name of the parameter that holds ``path``, for messages.
    :raises ConfigurationError: when the names cannot be read or are not ``num_classes``.
    """
    if path:
        names, source = _from_file(path, full_name), path
        what = f'{full_name} {path}'
        remedy = 'give one name for each class of the model, in its order'
    else:
        key = next((key for key in METADATA_KEYS if metadata.get(key, '').strip()), None)
        if key is None:
            return Labels(tuple(str(index) for index in range(num_classes or 0)), NUMBERS)
        names, source = _from_metadata(key, metadata[key], full_name), METADATA
        what = f'metadata {key!r} of the model'
        remedy = f'set {full_name} to a file with one name a line'
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigurationError(
            f'{what} has {_some(repeated)} more than once, expected different names; {remedy}')
    if num_classes is not None and len(names) != num_classes:
        raise ConfigurationError(
            f'{what} has {len(names)} names, expected {num_classes}, the number of classes in '
            f'the outputs of the model; {remedy}')
    return Labels(names, source)


def _from_file(path: str, full_name: str) -> tuple[str, ...]:
    what = f'{full_name} {path}'
    try:
        with Path(path).expanduser().open('rb') as stream:
            data = stream.read(_MAX_BYTES + 1)
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise ConfigurationError(
            f'{what} cannot be read ({reason}), expected a text file with one class name a line; '
            f"correct the path, or leave it empty to take the model's metadata") from error
    if len(data) > _MAX_BYTES:
        raise ConfigurationError(
            f'{what} is larger than {_MAX_BYTES} bytes, expected a text file with one class '
            f'name a line; is it another kind of file?')
    try:
        # utf-8-sig: editors on Windows begin a file with a byte order mark.
        lines = [line.strip() for line in data.decode('utf-8-sig').split('\n')]
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f'{what} is not UTF-8 text (byte {error.start}), expected one class name a line; '
            f'is it another kind of file?') from error
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ConfigurationError(f'{what} is empty, expected one class name a line')
    for number, line in enumerate(lines, 1):
        if not line or not line.isprintable():
            found = 'is empty' if not line else f'is {line[:40]!r}'
            raise ConfigurationError(
                f'{what} line {number} {found}, expected a class name: the line number is the '
                f'class; write a name of its own for a class that is not used')
    return tuple(lines)


def _from_metadata(key: str, text: str, full_name: str) -> tuple[str, ...]:
    names = _names_of(_parsed(text)) if len(text) <= _MAX_BYTES else None
    if not names or not all(name and name.isprintable() for name in names):
        raise ConfigurationError(
            f'metadata {key!r} of the model is {text[:60]!r}, expected a list of class names or '
            f'names by number from 0; set {full_name} to a file with one name a line')
    return names


def _parsed(text: str) -> Any:
    # Ultralytics writes the repr of a dict, others write JSON or comma separated names.
    for parse in (json.loads, ast.literal_eval):
        try:
            with warnings.catch_warnings():  # of odd escapes, which Python would print
                warnings.simplefilter('ignore')
                return parse(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    if text.lstrip()[:1] in ('{', '['):
        return None
    return text.strip().split('\n' if '\n' in text.strip() else ',')


def _names_of(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, dict):
        try:
            by_id = {int(key): name for key, name in value.items()}
        except (TypeError, ValueError):
            return None
        if len(by_id) != len(value) or set(by_id) != set(range(len(by_id))):
            return None
        value = [by_id[index] for index in range(len(by_id))]
    if not isinstance(value, (list, tuple)) or len(value) > _MAX_CLASSES:
        return None
    return tuple(str(name).strip() for name in value)


def _some(names: list[str]) -> str:
    shown = ', '.join(repr(name) for name in names[:3])
    return f'{shown} and {len(names) - 3} more' if len(names) > 3 else shown
