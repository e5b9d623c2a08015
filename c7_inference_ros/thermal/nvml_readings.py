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

"""What one GPU says in one poll: temperatures and their limits, clocks, load, power, settings."""

from __future__ import annotations

from typing import Any
from typing import NamedTuple

from c7_inference_ros.thermal.nvml_library import NvmlLibrary
from c7_inference_ros.thermal.nvml_library import Questions
from c7_inference_ros.thermal.nvml_reasons import POWER
from c7_inference_ros.thermal.nvml_reasons import read_slowdown
from c7_inference_ros.thermal.nvml_reasons import THERMAL
from c7_inference_ros.thermal.nvml_reasons import VIOLATIONS
from c7_inference_ros.thermal.nvml_reasons import ViolationTimes
from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import Reading
from c7_inference_ros.thermal.state import ZoneReading

SOURCE = 'nvml'
#: The second is deprecated with NVML 13.
TEMPERATURE = ('nvmlDeviceGetTemperatureV', 'nvmlDeviceGetTemperature')
THRESHOLD, MARGIN = 'nvmlDeviceGetTemperatureThreshold', 'nvmlDeviceGetMarginTemperature'
SHUTDOWN_MARGIN = 'NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT'
CLOCK, MAX_CLOCK = 'nvmlDeviceGetClockInfo', 'nvmlDeviceGetMaxClockInfo'
APPLICATION_CLOCK = 'nvmlDeviceGetApplicationsClock'

#: Settings and limits are asked for anew after this long.
_SETTINGS_NS = 60_000_000_000
_GPU_SENSOR = 0
#: nvmlTemperatureThresholds_t
_SHUTDOWN, _SLOWDOWN, _MEMORY_MAX, _GPU_MAX, _TARGET = 0, 1, 2, 3, 5
#: NVML_FI_DEV_MEMORY_TEMP, NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT
_MEMORY_FIELD, _SHUTDOWN_FIELD = 82, 193
#: nvmlClockType_t
_CLOCKS = {'gpu': 0, 'sm': 1, 'memory': 2}
_COMPUTE_MODES = ('default', 'exclusive thread', 'prohibited', 'exclusive process')
_MIN_C, _MAX_C = -40, 150
#: A margin that says that a GPU slows itself down outside of this is a wrong margin.
_LIMIT_C = (50, 130)
_MAX_MHZ = 20_000
_MAX_MW = 10_000_000


class _Constants(NamedTuple):
    """What changes with a setting at most; degrees Celsius, MHz."""

    slowdown_c: int | None
    gpu_max_c: int | None
    shutdown_c: int | None
    memory_max_c: int | None
    max_mhz: dict[str, int]
    settings: dict[str, Reading[str]]


