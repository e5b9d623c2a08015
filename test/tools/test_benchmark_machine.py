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

import os

from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import Reading
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.thermal.state import ZoneReading
from c7_inference_ros.tools.benchmarking.measure import Samples
from c7_inference_ros.tools.benchmarking.other_load import LoadWatch
from c7_inference_ros.tools.benchmarking.other_load import OtherLoad
from c7_inference_ros.tools.benchmarking.soak import soak_of
import pytest


class Proc:
    """A kernel with two processors that tells what it is told to tell."""

    def __init__(self, root):
        self.root = root
        self.at = self.own = 0.0
        self.tell()

    def tell(self, user=0, idle=0, stolen=0, waited=0.0, held=0.0):
        hz = os.sysconf('SC_CLK_TCK')
        ticks = [int(value * hz) for value in (user, 0, 0, idle, 0, 0, 0, stolen)]
        line = ' '.join(map(str, ticks))
        for name, text in (
                ('proc/stat', f'cpu  {line} 0 0\ncpu0 1\ncpu1 1\nintr 5\n'),
                ('proc/self/task/7/schedstat', f'5 {int(waited * 1e9)} 3\n'),
                ('proc/self/cgroup', '0::/box\n'),
                ('sys/fs/cgroup/box/cpu.stat', f'throttled_usec {int(held * 1e6)}\n')):
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def watch(self):
        return LoadWatch(self.root, lambda: self.at, lambda: self.own)


def test_others_are_what_this_process_did_not_take(tmp_path):
    proc = Proc(tmp_path)
    watch = proc.watch()
    proc.at, proc.own = 10.0, 8.0
    proc.tell(user=13, idle=6, stolen=1, waited=1.5, held=0.5)
    load = watch.finish()
    # 14 s of 20 were taken, 8 of them by this process, 1 by the hypervisor.
    assert load == OtherLoad(pytest.approx(0.3), pytest.approx(0.05), pytest.approx(0.15),
                             pytest.approx(0.5))
    assert load.warnings() == [
        'other programs used 30% of the processors, 5% of them on other virtual machines',
        'threads of this program waited for a processor, together for 15% of the time',
        'the CPU quota of the container held this program back for 0.5 s']
    assert load.as_dict()['busy_share'] == 0.3


def test_a_quiet_machine_is_worth_no_word(tmp_path):
    proc = Proc(tmp_path)
    watch = proc.watch()
    proc.at, proc.own = 10.0, 8.0
    proc.tell(user=8.5, idle=11.5, waited=0.1)
    assert watch.finish().warnings() == []


def test_a_kernel_that_says_nothing_is_unknown(tmp_path):
    watch = LoadWatch(tmp_path, iter((0.0, 1.0)).__next__, lambda: 0.0)
    load = watch.finish()
    assert load == OtherLoad(None, None, None, None) and load.warnings() == []


def test_this_machine_can_be_watched():
    watch = LoadWatch()
    sum(range(2_000_000))
    load = watch.finish()
    assert load.busy_share is None or 0.0 <= load.busy_share <= 1.0


class BenchOf:

    def __init__(self, label, whole):
        samples = Samples()
        for at, seconds in whole:
            samples.at_s.append(at)
            samples.stages['whole'].append(seconds)
        self.subject = type('Subject', (), {'label': label})
        self.samples = {'detector': samples}


def state(at_s, celsius, clock, hot=False, known=True):
    now_ns = int(at_s * 1e9)
    device = DeviceState(
        'jetson', 'jetson', now_ns, known, zones=(ZoneReading('gpu', celsius, 'x'),) * known,
        is_throttling=hot, throttle_reasons=('hot',) * hot,
        clocks_mhz={'gpu': Reading(clock, 'x'), 'gpu_max': Reading(1300.0, 'x')},
        power_w={'VDD_IN': Reading(at_s, 'x')})
    return ThermalState((device,), now_ns)


def test_latency_and_heat_are_brought_together():
    # Ten seconds; from the fifth on twice as slow and hot.
    bench = BenchOf('ort', [(at / 10, 0.01 if at < 50 else 0.02) for at in range(100)])
    states = [state(100 + second + 0.5, 50.0 + second, 1300.0 - 100 * second, hot=second >= 5)
              for second in range(10)]
    soak = soak_of([bench], states, int(100e9), 10.0)
    assert len(soak.windows) == 10
    assert [window.throttled for window in soak.windows] == [False] * 5 + [True] * 5
    assert [window.temperature_c['jetson'] for window in soak.windows] == [
        50.0 + second for second in range(10)]
    assert soak.windows[3].clocks_mhz == {'jetson': {'gpu': 1000.0}}
    assert soak.windows[3].power_w == {'jetson': {'VDD_IN': 103.5}}
    assert soak.windows[0].whole_ms['ort', 'detector'] == (10.0, 10.0, 10)
    assert soak.windows[9].whole_ms['ort', 'detector'] == (20.0, 20.0, 10)
    assert soak.slowdown == {('ort', 'detector'): 2.0}
    assert 'detector with ort became slower' in soak.warnings()[0]
    assert soak.as_dict()['windows'][9]['whole_ms']['ort']['detector']['count'] == 10


def test_what_no_sensor_told_is_unknown_and_not_cool():
    bench = BenchOf('ort', [(0.1, 0.01)] * 10)
    soak = soak_of([bench], [state(0.5, 50.0, 1.0, known=False)], 0, 2.0)
    assert [window.throttled for window in soak.windows] == [None, None]
    assert soak.windows[0].temperature_c == {} and soak.warnings() == []
    assert soak.windows[1].whole_ms == {}


def test_between_two_polls_the_earlier_one_stands_for_a_while():
    bench = BenchOf('ort', [(0.1, 0.01)] * 10)
    soak = soak_of([bench], [state(100.0, 50.0, 1.0, hot=True)], int(100.5e9), 6.0)
    assert [window.throttled for window in soak.windows] == [
        True, True, None, None, None, None]
