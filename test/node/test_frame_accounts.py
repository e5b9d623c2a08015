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

"""Where frames go: at every moment received = published + dropped + in flight."""

import time

from client import ERROR
from client import OK
from client import SECOND
from client import to_ns
from client import WARN
import pytest


def test_a_model_that_is_slower_than_the_camera_takes_the_newest(scripted):
    process, client = scripted({'latency_s': 0.2}, {'max_image_age': 0.0})
    camera, detections = client.camera(), client.detections()
    camera.deliver(detections)
    since = len(client.diagnostics.messages)
    until = time.monotonic() + 3.5
    sent = []
    while time.monotonic() < until:
        sent.append(camera.publish())
        client.spin(0.03)
    array = detections.wait_for_stamp(sent[-1])
    status = client.status('model detector', lambda status: status['in_flight'] == '0')
    reports = [parts['model detector'] for parts in client.statuses(since)]
    assert len(reports) >= 3
    for report in reports:
        assert report.balance() == {'': 0}, report
    assert any(int(report['in_flight']) for report in reports)
    assert set(status.dropped()) == {'overwritten'}
    assert status.dropped()['overwritten'] >= len(sent) // 2
    assert int(status['received']) >= len(sent)
    # Fresh, not in the order of a queue: what was detected in had waited for one inference.
    ages = [at - to_ns(message.header.stamp) / SECOND
            for message, at in zip(detections.messages, wall_times(detections))]
    assert sorted(ages)[len(ages) // 2] < 0.6
    assert array.header.stamp == detections.messages[-1].header.stamp


def wall_times(collector):
    """Return when messages arrived, seconds of the wall clock."""
    offset = time.time() - time.monotonic()
    return [at + offset for at in collector.times]


@pytest.mark.parametrize(('age_s', 'hint'), [
    (5.0, 'the clocks differ'), (7200.0, 'use_sim_time'), (time.time() - 1.0, 'use_sim_time')],
    ids=['late', 'of a bag', 'not stamped'])
def test_old_images_are_dropped_with_a_hint(scripted, age_s, hint):
    process, client = scripted()
    camera, detections = client.camera(), client.detections()
    camera.deliver(detections)
    count = len(detections.messages)
    for _ in range(3):
        camera.publish(stamp_ns=time.time_ns() - int(age_s * SECOND))
        client.spin(0.05)
    report = client.report('model detector', lambda status: status.dropped().get('stale') == 3)
    status = report['model detector']
    assert len(detections.messages) == count
    assert status.level == ERROR
    assert 'frames dropped: stale' in status.message
    assert hint in status.message
    assert 'max_image_age is 0.5 s' in status.message
    line = process.wait_for_line(r'frames? dropped \(stale\)')
    assert hint in line
    assert report['camera camera'].number('age_of_last_image_s') == pytest.approx(age_s, abs=30)
    assert camera.deliver(detections).detections


def test_stamps_in_the_future_are_told_and_not_dropped(scripted):
    process, client = scripted()
    camera, detections = client.camera(), client.detections()
    camera.deliver(detections)
    assert detections.wait_for_stamp(camera.publish(stamp_ns=time.time_ns() + 60 * SECOND))
    status = client.status('camera camera', lambda status: status.level == WARN)
    assert 'future' in status.message
    assert int(status['future_stamps']) == 1


def test_the_frame_in_work_is_finished_and_the_one_that_waits_is_inactive(scripted):
    process, client = scripted({'latency_s': 0.8}, {'max_image_age': 0.0, 'drain_timeout': 20.0})
    camera, detections = client.camera(), client.detections()
    camera.deliver(detections)
    before = client.status('model detector', lambda status: status['in_flight'] == '0')
    camera.publish()
    client.spin(0.2)
    # The first is in work for 0.8 s; the next waits behind it.
    camera.publish()
    client.spin(0.2)
    client.change_states('deactivate')
    status = client.status('model detector')
    assert status['in_flight'] == '0'
    assert int(status['received']) - int(before['received']) == 2
    assert int(status['published']) - int(before['published']) == 1
    assert status.dropped()['inactive'] == 1 + before.dropped().get('inactive', 0)


def test_a_deactivation_does_not_wait_longer_than_it_may(scripted):
    process, client = scripted({'faults': [{'at': 3, 'error': 'hang', 'for_s': 3.0}]}, {
        'drain_timeout': 0.2, 'max_image_age': 0.0, 'inference_timeout': 60.0})
    camera, detections = client.camera(), client.detections()
    camera.wait_for_subscriber()
    stamps = []

    def is_in_work(status):
        stamps.append(camera.publish())
        return status['in_flight'] != '0'

    client.status('model detector', is_in_work)
    began = time.monotonic()
    client.change_states('deactivate')
    assert time.monotonic() - began < 2.0
    assert client.state() == 'inactive'
    process.wait_for_line('drain_timeout')
    status = client.status('model detector')
    assert status['in_flight'] == '0'
    assert status.dropped()['inactive'] >= 1
    client.change_states('activate')
    camera.deliver(detections)
    assert not any(detections.of_stamp(stamp) for stamp in stamps)


@pytest.mark.parametrize(('error', 'text'), [('inference', 'scripted inference fault'),
                                             ('oom', 'scripted oom fault')])
def test_a_failing_inference_loses_one_frame(scripted, error, text):
    # Calls 1 and 2 are the warm-up.
    process, client = scripted({'faults': [{'at': 3, 'error': error}]})
    camera, detections = client.camera(), client.detections()
    process.mark()
    assert camera.deliver(detections).detections  # the second image at the latest
    line = process.wait_for_line(r'frame dropped \(inference_error\)')
    assert text in line
    assert 'camera camera, model detector' in line
    status = client.status('model detector', lambda status: status.dropped())
    assert status.dropped() == {'inference_error': 1}
    assert 'frames dropped: inference_error' in status.message
    assert status.level == ERROR


def test_what_was_wrong_is_told_for_some_seconds_and_fades(scripted):
    process, client = scripted({'faults': [{'at': 3, 'error': 'inference'}]})
    camera, detections = client.camera(), client.detections()
    camera.deliver(detections)
    status = client.status('model detector')
    assert 'scripted inference fault' in status.message
    assert status.level in (WARN, ERROR)
    client.status('model detector', lambda status: status.level == OK)


def test_totals_go_on_over_cleanup_and_configure(scripted):
    process, client = scripted()
    camera, detections = client.camera(), client.detections()
    camera.deliver(detections)
    first = client.status('model detector')
    client.change_states('deactivate', 'cleanup', 'configure', 'activate')
    camera.deliver(detections)
    second = client.status('model detector', lambda status: status['in_flight'] == '0')
    assert int(second['published']) > int(first['published']) > 0
    assert second.balance() == {'': 0}
