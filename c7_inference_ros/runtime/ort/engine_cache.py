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
What ONNX Runtime's TensorRT provider builds, kept between starts and trusted like our engines.

The provider loads every engine that it finds in its folder, and an engine is code. So each model,
version, GPU and set of options has a folder of its own that only this user may enter; what the
provider left there is recorded once the model ran, and before the next start every file must be
the recorded one. A folder where anything differs is set aside and never given to the provider.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
import errno
import hashlib
import json
import os
from pathlib import Path
import shutil
import stat
import time
from typing import Any
from typing import Callable
from typing import Iterator
from typing import Mapping

from c7_inference_ros.engines.atomic_file import fsync_folder
from c7_inference_ros.engines.atomic_file import write_atomically
from c7_inference_ros.engines.atomic_file import write_problem
from c7_inference_ros.engines.folder_lock import lock_file
from c7_inference_ros.engines.trust.sidecar import hash_file
from c7_inference_ros.engines.trust.sidecar import read_sidecar
from c7_inference_ros.engines.trust.sidecar import sidecar_path
from c7_inference_ros.engines.trust.sidecar import write_sidecar
from c7_inference_ros.errors import InferenceRuntimeError

_RECORD = 'record.json'
_SCHEMA = 1
# A provider that builds an engine holds the lock; the node waits no longer than it loads.
_LOCK_TIMEOUT_S = 240.0
#: Folders that were set aside and are kept to be looked at, for one model.
_KEPT_REFUSED = 3


class _RefusedError(Exception):
    """What is wrong with a folder, in half a sentence."""


@dataclass(frozen=True)
class CacheFolder:
    """
    A folder that the provider may be given now.

    :param path: where; empty, or every file in it is the recorded one.
    :param is_filled: whether there are engines in it.
    :param note: one sentence when an earlier folder was set aside, else empty.
    """

    path: Path
    is_filled: bool
    note: str = ''


