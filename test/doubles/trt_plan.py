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
Plans that the TensorRT doubles load: a real header, then what a real plan holds in another form.

The header is what can be read without TensorRT: ``ftrt`` or ``vtrt``, the length, the version in
bytes 24 to 27, for TensorRT-RTX the second magic and the mask of targets. Behind it come the
claims of the plan as JSON and the bytes of the ONNX model, which ONNX Runtime computes.
"""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
import json
from pathlib import Path
import struct
from typing import Any
from typing import Mapping

import numpy as np
import pytest
from trt_binding import recorded_api

HEADER_BYTES = 64
MIB = 1 << 20
#: ONNX element type -> (name in trt.DataType, NumPy).
TYPES = {'float': ('FLOAT', np.float32), 'float16': ('HALF', np.float16),
         'int8': ('INT8', np.int8), 'int32': ('INT32', np.int32), 'int64': ('INT64', np.int64),
         'uint8': ('UINT8', np.uint8), 'bool': ('BOOL', np.bool_)}
NUMPY = dict(TYPES.values())


@dataclass
class Tensor:
    """An input or output: sizes are -1 where open."""

    name: str
    dtype: str
    shape: list[int]
    is_input: bool
    is_on_host: bool = False
    #: Largest shape of an output whose shape depends on data; None where nobody knows one.
    largest: list[int] | None = None
    depends_on_data: bool = False


@dataclass
class Plan:
    """What a plan claims; see :func:`make_plan`."""

    package: str
    version: tuple[int, ...]
    tensors: list[Tensor]
    profiles: list[dict[str, list[list[int]]]]
    context_bytes: list[int]
    weights_bytes: int
    persistent_bytes: int = 0
    #: What every enqueue asks for and gives back in the order of its stream.
    enqueue_bytes: int = 0
    sm: str = '87'
    device_name: str = 'Simulated Orin'
    is_capturable: bool = True
    carries_host_code: bool = False
    is_hardware_compatible: bool = False
    num_aux_streams: int = 0
    num_layers: int = 1
    name: str = 'Unnamed Network 0'
    salt: str = ''
    onnx: bytes = field(default=b'', repr=False)

    @cached_property
    def session(self) -> Any:
        """ONNX Runtime with the model; made when something is computed."""
        return session_of(self.onnx)

    def serialize(self) -> bytes:
        """Return the bytes of the plan."""
        claims = {key: value for key, value in asdict(self).items() if key != 'onnx'}
        body = json.dumps(claims).encode()
        total = HEADER_BYTES + 8 + len(body) + len(self.onnx)
        is_rtx = self.package == 'tensorrt_rtx'
        header = bytearray(HEADER_BYTES)
        header[0:4] = b'vtrt' if is_rtx else b'ftrt'
        struct.pack_into('<Q', header, 16, total)
        header[24:28] = bytes((*self.version, 0, 0, 0, 0)[:4])
        if is_rtx:
            header[28:32] = b'vtrt'
            # Up to 1.4 there was no SM 12.1.
            struct.pack_into('<I', header, 32, 0x3e if self.version < (1, 5) else 0x7e)
        return bytes(header) + struct.pack('<Q', len(body)) + body + self.onnx

    @classmethod
    def parse(cls, data: bytes) -> Plan:
        """Read what :meth:`serialize` wrote."""
        size, = struct.unpack_from('<Q', data, HEADER_BYTES)
        start = HEADER_BYTES + 8
        claims = json.loads(data[start:start + size])
        tensors = [Tensor(**one) for one in claims.pop('tensors')]
        version = tuple(claims.pop('version'))
        return cls(tensors=tensors, version=version, onnx=data[start + size:], **claims)

    def tensor(self, name: str) -> Tensor | None:
        """Return a tensor by name."""
        return next((one for one in self.tensors if one.name == name), None)


def session_of(model: bytes) -> Any:
    """Return ONNX Runtime on the CPU with a model."""
    runtime = pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return runtime.InferenceSession(model, options, providers=['CPUExecutionProvider'])


def tensors_of(session: Any) -> list[Tensor]:
    """Return inputs and outputs of a model."""
    found = []
    for is_input, infos in ((True, session.get_inputs()), (False, session.get_outputs())):
        for info in infos:
            kind = info.type.removeprefix('tensor(').removesuffix(')')
            found.append(Tensor(info.name, TYPES[kind][0],
                                [size if isinstance(size, int) else -1 for size in info.shape],
                                is_input))
    return found


def package_of(generation: str) -> str:
    """Return the package of a generation."""
    return 'tensorrt_rtx' if generation.startswith('rtx') else 'tensorrt'


def version_of(generation: str) -> str:
    """Return the full version that a generation's double says it is."""
    return str(recorded_api()[generation]['version'])


def make_plan(model: Path | bytes, generation: str = '10.3', *,
              profiles: Any = None, context_bytes: Any = MIB, weights_bytes: int | None = None,
              version: str | None = None, host_inputs: tuple[str, ...] = (),
              data_dependent: Mapping[str, Any] | None = None, **claims: Any) -> bytes:
    """
    Return the bytes of an engine that the doubles load and run.

    :param model: an ONNX file, or its bytes.
    :param generation: a key of ``tensorrt_api.json``: ``10.3``, ``11.1``, ``rtx1.7``...
    :param profiles: for each profile the (min, opt, max) shapes by input name; needed where an
        input is open. For an input on the host they are its shapes, too.
    :param context_bytes: activation memory, for all profiles or for each.
    :param weights_bytes: weights on the device; the size of the model when None.
    :param version: another version than the generation's.
    :param host_inputs: inputs that are shape tensors, whose data stays on the host.
    :param data_dependent: outputs whose shape is known only after the run, with the largest
        shape or None.
    :param claims: further fields of :class:`Plan`.
    """
    content = model if isinstance(model, bytes) else Path(model).read_bytes()
    tensors = tensors_of(session_of(content))
    data_dependent = data_dependent or {}
    for tensor in tensors:
        tensor.is_on_host = tensor.name in host_inputs
        if tensor.name in data_dependent:
            tensor.depends_on_data, tensor.largest = True, data_dependent[tensor.name]
            tensor.shape = [-1 for _ in tensor.shape]
    ranges = [{name: [list(shape) for shape in shapes] for name, shapes in one.items()}
              for one in (profiles or [{}])]
    for tensor in tensors:
        for one in ranges:
            if tensor.is_input and -1 not in tensor.shape:
                one.setdefault(tensor.name, [list(tensor.shape)] * 3)
            assert not tensor.is_input or tensor.name in one, (
                f'input {tensor.name} is open: name its range in every profile')
    sizes = ([context_bytes] * len(ranges) if isinstance(context_bytes, int)
             else list(context_bytes))
    numbers = tuple(int(part) for part in (version or version_of(generation)).split('.'))
    return Plan(package=package_of(generation), version=numbers, tensors=tensors,
                profiles=ranges, context_bytes=sizes, onnx=content,
                weights_bytes=len(content) if weights_bytes is None else weights_bytes,
                **claims).serialize()
