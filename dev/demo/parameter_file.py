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

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.node_parameters import read_parameter_file
from demo.errors import DemoError

_KEY = 'ros__parameters'


def read_parameters(path: Path) -> dict[str, Any]:
    """
    Return value by full parameter name, such as ``models.person.path``.

    :raises DemoError: when the file is no parameter file.
    """
    try:
        return read_parameter_file(path)
    except ConfigurationError as error:
        raise DemoError(str(error), exit_code=2) from error


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
