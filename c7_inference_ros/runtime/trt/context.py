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
The execution context of one engine: memory, profile, shapes and addresses, each answer checked.

Its calls return False, a list of names or nothing where they fail; what TensorRT says meanwhile
is the reason.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any
from typing import cast
from typing import Iterator
from typing import TYPE_CHECKING

from c7_inference_ros.engines.tensorrt_log import Captured
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.errors import InferenceRuntimeError
from c7_inference_ros.runtime.cuda.errors import one_line
from c7_inference_ros.runtime.trt.engine import TensorrtEngine
from c7_inference_ros.runtime.trt.io_tensors import as_shape

if TYPE_CHECKING:
    from c7_inference_ros.engines.tensorrt_api import ExecutionContext

_AGAIN = 'load the model again, and compile it again if that does not help'


class TensorrtContext:
    """
    One execution context that works in memory which it is given.

    :param loaded: the engine.
    :param profile: index of the optimisation profile.
    :param use_cuda_graph: let TensorRT-RTX capture graphs by itself, where it can.
    :raises EngineDeserializeError: it cannot be made.
    :raises OutOfMemoryError: its persistent memory does not fit.
    """

    def __init__(self, loaded: TensorrtEngine, profile: int, use_cuda_graph: bool) -> None:
        """Make the context; it cannot run before it was given memory and a profile."""
        self._loaded = loaded
        self._device = loaded.device
        self._log = loaded.api.log
        self.profile = profile
        #: Whether TensorRT itself replays what it runs.
        self.captures_itself = False
        #: Goes up with every change of memory: what was recorded before is void.
        self.generation = 0
        self._memory = (0, 0)
        self._needed = self._device_memory_size()
        loaded.pool.phase = 'context'
        with self._checked('cannot be given an execution context', EngineDeserializeError) as said:
            context = self._create(use_cuda_graph)
            if context is None:
                raise loaded.failure(
                    EngineDeserializeError, 'cannot be given an execution context',
                    said.reason(), 'compile it again on this machine')
            self._context = context

    @property
    def needed_bytes(self) -> int:
        """Bytes of activation memory that it needs."""
        return self._needed

    def use_memory(self, address: int, size: int) -> None:
        """Work in this memory from now on; nothing may be running."""
        self.generation += 1
        self._memory = (address, size)
        if size < self._needed or not self._needed:
            return  # refused when it is to run, or not wanted
        with self._checked('was not given its memory', InferenceError) as said:
            # Returns nothing, whether it worked or not.
            self._context.set_device_memory(address, size)
            if said.errors():
                raise self._loaded.failure(InferenceError, 'was not given its memory',
                                           said.reason(), _AGAIN)

    def select_profile(self) -> None:
        """Make the profile active, and wait: its values are copied on the stream."""
        stream = self._device.stream_handle
        what = f'does not switch to profile {self.profile}'
        with self._checked(what, EngineDeserializeError) as said:
            if not self._context.set_optimization_profile_async(self.profile, stream):
                raise self._loaded.failure(EngineDeserializeError, what, said.reason(), _AGAIN)
        self._device.synchronize()

    def set_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """
        Set the shape of an input.

        :raises InferenceError: the profile does not allow it.
        """
        what = f'does not take input {name} as {list(shape)}'
        with self._checked(what, InferenceError) as said:
            if not self._context.set_input_shape(name, shape):
                raise self._loaded.failure(InferenceError, what, said.reason(),
                                           'feed a shape within its profile')

    def infer_shapes(self) -> None:
        """
        Let the shapes of the outputs follow from those of the inputs.

        :raises InferenceError: an input has no shape or address, or they contradict each other.
        """
        what = 'cannot tell the shapes of its outputs'
        with self._checked(what, InferenceError) as said:
            missing = self._context.infer_shapes()
            if missing:
                raise self._loaded.failure(
                    InferenceError, what, f'nothing is set for {", ".join(missing)} '
                    f'({said.reason()})', _AGAIN)

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor as it is now; -1 where it depends on the data."""
        return as_shape(self._context.get_tensor_shape(name))

    def max_output_bytes(self, name: str) -> int | None:
        """Return an upper bound for an output, or None where TensorRT knows none."""
        size = int(self._context.get_max_output_size(name))
        return size if size > 0 else None

    def set_address(self, name: str, address: int) -> None:
        """Tell where a tensor lies."""
        what = f'does not take an address for {name}'
        with self._checked(what, InferenceError) as said:
            if not self._context.set_tensor_address(name, address):
                raise self._loaded.failure(InferenceError, what, said.reason(), _AGAIN)

    def set_output_allocator(self, name: str, allocator: Any) -> None:
        """Let an output be allocated while it is made; None ends that."""
        what = f'does not take an allocator for output {name}'
        with self._checked(what, InferenceError) as said:
            if not self._context.set_output_allocator(name, allocator):
                raise self._loaded.failure(InferenceError, what, said.reason(), _AGAIN)

    def is_capturable(self) -> bool:
        """Return whether TensorRT says that its work can be captured; True where it cannot say."""
        ask = getattr(self._context, 'is_stream_capturable', None)
        return True if ask is None else bool(ask(self._device.stream_handle))

    def enqueue(self) -> None:
        """
        Put one inference on the stream; does not wait.

        :raises InferenceError: TensorRT did not take it.
        """
        if self._memory[1] < self._needed:
            raise InferenceError(
                f'{self._loaded.path} has no activation memory since another model could not be '
                f'loaded; load it again')
        with self._checked('failed', InferenceError) as said:
            if not self._context.execute_async_v3(self._device.stream_handle):
                raise self._loaded.failure(InferenceError, 'failed', said.reason(), _AGAIN)

    def close(self) -> None:
        """Drop the context, before its engine and after what was captured from it. Idempotent."""
        self._context = cast('ExecutionContext', None)

    def _device_memory_size(self) -> int:
        engine = self._loaded.engine
        assert engine is not None  # loaded before
        if engine.num_optimization_profiles == 1:
            return int(engine.device_memory_size_v2)
        return int(engine.get_device_memory_size_for_profile_v2(self.profile))

    def _create(self, use_cuda_graph: bool) -> ExecutionContext | None:
        trt: Any = self._loaded.api.trt
        engine = self._loaded.engine
        strategy = self._loaded.api.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        graphs: Any = getattr(trt, 'CudaGraphStrategy', None)
        make_config: Any = getattr(engine, 'create_runtime_config', None)
        assert engine is not None  # loaded before
        if graphs is None or make_config is None or not use_cuda_graph:
            return engine.create_execution_context(strategy)
        # TensorRT-RTX compiles kernels while it runs, and knows when a graph is worth taking.
        config = make_config()
        if config is None:
            return engine.create_execution_context(strategy)
        config.set_execution_context_allocation_strategy(strategy)
        config.cuda_graph_strategy = graphs.WHOLE_GRAPH_CAPTURE
        self.captures_itself = True
        return engine.create_execution_context(config)

    @contextmanager
    def _checked(self, what: str, kind: type[InferenceRuntimeError]) -> Iterator[Captured]:
        """Listen to TensorRT, and turn what it raises into an error of this package."""
        self._loaded.pool.refusal = ''
        with self._log.capture() as said:
            try:
                yield said
            except InferenceRuntimeError:
                raise
            except Exception as error:
                reason = '; '.join(filter(None, (one_line(error), *said.errors())))
                raise self._loaded.failure(kind, what, reason, _AGAIN) from error
