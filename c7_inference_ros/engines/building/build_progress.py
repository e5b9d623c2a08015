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

"""How far a build is, and a way to stop it: ``IProgressMonitor`` of the bindings."""

from __future__ import annotations

import threading
from typing import Any

from c7_inference_ros.engines.building.builder import OnProgress
from c7_inference_ros.engines.tensorrt_api import TensorrtApi


class BuildProgress:
    """
    Hands phases of a build on, and ends the build when told to.

    Nothing is raised into C++, where it would be lost: what ``on_progress`` raises, a
    KeyboardInterrupt included, is kept in :attr:`error` and stops the build at its next step.

    :param api: the package that builds.
    :param on_progress: called with (phase, step, total); from threads of the builder, too.
    """

    def __init__(self, api: TensorrtApi, on_progress: OnProgress | None) -> None:
        """Make the monitor; :attr:`monitor` is None where the package has none."""
        self.error: BaseException | None = None
        self._on_progress = on_progress or (lambda phase, step, total: None)
        self._lock = threading.Lock()
        self._totals: dict[str, int] = {}
        self.monitor: Any = _make_monitor(api.trt, self) if api.has_progress_monitor else None

    def check(self) -> None:
        """Raise what stopped the build, if anything did."""
        if self.error is not None:
            raise self.error

    def start(self, phase: str, total: int) -> None:
        """Note that a phase begins."""
        try:
            with self._lock:
                self._totals[phase] = total
            self._tell(phase, 0, total)
        except BaseException as error:
            self._keep(error)

    def step(self, phase: str, step: int) -> bool:
        """Note that a step is done; False stops the build."""
        try:
            if self.error is None:
                self._tell(phase, step + 1, self._totals.get(phase, 0))
        except BaseException as error:
            self._keep(error)
        return self.error is None

    def finish(self, phase: str) -> None:
        """Note that a phase ends."""
        try:
            with self._lock:
                total = self._totals.pop(phase, 0)
            if self.error is None:
                self._tell(phase, total, total)
        except BaseException as error:
            self._keep(error)

    def _tell(self, phase: str, step: int, total: int) -> None:
        self._on_progress(phase, min(step, total), total)

    def _keep(self, error: BaseException) -> None:
        self.error = self.error or error


def _make_monitor(trt: Any, progress: BuildProgress) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Speaks to the one object that knows."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return progress.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()
