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

"""How busy other programs kept the machine while something was measured."""

from __future__ import annotations

from dataclasses import dataclass
import os
from pathlib import Path
import time
from typing import Any
from typing import Callable

#: Others that take more of the processors than this are worth a word.
BUSY_SHARE = 0.10
#: So are threads of this process that wait for a processor for more of the time than this.
WAITING_SHARE = 0.05
#: Columns of /proc/stat that are time at work: user, nice, system, irq, softirq, steal.
_WORKING = (0, 1, 2, 5, 6, 7)
_STOLEN = 7


@dataclass(frozen=True)
class OtherLoad:
    """
    What other programs took, of the whole time.

    :param busy_share: of all processors, 0 to 1; None where the kernel does not say.
    :param stolen_share: of all processors, what a hypervisor gave to other machines; part of
        the former.
    :param waiting_share: how long this process waited for a processor, as a share of the time;
        the sum over its threads; None where the kernel does not say.
    :param held_back_s: how long the CPU quota of the container held this process back; None
        where there is none.
    """

    busy_share: float | None
    stolen_share: float | None
    waiting_share: float | None
    held_back_s: float | None

    def warnings(self) -> list[str]:
        """Return what makes figures worse than this machine is, one sentence each."""
        said = []
        if self.busy_share is not None and self.busy_share > BUSY_SHARE:
            stolen = self.stolen_share or 0.0
            said.append(f'other programs used {self.busy_share:.0%} of the processors'
                        + (f', {stolen:.0%} of them on other virtual machines'
                           if stolen > 0.01 else ''))
        if self.waiting_share is not None and self.waiting_share > WAITING_SHARE:
            said.append(f'threads of this program waited for a processor, together for '
                        f'{self.waiting_share:.0%} of the time')
        if self.held_back_s:
            said.append(f'the CPU quota of the container held this program back for '
                        f'{self.held_back_s:.1f} s')
        return said

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return {'busy_share': _rounded(self.busy_share),
                'stolen_share': _rounded(self.stolen_share),
                'waiting_share': _rounded(self.waiting_share),
                'held_back_s': _rounded(self.held_back_s), 'warnings': self.warnings()}


class LoadWatch:
    """
    Looks at both ends of a measurement.

    :param root: where ``proc`` and ``sys`` are mounted.
    :param clock: seconds.
    :param own_cpu: CPU time of this process, seconds.
    """

    def __init__(self, root: Path = Path('/'), clock: Callable[[], float] = time.monotonic,
                 own_cpu: Callable[[], float] = time.process_time) -> None:
        """Look for the first time."""
        self._root = root
        self._clock = clock
        self._own_cpu = own_cpu
        self._first = self._look()

    def finish(self) -> OtherLoad:
        """Return what others took since this was made."""
        first, last = self._first, self._look()
        took = last.at - first.at
        if took <= 0.0:
            return OtherLoad(None, None, None, None)
        busy = stolen = waiting = held = None
        if first.ticks and last.ticks:
            hz = os.sysconf('SC_CLK_TCK')
            whole = took * last.processors
            all_busy = sum(last.ticks[at] - first.ticks[at] for at in _WORKING) / hz
            busy = min(1.0, max(0.0, (all_busy - (last.own - first.own)) / whole))
            stolen = min(1.0, max(0.0, (last.ticks[_STOLEN] - first.ticks[_STOLEN]) / hz / whole))
        if first.waited and last.waited:
            # A thread that ended meanwhile took what it waited with it.
            waiting = sum(waited - first.waited.get(thread, 0)
                          for thread, waited in last.waited.items()) / 1e9 / took
        if first.held_us is not None and last.held_us is not None:
            held = (last.held_us - first.held_us) / 1e6
        return OtherLoad(busy, stolen, waiting, held)

    def _look(self) -> _Look:
        ticks: list[int] = []
        processors = 0
        for line in self._text('proc/stat').splitlines():
            name, *values = line.split()
            if name == 'cpu':
                ticks = [int(value) for value in values]
            elif name.startswith('cpu'):
                processors += 1
        waited = {}
        try:
            threads = [path.name for path in (self._root / 'proc/self/task').iterdir()]
        except OSError:
            threads = []
        for thread in threads:
            words = self._text(f'proc/self/task/{thread}/schedstat').split()
            if len(words) >= 2:
                waited[thread] = int(words[1])
        held = [int(line.split()[1]) for line in self._text(f'{self._group()}/cpu.stat'
                                                            ).splitlines()
                if line.startswith('throttled_usec ')]
        return _Look(self._clock(), self._own_cpu(), ticks if len(ticks) > _STOLEN else [],
                     max(1, processors), waited, held[0] if held else None)

    def _group(self) -> str:
        for line in self._text('proc/self/cgroup').splitlines():
            if line.startswith('0::/') and '..' not in line:
                return f'sys/fs/cgroup{line[3:].rstrip("/")}'
        return 'sys/fs/cgroup'

    def _text(self, name: str) -> str:
        try:
            return (self._root / name).read_text(encoding='ascii', errors='replace')
        except OSError:
            return ''


@dataclass(frozen=True)
class _Look:
    at: float
    own: float
    ticks: list[int]
    processors: int
    waited: dict[str, int]
    held_us: int | None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
