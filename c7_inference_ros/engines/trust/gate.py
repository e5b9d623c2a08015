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
The gate that every engine passes before TensorRT sees a byte of it.

Deserialising an engine is running code. So an engine is first judged as a file, in a fixed order,
with one refusal each: name, host, sidecar present, sidecar matches, manifest agrees, plan header,
deployment list, signature. Nothing here writes, and nothing imports TensorRT or CUDA. The bytes
that were hashed are returned and are the bytes to deserialise: the file is read once.
"""

from __future__ import annotations

from dataclasses import dataclass
import hashlib
import os
from pathlib import Path
import stat
from typing import Callable

from c7_inference_ros.engines.filename import EngineName
from c7_inference_ros.engines.filename import parse_engine_name
from c7_inference_ros.engines.trust.deployment_list import DeploymentList
from c7_inference_ros.engines.trust.engine_files import ENGINE_PART
from c7_inference_ros.engines.trust.engine_files import EngineParts
from c7_inference_ros.engines.trust.engine_files import open_engine
from c7_inference_ros.engines.trust.manifest import MANIFEST_MAX_BYTES
from c7_inference_ros.engines.trust.manifest import MANIFEST_SUFFIX
from c7_inference_ros.engines.trust.manifest import parse_manifest
from c7_inference_ros.engines.trust.plan_header import parse_plan_header
from c7_inference_ros.engines.trust.sidecar import parse_sidecar
from c7_inference_ros.engines.trust.sidecar import SIDECAR_MAX_BYTES
from c7_inference_ros.engines.trust.sidecar import sidecar_missing
from c7_inference_ros.engines.trust.sidecar import sidecar_path
from c7_inference_ros.engines.trust.sidecar import SIDECAR_SUFFIX
from c7_inference_ros.engines.trust.signature import ManifestVerifier
from c7_inference_ros.engines.trust.signature import SIGNATURE_MAX_BYTES
from c7_inference_ros.engines.trust.signature import SIGNATURE_SUFFIX
from c7_inference_ros.engines.types import ANY_SM
from c7_inference_ros.engines.types import EngineManifest
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import EngineHashMismatchError
from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.errors import EngineSidecarMissingError

_FIELDS = {'sm': 'compute capability', 'platform': 'L4T release or x86',
           'package': 'TensorRT package', 'version': 'TensorRT version'}
_COMPILE = 'compile the model on this machine with compile_engine'


@dataclass(frozen=True)
class TrustedEngine:
    """
    An engine that passed the gate.

    :param path: the file, by its final name.
    :param name: what the name says.
    :param manifest: what the manifest says.
    :param data: the bytes that were judged; deserialise these, never the file.
    :param sha256: of the bytes.
    :param warnings: what weakens the trust without refusing it, one line each.
    """

    path: Path
    name: EngineName
    manifest: EngineManifest
    data: bytes
    sha256: str
    warnings: tuple[str, ...] = ()


class EngineGate:
    """
    Judges engine files for one host.

    :param host: where the engines would run; :func:`probe_host` finds it out.
    :param deployment_list: file with the engines that may be loaded; None asks for none.
    :param public_key: PEM file of the Ed25519 key that signed the manifests; None asks for no
        signature.
    :param max_accuracy_drop: an engine whose manifest records a larger loss is refused; below 1 an
        INT8 engine has to have such a record.
    :raises ConfigurationError: the list or the key cannot be used.
    :raises RuntimeNotAvailableError: a key is configured and ``cryptography`` is not installed.
    """

    def __init__(self, host: HostTuple, *, deployment_list: Path | None = None,
                 public_key: Path | None = None, max_accuracy_drop: float = 1.0) -> None:
        """Read the list and the key once."""
        self.host = host
        #: The check that :meth:`validate` is at: after a refusal, the one that refused.
        self.stage = ''
        self._deployment = None if deployment_list is None else DeploymentList(deployment_list)
        self._verifier = None if public_key is None else ManifestVerifier(public_key)
        self._max_accuracy_drop = max_accuracy_drop

    def validate(self, path: Path, precision: PrecisionMode | None = None,
                 admit: Callable[[int], object] = lambda size: None) -> TrustedEngine:
        """
        Return the engine with its bytes, or refuse it.

        :param path: of the engine; its sidecar, manifest and signature lie beside it.
        :param precision: what it has to be built for; None takes any.
        :param admit: called with the size of the engine before its bytes are read; raises to
            refuse them the memory.
        :raises EngineSchemaMismatchError: name, host, manifest or header do not fit.
        :raises EngineDeserializeError: the file itself cannot be read.
        :raises EngineSidecarMissingError: sidecar or manifest are not there.
        :raises EngineHashMismatchError: the bytes are not the trusted ones; ``stage`` is
            ``sidecar``, ``manifest``, ``deployment`` or ``signature``.
        """
        path = Path(path)
        self.stage = 'name'
        name = parse_engine_name(path.name)
        self.stage = 'host'
        self._check_host(path, name, precision)
        self.stage = 'file'
        with open_engine(path) as parts:
            self.stage = 'sidecar'
            expected = _sidecar(path, parts)
            data, sha256 = _read(path, parts, expected, admit)
            self.stage = 'manifest'
            manifest, text = self._manifest(path, parts, name, sha256, len(data))
            self.stage = 'header'
            _check_header(path, name, data)
            self.stage = 'deployment'
            self._check_deployment(path, sha256, text)
            self.stage = 'signature'
            self._check_signature(path, parts, text)
            self.stage = ''
            warnings = _ownership_warnings(path, parts) + self._device_warnings(path, manifest)
        return TrustedEngine(path, name, manifest, data, sha256, warnings)

    def _check_host(self, path: Path, name: EngineName, precision: PrecisionMode | None) -> None:
        differences = name.differences(self.host)
        if differences:
            field, found, expected = differences[0]
            more = '; '.join(f'{_FIELDS[key]} {theirs} and not {ours}'
                             for key, theirs, ours in differences[1:])
            raise EngineSchemaMismatchError(
                f'{path.name} was built for {_FIELDS[field]} {found}, and this machine has '
                f'{expected}{" (also " + more + ")" if more else ""}; {_COMPILE}')
        if precision is not None and name.precision is not precision:
            raise EngineSchemaMismatchError(
                f'{path.name} was built for precision {name.precision.value}, expected '
                f'{precision.value} as configured; give the engine of that precision, or compile '
                f'it with --precision {precision.value}')

    def _manifest(self, path: Path, parts: EngineParts, name: EngineName, sha256: str,
                  size: int) -> tuple[EngineManifest, bytes]:
        part = parts.get(MANIFEST_SUFFIX)
        if part is None:
            error = parts.problem(MANIFEST_SUFFIX)
            raise EngineSidecarMissingError(
                f'{path} has no readable manifest {path.name}{MANIFEST_SUFFIX} '
                f'({error.strerror or error}); copy the manifest along with the engine, or '
                f'compile it again') from error
        where = str(path) + MANIFEST_SUFFIX
        text = part.read(MANIFEST_MAX_BYTES)
        manifest = parse_manifest(text, where)
        if manifest.engine_sha256 != sha256:
            raise EngineHashMismatchError(
                f'{where} is the manifest of an engine with SHA-256 {manifest.engine_sha256}, and '
                f'{path.name} has {sha256}; copy the manifest that belongs to this engine, or '
                f'compile it again', stage='manifest')
        host = manifest.host
        pairs = [('engine_bytes', manifest.engine_bytes, size),
                 ('model', manifest.model, name.model),
                 *((f'host.{field}', getattr(host, field), getattr(name, field))
                   for field in _FIELDS),
                 ('precision', manifest.precision.value, name.precision.value)]
        for key, found, expected in pairs:
            if found != expected:
                raise EngineSchemaMismatchError(
                    f'{where} has {key} {found!r}, and the engine {path.name} {expected!r}; one '
                    f'of them was renamed or exchanged: copy the pair again, or compile it again')
        if (host.device_name != self.host.device_name and host.device_name
                and self.host.device_name and not _is_portable(manifest)):
            raise EngineSchemaMismatchError(
                f'{path.name} was built on device {host.device_name!r}, and this machine has '
                f'{self.host.device_name!r} with the same compute capability; {_COMPILE}, or '
                f'build it with hardware compatibility')
        self._check_accuracy(path, manifest)
        return manifest, text

    def _check_accuracy(self, path: Path, manifest: EngineManifest) -> None:
        check = manifest.accuracy
        if check is None:
            if self._max_accuracy_drop < 1.0 and manifest.precision is PrecisionMode.INT8:
                raise EngineSchemaMismatchError(
                    f'{path.name} is an INT8 engine whose accuracy nobody checked, and '
                    f'engines.max_accuracy_drop is {self._max_accuracy_drop:g}; compile it again '
                    f'with an accuracy check, or set the parameter to 1.0')
            return
        if check.drop > check.limit:
            raise EngineSchemaMismatchError(
                f'{path.name} lost {check.drop:.4f} of {check.metric} against float32, more than '
                f'the {check.limit:g} that it was built with as its limit; compile it again with '
                f'better calibration data, or with another precision')
        if check.drop > self._max_accuracy_drop:
            raise EngineSchemaMismatchError(
                f'{path.name} lost {check.drop:.4f} of {check.metric} against float32, and '
                f'engines.max_accuracy_drop is {self._max_accuracy_drop:g}; raise the parameter, '
                f'or compile the model with another precision')

    def _check_deployment(self, path: Path, sha256: str, manifest: bytes) -> None:
        if self._deployment is None:
            return
        self._deployment.check(path.name, sha256)
        if path.name + MANIFEST_SUFFIX in self._deployment:
            self._deployment.check(
                path.name + MANIFEST_SUFFIX, hashlib.sha256(manifest).hexdigest())

    def _check_signature(self, path: Path, parts: EngineParts, manifest: bytes) -> None:
        if self._verifier is None:
            return
        part = parts.get(SIGNATURE_SUFFIX)
        if part is None or not part.size:
            reason = '' if part else f' ({parts.problem(SIGNATURE_SUFFIX).strerror})'
            raise EngineHashMismatchError(
                f'{path} has no signature {path.name}{SIGNATURE_SUFFIX}{reason}, and '
                f'engines.public_key asks for one; sign the engine with compile_engine where the '
                f'private key is, or copy its signature along', stage='signature')
        self._verifier.verify(Path(str(path) + SIGNATURE_SUFFIX), manifest,
                              part.read(SIGNATURE_MAX_BYTES))

    def _device_warnings(self, path: Path, manifest: EngineManifest) -> tuple[str, ...]:
        if _is_portable(manifest) or (manifest.host.device_name and self.host.device_name):
            return ()
        return (f'{path.name}: whether it was built on the same device is not known (its '
                f'manifest says {manifest.host.device_name or "nothing"!r}, this machine '
                f'{self.host.device_name or "nothing"!r}); the same compute capability does not '
                f'make it the same device',)


def _is_portable(manifest: EngineManifest) -> bool:
    """Whether the engine is meant for other devices than that it was built on."""
    return manifest.host.sm == ANY_SM or manifest.hardware_compatibility != 'none'


def _sidecar(path: Path, parts: EngineParts) -> str:
    part = parts.get(SIDECAR_SUFFIX)
    if part is None:
        error = parts.problem(SIDECAR_SUFFIX)
        raise sidecar_missing(path, sidecar_path(path), error) from error
    return parse_sidecar(sidecar_path(path), part.read(SIDECAR_MAX_BYTES))


def _read(path: Path, parts: EngineParts, expected: str,
          admit: Callable[[int], object]) -> tuple[bytes, str]:
    """Read the engine, once; these bytes are hashed, and these bytes are returned."""
    part = parts.get(ENGINE_PART)
    assert part is not None, 'open_engine() refuses an engine that it cannot open'
    admit(part.size)
    data = part.read(part.size)
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != expected:
        raise EngineHashMismatchError(
            f'{path} has SHA-256 {sha256} ({len(data)} bytes), and its sidecar says {expected}; '
            f'the file is damaged, or one of the two was exchanged: copy both again, or compile '
            f'it again', stage='sidecar')
    return data, sha256


def _check_header(path: Path, name: EngineName, data: bytes) -> None:
    header = parse_plan_header(data, str(path))
    if header.package != name.package:
        raise EngineSchemaMismatchError(
            f'{path} holds a plan of {header.package}, and its name says {name.package}; '
            f'{_COMPILE}')
    if not header.is_version(name.version):
        raise EngineSchemaMismatchError(
            f'{path} was written by version {header.version_text} of {header.package}, and its '
            f'name says {name.version}; {_COMPILE}')
    if header.total_bytes is not None and header.total_bytes != len(data):
        raise EngineSchemaMismatchError(
            f'{path} has {len(data)} bytes, and its header says {header.total_bytes}; it is cut '
            f'off or something was appended: copy it again, or compile it again')


def _ownership_warnings(path: Path, parts: EngineParts) -> tuple[str, ...]:
    """Say who else could exchange the engine; what is checked today may not be there tomorrow."""
    statuses = [(path.parent, parts.folder_status)]
    statuses += [(part.path, part.status) for part in map(parts.get, (
        ENGINE_PART, MANIFEST_SUFFIX, SIGNATURE_SUFFIX, SIDECAR_SUFFIX)) if part is not None]
    warnings = []
    for place, status in statuses:
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            warnings.append(
                f'{place} can be written by others (mode {stat.S_IMODE(status.st_mode):04o}); '
                f'chmod go-w it, or configure engines.public_key')
        if status.st_uid not in (0, os.geteuid()):
            warnings.append(
                f'{place} belongs to uid {status.st_uid}, neither root nor this user (uid '
                f'{os.geteuid()}); change its owner, or configure engines.public_key')
    return tuple(warnings)
