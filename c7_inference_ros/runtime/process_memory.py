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

"""What this process and this machine have of memory, read from the kernel."""

from __future__ import annotations

import ctypes
from pathlib import Path

_ROOT = Path('/')


def rss_bytes(root: Path = _ROOT) -> int | None:
    """
    Return the resident memory of this process, bytes.

    Shared memory segments do not count: a transport maps them for images, and no model owns them.

    :param root: where ``proc`` is mounted.
    :returns: None where the kernel does not say.
    """
    sizes = _sizes(root / 'proc/self/status')
    total = sizes.get('VmRSS')
    return None if total is None else max(0, total - sizes.get('RssShmem', 0))


def available_bytes(root: Path = _ROOT) -> int | None:
    """
    Return what can still be allocated without swapping, bytes.

    That is the kernel's estimate for the machine, or what the memory limit of the container
    (cgroup v2) leaves where that is less.

    :param root: where ``proc`` and ``sys`` are mounted.
    :returns: None where the kernel does not say.
    """
    rooms = [_sizes(root / 'proc/meminfo').get('MemAvailable'), *_cgroup_rooms(root)]
    known = [room for room in rooms if room is not None]
    return min(known) if known else None


def trim() -> None:
    """Give memory that was freed back to the system, where the C library can (glibc)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        pass


def _sizes(path: Path) -> dict[str, int]:
    """Return the ``name: number kB`` lines of a file in bytes."""
    sizes = {}
    for line in _text(path).splitlines():
        name, _, value = line.partition(':')
        words = value.split()
        if len(words) == 2 and words[1] == 'kB' and words[0].isdigit():
            sizes[name] = int(words[0]) * 1024
    return sizes


def _cgroup_rooms(root: Path) -> list[int | None]:
    """Return what the limit of every control group around this process leaves."""
    mount = root / 'sys/fs/cgroup'
    for line in _text(root / 'proc/self/cgroup').splitlines():
        if line.startswith('0::/') and '..' not in line:
            group = mount / line[4:]
            return [_cgroup_room(folder) for folder in (group, *group.parents)
                    if folder == mount or mount in folder.parents]
    return []


def _cgroup_room(folder: Path) -> int | None:
    limit, used = _text(folder / 'memory.max').strip(), _text(folder / 'memory.current').strip()
    if not (limit.isdigit() and used.isdigit()):
        return None
    for line in _text(folder / 'memory.stat').splitlines():
        name, _, value = line.partition(' ')
        if name == 'inactive_file' and value.isdigit():
            # File pages that the kernel takes back first, as MemAvailable counts them, too.
            used = str(int(used) - int(value))
    return max(0, int(limit) - int(used))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding='ascii', errors='replace')
    except OSError:
        return ''
