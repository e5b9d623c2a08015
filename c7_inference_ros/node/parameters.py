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

"""Declare the records of ``config.py`` on a node, and guard every later change."""

from __future__ import annotations

from typing import Any
from typing import Callable

from c7_inference_ros.config import check_names
from c7_inference_ros.config import is_name
from c7_inference_ros.config import is_ros_parameter
from c7_inference_ros.config import load_config
from c7_inference_ros.config import NodeConfig
from c7_inference_ros.config import parameters_of
from c7_inference_ros.config import unknown_keys
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.parameter_groups import ThermalConfig
from c7_inference_ros.parameter_spec import build
from c7_inference_ros.parameter_spec import Mutability
from c7_inference_ros.parameter_spec import ParameterSpec
from rcl_interfaces.msg import FloatingPointRange
from rcl_interfaces.msg import IntegerRange
from rcl_interfaces.msg import ParameterDescriptor
from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

_INT64_MAX = 2**63 - 1
_FLOAT_MAX = 1.7976931348623157e308


class NodeParameters:
    """
    The parameters of one node.

    A value of a wrong type or range in the YAML does not stop the node from coming up: it is
    kept as a problem that configuring reports, and a corrected value clears it.

    :param node: node to declare them on.
    :param is_unconfigured: tells whether configure-time parameters may change now.
    :param check: called with the configuration that a change would give, before it is
        accepted; raises ConfigurationError to refuse.
    :param changed: called with the new configuration after a change was accepted.
    """

    def __init__(self, node: Node, is_unconfigured: Callable[[], bool],
                 check: Callable[[NodeConfig], None],
                 changed: Callable[[NodeConfig], None]) -> None:
        """Declare everything and install the callbacks."""
        self._node = node
        self._is_unconfigured = is_unconfigured
        self._check = check
        self._changed = changed
        self._specs: dict[str, ParameterSpec] = {}
        self._problems: dict[str, str] = {}
        overrides = {name: override.value for name, override
                     in node._parameter_overrides.items()}  # rclpy has no public accessor
        # Whoever passes camera_names decides which other parameters exist.
        names: dict[str, Any] = {}
        for name, spec, default in parameters_of((), ()):
            names[name] = self._declare(name, spec, default, overrides)
        self._name_problems = check_names(names)
        for name, spec, default in parameters_of(_usable(names['camera_names']),
                                                 _usable(names['model_names'])):
            if name not in self._specs:
                self._declare(name, spec, default, overrides)
        self._unknown = unknown_keys(
            {name for name in overrides if not is_ros_parameter(name)}, self._specs)
        node.add_on_set_parameters_callback(self._on_set)
        if hasattr(node, 'add_post_set_parameters_callback'):
            node.add_post_set_parameters_callback(self._after_set)

    def load(self) -> NodeConfig:
        """
        Return the configuration that the current values give.

        :raises ConfigurationError: one line for everything that is wrong.
        """
        problems = [*self._problems.values(), *self._name_problems, *self._unknown]
        try:
            config = load_config(self._values())
        except ConfigurationError as error:
            problems += [line for line in error.problems if line not in problems]
        if problems:
            raise ConfigurationError(problems)
        return config

    def thermal(self) -> ThermalConfig:
        """Return the thermal settings; the default of each that cannot be used."""
        prefix = 'thermal.'
        return build(ThermalConfig, {
            name.removeprefix(prefix): self._specs[name].coerce(value, name)[0]
            for name, value in self._values().items() if name.startswith(prefix)})

    def _values(self, changes: dict[str, Any] | None = None) -> dict[str, Any]:
        values = {name: self._node.get_parameter(name).value for name in self._specs}
        values.update(changes or {})
        return values

    def _declare(self, name: str, spec: ParameterSpec, default: Any,
                 overrides: dict[str, Any]) -> Any:
        value, problem = spec.coerce(overrides.get(name, default), name)
        if problem:
            value = default
            self._problems[name] = problem
        self._specs[name] = spec
        self._node.declare_parameter(
            name, list(value) if spec.is_array else value, _descriptor(spec),
            ignore_override=True)
        return value

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        """Validate a change; has no side effect."""
        changes: dict[str, Any] = {}
        for item in parameters:
            spec = self._specs.get(item.name)
            if spec is None:
                continue
            if spec.mutability is not Mutability.DYNAMIC and not self._is_unconfigured():
                return SetParametersResult(successful=False, reason=(
                    f'{item.name} can change only while the node is unconfigured; deactivate '
                    f'and clean up first, then set it and configure again'))
            value, problem = spec.coerce(item.value, item.name)
            if problem:
                return SetParametersResult(successful=False, reason=problem)
            changes[item.name] = value
        # A value that another parameter still makes unusable is reported by configure.
        if changes and not self._is_unconfigured():
            try:
                self._check(load_config(self._values(changes)))
            except ConfigurationError as error:
                return SetParametersResult(successful=False, reason=str(error))
        if not hasattr(self._node, 'add_post_set_parameters_callback'):
            # Humble: a task runs after this callback's caller has stored the values.
            if self._node.executor is not None:
                self._node.executor.create_task(self._after_set, parameters)
        return SetParametersResult(successful=True)

    def _after_set(self, parameters: list[Parameter]) -> None:
        for item in parameters:
            self._problems.pop(item.name, None)
        try:
            self._changed(load_config(self._values()))
        except ConfigurationError:
            pass  # only while unconfigured; configure reports it


def _usable(names: Any) -> tuple[str, ...]:
    """Return the names that can carry parameters, each once."""
    return tuple(dict.fromkeys(name for name in names if is_name(name)))


def _descriptor(spec: ParameterSpec) -> ParameterDescriptor:
    """Say in ROS terms what a record says."""
    unit = f' [{spec.unit}]' if spec.unit else ''
    descriptor = ParameterDescriptor(
        description=f'{spec.description}{unit}',
        additional_constraints=f'changes {spec.mutability.value}' + (
            f'; one of {", ".join(spec.choices)}' if spec.choices else ''),
        read_only=spec.mutability is Mutability.STRUCTURAL)
    if spec.minimum is None and spec.maximum is None:
        return descriptor
    if spec.element_type is int:
        descriptor.integer_range = [IntegerRange(
            from_value=int(spec.minimum if spec.minimum is not None else -_INT64_MAX),
            to_value=int(spec.maximum if spec.maximum is not None else _INT64_MAX))]
    elif not spec.is_array:
        descriptor.floating_point_range = [FloatingPointRange(
            from_value=float(spec.minimum if spec.minimum is not None else -_FLOAT_MAX),
            to_value=float(spec.maximum if spec.maximum is not None else _FLOAT_MAX))]
    return descriptor
