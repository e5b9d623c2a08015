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
The one place that imports TensorRT or TensorRT-RTX, and knows which generation it is.

The packages have the same classes but not the same features, and a class or flag that is there
proves nothing (TensorRT-RTX 1.4 has FP16 flags that fail every build). What a package can do is
asked here, by package and feature together.
"""

from __future__ import annotations

from functools import cached_property
import importlib
import os
from typing import Any
from typing import TYPE_CHECKING

from c7_inference_ros.engines.tensorrt_log import TensorrtLog
from c7_inference_ros.engines.types import PACKAGES
from c7_inference_ros.engines.types import TENSORRT
from c7_inference_ros.engines.types import TENSORRT_RTX
from c7_inference_ros.errors import RuntimeNotAvailableError

if TYPE_CHECKING:
    import tensorrt

    #: The classes of objects that TensorRT makes, for the annotations of other modules.
    CudaEngine = tensorrt.ICudaEngine
    ExecutionContext = tensorrt.IExecutionContext

    class TensorrtModule:
        """The part of the module that this package uses, with the types of TensorRT 10.x."""

        __version__: str
        Builder: type[tensorrt.Builder]
        BuilderFlag: type[tensorrt.BuilderFlag]
        DataType: type[tensorrt.DataType]
        ExecutionContextAllocationStrategy: type[tensorrt.ExecutionContextAllocationStrategy]
        HardwareCompatibilityLevel: type[tensorrt.HardwareCompatibilityLevel]
        ILogger: type[tensorrt.ILogger]
        IErrorRecorder: type[tensorrt.IErrorRecorder]
        IOutputAllocator: type[tensorrt.IOutputAllocator]
        IProgressMonitor: type[tensorrt.IProgressMonitor]
        MemoryPoolType: type[tensorrt.MemoryPoolType]
        NetworkDefinitionCreationFlag: type[tensorrt.NetworkDefinitionCreationFlag]
        OnnxParser: type[tensorrt.OnnxParser]
        ProfilingVerbosity: type[tensorrt.ProfilingVerbosity]
        Runtime: type[tensorrt.Runtime]
        TensorIOMode: type[tensorrt.TensorIOMode]
        TensorLocation: type[tensorrt.TensorLocation]

_loaded: dict[str, TensorrtApi] = {}


class TensorrtApi:
    """
    One installed package, imported, and what it can do.

    Made by :func:`load_tensorrt`; one object a package and process, because TensorRT wants one
    logger for everything that lives at the same time.

    :param package: ``tensorrt`` or ``tensorrt_rtx``.
    :param module: the imported module.
    """

    def __init__(self, package: str, module: Any) -> None:
        """Keep the module and make the logger that everything of it shares."""
        self.package = package
        self.trt: TensorrtModule = module
        self.version: str = module.__version__
        self.log = TensorrtLog(module)

    @property
    def is_rtx(self) -> bool:
        """Whether engines are compiled for their GPU when they are loaded."""
        return self.package == TENSORRT_RTX

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """The version in numbers, for comparisons."""
        return tuple(int(part) for part in self.version.split('.') if part.isdigit())

    @cached_property
    def has_weak_typing(self) -> bool:
        """Whether flags choose the precision (TensorRT 10.x); else the types of the ONNX do."""
        return not self.is_rtx and hasattr(self.trt.BuilderFlag, 'FP16')

    @cached_property
    def has_implicit_calibration(self) -> bool:
        """Whether INT8 ranges may come from a calibrator (TensorRT 10.x)."""
        return self.has_weak_typing and hasattr(self.trt, 'IInt8EntropyCalibrator2') and hasattr(
            getattr(self.trt, 'IBuilderConfig', None), 'int8_calibrator')

    @cached_property
    def has_timing_cache(self) -> bool:
        """Whether timings can be kept between builds; TensorRT-RTX times nothing."""
        return not self.is_rtx

    @cached_property
    def has_progress_monitor(self) -> bool:
        """Whether the builder tells how far it is."""
        return hasattr(self.trt, 'IProgressMonitor')

    def network_flags(self, is_strongly_typed: bool) -> int:
        """
        Return the flags of a new network.

        The values of the flags differ between generations, so that no number may be written down.

        :param is_strongly_typed: the types of the ONNX model are the types of the engine. Always
            so where :attr:`has_weak_typing` is false.
        """
        names = ['EXPLICIT_BATCH'] + ['STRONGLY_TYPED'] * is_strongly_typed
        # Both are deprecated no-ops where there is no choice, and setting them warns.
        if not self.has_weak_typing:
            return 0
        kind = self.trt.NetworkDefinitionCreationFlag
        return sum(1 << int(getattr(kind, name)) for name in names if hasattr(kind, name))


def load_tensorrt(package: str = 'auto') -> TensorrtApi:
    """
    Import TensorRT or TensorRT-RTX.

    :param package: ``tensorrt``, ``tensorrt_rtx``, or ``auto`` for the first that is installed.
    :raises RuntimeNotAvailableError: it is not installed or does not load; says what to install.
    """
    wanted = PACKAGES if package == 'auto' else (package,)
    problems = []
    for name in wanted:
        if name not in PACKAGES:
            raise RuntimeNotAvailableError(
                f'TensorRT package {name!r} does not exist; expected auto, '
                f'{" or ".join(PACKAGES)}')
        if name in _loaded:
            return _loaded[name]
        try:
            module = _import(name)
        except ImportError as error:
            problems.append(f'{name}: {" ".join(str(error).split())}')
            continue
        _loaded[name] = TensorrtApi(name, module)
        return _loaded[name]
    raise RuntimeNotAvailableError(
        f'TensorRT is not installed ({"; ".join(problems)}); on a Jetson: apt-get install '
        f'python3-libnvinfer, and a virtual environment with --system-site-packages; on x86: pip '
        f'install tensorrt, or tensorrt-rtx-cu12')


def _import(name: str) -> Any:
    if name == TENSORRT:
        module = importlib.import_module('tensorrt')
    else:
        module = importlib.import_module('tensorrt_rtx')
    if not hasattr(module, 'Runtime'):
        where = getattr(module, '__path__', None)
        raise ImportError(f'the package in {os.pathsep.join(where or ()) or "memory"} holds no '
                          f'TensorRT, only its name or its type stubs')
    return module
