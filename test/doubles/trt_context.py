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
Execution context of the TensorRT doubles: what has to be set, and what is said when it is not.

Setters return false and log; ``set_optimization_profile_async`` raises, because the binding turns
its false into an exception. :mod:`trt_enqueue` does the work.
"""

from __future__ import annotations

from contextlib import contextmanager
import threading
from typing import Any
from typing import Iterator

from cuda_codes import CudaCallError
import numpy as np
from trt_binding import Bound
from trt_binding import report
from trt_binding import setting
from trt_binding import write_only
from trt_context_shapes import ContextShapes
from trt_context_shapes import USAGE
from trt_engine import give_back
from trt_engine import obtain
from trt_enqueue import enqueue
from trt_plan import Plan
from trt_plan import Tensor

ALIGNMENT = 256


class Life:
    """Whether a context is still there; what it enqueued holds this and not the context."""

    is_over = False


class IExecutionContext(ContextShapes, Bound):
    """One context; only one thread at a time may use it."""

    _plan: Plan
    _error_recorder: Any = None
    error_recorder = property(lambda self: self._error_recorder,
                              lambda self, value: self.__dict__.update(_error_recorder=value))
    name = setting('name', '')
    debug_sync = setting('debug_sync', False)
    profiler = setting('profiler')
    enqueue_emits_profile = setting('enqueue_emits_profile', True)
    nvtx_verbosity = setting('nvtx_verbosity')
    persistent_cache_limit = setting('persistent_cache_limit', 0)
    temporary_allocator = setting('temporary_allocator')
    unfused_tensors_debug_state = setting('unfused_tensors_debug_state', False)
    engine = property(lambda self: self._engine)
    active_optimization_profile = property(lambda self: self._profile)
    all_binding_shapes_specified = property(lambda self: not self._open_inputs())
    all_shape_inputs_specified = property(lambda self: not self._unset_host_inputs())
    device_memory = write_only(lambda self, memory: self.set_device_memory(
        memory, self._memory_needed()))

    def _set_up(self, engine: Any, strategy: Any, config: Any) -> None:
        kind = self._trt.ExecutionContextAllocationStrategy
        self._engine, self._plan, self._config = engine, engine._plan, config
        self._logger, self._error_recorder = engine._logger, engine._error_recorder
        self._allocator = engine._allocator
        self._is_user_managed = strategy == kind.USER_MANAGED
        self._grows = strategy == kind.ON_PROFILE_CHANGE
        self._profile, self._shapes, self._addresses = 0, {}, {}
        self._output_allocators: dict[str, Any] = {}
        self._memory, self._memory_size, self._persistent = 0, 0, 0
        self._needed: int | None = None
        self._is_warm, self._profile_stream = False, 0
        self._busy = threading.Lock()
        self._life = Life()
        self._persistent = obtain(self, self._plan.persistent_bytes, 'persistent')
        if not self._is_user_managed:
            sizes = self._plan.context_bytes
            self._take_memory(sizes[0] if self._grows else max(sizes))
        self._gpu.track('IExecutionContext', self)

    def _take_memory(self, size: int) -> None:
        self._memory, self._memory_size = obtain(self, size, 'activation'), size

    def __del__(self) -> None:
        """Free what it allocated itself."""
        if '_life' not in self.__dict__:
            return
        self._life.is_over = True
        give_back(self, self._persistent, self._plan.persistent_bytes)
        if not self._is_user_managed:
            give_back(self, self._memory, self._memory_size)

    @contextmanager
    def _alone(self, method: str) -> Iterator[None]:
        """Note when two threads use this context at the same time."""
        if not self._busy.acquire(blocking=False):
            self._gpu.violated(f'IExecutionContext.{method} was called while another thread '
                               f'used the context')
            yield
            return
        try:
            yield
        finally:
            self._busy.release()

    def _refuse(self, method: str, text: str) -> bool:
        report(self, f'IExecutionContext::{method}', *USAGE, text)
        return False

    def _injected(self, method: str) -> bool:
        try:
            self._gpu.injected(method)
        except CudaCallError as error:
            return self._refuse(method, str(error))
        return True

    def _tensor(self, name: str, method: str) -> Tensor | None:
        if not isinstance(name, str):
            raise TypeError(f'{method}(): incompatible function arguments: {name!r} is no str')
        tensor = self._plan.tensor(name)
        if tensor is None:
            self._refuse(method, f'Given invalid tensor name: {name}. Get valid tensor names '
                         'with getIOTensorName()')
        return tensor

    # Memory -------------------------------------------------------------------------------

    def set_tensor_address(self, name: str, memory: int) -> bool:
        """Bind a tensor; false when the name is wrong or the address is not aligned."""
        if not isinstance(memory, int) or memory < 0:
            raise TypeError('set_tensor_address(): incompatible function arguments: an address '
                            f'is an int, not {memory!r}')
        with self._alone('set_tensor_address'):
            if not self._injected('set_tensor_address'):
                return False
            tensor = self._tensor(name, 'setTensorAddress')
            if tensor is None:
                return False
            if not tensor.is_on_host and memory % ALIGNMENT:
                return self._refuse('setTensorAddress', 'Parameter check failed, condition: '
                                    f'isAligned(data). The address {memory:#x} of {name} is '
                                    f'not aligned to {ALIGNMENT} bytes.')
            if tensor.is_on_host and self._gpu.memory.is_device_address(memory):
                self._gpu.violated(f'{name} is a host tensor and got a device address: '
                                   'TensorRT reads it on the CPU and crashes')
            self._addresses[name] = memory
            return True

    def get_tensor_address(self, name: str) -> int:
        """Return the address of a tensor; 0 for none."""
        self._tensor(name, 'getTensorAddress')
        return int(self._addresses.get(name, 0))

    def set_output_allocator(self, name: str, output_allocator: Any) -> bool:
        """Let an application allocate an output when its size is known."""
        if output_allocator is not None and not isinstance(output_allocator,
                                                           self._trt.IOutputAllocator):
            raise TypeError('set_output_allocator(): an IOutputAllocator is expected')
        tensor = self._tensor(name, 'setOutputAllocator')
        if tensor is None or tensor.is_input:
            return False
        self._output_allocators[name] = output_allocator
        return True

    def get_output_allocator(self, name: str) -> Any:
        """Return the allocator of an output."""
        return self._output_allocators.get(name)

    def set_device_memory(self, memory: int, size: int) -> None:
        """Give activation memory; what is wrong with it is only logged."""
        if memory % ALIGNMENT:
            self._refuse('setDeviceMemoryV2', f'Parameter check failed: the memory {memory:#x} '
                         f'is not aligned to {ALIGNMENT} bytes.')
            return
        if memory and size < self._memory_needed():
            # For the profile and shapes of this moment, which NVIDIA's own code sets before.
            self._refuse('setDeviceMemoryV2', f'Parameter check failed: the memory has {size} '
                         f'bytes and {self._memory_needed()} are needed.')
            return
        if not self._is_user_managed:
            self._gpu.violated('set_device_memory on a context that has its own memory')
        self._memory, self._memory_size = memory, size

    def _memory_needed(self) -> int:
        if self._needed is not None:
            return self._needed
        return self._plan.context_bytes[self._profile]

    def update_device_memory_size_for_shapes(self) -> int:
        """Return what the shapes need that are set now; 0 when they are not all set."""
        if self._open_inputs() or self._unset_host_inputs():
            self._refuse('updateDeviceMemorySizeForShapes', 'not all input shapes are set')
            return 0
        pairs = [(np.prod(self._input_shape(one)),
                  np.prod(self._plan.profiles[self._profile][one.name][2]))
                 for one in self._plan.tensors if one.is_input and not one.is_on_host]
        share = max((used / most for used, most in pairs), default=1.0)
        full = self._plan.context_bytes[self._profile]
        self._needed = min(full, -(-int(full * share) // ALIGNMENT) * ALIGNMENT)
        self._is_warm = False
        return self._needed

    # Execution ----------------------------------------------------------------------------

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Enqueue an inference; false and a message when something is not as it must be."""
        if not isinstance(stream_handle, int):
            raise TypeError('execute_async_v3(): incompatible function arguments: a stream is '
                            f'an int, not {type(stream_handle).__name__}')
        with self._alone('execute_async_v3'):
            return enqueue(self, stream_handle)

    def set_aux_streams(self, aux_streams: list[int]) -> None:
        """Take streams for parallel branches."""
        if 0 in aux_streams or len(set(aux_streams)) != len(aux_streams):
            self._refuse('setAuxStreams', 'the streams must be different and none the default')

    def is_stream_capturable(self, stream: int) -> bool:
        """Return whether an enqueue may be captured (TensorRT-RTX)."""
        return self._plan.is_capturable and not any(
            one.depends_on_data for one in self._plan.tensors)

    def get_runtime_config(self) -> Any:
        """Return the settings it was made with."""
        return self._config if self._config is not None else self._trt.IRuntimeConfig._make()

    def set_input_consumed_event(self, event: int) -> bool:
        """Take an event for when the inputs are read."""
        return True
