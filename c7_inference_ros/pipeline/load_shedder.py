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

"""Goes down and up the ladder of shed load, as the heat of the machine says."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from dataclasses import replace
import logging
import threading
import time
from typing import Callable

from c7_inference_ros.config import NodeConfig
from c7_inference_ros.pipeline.shedding import ladder
from c7_inference_ros.pipeline.shedding import place_in
from c7_inference_ros.pipeline.shedding import SheddingStep
from c7_inference_ros.pipeline.shedding import why_empty
from c7_inference_ros.thermal.heat import Heat
from c7_inference_ros.thermal.heat import HeatWatch
from c7_inference_ros.thermal.heat import Verdict
from c7_inference_ros.thermal.state import ThermalState

#: (step before, step after, why).
OnStep = Callable[[SheddingStep, SheddingStep, str], None]

SHED = 'shed'
_NO_STATE = Verdict(Heat.UNKNOWN, 'no thermal state has been read yet')


@dataclass(frozen=True)
class SheddingStatus:
    """
    What is shed at one moment, and why.

    :param policy: ``thermal.policy``.
    :param step: the step in force.
    :param levels: number of the last level that the configuration allows; 0 can shed nothing.
    :param heat: verdict on the latest thermal state.
    :param reason: why, one sentence.
    :param since_s: how long the step has been in force, seconds.
    :param steps_taken: steps down and up because of heat since the activation.
    :param is_active: whether heat is acted upon.
    :param why_empty: the settings that leave nothing to shed; empty when they leave a step, and
        while nothing is configured.
    """

    policy: str
    step: SheddingStep
    levels: int
    heat: Heat
    reason: str
    since_s: float
    steps_taken: int
    is_active: bool
    why_empty: str = ''


@dataclass(frozen=True)
class _Shedding:
    """Everything that readers see, replaced as a whole."""

    config: NodeConfig
    steps: tuple[SheddingStep, ...]
    step: SheddingStep
    verdict: Verdict
    since_ns: int
    last_step_ns: int | None = None  # of a step because of heat; None lets the next one be at once
    last_hot_ns: int | None = None
    steps_taken: int = 0
    is_active: bool = False


class LoadShedder:
    """
    Decides what is shed, from one thermal state to the next.

    Hot goes one step down the ladder, cool one step back; warm and unknown hold. Between two steps
    lies at least ``thermal.dwell``, whatever the states are, and so it does between the last hot
    state and a step back: a sign of throttling that comes and goes is no reason to go up and down.
    Any thread may call anything.

    :param config: settings in force.
    :param clock_ns: monotonic clock, nanoseconds.
    :param on_step: told about every change of the level between :meth:`start` and :meth:`stop`, in
        the order of the changes and with no lock held; what it raises is logged.
    """

    def __init__(self, config: NodeConfig, clock_ns: Callable[[], int] = time.monotonic_ns,
                 on_step: OnStep | None = None) -> None:
        """Begin inactive, with nothing shed."""
        self._clock_ns = clock_ns
        self._on_step = on_step
        self._control = threading.Lock()
        self._telling = threading.Lock()
        self._untold: deque[tuple[SheddingStep, SheddingStep, str]] = deque()
        self._watch = HeatWatch()  # what it remembers of the sensors outlives an activation
        steps = ladder(config)
        # A plain reference, replaced as a whole: readers take no lock.
        self._now = _Shedding(config, steps, steps[0], _NO_STATE, clock_ns())

    @property
    def current(self) -> SheddingStep:
        """Return the step in force; never waits."""
        return self._now.step

    def status(self) -> SheddingStatus:
        """Return what is shed and why; never waits."""
        now = self._now
        return SheddingStatus(
            now.config.thermal.policy, now.step, now.steps[-1].level, now.verdict.heat,
            now.verdict.reason, max(self._clock_ns() - now.since_ns, 0) / 1e9, now.steps_taken,
            now.is_active, why_empty(now.config))

    def start(self) -> None:
        """Act upon heat from now on: nothing is shed, and the first step may be at once."""
        self._reset(is_active=True)

    def stop(self) -> None:
        """Shed nothing any more; no step is taken after it returns. Idempotent."""
        self._reset(is_active=False)

    def update(self, state: ThermalState) -> None:
        """Judge a thermal state and take at most one step; for the thread that polls."""
        with self._control:
            now, clock_ns = self._now, self._clock_ns()
            thermal = now.config.thermal
            verdict = self._watch.judge(state, thermal.shed_margin, thermal.recover_margin)
            if verdict.heat is Heat.HOT:
                now = replace(now, last_hot_ns=clock_ns)
            level = now.step.level + _direction(verdict.heat)
            dwell_ns = int(thermal.dwell * 1e9)
            is_due = all(since_ns is None or clock_ns - since_ns >= dwell_ns for since_ns in (
                now.last_step_ns, now.last_hot_ns if level < now.step.level else None))
            if not (now.is_active and thermal.policy == SHED and is_due
                    and level in range(len(now.steps)) and level != now.step.level):
                self._now = replace(now, verdict=verdict)
                return
            step = now.steps[level]
            self._now = replace(now, verdict=verdict, step=step, since_ns=clock_ns,
                                last_step_ns=clock_ns, steps_taken=now.steps_taken + 1)
            self._untold.append((now.step, step, verdict.reason))
        self._tell()

    def configure(self, config: NodeConfig) -> None:
        """
        Use other settings at once.

        A changed ladder keeps its place, see :func:`~.shedding.place_in`. The policy ``observe``
        sheds nothing at once; with ``shed`` after it, the first step may be at once.
        """
        with self._control:
            now, steps = self._now, ladder(config)
            if config.thermal.policy == SHED:
                step, last_step_ns = place_in(now.step, now.steps, steps), now.last_step_ns
                why = 'the settings of what is shed were changed'
            else:
                step, last_step_ns = steps[0], None
                why = f'thermal.policy was set to {config.thermal.policy}'
            is_moved = step.level != now.step.level
            self._now = replace(now, config=config, steps=steps, step=step,
                                last_step_ns=last_step_ns,
                                since_ns=self._clock_ns() if is_moved else now.since_ns)
            if is_moved:
                self._untold.append((now.step, step, why))
        self._tell()

    def _reset(self, is_active: bool) -> None:
        with self._control:
            now = self._now
            self._now = _Shedding(now.config, now.steps, now.steps[0], _NO_STATE,
                                  self._clock_ns(), is_active=is_active)

    def _tell(self) -> None:
        """Tell what is untold, in order; another thread that is telling takes ours over."""
        while self._untold and self._telling.acquire(blocking=False):
            try:
                while self._untold:
                    told = self._untold.popleft()
                    if self._on_step is not None:
                        self._on_step(*told)
            except Exception as error:
                logging.getLogger(__name__).warning(
                    'on_step failed with %s: %s', type(error).__name__, error)
            finally:
                self._telling.release()


def _direction(heat: Heat) -> int:
    return {Heat.HOT: 1, Heat.COOL: -1}.get(heat, 0)
