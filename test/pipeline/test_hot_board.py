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

"""A hot board in a closed loop: shedding keeps results fresh where observing does not."""

import importlib.util
import json
from pathlib import Path
import subprocess
import sys

from c7_inference_ros.pipeline.accounting import DropReason
from hot_board import simulation
from hot_board import summary
from hot_board.board import Board
from hot_board.board import BoardModel
from hot_board.board import Weather
import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
MODEL, WEATHER = BoardModel(), Weather()
DWELL_S = 10.0
#: A frame waits for at most one other, and the two models take 20 ms at full speed.
BOUND_S = 0.04


@pytest.fixture(scope='module')
def runs():
    """Return the traces of both policies over the same weather."""
    return {policy: simulation.simulate(policy, WEATHER, MODEL) for policy in ('observe', 'shed')}


def ages(trace):
    return [age for _, _, age in trace.ages]


def assert_orderly(trace):
    """Assert what holds of every run, whatever the weather."""
    assert trace.unbalanced == 0
    for account in trace.accounts.values():
        assert account.in_flight == 0
        assert account.received == account.published + account.dropped_total > 30000
    moments = [at for at, *_ in trace.steps]
    assert all(later - earlier >= DWELL_S for earlier, later in zip(moments, moments[1:]))
    level = 0
    for _, before, after, reason in trace.steps:
        assert before == level and abs(after - before) == 1
        assert 'gpu-thermal' in reason
        level = after


def test_observing_lets_results_grow_old_with_the_throttle(runs):
    trace = runs['observe']
    assert_orderly(trace)
    assert not trace.steps
    assert max(state for _, _, _, state, _ in trace.samples) == MODEL.states
    # 20 ms of work at a twentieth of the speed.
    assert max(ages(trace)) > 0.4
    slow = [age for at, model, age in trace.ages if model == 'far' and 900.0 < at < 1200.0]
    assert min(slow) > 0.1
    # The slot still holds back what would wait: no result is older than two slow frames.
    assert max(ages(trace)) <= 2 * 0.02 * MODEL.slowdown(MODEL.states)


def test_shedding_keeps_results_fresh_and_comes_back(runs):
    trace = runs['shed']
    assert_orderly(trace)
    assert max(ages(trace)) <= BOUND_S
    assert [after for _, _, after, _ in trace.steps] == [1, 2, 3, 2, 1, 0]
    assert max(die for _, _, die, _, _ in trace.samples) < MODEL.trip_c
    # Full rate again at the end, and results all the time.
    last = [at for at, model, _ in trace.ages if model == 'far' and at > WEATHER.duration_s - 60.0]
    assert len(last) >= 60 * 29
    seen = [at for at, model, _ in trace.ages if model == 'near']
    assert max(later - earlier for earlier, later in zip(seen, seen[1:])) < 0.35


def test_what_heat_drops_is_counted_as_heat(runs):
    for policy, reason in (('observe', DropReason.OVERWRITTEN), ('shed', DropReason.THERMAL)):
        for account in runs[policy].accounts.values():
            assert account.dropped[reason] == account.dropped_total > 10000


def test_bound_is_derived_and_holds(runs):
    bound = summary.age_bound(MODEL, WEATHER, simulation.configuration('shed'))
    assert bound.is_unthrottled
    assert bound.age_s == pytest.approx(BOUND_S)
    highest = max(die for _, _, die, _, _ in runs['shed'].samples)
    assert highest <= MODEL.trip_c - 5.0 + bound.rise_k


@pytest.mark.parametrize('values, hot_c', [
    ({'thermal.shed_margin': 1.0}, 83.0),  # too late
    ({'thermal.dwell': 600.0}, 83.0),  # too slow
    ({'thermal.recover_margin': 5.5}, 83.0),  # a step back is hot at once
    ({}, 90.0)])  # too hot even with nothing to do
def test_bound_is_not_claimed_where_the_board_may_throttle(values, hot_c):
    config = simulation.configuration('shed', **values)
    bound = summary.age_bound(MODEL, Weather(hot_c=hot_c), config)
    assert not bound.is_unthrottled
    assert bound.age_s == pytest.approx(2 * 0.02 * 20)


