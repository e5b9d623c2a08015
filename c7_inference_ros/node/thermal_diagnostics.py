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
What the node says of heat on /diagnostics: one status for each device, and one for what is shed.

Levels come from the limits that the hardware itself names. Without telemetry the level is STALE,
whatever another device says: unknown is not cool.
"""

from __future__ import annotations

from typing import Any
from typing import Iterator
from typing import Mapping

from c7_inference_ros.node.diagnostics import ERROR
from c7_inference_ros.node.diagnostics import Finding
from c7_inference_ros.node.diagnostics import make_status
from c7_inference_ros.node.diagnostics import STALE
from c7_inference_ros.node.diagnostics import WARN
from c7_inference_ros.pipeline.load_shedder import SHED
from c7_inference_ros.pipeline.load_shedder import SheddingStatus
from c7_inference_ros.thermal.heat import Heat
from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import Reading
from c7_inference_ros.thermal.state import ZoneReading
from diagnostic_msgs.msg import DiagnosticStatus

#: Field of a device state to the pattern of its keys.
_READINGS = (('clocks_mhz', 'clock.{}_mhz'), ('load', 'load.{}'), ('power_w', 'power.{}_w'),
             ('throttle_flags', 'throttle.{}'), ('over_current_events', 'over_current.{}'),
             ('over_current_totals', 'over_current_total.{}'), ('settings', 'setting.{}'))


def temperature_status(name: str, hardware_id: str, device: DeviceState,
                       now_ns: int) -> DiagnosticStatus:
    """
    Say how hot one device is.

    :param hardware_id: identity of the machine, for a device that has none of its own.
    :param now_ns: the monotonic clock of the thermal publisher, nanoseconds.
    """
    hottest = device.hottest
    values: dict[str, object] = {
        'telemetry_available': device.is_telemetry_available,
        'hottest_zone': hottest.name if hottest else '',
        'hottest_c': hottest.temperature_c if hottest else '',
        'throttling': device.is_throttling,
        'throttle_reasons': '; '.join(device.throttle_reasons),
        'warnings': '; '.join(device.warnings),
        'model': device.model, 'source': device.source, 'age_s': device.age_s(now_ns),
        'faults': '; '.join(device.faults)}
    origins: dict[str, object] = {}
    for zone in device.zones:
        values[f'zone.{zone.name}_c'] = zone.temperature_c
        origins[f'from.zone.{zone.name}_c'] = zone.source
    for zone in device.zones:
        values.update(_limits(zone))
    for field, pattern in _READINGS:
        readings: Mapping[str, Reading[Any]] = getattr(device, field)
        for key, reading in readings.items():
            values[pattern.format(key)] = reading.value
            origins[f'from.{pattern.format(key)}'] = reading.source
    return make_status(name, device.hardware_id or hardware_id, _findings(device),
                       {**values, **origins},
                       f'{hottest.temperature_c:.1f} C at {hottest.name}' if hottest else '')


def shedding_status(name: str, hardware_id: str, status: SheddingStatus) -> DiagnosticStatus:
    """Say what is shed because of heat, and why; a policy that cannot act is a warning."""
    step = status.step
    findings: list[Finding] = []
    if step.level:
        findings.append((WARN, f'step {step.level} of {status.levels}, {step.description}: '
                               f'{status.reason}'))
    elif status.policy == SHED and status.heat is Heat.UNKNOWN:
        findings.append((WARN, f'nothing can be shed in time, the heat is unknown: '
                               f'{status.reason}'))
    if status.policy == SHED and status.why_empty:
        findings.append((WARN, f'nothing can be shed whatever the heat: {status.why_empty}'))
    return make_status(name, hardware_id, findings, {
        'policy': status.policy, 'step': step.description, 'level': step.level,
        'levels': status.levels, 'heat': status.heat.value, 'reason': status.reason,
        'max_rate_hz': '' if step.max_rate_hz is None else step.max_rate_hz,
        'skipped_models': ', '.join(sorted(step.skipped_models)), 'paused': step.is_paused,
        'active': status.is_active, 'seconds_in_step': status.since_s,
        'steps_taken': status.steps_taken,
    }, f'{step.description}, policy {status.policy}, {status.heat.value}')


def _findings(device: DeviceState) -> Iterator[Finding]:
    if not device.is_telemetry_available:
        yield STALE, 'no temperature is known: ' + '; '.join(device.faults)
    elif device.is_throttling:
        yield ERROR, f'{device.name} throttles: ' + '; '.join(device.throttle_reasons)
    elif not device.zones:
        yield STALE, 'no temperature is known: ' + (
            '; '.join(device.faults) or f'{device.name} shows none')
    for zone in device.zones:
        if zone.critical_c is not None and zone.temperature_c >= zone.critical_c:
            yield ERROR, (f'{zone.name} is at {zone.temperature_c:.1f} C, critical is '
                          f'{zone.critical_c:.1f} C')
        elif zone.warn_c is not None and zone.temperature_c >= zone.warn_c:
            yield WARN, (f'{zone.name} is at {zone.temperature_c:.1f} C, the limit is '
                         f'{zone.warn_c:.1f} C')
    for warning in device.warnings:
        yield WARN, warning


def _limits(zone: ZoneReading) -> dict[str, object]:
    limits = {'warn': zone.warn_c, 'throttle': zone.throttle_c, 'critical': zone.critical_c}
    return {f'limit.{zone.name}.{word}_c': limit for word, limit in limits.items()
            if limit is not None}
