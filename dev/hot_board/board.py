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

"""The board: heat from work, a heat sink, and a governor that slows the clock."""

from __future__ import annotations

from dataclasses import dataclass
import math


@dataclass(frozen=True)
class BoardModel:
    """
    A module of the 40 W class with a heat sink of about 0.4 kg of aluminium.

    Two nodes: the die, which follows its load within seconds, on a sink that takes minutes.
    Speed falls in equal steps to a twentieth, which is what the GPU's clock and the throttle of
    the hardware below it come to together. Energy per frame is power at work times time at work:
    the dynamic part is the same at every speed, the static part (leakage, and memory that is
    awake) grows with the time that a slow frame takes.

    Left out: voltage, which falls with the clock and makes throttling cheaper than here; leakage,
    which grows with temperature; a fan; differences between the parts of a die; other load on the
    board; a frame in work goes on at the speed at which it began.

    :param idle_w: power of the board with nothing to infer, watts.
    :param static_w: added while a frame is in work, at any speed, watts.
    :param dynamic_w: added while a frame is in work, at full speed, watts; falls with it.
    :param die_k_per_w: how far the die is above the sink, kelvin for each watt.
    :param sink_k_per_w: how far the sink is above the air, kelvin for each watt.
    :param die_tau_s: time constant of the die, seconds.
    :param sink_tau_s: time constant of the sink, seconds.
    :param trip_c: passive trip point, degrees Celsius.
    :param critical_c: critical trip point, degrees Celsius.
    :param states: largest state of the cooling device.
    :param slowest: speed in the largest state, as a share of the full one.
    :param governor_s: period of the governor while it cools, seconds.
    """

    idle_w: float = 8.0
    static_w: float = 8.0
    dynamic_w: float = 32.0
    die_k_per_w: float = 0.2
    sink_k_per_w: float = 0.8
    die_tau_s: float = 2.0
    sink_tau_s: float = 240.0
    trip_c: float = 99.0
    critical_c: float = 104.5
    states: int = 10
    slowest: float = 0.05
    governor_s: float = 1.0

    def speed(self, state: int) -> float:
        """Return the speed in a state of the cooling device, as a share of the full one."""
        return 1.0 - (1.0 - self.slowest) * state / self.states

    def slowdown(self, state: int) -> float:
        """Return how many times longer a frame takes in a state of the cooling device."""
        return 1.0 / self.speed(state)

    def power_w(self, busy: float, state: int) -> float:
        """Return the mean power while frames are in work for a share ``busy`` of the time."""
        return self.idle_w + busy * (self.static_w + self.dynamic_w * self.speed(state))

    def steady_c(self, ambient_c: float, busy: float, state: int = 0) -> float:
        """Return the temperature at which the die settles."""
        return ambient_c + (self.die_k_per_w + self.sink_k_per_w) * self.power_w(busy, state)

    def most_rise_k(self, from_c: float, ambient_c: float, busy: float, seconds: float) -> float:
        """
        Return how far the die rises at a constant load once it follows its sink, at most.

        :param from_c: temperature of the die at the beginning.
        :param ambient_c: air, the hottest that it gets.
        :param busy: share of the time in which frames are in work.
        :param seconds: for how long.
        """
        above = self.steady_c(ambient_c, busy) - from_c
        return max(above, 0.0) * -math.expm1(-seconds / self.sink_tau_s)


class Board:
    """
    The board at one moment; :meth:`run` moves it on.

    :param model: its constants.
    :param ambient_c: air at the beginning; the board begins settled, idle.
    """

    def __init__(self, model: BoardModel, ambient_c: float) -> None:
        """Begin idle."""
        self.model = model
        self.state = 0
        self._sink_c = ambient_c + model.sink_k_per_w * model.idle_w
        self.die_c = self._sink_c + model.die_k_per_w * model.idle_w
        self._governed_c = self.die_c

    @property
    def slowdown(self) -> float:
        """Return how many times longer a frame takes now."""
        return self.model.slowdown(self.state)

    def run(self, seconds: float, busy_s: float, ambient_c: float) -> None:
        """
        Let a short time pass.

        :param seconds: how long, well below the time constant of the die.
        :param busy_s: how much of it was work, seconds.
        :param ambient_c: air meanwhile, degrees Celsius.
        """
        model = self.model
        power = model.power_w(busy_s / seconds, self.state)
        # Heat flows from the die to the sink and on to the air; each step is exact for its node.
        die_target = self._sink_c + model.die_k_per_w * power
        self.die_c += (die_target - self.die_c) * -math.expm1(-seconds / model.die_tau_s)
        flow = (self.die_c - self._sink_c) / model.die_k_per_w
        sink_target = ambient_c + model.sink_k_per_w * flow
        self._sink_c += (sink_target - self._sink_c) * -math.expm1(-seconds / model.sink_tau_s)

    def govern(self) -> None:
        """
        Move the cooling device as the kernel's step-wise governor does.

        One state up while the temperature is at or above the trip and rises, one down while it is
        below and falls.
        """
        rise, self._governed_c = self.die_c - self._governed_c, self.die_c
        if self.die_c >= self.model.trip_c and rise > 0.0:
            self.state = min(self.state + 1, self.model.states)
        elif self.die_c < self.model.trip_c and rise < 0.0:
            self.state = max(self.state - 1, 0)


@dataclass(frozen=True)
class Weather:
    """
    Air around the board: mild, then hot for a while, then mild again.

    :param mild_c: at the beginning and at the end, degrees Celsius.
    :param hot_c: in between, degrees Celsius.
    :param lead_s: how long it stays mild first, seconds.
    :param ramp_s: how long it takes to get hot, and to cool again, seconds.
    :param hot_s: how long it stays hot, seconds.
    :param tail_s: how long the mild end is, seconds.
    """

    mild_c: float = 25.0
    hot_c: float = 83.0
    lead_s: float = 60.0
    ramp_s: float = 600.0
    hot_s: float = 600.0
    tail_s: float = 180.0

    @property
    def duration_s(self) -> float:
        """Return how long all of it takes, seconds."""
        return self.lead_s + 2.0 * self.ramp_s + self.hot_s + self.tail_s

    def ambient_c(self, at_s: float) -> float:
        """Return the temperature of the air, ``at_s`` seconds after the beginning."""
        up = (at_s - self.lead_s) / self.ramp_s
        down = (self.lead_s + 2.0 * self.ramp_s + self.hot_s - at_s) / self.ramp_s
        share = min(max(min(up, down), 0.0), 1.0)
        return self.mild_c + (self.hot_c - self.mild_c) * share
