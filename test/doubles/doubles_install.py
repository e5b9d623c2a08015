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
Puts the doubles where the package under test finds the real modules.

``install(monkeypatch, '10.3')`` in a test, or the fixture ``doubles`` of ``conftest.py``.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
import importlib
import sys
import types
from typing import Any

from libcuda_double import LibcudaDouble
from pycuda_double import make_pycuda
from pycuda_double import VERSION_TEXT
from simulated_gpu import SimulatedGpu
from tensorrt_double import make_tensorrt
from trt_plan import package_of


@dataclass
class Doubles:
    """What was put in place."""

    gpu: SimulatedGpu
    trt: Any
    cuda: Any
    libcuda: LibcudaDouble

    def assert_clean(self) -> None:
        """Fail if something was done that the real thing leaves undefined or aborts on."""
        self.gpu.assert_clean()

    def assert_released(self) -> None:
        """Fail if anything is left on the GPU."""
        self.gpu.assert_clean()
        self.gpu.assert_released()


def install(monkeypatch: Any, generation: str = '10.3', gpu: SimulatedGpu | None = None,
            **device: Any) -> Doubles:
    """
    Replace tensorrt, pycuda and libcuda for one test.

    :param monkeypatch: the fixture; it puts everything back.
    :param generation: of ``tensorrt_double.GENERATIONS``.
    :param gpu: a GPU; made of ``device``, the arguments of SimulatedGpu, when None.
    """
    gpu = gpu or SimulatedGpu(**device)
    trt, cuda, libcuda = make_tensorrt(generation, gpu), make_pycuda(gpu), LibcudaDouble(gpu)
    for name in ('tensorrt', 'tensorrt_rtx'):
        # A name that is None in sys.modules cannot be imported.
        monkeypatch.setitem(sys.modules, name, trt if package_of(generation) == name else None)
    package: Any = types.ModuleType('pycuda')
    package.__path__, package.driver, package.VERSION_TEXT = [], cuda, VERSION_TEXT
    monkeypatch.setitem(sys.modules, 'pycuda', package)
    monkeypatch.setitem(sys.modules, 'pycuda.driver', cuda)
    api = importlib.import_module('c7_inference_ros.engines.tensorrt_api')
    monkeypatch.setattr(api, '_loaded', {})
    replace_libcuda(monkeypatch, libcuda)
    return Doubles(gpu, trt, cuda, libcuda)


def replace_libcuda(monkeypatch: Any, libcuda: LibcudaDouble) -> None:
    """Let the package's ctypes find the double under the name of the real library."""
    class Ctypes(types.ModuleType):
        """The real module, but for CDLL."""

        def __getattr__(self, name: str) -> Any:
            return getattr(ctypes, name)

    def load(name: Any, *arguments: Any, **named: Any) -> Any:
        if 'libcuda.so' in str(name):
            return libcuda.load(name, *arguments, **named)
        return ctypes.CDLL(name, *arguments, **named)

    replacement: Any = Ctypes('ctypes')
    replacement.CDLL = load
    try:
        driver = importlib.import_module('c7_inference_ros.runtime.cuda_driver')
    except ImportError:
        return
    monkeypatch.setattr(driver, 'ctypes', replacement)
