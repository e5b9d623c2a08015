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

"""The runtime is chosen by name, and nothing else is imported."""

import json
from pathlib import Path
import subprocess
import sys
import types

from c7_inference_ros.config import RUNTIMES
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.parameter_groups import EngineConfig
from c7_inference_ros.runtime.factory import build_inference_runtime
import pytest

HEAVY = ('onnxruntime', 'cv2', 'tensorrt', 'tensorrt_rtx', 'torch', 'pycuda', 'pynvml', 'onnx',
         'yaml', 'rclpy')
STRATEGIES = {'tensorrt': 'c7_inference_ros.runtime.trt.runtime',
              'onnx_trt_ep': 'c7_inference_ros.runtime.ort.runtime',
              'pytorch_fp16': 'c7_inference_ros.runtime.pytorch.runtime',
              'dummy': 'c7_inference_ros.runtime.dummy.runtime'}
#: What the making of each may import of HEAVY.
BRINGS = {'tensorrt': {'tensorrt', 'tensorrt_rtx', 'pycuda'},
          'onnx_trt_ep': {'onnxruntime', 'onnx', 'yaml'}, 'pytorch_fp16': {'torch'},
          'dummy': set()}
#: The Python package that each needs.
NEEDS = {'tensorrt': 'pycuda', 'onnx_trt_ep': 'onnxruntime', 'pytorch_fp16': 'torch'}


def modules_after(code):
    """Return the names of all modules that are loaded after a statement in a new process."""
    program = f'{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))'
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True,
                          check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize('module', [
    'c7_inference_ros', 'c7_inference_ros.runtime.base', 'c7_inference_ros.runtime.factory',
    'c7_inference_ros.runtime.memory_budget', 'c7_inference_ros.runtime.ort.cache',
    'c7_inference_ros.runtime.pytorch.loading', *STRATEGIES.values()])
def test_importing_loads_no_heavy_module(module):
    loaded = modules_after(f'import {module}')
    assert module in loaded
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize('name', STRATEGIES)
def test_only_the_chosen_strategy_is_imported(name):
    """Also where it cannot be made here: the others are not tried in its place."""
    loaded = modules_after(
        'from c7_inference_ros.errors import RuntimeNotAvailableError\n'
        'from c7_inference_ros.runtime.factory import build_inference_runtime\n'
        'from c7_inference_ros.runtime.memory_budget import MemoryBudget\n'
        'try:\n'
        f'    build_inference_runtime({name!r}, budget=MemoryBudget(0, 0))\n'
        'except RuntimeNotAvailableError:\n'
        '    pass')
    assert {module for module in STRATEGIES.values() if module in loaded} == {STRATEGIES[name]}
    # PyTorch imports more where it is installed, such as a YAML reader.
    assert loaded & set(HEAVY) <= BRINGS[name] | ({'yaml', 'onnx'} if 'torch' in loaded else set())


def test_an_unknown_strategy_imports_none():
    loaded = modules_after(
        'from c7_inference_ros.errors import RuntimeNotAvailableError\n'
        'from c7_inference_ros.runtime.factory import build_inference_runtime\n'
        'from c7_inference_ros.runtime.memory_budget import MemoryBudget\n'
        'try:\n'
        '    build_inference_runtime("fastest", budget=MemoryBudget(0, 0))\n'
        'except RuntimeNotAvailableError:\n'
        '    pass')
    assert not loaded & {*STRATEGIES.values(), *HEAVY}


def test_every_configurable_runtime_has_a_strategy():
    assert set(RUNTIMES) == set(STRATEGIES)


def test_an_unknown_name_gets_the_nearest(budget):
    with pytest.raises(RuntimeNotAvailableError, match="'dumy' does not exist; available: tensorrt"
                                                       ', onnx_trt_ep, pytorch_fp16, dummy; did '
                                                       "you mean 'dummy'"):
        build_inference_runtime('dumy', budget=budget)


@pytest.mark.parametrize(('name', 'words'), [
    ('onnx_trt_ep', 'pip install onnxruntime, or rosdep key python3-onnxruntime-pip'),
    ('pytorch_fp16', 'pip install torch, or on a Jetson')])
def test_a_missing_package_names_what_to_install(budget, monkeypatch, name, words):
    monkeypatch.setitem(sys.modules, NEEDS[name], None)
    with pytest.raises(RuntimeNotAvailableError, match=words) as caught:
        build_inference_runtime(name, budget=budget)
    assert 'not installed' in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize('name', ['onnx_trt_ep', 'pytorch_fp16'])
def test_a_broken_package_says_what_is_broken(budget, monkeypatch, tmp_path, name):
    package = NEEDS[name]
    (tmp_path / f'{package}.py').write_text(
        'raise ImportError("libfirst.so: cannot open shared object file")')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, package, raising=False)
    with pytest.raises(RuntimeNotAvailableError,
                       match=f'{package}, which is installed.*does not load: libfirst.so: cannot'):
        build_inference_runtime(name, budget=budget)


def test_settings_reach_the_runtime(budget):
    pytest.importorskip('onnxruntime')
    with pytest.raises(RuntimeNotAvailableError, match='allow_cpu_fallback is false'):
        build_inference_runtime('onnx_trt_ep', budget=budget, allow_cpu_fallback=False,
                                execution_providers=('QNNExecutionProvider',))


def test_engine_settings_reach_the_runtimes(budget, tmp_path, monkeypatch):
    """Each strategy is given what the parameters under engines say."""
    given = {}

    def module(name, strategy):
        def make(**options):
            given[name] = options
            return name
        found = types.ModuleType(STRATEGIES[name])
        setattr(found, strategy, make)
        monkeypatch.setitem(sys.modules, STRATEGIES[name], found)

    module('tensorrt', 'TensorrtRuntime')
    module('onnx_trt_ep', 'OnnxTrtEpRuntime')
    module('pytorch_fp16', 'PytorchFp16Runtime')
    monkeypatch.setenv('HOME', str(tmp_path))
    engines = EngineConfig(directory='~', deployment_list='list.txt', public_key='',
                           max_accuracy_drop=0.03, package='tensorrt_rtx', cuda_graph=False,
                           device=2)
    for name in ('tensorrt', 'onnx_trt_ep', 'pytorch_fp16'):
        assert build_inference_runtime(name, budget=budget, engines=engines) == name
        assert given[name]['budget'] is budget and given[name]['device'] == 2
    told = {key: given['tensorrt'][key] for key in (
        'directory', 'deployment_list', 'public_key', 'max_accuracy_drop', 'package',
        'use_cuda_graph')}
    assert told == {'directory': tmp_path, 'deployment_list': Path('list.txt'),
                    'public_key': None, 'max_accuracy_drop': 0.03, 'package': 'tensorrt_rtx',
                    'use_cuda_graph': False}
    assert given['onnx_trt_ep']['directory'] == tmp_path
    assert 'nobody can' in given['onnx_trt_ep']['cache_refusal']
    build_inference_runtime('onnx_trt_ep', budget=budget)
    assert given['onnx_trt_ep']['directory'] is None
    assert given['onnx_trt_ep']['cache_refusal'] == ''
