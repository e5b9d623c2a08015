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
What is in an engine, from its name, header, sidecar and manifest; without GPU and TensorRT.

Nothing is trusted here and nothing is refused: what is broken is shown beside what can be read.
"""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass
import hashlib
import json
import os
from pathlib import Path
from typing import Any
from typing import Callable
from typing import TypeVar

from c7_inference_ros.engines.build_key import PARTS
from c7_inference_ros.engines.filename import EngineName
from c7_inference_ros.engines.filename import parse_engine_name
from c7_inference_ros.engines.trust.engine_files import ENGINE_PART
from c7_inference_ros.engines.trust.engine_files import EngineParts
from c7_inference_ros.engines.trust.engine_files import open_engine
from c7_inference_ros.engines.trust.engine_files import OpenPart
from c7_inference_ros.engines.trust.manifest import manifest_bytes
from c7_inference_ros.engines.trust.manifest import MANIFEST_MAX_BYTES
from c7_inference_ros.engines.trust.manifest import manifest_path
from c7_inference_ros.engines.trust.manifest import MANIFEST_SUFFIX
from c7_inference_ros.engines.trust.manifest import parse_manifest
from c7_inference_ros.engines.trust.plan_header import parse_plan_header
from c7_inference_ros.engines.trust.plan_header import PlanHeader
from c7_inference_ros.engines.trust.sidecar import parse_sidecar
from c7_inference_ros.engines.trust.sidecar import SIDECAR_MAX_BYTES
from c7_inference_ros.engines.trust.sidecar import sidecar_missing
from c7_inference_ros.engines.trust.sidecar import sidecar_path
from c7_inference_ros.engines.trust.sidecar import SIDECAR_SUFFIX
from c7_inference_ros.engines.trust.signature import SIGNATURE_SUFFIX
from c7_inference_ros.engines.types import EngineManifest
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.errors import InferenceRuntimeError
from c7_inference_ros.model_files.tensor_spec import TensorSpec
from c7_inference_ros.tools.console import size_text

_HEADER_BYTES = 64
_CHUNK_BYTES = 1 << 20
_SHOWN_NAMES = 5
T = TypeVar('T')


@dataclass(frozen=True)
class Inspection:
    """
    What could be read of an engine.

    :param path: the file.
    :param size_bytes: of the file.
    :param sha256: of its bytes.
    :param name: what its name says, or None.
    :param header: what its first bytes say, or None.
    :param manifest: what was written down when it was built, or None.
    :param is_signed: whether a signature lies beside it; nobody checked it.
    :param problems: what is missing, broken or contradicts the rest, one sentence each.
    """

    path: Path
    size_bytes: int
    sha256: str
    name: EngineName | None
    header: PlanHeader | None
    manifest: EngineManifest | None
    is_signed: bool
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        name, header = self.name, self.header
        return {
            'engine': str(self.path), 'bytes': self.size_bytes, 'sha256': self.sha256,
            'name': name and {**asdict(name), 'precision': name.precision.value},
            'header': header and {'package': header.package, 'version': header.version_text,
                                  'total_bytes': header.total_bytes,
                                  'targets': list(header.targets)},
            'manifest': self.manifest and json.loads(manifest_bytes(self.manifest)),
            'is_signed': self.is_signed, 'problems': list(self.problems)}


def inspect_engine(path: Path) -> Inspection:
    """
    Read everything that can be read of an engine.

    :raises EngineDeserializeError: the file itself cannot be read.
    """
    problems: list[str] = []

    def attempt(read: Callable[..., T], *arguments: Any) -> T | None:
        try:
            return read(*arguments)
        except InferenceRuntimeError as error:
            problems.append(str(error))
            return None

    with open_engine(path) as parts:
        engine = parts.get(ENGINE_PART)
        assert engine is not None  # open_engine raises where there is none
        size, sha256, start = engine.size, *_hash(engine)
        name = attempt(parse_engine_name, path.name)
        header = attempt(parse_plan_header, start, str(path))
        recorded = attempt(_read_sidecar, path, parts)
        manifest = attempt(_read_manifest, path, parts)
        is_signed = parts.get(SIGNATURE_SUFFIX) is not None
    if recorded not in (None, sha256):
        problems.append(f'{path} has SHA-256 {sha256}, its sidecar says {recorded}; copy both '
                        f'again, or compile the engine again')
    if manifest is not None and manifest.engine_sha256 != sha256:
        problems.append(f'{path} has SHA-256 {sha256}, its manifest is of {manifest.engine_sha256}'
                        f'; copy both again, or compile the engine again')
    if header is not None and header.total_bytes not in (None, size):
        problems.append(f'{path} has {size} bytes, its header says {header.total_bytes}; copy it '
                        f'again')
    return Inspection(path, size, sha256, name, header, manifest, is_signed, tuple(problems))


def _hash(part: OpenPart) -> tuple[str, bytes]:
    """Return the SHA-256 of an open file, and its first bytes."""
    digest = hashlib.sha256()
    start = b''
    try:
        with os.fdopen(part.descriptor, 'rb', closefd=False) as file:
            while chunk := file.read(_CHUNK_BYTES):
                start = start or chunk[:_HEADER_BYTES]
                digest.update(chunk)
    except OSError as error:
        raise EngineDeserializeError(
            f'{part.path} cannot be read: {error.strerror or error}; check the medium it lies on'
        ) from error
    return digest.hexdigest(), start


def _read_sidecar(path: Path, parts: EngineParts) -> str:
    sidecar = parts.get(SIDECAR_SUFFIX)
    if sidecar is None:
        raise sidecar_missing(path, sidecar_path(path), parts.problem(SIDECAR_SUFFIX))
    return parse_sidecar(sidecar.path, sidecar.read(SIDECAR_MAX_BYTES))


def _read_manifest(path: Path, parts: EngineParts) -> EngineManifest:
    manifest = parts.get(MANIFEST_SUFFIX)
    if manifest is None:
        reason = parts.problem(MANIFEST_SUFFIX)
        raise EngineSchemaMismatchError(
            f'{manifest_path(path)} cannot be read: {reason.strerror or reason}; copy it along '
            f'with the engine, or compile the engine again')
    return parse_manifest(manifest.read(MANIFEST_MAX_BYTES), str(manifest.path))


def report(found: Inspection) -> list[tuple[str, str]]:
    """Return (what, value) for people; what cannot be read is left out."""
    rows = [('engine', str(found.path)),
            ('size', f'{size_text(found.size_bytes)} ({found.size_bytes} bytes)'),
            ('SHA-256', found.sha256)]
    if found.name is not None:
        rows.append(('for', f'model {found.name.model}, {_host(found.name)}, '
                            f'{found.name.precision.value}'))
    if found.header is not None:
        targets = ', '.join(found.header.targets)
        rows.append(('header', f'{found.header.package} {found.header.version_text}'
                               f'{f"; GPUs of SM {targets}" if targets else ""}'))
    if found.manifest is not None:
        rows += manifest_report(found.manifest)
    rows.append(('signature', 'there is one; verify --public-key checks it' if found.is_signed
                 else 'none'))
    return rows


def manifest_report(manifest: EngineManifest) -> list[tuple[str, str]]:
    """Return (what, value) of a manifest for people."""
    device = f' on {manifest.host.device_name}' if manifest.host.device_name else ''
    rows = [('built', f'{manifest.built_at} in {manifest.build_seconds:.1f} s by branch '
                      f'{manifest.branch}{device}')]
    rows += [('input', tensor_text(one)) for one in manifest.inputs]
    rows += [('output', tensor_text(one)) for one in manifest.outputs]
    rows += [('profile', f'{profile.name}: ' + '; '.join(
        f'{name} {_range(*shapes)}' for name, shapes in profile.shapes.items()))
        for profile in manifest.profiles]
    if manifest.tensor_types:
        rows.append(('types', ', '.join(f'{count} x {kind}' for kind, count in sorted(
            manifest.tensor_types.items(), key=lambda item: -item[1]))))
    rows.append(('memory', _memory(manifest)))
    rows += _processing_rows(manifest)
    if manifest.calibration is not None:
        rows.append(('calibration', ', '.join(
            f'{key} {_setting(value)}' for key, value in manifest.calibration.items()
            if not key.endswith(('sha256', 'key')) and key not in ('cache', 'quantizer'))))
    if manifest.accuracy is not None:
        check = manifest.accuracy
        rows.append(('accuracy', f'{check.metric} {check.measured:.4f}, float32 '
                                 f'{check.reference:.4f}, drop {check.drop:+.4f} of at most '
                                 f'{check.limit:g}, {check.images} images'))
    settings = [f'{key} {_setting(value)}' for key, value in manifest.settings.items()
                if key != PARTS]
    if settings:
        rows.append(('settings', ', '.join(settings)))
    rows.append(('ONNX model', f'SHA-256 {manifest.onnx_sha256}'))
    rows += [('warning', text) for text in manifest.warnings]
    return rows


def tensor_text(spec: TensorSpec) -> str:
    """Return a tensor for people, for example ``images float32 1x3x416x416``."""
    largest = f', at most {_shape(spec.max_shape)}' if (
        spec.max_shape and spec.max_shape != spec.shape) else ''
    return f'{spec.name} {spec.dtype.name} {_shape(spec.shape)}{largest}'


def _memory(manifest: EngineManifest) -> str:
    io = f'inputs and outputs {size_text(manifest.io_bytes)}'
    context = max((size for size in manifest.context_bytes if size is not None), default=None)
    if manifest.weights_bytes is None and context is None:
        return f'{io}; weights and context are only known where it was loaded'
    return (f'weights {size_text(manifest.weights_bytes)}, context {size_text(context)}, {io}')


def _range(smallest: tuple[int, ...], best: tuple[int, ...], largest: tuple[int, ...]) -> str:
    if smallest == largest:
        return _shape(best)
    return f'{_shape(smallest)} to {_shape(largest)}, best at {_shape(best)}'


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, list):
        return ' '.join(map(str, value)) or 'none'
    return str(value)


def _processing_rows(manifest: EngineManifest) -> list[tuple[str, str]]:
    rows = []
    decoder = manifest.processing.get('decoder')
    if decoder:
        rows.append(('decoder', str(decoder)))
    preprocess = manifest.processing.get('preprocess')
    if isinstance(preprocess, dict):
        # What is left to the model says nothing.
        rows.append(('preprocess', ', '.join(f'{key} {_setting(value)}' for key, value
                                             in preprocess.items() if value not in ('auto', 0))))
    labels = manifest.processing.get('labels')
    if labels:
        shown = ', '.join(map(str, labels[:_SHOWN_NAMES]))
        more = f' and {len(labels) - _SHOWN_NAMES} more' if len(labels) > _SHOWN_NAMES else ''
        rows.append(('labels', f'{shown}{more}'))
    return rows


def _host(name: EngineName) -> str:
    gpu = 'any GPU' if name.sm == 'any' else f'SM {name.sm}'
    machine = name.platform if name.platform == 'x86' else f'L4T {name.platform}'
    return f'{gpu}, {machine}, {name.package} {name.version}'


def _shape(shape: tuple[int, ...]) -> str:
    return 'x'.join('?' if side < 0 else str(side) for side in shape) or 'scalar'
