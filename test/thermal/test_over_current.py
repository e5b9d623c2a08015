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

"""Over-current counters of a Jetson: differences, restarts, and polls that fail."""

import errno

from c7_inference_ros.thermal.over_current import OverCurrentCounters
from c7_inference_ros.thermal.sysfs import SysfsReader
from hypothesis import given
from hypothesis import strategies as st
import pytest
from thermal_sysfs import FaultyReader

FOLDER = 'class/hwmon/hwmon3'


class Counted:
    """A chip with three counters, and what counts them."""

    def __init__(self, tree):
        self.tree = tree
        self.reader = FaultyReader()
        self.counters = OverCurrentCounters()
        self.faults = []
        tree.write(f'{FOLDER}/name', 'soctherm_oc')
        for name in ('oc1', 'oc2', 'oc3'):
            tree.write(f'{FOLDER}/{name}_throt_en', 1)

    def poll(self, **counts):
        """Write counters and return what one poll finds."""
        for name, count in counts.items():
            self.tree.write(f'{FOLDER}/{name}_event_cnt', count)
        sysfs = SysfsReader(self.tree.root, self.reader)
        found = self.counters.update(sysfs, [('nvme', 'class/hwmon/hwmon0'),
                                             ('soctherm_oc', FOLDER)])
        self.faults = sysfs.faults
        return found


def values(readings):
    """Return name to value."""
    return {name: reading.value for name, reading in readings.items()}


@pytest.fixture
def counted(tree):
    """Return a chip without counters yet."""
    return Counted(tree)


def test_the_first_poll_sets_the_baseline(counted):
    found = counted.poll(oc1=5, oc2=0, oc3=27_390)
    assert values(found.events) == values(found.totals) == {'oc1': 0, 'oc2': 0, 'oc3': 0}
    assert found.events['oc3'].source == f'{FOLDER}/oc3_event_cnt'
    assert found.warnings == []
    assert counted.faults == []


def test_later_polls_count_and_add_up(counted):
    counted.poll(oc1=5, oc2=0, oc3=10)
    found = counted.poll(oc1=5, oc2=1, oc3=17)
    assert values(found.events) == values(found.totals) == {'oc1': 0, 'oc2': 1, 'oc3': 7}
    found = counted.poll(oc1=7, oc2=1, oc3=20)
    assert values(found.events) == {'oc1': 2, 'oc2': 0, 'oc3': 3}
    assert values(found.totals) == {'oc1': 2, 'oc2': 1, 'oc3': 10}
    assert values(counted.poll().events) == {'oc1': 0, 'oc2': 0, 'oc3': 0}


def test_peaks_alone_are_no_warning(counted):
    counted.poll(oc1=0, oc2=0, oc3=0)
    assert counted.poll(oc3=700).warnings == []


def test_under_voltage_and_average_over_current_warn(counted):
    counted.poll(oc1=0, oc2=0, oc3=0)
    assert counted.poll(oc1=1, oc2=3).warnings == [
        'oc1 (under-voltage of the supply): 1 event since the last poll; check the power supply'
        ' and the power mode',
        'oc2 (average over-current): 3 events since the last poll; check the power supply and the'
        ' power mode']
    assert counted.poll().warnings == []


def test_a_throttle_that_is_armed_is_not_one_that_acts(counted):
    for _ in range(2):
        found = counted.poll(oc1=0)
        assert set(found.events) == {'oc1'}
        assert found.warnings == []


def test_a_counter_that_jumps_back_starts_anew(counted):
    counted.poll(oc2=100)
    counted.poll(oc2=103)
    found = counted.poll(oc2=2)
    assert (values(found.events), values(found.totals)) == ({'oc2': 0}, {'oc2': 3})
    assert found.warnings == []
    found = counted.poll(oc2=6)
    assert (values(found.events), values(found.totals)) == ({'oc2': 4}, {'oc2': 7})


def test_a_counter_of_32_bits_that_wraps_starts_anew(counted):
    counted.poll(oc3=2 ** 32 - 3)
    assert counted.poll(oc3=4).events['oc3'].value == 0
    assert counted.poll(oc3=9).events['oc3'].value == 5


@pytest.mark.parametrize('nonsense', [2 ** 32 - 1, 1_000_101])
def test_a_jump_that_no_board_makes_is_not_counted(counted, nonsense):
    counted.poll(oc1=100)
    assert counted.poll(oc1=nonsense).events['oc1'].value == 0
    assert counted.poll(oc1=101).totals['oc1'].value == 0
    assert counted.poll(oc1=102).totals['oc1'].value == 1


def test_the_largest_jump_that_is_believed(counted):
    counted.poll(oc3=100)
    assert counted.poll(oc3=1_000_100).events['oc3'].value == 1_000_000


@pytest.mark.parametrize('code', [errno.EIO, errno.EINVAL, errno.EAGAIN, errno.EACCES])
def test_a_poll_that_fails_loses_nothing(counted, code):
    counted.poll(oc1=5, oc2=5)
    counted.reader.failing = {'oc1_event_cnt': code}
    found = counted.poll(oc1=9, oc2=6)
    assert values(found.events) == values(found.totals) == {'oc2': 1}
    fault, = counted.faults
    assert errno.errorcode[code] in fault
    counted.reader.failing = {}
    found = counted.poll(oc1=10)
    assert values(found.events) == {'oc1': 5, 'oc2': 0}
    assert values(found.totals) == {'oc1': 5, 'oc2': 1}
    assert 'oc1' in found.warnings[0]


@pytest.mark.parametrize('content', ['', '-3', 'many', 2 ** 32, '9' * 18, b'\xff\n'])
def test_garbage_is_a_fault_and_keeps_the_baseline(counted, content):
    counted.poll(oc1=5)
    assert counted.poll(oc1=content).events == {}
    assert len(counted.faults) == 1
    assert counted.poll(oc1=8).events['oc1'].value == 3


def test_many_faults_are_one_sentence(counted):
    counted.poll(oc1=1, oc2=1, oc3=1)
    counted.reader.failing = {'_event_cnt': errno.EIO}
    counted.poll()
    fault, = counted.faults
    assert 'and 2 more' in fault


def test_a_board_without_the_chip_counts_nothing(tree):
    sysfs = SysfsReader(tree.root)
    found = OverCurrentCounters().update(sysfs, [('ina3221', FOLDER)])
    assert (found.events, found.totals, found.warnings, sysfs.faults) == ({}, {}, [], [])


def test_another_number_after_the_next_probe_is_the_same_counter(counted):
    counted.poll(oc1=5)
    (counted.tree.root / FOLDER).rename(counted.tree.root / 'class/hwmon/hwmon9')
    counted.tree.write('class/hwmon/hwmon9/oc1_event_cnt', 7)
    found = counted.counters.update(SysfsReader(counted.tree.root),
                                    [('soctherm_oc', 'class/hwmon/hwmon9')])
    assert found.events['oc1'].value == 2


@given(st.lists(st.one_of(st.none(), st.integers(-5, 2 ** 33)), min_size=1, max_size=30))
def test_no_history_gives_a_negative_or_huge_number(tmp_path_factory, history):
    from thermal_sysfs import SysfsTree
    counted = Counted(SysfsTree(tmp_path_factory.mktemp('history')))
    total = 0
    for count in history:
        found = counted.poll(oc2='' if count is None else count)
        if 'oc2' in found.events:
            assert 0 <= found.events['oc2'].value <= 1_000_000
            total += found.events['oc2'].value
            assert found.totals['oc2'].value == total
        else:
            assert counted.faults
