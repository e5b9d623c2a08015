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

"""The invariant of section 7: every frame is accounted for, at every moment."""

from dataclasses import replace
import itertools
import random
import threading
import time

from c7_inference_ros.errors import InferenceError
from c7_inference_ros.errors import MalformedImageError
from c7_inference_ros.errors import UnsupportedEncodingError
from c7_inference_ros.pipeline.accounting import DropReason
from c7_inference_ros.pipeline.load_shedder import LoadShedder
from c7_inference_ros.pipeline.shedding import ladder
from c7_inference_ros.pipeline.worker import InferenceWorker
from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.thermal.state import ZoneReading
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from processing_bench import Bench
from processing_bench import SECOND
from processing_bench import STREAMS

EVENTS = st.sampled_from([
    'front', 'rear', 'front_bad', 'rear_encoding', 'rear_old', 'step', 'step_fails',
    'step_not_published', 'close', 'open', 'later', 'hotter', 'cooler', 'limited'])
#: With ``near`` skipped before ``far``: ``rear`` has no other model.
FAR_FIRST = {'models.far.priority': 1}


def fail():
    raise InferenceError('scripted')


def apply(bench, event):
    """Let one thing happen."""
    if event in STREAMS:
        bench.receive(event)
    elif event == 'front_bad':
        bench.receive('front', MalformedImageError('x'))
    elif event == 'rear_encoding':
        bench.receive('rear', UnsupportedEncodingError('x'))
    elif event == 'rear_old':
        bench.receive('rear', age_s=10.0)
    elif event == 'close':
        bench.intake.close()
    elif event == 'open':
        bench.intake.open()
    elif event in ('hotter', 'cooler'):
        steps = ladder(bench.config)
        level = bench.shed.current.level + (1 if event == 'hotter' else -1)
        bench.shed.current = steps[min(max(level, 0), len(steps) - 1)]
    elif event == 'limited':
        bench.configure(**FAR_FIRST, **{'cameras.front.max_rate': 3.0})
    elif event == 'later':
        bench.ros_ns += SECOND // 4
        bench.clock_ns += SECOND // 4
    elif bench.scheduler.waiting:
        bench.detectors['near'].behave = fail if event == 'step_fails' else None
        bench.publish_error = OSError('x') if event == 'step_not_published' else None
        bench.step()


@settings(max_examples=200, deadline=None)
@given(st.lists(EVENTS, max_size=60))
def test_any_schedule_keeps_the_balance(events):
    bench = Bench(**FAR_FIRST)
    received = dict.fromkeys(STREAMS, 0)
    for event in events:
        apply(bench, event)
        camera = event.partition('_')[0]
        if camera in received:
            received[camera] += 1
        waiting = set(bench.scheduler._queue)
        for (name, _), account in bench.accounts.snapshot().items():
            assert account.balance() == 0
            assert account.received == received[name]
            assert account.in_flight == (name in waiting)
    published = [entry[:2] for entry in bench.published]
    for stream, account in bench.accounts.snapshot().items():
        assert account.published == published.count(stream)


def test_balance_holds_at_every_moment_with_real_threads():
    """Two cameras, a worker, (de)activation, heat and an onlooker, all at once."""
    bench = Bench(**FAR_FIRST, **{'thermal.policy': 'shed', 'thermal.dwell': 0.1,
                                  'thermal.shed_rates': [1000.0, 500.0],
                                  'cameras.rear.max_rate': 900.0})
    shedder = LoadShedder(bench.config)
    bench.intake._shedder = bench.processor._shedder = shedder
    bench.intake._clock_ns = time.monotonic_ns
    chance = random.Random(7)
    bench.detectors['near'].behave = lambda: fail() if chance.random() < 0.1 else time.sleep(1e-4)
    worker = InferenceWorker(bench.scheduler)
    worker.start_frames(bench.processor)
    ended, bad, sent = threading.Event(), [], dict.fromkeys(STREAMS, 0)
    wanted = (DropReason.OVERWRITTEN, DropReason.INACTIVE, DropReason.BAD_IMAGE,
              DropReason.INFERENCE_ERROR, DropReason.THERMAL, DropReason.RATE_LIMITED)
    at_latest = time.monotonic() + 60.0

    def reasons():
        return {reason: sum(account.dropped[reason]
                            for account in bench.accounts.snapshot().values())
                for reason in DropReason}

    def is_enough(count):
        """Tell whether every reason was met; on a busy machine few images come to be looked at."""
        return count >= 2000 and count % 200 == 0 and (
            time.monotonic() > at_latest or all(map(reasons().get, wanted)))

    def produce(camera):
        own = random.Random(camera)
        while not is_enough(sent[camera]):
            sent[camera] += 1
            bench.receive(camera, MalformedImageError('x') if own.random() < 0.1 else 'image')
            if own.random() < 0.2:
                time.sleep(2e-4)

    def look():
        while not ended.is_set():
            for stream, account in bench.accounts.snapshot().items():
                # At most one waits, one is in work, and one is between counted and in its slot.
                if account.balance() or not 0 <= account.in_flight <= 3:
                    bad.append((stream, account))

    def toggle():
        while not ended.is_set():
            time.sleep(0.01)
            bench.intake.close()
            worker.stop_frames(1.0)
            worker.start_frames(bench.processor)
            bench.intake.open()

    def heat():
        shedder.start()
        for number in itertools.count():
            if ended.wait(0.002):
                return
            # Steps of their own pace: this is about the counting, not about the dwell.
            shedder._now = replace(shedder._now, last_step_ns=None)
            zone = ZoneReading('tj', 95.0 if number // 12 % 2 else 40.0, 'x', throttle_c=99.0)
            shedder.update(ThermalState((DeviceState('board', 'x', 0, True, (zone,)),), number))

    others = [threading.Thread(target=target) for target in (look, toggle, heat)]
    producers = [threading.Thread(target=produce, args=(camera,)) for camera in STREAMS]
    for thread in others + producers:
        thread.start()
    for thread in producers:
        thread.join()
    ended.set()
    for thread in others:
        thread.join()
    bench.intake.close()
    assert worker.stop_frames(5.0)
    assert worker.stop(5.0)
    assert not bad
    published = [entry[:2] for entry in bench.published]
    for stream, account in bench.accounts.snapshot().items():
        assert account.received == sent[stream[0]]
        assert account.in_flight == 0
        assert account.published == published.count(stream) > 0
    found = reasons()
    for reason in wanted:
        assert found[reason] > 0, found
