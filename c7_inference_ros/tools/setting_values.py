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
Values that a user writes on the command line or in a JSON file, checked one by one.

Both ways say the same things, so both end here: a value comes in as text, or as JSON has it, and
leaves in its final type, or as one sentence that says what is wrong with it.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from pathlib import Path
import re
from typing import Any
from typing import Callable
from typing import Mapping

from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.parameter_spec import nearest

_SIZE = re.compile(r'(\d+(?:\.\d+)?) *(?:([KMGT])i?B?|B)?', re.IGNORECASE)
_POWERS = {'': 0, 'K': 1, 'M': 2, 'G': 3, 'T': 4}
_SHAPE = re.compile(r'\d+(x\d+)*')
_LIMITS = ('min', 'opt', 'max')
_PROFILE_EXAMPLE = 'batch:images=1x3x320x320,4x3x320x320,8x3x320x320'
Range = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


class ValueProblem(Exception):
    """A value that cannot be used; the message goes on after the name and the value."""


@dataclass(frozen=True)
class Setting:
    """
    One setting of a command.

    :param name: its key in a JSON file; with hyphens, its option on the command line.
    :param read: makes its final value, or raises :class:`ValueProblem`.
    :param description: one sentence, for the help.
    :param metavar: what stands for its value in the help; empty for a switch.
    :param group: heading in the help.
    :param is_path: whether it is a path, relative to the JSON file or to the working directory.
    :param is_list: whether it may be given more than once.
    :param is_json_only: whether it has no option on the command line.
    :param option: its option on the command line, where that is not its name.
    """

    name: str
    read: Callable[[Any], Any]
    description: str
    metavar: str = ''
    group: str = 'engine'
    is_path: bool = False
    is_list: bool = False
    is_json_only: bool = False
    option: str = ''

    @property
    def flag(self) -> str:
        """How it is written on the command line."""
        return '--' + (self.option or self.name).replace('_', '-')


def path(value: Any) -> Path:
    """Read the path of a file or folder."""
    text_value = text(value)
    if '\0' in text_value:
        raise ValueProblem('expected a path without NUL')
    try:
        return Path(text_value).expanduser()
    except RuntimeError as error:
        raise ValueProblem(f'expected a path ({error})') from error


