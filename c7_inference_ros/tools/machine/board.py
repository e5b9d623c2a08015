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

"""The machine itself: board, system, kernel, processor and memory."""

from __future__ import annotations

from dataclasses import dataclass
import os
import platform
import re

from c7_inference_ros.engines.host import HostFacts
from c7_inference_ros.engines.types import X86
from c7_inference_ros.runtime import process_memory
from c7_inference_ros.tools.console import size_text
from c7_inference_ros.tools.machine.findings import Finding
from c7_inference_ros.tools.machine.findings import Verdict
from c7_inference_ros.tools.machine.remedies import Remedies
from c7_inference_ros.tools.machine.surroundings import Surroundings

SECTION = 'Machine'
#: Less is left than one model with its runtime takes.
LOW_MEMORY = 1 << 30
_DMI = 'sys/class/dmi/id'
_CONTAINER = re.compile(r'/(docker|kubepods|lxc|libpod|containerd)[/.-]')


@dataclass(frozen=True)
class Board:
    """
    What the machine is.

    :param is_jetson: whether it is a Jetson, or a container on one.
    :param name: the board, module or PC; empty where nobody says.
    :param release: L4T release of a Jetson, empty for others.
    :param system: distribution, as it calls itself.
    :param identifiers: names of the distribution and of those that it is made of (``debian``).
    :param codename: of its release.
    :param container: kind of container that this is, or empty.
    """

    is_jetson: bool
    name: str
    release: str
    system: str
    identifiers: tuple[str, ...]
    codename: str
    container: str

    @property
    def has_apt(self) -> bool:
        """Whether packages are installed with apt."""
        return bool({'debian', 'ubuntu'} & set(self.identifiers))


def look_at_board(around: Surroundings, facts: HostFacts) -> Board:
    """Return what a machine is."""
    release = _os_release(around)
    is_jetson = facts.platform != X86
    names = (release.get('ID', ''), *release.get('ID_LIKE', '').split())
    return Board(is_jetson, _name(around, facts, is_jetson),
                 facts.platform or '' if is_jetson else '', release.get('PRETTY_NAME', ''),
                 tuple(name for name in names if name), release.get('VERSION_CODENAME', ''),
                 _container(around))


def remedies_for(around: Surroundings, board: Board) -> Remedies:
    """Return how things are mended on a machine."""
    return Remedies(board.is_jetson, board.codename, board.has_apt, around.user == 0,
                    around.python, around.prefix == '/usr', around.is_managed,
                    bool(board.container))


def board_findings(around: Surroundings, board: Board, facts: HostFacts) -> list[Finding]:
    """Return the lines about the machine itself."""
    return [_board(board), _system(board, facts), _kernel(around), _processor(around),
            _memory(around)]


def _board(board: Board) -> Finding:
    kind = 'Jetson' if board.is_jetson else 'PC or server'
    inside = f', inside a container ({board.container})' if board.container else ''
    if not board.name:
        return Finding(SECTION, 'board', Verdict.UNKNOWN,
                       f'this {kind} does not say what it is{inside}',
                       values={'is_jetson': board.is_jetson, 'container': board.container})
    return Finding(SECTION, 'board', Verdict.OK, f'{board.name}{inside}',
                   values={'is_jetson': board.is_jetson, 'name': board.name,
                           'container': board.container})


def _system(board: Board, facts: HostFacts) -> Finding:
    values = {'system': board.system, 'codename': board.codename, 'l4t': board.release}
    if board.is_jetson and not board.release:
        return Finding(SECTION, 'system', Verdict.MISSING,
                       f'{board.system or "unknown"}, L4T release unknown',
                       facts.problems.get('platform', ''),
                       ('docker run -v /etc/nv_tegra_release:/etc/nv_tegra_release:ro ...',)
                       if board.container else (), values=values)
    l4t = f', L4T {board.release}' if board.release else ''
    if not board.system:
        return Finding(SECTION, 'system', Verdict.UNKNOWN, f'etc/os-release says nothing{l4t}',
                       values=values)
    return Finding(SECTION, 'system', Verdict.OK, f'{board.system}{l4t}', values=values)


def _kernel(around: Surroundings) -> Finding:
    release = around.word('proc/sys/kernel/osrelease') or platform.release()
    return Finding(SECTION, 'kernel', Verdict.OK, f'{release} {platform.machine()}',
                   values={'release': release, 'machine': platform.machine()})


def _processor(around: Surroundings) -> Finding:
    text = around.text('proc/cpuinfo') or ''
    count = len(re.findall(r'^processor\s*:', text, re.MULTILINE))
    named = re.search(r'^(?:model name|Model|Hardware)\s*:\s*(.+)$', text, re.MULTILINE)
    name = ' '.join(named[1].split()) if named else platform.machine()
    usable = len(os.sched_getaffinity(0))
    values = {'name': name, 'processors': count, 'usable': usable}
    if not count:
        return Finding(SECTION, 'CPU', Verdict.UNKNOWN, 'proc/cpuinfo cannot be read',
                       values=values)
    if usable < count:
        return Finding(SECTION, 'CPU', Verdict.WARN,
                       f'{name}, {count} processors, this process may use {usable}',
                       'the affinity is narrowed (taskset, cpuset, container): inference on the '
                       'CPU takes only these', ('taskset -p $$',), values=values)
    return Finding(SECTION, 'CPU', Verdict.OK, f'{name}, {count} processors', values=values)


def memory_bytes(around: Surroundings) -> tuple[int | None, int | None]:
    """Return (all, available) memory of the machine, or of the container where that is less."""
    found = re.search(r'^MemTotal:\s+(\d+) kB$', around.text('proc/meminfo') or '', re.MULTILINE)
    return (int(found[1]) * 1024 if found else None,
            process_memory.available_bytes(around.root))


def _memory(around: Surroundings) -> Finding:
    total, available = memory_bytes(around)
    values = {'total_bytes': total, 'available_bytes': available}
    if total is None or available is None:
        return Finding(SECTION, 'memory', Verdict.UNKNOWN, 'proc/meminfo cannot be read',
                       values=values)
    text = f'{size_text(total)}, {size_text(available)} available'
    if available < LOW_MEMORY:
        return Finding(SECTION, 'memory', Verdict.WARN, text,
                       'a model and its runtime need about 1 GiB; stop what is not needed',
                       ('ps axo rss,comm --sort=-rss | head',), values=values)
    return Finding(SECTION, 'memory', Verdict.OK, text, values=values)


def _os_release(around: Surroundings) -> dict[str, str]:
    found = {}
    text = around.text('etc/os-release') or around.text('usr/lib/os-release') or ''
    for line in text.splitlines():
        name, is_there, value = line.partition('=')
        if is_there:
            found[name.strip()] = value.strip().strip('"\'')
    return found


def _name(around: Surroundings, facts: HostFacts, is_jetson: bool) -> str:
    if is_jetson:
        model = (around.word('proc/device-tree/model')
                 or around.word('sys/firmware/devicetree/base/model'))
        if facts.device_name and model and facts.device_name != model:
            return f'{facts.device_name} ({model})'
        return facts.device_name or model
    vendor, product = (around.word(f'{_DMI}/{name}') for name in ('sys_vendor', 'product_name'))
    return product if product.startswith(vendor) else f'{vendor} {product}'.strip()


def _container(around: Surroundings) -> str:
    if (around.root / 'run/.containerenv').exists():
        return 'podman'
    if (around.root / '.dockerenv').exists():
        return 'docker'
    named = around.environ.get('container', '')
    found = _CONTAINER.search(around.text('proc/1/cgroup') or '')
    return named or (found[1] if found else '')
