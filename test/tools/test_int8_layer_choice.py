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

"""The search for layers that stay in float32, with accuracies that are made up."""

from c7_inference_ros.engines.types import AccuracyCheck
from c7_inference_ros.tools.layer_choice import _Search
from c7_inference_ros.tools.layer_choice import LayerChoice
import pytest

REFERENCE, LIMIT = 0.5, 0.04
NAMES = [f'layer{index}' for index in range(20)]


class Measure:
    """Every layer that is bad and in int8 costs something."""

    def __init__(self, costs):
        self.costs, self.asked = costs, []

    def without(self, excluded):
        self.asked.append(frozenset(excluded))
        loss = sum(cost for name, cost in self.costs.items() if name not in excluded)
        return REFERENCE - loss, ' '.join(sorted(excluded)).encode()


def search(costs, ranked=NAMES, fixed=(), deadline=1e9, clock=lambda: 0.0):
    measure = Measure(costs)
    found = _Search(measure, REFERENCE, LIMIT, frozenset(fixed), deadline, clock)
    if not found.try_excluding(frozenset()):
        found.run(ranked)
    return found, measure


def test_nothing_to_do():
    found, measure = search({})
    assert (found.best, found.drop, len(measure.asked)) == (frozenset(), 0.0, 1)


@pytest.mark.parametrize('bad', [
    (0,), (1,), (0, 1), (0, 2), (3,), (0, 1, 2, 3, 4), (7,), (2, 5, 9)])
def test_just_the_bad_ones_are_excluded(bad):
    """Whatever innocent layers are ranked before them."""
    names = {NAMES[index] for index in bad}
    found, measure = search(dict.fromkeys(names, 0.1))
    assert found.best == names and found.drop == pytest.approx(0.0)
    # The model that is returned is the one that was measured.
    assert found.quantized == ' '.join(sorted(names)).encode()
    assert len(measure.asked) <= 1 + 5 + 3 + max(bad) + 1


def test_layers_that_stay_anyway_are_part_of_every_measurement():
    found, measure = search({NAMES[2]: 0.1}, ranked=NAMES[1:], fixed=NAMES[:1])
    assert found.best == {NAMES[2]}
    assert all(NAMES[0] in one for one in measure.asked)


def test_a_margin_is_kept_for_other_devices():
    """A choice within the limit is improved on where it is close to it."""
    found, _ = search({NAMES[0]: 0.2, NAMES[1]: 0.035})
    assert found.best == {NAMES[0], NAMES[1]}
    found, _ = search({NAMES[0]: 0.2, NAMES[1]: 0.025})
    assert found.best == {NAMES[0]}


def test_the_best_is_kept_where_nothing_is_good():
    found, measure = search(dict.fromkeys(NAMES, 0.03))
    assert len(found.best) == len(NAMES) // 2  # more in float32 would be no int8
    assert found.drop == pytest.approx(0.3) and len(measure.asked) == 6


def test_time_is_bounded():
    times = iter([0.0, 0.0, 0.0, 2.0])
    found, measure = search({NAMES[9]: 0.1}, deadline=1.0, clock=lambda: next(times, 2.0))
    assert len(measure.asked) == 4 and found.drop == pytest.approx(0.1)


@pytest.mark.parametrize('accuracy', [None, AccuracyCheck('mAP50', 0.5, 0.49, 0.03, 17, 'a' * 64)])
def test_a_choice_survives(accuracy):
    choice = LayerChoice(('a', 'b'), accuracy)
    assert LayerChoice.from_plain(choice.to_plain()) == choice
