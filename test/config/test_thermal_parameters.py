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

"""Parameters of heat and of shedding: defaults, ranges, and what does not fit together."""

from c7_inference_ros.config import load_config
from c7_inference_ros.config import parameters_of
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.parameter_groups import shedding_problems
from c7_inference_ros.parameter_groups import ThermalConfig
from c7_inference_ros.parameter_spec import Mutability
from c7_inference_ros.pipeline.shedding import ladder
import pytest

#: What may change while the node runs; the others belong to the thread that polls.
DYNAMIC = {'thermal.policy', 'thermal.shed_margin', 'thermal.recover_margin', 'thermal.dwell',
           'thermal.shed_rates', 'thermal.shed_limit', 'thermal.allow_throttled_activation',
           'cameras.camera.max_rate', 'models.detector.priority'}
CONFIGURE = {'thermal.poll_rate', 'thermal.sysfs_root', 'thermal.zone_topics'}


def problems_of(**values):
    with pytest.raises(ConfigurationError) as caught:
        load_config({name.replace('__', '.'): value for name, value in values.items()})
    return caught.value.problems


def test_nothing_is_shed_unless_it_is_asked_for():
    config = load_config({})
    assert config.thermal.policy == 'observe'
    assert config.cameras['camera'].max_rate == 0.0
    assert config.models['detector'].priority == 0
    assert not shedding_problems(config.thermal)
    assert len(ladder(config)) > 1  # the policy alone is enough to turn it on


def test_shedding_may_change_while_the_node_runs_and_the_source_may_not():
    found = {name: spec.mutability for name, spec, _ in parameters_of(('camera',), ('detector',))}
    assert {found[name] for name in DYNAMIC} == {Mutability.DYNAMIC}
    assert {found[name] for name in CONFIGURE} == {Mutability.CONFIGURE}
    assert {name for name in found if name.startswith('thermal.')} <= DYNAMIC | CONFIGURE


def test_every_quantity_has_its_unit():
    units = {name: spec.unit for name, spec, _ in parameters_of(('camera',), ('detector',))}
    assert {name: units[name] for name in (
        'thermal.shed_margin', 'thermal.recover_margin', 'thermal.dwell', 'thermal.shed_rates',
        'thermal.poll_rate', 'cameras.camera.max_rate')} == {
            'thermal.shed_margin': 'K', 'thermal.recover_margin': 'K', 'thermal.dwell': 's',
            'thermal.shed_rates': 'Hz', 'thermal.poll_rate': 'Hz', 'cameras.camera.max_rate': 'Hz'}


@pytest.mark.parametrize('values, words', [
    ({'thermal.policy': 'shedd'}, ['thermal.policy', "'shedd'", 'observe, shed',
                                   "did you mean 'shed'"]),
    ({'thermal.shed_limit': 'all'}, ['thermal.shed_limit', "'all'", 'rate, models, pause']),
    ({'thermal.shed_margin': -1.0}, ['thermal.shed_margin', '-1.0', 'at least 0 K']),
    ({'thermal.recover_margin': 500.0}, ['thermal.recover_margin', 'at most 120 K']),
    ({'thermal.dwell': 0.0}, ['thermal.dwell', '0.0', 'at least 0.1 s']),
    ({'thermal.dwell': float('inf')}, ['thermal.dwell', 'finite']),
    ({'thermal.shed_rates': 5.0}, ['thermal.shed_rates', '5.0', 'double array']),
    ({'thermal.shed_rates': [10.0, -1.0]}, ['thermal.shed_rates', '-1.0', 'at least 0 Hz']),
    ({'cameras.camera.max_rate': -5.0}, ['cameras.camera.max_rate', 'at least 0 Hz']),
    ({'models.detector.priority': 1.5}, ['models.detector.priority', '1.5', 'integer']),
    ({'models.detector.priority': 1001}, ['models.detector.priority', 'at most 1000']),
    ({'thermal.shed_margin': 10.0}, ['thermal.recover_margin is 10 K', 'thermal.shed_margin, 10 K',
                                     'swing']),
    ({'thermal.recover_margin': 4.0}, ['thermal.recover_margin is 4 K', 'more than']),
    ({'thermal.shed_rates': [5.0, 10.0]}, ['thermal.shed_rates', '[5.0, 10.0]', 'fall']),
    ({'thermal.shed_rates': [5.0, 5.0]}, ['thermal.shed_rates', 'fall']),
    ({'thermal.shed_rates': [10.0, 0.0, 10.0]}, ['thermal.shed_rates', 'fall'])])
def test_what_cannot_be_shed_is_one_line_that_says_what_to_do(values, words):
    lines = problems_of(**values)
    assert len(lines) == 1, lines
    assert '\n' not in lines[0]
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize('rates', [[], [0.0], [10], [10.0, 0.0, 5.0], [1000.0, 999.0]])
def test_rates_that_are_fine(rates):
    assert load_config({'thermal.shed_rates': rates}).thermal.shed_rates == tuple(
        float(rate) for rate in rates)


def test_all_that_does_not_fit_is_told_at_once():
    assert len(shedding_problems(ThermalConfig(
        shed_margin=20.0, recover_margin=10.0, shed_rates=(1.0, 2.0)))) == 2
