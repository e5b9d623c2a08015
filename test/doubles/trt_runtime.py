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

"""Runtime of the TensorRT doubles: what it says and returns when a plan cannot be loaded."""

from __future__ import annotations

import struct
from typing import Any

from cuda_codes import CudaCallError
from trt_binding import Bound
from trt_binding import log
from trt_binding import report
from trt_binding import setting
from trt_binding import write_only
from trt_plan import HEADER_BYTES
from trt_plan import Plan

_METHOD = 'IRuntime::deserializeCudaEngine'


class Refused(Exception):
    """Why TensorRT returns nothing: an error code, its kind and a text."""


def _set_allocator(self: Any, value: Any) -> None:
    if value is not None and not isinstance(value, self._trt.IGpuAllocator):
        raise TypeError('(): incompatible function arguments. The following argument types are '
                        f'supported:\n    1. (arg0: Runtime, arg1: IGpuAllocator) -> None\n\n'
                        f'Invoked with: {self!r}, {value!r}')
    self._allocator = value


def _set_recorder(self: Any, value: Any) -> None:
    if value is not None and not isinstance(value, self._trt.IErrorRecorder):
        raise TypeError('(): incompatible function arguments: an IErrorRecorder is expected')
    self._error_recorder = value


class Runtime(Bound):
    """Loads plans."""

    _is_constructible = True
    _allocator: Any = None
    _error_recorder: Any = None
    DLA_core = setting('DLA_core', -1)
    engine_host_code_allowed = setting('engine_host_code_allowed', False)
    tempfile_control_flags = setting('tempfile_control_flags', 3)
    temporary_directory = setting('temporary_directory')
    max_threads = setting('max_threads', 1)
    defer_weights_loading = setting('defer_weights_loading', False)
    dla_workspace_allocation_strategy = setting('dla_workspace_allocation_strategy')
    num_DLA_cores = property(lambda self: 0)
    engine_header_size = property(lambda self: HEADER_BYTES)
    logger = property(lambda self: self._logger)
    gpu_allocator = write_only(_set_allocator)
    error_recorder = property(lambda self: self._error_recorder, _set_recorder)

    def __init__(self, logger: Any) -> None:
        """Take a logger."""
        if not isinstance(logger, self._trt.ILogger):
            raise TypeError('__init__(): incompatible constructor arguments. The following '
                            'argument types are supported:\n    1. '
                            f'{type(self).__module__}.Runtime(logger: '
                            f'{type(self).__module__}.ILogger)\n\nInvoked with: {logger!r}')
        self._is_initialized = True
        self._logger = logger
        self._gpu.track('Runtime', self)

    def deserialize_cuda_engine(self, serialized_engine: Any = None, **named: Any) -> Any:
        """Load a plan; None on any failure."""
        source = next(iter(named.values())) if named else serialized_engine
        data = self._bytes_of(source)
        try:
            self._gpu.injected('deserialize_cuda_engine')
            plan = self._checked(data)
            return self._trt.ICudaEngine._make(self, plan)
        except Refused as refusal:
            report(self, _METHOD, *refusal.args)
        except CudaCallError as error:
            report(self, _METHOD, 1, 'Cuda Runtime', str(error))
        return None

    def _bytes_of(self, source: Any) -> bytes:
        for name in ('IStreamReader', 'IStreamReaderV2'):
            kind = getattr(self._trt, name, None)
            if kind is not None and isinstance(source, kind):
                return read_stream(source, name == 'IStreamReaderV2')
        try:
            return bytes(memoryview(source).cast('B'))
        except TypeError:
            raise TypeError(
                'deserialize_cuda_engine(): incompatible function arguments. The following '
                'argument types are supported:\n    1. (self: Runtime, serialized_engine: '
                'typing_extensions.Buffer) -> ICudaEngine\n\nInvoked with: '
                f'{self!r}, {type(source)}') from None

    def _checked(self, data: bytes) -> Plan:
        self._check_header(data)
        plan = Plan.parse(data)
        log(self, self._trt.ILogger.Severity.INFO,
            f'Loaded engine size: {len(data) >> 20} MiB')
        if plan.carries_host_code and not self.engine_host_code_allowed:
            raise Refused(4, 'API Usage Error', 'the engine holds a lean runtime and '
                          'engineHostCodeAllowed is false')
        major, minor = self._gpu.traits.compute_capability
        if plan.sm not in (f'{major}{minor}', 'any') and not plan.is_hardware_compatible:
            built = f'{plan.sm[:-1]}.{plan.sm[-1]}'
            raise Refused(6, 'API Usage Error', 'The engine plan file is generated on an '
                          f'incompatible device, expecting compute {major}.{minor} got compute '
                          f'{built}, please rebuild.')
        if plan.device_name != self._gpu.traits.name and plan.sm != 'any':
            log(self, self._trt.ILogger.Severity.WARNING,
                'Using an engine plan file across different models of devices is not '
                'recommended and is likely to affect performance or even cause errors.')
        return plan

    def _check_header(self, data: bytes) -> None:
        magic = b'vtrt' if self._trt._is_rtx else b'ftrt'
        if not data:
            raise Refused(3, 'API Usage Error', 'Cannot deserialize with an empty memory buffer.')
        if len(data) < HEADER_BYTES:
            raise Refused(2, 'Internal Error', 'Assertion bufferSize >= minBufferSize failed. ')
        if data[:4] != magic:
            found, = struct.unpack_from('<I', data)
            wanted, = struct.unpack('<I', magic)
            raise Refused(
                1, 'Serialization', 'Serialization assertion header.magicTag == '
                'kEXPECTED_MAGIC_TAG failed.Trying to load an engine created with incompatible '
                f'serialization version ({found} != {wanted}). Check that the engine was not '
                'created using safety runtime, same OS was used and version compatibility '
                'parameters were set accordingly and that it is a TRT engine file.')
        if struct.unpack_from('<Q', data, 16)[0] != len(data):
            raise Refused(1, 'Serialization',
                          'Serialization assertion plan.header.size == blobSize failed.')
        here = tuple(int(part) for part in self._trt.__version__.split('.'))
        if tuple(data[24:28]) != here[:4]:
            raise Refused(6, 'API Usage Error', 'The engine plan file is not compatible with '
                          'this version of TensorRT, expecting library version '
                          f'{self._trt.__version__} got '
                          f'{".".join(str(part) for part in data[24:28])}, please rebuild.')

    def get_engine_validity(self, engine_blob: Any) -> Any:
        """Return whether a header is good for this machine (TensorRT-RTX)."""
        kind = self._trt.EngineValidity
        try:
            self._check_header(bytes(engine_blob))
        except Refused:
            return kind.INVALID, 0
        return kind.VALID, 0

    def get_plugin_registry(self) -> Any:
        """Return the plugins: none."""
        return None

    def load_runtime(self, path: str) -> Any:
        """Load another runtime: none."""
        return None


def read_stream(reader: Any, is_second: bool) -> bytes:
    """Read a plan from a reader of the application, to its end."""
    pieces = []
    while True:
        piece = reader.read(1 << 20, 0) if is_second else reader.read(1 << 20)
        if not piece:
            return b''.join(pieces)
        pieces.append(bytes(piece))
