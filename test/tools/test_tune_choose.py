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

"""The best thresholds of known counts: maxima, ranges, ties, and what cannot be reached."""

from c7_inference_ros.tools.tuning.choose import choose
from c7_inference_ros.tools.tuning.choose import f1_of
from c7_inference_ros.tools.tuning.choose import Present
from c7_inference_ros.tools.tuning.choose import UnreachableError
from c7_inference_ros.tools.tuning.choose import value_of
from c7_inference_ros.tools.tuning.choose import Wish
from c7_inference_ros.tools.tuning.samples import held_out
from c7_inference_ros.tools.tuning.sweep import Swept
import numpy as np
import pytest

SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
NAMES = ('car', 'cat')
#: Right and wrong of 10 objects at each threshold; F1 of cars is best from 0.2 to 0.4.
CARS = ((9, 20), (8, 2), (8, 2), (8, 2), (1, 0))
CATS = ((5, 5), (5, 5), (5, 5), (4, 0), (0, 0))


def swept(*overlaps):
    """Return the counts of cars and cats for each NMS threshold."""
    counts = [[[(tp, fp, 10 - tp) for tp, fp in kind] for kind in kinds] for kinds in overlaps]
    return Swept(SCORES, [0.45, 0.5, 0.55][:len(overlaps)], np.array(counts, np.int64))


def present(score=0.1, own=(False, False), overlap=0.45):
    return Present(np.array([score, score]), np.array(own), overlap)


def test_one_threshold_in_the_middle_of_the_widest_best_range():
    assert choose(swept((CARS, CATS)), Wish(), present(), [0], NAMES).score == 0.3
    # The mean of both is best at 0.4 alone; so are all boxes together.
    for wish in (Wish(), Wish(is_micro=True)):
        assert choose(swept((CARS, CATS)), wish, present(), [0, 1], NAMES).score == 0.4
    # What is in force stays where nothing is better.
    for score in (0.2, 0.4):
        assert choose(swept((CARS, CATS)), Wish(), present(score), [0], NAMES).score == score


def test_one_threshold_for_each_class():
    found = choose(swept((CARS, CATS)), Wish(is_by_class=True), present(), [0, 1], NAMES)
    assert found.by_class == {0: 0.3, 1: 0.4} and found.score is None
    found = choose(swept((CARS, CATS)), Wish(is_by_class=True), present(0.4), [0], NAMES)
    assert found.by_class == {0: 0.4}


def test_classes_with_a_threshold_of_their_own_keep_it():
    # Cats stay at 0.1 whatever is chosen, so only the cars decide.
    found = choose(swept((CARS, CATS)), Wish(is_micro=True), present(own=(False, True)),
                   [0, 1], NAMES)
    assert found.score == 0.3


def test_the_overlap_goes_with_the_best_and_else_stays():
    better = tuple((tp + 1, fp) for tp, fp in CARS)
    assert choose(swept((CARS, CATS), (better, CATS)), Wish(), present(), [0], NAMES
                  ).overlap == 0.5
    assert choose(swept((better, CATS), (better, CATS), (better, CATS)), Wish(), present(
        overlap=0.5), [0], NAMES).overlap == 0.5
    by_class = Wish(is_by_class=True)
    assert choose(swept((CARS, CATS), (better, CATS)), by_class, present(), [0, 1], NAMES
                  ).overlap == 0.5
    assert choose(swept((CARS, CATS), (CARS, CATS)), by_class, present(overlap=0.5), [0, 1], NAMES
                  ).overlap == 0.5


def test_a_precision_is_held_with_as_much_found_as_possible():
    wish = Wish(min_precision=0.8, is_by_class=True)
    assert choose(swept((CARS, CATS)), wish, present(), [0, 1], NAMES).by_class == {
        0: 0.3, 1: 0.4}
    # All boxes: 12 right and 2 wrong at 0.4.
    found = choose(swept((CARS, CATS)), Wish(min_precision=0.85), present(), [0, 1], NAMES)
    assert found.score == 0.4
    # 1 of 1 at 0.5; nothing at all is no precision.
    assert choose(swept((CARS, CATS)), Wish(min_precision=1.0), present(), [0], NAMES).score == 0.5
    with pytest.raises(UnreachableError, match='precision of 0.9 for every class; the best of '
                                               'those that fail: cat 0.500; name'):
        choose(swept((CARS, ((5, 5),) * 5)), Wish(min_precision=0.9, is_by_class=True), present(),
               [0, 1], NAMES)
    with pytest.raises(UnreachableError, match='precision of 0.9; the best is 0.500'):
        choose(swept((((5, 5),) * 5,) * 2), Wish(min_precision=0.9), present(), [0], NAMES)


def test_what_is_maximised():
    counts = np.array([(8, 2, 2), (4, 0, 6)])
    assert f1_of(counts).tolist() == pytest.approx([0.8, 8 / 14])
    assert value_of(counts, Wish(), [0, 1]) == pytest.approx((0.8 + 8 / 14) / 2)
    assert value_of(counts, Wish(is_micro=True), [0]) == pytest.approx(24 / 34)
    assert value_of(counts, Wish(min_precision=0.8), [0]) == pytest.approx(0.6)
    assert value_of(counts, Wish(min_precision=0.9), [0]) < 0
    assert f1_of(np.zeros((2, 3), np.int64)).tolist() == [0.0, 0.0]


def test_pictures_are_kept_aside_by_their_names():
    names = [('', f'{index}.jpg') for index in range(20)]
    aside = held_out(names, 0.3, False)
    assert aside.sum() == 6 and not aside[:6].all()
    backwards = held_out(names[::-1], 0.3, False)
    assert backwards.tolist() == aside[::-1].tolist()
    # One more picture moves at most one of the others.
    more = held_out([*names, ('', 'new.jpg')], 0.3, False)
    assert np.abs(more[:20].astype(int) - aside).sum() <= 1
    assert not held_out(names, 0.0, False).any()


def test_of_a_recording_its_end_is_kept_aside():
    keys = [(camera, (stamp, stamp)) for stamp in range(10) for camera in ('left', 'right')]
    aside = held_out(keys, 0.3, True)
    assert [key for key, is_aside in zip(keys, aside) if is_aside] == [
        (camera, (stamp, stamp)) for stamp in (7, 8, 9) for camera in ('left', 'right')]
