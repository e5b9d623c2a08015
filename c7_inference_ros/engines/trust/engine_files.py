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
The files that make up one engine, and the rule by which they are read.

An engine, its manifest, its signature and its sidecar are four files, and four files cannot be
replaced in one step. So a publication first writes a complete new set under other names, its
sidecar last:

.. code-block:: text

    x.engine      x.engine.json        x.engine.sig        x.engine.sha256         what is there
    x.engine.next x.engine.next.json   x.engine.next.sig   x.engine.next.sha256    what comes

The moment ``x.engine.next.sha256`` has its name is the moment the new engine is there: from then
on every part is the ``next`` one where there is one, else the final one. The publication then
renames part by part, the sidecar last, which nobody can tell from before. Whoever is killed in
between leaves either the old engine or the new one, and the next publication tidies up
(:mod:`c7_inference_ros.engines.trust.engine_folder`).
"""

from __future__ import annotations

from contextlib import contextmanager
import errno
import os
from pathlib import Path
import stat
from typing import Iterator

from c7_inference_ros.engines.trust.manifest import MANIFEST_SUFFIX
from c7_inference_ros.engines.trust.sidecar import SIDECAR_SUFFIX
from c7_inference_ros.engines.trust.signature import SIGNATURE_SUFFIX
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import EngineSchemaMismatchError

NEXT_SUFFIX = '.next'
ENGINE_PART = ''
#: What is appended to the name of the engine, in the order of publication: sidecar last.
PARTS = (ENGINE_PART, MANIFEST_SUFFIX, SIGNATURE_SUFFIX, SIDECAR_SUFFIX)

_ATTEMPTS = 20


class OpenPart:
    """
    One open file of an engine; made by :func:`open_engine`.

    :param path: the file that was opened.
    :param descriptor: of the file, open for reading.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        """Keep the file and what it was when it was opened."""
        self.path = path
        self.descriptor = descriptor
        self.status = os.fstat(descriptor)

    @property
    def size(self) -> int:
        """Bytes in the file when it was opened."""
        return self.status.st_size

    def read(self, limit: int) -> bytes:
        """
        Read the file from its start, at most so many bytes and one.

        :raises EngineDeserializeError: the medium fails, or there is no memory for it.
        """
        pieces = []
        done = 0
        try:
            while done <= limit:
                # pread and not read: nothing else moves where the next read starts.
                piece = os.pread(self.descriptor, limit + 1 - done, done)
                if not piece:
                    break
                pieces.append(piece)
                done += len(piece)
            return pieces[0] if len(pieces) == 1 else b''.join(pieces)
        except OSError as error:
            raise EngineDeserializeError(
                f'{self.path} cannot be read: {error.strerror or error}; check the medium it lies '
                f'on') from error
        except MemoryError as error:
            raise EngineDeserializeError(
                f'{self.path} has {self.size} bytes, more than this process gets memory for; copy '
                f'it again if it was smaller where it was built, or free memory') from error


class EngineParts:
    """
    The files of one engine, all open, all of one publication; made by :func:`open_engine`.

    :param parts: open files by what is appended to the engine's name.
    :param problems: why a part could not be opened, the same.
    :param folder_status: of the folder.
    """

    def __init__(self, parts: dict[str, OpenPart], problems: dict[str, OSError],
                 folder_status: os.stat_result) -> None:
        """Keep what was opened."""
        self._parts = parts
        self._problems = problems
        self.folder_status = folder_status

    def get(self, suffix: str) -> OpenPart | None:
        """Return a part, or None where it cannot be opened."""
        return self._parts.get(suffix)

    def problem(self, suffix: str) -> OSError:
        """Return why a part could not be opened."""
        return self._problems[suffix]


