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
Whether a calibration product on disk may be used again, and how a new one is put there.

``<x>.calib_cache`` is what calibration found out: the table of TensorRT's calibrator, or the
ranges that explicit Q/DQ is made from. Two sidecars stand beside it, 64 lowercase hex characters
each:

``.sha256``
    of the cache: integrity.
``.dataset_sha256``
    of everything that it was made from: content and order of the images, the ONNX model with its
    weights, preprocessing, calibrator, batch, profile and version (:func:`cache_parts`).

TensorRT itself ties a cache to nothing: it takes one of another model or data set as it stands.
``.made_from.json`` has the parts by name; nobody trusts it, it only says what changed.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Generic
from typing import Iterator
from typing import Mapping
from typing import TypeVar

from c7_inference_ros.engines.atomic_file import fsync_folder
from c7_inference_ros.engines.atomic_file import write_atomically
from c7_inference_ros.engines.atomic_file import write_problem
from c7_inference_ros.engines.build_key import changes
from c7_inference_ros.engines.build_key import key_of
from c7_inference_ros.engines.folder_lock import lock_file
from c7_inference_ros.engines.trust.sidecar import parse_sidecar
from c7_inference_ros.engines.trust.sidecar import SIDECAR_MAX_BYTES
from c7_inference_ros.engines.trust.sidecar import sidecar_path
from c7_inference_ros.errors import CalibrationCacheError
from c7_inference_ros.errors import EngineHashMismatchError

CACHE_SUFFIX = '.calib_cache'
DATASET_SUFFIX = '.dataset_sha256'
PARTS_SUFFIX = '.made_from.json'
#: A table has some hundred lines; what is larger is something else.
MAX_BYTES = 64 << 20
#: Raised when caches of before have to be made again although nothing else changed.
_SCHEME = 1
#: A calibration of many images on a small machine takes its time.
LOCK_TIMEOUT_S = 3600.0
_MAKE_AGAIN = 'delete it and its sidecars to have it made again, or restore them'
_log = logging.getLogger(__name__)

Content = TypeVar('Content')


def cache_parts(*, dataset: str, images: int, onnx_sha256: str, preprocessing: Mapping[str, Any],
                calibrator: str, batch: int, profile: Any, version: str) -> dict[str, Any]:
    """
    Return everything that a calibration product depends on, by a name for people.

    :param dataset: content hash of the images in their order.
    :param images: how many.
    :param onnx_sha256: of the model, files with its weights included.
    :param preprocessing: what is done to an image.
    :param calibrator: the method and its settings.
    :param batch: images at a time.
    :param profile: shapes that were calibrated, plain values.
    :param version: of what calibrates.
    """
    return {'scheme': _SCHEME, 'data set': dataset, 'images': images, 'ONNX model': onnx_sha256,
            'preprocessing': dict(preprocessing), 'calibrator': calibrator, 'batch': batch,
            'profile': profile, 'version': version}


@dataclass(frozen=True)
class Checked(Generic[Content]):
    """
    What the gate says.

    :param content: what the cache holds, parsed from the bytes that were verified; None where
        there is nothing that may be used again.
    :param data: these bytes; empty where there is nothing.
    :param reason: why, one clause.
    """

    content: Content | None
    data: bytes
    reason: str

    @property
    def is_reusable(self) -> bool:
        """Whether no calibration is needed."""
        return self.content is not None


