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

"""Twenty-four hours of polls with faults: no crash, no false cool, nothing that grows."""

import os
import random
import threading
import time

from board_trees import plant
from c7_inference_ros.thermal.combined import CombinedSource
from c7_inference_ros.thermal.jetson import JetsonThermalSource
from c7_inference_ros.thermal.linux import LinuxThermalSource
from c7_inference_ros.thermal.publisher import ThermalStatePublisher
from c7_inference_ros.thermal.sysfs import read_attribute
from long_day import Clock
from long_day import Day
from long_day import DAY_S
from long_day import resources
from long_worlds import FileWorld
from long_worlds import GpuWorld
from long_worlds import HostWorld
from memory_files import MemoryFiles
from memory_files import NO_NUMBERS
import pytest
from thermal_sysfs import laptop
from thermal_sysfs import SysfsTree

pytestmark = pytest.mark.long


class Hang:
    """Lets the day's clock run on; the day is made after the world that hangs."""

    day = None

    def __call__(self, seconds):
        """Hang for so long."""
        self.day.hang(seconds)


def jetson_day(root):
    """Return a day of an Orin AGX."""
    tree = plant('orin_agx', root)
    files = MemoryFiles(tree.read_bytes)
    clock, hang = Clock(), Hang()
    world = FileWorld(
        tree.sysfs_root, files, JetsonThermalSource(tree.sysfs_root, files), 'jetson', hang,
        hot=('gpu-thermal', 'gpu-throttle-alert'), limit_c=99.0,
        always_on=('cpu-thermal', 'gpu-thermal', 'tj-thermal'))
    hang.day = Day(JetsonThermalSource(tree.sysfs_root, files), world, clock)
    return hang.day


def host_day(root):
    """Return a day of a laptop with a GPU."""
    tree = laptop(SysfsTree(root / 'sys'))
    files = MemoryFiles(read_attribute)
    clock, hang = Clock(), Hang()
    gpu = GpuWorld(hang)
    world = HostWorld(
        tree.root, files, LinuxThermalSource(tree.root, files), 'host', hang, gpu=gpu,
        hot=('acpitz', 'Processor'), limit_c=95.0,
        always_on=('acpitz', 'x86_pkg_temp', 'iwlwifi_1'), seed=5)
    hang.day = Day(CombinedSource([LinuxThermalSource(tree.root, files), gpu]), world, clock)
    return hang.day


@pytest.mark.parametrize('make', [jetson_day, host_day])
def test_a_day_of_polls_with_faults_shows_the_truth_or_nothing_and_keeps_nothing(
        make, tmp_path, monkeypatch):
    day = make(tmp_path)
    world, counts = day.world, day.counts
    monkeypatch.setattr(os, 'listdir', world.files.listdir)
    day.run()  # compares each state with the truth
    # Nothing that the day is for has been left out.
    assert counts['polls'] >= DAY_S
    assert all(faults.drawn >= 50 for faults in world.faults), [
        faults.drawn for faults in world.faults]
    for what, least in (('late', 10), ('lost', 1000), ('hot', 5000), ('cool', 50_000),
                        ('hidden heat', 50), ('stale', 200), ('faulty', 20_000)):
        assert counts[what] >= least, (what, counts)
    assert day.bugs == []
    for name, rules in day.rules.items():
        assert not rules.expected, name
        assert rules.told >= 200, name
    assert make is host_day or world.totals_ok > 3 * 0.9 * DAY_S
    first, last = day.resources[1], day.resources[24]
    assert (first['threads'], first['files']) == (last['threads'], last['files'])
    # One object per fault, or per hundred polls, would be thousands.
    assert abs(last['blocks'] - first['blocks']) < 500, day.resources
    assert last['rss'] - first['rss'] < 8 << 20


def test_real_files_that_fail_in_every_way_leave_no_descriptor_and_no_object(tmp_path):
    tree = laptop(SysfsTree(tmp_path / 'sys'))
    publisher = ThermalStatePublisher(LinuxThermalSource(tree.root))
    temp = tree.root / 'devices/virtual/thermal/thermal_zone0/temp'
    draw = random.Random(3)

    def missing():
        temp.unlink()

    def folder():
        temp.unlink()
        temp.mkdir()

    def loop():
        temp.unlink()
        temp.symlink_to('temp')

    def garbage():
        temp.write_bytes(draw.choice(NO_NUMBERS))

    def long():
        temp.write_bytes(b'1' * 1_000_000)

    def live(polls):
        for _ in range(polls):
            draw.choice((missing, folder, loop, garbage, long))()
            state = publisher._poll_once()
            assert [zone.name for zone in state.zones if zone.name == 'acpitz'] == []
            assert any('thermal_zone0/temp' in fault for fault in state.faults)
            if temp.is_dir():
                temp.rmdir()
            temp.unlink(missing_ok=True)
            temp.write_bytes(b'45000\n')
            state = publisher._poll_once()
            assert state.zones[0].name == 'acpitz' and state.faults == ()

    live(100)
    before = resources()
    live(1500)
    after = resources()
    assert (after['threads'], after['files']) == (before['threads'], before['files'])
    assert abs(after['blocks'] - before['blocks']) < 500


class Gate:
    """Reads files, and hangs in one of them while it is shut."""

    def __init__(self, ending):
        self.ending = ending
        self.opened = threading.Event()
        self.opened.set()
        self.reached = threading.Event()

    def __call__(self, path):
        """Return the bytes, sooner or later."""
        if path.endswith(self.ending) and not self.opened.is_set():
            self.reached.set()
            assert self.opened.wait(60.0), 'the test left the gate shut'
        return read_attribute(path)


def wait_until(condition, timeout_s=20.0):
    """Wait for a condition of another thread, and fail when it does not come."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, 'the condition did not come'
        time.sleep(0.002)


def test_threads_that_really_hang_show_nothing_old_and_leave_nothing(tmp_path):
    tree = laptop(SysfsTree(tmp_path / 'sys'))
    gate = Gate('thermal_zone0/temp')
    losses = []
    publisher = ThermalStatePublisher(
        LinuxThermalSource(tree.root, gate), poll_hz=50.0, join_timeout_s=0.01,
        on_transition=lambda before, after: losses.append(after.is_telemetry_available))
    before = None
    for turn in range(40):
        millidegrees = 40_000 + turn
        tree.temperature(0, millidegrees)
        publisher.start()
        thread = publisher._session.thread
        wait_until(lambda: publisher.snapshot().is_telemetry_available)
        gate.reached.clear()
        gate.opened.clear()
        assert gate.reached.wait(20.0)
        wait_until(lambda: not publisher.snapshot().is_telemetry_available)
        publisher.check_stale()
        tree.temperature(0, millidegrees + 5000)  # what it reads at last is another truth
        if turn % 2:
            publisher.stop()  # within its limit, while the thread hangs
            assert 'not being polled' in publisher.snapshot().faults[0]
            gate.opened.set()
        else:
            gate.opened.set()
            shown = []
            wait_until(lambda: shown.append(publisher.snapshot())
                       or shown[-1].is_telemetry_available)
            assert shown[-1].zones[0].temperature_c == (millidegrees + 5000) / 1000
            publisher.stop()
        thread.join(20.0)
        assert not thread.is_alive()
        if turn == 4:
            before = resources()
    after = resources()
    assert (after['threads'], after['files']) == (before['threads'], before['files'])
    assert abs(after['blocks'] - before['blocks']) < 1000
    assert False in losses
