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

"""The ladder: what is shed at each level."""

from c7_inference_ros.config import load_config
from c7_inference_ros.pipeline.shedding import ladder
from c7_inference_ros.pipeline.shedding import place_in
from c7_inference_ros.pipeline.shedding import why_empty
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest


def configured(priorities=(('low', 0), ('mid', 5), ('high', 9)), cameras=('front',), **values):
    return load_config({
        'camera_names': list(cameras), 'model_names': [name for name, _ in priorities],
        **{f'models.{name}.priority': priority for name, priority in priorities}, **values})


def rungs(config):
    """Return each step as (rate, skipped, paused)."""
    return [(step.max_rate_hz, ''.join(sorted(step.skipped_models)), step.is_paused)
            for step in ladder(config)]


def test_rates_then_models_by_priority_then_pause():
    assert rungs(configured()) == [
        (None, '', False), (10.0, '', False), (5.0, '', False), (5.0, 'low', False),
        (5.0, 'lowmid', False), (5.0, 'lowmid', True)]
    steps = ladder(configured())
    assert [step.level for step in steps] == list(range(6))
    assert [step.description for step in steps] == [
        'nothing is shed', 'at most 10 Hz of each camera', 'at most 5 Hz of each camera',
        'at most 5 Hz of each camera, no low', 'at most 5 Hz of each camera, no low, mid',
        'intake is paused']


@pytest.mark.parametrize('limit, levels', [('rate', 2), ('models', 4), ('pause', 5)])
def test_shedding_goes_no_further_than_its_limit(limit, levels):
    steps = ladder(configured(**{'thermal.shed_limit': limit}))
    assert steps[-1].level == levels
    assert steps == ladder(configured())[:levels + 1]


def test_models_of_one_priority_go_together_and_the_highest_stay():
    config = configured((('a', 1), ('b', 1), ('c', 7), ('d', 7)))
    assert rungs(config)[3:] == [(5.0, 'ab', False), (5.0, 'ab', True)]
    assert rungs(configured((('a', 3), ('b', 3))))[3:] == [(5.0, '', True)]
    assert rungs(configured((('a', -1000),)))[3:] == [(5.0, '', True)]


def test_models_that_see_no_camera_are_no_step():
    config = configured(**{'cameras.front.models': ['low', 'mid']})
    assert [skipped for _, skipped, _ in rungs(config)][3:] == ['low', 'low']


def test_rates_that_no_camera_would_notice_are_left_out():
    two = {'cameras': ('front', 'rear'), 'cameras.front.max_rate': 8.0}
    assert [rate for rate, *_ in rungs(configured(**two))][1:3] == [10.0, 5.0]
    both = configured(**two, **{'cameras.rear.max_rate': 10.0})
    assert [rate for rate, *_ in rungs(both)] == [None] + [5.0] * 4
    slow = configured(**{'cameras.front.max_rate': 4.0})
    assert rungs(slow) == [(None, '', False), (None, 'low', False), (None, 'lowmid', False),
                           (None, 'lowmid', True)]
    assert ladder(slow)[1].description == 'no low'


ONE = (('only', 0),)
RATE = {'thermal.shed_limit': 'rate', 'thermal.shed_rates': [0.0]}


@pytest.mark.parametrize('config, words, absent', [
    (configured(**RATE), ['thermal.shed_limit is rate', 'thermal.shed_rates is [0.0]'],
     ['max_rate', 'priority']),
    (configured(**{**RATE, 'thermal.shed_rates': [9.0, 5.0], 'cameras.front.max_rate': 5.0}),
     ['thermal.shed_limit is rate', 'thermal.shed_rates is [9.0, 5.0]',
      'every cameras.<name>.max_rate is at or below the lowest'], ['priority']),
    (configured(ONE, **{**RATE, 'thermal.shed_limit': 'models'}),
     ['thermal.shed_limit is models', '[0.0]', 'models.<name>.priority'], ['max_rate'])])
def test_settings_that_leave_nothing_to_shed_are_named(config, words, absent):
    assert len(ladder(config)) == 1
    found = why_empty(config)
    assert all(word in found for word in words), found
    assert not any(word in found for word in absent), found