@contextmanager
def open_engine(path: Path) -> Iterator[EngineParts]:
    """
    Open all files of an engine, so that they belong together even while it is published anew.

    Nothing is written and no lock is taken. What is no regular file, or is a link that leads out
    of the engine's folder, is refused.

    :raises EngineDeserializeError: the engine itself cannot be opened.
    :raises EngineSchemaMismatchError: a file is not of an allowed kind.
    """
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError as error:
        raise _no_permission(path.parent) from error
    except OSError as error:
        raise EngineDeserializeError(
            f'{path.parent} cannot be opened as the folder of {path.name}: '
            f'{error.strerror or error}; correct the path') from error
    opened: dict[str, OpenPart] = {}
    try:
        for _ in range(_ATTEMPTS):
            is_pending = _exists(folder, path.name + NEXT_SUFFIX + SIDECAR_SUFFIX)
            problems: dict[str, OSError] = {}
            for suffix in PARTS:
                part = _open_part(folder, path, suffix, is_pending)
                if isinstance(part, OpenPart):
                    opened[suffix] = part
                else:
                    problems[suffix] = part
            if _is_current(folder, path, opened, is_pending):
                break
            _close(opened)
        else:
            raise EngineDeserializeError(
                f'{path} was replaced {_ATTEMPTS} times while it was being opened; wait until '
                f'nothing compiles it any more')
        if ENGINE_PART not in opened:
            raise _missing_engine(path, problems[ENGINE_PART])
        yield EngineParts(opened, problems, os.fstat(folder))
    finally:
        _close(opened)
        os.close(folder)


def _open_part(folder: int, path: Path, suffix: str, is_pending: bool) -> OpenPart | OSError:
    names = [path.name + suffix]
    if is_pending:
        names.insert(0, path.name + NEXT_SUFFIX + suffix)
    for name in names:
        try:
            return OpenPart(path.with_name(name), _open_regular(folder, path.parent, name))
        except FileNotFoundError as error:
            problem: OSError = error
        except OSError as error:
            return error
    return problem


def _open_regular(folder: int, parent: Path, name: str) -> int:
    """Open a regular file of a folder; a link has to lead to a file of the same folder."""
    # Without O_NONBLOCK, opening a named pipe waits for a writer that never comes.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
    try:
        descriptor = os.open(name, flags, dir_fd=folder)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        target = os.path.realpath(parent / name)
        if os.path.dirname(target) != os.path.realpath(parent):
            raise EngineSchemaMismatchError(
                f'{parent / name} is a link to {target}, out of the folder of the engine, '
                f'expected a file in {parent}; copy the file there') from error
        # Opened by its own name in the folder, so that the link cannot be turned in between.
        descriptor = os.open(os.path.basename(target), flags, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise EngineSchemaMismatchError(
            f'{parent / name} is no regular file (a folder, device, pipe or socket), expected a '
            f'file of an engine; correct the path')
    return descriptor


def _is_current(folder: int, path: Path, opened: dict[str, OpenPart], is_pending: bool) -> bool:
    """
    Whether everything that was opened is still what the rule says.

    Names are only ever replaced between the appearance of the ``next`` sidecar and its renaming,
    which is the last step. So whatever was replaced since shows in the order of the parts, or in
    that sidecar, which is looked at last.
    """
    for suffix in PARTS:
        part = opened.get(suffix)
        now = _open_part(folder, path, suffix, is_pending)
        try:
            if isinstance(now, OpenPart) != (part is not None):
                return False
            if isinstance(now, OpenPart) and part is not None and not os.path.samestat(
                    now.status, part.status):
                return False
        finally:
            if isinstance(now, OpenPart):
                os.close(now.descriptor)
    return _exists(folder, path.name + NEXT_SUFFIX + SIDECAR_SUFFIX) == is_pending


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return True


def _close(opened: dict[str, OpenPart]) -> None:
    while opened:
        os.close(opened.popitem()[1].descriptor)


def _missing_engine(path: Path, error: OSError) -> EngineDeserializeError:
    if isinstance(error, FileNotFoundError):
        try:
            names = sorted(name for name in os.listdir(path.parent) if name.endswith('.engine'))
        except OSError:
            names = []
        more = f' and {len(names) - 5} more' if len(names) > 5 else ''
        return EngineDeserializeError(
            f'{path} does not exist (its folder has {", ".join(names[:5]) or "no engine"}{more}); '
            f'compile the model with compile_engine, or correct the path')
    if isinstance(error, PermissionError):
        return _no_permission(path)
    return EngineDeserializeError(
        f'{path} cannot be opened: {error.strerror or error}; correct the path')


def _no_permission(path: Path) -> EngineDeserializeError:
    return EngineDeserializeError(
        f'{path} may not be read by this user (uid {os.geteuid()}); run this as the owner of the '
        f'engines (folder and files are for their owner alone), or change the owner')
