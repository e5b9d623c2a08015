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

"""The thread that owns the runtime."""

import gc
import threading
import time
import weakref

from c7_inference_ros.pipeline.frame_slot import Frame
from c7_inference_ros.pipeline.scheduler import FrameScheduler
from c7_inference_ros.pipeline.worker import InferenceWorker
import pytest


def frame(number=0, camera='a'):
    return Frame(camera, number, number, number)


def wait_until(condition, timeout_s=5.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, 'did not happen in time'
        time.sleep(0.002)


@pytest.fixture
def scheduler():
    made = FrameScheduler(['a', 'b'])
    made.open()
    return made


@pytest.fixture
def errors():
    return []


@pytest.fixture
def worker(scheduler, errors):
    made = InferenceWorker(scheduler, errors.append)
    yield made
    made.stop(5.0)


@pytest.fixture
def gate():
    """Block a worker until the test ends, at the latest."""
    made = threading.Event()
    yield made
    made.set()


def test_every_call_and_frame_runs_on_the_one_thread(worker, scheduler):
    seen = [worker.call(threading.get_ident, 5.0), worker.call(threading.get_ident, 5.0)]
    worker.start_frames(lambda _: seen.append(threading.get_ident()))
    scheduler.put(frame())
    wait_until(lambda: len(seen) == 3)
    assert len(set(seen)) == 1
    assert seen[0] != threading.get_ident()


def test_call_returns_and_raises_what_the_function_does(worker):
    assert worker.call(lambda: {'a': 1}, 5.0) == {'a': 1}
    assert worker.call(lambda: None, 5.0) is None
    for kind in (KeyError, SystemExit):
        def fail(kind=kind):
            raise kind('x')
        with pytest.raises(kind):
            worker.call(fail, 5.0)
    assert worker.call(lambda: 1, 5.0) == 1


def test_call_from_the_owner_thread_runs_at_once(worker):
    assert worker.call(lambda: worker.call(lambda: 7, 5.0), 5.0) == 7


def test_call_that_hangs_times_out_and_one_behind_it_never_runs(worker, gate):
    ran = []
    with pytest.raises(TimeoutError, match='at work for 0.05 s'):
        worker.call(gate.wait, 0.05)
    with pytest.raises(TimeoutError, match='waited'):
        worker.call(lambda: ran.append(1), 0.05)
    gate.set()
    assert worker.call(lambda: 'alive', 5.0) == 'alive'
    assert not ran


def test_frames_wait_until_they_are_asked_for(worker, scheduler):
    seen = []
    scheduler.put(frame(1))
    time.sleep(0.02)
    assert scheduler.waiting == 1
    worker.start_frames(lambda one: seen.append(one.payload))
    wait_until(lambda: seen == [1])
    assert worker.stop_frames(5.0)
    scheduler.put(frame(2))
    time.sleep(0.02)
    assert seen == [1]
    worker.start_frames(lambda one: seen.append(-one.payload))
    wait_until(lambda: seen == [1, -2])


def test_exceptions_of_a_handler_do_not_end_the_thread(worker, scheduler, errors):
    seen = []

    def handle(one):
        seen.append(one.payload)
        if one.payload == 1:
            raise ValueError('broken frame')
        if one.payload == 2:
            raise SystemExit(3)

    worker.start_frames(handle)
    for number in (1, 2, 3):
        scheduler.put(frame(number))
        wait_until(lambda number=number: seen[-1:] == [number])
    assert worker.stop_frames(5.0)
    assert [type(error) for error in errors] == [ValueError, SystemExit]
    assert worker.busy_since_ns is None


def test_reporter_that_fails_does_not_end_the_thread(scheduler):
    def fail(_):
        raise RuntimeError('no logger')

    worker = InferenceWorker(scheduler, fail)
    worker.start_frames(fail)
    scheduler.put(frame())
    wait_until(lambda: scheduler.waiting == 0)
    assert worker.call(lambda: 1, 5.0) == 1
    assert worker.stop(5.0)


def test_stop_frames_waits_for_the_frame_in_work(worker, scheduler, gate):
    worker.start_frames(lambda _: gate.wait())
    scheduler.put(frame())
    wait_until(lambda: worker.busy_since_ns is not None)
    assert not worker.stop_frames(0.0)
    assert not worker.stop_frames(0.05)
    gate.set()
    assert worker.stop_frames(5.0)
    assert worker.busy_since_ns is None


def test_stop_frames_of_an_idle_worker_is_true_at_once(worker, scheduler):
    for _ in range(200):
        worker.start_frames(lambda _: None)
        assert worker.stop_frames(0.0)


def test_no_frame_begins_after_stop_frames(worker, scheduler):
    """The one in work when stop_frames returned True is the last one."""
    begun = []
    for _ in range(200):
        worker.start_frames(lambda one: begun.append(one.payload))
        scheduler.put(frame(1))
        scheduler.put(frame(2, 'b'))
        assert worker.stop_frames(5.0)
        count = len(begun)
        left = len(scheduler.drain())
        assert len(begun) == count
        assert count + left == 2
        begun.clear()


def test_busy_since_follows_progress(scheduler):
    now, gate, steps = [100], threading.Event(), threading.Semaphore(0)
    worker = InferenceWorker(scheduler, clock_ns=lambda: now[0])

    def handle(_):
        steps.acquire()
        worker.progress()
        gate.wait(5.0)

    worker.start_frames(handle)
    scheduler.put(frame())
    wait_until(lambda: worker.busy_since_ns == 100)
    now[0] = 250
    steps.release()
    wait_until(lambda: worker.busy_since_ns == 250)
    gate.set()
    assert worker.stop(5.0)
    assert worker.busy_since_ns is None


def test_calls_go_before_waiting_frames(worker, scheduler, gate):
    order = []
    worker.start_frames(lambda one: (order.append(one.payload), gate.wait()))
    scheduler.put(frame(1))
    wait_until(lambda: order == [1])
    scheduler.put(frame(2))
    caller = threading.Thread(target=worker.call, args=(lambda: order.append('call'), 5.0))
    caller.start()
    wait_until(lambda: worker._calls)
    gate.set()
    caller.join()
    wait_until(lambda: len(order) == 3)
    assert order == [1, 'call', 2]


def test_stop_ends_the_thread_and_is_idempotent(worker):
    assert worker.is_alive
    assert worker.stop(5.0)
    assert worker.stop(5.0)
    assert not worker.is_alive
    assert not worker.is_abandoned
    for late in (lambda: worker.call(lambda: 1, 1.0), lambda: worker.start_frames(print)):
        with pytest.raises(RuntimeError, match='stopped'):
            late()


def test_last_function_runs_once_on_the_owner_thread(worker):
    owner, seen = worker.call(threading.get_ident, 5.0), []
    assert worker.stop(5.0, lambda: seen.append(threading.get_ident()))
    assert worker.stop(5.0, lambda: seen.append('another'))
    assert seen == [owner]


def test_stop_fails_the_calls_that_wait(worker, gate):
    failed = []

    def wait_behind():
        try:
            worker.call(lambda: None, 10.0)
        except RuntimeError as error:
            failed.append(str(error))

    blocker = threading.Thread(target=lambda: worker.call(gate.wait, 10.0))
    blocker.start()
    wait_until(lambda: not worker._calls)
    waiter = threading.Thread(target=wait_behind)
    waiter.start()
    wait_until(lambda: worker._calls)
    began = time.monotonic()
    assert not worker.stop(0.05)
    waiter.join(5.0)
    assert time.monotonic() - began < 5.0
    assert len(failed) == 1 and 'before the call began' in failed[0]
    gate.set()
    blocker.join(5.0)


def test_hanging_thread_is_abandoned_and_releases_late(scheduler, gate):
    released, seen = [], []
    worker = InferenceWorker(scheduler)
    worker.start_frames(lambda one: (gate.wait(), seen.append(one.payload)))
    scheduler.put(frame(1))
    wait_until(lambda: worker.busy_since_ns is not None)
    scheduler.put(frame(2))
    began = time.monotonic()
    assert not worker.stop(0.05, lambda: released.append(1))
    assert time.monotonic() - began < 2.0
    assert worker.is_abandoned
    assert not released
    successor = InferenceWorker(scheduler)  # works while the other one hangs
    successor.start_frames(lambda one: seen.append(one.payload))
    wait_until(lambda: seen == [2])
    assert successor.stop(5.0)
    gate.set()
    wait_until(lambda: not worker.is_alive)
    assert released == [1]
    assert seen == [2, 1]  # it ended the frame in work, and took no other
    assert worker.stop(0.0)


def test_worker_keeps_no_frame_alive_when_it_waits(worker, scheduler):
    class Payload:
        pass

    payload = Payload()
    gone = weakref.ref(payload)
    worker.start_frames(lambda _: None)
    scheduler.put(Frame('a', payload, 0, 0))
    del payload
    wait_until(lambda: scheduler.waiting == 0)
    assert worker.stop_frames(5.0)
    gc.collect()
    wait_until(lambda: gone() is None)


def test_fifty_rounds_leave_no_thread_behind(scheduler):
    before = threading.active_count()
    for number in range(50):
        seen = []
        worker = InferenceWorker(scheduler)
        assert worker.call(lambda number=number: number, 5.0) == number
        worker.start_frames(lambda one, seen=seen: seen.append(one.payload))
        scheduler.put(frame(number))
        wait_until(lambda: seen)
        assert worker.stop_frames(5.0)
        assert worker.stop(5.0)
        assert seen == [number]
    assert threading.active_count() == before
