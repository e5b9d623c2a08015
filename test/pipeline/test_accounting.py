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

"""Accounts that balance at every moment."""

import random
import threading

from c7_inference_ros.pipeline.accounting import DropReason
from c7_inference_ros.pipeline.accounting import FrameAccount
from c7_inference_ros.pipeline.accounting import FrameAccounts
import pytest


def test_account_counts_every_outcome():
    account = FrameAccount()
    for _ in range(5):
        account.receive()
    account.publish()
    account.drop(DropReason.STALE)
    account.drop(DropReason.STALE)
    found = account.snapshot()
    assert (found.received, found.published, found.in_flight) == (5, 1, 2)
    assert found.dropped[DropReason.STALE] == 2
    assert found.dropped_total == 2
    assert set(found.dropped) == set(DropReason)
    assert found.balance() == 0


@pytest.mark.parametrize('settle', [
    lambda account: account.publish(),
    lambda account: account.drop(DropReason.BAD_IMAGE)], ids=['publish', 'drop'])
def test_settling_a_frame_twice_is_refused_and_changes_nothing(settle):
    account = FrameAccount('front/detector')
    account.receive()
    account.publish()
    before = account.snapshot()
    with pytest.raises(RuntimeError, match='front/detector.*none in flight'):
        settle(account)
    assert account.snapshot() == before


def test_snapshot_does_not_change_afterwards():
    account = FrameAccount()
    account.receive()
    before = account.snapshot()
    account.drop(DropReason.INACTIVE)
    assert before.in_flight == 1
    assert before.dropped[DropReason.INACTIVE] == 0
    with pytest.raises(TypeError):
        before.dropped[DropReason.INACTIVE] = 7


def test_a_balance_that_is_off_shows():
    account = FrameAccount()
    account.receive()
    account._in_flight = 0  # a frame that vanished
    assert account.snapshot().balance() == 1


def test_a_frame_of_a_camera_counts_for_each_of_its_models():
    accounts = FrameAccounts({'front': ['near', 'far'], 'rear': ['near']})
    assert accounts.models_of('front') == ('near', 'far')
    assert accounts.cameras == ('front', 'rear')
    accounts.frame_received('front')
    accounts.frame_received('rear')
    accounts.published('front', 'near')
    accounts.dropped('front', 'far', DropReason.INFERENCE_ERROR)
    accounts.frame_dropped('rear', DropReason.OVERWRITTEN)
    found = accounts.snapshot()
    assert list(found) == [('front', 'near'), ('front', 'far'), ('rear', 'near')]
    assert all(account.received == 1 and account.in_flight == 0 for account in found.values())
    assert found['front', 'near'].published == 1
    assert found['front', 'far'].dropped[DropReason.INFERENCE_ERROR] == 1
    assert found['rear', 'near'].dropped[DropReason.OVERWRITTEN] == 1


def test_camera_without_models_counts_nothing():
    accounts = FrameAccounts({'front': []})
    accounts.frame_received('front')
    accounts.frame_dropped('front', DropReason.STALE)
    assert accounts.snapshot() == {}


def test_reasons_are_the_names_of_the_interface():
    assert {reason.value for reason in DropReason} == {
        'overwritten', 'stale', 'bad_encoding', 'bad_image', 'inactive', 'inference_error',
        'publish_error', 'rate_limited', 'thermal'}


def test_every_snapshot_balances_under_many_threads():
    """Also between accounts: a camera's models have the same number of frames received."""
    accounts = FrameAccounts({'front': ['near', 'far'], 'rear': ['near', 'far']})
    rounds, ended, bad = 1500, threading.Event(), []

    def work(seed):
        chance = random.Random(seed)
        camera = 'front' if seed % 2 else 'rear'
        for _ in range(rounds):
            accounts.frame_received(camera)
            if chance.random() < 0.3:
                accounts.frame_dropped(camera, chance.choice(list(DropReason)))
                continue
            for model in accounts.models_of(camera):
                if chance.random() < 0.8:
                    accounts.published(camera, model)
                else:
                    accounts.dropped(camera, model, DropReason.INFERENCE_ERROR)

    def look():
        while not ended.is_set():
            found = accounts.snapshot()
            bad.extend(item for item in found.items() if item[1].balance() != 0)
            for camera in accounts.cameras:
                if found[camera, 'near'].received != found[camera, 'far'].received:
                    bad.append((camera, found))

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    looker = threading.Thread(target=look)
    looker.start()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    ended.set()
    looker.join()
    assert not bad
    for account in accounts.snapshot().values():
        assert account.received == 2 * rounds
        assert account.in_flight == 0
        assert account.balance() == 0
