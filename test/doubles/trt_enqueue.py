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
One inference of the TensorRT doubles.

It is checked when it is enqueued, and computed when the GPU gets to it, on the bytes that lie at
the bound addresses then.
"""

from __future__ import annotations

from typing import Any

from cuda_codes import CudaCallError
from cuda_codes import LAUNCH_FAILED
import numpy as np
from simulated_memory import bytes_at
from simulated_memory import GARBAGE
from simulated_stream import SimulatedStream
from simulated_stream import Work
from trt_binding import log
from trt_binding import report
from trt_engine import give_back
from trt_engine import obtain
from trt_plan import NUMPY
from trt_plan import Tensor
from trt_runtime import Refused
from trt_shapes import compute
from trt_shapes import nbytes

_METHOD = 'IExecutionContext::enqueueV3'
_SPOILED = 4096


class NotEnqueued(Exception):
    """Why nothing was enqueued: an error code, its kind and a text."""


def host_values(context: Any) -> dict[str, np.ndarray]:
    """Read the shape tensors; a device address cannot be read on the CPU and is left out."""
    values = {}
    for tensor in context._plan.tensors:
        address = context._addresses.get(tensor.name, 0)
        if tensor.is_input and tensor.is_on_host and address and (
                not context._gpu.memory.is_device_address(address)):
            shape = context._input_shape(tensor)
            raw = bytes_at(address, nbytes(tensor.dtype, shape)).copy()
            values[tensor.name] = raw.view(NUMPY[tensor.dtype]).reshape(shape)
    return values


def enqueue(context: Any, stream_handle: int) -> bool:
    """Enqueue an inference; return whether it was."""
    gpu = context._gpu
    try:
        gpu.injected('execute_async_v3')
        _check_set(context)
        cuda = gpu.runtime_context()
        stream = gpu.stream_of(stream_handle, 'cudaStreamQuery', cuda)
        if stream_handle == 0:
            log(context, context._trt.ILogger.Severity.WARNING,
                'Using default stream in enqueueV3() may lead to performance issues due to '
                'additional calls to cudaStreamSynchronize() by TensorRT to ensure correct '
                'synchronization. Please use non-default stream instead.')
        _check_memory(context)
        _check_profile(context, stream_handle)
        _check_capture(context, stream)
        _enqueue(context, stream)
    except (NotEnqueued, Refused) as refusal:
        report(context, _METHOD, *refusal.args)
        return False
    except CudaCallError as error:
        report(context, _METHOD, 1, 'Cuda Runtime', str(error))
        return False
    context._is_warm = context._is_warm or stream.capture is None
    return True


def _check_set(context: Any) -> None:
    still_open = context._open_inputs()
    if still_open:
        raise NotEnqueued(3, 'API Usage Error', 'Parameter check failed, condition: '
                          'allInputDimensionsSpecified(/*routine=*/false). Not all input '
                          f'dimensions are specified: {still_open}.')
    for tensor in context._plan.tensors:
        has_allocator = context._output_allocators.get(tensor.name) is not None
        if not context._addresses.get(tensor.name) and not has_allocator:
            kind = 'input' if tensor.is_input else 'output'
            raise NotEnqueued(
                3, 'API Usage Error', 'Parameter check failed, condition: '
                'mContext.profileObliviousBindings.at(profileObliviousIndex) || '
                f'getPtrOrNull(mOutputAllocators, profileObliviousIndex). Neither address or '
                f'allocator is set for {kind} tensor {tensor.name}. Call '
                'setInputTensorAddress or setTensorAddress before enqueue.')


def _check_memory(context: Any) -> None:
    needed = context._memory_needed()
    if needed and not context._memory:
        raise NotEnqueued(3, 'API Usage Error', 'Parameter check failed, condition: '
                          'mContext.enqueueMemory != nullptr. No device memory was set.')
    if context._memory_size < needed:
        raise NotEnqueued(3, 'API Usage Error', 'Parameter check failed: the device memory has '
                          f'{context._memory_size} bytes and {needed} are needed.')


def _check_profile(context: Any, stream_handle: int) -> None:
    if context._profile_stream and context._profile_stream != stream_handle:
        context._gpu.violated('an inference was enqueued before the stream that sets its '
                              'optimization profile was synchronised')


def _check_capture(context: Any, stream: SimulatedStream) -> None:
    if stream.capture is None:
        return
    depends = any(one.depends_on_data for one in context._plan.tensors)
    if not context._plan.is_capturable or depends or not context._is_warm:
        stream.capture.is_invalidated = True
        why = ('the engine cannot be captured' if depends or not context._plan.is_capturable
               else 'resources are updated in the first enqueue after a change')
        raise NotEnqueued(1, 'Cuda Runtime',
                          f'operation not permitted when stream is capturing: {why}')


def _enqueue(context: Any, stream: SimulatedStream) -> None:
    plan, memory, gpu = context._plan, context._gpu.memory, context._gpu
    shapes = {one.name: context._input_shape(one) for one in plan.tensors if one.is_input}
    # "Data representing shape values is not copied until enqueueV3 is invoked."
    on_host = host_values(context)
    bound = dict(context._addresses)
    expected = context._output_shapes()
    weights = (context._engine._weights, plan.weights_bytes)
    scratch = (context._memory, context._memory_needed())
    life = context._life

    def read_inputs() -> dict[str, np.ndarray]:
        values: dict[str, np.ndarray] = {}
        for tensor in plan.tensors:
            if not tensor.is_input:
                continue
            if tensor.is_on_host:
                values[tensor.name] = on_host[tensor.name]
                continue
            shape = shapes[tensor.name]
            raw = memory.view(bound[tensor.name], nbytes(tensor.dtype, shape))
            values[tensor.name] = raw.copy().view(NUMPY[tensor.dtype]).reshape(shape)
        return values

    def start() -> dict[str, np.ndarray]:
        if life.is_over:
            gpu.violated('an inference ran after its execution context was destroyed')
            raise CudaCallError('kernel', LAUNCH_FAILED)
        for address, size in (weights, scratch):
            if size:
                memory.view(address, size)
        if scratch[1]:
            # What a kernel leaves in its scratch memory is of no use to anybody else.
            memory.view(scratch[0], min(scratch[1], _SPOILED)).fill(GARBAGE)
        return compute(plan, read_inputs())

    def write(tensor: Tensor, address: int, value: np.ndarray) -> None:
        raw = value.reshape(-1).view(np.uint8)
        if tensor.is_on_host:
            bytes_at(address, raw.nbytes)[:] = raw
        else:
            memory.view(address, raw.nbytes)[:] = raw

    depending = [one for one in plan.tensors if one.depends_on_data]
    early: dict[str, Any] = {}
    if depending:
        # TensorRT waits for the sizes inside the enqueue, and asks for memory then.
        stream.finish()
        gpu._raise_error(stream.context, 'cudaStreamSynchronize')
        early.update(start())
        for tensor in depending:
            _place_output(context, tensor, early[tensor.name], bound, stream)
    for tensor in plan.tensors:
        if not tensor.is_input and not tensor.depends_on_data:
            _place_known_output(context, tensor, expected[tensor.name], bound, stream)

    def run() -> None:
        values = dict(early) if depending else start()
        for tensor in plan.tensors:
            if not tensor.is_input:
                write(tensor, bound[tensor.name], values[tensor.name])

    temporary = obtain(context, plan.enqueue_bytes, 'enqueue', stream.handle)
    ranges = [(bound[one.name], nbytes(one.dtype, shapes[one.name])) for one in plan.tensors
              if one.is_input and not one.is_on_host]
    ranges += [(bound[one.name], nbytes(one.dtype, early[one.name].shape if one.depends_on_data
                                        else expected[one.name]))
               for one in plan.tensors if not one.is_input and not one.is_on_host]
    stream.enqueue(Work('kernel', run, (*ranges, weights), (scratch,) if scratch[1] else ()))
    give_back(context, temporary, plan.enqueue_bytes, stream.handle)


def _place_output(context: Any, tensor: Tensor, value: np.ndarray, bound: dict[str, int],
                  stream: SimulatedStream) -> None:
    allocator = context._output_allocators.get(tensor.name)
    if allocator is None:
        return
    _ask(context, tensor, value.nbytes, bound, stream)
    allocator._notify(tensor.name, value.shape)


def _place_known_output(context: Any, tensor: Tensor, shape: list[int], bound: dict[str, int],
                        stream: SimulatedStream) -> None:
    allocator = context._output_allocators.get(tensor.name)
    if allocator is None:
        return
    _ask(context, tensor, nbytes(tensor.dtype, shape), bound, stream)
    allocator._notify(tensor.name, shape)


def _ask(context: Any, tensor: Tensor, size: int, bound: dict[str, int],
         stream: SimulatedStream) -> None:
    allocator = context._output_allocators[tensor.name]
    # Also for an empty output an address is asked for, of one byte.
    address = allocator._obtain(tensor.name, bound.get(tensor.name, 0), max(size, 1), 256,
                                stream.handle)
    if not address:
        raise NotEnqueued(2, 'OutOfMemory', 'the output allocator returned no memory of '
                          f'{size} bytes for {tensor.name}')
    bound[tensor.name] = address
