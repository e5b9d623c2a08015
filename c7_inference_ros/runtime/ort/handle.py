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

"""A model in an ONNX Runtime session, and the buffers it writes into."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any
from typing import Mapping

from c7_inference_ros.runtime.base import EngineHandle
from c7_inference_ros.runtime.base import TensorMap
from c7_inference_ros.runtime.memory_budget import Reservation
from c7_inference_ros.runtime.ort.model import OnnxModel
from c7_inference_ros.runtime.process_memory import trim
import numpy as np
import numpy.typing as npt


class OnnxHandle(EngineHandle):
    """A model in an ONNX Runtime session."""

    def __init__(self, model: OnnxModel, session: Any, reservation: Reservation) -> None:
        """Take over the session and what was reserved for it."""
        super().__init__(model.path.stem, model.inputs, model.outputs,
                         dict(session.get_modelmeta().custom_metadata_map))
        self.session: Any = session
        self.reservation = reservation
        self.output_names = [spec.name for spec in model.outputs]
        self.binding: Any = None
        self.bound: Mapping[str, npt.NDArray[Any]] = {}

    def bind(self) -> None:
        """Let the session write into one set of arrays from now on, where the shapes are fixed."""
        if any(size < 0 for spec in self.outputs for size in spec.shape):
            return
        self.bound = MappingProxyType(
            {spec.name: np.empty(spec.shape, spec.dtype) for spec in self.outputs})
        self.binding = self.session.io_binding()
        for name, array in self.bound.items():
            self.binding.bind_output(name, 'cpu', 0, array.dtype, array.shape, array.ctypes.data)

    def run(self, inputs: TensorMap) -> TensorMap:
        """Run the session; an output with an open dimension is allocated by ONNX Runtime."""
        if self.binding is None:
            arrays = self.session.run(self.output_names, dict(inputs))
            return dict(zip(self.output_names, arrays))
        for spec in self.inputs:
            array = inputs[spec.name]
            self.binding.bind_input(spec.name, 'cpu', 0, array.dtype, array.shape,
                                    array.ctypes.data)
        self.session.run_with_iobinding(self.binding)
        return self.bound

    def close(self) -> None:
        """Drop the session and what was reserved."""
        self.binding = None
        self.session = None
        self.bound = {}
        self.is_released = True
        trim()
        self.reservation.release()
