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

"""Heats a planted board from idle until it throttles, and lets it cool down, in injected time."""

from dataclasses import dataclass
import math
import re

#: Share of the duration at which heating ends, at which cooling begins and at which it ends.
HEATED, COOLING, COOLED = 0.35, 0.5, 0.9
IDLE_AGAIN = 0.95
LIGHT_LOAD = 0.15

_SLOWS = re.compile(r'cpufreq-.*|devfreq-.*|.*-throttle-alert')
#: By the beginning of a zone's name: how much cooler than the hottest it is at the peak, kelvin,
#: and how long it lags behind, seconds.
_ZONES = {'gpu': (0.0, 0.0), 'cpu': (1.5, 2.0), 'soc': (4.5, 6.0), 'cv': (5.0, 5.0),
          'tdiode': (8.0, 12.0), 'tboard': (30.0, 40.0)}
_NOT_ON_DIE = ('tj', 'tdiode', 'tboard')
#: Amperes under full load.
_FULL_LOAD_A = {'VDD_IN': 4.8, 'VDD_CPU_GPU_CV': 2.4, 'VDD_SOC': 0.72,
                'VDD_GPU_SOC': 2.2, 'VDD_CPU_CV': 0.9, 'VDDQ_VDD2_1V8AO': 0.5,
                'VDD_GPU': 5.0, 'VDD_CPU_SOC_MSS': 2.0, 'VIN_SYS_5V0': 2.6, 'VIN': 6.2}
#: Events of instantaneous over-current a second under full load; a healthy board shows them.
_OVER_CURRENT_HZ = 7.6
#: The resolution of the sensors, kelvin.
_STEP_K = 0.03125


@dataclass(frozen=True)
class Truth:
    """
    What a board truly is at one moment.

    :param time_s: seconds since the ramp began.
    :param is_throttling: whether the kernel slows a processor because of heat.
    :param hottest: type of the hottest zone that can be read.
    :param hottest_c: its temperature, degrees Celsius.
    :param temperatures_c: of every zone that can be read, by type.
    :param cooling: state of every cooling device, by type.
    :param load: of the GPU, 0 to 1.
    :param gpu_mhz: clock of the GPU now.
    :param gpu_share: that clock as a share of what the power mode allows.
    :param rails_w: power of every rail in watts, by label.
    :param over_current: events since boot, by counter.
    """

    time_s: float
    is_throttling: bool
    hottest: str
    hottest_c: float
    temperatures_c: dict
    cooling: dict
    load: float
    gpu_mhz: float
    gpu_share: float
    rails_w: dict
    over_current: dict


