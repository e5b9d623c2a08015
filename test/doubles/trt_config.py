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

"""Configuration, profiles and timing caches of the TensorRT doubles' builder."""

from __future__ import annotations

from typing import Any

from trt_binding import Bound
from trt_binding import log
from trt_binding import report
from trt_binding import setting

#: Without a GPU the workspace is limited to this, with one to its memory.
NO_LIMIT = 64 << 30


class IOptimizationProfile(Bound):
    """Ranges of shapes; a range that is no range is taken, and shows as false."""

    extra_memory_target = setting('extra_memory_target', 1.0)

    def _set_up(self, builder: Any) -> None:
        self._logger, self._error_recorder = builder._logger, builder._error_recorder
        self._shapes: dict[str, list[list[int]]] = {}
        self._values: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002
        """Set the range of an input; raises only where the ranks differ."""
        shapes = [list(self._trt.Dims(shape)) for shape in (min, opt, max)]
        for name, shape in zip(('opt', 'max'), shapes[1:]):
            if len(shape) != len(shapes[0]):
                raise RuntimeError(f'Shape provided for {name} is inconsistent with other '
                                   'shapes.')
        self._shapes[input] = shapes

    def get_shape(self, input: str) -> list[Any]:  # noqa: A002
        """Return a range; empty for an input that was not set."""
        if input not in self._shapes:
            report(self, 'IOptimizationProfile::getDimensions', 4, 'API Usage Error',
                   f'Cannot get dimensions for input: {input}. Input is not present in this '
                   'OptimizationProfile')
        return [self._trt.Dims(shape) for shape in self._shapes.get(input, ())]

    def set_shape_input(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002
        """Set the values of a shape tensor."""
        self._values[input] = [list(min), list(opt), list(max)]

    def get_shape_input(self, input: str) -> list[list[int]]:  # noqa: A002
        """Return the values of a shape tensor."""
        return self._values.get(input, [])

    def _wrong(self) -> list[str]:
        return [name for name, (low, best, high) in self._shapes.items()
                if any(not 0 <= least <= most <= last
                       for least, most, last in zip(low, best, high))]

    def __bool__(self) -> bool:
        """Whether every range is one."""
        return not self._wrong()


class ITimingCache(Bound):
    """Timings of kernels."""

    _MAGIC = b'simulated timing cache\n'

    def _set_up(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> Any:
        """Return the cache."""
        return self._trt.IHostMemory._make(self._MAGIC + self._content)

    def combine(self, input_cache: Any, ignore_mismatch: bool) -> bool:
        """Take over another cache."""
        self._content += input_cache._content
        return True

    def reset(self) -> bool:
        """Forget everything."""
        self._content = b''
        return True


class IBuilderConfig(Bound):
    """What a builder is told; setters take nearly anything."""

    DLA_core = setting('DLA_core', -1)
    avg_timing_iterations = setting('avg_timing_iterations', 1)
    default_device_type = setting('default_device_type')
    engine_capability = setting('engine_capability')
    hardware_compatibility_level = setting('hardware_compatibility_level')
    l2_limit_for_tiling = setting('l2_limit_for_tiling', 0)
    max_num_tactics = setting('max_num_tactics', -1)
    plugins_to_serialize = setting('plugins_to_serialize', ())
    profile_stream = setting('profile_stream', 0)
    profiling_verbosity = setting('profiling_verbosity')
    progress_monitor = setting('progress_monitor')
    quantization_flags = setting('quantization_flags', 0)
    runtime_platform = setting('runtime_platform')
    tiling_optimization_level = setting('tiling_optimization_level')
    num_compute_capabilities = setting('num_compute_capabilities', 0)
    num_optimization_profiles = property(lambda self: len(self._profiles))

    def _set_up(self, builder: Any) -> None:
        trt = self._trt
        self._logger, self._error_recorder = builder._logger, builder._error_recorder
        self._profiles: list[Any] = []
        self._flags = 1 << int(trt.BuilderFlag.TF32)
        self._pools: dict[int, int] = {}
        self._level, self._aux, self._timing_cache = 3, -1, None
        self._int8_calibrator: Any = None
        self._calibration_profile: Any = None
        self._profiling_verbosity = trt.ProfilingVerbosity.LAYER_NAMES_ONLY
        self._hardware_compatibility_level = trt.HardwareCompatibilityLevel.NONE
        self._engine_capability = trt.EngineCapability.STANDARD
        self._default_device_type = trt.DeviceType.GPU
        self._targets: dict[int, Any] = {}

    def reset(self) -> None:
        """Forget everything that was set."""

    def _put_level(self, value: int) -> None:
        # Silently cut to what exists.
        self._level = max(0, min(5, int(value)))

    builder_optimization_level = property(lambda self: self._level, _put_level)

    def _put_aux(self, value: int) -> None:
        # Releases before 11 and 1.5 take it.
        if value < 0 and self._trt._is_recent:
            log(self, self._trt.ILogger.Severity.WARNING, f'nbStreams {value} should not be '
                f'negative, IBuilderConfig::setMaxAuxStreams({value}) has no effect.')
            return
        self._aux = int(value)

    max_aux_streams = property(lambda self: self._aux, _put_aux)

    def _put_calibrator(self, value: Any) -> None:
        if value is not None and not isinstance(value, self._trt.IInt8Calibrator):
            raise TypeError('(): incompatible function arguments: an IInt8Calibrator is '
                            'expected')
        self._int8_calibrator = value

    int8_calibrator = property(lambda self: self._int8_calibrator, _put_calibrator)

    def _put_flags(self, value: int) -> None:
        known = self._trt.BuilderFlag.__members__.values()
        self._flags = int(value) & sum({1 << int(one) for one in known})

    flags = property(lambda self: self._flags, _put_flags)

    def _flag(self, flag: Any) -> int:
        if not isinstance(flag, self._trt.BuilderFlag):
            raise TypeError('incompatible function arguments: a BuilderFlag is expected, not '
                            f'{flag!r}')
        return 1 << int(flag)

    def set_flag(self, flag: Any) -> None:
        """Set a flag."""
        self._flags |= self._flag(flag)

    def clear_flag(self, flag: Any) -> None:
        """Clear a flag."""
        self._flags &= ~self._flag(flag)

    def get_flag(self, flag: Any) -> bool:
        """Return a flag."""
        return bool(self._flags & self._flag(flag))

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        """Limit memory; never raises for a number that is not negative."""
        if not isinstance(pool_size, int) or pool_size < 0:
            raise TypeError('set_memory_pool_limit(): incompatible function arguments')
        self._pools[int(pool)] = pool_size

    def get_memory_pool_limit(self, pool: Any) -> int:
        """Return a limit."""
        total = self._gpu.memory.total if self._gpu.count else NO_LIMIT
        return self._pools.get(int(pool), total)

    def add_optimization_profile(self, profile: Any) -> int:
        """Add a profile; -1 when a range is none."""
        if not profile:
            report(profile, 'IOptimizationProfile::isValid', 4, 'API Usage Error',
                   f'Invalid optimization profiles for input tensors '
                   f'{", ".join(profile._wrong())}, please ensure that the optimization '
                   'profiles satisfy MIN<=OPT<=MAX.')
            return -1
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def set_calibration_profile(self, profile: Any) -> bool:
        """Say with which shapes to calibrate."""
        self._calibration_profile = profile
        return True

    def get_calibration_profile(self) -> Any:
        """Return with which shapes to calibrate."""
        return self._calibration_profile

    def create_timing_cache(self, serialized_timing_cache: Any) -> Any:
        """Read a cache; garbage gives an empty one, and a warning."""
        data = bytes(serialized_timing_cache)
        magic = self._trt.ITimingCache._MAGIC
        if data and not data.startswith(magic):
            log(self, self._trt.ILogger.Severity.WARNING,
                'Failed to deserialize timing cache. Returning an empty timing cache.')
            data = b''
        return self._trt.ITimingCache._make(data[len(magic):])

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        """Use a cache."""
        self._timing_cache = cache
        return True

    def get_timing_cache(self) -> Any:
        """Return the cache in use."""
        return self._timing_cache

    def set_preview_feature(self, feature: Any, enable: bool) -> None:
        """Take a preview feature."""

    def get_preview_feature(self, feature: Any) -> bool:
        """Return false."""
        return False

    def set_tactic_sources(self, tactic_sources: int) -> bool:
        """Take sources of kernels."""
        return True

    def get_tactic_sources(self) -> int:
        """Return the sources of kernels."""
        return 24

    def set_compute_capability(self, cc: Any, index: int) -> bool:
        """Choose a target (TensorRT-RTX)."""
        if not 0 <= index < self.num_compute_capabilities:
            return False
        self._targets[index] = cc
        return True