@pytest.mark.parametrize('config', [
    configured(ONE), configured(ONE, **{**RATE, 'thermal.shed_limit': 'pause'}),
    configured(**{**RATE, 'thermal.shed_limit': 'models'}),
    configured(ONE, **{**RATE, 'thermal.shed_rates': [5.0]})])
def test_settings_that_leave_a_step_are_no_problem(config):
    assert why_empty(config) == ''


def test_rate_of_zero_is_ignored_and_no_rates_are_fine():
    config = configured(**{'thermal.shed_rates': [0.0], 'thermal.shed_limit': 'rate'})
    assert rungs(config) == [(None, '', False)]
    assert [rate for rate, *_ in rungs(configured(**{'thermal.shed_rates': [0.0, 7.5]}))][1] == 7.5


@pytest.mark.parametrize('level, values, expected', [
    (0, {'thermal.shed_rates': [3.0]}, 0),
    (1, {'thermal.shed_rates': [8.0, 4.0]}, 1),  # 10 Hz to 8 Hz
    (2, {'thermal.shed_rates': [20.0, 10.0, 5.0, 1.0]}, 3),  # 5 Hz stays 5 Hz
    (2, {'thermal.shed_rates': [20.0, 10.0]}, 2),  # the lowest that is left
    (1, {'thermal.shed_rates': [0.0]}, 0),  # no rates any more: not a model, not a pause
    (3, {'thermal.shed_rates': [0.0]}, 1),  # no low
    (4, {'thermal.shed_rates': [0.0]}, 2),  # no low, mid
    (4, {'models.mid.priority': 0}, 3),  # low and mid go in one step
    (3, {'models.low.priority': 9, 'models.mid.priority': 9}, 2),  # no steps of models
    (5, {'models.low.priority': 9, 'models.mid.priority': 9}, 3),  # pause is pause
    (5, {'thermal.shed_limit': 'models'}, 4),
    (5, {'thermal.shed_limit': 'rate'}, 2),
    (4, {'thermal.shed_limit': 'rate'}, 2),
    (5, {'thermal.shed_limit': 'rate', 'thermal.shed_rates': [0.0]}, 0),
    (2, {'cameras.front.max_rate': 9.0}, 1)])  # 5 Hz is level 1 now
def test_place_is_kept_when_the_ladder_changes(level, values, expected):
    old, new = ladder(configured()), ladder(configured(**values))
    assert place_in(old[level], old, new) is new[expected]


VALUES = st.fixed_dictionaries({
    'priorities': st.lists(st.integers(0, 3), min_size=1, max_size=4).map(
        lambda found: tuple((f'm{number}', value) for number, value in enumerate(found))),
    'thermal.shed_rates': st.lists(st.sampled_from((20.0, 10.0, 5.0, 1.0)), unique=True).map(
        lambda found: sorted(found, reverse=True) or [0.0]),
    'thermal.shed_limit': st.sampled_from(('rate', 'models', 'pause')),
    'cameras.front.max_rate': st.sampled_from((0.0, 4.0, 15.0))})


@settings(deadline=None)
@given(VALUES, VALUES, st.data())
def test_every_ladder_sheds_more_from_step_to_step(values, others, data):
    steps = ladder(configured(**values))
    assert rungs(configured(**values))[0] == (None, '', False)
    for before, after in zip(steps, steps[1:]):
        assert after.level == before.level + 1
        assert after != before
        assert after.skipped_models >= before.skipped_models
        assert not before.is_paused
        assert (after.max_rate_hz or 1e9) <= (before.max_rate_hz or 1e9)
    highest = max(priority for _, priority in values['priorities'])
    assert not {name for name, priority in values['priorities']
                if priority == highest} & steps[-1].skipped_models
    new = ladder(configured(**others))
    step = data.draw(st.sampled_from(steps))
    placed = place_in(step, steps, new)
    assert placed is new[placed.level]
    # Never from a milder kind of shedding to a harsher one.
    assert not placed.is_paused or step.is_paused
    assert not placed.skipped_models or step.skipped_models or step.is_paused
    assert place_in(step, steps, steps) is step
