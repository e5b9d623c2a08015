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

"""What a machine's processors are set to, that how fast they compute depends on."""

from __future__ import annotations

from typing import Iterable

from c7_inference_ros.thermal.cpu_clocks import cpu_governor
from c7_inference_ros.thermal.cpu_clocks import CPUS
from c7_inference_ros.thermal.state import Reading
from c7_inference_ros.thermal.sysfs import OFF_ERRNOS
from c7_inference_ros.thermal.sysfs import SysfsReader

CPUFREQ = f'{CPUS}/cpufreq'
_MAX_TEXT = 64
#: File, what it holds while turbo is on. Intel's driver says the opposite of all others.
_TURBO = ((f'{CPUS}/intel_pstate/no_turbo', '0'), (f'{CPUFREQ}/boost', '1'))
_PER_POLICY = (('cpu_driver', 'scaling_driver'),
               ('cpu_energy_preference', 'energy_performance_preference'))


def read_cpu_settings(sysfs: SysfsReader) -> dict[str, Reading[str]]:
    """
    Return the settings that the machine shows, by name.

    :returns: ``cpu_online``, ``cpu_smt``, ``cpu_driver``, ``cpu_governor``,
        ``cpu_energy_preference`` and ``cpu_turbo``; several values are joined by a comma.
    """
    settings = {}
    online = _word(sysfs.text(f'{CPUS}/online'))
    if online:
        settings['cpu_online'] = Reading(online, f'{CPUS}/online')
    smt = sysfs.text(f'{CPUS}/smt/active')
    if smt in ('0', '1'):
        settings['cpu_smt'] = Reading('on' if smt == '1' else 'off', f'{CPUS}/smt/active')
    policies = sysfs.numbered(CPUFREQ, 'policy')
    for name, attribute in _PER_POLICY:
        faults_before = len(sysfs.faults)
        found = _joined(sysfs.text(f'{CPUFREQ}/{policy}/{attribute}', off_errnos=OFF_ERRNOS)
                        for policy in policies)
        sysfs.summarise_faults(faults_before)
        if found:
            settings[name] = Reading(found, f'{CPUFREQ}/policy*/{attribute}')
    settings.update(cpu_governor(sysfs))
    for relative, on in _TURBO:
        text = sysfs.text(relative)
        if text in ('0', '1'):
            settings['cpu_turbo'] = Reading('on' if text == on else 'off', relative)
            break
    return settings


def _joined(texts: Iterable[str | None]) -> str:
    return ', '.join(sorted({word for text in texts if (word := _word(text))}))


def _word(text: str | None) -> str:
    """Return one short printable line, empty for anything else."""
    return text if text and text.isprintable() and len(text) <= _MAX_TEXT else ''
