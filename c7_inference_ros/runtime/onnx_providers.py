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

from typing import Any
from typing import Sequence

from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.parameter_spec import nearest

CPU = 'CPUExecutionProvider'
TENSORRT = 'TensorrtExecutionProvider'
CUDA = 'CUDAExecutionProvider'
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


def provider_options(name: str, device_limit_bytes: int) -> dict[str, Any]:
    """Return the settings of one provider for a device memory budget."""
    if name == TENSORRT:
        # A cache of engines needs the checks of our own engine files; until then there is none.
        return {'trt_engine_cache_enable': False,
                'trt_max_workspace_size': device_limit_bytes // 4}
    return {}


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
