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

"""When work is recorded as a CUDA graph, when the graph is replayed, and when it is void."""

from __future__ import annotations

from typing import Any
from typing import Callable

from c7_inference_ros.runtime.cuda.device import CudaDevice
from c7_inference_ros.runtime.cuda.graph import capture_graph
from c7_inference_ros.runtime.cuda.graph import CudaGraph
from c7_inference_ros.runtime.cuda.graph import GraphCaptureError


class GraphReplay:
    """
    Enqueues work, and replays it from the third time on that it comes unchanged.

    The first time TensorRT prepares for new shapes and addresses, which cannot be captured; the
    second time is recorded. There is one graph at a time: NVIDIA leaves undefined what a graph
    does once the context that it was captured from was changed.

    :param device: the device.
    """

    def __init__(self, device: CudaDevice) -> None:
        """Begin without a graph; :attr:`is_wanted` lets one be captured."""
        self._device = device
        self._graph: CudaGraph | None = None
        self._graph_of: Any = None
        self._enqueued: Any = None
        self.is_wanted = False
        #: Why there is no graph although one was wanted; empty otherwise.
        self.note = ''

    @property
    def has_graph(self) -> bool:
        """Whether there is a graph."""
        return self._graph is not None

    def is_stale(self, generation: int) -> bool:
        """Whether the graph was captured with other memory than that of this generation."""
        return self._graph is not None and self._graph_of[1] != generation

    def refuse(self, reason: str) -> None:
        """Do without a graph from now on."""
        self.is_wanted = False
        self.note = f'no CUDA graph: {reason}'

    def run(self, shapes: Any, generation: int, enqueue: Callable[[], None]) -> None:
        """
        Put work on the stream, from the graph where it is good for it.

        :param shapes: what the work depends on, beside the memory.
        :param generation: number of the memory that it works in.
        :param enqueue: puts the work on the stream.
        :raises InferenceError: it could not be put there.
        """
        work = (shapes, generation)
        if self._graph is not None and self._graph_of == work:
            self._graph.launch()
            return
        is_repeated = self._enqueued == work
        self.drop()
        if is_repeated and self.is_wanted:
            try:
                self._graph = capture_graph(self._device, enqueue)
            except GraphCaptureError as error:
                self.refuse(str(error))
            else:
                self._graph_of = work
                self._graph.launch()
                return
        enqueue()
        self._enqueued = work

    def drop(self) -> None:
        """Throw the graph away, before the context that it was captured from. Idempotent."""
        graph, self._graph, self._graph_of = self._graph, None, None
        self._enqueued = None
        if graph is not None:
            graph.close()
