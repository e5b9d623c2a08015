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
The command-line tool that builds engines: where it is, which version, and how it is run.

It has no time-out of its own, starts processes of its own and writes its engine piece by piece;
so it runs in a process group that is killed whole, and only into temporary files.
"""

from __future__ import annotations

from dataclasses import dataclass
import os
from pathlib import Path
import re
import shutil
import signal
import subprocess
import tempfile
import time
from typing import BinaryIO
from typing import Callable
from typing import Mapping
from typing import Sequence

from c7_inference_ros.engines.types import TENSORRT
from c7_inference_ros.engines.types import TENSORRT_RTX
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.errors import RuntimeNotAvailableError

#: Name of the tool of each package, and where it lies besides the search path.
TOOLS = {TENSORRT: ('trtexec', ('/usr/src/tensorrt/bin', '/opt/tensorrt/bin',
                                '/usr/local/tensorrt/bin')),
         TENSORRT_RTX: ('tensorrt_rtx', ('/opt/tensorrt_rtx/bin', '/usr/local/tensorrt_rtx/bin'))}
_BANNER = re.compile(r'\[TensorRT(?:[-_ ]?RTX)? v(\d+)\](?: \[b(\d+)\])?')
_OPTION = re.compile(r'--[A-Za-z][A-Za-z0-9]*')
_HELP_TIMEOUT_S = 60.0
_POLL_S, _GRACE_S = 0.05, 5.0
_TAIL_BYTES, _TAIL_LINES = 1 << 20, 5
_SIGNALS: dict[int, str] = {
    signal.SIGKILL: 'the system killed it, most likely because memory ran out: free memory, or '
                    'lower workspace_bytes',
    signal.SIGABRT: 'it gave up: memory may have run out, or the GPU or its driver failed',
    signal.SIGSEGV: 'it crashed', signal.SIGBUS: 'it crashed, or a disk is full',
    signal.SIGTERM: 'somebody ended it'}


@dataclass(frozen=True)
class Tool:
    """
    An installed tool.

    :param path: the program.
    :param package: ``tensorrt`` or ``tensorrt_rtx``.
    """

    path: Path
    package: str


@dataclass(frozen=True)
class ToolFacts:
    """
    What a tool says of itself.

    :param version: dotted; without the build number where its banner has none.
    :param options: those that its help names.
    """

    version: str
    options: frozenset[str]

    @property
    def major(self) -> int:
        """First number of the version."""
        return int(self.version.split('.')[0])


@dataclass(frozen=True)
class ToolRun:
    """
    A run that ended by itself.

    :param code: exit status; negative for a signal.
    :param output: what it printed, at most its last MiB.
    :param seconds: how long it took.
    """

    code: int
    output: str
    seconds: float


def find_tool(package: str = 'auto', path: str | None = None,
              places: Mapping[str, tuple[str, Sequence[str]]] | None = None) -> Tool:
    """
    Find ``trtexec``, or ``tensorrt_rtx`` for TensorRT-RTX.

    :param package: ``tensorrt``, ``tensorrt_rtx``, or ``auto`` for the first that is there.
    :param path: the program itself, when it is told.
    :param places: names and folders by package.
    :raises RuntimeNotAvailableError: there is none; says what to install.
    """
    places = TOOLS if places is None else places
    if path:
        if not os.access(path, os.X_OK) or not Path(path).is_file():
            raise RuntimeNotAvailableError(
                f'trtexec: {path} is no program that this user may run; correct the path')
        is_rtx = package == TENSORRT_RTX or Path(path).name == TOOLS[TENSORRT_RTX][0]
        return Tool(Path(path).absolute(), TENSORRT_RTX if is_rtx else TENSORRT)
    wanted = tuple(places) if package == 'auto' else (package,)
    looked = []
    for one in wanted:
        if one not in places:
            raise RuntimeNotAvailableError(
                f'TensorRT package {one!r} does not exist; expected auto, {" or ".join(places)}')
        name, folders = places[one]
        for search in (None, os.pathsep.join(folders)):
            found = shutil.which(name, path=search) if search != '' else None
            if found:
                return Tool(Path(found).absolute(), one)
        looked.append(f'{name} in the search path, {", ".join(folders)}')
    raise RuntimeNotAvailableError(
        f'there is no {" and no ".join(looked)}; on a Jetson: apt-get install libnvinfer-bin; '
        f'else take it from the TensorRT archive, or install the Python bindings and use the '
        f'branch direct')


def ask_tool(tool: Tool) -> ToolFacts:
    """
    Ask a tool for its version and options.

    :raises RuntimeNotAvailableError: it does not run, or says nothing that is understood.
    """
    try:
        run = run_tool([str(tool.path), '--help'], _HELP_TIMEOUT_S)
    except (EngineBuildError, OSError) as error:
        raise RuntimeNotAvailableError(f'{tool.path} does not run: {error}; install it again'
                                       ) from error
    banner = _BANNER.search(run.output)
    if run.code != 0 or banner is None:
        raise RuntimeNotAvailableError(
            f'{tool.path} --help {how_it_ended(run.code)} and names no version of TensorRT '
            f'(expected "[TensorRT v100300]" or alike): {last_lines(run.output)}; install it '
            f'again, or use the branch direct')
    number = int(banner[1])
    if tool.package == TENSORRT and number < 100000:
        raise RuntimeNotAvailableError(
            f'{tool.path} is of TensorRT {number // 1000}.{number // 100 % 10}, expected 10 or '
            f'newer; upgrade TensorRT')
    version = f'{number // 10000}.{number // 100 % 100}.{number % 100}'
    # Releases before 10.4 or so do not print their build number.
    return ToolFacts(f'{version}.{banner[2]}' if banner[2] else version,
                     frozenset(_OPTION.findall(run.output)))


def run_tool(command: Sequence[str], timeout_s: float,
             on_wait: Callable[[float], None] = lambda seconds: None) -> ToolRun:
    """
    Run a tool to its end, or kill it and everything that it started.

    :param timeout_s: after this long it is killed, seconds.
    :param on_wait: told every now and then how long it runs; what it raises kills the tool.
    :raises EngineBuildError: it ran into the time-out, or could not be started.
    """
    name = Path(command[0]).name
    if not os.access(command[0], os.X_OK):
        raise EngineBuildError(f'{command[0]} cannot be started: it is no program that this user '
                               f'may run')
    # Should this process be killed, the kernel kills the tool.
    leash = shutil.which('setpriv')
    if leash is not None:
        command = [leash, '--pdeathsig', 'KILL', '--', *command]
    # A file, no pipe: a process that it leaves behind could hold a pipe open for ever.
    with tempfile.TemporaryFile() as log:
        started = time.monotonic()
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=subprocess.STDOUT, start_new_session=True)
        except OSError as error:
            raise EngineBuildError(
                f'{name} cannot be started: {error.strerror or error}') from error
        try:
            while not _has_ended(process):
                seconds = time.monotonic() - started
                if seconds >= timeout_s:
                    _kill_group(process)
                    raise EngineBuildError(
                        f'{name} was killed after {timeout_s:g} s, its whole '
                        f'process group with it; its last words: {last_lines(_tail(log))}; raise '
                        f'timeout_s, or lower optimization_level')
                on_wait(seconds)
                time.sleep(min(_POLL_S, timeout_s - seconds))
        except BaseException:
            _kill_group(process)
            raise
        # Before it is waited for: until then nobody else can get the number of its group.
        _signal_group(process, signal.SIGKILL)
        code = process.wait()
        return ToolRun(code, _tail(log), time.monotonic() - started)


def how_it_ended(code: int) -> str:
    """Say in words what an exit status means."""
    if code >= 0:
        return f'ended with status {code}'
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f'signal {-code}'
    why = _SIGNALS.get(-code, '')
    return f'was killed by {name}{f" ({why})" if why else ""}'


def last_lines(output: str, count: int = _TAIL_LINES) -> str:
    """Return the last lines of an output that say something, in one line."""
    lines = [' '.join(line.split()) for line in output.splitlines()]
    said = [line for line in lines if line and not set(line) <= set('=-&* ')]
    return ' | '.join(said[-count:]) or 'it printed nothing'


def lines_marked(output: str, mark: str) -> tuple[str, ...]:
    """Return what an output says at a severity, ``[E]`` or ``[W]``, each once."""
    found = [line.split(mark, 1)[1] for line in output.splitlines() if mark in line]
    return tuple(dict.fromkeys(' '.join(text.replace('[TRT]', '').split()) for text in found))


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process has ended; it is not waited for, so that its group keeps its number."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process group: asked first, killed then."""
    if process.returncode is not None:
        return
    _signal_group(process, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_S
    while not _has_ended(process) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        # Its session was made for it: the group has the number of the process.
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def _tail(log: BinaryIO) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - _TAIL_BYTES))
    return log.read().decode('utf-8', 'replace')
