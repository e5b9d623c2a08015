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

"""The ledger: what is admitted, what is refused, and what it says."""

import threading

from c7_inference_ros.errors import OutOfMemoryError
from c7_inference_ros.runtime.base import MemoryItem
from c7_inference_ros.runtime.memory_budget import format_table
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.runtime.memory_budget import Reservation
from hypothesis import given
from hypothesis import strategies as st
import pytest

MIB = 1 << 20


def device(size, name='weights'):
    return MemoryItem(name, size, True)


def host(size, name='weights'):
    return MemoryItem(name, size, False)


def make(device_limit=100, host_limit=100, rss=0, free=1 << 40):
    return MemoryBudget(device_limit, host_limit, read_rss=lambda: rss,
                        read_available=lambda: free)


@pytest.mark.parametrize('item', [device, host])
def test_one_byte_over_refuses_and_exactly_full_does_not(item):
    budget = make()
    with pytest.raises(OutOfMemoryError, match='1 bytes more than the budget of 100 bytes'):
        budget.reserve('model', [item(101)])
    first = budget.reserve('model', [item(60)])
    with pytest.raises(OutOfMemoryError, match='1 bytes more'):
        budget.reserve('other', [item(41)])
    budget.reserve('other', [item(40)])
    first.release()
    budget.reserve('third', [item(60)])


def test_places_are_counted_apart():
    budget = make()
    budget.reserve('model', [device(100), host(100)])
    with pytest.raises(OutOfMemoryError, match='device') as caught:
        budget.reserve('other', [device(1)])
    assert 'host' not in str(caught.value)


def test_the_refusal_is_one_line_with_everything_in_it():
    budget = make(50 * MIB, 20 * MIB)
    budget.reserve('resident', [device(30 * MIB), host(10 * MIB)]).commit(11 * MIB, None)
    with pytest.raises(OutOfMemoryError) as caught:
        budget.reserve('newcomer', [device(20 * MIB), device(MIB, 'io'), host(12 * MIB)])
    text = str(caught.value)
    assert '\n' not in text
    assert 'newcomer needs 21.0 MiB of device memory (weights 20.0 MiB, io 1.0 MiB)' in text
    assert f'{MIB} bytes more than the budget of 50.0 MiB leaves beside resident' in text
    assert 'resident predicted 30.0 MiB not measured' in text
    assert 'resident predicted 10.0 MiB measured 11.0 MiB' in text
    assert 'raise memory.device_budget_bytes' in text
    assert 'raise memory.host_budget_bytes' in text


def test_a_refusal_changes_nothing():
    budget = make()
    budget.reserve('resident', [device(80)])
    before = budget.table()
    for _ in range(3):
        with pytest.raises(OutOfMemoryError):
            budget.reserve('model', [device(30)])
        with pytest.raises(OutOfMemoryError):
            budget.check('model', [device(30)])
    budget.check('model', [device(20)])
    assert budget.table() == before


def test_what_was_measured_counts_in_later_admissions():
    budget = make()
    budget.reserve('model', [host(10)]).commit(measured_host_bytes=70)
    with pytest.raises(OutOfMemoryError):
        budget.reserve('other', [host(31)])
    budget.reserve('other', [host(30)])
    budget.reserve('third', [device(10)]).commit(measured_device_bytes=4)
    with pytest.raises(OutOfMemoryError):  # less than predicted may still be used
        budget.reserve('fourth', [device(91)])


def test_a_model_without_need_of_a_place_passes_a_full_one():
    budget = make(host_limit=0)
    budget.reserve('model', [device(10)])
    budget.reserve('scripted', [])


def test_release_is_idempotent_and_commit_after_it_is_a_bug():
    budget = make()
    first, second = (budget.reserve('model', [device(50)]) for _ in range(2))
    first.release()
    first.release()
    assert budget.totals()['device'].predicted_bytes == 50
    with pytest.raises(RuntimeError, match='released already'):
        first.commit(1)
    second.release()
    assert budget.totals()['device'].predicted_bytes == 0


def test_a_block_left_by_an_exception_gives_back():
    budget = make()
    with pytest.raises(KeyError):
        with budget.reserve('model', [device(50)]):
            raise KeyError
    with budget.reserve('kept', [device(50)]) as reservation:
        reservation.commit(None, 40)
    assert [row.name for row in budget.table()] == ['kept', 'total', 'total']


