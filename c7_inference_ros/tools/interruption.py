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

"""SIGINT, SIGTERM and SIGHUP as exceptions that end a command line cleanly."""

from __future__ import annotations

from contextlib import contextmanager
import signal
from typing import Any
from typing import Iterator

#: Numbers of the signals that came, since :func:`ending_as_interrupted` began.
_received: list[int] = []


class Terminated(BaseException):
    """The process was asked to end; ended as after Ctrl-C."""


@contextmanager
def ending_as_interrupted() -> Iterator[None]:
    """
    Let SIGINT and SIGTERM end the block with an exception, also where a parent ignores them.

    :raises KeyboardInterrupt: after SIGINT.
    :raises Terminated: after SIGTERM or SIGHUP.
    """
    _received.clear()
    try:
        before = {
            signal.SIGINT: signal.signal(signal.SIGINT, _interrupt),
            **{number: signal.signal(number, _terminate)
               for number in (signal.SIGTERM, signal.SIGHUP)}}
    except ValueError:  # not the main thread: whoever called has the signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def raise_if_interrupted() -> None:
    """
    Raise once more what a signal raised.

    A library that calls back may swallow the exception: TensorRT does in its logger.
    """
    if _received:
        raise KeyboardInterrupt if _received[0] == signal.SIGINT else Terminated(_received[0])


def _interrupt(number: int, frame: Any) -> None:
    _received.append(number)
    raise KeyboardInterrupt


def _terminate(number: int, frame: Any) -> None:
    _received.append(number)
    raise Terminated(number)
