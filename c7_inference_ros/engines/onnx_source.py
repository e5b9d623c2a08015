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

"""The ONNX model that an engine is built from: checked, and hashed with all its weights."""

from __future__ import annotations

from dataclasses import dataclass
import hashlib
from pathlib import Path
from types import MappingProxyType
from typing import Mapping

from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.model_files.onnx_file import check_external_data
from c7_inference_ros.model_files.onnx_file import MAX_BYTES
from c7_inference_ros.model_files.onnx_file import scan_onnx
from c7_inference_ros.model_files.protobuf_scan import fields
from c7_inference_ros.model_files.reading import open_model_file
from c7_inference_ros.model_files.reading import read_bytes
from c7_inference_ros.model_files.tensor_spec import TensorSpec

_METADATA = 14  # of onnx.ModelProto; entries have key 1 and value 2
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class OnnxSource:
    """
    An ONNX model that is whole.

    :param path: the file.
    :param sha256: of the file; with weights in other files, of the hashes of all of them.
    :param size_bytes: size of the file and of the files with its weights.
    :param opset: version of the standard operators.
    :param inputs: inputs, open dimensions -1.
    :param outputs: outputs, the same.
    :param metadata: free text that the file carries, by key.
    :param external: names of the files with its weights.
    :param has_quantization: whether it has Q/DQ pairs, which say what is int8.
    """

    path: Path
    sha256: str
    size_bytes: int
    opset: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    metadata: Mapping[str, str]
    external: tuple[str, ...] = ()
    has_quantization: bool = False


def read_onnx_source(path: Path) -> OnnxSource:
    """
    Check and hash a model.

    Of a model in one file the hash is what sha256sum says; of one with weights beside it, that of
    the lines which sha256sum writes for its files: the model as ``-``, then the weights by name.

    :raises EngineDeserializeError: the model, or a file with its weights, cannot be used.
    :raises EngineSchemaMismatchError: a tensor has a type that no array can have.
    """
    with open_model_file(path) as (file, size):
        if size > MAX_BYTES:
            raise EngineDeserializeError(
                f'{path} has {size} bytes, expected an ONNX model of at most {MAX_BYTES}; save '
                f'heavier models with their weights in external files')
        data = read_bytes(path, file)
    scanned = scan_onnx(path, data)
    external = tuple(one.location for one in scanned.external)
    beside = check_external_data(path, scanned.external)
    sha256 = hashlib.sha256(data).hexdigest()
    if external:
        lines = [f'{sha256}  -\n']  # an engine does not depend on what the model is called
        lines += [f'{_hash_file(path.parent / name)}  {name}\n' for name in external]
        sha256 = hashlib.sha256(''.join(lines).encode()).hexdigest()
    return OnnxSource(path, sha256, len(data) + beside, scanned.opset, scanned.inputs,
                      scanned.outputs, MappingProxyType(metadata_of(data)), external,
                      b'DequantizeLinear' in data)


def metadata_of(data: bytes) -> dict[str, str]:
    """Return the free text that an ONNX model carries, by key."""
    found: dict[str, str] = {}
    for number, _, value in fields(memoryview(data)):
        if number == _METADATA and not isinstance(value, int):
            entry = {part: str(text, 'utf-8', 'replace') for part, _, text in fields(value)
                     if not isinstance(text, int)}
            found[entry.get(1, '')] = entry.get(2, '')
    return found


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with open_model_file(path) as (file, _):
        try:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
        except OSError as error:
            raise EngineDeserializeError(
                f'{path} cannot be read: {error.strerror or error}; check the medium it lies on'
            ) from error
    return digest.hexdigest()
