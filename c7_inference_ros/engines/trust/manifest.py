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
The manifest of an engine as a file: ``<engine>.json``, to and from :class:`EngineManifest`.

The JSON is canonical: one manifest has one sequence of bytes, in ASCII, keys sorted. Those bytes
are what is signed. ``content_sha256`` is the hash of the document without that key, so that a
manifest which somebody or something edited is found without a signature too; bytes that are not
canonical are refused.
"""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import fields
from enum import Enum
import hashlib
import json
import math
from pathlib import Path
from typing import Any
from typing import Mapping
from typing import NoReturn

from c7_inference_ros.engines.json_reader import JsonReader
from c7_inference_ros.engines.types import AccuracyCheck
from c7_inference_ros.engines.types import EngineManifest
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import EngineHashMismatchError
from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.model_files.tensor_spec import TensorSpec
import numpy as np

MANIFEST_SUFFIX = '.json'
#: More than this is never read.
MANIFEST_MAX_BYTES = 16 << 20
SCHEMA_VERSION = 1
HARDWARE_COMPATIBILITY = ('none', 'ampere_plus', 'same_compute_capability')

_ELEMENT_TYPES = ('bool', 'int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32',
                  'uint64', 'float16', 'float32', 'float64')
_FIELDS = {field.name for field in fields(EngineManifest)}
_BOOKKEEPING = {'schema_version', 'content_sha256'}


def manifest_path(path: Path) -> Path:
    """Return the path of an engine's manifest."""
    return path.with_name(path.name + MANIFEST_SUFFIX)


def manifest_bytes(manifest: EngineManifest) -> bytes:
    """
    Return the canonical bytes of a manifest.

    Tuples in the free parts (settings, processing, calibration) become lists.

    :raises EngineSchemaMismatchError: it holds something that the file could not give back.
    """
    document = _document(manifest)
    data = _canonical({**document, 'content_sha256': _content_sha256(document)})
    # What is written can be read, or is not written.
    parse_manifest(data, 'manifest')
    return data


def read_manifest(path: Path) -> EngineManifest:
    """
    Read a manifest file.

    :param path: of the manifest, not the engine.
    :raises EngineSchemaMismatchError: it cannot be read or is not one of this schema.
    :raises EngineHashMismatchError: it was edited; stage ``manifest``.
    """
    try:
        with open(path, 'rb') as file:
            data = file.read(MANIFEST_MAX_BYTES + 1)
    except OSError as error:
        raise EngineSchemaMismatchError(
            f'{path} cannot be read: {error.strerror or error}; copy it along with the engine, or '
            f'compile the engine again') from error
    return parse_manifest(data, str(path))


def parse_manifest(data: bytes, name: str) -> EngineManifest:
    """
    Return the manifest that these bytes are.

    :param name: the file, for messages.
    :raises EngineSchemaMismatchError: they are no manifest of this schema.
    :raises EngineHashMismatchError: they were edited; stage ``manifest``.
    """
    document = _load(data, name)
    reader = JsonReader(document, name)
    version = reader.integer('schema_version', minimum=1)
    if version != SCHEMA_VERSION:
        raise EngineSchemaMismatchError(
            f'{name}: schema_version is {version}, expected {SCHEMA_VERSION}; compile the engine '
            f'again with this version of c7_inference_ros')
    reader.only(_FIELDS | _BOOKKEEPING)
    manifest = _manifest(reader)
    expected = reader.sha256('content_sha256')
    found = _content_sha256(
        {key: value for key, value in document.items() if key != 'content_sha256'})
    if found != expected or _canonical(document) != data:
        raise EngineHashMismatchError(
            f'{name} was edited after it was written: its content has SHA-256 {found}, its '
            f'content_sha256 is {expected}, and its bytes are '
            f'{"" if _canonical(document) == data else "not "}in canonical form; copy it again, '
            f'or compile the engine again', stage='manifest')
    return manifest


def _manifest(reader: JsonReader) -> EngineManifest:
    return EngineManifest(
        engine_sha256=reader.sha256('engine_sha256'),
        engine_bytes=reader.integer('engine_bytes', minimum=1),
        onnx_sha256=reader.sha256('onnx_sha256'),
        build_key=reader.text('build_key'),
        host=_host(reader.inside('host')),
        precision=PrecisionMode(
            reader.choice('precision', [mode.value for mode in PrecisionMode])),
        inputs=tuple(_tensor(item) for item in reader.items('inputs')),
        outputs=tuple(_tensor(item) for item in reader.items('outputs')),
        profiles=tuple(_profile(item) for item in reader.items('profiles')),
        tensor_types=reader.counts('tensor_types'),
        weights_bytes=reader.optional('weights_bytes', reader.integer),
        context_bytes=reader.optional_integers('context_bytes'),
        io_bytes=reader.integer('io_bytes'),
        hardware_compatibility=reader.choice('hardware_compatibility', HARDWARE_COMPATIBILITY),
        branch=reader.text('branch'),
        settings=reader.mapping('settings'),
        metadata=reader.texts_by_key('metadata'),
        processing=_processing(reader),
        calibration=reader.optional('calibration', reader.mapping),
        accuracy=reader.optional('accuracy', lambda key: _accuracy(reader.inside(key))),
        warnings=reader.texts('warnings'),
        build_seconds=reader.number('build_seconds'),
        built_at=reader.text('built_at'),
        model=reader.text('model'))


