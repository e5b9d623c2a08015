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

"""Power rails of a Jetson: the INA3221 and INA238 monitors on module and carrier board."""

from __future__ import annotations

import errno
import re
from typing import NamedTuple

from c7_inference_ros.thermal.state import Reading
from c7_inference_ros.thermal.sysfs import SysfsReader
from c7_inference_ros.thermal.sysfs import UniqueNames

# Only channels with a label and a current are rails. The rest of an INA3221 are shunt voltages
# and their sum, which would count the same current twice.
_LABEL = re.compile(r'in([0-9]+)_label')
_NOT_A_RAIL = re.compile(r'NC|.*\bshunt\b.*', re.IGNORECASE)
# What a channel answers that was switched off.
_OFF_ERRNOS = frozenset({errno.ENODATA})
_MAX_W = 2000.0
_ALARMS = (('crit', 'critical'), ('max', 'warning'))


class Rails(NamedTuple):
    """
    What the power monitors say now.

    :param power_w: rail name to watts; slightly negative where a monitor's offset says so.
    :param warnings: one sentence for each current or power alarm that is set.
    """

    power_w: dict[str, Reading[float]]
    warnings: list[str]


def read_rails(sysfs: SysfsReader, chips: list[tuple[str, str]]) -> Rails:
    """
    Return the rails that can be read.

    :param chips: (name, folder) of every hwmon chip.
    """
    rails = Rails({}, [])
    names = UniqueNames()
    faults_before = len(sysfs.faults)
    for chip, folder in chips:
        if chip == 'ina3221':
            _read_ina3221(sysfs, folder, names, rails)
        elif chip == 'ina238':
            _read_ina238(sysfs, folder, names, rails)
    sysfs.summarise_faults(faults_before)
    return rails


def _read_ina3221(sysfs: SysfsReader, folder: str, names: UniqueNames, rails: Rails) -> None:
    entries = sysfs.names(folder, constant=True)
    for number in sorted(int(match[1]) for match in map(_LABEL.fullmatch, entries) if match):
        label = sysfs.label(f'{folder}/in{number}_label')
        current = f'curr{number}_input'
        if label is None or _NOT_A_RAIL.fullmatch(label) or current not in entries:
            continue
        name = names.take(label)
        if sysfs.integer(f'{folder}/in{number}_enable', constant=True) == 0:
            continue
        millivolts = sysfs.integer(f'{folder}/in{number}_input', required=True,
                                   off_errnos=_OFF_ERRNOS)
        milliamperes = sysfs.integer(f'{folder}/{current}', required=True, off_errnos=_OFF_ERRNOS)
        if millivolts is not None and milliamperes is not None:
            _keep(sysfs, rails, name, millivolts * milliamperes / 1e6, f'{folder}/{current}')
        for kind, word in _ALARMS:
            _warn(sysfs, rails, name, f'{folder}/curr{number}_{kind}', 'current', word, 1e3, 'A')


def _read_ina238(sysfs: SysfsReader, folder: str, names: UniqueNames, rails: Rails) -> None:
    labels = (sysfs.label(f'{folder}/{name}') for name in ('label', 'power1_label', 'in1_label'))
    name = names.take(next(filter(None, labels), 'ina238'))
    microwatts = sysfs.integer(f'{folder}/power1_input', required=True)
    if microwatts is not None:
        _keep(sysfs, rails, name, microwatts / 1e6, f'{folder}/power1_input')
    _warn(sysfs, rails, name, f'{folder}/power1_max', 'power', 'warning', 1e6, 'W')


def _keep(sysfs: SysfsReader, rails: Rails, name: str, watts: float, relative: str) -> None:
    if abs(watts) > _MAX_W:
        sysfs.faults.append(f'{relative} ({name}) makes {watts:.0f} W, expected at most'
                            f' {_MAX_W:.0f} W; it is ignored')
        return
    rails.power_w[name] = Reading(watts, relative)


def _warn(sysfs: SysfsReader, rails: Rails, name: str, stem: str, quantity: str, word: str,
          unit: float, symbol: str) -> None:
    """Add a sentence when the alarm beside a limit is set."""
    alarm = f'{stem}_alarm'
    if sysfs.integer(alarm) != 1:
        return
    limit = sysfs.integer(stem, constant=True)
    of_limit = '' if limit is None else f' of {limit / unit:.1f} {symbol}'
    rails.warnings.append(f'{name}: {quantity} above the {word} limit{of_limit} ({alarm})')
