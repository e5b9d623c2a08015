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

"""What was recorded becomes a bag that anyone can open; simulated time never goes back."""

import itertools
import struct
import threading
import types

from c7_inference_ros.tools.bags.types import typestore
from demo import recording
from demo.recording import Recording
from demo.recording import stamp_of
from demo.sim_clock import ClockPublisher
from demo.sim_clock import HOLD_S
from demo.sim_clock import LEAD_S
from demo.sim_clock import SimClock
import numpy as np
import pytest

Reader = pytest.importorskip('rosbags.rosbag2', reason='rosbags is not installed').Reader
SECOND = 1_000_000_000
FIRST = 1_700_000_000 * SECOND


def make(kind, **fields):
    return typestore().types[kind](**fields)


def header(stamp_ns, frame_id='camera'):
    stamp = make('builtin_interfaces/msg/Time', sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND)
    return make('std_msgs/msg/Header', stamp=stamp, frame_id=frame_id)


def detections(stamp_ns):
    return bytes(typestore().serialize_cdr(
        make('vision_msgs/msg/Detection2DArray', header=header(stamp_ns), detections=[]),
        'vision_msgs/msg/Detection2DArray'))


def diagnostics(stamp_ns, **statuses):
    items = [make('diagnostic_msgs/msg/DiagnosticStatus', level=1, name=name.replace('__', ': '),
                  message='', hardware_id='', values=[
                      make('diagnostic_msgs/msg/KeyValue', key=key, value=value)
                      for key, value in values.items()]) for name, values in statuses.items()]
    return bytes(typestore().serialize_cdr(
        make('diagnostic_msgs/msg/DiagnosticArray', header=header(stamp_ns, ''), status=items),
        'diagnostic_msgs/msg/DiagnosticArray'))


def label_info():
    classes = [make('vision_msgs/msg/VisionClass', class_id=number, class_name=name)
               for number, name in enumerate(('person', 'car'))]
    return bytes(typestore().serialize_cdr(
        make('vision_msgs/msg/LabelInfo', header=header(FIRST), class_map=classes,
             threshold=np.float32(0.5)), 'vision_msgs/msg/LabelInfo'))


@pytest.fixture
def record():
    made = Recording('c7_inference', 'camera', 'person')
    made.add('label_info', label_info(), 5, FIRST - SECOND)
    for number in range(3):
        stamp = FIRST + number * 40_000_000
        made.sent_ns[stamp] = 1000 + number
        if number != 1:
            made.add('detections', detections(stamp), 1000 + number + 7_000_000, stamp + 7_000_000)
    made.add('diagnostics', diagnostics(
        FIRST, **{'c7_inference__temperature host': {'hottest_c': '55.500', 'hottest_zone': 'cpu'},
                  'c7_inference__temperature gpu0': {'hottest_c': '50', 'hottest_zone': 'gpu'},
                  'x7_inference__temperature host': {'hottest_c': '99', 'hottest_zone': 'oven'}}
    ), 9, FIRST + 1)
    made.add('diagnostics', diagnostics(
        FIRST, **{'c7_inference__temperature gpu0': {'hottest_c': '53', 'hottest_zone': 'gpu'}}
    ), 9, FIRST + SECOND)
    return made


def test_stamp_is_read_from_the_bytes():
    assert stamp_of(detections(FIRST + 123_456_789)) == FIRST + 123_456_789
    assert stamp_of(b'\0\0\0\0' + struct.pack('>iI', 7, 8)) == 7 * SECOND + 8


def test_latency_is_of_frames_that_came_back(record):
    assert record.latencies_ms() == {FIRST: 7.0, FIRST + 80_000_000: 7.0}
    assert sorted(record.detections_by_stamp()) == [FIRST, FIRST + 80_000_000]


def test_a_repeated_array_is_no_second_result(record):
    record.add('detections', detections(FIRST), 10**12, FIRST)
    assert record.latencies_ms()[FIRST] == 7.0


def test_statuses_are_the_node_s_own(record):
    assert set(record.temperatures()) == {'host', 'gpu0'}
    assert record.temperatures()['gpu0'].level == 'WARN'
    assert record.temperatures()['gpu0'].values['hottest_c'] == '53'
    assert record.peak_temperature == (55.5, 'host cpu')
    assert record.class_names() == {0: 'person', 1: 'car'}


def test_bag_holds_messages_and_definitions(record, tmp_path):
    assert record.write_bag(tmp_path / 'bag') == 5
    assert [item.name for item in tmp_path.iterdir()] == ['bag']
    with Reader(tmp_path / 'bag') as reader:
        topics = {item.topic: item for item in reader.connections}
        assert {topic: item.msgcount for topic, item in topics.items()} == {
            '/c7_inference/camera/person/detections': 2, '/diagnostics': 2,
            '/c7_inference/person/label_info': 1, '/c7_inference/person/vision_info': 0}
        definition = topics['/c7_inference/camera/person/detections'].msgdef.data
        assert 'MSG: vision_msgs/ObjectHypothesisWithPose' in definition
        assert 'MSG: diagnostic_msgs/KeyValue' in topics['/diagnostics'].msgdef.data
        logged = [(time_ns, item.topic, bytes(raw)) for item, time_ns, raw in reader.messages()]
    assert [entry[0] for entry in logged] == sorted(entry[0] for entry in logged)
    assert logged[0] == (FIRST - SECOND, '/c7_inference/person/label_info', label_info())
    assert (FIRST + 7_000_000, '/c7_inference/camera/person/detections',
            detections(FIRST)) in logged


def test_bag_appears_whole_or_not_at_all(record, tmp_path, monkeypatch):
    record.messages['detections'].append(recording.Recorded('no bytes', 0, FIRST))
    with pytest.raises(Exception):
        record.write_bag(tmp_path / 'bag')
    assert not (tmp_path / 'bag').exists()
    record.messages['detections'].pop()
    assert record.write_bag(tmp_path / 'bag') == 5


def test_time_waits_for_the_bag_and_then_runs():
    now = [0]
    clock = SimClock(FIRST, lambda: now[0])
    assert clock.now_ns() == FIRST - int(LEAD_S * 1e9)
    now[0] = 2 * SECOND
    assert clock.now_ns() == FIRST - int((LEAD_S - 2) * 1e9)
    now[0] = 100 * SECOND
    assert clock.now_ns() == FIRST - int(HOLD_S * 1e9)
    clock.play()
    assert clock.seconds_until(FIRST) == pytest.approx(HOLD_S)
    now[0] += SECOND
    assert clock.now_ns() == FIRST + int((1 - HOLD_S) * 1e9)


def test_published_time_never_goes_back():
    times = []
    source = types.SimpleNamespace(now_ns=itertools.cycle([5, 7, 6]).__next__)
    clock = ClockPublisher(source, times.append)
    try:
        for _ in range(500):
            clock.tick()
    finally:
        clock.stop()
    count = len(times)
    assert count >= 500 and times == sorted(times) and set(times) == {5, 7}
    clock.stop()
    assert len(times) == count


def test_time_is_published_while_it_waits():
    times = []
    arrived = threading.Event()

    def publish(now_ns):
        times.append(now_ns)
        if len(times) >= 10:
            arrived.set()

    clock = ClockPublisher(types.SimpleNamespace(now_ns=lambda: 7), publish)
    try:
        assert arrived.wait(5)
    finally:
        clock.stop()
    assert set(times) == {7}
