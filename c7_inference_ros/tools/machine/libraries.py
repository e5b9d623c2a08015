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

"""Libraries loaded in processes of their own, so that one that crashes or hangs is a finding."""

from __future__ import annotations

from concurrent.futures import as_completed
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from dataclasses import field
import importlib.util
import json
import os
import signal
import subprocess
import sys
from typing import Any
from typing import Callable
from typing import Mapping

#: Messages that the node imports; of each package the newest that it needs.
MESSAGES = ('builtin_interfaces/Time', 'diagnostic_msgs/DiagnosticArray',
            'lifecycle_msgs/Transition', 'rcl_interfaces/ParameterDescriptor',
            'sensor_msgs/Image', 'std_msgs/Header', 'vision_msgs/LabelInfo')
#: What is asked, with the arguments of its probe; the slowest first.
ASKED: Mapping[str, tuple[str, ...]] = {
    'torch': (), 'rclpy': MESSAGES, 'cv2': (), 'onnxruntime': (), 'tensorrt': (),
    'tensorrt_rtx': (), 'pycuda': (), 'numpy': (), 'cv_bridge': (), 'yaml': (),
    'cryptography': (), 'pynvml': ()}
OK, ABSENT, BROKEN, CRASHED, HUNG = 'ok', 'absent', 'broken', 'crashed', 'hung'
_CODE = ('import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); '
         'from c7_inference_ros.tools.machine.probe import main; main(sys.argv[1:])')
#: Module of a library that is called otherwise.
_MODULES = {'provider': 'onnxruntime'}
_LAST_BYTES = 4000


@dataclass(frozen=True)
class Library:
    """
    What one library said of itself.

    :param name: the module, as it is imported.
    :param state: ``ok``, ``absent``, ``broken`` (raised), ``crashed`` (ended its process) or
        ``hung``.
    :param version: empty where it was not said.
    :param problem: what went wrong and in which step, one line.
    :param missing: module that its import did not find.
    :param values: what else it said, by name.
    :param said: the end of what it printed.
    """

    name: str
    state: str
    version: str = ''
    problem: str = ''
    missing: str = ''
    values: Mapping[str, Any] = field(default_factory=dict)
    said: str = ''

    @property
    def is_good(self) -> bool:
        """Whether it loads and works."""
        return self.state == OK

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {'state': self.state, 'version': self.version, 'problem': self.problem,
                **self.values}


def ask_library(name: str, *arguments: str, timeout_s: float = 20.0,
                environ: Mapping[str, str] | None = None) -> Library:
    """
    Load a library in another process, and return what became of it.

    :param name: a key of :data:`c7_inference_ros.tools.machine.probe.PROBES`.
    :param arguments: what its probe takes.
    :param timeout_s: after this long the process is killed, with all its children.
    :param environ: environment of the process; that of this one when None.
    """
    module = _MODULES.get(name, name)
    if not is_installed(module):
        return Library(module, ABSENT, problem='not installed', missing=module)
    command = [sys.executable, '-c', _CODE, json.dumps(sys.path), name, *arguments]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=None if environ is None else dict(environ), start_new_session=True)
    is_late = False
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        is_late = True
        _kill(process)
        try:
            output, errors = process.communicate(timeout=2.0)
        except subprocess.TimeoutExpired as late:  # it hangs in the kernel, or left a child
            output, errors = late.output or b'', late.stderr or b''
    except BaseException:
        _kill(process)
        raise
    return _judge(module, output or b'', errors or b'', process.returncode,
                  timeout_s if is_late else None)


def ask_libraries(ask: Callable[..., Library], timeout_s: float,
                  on_answer: Callable[[int, int], None] = lambda done, total: None
                  ) -> dict[str, Library]:
    """
    Return what every library said, by module.

    :param ask: as :func:`ask_library`.
    :param timeout_s: longest wait for one.
    :param on_answer: told how many have answered, and of how many.
    """
    with ThreadPoolExecutor(4) as pool:
        asked = {pool.submit(ask, name, *arguments, timeout_s=timeout_s): name
                 for name, arguments in ASKED.items()}
        answers = {}
        for done, one in enumerate(as_completed(asked), 1):
            answers[asked[one]] = one.result()
            on_answer(done, len(asked))
    return answers


def is_installed(module: str) -> bool:
    """Return whether a top-level module is there; a folder with stubs only is none."""
    try:
        spec = importlib.util.find_spec(module)
    except ValueError:
        return True  # imported already, without saying from where
    except ImportError:
        return False
    return spec is not None and spec.origin is not None


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _judge(module: str, output: bytes, errors: bytes, code: int | None,
           timeout_s: float | None) -> Library:
    values: dict[str, Any] = {}
    step = 'start'
    for line in output.decode('utf-8', 'replace').splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            continue
        # Between two steps it only says what it saw.
        step = told.pop('step') or step
        values.update(told)
    said = errors[-_LAST_BYTES:].decode('utf-8', 'replace')
    version = values.pop('version', '')
    error, missing = values.pop('error', ''), values.pop('missing', '')
    if error:
        state = ABSENT if missing == module else BROKEN
        where = '' if step in ('start', 'import') else f' (step: {step})'
        problem = 'not installed' if state == ABSENT else error + where
    elif step == 'done':
        state, problem = OK, ''
    elif timeout_s is not None:
        state, problem = HUNG, f'did not answer within {timeout_s:g} s (step: {step})'
    else:
        state = CRASHED
        problem = f'ended its process with {_ending(code)} (step: {step}){_last_line(said)}'
    return Library(module, state, version, problem, missing, values, said)


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f'signal {-code}'
    return f'exit code {code}'


def _last_line(said: str) -> str:
    lines = [' '.join(line.split()) for line in said.splitlines() if line.strip()]
    return f': {lines[-1][:200]}' if lines else ''
