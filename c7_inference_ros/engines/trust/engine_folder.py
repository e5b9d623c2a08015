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
A folder that engines are published in: locked, for its owner alone, whole at every moment.

How four files become one step is told in :mod:`c7_inference_ros.engines.trust.engine_files`.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
import hashlib
import os
from pathlib import Path
import threading
from typing import Callable
from typing import Iterator

from c7_inference_ros.engines.atomic_file import fsync_folder
from c7_inference_ros.engines.atomic_file import remove_leftovers
from c7_inference_ros.engines.atomic_file import write_all
from c7_inference_ros.engines.atomic_file import write_atomically
from c7_inference_ros.engines.atomic_file import write_problem
from c7_inference_ros.engines.filename import EngineName
from c7_inference_ros.engines.filename import parse_engine_name
from c7_inference_ros.engines.folder_lock import lock_file
from c7_inference_ros.engines.trust.engine_files import ENGINE_PART
from c7_inference_ros.engines.trust.engine_files import NEXT_SUFFIX
from c7_inference_ros.engines.trust.engine_files import PARTS
from c7_inference_ros.engines.trust.manifest import manifest_bytes
from c7_inference_ros.engines.trust.manifest import MANIFEST_SUFFIX
from c7_inference_ros.engines.trust.plan_header import parse_plan_header
from c7_inference_ros.engines.trust.sidecar import SIDECAR_SUFFIX
from c7_inference_ros.engines.trust.signature import sign_manifest
from c7_inference_ros.engines.trust.signature import SIGNATURE_SUFFIX
from c7_inference_ros.engines.types import EngineManifest
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.errors import EngineSchemaMismatchError

LOCK_SUFFIX = '.lock'

Data = bytes | bytearray | memoryview


