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

"""What a latency figure depends on beside the program: clocks, their settings, and heat."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
import threading
import time
from typing import Callable
from typing import Iterator
from typing import Mapping

from c7_inference_ros.thermal.cpu_clocks import cpu_clocks
from c7_inference_ros.thermal.cpu_settings import read_cpu_settings
from c7_inference_ros.thermal.measurement_conditions import ClockRange
from c7_inference_ros.thermal.measurement_conditions import MeasurementConditions
from c7_inference_ros.thermal.measurement_conditions import PartConditions
from c7_inference_ros.thermal.publisher import ThermalStatePublisher
from c7_inference_ros.thermal.source import ThermalSource
from c7_inference_ros.thermal.source_selection import select_source
from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import Reading
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.thermal.state import ZoneReading
from c7_inference_ros.thermal.sysfs import read_attribute
from c7_inference_ros.thermal.sysfs import ReadBytes
from c7_inference_ros.thermal.sysfs import SysfsReader

NOT_SHOWN = 'this machine does not show it'
#: What is named as unknown where it is missing, by the source of a device.
EXPECTED: Mapping[str, tuple[str, ...]] = {
    'jetson': ('power_mode', 'gpu_governor', 'gpu', 'gpu_max', 'emc'),
    'nvml': ('power_limit', 'application_clocks', 'persistence_mode', 'gpu', 'gpu_max'),
}
#: What the fault of a reading that failed speaks of, where it is not the name itself.
_FAULT_WORDS = {
    'power_mode': 'nvpmodel', 'gpu_governor': 'governor', 'gpu': 'cur_freq', 'gpu_max': 'max_freq',
    'power_limit': 'PowerLimit', 'application_clocks': 'ApplicationsClock',
    'persistence_mode': 'Persistence', 'cpu': 'scaling_cur_freq', 'cpu_max': 'scaling_max_freq',
    'cpu_governor': 'scaling_governor', 'cpu_online': 'cpu/online', 'cpu_turbo': 'no_turbo',
    'cpu_energy_preference': 'energy_performance_preference'}
EXPECTED_CPU = ('cpu_online', 'cpu_governor', 'cpu', 'cpu_max')
#: A PC's processor has these as well; a board's has not.
EXPECTED_PC = ('cpu_turbo', 'cpu_energy_preference')
_MAX_VALUES = 6
_MAX_SENTENCES = 8
_POLL_HZ = 2.0
_WAIT_S = 2.0


class ConditionsRecorder:
    """
    Sums up what was the case during a measurement; any thread may add to it.

    :param sysfs_root: where the settings of the processors are read, at the beginning and with
        :meth:`look_at_cpu`.
    :param read_bytes: reads one file.
    """

    def __init__(self, sysfs_root: Path | str = '/sys',
                 read_bytes: ReadBytes = read_attribute) -> None:
        """Look at the processors."""
        self._root = sysfs_root
        self._read_bytes = read_bytes
        self._lock = threading.Condition()
        self._cpu = _Part('cpu')
        self._devices: dict[str, _Part] = {}
        self._states = 0
        self._first_ns = self._last_ns = 0
        self.look_at_cpu()

    def add(self, state: ThermalState) -> None:
        """Take a state: the callback ``on_state`` of a publisher."""
        with self._lock:
            if not self._states:
                self._first_ns = state.measured_at_ns
            self._states += 1
            self._last_ns = state.measured_at_ns
            for device in state.devices:
                self._devices.setdefault(device.name, _Part(device.name)).add(device)
                self._cpu.add_readings(device.settings, device.clocks_mhz, is_cpu=True)
            self._lock.notify_all()

    def look_at_cpu(self) -> None:
        """Read settings and clocks of the processors; at both ends of a measurement."""
        sysfs = SysfsReader(self._root, self._read_bytes)
        settings, clocks = read_cpu_settings(sysfs), cpu_clocks(sysfs)
        with self._lock:
            self._cpu.add_readings(settings, clocks, is_cpu=True)
            self._cpu.faults.update(dict.fromkeys(sysfs.faults))

    def wait_for_state(self, after_ns: int, timeout_s: float) -> bool:
        """
        Wait for a state that was measured after a moment.

        :param after_ns: of the clock of the states, nanoseconds.
        :param timeout_s: longest wait.
        :returns: False when there was none.
        """
        with self._lock:
            return self._lock.wait_for(
                lambda: self._states > 0 and self._last_ns > after_ns, timeout_s)

    def conditions(self) -> MeasurementConditions:
        """Return what was the case so far."""
        with self._lock:
            is_board = any(device.source == 'jetson' for device in self._devices.values())
            return MeasurementConditions(
                self._cpu.conditions(EXPECTED_CPU + (() if is_board else EXPECTED_PC)),
                tuple(device.conditions(EXPECTED.get(device.source, ()))
                      for device in self._devices.values()),
                self._states, (self._last_ns - self._first_ns) / 1e9)


def read_conditions(source: ThermalSource | ThermalState, sysfs_root: Path | str = '/sys',
                    read_bytes: ReadBytes = read_attribute) -> MeasurementConditions:
    """
    Return the conditions of this moment.

    :param source: the source, which is read, or a state of it.
    :param sysfs_root: where the settings of the processors are.
    :param read_bytes: reads one file.
    """
    recorder = ConditionsRecorder(sysfs_root, read_bytes)
    if isinstance(source, ThermalState):
        recorder.add(source)
    else:
        ThermalStatePublisher(source, on_state=recorder.add).poll_here()
    return recorder.conditions()


@contextmanager
def record_conditions(sysfs_root: Path | str = '/sys', source: ThermalSource | None = None,
                      on_state: Callable[[ThermalState], None] | None = None
                      ) -> Iterator[ConditionsRecorder]:
    """
    Record what is the case while something is measured; from before it until after it.

    :param sysfs_root: where sysfs is mounted.
    :param source: what is polled; that of the machine when it is None.
    :param on_state: told about every state as well, in the polling thread.
    """
    recorder = ConditionsRecorder(sysfs_root)

    def take(state: ThermalState) -> None:
        recorder.add(state)
        if on_state is not None:
            on_state(state)

    publisher = ThermalStatePublisher(source or select_source(sysfs_root), _POLL_HZ,
                                      on_state=take)
    publisher.start()
    try:
        publisher.wait_for_first_poll(_WAIT_S)
        yield recorder
        if not recorder.wait_for_state(time.monotonic_ns(), _WAIT_S):
            recorder.add(publisher.snapshot())  # the sensors hang: that nothing is known
    finally:
        recorder.look_at_cpu()
        publisher.stop()


class _Part:
    """Sums up one device, or the processors."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.source = ''
        self.faults: dict[str, None] = {}
        self._model = ''
        self._settings: dict[str, dict[str, None]] = {}
        self._clocks: dict[str, ClockRange] = {}
        self._hottest: ZoneReading | None = None
        self._states = self._lost = self._without_zone = 0
        self._throttled = False
        self._reasons: dict[str, None] = {}
        self._warnings: dict[str, None] = {}
        self._totals: dict[str, tuple[int, int]] = {}

    def add(self, device: DeviceState) -> None:
        """Take a state of the device."""
        self.source, self._model = device.source, device.model or self._model
        self._states += 1
        self._lost += not device.is_telemetry_available
        hottest = device.hottest
        if hottest is not None and (self._hottest is None or hottest.temperature_c
                                    > self._hottest.temperature_c):
            self._hottest = hottest
        self._throttled |= device.is_throttling
        for kept, sentences in ((self._reasons, device.throttle_reasons),
                                (self._warnings, device.warnings), (self.faults, device.faults)):
            for sentence in sentences:
                if len(kept) < _MAX_SENTENCES:
                    kept[sentence] = None
        self.add_readings(device.settings, device.clocks_mhz, is_cpu=False)
        for name, total in device.over_current_totals.items():
            first = self._totals.get(name, (total.value, 0))[0]
            self._totals[name] = (first, total.value)

    def add_readings(self, settings: Mapping[str, Reading[str]],
                     clocks: Mapping[str, Reading[float]], *, is_cpu: bool) -> None:
        """Take settings and clocks: those of the processors, or the others."""
        for name, setting in settings.items():
            if name.startswith('cpu') == is_cpu:
                values = self._settings.setdefault(name, {})
                if len(values) < _MAX_VALUES:
                    values[setting.value] = None
        for name, clock in clocks.items():
            if name.startswith('cpu') == is_cpu:
                known = self._clocks.get(name, ClockRange(clock.value, clock.value))
                self._clocks[name] = ClockRange(min(known.low_mhz, clock.value),
                                                max(known.high_mhz, clock.value))

    def conditions(self, expected: tuple[str, ...]) -> PartConditions:
        """Return the sum; ``expected`` names what is unknown where it is missing."""
        unknown = {name: next((fault for fault in self.faults
                               if _FAULT_WORDS.get(name, name) in fault), NOT_SHOWN)
                   for name in expected
                   if name not in self._settings and name not in self._clocks}
        if self._states:
            why = next(iter(self.faults), NOT_SHOWN)
            if self._hottest is None:
                unknown['temperature'] = why
            if self._lost and not self._throttled:
                unknown['throttled'] = (f'no telemetry in {self._lost} of {self._states} looks:'
                                        f' {why}')
        return PartConditions(
            self.name, self._model,
            {name: ' -> '.join(values) for name, values in self._settings.items()},
            dict(self._clocks), self._hottest,
            True if self._throttled else None if self._lost or not self._states else False,
            tuple(self._reasons), tuple(self._warnings),
            {name: last - first for name, (first, last) in self._totals.items()}, unknown)
