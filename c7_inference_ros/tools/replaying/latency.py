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

"""Durations of a whole run, small enough for a report: over time, and how they are spread."""

from __future__ import annotations

from typing import Any
from typing import Mapping

import numpy as np
from numpy.typing import NDArray

#: Stages of which the course is kept.
COURSE_STAGES = ('inference', 'processing', 'age')
#: Most points of a course, and bars of a spread.
MAX_POINTS, BARS = 120, 40


def courses(durations: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> dict[str, Any]:
    """
    Return by model and stage what ``latency_ms`` of ``report.json`` holds.

    :param durations: of the published frames in their order, by model and stage, seconds.
    """
    return {model: {stage: course(stages[stage]) for stage in COURSE_STAGES
                    if stages[stage].size} for model, stages in durations.items()}


def course(seconds: NDArray[np.float64]) -> dict[str, Any]:
    """
    Return the course and the spread of one stage, milliseconds.

    :param seconds: at least one, in order.
    :returns: ``over_time``: the number of the first published frame of each run of frames, and
        median and longest duration in it; ``spread``: lower end of the first bar, upper end of
        the last, and how many frames each bar has.
    """
    values = seconds * 1e3
    edges = np.unique(np.linspace(0, values.size, min(MAX_POINTS, values.size) + 1).astype(int))
    parts = [values[begin:end] for begin, end in zip(edges[:-1], edges[1:])]
    counts, bounds = np.histogram(values, bins=min(BARS, max(5, values.size // 2)))
    return {
        'over_time': {'frame': edges[:-1].tolist(),
                      'p50': [_rounded(float(np.median(part))) for part in parts],
                      'max': [_rounded(float(part.max())) for part in parts]},
        'spread': {'from': _rounded(float(bounds[0])), 'to': _rounded(float(bounds[-1])),
                   'frames': counts.tolist()}}


def _rounded(milliseconds: float) -> float:
    return round(milliseconds, 3)
