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

"""The command doctor as users run it: exit codes, the table, JSON, and this machine itself."""

import json
import os
from pathlib import Path
import subprocess
import sys
import time

from c7_inference_ros.tools import console
from c7_inference_ros.tools.doctor import main
from c7_inference_ros.tools.machine.libraries import Library
from doctor_bench import jazzy_pc
from doctor_bench import World
import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / 'config/inference.yaml'
SECTIONS = ['Machine', 'GPU', 'Software', 'ROS 2', 'Transport of images', 'Heat and power',
            'Node']


@pytest.fixture
def world(tmp_path, monkeypatch):
    return jazzy_pc(World(tmp_path / 'root', monkeypatch))


def run(*arguments, **environ):
    return subprocess.run(
        [sys.executable, '-m', 'c7_inference_ros.tools.doctor', *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, (
            str(ROOT), os.environ.get('PYTHONPATH')))), **environ})


def test_this_machine():
    began = time.monotonic()
    done = run('--json', '--params-file', SHIPPED)
    took_s = time.monotonic() - began
    report = json.loads(done.stdout)
    found = {one['name']: one for one in report['findings']}
    assert done.returncode == report['exit_code'] == (0 if report['would_start'] else 1)
    assert report['would_start'] is (not any(one['is_blocking'] for one in found.values()))
    assert list(dict.fromkeys(one['section'] for one in report['findings'])) == SECTIONS
    assert found['Python']['values']['version'] == '.'.join(map(str, sys.version_info[:3]))
    assert found['model person']['verdict'] == 'ok'
    try:
        import rclpy
    except ImportError:
        rclpy = None
    assert (found['rclpy']['verdict'] == 'ok') is (rclpy is not None)
    assert took_s < 30.0  # about 3 s; the machine may be busy with other tests


def test_the_table(world, capsys):
    assert main(['--params-file', str(SHIPPED)], world.around()) == 0
    output, errors = capsys.readouterr()
    assert errors == '' and '\x1b' not in output
    lines = output.splitlines()
    headings = [line for line in lines if line and not line.startswith(' ')]
    assert headings[:-1] == [*SECTIONS, 'Memory, as predicted']
    assert headings[-1].startswith('The node would start here')
    columns = {line.index('  ', 12) for line in lines if line.startswith('  ok ')}
    assert columns  # every verdict is followed by a name
    assert '  warn     Fast DDS profile' in output
    assert '    $ export FASTRTPS_DEFAULT_PROFILES_FILE=' in output


def test_colours_are_for_terminals(world, capsys, monkeypatch):
    monkeypatch.setattr(console, 'has_color', lambda: True)
    assert main([], world.around()) == 0
    output = capsys.readouterr().out
    assert '\x1b[32m  ok     ' in output and '\x1b[33m  warn   ' in output
    assert '\x1b[1mMachine\x1b[0m' in output


def test_what_a_library_says_cannot_steer_the_terminal(world, capsys):
    world.libraries['torch'] = Library('torch', 'broken', problem='OSError: \x1b[2Jgone')
    assert main([], world.around()) == 0
    output = capsys.readouterr().out
    assert '\\x1b[2Jgone' in output and '\x1b' not in output


def test_a_node_that_would_not_start(world, capsys):
    world.libraries['cv2'] = Library('cv2', 'crashed', problem='ended its process with SIGSEGV')
    assert main([], world.around()) == 1
    tail = capsys.readouterr().out.splitlines()[-2:]
    assert tail == ['The node would not start here:',
                    '  OpenCV: installed, and does not work: ended its process with SIGSEGV']


@pytest.mark.parametrize('arguments, expected', [
    (['--params-fil', 'x'], 'did you mean --params-file?'),
    (['--params-file', 'no.yaml'], 'no.yaml cannot be read (No such file or directory)'),
    (['--timeout', '0'], 'expected 0.1 to 3600 seconds')])
def test_bad_arguments(world, capsys, arguments, expected):
    assert main(arguments, world.around()) == 2
    output, errors = capsys.readouterr()
    assert output == '' and expected in errors and len(errors.splitlines()) == 1


def test_a_file_that_is_no_parameter_file(world, capsys, tmp_path):
    path = tmp_path / 'p.yaml'
    for text in ('a: [', 'a: 1', ''):
        path.write_text(text)
        assert main(['--json', '--params-file', str(path)], world.around()) == 2
        assert json.loads(capsys.readouterr().out)['exit_code'] == 2
    path.write_text('a: {ros__parameters: {}}\nb: {ros__parameters: {}}\n')
    assert main(['--params-file', str(path)], world.around()) == 2
    assert '--node-name' in capsys.readouterr().err
    assert main(['--params-file', str(path), '--node-name', 'a'], world.around()) == 1


def test_without_pyyaml(world, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'yaml', None)
    assert main(['--params-file', str(SHIPPED)], world.around()) == 1
    assert 'cannot be judged: PyYAML' in capsys.readouterr().out


def test_without_numpy_nothing_else_is_imported(tmp_path):
    """The command itself never imports a NumPy that crashes."""
    (tmp_path / 'numpy').mkdir()
    (tmp_path / 'numpy/__init__.py').write_text('import os; os.abort()')
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = run('--json', '--params-file', SHIPPED, PYTHONPATH=path)
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert [one['name'] for one in report['findings']] == ['NumPy']
    assert 'SIGABRT' in report['findings'][0]['text']
