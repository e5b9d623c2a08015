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

"""Parameter files of a node: read flat, written nested."""

from __future__ import annotations

from pathlib import Path
import textwrap
from typing import Any
from typing import Iterable
from typing import Mapping

from demo.errors import DemoError

_KEY = 'ros__parameters'


def read_parameters(path: Path) -> dict[str, Any]:
    """
    Return value by full parameter name, such as ``models.person.path``.

    :raises DemoError: when the file is no parameter file.
    """
    import yaml
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = ' '.join(str(error).split())
        raise DemoError(f'{path} cannot be read as YAML ({reason})', exit_code=2) from error
    groups = [group[_KEY] for group in content.values()
              if isinstance(group, dict) and isinstance(group.get(_KEY), dict)
              ] if isinstance(content, dict) else []
    if not groups:
        raise DemoError(f'{path} has no {_KEY}, expected a parameter file as config/demo.yaml',
                        exit_code=2)
    flat: dict[str, Any] = {}
    for group in groups:
        _flatten(group, '', flat)
    return flat


def write_parameters(values: Mapping[str, Any], comments: Iterable[str], path: Path) -> None:
    """
    Write a parameter file for any node name.

    :param comments: paragraphs for its head.
    """
    import yaml
    nested: dict[str, Any] = {}
    for name, value in values.items():
        *groups, leaf = name.split('.')
        target = nested
        for group in groups:
            target = target.setdefault(group, {})
        target[leaf] = list(value) if isinstance(value, tuple) else value
    lines = [line for text in comments for line in textwrap.wrap(text, 95) or ['']]
    head = ''.join(f'# {line}'.rstrip() + '\n' for line in lines)
    body = yaml.safe_dump({'/**': {_KEY: nested}}, sort_keys=False, allow_unicode=True,
                          default_flow_style=None, width=95)
    path.write_text(f'{head}{body}', encoding='utf-8')


def _flatten(group: Mapping[str, Any], prefix: str, into: dict[str, Any]) -> None:
    for key, value in group.items():
        if isinstance(value, dict):
            _flatten(value, f'{prefix}{key}.', into)
        else:
            into[f'{prefix}{key}'] = value
