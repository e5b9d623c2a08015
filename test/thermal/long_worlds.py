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

"""Machines of a simulated day: what is true of them, and what becomes of it in their files."""

import errno
import os
import random

from c7_inference_ros.errors import TelemetryUnavailableError
from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import Reading
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.thermal.state import ZoneReading
from long_day import Episodes
from long_day import Faults
from long_day import SECOND
from memory_files import ERRNOS
from memory_files import NO_NUMBERS
from memory_files import NO_TEMPERATURES

#: Answers of files that hold what never changes. One that is missing for a moment is left out:
#: the kernel shows a device with all of its constants or not at all.
CONSTANT_ERRNOS = tuple(code for code in ERRNOS if code != errno.ENOENT)


class Zone:
    """
    A thermal zone.

    :param real: its folder, behind all links.
    :param link: its folder in the class.
    """

    def __init__(self, real, link, kind, files):
        self.real = real
        self.kind = kind
        self.number = int(link.name[len('thermal_zone'):])
        self.is_linked = True
        self.temp = files.cell(link / 'temp')
        self.constants = [files.cell(link / name) for name in os.listdir(real)
                          if name == 'type' or name.startswith('trip_point')]
        self.constants += [files.cell(path) for path in sorted(real.glob('cdev*_trip_point'))]
        self.constants += [files.cell(path) for path in sorted(real.glob('cdev*/type'))]
        self.millidegrees = 0

    @property
    def source(self):
        """Return the folder that a reading of it names."""
        return f'class/thermal/thermal_zone{self.number}'

    @property
    def is_readable(self):
        """Return whether its temperature can be read now."""
        return self.is_linked and self.temp.is_readable

    @property
    def is_understood(self):
        """Return whether its limits can be read as well."""
        return self.is_readable and all(cell.fault is None for cell in self.constants)


