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
import os
import re
import sys
import threading
import time
from typing import Any
from typing import Iterator
from typing import Mapping
from typing import Sequence
from typing import TextIO

from c7_inference_ros.errors import C7Error

GOOD, NO, BAD_INPUT, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
#: Without a terminal, progress is one line in this many seconds.
_PLAIN_INTERVAL_S = 10.0
#: Width of a progress bar with its text, and of the text behind it.
_COLUMNS, _PART_WIDTH = 100, 40
_UNITS = ('KiB', 'MiB', 'GiB', 'TiB')
#: What a terminal acts upon instead of showing it, changes of the writing direction included.
_CONTROL = re.compile('[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]')


#: Styles of text on a terminal.
STYLES = {'bold': '1', 'dim': '2', 'red': '31', 'green': '32', 'yellow': '33'}


class OutputError(C7Error):
    """Standard output takes nothing any more."""


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
        self._progress: Progress | None = None

    def say(self, text: str) -> None:
        """Tell on standard error what is being done."""
        if self._progress is not None:
            self._progress.hide()
        try:
            _print_line(sys.stderr, (f'{self.program}: {text}', ''))
        except BrokenPipeError:
            raise
        except OSError:
            pass  # on a full disk for example; the result matters, and where else to say it

    def warn(self, text: str) -> None:
        """Tell on standard error what may surprise."""
        self.say(f'warning: {text}')

    def result(self, text: str) -> None:
        """Print a line of the result; nothing with ``--json``."""
        if not self.is_json:
            self._print((text, ''))

    def styled_result(self, *parts: tuple[str, str]) -> None:
        """
        Print a line of the result in pieces; nothing with ``--json``.

        :param parts: (text, style); the style, of :data:`STYLES`, is only for terminals.
        """
        if not self.is_json:
            self._print(*parts)

    def result_json(self, values: Mapping[str, Any]) -> None:
        """Print the result with ``--json``; nothing without."""
        if self.is_json:
            for line in json.dumps(values, indent=2, allow_nan=False).splitlines():
                self._print((line, ''))

    def _print(self, *parts: tuple[str, str]) -> None:
        try:
            _print_line(sys.stdout, *parts)
        except BrokenPipeError:
            raise
        except OSError as error:
            drop_output()
            raise OutputError(
                f'standard output cannot be written: {error.strerror or error}; what was asked '
                f'for is done, send its result somewhere else') from error

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
        shown = self._progress = _Bar(what) if _has_bar() else _Lines(self, what)
        try:
            yield shown
        finally:
            self._progress = None
            shown.close()


class Progress:
    """How far something is; made by :meth:`Console.progress`."""

    def __init__(self) -> None:
        """Begin with nothing done."""
        self._lock = threading.Lock()
        self._open: dict[str, float] = {}
        self._steps: dict[str, int] = {}
        self._share = 0.0
        self._next = 0.0

    def update(self, part: str, done: int, total: int) -> None:
        """
        Tell how far it is, from any thread.

        Parts may lie within parts: one that begins before another is complete is taken for a step
        of that one.

        :param part: the part that is in work.
        :param done: how much of the part is done.
        :param total: how much that is when it is complete; 0 where nobody knows.
        """
        with self._lock:
            if not self._open:
                self._share = 0.0
            if total <= 0:
                part = f'{part} {done}'
            else:
                if part in self._open and self._open[part] != done / total:
                    # The parts within are those of the step before.
                    names = list(self._open)
                    for name in names[names.index(part) + 1:]:
                        del self._open[name]
                self._open[part] = done / total
                self._steps[part] = total
                if done >= total:
                    del self._open[part]
            share = 0.0
            for name in reversed(self._open):
                share = self._open[name] + share / self._steps[name]
            # Steps of equal length are a guess: never go back.
            self._share = max(self._share, min(share, 1.0))
            now = time.monotonic()
            if now >= self._next:
                self._next = now + self._show(part)

    def hide(self) -> None:
        """Make room for a line of text; the next update shows it again."""

    def close(self) -> None:
        """Leave the terminal as it was."""

    def _show(self, part: str) -> float:
        """Show :attr:`_share`; return for how long that is enough, seconds."""
        raise NotImplementedError


class _Bar(Progress):

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what
        self._bar: Any = None

    def hide(self) -> None:
        if self._bar is not None:
            self._bar.clear()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def _show(self, part: str) -> float:
        if self._bar is None:
            self._bar = self._make()
        self._bar.n = int(self._share * 1000)
        self._bar.set_postfix_str(part[:_PART_WIDTH].lower())
        return 0.1

    def _make(self) -> Any:
        from tqdm import tqdm

        try:
            # Some terminals do not know how wide they are, and a bar of no width is none.
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
        except OSError:
            columns = _COLUMNS
        # Gone when it is finished: what remains to be said is in the result.
        return tqdm(desc=self._what, total=1000, leave=False, ncols=min(columns, _COLUMNS),
                    nrows=24, file=sys.stderr,
                    bar_format='{desc} {percentage:3.0f}%|{bar}| {elapsed}{postfix}')


class _Lines(Progress):

    def __init__(self, console: Console, what: str) -> None:
        super().__init__()
        self._console = console
        self._what = what
        self._next = time.monotonic() + _PLAIN_INTERVAL_S

    def _show(self, part: str) -> float:
        self._console.say(f'{self._what}: {self._share:.0%}, {part.lower()}')
        return _PLAIN_INTERVAL_S


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


def drop_output() -> None:
    """Send standard output nowhere; Python would complain once more when it flushes the rest."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def has_color() -> bool:
    """Return whether standard output is a terminal that shows colours (https://no-color.org)."""
    return (sys.stdout is not None and sys.stdout.isatty() and not os.environ.get('NO_COLOR')
            and os.environ.get('TERM', 'dumb') != 'dumb')


def _print_line(stream: TextIO | None, *parts: tuple[str, str]) -> None:
    """Print a line; what the stream cannot show, or would act upon, is escaped."""
    if stream is None:  # it was closed before the program began
        return
    is_colored = stream is sys.stdout and any(style for _, style in parts) and has_color()
    line = ''
    for text, style in parts:
        text = _CONTROL.sub(lambda found: found[0].encode('unicode_escape').decode(), text)
        try:
            text.encode(stream.encoding, stream.errors or 'strict')
        except UnicodeEncodeError:
            text = text.encode(stream.encoding, 'backslashreplace').decode(stream.encoding)
        line += f'\x1b[{STYLES[style]}m{text}\x1b[0m' if style and is_colored else text
    print(line, file=stream, flush=True)


def _has_bar() -> bool:
    if sys.stderr is None or not sys.stderr.isatty():
        return False
    try:
        import tqdm
    except ImportError:
        return False
    return bool(tqdm)
