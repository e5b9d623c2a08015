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

"""The power mode of a Jetson, as nvpmodel keeps it on disk."""

from __future__ import annotations

import re

from c7_inference_ros.thermal.state import Reading
from c7_inference_ros.thermal.sysfs import SysfsReader

#: What was asked for last: ``pmode:0002``, on older releases followed by ``fmode:quiet``.
STATUS = 'var/lib/nvpmodel/status'
#: Names the file that ``nvpmodel -f`` was given.
CONFIG_PATH = 'var/lib/nvpmodel/conf_file_path'
CONFIG = 'etc/nvpmodel.conf'

_MODE = re.compile(r'pmode:\s*([0-9]{1,9})\b')
_DEFINITION = re.compile(
    r'^[ \t]*<[ \t]*POWER_MODEL[ \t]+ID=([0-9]{1,9})[ \t]+NAME=([\w.+-]{1,64})[ \t]*>',
    re.MULTILINE)
_PATH = re.compile(r'(?:/[\w.+@-]+)+')
_IN_CONTAINER = 'in a container mount /var/lib/nvpmodel and /etc/nvpmodel.conf read only'


class PowerMode:
    """
    Reads the power mode without privilege and without running ``nvpmodel``.

    It is the mode that was asked for last. A board that needs a restart to enter it, or whose
    nvpmodel service failed, still runs another: the clocks at most tell what is in force.
    """

    def __init__(self) -> None:
        """Start with no names known."""
        self._text: str | None = None
        self._names: dict[int, str] = {}

    def read(self, host: SysfsReader) -> dict[str, Reading[str]]:
        """
        Return ``power_mode``, its name, and ``power_mode_id``, its number; with a fault, less.

        :param host: reads below the root of the file system, not of sysfs.
        """
        faults_before = len(host.faults)
        status = host.text(STATUS)
        if status is None:
            if len(host.faults) == faults_before:
                host.faults.append(f'{STATUS} is missing, the power mode is unknown;'
                                   f' {_IN_CONTAINER}')
            return {}
        found = _MODE.search(status)
        if found is None:
            what = repr(status[:40]) if status else 'nothing'
            host.faults.append(f'{STATUS} holds {what}, expected pmode: and the number of the'
                               ' power mode')
            return {}
        number = int(found[1])
        settings = {'power_mode_id': Reading(str(number), STATUS)}
        name = self._name(host, number)
        if name is not None:
            settings['power_mode'] = Reading(name, STATUS)
        return settings

    def _name(self, host: SysfsReader, number: int) -> str | None:
        faults_before = len(host.faults)
        named = host.text(CONFIG_PATH, constant=True) or ''
        config = named[1:] if _PATH.fullmatch(named) and '..' not in named else CONFIG
        text = host.text(config, constant=True)
        if text is None:
            if len(host.faults) == faults_before:
                host.faults.append(f'{config} is missing, the name of power mode {number} is'
                                   f' unknown; {_IN_CONTAINER}')
            return None
        if text is not self._text:
            self._text = text
            self._names = {int(mode): name for mode, name in _DEFINITION.findall(text)}
        name = self._names.get(number)
        if name is None:
            host.faults.append(f'{config} defines no power mode {number}, its name is unknown;'
                               f' expected a line < POWER_MODEL ID={number} NAME=... >')
        return name
