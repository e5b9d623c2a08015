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
Looking into an ONNX file before a runtime does: is it whole, what goes in and out, how heavy.

Runtimes answer a damaged file with "protobuf parsing failed" and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Iterator
from typing import Sequence

from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.model_files.file_kind import known_kind
from c7_inference_ros.model_files.protobuf_scan import BYTES
from c7_inference_ros.model_files.protobuf_scan import fields
from c7_inference_ros.model_files.protobuf_scan import packed
from c7_inference_ros.model_files.protobuf_scan import signed
from c7_inference_ros.model_files.protobuf_scan import Value
from c7_inference_ros.model_files.protobuf_scan import VARINT
from c7_inference_ros.model_files.protobuf_scan import WireError
from c7_inference_ros.model_files.tensor_spec import TensorSpec
import numpy as np

#: Largest protobuf message; heavier models keep their weights in external files.
MAX_BYTES = (1 << 31) - 1
# Numbers and wire types of onnx.ModelProto.
_IR_VERSION, _GRAPH, _OPSETS = 1, 7, 8
_MODEL_FIELDS = {1: VARINT, 2: BYTES, 3: BYTES, 4: BYTES, 5: VARINT, 6: BYTES, 7: BYTES, 8: BYTES,
                 14: BYTES, 20: BYTES, 25: BYTES, 26: BYTES}
# Numbers of onnx.GraphProto.
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12
# TensorProto.DataType to NumPy; strings and types that NumPy lacks are left out.
_DTYPES = {1: 'float32', 2: 'uint8', 3: 'int8', 4: 'uint16', 5: 'int16', 6: 'int32', 7: 'int64',
           9: 'bool', 10: 'float16', 11: 'float64', 12: 'uint32', 13: 'uint64'}
_TYPE_NAMES = {8: 'string', 14: 'complex64', 15: 'complex128', 16: 'bfloat16'}


@dataclass(frozen=True)
class ExternalData:
    """
    A file beside the model that holds weights.

    :param location: name, relative to the folder of the model.
    :param min_bytes: how long it has to be.
    """

    location: str
    min_bytes: int


