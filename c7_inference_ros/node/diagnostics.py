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
What the node says of itself on /diagnostics, one pure function per status (REP-107).

Names are ``<node>: <part>``. OK is as expected, WARN may affect operation, ERROR cannot be relied
upon, STALE is not known. The keys of processing time are those of Autoware's perception nodes.
"""

from __future__ import annotations

from typing import Iterable
from typing import Mapping
from typing import Sequence

from c7_inference_ros.parameter_groups import DiagnosticsConfig
from c7_inference_ros.pipeline.accounting import AccountSnapshot
from c7_inference_ros.pipeline.accounting import DropReason
from c7_inference_ros.pipeline.statistics import STAGES
from c7_inference_ros.pipeline.statistics import StageStatistics
from c7_inference_ros.runtime.memory_budget import BudgetRow
from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_msgs.msg import KeyValue

OK = DiagnosticStatus.OK
WARN = DiagnosticStatus.WARN
ERROR = DiagnosticStatus.ERROR
STALE = DiagnosticStatus.STALE

#: (level, sentence)
Finding = tuple[bytes, str]


def make_status(name: str, hardware_id: str, findings: Iterable[Finding],
                values: Mapping[str, object], ok_message: str) -> DiagnosticStatus:
    """
    Return one status; its level is the worst finding and its message names them, worst first.

    :param values: value by key; booleans, numbers and strings.
    :param ok_message: message when there is no finding.
    """
    ordered = sorted(findings, key=lambda finding: finding[0], reverse=True)
    return DiagnosticStatus(
        level=ordered[0][0] if ordered else OK, name=name, hardware_id=hardware_id,
        message='; '.join(text for _, text in ordered) or ok_message,
        values=[KeyValue(key=key, value=_text(value)) for key, value in values.items()])


def lifecycle_status(name: str, hardware_id: str, state: str, runtime: str, version: str,
                     last_error: str, warnings: Sequence[str]) -> DiagnosticStatus:
    """
    Say which state the node is in, and why it is not further.

    :param last_error: why the last transition failed; empty when it did not.
    :param warnings: what works otherwise than it was asked for, such as a provider that did not
        load.
    """
    findings: list[Finding] = [(WARN, text) for text in warnings]
    if last_error:
        findings.append((ERROR, last_error))
    return make_status(name, hardware_id, findings, {
        'state': state, 'runtime': runtime, 'version': version, 'last_error': last_error}, state)


def camera_status(name: str, hardware_id: str, *, topic: str, transport: str, publishers: int,
                  is_active: bool, received: int, rate_in_hz: float, silent_s: float | None,
                  age_s: float | None, future_stamps: int, hint: str, problem: str,
                  limits: DiagnosticsConfig) -> DiagnosticStatus:
    """
    Say whether images of a camera arrive.

    :param silent_s: since the last image, or since activation while there was none.
    :param age_s: age of the last image when its turn came, by its stamp.
    :param hint: what may be wrong while nothing publishes the topic.
    :param problem: the last image that could not be used, and why; empty when the last was fine.
    """
    findings: list[Finding] = []
    if is_active and silent_s is not None and silent_s > limits.image_timeout:
        why = f'no image for {silent_s:.1f} s'
        if publishers == 0:
            why += f', nothing publishes {topic}{hint}'
        elif received == 0:
            why += f' from {publishers} publisher(s) of {topic}; compare their QoS and domain'
        findings.append((ERROR, why))
    if problem:
        findings.append((WARN, problem))
    if future_stamps:
        findings.append((WARN, f'{future_stamps} image stamps lay in the future; the clocks of '
                               f'camera and node differ'))
    return make_status(name, hardware_id, findings, {
        'topic': topic, 'transport': transport, 'publishers': publishers, 'received': received,
        'rate_in_hz': rate_in_hz,
        'seconds_since_last_image': '' if silent_s is None else silent_s,
        'age_of_last_image_s': '' if age_s is None else age_s,
        'future_stamps': future_stamps, 'last_problem': problem,
    }, f'{rate_in_hz:.1f} images/s' if is_active else 'not active')


def model_status(name: str, hardware_id: str, *, facts: Mapping[str, object], is_active: bool,
                 statistics: StageStatistics, accounts: Mapping[str, AccountSnapshot],
                 rate_in_hz: float, rate_out_hz: float, new_drops: Mapping[DropReason, int],
                 problem: str, limits: DiagnosticsConfig,
                 is_shed: bool = False) -> DiagnosticStatus:
    """
    Say how fast a model is and where its frames went.

    :param facts: what the model is: path, decoder, input.
    :param accounts: totals since the node started, by camera.
    :param new_drops: frames dropped in the last seconds, by reason.
    :param problem: why the last frame failed; empty when it did not.
    :param is_shed: whether it sees no image now because of heat; its last delay is then old news.
    """
    delay = statistics.delay.snapshot()
    is_delay_in_range = delay.consecutive_delay_s <= limits.max_acceptable_consecutive_delay
    findings: list[Finding] = []
    if is_shed:
        findings.append((WARN, 'sees no image, shed because of heat'))
    elif is_active and not is_delay_in_range:
        findings.append((ERROR, f'processing has been too slow for '
                                f'{delay.consecutive_delay_s:.1f} s'))
    elif is_active and not delay.is_processing_time_in_range:
        findings.append((WARN, f'processing took {(delay.processing_time_s or 0) * 1e3:.0f} ms, '
                               f'expected at most '
                               f'{limits.max_allowed_processing_time * 1e3:.0f} ms'))
    for reason, level in _DROP_LEVELS.items():
        if is_active and new_drops.get(reason):
            findings.append((level, f'{new_drops[reason]} frames dropped: {reason.value}'))
    if problem:
        findings.append((WARN, problem))
    unbalanced = sum(account.balance() for account in accounts.values())
    if unbalanced:
        findings.append((ERROR, f'{unbalanced} frames are not accounted for; this is a bug'))
    percentiles = statistics.percentiles()
    values: dict[str, object] = {
        **facts,
        'processing_time_ms': _ms(delay.processing_time_s),
        'is_processing_time_ms_in_expected_range': delay.is_processing_time_in_range,
        'consecutive_processing_delay_ms': _ms(delay.consecutive_delay_s),
        'is_consecutive_processing_delay_in_range': is_delay_in_range}
    for stage in STAGES:
        found = percentiles[stage]
        for label in ('p50', 'p95', 'p99'):
            values[f'{stage}_{label}_ms'] = _ms(found and getattr(found, label))
    values.update({'rate_in_hz': rate_in_hz, 'rate_out_hz': rate_out_hz,
                   **_account_values(accounts.values())})
    if len(accounts) > 1:
        for camera, account in accounts.items():
            values.update(_account_values([account], f'camera.{camera}.'))
    return make_status(name, hardware_id, findings, values,
                       f'{rate_out_hz:.1f} frames/s published' if is_active else 'not active')


def memory_status(name: str, hardware_id: str, values: Mapping[str, object],
                  findings: Iterable[Finding]) -> DiagnosticStatus:
    """Put what was predicted beside what was measured."""
    return make_status(name, hardware_id, findings, values, 'within the budget')


def account_values(rows: Iterable[BudgetRow]) -> dict[str, object]:
    """Return a memory account, one entry a model and place: ``account.<model>.<place>``."""
    values: dict[str, object] = {}
    for row in rows:
        parts = [f'predicted {row.predicted_bytes}']
        if row.measured_bytes is not None:
            parts.append(f'measured {row.measured_bytes}')
        if row.limit_bytes is not None:
            parts.append(f'budget {row.limit_bytes}')
        made_of = f' ({row.items})' if row.items else ''
        values[f'account.{row.name}.{row.place}'] = f'{", ".join(parts)} bytes{made_of}'
    return values


#: An overwritten frame is how a slot works, not a fault; the others lose what was asked for.
_DROP_LEVELS = {DropReason.STALE: ERROR, DropReason.BAD_ENCODING: ERROR,
                DropReason.BAD_IMAGE: WARN, DropReason.INFERENCE_ERROR: ERROR,
                DropReason.PUBLISH_ERROR: ERROR, DropReason.THERMAL: WARN}


def _account_values(accounts: Iterable[AccountSnapshot], prefix: str = '') -> dict[str, object]:
    accounts = list(accounts)
    values: dict[str, object] = {
        f'{prefix}received': sum(account.received for account in accounts),
        f'{prefix}published': sum(account.published for account in accounts),
        f'{prefix}in_flight': sum(account.in_flight for account in accounts)}
    for reason in DropReason:
        values[f'{prefix}dropped_{reason.value}'] = sum(
            account.dropped[reason] for account in accounts)
    return values


def _ms(seconds: float | None) -> object:
    return '' if seconds is None else seconds * 1e3


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'{value:.3f}' if isinstance(value, float) else str(value)
