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

"""What the node says of itself, once a second, in every state."""

import re

from client import ERROR
from client import OK
from client import WARN
import pytest

STAGES = ('wait', 'convert', 'preprocess', 'inference', 'decode', 'publish', 'processing', 'age')
REASONS = ('overwritten', 'stale', 'bad_encoding', 'bad_image', 'inactive', 'inference_error',
           'thermal', 'publish_error', 'rate_limited')
KEYS = {
    'lifecycle': {'state', 'runtime', 'version', 'last_error'},
    'camera camera': {'topic', 'transport', 'publishers', 'received', 'rate_in_hz',
                      'seconds_since_last_image', 'last_problem'},
    'model detector': {
        'path', 'decoder',
        # Autoware's names
        'processing_time_ms', 'is_processing_time_ms_in_expected_range',
        'consecutive_processing_delay_ms', 'is_consecutive_processing_delay_in_range',
        *(f'{stage}_{percentile}_ms' for stage in STAGES for percentile in ('p50', 'p95', 'p99')),
        'rate_in_hz', 'rate_out_hz', 'received', 'published', 'in_flight',
        *(f'dropped_{reason}' for reason in REASONS)},
    'memory': {'device_predicted_bytes', 'device_measured_bytes', 'device_budget_bytes',
               'host_predicted_bytes', 'host_measured_bytes', 'host_budget_bytes',
               'process_rss_bytes', 'free_bytes', 'free_floor_bytes', 'detector.predicted_bytes',
               'detector.measured_bytes', 'detector.basis'},
    'temperature host': {'telemetry_available', 'hottest_zone', 'hottest_c', 'throttling',
                         'throttle_reasons', 'warnings', 'model', 'source', 'age_s', 'faults'},
    'load shedding': {'policy', 'step', 'level', 'levels', 'heat', 'reason', 'max_rate_hz',
                      'skipped_models', 'paused', 'active', 'seconds_in_step', 'steps_taken'}}


def test_names_keys_and_levels_are_those_of_the_conventions(scripted, tmp_path):
    process, client = scripted({'memory': {'device_bytes': 1 << 20, 'host_bytes': 3 << 20}},
                               {'thermal.sysfs_root': str(tmp_path / 'sys')})
    camera, detections = client.camera(), client.detections()
    for _ in range(5):
        camera.deliver(detections)
    report = client.report('model detector', lambda status: status.number('published') >= 5)
    assert set(report) == set(KEYS)
    for part, keys in KEYS.items():
        assert keys <= set(report[part].values), keys - set(report[part].values)
        assert report[part].name == f'c7_inference: {part}'
        assert report[part].hardware_id == report['lifecycle'].hardware_id != ''
        assert report[part].message
        assert all(not value.startswith(('None', 'nan', 'True', 'False'))
                   for value in report[part].values.values())
    model = report['model detector']
    assert model.level == OK
    assert model['is_processing_time_ms_in_expected_range'] == 'true'
    assert model['decoder'] == 'yolov10'
    for stage in STAGES:
        p50, p95, p99 = (model.number(f'{stage}_{percentile}_ms')
                         for percentile in ('p50', 'p95', 'p99'))
        assert 0 <= p50 <= p95 <= p99
    assert model.number('processing_p50_ms') >= model.number('inference_p50_ms')
    assert (report['lifecycle']['state'], report['lifecycle'].level) == ('active', OK)
    assert 'dummy' in report['lifecycle']['runtime']
    memory = report['memory']
    assert int(memory['device_predicted_bytes']) == int(memory['device_measured_bytes']) == 1 << 20
    assert int(memory['host_predicted_bytes']) == 3 << 20
    assert int(memory['detector.predicted_bytes']) == 4 << 20
    assert 50e6 < int(memory['process_rss_bytes']) < 4e9
    stamps = [message.header.stamp.sec for message in client.diagnostics.messages]
    assert min(stamps) > 1_600_000_000


def test_once_a_second_in_every_state_and_during_a_long_configure(scripted):
    # Two calls warm the model up.
    process, client = scripted({'latency_s': 1.5}, transitions=())
    seen = client.diagnostics

    def listen(state, count):
        return [client.status('lifecycle', lambda status: status['state'] == state)
                for _ in range(count)]

    listen('unconfigured', 2)
    begun = len(seen.messages)
    configured = client.start_transition('configure')
    client.wait(configured.done, 'the end of configure')
    assert configured.result().success
    assert len(seen.messages) - begun >= 2
    during = [parts['lifecycle']['state'] for parts in client.statuses(begun)]
    assert 'configuring' in during
    listen('inactive', 2)
    client.change_states('activate')
    listen('active', 2)
    client.change_states('deactivate', 'cleanup')
    listen('unconfigured', 2)
    client.change_states('unconfigured_shutdown')
    listen('finalized', 2)
    gaps = [after - before for before, after in zip(seen.times, seen.times[1:])]
    assert max(gaps) < 2.0
    assert sum(gaps) / len(gaps) == pytest.approx(1.0, abs=0.25)


def test_parts_that_are_not_there_are_not_reported(scripted, tmp_path):
    process, client = scripted({}, {'thermal.sysfs_root': str(tmp_path / 'sys')}, transitions=())
    assert set(client.report('lifecycle')) == {'lifecycle', 'memory', 'temperature host',
                                               'load shedding'}
    client.change_states('configure')
    report = client.report('model detector')
    assert set(report) == set(KEYS)
    assert report['camera camera'].level == OK  # silence is no fault while inactive
    assert report['camera camera'].message == 'not active'


def test_slow_processing_warns_and_lasting_slow_processing_is_an_error(scripted):
    process, client = scripted({'latency_s': 0.05}, {
        'diagnostics.max_allowed_processing_time': 0.01,
        'diagnostics.max_acceptable_consecutive_delay': 1000.0})
    camera, detections = client.camera(), client.detections()
    camera.deliver(detections)
    status = client.status('model detector')
    assert status.level == WARN
    assert re.search(r'processing took \d+ ms, expected at most 10 ms', status.message)
    assert status['is_processing_time_ms_in_expected_range'] == 'false'
    assert status['is_consecutive_processing_delay_in_range'] == 'true'
    client.set('diagnostics.max_acceptable_consecutive_delay', 0.1)
    for _ in range(4):
        detections.wait_for_stamp(camera.publish())
    status = client.status('model detector',
                           lambda status: 'too slow' in status.message)
    assert status.level == ERROR
    assert status['is_consecutive_processing_delay_in_range'] == 'false'
    assert status.number('consecutive_processing_delay_ms') > 100
    client.set('diagnostics.max_allowed_processing_time', 10.0)
    detections.wait_for_stamp(camera.publish())
    assert client.status('model detector').level == OK