def text(value: Any) -> str:
    """Read text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueProblem('expected text that is not empty')
    return value


def texts(value: Any) -> tuple[str, ...]:
    """Read a list of texts."""
    if not isinstance(value, list) or not all(isinstance(one, str) and one.strip()
                                              for one in value):
        raise ValueProblem('expected a list of texts, for example ["/head/*", "Softmax"]')
    return tuple(value)


def choice(choices: tuple[str, ...]) -> Callable[[Any], str]:
    """Return what reads one of some words."""
    def read(value: Any) -> str:
        if value in choices and isinstance(value, str):
            return value
        near = nearest(str(value), choices)
        hint = f'; did you mean {near!r}?' if near else ''
        raise ValueProblem(f'expected one of {", ".join(choices)}{hint}')
    return read


def switch(value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ValueProblem('expected true or false')
    return value


def integer(minimum: int, maximum: int) -> Callable[[Any], int]:
    """Return what reads a whole number in a range."""
    def read(value: Any) -> int:
        number = value
        if isinstance(value, str) and re.fullmatch(r'[+-]?\d{1,18}', value.strip()):
            number = int(value)
        if not isinstance(number, int) or isinstance(number, bool):
            raise ValueProblem(f'expected a whole number from {minimum} to {maximum}')
        if not minimum <= number <= maximum:
            raise ValueProblem(f'expected {minimum} to {maximum}')
        return number
    return read


def number(minimum: float, maximum: float, unit: str = '') -> Callable[[Any], float]:
    """Return what reads a number in a range."""
    unit = f' {unit}' if unit else ''

    def read(value: Any) -> float:
        try:
            found = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            found = math.nan
        if not minimum <= found <= maximum:
            raise ValueProblem(f'expected a number from {minimum:g} to {maximum:g}{unit}')
        return found
    return read


def size(value: Any) -> int:
    """Read a number of bytes: a whole number, or text such as ``512MiB``; units are binary."""
    found = -1
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if match:
            found = int(float(match[1]) * 1024 ** _POWERS[(match[2] or '').upper()])
    elif isinstance(value, int) and not isinstance(value, bool):
        found = value
    if not 1 << 20 <= found <= 1 << 44:
        raise ValueProblem('expected bytes, or a size from 1MiB to 16TiB such as 512MiB or 2GiB')
    return found


def profiles(value: Any) -> tuple[OptimizationProfile, ...]:
    """
    Read named ranges of shapes.

    :param value: as JSON an object of profiles by name; from the command line a list of texts,
        one for an input of a profile.
    """
    if isinstance(value, list):
        return _profiles_of_texts(value)
    example = '{"batch": {"images": {"min": [1, 3, 320, 320], "opt": [4, ...], "max": [8, ...]}}}'
    if not isinstance(value, dict) or not value:
        raise ValueProblem(f'expected profiles by name, such as {example}')
    found = []
    for name, inputs in value.items():
        if not name.strip() or not isinstance(inputs, dict) or not inputs:
            raise ValueProblem(f'in profile {name!r} expected inputs by name, such as {example}')
        found.append(OptimizationProfile(name, {
            tensor: _range(name, tensor, shapes) for tensor, shapes in inputs.items()}))
    return tuple(found)


def _profiles_of_texts(entries: list[Any]) -> tuple[OptimizationProfile, ...]:
    found: dict[str, dict[str, Range]] = {}
    for entry in entries:
        # A tensor may be called image_tensor:0, so only the first colon and the last = divide.
        name, colon, rest = str(entry).partition(':')
        tensor, equals, shapes = rest.rpartition('=')
        limits = shapes.split(',')
        if not (name.strip() and colon and tensor and equals) or len(limits) not in (1, 3) or any(
                not _SHAPE.fullmatch(one.strip()) for one in limits):
            raise ValueProblem(f'found {entry!r}, expected PROFILE:INPUT=MIN,OPT,MAX such as '
                               f'{_PROFILE_EXAMPLE}')
        inputs = found.setdefault(name, {})
        if tensor in inputs:
            raise ValueProblem(f'profile {name!r} has input {tensor!r} twice; keep one of them')
        lists = [[int(side) for side in one.strip().split('x')] for one in limits]
        inputs[tensor] = _range(name, tensor, dict(zip(
            _LIMITS, lists if len(lists) == 3 else lists * 3)))
    return tuple(OptimizationProfile(name, inputs) for name, inputs in found.items())


def _range(profile: str, tensor: str, shapes: Any) -> Range:
    where = f'input {tensor!r} of profile {profile!r}'
    if isinstance(shapes, list):
        is_three = len(shapes) == 3 and all(isinstance(shape, list) for shape in shapes)
        shapes = dict(zip(_LIMITS, shapes if is_three else [shapes] * 3))
    if not isinstance(shapes, Mapping) or set(shapes) != set(_LIMITS):
        found = f'has {", ".join(map(repr, shapes)) or "nothing"}' if isinstance(
            shapes, Mapping) else f'is {shapes!r}'
        raise ValueProblem(f'{where} {found}, expected min, opt and max')
    result = []
    for limit in _LIMITS:
        shape = shapes[limit]
        if not isinstance(shape, list) or not shape or not all(
                isinstance(side, int) and not isinstance(side, bool) and 0 <= side < 1 << 31
                for side in shape):
            raise ValueProblem(f'{limit} of {where} is {shape!r}, expected sizes such as '
                               f'[1, 3, 320, 320]')
        result.append(tuple(shape))
    smallest, usual, largest = result
    if not len(smallest) == len(usual) == len(largest):
        raise ValueProblem(f'min, opt and max of {where} have {len(smallest)}, {len(usual)} and '
                           f'{len(largest)} dimensions, expected the same number')
    if any(not low <= middle <= high for low, middle, high in zip(smallest, usual, largest)):
        raise ValueProblem(f'{where} has min {list(smallest)}, opt {list(usual)} and max '
                           f'{list(largest)}, expected min <= opt <= max in every dimension')
    return smallest, usual, largest
