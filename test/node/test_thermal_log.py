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

"""The log of heat: one line for a beginning, one for an end, whatever flickers in between."""

from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import ThermalState
import pytest

pytest.importorskip('rclpy', reason='no ROS 2 here')

from c7_inference_ros.node.thermal_log import ThermalLog  # noqa: E402, I100

SECOND = 1_000_000_000


class Log:
    """Keeps the lines."""

    def __init__(self):
        self.lines = []

    def warning(self, text):
        """Keep a warning."""
        self.lines.append(('WARN', text))

    def info(self, text):
        """Keep an information."""
        self.lines.append(('INFO', text))


class Heat:
    """A thermal log that is told states of one device, as the publisher does."""

    def __init__(self, sheds=False):
        self.log = Log()
        self.heat = ThermalLog(self.log, lambda: sheds)
        self.shown = None

    def at(self, seconds, throttling, is_known=True, name='jetson'):
        """Tell one poll; the transition only where something changed."""
        now_ns = int(seconds * SECOND)
        device = (DeviceState(name, 'jetson', now_ns, True, is_throttling=throttling,
                              throttle_reasons=('gpu is hot',) if throttling else ())
                  if is_known else DeviceState.unavailable(name, 'jetson', 'no sensor', now_ns))
        self.heat.state(ThermalState((device,), now_ns))
        if (throttling, is_known) != self.shown:
            self.shown = throttling, is_known
            self.heat.transition(device)

    def levels(self):
        """Return the levels of the lines."""
        return [level for level, _ in self.log.lines]


def test_a_beginning_warns_and_a_lasting_end_informs_once():
    heat = Heat()
    for second in range(20):
        heat.at(second, 5 <= second < 9)
    assert heat.levels() == ['WARN', 'INFO']
    assert 'throttles because of heat' in heat.log.lines[0][1]
    assert heat.log.lines[1][1] == 'jetson no longer throttles'


def test_a_clock_that_is_switched_back_and_forth_is_one_beginning_and_one_end():
    heat = Heat()
    for quarter in range(400):
        heat.at(quarter / 4, quarter % 2 == 0 and quarter < 200)
    assert heat.levels() == ['WARN', 'INFO']


def test_an_end_that_nobody_saw_is_not_told():
    heat = Heat()
    heat.at(0, True)
    heat.at(1, False)
    heat.at(2, False, is_known=False)
    heat.at(60, False, is_known=False)
    assert heat.levels() == ['WARN', 'WARN']
    heat.at(61, True)
    heat.at(62, False)
    heat.at(64, False)
    assert heat.levels() == ['WARN', 'WARN', 'INFO']  # known again, and still throttling
    heat.at(66, False)
    assert heat.log.lines[-1] == ('INFO', 'jetson no longer throttles')


def test_the_lines_say_what_the_policy_does():
    for sheds in (False, True):
        heat = Heat(sheds)
        heat.at(0, True)
        heat.at(1, False, is_known=False)
        (_, begun), (_, lost) = heat.log.lines
        assert ('observe sheds nothing' in begun) is not sheds
        assert ('stays shed' in lost) is sheds


def test_another_source_begins_anew():
    heat = Heat()
    heat.at(0, True)
    heat.heat.forget()
    heat.shown = None
    heat.at(1, True)
    assert heat.levels() == ['WARN', 'WARN']