def test_two_threads_cannot_both_pass():
    for _ in range(20):
        budget = make()
        barrier = threading.Barrier(16)
        passed = []

        def load(number):
            barrier.wait()
            try:
                passed.append(budget.reserve(f'model{number}', [device(51), host(30)]))
            except OutOfMemoryError:
                pass

        threads = [threading.Thread(target=load, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(passed) == 1
        assert budget.totals()['device'].predicted_bytes == 51


@pytest.mark.parametrize('function', ['reserve', 'record', 'resize'])
def test_nobody_is_admitted_while_another_is(monkeypatch, function):
    """Without the lock both would be looked at before either is noted; a race rarely shows it."""
    budget = make()
    held = [budget.reserve(f'model{number}', []) for number in range(2)]
    inside = threading.Barrier(2)
    original = Reservation.charged

    def charged(self, is_device):
        value = original(self, is_device)
        try:
            inside.wait(0.05)  # never met with the lock: the other one waits outside
        except threading.BrokenBarrierError:
            pass
        return value

    monkeypatch.setattr(Reservation, 'charged', charged)
    passed = []

    def load(number):
        try:
            if function == 'reserve':
                budget.reserve(f'other{number}', [device(60)])
            elif function == 'resize':
                held[number].resize([device(60)])
            elif not held[number].record(True, 60):
                return
            passed.append(number)
        except OutOfMemoryError:
            pass

    threads = [threading.Thread(target=load, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 1


def test_a_place_that_is_over_its_limit_hinders_only_who_needs_it():
    budget = make()
    second = budget.reserve('second', [device(40)])
    budget.reserve('model', [device(60)]).commit(0, 140)
    budget.reserve('other', [host(10)])
    with pytest.raises(OutOfMemoryError):
        budget.reserve('third', [device(1)])
    second.resize([device(30)])  # less is always allowed
    assert second.predicted(True) == 30


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 60),
                          st.none() | st.integers(0, 80))))
def test_the_ledger_always_adds_up(steps):
    budget = make()
    held = []
    for is_release, on_device, on_host, measured in steps:
        if is_release and held:
            held.pop(0).release()
            continue
        try:
            reservation = budget.reserve('model', [device(on_device), host(on_host)])
        except OutOfMemoryError:
            over = [on_device + sum(one.charged(True) for one in held) > 100,
                    on_host + sum(one.charged(False) for one in held) > 100]
            assert any(over)
        else:
            held.append(reservation)
            assert sum(one.charged(True) for one in held) <= 100 or not on_device
            reservation.commit(measured, measured)
        for place, is_device in (('device', True), ('host', False)):
            total = budget.totals()[place]
            assert total.predicted_bytes == sum(one.predicted(is_device) for one in held)


def test_table_has_predicted_beside_measured():
    budget = make(50 * MIB, 20 * MIB)
    budget.reserve('detector', [device(3 * MIB), host(2 * MIB), host(MIB, 'io')]
                   ).commit(4 * MIB, None)
    assert format_table(budget.table()) == [
        'model     place   predicted  measured  budget    made of',
        'detector  device  3.0 MiB    -                   weights 3.0 MiB',
        'detector  host    3.0 MiB    4.0 MiB             weights 2.0 MiB, io 1.0 MiB',
        'total     device  3.0 MiB    -         50.0 MiB',
        'total     host    3.0 MiB    4.0 MiB   20.0 MiB']


def test_activation_passes_within_the_budget_and_refuses_a_byte_past_it():
    budget = make()
    budget.reserve('model', [host(10), device(10)]).commit(100, 100)
    budget.check_measured(0)
    budget.reserve('unmeasured', [])
    over = make()
    over.reserve('model', [host(10)]).commit(measured_host_bytes=101)
    with pytest.raises(OutOfMemoryError, match='host memory in use is 101 bytes, 1 bytes more than'
                                               ' the budget of 100 bytes: model predicted 10'):
        over.check_measured(0)
    over = make()
    over.reserve('model', [device(10)]).commit(None, 101)
    with pytest.raises(OutOfMemoryError, match='device memory in use is 101 bytes'):
        over.check_measured(0)


def test_activation_counts_the_growth_of_the_process():
    sizes = iter([1000, 1100, 1101])
    budget = MemoryBudget(100, 100, read_rss=lambda: next(sizes), read_available=lambda: None)
    budget.reserve('model', [host(10)]).commit(20)
    budget.check_measured(0)
    with pytest.raises(OutOfMemoryError, match='the process grew by 101 bytes'):
        budget.check_measured(0)
    budget.check_measured(0, rss_bytes=900)


def test_activation_enforces_the_free_memory_floor():
    budget = make(free=50)
    budget.check_measured(50)
    with pytest.raises(OutOfMemoryError, match='50 bytes of memory are free.*at least 51 bytes '
                                               r'\(memory.free_floor_bytes\)'):
        budget.check_measured(51)
    budget.check_measured(51, free_bytes=51)
    MemoryBudget(0, 0, read_rss=lambda: None, read_available=lambda: None).check_measured(1 << 40)


