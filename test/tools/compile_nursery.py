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
Compile processes that start within a moment: forks of one that has imported everything.

Each is a process of its own that runs the real command line; only the imports are shared.
"""

import subprocess
import sys

from compile_bench import environment

_PROGRAM = """
import os
import sys
import importlib
for name in ('onnx.checker', 'onnx.numpy_helper', 'onnx.shape_inference',
             'onnxruntime.transformers.float16', 'c7_inference_ros.tools.compile_engine'):
    importlib.import_module(name)
from c7_inference_ros.tools.compile_engine import main
print('ready', flush=True)
for line in iter(sys.stdin.readline, ''):
    pid = os.fork()
    if pid == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os._exit(main(line.rstrip('\\n').split('\\t')))
    print(pid, flush=True)
    sys.stdin.readline()  # until then its number is not given to another process
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Nursery:
    """Starts compile processes, one at a time."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, '-c', _PROGRAM], env=environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout.readline() == 'ready\n'

    def start(self, arguments):
        """Start one; return its process id."""
        self._process.stdin.write('\t'.join(map(str, arguments)) + '\n')
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def wait(self):
        """Return the exit code of the last one, negative for a signal."""
        self._process.stdin.write('\n')
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self):
        """End the process that the others are forks of."""
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


def is_running(pid):
    """Whether a process still runs; one that ended and was not waited for does not."""
    try:
        with open(f'/proc/{pid}/stat', encoding='ascii', errors='replace') as file:
            return file.read().rpartition(')')[2].split()[0] not in 'ZX'
    except (FileNotFoundError, ProcessLookupError):
        return False
