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

"""Paths that cannot be used: each is said in one line, none ends in a traceback."""

import json
import os
import subprocess
import sys

from c7_inference_ros.tools.compile_engine import main
from compile_bench import command
from compile_bench import environment
from compile_bench import tiny_model
import pytest

NAME = 'tiny__smany_jpx86_rtx1.7.1.116_fp16.engine'


@pytest.fixture
def run(capsys):
    """Run the command line in this process; return (exit code, stdout, lines of stderr)."""
    def run(*arguments):
        exit_code = main([os.fspath(one) for one in arguments])
        output, errors = capsys.readouterr()
        return exit_code, output, errors.splitlines()
    return run


def without_privileges(*arguments):
    """Run the command line as somebody who may not enter what root keeps for itself."""
    code = ('import os, sys\n'
            'from c7_inference_ros.tools.compile_engine import main\n'
            'if not os.geteuid():\n'
            '    os.setgroups([]); os.setegid(65534); os.seteuid(65534)\n'
            'sys.exit(main(sys.argv[1:]))\n')
    return subprocess.run([sys.executable, '-c', code, *map(str, arguments)], text=True,
                          env=environment(), capture_output=True, check=False, timeout=60)


@pytest.fixture
def locked(tmp_path):
    """Make a folder that only its owner may enter; take away that, where we are the owner."""
    folder = tmp_path / 'engines'
    folder.mkdir()
    (folder / NAME).write_bytes(b'engine')
    (folder / 'key.pem').write_bytes(b'key')
    for parent in (tmp_path, *tmp_path.parents):
        # Python makes these for their owner alone.
        if not os.geteuid() and parent.stat().st_uid == 0 and parent.name.startswith('pytest-'):
            parent.chmod(parent.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    folder.chmod(0o700 if not os.geteuid() else 0)
    yield folder
    folder.chmod(0o700)


@pytest.mark.parametrize(('arguments', 'exit_code'), [(['verify'], 1), (['inspect'], 2)])
def test_a_folder_that_may_not_be_entered(locked, arguments, exit_code):
    done = without_privileges(*arguments, locked / NAME)
    line, = done.stderr.splitlines()
    if 'the version' in line or 'is not installed' in line:
        pytest.skip(f'judged before the folder is opened: {line}')
    assert done.returncode == exit_code and done.stdout == ''
    assert f'{locked} may not be read by this user (uid ' in line
    assert 'run this as the owner of the engines' in line


def test_a_key_in_a_folder_that_may_not_be_entered(locked, tmp_path):
    model = tiny_model(tmp_path / 'tiny.onnx')
    done = without_privileges('compile', model, '--sign', locked / 'key.pem')
    line, = done.stderr.splitlines()
    assert done.returncode == 2
    assert '--sign is ' in line and 'cannot be looked at (Permission denied)' in line


@pytest.mark.parametrize('arguments', [
    ['verify', 'LONG.engine'], ['inspect', 'LONG.engine'], ['list', 'LONG'],
    ['compile', 'LONG.onnx'], ['compile', 'LONG.json'], ['compile', 'tiny.onnx', '--sign', 'LONG'],
    ['compile', 'tiny.onnx', '--output-dir', 'LONG']])
def test_a_name_that_is_too_long(run, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    tiny_model(tmp_path / 'tiny.onnx')
    exit_code, output, errors = run(*(one.replace('LONG', 'x' * 300) for one in arguments))
    assert exit_code in (1, 2) and output == ''
    assert 'mistake in this program' not in errors[-1]
    assert not any(line.startswith('Traceback') for line in errors)


def test_a_file_where_the_folder_should_be(run, tmp_path):
    model = tiny_model(tmp_path / 'tiny.onnx')
    exit_code, _, errors = run('compile', model, '--output-dir', model)
    assert exit_code == 2
    assert errors == [f'compile_engine: --output-dir is {model}, which is no folder; give another']
    (tmp_path / 'dangling').symlink_to('nowhere')
    assert run('compile', model, '--output-dir', tmp_path / 'dangling')[0] == 2


def test_a_link_to_nothing(run, tmp_path):
    (tmp_path / 'tiny.onnx').symlink_to('nowhere.onnx')
    exit_code, _, (line,) = run('compile', tmp_path / 'tiny.onnx')
    assert exit_code == 2
    assert f'{tmp_path}/tiny.onnx is a link to nowhere.onnx, which does not exist' in line


@pytest.mark.parametrize('arguments', [
    [b'\xff.onnx'], [b'tiny.onnx', b'--output-dir', b'\xff'],
    [b'tiny.onnx', b'--timing-cache', b'\xff']])
def test_a_name_that_is_not_utf8(tmp_path, arguments):
    """The builder takes none, and its bindings would answer with all bytes of the model."""
    model = tiny_model(tmp_path / 'tiny.onnx')
    os.link(model, os.path.join(os.fsencode(tmp_path), b'\xff.onnx'))
    done = subprocess.run([*command('compile'), *arguments, b'--json'], env=environment(),
                          cwd=tmp_path, capture_output=True, check=False, timeout=60)
    assert done.returncode == 2
    problem, = json.loads(done.stdout)['problems']
    assert 'expected a name in UTF-8' in problem


@pytest.mark.parametrize('arguments', [
    ['--json', 'list', '.'], ['list', '.', '--json'], ['--json', 'list', '.', '--json']])
def test_json_before_or_behind_the_command(run, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    exit_code, output, errors = run(*arguments)
    assert exit_code == 0 and errors == []
    assert json.loads(output) == {'directory': '.', 'exit_code': 0, 'engines': []}