class Ramp:
    """
    Plays 45 C to throttle and back over a planted board; all that happens depends on time alone.

    The temperatures are the script. What follows from them is the work of the kernel's step-wise
    governor, which polls every zone and moves the bound cooling devices by the board's own trips.

    :param tree: the board, idle.
    :param peak_c: of the hottest zone; None for 3 K above where the board slows a processor.
    :param duration_s: of the whole ramp; seconds.
    :param idle_c: where it begins and ends.
    """

    def __init__(self, tree, peak_c=None, duration_s=600.0, idle_c=45.0):
        """Read trips, bindings and rails from the tree; nothing is written."""
        self.tree = tree
        self.duration_s = duration_s
        self.idle_c = idle_c
        self._governor = Governor(tree)
        self.throttle_c = self._governor.lowest_c('passive', _SLOWS)
        self.critical_c = self._governor.lowest_c('critical')
        self.peak_c = self.throttle_c + 3.0 if peak_c is None else peak_c
        if self.peak_c >= self.critical_c:
            raise ValueError(f'at {self.peak_c} C the board shuts down; its critical trip is'
                             f' {self.critical_c} C')
        self._time_s = 0.0
        self._polls = 0
        self._gated = [zone for zone in tree.zones if zone.startswith('gpu')
                       and not tree.is_readable(tree.zones[zone] / 'temp')]
        self._gpu_mhz = [hertz / 1e6 for hertz in tree.gpu_frequencies()]
        self._idle_gpu_mhz = tree.integer(tree.gpu_clock / 'cur_freq') / 1e6
        self._idle_cpu_mhz = tree.cpu_mhz()
        self._allowed_gpu_mhz = tree.integer(tree.gpu_clock / 'max_freq') / 1e6
        self._rails = tree.rails()
        self._counted = 0

    @property
    def poll_s(self):
        """Return how often the kernel looks at the zones while one is above a trip, seconds."""
        return 0.5 if self.tree.board == 'thor' else 1.0

    def heat(self, time_s):
        """Return how far the hottest zone is from idle to peak at a time, 0 to 1."""
        share = time_s / self.duration_s
        if share <= 0 or share >= COOLED:
            return 0.0
        if share < HEATED:
            return 0.5 - 0.5 * math.cos(math.pi * share / HEATED)
        if share <= COOLING:
            return 1.0
        return 0.5 + 0.5 * math.cos(math.pi * (share - COOLING) / (COOLED - COOLING))

    def load(self, time_s):
        """Return the load of the GPU at a time, 0 to 1; a little is left while it cools."""
        share = time_s / self.duration_s
        if share <= 0 or share >= IDLE_AGAIN:
            return 0.0
        return 1.0 if share < COOLING else LIGHT_LOAD

    def advance(self, to_s):
        """
        Play until a time and return what the board truly is then.

        :param to_s: seconds since the ramp began; never before the time of the last call.
        """
        if to_s < self._time_s:
            raise ValueError(f'the ramp is at {self._time_s} s and cannot go back to {to_s} s')
        while self._polls * self.poll_s <= to_s:
            polled_s = self._polls * self.poll_s
            self._play(polled_s)
            self._governor.poll(self.tree)
            self._follow(polled_s)
            self._polls += 1
        if to_s > self._time_s:
            # Sensors answer with the temperature of the moment, between polls as well.
            self._play(to_s)
            self._follow(to_s)
        return self._truth(to_s)

    def _play(self, now_s):
        """Set what does not depend on the kernel."""
        tree = self.tree
        for zone in self._gated:
            tree.power(zone, self.load(now_s) > 0)
        die = [self.idle_c]
        for zone, folder in tree.zones.items():
            if zone.startswith('tj'):
                continue
            celsius = self._temperature(zone, now_s)
            tree.write(folder / 'temp', round(celsius * 1000))
            if not zone.startswith(_NOT_ON_DIE) and tree.is_readable(folder / 'temp'):
                die.append(celsius)
        for zone, folder in tree.zones.items():
            if zone.startswith('tj'):
                tree.write(folder / 'temp', round(max(die) * 1000))
        self._time_s = now_s

    def _temperature(self, zone, now_s):
        below_k, lag_s = next((value for name, value in _ZONES.items() if zone.startswith(name)),
                              _ZONES['soc'])
        heat = self.heat(now_s - min(lag_s, 0.04 * self.duration_s))
        celsius = self.idle_c + heat * max(0.0, self.peak_c - below_k - self.idle_c)
        return math.floor(celsius / _STEP_K) * _STEP_K

    def _follow(self, now_s):
        """Set what the caps of the kernel leave of clocks and power."""
        tree = self.tree
        load = self.load(now_s)
        if load > 0.5:
            tree.set_gpu_clock(self._gpu_mhz[-1])
            tree.set_cpu_clock(math.inf)
        else:
            light = self._gpu_mhz[len(self._gpu_mhz) // 3]
            tree.set_gpu_clock(light if load > 0 else self._idle_gpu_mhz)
            tree.set_cpu_clock(self._idle_cpu_mhz)
        tree.set_gpu_load(load)
        work = load * tree.integer(tree.gpu_clock / 'cur_freq') / 1e6 / self._gpu_mhz[-1]
        for label, (volts, idle_a) in self._rails.items():
            amps = idle_a + work * (_FULL_LOAD_A[label] - idle_a)
            tree.set_rail(label, volts, amps)
        cooling_s, idle_s = COOLING * self.duration_s, IDLE_AGAIN * self.duration_s
        busy_s = min(now_s, cooling_s) + LIGHT_LOAD * max(0.0, min(now_s, idle_s) - cooling_s)
        due = int(_OVER_CURRENT_HZ * busy_s) - self._counted
        tree.count_over_current('oc3', due)
        self._counted += due

    def _truth(self, now_s):
        tree = self.tree
        temperatures = {zone: tree.integer(folder / 'temp') / 1000
                        for zone, folder in tree.zones.items()
                        if tree.is_readable(folder / 'temp')}
        cooling = {kind: tree.integer(folder / 'cur_state')
                   for kind, folder in tree.cooling_devices.items()}
        # The junction zone repeats the hottest of the others.
        hottest = max(temperatures, key=lambda zone: (temperatures[zone],
                                                      not zone.startswith('tj')))
        gpu_mhz = tree.integer(tree.gpu_clock / 'cur_freq') / 1e6
        return Truth(now_s, any(state > 0 for kind, state in cooling.items()
                                if _SLOWS.fullmatch(kind)),
                     hottest, temperatures[hottest], temperatures, cooling, self.load(now_s),
                     gpu_mhz, gpu_mhz / self._allowed_gpu_mhz,
                     {label: volts * amps for label, (volts, amps) in tree.rails().items()},
                     tree.over_current())


class Governor:
    """
    The kernel's step-wise governor, ``drivers/thermal/gov_step_wise.c`` of Linux 5.15.

    A zone at or above a trip raises the bound cooling devices by one step in every poll in which
    it got hotter, and below the trip lowers them by one in every poll in which it got cooler. A
    cooling device takes the highest state that any of its bindings asks for. The hysteresis of a
    trip plays no part in it.

    :param tree: the board.
    """

    def __init__(self, tree):
        """Read the bindings of every zone."""
        self.zones = {zone: _bindings(tree, folder) for zone, folder in tree.zones.items()}
        self._trips = {zone: _trips(tree, folder) for zone, folder in tree.zones.items()}
        self._last = {}

    def lowest_c(self, kind, cooling=None):
        """
        Return the lowest trip of a kind, degrees Celsius.

        :param cooling: pattern of the cooling devices that have to be bound to it.
        """
        if cooling is None:
            return min(trip for trips in self._trips.values() for word, trip in trips
                       if word == kind) / 1000
        return min(binding.trip for bindings in self.zones.values() for binding in bindings
                   if binding.word == kind and cooling.fullmatch(binding.cooling)) / 1000

    def poll(self, tree):
        """Look at every zone that can be read and move its cooling devices."""
        for zone, bindings in self.zones.items():
            path = tree.zones[zone] / 'temp'
            if not tree.is_readable(path):
                continue
            temperature = tree.integer(path)
            trend = temperature - self._last.get(zone, temperature)
            self._last[zone] = temperature
            for binding in bindings:
                folder = tree.cooling_devices[binding.cooling]
                binding.step(tree.integer(folder / 'cur_state'), temperature, trend)
                wanted = max(other.target or 0 for others in self.zones.values()
                             for other in others if other.cooling == binding.cooling)
                if wanted != tree.integer(folder / 'cur_state'):
                    tree.set_cooling(binding.cooling, wanted)


@dataclass
class Binding:
    """
    One cooling device that a trip of a zone moves.

    :param word: type of the trip.
    :param trip: its temperature, millidegrees.
    :param cooling: type of the cooling device.
    :param lower: lowest state it is given.
    :param upper: highest state it is given.
    :param target: state that is asked for now, None for none.
    """

    word: str
    trip: int
    cooling: str
    lower: int
    upper: int
    target: int | None = None
    is_new: bool = True

    def step(self, state, temperature, trend):
        """Choose the target anew, as get_target_state() does."""
        is_hot = temperature >= self.trip
        if self.is_new:
            self.is_new = False
            self.target = self._within(state + 1) if is_hot else None
        elif trend > 0 and is_hot:
            self.target = self._within(state + 1)
        elif trend < 0 and not is_hot:
            self.target = None if state <= self.lower else self._within(state - 1)

    def _within(self, state):
        return min(max(state, self.lower), self.upper)


def _trips(tree, folder):
    """Return (type, millidegrees) of the trips of a zone, in their order."""
    trips, number = [], 0
    while (folder / f'trip_point_{number}_type').exists():
        trips.append((tree.text(folder / f'trip_point_{number}_type'),
                      tree.integer(folder / f'trip_point_{number}_temp')))
        number += 1
    return trips


def _bindings(tree, folder):
    """Return the bindings of a zone. Their limits, which sysfs hides, are those of L4T."""
    trips = _trips(tree, folder)
    active = [index for index, (word, _) in enumerate(trips) if word == 'active']
    bindings, number = [], 0
    while (folder / f'cdev{number}').exists():
        cooling = tree.text(folder / f'cdev{number}/type')
        index = tree.integer(folder / f'cdev{number}_trip_point')
        most = tree.integer(folder / f'cdev{number}/max_state')
        if cooling.endswith('-alert'):
            lower, upper = 1, 1
        elif index in active:
            lower, upper = active.index(index), active.index(index) + 1
        else:
            lower, upper = 0, most
        bindings.append(Binding(*trips[index], cooling, lower, upper))
        number += 1
    return bindings
