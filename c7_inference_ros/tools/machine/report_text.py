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

"""Findings as a table for people: headings, a verdict a line, and commands as they are typed."""

from __future__ import annotations

import textwrap
from typing import Iterator
from typing import Sequence

from c7_inference_ros.tools.machine.findings import Finding
from c7_inference_ros.tools.machine.findings import Verdict

_STYLES = {Verdict.OK: 'green', Verdict.WARN: 'yellow', Verdict.MISSING: 'red',
           Verdict.UNKNOWN: 'yellow', Verdict.REFUSED: 'red'}
_VERDICT_WIDTH = max(len(verdict.value) for verdict in Verdict)
_MAX_NAME, _MIN_TEXT = 26, 40

Line = tuple[tuple[str, str], ...]


def report_lines(findings: Sequence[Finding], columns: int = 0) -> Iterator[Line]:
    """
    Yield the lines of a report, each in (text, style) pieces.

    :param columns: width of the terminal; 0 breaks no line.
    """
    names = [len(finding.name) for finding in findings]
    width = min(max(names, default=0), _MAX_NAME)
    indent = ' ' * (_VERDICT_WIDTH + width + 6)
    room = max(_MIN_TEXT, columns - len(indent)) if columns else 0
    section = ''
    for finding in findings:
        if finding.section != section:
            if section:
                yield (('', ''),)
            section = finding.section
            yield ((section, 'bold'),)
        first, *others = _wrapped(finding.text, room)
        verdict = finding.verdict
        yield ((f'  {verdict.value.ljust(_VERDICT_WIDTH)}', _STYLES[verdict]),
               (f'  {finding.name.ljust(width)}  {first}', ''))
        for line in others:
            yield ((f'{indent}{line}', ''),)
        for line in _wrapped(finding.advice, room) if finding.advice else ():
            yield ((f'{indent}{line}', 'dim'),)
        for command in finding.commands:
            yield ((f'{indent}$ {command}', 'bold'),)


def _wrapped(text: str, room: int) -> list[str]:
    if not room:
        return [text]
    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or ['']
