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

"""Builder of the TensorRT doubles: fails by returning None, and says why to whoever listens."""

from __future__ import annotations

from typing import Any
import uuid

from cuda_codes import CudaCallError
import numpy as np
from trt_binding import Bound
from trt_binding import call_back
from trt_binding import log
from trt_binding import report
from trt_binding import setting
from trt_binding import write_only
from trt_calibration import calibrate
from trt_plan import make_plan
from trt_plan import MIB
from trt_runtime import Refused

_METHOD = 'IBuilder::buildSerializedNetwork'
_PRECISIONS = ('FP16', 'BF16', 'INT8', 'FP8', 'INT4', 'FP4', 'OBEY_PRECISION_CONSTRAINTS',
               'PREFER_PRECISION_CONSTRAINTS')
_STEPS = ('Cloning network graph', 'Tactic Selection')


class Builder(Bound):
    """Makes networks, configurations and plans."""

    _is_constructible = True
    _error_recorder: Any = None
    error_recorder = property(lambda self: self._error_recorder,
                              lambda self, value: self.__dict__.update(_error_recorder=value))
    gpu_allocator = write_only(lambda self, value: self.__dict__.update(_allocator=value))
    max_threads = setting('max_threads', 1)
    logger = property(lambda self: self._logger)
    max_DLA_batch_size = property(lambda self: 0)
    num_DLA_cores = property(lambda self: 0)
    platform_has_fast_fp16 = property(lambda self: True)
    platform_has_fast_int8 = property(lambda self: True)
    platform_has_tf32 = property(lambda self: self._gpu.traits.compute_capability >= (8, 0))

    def __init__(self, logger: Any) -> None:
        """Take a logger."""
        if not isinstance(logger, self._trt.ILogger):
            raise TypeError('__init__(): incompatible constructor arguments. The following '
                            'argument types are supported:\n    1. Builder(logger: ILogger)')
        self._is_initialized = True
        self._logger = logger
        self._gpu.track('Builder', self)

    def create_network(self, flags: int = 0) -> Any:
        """Make a network; None for a flag that does not exist."""
        known = self._trt.NetworkDefinitionCreationFlag.__members__.values()
        if flags >= 1 << (max(int(one) for one in known) + 1):
            report(self, 'IBuilder::createNetworkV2', 3, 'API Usage Error',
                   'Parameter check failed, condition: flagSet.toU32() < (1U << '
                   'EnumMax<NetworkDefinitionCreationFlag>()).')
            return None
        return self._trt.INetworkDefinition._make(self, flags)

    def create_builder_config(self) -> Any:
        """Make a configuration."""
        return self._trt.IBuilderConfig._make(self)

    def create_optimization_profile(self) -> Any:
        """Make an empty profile."""
        return self._trt.IOptimizationProfile._make(self)

    def reset(self) -> None:
        """Forget everything that was set."""

    def is_network_supported(self, network: Any, config: Any) -> bool:
        """Return whether it can be built."""
        try:
            self._check(network, config)
        except Refused as refusal:
            report(self, 'IBuilder::isNetworkSupported', *refusal.args)
            return False
        return True

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        """Build a plan; None on any failure."""
        if not isinstance(network, self._trt.INetworkDefinition) or not isinstance(
                config, self._trt.IBuilderConfig):
            raise TypeError('build_serialized_network(): incompatible function arguments')
        try:
            self._gpu.injected('build_serialized_network')
            self._check(network, config)
            self._advance(config)
            return self._trt.IHostMemory._make(self._build(network, config))
        except Refused as refusal:
            report(self, _METHOD, *refusal.args)
        except CudaCallError as error:
            report(self, _METHOD, 1, 'Cuda Runtime', str(error))
        return None

    def _check(self, network: Any, config: Any) -> None:
        usage = (4, 'API Usage Error')
        if not network._outputs:
            raise Refused(*usage, 'Network must have at least one output.')
        flags = self._trt.BuilderFlag
        if network._is_strongly_typed:
            for name in _PRECISIONS:
                if hasattr(flags, name) and config.get_flag(getattr(flags, name)):
                    raise Refused(*usage, 'Parameter check failed, condition: '
                                  f'!config.getFlag(BuilderFlag::k{name}). Precision flags are '
                                  'not supported for a strongly typed network.')
        opened = [one for one in network._inputs if -1 in one._sizes]
        if opened and not config._profiles:
            raise Refused(*usage, 'Network has dynamic or shape inputs, but no optimization '
                          'profile has been defined.')
        for index, profile in enumerate(config._profiles):
            for tensor in opened:
                _check_range(tensor, profile._shapes.get(tensor._name), index)

    def _advance(self, config: Any) -> None:
        monitor = config.__dict__.get('_progress_monitor')
        if monitor is None:
            return
        call_back(monitor, 'phase_start', 'Building engine', None, len(_STEPS))
        is_going = True
        for index, name in enumerate(_STEPS):
            call_back(monitor, 'phase_start', name, 'Building engine', 2)
            for step in range(2):
                is_going = is_going and call_back(monitor, 'step_complete', name, step,
                                                  default=True) is not False
            call_back(monitor, 'phase_finish', name)
            is_going = is_going and call_back(monitor, 'step_complete', 'Building engine',
                                              index, default=True) is not False
            if not is_going:
                break
        call_back(monitor, 'phase_finish', 'Building engine')
        if not is_going:
            raise Refused(7, 'BuildCanceled', 'Build canceled by user')

    def _build(self, network: Any, config: Any) -> bytes:
        flags = self._trt.BuilderFlag
        if hasattr(flags, 'INT8') and config.get_flag(flags.INT8):
            self._quantize(network, config)
        profiles = [dict(profile._shapes) for profile in config._profiles] or None
        largest = max(_bytes_of(one, config) for one in (*network._inputs, *network._outputs))
        compatible = config.hardware_compatibility_level
        major, minor = self._gpu.traits.compute_capability
        level = self._trt.HardwareCompatibilityLevel.NONE
        return make_plan(
            network._graph.content, self._trt._generation, profiles=profiles,
            context_bytes=min(2 * largest + MIB, config.get_memory_pool_limit(
                self._trt.MemoryPoolType.WORKSPACE) + MIB),
            sm='any' if self._trt._is_rtx else f'{major}{minor}',
            device_name=self._gpu.traits.name, num_layers=len(network._layers),
            is_hardware_compatible=compatible is not None and compatible != level,
            carries_host_code=config.get_flag(flags.VERSION_COMPATIBLE),
            # Two builds of one network never give the same bytes.
            salt=uuid.uuid4().hex)

    def _quantize(self, network: Any, config: Any) -> None:
        calibrator = config.__dict__.get('_int8_calibrator')
        if network._graph.is_quantized:
            return
        if calibrator is not None:
            calibrate(self, network, config, calibrator)
            return
        if all(tensor._range is None for tensor in network._inputs):
            log(self, self._trt.ILogger.Severity.WARNING,
                'Calibrator is not being used. Users must provide dynamic range for all tensors '
                'that are not Int32 or Bool.')


def _check_range(tensor: Any, ranges: Any, index: int) -> None:
    usage = (4, 'API Usage Error')
    name, sizes = tensor._name, tensor._sizes
    if ranges is None:
        raise Refused(*usage, f'Dynamic input tensor {name} is missing dimensions in profile '
                      f'{index}.')
    if len(ranges[0]) != len(sizes):
        raise Refused(*usage, f'Dynamic-shaped input tensor {name} has {len(sizes)} dimensions '
                      f'but profile {index} has {len(ranges[0])} dimensions.')
    for axis, size in enumerate(sizes):
        low, best, high = (shape[axis] for shape in ranges)
        if size != -1 and not low == best == high == size:
            raise Refused(*usage, f'Dimension mismatch for tensor {name} and profile {index}. '
                          f'At dimension axis {axis}, profile has min={low}, opt={best}, '
                          f'max={high} but tensor has {size}.')


def _bytes_of(tensor: Any, config: Any) -> int:
    sizes = [size if size != -1 else 1 for size in tensor._sizes]
    for profile in config._profiles:
        if tensor._name in profile._shapes:
            sizes = profile._shapes[tensor._name][2]
    return int(4 * np.prod(sizes, dtype=np.int64))
