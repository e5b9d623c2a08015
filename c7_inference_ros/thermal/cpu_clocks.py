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

"""How fast the processors of a Linux machine run, and may run."""

from __future__ import annotations

import errno

from c7_inference_ros.thermal.state import Reading
from c7_inference_ros.thermal.sysfs import SysfsReader

CPUS = 'devices/system/cpu'
# What cpufreq answers for a policy whose CPUs are all offline, as a power mode leaves them.
_OFFLINE_ERRNOS = frozenset({errno.EBUSY})
_MAX_KHZ = 20_000_000


def cpu_clocks(sysfs: SysfsReader) -> dict[str, Reading[float]]:
    """
    Return the clocks of the CPUs in MHz, those that the machine tells.

    :returns: ``cpu``, the fastest now; ``cpu_mean``, the mean now over clock domains; ``cpu_max``,
        what the fastest may run at now: the power mode, the governor and heat all lower it.
    """
    folders, pattern = _domains(sysfs)
    now = _khz(sysfs, folders, 'scaling_cur_freq')
    limits = _khz(sysfs, folders, 'scaling_max_freq')
    clocks = {}
    if now:
        source = f'{pattern}/scaling_cur_freq'
        clocks['cpu'] = Reading(max(now) / 1000.0, source)
        clocks['cpu_mean'] = Reading(sum(now) / len(now) / 1000.0, source)
    if limits:
        clocks['cpu_max'] = Reading(max(limits) / 1000.0, f'{pattern}/scaling_max_freq')
    return clocks


def cpu_governor(sysfs: SysfsReader) -> dict[str, Reading[str]]:
    """Return ``cpu_governor``: the policy that picks the clocks, several joined by a comma."""
    folders, pattern = _domains(sysfs)
    faults_before = len(sysfs.faults)
    found = [sysfs.text(f'{folder}/scaling_governor', off_errnos=_OFFLINE_ERRNOS)
             for folder in folders]
    sysfs.summarise_faults(faults_before)
    names = sorted({name for name in found if name and name.isprintable() and len(name) < 32})
    if not names:
        return {}
    return {'cpu_governor': Reading(', '.join(names), f'{pattern}/scaling_governor')}


def _domains(sysfs: SysfsReader) -> tuple[list[str], str]:
    """Return the folders of the clock domains and the pattern that they follow."""
    policies = sysfs.numbered(f'{CPUS}/cpufreq', 'policy')
    if policies:
        return ([f'{CPUS}/cpufreq/{policy}' for policy in policies], f'{CPUS}/cpufreq/policy*')
    return ([f'{CPUS}/{cpu}/cpufreq' for cpu in sysfs.numbered(CPUS, 'cpu')],
            f'{CPUS}/cpu*/cpufreq')


def _khz(sysfs: SysfsReader, folders: list[str], attribute: str) -> list[int]:
    faults_before = len(sysfs.faults)
    values = []
    for folder in folders:
        value = sysfs.integer(f'{folder}/{attribute}', off_errnos=_OFFLINE_ERRNOS)
        if value is not None and not 0 <= value <= _MAX_KHZ:
            sysfs.faults.append(f'{folder}/{attribute} says {value} kHz, expected 0 to {_MAX_KHZ};'
                                ' it is ignored')
        elif value:
            values.append(value)
    sysfs.summarise_faults(faults_before)
    return values
