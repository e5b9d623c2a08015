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

"""Reading the bytes of a model file once, with one sentence for each way that this can fail."""

from __future__ import annotations

from contextlib import contextmanager
import hashlib
import os
from pathlib import Path
import stat
from typing import BinaryIO
from typing import Iterator

from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import EngineHashMismatchError


@contextmanager
def open_model_file(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """
    Open a model file; give it and its size in bytes.

    :raises EngineDeserializeError: it is missing, no file, empty or unreadable.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe waits for a writer that never comes.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        if os.path.islink(path):
            raise EngineDeserializeError(
                f'{path} is a link to {os.readlink(path)}, which does not exist; correct the link '
                f'or the path') from error
        raise EngineDeserializeError(f'{path} does not exist{_beside(path)}; correct the path'
                                     ) from error
    except PermissionError as error:
        raise EngineDeserializeError(
            f'{path} may not be read by this user (uid {os.geteuid()}); '
            f'grant it read permission, for example with chmod a+r') from error
    except (OSError, ValueError) as error:
        raise EngineDeserializeError(
            f'{path} cannot be opened: {_reason(error)}; correct the path') from error
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise EngineDeserializeError(
                f'{path} is a folder{_inside(path)}, expected a model file; give the file itself')
        if not stat.S_ISREG(found.st_mode):
            raise EngineDeserializeError(
                f'{path} is a device, pipe or socket, expected a model file; correct the path')
        if found.st_size == 0:
            raise EngineDeserializeError(
                f'{path} is empty, expected a model; copy or download it again')
        with os.fdopen(descriptor, 'rb', closefd=False) as file:
            yield file, found.st_size
    finally:
        os.close(descriptor)


def read_bytes(path: Path, file: BinaryIO) -> bytes:
    """
    Read an open model file whole.

    :raises EngineDeserializeError: the medium fails.
    """
    try:
        return file.read()
    except OSError as error:
        raise EngineDeserializeError(
            f'{path} cannot be read: {_reason(error)}; check the medium it lies on') from error


def check_sha256(path: Path, data: bytes, expected: str) -> str:
    """
    Return the SHA-256 of the bytes, 64 lowercase hex characters.

    :param expected: what it has to be; empty when nobody recorded it.
    :raises EngineHashMismatchError: it is something else.
    """
    found = hashlib.sha256(data).hexdigest()
    if expected and found != expected:
        raise EngineHashMismatchError(
            f'{path} has SHA-256 {found}, expected {expected}; the file is not the one that was '
            f'trusted: restore it, or build and trust it again', stage='sidecar')
    return found


def _reason(error: Exception) -> str:
    return getattr(error, 'strerror', None) or str(error)


def _beside(path: Path) -> str:
    """Say which models lie where one was looked for."""
    return _models(path.parent, ' (its folder has ', ')')


def _inside(path: Path) -> str:
    return _models(path, ' (with ', ' in it)')


def _models(folder: Path, before: str, after: str) -> str:
    try:
        names = sorted(entry.name for entry in os.scandir(folder)
                       if entry.name.endswith(('.onnx', '.engine', '.yaml')))
    except OSError:
        return ''
    more = f' and {len(names) - 5} more' if len(names) > 5 else ''
    return f'{before}{", ".join(names[:5])}{more}{after}' if names else ''
