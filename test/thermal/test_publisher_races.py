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

"""What the polling thread and the thread of diagnostics may do at the same moment."""

import threading
import time

from c7_inference_ros.thermal.publisher import ThermalStatePublisher
import pytest
from test_thermal_publisher import Clock
from test_thermal_publisher import COOL
from test_thermal_publisher import HangingSource
from test_thermal_publisher import recorder
from test_thermal_publisher import ScriptedSource
from test_thermal_publisher import UNKNOWN
from test_thermal_publisher import wait_until


class SlowListener:
    """Takes its time in its first transition, until its gate is opened."""

    def __init__(self):
        self.entered, self.gate = threading.Event(), threading.Event()
        self.told, self.inside, self.most_inside = [], 0, 0

    def __call__(self, before, after):
        """Wait for the gate."""
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self.entered.set()
        assert self.gate.wait(30.0), 'the test left the gate shut'
        self.told.append((after.is_telemetry_available, after.is_throttling))
        self.inside -= 1


@pytest.mark.parametrize('is_started', [False, True])
def test_nobody_is_told_of_a_loss_while_nobody_polls(is_started):
    clock, source, (callback, told) = Clock(), ScriptedSource(), recorder()
    publisher = ThermalStatePublisher(source, clock_ns=clock, on_transition=callback)
    if is_started:
        publisher.start()
        assert publisher.wait_for_first_poll(10.0)
        publisher.stop()
    clock.advance(60.0)
    publisher.check_stale()
    assert told == []


def test_the_check_does_not_wait_for_a_listener_that_hangs():
    clock, source, listener = Clock(), ScriptedSource('hot'), SlowListener()
    publisher = ThermalStatePublisher(source, clock_ns=clock, on_transition=listener)
    publisher.start()
    try:
        assert listener.entered.wait(10.0)
        clock.advance(60.0)
        checker = threading.Thread(target=publisher.check_stale, daemon=True)
        checker.start()
        checker.join(10.0)
        assert not checker.is_alive()
    finally:
        listener.gate.set()
        publisher.stop()


def test_transitions_are_told_one_after_the_other_by_whichever_thread():
    clock, source, listener = Clock(), HangingSource(is_open=True), SlowListener()
    publisher = ThermalStatePublisher(
        source, 50.0, clock_ns=clock, on_transition=listener)
    publisher.start()
    try:
        assert publisher.wait_for_first_poll(10.0)
        source.gate.clear()
        source.inside.clear()
        assert source.inside.wait(10.0)
        clock.advance(4.0)
        checker = threading.Thread(target=publisher.check_stale, daemon=True)
        checker.start()
        assert listener.entered.wait(10.0)  # the loss, in the thread of the check
        source.gate.set()
        wait_until(lambda: source.reads >= 2)
        time.sleep(0.3)  # time for a recovery that does not wait its turn
        assert listener.most_inside == 1 and listener.told == []
        listener.gate.set()
        checker.join(10.0)
        wait_until(lambda: listener.told == [UNKNOWN, COOL])
        assert listener.most_inside == 1
    finally:
        listener.gate.set()
        source.gate.set()
        publisher.stop()
