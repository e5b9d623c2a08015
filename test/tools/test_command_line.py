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

"""What all command lines share: error lines, exit codes, hints for mistyped options."""

import json
import os
import signal

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.tools.command_line import CommandParser
from c7_inference_ros.tools.command_line import run_command
from c7_inference_ros.tools.interruption import Terminated
import pytest


def raising(error):
    def run(argv, console):
        raise error
    return run


@pytest.mark.parametrize('error, exit_code, lines', [
    (ConfigurationError(['one is wrong', 'two\nis wrong']), 2,
     ['tool: one is wrong', 'tool: two is wrong']),
    (InferenceError('the model fails'), 1, ['tool: the model fails']),
    (KeyboardInterrupt(), 130, ['tool: interrupted; a part was left']),
    (Terminated(15), 143, ['tool: asked to end; a part was left'])])
def test_every_end_has_its_code_and_its_line(capsys, error, exit_code, lines):
    assert run_command('tool', [], raising(error), left='a part was left') == exit_code
    assert capsys.readouterr() == ('', ''.join(f'{line}\n' for line in lines))


def test_a_mistake_is_told_as_one_with_its_traceback(capsys):
    assert run_command('tool', [], raising(KeyError('lost'))) == 1
    err = capsys.readouterr().err
    assert 'Traceback' in err and 'tool: a mistake in this program: KeyError' in err


def test_json_is_one_object_also_when_something_is_wrong(capsys):
    assert run_command('tool', ['--json'], raising(ConfigurationError('wrong'))) == 2
    assert json.loads(capsys.readouterr().out) == {'problems': ['wrong'], 'exit_code': 2}


def test_the_code_of_the_command_is_the_code_of_the_process(capsys):
    assert run_command('tool', ['a', 'b'], lambda argv, console: len(argv)) == 2


def test_a_signal_ends_the_command(capsys):
    def run(argv, console):
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    before = signal.getsignal(signal.SIGTERM)
    assert run_command('tool', [], run) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert capsys.readouterr().err == 'tool: asked to end; nothing half-written was left\n'


def parser():
    made = CommandParser(prog='tool')
    made.add_argument('--overwrite', action='store_true')
    made.add_argument('--mode', choices=('every-frame', 'real-time'))
    return made


@pytest.mark.parametrize('argv, words', [
    (['--overwrit'], '; did you mean --overwrite?'),
    (['--over'], 'unrecognized arguments: --over'),
    (['--mode', 'realtime'], '; did you mean real-time?'),
    (['--mode'], 'expected one argument; see tool --help')])
def test_what_cannot_be_understood_gets_a_hint(argv, words):
    with pytest.raises(ConfigurationError) as caught:
        parser().parse_args(argv)
    assert words in str(caught.value)
