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

"""A lock file that one process holds at a time; the kernel frees it when the process dies."""

from __future__ import annotations

from contextlib import contextmanager
import fcntl
import os
from pathlib import Path
import time
from typing import Callable
from typing import Iterator

from c7_inference_ros.engines.atomic_file import write_problem
from c7_inference_ros.errors import EngineBuildError

_POLL_S = 0.05


@contextmanager
def lock_file(path: Path, what: str, timeout_s: float,
              on_wait: Callable[[str], None] = lambda text: None) -> Iterator[None]:
    """
    Hold a lock file for the time of a block.

    The file is removed again. It holds the number of the process, for people who wait.

    :param what: what is locked, for messages.
    :param timeout_s: how long to wait for another process or thread, seconds.
    :param on_wait: told once that there is something to wait for.
    :raises EngineBuildError: it is still held, or the file cannot be made.
    """
    deadline = time.monotonic() + timeout_s
    is_told = False
    while True:
        try:
            descriptor = _try(path)
        except OSError as error:
            raise EngineBuildError(write_problem(error, path)) from error
        if descriptor is not None:
            break
        if not is_told:
            is_told = True
            on_wait(f'{what} is being written by {_holder(path)}; waiting up to {timeout_s:g} s')
        left = deadline - time.monotonic()
        if left <= 0:
            raise EngineBuildError(
                f'{what} is being written by {_holder(path)}, and still was after '
                f'{timeout_s:g} s; wait for that process, or end it')
        time.sleep(min(_POLL_S, left))
    try:
        yield
    finally:
        # Removed while it is held: whoever opened it before finds out by its number of links.
        try:
            os.unlink(path)
        except OSError:
            pass
        os.close(descriptor)


def _try(path: Path) -> int | None:
    """Return the locked file, or None where somebody else holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    is_held = False
    try:
        os.fchmod(descriptor, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        if not os.fstat(descriptor).st_nlink:
            return None
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f'{os.getpid()}\n'.encode())
        except OSError:
            pass  # The lock holds without the number, on a full disk for example.
        is_held = True
        return descriptor
    finally:
        if not is_held:
            os.close(descriptor)


def _holder(path: Path) -> str:
    try:
        pid = int(path.read_text(encoding='ascii'))
    except (OSError, ValueError):
        return 'another process'
    try:
        command = Path(f'/proc/{pid}/cmdline').read_bytes().replace(b'\0', b' ').decode(
            'utf-8', 'replace').strip()
    except OSError:
        command = ''
    return f'process {pid}' + (f' ({" ".join(command.split())[:80]})' if command else '')
