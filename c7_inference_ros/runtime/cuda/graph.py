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
What one inference puts on the stream, recorded once and launched with one call.

A graph holds addresses and shapes as they were: it is good for exactly one combination of them,
and whoever changes one throws the graph away.
"""

from __future__ import annotations

from typing import Callable

from c7_inference_ros.errors import DeviceLostError
from c7_inference_ros.errors import InferenceRuntimeError
from c7_inference_ros.runtime.cuda.device import CudaDevice
from c7_inference_ros.runtime.cuda.driver import CudaDriverError


class GraphCaptureError(Exception):
    """Work that cannot be captured; the stream is as it was, and runs it without a graph."""


class CudaGraph:
    """
    A captured graph; made by :func:`capture_graph`.

    :param device: the device that it runs on.
    :param executable: the executable graph.
    """

    def __init__(self, device: CudaDevice, executable: int) -> None:
        """Own the executable graph."""
        self._device = device
        self._library = device.library
        self._stream = device.stream_handle
        self._executable = executable

    def launch(self) -> None:
        """
        Put the graph on the stream; does not wait.

        :raises InferenceError: the driver did not take it.
        """
        try:
            self._library.launch(self._executable, self._stream)
        except CudaDriverError as error:
            raise self._device.failure('the CUDA graph was not launched', error) from error

    def close(self) -> None:
        """Free the graph, before the execution context that it was captured from; idempotent."""
        executable, self._executable = self._executable, 0
        if executable and not self._device.lost:
            try:
                self._library.destroy_executable(executable)
            except CudaDriverError as error:
                # Only a broken context refuses; noticed here, it is made anew when closed.
                self._device.failure('the CUDA graph was not freed', error)


def capture_graph(device: CudaDevice, enqueue: Callable[[], None]) -> CudaGraph:
    """
    Record work; it must have run once before with the same shapes and addresses.

    :param enqueue: puts the work on the stream of the device.
    :raises GraphCaptureError: the work cannot be captured.
    :raises DeviceLostError: the context broke.
    """
    library, stream = device.library, device.stream_handle
    graph, problem = 0, ''
    with device.capturing():
        try:
            library.begin_capture(stream)
        except CudaDriverError as error:
            problem = str(error)
        else:
            try:
                enqueue()
            except InferenceRuntimeError as error:
                problem = str(error)
            finally:
                # In any case: the stream would record for ever.
                try:
                    graph = library.end_capture(stream)
                except CudaDriverError as error:
                    problem = f'{problem}; {error}' if problem else str(error)
    executable = 0
    try:
        if graph and not problem:
            executable = library.instantiate(graph)
    except CudaDriverError as error:
        problem = str(error)
    if graph:
        try:
            library.destroy_graph(graph)
        except CudaDriverError as error:
            problem = problem or str(error)
    if device.is_broken():
        raise DeviceLostError(f'capturing a CUDA graph broke the context of the GPU '
                              f'({device.lost}); release the models and configure again')
    if not executable:
        raise GraphCaptureError(problem or 'the driver gave no graph and no reason')
    return CudaGraph(device, executable)