def test_steady_warm_air_swings_slowly_and_stays_fresh():
    """Level 0 is too warm for this air and level 1 cool: the load swings, at the board's pace."""
    weather = Weather(hot_c=70.0, ramp_s=300.0, hot_s=900.0, tail_s=60.0)
    trace = simulation.simulate('shed', weather, MODEL)
    assert_orderly(trace)
    assert max(ages(trace)) <= BOUND_S
    moments = [at for at, *_ in trace.steps]
    assert len(moments) > 4
    # The gap between the margins, not the dwell, says how soon.
    assert min(later - earlier for earlier, later in zip(moments, moments[1:])) > 3 * DWELL_S


def test_air_that_is_too_hot_pauses_intake_and_ends_well():
    weather = Weather(hot_c=85.0, ramp_s=300.0, hot_s=600.0, tail_s=120.0)
    trace = simulation.simulate('shed', weather, MODEL)
    assert_orderly(trace)
    levels = [level for *_, level in trace.samples]
    assert max(levels) == 4 and levels[-1] == 0
    assert max(ages(trace)) <= BOUND_S
    paused = [at for at, *_, level in trace.samples if level == 4]
    # A frame that waits when the pause begins is still published.
    assert not [at for at, *_ in trace.ages if paused[0] + BOUND_S < at <= paused[-1]]


def test_claims_fail_when_they_are_not_true(runs):
    assert all(summary.checks(runs['observe'], runs['shed'], MODEL, WEATHER).values())
    claims = list(summary.checks(runs['shed'], runs['observe'], MODEL, WEATHER).values())
    assert claims == [False] * 7 + [True]


def test_board_settles_where_its_constants_say():
    board = Board(MODEL, 30.0)
    for _ in range(40_000):
        board.run(0.1, 0.06, 30.0)
    assert board.die_c == pytest.approx(MODEL.steady_c(30.0, 0.6), abs=0.05)
    assert board.die_c == pytest.approx(30.0 + 8.0 + 0.6 * 40.0, abs=0.05)


def test_command_prints_what_was_found_and_draws_it(runs, monkeypatch, capsys, tmp_path):
    command = load_command()
    monkeypatch.setattr(simulation, 'simulate', lambda policy, *_: runs[policy])
    assert command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith('holds') for line in lines) == 8
    assert not [line for line in lines if line.startswith('FAILS')]
    assert command.main(['--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert found['observe']['age_worst_s'] == max(ages(runs['observe']))
    assert found['shed']['last_level'] == 0
    monkeypatch.setattr(simulation, 'simulate', lambda *_: runs['observe'])
    assert command.main(['--json']) == 1
    assert not all(json.loads(capsys.readouterr().out)['checks'].values())


def test_command_draws(runs, monkeypatch, capsys, tmp_path):
    pytest.importorskip('matplotlib')
    monkeypatch.setattr(simulation, 'simulate', lambda policy, *_: runs[policy])
    command = load_command()
    assert command.main(['--output', str(tmp_path / 'board.png')]) == 0
    content = (tmp_path / 'board.png').read_bytes()
    assert content.startswith(b'\x89PNG') and 20_000 < len(content) < 150_000
    (tmp_path / 'folder.png').mkdir()
    assert command.main(['--output', str(tmp_path / 'folder.png')]) == 2
    assert 'Is a directory' in capsys.readouterr().err


@pytest.mark.parametrize('output, expected', [
    ('board.txt', 'expected a file that ends in .png, .svg, .pdf'),
    ('nowhere/board.png', 'there is no folder nowhere')])
def test_command_refuses_bad_output_before_it_runs(output, expected, tmp_path):
    ended = subprocess.run(
        [sys.executable, str(ROOT / 'dev' / 'hot_board.py'), '--output', output],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60.0)
    assert ended.returncode == 2
    assert expected in ended.stderr
    assert 'Traceback' not in ended.stderr


def load_command():
    """Return the module of the command, whose package has the same name."""
    spec = importlib.util.spec_from_file_location(
        'hot_board_command', ROOT / 'dev' / 'hot_board.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
