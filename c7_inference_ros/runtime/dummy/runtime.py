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

"""A runtime that plays a script instead of a model: test double, dry run, fault drill."""

from __future__ import annotations

from pathlib import Path
import time
from types import MappingProxyType
from typing import Callable

from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.errors import DeviceLostError
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.errors import OutOfMemoryError
from c7_inference_ros.model_files.reading import check_sha256
from c7_inference_ros.model_files.reading import open_model_file
from c7_inference_ros.model_files.reading import read_bytes
from c7_inference_ros.runtime.base import EngineHandle
from c7_inference_ros.runtime.base import MemoryItem
from c7_inference_ros.runtime.base import MemoryUse
from c7_inference_ros.runtime.base import TensorMap
from c7_inference_ros.runtime.dummy.answers import image_size
from c7_inference_ros.runtime.dummy.script import DummyScript
from c7_inference_ros.runtime.dummy.script import Fault
from c7_inference_ros.runtime.dummy.script import FaultKind
from c7_inference_ros.runtime.dummy.script import MAX_BYTES
from c7_inference_ros.runtime.dummy.script import parse_script
from c7_inference_ros.runtime.feed import check_feed
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.runtime.memory_budget import Reservation
from c7_inference_ros.runtime.tensor_shapes import resolve_shapes
from c7_inference_ros.thermal.publisher import snapshot_of
from c7_inference_ros.thermal.publisher import ThermalStatePublisher
from c7_inference_ros.thermal.state import ThermalState
import numpy as np

_BASIS = 'predicted and measured: what the script says; nothing of the kind is allocated'


class DummyHandle(EngineHandle):
    """A script in play."""

    def __init__(self, entry: EngineCacheEntry, script: DummyScript,
                 reservation: Reservation) -> None:
        """Allocate the outputs once; like every runtime, calls overwrite them."""
        super().__init__(entry.path.stem,
                         resolve_shapes(entry.path, script.inputs, entry.extras), script.outputs,
                         script.metadata)
        self.script = script
        self.reservation = reservation
        self.calls = 0
        self.arrays = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in script.outputs}
        self.answer = MappingProxyType(self.arrays)


class DummyRuntime:
    """
    Plays YAML scripts; deterministic by the number of the call.

    :param budget: admits the models with the memory that their scripts claim.
    :param thermal: where :meth:`thermal_state` comes from.
    :param sleep: waits a number of seconds.
    """

    def __init__(self, *, budget: MemoryBudget, thermal: ThermalStatePublisher | None = None,
                 sleep: Callable[[float], None] = time.sleep) -> None:
        """Begin with nothing loaded."""
        self._budget = budget
        self._thermal = thermal
        self._sleep = sleep
        self._is_lost = False
        self._handles: set[EngineHandle] = set()

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """Nothing: there is nothing to fall back from."""
        return ()

    def compile_engine(self, onnx_path: Path, build_config: BuildConfig) -> EngineCacheEntry:
        """
        Check a script; it is loadable as it is.

        :param build_config: not used.
        :raises EngineBuildError: the file is no script.
        """
        try:
            data = _read(onnx_path)
            parse_script(onnx_path, data)
            return EngineCacheEntry(onnx_path, check_sha256(onnx_path, data, ''))
        except EngineDeserializeError as error:
            raise EngineBuildError(str(error)) from error

    def deserialize_engine(self, entry: EngineCacheEntry) -> EngineHandle:
        """
        Check and admit one script; see the protocol.

        :raises EngineDeserializeError: the file is no script.
        :raises EngineHashMismatchError: the bytes are not those that were trusted.
        :raises OutOfMemoryError: the claimed memory does not fit.
        """
        data = _read(entry.path)
        check_sha256(entry.path, data, entry.sha256)
        script = parse_script(entry.path, data)
        claimed = {True: script.memory.get('device_bytes', 0),
                   False: script.memory.get('host_bytes', 0)}
        items = tuple(MemoryItem('scripted', size, is_device)
                      for is_device, size in claimed.items() if size)
        measured_host = script.memory.get('measured_host_bytes', claimed[False])
        measured_device = script.memory.get('measured_device_bytes', claimed[True])
        with self._budget.reserve(entry.path.stem, items) as reservation:
            handle = DummyHandle(entry, script, reservation)
            reservation.commit(measured_host, measured_device)
        handle.memory = MemoryUse(items, measured_host, measured_device, _BASIS)
        self._handles.add(handle)
        return handle

    def infer(self, handle: EngineHandle, inputs: TensorMap) -> TensorMap:
        """
        Answer one call as scripted; see the protocol.

        :raises InferenceError: wrong feed, unknown or released handle, or a scripted fault.
        :raises OutOfMemoryError: a scripted fault.
        """
        if not isinstance(handle, DummyHandle) or handle not in self._handles:
            state = 'was released' if handle.is_released else 'was not loaded by this runtime'
            raise InferenceError(f'{handle.name} {state}; load it before running it')
        check_feed(handle, inputs)
        if self._is_lost:
            raise _lost(handle)
        handle.calls += 1
        script, call = handle.script, handle.calls
        self._wait(script, call)
        fault = script.fault_at(call)
        if fault is not None and fault.kind is not FaultKind.NAN:
            self._fail(handle, fault)
        script.answers.write(call - 1, image_size(list(inputs.values())), handle.arrays)
        if fault is not None and fault.kind is FaultKind.NAN:
            for array in handle.arrays.values():
                if array.dtype.kind == 'f':
                    array.fill(np.nan)
        return handle.answer

    def release_engine(self, handle: EngineHandle) -> None:
        """Give everything of a handle back; idempotent, a foreign handle is ignored."""
        if isinstance(handle, DummyHandle) and handle in self._handles:
            self._handles.remove(handle)
            handle.is_released = True
            handle.arrays = {}
            handle.answer = MappingProxyType({})
            handle.reservation.release()

    def thermal_state(self) -> ThermalState:
        """Return the latest thermal snapshot; the unavailable one when none was injected."""
        return snapshot_of(self._thermal)

    def current_runtime_label(self) -> str:
        """Say that nothing real runs."""
        return 'dummy (scripted answers, no model runs)'

    def _wait(self, script: DummyScript, call: int) -> None:
        wait = script.latency_s
        if script.jitter_s:
            wait += script.jitter_s * float(np.random.default_rng((script.seed, call)).random())
        if wait > 0:
            self._sleep(wait)

    def _fail(self, handle: DummyHandle, fault: Fault) -> None:
        if fault.kind is FaultKind.HANG:
            self._sleep(fault.for_s)
            return
        if fault.kind is FaultKind.DEVICE_LOST:
            self._is_lost = True  # as on a GPU: nothing works until the runtime is made anew
            raise _lost(handle)
        text = f'{handle.name}: scripted {fault.kind.value} fault in call {handle.calls}'
        if fault.kind is FaultKind.OUT_OF_MEMORY:
            raise OutOfMemoryError(f'{text}; take it out of faults to go on')
        raise InferenceError(f'{text}; take it out of faults to go on')


def _lost(handle: DummyHandle) -> DeviceLostError:
    return DeviceLostError(f'{handle.name}: the scripted device was lost in call {handle.calls}; '
                           f'take it out of faults to go on')


def _read(path: Path) -> bytes:
    with open_model_file(path) as (file, size):
        if size > MAX_BYTES:
            raise EngineDeserializeError(
                f'{path} has {size} bytes, expected a YAML script for the dummy runtime of at '
                f'most {MAX_BYTES}; for a real model set the parameter runtime to onnx_trt_ep')
        return read_bytes(path, file)
