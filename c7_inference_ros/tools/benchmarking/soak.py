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

"""How latency and heat went together over a measurement."""

from __future__ import annotations

from dataclasses import dataclass
import math
import threading
from typing import Any
from typing import Mapping
from typing import Sequence

from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.tools.benchmarking.measure import Bench
import numpy as np

MAX_WINDOWS, MIN_WINDOW_S = 60, 1.0
#: The last fifth of the run against the first: slower by more than this is said.
SLOWER = 1.1
_END = 5
#: How long a reading stands for what comes after it, seconds.
_STANDS_S = 2.0


class ThermalLog:
    """Keeps what a publisher tells; its callback is :meth:`add`."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lock = threading.Lock()
        self._states: list[ThermalState] = []

    def add(self, state: ThermalState) -> None:
        """Keep a state."""
        with self._lock:
            self._states.append(state)

    def states(self) -> list[ThermalState]:
        """Return those so far."""
        with self._lock:
            return list(self._states)


@dataclass(frozen=True)
class Window:
    """
    A part of the run.

    :param from_s: since the beginning, seconds.
    :param to_s: the same.
    :param whole_ms: (p50, p95, number of pictures) by subject and model; none without a picture.
    :param temperature_c: warmest reading by device.
    :param clocks_mhz: lowest value by device and clock.
    :param power_w: mean by device and rail.
    :param throttled: whether heat slowed a device; None when that is not known.
    """

    from_s: float
    to_s: float
    whole_ms: Mapping[tuple[str, str], tuple[float, float, int]]
    temperature_c: Mapping[str, float]
    clocks_mhz: Mapping[str, Mapping[str, float]]
    power_w: Mapping[str, Mapping[str, float]]
    throttled: bool | None

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        whole: dict[str, dict[str, Any]] = {}
        for (subject, model), (p50, p95, count) in self.whole_ms.items():
            whole.setdefault(subject, {})[model] = {
                'p50': round(p50, 4), 'p95': round(p95, 4), 'count': count}
        return {'from_s': round(self.from_s, 3), 'to_s': round(self.to_s, 3), 'whole_ms': whole,
                'temperature_c': dict(self.temperature_c),
                'clocks_mhz': {name: dict(one) for name, one in self.clocks_mhz.items()},
                'power_w': {name: dict(one) for name, one in self.power_w.items()},
                'throttled': self.throttled}


@dataclass(frozen=True)
class Soak:
    """
    The whole run in windows.

    :param slowdown: p50 of the last fifth divided by that of the first, by subject and model.
    """

    duration_s: float
    windows: tuple[Window, ...]
    slowdown: Mapping[tuple[str, str], float]

    def warnings(self) -> list[str]:
        """Return which models became slower, one sentence each."""
        return [f'{model} with {subject} became slower during the run: its p50 at the end is '
                f'{ratio:.2f} times that at the beginning'
                for (subject, model), ratio in self.slowdown.items() if ratio > SLOWER]

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        slowdown: dict[str, dict[str, float]] = {}
        for (subject, model), ratio in self.slowdown.items():
            slowdown.setdefault(subject, {})[model] = round(ratio, 4)
        return {'duration_s': round(self.duration_s, 3), 'slowdown': slowdown,
                'windows': [window.as_dict() for window in self.windows]}


def soak_of(benches: Sequence[Bench], states: Sequence[ThermalState], began_ns: int,
            duration_s: float) -> Soak:
    """
    Bring samples and states together.

    :param states: of the same clock as the beginning.
    :param began_ns: beginning of the measurement, nanoseconds.
    """
    count = max(1, min(MAX_WINDOWS, math.floor(duration_s / MIN_WINDOW_S)))
    edges = np.linspace(0.0, max(duration_s, 1e-9), count + 1)
    series = {(bench.subject.label, model): (np.frombuffer(samples.at_s),
                                             np.frombuffer(samples.stages['whole']) * 1e3)
              for bench in benches for model, samples in bench.samples.items()}
    when = np.array([(state.measured_at_ns - began_ns) / 1e9 for state in states])
    windows = []
    for low, high in zip(edges[:-1], edges[1:]):
        whole = {}
        for key, (at, values) in series.items():
            part = values[(at >= low) & (at < high)]
            if part.size:
                p50, p95 = np.percentile(part, (50, 95)).tolist()
                whole[key] = (p50, p95, int(part.size))
        inside = [state for state, at in zip(states, when) if low <= at < high]
        # Between two polls the earlier one stands.
        inside = inside or [state for state, at in zip(states, when)
                            if low - _STANDS_S <= at < low][-1:]
        windows.append(_window(float(low), float(high), whole, inside))
    slowdown = {}
    for key, (_, values) in series.items():
        fifth = values.size // _END
        if fifth:
            slowdown[key] = float(np.median(values[-fifth:]) / np.median(values[:fifth]))
    return Soak(duration_s, tuple(windows), slowdown)


def _window(low: float, high: float, whole: Mapping[tuple[str, str], tuple[float, float, int]],
            states: Sequence[ThermalState]) -> Window:
    temperature: dict[str, float] = {}
    clocks: dict[str, dict[str, float]] = {}
    power: dict[str, dict[str, list[float]]] = {}
    known = bool(states) and all(state.is_telemetry_available for state in states)
    for device in (device for state in states for device in state.devices):
        _add(device, temperature, clocks, power)
    throttled = any(state.is_throttling for state in states)
    return Window(low, high, whole, temperature, clocks,
                  {name: {rail: round(sum(values) / len(values), 3)
                          for rail, values in rails.items()} for name, rails in power.items()},
                  True if throttled else False if known else None)


def _add(device: DeviceState, temperature: dict[str, float],
         clocks: dict[str, dict[str, float]], power: dict[str, dict[str, list[float]]]) -> None:
    if device.hottest is not None:
        warmest = device.hottest.temperature_c
        temperature[device.name] = max(temperature.get(device.name, warmest), warmest)
    for name, clock in device.clocks_mhz.items():
        if not name.endswith('_max'):
            slowest = clocks.setdefault(device.name, {})
            slowest[name] = min(slowest.get(name, clock.value), clock.value)
    for rail, watts in device.power_w.items():
        power.setdefault(device.name, {}).setdefault(rail, []).append(watts.value)