class FileWorld:
    """
    A machine whose truth is in files.

    Every zone has another temperature each second, none of them twice within five hours, so that
    a reading of any other moment is found out. Heat shows in a zone, in a cooling device or in
    both.

    :param sysfs: its root, a path.
    :param files: :class:`MemoryFiles` over it.
    :param source: the source that is tested; read twice to learn which files it reads.
    :param device: name of the device.
    :param clock: the simulated clock.
    :param hang: called, with seconds, by a file that takes so long to read.
    :param hot: (type of the zone, type of the cooling device) that show heat.
    :param limit_c: where that zone slows the machine, as the makers say.
    :param always_on: types of zones that are always expected to answer.
    """

    def __init__(self, sysfs, files, source, device, hang, *, hot, limit_c, always_on, seed=4):
        self.sysfs = sysfs
        self.files = files
        self.device = device
        self.devices = (device,)
        self.hang = hang
        self.always_on = always_on
        self.limit = round(limit_c * 1000)
        self.thermal = sysfs / 'class/thermal'
        self.random = random.Random(seed)
        constant, changing = self._files_of(source)
        links = sorted(self.thermal.glob('thermal_zone*'))
        self.zones = [Zone(link.resolve(), link, (link / 'type').read_text().strip(), files)
                      for link in links]
        self.hot_zone = next(zone for zone in self.zones if zone.kind == hot[0])
        coolers = [link for link in sorted(self.thermal.glob('cooling_device*'))
                   if (link / 'type').read_text().strip() == hot[1]]
        self.alerts = [files.cell(link / 'cur_state') for link in coolers]
        self.alert_types = [files.cell(link / 'type') for link in coolers]
        self.counters = {path.name: files.cell(path) for path in changing
                         if path.name.endswith(('_event_cnt', '_throttle_count'))}
        temps = [zone.temp for zone in self.zones]
        others = [files.cell(path) for path in changing
                  if files.cell(path) not in temps
                  and isinstance(files.cell(path).content, bytes)]
        self.faults = [
            Faults(temps, seed + 1, 40.0, ERRNOS + NO_NUMBERS + NO_TEMPERATURES),
            Faults(self.alerts, seed + 2, 60.0, ERRNOS + NO_NUMBERS),
            Faults(others, seed + 3, 30.0, ERRNOS + NO_NUMBERS),
            Faults([files.cell(path) for path in constant], seed + 4, 120.0, CONSTANT_ERRNOS),
            Faults(self.hot_zone.constants + self.alert_types, seed + 10, 60.0,
                   CONSTANT_ERRNOS)]
        self.hangs = Episodes(seed + 5, 1500.0, (1.0, 1.0))
        self.heat = Episodes(seed + 6, 500.0, (3.0, 120.0))
        self.outages = Episodes(seed + 7, 1800.0, (0.5, 90.0))
        self.moves = Episodes(seed + 8, 400.0, (0.2, 60.0))
        self.reboots = Episodes(seed + 9, 3600.0, (1.0, 1.0))
        self.now = {}
        self.is_restless = True
        self.moved = None
        self.rises = {}
        self.last_counts = {}
        self.totals_ok = 0

    def live(self, now_ns):
        """Let a second begin."""
        second = now_ns // SECOND
        self.is_restless = self.live_on(now_ns)
        for index, zone in enumerate(self.zones):
            zone.millidegrees = 40_000 + (second * 37 + index * 1009) % 20_000
            zone.temp.write(zone.millidegrees)
        if self._heats('zone'):
            self.hot_zone.millidegrees = self.limit + second % 4000
            self.hot_zone.temp.write(self.hot_zone.millidegrees)
        self._count()

    def live_on(self, now_ns):
        """Let time pass within a second; return whether anything happened."""
        happened = False
        for faults in self.faults:
            happened |= faults.live(now_ns)
        for name, begin in (('heat', self._heat), ('outages', self._fail_all),
                            ('moves', self._move), ('hangs', self._hang),
                            ('reboots', self._reboot)):
            number = getattr(self, name).number(now_ns)
            if number != self.now.get(name):
                self.now[name] = number
                begin(number)
                happened = True
        return happened

    def hot_devices(self):
        """Return the devices that are hot, whether it shows or not."""
        return {self.device} if self.now.get('heat') is not None else set()

    def has_news(self, state):
        """Return whether it shows now that the device is hot, and did not in a state."""
        device = next(device for device in state.devices if device.name == self.device)
        return (self._shows_heat() and device.is_telemetry_available
                and not device.is_throttling)

    def check(self, state, at_ns):
        """Compare a state with the truth."""
        device = next(device for device in state.devices if device.name == self.device)
        assert device.measured_at_ns == at_ns
        readable = {zone.source: zone.millidegrees for zone in self.zones if zone.is_readable}
        if not device.is_telemetry_available:
            assert not readable and not self._shows_heat()
            return
        found = {zone.source: round(zone.temperature_c * 1000) for zone in device.zones
                 if zone.source.startswith('class/thermal/')}
        assert found == readable, (at_ns, device.faults)
        for zone in self.zones:
            if zone.kind in self.always_on and zone.is_linked and not zone.temp.is_readable:
                assert any(zone.source in fault for fault in device.faults), zone.kind
        if self._shows_heat():
            assert device.is_throttling, (at_ns, device.faults)
        elif self.now.get('heat') is None:
            # A counter tells of what has been, as far back as it could not be read.
            assert all(' rose by ' in reason for reason in device.throttle_reasons)
        elif not device.is_throttling:
            # What hides the heat is told.
            hidden = ([self.hot_zone.source] * (self._heats('zone') and self.hot_zone.is_linked)
                      + ['class/thermal/cooling_device'] * self._heats('alert'))
            assert all(any(name in fault for fault in device.faults) for name in hidden), (
                at_ns, device.faults)
        self._check_counters(device)

    def _files_of(self, source):
        """Return (paths read once, paths read each time)."""
        source.read(1000 * SECOND)
        everything = set(self.files.asked)
        self.files.asked.clear()
        source.read(1001 * SECOND)
        changing, self.files.asked = self.files.asked, None
        return ([self.sysfs / path for path in sorted(everything - changing)],
                [self.sysfs / path for path in sorted(changing)])

    def _heats(self, where):
        number = self.now.get('heat')
        return number is not None and ('zone', 'alert', 'both')[number % 3] in (where, 'both')

    def _shows_heat(self):
        """Return whether anything that can be read says that the device is hot."""
        return (self._heats('zone') and self.hot_zone.millidegrees >= self.limit
                and self.hot_zone.is_understood
                or self._heats('alert') and any(
                    alert.is_readable and kind.fault is None
                    for alert, kind in zip(self.alerts, self.alert_types)))

    def _heat(self, number):
        for alert in self.alerts:
            alert.write(1 + number % 2 if self._heats('alert') else 0)
        if number is None:
            self.hot_zone.millidegrees = 50_000 + (self.hot_zone.millidegrees + 7) % 9_000
        elif self._heats('zone'):
            self.hot_zone.millidegrees = self.limit + 500
        self.hot_zone.temp.write(self.hot_zone.millidegrees)

    def _fail_all(self, number):
        for zone in self.zones:
            if number is None:
                if zone.temp.fault == errno.EIO:
                    zone.temp.fault = None
            elif zone.temp.fault is None:
                zone.temp.fault = errno.EIO

    def _hang(self, number):
        if number is None:
            return
        cell = self.random.choice([zone.temp for zone in self.zones if zone.is_readable]
                                  or [self.hot_zone.temp])
        if cell.fault is None:
            seconds = self.random.choice((1, 2, 3, 4, 8, 12, 40))
            reads = iter((False, True)[self.random.randrange(2):])  # a glance's, or a poll's

            def hang():
                if next(reads):
                    cell.fault = None
                    self.hang(seconds)

            cell.fault = hang

    def _move(self, number):
        """Let a zone vanish, and come back under a number that nobody had."""
        if self.moved is not None:  # also when a hang has left no time in between
            zone, self.moved = self.moved, None
            taken = {other.number for other in self.zones}
            zone.number = self.random.choice([free for free in range(40) if free not in taken])
            os.symlink(zone.real, self.sysfs / zone.source)
            zone.is_linked = True
            self.files.relink(f'{self.sysfs}/{zone.source}/')
        if number is not None:
            zone = self.moved = self.random.choice(self.zones)
            os.unlink(self.sysfs / zone.source)
            zone.is_linked = False
            self.files.relink(f'{self.sysfs}/{zone.source}/')

    def _reboot(self, number):
        if number is not None:
            for cell in self.counters.values():
                cell.write(0)

    def _count(self):
        """Let events happen: often of the third counter, seldom of the others, or in heat."""
        for name, cell in self.counters.items():
            if name.endswith('_throttle_count'):
                rise = int(self._heats('zone') and self.random.random() < 0.2)
            else:
                rise = self.random.randrange(9) if name.startswith('oc3') else int(
                    self.random.random() < 0.001)
            if rise:
                cell.write(int(cell.content) + rise)

    def _check_counters(self, device):
        """Add up the events by the truth, and compare totals."""
        for name, cell in self.counters.items():
            if not cell.is_readable or not name.endswith('_event_cnt'):
                continue
            key = name[:-len('_event_cnt')]
            if key not in device.over_current_totals:
                continue  # the name of its chip could not be read
            count = int(cell.content)
            rise = max(0, count - self.last_counts.get(name, count))
            self.last_counts[name] = count
            self.rises[name] = self.rises.get(name, 0) + rise
            assert device.over_current_events[key].value == rise, name
            assert device.over_current_totals[key].value == self.rises[name], name
            self.totals_ok += 1


