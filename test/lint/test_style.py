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

"""The linters of ROS 2 packages, with the settings of setup.cfg."""

import os
from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ('c7_inference_ros', 'launch', 'test', 'dev')
#: mypy's strict mode holds for all that does not import ROS, which has no types in its wheels.
TYPED = ('errors.py', 'parameter_spec.py', 'config.py', 'resources.py', 'model_files', 'thermal',
         'engines', 'vision', 'runtime', 'pipeline', 'tools')
LICENSE = (ROOT / 'dev' / 'license_header.txt').read_text(encoding='utf-8')


def python_files():
    return sorted([*(path for folder in FOLDERS for path in (ROOT / folder).rglob('*.py')),
                   ROOT / 'setup.py'])


def run(module, *arguments, env=None):
    pytest.importorskip(module, reason=f'{module} is not installed; run: make env')
    done = subprocess.run([sys.executable, '-m', module, *arguments], cwd=ROOT,
                          env={**os.environ, **(env or {})}, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, f'{done.stdout[-8000:]}\n{done.stderr[-2000:]}'


def test_flake8():
    run('flake8', *FOLDERS, 'setup.py')


def test_pep257():
    run('pydocstyle', *FOLDERS, 'setup.py')


def test_mypy():
    """With the published stubs of TensorRT 10.x, so that the calls of it are checked."""
    stubs = Path(sys.prefix) / 'stubs'
    run('mypy', *(f'c7_inference_ros/{name}' for name in TYPED), env={'MYPYPATH': str(stubs)})


def test_mypy_knows_tensorrt(tmp_path):
    """The check above is worth something only while mypy refuses a wrong call of TensorRT."""
    stubs = Path(sys.prefix) / 'stubs'
    if not (stubs / 'tensorrt').is_dir():
        pytest.skip('the stubs of TensorRT are not installed; run: make env')
    wrong = tmp_path / 'wrong.py'
    wrong.write_text('import tensorrt\n\n\ndef run(context: tensorrt.IExecutionContext) -> int:\n'
                     '    return context.execute_async_v3("stream")\n')
    done = subprocess.run([sys.executable, '-m', 'mypy', '--config-file', 'setup.cfg', str(wrong)],
                          cwd=ROOT, env={**os.environ, 'MYPYPATH': str(stubs)},
                          capture_output=True, text=True, check=False)
    assert 'incompatible type "str"; expected' in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize('path', python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_copyright(path):
    text = path.read_text(encoding='utf-8')
    if text.startswith('#!'):
        text = text.partition('\n')[2]
    assert text.startswith(LICENSE), 'the file does not begin with dev/license_header.txt'
