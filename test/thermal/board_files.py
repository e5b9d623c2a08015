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

"""Reads the files of ``boards/``, whose README describes the format."""

from dataclasses import dataclass
from pathlib import Path
import re

_FOLDER = Path(__file__).parent / 'boards'
_ENTRY = re.compile(r'(\S+?)(: | -> | := | ! |:$)(.*)')
_NUMBERED = re.compile(r'\b(thermal_zone|cooling_device|hwmon)([0-9]+)\b')


@dataclass(frozen=True)
class Entry:
    """
    One thing in the file system of a board.

    :param path: relative to its root.
    :param content: bytes of a file, None for anything else.
    :param target: where a link leads to.
    :param error: the name of the errno that reading gives.
    """

    path: str
    content: bytes | None = None
    target: str | None = None
    error: str | None = None


def read_board(board):
    """Return the entries of a board file in its order; the README there has the format."""
    entries, folder, lines = [], None, None
    text = (_FOLDER / f'{board}.txt').read_text(encoding='ascii')
    for number, line in enumerate(text.splitlines(), start=1):
        if lines is not None:
            if line == '|' or line.startswith('| '):
                lines.append(line[2:])
                continue
            entries.append(Entry(lines[0], ''.join(f'{x}\n' for x in lines[1:]).encode()))
            lines = None
        if not line.strip() or line.startswith('#'):
            continue
        if line.startswith('[') and line.endswith(']'):
            folder = line[1:-1]
            entries.append(Entry(folder))
            continue
        match = _ENTRY.fullmatch(line)
        if match is None or folder is None:
            raise ValueError(f'{board}.txt:{number}: {line!r} is not an entry')
        name, separator, value = match.groups()
        path = f'{folder}/{name}'
        if separator == ':':
            lines = [path]
        elif separator == ': ':
            entries.append(Entry(path, f'{value}\n'.encode()))
        elif separator == ' := ':
            entries.append(Entry(path, value.encode().decode('unicode_escape').encode('latin-1')))
        elif separator == ' -> ':
            entries.append(Entry(path, target=value))
        else:
            entries.append(Entry(path, error=value))
    if lines is not None:
        entries.append(Entry(lines[0], ''.join(f'{x}\n' for x in lines[1:]).encode()))
    return entries


def renumbered(entries, chance):
    """Return the entries with every number of a kernel device changed."""
    found = {}
    for entry in entries:
        for kind, number in _NUMBERED.findall(entry.path):
            found.setdefault(kind, set()).add(number)
    new = {}
    for kind, numbers in sorted(found.items()):
        old = sorted(numbers, key=int)
        mixed = list(old)
        while any(a == b for a, b in zip(old, mixed)) and len(old) > 1:
            chance.shuffle(mixed)
        new.update({kind + a: kind + b for a, b in zip(old, mixed)})

    def rename(text):
        return _NUMBERED.sub(lambda match: new[match.group()], text)

    return [Entry(rename(entry.path), entry.content,
                  None if entry.target is None else rename(entry.target), entry.error)
            for entry in entries]


def read_power_mode(text, number):
    """Return (paths by parameter and argument, (parameter, argument, value) of one mode)."""
    parameters, settings, files, model = {}, [], None, None
    for line in text.splitlines():
        if line.startswith('#') or not line.strip():
            continue
        if line.startswith('<'):
            fields = dict(re.findall(r'(\w+)=(\S+)', line))
            is_parameter = 'PARAM' in line.split('TYPE')[0]
            files = parameters.setdefault(fields['NAME'], {}) if is_parameter else None
            model = int(fields['ID']) if 'ID' in fields else None
        elif files is not None:
            argument, path = line.split()
            files[argument] = path
        elif model == number:
            settings.append(tuple(line.split()))
    if not settings:
        raise ValueError(f'etc/nvpmodel.conf has no power mode {number}')
    return parameters, settings
