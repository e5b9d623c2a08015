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

"""Writes sysfs trees laid out as the kernel does: devices, and class folders full of links."""

import os

from c7_inference_ros.thermal.sysfs import read_attribute


class SysfsTree:
    """
    A sysfs under construction.

    Millidegrees and kHz everywhere, as in the kernel. Each method may be called again to change
    what it wrote.
    """

    def __init__(self, root):
        """Make what every Linux has: a CPU, the empty thermal class, no sensor."""
        self.root = root
        self.write('devices/system/cpu/online', '0-3')
        (root / 'class/thermal').mkdir(parents=True, exist_ok=True)

    def write(self, relative, content):
        """Write one attribute; bytes are written as they are, the rest ends its line."""
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else f'{content}\n'.encode())

    def link(self, relative, target):
        """
        Make a relative symbolic link; both are paths below the root.

        As in sysfs, the target's own name always ends the link.
        """
        path, target = self.root / relative, self.root / target
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_symlink():
            path.symlink_to(f'{os.path.relpath(target.parent, path.parent)}/{target.name}')

    def zone(self, index, kind, temp, trips=(), mode='enabled', bindings=()):
        """
        Write a thermal zone.

        :param trips: (type, millidegrees) of each trip point.
        :param bindings: (cooling device index, trip point) of each bound cooling device.
        """
        device = f'devices/virtual/thermal/thermal_zone{index}'
        for name, value in (('type', kind), ('temp', temp), ('mode', mode)):
            if value is not None:
                self.write(f'{device}/{name}', value)
        for number, (word, millidegrees) in enumerate(trips):
            self.write(f'{device}/trip_point_{number}_type', word)
            self.write(f'{device}/trip_point_{number}_temp', millidegrees)
        for number, (cooling, trip) in enumerate(bindings):
            self.link(f'{device}/cdev{number}', f'devices/virtual/thermal/cooling_device{cooling}')
            self.write(f'{device}/cdev{number}_trip_point', trip)
        self.link(f'class/thermal/thermal_zone{index}', device)

    def temperature(self, index, temp):
        """Change the temperature of a zone."""
        self.write(f'class/thermal/thermal_zone{index}/temp', temp)

    def cooling(self, index, kind, state, most=10):
        """Write a cooling device."""
        device = f'devices/virtual/thermal/cooling_device{index}'
        self.write(f'{device}/type', kind)
        self.write(f'{device}/cur_state', state)
        self.write(f'{device}/max_state', most)
        self.link(f'class/thermal/cooling_device{index}', device)

    def chip(self, index, name, device, temps):
        """
        Write a hwmon chip.

        :param device: the folder of the device behind it, None for a chip without one.
        :param temps: number to the attributes of that input: ``{1: {'input': 45000}}``.
        """
        parent = device or 'devices/virtual'
        folder = f'{parent}/hwmon/hwmon{index}'
        self.write(f'{folder}/name', name)
        for number, attributes in temps.items():
            for attribute, value in attributes.items():
                self.write(f'{folder}/temp{number}_{attribute}', value)
        if device:
            self.link(f'{folder}/device', device)
        self.link(f'class/hwmon/hwmon{index}', folder)

    def cpu(self, index, core=None, package=None, khz=None):
        """Write one CPU's throttle counters and clock."""
        folder = f'devices/system/cpu/cpu{index}'
        for name, value in (('thermal_throttle/core_throttle_count', core),
                            ('thermal_throttle/package_throttle_count', package),
                            ('cpufreq/scaling_cur_freq', khz)):
            if value is not None:
                self.write(f'{folder}/{name}', value)


def laptop(tree):
    """Write an Intel laptop: 45 C, idle fan, radio asleep, four CPUs."""
    for index in range(4):
        tree.cooling(index, 'Processor', 0)
        tree.cpu(index, core=3, package=7, khz=800_000 + index * 400_000)
    tree.cooling(4, 'Fan', 1, most=1)
    tree.cooling(5, 'intel_powerclamp', -1, most=100)
    tree.cooling(6, 'TCC Offset', 5, most=63)
    tree.zone(0, 'acpitz', 45000, mode='enabled',
              trips=[('critical', 103000), ('passive', 95000), ('active', 55000)],
              bindings=[(0, 1), (1, 1), (2, 1), (3, 1), (4, 2)])
    tree.zone(1, 'x86_pkg_temp', 47000, trips=[('passive', 0), ('passive', -274000)])
    tree.zone(2, 'iwlwifi_1', 40000, trips=[('passive', 110000)])
    tree.chip(0, 'acpitz', 'devices/virtual/thermal/thermal_zone0', {1: {'input': 45000}})
    tree.chip(1, 'nvme', 'devices/pci0000:00/0000:01:00.0/nvme/nvme0', {
        1: {'label': 'Composite', 'input': 38850, 'max': 83850, 'crit': 87850},
        2: {'label': 'Sensor 1', 'input': 39850, 'max': 65261850}})
    tree.chip(2, 'coretemp', 'devices/platform/coretemp.0', {
        1: {'label': 'Package id 0', 'input': 47000, 'max': 100000, 'crit': 100000},
        2: {'label': 'Core 0', 'input': 46000, 'max': 100000, 'crit': 100000},
        3: {'label': 'Core 1', 'input': 44000, 'max': 100000, 'crit': 100000}})
    tree.chip(3, 'iwlwifi_1', 'devices/virtual/thermal/thermal_zone2', {1: {'input': 40000}})
    return tree


class FaultyReader:
    """
    Reads files, except those whose path ends as told: these fail with an errno.

    Needed because a file in a tree cannot answer ENODATA, and because root may read everything.
    """

    def __init__(self, failing=None):
        """Take a mapping of path ending to errno; it may be changed later."""
        self.failing = dict(failing or {})

    def __call__(self, path):
        """Return the bytes, or raise what the kernel would."""
        for ending, code in self.failing.items():
            if path.endswith(ending):
                raise OSError(code, os.strerror(code), path)
        return read_attribute(path)
