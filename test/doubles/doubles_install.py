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
Doubles of CUDA and TensorRT, and what puts them where the package finds the real modules.

Nothing here was written from the code under test, but from the real thing: the source of PyCUDA,
the bindings and headers of TensorRT, and TensorRT-RTX run on a CPU. ``test_faithfulness.py``
compares the doubles with it.

.. code-block:: text

    simulated_gpu      one GPU: contexts, sticky errors; simulated_memory, _stream, _faults
    pycuda_double      pycuda.driver over it; pycuda_context, _objects, _copies
    libcuda_double     libcuda.so.1 for ctypes: graphs, reset of the primary context
    tensorrt_double    tensorrt 10.3 to 11.1, tensorrt_rtx 1.4 and 1.7; trt_*
    trt_plan           make_plan: an engine file of a real ONNX model, with what it claims

In a test: ``doubles = install(monkeypatch, '10.3', is_integrated=True)``, an engine from
``make_plan(onnx, '10.3', context_bytes=...)``, faults with ``doubles.gpu.fail('cuMemAlloc', 2,
nth=3)``, and at the end ``doubles.assert_released()``: nothing is left, and nothing was done that
the real thing leaves undefined, warns about or aborts on. What such a thing was stands in
``gpu.violations``, ``gpu.warnings`` and ``gpu.aborts``.
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
        driver = importlib.import_module('c7_inference_ros.runtime.cuda.driver')
    except ImportError:
        return
    monkeypatch.setattr(driver, 'ctypes', replacement)
