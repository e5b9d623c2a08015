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

"""The steps in which load is shed, from nothing to everything; plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from typing import Sequence

from c7_inference_ros.config import NodeConfig


@dataclass(frozen=True)
class SheddingStep:
    """
    What is shed at one level; each level sheds what the one before it does, and more.

    :param level: 0 sheds nothing.
    :param description: what is shed, for people.
    :param max_rate_hz: most images a second that are taken of each camera; None takes all.
    :param skipped_models: names of the models that see no image.
    :param is_paused: whether no image is taken in at all.
    """

    level: int
    description: str
    max_rate_hz: float | None = None
    skipped_models: frozenset[str] = frozenset()
    is_paused: bool = False


#: What is shed when nothing is.
NOTHING_SHED = SheddingStep(0, 'nothing is shed')


class Shedder(Protocol):
    """Says what is shed now."""

    @property
    def current(self) -> SheddingStep:
        """Return the step in force; read for every frame, so it must never wait."""


def ladder(config: NodeConfig) -> tuple[SheddingStep, ...]:
    """
    Return the steps that a configuration allows, from level 0 down to the last.

    First the rates, then the models by priority, lowest first and those of one priority together,
    then a pause, as far as ``thermal.shed_limit`` goes. A rate that no camera would notice is left
    out. The models of the highest priority are never skipped.
    """
    limit = config.thermal.shed_limit
    steps = [NOTHING_SHED]
    rate: float | None = None
    for candidate in config.thermal.shed_rates:
        if candidate > 0.0 and any(camera.max_rate == 0.0 or camera.max_rate > candidate
                                   for camera in config.cameras.values()):
            rate = candidate
            steps.append(SheddingStep(len(steps), f'at most {rate:g} Hz of each camera', rate))
    skipped: list[str] = []
    if limit != 'rate':
        for group in _priority_groups(config)[:-1]:
            skipped += group
            steps.append(SheddingStep(
                len(steps), _joined(rate, f'no {", ".join(skipped)}'), rate, frozenset(skipped)))
    if limit == 'pause':
        steps.append(SheddingStep(len(steps), 'intake is paused', rate, frozenset(skipped), True))
    return tuple(steps)


def why_empty(config: NodeConfig) -> str:
    """Return the settings that leave nothing to shed; an empty text when they leave a step."""
    if len(ladder(config)) > 1:
        return ''
    thermal = config.thermal
    rates = f'thermal.shed_rates is {list(thermal.shed_rates)}'
    if any(thermal.shed_rates):
        rates += ', and every cameras.<name>.max_rate is at or below the lowest of them'
    text = f'thermal.shed_limit is {thermal.shed_limit}, {rates}'
    if thermal.shed_limit == 'rate':
        return text
    return (f'{text}, and no model that sees a camera has a lower models.<name>.priority than'
            f' another')


def place_in(step: SheddingStep, old: Sequence[SheddingStep],
             new: Sequence[SheddingStep]) -> SheddingStep:
    """
    Return the step of a new ladder that takes the place of one of the old.

    A rate is followed by the first that is not above it, a step that skips models by the one with
    as many groups, pause by pause; where there is none, by the one before it.
    """
    if step.is_paused:
        return new[-1]
    unpaused = [candidate for candidate in new if not candidate.is_paused]
    rates = [candidate for candidate in unpaused if not candidate.skipped_models]
    if step.skipped_models:
        groups = sum(bool(before.skipped_models) for before in old[:step.level + 1])
        return unpaused[min(len(rates) - 1 + groups, len(unpaused) - 1)]
    if step.max_rate_hz is None:
        return new[0]
    return next((candidate for candidate in rates[1:] if candidate.max_rate_hz is not None
                 and candidate.max_rate_hz <= step.max_rate_hz), rates[-1])


def _priority_groups(config: NodeConfig) -> list[list[str]]:
    """Return the models that see any camera, in groups of rising priority."""
    used = {model for camera in config.camera_names for model in config.models_of(camera)}
    groups: dict[int, list[str]] = {}
    for name in config.model_names:
        if name in used:
            groups.setdefault(config.models[name].priority, []).append(name)
    return [groups[priority] for priority in sorted(groups)]


def _joined(rate: float | None, text: str) -> str:
    return text if rate is None else f'at most {rate:g} Hz of each camera, {text}'
