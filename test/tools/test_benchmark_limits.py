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

from c7_inference_ros.config import load_config
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.resources import share_folder
from c7_inference_ros.tools.benchmarking.durations import Bounds
from c7_inference_ros.tools.benchmarking.limits import Limit
from c7_inference_ros.tools.benchmarking.limits import limits_of
from c7_inference_ros.tools.benchmarking.limits import Verdict
import pytest


@pytest.fixture
def config():
    return load_config({'model_names': ['near', 'far']})


def allowed(limits):
    return {(limit.key, limit.model): limit.allowed for limit in limits}


def test_without_a_file_limits_come_from_the_parameters():
    config = load_config({'diagnostics.max_allowed_processing_time': 0.05,
                          'memory.device_budget_bytes': 1000})
    limits = limits_of(config)
    assert allowed(limits) == {
        ('p95_ms', 'detector'): 50.0, ('deserialise_p95_s', 'detector'): 5.0,
        ('device_memory_bytes', ''): 1000.0, ('host_memory_bytes', ''): 3.0 * (1 << 29)}
    assert limits[0].origin == 'diagnostics.max_allowed_processing_time'


def test_the_shipped_example_says_what_the_product_promises(config):
    limits = allowed(limits_of(config, share_folder() / 'config/benchmark_limits.yaml'))
    assert limits['device_memory_bytes', ''] == 4 << 30
    assert limits['host_memory_bytes', ''] == 1.5 * (1 << 30)
    assert limits['deserialise_p95_s', 'near'] == 5.0
    assert limits['p95_ms', 'far'] == 200.0


def test_a_model_may_have_its_own_and_null_is_none(config, tmp_path):
    path = tmp_path / 'limits.yaml'
    path.write_text('p95_ms: 40\ndevice_memory_bytes: null\nratio_to_raw: 1.5\n'
                    'models: {far: {p95_ms: 90, ratio_to_raw: null}}\n')
    limits = limits_of(config, path)
    assert allowed(limits) == {
        ('p95_ms', 'near'): 40.0, ('p95_ms', 'far'): 90.0, ('deserialise_p95_s', 'near'): 5.0,
        ('deserialise_p95_s', 'far'): 5.0, ('ratio_to_raw', 'near'): 1.5,
        ('host_memory_bytes', ''): 3.0 * (1 << 29)}
    assert limits[1].origin == 'limits.yaml: models.far.p95_ms'


@pytest.mark.parametrize('text, words', [
    ('p95: 40', ['unknown limit p95; did you mean p95_ms?']),
    ('models: {nearr: {p95_ms: 1}}', ['unknown limit models.nearr; did you mean models.near?']),
    ('models: {near: {host_memory_bytes: 1}}',
     ['unknown limit models.near.host_memory_bytes; expected p95_ms']),
    ('{p95_ms: 0, host_memory_bytes: many}',
     ['p95_ms is 0, expected a number above 0', "host_memory_bytes is 'many', expected"]),
    ('{p95_ms: .nan, deserialise_p95_s: true}', ['p95_ms is nan', 'deserialise_p95_s is True']),
    ('models: [near]', ['models is a list, expected limits by model']),
    ('models: {near: 40}', ['models.near is a int, expected some of p95_ms']),
    ('- p95_ms', ['holds a list, expected limits as in config/benchmark_limits.yaml']),
    ('', ['holds nothing']), ('a: [', ['is no YAML'])])
def test_what_is_wrong_is_said_in_one_line_each(config, tmp_path, text, words):
    path = tmp_path / 'limits.yaml'
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        limits_of(config, path)
    assert len(caught.value.problems) == len(words)
    for problem, part in zip(caught.value.problems, words):
        assert str(path) in problem and part in problem and '\n' not in problem


def test_a_file_that_is_not_there(config, tmp_path):
    with pytest.raises(ConfigurationError, match='--limits .* cannot be read'):
        limits_of(config, tmp_path / 'none.yaml')


def verdict(found, bounds=(None, None), most=50.0):
    return Verdict(Limit('p95_ms', 'near', most, 'test'), found, Bounds(*bounds))


@pytest.mark.parametrize('found, bounds, broken, certain, words', [
    (40.0, (35.0, 45.0), False, True, 'is 40 ms, allowed 50 ms (test)'),
    (60.0, (55.0, 70.0), True, True, 'is 60 ms, allowed 50 ms (test)'),
    (49.0, (40.0, 60.0), False, False, 'too close to be sure'),
    (51.0, (40.0, 60.0), True, False, 'too close to be sure'),
    (40.0, (35.0, None), False, False, 'too few samples to be sure'),
    (50.0, (None, None), False, True, 'is 50 ms'),
    (float('nan'), (None, None), True, True, 'is nan ms'),
    (None, (None, None), True, True, 'was not measured, allowed 50 ms')])
def test_verdicts(found, bounds, broken, certain, words):
    made = verdict(found, bounds)
    assert (made.is_broken, made.is_certain) == (broken, certain)
    assert made.text.startswith('models.near: p95 of the whole pipeline') and words in made.text
