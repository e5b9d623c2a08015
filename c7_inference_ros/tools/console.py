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
What the command lines of this package say, and where.

Results go to standard output. Progress, warnings and problems go to standard error, so that a
script reads nothing else than the result. With ``--json`` standard output is one JSON object,
also when something is wrong.
"""

from __future__ import annotations

from contextlib import contextmanager
import json
import signal
import sys
import time
from typing import Any
from typing import Iterator
from typing import Mapping
from typing import Sequence

GOOD, NO, BAD_INPUT, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
#: Without a terminal, progress is one line in this many seconds.
_PLAIN_INTERVAL_S = 10.0
_UNITS = ('KiB', 'MiB', 'GiB', 'TiB')


class Terminated(BaseException):
    """The process was asked to end; ended as after Ctrl-C."""


class Console:
    """
    Standard output and standard error of one command.

    :param program: begins every line on standard error.
    :param is_json: whether standard output is one JSON object.
    """

    def __init__(self, program: str, is_json: bool = False) -> None:
        """Say nothing yet."""
        self.program = program
        self.is_json = is_json

    def say(self, text: str) -> None:
        """Tell on standard error what is being done."""
        print(f'{self.program}: {text}', file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """Tell on standard error what may surprise."""
        self.say(f'warning: {text}')

    def result(self, text: str) -> None:
        """Print a line of the result; nothing with ``--json``."""
        if not self.is_json:
            print(text, flush=True)

    def result_json(self, values: Mapping[str, Any]) -> None:
        """Print the result with ``--json``; nothing without."""
        if self.is_json:
            print(json.dumps(values, indent=2, allow_nan=False), flush=True)

    def fail(self, problems: Sequence[str], exit_code: int, **others: Any) -> int:
        """
        Say what is wrong, one line for each problem.

        :param others: further values of the JSON object.
        :returns: the exit code.
        """
        for problem in problems:
            self.say(' '.join(problem.split()))
        self.result_json({**others, 'problems': list(problems), 'exit_code': exit_code})
        return exit_code

    @contextmanager
    def progress(self, what: str) -> Iterator[Progress]:
        """
        Show how far something is for as long as the block runs: a bar on a terminal, else lines.

        :param what: what is done.
        """
        shown = _Bar(what) if _has_bar() else _Lines(self, what)
        try:
            yield shown
        finally:
            shown.close()


class Progress:
    """How far something is; made by :meth:`Console.progress`."""

    def update(self, what: str, done: int, total: int) -> None:
        """
        Tell how far it is, from any thread.

        :param what: the part that is in work; empty where there is only one.
        :param done: how much of the part is done.
        :param total: how much that is when it is finished; 0 where nobody knows.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Leave the terminal as it was."""


class _Bar(Progress):

    def __init__(self, what: str) -> None:
        from tqdm import tqdm

        # Gone when it is finished: what remains to be said is in the result.
        self._bar: Any = tqdm(desc=what, unit='', leave=False, dynamic_ncols=True,
                              mininterval=0.1, file=sys.stderr,
                              bar_format='{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} '
                                         '[{elapsed}] {postfix}')
        self._what = ''

    def update(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self._what = what
            self._bar.reset(total=total or None)
            self._bar.set_postfix_str(what, refresh=False)
        self._bar.total = total or None
        self._bar.n = done
        self._bar.update(0)
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()


class _Lines(Progress):

    def __init__(self, console: Console, what: str) -> None:
        self._console = console
        self._what = what
        self._next = time.monotonic() + _PLAIN_INTERVAL_S

    def update(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _PLAIN_INTERVAL_S
        share = f'{done} of {total}' if total else f'{done}'
        self._console.say(f'{self._what}: {what + ", " if what else ""}{share}')


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> list[str]:
    """
    Align rows of text in columns.

    :param header: titles of the columns; none when empty.
    :returns: the lines, without trailing blanks.
    """
    every = ([header] if header else []) + list(rows)
    if not every:
        return []
    widths = [max(len(row[column]) for row in every) for column in range(len(every[0]))]
    return ['  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
            for row in every]


def size_text(count: int | None) -> str:
    """Return a number of bytes for people, for example ``7.3 MiB``; ``unknown`` for None."""
    if count is None:
        return 'unknown'
    if abs(count) < 1024:
        return f'{count} B'
    size = float(count)
    for unit in _UNITS:
        size /= 1024
        if abs(size) < 1023.95 or unit == _UNITS[-1]:
            break
    return f'{size:.1f} {unit}'


@contextmanager
def ending_as_interrupted() -> Iterator[None]:
    """
    Let SIGINT and SIGTERM end the block with an exception, also where a parent ignores them.

    :raises KeyboardInterrupt: after SIGINT.
    :raises Terminated: after SIGTERM or SIGHUP.
    """
    try:
        before = {
            signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
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


def _terminate(number: int, frame: Any) -> None:
    raise Terminated(number)


def _has_bar() -> bool:
    if not sys.stderr.isatty():
        return False
    try:
        import tqdm
    except ImportError:
        return False
    return bool(tqdm)
