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
Build TensorRT engines from ONNX models, and look into those that were built.

.. code-block:: text

    compile_engine compile MODEL.onnx --precision fp16 --output-dir DIR
    compile_engine compile CONFIG.json
    compile_engine inspect ENGINE
    compile_engine verify ENGINE
    compile_engine list DIR

The page for users is ``docs/engines.md``.
"""

from __future__ import annotations

import os
from pathlib import Path
import sys
from typing import Any
from typing import Mapping
from typing import Sequence

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.tools import setting_values
from c7_inference_ros.tools.command_line import run_command
from c7_inference_ros.tools.compile_arguments import Arguments
from c7_inference_ros.tools.compile_arguments import parse
from c7_inference_ros.tools.compile_arguments import PROGRAM
from c7_inference_ros.tools.compile_command import run_compile
from c7_inference_ros.tools.console import Console
from c7_inference_ros.tools.console import GOOD
from c7_inference_ros.tools.console import NO
from c7_inference_ros.tools.console import table
from c7_inference_ros.tools.engine_verdicts import engine_row
from c7_inference_ros.tools.engine_verdicts import judge
from c7_inference_ros.tools.engine_verdicts import list_engines
from c7_inference_ros.tools.engine_verdicts import Trust
from c7_inference_ros.tools.inspect_engine import inspect_engine
from c7_inference_ros.tools.inspect_engine import report

_COLUMNS = ('MODEL', 'PRECISION', 'GPU', 'PLATFORM', 'TENSORRT', 'SIZE', 'BUILT (UTC)', 'HERE')
_KEYS = ('model', 'precision', 'gpu', 'platform', 'tensorrt', 'size', 'built')


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param argv: arguments; those of the process when None.
    :returns: 0 good, 1 the answer is no, 2 bad input, 130 and 143 after SIGINT and SIGTERM.
    """
    return run_command(PROGRAM, argv, lambda given, console: _run(parse(given), console))


def _run(arguments: Arguments, console: Console) -> int:
    if not arguments.command:
        print(arguments.help_text)
        return GOOD
    command = {'compile': run_compile, 'inspect': _inspect, 'verify': _verify,
               'list': _list}[arguments.command]
    return command(arguments.values, console)


def _inspect(values: Mapping[str, Any], console: Console) -> int:
    try:
        found = inspect_engine(_path(values, 'engine', 'ENGINE'))
    except EngineDeserializeError as error:
        raise ConfigurationError(str(error)) from error
    for line in table(report(found)):
        console.result(line)
    for problem in found.problems:
        console.warn(problem)
    # Whatever else is broken: without a header it is no engine.
    exit_code = GOOD if found.header else NO
    console.result_json({**found.to_json(), 'exit_code': exit_code})
    return exit_code


def _verify(values: Mapping[str, Any], console: Console) -> int:
    path = _path(values, 'engine', 'ENGINE')
    verdict = judge(path, _trust(values))
    exit_code = GOOD if verdict.trusted else NO
    if verdict.trusted is None:
        console.say(f'refused ({verdict.stage}): {verdict.refusal}')
    else:
        for warning in verdict.trusted.warnings:
            console.warn(warning)
        console.result(f'good: {path.name} passes every check on this machine')
    console.result_json({**verdict.to_json(), 'exit_code': exit_code})
    return exit_code


def _list(values: Mapping[str, Any], console: Console) -> int:
    folder = _path(values, 'directory', 'DIR')
    verdicts = list_engines(folder, _trust(values))
    if verdicts:
        for line in table([engine_row(one) for one in verdicts], _COLUMNS):
            console.result(line)
    else:
        console.result(f'{folder} has no engine')
    for one in verdicts:
        # That an engine is for another machine is said in the table.
        if one.refusal and one.stage != 'host':
            console.say(f'refused ({one.stage}): {one.refusal}')
    console.result_json({'directory': str(folder), 'exit_code': GOOD,
                         'engines': [{**one.to_json(), **dict(zip(_KEYS, engine_row(one)))}
                                     for one in verdicts]})
    return GOOD


def _trust(values: Mapping[str, Any]) -> Trust:
    try:
        drop = setting_values.number(0.0, 1.0)(values['max_accuracy_drop'])
    except setting_values.ValueProblem as problem:
        raise ConfigurationError(
            f'--max-accuracy-drop is {values["max_accuracy_drop"]!r}, {problem}') from problem
    key, deployed = (_path(values, name, flag) if values[name] else None for name, flag in (
        ('public_key', '--public-key'), ('deployment_list', '--deployment-list')))
    return Trust(key, deployed, drop)


def _path(values: Mapping[str, Any], name: str, shown: str) -> Path:
    try:
        path = setting_values.path(values[name])
    except setting_values.ValueProblem as problem:
        raise ConfigurationError(f'{shown} is {values[name]!r}, {problem}') from problem
    # Not Path.is_dir(), which raises where the folder may not be entered.
    if name == 'engine' and os.path.isdir(path):
        raise ConfigurationError(f'{path} is a folder, expected an engine; {PROGRAM} list {path} '
                                 f'shows those in it')
    return path


if __name__ == '__main__':
    sys.exit(main())
