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

"""Why a GPU's clocks are lowered: NVML's clock event reasons, and the time spent lowered."""

from __future__ import annotations

from typing import NamedTuple

from c7_inference_ros.thermal.nvml_library import Questions
from c7_inference_ros.thermal.state import Reading
from c7_inference_ros.thermal.throttle import MAX_COUNTER_GAP_NS

#: The second is the name before driver 535.
EVENT_REASONS = ('nvmlDeviceGetCurrentClocksEventReasons',
                 'nvmlDeviceGetCurrentClocksThrottleReasons')
VIOLATIONS, FIELDS = 'nvmlDeviceGetViolationStatus', 'nvmlDeviceGetFieldValues'
#: nvmlPerfPolicyType_t, and the field (NVML_FI_DEV_PERF_POLICY_...) that tells the same. The
#: fields of single reasons (NVML_FI_DEV_CLOCKS_EVENT_REASON_...) would tell more, but their
#: numbers changed between drivers: 251 was a switch of power smoothing, then the one, now neither.
POWER, THERMAL = 0, 1
POLICY_FIELDS = {POWER: 74, THERMAL: 75}

_IDLE = 0x1
_HW_SLOWDOWN, _HW_THERMAL, _HW_POWER_BRAKE = 0x8, 0x40, 0x80


class _Bit(NamedTuple):
    mask: int
    name: str
    is_heat: bool
    text: str  # empty: a setting, shown as a flag only


_BITS = (
    _Bit(0x20, 'sw_thermal_slowdown', True,
         'the driver lowers the clocks of {gpu}: it or its memory is too hot'),
    _Bit(_HW_THERMAL, 'hw_thermal_slowdown', True,
         'the hardware cut the clocks of {gpu} to half or less: it is too hot'),
    _Bit(_HW_SLOWDOWN, 'hw_slowdown', False,
         'the hardware cut the clocks of {gpu} to half or less, for heat, a power brake or too'
         ' much power: NVML does not say which'),
    _Bit(_HW_POWER_BRAKE, 'hw_power_brake_slowdown', False,
         'an external power brake cut the clocks of {gpu} to half or less; look at its supply'),
    _Bit(0x4, 'sw_power_cap', False, 'the power limit of {gpu} holds its clocks down'),
    _Bit(0x10, 'sync_boost', False, 'a slower GPU of its sync boost group holds {gpu} down'),
    _Bit(0x200, 'board_limit', False, 'the board limit of {gpu} holds its clocks down'),
    _Bit(0x400, 'reliability_limit', False,
         'the reliability limit of {gpu} holds its clocks down'),
    _Bit(0x2, 'application_clocks', False, ''),
    _Bit(0x100, 'display_clock', False, ''))
_KNOWN = _IDLE | sum(bit.mask for bit in _BITS)
#: What a glance looks at. The power cap is left out: on a busy GPU it comes and goes many times a
#: second, and each change would be a poll.
_SIGNS = (0x20, _HW_THERMAL, _HW_SLOWDOWN, _HW_POWER_BRAKE)


class Slowdown(NamedTuple):
    """
    What slows a GPU.

    :param is_known: whether the driver tells at all.
    :param flags: by name, True while set.
    :param heat: one sentence for each reason that is heat.
    :param warnings: one sentence for each reason that is not, or need not be.
    """

    is_known: bool
    flags: dict[str, Reading[bool]]
    heat: list[str]
    warnings: list[str]

    @property
    def is_capped(self) -> bool:
        """Return whether the power limit holds the clocks down now."""
        return 'sw_power_cap' in self.flags and self.flags['sw_power_cap'].value


def signs(mask: int) -> list[str]:
    """Return the names of the reasons that a poll at once is worth."""
    return [bit.name for bit in _BITS if bit.mask in _SIGNS and mask & bit.mask]


def read_slowdown(questions: Questions, gpu: str, is_at_limit: bool) -> Slowdown:
    """
    Return why the clocks of a GPU are lowered now.

    :param gpu: its name, for the sentences.
    :param is_at_limit: whether it is at or above the temperature at which it slows itself down.
    """
    mask = questions.ask(*EVENT_REASONS)
    if mask is None:
        return Slowdown(False, {}, [], [])
    flags = {}
    heat: list[str] = []
    warnings: list[str] = []
    for bit in _BITS:
        is_set = bool(mask & bit.mask)
        flags[bit.name] = Reading(is_set, EVENT_REASONS[0])
        if not is_set or not bit.text:
            continue
        if bit.mask == _HW_SLOWDOWN:
            if mask & (_HW_THERMAL | _HW_POWER_BRAKE):
                continue  # which of them it is has its own sentence
            if is_at_limit:  # older GPUs have no bit for heat alone
                heat.append(f'the hardware cut the clocks of {gpu} to half or less, and it is at'
                            ' the temperature at which it does so')
                continue
        (heat if bit.is_heat else warnings).append(bit.text.format(gpu=gpu))
    unknown = mask & ~_KNOWN
    if unknown:
        flags[f'reason_{unknown:#x}'] = Reading(True, EVENT_REASONS[0])
        warnings.append(f'the clocks of {gpu} are lowered for a reason newer than this program'
                        f' ({unknown:#x})')
    return Slowdown(True, flags, heat, warnings)


class ViolationTimes:
    """How long a GPU was held below its clocks since the last poll, by power and by heat."""

    def __init__(self) -> None:
        """Start without a baseline: the first poll only sets one."""
        self._last: dict[tuple[int, str], tuple[int, int, int]] = {}

    def read(self, questions: Questions, now_ns: int) -> dict[int, tuple[float, float]]:
        """
        Return what rose since the last poll.

        A counter that jumps back was reset with the driver: it starts anew, as does everything
        after a pause of more than 30 s.

        :param now_ns: the monotonic clock now, nanoseconds.
        :returns: POWER, THERMAL to milliseconds held down, and milliseconds since the last poll.
        """
        rises = {}
        for key, (violation_ns, reference_us) in _counters(questions).items():
            last = self._last.get(key)
            self._last[key] = (violation_ns, reference_us, now_ns)
            if last is None or now_ns - last[2] > MAX_COUNTER_GAP_NS:
                continue
            rise_ns = violation_ns - last[0]
            # The driver's clock says when it counted, also when the call before this one hung.
            elapsed_ns = max(now_ns - last[2], (reference_us - last[1]) * 1000)
            if rise_ns > 2 * elapsed_ns + 1_000_000_000:
                questions.faults.append(
                    f'{key[1]}({key[0]}) rose by {rise_ns / 1e9:.1f} s in'
                    f' {elapsed_ns / 1e9:.1f} s; it is ignored')
            elif rise_ns > 0:
                rises[key[0]] = (rise_ns / 1e6, elapsed_ns / 1e6)
        return rises


def _counters(questions: Questions) -> dict[tuple[int, str], tuple[int, int]]:
    """Return (policy, where from) to violation time (ns) and the time it is of (us)."""
    counters = {}
    for policy in POLICY_FIELDS:
        status = questions.ask(VIOLATIONS, about=(policy,))
        if status is not None:
            counters[policy, VIOLATIONS] = (int(status.violationTime), int(status.referenceTime))
    if not counters:  # VIOLATIONS goes with CUDA 14
        found = questions.fields(*POLICY_FIELDS.values())
        for policy, field in POLICY_FIELDS.items():
            if field in found:
                counters[policy, FIELDS] = found[field]
    # All ones and the like are no time.
    return {key: counter for key, counter in counters.items() if 0 <= counter[0] < 1 << 62}
