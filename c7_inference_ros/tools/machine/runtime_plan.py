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

"""What would run the models of a configuration on this machine, and why not something else."""

from __future__ import annotations

from dataclasses import dataclass

from c7_inference_ros.config import NodeConfig
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.runtime.ort import providers as onnx_providers
from c7_inference_ros.tools.machine.examine import Machine


@dataclass(frozen=True)
class RuntimePlan:
    """
    What would run the models.

    :param text: for people.
    :param providers: execution providers that would run ONNX models, in order.
    :param is_torch_on_cpu: whether PyTorch would run on the CPU.
    :param notes: what would run otherwise than it is asked for, one sentence each.
    :param problem: why nothing would run; empty when something would.
    """

    text: str
    providers: tuple[str, ...] = (onnx_providers.CPU,)
    is_torch_on_cpu: bool = True
    notes: tuple[str, ...] = ()
    problem: str = ''


def plan_runtime(config: NodeConfig, machine: Machine) -> RuntimePlan:
    """Return what would run the models of a configuration; nothing is loaded."""
    try:
        if config.runtime == 'onnx_trt_ep':
            return _with_onnxruntime(config, machine)
        if config.runtime == 'pytorch_fp16':
            return _with_torch(config, machine)
        if config.runtime == 'tensorrt':
            return _with_tensorrt(machine)
    except RuntimeNotAvailableError as error:
        return RuntimePlan(config.runtime, problem=str(error))
    return RuntimePlan('dummy: nothing is computed, a script is played')


def _with_onnxruntime(config: NodeConfig, machine: Machine) -> RuntimePlan:
    """Choose the providers as the runtime does, with what really loads here."""
    library = machine.libraries['onnxruntime']
    if not library.is_good:
        return RuntimePlan(f'onnx_trt_ep: {library.problem}')  # the software's lines say it
    chosen, absent = onnx_providers.choose_providers(
        config.execution_providers, [str(name) for name in library.values['available']],
        [str(name) for name in library.values['known']], config.allow_cpu_fallback)
    tried = machine.providers
    loaded = [name for name in chosen if name not in tried or (
        tried[name].is_good and name in (tried[name].values.get('loaded') or ()))]
    failures = [onnx_providers.failure(name, tried[name].problem) for name in chosen
                if name in tried and not tried[name].is_good]
    if onnx_providers.CPU not in loaded:
        loaded.append(onnx_providers.CPU)  # ONNX Runtime always adds it
    missing = onnx_providers.check_loaded(chosen, loaded, config.execution_providers, failures,
                                          config.allow_cpu_fallback)
    return RuntimePlan(f'onnx_trt_ep with {", ".join(loaded)}', tuple(loaded),
                       notes=(*absent, *missing))


def _with_tensorrt(machine: Machine) -> RuntimePlan:
    if not machine.gpu.is_there:
        raise RuntimeNotAvailableError(
            f'runtime tensorrt needs a GPU: {machine.facts.problems.get("sm", "there is none")}')
    return RuntimePlan('tensorrt')


def _with_torch(config: NodeConfig, machine: Machine) -> RuntimePlan:
    library, number = machine.libraries['torch'], config.engines.device
    devices = library.values.get('devices') or []
    if devices and number >= len(devices):
        raise RuntimeNotAvailableError(
            f'engines.device is {number}, PyTorch sees {len(devices)} GPU(s); give a number below '
            f'{len(devices)}')
    if devices:
        return RuntimePlan(f'pytorch_fp16 on {devices[number]["name"]}', is_torch_on_cpu=False)
    if not library.is_good:
        return RuntimePlan(f'pytorch_fp16: {library.problem}')
    reason = f'PyTorch {library.version} finds no GPU'
    if not config.allow_cpu_fallback:
        raise RuntimeNotAvailableError(
            f'runtime pytorch_fp16: {reason}; only the CPU would be left and allow_cpu_fallback '
            f'is false: set it to true to run on the CPU in float32')
    return RuntimePlan('pytorch_fp16 on the CPU',
                       notes=(f'pytorch_fp16 runs on the CPU in float32: {reason}',))
