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

"""Whether a machine may begin to work, as hot as it is."""

from __future__ import annotations

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.parameter_groups import ThermalConfig
from c7_inference_ros.pipeline.load_shedder import SHED
from c7_inference_ros.thermal.state import ThermalState


def check_heat(state: ThermalState, config: ThermalConfig, why_empty: str = '') -> tuple[str, ...]:
    """
    Return what has to be said about heat when the node is activated, one line each.

    :param state: the heat at this moment.
    :param why_empty: why nothing can be shed; empty when something can.
    :raises ConfigurationError: it throttles, and ``thermal.allow_throttled_activation`` is false.
    """
    hot = ' and '.join(
        f'{device.name} throttles because of heat ({"; ".join(device.throttle_reasons)})'
        for device in state.devices if device.is_throttling)
    if hot and not config.allow_throttled_activation:
        raise ConfigurationError(
            f'{hot} and thermal.allow_throttled_activation is false; let it cool or lower its'
            f' power mode and activate again, or set the parameter to true')
    warnings = []
    if hot:
        warnings.append(f'activating while {hot}: inference takes longer than it should')
    unknown = ' and '.join(device.name for device in state.devices
                           if not device.is_telemetry_available)
    if unknown and not config.allow_throttled_activation:
        warnings.append(
            f'activating without knowing whether {unknown} throttles:'
            f' thermal.allow_throttled_activation is false, but no temperature is known:'
            f' {"; ".join(state.faults)}')
    if unknown and config.policy == SHED:
        warnings.append(
            f'activating with thermal.policy shed, but no temperature of {unknown} is known:'
            f' load will not be shed before it throttles ({"; ".join(state.faults)})')
    if config.policy == SHED and why_empty:
        warnings.append(f'activating with thermal.policy shed, but nothing can be shed:'
                        f' {why_empty}')
    return tuple(warnings)
