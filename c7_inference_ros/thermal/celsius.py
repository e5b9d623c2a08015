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

"""Temperatures and limits as the kernel writes them: millidegrees, and what is no temperature."""

from __future__ import annotations

from c7_inference_ros.thermal.sysfs import SysfsReader

_MIN_C, _MAX_C = -40.0, 150.0
#: Sensors of seven bits and a sign show these when nothing is connected.
_SENTINEL_C = (127.0, 128.0)


def read_temperature(sysfs: SysfsReader, relative: str, name: str,
                     off_errnos: frozenset[int] = frozenset()) -> float | None:
    """
    Return degrees Celsius; None, with a fault, when there is no believable value.

    :param name: name of the sensor, for the fault.
    :param off_errnos: errors that are no fault: the sensor is switched off with its block.
    """
    faults_before = len(sysfs.faults)
    millidegrees = sysfs.integer(relative, required=True, off_errnos=off_errnos)
    if millidegrees is None:
        # The number in the path says nothing to anybody.
        sysfs.faults[faults_before:] = [f'{name}: {fault}'
                                        for fault in sysfs.faults[faults_before:]]
        return None
    celsius = millidegrees / 1000.0
    if not _MIN_C <= celsius <= _MAX_C or _SENTINEL_C[0] <= celsius < _SENTINEL_C[1]:
        sysfs.faults.append(
            f'{relative} ({name}) says {celsius:.1f} C, expected {_MIN_C:.0f} to {_MAX_C:.0f} C'
            f' and not the {_SENTINEL_C[0]:.0f} C of an unconnected sensor; it is ignored')
        return None
    return celsius


def read_limit(sysfs: SysfsReader, relative: str) -> float | None:
    """Return a limit in degrees Celsius; None when it is absent or switched off."""
    millidegrees = sysfs.integer(relative, constant=True)
    if millidegrees is None or not 0 < millidegrees <= _MAX_C * 1000.0:
        return None
    return millidegrees / 1000.0
