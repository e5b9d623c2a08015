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

"""Libraries that crash, hang, miss something or lie, loaded for real in processes of their own."""

import os
from pathlib import Path
import time

from c7_inference_ros.model_files.onnx_file import scan_onnx
from c7_inference_ros.tools.machine.libraries import ask_library
from c7_inference_ros.tools.machine.libraries import is_installed
from c7_inference_ros.tools.machine.library_problems import explain
from c7_inference_ros.tools.machine.probe import identity_model
from c7_inference_ros.tools.machine.remedies import Remedies
from c7_inference_ros.tools.machine.software import version_of
import pytest

REMEDIES = Remedies(False, 'noble', True, False, 'python3', True, False, False)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a Python package with this code, before all others."""
    place = tmp_path / 'packages'
    place.mkdir()
    monkeypatch.syspath_prepend(str(place))

    def install(name, code):
        path = place / f'{name.replace(".", "/")}.py'
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
    return install


def test_a_library_that_works(install):
    install('pynvml', 'print("hello"); __version__ = "12.0"')
    found = ask_library('pynvml')
    assert (found.state, found.version) == ('ok', '12.0') and 'hello' in found.said


def test_a_library_that_ends_the_process(install):
    install('torch', 'import os, sys\n'
                     'print("cuda: wrong driver", file=sys.stderr, flush=True)\nos.abort()')
    found = ask_library('torch')
    assert found.state == 'crashed'
    assert found.problem == ('ended its process with SIGABRT (step: import): '
                             'cuda: wrong driver')
    assert 'install' in explain(found, REMEDIES)[1][0]


def test_a_library_for_another_processor(install):
    install('numpy_like', '')
    install('torch', 'import os, signal; os.kill(os.getpid(), signal.SIGILL)')
    found = ask_library('torch')
    assert 'SIGILL' in found.problem
    assert explain(found, REMEDIES)[0] == 'it was built for another processor'


def test_a_library_that_crashes_later(install):
    install('tensorrt', '__version__ = "10.3.0"\n'
                        'class Logger:\n    ERROR = 1\n    def __init__(self, level):\n'
                        '        import os; os.abort()\n')
    found = ask_library('tensorrt')
    assert (found.state, found.version) == ('crashed', '10.3.0')
    assert '(step: make its logger)' in found.problem


def test_a_library_that_hangs(install, tmp_path):
    mark = tmp_path / 'pid'
    install('torch', f'import os, subprocess, time\n'
                     f'child = subprocess.Popen(["sleep", "60"])\n'
                     f'open({str(mark)!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")\n'
                     f'time.sleep(60)\n')
    began = time.monotonic()
    found = ask_library('torch', timeout_s=6.0)
    assert time.monotonic() - began < 40.0
    assert found.state == 'hung' and 'did not answer within 6 s (step: import)' in found.problem
    assert 'dmesg' in explain(found, REMEDIES)[1][0]
    for pid in map(int, mark.read_text().split()):
        # Neither it nor its child goes on; a zombie of init's does nothing any more.
        status = Path(f'/proc/{pid}/stat')
        assert not status.exists() or status.read_text().rpartition(')')[2].split()[0] == 'Z'


def test_a_library_that_is_not_there():
    assert ask_library('pycuda').state in ('absent', 'broken')
    assert not is_installed('no_such_module_at_all')


def test_a_folder_without_code_is_no_library(install, tmp_path):
    (tmp_path / 'packages/tensorrt').mkdir()
    (tmp_path / 'packages/tensorrt/__init__.pyi').touch()
    assert not is_installed('tensorrt') and ask_library('tensorrt').state == 'absent'


def test_a_library_that_misses_another(install):
    install('torch', 'import module_that_nobody_has')
    found = ask_library('torch')
    assert (found.state, found.missing) == ('broken', 'module_that_nobody_has')
    assert explain(found, REMEDIES) == (
        'it needs the module module_that_nobody_has',
        ('python3 -m pip install module_that_nobody_has',))


def test_a_shared_library_that_is_missing(install):
    install('pycuda.__init__', '')
    install('pycuda.driver', 'raise ImportError("libcuda.so.1: cannot open shared object file: '
                             'No such file or directory")')
    found = ask_library('pycuda')
    assert found.state == 'broken' and 'step: load the driver' in found.problem
    assert explain(found, REMEDIES) == (
        'libcuda.so.1 is not here: it comes with the NVIDIA driver', ('nvidia-smi',))


def test_what_a_library_prints_is_not_taken_for_its_answer(install):
    install('pynvml', """import json, os, sys
print(json.dumps({'step': 'done', 'version': '9'}))
os.write(1, b'{"version": "8"}\\n')
__version__ = '1'
""")
    assert ask_library('pynvml').version == '1'


def test_the_libraries_that_are_here():
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    found = ask_library('onnxruntime')
    assert found.is_good and 'CPUExecutionProvider' in found.values['available']
    assert ask_library('numpy').is_good
    # A provider that is not built in falls back without a word; the session says so.
    found = ask_library('provider', 'CUDAExecutionProvider', '0')
    assert found.is_good
    if 'CUDAExecutionProvider' not in ask_library('onnxruntime').values['available']:
        assert found.values['loaded'] == ['CPUExecutionProvider']


def test_the_model_that_providers_are_tried_with():
    scanned = scan_onnx(Path('identity.onnx'), identity_model())
    assert [spec.name for spec in (*scanned.inputs, *scanned.outputs)] == ['x', 'y']
    assert scanned.inputs[0].shape == (1,)


def test_the_environment_is_that_of_the_caller(install):
    install('pynvml', 'import os; __version__ = os.environ["C7_TEST"]')
    assert ask_library('pynvml', environ={**os.environ, 'C7_TEST': '7'}).version == '7'


@pytest.mark.parametrize('number, version', [
    ('100300', '10.3.0'), ('101601', '10.16.1'), ('8601', '8.6.1'), ('110000', '11.0.0'),
    ('new', 'new')])
def test_how_tensorrt_numbers_itself(number, version):
    assert version_of(number) == version
