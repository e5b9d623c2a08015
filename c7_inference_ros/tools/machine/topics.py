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

"""Whether ROS 2 would take a topic name, told without ROS."""

from __future__ import annotations

import re

_TOKEN = re.compile(r'(?:[A-Za-z_]|\{[A-Za-z_]\w*\})(?:\w|\{[A-Za-z_]\w*\})*', re.ASCII)
_SUBSTITUTIONS = ('{node}', '{ns}', '{namespace}')


def topic_problem(name: str) -> str:
    """Return what is wrong with the name of a topic, or an empty string."""
    if not name:
        return 'is empty'
    if name.endswith('/'):
        return 'ends with /'
    if '//' in name:
        return 'has // in it'
    if '~' in name[1:] or (name.startswith('~') and not name.startswith('~/')):
        return 'has ~ where only ~/ at the beginning is allowed'
    unknown = [one for one in re.findall(r'\{[^{}]*\}', name) if one not in _SUBSTITUTIONS]
    if unknown:
        return f'has {unknown[0]}, expected one of {", ".join(_SUBSTITUTIONS)}'
    for token in name.removeprefix('~').lstrip('/').split('/'):
        if not _TOKEN.fullmatch(token):
            return (f'has the part {token!r}, expected letters, digits and underscores that do '
                    f'not begin with a digit')
    return ''
