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

"""One measured figure with its limit, and how samples become one."""

from __future__ import annotations

from dataclasses import dataclass
import math
import time
from typing import Callable
from typing import Sequence

#: Largest error of an output by precision, as a share of its largest value.
TOLERANCES = {'fp32': 1e-4, 'fp16': 2e-2, 'mixed': 2e-2, 'int8': 2e-1}


@dataclass(frozen=True)
class Figure:
    """
    One measured figure.

    :param what: what was measured.
    :param value: as a number.
    :param unit: of the value.
    :param limit: largest value that is good; None where there is no limit.
    :param note: how it was measured, or why not.
    """

    what: str
    value: float
    unit: str = ''
    limit: float | None = None
    note: str = ''

    @property
    def is_good(self) -> bool:
        """Whether the value is a number within its limit."""
        return math.isfinite(self.value) and (self.limit is None or self.value <= self.limit)

    @property
    def text(self) -> str:
        """Return the value for people."""
        return f'{self.value:.4g} {self.unit}'.strip()


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the smallest sample that a share of all samples does not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def timed(call: Callable[[], object], rounds: int) -> list[float]:
    """Return how long each of a number of calls took, seconds."""
    samples = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        samples.append(time.perf_counter() - started)
    return samples
