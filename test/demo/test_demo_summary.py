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

"""Numbers add up or the demo says so; the table shows what the summary holds."""

import json
import types

from c7_inference_ros.thermal.conditions import ConditionsRecorder
from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import Reading
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.thermal.state import ZoneReading
from demo import summary as results
from demo.accounting import Account
from demo.accounting import node_counts
from demo.errors import DemoError
from demo.recording import Status
from hypothesis import given
from hypothesis import strategies as st
import pytest

GOOD = Account(sent=250, received=249, published=246, dropped={'overwritten': 2, 'stale': 1},
               in_flight=0, recorded=246)
count = st.integers(0, 10_000)


def changed(**values):
    return Account(**{**GOOD.__dict__, **values})


def test_a_whole_account_has_no_problem():
    assert GOOD.problems() == []
    assert (GOOD.lost, GOOD.received_share) == (1, 249 / 250)


@pytest.mark.parametrize('values, words', [
    ({'published': 245, 'recorded': 245}, 'received 249 frames, but published 245, dropped 3'),
    ({'dropped': {'overwritten': 9}}, 'dropped 9'),
    ({'sent': 248}, 'received 249 images, but only 248 were sent'),
    ({'recorded': 240}, 'published 246 detection arrays, but 240 arrived'),
    ({'in_flight': 1, 'published': 245, 'recorded': 245}, '1 frames were still in work')])
def test_each_wrong_sum_is_named_once(values, words):
    problems = changed(**values).problems()
    assert len(problems) == 1 and words in problems[0]


@given(published=count, dropped=st.dictionaries(st.sampled_from('abc'), count), lost=count,
       error=st.integers(-3, 3))
def test_any_account_is_right_exactly_when_it_adds_up(published, dropped, lost, error):
    received = published + sum(dropped.values())
    account = Account(sent=received + lost, received=received, published=published + error,
                      dropped=dropped, in_flight=0, recorded=published + error)
    assert bool(account.problems()) == bool(error)


def test_nothing_sent_is_no_division_by_zero():
    assert Account(0, 0, 0, {}, 0, 0).received_share == 0.0


def test_counts_of_the_node():
    values = {'received': '3', 'published': '2', 'in_flight': '0', 'dropped_stale': '1',
              'dropped_overwritten': '0', 'rate_in_hz': '24.900'}
    assert node_counts(values) == {'received': 3, 'published': 2, 'in_flight': 0,
                                   'dropped': {'stale': 1, 'overwritten': 0}}
    assert node_counts({'received': '3', 'published': '2'}) is None
    assert node_counts({**values, 'received': ''}) is None


def test_percentiles_and_rate():
    found = results.percentiles_ms({stamp: float(stamp) for stamp in range(101)})
    assert found == {'p50': 50.0, 'p95': 95.0, 'p99': 99.0}
    assert results.percentiles_ms({}) == {'p50': None, 'p95': None, 'p99': None}
    assert results.rate_hz([0, 40_000_000, 80_000_000]) == 25.0
    assert results.rate_hz([5]) is None


def array_of(*class_ids):
    return types.SimpleNamespace(detections=[types.SimpleNamespace(results=[
        types.SimpleNamespace(hypothesis=types.SimpleNamespace(class_id=class_id))])
        for class_id in class_ids])


def test_detections_are_counted_by_name():
    arrays = {1: array_of('0', '2'), 2: array_of('2'), 3: array_of(), 4: array_of('7', 'x')}
    assert results.count_detections(arrays, {0: 'person', 2: 'car'}) == {
        'car': 2, 'person': 1, '7': 1, 'x': 1}


def test_stages_of_the_node():
    assert results.node_stages({
        'inference_p50_ms': '12.500', 'inference_p99_ms': '20.000', 'wait_p50_ms': '',
        'processing_time_ms': '3', 'dropped_stale': '0'}) == {
            'inference': {'p50': 12.5, 'p99': 20.0}, 'wait': {'p50': None}}


def status(message='', **values):
    return Status('OK', message, values)


def test_temperature_is_the_peak_or_the_reason():
    known = results.temperature_of({
        'host': status(throttling='false', source='linux'),
        'gpu0': status(throttling='true', source='nvml')}, (81.5, 'gpu0 gpu'))
    assert (known['hottest_zone'], known['hottest_c'], known['throttling'], known['source']) == (
        'gpu0 gpu', 81.5, True, 'linux+nvml')
    unknown = results.temperature_of({'host': status('no temperature is known', faults='no zone'),
                                      'gpu0': status('GPU is lost', faults='')}, None)
    assert unknown['available'] is False and unknown['reason'] == 'no zone; GPU is lost'
    assert 'published no temperature' in results.temperature_of({}, None)['reason']


