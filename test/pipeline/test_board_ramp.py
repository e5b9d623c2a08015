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

"""Every board from 45 C to throttle and back: what is read, judged, shed and given back."""

from dataclasses import dataclass
import errno
import random

from board_trees import BOARDS
from board_trees import plant
from c7_inference_ros.config import load_config
from c7_inference_ros.pipeline.accounting import DropReason
from c7_inference_ros.pipeline.accounting import FrameAccounts
from c7_inference_ros.pipeline.intake import FrameIntake
from c7_inference_ros.pipeline.load_shedder import LoadShedder
from c7_inference_ros.pipeline.scheduler import FrameScheduler
from c7_inference_ros.pipeline.statistics import PipelineStatistics
from c7_inference_ros.thermal.heat import Heat
from c7_inference_ros.thermal.jetson import JetsonThermalSource
from c7_inference_ros.thermal.publisher import ThermalStatePublisher
import pytest
from ramp import Ramp
from ramp import Truth

pytestmark = pytest.mark.long

SECOND = 1_000_000_000
DURATION_S = 240
#: The defaults of the node.
SHED_K, RECOVER_K, DWELL_S = 5.0, 10.0, 10.0
CAMERA, MODELS, CAMERA_HZ = 'front', ('near', 'far'), 20
LAST = 4
NOISE_K = 1.0


@dataclass
class Poll:
    """One poll of the ramp: what is true and what came of it."""

    truth: Truth
    heat: Heat
    level: int
    reason: str


class Ride:
    """
    A board on the ramp, polled once a second by the real publisher, and one camera.

    :param peak_k: how far above the limit the hottest zone gets, kelvin.
    :param noise_k: by how much a sensor is wrong at most, another way each time; kelvin.
    """

    def __init__(self, board, root, peak_k=3.0, noise_k=0.0, **values):
        self.now_ns = 100 * SECOND
        self.tree = plant(board, root)
        limit_c = Ramp(self.tree).throttle_c
        self.ramp = Ramp(self.tree, peak_c=limit_c + peak_k, duration_s=DURATION_S)
        self.polls, self.steps = [], []
        self._noise_k, self._random = noise_k, random.Random(board)
        config = load_config({
            'camera_names': [CAMERA], 'model_names': list(MODELS), 'models.near.priority': 1,
            'thermal.policy': 'shed', **values})
        self.shedder = LoadShedder(config, lambda: self.now_ns, self._on_step)
        self.publisher = ThermalStatePublisher(
            JetsonThermalSource(self.tree.sysfs_root, self._read), clock_ns=lambda: self.now_ns,
            on_state=self.shedder.update)
        streams = {CAMERA: MODELS}
        self.accounts = FrameAccounts(streams)
        self.scheduler = FrameScheduler(streams)
        self.intake = FrameIntake(self.scheduler, self.accounts, PipelineStatistics(streams),
                                  lambda: self.now_ns, settings=lambda: config,
                                  shedder=self.shedder)

    def run(self, at=None):
        """Play all of it; ``at`` is called with each second, before its poll."""
        self.shedder.start()
        self.intake.open()
        for second in range(DURATION_S + 1):
            truth = self.ramp.advance(float(second))
            if at is not None:
                at(second)
            self.publisher._poll_once()
            status = self.shedder.status()
            self.polls.append(Poll(truth, status.heat, status.step.level, status.reason))
            for _ in range(CAMERA_HZ):
                self.intake.receive(CAMERA, None, self.now_ns)
                assert all(not each.balance() for each in self.accounts.snapshot().values())
                if self.scheduler.poll() is not None:
                    for model in MODELS:
                        self.accounts.published(CAMERA, model)
                self.now_ns += SECOND // CAMERA_HZ
        self.intake.close()
        return self

    def _read(self, path):
        content = self.tree.read_bytes(path)
        if self._noise_k and path.endswith('/temp'):
            noise = self._random.uniform(-self._noise_k, self._noise_k)
            content = b'%d\n' % (int(content) + round(noise * 1000))
        return content

    def _on_step(self, before, after, reason):
        self.steps.append((self.now_ns / SECOND, before.level, after.level, reason))


def assert_down_and_up_once(ride):
    """Assert that the load went down the whole ladder and came back, one step a dwell."""
    assert [(before, after) for _, before, after, _ in ride.steps] == (
        [(level, level + 1) for level in range(LAST)]
        + [(level, level - 1) for level in range(LAST, 0, -1)])
    assert_a_dwell_apart(ride)


def assert_a_dwell_apart(ride):
    """Assert that no two steps are nearer to each other than the dwell."""
    moments = [at for at, *_ in ride.steps]
    assert all(later - earlier >= DWELL_S for earlier, later in zip(moments, moments[1:]))