def cache_key(model_sha256: str, versions: Mapping[str, str], options: Mapping[str, Any]) -> str:
    """
    Return the name of the folder for one model in one setting.

    :param model_sha256: of the model with all of its weights.
    :param versions: of everything that builds and runs engines, and the GPU.
    :param options: of the provider, without its folder.
    """
    text = json.dumps([_SCHEMA, model_sha256, dict(versions), dict(options)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class OrtEngineCache:
    """
    The folders of one machine.

    :param directory: the folder of our own engines; the caches lie in ``ort`` in it.
    :param clock: seconds since 1970, for the names of folders that are set aside.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        """Look at nothing yet."""
        self.root = directory / 'ort'
        self._clock = clock

    @contextmanager
    def folder(self, key: str) -> Iterator[CacheFolder]:
        """
        Give the folder of a key, verified; nobody else is given it until the block is left.

        :raises OSError: it cannot be made; :func:`cache_problem` puts that into words.
        :raises EngineBuildError: another process has it, and keeps it.
        """
        _make_private(self.root)
        with lock_file(self.root / f'.{key}.lock', str(self.root / key), _LOCK_TIMEOUT_S):
            yield self._verified(key)

    def record(self, folder: CacheFolder) -> None:
        """
        Record what the provider left in a folder, once the model has run.

        :raises OSError: it cannot be written; what is not recorded is set aside next time.
        """
        path = folder.path
        try:
            if _check(path):
                return
        except _RefusedError:
            pass  # new engines, which the old record does not have
        for name in (_RECORD, sidecar_path(Path(_RECORD)).name):
            (path / name).unlink(missing_ok=True)
        files = {}
        for name in sorted(os.listdir(path)):
            place = path / name
            if not stat.S_ISREG(place.lstat().st_mode):
                raise OSError(errno.EINVAL, 'the provider left something that is no file', name)
            place.chmod(0o600)
            files[name] = {'bytes': place.stat().st_size, 'sha256': hash_file(place)}
        if not files:
            return
        for name in files:
            _fsync(path / name)
        text = json.dumps({'schema': _SCHEMA, 'files': files}, indent=1, sort_keys=True).encode()
        write_atomically(path / _RECORD, text)
        write_sidecar(path / _RECORD, hashlib.sha256(text).hexdigest())

    def set_aside(self, folder: CacheFolder, reason: str) -> CacheFolder:
        """
        Take a folder away from the provider and give a new one in its place.

        :raises OSError: it cannot be renamed.
        """
        return self._begin_anew(folder.path, reason)

    def _verified(self, key: str) -> CacheFolder:
        path = self.root / key
        if not os.path.lexists(path):
            path.mkdir(mode=0o700)
            return CacheFolder(path, False)
        try:
            return CacheFolder(path, _check(path))
        except _RefusedError as error:
            return self._begin_anew(path, str(error))

    def _begin_anew(self, path: Path, reason: str) -> CacheFolder:
        stamp = time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(self._clock()))
        aside = path.with_name(f'{path.name}.refused-{stamp}')
        number = 1
        while os.path.lexists(aside):
            number += 1
            aside = path.with_name(f'{path.name}.refused-{stamp}-{number}')
        os.rename(path, aside)
        path.mkdir(mode=0o700)
        fsync_folder(self.root)
        self._forget_old(path.name)
        return CacheFolder(path, False, (
            f'the engine cache {path} was not used: {reason}; it was set aside as {aside.name} '
            f'and the engines are built anew'))

    def _forget_old(self, key: str) -> None:
        refused = sorted((place for place in self.root.iterdir()
                          if place.name.startswith(f'{key}.refused-')),
                         key=lambda place: place.lstat().st_mtime)
        for place in refused[:-_KEPT_REFUSED]:
            if place.is_symlink() or not place.is_dir():
                place.unlink(missing_ok=True)
            else:
                shutil.rmtree(place, ignore_errors=True)


def cache_problem(root: Path, error: OSError) -> str:
    """Say why there is no engine cache, and what to do."""
    words = error.strerror if error.filename == str(root) else write_problem(error, root / 'x')
    return f'the engines of the TensorRT provider are not kept in {root}: {words}'


def _check(path: Path) -> bool:
    """Return whether there are engines; raise where anything is not as it was recorded."""
    _check_mode(path, path.lstat(), stat.S_ISDIR, 'a folder', 0o077)
    names = set(os.listdir(path))
    if not names:
        return False
    recorded = _recorded(path)
    own = {_RECORD, sidecar_path(Path(_RECORD)).name}
    for name in sorted(names - own - set(recorded)):
        raise _RefusedError(f'{name} in it was never recorded')
    for name, entry in sorted(recorded.items()):
        place = path / name
        if name not in names:
            raise _RefusedError(f'{name} is recorded and missing')
        status = place.lstat()
        _check_mode(place, status, stat.S_ISREG, 'a file', 0o077)
        if status.st_size != entry['bytes'] or hash_file(place) != entry['sha256']:
            raise _RefusedError(f'the bytes of {name} are not the recorded ones')
    return bool(recorded)


def _recorded(path: Path) -> Mapping[str, Any]:
    """Return size and hash by name, as the record says."""
    place = path / _RECORD
    for name in (place, sidecar_path(place)):
        if not os.path.lexists(name):
            raise _RefusedError(f'{name.name} is missing, so that nothing vouches for its files')
        _check_mode(name, name.lstat(), stat.S_ISREG, 'a file', 0o077)
    try:
        data = place.read_bytes()
        if hashlib.sha256(data).hexdigest() != read_sidecar(place):
            raise _RefusedError(f'{place.name} is not the one that its sidecar vouches for')
        found = json.loads(data)
        files = found['files']
        if found['schema'] != _SCHEMA or not all(
                isinstance(entry['bytes'], int) and isinstance(entry['sha256'], str)
                and name == Path(name).name for name, entry in files.items()):
            raise ValueError('another schema')
    except (InferenceRuntimeError, OSError) as error:
        raise _RefusedError(str(error)) from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _RefusedError(f'{place.name} is malformed ({error})') from error
    assert isinstance(files, dict)
    return files


def _check_mode(path: Path, status: os.stat_result, is_kind: Callable[[int], bool], kind: str,
                forbidden: int) -> None:
    """Refuse what is a link, belongs to somebody else or can be touched by others."""
    if not is_kind(status.st_mode):
        found = 'a link' if stat.S_ISLNK(status.st_mode) else 'something else'
        raise _RefusedError(f'{path.name} is {found}, expected {kind}')
    if status.st_uid != os.geteuid():
        raise _RefusedError(f'{path.name} belongs to uid {status.st_uid}, not to this user')
    if stat.S_IMODE(status.st_mode) & forbidden:
        raise _RefusedError(f'{path.name} has mode {stat.S_IMODE(status.st_mode):04o}, which lets '
                            f'other users at it')


def _make_private(root: Path) -> None:
    """Make the folder of all caches, or see that only this user may enter it."""
    root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        root.mkdir(mode=0o700)
    except FileExistsError:
        status = root.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, 'it is a link or belongs to another user',
                                  str(root)) from None
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise PermissionError(errno.EPERM, 'other users may enter it; chmod 700',
                                  str(root)) from None


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
