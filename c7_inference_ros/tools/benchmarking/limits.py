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

"""Limits of a release: what a configuration may take, and whether it does."""

from __future__ import annotations

from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any
from typing import Iterable
from typing import Mapping

from c7_inference_ros.config import NodeConfig
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.parameter_spec import nearest
from c7_inference_ros.tools.benchmarking.durations import Bounds

P95, LOAD, RATIO = 'p95_ms', 'deserialise_p95_s', 'ratio_to_raw'
DEVICE, HOST = 'device_memory_bytes', 'host_memory_bytes'
#: What one model may have a limit of its own for.
OF_MODEL = (P95, LOAD, RATIO)
OF_ALL = (*OF_MODEL, DEVICE, HOST)
#: What a limit means, and its unit.
WORDS: Mapping[str, tuple[str, str]] = {
    P95: ('p95 of the whole pipeline', 'ms'), LOAD: ('p95 of loading', 's'),
    RATIO: ('pipeline against the raw engine (p50)', ''),
    DEVICE: ('device memory', 'bytes'), HOST: ('host memory', 'bytes')}
#: Longest time to load a model unless the file says otherwise, seconds.
LOAD_LIMIT_S = 5.0
_EXAMPLE = 'config/benchmark_limits.yaml'
_MODELS = 'models'


@dataclass(frozen=True)
class Limit:
    """
    One limit.

    :param key: of :data:`OF_ALL`.
    :param model: empty for all models together.
    :param allowed: largest good value, in the unit of its key.
    :param origin: where it is written, for people.
    """

    key: str
    model: str
    allowed: float
    origin: str


@dataclass(frozen=True)
class Verdict:
    """
    A limit and what was found.

    :param found: None where it was not measured, which breaks the limit.
    :param bounds: of what was found, where it is uncertain.
    """

    limit: Limit
    found: float | None
    bounds: Bounds = Bounds(None, None)

    @property
    def is_broken(self) -> bool:
        """Whether the limit is not kept."""
        return self.found is None or not self.found <= self.limit.allowed

    @property
    def is_certain(self) -> bool:
        """Whether more samples are unlikely to change the answer."""
        low, high = self.bounds
        if self.found is None or low is high is None:
            return True
        return (low is not None and low > self.limit.allowed if self.is_broken
                else high is not None and high <= self.limit.allowed)

    @property
    def text(self) -> str:
        """Return what is wrong, or right, in one line."""
        words, unit = WORDS[self.limit.key]
        whose = f'models.{self.limit.model}: ' if self.limit.model else ''
        if self.found is None:
            return (f'{whose}{words} was not measured, allowed {_amount(self.limit.allowed, unit)}'
                    f' ({self.limit.origin})')
        doubt = ''
        if not self.is_certain:
            doubt = ('; too few samples to be sure' if None in self.bounds
                     else '; too close to be sure, take more samples')
        return (f'{whose}{words} is {_amount(self.found, unit)}, allowed '
                f'{_amount(self.limit.allowed, unit)} ({self.limit.origin}){doubt}')

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return {'limit': self.limit.key, 'model': self.limit.model, 'found': self.found,
                'low': self.bounds.low, 'high': self.bounds.high, 'allowed': self.limit.allowed,
                'unit': WORDS[self.limit.key][1], 'origin': self.limit.origin,
                'is_broken': self.is_broken, 'is_certain': self.is_certain}


def limits_of(config: NodeConfig, path: Path | None = None) -> list[Limit]:
    """
    Return the limits of a configuration.

    What the file does not name comes from the parameters, or is 5 s for loading a model.

    :param path: YAML as ``config/benchmark_limits.yaml``; None for the defaults.
    :raises ConfigurationError: with one line for everything that is wrong with the file.
    """
    content = {} if path is None else _read(path)
    name = '' if path is None else path.name
    problems = [] if path is None else _problems(path, content, config)
    if problems:
        raise ConfigurationError(problems)
    defaults: dict[str, tuple[float, str]] = {
        P95: (config.diagnostics.max_allowed_processing_time * 1e3,
              'diagnostics.max_allowed_processing_time'),
        LOAD: (LOAD_LIMIT_S, 'default'),
        DEVICE: (config.memory.device_budget_bytes, 'memory.device_budget_bytes'),
        HOST: (config.memory.host_budget_bytes, 'memory.host_budget_bytes')}
    of_models = content.get(_MODELS) or {}
    found = []
    for key in OF_ALL:
        for model in config.models if key in OF_MODEL else ('',):
            own = of_models.get(model) or {}
            if key in own:
                value, origin = own[key], f'{name}: {_MODELS}.{model}.{key}'
            elif key in content:
                value, origin = content[key], f'{name}: {key}'
            else:
                value, origin = defaults.get(key, (None, ''))
            if value is not None:
                found.append(Limit(key, model, float(value), origin))
    return found


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f'--limits {path} cannot be read ({error.strerror or error}); '
                                 f'correct the path') from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f'--limits {path} is no YAML ({" ".join(str(error).split())}); '
                                 f'expected limits as in {_EXAMPLE}') from error
    if not isinstance(content, dict) or not content:
        raise ConfigurationError(f'--limits {path} holds {_kind(content)}, expected limits as in '
                                 f'{_EXAMPLE}')
    return content


def _problems(path: Path, content: Mapping[Any, Any], config: NodeConfig) -> list[str]:
    problems = _unknown(path, '', content, (*OF_ALL, _MODELS))
    problems += _wrong_values(path, '', content, OF_ALL)
    models = content.get(_MODELS)
    if models is None:
        return problems
    if not isinstance(models, dict):
        return [*problems, f'{path}: {_MODELS} is {_kind(models)}, expected limits by model']
    problems += _unknown(path, f'{_MODELS}.', models, config.models)
    for model, own in models.items():
        prefix = f'{_MODELS}.{model}.'
        if not isinstance(own, dict):
            problems.append(f'{path}: {prefix[:-1]} is {_kind(own)}, expected some of '
                            f'{", ".join(OF_MODEL)}')
            continue
        problems += _unknown(path, prefix, own, OF_MODEL)
        problems += _wrong_values(path, prefix, own, OF_MODEL)
    return problems


def _unknown(path: Path, prefix: str, found: Iterable[Any], known: Iterable[str]) -> list[str]:
    known = tuple(known)
    lines = []
    for key in found:
        if key not in known:
            near = nearest(str(key), known)
            hint = f'did you mean {prefix}{near}?' if near else f'expected {", ".join(known)}'
            lines.append(f'{path}: unknown limit {prefix}{key}; {hint}')
    return lines


def _wrong_values(path: Path, prefix: str, found: Mapping[Any, Any], known: Iterable[str]
                  ) -> list[str]:
    return [f'{path}: {prefix}{key} is {found[key]!r}, expected a number above 0, or null for no '
            f'limit' for key in known if key in found and not _is_limit(found[key])]


def _is_limit(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)
                             and math.isfinite(value) and value > 0)


def _kind(value: Any) -> str:
    return 'nothing' if not value else f'a {type(value).__name__}'


def _amount(value: float, unit: str) -> str:
    if unit == 'bytes':
        return f'{value / (1 << 20):.1f} MiB'
    return f'{value:.4g} {unit}'.rstrip()
