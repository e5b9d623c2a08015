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

"""Over-current and under-voltage events of a Jetson, counted by its SOCTHERM block."""

from __future__ import annotations

import re
from typing import NamedTuple

from c7_inference_ros.thermal.state import Reading
from c7_inference_ros.thermal.sysfs import SysfsReader

CHIP = 'soctherm_oc'
_COUNTER = re.compile(r'(oc[0-9]+)_event_cnt')
# The driver prints 32 bits without sign.
_MAX_COUNT = 2 ** 32 - 1
# More events than this between two polls are no events: somebody reset or broke the counter.
_MAX_RISE = 1_000_000
# oc3 is missing on purpose: it counts peaks of microseconds, and rises several times a second on
# a healthy board at full load. What ocN_throt_en says is a setting, not an event.
_WARNED = {'oc1': 'under-voltage of the supply', 'oc2': 'average over-current'}


class OverCurrent(NamedTuple):
    """
    What was counted, as in :class:`~.state.DeviceState`.

    :param events: counter name (``oc1``) to events since the last poll that could read it.
    :param totals: counter name to events since the first poll.
    :param warnings: one sentence for each counter that rose and warns.
    """

    events: dict[str, Reading[int]]
    totals: dict[str, Reading[int]]
    warnings: list[str]


class OverCurrentCounters:
    """
    Turns counters that run since boot into what happened since the last poll.

    The first poll only sets the baseline. A counter that jumps back, as after a restart of the
    firmware, starts anew. One that cannot be read keeps its baseline: the next difference covers
    what was missed.
    """

    def __init__(self) -> None:
        """Start without a baseline."""
        self._last: dict[str, int] = {}
        self._totals: dict[str, int] = {}

    def update(self, sysfs: SysfsReader, chips: list[tuple[str, str]]) -> OverCurrent:
        """
        Read every counter.

        :param chips: (name, folder) of every hwmon chip.
        """
        found = OverCurrent({}, {}, [])
        faults_before = len(sysfs.faults)
        for folder in (folder for name, folder in chips if name == CHIP):
            entries = sysfs.names(folder, constant=True)
            for match in sorted(filter(None, map(_COUNTER.fullmatch, entries)),
                                key=lambda match: match[1]):
                self._update_one(sysfs, match[1], f'{folder}/{match[0]}', found)
        sysfs.summarise_faults(faults_before)
        return found

    def _update_one(self, sysfs: SysfsReader, name: str, relative: str,
                    found: OverCurrent) -> None:
        count = sysfs.integer(relative, required=True)
        if count is None or name in found.events:
            return
        if not 0 <= count <= _MAX_COUNT:
            sysfs.faults.append(f'{relative} holds {count}, expected 0 to {_MAX_COUNT}; it is'
                                ' ignored')
            return
        rise = count - self._last.get(name, count)
        if not 0 <= rise <= _MAX_RISE:
            rise = 0
        self._last[name] = count
        self._totals[name] = self._totals.get(name, 0) + rise
        found.events[name] = Reading(rise, relative)
        found.totals[name] = Reading(self._totals[name], relative)
        if rise and name in _WARNED:
            events = 'event' if rise == 1 else 'events'
            found.warnings.append(f'{name} ({_WARNED[name]}): {rise} {events} since the last poll;'
                                  ' check the power supply and the power mode')
