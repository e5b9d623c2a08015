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

"""Turning the trusted bytes of a plan into an engine; every answer of TensorRT is checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from typing import TYPE_CHECKING

from c7_inference_ros.engines.tensorrt_api import TensorrtApi
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import InferenceRuntimeError
from c7_inference_ros.errors import OutOfMemoryError
from c7_inference_ros.runtime.cuda.device import CudaDevice
from c7_inference_ros.runtime.cuda.errors import is_out_of_memory
from c7_inference_ros.runtime.cuda.errors import one_line
from c7_inference_ros.runtime.trt.gpu_allocator import GpuMemoryPool
from c7_inference_ros.runtime.trt.gpu_allocator import make_allocator

if TYPE_CHECKING:
    from c7_inference_ros.engines.tensorrt_api import CudaEngine


class TensorrtEngine:
    """
    One engine on the device, with what it needs to live: runtime, allocator, logger.

    :param api: the TensorRT that it was built with.
    :param device: where it goes.
    :param pool: where its memory comes from.
    :param path: its file, for errors.
    """

    def __init__(self, api: TensorrtApi, device: CudaDevice, pool: GpuMemoryPool,
                 path: Path) -> None:
        """Begin with nothing loaded."""
        self.api = api
        self.device = device
        self.pool = pool
        self.path = path
        self.engine: CudaEngine | None = None
        self._runtime: Any = None
        self._allocator: Any = None

    def load(self, data: bytes) -> CudaEngine:
        """
        Deserialise a plan.

        :param data: exactly the bytes that were trusted.
        :raises EngineDeserializeError: TensorRT refuses it; says why.
        :raises OutOfMemoryError: it takes more than the budget or the device has.
        :raises DeviceLostError: the context broke.
        """
        with self.api.log.capture() as said:
            problem = ''
            try:
                self._runtime = self._make_runtime()
                self.engine = self._runtime.deserialize_cuda_engine(data)
            except Exception as error:
                problem = one_line(error)
            if self.engine is None:
                raise self.failure(EngineDeserializeError, 'cannot be deserialised',
                                   problem or said.reason(),
                                   'compile it again on this machine')
        # Weights may still be on their way, on a stream that is not ours.
        self.device.synchronize(is_everything=True)
        return self.engine

    def failure(self, kind: type[InferenceRuntimeError], what: str, reason: str,
                hint: str) -> InferenceRuntimeError:
        """
        Return the error for a call of TensorRT that did not work.

        :param kind: the error where neither memory nor the device is to blame.
        :param what: what did not work.
        :param reason: what TensorRT said.
        :param hint: what to do next.
        """
        refusal, self.pool.refusal = self.pool.refusal, ''
        if self.device.is_broken():
            return self.device.lost_error(f'{self.path} {what} ({reason})')
        if refusal:
            return OutOfMemoryError(f'{self.path} {what}: {refusal}')
        if is_out_of_memory(reason):
            return OutOfMemoryError(
                f'{self.path} {what}, the memory of GPU {self.device.index} ran out: {reason}; '
                f'free some, or load fewer or smaller models')
        return kind(f'{self.path} {what} by {self.api.package} {self.api.version}: {reason}; '
                    f'{hint}')

    def close(self) -> None:
        """Drop the engine, then what it was made with; contexts must be gone. Idempotent."""
        self.engine = None
        self._runtime = None
        # After both: they give their memory back through it.
        self._allocator = None
        self.pool.close()

    def _make_runtime(self) -> Any:
        trt: Any = self.api.trt
        register = getattr(trt, 'init_libnvinfer_plugins', None)
        if register is not None:
            # False where the library of plugins is missing; an engine that needs one says so.
            register(self.api.log.logger, '')
        runtime = trt.Runtime(self.api.log.logger)
        runtime.error_recorder = self.api.log.recorder
        # An engine may carry host code. It is not asked to, and nothing here lets it.
        runtime.engine_host_code_allowed = False
        if hasattr(runtime, 'tempfile_control_flags'):
            runtime.tempfile_control_flags = 0
        self._allocator = make_allocator(trt, self.pool)
        if self._allocator is not None:
            runtime.gpu_allocator = self._allocator
        return runtime