def test_activation_tells_everything_at_once():
    budget = make(free=1, rss=0)
    budget.reserve('model', [host(1), device(1)]).commit(200, 200)
    with pytest.raises(OutOfMemoryError) as caught:
        budget.check_measured(5)
    text = str(caught.value)
    assert '\n' not in text
    assert all(words in text for words in ('device memory', 'host memory', 'free_floor_bytes'))


def test_a_refusal_carries_the_account_with_the_model_that_was_refused():
    budget = make()
    budget.reserve('resident', [device(80)]).commit(None, 70)
    with pytest.raises(OutOfMemoryError) as caught:
        budget.reserve('newcomer', [device(30), host(1)])
    rows = [(row.name, row.place, row.predicted_bytes, row.measured_bytes)
            for row in caught.value.rows]
    assert rows == [('resident', 'device', 80, 70), ('newcomer (refused)', 'device', 30, None),
                    ('newcomer (refused)', 'host', 1, None), ('total', 'device', 110, 70),
                    ('total', 'host', 1, None)]
    over = make(free=0)
    over.reserve('model', [device(5)])
    with pytest.raises(OutOfMemoryError) as caught:
        over.check_measured(1)
    assert [row.name for row in caught.value.rows] == ['model', 'total', 'total']


def test_the_floor_holds_for_the_device_too():
    budget = make()
    budget.check_measured(50, device_free_bytes=50)
    with pytest.raises(OutOfMemoryError, match='49 bytes of memory are free on the device'):
        budget.check_measured(50, device_free_bytes=49)


@pytest.mark.parametrize('item', [device, host])
def test_what_is_taken_may_grow_as_far_as_the_budget_goes(item):
    is_device = item is device
    budget = make()
    budget.reserve('other', [item(30)])
    reservation = budget.reserve('model', [item(40)])
    for taken in (10, 40, 70):
        assert reservation.record(is_device, taken)
        assert reservation.measured(is_device) == taken
    assert not reservation.record(is_device, 71)
    assert reservation.measured(is_device) == 70
    with pytest.raises(OutOfMemoryError):
        budget.reserve('third', [item(1)])
    assert reservation.record(is_device, 0)
    budget.reserve('third', [item(30)])
    reservation.release()
    assert not reservation.record(is_device, 1), 'nothing is granted any more'


def test_what_was_granted_may_be_taken_whatever_others_took_meanwhile():
    budget = make()
    greedy = budget.reserve('greedy', [device(50)])
    reservation = budget.reserve('model', [device(50)])
    greedy.commit(None, 90)
    assert reservation.record(True, 50)
    assert not reservation.record(True, 51)


def test_growing_in_two_threads_cannot_both_pass():
    for _ in range(20):
        budget = make()
        reservations = [budget.reserve(f'model{number}', [device(10)]) for number in range(8)]
        barrier = threading.Barrier(8)
        answers = []

        def grow(reservation):
            barrier.wait()
            answers.append(reservation.record(True, 30))

        threads = [threading.Thread(target=grow, args=(one,)) for one in reservations]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers.count(True) == 1
        assert sum(one.charged(True) for one in reservations) == 100


def test_a_prediction_can_be_replaced_once_more_is_known():
    budget = make()
    budget.reserve('other', [device(50)])
    reservation = budget.reserve('model', [device(20), host(90, 'plan')])
    reservation.resize([device(50)])
    assert budget.totals()['host'].predicted_bytes == 0
    with pytest.raises(OutOfMemoryError, match='a new model needs 51 bytes.*1 bytes more.*beside '
                                               'other predicted 50 bytes not measured; raise'):
        reservation.resize([device(51)], 'a new model')
    assert reservation.predicted(True) == 50
    reservation.resize([])
    budget.reserve('third', [device(50)])


def test_items_are_handed_over_and_added_up():
    budget = make()
    shared = budget.reserve('shared', [])
    for size in (10, 20):
        reservation = budget.reserve('model', [device(5), device(size, 'activations')])
        reservation.hand_over('activations', shared)
        reservation.hand_over('nothing', shared)
        assert reservation.items == (device(5),)
    assert shared.items == (device(30, 'activations'),)
    assert budget.totals()['device'].predicted_bytes == 40


def test_growth_is_that_of_the_process():
    sizes = iter([500, 800, 400])
    budget = MemoryBudget(1, 1, read_rss=lambda: next(sizes))
    assert budget.growth_bytes() == 300
    assert budget.growth_bytes() == 0
