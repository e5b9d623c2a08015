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

"""Building the runtime that a configuration names; the others are never imported."""

from __future__ import annotations

from typing import Callable
from typing import Sequence
from typing import TYPE_CHECKING

from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.parameter_spec import nearest
from c7_inference_ros.runtime.base import InferenceRuntime
from c7_inference_ros.runtime.memory_budget import MemoryBudget

if TYPE_CHECKING:
    from c7_inference_ros.thermal.publisher import ThermalStatePublisher

_NOT_IN_THIS_VERSION = ('tensorrt', 'pytorch_fp16')


def build_inference_runtime(name: str, *, budget: MemoryBudget,
                            execution_providers: Sequence[str] = ('CPUExecutionProvider',),
                            allow_cpu_fallback: bool = True, intra_op_threads: int = 0,
                            thermal: ThermalStatePublisher | None = None) -> InferenceRuntime:
    """
    Return the runtime of one name.

    :param name: ``onnx_trt_ep`` or ``dummy``.
    :param budget: admits every model that the runtime loads.
    :param execution_providers: for ``onnx_trt_ep``: names in order of preference.
    :param allow_cpu_fallback: for ``onnx_trt_ep``: whether the CPU may stand in.
    :param intra_op_threads: for ``onnx_trt_ep``: threads of one inference on a CPU, 0 for its own
        choice.
    :param thermal: where the runtime's thermal state comes from.
    :raises RuntimeNotAvailableError: there is no such runtime, or what it needs is not installed.
    """

    def onnx_trt_ep() -> InferenceRuntime:
        from c7_inference_ros.runtime.onnx_trt_ep_runtime import OnnxTrtEpRuntime
        return OnnxTrtEpRuntime(
            execution_providers=execution_providers, allow_cpu_fallback=allow_cpu_fallback,
            intra_op_threads=intra_op_threads, budget=budget, thermal=thermal)

    def dummy() -> InferenceRuntime:
        from c7_inference_ros.runtime.dummy_runtime import DummyRuntime
        return DummyRuntime(budget=budget, thermal=thermal)

    builders: dict[str, Callable[[], InferenceRuntime]] = {
        'onnx_trt_ep': onnx_trt_ep, 'dummy': dummy}
    if name in builders:
        return builders[name]()
    available = f'available: {", ".join(builders)}'
    if name in _NOT_IN_THIS_VERSION:
        raise RuntimeNotAvailableError(
            f'runtime {name} is not in this version of c7_inference_ros; {available}; set the '
            f'parameter runtime to one of them')
    near = nearest(name, builders)
    hint = f'; did you mean {near!r}?' if near else ''
    raise RuntimeNotAvailableError(f'runtime {name!r} does not exist; {available}{hint}')
