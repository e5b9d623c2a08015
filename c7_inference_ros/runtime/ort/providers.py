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
Which ONNX Runtime execution providers are wanted, which are there, and what to say about it.

Pure functions over names: ONNX Runtime itself falls back without a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Sequence

from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.model_files.tensor_spec import TensorSpec
from c7_inference_ros.parameter_spec import nearest

CPU = 'CPUExecutionProvider'
TENSORRT = 'TensorrtExecutionProvider'
CUDA = 'CUDAExecutionProvider'
_PRECISIONS = ('fp32', 'fp16', 'int8')
_INSTALL_GPU = ('install onnxruntime-gpu (pip install onnxruntime-gpu, rosdep key '
                'python3-onnxruntime-gpu-pip) in place of onnxruntime')


def choose_providers(wanted: Sequence[str], available: Sequence[str], known: Sequence[str],
                     allow_cpu_fallback: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """
    Keep the wanted providers that this ONNX Runtime has, in their order.

    :param available: what is built into the installed package.
    :param known: every name that the installed package knows, for misspelt ones.
    :returns: the providers to ask for, and one sentence for each that is not there.
    :raises RuntimeNotAvailableError: a name that no ONNX Runtime has, or the CPU would be used
        although another provider is preferred and ``allow_cpu_fallback`` is false.
    """
    wanted = tuple(dict.fromkeys(wanted))
    if not wanted:
        raise RuntimeNotAvailableError(
            f'execution_providers is empty, expected at least one of {", ".join(available)}')
    for name in wanted:
        if name not in available and name not in known:
            near = _nearest_provider(name, [*available, *known])
            hint = f'did you mean {near!r}?' if near else 'correct the name'
            raise RuntimeNotAvailableError(
                f'execution_providers has {name!r}, which ONNX Runtime does not know; available '
                f'here: {", ".join(available)}; {hint}')
    absent = [f'execution provider {name} is not in the installed ONNX Runtime, which has '
              f'{", ".join(available)}; {_remedy(name)}'
              for name in wanted if name not in available]
    chosen = tuple(name for name in wanted if name in available) or (CPU,)
    _refuse_cpu(wanted, chosen, absent, allow_cpu_fallback)
    return chosen, tuple(absent)


def check_loaded(chosen: Sequence[str], loaded: Sequence[str], wanted: Sequence[str],
                 failures: Sequence[str], allow_cpu_fallback: bool) -> tuple[str, ...]:
    """
    Compare what a session was asked for with what it has.

    :param chosen: what :func:`choose_providers` returned.
    :param loaded: what the session reports; ONNX Runtime always adds the CPU at the end.
    :param wanted: what the user asked for.
    :param failures: sentences on providers that failed with an error.
    :returns: one sentence for each provider that did not load.
    :raises RuntimeNotAvailableError: as :func:`choose_providers`.
    """
    told = ' '.join(failures)
    missing = [*failures, *(
        f'execution provider {name} did not load, the session has {", ".join(loaded)}; see the '
        f'messages of ONNX Runtime above for the library or driver that it misses'
        for name in chosen if name not in loaded and name not in told)]
    _refuse_cpu(wanted, loaded, missing, allow_cpu_fallback)
    return tuple(missing)


def failure(name: str, reason: str) -> str:
    """Return the sentence on a provider that failed with an error."""
    return f'execution provider {name} failed to load: {reason}'


@dataclass(frozen=True)
class ProviderSettings:
    """
    What the providers of one session are told.

    :param device: number of the GPU.
    :param device_limit_bytes: budget of device memory, of all models.
    :param device_left_bytes: what the other models leave of it.
    :param precision: ``fp32``, ``fp16`` or ``int8``.
    :param inputs: their shapes, settled where that is known.
    :param cache: folder for the engines of the TensorRT provider, or None.
    """

    device: int = 0
    device_limit_bytes: int = 0
    device_left_bytes: int = 0
    precision: str = 'fp32'
    inputs: tuple[TensorSpec, ...] = ()
    cache: Path | None = None


def provider_options(name: str, settings: ProviderSettings) -> dict[str, Any]:
    """Return the options of one provider."""
    if name == TENSORRT:
        cache = ({'trt_engine_cache_enable': False} if settings.cache is None else
                 {'trt_engine_cache_enable': True, 'trt_engine_cache_path': str(settings.cache)})
        return {'device_id': settings.device,
                # Scratch memory of one layer; more would let a single engine fill the budget.
                'trt_max_workspace_size': settings.device_limit_bytes // 4,
                'trt_fp16_enable': settings.precision in ('fp16', 'int8'),
                'trt_int8_enable': settings.precision == 'int8',
                **_profile(settings.inputs), **cache}
    if name == CUDA:
        return {'device_id': settings.device, 'gpu_mem_limit': settings.device_left_bytes,
                # The default doubles the arena with each extension, whatever is needed.
                'arena_extend_strategy': 'kSameAsRequested'}
    return {}


def check_precision(path: Path, data: bytes, precision: str) -> str:
    """
    Return the precision for the TensorRT provider.

    :param data: the model.
    :raises EngineSchemaMismatchError: the provider cannot do that with this model.
    """
    value = str(getattr(precision, 'value', precision))
    if value not in _PRECISIONS:
        raise EngineSchemaMismatchError(
            f'{path}: {TENSORRT} runs at {", ".join(_PRECISIONS)}, found precision {value!r}; it '
            f'keeps no layers at a higher precision by name: the runtime tensorrt does')
    # Operators are named in the file as they are.
    if value == 'int8' and b'QuantizeLinear' not in data:
        raise EngineSchemaMismatchError(
            f'{path} has no QuantizeLinear operator, so that {TENSORRT} has no ranges for '
            f'precision int8; quantise the model first, or use fp16')
    return value


def _profile(inputs: Sequence[TensorSpec]) -> dict[str, str]:
    """Return one profile for several images; without it each other number builds a new engine."""
    several = any(fixed < 0 and largest > 1 for spec in inputs
                  for fixed, largest in zip(spec.shape, spec.max_shape))
    # The provider reads a name up to a colon, and one input up to a comma.
    is_told = all(not {':', ','} & set(spec.name) and min(spec.max_shape, default=1) > 0
                  for spec in inputs)
    if not several or not is_told:
        return {}
    largest = ','.join(f'{spec.name}:{_sizes(spec.max_shape)}' for spec in inputs)
    smallest = ','.join(
        f'{spec.name}:{_sizes([1 if fixed < 0 else fixed for fixed in spec.shape])}'
        for spec in inputs)
    return {'trt_profile_min_shapes': smallest, 'trt_profile_opt_shapes': largest,
            'trt_profile_max_shapes': largest}


def _sizes(shape: Sequence[int]) -> str:
    return 'x'.join(map(str, shape))


def _refuse_cpu(wanted: Sequence[str], found: Sequence[str], reasons: Sequence[str],
                allow_cpu_fallback: bool) -> None:
    if found and found[0] == CPU and wanted[0] != CPU and not allow_cpu_fallback:
        raise RuntimeNotAvailableError(
            f'{"; ".join(reasons)}; only {CPU} would be left and allow_cpu_fallback is false: '
            f'set it to true to run on the CPU')


def _nearest_provider(name: str, known: Sequence[str]) -> str | None:
    """Return the provider that is meant: CUDA and cuda stand for CUDAExecutionProvider."""
    meant = (name.lower(), f'{name}ExecutionProvider'.lower())
    return next((other for other in known if other.lower() in meant), None) or nearest(name, known)


def _remedy(name: str) -> str:
    if name in (CUDA, TENSORRT):
        return _INSTALL_GPU
    return f'install an ONNX Runtime that has it, or take {name} out of execution_providers'