def hot_conditions():
    """Return the conditions of a laptop that throttled."""
    recorder = ConditionsRecorder('/nowhere')
    recorder.add(ThermalState((DeviceState(
        'host', 'linux', 1, True, zones=(ZoneReading('k10temp Tctl', 95.5, 'x'),),
        is_throttling=True, throttle_reasons=('package_throttle_count rose by 3',),
        settings={'cpu_governor': Reading('powersave', 'x')},
        clocks_mhz={'cpu': Reading(1400.0, 'x'), 'cpu_max': Reading(4800.0, 'x')}),), 1))
    return recorder.conditions()


@pytest.fixture
def summary():
    return {
        'frames': results.frames_of(GOOD), 'latency_ms': {'p50': 30.04, 'p95': 41.0, 'p99': 55.5},
        'detections': {'person': 312, 'car': 9}, 'rate_hz': 24.93, 'lost_in_transport': 1,
        'memory': results.memory_of({
            'device_predicted_bytes': '0', 'device_measured_bytes': '0',
            'host_predicted_bytes': str(60 << 20), 'host_measured_bytes': str(58 << 20),
            'host_budget_bytes': str(1536 << 20)}),
        'conditions': results.conditions_of(hot_conditions()),
        'temperature': results.temperature_of({}, (61.0, 'host k10temp Tctl'))}


def test_table_shows_every_number(summary):
    table = results.format_table(summary)
    for expected in ('250', '249    99.6 %', '246', '30.0 / 41.0 / 55.5 ms', '24.9 arrays/s',
                     'person 312, car 9', 'predicted 60 MiB, measured 58 MiB of 1536 MiB',
                     'k10temp Tctl 61.0 °C', 'clock 1400 of 4800 MHz', 'governor powersave',
                     'THROTTLED by heat: package_throttle_count rose by 3', 'unknown: CPUs'):
        assert expected in table
    rows = [line.split() for line in table.splitlines()]
    assert ['overwritten', '2'] in rows and ['stale', '1'] in rows
    assert 'device' not in table
    assert max(len(line) for line in table.splitlines()) < 100


def test_table_of_a_run_without_results(summary):
    summary.update(frames={'sent': 5, 'received': 0, 'published': 0, 'dropped': {}},
                   latency_ms=results.percentiles_ms({}), detections={}, rate_hz=None,
                   temperature=results.temperature_of({'host': status('no sensors')}, None))
    table = results.format_table(summary)
    assert 'nothing arrived' in table and 'none' in table and 'not known: no sensors' in table


def test_advice_only_when_images_were_lost():
    assert results.advice(GOOD, 'config/fastdds_images.xml') == []
    lines = results.advice(changed(received=240), 'config/fastdds_images.xml')
    assert '96.0%' in lines[0] and any('fastdds_images.xml' in line for line in lines)


@pytest.mark.parametrize('conditions', [None, {}, {'text': []}])
def test_latencies_without_their_conditions_are_neither_shown_nor_stored(
        summary, tmp_path, conditions):
    summary['conditions'] = conditions
    path = tmp_path / 'summary.json'
    with pytest.raises(DemoError, match='without the conditions'):
        results.format_table(summary)
    with pytest.raises(DemoError, match='without the conditions'):
        results.write_summary(summary, path)
    assert not path.exists()


def test_conditions_are_stored_for_programs_too(summary, tmp_path):
    path = tmp_path / 'summary.json'
    results.write_summary(summary, path)
    stored = json.loads(path.read_text())['conditions']
    assert stored['throttled'] is True
    assert stored['devices']['host']['hottest'] == {'zone': 'k10temp Tctl', 'celsius': 95.5}
    assert 'cpu_turbo' in stored['cpu']['unknown']


def test_summary_appears_whole(summary, tmp_path):
    path = tmp_path / 'summary.json'
    with pytest.raises(TypeError):
        results.write_summary({**summary, 'broken': object()}, path)
    assert not path.exists()
    results.write_summary(summary, path)
    assert json.loads(path.read_text()) == summary
    assert [item.name for item in tmp_path.iterdir()] == ['summary.json']
