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
Change single values in a parameter file and leave every other byte as it is.

A YAML library that reads and writes would lay the file out anew. Here the parser only says where
the values stand; the text around them is not touched. What comes out is parsed again and has to
differ in exactly what was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import re
import tempfile
from typing import Any
from typing import Iterator
from typing import Mapping
from typing import Sequence

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.node_parameters import read_parameter_file

_PLAIN = re.compile(r'[A-Za-z][A-Za-z0-9 _-]*=[0-9.]+')
_BOM = '\ufeff'
_KEY = 'ros__parameters'
_EVERY_NODE = ('/**', '**', '/*', '*')


@dataclass(frozen=True)
class _Entry:
    """One key of a mapping with its value, and the mapping."""

    key: Any
    value: Any
    mapping: Any


def edited_parameters(path: Path, text: str, node_name: str, model: str,
                      changes: Mapping[str, float | Sequence[str]]) -> str:
    """
    Return the text of a parameter file with other values for a model.

    :param path: of the file, for messages.
    :param text: what it holds.
    :param node_name: whose parameters; may be empty as for
        :func:`~c7_inference_ros.tools.node_parameters.load_parameter_file`.
    :param model: name of the model; its ``path`` has to stand in the file.
    :param changes: new value by name without prefix: a number, or texts for an array. Texts that
        the array has under the same name before the ``=`` are replaced, others are added.
    :raises ConfigurationError: the file is laid out so that this cannot be done by itself.
    """
    body = text.removeprefix(_BOM)
    prefix = f'models.{model}.'
    for name, value in changes.items():
        body = _with(path, body, node_name, prefix, name, value)
    before = _parsed(text, node_name)
    expected = {**before, **{
        prefix + name: value if isinstance(value, float)
        else _merged(before.get(prefix + name, ()), value) for name, value in changes.items()}}
    try:
        found = _parsed(body, node_name)
    except ConfigurationError:
        found = {}
    if found != expected:
        raise _unable(path, prefix, 'other values would change with them (an anchor, a merge or '
                      'two places for one value)', changes)
    return text[:len(text) - len(text.removeprefix(_BOM))] + body


def _with(path: Path, text: str, node_name: str, prefix: str, name: str,
          value: float | Sequence[str]) -> str:
    entries = _entries(text, node_name)
    present = entries.get(prefix + name)
    if present is None:
        anchor = entries.get(f'{prefix}path')
        if anchor is None:
            raise _unable(path, prefix, f'{prefix}path stands not in the file itself', {
                name: value})
        return _inserted(text, anchor, name, value)
    if isinstance(value, float):
        return _replaced(text, present.value, _number(value))
    return _with_texts(text, present.value, value)


def _entries(text: str, node_name: str) -> dict[str, _Entry]:
    """Return the keys of a node by full name, each where the value that counts stands."""
    import yaml

    found: dict[str, _Entry] = {}
    groups: dict[str, Any] = {}
    _find_groups(yaml.compose(text, Loader=yaml.SafeLoader), '', groups)
    every = [name for name in groups if name in _EVERY_NODE]
    own = [name for name in groups if name not in _EVERY_NODE and (
        not node_name or node_name in (name, name.lstrip('/'), name.rpartition('/')[2]))]
    for name in [*every, *own]:
        found.update(_walk(groups[name], ''))
    return found


def _parsed(text: str, node_name: str) -> dict[str, Any]:
    """Return value by full name, read as the node's file is read everywhere."""
    with tempfile.NamedTemporaryFile('w', suffix='.yaml', encoding='utf-8', newline='') as file:
        file.write(text)
        file.flush()
        return read_parameter_file(Path(file.name), node_name)


def _find_groups(node: Any, prefix: str, into: dict[str, Any]) -> None:
    for key, value in _pairs(node):
        if key.value == _KEY:
            into[prefix or '/**'] = value
        else:
            _find_groups(value, f'{prefix.rstrip("/")}/{key.value.strip("/")}' if prefix
                         else key.value, into)


