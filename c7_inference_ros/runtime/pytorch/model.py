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
One TorchScript or exported program, read and checked before PyTorch is asked to load it.

Both are ZIP archives. So is a checkpoint, which is a Python pickle that runs whatever its author
wrote when it is loaded; it is told apart here and never loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
import io
import json
import os
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Mapping
import zipfile

from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.model_files.file_kind import known_kind
from c7_inference_ros.model_files.reading import check_sha256
from c7_inference_ros.model_files.reading import open_model_file
from c7_inference_ros.model_files.reading import read_bytes
from c7_inference_ros.model_files.tensor_spec import TensorSpec
import numpy as np

TORCHSCRIPT, EXPORTED = 'TorchScript', 'exported program'
_DTYPES = ('float32', 'float16', 'float64', 'int64', 'int32', 'int16', 'int8', 'uint8', 'bool')
_EXPORT = ('export the model: torch.jit.trace(model.eval(), example).save("model.ts"), or '
           'torch.export.save(torch.export.export(model.eval(), (example,)), "model.pt2")')
_EXAMPLE = ('{"inputs": [{"name": "images", "dtype": "float32", "shape": [1, 3, 640, 640]}], '
            '"outputs": [{"name": "output", "dtype": "float32", "shape": [1, 84, 8400]}]}')
# Files of an exported program that hold objects which only a pickle can hold.
_OBJECTS = ('custom_obj_', 'opaque_obj_')


@dataclass
class TorchModel:
    """
    A file that is whole, of a kind that may be loaded.

    :param path: the file.
    :param data: its bytes, exactly those that were hashed; emptied once they are loaded.
    :param sha256: of the bytes, 64 lowercase hex characters.
    :param kind: :data:`TORCHSCRIPT` or :data:`EXPORTED`.
    :param inputs: as the description beside the file says; None where there is none.
    :param outputs: the same.
    :param metadata: free text of the description, by key.
    """

    path: Path
    data: bytes
    sha256: str
    kind: str
    inputs: tuple[TensorSpec, ...] | None
    outputs: tuple[TensorSpec, ...] | None
    metadata: Mapping[str, str]

    def pickles(self) -> list[tuple[str, bytes]]:
        """Return the name and bytes of every pickle that loading an exported program reads."""
        if self.kind != EXPORTED:
            return []
        with zipfile.ZipFile(io.BytesIO(self.data)) as archive:
            return [(name, archive.read(name)) for name in archive.namelist()
                    if name.endswith('.pt')]


def description_path(path: Path) -> Path:
    """Return where the description of a model lies: beside it, with ``.json`` after its name."""
    return path.with_name(f'{path.name}.json')


def read_torch_model(entry: EngineCacheEntry,
                     admit: Callable[[int], None] = lambda size: None) -> TorchModel:
    """
    Read a model once and check everything that can be checked without loading it.

    :param admit: called with the size of the file before it is read; may raise.
    :raises EngineDeserializeError: the file cannot be used; a checkpoint is refused.
    :raises EngineHashMismatchError: the bytes are not those that were trusted.
    :raises EngineSchemaMismatchError: the description beside the file is missing or wrong.
    """
    path = entry.path
    with open_model_file(path) as (file, size):
        admit(size)
        data = read_bytes(path, file)
    sha256 = check_sha256(path, data, entry.sha256)
    kind = _kind(path, data)
    description = _read_description(path)
    if description is None:
        if kind == TORCHSCRIPT:
            raise EngineSchemaMismatchError(
                f'{path}: a TorchScript does not say what goes in and out, and '
                f'{description_path(path)}, which would, does not exist; write it, for example: '
                f'{_EXAMPLE}')
        return TorchModel(path, data, sha256, kind, None, None, {})
    place = description_path(path)
    return TorchModel(path, data, sha256, kind, _specs(place, description, 'inputs'),
                      _specs(place, description, 'outputs'), _metadata(place, description))


def _kind(path: Path, data: bytes) -> str:
    """Return what kind of model an archive is."""
    if not data.startswith(b'PK\x03\x04'):
        kind = known_kind(data) or f'a file that begins with the bytes {data[:8].hex(" ")}'
        raise EngineDeserializeError(
            f'{path} is {kind}, expected a TorchScript or an exported program; {_EXPORT}')
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            damaged = archive.testzip()
            kind = _kind_of(path, names)
            if kind == EXPORTED:
                _refuse_objects(path, archive, names)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise EngineDeserializeError(
            f'{path} is a truncated or damaged archive of {len(data)} bytes ({error}); copy or '
            f'export it again') from error
    if damaged:
        raise EngineDeserializeError(
            f'{path} is damaged: the checksum of {damaged} in it is wrong; copy or export it '
            f'again')
    return kind


