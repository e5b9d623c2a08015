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

"""One bag of many: a process of its own, so that whatever happens in it ends no other."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
from tempfile import TemporaryFile
from typing import Any
from typing import Callable
from typing import Mapping

from c7_inference_ros.errors import C7Error
from c7_inference_ros.tools.console import BAD_INPUT
from c7_inference_ros.tools.console import GOOD
from c7_inference_ros.tools.console import NO
from c7_inference_ros.tools.replaying.resume import earlier_report
from c7_inference_ros.tools.replaying.resume import path_sha256
from c7_inference_ros.tools.replaying.resume import remember

REPLAYED, EARLIER, FAILED, STOPPED = 'replayed', 'earlier', 'failed', 'stopped'
_PACKAGES = Path(__file__).resolve().parents[3]
_POLL_S, _END_S = 0.2, 15.0


@dataclass(frozen=True)
class BagJob:
    """
    One bag to replay.

    :param name: of the bag, unique in the run.
    :param bag: its path.
    :param folder: of its results.
    :param options: of the command line.
    :param inputs: what its results depend on, beside the bag.
    :param is_resuming: whether results of the same are kept.
    :param problem: why it cannot be replayed; empty when it can.
    """

    name: str
    bag: Path
    folder: Path
    options: tuple[str, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)
    is_resuming: bool = False
    problem: str = ''


@dataclass(frozen=True)
class BagOutcome:
    """
    What became of one bag.

    :param state: ``replayed``, ``earlier`` (by a run before this one), ``failed`` or ``stopped``.
    :param exit_code: of its replay.
    :param problems: one line each.
    :param report: of the replay; None when there is none.
    """

    name: str
    state: str
    exit_code: int
    problems: tuple[str, ...] = ()
    report: Mapping[str, Any] | None = None


def run_job(job: BagJob, is_stopping: Callable[[], bool]) -> BagOutcome:
    """
    Replay one bag in a process of its own; errors are in the outcome.

    :param is_stopping: asked now and then; when it says so the process is ended.
    """
    if job.problem:
        return BagOutcome(job.name, FAILED, BAD_INPUT, (job.problem,))
    if is_stopping():
        return BagOutcome(job.name, STOPPED, NO)
    try:
        inputs = {**job.inputs, 'bag': path_sha256(job.bag)}
        report = earlier_report(job.folder, inputs) if job.is_resuming else None
        if report is not None:
            return BagOutcome(job.name, EARLIER, int(report['exit_code']),
                              tuple(report.get('problems', ())), report)
        outcome = _run_process(job, is_stopping)
        if outcome.report is not None:
            remember(job.folder, inputs)
        return outcome
    except C7Error as error:
        return BagOutcome(job.name, FAILED, NO, (str(error),))


def _run_process(job: BagJob, is_stopping: Callable[[], bool]) -> BagOutcome:
    command = [sys.executable, '-m', 'c7_inference_ros.tools.replaying.job_process',
               str(os.getpid()), os.path.abspath(job.bag), f'--output={job.folder}',
               '--overwrite', '--json', *job.options]
    paths = [str(_PACKAGES), *filter(None, os.environ.get('PYTHONPATH', '').split(os.pathsep))]
    with TemporaryFile() as output, TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
                                   env={**os.environ, 'PYTHONPATH': os.pathsep.join(paths)})
        try:
            while True:
                try:
                    code = process.wait(_POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    if is_stopping():
                        return BagOutcome(job.name, STOPPED, NO)
        finally:
            _end(process)
        output.seek(0)
        errors.seek(0)
        return _outcome(job, code, output.read(), errors.read())


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _outcome(job: BagJob, code: int, output: bytes, errors: bytes) -> BagOutcome:
    try:
        said = json.loads(output)
        problems = tuple(str(one) for one in said['problems'])
    except (KeyError, TypeError, ValueError):
        lines = errors.decode(errors='replace').split('\n')
        last = next((line for line in reversed(lines) if line.strip()), 'it said nothing')
        how = f'exit code {code}' if code >= 0 else f'signal {signal.Signals(-code).name}'
        return BagOutcome(job.name, FAILED, NO, (f'the process of its replay ended with {how}: '
                                                 f'{last.strip()}',))
    if code in (GOOD, NO) and 'counts' in said:
        return BagOutcome(job.name, REPLAYED, code, problems, said)
    return BagOutcome(job.name, FAILED, code, problems)
