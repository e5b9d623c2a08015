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

"""What was looked at, what was found, and what mends it; plain records."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from enum import Enum
from typing import Any
from typing import Mapping


class Verdict(str, Enum):
    """What a finding means."""

    OK = 'ok'
    #: It works, and worse or less safely than it could.
    WARN = 'warn'
    #: It is not there, or does not work.
    MISSING = 'missing'
    #: It cannot be told here.
    UNKNOWN = 'unknown'
    #: The node would refuse it.
    REFUSED = 'refused'


@dataclass(frozen=True)
class Finding:
    """
    One line of the report.

    :param section: heading that it stands under.
    :param name: what was looked at.
    :param verdict: what it means.
    :param text: what was found, one line.
    :param advice: what is wrong with it and what to do, one line; empty when nothing is.
    :param commands: what to type, each line as it stands.
    :param is_blocking: whether the node does not start like this.
    :param values: the same for programs, plain values by name.
    """

    section: str
    name: str
    verdict: Verdict
    text: str
    advice: str = ''
    commands: tuple[str, ...] = ()
    is_blocking: bool = False
    values: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {'section': self.section, 'name': self.name, 'verdict': self.verdict.value,
                'text': self.text, 'advice': self.advice, 'commands': list(self.commands),
                'is_blocking': self.is_blocking, 'values': dict(self.values)}
