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

"""Frame accounts that also know which image each entry is about."""

from __future__ import annotations

from collections import deque
import threading
from typing import Any
from typing import Iterable
from typing import Mapping

from c7_inference_ros.pipeline.accounting import DropReason
from c7_inference_ros.pipeline.accounting import FrameAccounts
from c7_inference_ros.pipeline.frame_slot import Frame
from c7_inference_ros.pipeline.scheduler import FrameScheduler
from c7_inference_ros.tools.replaying.records import FrameResult
from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.images import SourceImage
import numpy as np


class ReplayFrame:
    """
    One image of one camera on its way; the payload of a frame in the pipeline.

    :param camera: name of the camera.
    :param image: the image in the bag.
    """

    def __init__(self, camera: str, image: Any) -> None:
        """Begin with nothing known."""
        self.camera = camera
        self.image = image
        self.size = (0, 0)
        self.dropped: dict[str, str] = {}
        self.problems: dict[str, str] = {}
        self.found: dict[str, Detections] = {}
        #: Whether nothing is said of it any more; set last.
        self.is_settled = False

    def read(self) -> SourceImage:
        """
        Decode the image.

        :raises ImageError: it cannot be decoded.
        """
        pixels: SourceImage = self.image.read()
        self.size = pixels.width, pixels.height
        return pixels

    def keep(self, model: str, detections: Detections) -> None:
        """
        Take what a model found.

        :raises ValueError: a number is not finite, which no reader of the results could use.
        """
        if not (np.isfinite(detections.boxes).all() and np.isfinite(detections.scores).all()):
            raise ValueError('a box or score is not a finite number; look at the model')
        self.found[model] = Detections(detections.boxes.copy(), detections.scores.copy(),
                                       detections.class_ids.copy())

    def results(self, models: Iterable[str]) -> list[FrameResult]:
        """Return what became of it, one result a model."""
        image = self.image
        return [FrameResult(
            self.camera, model, image.index, image.stamp_ns, image.log_ns, image.frame_id,
            *self.size, dropped=self.dropped.get(model, ''),
            detections=None if model in self.dropped else self.found.get(model),
            problem=self.problems.get(model, '')) for model in models]


class Ledger(FrameAccounts):
    """
    The accounts of a node, and the results of the images in the order of the bag.

    The accounts are told a camera and a reason; the image is the one that this thread works on,
    see :meth:`point_at`.

    :param models_by_camera: names of the models that look at each camera.
    """

    def __init__(self, models_by_camera: Mapping[str, Iterable[str]]) -> None:
        """Open empty accounts."""
        super().__init__(models_by_camera)
        self._current = threading.local()
        self._condition = threading.Condition()
        self._open: deque[ReplayFrame] = deque()

    def point_at(self, frame: ReplayFrame) -> None:
        """Say which image is meant by what this thread does next."""
        self._current.frame = frame

    def arrive(self, frame: ReplayFrame) -> None:
        """Take an image that is about to be received; one thread only, in the bag's order."""
        self._open.append(frame)
        self.point_at(frame)

    def settle(self, frame: ReplayFrame) -> None:
        """Say that nothing more happens to an image."""
        with self._condition:
            frame.is_settled = True
            self._condition.notify_all()

    def wait_for_all(self, timeout_s: float) -> bool:
        """Wait until every image that arrived is settled; for the thread that takes them in."""
        with self._condition:
            return self._condition.wait_for(
                lambda: all(frame.is_settled for frame in self._open), timeout_s)

    def settled(self) -> Iterable[FrameResult]:
        """Yield the results of all images before the first that is still open."""
        while self._open and self._open[0].is_settled:
            frame = self._open.popleft()
            yield from frame.results(self.models_of(frame.camera))

    def frame_dropped(self, camera: str, reason: DropReason) -> None:
        """Count a frame that got no further than the intake."""
        super().frame_dropped(camera, reason)
        frame: ReplayFrame = self._current.frame
        frame.dropped.update(dict.fromkeys(self.models_of(camera), reason.value))
        self.settle(frame)

    def dropped(self, camera: str, model: str, reason: DropReason) -> None:
        """Count a frame that a worker dropped for one model."""
        super().dropped(camera, model, reason)
        self._current.frame.dropped[model] = reason.value

    def explain(self, camera: str, model: str | None, reason: DropReason,
                error: BaseException) -> None:
        """Keep the exception behind the latest drop."""
        frame: ReplayFrame = self._current.frame
        text = ' '.join(f'{type(error).__name__}: {error}'.split())
        for name in self.models_of(camera) if model is None else (model,):
            if frame.dropped.get(name) == reason.value:
                frame.problems.setdefault(name, text)


class ReplayScheduler(FrameScheduler):
    """
    The scheduler of a node that tells the ledger which image was lost.

    :param cameras: names of the cameras.
    :param ledger: what is told.
    """

    def __init__(self, cameras: Iterable[str], ledger: Ledger) -> None:
        """Begin closed."""
        super().__init__(cameras)
        self._ledger = ledger

    def put(self, frame: Frame) -> Frame | None:
        """Let a frame wait; the accounts speak of the one that is lost."""
        lost = super().put(frame)
        if lost is not None:
            self._ledger.point_at(lost.payload)
        return lost
