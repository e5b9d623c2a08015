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
How pybind11 makes Python classes of TensorRT's, for the doubles.

A class of a double is written once, with what any generation has; :func:`bind` makes the class of
one generation, with only the names that this generation has (``tensorrt_api.json``). As with the
real binding: objects take no new attributes, a subclass must call the initialiser of its base,
an enum never equals a number, and an exception in a callback is printed and lost.
"""

from __future__ import annotations

from functools import cache
import json
from pathlib import Path
import sys
from typing import Any
from typing import Iterable

RECORD = Path(__file__).with_name('tensorrt_api.json')


@cache
def recorded_api() -> Any:
    """Return names and values of every generation; their origin is recorded beside them."""
    return json.loads(RECORD.read_text(encoding='utf-8'))


class EnumMember:
    """One value of an enum."""

    _arithmetic = False
    __members__: dict[str, Any] = {}

    def __init__(self, value: int) -> None:
        """Make a value from a number; the number need not have a name."""
        if not isinstance(value, int):
            raise TypeError('__init__(): incompatible constructor arguments')
        self.value = int(value)

    @property
    def name(self) -> str:
        """The name, or ``???``."""
        return next((name for name, one in type(self).__members__.items()
                     if one.value == self.value), '???')

    def __int__(self) -> int:
        """Return the number."""
        return self.value

    __index__ = __int__
    __hash__ = __int__

    def __eq__(self, other: object) -> bool:
        """Compare with its own kind; it never equals a number."""
        return type(other) is type(self) and self.value == other.value

    def _compared(self, other: Any) -> int:
        if not self._arithmetic:
            raise TypeError(f'order is not supported between instances of {type(self).__name__!r}')
        if type(other) is not type(self):
            raise TypeError('Expected an enumeration of matching type!')
        return self.value - int(other)

    def __lt__(self, other: Any) -> bool:
        """Order."""
        return self._compared(other) < 0

    def __le__(self, other: Any) -> bool:
        """Order."""
        return self._compared(other) <= 0

    def __gt__(self, other: Any) -> bool:
        """Order."""
        return self._compared(other) > 0

    def __ge__(self, other: Any) -> bool:
        """Order."""
        return self._compared(other) >= 0

    def __repr__(self) -> str:
        """Show name and number."""
        return f'<{type(self).__name__}.{self.name}: {self.value}>'

    def __str__(self) -> str:
        """Show the name."""
        return f'{type(self).__name__}.{self.name}'


def make_enum(name: str, members: dict[str, int], arithmetic: bool) -> Any:
    """Return an enum as pybind11 makes it."""
    kind = type(name, (EnumMember,), {'_arithmetic': arithmetic})
    made = {key: kind(value) for key, value in members.items()}
    kind.__members__ = made  # type: ignore[attr-defined]
    for key, value in made.items():
        setattr(kind, key, value)
    return kind


class BoundMeta(type):
    """Checks what pybind11 checks when an object is made."""

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        """Make an object; the initialiser of the bound base must have run."""
        if not cls._is_constructible:  # type: ignore[attr-defined]
            raise TypeError(f'{cls.__module__}.{cls.__name__}: No constructor defined!')
        made = super().__call__(*arguments, **named)
        if not made.__dict__.get('_is_initialized'):
            bound = next(one for one in cls.__mro__ if '_is_bound' in vars(one))
            raise TypeError(f'{bound.__module__}.{bound.__name__}.__init__() must be called '
                            f'when overriding __init__')
        return made


class Bound(metaclass=BoundMeta):
    """Base of every class of a TensorRT double."""

    _is_constructible = False
    _trt: Any = None
    _gpu: Any = None

    def __init__(self) -> None:
        """Initialise an interface that applications implement."""
        self._is_initialized = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Take known properties only, except in a class of the application."""
        kind = type(self)
        if not (name.startswith('_') or '_is_bound' not in vars(kind)
                or isinstance(getattr(kind, name, None), property)):
            raise AttributeError(f'{kind.__module__}.{kind.__name__!r} object has no attribute '
                                 f'{name!r}')
        object.__setattr__(self, name, value)

    @classmethod
    def _make(cls, *arguments: Any, **named: Any) -> Any:
        """Make an object that applications cannot make."""
        made = object.__new__(cls)
        made._is_initialized = True
        made._set_up(*arguments, **named)
        return made

    def _set_up(self) -> None:
        """Fill a new object."""


def setting(name: str, default: Any = None, doc: str = '') -> property:
    """Return a property that only remembers."""
    def get(self: Any) -> Any:
        return self.__dict__.get(f'_{name}', default)

    def put(self: Any, value: Any) -> None:
        self.__dict__[f'_{name}'] = value

    return property(get, put, doc=doc or name)


def write_only(put: Any) -> property:
    """Return a property that can be set and not read."""
    return property(None, put)


def bind(template: type, module_name: str, names: Iterable[str], bases: tuple[type, ...],
         extra: dict[str, Any]) -> Any:
    """
    Make the class of one generation.

    :param template: what any generation has.
    :param module_name: what the class says it is from.
    :param names: the public names this generation has.
    :param bases: bound classes it inherits from.
    :param extra: what the class knows: ``_trt``, ``_gpu``.
    """
    allowed = set(names)
    parts = [part for part in reversed(template.__mro__)
             if part is not object and not issubclass(Bound, part)]
    namespace = {name: value for part in parts for name, value in vars(part).items()
                 if (name.startswith('_') and name not in ('__dict__', '__weakref__'))
                 or name in allowed}
    namespace.update(extra, _is_bound=True, __module__=module_name)
    return BoundMeta(template.__name__, bases, namespace)


def override(owner: Any, name: str, is_reported: bool = True) -> Any:
    """Return a method that the application overrode, or None."""
    for kind in type(owner).__mro__:
        if '_is_bound' in vars(kind):
            break
        if name in vars(kind):
            return getattr(owner, name)
    if is_reported:
        print(f'[ERROR] Could not find override for {name}', file=sys.stderr)
    return None


def call_back(owner: Any, name: str, *arguments: Any, default: Any = None,
              label: str = '', is_reported: bool = True) -> Any:
    """Call a method of the application; what it raises is printed and lost."""
    function = override(owner, name, is_reported)
    if function is None:
        return default
    try:
        return function(*arguments)
    except Exception as error:
        print(f'[ERROR] Exception caught in {label or name}(): {type(error).__name__}: {error}',
              file=sys.stderr)
        return default


def report(owner: Any, method: str, code: int, kind: str, text: str) -> None:
    """
    Say why something failed: to the recorder if there is one, else to the logger.

    :param owner: has ``_logger`` and ``error_recorder``.
    :param method: the C++ method, for example ``IRuntime::deserializeCudaEngine``.
    :param code: number of ErrorCodeTRT.
    """
    trt = owner._trt
    message = f'{method}: Error Code {code}: {kind} ({text})'
    recorder = owner.__dict__.get('_error_recorder')
    if recorder is not None:
        call_back(recorder, 'report_error', trt.ErrorCodeTRT(code), message)
    else:
        log(owner, trt.ILogger.Severity.ERROR, message)


def log(owner: Any, severity: Any, text: str) -> None:
    """Say something to the logger."""
    logger = owner._logger
    if '_is_bound' in vars(type(logger)):
        logger._write(severity, text)
    else:
        call_back(logger, 'log', severity, text)
