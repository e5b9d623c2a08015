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
The ``<file>.sha256`` beside a file: 64 lowercase hex characters and nothing else.

It catches corruption and files that were mixed up. Somebody who can write the folder can write
the sidecar too; against that there are the deployment list and the signature.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
import re

from c7_inference_ros.engines.atomic_file import write_atomically
from c7_inference_ros.errors import EngineHashMismatchError
from c7_inference_ros.errors import EngineSidecarMissingError

SIDECAR_SUFFIX = '.sha256'
#: More than this is never read of a sidecar.
SIDECAR_MAX_BYTES = 4096

_SIDECAR = re.compile(rb'([0-9a-f]{64})\n?')
_CHUNK_BYTES = 1 << 20


def sidecar_path(path: Path) -> Path:
    """Return the path of a file's sidecar: the suffix is appended to the whole name."""
    return path.with_name(path.name + SIDECAR_SUFFIX)


def hash_file(path: Path) -> str:
    """
    Return the SHA-256 of a file, read in pieces.

    :raises OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, 'rb', buffering=0) as file:
        buffer = bytearray(_CHUNK_BYTES)
        view = memoryview(buffer)
        while size := file.readinto(buffer):
            digest.update(view[:size])
    return digest.hexdigest()


def is_sha256(text: object) -> bool:
    """Whether something is a SHA-256 as this package writes it."""
    return isinstance(text, str) and re.fullmatch(r'[0-9a-f]{64}', text) is not None


def write_sidecar(path: Path, sha256: str) -> Path:
    """
    Write the sidecar of a file atomically; return its path.

    :param path: the file, not the sidecar.
    :raises ValueError: the hash is no hash.
    :raises OSError: it cannot be written.
    """
    if not is_sha256(sha256):
        raise ValueError(f'SHA-256 of {path} is {sha256!r}, expected 64 lowercase hex characters')
    sidecar = sidecar_path(path)
    write_atomically(sidecar, sha256.encode())
    return sidecar


def read_sidecar(path: Path) -> str:
    """
    Return the SHA-256 that a file's sidecar holds.

    :param path: the file, not the sidecar.
    :raises EngineSidecarMissingError: there is no sidecar that can be read.
    :raises EngineHashMismatchError: it holds something else; stage ``sidecar``.
    """
    sidecar = sidecar_path(path)
    try:
        with open(sidecar, 'rb') as file:
            data = file.read(SIDECAR_MAX_BYTES)
    except OSError as error:
        raise sidecar_missing(path, sidecar, error) from error
    return parse_sidecar(sidecar, data)


def sidecar_missing(path: Path, sidecar: Path, error: OSError) -> EngineSidecarMissingError:
    """Say that a sidecar cannot be read; for everybody who opens one."""
    return EngineSidecarMissingError(
        f'{path} has no readable sidecar {sidecar.name} ({error.strerror or error}); nothing '
        f'vouches for its bytes: copy the sidecar along with the file, or make both again')


def parse_sidecar(sidecar: Path, data: bytes) -> str:
    """
    Return the SHA-256 in the bytes of a sidecar.

    :param sidecar: where they are from, for the message.
    :raises EngineHashMismatchError: they are anything else; stage ``sidecar``.
    """
    match = _SIDECAR.fullmatch(data)
    if match is None:
        raise EngineHashMismatchError(
            f'{sidecar} holds {_excerpt(data)}, expected 64 lowercase hex characters and nothing '
            f'else; copy it again, or make the file and its sidecar again', stage='sidecar')
    return match[1].decode()


def _excerpt(data: bytes) -> str:
    if not data:
        return 'nothing'
    return f'{data[:16]!r}{"..." if len(data) > 16 else ""} ({len(data)} bytes)'
