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

"""What a command says reaches the user, whatever becomes of its output."""

import io
import json
import signal
import subprocess
import sys

from c7_inference_ros.tools import compile_command
from c7_inference_ros.tools.compile_engine import main
from c7_inference_ros.tools.console import Console
from c7_inference_ros.tools.interruption import ending_as_interrupted
from c7_inference_ros.tools.interruption import raise_if_interrupted
from c7_inference_ros.tools.interruption import Terminated
from compile_bench import command
from compile_bench import environment
from compile_bench import tiny_model
import pytest


@pytest.mark.parametrize(('text', 'shown'), [
    ('labels \x1b[2J\x1b]0;x\x07', 'labels \\x1b[2J\\x1b]0;x\\x07'), ('a\nb', 'a\\nb'),
    ('left \u202eright', 'left \\u202eright'), ('half \ud800', 'half \\ud800'),
    ('K\u00fcche \u65e5\u672c', 'K\u00fcche \u65e5\u672c')])
def test_what_a_terminal_would_act_upon_is_escaped(capsys, text, shown):
    console = Console('tool')
    console.result(text)
    console.say(text)
    output, errors = capsys.readouterr()
    assert output == f'{shown}\n' and errors == f'tool: {shown}\n'


def test_what_the_output_cannot_show_is_escaped(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(raw, encoding='ascii'))
    Console('tool').result('K\u00fcche')
    assert raw.getvalue() == b'K\\xfcche\n'


@pytest.mark.parametrize('is_json', [False, True])
def test_a_closed_standard_error_changes_nothing(tmp_path, is_json):
    """Nor does what would have been said there end up in the result."""
    words = ' '.join(command('list', tmp_path, *(['--json'] if is_json else [])))
    done = subprocess.run(['sh', '-c', f'exec {words} 2>&-'], env=environment(), text=True,
                          stdout=subprocess.PIPE, check=False, timeout=60)
    assert done.returncode == 0
    if is_json:
        assert json.loads(done.stdout)['engines'] == []
    else:
        assert done.stdout == f'{tmp_path} has no engine\n'
    words = ' '.join(command('compile', tmp_path / 'no.onnx', '--json'))
    done = subprocess.run(['sh', '-c', f'exec {words} 2>&-'], env=environment(), text=True,
                          stdout=subprocess.PIPE, check=False, timeout=60)
    assert done.returncode == 2 and 'does not exist' in json.loads(done.stdout)['problems'][0]


def test_progress_without_standard_error(monkeypatch):
    monkeypatch.setattr(sys, 'stderr', None)
    with Console('tool').progress('compiling') as progress:
        progress.update('Timing', 1, 2)


@pytest.mark.parametrize('is_json', [False, True])
def test_an_output_that_is_full(tmp_path, is_json):
    with open('/dev/full', 'wb') as full:
        done = subprocess.run(command('list', tmp_path, *(['--json'] if is_json else [])),
                              env=environment(), stdout=full, stderr=subprocess.PIPE, text=True,
                              check=False, timeout=60)
    assert done.returncode == 1
    line, = done.stderr.splitlines()
    assert line.startswith('compile_engine: standard output cannot be written: No space left')


def test_a_standard_error_that_is_full(tmp_path):
    with open('/dev/full', 'wb') as full:
        done = subprocess.run(command('compile', tmp_path / 'no.onnx', '--json'),
                              env=environment(), stdout=subprocess.PIPE, stderr=full, text=True,
                              check=False, timeout=60)
    assert done.returncode == 2 and 'does not exist' in json.loads(done.stdout)['problems'][0]


@pytest.mark.parametrize(('number', 'kind'), [
    (signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated),
    (signal.SIGHUP, Terminated)])
def test_an_interrupt_that_was_swallowed_is_raised_again(number, kind):
    with ending_as_interrupted():
        raise_if_interrupted()
        with pytest.raises(kind):
            signal.raise_signal(number)
        with pytest.raises(kind):
            raise_if_interrupted()
    with ending_as_interrupted():
        raise_if_interrupted()


@pytest.mark.parametrize('is_told', [True, False])
@pytest.mark.parametrize(('number', 'exit_code'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_builder_that_swallows_an_interrupt(monkeypatch, capsys, tmp_path, number, exit_code,
                                              is_told):
    """It does where the signal comes while Python is in its logger; ends at the next step."""
    steps = []

    def build(*arguments, on_progress, **others):
        try:
            signal.raise_signal(number)
        except BaseException:
            pass
        if is_told:
            on_progress('Building engine', 1, 2)
        steps.append('went on')

    monkeypatch.setattr(compile_command, 'compile_engine', build)
    assert main(['compile', str(tiny_model(tmp_path / 'tiny.onnx'))]) == exit_code
    assert steps == ([] if is_told else ['went on'])
    assert 'nothing half-written was left' in capsys.readouterr().err
