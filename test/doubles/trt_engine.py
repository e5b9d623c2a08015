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

"""Engine of the TensorRT doubles."""

from __future__ import annotations

from typing import Any

from cuda_codes import CudaCallError
from cuda_codes import OUT_OF_MEMORY
from simulated_stream import new_handle
from trt_binding import Bound
from trt_binding import report
from trt_binding import setting
from trt_plan import Plan
from trt_plan import Tensor
from trt_runtime import Refused

_CREATE = 'ICudaEngine::createExecutionContext'


def obtain(owner: Any, size: int, purpose: str, stream: int | None = None) -> int:
    """
    Allocate device memory as TensorRT does: from the application's allocator if there is one.

    :param stream: handle of the stream it is used on; one of TensorRT's own when None.
    :raises Refused: there is none.
    """
    gpu = owner._gpu
    context = gpu.runtime_context()
    if size == 0:
        return 0
    allocator = owner._allocator
    if allocator is None:
        try:
            return int(gpu.allocate(size, purpose, 'cudaMalloc').address)
        except CudaCallError as error:
            if error.code != OUT_OF_MEMORY:
                raise
            address = 0
    else:
        address = allocator._obtain(size, new_handle() if stream is None else stream)
        block = gpu.memory.find(address) if address else None
        if address and (block is None or address % 256
                        or address + size > block.address + block.size
                        or block.owner is not context):
            gpu.violated(f'the allocator returned {address:#x} for {size} bytes, which is no '
                         f'aligned device memory of this context of that size')
            address = 0
    if not address:
        raise Refused(2, 'OutOfMemory', f'Requested size was {size} bytes.')
    return int(address)


def give_back(owner: Any, address: int, size: int, stream: int | None = None) -> None:
    """Free device memory as TensorRT does when an object dies, whatever thread that is."""
    gpu, allocator = owner._gpu, owner._allocator
    if not address:
        return
    block = gpu.memory.find(address)
    if block is None:
        gpu.violated('a TensorRT object was destroyed after its memory: its context is gone, or '
                     'somebody freed it')
        return
    if stream is None and any(
            one.touches(address, size) for one in block.owner.streams.values()):
        gpu.violated('a TensorRT object was destroyed while its work was still enqueued')
    if allocator is None:
        gpu.memory.release(address)
    elif not allocator._give_back(address, new_handle() if stream is None else stream):
        gpu.violated(f'the allocator did not free {address:#x}')


