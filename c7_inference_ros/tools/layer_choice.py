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

"""
Which layers stay in float32 so that the quantised model is accurate enough.

Layers are ranked by what their int8 alone does to the outputs. So many of the worst are excluded
that the loss is within the limit, and those that turn out to be innocent come back.
"""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass
import logging
import time
from typing import Any
from typing import Callable
from typing import Collection
from typing import Mapping

from c7_inference_ros.engines.building.builder import OnProgress
from c7_inference_ros.engines.calibration.int8_model import Int8Maker
from c7_inference_ros.engines.calibration.int8_model import QuantizedModel
from c7_inference_ros.engines.calibration.layer_sensitivity import SwitchableModel
from c7_inference_ros.engines.calibration.quantizable_model import open_session
from c7_inference_ros.engines.calibration.quantization import layers_without_range
from c7_inference_ros.engines.calibration.quantization import quantize
from c7_inference_ros.engines.types import AccuracyCheck
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.pipeline.model_contract import ModelContract
from c7_inference_ros.tools.accuracy import LabelledPictures
from c7_inference_ros.tools.accuracy import mean_average_precision
from c7_inference_ros.tools.accuracy import METRIC
from c7_inference_ros.tools.accuracy import OnnxDetector
from c7_inference_ros.tools.accuracy import Run
from c7_inference_ros.tools.calibration_data import FeedMaker

#: Part of the limit that the search aims for. Int8 rounds differently on every device, so that a
#: model just within the limit here may be outside it there.
_TARGET = 0.75
#: With more layers than this part in float32 there is nothing won by int8.
_MOST_EXCLUDED = 0.5
#: More excluded layers than this are not tried one by one again.
_MOST_RETRIED = 12
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LayerChoice:
    """
    What was decided.

    :param excluded: layers that stay float32, sorted.
    :param accuracy: how the model was checked, or None.
    """

    excluded: tuple[str, ...]
    accuracy: AccuracyCheck | None = None

    def to_plain(self) -> dict[str, Any]:
        """Return plain values; :meth:`from_plain` reads them."""
        return {'excluded': list(self.excluded),
                'accuracy': asdict(self.accuracy) if self.accuracy else None}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> LayerChoice:
        """
        Read what :meth:`to_plain` wrote.

        :raises KeyError, TypeError: it is something else.
        """
        accuracy = values['accuracy']
        return cls(tuple(values['excluded']),
                   None if accuracy is None else AccuracyCheck(**accuracy))


def choose_layers(maker: Int8Maker, contract: ModelContract, truth: LabelledPictures | None,
                  max_drop: float, timeout_s: float, on_progress: OnProgress
                  ) -> tuple[LayerChoice, QuantizedModel]:
    """
    Quantise, and exclude layers until the model is accurate enough.

    :param maker: of the model as it is built; its patterns are excluded in any case.
    :param truth: pictures to measure on; without them nothing else is.
    :param max_drop: largest accepted loss of mAP50.
    :param timeout_s: after this long the search ends with the best that it has.
    :returns: the choice, and the quantised model.
    :raises EngineBuildError: nothing that was found is within the limit.
    """
    model = maker.model
    fixed = model.matching(maker.patterns)
    if truth is None:
        return LayerChoice(tuple(sorted(fixed))), maker.without(fixed)
    measure = _Measure(maker, contract, truth, on_progress)
    reference = measure.of(open_session(model.source.path, str(model.source.path)).run)
    search = _Search(measure, reference, max_drop, fixed, time.monotonic() + timeout_s)
    search.try_excluding(frozenset())
    if search.drop > max_drop * _TARGET and not search.is_late():
        _log.info('INT8 of %s loses %.4f %s with all layers in int8; looking for the layers that '
                  'cause it', model.source.path, search.drop, METRIC)
        ranked = measure.rank(fixed)
        search.run([name for name in ranked if name not in fixed])
    if search.drop > max_drop:
        count = len(model.layers) - len(layers_without_range(model, maker.ranges))
        raise EngineBuildError(
            f'{model.source.path}: int8 loses {search.drop:.4f} {METRIC} ({reference:.4f} in '
            f'float32, {reference - search.drop:.4f} at best, with {len(search.best)} of {count} '
            f'layers in float32), accepted are {max_drop:g}; calibrate with more images from the '
            f'same cameras, accept more with max_map_drop, or build for fp16')
    excluded = tuple(sorted(fixed | search.best))
    check = AccuracyCheck(METRIC, reference, reference - search.drop, max_drop, len(truth),
                          truth.sha256)
    _log.info('INT8 of %s: %s %.4f, float32 %.4f; %d layers stay in float32%s',
              model.source.path, METRIC, check.measured, reference, len(excluded),
              f': {", ".join(excluded)}' if excluded else '')
    assert search.quantized is not None
    return LayerChoice(excluded, check), search.quantized