def _kind_of(path: Path, names: list[str]) -> str:
    # The first folder in the archive is named after the file when it was saved.
    inner = {name.partition('/')[2] for name in names}
    if len(set(names)) < len(names):
        raise EngineDeserializeError(
            f'{path} holds two files of one name, so that two readers may see two models; '
            f'{_EXPORT}')
    if 'constants.pkl' in inner and any(name.startswith('code/') for name in inner):
        return TORCHSCRIPT
    if 'serialized_exported_program.json' in {*names, *inner} or any(
            name.startswith('models/') and name.endswith('.json') for name in inner):
        return EXPORTED
    if 'data.pkl' in inner:
        raise EngineDeserializeError(
            f'{path} is a PyTorch checkpoint: a Python pickle, which runs code of its author when '
            f'it is loaded, and is never loaded here; {_EXPORT}')
    raise EngineDeserializeError(
        f'{path} is a ZIP archive with {", ".join(sorted(names)[:3]) or "nothing"} in it, '
        f'expected a TorchScript or an exported program; {_EXPORT}')


def _refuse_objects(path: Path, archive: zipfile.ZipFile, names: list[str]) -> None:
    """Refuse what :func:`torch.export.load` unpickles without any restriction."""
    for name in names:
        found = ''
        if name.rpartition('/')[2].startswith(_OBJECTS):
            found = 'an object that is no tensor'
        elif name.endswith(('.so', '.cubin')):
            found = 'compiled code'
        elif name.endswith('_config.json') and _uses_pickle(archive.read(name)):
            found = 'weights as Python pickles'
        if found:
            raise EngineDeserializeError(
                f'{path} holds {found} ({name}), which is never loaded here; export the model '
                f'with plain tensors as its weights and constants')


def _uses_pickle(text: bytes) -> bool:
    try:
        entries = json.loads(text)['config'].values()
        return any(bool(entry['use_pickle']) for entry in entries)
    except (ValueError, LookupError, AttributeError, TypeError):
        return True


def _read_description(path: Path) -> Mapping[str, Any] | None:
    place = description_path(path)
    if not os.path.lexists(place):
        return None
    with open_model_file(place) as (file, _):
        text = read_bytes(place, file)
    try:
        found = json.loads(text)
    except ValueError as error:
        raise EngineSchemaMismatchError(
            f'{place} is no JSON ({error}), expected for example {_EXAMPLE}') from error
    if not isinstance(found, dict):
        raise EngineSchemaMismatchError(
            f'{place} holds a {type(found).__name__}, expected for example {_EXAMPLE}')
    unknown = sorted(set(found) - {'inputs', 'outputs', 'metadata'})
    if unknown:
        raise EngineSchemaMismatchError(
            f'{place} has {", ".join(unknown)}, expected inputs, outputs and metadata only')
    return found


def _specs(place: Path, description: Mapping[str, Any], key: str) -> tuple[TensorSpec, ...]:
    entries = description.get(key)
    if not isinstance(entries, list) or not entries:
        raise EngineSchemaMismatchError(
            f'{place}: {key} is {entries!r}, expected a list with at least one tensor, for '
            f'example {_EXAMPLE}')
    specs = tuple(_spec(place, f'{key}[{number}]', entry)
                  for number, entry in enumerate(entries))
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        raise EngineSchemaMismatchError(
            f'{place}: {key} has {", ".join(names)}; give every tensor its own name')
    return specs


def _spec(place: Path, where: str, entry: Any) -> TensorSpec:
    fields = entry if isinstance(entry, dict) else {}
    name, dtype, shape = fields.get('name'), fields.get('dtype'), fields.get('shape')
    if set(fields) != {'name', 'dtype', 'shape'} or not isinstance(name, str) or not name:
        raise EngineSchemaMismatchError(
            f'{place}: {where} is {entry!r}, expected name, dtype and shape, for example '
            f'{_EXAMPLE}')
    if dtype not in _DTYPES:
        raise EngineSchemaMismatchError(
            f'{place}: {where}.dtype is {dtype!r}, expected one of {", ".join(_DTYPES)}')
    if not isinstance(shape, list) or not all(
            type(size) is int and (size == -1 or size > 0) for size in shape):
        raise EngineSchemaMismatchError(
            f'{place}: {where}.shape is {shape!r}, expected a list of sizes, -1 for an open one')
    return TensorSpec(name, np.dtype(dtype), tuple(shape))


def _metadata(place: Path, description: Mapping[str, Any]) -> dict[str, str]:
    found = description.get('metadata', {})
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise EngineSchemaMismatchError(
            f'{place}: metadata is {found!r}, expected texts by name, for example '
            f'{{"names": "{{0: \'person\'}}"}}')
    return found