class EngineFolder:
    """
    Where engines are published.

    A new folder is made for its owner alone; the mode of one that is there is left as it is.

    :param path: the folder.
    :raises EngineBuildError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        """Make the folder where there is none."""
        self.path = path
        self._held = threading.local()
        try:
            _make_folder(path)
        except OSError as error:
            raise EngineBuildError(write_problem(error, path)) from error

    @contextmanager
    def lock(self, name: str, timeout_s: float = 600.0,
             on_wait: Callable[[str], None] = lambda text: None) -> Iterator[None]:
        """
        Hold the lock of one engine for the time of a block, build included.

        :meth:`publish` and :meth:`finish` in the block, on the same thread, use this lock.

        :param name: file name of the engine.
        :param timeout_s: how long to wait for another process, seconds.
        :param on_wait: told once, in one line, who holds it.
        :raises EngineBuildError: it is still held; says by which process.
        """
        names = self._names()
        if name in names:
            yield
            return
        # A lock file of its own, because the engine itself is replaced.
        path = self.path / f'.{name}{LOCK_SUFFIX}'
        with lock_file(path, str(self.path / name), timeout_s, on_wait):
            names.add(name)
            try:
                yield
            finally:
                names.discard(name)

    def publish(self, name: EngineName | str, plan: Data, manifest: EngineManifest,
                private_key: Path | None = None) -> Path:
        """
        Put an engine in the place of the one with this name, as one step; return its path.

        Whenever the process is killed, the folder holds the old engine or the new one, whole.

        :param name: file name of the engine.
        :param plan: the engine; anything bytes-like with one byte to an element.
        :param manifest: of this engine. Its ``model``, ``engine_sha256`` and ``engine_bytes`` are
            filled in where they are empty or 0.
        :param private_key: PEM file that signs the manifest; without one there is no signature,
            and one of the old engine is removed.
        :raises EngineSchemaMismatchError: name, plan and manifest do not belong together.
        :raises EngineBuildError: the folder cannot be written; the old engine is still there.
        :raises ConfigurationError: the key is none.
        """
        parsed = parse_engine_name(name) if isinstance(name, str) else name
        path = self.path / parsed.build()
        view = memoryview(plan).cast('B')
        sha256 = hashlib.sha256(view).hexdigest()
        manifest = _completed(manifest, parsed, view, sha256)
        text = manifest_bytes(manifest)
        parts: dict[str, Data] = {
            ENGINE_PART: view, MANIFEST_SUFFIX: text,
            # Empty says that there is none, also where the old engine has one.
            SIGNATURE_SUFFIX: b'' if private_key is None else sign_manifest(private_key, text)}
        with self.lock(path.name):
            self.finish(path.name)
            try:
                self._write_next(path, parts, sha256)
            except OSError as error:
                self._discard(path)
                raise EngineBuildError(write_problem(error, path)) from error
            except BaseException:
                self._discard(path)
                raise
            self.finish(path.name)
        return path

    def finish(self, name: str) -> None:
        """
        Complete or discard what a publication that was killed left of an engine.

        Readers need no call of this; it only tidies up.

        :param name: file name of the engine.
        :raises EngineBuildError: the folder cannot be written.
        """
        path = self.path / name
        with self.lock(name):
            try:
                if _next(path, SIDECAR_SUFFIX).exists():
                    self._complete(path)
                else:
                    self._remove(path)
            except OSError as error:
                raise EngineBuildError(write_problem(error, path)) from error

    def _write_next(self, path: Path, parts: dict[str, Data], sha256: str) -> None:
        for suffix, data in parts.items():
            descriptor = os.open(_next(path, suffix), os.O_WRONLY | os.O_CREAT | os.O_EXCL
                                 | os.O_CLOEXEC, 0o600)
            try:
                os.fchmod(descriptor, 0o600)
                write_all(descriptor, data)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        # The names of the parts are on the disk before the name that makes them count.
        fsync_folder(self.path)
        write_atomically(_next(path, SIDECAR_SUFFIX), sha256.encode())

    def _complete(self, path: Path) -> None:
        """Give a published set its final names; whatever was done before is left out."""
        for suffix in PARTS:
            source, target = _next(path, suffix), _final(path, suffix)
            if suffix == SIDECAR_SUFFIX:
                # Without this a power cut could keep the last renaming and lose an earlier one.
                fsync_folder(self.path)
            if not source.exists():
                continue
            if suffix == SIGNATURE_SUFFIX and not source.stat().st_size:
                _unlink(target)
                os.unlink(source)
            else:
                os.replace(source, target)
        fsync_folder(self.path)

    def _remove(self, path: Path) -> None:
        remove_leftovers(_next(path, SIDECAR_SUFFIX))
        for suffix in PARTS:
            _unlink(_next(path, suffix))

    def _discard(self, path: Path) -> None:
        """Remove a set that was never published, as far as the folder lets us."""
        try:
            if not _next(path, SIDECAR_SUFFIX).exists():
                self._remove(path)
        except OSError:
            pass

    def _names(self) -> set[str]:
        """Return the locks that this thread holds."""
        if not hasattr(self._held, 'names'):
            self._held.names = set()
        names: set[str] = self._held.names
        return names


def _completed(manifest: EngineManifest, name: EngineName, plan: memoryview,
               sha256: str) -> EngineManifest:
    """Return the manifest with what the plan itself says; refuse one of another engine."""
    manifest = replace(
        manifest, model=manifest.model or name.model,
        engine_sha256=manifest.engine_sha256 or sha256,
        engine_bytes=manifest.engine_bytes or plan.nbytes)
    host = manifest.host
    header = parse_plan_header(plan, name.build())
    pairs = [('model', manifest.model, name.model),
             ('engine_sha256', manifest.engine_sha256, sha256),
             ('engine_bytes', manifest.engine_bytes, plan.nbytes),
             ('host', (host.sm, host.platform, host.package, host.version),
              (name.sm, name.platform, name.package, name.version)),
             ('precision', manifest.precision, name.precision),
             ('package of the plan', header.package, name.package),
             ('version of the plan', header.version_text,
              header.version_text if header.is_version(name.version) else name.version),
             ('length of the plan', plan.nbytes, header.total_bytes or plan.nbytes)]
    for what, found, expected in pairs:
        if found != expected:
            raise EngineSchemaMismatchError(
                f'{name.build()} cannot be published: {what} is {found}, expected {expected}; '
                f'give the manifest and the name of this plan')
    return manifest


def _make_folder(path: Path) -> None:
    if path.is_dir():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if path.is_dir():
            return
        raise
    os.chmod(path, 0o700)
    fsync_folder(path.parent)


def _final(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _next(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + NEXT_SUFFIX + suffix)


def _unlink(path: Path) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
