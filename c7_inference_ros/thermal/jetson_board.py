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

"""How a Jetson is told from every other board, also where a container hides half of it."""

from __future__ import annotations

import re

from c7_inference_ros.thermal.jetson_clocks import gpu_folders
from c7_inference_ros.thermal.sysfs import SysfsReader
from c7_inference_ros.thermal.throttle import COOLING
from c7_inference_ros.thermal.zones import zone_types

DEVICE_TREE = 'firmware/devicetree/base'
#: The junction temperature that the firmware of a Tegra computes; other chips have no such zone.
JUNCTION_ZONE = 'tj-thermal'

_MAX_MODEL = 128


def is_throttle_alert(kind: str | None) -> bool:
    """Return whether a cooling device of this type tells that a Tegra block is slowed by heat."""
    return kind is not None and kind.endswith('-throttle-alert')


def absence(sysfs: SysfsReader) -> str:
    """Return why this machine is not a Jetson, one sentence; empty when it is one."""
    compatible = sysfs.strings(f'{DEVICE_TREE}/compatible')
    if any(re.match(r'nvidia,tegra[0-9]', name) for name in compatible):
        return ''
    if compatible:
        return (f'{DEVICE_TREE}/compatible names {compatible[-1][:64]!r}, expected nvidia,tegra'
                ' and a number')
    # Containers mask /sys/firmware. A GPU with a clock and a zone called gpu-thermal are found on
    # boards of many makers; the junction zone and the throttle alerts are not.
    has_junction = JUNCTION_ZONE in zone_types(sysfs)
    has_alert = has_junction or any(
        is_throttle_alert(sysfs.label(f'{COOLING}/{device}/type'))
        for device in sysfs.numbered(COOLING, 'cooling_device'))
    if not has_alert:
        return (f'no {DEVICE_TREE}/compatible, no zone {JUNCTION_ZONE} and no *-throttle-alert'
                ' below class/thermal')
    if not gpu_folders(sysfs):
        return f'no {DEVICE_TREE}/compatible and no GPU below class/devfreq'
    return ''


def model(sysfs: SysfsReader) -> str:
    """Return what the board calls itself, empty when it does not."""
    return _property(sysfs, 'model')


def serial_number(sysfs: SysfsReader) -> str:
    """Return the serial number of the module, empty when it is not shown."""
    return _property(sysfs, 'serial-number')


def _property(sysfs: SysfsReader, name: str) -> str:
    found = sysfs.strings(f'{DEVICE_TREE}/{name}')
    return found[0][:_MAX_MODEL] if found and found[0].isprintable() else ''