class ICudaEngine(Bound):
    """A loaded plan."""

    _plan: Plan
    _error_recorder: Any = None
    error_recorder = property(lambda self: self._error_recorder,
                              lambda self, value: self.__dict__.update(_error_recorder=value))
    weight_streaming_budget = setting('weight_streaming_budget', 0)
    weight_streaming_budget_v2 = setting('weight_streaming_budget_v2', 0)
    num_io_tensors = property(lambda self: len(self._plan.tensors))
    num_optimization_profiles = property(lambda self: len(self._plan.profiles))
    num_aux_streams = property(lambda self: self._plan.num_aux_streams)
    num_layers = property(lambda self: self._plan.num_layers)
    name = property(lambda self: self._plan.name)
    refittable = property(lambda self: False)
    has_implicit_batch_dimension = property(lambda self: False)
    streamable_weights_size = property(lambda self: 0)
    minimum_weight_streaming_budget = property(lambda self: 0)
    weight_streaming_scratch_memory_size = property(lambda self: 0)
    tactic_sources = property(lambda self: 24)
    device_memory_size = property(lambda self: max(self._plan.context_bytes))
    device_memory_size_v2 = property(lambda self: max(self._plan.context_bytes))
    engine_capability = property(lambda self: self._trt.EngineCapability.STANDARD)
    profiling_verbosity = property(lambda self: self._trt.ProfilingVerbosity.LAYER_NAMES_ONLY)
    hardware_compatibility_level = property(
        lambda self: self._trt.HardwareCompatibilityLevel.NONE)
    weights_loaded = property(lambda self: True)

    def _set_up(self, runtime: Any, plan: Plan) -> None:
        self._runtime, self._plan = runtime, plan
        self._logger, self._error_recorder = runtime._logger, runtime._error_recorder
        self._allocator = runtime._allocator
        self._weights = obtain(self, plan.weights_bytes, 'weights')
        self._gpu.track('ICudaEngine', self)

    def __del__(self) -> None:
        """Free the weights."""
        if self.__dict__.get('_weights'):
            give_back(self, self._weights, self._plan.weights_bytes)

    def __getitem__(self, index: int) -> str:
        """Return the name of a tensor; raises IndexError past the end."""
        return self._plan.tensors[index].name

    def _find(self, name: str, method: str) -> Tensor | None:
        if not isinstance(name, str):
            raise TypeError(f'{method}(): incompatible function arguments: {name!r} is no str')
        tensor = self._plan.tensor(name)
        if tensor is None:
            report(self, f'ICudaEngine::{method}', 3, 'API Usage Error',
                   f'Given invalid tensor name: {name}. Get valid tensor names with '
                   'getIOTensorName()')
        return tensor

    def _dims(self, shape: Any) -> Any:
        dims = self._trt.Dims(shape or ())
        dims._is_missing = shape is None
        return dims

    def get_tensor_name(self, index: int) -> Any:
        """Return a name; None past the end."""
        if 0 <= index < len(self._plan.tensors):
            return self._plan.tensors[index].name
        report(self, 'ICudaEngine::getIOTensorName', 3, 'API Usage Error',
               f'Parameter check failed, condition: index < getNbIOTensors(), index: {index}.')
        return None

    def get_tensor_mode(self, name: str) -> Any:
        """Return INPUT, OUTPUT, or NONE."""
        kind, tensor = self._trt.TensorIOMode, self._find(name, 'getTensorIOMode')
        return kind.NONE if tensor is None else kind.INPUT if tensor.is_input else kind.OUTPUT

    def get_tensor_shape(self, name: str) -> Any:
        """Return the shape with -1 where open."""
        tensor = self._find(name, 'getTensorShape')
        return self._dims(None if tensor is None else tensor.shape)

    def get_tensor_dtype(self, name: str) -> Any:
        """Return the element type; FLOAT for a name that is not there."""
        tensor = self._find(name, 'getTensorDataType')
        return getattr(self._trt.DataType, 'FLOAT' if tensor is None else tensor.dtype)

    def get_tensor_location(self, name: str) -> Any:
        """Return where the data is: HOST for shape tensors."""
        kind, tensor = self._trt.TensorLocation, self._find(name, 'getTensorLocation')
        return kind.HOST if tensor is not None and tensor.is_on_host else kind.DEVICE

    def is_shape_inference_io(self, name: str) -> bool:
        """Whether values of the tensor are shapes."""
        tensor = self._find(name, 'isShapeInferenceIO')
        return tensor is not None and tensor.is_on_host

    def get_tensor_format(self, name: str, profile_index: int = 0) -> Any:
        """Return LINEAR."""
        self._find(name, 'getTensorFormat')
        return self._trt.TensorFormat.LINEAR

    def get_tensor_format_desc(self, name: str, profile_index: int = 0) -> str:
        """Return the format for people."""
        self._find(name, 'getTensorFormatDesc')
        return 'Row-major linear format'

    def get_tensor_bytes_per_component(self, name: str, profile_index: int = 0) -> int:
        """Return -1: linear formats have no components."""
        self._find(name, 'getTensorBytesPerComponent')
        return -1

    get_tensor_components_per_element = get_tensor_bytes_per_component
    get_tensor_vectorized_dim = get_tensor_bytes_per_component

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Any]:
        """Return (min, opt, max) of an input."""
        tensor = self._find(name, 'getProfileShape')
        # Nothing says what is answered for an input of a fixed shape.
        is_there = (tensor is not None and tensor.is_input and -1 in tensor.shape
                    and 0 <= profile_index < len(self._plan.profiles))
        if not is_there:
            report(self, 'ICudaEngine::getProfileShape', 3, 'API Usage Error',
                   f'no profile {profile_index} of input {name}')
            return [self._dims(None) for _ in range(3)]
        return [self._dims(shape) for shape in self._plan.profiles[profile_index][name]]

    def get_tensor_profile_values(self, name: int, profile_index: str) -> list[list[int]]:
        """
        Return (min, opt, max) values of an input on the host; an empty list where none were set.

        The real binding names its arguments the wrong way round: the number is called ``name``.
        A plan keeps the values of input ``x`` in its profiles as ``values:x``.
        """
        if not isinstance(name, int) or not isinstance(profile_index, str):
            raise TypeError('get_tensor_profile_values(): incompatible function arguments. The '
                            'following argument types are supported:\n    1. (self: ICudaEngine, '
                            'name: int, profile_index: str) -> list[list[int]]\n\nInvoked with: '
                            f'{self!r}, {name!r}, {profile_index!r}')
        return self._plan.profiles[name].get(f'values:{profile_index}', [])

    def get_device_memory_size_for_profile_v2(self, profile_index: int) -> int:
        """Return the activation memory of a profile; 0 for one that is not there."""
        if 0 <= profile_index < len(self._plan.context_bytes):
            return self._plan.context_bytes[profile_index]
        report(self, 'ICudaEngine::getDeviceMemorySizeForProfileV2', 3, 'API Usage Error',
               f'Parameter check failed, profileIndex: {profile_index}')
        return 0

    get_device_memory_size_for_profile = get_device_memory_size_for_profile_v2

    def get_engine_stat(self, stat: Any = None) -> int:
        """Return the bytes of the weights; -1 for what was not stripped."""
        kind = self._trt.EngineStat
        is_total = stat is None or stat == kind.TOTAL_WEIGHTS_SIZE
        return self._plan.weights_bytes if is_total else -1

    def get_weight_streaming_automatic_budget(self) -> int:
        """Return 0: nothing streams."""
        return 0

    def is_debug_tensor(self, name: str) -> bool:
        """Return false."""
        return False

    def create_runtime_config(self) -> Any:
        """Return settings for a context."""
        return self._trt.IRuntimeConfig._make()

    def create_execution_context(self, strategy: Any = None, runtime_config: Any = None) -> Any:
        """Make a context; None when its memory cannot be had."""
        kind = self._trt.ExecutionContextAllocationStrategy
        config = getattr(self._trt, 'IRuntimeConfig', None)
        if config is not None and isinstance(strategy, config):
            strategy, runtime_config = None, strategy
        if runtime_config is not None:
            strategy = runtime_config.get_execution_context_allocation_strategy()
        elif strategy is not None and not isinstance(strategy, kind):
            raise TypeError('create_execution_context(): incompatible function arguments: '
                            f'{strategy!r}')
        return self._new_context(kind.STATIC if strategy is None else strategy, runtime_config)

    def create_execution_context_without_device_memory(self) -> Any:
        """Make a context without activation memory."""
        return self._new_context(self._trt.ExecutionContextAllocationStrategy.USER_MANAGED, None)

    def _new_context(self, strategy: Any, config: Any) -> Any:
        try:
            self._gpu.injected('create_execution_context')
            return self._trt.IExecutionContext._make(self, strategy, config)
        except Refused as refusal:
            report(self, _CREATE, *refusal.args)
        except CudaCallError as error:
            report(self, _CREATE, 1, 'Cuda Runtime', str(error))
        return None

    def serialize(self) -> Any:
        """Return the plan."""
        return self._trt.IHostMemory._make(self._plan.serialize())


