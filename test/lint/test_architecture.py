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

"""The import rules of the design, walked in the syntax trees: imports only point down."""

import ast
from pathlib import Path
import re
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / 'c7_inference_ros'
SOURCES = sorted(PACKAGE.rglob('*.py'))

#: What says how parameters look; every layer but the lowest may use it.
CONFIG = {'errors', 'config', 'parameter_groups', 'parameter_spec'}
#: What each layer may import of this package; a layer may always import itself.
LAYERS = {
    'errors': set(),
    'parameter_spec': set(),
    'parameter_groups': {'parameter_spec'},
    'config': {'errors', 'parameter_spec', 'parameter_groups'},
    'resources': {'errors'},
    'model_files': {'errors'},
    'thermal': CONFIG,
    'engines': CONFIG | {'model_files'},
    'vision': CONFIG | {'resources'},
    'runtime': CONFIG | {'resources', 'model_files', 'thermal', 'engines'},
    'pipeline': CONFIG | {'resources', 'model_files', 'thermal', 'engines', 'vision', 'runtime'},
    'node': CONFIG | {'resources', 'model_files', 'thermal', 'engines', 'vision', 'runtime',
                      'pipeline'},
    'tools': CONFIG | {'resources', 'model_files', 'thermal', 'engines', 'vision', 'runtime',
                       'pipeline'},
}
ROS = {'rclpy', 'sensor_msgs', 'vision_msgs', 'diagnostic_msgs', 'std_msgs', 'lifecycle_msgs',
       'rcl_interfaces', 'builtin_interfaces', 'geometry_msgs'}
#: Heavy modules, and the only places that may import each (inside a function): layers or files.
HEAVY = {'tensorrt': {'engines/tensorrt_api.py'}, 'tensorrt_rtx': {'engines/tensorrt_api.py'},
         'polygraphy': {'engines/building/polygraphy_builder.py'},
         'pycuda': {'runtime/cuda/device.py'},
         'onnxruntime': {'runtime', 'engines'}, 'torch': {'runtime/pytorch/runtime.py'},
         'cryptography': {'engines/trust/signature.py'},
         'pynvml': {'thermal/nvml_library.py'},
         'cv2': {'vision', 'tools'}, 'cv_bridge': {'vision/message_image.py'},
         'yaml': {'runtime', 'tools'},
         'onnx': {'runtime', 'engines'}, 'rosbags': {'tools'}, 'pycocotools': {'tools'},
         'tqdm': {'tools'}, 'matplotlib': {'tools'}, 'distributed': {'tools'}}
MAX_LINES = 350


def layer_of(path):
    """Return the layer of a file: its folder in the package, or its own name."""
    return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


def imports_of(path):
    """Yield (module, is inside a function) of every import of a file."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    inside = {id(node) for function in ast.walk(tree)
              if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
              for node in ast.walk(function)}
    guarded = {id(node) for test in ast.walk(tree)
               if isinstance(test, ast.If) and 'TYPE_CHECKING' in ast.unparse(test.test)
               for node in ast.walk(test)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative import'
            names = [node.module]
        else:
            continue
        for name in names:
            yield name, id(node) in inside or id(node) in guarded


def short(path):
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize('path', SOURCES, ids=short)
def test_imports_point_down(path):
    layer = layer_of(path)
    if layer == '__init__':
        return
    assert layer in LAYERS, f'{short(path)} is in no layer of the design'
    for name, _ in imports_of(path):
        parts = name.split('.')
        if parts[0] == 'c7_inference_ros' and len(parts) > 1:
            assert parts[1] == layer or parts[1] in LAYERS[layer], (
                f'{short(path)} imports {name}: {layer} may import '
                f'{sorted(LAYERS[layer]) or "nothing of the package"}')


@pytest.mark.parametrize('path', SOURCES, ids=short)
def test_only_the_node_knows_ros(path):
    if layer_of(path) in ('node', 'tools'):
        return
    for name, _ in imports_of(path):
        assert name.split('.')[0] not in ROS, f'{short(path)} imports {name}'


@pytest.mark.parametrize('path', SOURCES, ids=short)
def test_heavy_modules_are_imported_late_and_in_one_layer(path):
    for name, is_late in imports_of(path):
        module = name.split('.')[0]
        if module in HEAVY:
            assert is_late, f'{short(path)} imports {name} at module level'
            assert {layer_of(path), short(path)} & HEAVY[module], (
                f'{short(path)} imports {name}, which belongs to {sorted(HEAVY[module])}')


@pytest.mark.parametrize('path', SOURCES, ids=short)
def test_modules_stay_small(path):
    lines = len(path.read_text(encoding='utf-8').splitlines())
    assert lines <= MAX_LINES, f'{short(path)} has {lines} lines; split it by idea'


def test_package_imports_on_a_machine_with_nothing():
    """Every module outside node/ imports with all heavy modules and ROS out of reach."""
    modules = sorted('.'.join(path.relative_to(ROOT).with_suffix('').parts)
                     for path in SOURCES if layer_of(path) not in ('node', 'tools'))
    blocked = sorted(ROS | set(HEAVY))
    code = f"""
import importlib, sys
for name in {blocked!r}:
    sys.modules[name] = None
for name in {modules!r}:
    importlib.import_module(name.removesuffix('.__init__'))
print(len({modules!r}))
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(modules) > 20


def test_nothing_of_a_machine_is_written_down():
    """No machine's path and no registry host in what is shipped."""
    listed = subprocess.run(['git', 'ls-files', '-z', '--cached', '--others',
                             '--exclude-standard'], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip('git is not installed, or this is no checkout')
    pattern = re.compile(r'(?<![\w.])/(work|farm|root|home)/|(?<![\w.])/tmp/[a-z]'
                         r'|(index-url|find-links)[ =]+\S*://'
                         r'|://[\w.]*(pypi|pythonhosted|registry|npmjs|debian)[\w.]*')
    found = []
    for name in filter(None, listed.stdout.decode().split('\0')):
        path = ROOT / name
        if path == Path(__file__) or path.suffix in {'.onnx', '.jpg', '.png', '.lock'}:
            continue
        if not path.is_file():
            continue
        for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
            if pattern.search(line):
                found.append(f'{name}:{number}: {line.strip()}')
    assert not found, '\n'.join(found)