@pytest.fixture(scope='module', params=BOARDS)
def ride(request, tmp_path_factory):
    """Return a board that has been through the ramp."""
    return Ride(request.param, tmp_path_factory.mktemp(request.param)).run()


def test_a_board_that_heats_up_and_cools_down_sheds_and_recovers_once(ride):
    limit_c = ride.ramp.throttle_c
    assert_down_and_up_once(ride)
    throttled = [number for number, poll in enumerate(ride.polls) if poll.truth.is_throttling]
    assert len(throttled) > 60
    for poll in ride.polls:
        truth = poll.truth
        below_k = limit_c - truth.hottest_c
        # The die is what a limit is named for; every zone of it has the same.
        expected = (Heat.HOT if truth.is_throttling or below_k <= SHED_K else
                    Heat.WARM if below_k <= RECOVER_K else Heat.COOL)
        assert poll.heat is expected, poll
    first = next(number for number, poll in enumerate(ride.polls) if poll.level == 1)
    assert first < throttled[0], 'load is shed before the board slows itself'
    assert ride.polls[first - 1].heat is not Heat.HOT  # at once
    assert all(poll.level >= 1 for poll in ride.polls[first:throttled[-1] + 1])
    back = next(number for number, poll in enumerate(ride.polls[first:], first)
                if poll.level < ride.polls[number - 1].level)
    assert back > throttled[-1]
    assert limit_c - ride.polls[back].truth.hottest_c > RECOVER_K
    # As soon as it is cool, and a dwell after it was hot last.
    cool = next(number for number in range(first, back + 1)
                if ride.polls[number].heat is Heat.COOL)
    hot = max(number for number, poll in enumerate(ride.polls) if poll.heat is Heat.HOT)
    assert back == max(cool, hot + DWELL_S)
    assert all('jetson' in reason for *_, reason in ride.steps)


def test_what_the_ramp_sheds_is_counted_as_heat(ride):
    paused_s = sum(poll.level == LAST for poll in ride.polls)
    shed_s = sum(poll.level > 0 for poll in ride.polls)
    assert paused_s > 30
    for account in ride.accounts.snapshot().values():
        assert account.balance() == account.in_flight == 0
        assert account.received == CAMERA_HZ * (DURATION_S + 1)
        assert account.dropped[DropReason.THERMAL] == account.dropped_total
        # A pause takes every image, the levels before it some, level 0 none.
        assert CAMERA_HZ * paused_s < account.dropped_total < CAMERA_HZ * shed_s


def turns(values):
    """Return how often something changes."""
    return sum(before is not after for before, after in zip(values, values[1:]))


@pytest.mark.parametrize('board, recover_k', [
    *((board, RECOVER_K) for board in BOARDS),
    ('orin_agx', SHED_K + 0.01)])  # no gap: hot and cool take turns
def test_noise_around_the_limit_does_not_make_the_load_flap(board, recover_k, tmp_path):
    ride = Ride(board, tmp_path, peak_k=-SHED_K, noise_k=NOISE_K,
                **{'thermal.recover_margin': recover_k}).run()
    assert not any(poll.truth.is_throttling for poll in ride.polls)
    assert turns([poll.heat for poll in ride.polls]) > 6  # what judges does see the noise
    assert_down_and_up_once(ride)


def test_a_board_whose_sensors_fail_while_it_is_hot_keeps_what_is_shed(ride, tmp_path):
    code = dict(zip(BOARDS, (errno.EAGAIN, errno.EACCES, errno.EIO, errno.ENODATA)))[
        ride.tree.board]
    board = Ride(ride.tree.board, tmp_path)
    failed = range(int(0.45 * DURATION_S), int(0.8 * DURATION_S))
    assert ride.polls[failed.start].truth.is_throttling
    assert not ride.polls[failed.stop].truth.is_throttling
    # The ramp cannot play on a board that fails: its truth is that of the other ride.
    advance = board.ramp.advance
    board.ramp.advance = lambda second: (
        ride.polls[int(second)].truth if int(second) in failed else advance(second))

    def fail(second):
        if second == failed.start:
            for path in (*board.tree.zones, *(
                    folder / 'cur_state' for folder in board.tree.cooling_devices.values())):
                board.tree.fail(path, code)
        elif second == failed.stop - 1:
            board.tree.heal()

    board.run(fail)
    during = board.polls[failed.start:failed.stop - 1]
    assert {poll.heat for poll in during} == {Heat.UNKNOWN}
    assert {poll.level for poll in during} == {board.polls[failed.start - 1].level} != {0}
    assert board.polls[-1].heat is Heat.COOL
    assert [after - before for _, before, after, _ in board.steps][-1] == -1
    assert_a_dwell_apart(board)