class IRuntimeConfig(Bound):
    """Settings for a context."""

    cuda_graph_strategy = setting('cuda_graph_strategy')
    dynamic_shapes_kernel_specialization_strategy = setting('specialization')

    def _set_up(self) -> None:
        self._strategy = self._trt.ExecutionContextAllocationStrategy.STATIC
        self._cache: Any = None
        if hasattr(self._trt, 'CudaGraphStrategy'):
            self._cuda_graph_strategy = self._trt.CudaGraphStrategy.DISABLED
            self._specialization = self._trt.DynamicShapesKernelSpecializationStrategy.LAZY

    def set_execution_context_allocation_strategy(self, strategy: Any = None) -> None:
        """Say who allocates activation memory."""
        kind = self._trt.ExecutionContextAllocationStrategy
        self._strategy = kind.STATIC if strategy is None else strategy

    def get_execution_context_allocation_strategy(self) -> Any:
        """Return who allocates activation memory."""
        return self._strategy

    def create_runtime_cache(self) -> Any:
        """Return an empty cache of compiled kernels."""
        return self._trt.IRuntimeCache._make()

    def set_runtime_cache(self, cache: Any = None) -> bool:
        """Use a cache."""
        self._cache = cache
        return True

    def get_runtime_cache(self) -> Any:
        """Return the cache in use."""
        return self._cache


class IRuntimeCache(Bound):
    """Kernels that were compiled on this GPU (TensorRT-RTX)."""

    _MAGIC = b'simulated runtime cache '

    def _set_up(self) -> None:
        self._content = b''

    def _key(self) -> bytes:
        return self._MAGIC + f'{self._trt.__version__} {self._gpu.traits.name}\n'.encode()

    def serialize(self) -> Any:
        """Return the cache."""
        return self._trt.IHostMemory._make(self._key() + self._content)

    def deserialize(self, blob: Any) -> bool:
        """Take a cache; false when it is of another version or GPU."""
        data = bytes(blob)
        if not data.startswith(self._key()):
            return False
        self._content = data[len(self._key()):]
        return True

    def reset(self) -> bool:
        """Forget everything."""
        self._content = b''
        return True
