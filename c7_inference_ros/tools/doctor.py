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
Say what this machine is, what it lacks, and whether a node would start with its parameter file.

.. code-block:: text

    doctor
    doctor --params-file vehicle.yaml
    doctor --params-file vehicle.yaml --json

Works without ROS, without a GPU and with nothing optional installed. The page for users is
``docs/doctor.md``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
import shutil
import sys
from typing import Any
from typing import Mapping
from typing import Sequence
from typing import TYPE_CHECKING

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.command_line import CommandParser
from c7_inference_ros.tools.command_line import run_command
from c7_inference_ros.tools.console import Console
from c7_inference_ros.tools.console import GOOD
from c7_inference_ros.tools.console import NO
from c7_inference_ros.tools.console import size_text
from c7_inference_ros.tools.console import table
from c7_inference_ros.tools.machine.findings import Finding
from c7_inference_ros.tools.machine.findings import Verdict
from c7_inference_ros.tools.machine.libraries import ask_libraries
from c7_inference_ros.tools.machine.libraries import Library
from c7_inference_ros.tools.machine.library_problems import explain
from c7_inference_ros.tools.machine.remedies import Remedies
from c7_inference_ros.tools.machine.report_text import report_lines
from c7_inference_ros.tools.machine.surroundings import Surroundings

if TYPE_CHECKING:
    from c7_inference_ros.config import NodeConfig
    from c7_inference_ros.tools.machine.node_plan import NodePlan

# What computes with NumPy is imported late: that NumPy does not work is a finding, too.

PROGRAM = 'doctor'
SCHEMA = 1
_SCRIPTS = 'Exit code 0: the node would start; 1: it would not, and why; 2: bad input.'


def main(argv: Sequence[str] | None = None, around: Surroundings | None = None) -> int:
    """
    Run the command line.

    :param argv: arguments; those of the process when None.
    :param around: what is looked at; this machine when None.
    :returns: 0 the node would start, 1 it would not, 2 bad input, 130 and 143 after SIGINT and
        SIGTERM.
    """
    return run_command(PROGRAM, argv, lambda given, console: _run(
        given, console, around or Surroundings()), left='nothing was changed')


def _run(argv: list[str], console: Console, around: Surroundings) -> int:
    values = _parser().parse_args(argv)
    around = replace(around, timeout_s=values.timeout)
    parameters = _ParameterFile(values.params_file, values.node_name)
    with console.progress('looking at this machine') as progress:
        libraries = ask_libraries(around.ask, around.timeout_s, lambda done, total:
                                  progress.update('libraries', done, total))
    if not libraries['numpy'].is_good:
        findings = [_without_numpy(libraries['numpy'], around)]
        return _report(console, findings, None, values.params_file)
    return _examine(console, around, libraries, parameters, values.params_file)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog=PROGRAM, epilog=_SCRIPTS, description=(
        'Say what this machine is, what it lacks and what mends it; with a parameter file, '
        'whether the node would start, and whether its models are trusted and fit.'))
    parser.add_argument('--params-file', metavar='YAML', type=Path,
                        help='parameter file of the node')
    parser.add_argument('--node-name', metavar='NAME', default='',
                        help='which node of the file, where it has several')
    parser.add_argument('--timeout', metavar='SECONDS', type=_seconds, default=20.0,
                        help='longest wait for one library to load; 20 unless given')
    parser.add_argument('--json', action='store_true',
                        help='print one JSON object on standard output, and nothing else there')
    return parser


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 3600.0:
        raise argparse.ArgumentTypeError(f'is {text!r}, expected 0.1 to 3600 seconds')
    return value


class _ParameterFile:
    """The parameter file, read before anything slow is done."""

    def __init__(self, path: Path | None, node_name: str) -> None:
        self.path = path
        self._node_name = node_name
        self.values: dict[str, Any] | None = None
        self.is_unreadable = False
        if path is not None:
            self._read(path)

    def _read(self, path: Path) -> None:
        from c7_inference_ros.tools.node_parameters import read_parameter_file
        try:
            self.values = read_parameter_file(path, self._node_name)
        except ImportError:
            if not path.is_file():
                raise ConfigurationError(f'--params-file is {path}, and there is no such file; '
                                         f'correct the path') from None
            self.is_unreadable = True

    def config(self) -> tuple[NodeConfig | None, tuple[Finding, ...]]:
        """Return the configuration, or what is wrong with it."""
        from c7_inference_ros.config import is_ros_parameter
        from c7_inference_ros.config import load_config
        from c7_inference_ros.tools.machine.node_plan import invalid_parameters
        if self.is_unreadable:
            return None, invalid_parameters(
                [f'{self.path} cannot be judged: PyYAML, which reads it, is not installed'])
        if self.values is None:
            return None, ()
        try:
            return load_config({name: value for name, value in self.values.items()
                                if not is_ros_parameter(name)}), ()
        except ConfigurationError as error:
            return None, invalid_parameters(error.problems)


