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
The list of engines that may be loaded on a vehicle, as ``sha256sum`` writes it.

.. code-block:: text

    # fleet 7, released 2026-10-01; made with: sha256sum *.engine
    0f1e...  yolox_nano__sm87_jp36.4.3_trt10.3.0_fp16.engine

Folders before a name are ignored. An engine that is not in the list is refused. Where the list
has a manifest (``<engine>.json``) too, that has to match as well.
"""

from __future__ import annotations

from pathlib import Path
import re

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineHashMismatchError

# Two characters follow the hash: a space and the mode, a space for text and * for binary.
_LINE = re.compile(r'([0-9a-f]{64}) [ *](.+)')
_MAX_BYTES = 1 << 24


class DeploymentList:
    """
    Hashes by file name.

    :param path: the file with the list.
    :raises ConfigurationError: it cannot be read, holds no entry, or a line is none.
    """

    def __init__(self, path: Path) -> None:
        """Read the list whole, so that a broken one is found before any engine is."""
        self.path = path
        self._hashes: dict[str, str] = {}
        for number, line in enumerate(self._read().split('\n'), 1):
            text = line.strip()
            if text and not text.startswith('#'):
                self._add(number, text)
        if not self._hashes:
            raise ConfigurationError(
                f'engines.deployment_list {path} lists no engine, expected lines as sha256sum '
                f'writes them; write it with: sha256sum *.engine, or configure no list')

    def __contains__(self, name: str) -> bool:
        """Whether a file is in the list."""
        return name in self._hashes

    def check(self, name: str, sha256: str) -> None:
        """
        Accept a file, or refuse.

        :param name: without its folder.
        :param sha256: of its bytes.
        :raises EngineHashMismatchError: the list has another hash for it, or none; stage
            ``deployment``.
        """
        expected = self._hashes.get(name)
        if expected is None:
            raise EngineHashMismatchError(
                f'{name} is not in the deployment list {self.path} (it has {self._names()}); add '
                f'it there once it is released, or deploy an engine of the list',
                stage='deployment')
        if expected != sha256:
            raise EngineHashMismatchError(
                f'{name} has SHA-256 {sha256}, and the deployment list {self.path} expects '
                f'{expected}; deploy the engine that was released, or release this one',
                stage='deployment')

    def _read(self) -> str:
        try:
            with open(self.path, 'rb') as file:
                data = file.read(_MAX_BYTES + 1)
            if len(data) > _MAX_BYTES:
                raise ValueError(f'more than {_MAX_BYTES} bytes')
            return data.decode('utf-8')
        except (OSError, ValueError) as error:
            reason = getattr(error, 'strerror', None) or error
            raise ConfigurationError(
                f'engines.deployment_list {self.path} cannot be read: {reason}; correct the path, '
                f'or write it with: sha256sum *.engine') from error

    def _add(self, number: int, text: str) -> None:
        match = _LINE.fullmatch(text)
        if match is None:
            raise ConfigurationError(
                f'engines.deployment_list {self.path} line {number} is {text[:40]!r}, expected '
                f'64 lowercase hex characters, two spaces and a file name; write it with: '
                f'sha256sum *.engine')
        sha256, name = match[1], match[2].rpartition('/')[2]
        if self._hashes.setdefault(name, sha256) != sha256:
            raise ConfigurationError(
                f'engines.deployment_list {self.path} line {number} has a second SHA-256 for '
                f'{name}, expected one; remove the one that is not deployed')

    def _names(self) -> str:
        names = sorted(self._hashes)
        more = f' and {len(names) - 3} more' if len(names) > 3 else ''
        return ', '.join(names[:3]) + more
