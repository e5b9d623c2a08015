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

"""The search as a whole: split, sweep, choose, decode once more, judge on what was kept aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from typing import Callable
from typing import Mapping
from typing import Sequence

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.parameter_spec import nearest
from c7_inference_ros.tools.tuning.choose import Choice
from c7_inference_ros.tools.tuning.choose import choose
from c7_inference_ros.tools.tuning.choose import precision_of
from c7_inference_ros.tools.tuning.choose import Present
from c7_inference_ros.tools.tuning.choose import UnreachableError
from c7_inference_ros.tools.tuning.choose import value_of
from c7_inference_ros.tools.tuning.choose import Wish
from c7_inference_ros.tools.tuning.inferred import InferredSamples
from c7_inference_ros.tools.tuning.inferred import TunedModel
from c7_inference_ros.tools.tuning.outcome import Outcome
from c7_inference_ros.tools.tuning.request import TuneRequest
from c7_inference_ros.tools.tuning.samples import held_out
from c7_inference_ros.tools.tuning.sweep import count
from c7_inference_ros.tools.tuning.sweep import FN
from c7_inference_ros.tools.tuning.sweep import FP
from c7_inference_ros.tools.tuning.sweep import sweep
from c7_inference_ros.tools.tuning.sweep import Swept
from c7_inference_ros.tools.tuning.sweep import TP
import numpy as np

_EQUAL = 1e-9
_MOST_SHOWN = 8


@dataclass(frozen=True, eq=False)
class Found:
    """
    What was found.

    :param names: of the classes.
    :param tuned: classes with enough objects.
    :param swept: every setting that was tried.
    :param choice: the best one.
    :param changes: new values by name of the parameter, without the prefix of the model.
    :param outcomes: the pictures tuned on, and those kept aside where there are some.
    :param thresholds: score threshold before and after, by class that is judged.
    :param notes: what limits the result, one line each.
    :param refusal: why nothing is written; empty when it is.
    """

    names: Sequence[str]
    tuned: Sequence[int]
    swept: Swept
    present: Present
    choice: Choice
    changes: Mapping[str, Any]
    outcomes: Sequence[Outcome]
    thresholds: Mapping[int, tuple[float, float]]
    notes: Sequence[str]
    refusal: str

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        total = self.swept.counts[list(self.swept.overlaps).index(self.choice.overlap)].sum(axis=0)
        return {
            'tuned_classes': [self.names[kind] for kind in self.tuned],
            'nms_threshold': {'before': self.present.overlap, 'after': self.choice.overlap},
            'score_thresholds': {self.names[kind]: {'before': before, 'after': after}
                                 for kind, (before, after) in self.thresholds.items()},
            **{one.name.replace(' ', '_'): one.as_dict(self.names, self.tuned)
               for one in self.outcomes},
            'curve': {'score': self.swept.scores.tolist(), 'tp': total[:, TP].tolist(),
                      'fp': total[:, FP].tolist(), 'fn': total[:, FN].tolist()}}


def search(request: TuneRequest, model: TunedModel, samples: InferredSamples, is_sequence: bool,
           progress: Callable[[int, int], None]) -> Found:
    """
    Find the best thresholds.

    :param is_sequence: whether neighbours show nearly the same.
    :param progress: told how many of how many decodings are done.
    :raises ConfigurationError: a class does not exist.
    :raises UnreachableError: there is too little to tune on, or nothing does what was asked.
    """
    aside = held_out(samples.keys, request.holdout, is_sequence)
    tuning, rest = np.flatnonzero(~aside).tolist(), np.flatnonzero(aside).tolist()
    present = _present(model, samples)
    tuned, notes = _tuned_classes(request, samples, tuning, present)
    wish = request.wish
    common = sorted(samples.common)
    swept = sweep(model, samples, tuning, [float(present.scores[kind]) for kind in common],
                  request.is_nms_kept or not model.needs_nms, progress)
    if not model.needs_nms:
        notes.append('the model suppresses boxes itself; nms_threshold is not used and stays')
    choice = choose(swept, wish, present, tuned, samples.classes)
    changes = _changes(model, samples, choice, present)
    settings = [model.settings(), model.settings(**_as_parameters(model, changes))]
    outcomes = [Outcome(name, len(which), *(count(samples, which, one) for one in settings))
                for name, which in (('tuning', tuning), ('held out', rest)) if which]
    after = {kind: float(settings[1].score_thresholds[samples.id_of[kind]]) for kind in common}
    thresholds = {kind: (float(present.scores[kind]), round(after[kind], 6)) for kind in common}
    if not rest:
        notes.append('no picture was kept aside: how well this does on other pictures is not '
                     'known')
    elif absent := [kind for kind in tuned if not outcomes[-1].after[kind, [TP, FN]].sum()]:
        notes.append(f'{len(absent)} of the {len(tuned)} tuned classes have no object among the '
                     f'pictures that were kept aside')
    refusal = refusal_of(wish, outcomes[0], tuned, samples.classes)
    if not refusal and rest:
        refusal = _judge_held_out(wish, outcomes[1], tuned, notes)
    return Found(samples.classes, tuned, swept, present, choice, changes, outcomes, thresholds,
                 notes, refusal)


def _present(model: TunedModel, samples: InferredSamples) -> Present:
    own = {entry.rpartition('=')[0].strip() for entry in model.config.class_score_thresholds}
    size = len(samples.classes)
    scores = np.full(size, model.config.score_threshold)
    for entry in model.config.class_score_thresholds:
        name, _, value = entry.rpartition('=')
        if name.strip() in samples.classes:
            scores[samples.classes.index(name.strip())] = float(value)
    return Present(scores, np.array([name in own for name in samples.classes], np.bool_),
                   model.config.nms_threshold)


def _tuned_classes(request: TuneRequest, samples: InferredSamples, tuning: Sequence[int],
                   present: Present) -> tuple[list[int], list[str]]:
    """Return the classes with enough objects, and what has to be said of the others."""
    objects = np.zeros(len(samples.classes), np.int64)
    for number in tuning:
        truth = samples.truth(number)
        objects += np.bincount(truth.classes[~truth.is_crowd], minlength=len(objects))
    known = [samples.classes[kind] for kind in sorted(samples.common)]
    problems = []
    for name in request.classes:
        if name not in known:
            near = nearest(name, known)
            hint = f'; did you mean {near!r}?' if near else ''
            problems.append(f'--class is {name!r}, which is no class that is labelled, known to '
                            f'the model and published{hint}')
    if problems:
        raise ConfigurationError(problems)
    wanted = [kind for kind in sorted(samples.common)
              if not request.classes or samples.classes[kind] in request.classes]
    tuned = [kind for kind in wanted if objects[kind] >= request.min_objects]
    few = [kind for kind in wanted if kind not in tuned and (objects[kind] or request.classes)]
    few.sort(key=lambda kind: -objects[kind])
    listed = ', '.join(f'{samples.classes[kind]} {objects[kind]}' for kind in few[:_MOST_SHOWN])
    listed += f' and {len(few) - _MOST_SHOWN} more' if len(few) > _MOST_SHOWN else ''
    if not tuned:
        raise UnreachableError(
            f'no class has the {request.min_objects} labelled objects in the {len(tuning)} '
            f'pictures tuned on that a threshold needs (found {listed or "none"}); label more, or '
            f'lower --min-objects and know that chance decides more')
    notes = []
    if few:
        what = ('keep their thresholds' if request.wish.is_by_class
                else 'count only with their boxes among all' if request.wish.is_over_all_boxes
                else 'do not count when the threshold is chosen')
        notes.append(f'{len(few)} classes with fewer than {request.min_objects} labelled objects '
                     f'{what}: {listed}')
    if not request.wish.is_by_class and present.has_own[tuned].any():
        own = ', '.join(samples.classes[kind] for kind in tuned if present.has_own[kind])
        notes.append(f'classes with a threshold of their own keep it: {own}; --scope class tunes '
                     f'them')
        if present.has_own[tuned].all() and request.is_nms_kept:
            raise UnreachableError('every class has a threshold of its own, and none is left to '
                                   'be tuned; use --scope class')
    return tuned, notes


def _changes(model: TunedModel, samples: InferredSamples, choice: Choice, present: Present
             ) -> dict[str, Any]:
    """Return the parameters that differ from the present ones."""
    changes: dict[str, Any] = {}
    if choice.score is not None and choice.score != model.config.score_threshold:
        changes['score_threshold'] = choice.score
    own = [f'{samples.classes[kind]}={value:g}' for kind, value in choice.by_class.items()
           if value != present.scores[kind]]
    if own:
        changes['class_score_thresholds'] = own
    if choice.overlap != present.overlap:
        changes['nms_threshold'] = choice.overlap
    return changes


def _as_parameters(model: TunedModel, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes as the file will hold them, with the thresholds that stay."""
    values = dict(changes)
    if 'class_score_thresholds' in values:
        replaced = {entry.rpartition('=')[0] for entry in values['class_score_thresholds']}
        kept = [entry for entry in model.config.class_score_thresholds
                if entry.rpartition('=')[0].strip() not in replaced]
        values['class_score_thresholds'] = (*kept, *values['class_score_thresholds'])
    return values