def _examine(console: Console, around: Surroundings, libraries: dict[str, Library],
             parameters: _ParameterFile, path: Path | None) -> int:
    from c7_inference_ros.config import load_config
    from c7_inference_ros.tools.machine.examine import examine
    from c7_inference_ros.tools.machine.node_plan import needed_modules
    from c7_inference_ros.tools.machine.node_plan import plan_node

    config, wrong = parameters.config()
    # Without a file, or with one that cannot be used, the defaults say what is needed.
    known = config or load_config({})
    machine = examine(
        around, libraries, needed_modules(known, libraries),
        known.execution_providers if known.runtime == 'onnx_trt_ep' else (),
        known.engines.device, known.thermal)
    plan = None if config is None else plan_node(config, machine)
    findings = [*machine.findings, *wrong, *(plan.findings if plan else ())]
    return _report(console, findings, plan, path)


def _report(console: Console, findings: Sequence[Finding], plan: NodePlan | None,
            path: Path | None) -> int:
    columns = shutil.get_terminal_size().columns if sys.stdout and sys.stdout.isatty() else 0
    for line in report_lines(findings, columns):
        console.styled_result(*line)
    if plan is not None:
        _print_memory(console, plan)
    blocking = [finding for finding in findings if finding.is_blocking]
    exit_code = NO if blocking else GOOD
    console.result('')
    if blocking:
        console.styled_result(('The node would not start here:', 'red'))
        for finding in blocking:
            console.result(f'  {finding.name}: {finding.text}')
    else:
        warned = sum(finding.verdict is not Verdict.OK for finding in findings)
        more = f'; {warned} lines above are not ok' if warned else ''
        hint = '' if path else ' (whether your models do is told with --params-file)'
        console.styled_result((f'The node would start here{hint}{more}.', 'green'))
    console.result_json({
        'program': PROGRAM, 'schema': SCHEMA, 'params_file': str(path) if path else None,
        'would_start': not blocking, 'findings': [finding.as_dict() for finding in findings],
        'memory': _memory(plan) if plan else None,
        'problems': [f'{finding.name}: {finding.text}' for finding in blocking],
        'exit_code': exit_code})
    return exit_code


def _print_memory(console: Console, plan: NodePlan) -> None:
    console.result('')
    console.styled_result(('Memory, as predicted', 'bold'))
    rows = [(row.name, row.place, size_text(row.predicted_bytes),
             '' if row.limit_bytes is None else size_text(row.limit_bytes), row.items)
            for row in plan.rows]
    for line in table(rows, ('MODEL', 'PLACE', 'PREDICTED', 'BUDGET', 'MADE OF')):
        console.result(f'  {line}')
    for basis in plan.basis:
        console.styled_result((f'  {basis.strip()}', 'dim'))


def _memory(plan: NodePlan) -> Mapping[str, Any]:
    return {'rows': [{'name': row.name, 'place': row.place,
                      'predicted_bytes': row.predicted_bytes, 'limit_bytes': row.limit_bytes,
                      'items': row.items} for row in plan.rows],
            'basis': [basis.strip() for basis in plan.basis]}


def _without_numpy(library: Library, around: Surroundings) -> Finding:
    """Return the only thing that can be said where NumPy does not work."""
    remedies = Remedies(False, '', bool(around.which('apt-get')), around.user == 0,
                        around.python, around.prefix == '/usr', around.is_managed, False)
    if library.state == 'absent':
        return Finding('Software', 'NumPy', Verdict.MISSING, 'not installed',
                       'nothing of this package works without it', remedies.module('numpy'), True,
                       library.as_dict())
    advice, commands = explain(library, remedies)
    return Finding('Software', 'NumPy', Verdict.MISSING,
                   f'installed, and does not work: {library.problem}',
                   f'nothing of this package works without it; {advice}', commands, True,
                   library.as_dict())


if __name__ == '__main__':
    sys.exit(main())
