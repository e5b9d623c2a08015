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

from pathlib import Path
from typing import Callable
from typing import Sequence
from typing import TYPE_CHECKING

from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.parameter_groups import EngineConfig
from c7_inference_ros.parameter_spec import nearest
from c7_inference_ros.runtime.base import InferenceRuntime
from c7_inference_ros.runtime.memory_budget import MemoryBudget

if TYPE_CHECKING:
    from c7_inference_ros.thermal.publisher import ThermalStatePublisher
# Engines that are built on the vehicle are in no list and have no signature.
_NOT_LISTED = ('engines.deployment_list or engines.public_key asks for engines that somebody '
               'vouched for, and nobody can for these')


def build_inference_runtime(name: str, *, budget: MemoryBudget,
                            execution_providers: Sequence[str] = ('CPUExecutionProvider',),
                            allow_cpu_fallback: bool = True, intra_op_threads: int = 0,
                            engines: EngineConfig | None = None,
                            thermal: ThermalStatePublisher | None = None) -> InferenceRuntime:
    """
    Return the runtime of one name.

    :param name: one of :data:`c7_inference_ros.config.RUNTIMES`.
    :param budget: admits every model that the runtime loads.
    :param execution_providers: for ``onnx_trt_ep``: names in order of preference.
    :param allow_cpu_fallback: for ``onnx_trt_ep`` and ``pytorch_fp16``: whether the CPU may
        stand in.
    :param intra_op_threads: for the same: threads of one inference on a CPU, 0 for their own
        choice.
    :param engines: which engines are trusted, and on which GPU they run; the defaults when None.
    :param thermal: where the runtime's thermal state comes from.
    :raises RuntimeNotAvailableError: there is no such runtime, or what it needs is not installed.
    """
    settings = engines or EngineConfig()

    def tensorrt() -> InferenceRuntime:
        from c7_inference_ros.runtime.trt.runtime import TensorrtRuntime
        return TensorrtRuntime(
            budget=budget, thermal=thermal, package=settings.package, device=settings.device,
            use_cuda_graph=settings.cuda_graph, directory=_path(settings.directory),
            deployment_list=_path(settings.deployment_list),
            public_key=_path(settings.public_key), max_accuracy_drop=settings.max_accuracy_drop)

    def onnx_trt_ep() -> InferenceRuntime:
        from c7_inference_ros.runtime.ort.runtime import OnnxTrtEpRuntime
        return OnnxTrtEpRuntime(
            execution_providers=execution_providers, allow_cpu_fallback=allow_cpu_fallback,
            intra_op_threads=intra_op_threads, budget=budget, thermal=thermal,
            device=settings.device, directory=_path(settings.directory),
            cache_refusal=_NOT_LISTED if settings.deployment_list or settings.public_key else '')

    def pytorch_fp16() -> InferenceRuntime:
        from c7_inference_ros.runtime.pytorch.runtime import PytorchFp16Runtime
        return PytorchFp16Runtime(
            budget=budget, device=settings.device, allow_cpu_fallback=allow_cpu_fallback,
            intra_op_threads=intra_op_threads, thermal=thermal)

    def dummy() -> InferenceRuntime:
        from c7_inference_ros.runtime.dummy.runtime import DummyRuntime
        return DummyRuntime(budget=budget, thermal=thermal)

    builders: dict[str, Callable[[], InferenceRuntime]] = {
        'tensorrt': tensorrt, 'onnx_trt_ep': onnx_trt_ep, 'pytorch_fp16': pytorch_fp16,
        'dummy': dummy}
    if name in builders:
        return builders[name]()
    near = nearest(name, builders)
    hint = f'; did you mean {near!r}?' if near else ''
    raise RuntimeNotAvailableError(
        f'runtime {name!r} does not exist; available: {", ".join(builders)}{hint}')


def _path(text: str) -> Path | None:
    """Return a path that a parameter names; None for an empty text."""
    return Path(text).expanduser() if text else None
