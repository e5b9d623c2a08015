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
Timings of kernels that are kept between builds (TensorRT; TensorRT-RTX times nothing).

TensorRT takes any bytes as a timing cache: garbage gives an empty one and a warning. So the file
has a sidecar with its hash and with what it is good for, and what does not fit is not handed over.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Iterator

from c7_inference_ros.engines.atomic_file import write_atomically
from c7_inference_ros.engines.atomic_file import write_problem
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.errors import EngineBuildError

_DRIVER = Path('/proc/driver/nvidia/version')


@dataclass(frozen=True)
class Timings:
    """
    What a timing cache file holds for this machine.

    :param data: to start from; empty for a new cache.
    :param state: ``used``, ``new``, or ``ignored: <why>``.
    """

    data: bytes
    state: str


class TimingCacheFile:
    """
    One timing cache file, its sidecar ``<file>.json`` and its lock ``<file>.lock``.

    :param path: the file.
    :param key: what timings depend on; see :func:`timing_key`.
    """

    def __init__(self, path: Path, key: str) -> None:
        """Touch nothing yet."""
        self.path = path
        self.sidecar = path.with_name(f'{path.name}.json')
        self._key = key

    def load(self) -> Timings:
        """
        Read timings that are whole and of this machine; none is no mistake.

        :raises EngineBuildError: the folder cannot be used.
        """
        with self._lock(fcntl.LOCK_SH):
            return self._read()

    def store(self, merge: Callable[[bytes], bytes | memoryview]) -> None:
        """
        Write timings.

        :param merge: given the timings that another build has stored since, or nothing, returns
            those to be stored.
        :raises EngineBuildError: they cannot be written.
        """
        with self._lock(fcntl.LOCK_EX):
            data = merge(self._read().data)
            sidecar = {'sha256': hashlib.sha256(data).hexdigest(), 'key': self._key}
            try:
                write_atomically(self.path, data)
                # Killed in between: the hashes differ, and the next build starts anew.
                write_atomically(self.sidecar, json.dumps(sidecar).encode())
            except OSError as error:
                raise EngineBuildError(
                    f'timing cache {write_problem(error, self.path)}') from error

    def _read(self) -> Timings:
        try:
            data = self.path.read_bytes()
            sidecar: Any = json.loads(self.sidecar.read_bytes())
            sha256, key = sidecar['sha256'], sidecar['key']
        except FileNotFoundError as error:
            if error.filename == str(self.path):
                return Timings(b'', 'new')
            return self._ignored(f'has no {self.sidecar.name} that vouches for it')
        except (ValueError, KeyError, TypeError):
            return self._ignored(f'has an unreadable {self.sidecar.name}')
        except OSError as error:
            return self._ignored(f'cannot be read ({error.strerror})')
        if hashlib.sha256(data).hexdigest() != sha256:
            return self._ignored('is damaged: its SHA-256 is not that of its sidecar')
        if key != self._key:
            return self._ignored(f'is of {key}, this machine is {self._key}')
        return Timings(data, 'used')

    def _ignored(self, why: str) -> Timings:
        return Timings(b'', f'ignored: {self.path} {why}; it is written anew')

    @contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        lock = self.path.with_name(f'{self.path.name}.lock')
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW,
                                 0o600)
        except OSError as error:
            raise EngineBuildError(f'timing cache {write_problem(error, lock)}') from error
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)


def timing_key(package: str, version: str, host: HostTuple | None,
               driver: Path = _DRIVER) -> str:
    """
    Name everything that timings depend on.

    :param version: full version of the package.
    :param host: the machine, where it is known.
    :param driver: where the NVIDIA driver tells its version, which stands for that of CUDA; a
        Jetson has none, and there the release of L4T stands for both.
    """
    parts = [package, version]
    if host is not None:
        parts += [f'sm{host.sm}', host.platform, host.device_name]
    try:
        parts.append(driver.read_text(encoding='utf-8', errors='replace').splitlines()[0])
    except (OSError, IndexError):
        pass
    return ' '.join(' '.join(parts).split())
