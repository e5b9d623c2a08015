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

"""What watching the heat costs: CPU time of the polling thread, on every source and board."""

import threading
import time

from board_trees import BOARDS
from board_trees import plant
from c7_inference_ros.thermal.jetson import JetsonThermalSource
from c7_inference_ros.thermal.linux import LinuxThermalSource
from c7_inference_ros.thermal.publisher import ThermalStatePublisher
import pytest
from thermal_sysfs import laptop
from thermal_sysfs import SysfsTree

SECOND = 1_000_000_000
#: Share of one core.
LIMIT = 0.01
GLANCES_PER_S = 4
MACHINES = (*BOARDS, 'laptop', 'server')


def server(tree):
    """Write a host with 64 CPUs, each with counters, a clock and a cooling device."""
    laptop(tree)
    for index in range(64):
        tree.cpu(index, core=0, package=0, khz=2_000_000)
        tree.cooling(10 + index, 'Processor', 0)
    return tree


def source_of(machine, root):
    """Return the source of a planted machine, on real files."""
    if machine in BOARDS:
        return JetsonThermalSource(plant(machine, root).sysfs_root)
    tree = {'laptop': laptop, 'server': server}[machine](SysfsTree(root / 'sys'))
    return LinuxThermalSource(tree.root)


class Clock:
    """A clock that is moved by hand."""

    now_ns = 1000 * SECOND

    def __call__(self):
        """Return the time."""
        return self.now_ns


@pytest.mark.parametrize('machine', MACHINES)
def test_polls_and_glances_take_less_than_a_hundredth_of_a_core(
        machine, tmp_path, record_property):
    clock = Clock()
    publisher = ThermalStatePublisher(source_of(machine, tmp_path), clock_ns=clock)
    # As at the default rate, long enough that the caches were renewed twice in it.
    seconds, poll_s, glance_s = 150, 0.0, 0.0
    publisher._poll_once()
    for _ in range(seconds):
        began_s = time.thread_time()
        for _ in range(GLANCES_PER_S):
            assert publisher._glance_once() == frozenset()
        glanced_s = time.thread_time()
        publisher._poll_once()
        poll_s += time.thread_time() - glanced_s
        glance_s += glanced_s - began_s
        clock.now_ns += SECOND
    state = publisher.snapshot()
    assert state.is_telemetry_available and len(state.zones) >= 4
    share = (poll_s + glance_s) / seconds
    for name, value in (('share_of_a_core', share), ('poll_ms', poll_s / seconds * 1e3),
                        ('glance_ms', glance_s / seconds / GLANCES_PER_S * 1e3)):
        record_property(name, round(value, 5))
    print(f'{machine}: {share:.3%} of a core, poll {poll_s / seconds * 1e3:.2f} ms, glance'
          f' {glance_s / seconds / GLANCES_PER_S * 1e3:.2f} ms')
    assert share < LIMIT


@pytest.mark.parametrize('machine', ['orin_agx', 'laptop'])
def test_the_polling_thread_itself_takes_less_than_a_hundredth_of_a_core(
        machine, tmp_path, record_property):
    times, enough = [], threading.Event()

    def note(state):
        times.append((time.monotonic(), time.thread_time()))
        if len(times) == 4:
            enough.set()

    publisher = ThermalStatePublisher(source_of(machine, tmp_path), on_state=note)
    publisher.start()
    try:
        assert enough.wait(60.0)
    finally:
        publisher.stop()
    (began_s, before_s), (ended_s, after_s) = times[0], times[3]
    share = (after_s - before_s) / (ended_s - began_s)
    record_property('share_of_a_core', round(share, 5))
    print(f'{machine}: the polling thread took {share:.3%} of a core')
    assert 0.0 < share < LIMIT
