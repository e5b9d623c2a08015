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
The builder half of TensorRT 10.3, as far as flags, layers, calibration and timings go.

TensorRT itself cannot be installed without a GPU's worth of packages, and the real builder of the
tests, TensorRT-RTX, has no weak typing. So this stands in where flags choose the precision. It
builds nothing: a plan is a header and the names of the flags.
"""

from enum import IntEnum
import struct
from types import SimpleNamespace

import numpy as np

VERSION = '10.3.0'


class BuilderFlag(IntEnum):
    """Values of 10.3."""

    FP16 = 0
    INT8 = 1
    TF32 = 6
    OBEY_PRECISION_CONSTRAINTS = 9


class DataType(IntEnum):
    """Types that the networks here have."""

    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3


class NetworkDefinitionCreationFlag(IntEnum):
    """Values of 10.3; 11.x has others."""

    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1


class MemoryPoolType(IntEnum):
    """The one that is set."""

    WORKSPACE = 0


class ProfilingVerbosity(IntEnum):
    """All of them."""

    LAYER_NAMES_ONLY = 0
    NONE = 1
    DETAILED = 2


class HardwareCompatibilityLevel(IntEnum):
    """Values of 10.3: the third came with 10.9."""

    NONE = 0
    AMPERE_PLUS = 1


class Tensor:
    """ITensor."""

    is_shape_tensor = False

    def __init__(self, name, shape, dtype=DataType.FLOAT):
        self.name, self.shape, self.dtype = name, shape, dtype


class Layer:
    """ILayer."""

    def __init__(self, name, kind, outputs, metadata=''):
        self.name, self.type, self._outputs = name, SimpleNamespace(name=kind), outputs
        self.metadata = metadata
        self.num_outputs = len(outputs)
        self.precision = None
        self.output_types = {}

    def get_output(self, index):
        return self._outputs[index]

    def set_output_type(self, index, dtype):
        self.output_types[index] = dtype


class Network:
    """INetworkDefinition of x -> Conv -> Softmax -> y, and of an integer beside."""

    error_recorder = None

    def __init__(self, flags):
        self.flags = flags
        self.is_quantised = False
        self.inputs = [Tensor('x', (-1, 3, 8, 8))]
        middle, end = Tensor('c', (-1, 3, 8, 8)), Tensor('y', (-1, 3, 8, 8))
        self.outputs = [end]
        self.layers = [
            Layer('w', 'CONSTANT', [Tensor('w', (3, 3, 1, 1))]),
            Layer('/conv', 'CONVOLUTION', [middle], '[ONNX Layer: /conv]'),
            Layer('/shape', 'SHAPE', [Tensor('n', (4,), DataType.INT32)]),
            Layer('/softmax', 'SOFTMAX', [end], '[ONNX Layer: /softmax]')]

    num_inputs = num_outputs = 1

    @property
    def num_layers(self):
        return len(self.layers)

    def get_input(self, index):
        return self.inputs[index]

    def get_output(self, index):
        return self.outputs[index]

    def get_layer(self, index):
        return self.layers[index]


class OnnxParser:
    """Takes any bytes; says what operators of the model are Q/DQ."""

    num_errors = 0

    def __init__(self, network, logger):
        self._network = network

    def parse(self, data, path=None):
        if b'QuantizeLinear' in data:
            self._network.layers.append(Layer('/q', 'QUANTIZE', [Tensor('q', (1,),
                                                                        DataType.INT8)]))
        return True


class Profile:
    """IOptimizationProfile."""

    def __init__(self):
        self.shapes = {}

    def set_shape(self, name, smallest, best, largest):
        self.shapes[name] = (smallest, best, largest)


class TimingCache:
    """ITimingCache, which takes any bytes."""

    def __init__(self, data):
        self.data = bytes(data)

    def combine(self, other, ignore_mismatch):
        self.data += other.data
        return True

    def serialize(self):
        return self.data


class Config:
    """IBuilderConfig with the defaults of 10.3."""

    def __init__(self):
        self.flags = {BuilderFlag.TF32}
        self.pools = {}
        self.builder_optimization_level = 3
        self.profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY
        self.hardware_compatibility_level = HardwareCompatibilityLevel.NONE
        self.progress_monitor = self.int8_calibrator = self.calibration_profile = None
        self.profiles = []
        self.timing_cache = None

    def set_flag(self, flag):
        self.flags.add(flag)

    def clear_flag(self, flag):
        self.flags.discard(flag)

    def get_flag(self, flag):
        return flag in self.flags

    def set_memory_pool_limit(self, pool, size):
        self.pools[pool] = size

    def get_memory_pool_limit(self, pool):
        return self.pools[pool]

    def add_optimization_profile(self, profile):
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def set_calibration_profile(self, profile):
        self.calibration_profile = profile
        return True

    def create_timing_cache(self, data):
        return TimingCache(data)

    def set_timing_cache(self, cache, ignore_mismatch):
        self.timing_cache = cache
        return True


class IBuilderConfig:
    """As the feature checks see it."""

    int8_calibrator = None


class Builder:
    """Builder; remembers what it built last, for the tests."""

    last = None
    error_recorder = None

    def __init__(self, logger):
        pass

    def create_network(self, flags):
        return Network(flags)

    def create_builder_config(self):
        return Config()

    def create_optimization_profile(self):
        return Profile()

    def build_serialized_network(self, network, config):
        assert network.error_recorder is not None
        Builder.last = (network, config)
        if config.int8_calibrator is not None:
            while config.int8_calibrator.get_batch(['x']):
                pass
        if config.timing_cache is not None:
            config.timing_cache.data += b'timings;'
        head = bytearray(64)
        head[0:4] = b'ftrt'
        head[24:28] = bytes([10, 3, 0, 30])
        struct.pack_into('<Q', head, 32, 0)
        names = ','.join(sorted(BuilderFlag(flag).name for flag in config.flags))
        return np.frombuffer(bytes(head) + names.encode(), np.uint8).copy()


class Engine:
    """ICudaEngine of 10.3, without the statistics that came with 10.14."""

    device_memory_size_v2 = 4096

    def get_device_memory_size_for_profile_v2(self, profile):
        return 1000 * (profile + 1)


class Runtime:
    """Runtime."""

    def __init__(self, logger):
        pass

    def deserialize_cuda_engine(self, plan):
        return Engine() if bytes(plan[:4]) == b'ftrt' else None


class ILogger:
    """Base of loggers."""


class IErrorRecorder:
    """Base of recorders."""


class IInt8EntropyCalibrator2:
    """Base of calibrators."""


class IProgressMonitor:
    """Base of monitors."""


__version__ = VERSION