def _walk(node: Any, prefix: str) -> Iterator[tuple[str, _Entry]]:
    for key, value in _pairs(node):
        yield f'{prefix}{key.value}', _Entry(key, value, node)
        yield from _walk(value, f'{prefix}{key.value}.')


def _pairs(node: Any) -> Iterator[tuple[Any, Any]]:
    import yaml

    if isinstance(node, yaml.MappingNode):
        yield from ((key, value) for key, value in node.value
                    if isinstance(key, yaml.ScalarNode))


def _replaced(text: str, node: Any, new: str) -> str:
    return text[:node.start_mark.index] + new + text[node.end_mark.index:]


def _inserted(text: str, anchor: _Entry, name: str, value: float | Sequence[str]) -> str:
    """Add a key behind another of the same mapping, in the style of the mapping."""
    # The key may be a dotted one: models.detector.path.
    key = anchor.key.value.rpartition('.')[0]
    name = f'{key}.{name}' if key else name
    if anchor.mapping.flow_style:
        at = anchor.value.end_mark.index
        shown = _number(value) if isinstance(value, float) else _flow(value)
        return f'{text[:at]}, {name}: {shown}{text[at:]}'
    indent = ' ' * anchor.key.start_mark.column
    line = f'{indent}{name}:' + (
        f' {_number(value)}' if isinstance(value, float) else ''.join(
            f'\n{indent}  - {_text(one)}' for one in value))
    return _line_after(text, anchor.value, line)


def _with_texts(text: str, node: Any, new: Sequence[str]) -> str:
    """Replace or add items of a list of ``name=value``, from the last to the first."""
    import yaml

    items = node.value if isinstance(node, yaml.SequenceNode) else ()
    if not items:
        return _replaced(text, node, _flow(new))
    wanted = {_owner(one): one for one in new}
    blank = [item for item in items if not item.value.strip()]
    replaced: dict[int, str] = {}
    for number, item in enumerate(items):
        if _owner(item.value) in wanted and item.value.strip():
            replaced[number] = wanted.pop(_owner(item.value))
    for item in blank:
        if wanted:
            replaced[items.index(item)] = wanted.pop(next(iter(wanted)))
    last = items[-1]
    if wanted and node.flow_style:
        at = last.end_mark.index
        text = text[:at] + ''.join(f', {_text(one)}' for one in wanted.values()) + text[at:]
    elif wanted:
        indent = ' ' * node.start_mark.column
        text = _line_after(text, last, '\n'.join(f'{indent}- {_text(one)}'
                                                 for one in wanted.values()))
    for number in sorted(replaced, reverse=True):
        text = _replaced(text, items[number], _text(replaced[number]))
    return text


def _merged(before: Sequence[str], new: Sequence[str]) -> list[str]:
    """Return what :func:`_with_texts` makes of a list, blank texts replaced first."""
    wanted = {_owner(one): one for one in new}
    result = [wanted.pop(_owner(one), one) if one.strip() else one for one in before]
    for number, one in enumerate(result):
        if not one.strip() and wanted:
            result[number] = wanted.pop(next(iter(wanted)))
    return result + list(wanted.values())


def _line_after(text: str, node: Any, line: str) -> str:
    """Add lines behind the one in which a scalar ends, comment and all."""
    end = text.find('\n', node.end_mark.index)
    newline = '\r\n' if '\r\n' in text else '\n'
    line = line.replace('\n', newline)
    if end < 0:
        return f'{text}{newline}{line}'
    return f'{text[:end + 1]}{line}{newline}{text[end + 1:]}'


def _owner(entry: str) -> str:
    return entry.rpartition('=')[0].strip()


def _number(value: float) -> str:
    return repr(value)


def _flow(texts: Sequence[str]) -> str:
    return f'[{", ".join(_text(one) for one in texts)}]'


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    quoted = text.replace("'", "''")
    return f"'{quoted}'"


def _unable(path: Path, prefix: str, why: str, changes: Mapping[str, Any]) -> ConfigurationError:
    wanted = ', '.join(f'{prefix}{name}: {value}' for name, value in changes.items())
    return ConfigurationError(f'{path} cannot be edited by itself: {why}; write these yourself: '
                              f'{wanted}')