def _host(reader: JsonReader) -> HostTuple:
    names = [field.name for field in fields(HostTuple)]
    reader.only(names)
    return HostTuple(**{name: reader.text(name) for name in names})


def _tensor(reader: JsonReader) -> TensorSpec:
    reader.only(['name', 'dtype', 'shape', 'max_shape'])
    return TensorSpec(
        reader.text('name'), np.dtype(reader.choice('dtype', _ELEMENT_TYPES)),
        reader.integers('shape', minimum=-1), reader.integers('max_shape', minimum=-1))


def _profile(reader: JsonReader) -> OptimizationProfile:
    reader.only(['name', 'shapes'])
    shapes = reader.inside('shapes')
    return OptimizationProfile(
        reader.text('name'), {key: _range(shapes.inside(key)) for key in shapes.keys()})


def _range(reader: JsonReader) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    reader.only(['min', 'opt', 'max'])
    return reader.integers('min'), reader.integers('opt'), reader.integers('max')


def _processing(reader: JsonReader) -> dict[str, Any]:
    """Read what the node will take its settings from; the values are judged there."""
    inside = reader.inside('processing')
    for key, read in (('preprocess', inside.mapping), ('decoder', inside.text),
                      ('labels', inside.texts)):
        if key in inside.keys():
            inside.optional(key, read)
    return reader.mapping('processing')


def _accuracy(reader: JsonReader) -> AccuracyCheck:
    reader.only([field.name for field in fields(AccuracyCheck)])
    return AccuracyCheck(
        reader.text('metric'), reader.number('reference'), reader.number('measured'),
        reader.number('limit'), reader.integer('images'), reader.sha256('dataset_sha256'))


def _document(manifest: EngineManifest) -> dict[str, Any]:
    """Return the manifest as JSON values, without its own hash."""
    document: dict[str, Any] = {
        field.name: _plain(getattr(manifest, field.name), field.name)
        for field in fields(EngineManifest)
        if field.name not in ('host', 'inputs', 'outputs', 'profiles', 'accuracy')}
    document['schema_version'] = SCHEMA_VERSION
    document['host'] = asdict(manifest.host)
    for key in ('inputs', 'outputs'):
        document[key] = [
            {'name': tensor.name, 'dtype': np.dtype(tensor.dtype).name,
             'shape': _plain(tensor.shape, key), 'max_shape': _plain(tensor.max_shape, key)}
            for tensor in getattr(manifest, key)]
    document['profiles'] = [
        {'name': profile.name, 'shapes': {
            name: {key: _plain(shape, 'profiles') for key, shape in zip(('min', 'opt', 'max'),
                                                                        shapes)}
            for name, shapes in profile.shapes.items()}}
        for profile in manifest.profiles]
    check = manifest.accuracy
    document['accuracy'] = check and {
        **asdict(check), 'reference': float(check.reference), 'measured': float(check.measured),
        'limit': float(check.limit)}
    document['build_seconds'] = float(manifest.build_seconds)
    return document


def _plain(value: Any, where: str) -> Any:
    """Return a value as JSON knows it, or refuse what JSON would change."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Enum):
        value = value.value
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float and math.isfinite(value):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item, where) for item in value]
    if isinstance(value, Mapping) and all(type(key) is str for key in value):
        return {key: _plain(item, f'{where}.{key}') for key, item in value.items()}
    raise EngineSchemaMismatchError(
        f'manifest: {where} holds {value!r} ({type(value).__name__}), expected what JSON has '
        f'(text, finite numbers, lists, and mappings with text keys); convert it before')


def _canonical(document: Mapping[str, Any]) -> bytes:
    text = json.dumps(document, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False)
    return f'{text}\n'.encode('ascii')


def _content_sha256(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(document)).hexdigest()


def _load(data: bytes, name: str) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f'key {twice!r} is there twice')
        return result

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f'{constant} is no number of JSON')

    if len(data) > MANIFEST_MAX_BYTES:
        raise EngineSchemaMismatchError(
            f'{name} has more than {MANIFEST_MAX_BYTES} bytes, expected a manifest of a few '
            f'thousand; compile the engine again')
    try:
        document = json.loads(data.decode('ascii'), object_pairs_hook=once, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise EngineSchemaMismatchError(
            f'{name} is no JSON of a manifest ({" ".join(str(error).split())}); copy it again, or '
            f'compile the engine again') from error
    if not isinstance(document, dict):
        raise EngineSchemaMismatchError(
            f'{name} holds a {type(document).__name__}, expected a JSON object; copy it again, or '
            f'compile the engine again')
    return document
