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

"""Plants the file systems of Jetson boards out of ``boards/*.txt``, and changes them."""

import errno
import itertools
import os
from pathlib import Path
import random

from board_files import read_board
from board_files import read_power_mode
from board_files import renumbered
from c7_inference_ros.thermal.sysfs import read_attribute

BOARDS = ('orin_agx', 'orin_nx', 'orin_nano', 'thor')

_GPU_CLOCKS = ('17000000.gpu', 'gpu-gpc-0')
#: Rails whose channel the device tree leaves out of the sum of shunt voltages.
_NOT_SUMMED = ('VIN_SYS_5V0',)
_CPUS = 'sys/devices/system/cpu'


def plant(board, root, *, shuffled=False):
    """
    Write a board below a root folder.

    :param board: one of ``BOARDS``.
    :param root: stands for ``/``; ``root/sys``, ``root/etc`` and ``root/var`` are made.
    :param shuffled: give zones, cooling devices and hwmon chips other numbers, as another boot
        may; bindings and links follow.
    """
    root = Path(root).resolve()
    entries = read_board(board)
    if shuffled:
        entries = renumbered(entries, random.Random(board))
    answers = {}
    for entry in entries:
        path = root / entry.path
        if entry.target is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(entry.target)
        elif entry.content is None and entry.error is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(entry.content or b'')
    for entry in entries:
        if entry.error is not None:
            answers[os.path.realpath(root / entry.path)] = getattr(errno, entry.error)
    return BoardTree(board, root, answers)


