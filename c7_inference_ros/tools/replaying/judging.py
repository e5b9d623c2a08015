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

"""Ground truth beside a replay: the figures of each model while its results go by."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from typing import Iterator
from typing import Mapping

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.evaluation.evaluation import Evaluator
from c7_inference_ros.tools.evaluation.topic_truth import read_truth
from c7_inference_ros.tools.replaying.records import FrameResult
from c7_inference_ros.vision.labels import Labels


class Judge:
    """
    Compares the results of a replay with ground truth; a sink of results.

    :param given: what ``--ground-truth`` says; empty judges nothing.
    :param bag: the bag that is replayed.
    :param labels: class names by model.
    :raises ConfigurationError: it cannot be read, or has no class of any model.
    """

    def __init__(self, given: str, bag: Path, labels: Mapping[str, Labels]) -> None:
        """Read the ground truth."""
        self._evaluators: dict[str, Evaluator] = {}
        self._problems: list[str] = []
        for model, names in labels.items() if given else ():
            try:
                self._evaluators[model] = Evaluator(
                    read_truth(given, bag, names.names), names.names,
                    f'the frames of {bag} that {model} saw')
            except ConfigurationError as error:
                self._problems += [f'model {model} is not judged: {one}' for one in error.problems]
        if given and not self._evaluators:
            raise ConfigurationError(dict.fromkeys(
                one.partition(': ')[2] for one in self._problems))

    def __call__(self, result: FrameResult) -> None:
        """
        Take one result.

        :raises ConfigurationError: the ground truth is that of other pictures.
        """
        if result.model in self._evaluators:
            self._evaluators[result.model].add(result)

    @property
    def evaluators(self) -> Mapping[str, Evaluator]:
        """What judges each model that is judged, by its name."""
        return self._evaluators

    def finish(self) -> tuple[dict[str, Any] | None, list[str]]:
        """
        Return the figures by model, None without ground truth, and one line for each problem.

        :raises ConfigurationError: the ground truth is that of other pictures.
        """
        figures = {model: one.finish().as_dict() for model, one in self._evaluators.items()}
        problems = [f'model {model}: {line}' for model, found in figures.items()
                    for line in found['problems']]
        return figures or None, [*self._problems, *problems]


def evaluation_rows(evaluation: Mapping[str, Any] | None) -> Iterator[tuple[str, ...]]:
    """Yield what people want to see of it; see :data:`EVALUATION_HEADER`."""
    for model, found in (evaluation or {}).items():
        yield (model, str(found['frames']['evaluated']), *(
            '-' if found[key] is None else f'{found[key]:.4f}'
            for key in ('mAP50_95', 'mAP50', 'precision', 'recall', 'f1')),
            f'{found["tp"]}', f'{found["fp"]}', f'{found["fn"]}')


EVALUATION_HEADER = ('MODEL', 'FRAMES', 'MAP50-95', 'MAP50', 'PRECISION', 'RECALL', 'F1', 'RIGHT',
                     'WRONG', 'MISSED')