@dataclass(frozen=True)
class OnnxFile:
    """
    What an ONNX file says of itself.

    :param inputs: inputs of the graph that are no weights, open dimensions -1.
    :param outputs: outputs of the graph.
    :param opset: version of the standard operators; 0 when none is imported.
    :param external: files with weights, by name.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: int
    external: tuple[ExternalData, ...]


def scan_onnx(path: Path, data: bytes) -> OnnxFile:
    """
    Look into the bytes of an ONNX file.

    :param path: for messages, and the folder of external weights.
    :raises EngineDeserializeError: the bytes are something else, truncated or damaged, or a file
        with weights is missing or too short.
    :raises EngineSchemaMismatchError: a tensor has a type that no array can have.
    """
    kind = known_kind(data)
    if kind:
        raise EngineDeserializeError(f'{path} is {kind}, expected an ONNX model')
    graph, opset = _scan_model(path, memoryview(data))
    try:
        return _scan_graph(path, graph, opset)
    except (WireError, UnicodeDecodeError) as error:
        raise _damaged(path, f'the graph is malformed ({error})') from error


def check_external_data(path: Path, external: Sequence[ExternalData]) -> int:
    """
    Return how many bytes of weights lie beside a model.

    :raises EngineDeserializeError: a file is missing, too short or somewhere else.
    """
    total = 0
    for needed in external:
        place = path.parent / needed.location
        if Path(needed.location).is_absolute() or '..' in Path(needed.location).parts:
            raise EngineDeserializeError(
                f'{path} keeps weights in {needed.location!r}, expected a file in its own folder; '
                f'save the model again with its weights beside it')
        try:
            size = place.stat().st_size
        except OSError as error:
            raise EngineDeserializeError(
                f'{path} keeps weights in {place}, which {_why_not(error)}; '
                f'copy it together with the model') from error
        if size < needed.min_bytes or not place.is_file():
            raise EngineDeserializeError(
                f'{path} keeps weights in {place}, found {size} bytes, expected at least '
                f'{needed.min_bytes}; the file is truncated, copy it again')
        total += size
    return total


def _scan_model(path: Path, data: memoryview) -> tuple[memoryview, int]:
    """Return the graph and the version of the standard operators."""
    graph: memoryview | None = None
    opset = 0
    has_version = has_opset = False
    try:
        for number, wire, value in fields(data):
            # Fields of a later IR version are nobody's mistake once this is known to be ONNX.
            if _MODEL_FIELDS.get(number, wire if has_version else None) != wire:
                raise WireError(f'field {number} with wire type {wire}', 0)
            has_version |= number == _IR_VERSION
            if isinstance(value, int):
                continue
            if number == _GRAPH:
                graph = value
            elif number == _OPSETS:
                has_opset = True
                opset = max(opset, _standard_opset(value))
    except WireError as error:
        if not has_version:
            raise _not_onnx(path, bytes(data[:16])) from error
        if error.is_truncated:
            raise EngineDeserializeError(
                f'{path} is truncated: {error} of the {len(data)} bytes found; '
                f'copy or download it again') from error
        raise _damaged(path, str(error)) from error
    if graph is None and not has_version:
        raise _not_onnx(path, bytes(data[:16]))
    if not graph or not has_opset:
        missing = 'an opset' if graph else 'a graph'
        raise EngineDeserializeError(
            f'{path} is truncated or damaged: an ONNX header without {missing} in '
            f'{len(data)} bytes; copy or download it again')
    return graph, opset


def _scan_graph(path: Path, graph: memoryview, opset: int) -> OnnxFile:
    inputs: list[memoryview] = []
    outputs: list[memoryview] = []
    weights: set[str] = set()
    external: dict[str, int] = {}
    nodes = 0
    for number, _, value in fields(graph):
        if isinstance(value, int):
            continue
        nodes += number == _NODE
        if number == _INITIALIZER:
            name, data = _scan_tensor(value)
            weights.add(name)
            if data is not None:
                external[data.location] = max(data.min_bytes, external.get(data.location, 0))
        elif number in (_INPUT, _OUTPUT):
            (inputs if number == _INPUT else outputs).append(value)
    if not outputs or not nodes:
        raise EngineDeserializeError(
            f'{path} has {nodes} operators and {len(outputs)} outputs, expected a model; '
            f'export it again')
    return OnnxFile(
        # Before IR version 4 weights were listed as inputs, too.
        tuple(spec for spec in (_tensor_spec(path, one, weights) for one in inputs) if spec),
        tuple(spec for spec in (_tensor_spec(path, one, set()) for one in outputs) if spec),
        opset, tuple(ExternalData(name, size) for name, size in sorted(external.items())))


def _tensor_spec(path: Path, info: memoryview, weights: set[str]) -> TensorSpec | None:
    """Return an input or output; None for one of the weights."""
    name = _text(info, 1)
    if name in weights:
        return None
    if not name.isprintable():
        raise WireError(f'a tensor is called {name!r}', 0)
    tensor = _message(_message(info, 2), 1)
    kind = next((value for number, _, value in fields(tensor)
                 if number == 1 and isinstance(value, int)), 0)
    if kind not in _DTYPES:
        found = _TYPE_NAMES.get(kind, f'type number {kind}') if kind else 'no tensor'
        raise EngineSchemaMismatchError(
            f'{path}: {name} is {found}, expected a tensor of {", ".join(_DTYPES.values())}; '
            f'export the model with another type')
    shape = tuple(_dimension(value) for number, _, value in fields(_message(tensor, 2))
                  if number == 1 and not isinstance(value, int))
    return TensorSpec(name, np.dtype(_DTYPES[kind]), shape)


def _dimension(message: memoryview) -> int:
    """Return a dimension; -1 where it is open."""
    for number, _, value in fields(message):
        if number == 1 and isinstance(value, int):
            size = signed(value)
            return size if size > 0 else -1
    return -1


def _scan_tensor(message: memoryview) -> tuple[str, ExternalData | None]:
    """Return the name of a weight, and where it lies when not in the model."""
    name = ''
    entries: dict[str, str] = {}
    is_external = False
    count, kind = 1, 0
    for number, wire, value in fields(message):
        if number == 1:
            for size in packed(wire, value):
                count *= size
        elif isinstance(value, int):
            if number == 2:
                kind = value
            elif number == 14:
                is_external = value == 1
        elif number == 8:
            name = str(value, 'utf-8')
        elif number == 13:
            entries[_text(value, 1)] = _text(value, 2)
    if not is_external:
        return name, None
    length = _number(entries.get('length', ''))
    if not length:
        length = count * np.dtype(_DTYPES.get(kind, 'uint8')).itemsize
    return name, ExternalData(entries.get('location', ''),
                              _number(entries.get('offset', '')) + length)


def _standard_opset(message: memoryview) -> int:
    domain, version = '', 0
    for number, _, value in fields(message):
        if number == 1 and not isinstance(value, int):
            domain = str(value, 'utf-8', 'replace')
        elif number == 2 and isinstance(value, int):
            version = value
    return version if domain in ('', 'ai.onnx') else 0


def _values(message: memoryview, wanted: int) -> Iterator[Value]:
    return (value for number, _, value in fields(message) if number == wanted)


def _message(message: memoryview, wanted: int) -> memoryview:
    """Return a submessage; an empty one when it is absent."""
    return next((value for value in _values(message, wanted) if not isinstance(value, int)),
                memoryview(b''))


def _text(message: memoryview, wanted: int) -> str:
    return str(_message(message, wanted), 'utf-8')


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _not_onnx(path: Path, head: bytes) -> EngineDeserializeError:
    return EngineDeserializeError(
        f'{path} is no ONNX model: it begins with the bytes {head.hex(" ")}; '
        f'export the model to ONNX, or correct the path')


def _damaged(path: Path, what: str) -> EngineDeserializeError:
    return EngineDeserializeError(f'{path} is damaged: {what}; copy or download it again')


def _why_not(error: OSError) -> str:
    return 'does not exist' if isinstance(error, FileNotFoundError) else (
        f'cannot be read ({error.strerror})')