def refusal_of(wish: Wish, outcome: Outcome, tuned: Sequence[int],
               names: Sequence[str]) -> str:
    """Return why what was chosen does not do after all, decoded as it would be; or nothing."""
    why = ('boxes of different classes suppress each other, or max_detections cuts, so that the '
           'thresholds act on each other')
    if wish.min_precision is None:
        before, after = (value_of(one, wish, tuned) for one in (outcome.before, outcome.after))
        if after < before - _EQUAL:
            return f'F1 would fall from {before:.4f} to {after:.4f}: {why}'
        return ''
    rows = {names[kind]: outcome.after[kind] for kind in tuned} if wish.is_by_class else {
        'all boxes': outcome.after.sum(axis=0)}
    for name, row in rows.items():
        if float(precision_of(row)) < wish.min_precision:
            return (f'the precision of {name} would be {float(precision_of(row)):.3f}, not '
                    f'{wish.min_precision:g}: {why}')
    return ''


def _judge_held_out(wish: Wish, outcome: Outcome, tuned: Sequence[int], notes: list[str]) -> str:
    """Return why the result does not carry over; add what is only worth knowing to the notes."""
    if wish.min_precision is None:
        before, after = (value_of(one, wish, tuned) for one in (outcome.before, outcome.after))
        if after < before - _EQUAL:
            return (f'on the {outcome.pictures} pictures that were kept aside F1 falls from '
                    f'{before:.4f} to {after:.4f}: the settings fit the pictures tuned on and no '
                    f'others; label more pictures, tune fewer classes, or keep none '
                    f'aside with --holdout 0')
        return ''
    total = outcome.after.sum(axis=0)
    if total[TP] + total[FP] and float(precision_of(total)) < wish.min_precision:
        notes.append(f'on the {outcome.pictures} pictures that were kept aside the precision is '
                     f'{float(precision_of(total)):.3f}, less than {wish.min_precision:g}; ask '
                     f'for more to have a margin')
    return ''
