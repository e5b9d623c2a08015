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

"""Heat of the machine, and the mode that it runs in."""

from __future__ import annotations

from c7_inference_ros.parameter_groups import ThermalConfig
from c7_inference_ros.thermal.conditions import read_conditions
from c7_inference_ros.thermal.heat import Heat
from c7_inference_ros.thermal.heat import judge
from c7_inference_ros.thermal.publisher import ThermalStatePublisher
from c7_inference_ros.thermal.source_selection import select_source
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.tools.machine.board import Board
from c7_inference_ros.tools.machine.findings import Finding
from c7_inference_ros.tools.machine.findings import Verdict
from c7_inference_ros.tools.machine.remedies import Remedies

SECTION = 'Heat and power'
_FIRST_POLL_S = 3.0


def read_heat(sysfs_root: str) -> tuple[ThermalState, str]:
    """Return the thermal state now, and the sentence that says who told it."""
    reasons: list[str] = []
    source = select_source(sysfs_root, on_reason=reasons.append)
    # In a thread of its own, as in the node: a sensor that hangs holds nothing up here.
    publisher = ThermalStatePublisher(source, log=lambda text: None)
    publisher.start()
    try:
        publisher.wait_for_first_poll(_FIRST_POLL_S)
        return publisher.snapshot(), ' '.join(reasons)
    finally:
        publisher.stop()


def heat_findings(state: ThermalState, reason: str, sysfs_root: str, board: Board,
                  remedies: Remedies, config: ThermalConfig | None = None) -> list[Finding]:
    """
    Return the lines about heat.

    :param config: the margins that heat is judged by; the defaults when None.
    """
    config = config or ThermalConfig()
    conditions = read_conditions(state, sysfs_root)
    found = [_source(state, reason, board)]
    if state.is_telemetry_available:
        found.append(_heat(state, config))
    if board.is_jetson:
        found.append(_power_mode(state, remedies))
    for number, line in enumerate(conditions.lines()):
        name, _, text = line.partition(': ')
        is_known = not text.startswith('unknown')
        found.append(Finding(
            SECTION, name, Verdict.OK if is_known else Verdict.UNKNOWN, text,
            values={} if number else {'conditions': conditions.as_dict()}))
    return found


def _source(state: ThermalState, reason: str, board: Board) -> Finding:
    values = {'source': state.source, 'devices': [device.name for device in state.devices],
              'is_telemetry_available': state.is_telemetry_available,
              'faults': list(state.faults)}
    if state.is_telemetry_available:
        return Finding(SECTION, 'source', Verdict.OK, reason, values=values)
    lost = [device for device in state.devices if not device.is_telemetry_available]
    text = '; '.join(fault for device in lost for fault in device.faults[:1]) or reason
    advice = 'throttling would not be seen, and load never be shed before it'
    commands: tuple[str, ...] = ()
    if board.container:
        advice += '; give the container the sensors of the host'
        commands = ('docker run -v /sys:/sys:ro ...',)
    return Finding(SECTION, 'source', Verdict.UNKNOWN, text, advice, commands, values=values)


def _heat(state: ThermalState, config: ThermalConfig) -> Finding:
    verdict = judge(state, config.shed_margin, config.recover_margin)
    values = {'heat': verdict.heat.value, 'reason': verdict.reason,
              'is_throttling': state.is_throttling,
              'hottest_c': state.hottest.temperature_c if state.hottest else None}
    meaning = {Heat.COOL: Verdict.OK, Heat.WARM: Verdict.OK, Heat.HOT: Verdict.WARN,
               Heat.UNKNOWN: Verdict.UNKNOWN}[verdict.heat]
    advice = ''
    if verdict.heat is Heat.HOT:
        advice = 'inference takes longer than it should; cool it, or choose a lower power mode'
    return Finding(SECTION, 'heat', meaning, f'{verdict.heat.value}: {verdict.reason}', advice,
                   values=values)


def _power_mode(state: ThermalState, remedies: Remedies) -> Finding:
    settings = {name: reading.value for device in state.devices
                for name, reading in device.settings.items()}
    mode, number = settings.get('power_mode'), settings.get('power_mode_id')
    values = {'power_mode': mode, 'power_mode_id': number}
    if mode is None and number is None:
        why = [fault for fault in state.faults if 'nvpmodel' in fault]
        return Finding(SECTION, 'power mode', Verdict.UNKNOWN,
                       why[0] if why else 'nothing tells it', commands=(
                           remedies.root('nvpmodel -q'),), values=values)
    return Finding(SECTION, 'power mode', Verdict.OK, f'{mode or "unnamed"} (number {number})',
                   values=values)
