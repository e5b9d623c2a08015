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

"""One ONNX model, read and checked before ONNX Runtime is asked to load it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.model_files.onnx_file import check_external_data
from c7_inference_ros.model_files.onnx_file import MAX_BYTES
from c7_inference_ros.model_files.onnx_file import scan_onnx
from c7_inference_ros.model_files.reading import check_sha256
from c7_inference_ros.model_files.reading import open_model_file
from c7_inference_ros.model_files.reading import read_bytes
from c7_inference_ros.model_files.tensor_spec import TensorSpec
from c7_inference_ros.runtime.tensor_shapes import one_image
from c7_inference_ros.runtime.tensor_shapes import resolve_shapes


@dataclass
class OnnxModel:
    """
    A model that is whole and has only tensors that arrays can hold.

    :param path: the file.
    :param data: its bytes, exactly those that were hashed; emptied once they are loaded.
    :param sha256: of the bytes, 64 lowercase hex characters.
    :param inputs: inputs with ``max_shape`` resolved where known.
    :param outputs: outputs, the same.
    :param weight_bytes: of the file and of files beside it that hold weights.
    :param external_bytes: of the files beside it only.
    """

    path: Path
    data: bytes
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weight_bytes: int
    external_bytes: int

    @property
    def io_bytes(self) -> int:
        """Bytes of the inputs and outputs whose shapes are known."""
        return sum(spec.max_bytes or 0 for spec in (*self.inputs, *self.outputs))


def read_onnx_model(entry: EngineCacheEntry,
                    admit: Callable[[int], None] = lambda size: None) -> OnnxModel:
    """
    Read a model once and check everything that can be checked without loading it.

    :param admit: called with the size of the file before it is read; may raise.
    :raises EngineDeserializeError: the file, or a file with its weights, cannot be used.
    :raises EngineHashMismatchError: the bytes are not those that were trusted.
    :raises EngineSchemaMismatchError: ``input_shapes`` does not fit the model.
    """
    path = entry.path
    with open_model_file(path) as (file, size):
        if size > MAX_BYTES:
            raise EngineDeserializeError(
                f'{path} has {size} bytes, expected an ONNX model of at most {MAX_BYTES}; save '
                f'heavier models with their weights in external files')
        admit(size)
        data = read_bytes(path, file)
    sha256 = check_sha256(path, data, entry.sha256)
    scanned = scan_onnx(path, data)
    external = check_external_data(path, scanned.external)
    if external and entry.sha256:
        names = ', '.join(one.location for one in scanned.external)
        raise EngineDeserializeError(
            f'{path} keeps weights in {names}, which its SHA-256 does not cover; save the model '
            f'as one file to have it checked')
    return OnnxModel(path, data, sha256, resolve_shapes(path, scanned.inputs, entry.extras),
                     tuple(one_image(spec) for spec in scanned.outputs),
                     len(data) + external, external)
