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

"""Slots and the order of cameras."""

import threading
import time

from c7_inference_ros.pipeline.frame_slot import Frame
from c7_inference_ros.pipeline.frame_slot import FrameSlot
from c7_inference_ros.pipeline.scheduler import FrameScheduler
import pytest


def frame(camera, number):
    return Frame(camera, f'{camera}{number}', stamp_ns=number, received_ns=number)


@pytest.fixture
def scheduler():
    made = FrameScheduler(['a', 'b', 'c'])
    made.open()
    return made


def test_slot_keeps_the_latest_and_returns_the_one_before():
    slot = FrameSlot()
    assert slot.take() is None
    assert slot.is_empty
    first, second = frame('a', 1), frame('a', 2)
    assert slot.put(first) is None
    assert slot.put(second) is first
    assert not slot.is_empty
    assert slot.take() is second
    assert slot.take() is None


def test_oldest_camera_comes_first(scheduler):
    for camera, number in (('b', 1), ('a', 2), ('c', 3)):
        assert scheduler.put(frame(camera, number)) is None
    assert scheduler.waiting == 3
    assert [scheduler.take(0).camera for _ in range(3)] == ['b', 'a', 'c']
    assert scheduler.take(0) is None


def test_overwriting_keeps_the_place_and_gives_the_latest(scheduler):
    scheduler.put(frame('a', 1))
    scheduler.put(frame('b', 2))
    assert scheduler.put(frame('a', 3)).payload == 'a1'
    assert [scheduler.take(0).payload for _ in range(2)] == ['a3', 'b2']


def test_camera_that_refills_at_once_starves_nobody(scheduler):
    """Whatever arrives in which order, with all slots refilled all take turns."""
    taken = []
    for number in range(0, 300, 3):
        # b and c always arrive after a: by the age of the frame alone, a would always win.
        for offset, camera in enumerate('abc'):
            scheduler.put(frame(camera, number + offset))
        taken.append(scheduler.take(0).camera)
    counts = {camera: taken.count(camera) for camera in 'abc'}
    assert max(counts.values()) - min(counts.values()) <= 1, counts


def test_closed_scheduler_gives_the_frame_back_and_keeps_what_waits(scheduler):
    first = frame('a', 1)
    scheduler.put(first)
    scheduler.close()
    second = frame('a', 2)
    assert scheduler.put(second) is second
    assert not scheduler.is_open
    assert scheduler.drain() == [first]
    assert scheduler.drain() == []
    scheduler.open()
    assert scheduler.put(second) is None
    assert scheduler.take(0) is second


def test_begins_closed():
    scheduler = FrameScheduler(['a'])
    lost = frame('a', 1)
    assert scheduler.put(lost) is lost


def test_unknown_camera_is_refused(scheduler):
    with pytest.raises(KeyError):
        scheduler.put(frame('d', 1))


def test_take_waits_for_a_frame_and_not_longer_than_told(scheduler):
    began = time.monotonic()
    assert scheduler.take(0.05) is None
    assert 0.04 < time.monotonic() - began < 2.0
    timer = threading.Timer(0.05, scheduler.put, [frame('b', 1)])
    timer.start()
    assert scheduler.take(5.0).camera == 'b'
    timer.join()


def test_put_is_cheap_while_the_consumer_is_busy(scheduler):
    """The executor's thread pays microseconds, not the time of an inference."""
    made = [frame('a', number) for number in range(2000)]
    began = time.perf_counter()
    for one in made:
        scheduler.put(one)
    assert (time.perf_counter() - began) / len(made) < 200e-6


def test_no_frame_is_lost_or_seen_twice_between_threads(scheduler):
    per_camera, lost, taken = 3000, [], []
    done = threading.Event()

    def produce(camera):
        for number in range(per_camera):
            overwritten = scheduler.put(frame(camera, number))
            if overwritten is not None:
                lost.append(overwritten.payload)

    def consume():
        while True:
            ended = done.is_set()
            found = scheduler.take(0.01)
            if found is not None:
                taken.append(found.payload)
            elif ended:
                return

    producers = [threading.Thread(target=produce, args=(camera,)) for camera in 'abc']
    consumer = threading.Thread(target=consume)
    consumer.start()
    for producer in producers:
        producer.start()
    for producer in producers:
        producer.join()
    done.set()
    consumer.join()
    assert sorted(lost + taken) == sorted(
        f'{camera}{number}' for camera in 'abc' for number in range(per_camera))
    for camera in 'abc':  # and the latest one is never lost
        assert f'{camera}{per_camera - 1}' in taken
