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

"""Reading the parameter file of the node without ROS, as a ROS 2 node reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from typing import Mapping

from c7_inference_ros.config import is_ros_parameter
from c7_inference_ros.config import load_config
from c7_inference_ros.config import NodeConfig
from c7_inference_ros.errors import ConfigurationError

_KEY = 'ros__parameters'
_EVERY_NODE = ('/**', '**', '/*', '*')


def load_parameter_file(path: Path, node_name: str = '') -> NodeConfig:
    """
    Read a parameter file and check every value; what ROS itself declares is not looked at.

    :param path: YAML with ``ros__parameters``.
    :param node_name: whose parameters, with or without namespace; not needed where the file has
        those of one node or of every node.
    :raises ConfigurationError: with one line for everything that is wrong, each with the file.
    """
    try:
        return load_config({name: value for name, value in read_parameter_file(
            path, node_name).items() if not is_ros_parameter(name)})
    except ConfigurationError as error:
        raise ConfigurationError(
            problem if problem.startswith(str(path)) else f'{path}: {problem}'
            for problem in error.problems) from error


def read_parameter_file(path: Path, node_name: str = '') -> dict[str, Any]:
    """
    Return value by full parameter name, such as ``models.detector.path``.

    What a file says of one node goes over what it says of every node.

    :raises ConfigurationError: it cannot be read, or does not tell which node is meant.
    """
    groups = _groups(path)
    names = [name for name in groups if name not in _EVERY_NODE]
    if node_name:
        chosen = [name for name in names if node_name in (name, name.lstrip('/'),
                                                          name.rpartition('/')[2])]
        if not chosen and len(names) == len(groups):
            raise ConfigurationError(
                f'{path} has no parameters of node {node_name!r}, found {", ".join(names)}; '
                f'correct the name')
    elif len(names) > 1:
        raise ConfigurationError(
            f'{path} has parameters of {len(names)} nodes ({", ".join(names)}); say which one is '
            f'meant with --node-name')
    else:
        chosen = names
    flat: dict[str, Any] = {}
    for name in [*(name for name in groups if name in _EVERY_NODE), *chosen]:
        _flatten(groups[name], '', flat)
    return flat


def _groups(path: Path) -> dict[str, Mapping[str, Any]]:
    import yaml

    try:
        content = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f'{path} cannot be read ({error.strerror}); correct the path'
                                 ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f'{path} is no YAML ({" ".join(str(error).split())}); expected a parameter file as '
            f'config/inference.yaml') from error
    groups: dict[str, Mapping[str, Any]] = {}
    _find_groups(content, '', groups)
    if not groups:
        raise ConfigurationError(f'{path} has no {_KEY}; expected a parameter file as '
                                 f'config/inference.yaml')
    return groups


def _find_groups(content: Any, prefix: str, into: dict[str, Mapping[str, Any]]) -> None:
    """Collect the parameters by node; a namespace may be a level of its own."""
    if not isinstance(content, dict):
        return
    for name, inner in content.items():
        if name == _KEY and isinstance(inner, dict):
            into[prefix or '/**'] = inner
        elif isinstance(name, str):
            _find_groups(inner, f'{prefix.rstrip("/")}/{name.strip("/")}' if prefix else name,
                         into)


def _flatten(group: Mapping[str, Any], prefix: str, into: dict[str, Any]) -> None:
    for key, value in group.items():
        if isinstance(value, dict):
            _flatten(value, f'{prefix}{key}.', into)
        else:
            into[f'{prefix}{key}'] = value
