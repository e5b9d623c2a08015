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

"""What the kernel gives images on their way: sockets, shared memory, limits of the process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
import re

from c7_inference_ros.tools.console import size_text
from c7_inference_ros.tools.machine.dds_profile import DdsProfile
from c7_inference_ros.tools.machine.findings import Finding
from c7_inference_ros.tools.machine.findings import Verdict
from c7_inference_ros.tools.machine.remedies import Remedies
from c7_inference_ros.tools.machine.surroundings import Surroundings

SECTION = 'Transport of images'
#: Processes that have a segment of their own: a camera driver, this node, a viewer, a recorder.
PROCESSES = 4
#: Files and sockets of a node with a few cameras and a GPU, with room.
MIN_FILES = 1024
_SEGMENT = re.compile(r'(?:fastrtps|fastdds)_[0-9a-f]{16}')


def transport_findings(around: Surroundings, wanted: DdsProfile, remedies: Remedies
                       ) -> list[Finding]:
    """
    Return the lines about the kernel.

    :param wanted: the profile whose demands are to be met.
    """
    return [_sockets(around, wanted.socket_bytes, remedies),
            _shared_memory(around, wanted.segment_bytes, remedies),
            _stale_segments(around, remedies), _files(around), _address_space(around)]


def _sockets(around: Surroundings, wanted: int, remedies: Remedies) -> Finding:
    names = ('net.core.rmem_max', 'net.core.wmem_max')
    found = {name: around.number(f'proc/sys/{name.replace(".", "/")}') for name in names}
    known = {name: value for name, value in found.items() if value is not None}
    values = {**found, 'wanted': wanted}
    if len(known) < len(names):
        return Finding(SECTION, 'socket buffers', Verdict.UNKNOWN,
                       'the kernel does not show net.core.rmem_max and net.core.wmem_max here',
                       'a container does not see them; look on the host',
                       (f'sysctl {" ".join(names)}',), values=values)
    text = ', '.join(f'{name} {size_text(value)}' for name, value in known.items())
    low = {name: wanted for name, value in known.items() if value < wanted}
    if low:
        where = ' on the host' if remedies.in_container else ''
        return Finding(SECTION, 'socket buffers', Verdict.WARN, text,
                       f'images that come over the network need {size_text(wanted)}: a larger '
                       f'frame than the buffer loses pieces, and with one piece the whole frame; '
                       f'set this{where}', remedies.sysctl(low), values=values)
    return Finding(SECTION, 'socket buffers', Verdict.OK, text, values=values)


def _shared_memory(around: Surroundings, segment: int, remedies: Remedies) -> Finding:
    place = around.root / 'dev/shm'
    found = around.disk_bytes(place)
    wanted = segment * PROCESSES
    if found is None or not found[0]:
        return Finding(SECTION, '/dev/shm', Verdict.MISSING, 'there is no shared memory',
                       'images between processes then go over sockets, and most are lost',
                       (remedies.root('mount -t tmpfs -o mode=1777 tmpfs /dev/shm'),),
                       values={'size_bytes': None, 'free_bytes': None, 'wanted_bytes': wanted})
    size, free = found
    values = {'size_bytes': size, 'free_bytes': free, 'wanted_bytes': wanted}
    text = f'{size_text(size)}, {size_text(free)} free'
    if size < wanted:
        command = (f'docker run --shm-size={_round(wanted)} ...' if remedies.in_container else
                   remedies.root(f'mount -o remount,size={_round(wanted)} /dev/shm'))
        return Finding(SECTION, '/dev/shm', Verdict.WARN, text,
                       f'{size_text(segment)} for each process that sends images are '
                       f'{size_text(wanted)} for {PROCESSES}; where it is full a process falls '
                       f'back to sockets, or ends with SIGBUS', (command,), values=values)
    if free < segment:
        return Finding(SECTION, '/dev/shm', Verdict.WARN, text,
                       f'a process needs {size_text(segment)} for its segment; take out what is '
                       f'not used', ('ls -lS /dev/shm | head',), values=values)
    return Finding(SECTION, '/dev/shm', Verdict.OK, text, values=values)


def _stale_segments(around: Surroundings, remedies: Remedies) -> Finding:
    place = around.root / 'dev/shm'
    try:
        names = sorted(name for name in os.listdir(place) if _SEGMENT.fullmatch(name))
    except OSError:
        return Finding(SECTION, 'left segments', Verdict.UNKNOWN, '/dev/shm cannot be read')
    stale = [name for name in names if _is_stale(place / name)]
    size = sum(_used_bytes(place / name) for name in stale)
    values = {'segments': len(names), 'stale': stale, 'stale_bytes': size}
    if not stale:
        return Finding(SECTION, 'left segments', Verdict.OK,
                       f'none; {len(names)} Fast DDS segments are in use',
                       values=values)
    if around.which('fastdds'):
        command = 'fastdds shm clean'
    else:
        files = ' '.join(f'/dev/shm/{name}*' for name in stale)
        command = f'rm -f {files}'
    return Finding(SECTION, 'left segments', Verdict.WARN,
                   f'{len(stale)} of {len(names)} Fast DDS segments were left by processes that '
                   f'were killed, {size_text(size)}',
                   'they hold memory until the machine is restarted', (command,), values=values)


def _is_stale(path: Path) -> bool:
    """Return whether nobody holds the lock that a process keeps as long as it lives."""
    try:
        lock = os.open(f'{path}_el', os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False  # somebody else's
    try:
        # Shared, so that it is in nobody's way for the moment that it is held.
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(lock)


def _used_bytes(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0


def _files(around: Surroundings) -> Finding:
    limit = around.limit('RLIMIT_NOFILE')
    values = {'limit': limit}
    if limit is not None and limit < MIN_FILES:
        return Finding(SECTION, 'open files', Verdict.WARN, f'{limit} at most (ulimit -n)',
                       'a node with several cameras and a GPU opens hundreds',
                       (f'ulimit -n {MIN_FILES * 4}',), values=values)
    return Finding(SECTION, 'open files', Verdict.OK,
                   'no limit' if limit is None else f'{limit} at most', values=values)


def _address_space(around: Surroundings) -> Finding:
    limits = {name: around.limit(name) for name in ('RLIMIT_AS', 'RLIMIT_DATA')}
    tight = [f'{option} {size_text(value)}' for option, value in (
        ('ulimit -v', limits['RLIMIT_AS']), ('ulimit -d', limits['RLIMIT_DATA']))
        if value is not None]
    if tight:
        return Finding(SECTION, 'address space', Verdict.WARN, ', '.join(tight),
                       'CUDA reserves far more addresses than it takes memory, and fails under '
                       'such a limit', ('ulimit -v unlimited -d unlimited',), values=limits)
    return Finding(SECTION, 'address space', Verdict.OK, 'no limit', values=limits)


def _round(size: int) -> str:
    """Return the next power of two for an option: 256m, 1g."""
    power = 1 << max(0, (size - 1).bit_length())
    return f'{power >> 30}g' if power >= 1 << 30 else f'{max(1, power >> 20)}m'