class GpuWorld:
    """A source of one GPU that is lost, fails and lies by turns; it is its own truth."""

    name = 'nvml'
    device_names = ('gpu0',)

    def __init__(self, hang, seed=40):
        self.hang = hang
        self.heat = Episodes(seed, 700.0, (2.0, 90.0))
        self.losses = Episodes(seed + 1, 600.0, (0.5, 120.0))
        self.hangs = Episodes(seed + 2, 2500.0, (1.0, 1.0))
        self.now = {}
        self.celsius = 0.0

    def is_present(self):
        """Return True."""
        return True

    def live_on(self, now_ns):
        """Let time pass; return whether anything happened."""
        self.celsius = 40.0 + now_ns // SECOND * 37 % 20_000 / 1000
        before = dict(self.now)
        for name in ('heat', 'losses', 'hangs'):
            self.now[name] = getattr(self, name).number(now_ns)
        if self.now['hangs'] is not None and self.now['hangs'] != before.get('hangs'):
            self.must_hang = True
        return self.now != before

    must_hang = False

    @property
    def is_hot(self):
        """Return whether the GPU throttles."""
        return self.now.get('heat') is not None

    @property
    def way_lost(self):
        """Return how the GPU is lost now, 0 when it is not."""
        number = self.now.get('losses')
        return 0 if number is None else 1 + number % 5

    def read(self, now_ns):
        """Return the truth, or what a driver in trouble does instead."""
        if self.must_hang:
            self.must_hang = False
            self.hang(5)
        way = self.way_lost
        if way == 1:
            raise TelemetryUnavailableError('GPU is lost (NVML_ERROR_GPU_IS_LOST)')
        if way == 2:
            raise OSError(errno.EIO, 'driver')
        if way == 3:
            return None
        if way == 4:  # another device than it promised
            return ThermalState.unavailable('who knows', now_ns, 'nvml', ('gpu7',))
        if way == 5:
            return ThermalState.unavailable('reset needed', now_ns, 'nvml', ('gpu0',))
        return ThermalState((DeviceState(
            'gpu0', 'nvml', now_ns, True,
            zones=(ZoneReading('gpu', self.celsius, 'nvml', throttle_c=90.0),),
            is_throttling=self.is_hot, throttle_reasons=('it is hot',) * self.is_hot,
            throttle_flags={'sw_thermal_slowdown': Reading(self.is_hot, 'nvml')}),), now_ns)

    def glance(self, now_ns):
        """Return the sign of heat, or fail."""
        if self.way_lost:
            raise RuntimeError('NVML is not loaded')
        return frozenset({'sw_thermal_slowdown'} if self.is_hot else ())

    def check(self, device, at_ns):
        """Compare a state with the truth."""
        assert device.is_telemetry_available == (not self.way_lost)
        if device.is_telemetry_available:
            assert device.is_throttling == self.is_hot
            assert [zone.temperature_c for zone in device.zones] == [self.celsius]
            assert device.measured_at_ns == at_ns


class HostWorld(FileWorld):
    """A machine in files with a GPU beside it."""

    def __init__(self, *arguments, gpu, **settings):
        super().__init__(*arguments, **settings)
        self.gpu = gpu
        self.devices = (self.device, 'gpu0')

    def live(self, now_ns):
        """Let a second begin for both."""
        happened = self.gpu.live_on(now_ns)
        super().live(now_ns)
        self.is_restless |= happened

    def live_on(self, now_ns):
        """Let time pass for both."""
        return super().live_on(now_ns) | self.gpu.live_on(now_ns)

    def hot_devices(self):
        """Return the devices that are hot."""
        return super().hot_devices() | ({'gpu0'} if self.gpu.is_hot else set())

    def has_news(self, state):
        """Return whether any of the two is hot and did not show it."""
        gpu = state.devices[1]
        return super().has_news(state) or (
            self.gpu.is_hot and not self.gpu.way_lost and gpu.is_telemetry_available
            and not gpu.is_throttling)

    def check(self, state, at_ns):
        """Compare a state with both truths."""
        super().check(state, at_ns)
        self.gpu.check(state.devices[1], at_ns)
