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

import ctypes
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import time

from graph import ROOT
import yaml

NODE = 'c7_inference'
MODULE = 'c7_inference_ros.node.inference_node'
#: The node as it is, but that /diagnostics come ten times a second: for tests that wait for many
#: of them and say nothing about when they come.
QUICK_COMMAND = (sys.executable, '-c', f'from {MODULE} import main; import sys;'
                 ' from c7_inference_ros.node import diagnostics_publisher;'
                 ' diagnostics_publisher.PERIOD_S = 0.1; sys.exit(main())')
#: Shared machines are slow; no test waits this long when all is well.
PATIENCE_S = 30.0
#: How long a node may take to end.
POLITE_S = 10.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def nested(flat):
    """Return the tree that dotted names stand for, as a parameter file has it."""
    tree = {}
    for name, value in flat.items():
        *groups, last = name.split('.')
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        branch[last] = value
    return tree


def write_parameters(path, parameters, node='/**'):
    """
    Write a parameter file.

    :param parameters: value by dotted name.
    """
    path.write_text(yaml.safe_dump({node: {'ros__parameters': nested(parameters)}}))
    return path


class NodeProcess:
    """
    One running node; everything it writes goes to a file.

    :param folder: working directory, and where its files lie.
    :param domain_id: ROS domain.
    :param parameters: value by dotted name, or the path of a parameter file; None for no file.
    :param arguments: more of what follows ``--ros-args``.
    :param environment: environment variables to set.
    :param command: how to start it, without ``--ros-args``.
    """

    def __init__(self, folder, domain_id, parameters, arguments=(), environment=None,
                 command=(sys.executable, '-m', MODULE)):
        """Start it."""
        self.folder = folder
        self.log = folder / 'node.log'
        if isinstance(parameters, dict):
            parameters = write_parameters(folder / 'parameters.yaml', parameters)
        files = [] if parameters is None else ['--params-file', str(parameters)]
        self.command = [*command, '--ros-args', *files, *arguments]
        self._mark = 0
        with open(self.log, 'wb') as output:
            self._process = subprocess.Popen(
                self.command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=_in_child,
                env={**os.environ, 'ROS_DOMAIN_ID': str(domain_id), 'PYTHONUNBUFFERED': '1',
                     'PYTHONPATH': os.pathsep.join(
                         filter(None, (str(ROOT), os.environ.get('PYTHONPATH')))),
                     **(environment or {})})
        self.pid = self._process.pid

    @property
    def exit_code(self):
        """Exit code, or None while it runs."""
        return self._process.poll()

    def text(self):
        """Return everything that it has written."""
        return self.log.read_text(errors='replace')

    def mark(self):
        """Let :meth:`lines` begin here from now on."""
        self._mark = len(self.text())

    def lines(self, *levels):
        """Return the lines since the mark; those of some levels (ERROR, WARN) when given."""
        lines = self.text()[self._mark:].splitlines()
        return [line for line in lines if not levels or _level(line) in levels]

    def wait_for_line(self, pattern, timeout_s=PATIENCE_S):
        """Return the first line since the mark that a regular expression is found in."""
        deadline = time.monotonic() + timeout_s
        while True:
            for line in self.lines():
                if re.search(pattern, line):
                    return line
            assert self.exit_code is None, f'the node ended with {self.exit_code}'
            assert time.monotonic() < deadline, f'no line has {pattern!r} after {timeout_s} s'
            time.sleep(0.02)

    def send(self, number):
        """Send a signal to the node."""
        self._process.send_signal(number)

    def wait(self, timeout_s=PATIENCE_S):
        """Return the exit code, once it has ended."""
        return self._process.wait(timeout_s)

    def stop(self, number=signal.SIGINT):
        """Send a signal and return the exit code."""
        self.send(number)
        return self.wait()

    def end(self):
        """
        End it and all that it started, politely first; idempotent.

        :returns: whether it had to be killed.
        """
        if self._process.poll() is None:
            self.send(signal.SIGINT)
            try:
                self._process.wait(POLITE_S)
            except subprocess.TimeoutExpired:
                pass
        is_stuck = self._process.poll() is None
        segments = _segments(self.pid)
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        # A process that is killed leaves its shared memory behind, 64 MiB each time.
        for segment in segments - _segments_of_others():
            Path(segment).unlink(missing_ok=True)
            Path(f'{segment}_el').unlink(missing_ok=True)
        return is_stuck

    def usage(self):
        """Return (threads, file descriptors, resident MiB) of the process."""
        folder = f'/proc/{self.pid}'
        with open(f'{folder}/status') as status:
            resident_kib = int(re.search(r'VmRSS:\s+(\d+) kB', status.read()).group(1))
        return (len(os.listdir(f'{folder}/task')), len(os.listdir(f'{folder}/fd')),
                resident_kib / 1024)


def _level(line):
    found = re.match(r'\[(\w+)\] \[[\d.]+\]', line)
    return found.group(1) if found else None


def _segments(pid):
    """Return the shared memory that Fast DDS has mapped in a process."""
    try:
        with open(f'/proc/{pid}/maps') as maps:
            return set(re.findall(r'/dev/shm/fastrtps_[0-9a-f]+$', maps.read(), re.MULTILINE))
    except OSError:
        return set()


def _segments_of_others():
    return set().union(*(_segments(pid) for pid in os.listdir('/proc') if pid.isdigit()))


def _in_child():
    # Should the tests be killed, the kernel ends the node; and a run in the background of a
    # shell, with SIGINT ignored, must not pass that on.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
