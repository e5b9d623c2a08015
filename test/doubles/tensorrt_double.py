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
Doubles of ``tensorrt`` 10.3, 10.13, 10.16 and 11.1, and of ``tensorrt_rtx`` 1.4 and 1.7.

``make_tensorrt(generation, gpu)`` returns a module with the names of that generation and no
others: they were read from its binding's source or from the real module, see
``tensorrt_api.json``. What it does when something is wrong is what the real library does, silent
where that is silent; what the real library leaves undefined is recorded by the GPU.
"""

from __future__ import annotations

import types
from typing import Any

import numpy as np
from simulated_gpu import SimulatedGpu
from trt_binding import bind
from trt_binding import Bound
from trt_binding import make_enum
from trt_binding import recorded_api
from trt_builder import Builder
from trt_calibration import IInt8Calibrator
from trt_calibration import IInt8EntropyCalibrator
from trt_calibration import IInt8EntropyCalibrator2
from trt_calibration import IInt8LegacyCalibrator
from trt_calibration import IInt8MinMaxCalibrator
from trt_config import IBuilderConfig
from trt_config import IOptimizationProfile
from trt_config import ITimingCache
from trt_context import IExecutionContext
from trt_engine import ICudaEngine
from trt_engine import IRuntimeCache
from trt_engine import IRuntimeConfig
from trt_host_memory import make_host_memory_class
from trt_interfaces import Dims
from trt_interfaces import IErrorRecorder
from trt_interfaces import IGpuAllocator
from trt_interfaces import IGpuAsyncAllocator
from trt_interfaces import ILogger
from trt_interfaces import IOutputAllocator
from trt_interfaces import IProgressMonitor
from trt_interfaces import IStreamReader
from trt_interfaces import IStreamReaderV2
from trt_interfaces import IVersionedInterface
from trt_interfaces import Logger
from trt_network import ILayer
from trt_network import INetworkDefinition
from trt_network import ITensor
from trt_parser import OnnxParser
from trt_parser import ParserError
from trt_plan import NUMPY
from trt_plan import package_of
from trt_runtime import Runtime

GENERATIONS = tuple(recorded_api())
#: Templates after the ones they inherit from.
TEMPLATES: list[tuple[type, str]] = [
    (Dims, ''), (IVersionedInterface, ''), (ILogger, ''), (Logger, 'ILogger'),
    (IErrorRecorder, ''), (IGpuAllocator, 'IVersionedInterface'),
    (IGpuAsyncAllocator, 'IGpuAllocator'), (IOutputAllocator, ''), (IProgressMonitor, ''),
    (IStreamReader, ''), (IStreamReaderV2, ''), (Runtime, ''), (ICudaEngine, ''),
    (IExecutionContext, ''), (IRuntimeConfig, ''), (IRuntimeCache, ''), (Builder, ''),
    (IBuilderConfig, ''), (IOptimizationProfile, ''), (ITimingCache, ''),
    (INetworkDefinition, ''), (ITensor, ''), (ILayer, ''), (OnnxParser, ''), (ParserError, ''),
    (IInt8Calibrator, ''), (IInt8EntropyCalibrator, 'IInt8Calibrator'),
    (IInt8EntropyCalibrator2, 'IInt8Calibrator'), (IInt8LegacyCalibrator, 'IInt8Calibrator'),
    (IInt8MinMaxCalibrator, 'IInt8Calibrator')]


def make_tensorrt(generation: str = '10.3', gpu: SimulatedGpu | None = None) -> Any:
    """
    Return the module of one generation.

    :param generation: one of :data:`GENERATIONS`.
    :param gpu: the GPU its engines run on.
    """
    record = recorded_api()[generation]
    module: Any = types.ModuleType(package_of(generation))
    module.__version__ = record['version']
    module._gpu = gpu or SimulatedGpu()
    module._is_rtx = generation.startswith('rtx')
    module._generation = generation
    # The API of TensorRT 11 and of TensorRT-RTX after 1.4.
    module._is_recent = generation.startswith('11') or generation > 'rtx1.4'
    module.__path__ = []
    for name, one in record['enums'].items():
        if name != 'Severity':
            setattr(module, name, make_enum(name, one['members'], one['arithmetic']))
    for name, member in module.DataType.__members__.items():
        alias = {'FLOAT': 'float32', 'HALF': 'float16', 'BF16': 'bfloat16'}.get(
            name, name.lower())
        setattr(module, alias, member)
    module.IHostMemory = make_host_memory_class(module)
    extra = {'_trt': module, '_gpu': module._gpu}
    for template, base in TEMPLATES:
        name = template.__name__
        if name in record['classes']:
            bases = (getattr(module, base) if base else Bound,)
            setattr(module, name, bind(template, module.__name__, record['classes'][name],
                                       bases, extra))
    _add_severity(module, record['enums']['Severity'])
    module.nptype = lambda kind: NUMPY.get(kind.name) or np.dtype(kind.name.lower()).type
    module.volume = lambda shape: int(np.prod(list(shape), dtype=np.int64)) if len(shape) else 1
    module.init_libnvinfer_plugins = lambda logger, namespace: True
    module.get_nv_onnx_parser_version = lambda: 0
    module.get_plugin_registry = lambda: None
    module.get_builder_plugin_registry = lambda capability: None
    return module


def _add_severity(module: Any, severity: Any) -> None:
    kind = make_enum('Severity', severity['members'], severity['arithmetic'])
    for owner in (module.ILogger, module.Logger):
        owner.Severity = kind
        for name, member in kind.__members__.items():
            type.__setattr__(owner, name, member)
