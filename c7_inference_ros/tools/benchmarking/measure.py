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
Measuring: every stage of the pipeline and the raw engine in turn, on the same pictures.

One picture goes through the pipeline of a model and then, as the same tensor, through its raw
loops; a few pictures later the next model has its turn. Whatever slows the machine down meanwhile
hits all of them alike.
"""

from __future__ import annotations

from array import array
from contextlib import ExitStack
from dataclasses import dataclass
from dataclasses import field
import time
from typing import Callable
from typing import Mapping
from typing import Sequence

from c7_inference_ros.errors import InferenceError
from c7_inference_ros.pipeline.detection_pipeline import DetectionPipeline
from c7_inference_ros.pipeline.detection_pipeline import StageTimings
from c7_inference_ros.pipeline.loaded_models import LoadedModels
from c7_inference_ros.pipeline.scheduler import FrameScheduler
from c7_inference_ros.runtime.memory_table import BudgetRow
from c7_inference_ros.tools.benchmarking.raw_loops import Loop
from c7_inference_ros.tools.benchmarking.raw_loops import Loops
from c7_inference_ros.tools.benchmarking.raw_loops import loops_of
from c7_inference_ros.tools.benchmarking.subjects import Subject
from c7_inference_ros.vision.images import SourceImage

STAGES = ('preprocess', 'inference', 'decode', 'whole')
#: Pictures that one model takes before the next has its turn.
BLOCK = 5
_RELEASE_TIMEOUT_S = 10.0
#: Shortest wait for a block before it is taken to hang.
_HANG_S = 30.0
#: (what is measured, done, total).
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Plan:
    """
    How long is measured.

    :param samples: of every model of every subject, at least.
    :param warm_up: pictures before them, which do not count.
    :param duration_s: shortest time, seconds; 0 for the samples alone.
    """

    samples: int
    warm_up: int
    duration_s: float = 0.0


@dataclass
class Samples:
    """
    What was measured of one model, in the order of time; durations in seconds.

    :param at_s: when each picture began, since the beginning of the measurement.
    :param stages: by name, of :data:`STAGES`.
    :param raw: of one inference, by name of the loop.
    :param detections: number of all of them.
    """

    at_s: array[float] = field(default_factory=lambda: array('d'))
    stages: Mapping[str, array[float]] = field(
        default_factory=lambda: {name: array('d') for name in STAGES})
    raw: dict[str, array[float]] = field(default_factory=dict)
    detections: int = 0


def take_samples(pipeline: DetectionPipeline, loops: Sequence[Loop],
                 images: Sequence[SourceImage], samples: Samples, began_ns: int = 0,
                 clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
    """
    Take one sample of everything for each image; called by the thread that owns the runtime.

    :param samples: where they are added.
    :param began_ns: beginning of the measurement on that clock.
    :param clock_ns: monotonic clock, nanoseconds.
    """
    timings = StageTimings()
    for image in images:
        started_ns = clock_ns()
        found = pipeline.detect(image, timings)
        whole_ns = clock_ns() - started_ns
        samples.at_s.append((started_ns - began_ns) / 1e9)
        for name, seconds in (('preprocess', timings.preprocess_s),
                              ('inference', timings.inference_s),
                              ('decode', timings.decode_s), ('whole', whole_ns / 1e9)):
            samples.stages[name].append(seconds)
        samples.detections += len(found)
        feed = pipeline.feed
        # In another order each time: none of them always follows the same.
        first = len(samples.at_s) % len(loops) if loops else 0
        for loop in (*loops[first:], *loops[:first]):
            started_ns = clock_ns()
            loop.call(feed)
            seconds = (clock_ns() - started_ns) / 1e9 / loop.inferences
            samples.raw.setdefault(loop.name, array('d')).append(seconds)


class Bench:
    """
    The models of one subject, loaded.

    :param subject: what is loaded.
    :raises ConfigurationError: a model cannot be used; nothing stays loaded.
    :raises InferenceRuntimeError: a model does not load or does not fit; likewise.
    :raises RuntimeNotAvailableError: the runtime is not here; likewise.
    """

    def __init__(self, subject: Subject) -> None:
        """Load the models as the node does."""
        self.subject = subject
        config = subject.config
        began = time.monotonic()
        self.models = LoadedModels(config, FrameScheduler(config.camera_names), None)
        #: Of all models with everything that the first one brings along, seconds.
        self.first_load_s = time.monotonic() - began
        #: By place.
        self.memory: Mapping[str, BudgetRow] = self.models.budget.totals()
        #: Of the process while the models were loaded, bytes.
        self.growth_bytes = self.models.budget.growth_bytes()
        self.samples = {name: Samples() for name in self.models.pipelines}
        self.loops: dict[str, Loops] = {}
        self._undo = ExitStack()
        self._is_stuck = False

    @property
    def runtime_label(self) -> str:
        """The runtime and what really runs it, for people."""
        return self.models.runtime.current_runtime_label()

    def prepare(self, image: SourceImage) -> None:
        """Make the raw loops, which run on the tensor of an image at first."""
        def make() -> None:
            for name, pipeline in self.models.pipelines.items():
                pipeline.prepare(image)
                self.loops[name] = loops_of(self.models.runtime, pipeline, self.subject.config,
                                            self._undo)
        self._call(make, _HANG_S * 10)

    def run(self, model: str, images: Sequence[SourceImage], began_ns: int,
            is_counted: bool = True) -> None:
        """
        Take samples of one model.

        :param is_counted: whether they are kept.
        :raises InferenceRuntimeError: an inference fails or hangs.
        """
        loops = self.loops[model].loops
        samples = self.samples[model] if is_counted else Samples()
        calls = len(images) * (1 + sum(loop.inferences for loop in loops))
        self._call(lambda: take_samples(self.models.pipelines[model], loops, images, samples,
                                        began_ns),
                   max(_HANG_S, self.subject.config.inference_timeout * calls))

    def release(self) -> None:
        """Give everything back; idempotent."""
        if self._is_stuck:
            self.models.release(0.0)
            return
        try:
            self.models.worker.call(self._undo.close, _RELEASE_TIMEOUT_S)
        except (TimeoutError, RuntimeError):
            pass  # it was released already, or it hangs: the next line gives it up
        self.models.release(_RELEASE_TIMEOUT_S)

    def _call(self, function: Callable[[], None], timeout_s: float) -> None:
        try:
            self.models.worker.call(function, timeout_s)
        except TimeoutError as error:
            self._is_stuck = True
            raise InferenceError(
                f'{self.subject.label}: inferences have not returned for {timeout_s:g} s; look '
                f'at the model and the device') from error


def measure(benches: Sequence[Bench], images: Sequence[SourceImage], plan: Plan, tell: Tell,
            clock_ns: Callable[[], int] = time.monotonic_ns) -> tuple[int, float]:
    """
    Measure everything in turn.

    :param images: taken in their order, over and over.
    :param tell: told how far it is.
    :param clock_ns: monotonic clock, nanoseconds; that of the states of a thermal publisher.
    :returns: when it began on that clock, after the warm-up, and how long it took, seconds.
    :raises InferenceRuntimeError: an inference fails or hangs.
    """
    turns = [(bench, model) for bench in benches for model in bench.samples]
    for index, (bench, model) in enumerate(turns):
        tell('warm-up', index, len(turns))
        bench.run(model, _next(images, 0, plan.warm_up), 0, is_counted=False)
    tell('warm-up', 1, 1)
    began_ns = clock_ns()
    done, elapsed_s, rounds = 0, 0.0, 0
    while done < plan.samples or elapsed_s < plan.duration_s:
        chosen = _next(images, done, BLOCK)
        for bench, model in (*turns[rounds % len(turns):], *turns[:rounds % len(turns)]):
            bench.run(model, chosen, began_ns)
        rounds += 1
        done += BLOCK
        elapsed_s = (clock_ns() - began_ns) / 1e9
        share = min(done / plan.samples,
                    elapsed_s / plan.duration_s if plan.duration_s > 0.0 else 1.0)
        tell('samples', min(1000, int(share * 1000)), 1000)
    return began_ns, elapsed_s


def _next(images: Sequence[SourceImage], at: int, count: int) -> list[SourceImage]:
    return [images[(at + offset) % len(images)] for offset in range(count)]