class GpuReader:
    """
    Reads one GPU and keeps what is compared from poll to poll.

    :param name: the device's name in the state.
    """

    def __init__(self, name: str, model: str, hardware_id: str) -> None:
        """Ask nothing yet."""
        self.name = name
        self.model = model
        self.hardware_id = hardware_id
        self._constants: _Constants | None = None
        self._constants_ns: int | None = None
        self._violations = ViolationTimes()
        self._margin_limit_c: int | None = None
        self._has_memory_sensor = False

    def forget(self) -> None:
        """Start anew with a GPU that was away: its counters and settings may be others."""
        self._constants_ns = None
        self._violations = ViolationTimes()
        self._has_memory_sensor = False

    def unavailable(self, reason: str, now_ns: int) -> DeviceState:
        """Return the state without telemetry; parameters as in DeviceState.unavailable."""
        return DeviceState.unavailable(self.name, SOURCE, reason, now_ns, model=self.model,
                                       hardware_id=self.hardware_id)

    def read(self, library: NvmlLibrary, handle: Any, now_ns: int) -> DeviceState:
        """
        Return what the GPU says.

        :param now_ns: the monotonic clock now, nanoseconds.
        :raises NvmlError: the GPU is lost.
        """
        questions = Questions(library, handle)
        celsius, is_sensor_broken = read_celsius(questions)
        constants = self._current_constants(questions, now_ns)
        zones = []
        if celsius is not None:
            zones.append(self._gpu_zone(questions, constants, celsius))
        faults = len(questions.faults)
        memory = _memory_zones(questions, constants)
        self._has_memory_sensor |= bool(memory)
        is_sensor_broken |= (self._has_memory_sensor and not memory
                             and len(questions.faults) > faults)
        zones += memory
        at_limit = next((zone for zone in zones if zone.throttle_c is not None
                         and zone.temperature_c >= zone.throttle_c), None)
        slowdown = read_slowdown(questions, self.name, at_limit is not None)
        reasons, warnings = list(slowdown.heat), list(slowdown.warnings)
        rises = self._violations.read(questions, now_ns)
        if THERMAL in rises:
            reasons.append('heat held the clocks of {} down for {:.1f} ms of the last {:.0f} ms'
                           .format(self.name, *rises[THERMAL]))
        if POWER in rises and not slowdown.is_capped:
            warnings.append('the power limit held the clocks of {} down for {:.1f} ms of the last'
                            ' {:.0f} ms'.format(self.name, *rises[POWER]))
        if at_limit is not None and not slowdown.is_known:
            reasons.append(f'{at_limit.name} of {self.name} is at {at_limit.temperature_c:.0f} C,'
                           f' at or above its limit of {at_limit.throttle_c:.0f} C, and its driver'
                           ' does not tell whether that slows it')
        # A sensor that fails for a moment may be the one that was hot: that is no telemetry.
        is_available = bool(reasons) or (
            not is_sensor_broken and (celsius is not None or slowdown.is_known))
        if not is_available:
            return DeviceState(
                self.name, SOURCE, now_ns, False, model=self.model, hardware_id=self.hardware_id,
                faults=tuple(questions.faults) or ('NVML gives neither its temperature nor why'
                                                   ' its clocks are lowered',))
        flags = dict(slowdown.flags)
        flags['thermal_violation'] = Reading(THERMAL in rises, VIOLATIONS)
        return DeviceState(
            self.name, SOURCE, now_ns, True, zones=tuple(zones), is_throttling=bool(reasons),
            throttle_reasons=tuple(reasons), throttle_flags=flags, warnings=tuple(warnings),
            clocks_mhz=_clocks(questions, constants), load=_load(questions),
            power_w=_power(questions), settings=_settings(questions, constants),
            model=self.model, hardware_id=self.hardware_id, faults=tuple(questions.faults))

    def _current_constants(self, questions: Questions, now_ns: int) -> _Constants:
        """Return limits and settings; an answer that fails leaves the old one in place."""
        if (self._constants is None or self._constants_ns is None
                or not 0 <= now_ns - self._constants_ns <= _SETTINGS_NS):
            faults = len(questions.faults)
            self._constants = _ask_constants(questions, self._constants)
            self._constants_ns = now_ns if len(questions.faults) == faults else None
        return self._constants

    def _gpu_zone(self, questions: Questions, constants: _Constants, celsius: int) -> ZoneReading:
        """Return the GPU's own temperature, and where it slows itself down and shuts down."""
        slows = min((limit for limit in (constants.slowdown_c, constants.gpu_max_c)
                     if limit is not None), default=None)
        stops = constants.shutdown_c
        if slows is None:
            slows = self._limit_by_margin(questions, celsius)
            if slows is not None and stops is None:
                below = questions.fields(_SHUTDOWN_FIELD).get(_SHUTDOWN_FIELD)
                if below is not None:  # a margin below zero
                    stops = questions.believed(SHUTDOWN_MARGIN, slows - below[0], *_LIMIT_C)
        return ZoneReading('gpu', float(celsius), TEMPERATURE[0], _as_float(slows),
                           _as_float(stops), _as_float(slows))

    def _limit_by_margin(self, questions: Questions, celsius: int) -> int | None:
        """
        Return where the GPU slows itself down by how far it says it is from that.

        The distance is what the GPU goes by. The limit that follows from it moves a little with
        which of its sensors is the hottest.
        """
        faults = len(questions.faults)
        margin = questions.ask(MARGIN)
        if margin is not None:
            limit = questions.believed(f'{MARGIN} at {celsius} C', celsius + margin, *_LIMIT_C)
            self._margin_limit_c = limit if limit is not None else self._margin_limit_c
        elif len(questions.faults) == faults:
            self._margin_limit_c = None
        return self._margin_limit_c


def read_celsius(questions: Questions) -> tuple[int | None, bool]:
    """Return the temperature, None when there is none, and whether the sensor failed."""
    faults = len(questions.faults)
    value = questions.ask(*TEMPERATURE, about=(_GPU_SENSOR,), is_vital=True)
    if value is not None:
        # The older function has an unsigned number for what may be below zero.
        value = questions.believed(TEMPERATURE[0], value - (1 << 32) if value >= 1 << 31
                                   else value, _MIN_C, _MAX_C)
    return value, len(questions.faults) > faults


