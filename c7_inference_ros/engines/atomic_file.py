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

"""
Replace a file so that it is whole at every moment, also when the process is killed.

The bytes go to a temporary file beside the target, reach the disk, and take the target's name in
one step; the folder is written out last. That holds on local file systems, not on NFS.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
from pathlib import Path

#: Written at a time, so that a large file does not pin the kernel in one call.
_CHUNK_BYTES = 1 << 24
_numbers = itertools.count()


def write_atomically(path: Path, data: bytes | bytearray | memoryview,
                     mode: int = 0o600) -> None:
    """
    Replace a file by these bytes, or leave it as it was.

    A link at the path is replaced, not followed. What killed processes left of earlier attempts
    is removed.

    :param data: anything bytes-like with one byte to an element; it is not copied.
    :param mode: permissions of the file, whatever the umask is.
    :raises OSError: it cannot be written; :func:`write_problem` puts that into words.
    """
    remove_leftovers(path)
    descriptor, temporary = _create(path)
    try:
        try:
            os.fchmod(descriptor, mode)
            write_all(descriptor, data)
            os.fsync(descriptor)
            os.replace(temporary, path)
        finally:
            os.close(descriptor)
    except BaseException:
        _unlink(temporary)
        raise
    fsync_folder(path.parent)


def write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    """Write all bytes to an open file."""
    view = memoryview(data)
    done = 0
    while done < view.nbytes:
        done += os.write(descriptor, view[done:done + _CHUNK_BYTES])


def fsync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk: what was renamed before stays renamed."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files that killed processes left beside a file."""
    prefix = f'.{path.name}.'
    for name in os.listdir(path.parent):
        if not (name.startswith(prefix) and name.endswith('.tmp')):
            continue
        number = name[len(prefix):-len('.tmp')]
        if not number.replace('-', '').isdigit():
            continue
        leftover = path.parent / name
        try:
            descriptor = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
                                 | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            # Its writer holds the lock; the kernel lets go of it when the writer dies.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _unlink(leftover)
        except OSError:
            pass
        finally:
            os.close(descriptor)


def write_problem(error: OSError, path: Path) -> str:
    """Say in one line why a file could not be written, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = ''
        try:
            status = os.statvfs(path.parent)
            free = f' ({status.f_bavail * status.f_frsize} bytes are free)'
        except OSError:
            pass
        return f'{path} cannot be written: the disk is full{free}; free space there'
    if error.errno in (errno.EACCES, errno.EPERM):
        return (f'{path} cannot be written: this user (uid {os.geteuid()}) may not write in '
                f'{path.parent}; grant it, or choose another folder')
    if error.errno == errno.EROFS:
        return (f'{path} cannot be written: {path.parent} is mounted read-only; '
                f'choose another folder')
    if error.errno == errno.EEXIST:
        return (f'{path} cannot be written: a file has the name that a folder should have; move '
                f'it away, or choose another folder')
    if error.errno == errno.ENAMETOOLONG:
        return f'{path} cannot be written: its name is too long; choose a shorter one'
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f'{path} cannot be written: {path.parent} is no folder; create it, or correct it'
    return f'{path} cannot be written: {error.strerror or error}; check the medium it lies on'


def _create(path: Path) -> tuple[int, Path]:
    """Create a temporary file beside a path, locked as a sign that its writer lives."""
    while True:
        temporary = path.parent / f'.{path.name}.{os.getpid()}-{next(_numbers)}.tmp'
        try:
            descriptor = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return descriptor, temporary
        except BaseException:
            os.close(descriptor)
            _unlink(temporary)
            raise
        # Somebody took it for a leftover between its creation and its lock.
        os.close(descriptor)


def _unlink(path: Path) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