class _Measure:
    """Accuracy of quantised variants of one model."""

    def __init__(self, maker: Int8Maker, contract: ModelContract, truth: LabelledPictures,
                 on_progress: OnProgress) -> None:
        self._maker = maker
        self._model = maker.model
        self._contract = contract
        self._truth = truth
        self._on_progress = on_progress
        self._outputs = [spec.name for spec in maker.model.source.outputs]
        self._done = 0

    def of(self, run: Run) -> float:
        """Return the accuracy of a network."""
        self._done += 1
        self._on_progress('measuring accuracy', self._done, 0)
        detector = OnnxDetector(self._contract, self._outputs, run)
        return mean_average_precision(self._truth, detector, self._contract.labels.names).map50

    def without(self, excluded: Collection[str]) -> tuple[float, QuantizedModel]:
        """Return the accuracy with some layers in float32, and that model."""
        quantized = self._maker.without(excluded)
        return self.of(open_session(quantized.data, str(self._model.source.path)).run), quantized

    def rank(self, excluded: Collection[str]) -> list[str]:
        """
        Return the layers, the worst first, by what they do to the first picture.

        What is not int8 is float32 here: only what int8 does is of interest.
        """
        quantized = quantize(self._model, self._maker.ranges, excluded)
        _, image = next(iter(self._truth))
        feed, _ = FeedMaker(self._contract)(image)
        return SwitchableModel(self._model, quantized).rank(
            [feed], lambda done, total: self._on_progress('ranking layers', done, total))


class _Search:
    """Looks for few layers whose exclusion makes the loss small."""

    def __init__(self, measure: _Measure, reference: float, max_drop: float,
                 fixed: frozenset[str], deadline: float,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.best: frozenset[str] = frozenset()
        self.drop = float('inf')
        self.quantized: QuantizedModel | None = None
        self._measure = measure
        self._reference = reference
        self._target = max_drop * _TARGET
        self._fixed = fixed
        self._deadline = deadline
        self._clock = clock

    def try_excluding(self, layers: frozenset[str]) -> bool:
        """
        Measure a choice; keep it when it is better than the one before.

        :returns: whether it is as good as wanted.
        """
        accuracy, quantized = self._measure.without(self._fixed | layers)
        drop = self._reference - accuracy
        is_good = drop <= self._target
        if is_good or drop < self.drop:
            self.best, self.drop, self.quantized = layers, drop, quantized
        return is_good

    def run(self, ranked: list[str]) -> None:
        """Exclude the worst layers, in ever larger steps, and let the innocent ones back in."""
        most = int(len(ranked) * _MOST_EXCLUDED)
        count, too_few = 1, 0
        while True:
            count = min(count, most)
            if count < 1 or self.is_late():
                return
            if self.try_excluding(frozenset(ranked[:count])):
                break
            if count == most:
                return
            too_few, count = count, count * 2
        while count - too_few > 1 and not self.is_late():
            middle = (too_few + count) // 2
            if self.try_excluding(frozenset(ranked[:middle])):
                count = middle
            else:
                too_few = middle
        if count <= _MOST_RETRIED:
            for name in reversed(ranked[:count - 1]):
                if name in self.best and len(self.best) > 1 and not self.is_late():
                    self.try_excluding(self.best - {name})

    def is_late(self) -> bool:
        """Whether the time for searching is over."""
        return self._clock() >= self._deadline