def _ask_constants(questions: Questions, old: _Constants | None) -> _Constants:
    def limit(threshold: int, known: int | None) -> int | None:
        faults = len(questions.faults)
        found = questions.number(THRESHOLD, about=(threshold,), high=_MAX_C)
        return known if found is None and len(questions.faults) > faults else found or None

    maxima = {name: questions.number(MAX_CLOCK, about=(kind,), high=_MAX_MHZ)
              for name, kind in _CLOCKS.items()}
    settings = {}
    target = limit(_TARGET, None)
    if target is not None:
        settings['target_temperature'] = Reading(f'{target} C', THRESHOLD)
    power_mw = questions.number('nvmlDeviceGetEnforcedPowerLimit', high=_MAX_MW)
    if power_mw:
        settings['power_limit'] = Reading(f'{power_mw / 1000:g} W',
                                          'nvmlDeviceGetEnforcedPowerLimit')
    persistence = questions.number('nvmlDeviceGetPersistenceMode', high=1)
    if persistence is not None:
        settings['persistence_mode'] = Reading('on' if persistence else 'off',
                                               'nvmlDeviceGetPersistenceMode')
    mode = questions.number('nvmlDeviceGetComputeMode', high=len(_COMPUTE_MODES) - 1)
    if mode is not None:
        settings['compute_mode'] = Reading(_COMPUTE_MODES[mode], 'nvmlDeviceGetComputeMode')
    chosen = {name: questions.number(APPLICATION_CLOCK, about=(_CLOCKS[name],), high=_MAX_MHZ)
              for name in ('gpu', 'memory')}
    if any(chosen.values()):
        settings['application_clocks'] = Reading(
            ', '.join(f'{name} {mhz} MHz' for name, mhz in chosen.items() if mhz),
            APPLICATION_CLOCK)
    return _Constants(
        limit(_SLOWDOWN, old.slowdown_c if old else None),
        limit(_GPU_MAX, old.gpu_max_c if old else None),
        limit(_SHUTDOWN, old.shutdown_c if old else None),
        limit(_MEMORY_MAX, old.memory_max_c if old else None),
        {name: mhz for name, mhz in maxima.items() if mhz}, settings)


def _memory_zones(questions: Questions, constants: _Constants) -> list[ZoneReading]:
    """Return the temperature of the GPU's memory where it has a sensor."""
    found = questions.fields(_MEMORY_FIELD).get(_MEMORY_FIELD)
    if found is None or found[0] == 0:  # some GPUs without the sensor say zero
        return []
    celsius = questions.believed('NVML_FI_DEV_MEMORY_TEMP', found[0], _MIN_C, _MAX_C)
    if celsius is None:
        return []
    limit = _as_float(constants.memory_max_c)
    return [ZoneReading('memory', float(celsius), 'NVML_FI_DEV_MEMORY_TEMP', limit, None, limit)]


def _clocks(questions: Questions, constants: _Constants) -> dict[str, Reading[float]]:
    clocks = {}
    for name, kind in _CLOCKS.items():
        mhz = questions.number(CLOCK, about=(kind,), high=_MAX_MHZ)
        if mhz is not None:
            clocks[name] = Reading(float(mhz), CLOCK)
        if name in constants.max_mhz:
            clocks[f'{name}_max'] = Reading(float(constants.max_mhz[name]), MAX_CLOCK)
    return clocks


def _load(questions: Questions) -> dict[str, Reading[float]]:
    rates = questions.ask('nvmlDeviceGetUtilizationRates')
    load = {}
    for name in ('gpu', 'memory') if rates is not None else ():
        percent = questions.believed(f'nvmlDeviceGetUtilizationRates of {name}',
                                     getattr(rates, name), 0, 100)
        if percent is not None:
            load[name] = Reading(percent / 100.0, 'nvmlDeviceGetUtilizationRates')
    return load


def _power(questions: Questions) -> dict[str, Reading[float]]:
    milliwatts = questions.number('nvmlDeviceGetPowerUsage', high=_MAX_MW)
    return ({} if milliwatts is None else
            {'board': Reading(milliwatts / 1000.0, 'nvmlDeviceGetPowerUsage')})


def _settings(questions: Questions, constants: _Constants) -> dict[str, Reading[str]]:
    state = questions.number('nvmlDeviceGetPerformanceState', high=32)
    if state is None or state > 15:  # 32 is NVML's unknown
        return constants.settings
    return {'performance_state': Reading(f'P{state}', 'nvmlDeviceGetPerformanceState'),
            **constants.settings}


def _as_float(value: int | None) -> float | None:
    return None if value is None else float(value)
