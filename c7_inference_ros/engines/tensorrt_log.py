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
What TensorRT says, kept.

Its calls do not raise: they return None, False or -1. The reason goes to the error recorder when
there is one, else to the logger, so that both have to be read.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
import threading
from typing import Any
from typing import Iterator

#: Severities, as in ``ILogger.Severity``.
INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)
_KEPT = 2000


@dataclass(frozen=True)
class TensorrtMessage:
    """
    One message.

    :param severity: 0 internal error, 1 error, 2 warning, 3 info, 4 verbose.
    :param text: one line.
    """

    severity: int
    text: str


class Captured:
    """
    What was said between two moments; made by :meth:`TensorrtLog.capture`.

    :param thread: only what this thread says, and threads that nobody listens to; None for all.
    """

    def __init__(self, thread: int | None = None) -> None:
        """Begin with nothing."""
        self.thread = thread
        self.messages: deque[TensorrtMessage] = deque(maxlen=_KEPT)

    def errors(self) -> tuple[str, ...]:
        """Return the errors, oldest first, each once."""
        return self._of(INTERNAL_ERROR, ERROR)

    def warnings(self) -> tuple[str, ...]:
        """Return the warnings, oldest first, each once."""
        return self._of(WARNING)

    def reason(self) -> str:
        """Return why something failed, in one line; never empty."""
        return '; '.join(self.errors() or self.warnings()[-3:]) or 'TensorRT gave no reason'

    def _of(self, *severities: int) -> tuple[str, ...]:
        return tuple(dict.fromkeys(
            one.text for one in self.messages if one.severity in severities))


class TensorrtLog:
    """
    Logger and error recorder of one TensorRT module; any thread may report.

    :param trt: the module. It holds no reference to Python objects that it is given as logger or
        recorder in every version, so this object must outlive what is made with it; the one of
        :class:`c7_inference_ros.engines.tensorrt_api.TensorrtApi` lives as long as the process.
    """

    def __init__(self, trt: Any) -> None:
        """Make the logger; the recorder is made when it is first used."""
        self._lock = threading.Lock()
        self._captures: list[Captured] = []
        self._trt = trt
        self.logger: Any = _make_logger(trt, self._add)
        self.recorder: Any = _make_recorder(trt, self._add)

    @contextmanager
    def capture(self, is_of_this_thread: bool = False) -> Iterator[Captured]:
        """
        Collect everything that is said inside a with block, by any thread.

        :param is_of_this_thread: leave out what threads say that have a capture of their own.
        """
        captured = Captured(threading.get_ident() if is_of_this_thread else None)
        with self._lock:
            self._captures.append(captured)
        try:
            yield captured
        finally:
            with self._lock:
                # Not by equality: another capture may have heard the same.
                self._captures = [one for one in self._captures if one is not captured]

    def _add(self, severity: int, text: str) -> None:
        message = TensorrtMessage(severity, ' '.join(text.split()))
        speaker = threading.get_ident()
        with self._lock:
            is_owned = any(captured.thread == speaker for captured in self._captures)
            for captured in self._captures:
                if captured.thread in (None, speaker) or not is_owned:
                    captured.messages.append(message)


def _make_logger(trt: Any, add: Any) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc]
        """Hands messages on; an exception here would be lost in C++."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if int(severity) <= WARNING:
                add(int(severity), msg)

    return Logger()


def _make_recorder(trt: Any, add: Any) -> Any:
    class Recorder(trt.IErrorRecorder):  # type: ignore[misc]
        """Hands errors on as the logger does, and keeps the last ones for TensorRT itself."""

        def __init__(self) -> None:
            trt.IErrorRecorder.__init__(self)
            self._errors: deque[tuple[Any, str]] = deque(maxlen=64)

        def report_error(self, val: Any, desc: str) -> bool:
            self._errors.append((val, desc))
            add(ERROR, f'{desc} [{getattr(val, "name", val)}]')
            return False

        def num_errors(self) -> int:
            return len(self._errors)

        # The binding calls it by this name, which the documentation does not have.
        get_num_errors = num_errors

        def get_error_code(self, idx: int) -> Any:
            return self._errors[idx][0]

        def get_error_desc(self, idx: int) -> str:
            return self._errors[idx][1]

        def has_overflowed(self) -> bool:
            return False

        def clear(self) -> None:
            self._errors.clear()

    return Recorder()
