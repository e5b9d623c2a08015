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

"""What would become of a configuration on this machine: refused or not, and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Mapping
from typing import Sequence

from c7_inference_ros.config import ModelConfig
from c7_inference_ros.config import NodeConfig
from c7_inference_ros.engines.filename import parse_engine_name
from c7_inference_ros.engines.types import PACKAGES
from c7_inference_ros.errors import C7Error
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import OutOfMemoryError
from c7_inference_ros.pipeline.activation import check_heat
from c7_inference_ros.pipeline.detection_pipeline import DetectionPipeline
from c7_inference_ros.pipeline.model_lookup import find_model
from c7_inference_ros.pipeline.model_lookup import runtime_extras
from c7_inference_ros.pipeline.shedding import ladder
from c7_inference_ros.pipeline.shedding import why_empty
from c7_inference_ros.resources import find_file
from c7_inference_ros.runtime.base import InferenceRuntime
from c7_inference_ros.runtime.memory_budget import BudgetRow
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.tools.console import size_text
from c7_inference_ros.tools.machine.board import memory_bytes
from c7_inference_ros.tools.machine.examine import Machine
from c7_inference_ros.tools.machine.findings import Finding
from c7_inference_ros.tools.machine.findings import Verdict
from c7_inference_ros.tools.machine.libraries import Library
from c7_inference_ros.tools.machine.planned_runtimes import NotKnownBeforehand
from c7_inference_ros.tools.machine.planned_runtimes import planned_runtime
from c7_inference_ros.tools.machine.planned_runtimes import PlannedTensorrt
from c7_inference_ros.tools.machine.runtime_plan import plan_runtime
from c7_inference_ros.tools.machine.topics import topic_problem

SECTION = 'Node'
_UNLIMITED = 1 << 62


@dataclass(frozen=True)
class NodePlan:
    """
    What would become of a configuration.

    :param findings: the lines of the report.
    :param rows: the memory account, with a model that does not fit as refused.
    :param basis: how its figures were made, sentences.
    """

    findings: tuple[Finding, ...]
    rows: tuple[BudgetRow, ...]
    basis: tuple[str, ...]


def needed_modules(config: NodeConfig, libraries: dict[str, Library]) -> tuple[str, ...]:
    """Return the modules without which a configuration does not start."""
    needed = {'onnx_trt_ep': ('onnxruntime',), 'pytorch_fp16': ('torch',), 'dummy': ('yaml',),
              'tensorrt': ('pycuda', *_tensorrt_packages(config, libraries))}[config.runtime]
    return (*needed, 'cryptography') if config.engines.public_key else needed


def _tensorrt_packages(config: NodeConfig, libraries: dict[str, Library]) -> list[str]:
    if config.engines.package != 'auto':
        return [config.engines.package]
    named = set()
    for model in config.models.values():
        try:
            named.add(parse_engine_name(Path(model.path).name).package)
        except C7Error:
            # For an ONNX model the first that is installed.
            if not any(libraries[name].is_good for name in PACKAGES):
                named.add(PACKAGES[0])
    return sorted(named)


def plan_node(config: NodeConfig, machine: Machine) -> NodePlan:
    """Return what would become of a configuration on a machine; nothing is loaded."""
    return _Planner(config, machine).plan()


class _Planner:

    def __init__(self, config: NodeConfig, machine: Machine) -> None:
        self._config = config
        self._machine = machine
        self._findings: list[Finding] = []
        self._rows: tuple[BudgetRow, ...] = ()
        self._is_over_budget = False
        self._basis: dict[str, None] = {}
        self._plan = plan_runtime(config, machine)
        # Growth counts from what the process has before it loads anything: nothing here.
        self._budget = MemoryBudget(
            config.memory.device_budget_bytes, config.memory.host_budget_bytes,
            read_rss=lambda: 0, read_available=lambda: None)

    def plan(self) -> NodePlan:
        config = self._config
        self._add('configuration', Verdict.OK, f'{_counted(config.camera_names, "camera")}, '
                  f'{_counted(config.model_names, "model")}')
        self._look_at_runtime()
        runtime = self._runtime(self._budget)
        for model in config.models.values():
            self._look_at_model(runtime, model)
        self._rows = self._rows or tuple(self._budget.table())
        self._look_at_budget()
        for name in config.camera_names:
            self._look_at_camera(name)
        self._look_at_heat()
        return NodePlan(tuple(self._findings), self._rows, tuple(self._basis))

    def _add(self, name: str, verdict: Verdict, text: str, advice: str = '',
             values: Mapping[str, Any] | None = None) -> None:
        self._findings.append(Finding(SECTION, name, verdict, ' '.join(text.split()), advice,
                                      is_blocking=verdict is Verdict.REFUSED, values=values or {}))

    def _refuse(self, name: str, problems: Sequence[str],
                values: Mapping[str, Any] | None = None) -> None:
        for problem in problems:
            self._add(name, Verdict.REFUSED, problem, values=values)

    def _runtime(self, budget: MemoryBudget) -> InferenceRuntime:
        return planned_runtime(self._config, budget, self._machine.facts, self._plan.providers,
                               self._plan.is_torch_on_cpu)

    def _look_at_runtime(self) -> None:
        plan = self._plan
        if plan.problem:
            self._refuse('runtime', [plan.problem], {'runtime': self._config.runtime})
        for note in plan.notes:
            self._add('runtime', Verdict.WARN, note)
        if not plan.problem:
            self._add('runtime', Verdict.OK, plan.text, values={
                'runtime': self._config.runtime, 'providers': list(plan.providers)})

    def _look_at_model(self, runtime: InferenceRuntime, model: ModelConfig) -> None:
        name = f'model {model.name}'
        problems: list[str] = []
        path = labels = None
        try:
            path = find_model(self._config, model, lambda config: self._machine.facts.host(
                config.engines.package))
        except C7Error as error:
            problems += getattr(error, 'problems', None) or [str(error)]
        try:
            labels = find_file(model.labels, f'models.{model.name}.labels') if (
                model.labels) else None
        except ConfigurationError as error:
            problems += error.problems
        if problems or path is None:
            self._refuse(name, problems)
            return
        try:
            self._plan_model(runtime, model, path, labels)
        except OutOfMemoryError as error:
            self._refuse(f'{name}, memory', [str(error)])
            self._rows = tuple(error.rows)
            self._is_over_budget = True
            self._look_beyond_the_budget(model, path, labels)

    def _look_beyond_the_budget(self, model: ModelConfig, path: Path, labels: Path | None) -> None:
        """Say what else would be wrong with a model that does not fit."""
        budget = MemoryBudget(_UNLIMITED, _UNLIMITED, read_rss=lambda: 0)
        try:
            self._plan_model(self._runtime(budget), model, path, labels)
        except OutOfMemoryError as error:
            self._refuse(f'model {model.name}', [str(error)])

    def _plan_model(self, runtime: InferenceRuntime, model: ModelConfig, path: Path,
                    labels: Path | None) -> None:
        """
        Load a model as the pipeline does, in a runtime that loads nothing.

        :raises OutOfMemoryError: it does not fit.
        """
        name = f'model {model.name}'
        try:
            pipeline = DetectionPipeline.load(runtime, model, path, labels,
                                              runtime_extras(self._config, model))
        except OutOfMemoryError:
            raise
        except NotKnownBeforehand as error:
            self._add(name, Verdict.UNKNOWN, str(error), values={'path': str(path)})
        except ConfigurationError as error:
            self._look_at_gate(runtime, model, path)
            self._refuse(name, error.problems, {'path': str(path)})
        except C7Error as error:
            if not self._look_at_gate(runtime, model, path):
                self._refuse(name, [str(error)], {'path': str(path)})
        else:
            self._look_at_gate(runtime, model, path)
            self._basis[pipeline.handle.memory.basis] = None
            facts = pipeline.describe()
            size = path.stat().st_size
            self._add(name, Verdict.OK,
                      f'{path} ({size_text(size)}): {facts["input"]} {facts["color_order"]} '
                      f'{facts["resize"]}, decoder {facts["decoder"]}, {facts["classes"]} classes '
                      f'from {facts["labels"]}',
                      values={'path': str(path), 'size_bytes': size, **facts})

    def _look_at_gate(self, runtime: InferenceRuntime, model: ModelConfig, path: Path) -> bool:
        """Say what the gate says; return whether it refused."""
        verdict = runtime.verdicts.pop(path, None) if isinstance(
            runtime, PlannedTensorrt) else None
        if verdict is None:
            return False
        name = f'engine of {model.name}'
        values = verdict.to_json()
        if verdict.trusted is None:
            self._add(name, Verdict.REFUSED,
                      f'the gate refuses it ({verdict.stage}): {verdict.refusal}',
                      values=values)
            return True
        self._add(name, Verdict.OK, f'{path.name} passes the gate', values=values)
        for warning in verdict.trusted.warnings:
            self._add(name, Verdict.WARN, warning)
        return False

    def _look_at_budget(self) -> None:
        """Hold the budget against the machine, and the plan against what is free."""
        config, gpu = self._config.memory, self._machine.gpu
        totals = self._budget.totals()
        predicted = {place: row.predicted_bytes for place, row in totals.items()}
        total, available = memory_bytes(self._machine.around)
        for limit, have, parameter in (
                (config.device_budget_bytes, gpu.total_bytes, 'memory.device_budget_bytes'),
                (config.host_budget_bytes, total, 'memory.host_budget_bytes')):
            if have is not None and limit > have and self._takes(parameter, predicted):
                self._add('budget', Verdict.WARN,
                          f'{parameter} is {size_text(limit)}, and there are {size_text(have)}',
                          'it protects nothing; set it to what the models may take')
        host = available
        if host is not None:
            host -= predicted['host'] + (predicted['device'] if gpu.is_shared else 0)
        device = None
        if gpu.free_bytes is not None and predicted['device']:
            device = gpu.free_bytes - predicted['device'] - (
                predicted['host'] if gpu.is_shared else 0)
        try:
            self._budget.check_measured(config.free_floor_bytes, rss_bytes=0, free_bytes=host,
                                        device_free_bytes=device)
        except OutOfMemoryError as error:
            self._refuse('memory', [f'with the models as predicted, {error}'], predicted)
            return
        if self._is_over_budget:
            return
        self._add('memory', Verdict.OK,
                  f'as predicted {size_text(predicted["device"])} of '
                  f'{size_text(config.device_budget_bytes)} device memory and '
                  f'{size_text(predicted["host"])} of {size_text(config.host_budget_bytes)} host '
                  f'memory', values=predicted)

    @staticmethod
    def _takes(parameter: str, predicted: dict[str, int]) -> bool:
        return predicted['device' if 'device' in parameter else 'host'] > 0

    def _look_at_camera(self, name: str) -> None:
        config = self._config
        camera = config.cameras[name]
        suffix = '/compressed' if camera.image_transport == 'compressed' else ''
        models = config.models_of(name)
        values = {'topic': camera.image_topic + suffix, 'models': list(models)}
        problem = topic_problem(camera.image_topic)
        if problem:
            self._add(f'camera {name}', Verdict.REFUSED,
                      f'cameras.{name}.image_topic is {camera.image_topic!r}, which {problem}',
                      values=values)
            return
        same = [other for other in config.camera_names if other != name
                and config.cameras[other].image_topic == camera.image_topic
                and config.cameras[other].image_transport == camera.image_transport]
        kind = 'CompressedImage' if suffix else 'Image'
        text = f'{camera.image_topic}{suffix} (sensor_msgs/{kind}) into '
        if not models:
            self._add(f'camera {name}', Verdict.WARN, f'{text}no model',
                      f'cameras.{name}.models names none', values)
        elif same:
            self._add(f'camera {name}', Verdict.WARN, text + ', '.join(models),
                      f'camera {" and ".join(same)} has the same topic: each image is looked at '
                      f'more than once', values)
        else:
            self._add(f'camera {name}', Verdict.OK, text + ', '.join(models), values=values)

    def _look_at_heat(self) -> None:
        config = self._config.thermal
        steps = ladder(self._config)
        text = f'policy {config.policy}'
        if config.policy == 'shed':
            text += f', {len(steps) - 1} steps: ' + '; '.join(
                step.description for step in steps[1:])
        try:
            warnings = check_heat(self._machine.thermal, config, why_empty(self._config))
        except ConfigurationError as error:
            self._refuse('thermal', error.problems)
            return
        for warning in warnings:
            self._add('thermal', Verdict.WARN, warning)
        if config.sysfs_root != '/sys':
            self._add('thermal', Verdict.WARN, f'heat is read from {config.sysfs_root}, a '
                      f'recording and not this machine')
        elif not warnings:
            self._add('thermal', Verdict.OK, text, values={'policy': config.policy})


def invalid_parameters(problems: Sequence[str]) -> tuple[Finding, ...]:
    """Return one line for each parameter that cannot be used."""
    return tuple(Finding(SECTION, 'parameter', Verdict.REFUSED, ' '.join(problem.split()),
                         is_blocking=True) for problem in problems)


def _counted(names: Sequence[str], what: str) -> str:
    return f'{len(names)} {what}{"" if len(names) == 1 else "s"} ({", ".join(names)})'
