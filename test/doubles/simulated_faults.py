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

"""What a test can ask of a simulated GPU: calls that fail, a GPU that stands still or is lost."""

from __future__ import annotations

from dataclasses import dataclass
import threading
from typing import Any
from typing import Callable

from cuda_codes import CudaCallError
from cuda_codes import STICKY


@dataclass
class Fault:
    """A failure to come; see :meth:`SimulatedGpu.fail`."""

    code: int
    after: int
    times: int
    only_if: Callable[[], bool] | None = None


class FaultInjection:
    """The part of a simulated GPU that fails on purpose."""

    contexts: dict[int, Any]
    violations: list[str]
    current: Callable[[], Any]
    break_context: Callable[[Any, int], None]

    def set_up_faults(self) -> None:
        """Begin without any."""
        self.calls: list[str] = []
        self.lost_forever = 0
        self._faults: dict[str, list[Fault]] = {}
        self._fault_lock = threading.Lock()
        self._goes_on = threading.Event()
        self._goes_on.set()

    def fail(self, function: str, code: int, nth: int = 1, times: int = 1,
             only_if: Callable[[], bool] | None = None) -> None:
        """
        Let calls fail.

        :param function: a driver function as PyCUDA names it (``cuMemAlloc``), ``kernel`` for
            the work of an inference when the GPU comes to it, or a TensorRT method
            (``execute_async_v3``).
        :param code: the CUDA error; for TensorRT methods anything but 0.
        :param nth: the first call that fails, counted from now.
        :param times: how many fail.
        :param only_if: counts only while this holds.
        """
        self._faults.setdefault(function, []).append(Fault(code, nth, times, only_if))

    def lose(self, code: int = 700) -> None:
        """Break the device for the rest of the process: no new context helps."""
        self.lost_forever = code
        for context in self.contexts.values():
            self.break_context(context, code)

    def injected(self, function: str) -> None:
        """Raise the failure that was asked for, if it is its turn."""
        code = self._due(function)
        if code:
            context = self.current()
            if code in STICKY and context is not None:
                self.break_context(context, code)
            raise CudaCallError(function, code)

    def _due(self, function: str) -> int:
        with self._fault_lock:
            self.calls.append(function)
            for fault in self._faults.get(function, ()):
                if fault.only_if is not None and not fault.only_if():
                    continue
                fault.after -= 1
                if fault.after <= 0 and fault.times > 0:
                    fault.times -= 1
                    return fault.code
        return 0

    def hang(self) -> None:
        """Let the GPU stand still: whoever waits for it waits until :meth:`resume`."""
        self._goes_on.clear()

    def resume(self) -> None:
        """Let a GPU that stands still go on."""
        self._goes_on.set()

    @property
    def is_hanging(self) -> bool:
        """Whether it stands still."""
        return not self._goes_on.is_set()

    def wait_while_hanging(self) -> None:
        """Wait until the GPU goes on."""
        self._goes_on.wait()

    def violated(self, text: str) -> None:
        """Note something that the real driver leaves undefined or crashes on."""
        self.violations.append(text)
