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
One record per parameter: type, default, range, unit and when it may change.

A configuration is a frozen dataclass whose fields are made by :func:`parameter`; a field that
holds another such dataclass is a group, and its parameters are named ``group.name``.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
from dataclasses import is_dataclass
import difflib
from enum import Enum
import math
from typing import Any
from typing import Iterable
from typing import Iterator
from typing import Mapping
from typing import TypeVar

_SPEC = 'parameter_spec'
_TYPE_NAMES = {bool: 'bool', int: 'integer', float: 'double', str: 'string',
               (float,): 'double array', (str,): 'string array'}
T = TypeVar('T')


class Mutability(str, Enum):
    """When a parameter may change."""

    STRUCTURAL = 'read-only'
    CONFIGURE = 'while unconfigured'
    DYNAMIC = 'any time, from the next frame'


@dataclass(frozen=True)
class ParameterSpec:
    """
    What is known of one parameter.

    :param name: dotted name, without the prefix of a camera or model.
    :param default: default value; a tuple for an array. ``{name}`` in a string stands for the
        camera's or model's name.
    :param description: one sentence.
    :param mutability: when it may change.
    :param unit: SI unit, or empty.
    :param minimum: smallest value, or None.
    :param maximum: largest value, or None.
    :param choices: allowed strings, or empty.
    :param length: number of elements of an array, or None for any.
    """

    name: str
    default: Any
    description: str
    mutability: Mutability
    unit: str = ''
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    length: int | None = None

    @property
    def is_array(self) -> bool:
        """Whether the value is an array."""
        return isinstance(self.default, tuple)

    @property
    def element_type(self) -> type:
        """Type of the value, or of an element of an array."""
        return type(self.default[0]) if self.is_array else type(self.default)

    @property
    def type_name(self) -> str:
        """ROS name of the type."""
        kind = self.element_type
        return _TYPE_NAMES[(kind,) if self.is_array else kind]

    def default_for(self, owner: str) -> Any:
        """Return the default for one camera or model called ``owner``."""
        if isinstance(self.default, str):
            return self.default.replace('{name}', owner)
        return self.default

    def coerce(self, value: Any, full_name: str) -> tuple[Any, str | None]:
        """
        Check one value.

        :param value: what the user gave; an integer is taken where a double is expected.
        :param full_name: name for the message, with the prefix of its camera or model.
        :returns: the value in its final type and None, or the default and what is wrong.
        """
        if self.is_array:
            if isinstance(value, (str, bytes)) or not _is_sequence(value):
                return self.default, self._wrong_type(value, full_name)
            elements = tuple(_as_type(element, self.element_type) for element in value)
        else:
            elements = (_as_type(value, self.element_type),)
        if any(element is None for element in elements):
            return self.default, self._wrong_type(value, full_name)
        if self.length is not None and len(elements) != self.length:
            return self.default, (f'{full_name} has {len(elements)} elements, '
                                  f'expected {self.length}: {list(elements)!r}')
        for element in elements:
            problem = self._out_of_range(element)
            if problem:
                return self.default, f'{full_name} is {element!r}, {problem}'
        return (elements if self.is_array else elements[0]), None

    def _out_of_range(self, element: Any) -> str | None:
        if self.choices and element not in self.choices:
            near = nearest(str(element), self.choices)
            hint = f'; did you mean {near!r}?' if near else ''
            return f'expected one of {", ".join(self.choices)}{hint}'
        if isinstance(element, float) and not math.isfinite(element):
            return 'expected a finite number'
        unit = f' {self.unit}' if self.unit else ''
        if self.minimum is not None and element < self.minimum:
            return f'expected at least {self.minimum:g}{unit}'
        if self.maximum is not None and element > self.maximum:
            return f'expected at most {self.maximum:g}{unit}'
        return None

    def _wrong_type(self, value: Any, full_name: str) -> str:
        return (f'{full_name} is {value!r} ({type(value).__name__}), '
                f'expected {self.type_name}, for example {_example(self.default)}')


def parameter(default: Any, description: str, mutability: Mutability, *, unit: str = '',
              minimum: float | None = None, maximum: float | None = None,
              choices: Iterable[str] = (), length: int | None = None) -> Any:
    """Make a dataclass field that is a parameter; see :class:`ParameterSpec`."""
    spec = ParameterSpec('', default, description, mutability, unit, minimum, maximum,
                         tuple(choices), length)
    return field(default=default, metadata={_SPEC: spec})


def specs_of(config_type: type) -> Iterator[ParameterSpec]:
    """Yield the parameters of a configuration dataclass, groups flattened to dotted names."""
    for entry in fields(config_type):
        spec = entry.metadata.get(_SPEC)
        if spec is not None:
            yield ParameterSpec(**{**spec.__dict__, 'name': entry.name})
        elif (group := _group_of(entry)) is not None:
            for inner in specs_of(group):
                yield ParameterSpec(**{**inner.__dict__, 'name': f'{entry.name}.{inner.name}'})


def build(config_type: type[T], values: Mapping[str, Any], **others: Any) -> T:
    """
    Make a configuration from checked values.

    :param values: value by dotted name; what is absent keeps its default.
    :param others: fields that are not parameters.
    """
    arguments: dict[str, Any] = dict(others)
    for entry in fields(config_type):  # type: ignore[arg-type]
        if _SPEC in entry.metadata:
            if entry.name in values:
                arguments[entry.name] = values[entry.name]
        elif (group := _group_of(entry)) is not None and entry.name not in others:
            prefix = f'{entry.name}.'
            arguments[entry.name] = build(group, {
                name[len(prefix):]: value for name, value in values.items()
                if name.startswith(prefix)})
    return config_type(**arguments)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a misspelt one most resembles, or None."""
    known = list(known)
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if not matches:
        # A key in the wrong group shares its last word with the right one.
        matches = [other for other in known if other.rpartition('.')[2] == name.rpartition('.')[2]]
    return matches[0] if matches else None


def _group_of(entry: Any) -> type | None:
    factory = entry.default_factory
    return factory if isinstance(factory, type) and is_dataclass(factory) else None


def _is_sequence(value: Any) -> bool:
    return hasattr(value, '__len__') and hasattr(value, '__iter__')


def _as_type(value: Any, kind: type) -> Any:
    """Return the value as ``kind``, or None where that would lose or guess something."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, bool):
        return None
    return value if isinstance(value, kind) else None


def _example(default: Any) -> str:
    return repr(list(default)) if isinstance(default, tuple) else repr(default)
