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

"""The engine that is there already: is it what would be built, and if not, why not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Mapping

from c7_inference_ros.engines.build_key import changes
from c7_inference_ros.engines.build_key import key_of
from c7_inference_ros.engines.build_key import PARTS
from c7_inference_ros.engines.filename import ENGINE_SUFFIX
from c7_inference_ros.engines.filename import EngineName
from c7_inference_ros.engines.filename import parse_engine_name
from c7_inference_ros.engines.trust.engine_files import open_engine
from c7_inference_ros.engines.trust.gate import EngineGate
from c7_inference_ros.engines.trust.gate import TrustedEngine
from c7_inference_ros.engines.trust.manifest import MANIFEST_SUFFIX
from c7_inference_ros.engines.trust.signature import sign_manifest
from c7_inference_ros.engines.trust.signature import SIGNATURE_MAX_BYTES
from c7_inference_ros.engines.trust.signature import SIGNATURE_SUFFIX
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.errors import InferenceRuntimeError


@dataclass(frozen=True)
class Present:
    """
    The engine at a path.

    :param trusted: it passed the gate; None when there is none or it was refused.
    :param is_current: it was built from what would be built now.
    :param is_signed: it has the signature that it should have.
    :param reason: why a new one has to be built; empty when it is current.
    """

    trusted: TrustedEngine | None
    is_current: bool
    is_signed: bool
    reason: str


def look_at(path: Path, host: HostTuple, parts: Mapping[str, Any],
            private_key: Path | None) -> Present:
    """
    Judge the engine at a path.

    :param host: where it has to run.
    :param parts: what it would be built from, of :func:`build_parts`.
    :param private_key: must have signed it; None asks for no signature.
    :raises ConfigurationError: the key cannot be used.
    """
    # Before anything else, so that a wrong key costs no build.
    is_signed = private_key is None or _is_signed_by(path, private_key)
    try:
        trusted = EngineGate(host).validate(path)
    except InferenceRuntimeError as error:
        if not path.exists():
            return Present(None, False, False, _first(path))
        return Present(None, False, False, f'the present engine was refused: {error}')
    manifest = trusted.manifest
    if manifest.build_key == key_of(parts):
        return Present(trusted, True, is_signed, '')
    changed = changes(manifest.settings.get(PARTS), parts)
    return Present(trusted, False, is_signed,
                   changed or 'its build key is not that of what its manifest says it was '
                              'built from')


def _is_signed_by(path: Path, private_key: Path) -> bool:
    try:
        with open_engine(path) as files:
            manifest, signature = files.get(MANIFEST_SUFFIX), files.get(SIGNATURE_SUFFIX)
            found = None if signature is None else signature.read(SIGNATURE_MAX_BYTES)
            text = b'' if manifest is None else manifest.read(manifest.size)
    except InferenceRuntimeError:
        found, text = None, b''
    # Ed25519 signs the same bytes the same way every time.
    return sign_manifest(private_key, text) == found


def _first(path: Path) -> str:
    """Say why there is no engine of this name: what differs from the nearest one that there is."""
    wanted = parse_engine_name(path.name)
    nearest: tuple[int, str, str] | None = None
    try:
        names = sorted(entry.name for entry in path.parent.iterdir()
                       if entry.name.startswith(f'{wanted.model}__')
                       and entry.name.endswith(ENGINE_SUFFIX))
    except OSError:
        names = []
    for file_name in names:
        try:
            found = parse_engine_name(file_name)
        except EngineSchemaMismatchError:
            continue
        differences = _differences(found, wanted)
        if differences and (nearest is None or len(differences) <= nearest[0]):
            nearest = len(differences), ', '.join(differences), file_name
    if nearest is None:
        return 'there is no engine of this model yet'
    return f'{nearest[1]} (beside {nearest[2]}, which stays)'


def _differences(found: EngineName, wanted: EngineName) -> list[str]:
    pairs = [('SM', found.sm, wanted.sm), ('platform', found.platform, wanted.platform),
             ('package', found.package, wanted.package),
             ('version', found.version, wanted.version),
             ('precision', found.precision.value, wanted.precision.value)]
    return [f'{what} {new} instead of {old}' for what, old, new in pairs if old != new]