class CalibrationCache(Generic[Content]):
    """
    The trust gate of one calibration product.

    :param path: ``<x>.calib_cache``.
    :param parts: everything that the product depends on; :func:`cache_parts`.
    :param parse: makes the content of the bytes; raises CalibrationCacheError where they are
        malformed.
    """

    def __init__(self, path: Path, parts: Mapping[str, Any],
                 parse: Callable[[bytes], Content]) -> None:
        """Touch nothing yet."""
        self.path = path
        self.parts = parts
        self.key = key_of(parts)
        self._parse = parse
        self._sidecar = sidecar_path(path)
        self._dataset = path.with_name(path.name + DATASET_SUFFIX)
        self._made_from = path.with_name(path.name + PARTS_SUFFIX)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """
        Keep other processes from the cache for as long as the block runs; they wait.

        :raises CalibrationCacheError: the folder cannot be made.
        :raises EngineBuildError: it is still held after :data:`LOCK_TIMEOUT_S`, or cannot be.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CalibrationCacheError(write_problem(error, self.path)) from error
        with lock_file(self.path.with_name(f'.{self.path.name}.lock'), str(self.path),
                       LOCK_TIMEOUT_S, _log.info):
            yield

    def check(self) -> Checked[Content]:
        """
        Say whether the cache may be used again.

        :returns: its content, or why it has to be made.
        :raises CalibrationCacheError: the cache or a sidecar is damaged; nothing was changed.
        """
        data = _read(self.path, MAX_BYTES)
        if data is None:
            return Checked(None, b'', f'{self.path} is not there')
        self._check_integrity(data)
        recorded = self._recorded_key()
        if recorded != self.key:
            return Checked(None, b'', f'{self.path} is intact, but {self._what_changed(recorded)}')
        return Checked(self._parse(data), data, f'{self.path} is intact and nothing that it '
                                                f'depends on has changed')

    def store(self, data: bytes) -> None:
        """
        Put a new product there.

        Whenever this is killed, what is left is reused only if it is whole, and is never taken
        for damage: the old product goes first, and the sidecar that lets the new one be used
        again comes last.

        :param data: copied to the disk during the call.
        :raises CalibrationCacheError: what is there is damaged and stays as it is; or the
            folder cannot be written.
        """
        self._parse(data)
        present = _read(self.path, MAX_BYTES)
        if present is not None:
            self._check_integrity(present)
            self._recorded_key()
        try:
            for path in (self._dataset, self.path):
                with suppress(FileNotFoundError):
                    os.unlink(path)
            fsync_folder(self.path.parent)
            write_atomically(self._sidecar, hashlib.sha256(data).hexdigest().encode())
            write_atomically(self.path, data)
            write_atomically(self._made_from, json.dumps(
                self.parts, sort_keys=True, indent=1).encode())
            write_atomically(self._dataset, self.key.encode())
        except OSError as error:
            raise CalibrationCacheError(write_problem(error, self.path)) from error

    def _check_integrity(self, data: bytes) -> None:
        try:
            expected = _read(self._sidecar, SIDECAR_MAX_BYTES)
            if expected is None:
                raise CalibrationCacheError(
                    f'{self.path} has no sidecar {self._sidecar.name}, so that nothing vouches '
                    f'for its bytes; {_MAKE_AGAIN}')
            expected_sha256 = parse_sidecar(self._sidecar, expected)
        except EngineHashMismatchError as error:
            raise CalibrationCacheError(f'{error}; {_MAKE_AGAIN}') from error
        found = hashlib.sha256(data).hexdigest()
        if found != expected_sha256:
            raise CalibrationCacheError(
                f'{self.path} is damaged: its bytes have SHA-256 {found}, expected '
                f'{expected_sha256} as {self._sidecar.name} says; {_MAKE_AGAIN}')

    def _recorded_key(self) -> str | None:
        """Return the key that the sidecar holds; None where writing it was cut short."""
        data = _read(self._dataset, SIDECAR_MAX_BYTES)
        try:
            return None if data is None else parse_sidecar(self._dataset, data)
        except EngineHashMismatchError as error:
            raise CalibrationCacheError(f'{error}; {_MAKE_AGAIN}') from error

    def _what_changed(self, recorded: str | None) -> str:
        if recorded is None:
            return f'{self._dataset.name} is missing, so that nobody knows what it was made from'
        try:
            old = json.loads(_read(self._made_from, MAX_BYTES) or b'null')
            if isinstance(old, dict) and key_of(old) == recorded:
                return f'stale: {changes(old, self.parts)}'
        except (ValueError, RecursionError, CalibrationCacheError):
            pass  # it is there for this sentence only
        return 'stale: something that it was made from changed'


def _read(path: Path, most: int) -> bytes | None:
    """Return the bytes of a file; None when it is not there."""
    try:
        # Without O_NONBLOCK, opening a named pipe waits for a writer that never comes.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, 'rb') as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CalibrationCacheError(
            f'{path} cannot be read ({error.strerror or error}); correct its permissions, or '
            f'delete it to have it made again') from error
    if len(data) > most:
        raise CalibrationCacheError(
            f'{path} has more than {most} bytes, which no calibration cache has; {_MAKE_AGAIN}')
    return data