class BoardTree:
    """
    The file system of one board, which tests change as the kernel would.

    Every write replaces a whole file, so that a concurrent reader finds the old value or the new.

    :param board: its name.
    :param root: stands for ``/``.
    :param answers: errno by real path, for the files that the kernel answers with one.
    """

    def __init__(self, board, root, answers):
        """Look up what the setters need; nothing is written."""
        self.board = board
        self.root = root
        self.sysfs_root = root / 'sys'
        self._answers = answers
        self._faults = {}
        self._real = {}
        self._policies = {}
        self._writing = root / '.writing'
        self._writing.mkdir(exist_ok=True)
        self._serial = itertools.count()
        thermal = self.sysfs_root / 'class/thermal'
        self.zones = {self.text(folder / 'type'): folder for folder in thermal.iterdir()
                      if folder.name.startswith('thermal_zone')}
        self.cooling_devices = {self.text(folder / 'type'): folder for folder in thermal.iterdir()
                                if folder.name.startswith('cooling_device')}
        self.gpu_clock = next(folder for name in _GPU_CLOCKS
                              if (folder := self.sysfs_root / 'class/devfreq' / name).is_dir())
        self._rails = {
            self.text(path): (path.parent, path.name[len('in'):-len('_label')])
            for path in sorted((self.sysfs_root / 'class/hwmon').glob('hwmon*/in*_label'))
            if (path.parent / path.name.replace('in', 'curr').replace('label', 'input')).exists()}
        clocks = [*(self.sysfs_root / 'class/devfreq').iterdir(),
                  *(self.root / _CPUS / 'cpufreq').iterdir()]
        #: By folder of a clock: what the power mode allows, in the unit of its files.
        self._allowed = {folder: self.integer(folder / _names(folder)[1]) for folder in clocks}

    # Reading

    def read_bytes(self, path):
        """Return what the kernel answers to reading a file; the signature of read_attribute."""
        real = self._resolve(path)
        code = self._faults.get(real, self._answers.get(real))
        if code is not None:
            raise OSError(code, os.strerror(code), path)
        return read_attribute(path)

    def _resolve(self, path):
        real = self._real.get(path)
        if real is None:
            real = self._real[path] = os.path.realpath(path)
        return real

    def text(self, path):
        """Return the text of a file, below the root or absolute, whatever it answers."""
        return (self.root / path).read_text(encoding='ascii').strip()

    def integer(self, path):
        """Return the whole number in a file."""
        return int(self.text(path))

    def hwmon(self, name):
        """Return the folders of the hwmon chips of a name, in the order of their numbers."""
        chips = (self.sysfs_root / 'class/hwmon').iterdir()
        return sorted((chip for chip in chips if self.text(chip / 'name') == name),
                      key=lambda chip: int(chip.name[len('hwmon'):]))

    def is_readable(self, path):
        """Return whether reading a file, below the root or absolute, gives something."""
        try:
            return bool(self.read_bytes(str(self.root / path)))
        except OSError:
            return False

    def gpu_frequencies(self):
        """Return every frequency that the GPU has, in rising order, hertz."""
        return sorted(map(int, self.text(self.gpu_clock / 'available_frequencies').split()))

    def cpu_mhz(self):
        """Return the highest frequency of any CPU now."""
        return max(self.integer(policy / 'scaling_cur_freq')
                   for policy in (self.root / _CPUS / 'cpufreq').iterdir()) / 1000

    def rails(self):
        """Return (volts, amperes) of every power rail, by label."""
        return {label: (self.integer(chip / f'in{channel}_input') / 1000,
                        self.integer(chip / f'curr{channel}_input') / 1000)
                for label, (chip, channel) in self._rails.items()}

    def over_current(self):
        """Return the events of over-current since boot, by counter."""
        chip = self.hwmon('soctherm_oc')[0]
        return {path.name[:3]: self.integer(path) for path in chip.glob('oc*_event_cnt')}

    # Writing

    def write(self, path, value):
        """
        Replace the content of a file at once; it may be reached through links.

        :param path: below the root, or absolute.
        :param value: text or a number, which get an end of line; bytes are written as they are.
        """
        content = value if isinstance(value, bytes) else f'{value}\n'.encode()
        target = self._resolve(self.root / path)
        if Path(target).read_bytes() == content:
            return
        new = self._writing / str(next(self._serial))
        new.write_bytes(content)
        os.replace(new, target)

    def set_temperature(self, zone_type, celsius):
        """Set one zone; a block that was off has to be on to have a temperature."""
        self.power(zone_type, True)
        self.write(self.zones[zone_type] / 'temp', round(celsius * 1000))

    def set_all(self, celsius):
        """Set every zone; blocks that are off stay off."""
        for folder in self.zones.values():
            self.write(folder / 'temp', round(celsius * 1000))

    def power(self, zone_type, is_on):
        """Switch the block of a zone on or off; its sensor answers EAGAIN while it is off."""
        path = os.path.realpath(self.zones[zone_type] / 'temp')
        if is_on:
            self._answers.pop(path, None)
        else:
            self._answers[path] = errno.EAGAIN

    def set_cooling(self, kind, state):
        """Set the state of a cooling device by its type."""
        folder = self.cooling_devices[kind]
        most = self.integer(folder / 'max_state')
        if not 0 <= state <= most:
            raise ValueError(f'{kind} has states 0 to {most}, not {state}')
        self.write(folder / 'cur_state', state)
        event = folder / 'thermal_trip_event/thermal_trip_event'
        if event.exists():
            self.write(event, state)
        for clock in self._allowed:
            if _cooling_kind(clock) == kind:
                self._cap(clock)

    def _cap(self, clock):
        """
        Let the highest frequency of a clock follow its cooling device and the power mode.

        The kernel shows the tighter of the two as ``max_freq`` and ``scaling_max_freq``.
        """
        now, most, table = _names(clock)
        known = sorted(int(frequency) for frequency in self.text(clock / table).split())
        folder = self.cooling_devices.get(_cooling_kind(clock))
        state = 0 if folder is None else self.integer(folder / 'cur_state')
        cap = min(known[-1 - state], self._allowed[clock])
        self.write(clock / most, cap)
        if self.integer(clock / now) > cap:
            self.write(clock / now, cap)
            if (clock / 'target_freq').exists():
                self.write(clock / 'target_freq', cap)

    def set_gpu_clock(self, mhz):
        """Set the frequency at which the GPU runs now; a cap holds it down."""
        hertz = min(round(mhz * 1e6), self.integer(self.gpu_clock / 'max_freq'))
        for name in ('cur_freq', 'target_freq'):
            self.write(self.gpu_clock / name, hertz)

    def set_cpu_clock(self, mhz):
        """Set the frequency at which every CPU runs now; caps hold it down."""
        for policy in (self.root / _CPUS / 'cpufreq').iterdir():
            khz = min(mhz * 1e3, self.integer(policy / 'scaling_max_freq'))
            self.write(policy / 'scaling_cur_freq', round(khz))

    def set_gpu_load(self, fraction):
        """Set how busy the GPU is, 0 to 1; Thor has no such file."""
        path = self.gpu_clock / 'device/load'
        if path.exists():
            self.write(path, round(fraction * 1000))

    def set_rail(self, label, volts, amps):
        """Set voltage and current of a power rail by its label."""
        if label not in self._rails:
            raise ValueError(f'{self.board} has no rail {label!r}, only {", ".join(self._rails)}')
        chip, channel = self._rails[label]
        self.write(chip / f'in{channel}_input', round(volts * 1000))
        self.write(chip / f'curr{channel}_input', round(amps * 1000))
        if (chip / 'power1_input').exists():
            self.write(chip / 'power1_input', round(volts * amps * 1e6))
        if (chip / 'shunt1_resistor').exists():
            self._sum_channels(chip, channel)

    def _sum_channels(self, chip, channel):
        """Let an INA3221 follow a new current: shunt voltages in microvolts, and the sums."""
        ohms = self.integer(chip / f'shunt{channel}_resistor') / 1e6
        milliamps = self.integer(chip / f'curr{channel}_input')
        self.write(chip / f'in{int(channel) + 3}_input', round(milliamps * ohms * 1000))
        total = sum(self.integer(chip / f'curr{number}_input') for number in (1, 2, 3)
                    if self.text(chip / f'in{number}_enable') == '1'
                    and self.text(chip / f'in{number}_label') not in _NOT_SUMMED)
        self.write(chip / 'curr4_input', total)
        self.write(chip / 'in7_input', round(total * ohms * 1000))

    def count_over_current(self, name, by):
        """Let a counter of over-current events rise; ``name`` is oc1, oc2 or oc3."""
        path = self.hwmon('soctherm_oc')[0] / f'{name}_event_cnt'
        self.write(path, self.integer(path) + by)

    def reboot(self):
        """Let everything that runs since boot begin again; the numbers of devices stay."""
        for path in self.hwmon('soctherm_oc')[0].glob('oc*_event_cnt'):
            self.write(path, 0)
        for kind in self.cooling_devices:
            self.set_cooling(kind, 0)

    def set_power_mode(self, number):
        """Do what ``nvpmodel -m`` does: note the mode and write its settings."""
        text = (self.root / 'etc/nvpmodel.conf').read_text(encoding='ascii')
        self.write('var/lib/nvpmodel/status', f'pmode:{number:04d}'.encode())
        parameters, settings = read_power_mode(text, number)
        for parameter, argument, value in settings:
            files = parameters.get(parameter, {})
            path = self.root / files.get(argument, 'none').lstrip('/')
            if not path.exists():
                continue
            if argument in ('MIN_FREQ', 'MAX_FREQ') and 'FREQ_TABLE' in files:
                table = self.text(files['FREQ_TABLE'].lstrip('/')).split()
                known = [int(frequency) for frequency in table]
                value = max(known) if int(value) < 0 else min(
                    max(int(value), min(known)), max(known))
            self.write(path, value)
            clock = Path(os.path.realpath(path.parent))
            for known_clock in self._allowed:
                if argument == 'MAX_FREQ' and Path(os.path.realpath(known_clock)) == clock:
                    self._allowed[known_clock] = int(value)
        self._switch_cpus()
        for clock in self._allowed:
            self._cap(clock)

    def _switch_cpus(self):
        """Take cpufreq away from CPUs that are off, and give it back."""
        cpus = self.root / _CPUS
        online = []
        for folder in sorted(cpus.glob('cpu[0-9]*'), key=lambda cpu: int(cpu.name[3:])):
            link = folder / 'cpufreq'
            if self.text(folder / 'online') == '1':
                online.append(int(folder.name[3:]))
                if not link.is_symlink():
                    link.symlink_to(self._policies.pop(folder.name))
            elif link.is_symlink():
                self._policies[folder.name] = os.readlink(link)
                link.unlink()
        self._real.clear()
        self.write(cpus / 'online', _ranges(online))

    # Faults

    def fail(self, path_or_zone, code):
        """
        Let reading fail with an errno until it is healed.

        :param path_or_zone: type of a zone, whose temperature fails; or the path of a file or a
            folder, below the root or absolute.
        """
        for path in self._files(path_or_zone):
            self._faults[path] = code

    def heal(self, path_or_zone=None):
        """Undo :meth:`fail` for one path or zone, or for all."""
        if path_or_zone is None:
            self._faults.clear()
            return
        for path in self._files(path_or_zone):
            self._faults.pop(path, None)

    def _files(self, path_or_zone):
        zone = self.zones.get(path_or_zone)
        path = self.root / path_or_zone if zone is None else zone / 'temp'
        if not path.exists():
            raise ValueError(f'{self.board} has no zone and no path {path_or_zone!r}')
        real = os.path.realpath(path)
        if os.path.isdir(real):
            return [os.path.join(folder, name) for folder, _, names in os.walk(real)
                    for name in names]
        return [real]


def _names(clock):
    """Return the files of a clock for (frequency now, the highest, all that it has)."""
    if clock.name.startswith('policy'):
        return 'scaling_cur_freq', 'scaling_max_freq', 'scaling_available_frequencies'
    return 'cur_freq', 'max_freq', 'available_frequencies'


def _cooling_kind(clock):
    """Return the type of the cooling device that caps a clock."""
    if clock.name.startswith('policy'):
        return f'cpufreq-cpu{clock.name[len("policy"):]}'
    return f'devfreq-{clock.name}'


def _ranges(numbers):
    """Return the kernel's form of a set of CPUs: 0-3,8."""
    parts = []
    for _, group in itertools.groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        parts.append(str(run[0]) if len(run) == 1 else f'{run[0]}-{run[-1]}')
    return ','.join(parts)
