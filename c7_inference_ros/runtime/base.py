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

"""What every inference runtime offers, and the types that pass through it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Mapping
from typing import Protocol
from typing import runtime_checkable

from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.model_files.tensor_spec import TensorSpec
from c7_inference_ros.thermal.state import ThermalState
import numpy.typing as npt

#: Tensors by name, C-contiguous.
TensorMap = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class MemoryItem:
    """
    One line of a memory account, in bytes.

    :param name: what takes the memory (``weights``, ``activations``, ``io``, ``pinned``).
    :param predicted_bytes: known before anything was allocated.
    :param is_device: whether it is device memory (False: host memory).
    """

    name: str
    predicted_bytes: int
    is_device: bool


@dataclass(frozen=True)
class MemoryUse:
    """
    What one loaded model takes.

    :param items: the prediction, itemised.
    :param measured_host_bytes: host memory that loading and warming up really took, or None where
        that was not measured.
    :param measured_device_bytes: the same of device memory.
    :param basis: how the figures were made, for people.
    """

    items: tuple[MemoryItem, ...] = ()
    measured_host_bytes: int | None = None
    measured_device_bytes: int | None = None
    basis: str = ''

    @property
    def measured_bytes(self) -> int | None:
        """Measured memory of both kinds together, bytes; None when neither was measured."""
        known = [size for size in (self.measured_host_bytes, self.measured_device_bytes)
                 if size is not None]
        return sum(known) if known else None

    @property
    def predicted_device_bytes(self) -> int:
        """Predicted device memory, bytes."""
        return sum(item.predicted_bytes for item in self.items if item.is_device)

    @property
    def predicted_host_bytes(self) -> int:
        """Predicted host memory, bytes."""
        return sum(item.predicted_bytes for item in self.items if not item.is_device)


class EngineHandle:
    """
    A loaded model; only the runtime that made it knows what is inside.

    The read-only attributes describe the model; runtimes keep their private state in subclasses.

    :param name: name of the model in reports (file stem).
    :param inputs: input tensors, in the model's order.
    :param outputs: output tensors, in the model's order.
    :param metadata: free text that the model file carries, by key.
    :param processing: pre- and post-processing that travelled with an engine; see
        :class:`c7_inference_ros.engines.types.BuildConfig`. Empty for other models.
    """

    def __init__(self, name: str, inputs: tuple[TensorSpec, ...],
                 outputs: tuple[TensorSpec, ...],
                 metadata: Mapping[str, str],
                 processing: Mapping[str, Any] | None = None) -> None:
        """Describe the model; memory use is filled in by the runtime."""
        self.name = name
        self.inputs = inputs
        self.outputs = outputs
        self.metadata = metadata
        self.processing: Mapping[str, Any] = processing or {}
        self.memory = MemoryUse()
        self.is_released = False


@runtime_checkable
class InferenceRuntime(Protocol):
    """
    Loads models and runs them; one thread at a time.

    All methods are called on the thread that owns the runtime, except
    :meth:`thermal_state` and :meth:`current_runtime_label`, which any thread may call.
    """

    def compile_engine(self, onnx_path: Path, build_config: BuildConfig) -> EngineCacheEntry:
        """
        Make a loadable file of an ONNX model, or say that the model is one already.

        :raises EngineBuildError: the model cannot be built.
        """

    def deserialize_engine(self, entry: EngineCacheEntry) -> EngineHandle:
        """
        Check, admit against the memory budget and load one model.

        :raises EngineDeserializeError: the file is missing, truncated or not a model.
        :raises OutOfMemoryError: the model does not fit; nothing was allocated.
        """

    def infer(self, handle: EngineHandle, inputs: TensorMap) -> TensorMap:
        """
        Run one inference.

        :param inputs: one array per input, dtype and shape as ``handle.inputs`` says.
        :returns: one array per output; valid until the next call with the same handle.
        :raises InferenceError: wrong feed, or the runtime failed.
        """

    def release_engine(self, handle: EngineHandle) -> None:
        """Give everything of a handle back; idempotent, a foreign handle is ignored."""

    def thermal_state(self) -> ThermalState:
        """Return the latest thermal snapshot; the unavailable one when none was injected."""

    def current_runtime_label(self) -> str:
        """Return the runtime and what really runs it, for people."""
