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
A process that publishes engines and is killed by SIGKILL, at one exact step or at any time.

Run as a program it takes one command a line on standard input, does each in a child of its own so
that starting Python is paid for once, and answers with one line:

.. code-block:: text

    step <n> <before|half> <folder> <seed> <key>    killed before its n-th operation on a file, or
                                                    half-way through its n-th write
    loop <n> <share> <folder> <seed> <key>          publishes seed, seed + 1, seed, ..., and is
                                                    killed after n of them and a share of the time
                                                    that one takes
"""

import fcntl
import functools
import importlib
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import trust_files

#: Everything in os that changes a file or a folder.
OPERATIONS = ('open', 'write', 'fchmod', 'ftruncate', 'replace', 'unlink')


class Publisher:
    """The program from the side of the test, as a context manager."""

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *details):
        self._process.communicate(timeout=30)

    def step(self, number, how, folder, seed, key):
        """Return whether the child was killed; it ended by itself when it has fewer steps."""
        return self._ask('step', number, how, folder, seed, key or '-') == 'killed'

    def loop(self, number, share, folder, seed, key):
        assert self._ask('loop', number, share, folder, seed, key or '-') == 'killed'

    def _ask(self, *words):
        self._process.stdin.write(' '.join(map(str, words)) + '\n')
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


@functools.lru_cache(maxsize=None)
def plan(seed):
    """Return the engine of a seed."""
    return trust_files.tensorrt_plan(seed, size=5_000 if seed < 100 else 4_000_000)


def publish(folder, seed, key):
    """Publish the engine of a seed."""
    return trust_files.publish(Path(folder), plan(seed), private_key=None if key == '-' else key)


def kill_at(step, how):
    """Make the n-th operation of this process its last."""
    count = 0

    def counted(module, name):
        real = getattr(module, name)

        def operation(*arguments, **options):
            nonlocal count
            count += 1
            if count == step:
                if how == 'half':
                    real(arguments[0], memoryview(arguments[1])[:len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)
        setattr(module, name, operation)

    if how == 'half':
        counted(os, 'write')
        return
    for name in OPERATIONS:
        counted(os, name)
    counted(fcntl, 'flock')


def settle_nothing(descriptor):
    """Stand in for fsync: a kill, unlike a power cut, loses nothing that the kernel has."""


def step_once(words):
    _, step, how, folder, seed, key = words
    os.fsync = settle_nothing
    kill_at(int(step), how)
    publish(folder, int(seed), key)


def loop_for_ever(words, report):
    _, _, _, folder, seed, key = words
    while True:
        for number in (int(seed), int(seed) + 1):
            publish(folder, number, key)
            os.write(report, b'.')


def wait_and_kill(words, pid, report):
    """Kill the child within the publication that follows the n-th."""
    began = time.monotonic()
    took = 0.02
    for _ in range(int(words[1])):
        os.read(report, 1)
        took, began = time.monotonic() - began, time.monotonic()
    time.sleep(took * float(words[2]))
    os.kill(pid, signal.SIGKILL)


def main():
    try:  # Before the first fork, so that not every child imports it.
        importlib.import_module('cryptography.hazmat.primitives.asymmetric.ed25519')
    except ImportError:
        pass
    for line in sys.stdin:
        words = line.split()
        plan(int(words[4])), plan(int(words[4]) + 1)
        receive, report = os.pipe()
        pid = os.fork()
        if not pid:
            status = 1
            try:
                step_once(words) if words[0] == 'step' else loop_for_ever(words, report)
                status = 0
            finally:
                os._exit(status)
        if words[0] == 'loop':
            wait_and_kill(words, pid, receive)
        os.close(receive)
        os.close(report)
        _, status = os.waitpid(pid, 0)
        is_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print('killed' if is_killed else f'ended {os.waitstatus_to_exitcode(status)}', flush=True)


if __name__ == '__main__':
    main()
