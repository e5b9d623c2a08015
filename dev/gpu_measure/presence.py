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

"""What is missing on this machine for the tests and measurements that need a GPU."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from typing import Any
from typing import Callable

PACKAGES = ('tensorrt', 'tensorrt_rtx')


def _count_gpus(load: Callable[[str], Any] = ctypes.CDLL) -> int | str:
    """Return the number of GPUs, or why it is not known."""
    try:
        driver = load('libcuda.so.1')
    except OSError:
        return 'no NVIDIA driver (libcuda.so.1 is not here)'
    code = driver.cuInit(0)
    if code != 0:
        return f'no NVIDIA GPU that the driver can use (cuInit gave error {code})'
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    return count.value if count.value > 0 else 'no NVIDIA GPU (the driver sees none)'


def _lacks(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is None
    except (ImportError, ValueError):
        return True


@functools.lru_cache(maxsize=None)
def missing_for_gpu() -> str:
    """Return what is missing for any use of a GPU; an empty string when nothing is."""
    found = _count_gpus()
    return found if isinstance(found, str) else ''


def missing_for_tensorrt(lacks: Callable[[str], bool] = _lacks,
                         missing_gpu: Callable[[], str] = missing_for_gpu) -> str:
    """Return everything that is missing for the TensorRT runtime; an empty string for nothing."""
    missing = [missing_gpu()]
    if lacks('pycuda'):
        missing.append('no PyCUDA (pip install pycuda)')
    if all(lacks(name) for name in PACKAGES):
        missing.append('no TensorRT (the Python package tensorrt or tensorrt_rtx)')
    return ', '.join(filter(None, missing))


def missing_for_onnx(provider: str, missing_gpu: Callable[[], str] = missing_for_gpu) -> str:
    """Return everything that is missing for an execution provider of ONNX Runtime."""
    missing = [missing_gpu()]
    try:
        import onnxruntime
        if provider not in onnxruntime.get_available_providers():
            missing.append(f'no {provider} in ONNX Runtime (pip install onnxruntime-gpu)')
    except ImportError:
        missing.append('no ONNX Runtime (pip install onnxruntime-gpu)')
    return ', '.join(filter(None, missing))


def missing_for_nvml(lacks: Callable[[str], bool] = _lacks,
                     missing_gpu: Callable[[], str] = missing_for_gpu) -> str:
    """Return everything that is missing for reading a GPU's heat; an empty string for nothing."""
    missing = [missing_gpu()]
    if lacks('pynvml'):
        missing.append('no pynvml (pip install nvidia-ml-py)')
    return ', '.join(filter(None, missing))


def missing_for_torch(missing_gpu: Callable[[], str] = missing_for_gpu) -> str:
    """Return everything that is missing for PyTorch on a GPU."""
    missing = [missing_gpu()]
    if _lacks('torch'):
        missing.append('no PyTorch (pip install torch)')
    elif not missing[0]:
        import torch
        if not torch.cuda.is_available():
            missing.append(f'no GPU that PyTorch {torch.__version__} can use')
    return ', '.join(filter(None, missing))
