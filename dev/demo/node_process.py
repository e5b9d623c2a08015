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

"""The node as a process of its own, started with the command that a user would type."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
import re
import shlex
import signal
import subprocess
import sys
import time

from demo.errors import DemoError

MODULE = 'c7_inference_ros.node.inference_node'
INTERRUPT_S, KILL_S = 15.0, 5.0
_PR_SET_PDEATHSIG = 1
_ERROR = re.compile(r'\[(ERROR|FATAL)\]')
_LIBC = ctypes.CDLL(None)


def node_command(params: Path) -> list[str]:
    """Return the command that starts the node."""
    return [sys.executable, '-m', MODULE, '--ros-args', '--params-file', str(params),
            '-p', 'use_sim_time:=true']


def shown_command(params: Path) -> str:
    """Return the same command as a user would type it."""
    return shlex.join(['python', *node_command(params)[1:]])


class NodeProcess:
    """
    One running node; never left behind.

    :param command: what to start.
    :param log: file that takes its output.
    :param folder: working directory.
    """

    def __init__(self, command: list[str], log: Path, folder: Path) -> None:
        """Start it in a process group of its own, so that Ctrl-C reaches it only through us."""
        self.log = log
        environment = {**os.environ, 'PYTHONUNBUFFERED': '1', 'RCUTILS_COLORIZED_OUTPUT': '0'}
        with open(log, 'wb') as output:
            self._process = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=_in_child)
        self.pid = self._process.pid

    def check(self, doing: str) -> None:
        """
        Raise when the node has ended.

        :raises DemoError: with the last lines that it wrote.
        """
        code = self._process.poll()
        if code is not None:
            raise DemoError(f'the node ended while {doing} ({_ending(code)})',
                            details=self.error_lines())

    def error_lines(self, count: int = 8) -> list[str]:
        """Return the last error lines of the log, or its last lines where none is an error."""
        try:
            text = self.log.read_text(errors='replace')
        except OSError:
            return []
        lines = [line for line in text.splitlines() if line.strip()]
        errors = [line for line in lines if _ERROR.search(line)]
        return (errors or lines)[-count:]

    def interrupt(self) -> float:
        """
        Stop the node as Ctrl-C in its terminal does.

        :returns: seconds that it took.
        :raises DemoError: when it does not end, or not with exit code 0.
        """
        started = time.monotonic()
        self.check('it was inactive')
        self._process.send_signal(signal.SIGINT)
        try:
            code = self._process.wait(INTERRUPT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise DemoError(f'the node did not end within {INTERRUPT_S:.0f} s of SIGINT and was '
                            f'killed', details=self.error_lines()) from None
        if code != 0:
            raise DemoError(f'the node ended with {_ending(code)} after SIGINT, expected exit '
                            f'code 0', details=self.error_lines())
        self._kill_group()
        return time.monotonic() - started

    def kill(self) -> None:
        """End the node and whatever it started, politely first; safe to call again."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(KILL_S)
            except subprocess.TimeoutExpired:
                pass
        self._kill_group()
        self._process.wait()

    def _kill_group(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _in_child() -> None:
    # Were the demo itself killed, the kernel would tell the node; and a demo started in the
    # background by a shell, with SIGINT ignored, must not pass that on.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _ending(code: int) -> str:
    if code >= 0:
        return f'exit code {code}'
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f'signal {-code}'
