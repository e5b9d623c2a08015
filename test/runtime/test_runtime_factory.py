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
import subprocess
import sys

from c7_inference_ros.config import RUNTIMES
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.runtime.factory import build_inference_runtime
import pytest

HEAVY = ('onnxruntime', 'cv2', 'tensorrt', 'tensorrt_rtx', 'torch', 'pycuda', 'pynvml', 'onnx',
         'yaml', 'rclpy')
STRATEGIES = {'onnx_trt_ep': 'c7_inference_ros.runtime.onnx_trt_ep_runtime',
              'dummy': 'c7_inference_ros.runtime.dummy_runtime'}


def modules_after(code):
    """Return the names of all modules that are loaded after a statement in a new process."""
    program = f'{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))'
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True,
                          check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize('module', [
    'c7_inference_ros', 'c7_inference_ros.runtime.base', 'c7_inference_ros.runtime.factory',
    'c7_inference_ros.runtime.memory_budget', *STRATEGIES.values()])
def test_importing_loads_no_heavy_module(module):
    loaded = modules_after(f'import {module}')
    assert module in loaded
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize('name', STRATEGIES)
def test_only_the_chosen_strategy_is_imported(name):
    if name == 'onnx_trt_ep':
        pytest.importorskip('onnxruntime')
    loaded = modules_after(
        'from c7_inference_ros.runtime.factory import build_inference_runtime\n'
        'from c7_inference_ros.runtime.memory_budget import MemoryBudget\n'
        f'build_inference_runtime({name!r}, budget=MemoryBudget(0, 0))')
    assert {module for module in STRATEGIES.values() if module in loaded} == {STRATEGIES[name]}
    assert loaded & set(HEAVY) <= ({'onnxruntime', 'onnx', 'yaml'} if name == 'onnx_trt_ep'
                                   else set())


def test_every_configurable_runtime_has_a_strategy():
    assert set(RUNTIMES) == set(STRATEGIES)


@pytest.mark.parametrize('name', ['tensorrt', 'pytorch_fp16'])
def test_runtimes_of_later_versions_say_so(name, budget):
    with pytest.raises(RuntimeNotAvailableError) as caught:
        build_inference_runtime(name, budget=budget)
    assert f'{name} is not in this version' in str(caught.value)
    assert 'available: onnx_trt_ep, dummy' in str(caught.value)


def test_an_unknown_name_gets_the_nearest(budget):
    with pytest.raises(RuntimeNotAvailableError, match="'dumy' does not exist; available: onnx_tr"
                                                       "t_ep, dummy; did you mean 'dummy'"):
        build_inference_runtime('dumy', budget=budget)


def test_missing_onnxruntime_names_what_to_install(budget, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(RuntimeNotAvailableError, match='pip install onnxruntime, or rosdep key '
                                                       'python3-onnxruntime-pip') as caught:
        build_inference_runtime('onnx_trt_ep', budget=budget)
    assert 'not installed' in str(caught.value)


def test_a_broken_onnxruntime_says_what_is_broken(budget, monkeypatch, tmp_path):
    (tmp_path / 'onnxruntime.py').write_text(
        'raise ImportError("libonnxruntime.so: cannot open shared object file")')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, 'onnxruntime', raising=False)
    with pytest.raises(RuntimeNotAvailableError,
                       match='does not load: libonnxruntime.so: cannot open'):
        build_inference_runtime('onnx_trt_ep', budget=budget)


def test_settings_reach_the_runtime(budget):
    pytest.importorskip('onnxruntime')
    with pytest.raises(RuntimeNotAvailableError, match='allow_cpu_fallback is false'):
        build_inference_runtime('onnx_trt_ep', budget=budget, allow_cpu_fallback=False,
                                execution_providers=('QNNExecutionProvider',))
