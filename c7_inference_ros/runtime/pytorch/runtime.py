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
Models in PyTorch as they were exported, in eager mode: the numerical reference.

Float16 on a GPU, float32 on a CPU. A TorchScript and an exported program are programs: the checks
here keep pickles out, but only a SHA-256 that was recorded says that a file is the trusted one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from typing import Callable
import warnings

from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.errors import C7Error
from c7_inference_ros.errors import DeviceLostError
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.errors import OutOfMemoryError
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.runtime.base import EngineHandle
from c7_inference_ros.runtime.base import MemoryItem
from c7_inference_ros.runtime.base import MemoryUse
from c7_inference_ros.runtime.base import TensorMap
from c7_inference_ros.runtime.cpu_threads import affinity_threads
from c7_inference_ros.runtime.cuda.errors import is_sticky
from c7_inference_ros.runtime.feed import check_feed
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.runtime.process_memory import rss_bytes
from c7_inference_ros.runtime.process_memory import trim
from c7_inference_ros.runtime.pytorch.errors import is_out_of_memory
from c7_inference_ros.runtime.pytorch.errors import last_line
from c7_inference_ros.runtime.pytorch.handle import TorchHandle
from c7_inference_ros.runtime.pytorch.loading import CPU
from c7_inference_ros.runtime.pytorch.loading import load_program
from c7_inference_ros.runtime.pytorch.loading import LoadedProgram
from c7_inference_ros.runtime.pytorch.model import description_path
from c7_inference_ros.runtime.pytorch.model import EXPORTED
from c7_inference_ros.runtime.pytorch.model import read_torch_model
from c7_inference_ros.runtime.pytorch.model import TorchModel
from c7_inference_ros.runtime.pytorch.prediction import BASIS
from c7_inference_ros.runtime.pytorch.prediction import predicted_items
from c7_inference_ros.runtime.tensor_shapes import one_image
from c7_inference_ros.runtime.tensor_shapes import resolve_shapes
from c7_inference_ros.thermal.publisher import snapshot_of
from c7_inference_ros.thermal.publisher import ThermalStatePublisher
from c7_inference_ros.thermal.state import ThermalState
import numpy as np


class PytorchFp16Runtime:
    """
    Runs TorchScript models and exported programs.

    :param budget: admits the models.
    :param device: number of the GPU.
    :param allow_cpu_fallback: run in float32 on the CPU, and say so in :attr:`fallbacks`, when
        there is no GPU; False refuses.
    :param intra_op_threads: threads of one inference on a CPU; 0 for one a core, within the CPU
        affinity of the process.
    :param thermal: where :meth:`thermal_state` comes from.
    :param read_free_device: reads the free memory of the GPU; asks CUDA when None.
    :raises RuntimeNotAvailableError: PyTorch, or the GPU that is needed, is not here.
    """

    def __init__(self, *, budget: MemoryBudget, device: int = 0, allow_cpu_fallback: bool = True,
                 intra_op_threads: int = 0, thermal: ThermalStatePublisher | None = None,
                 read_free_device: Callable[[], int | None] | None = None) -> None:
        """Import PyTorch, make it repeat itself, and see what it can run on."""
        # Read when CUDA is first used: its matrix products repeat themselves only with this.
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        self._torch = _import_torch()
        self._device, self._dtype, reason = _choose_device(self._torch, device)
        if reason and not allow_cpu_fallback:
            raise RuntimeNotAvailableError(
                f'runtime pytorch_fp16: {reason}; only the CPU would be left and '
                f'allow_cpu_fallback is false: set it to true to run on the CPU in float32')
        self._fallbacks = (f'pytorch_fp16 runs on the CPU in float32: {reason}',) if reason else ()
        self._budget = budget
        self._thermal = thermal
        self._read_free_device = read_free_device or self._free_device
        self._handles: set[EngineHandle] = set()
        _make_deterministic(self._torch, intra_op_threads or affinity_threads())

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """One sentence when there is no GPU; any thread may ask."""
        return self._fallbacks

    def compile_engine(self, onnx_path: Path, build_config: BuildConfig) -> EngineCacheEntry:
        """
        Check a model; it is loadable as it is, so nothing is written.

        :param onnx_path: a TorchScript or exported program, no ONNX model.
        :param build_config: input shapes with one size only are taken over.
        :raises EngineBuildError: the file is no usable model.
        """
        try:
            model = read_torch_model(EngineCacheEntry(onnx_path))
        except EngineDeserializeError as error:
            raise EngineBuildError(str(error)) from error
        shapes = {name: largest for profile in build_config.profiles
                  for name, (smallest, _, largest) in profile.shapes.items()
                  if smallest == largest}
        return EngineCacheEntry(onnx_path, model.sha256,
                                extras={'input_shapes': shapes} if shapes else {})

    def deserialize_engine(self, entry: EngineCacheEntry) -> EngineHandle:
        """
        Check, admit, load and warm up one model; see the protocol.

        :raises EngineDeserializeError: the file or model cannot be used.
        :raises EngineHashMismatchError: the bytes are not those that were trusted.
        :raises OutOfMemoryError: the model does not fit; nothing was loaded.
        """
        name, before = entry.path.stem, self._memory_now()
        model = read_torch_model(
            entry, admit=lambda size: self._budget.check(name, self._items_of(size, 0)))
        size = len(model.data)
        with self._budget.reserve(name, self._items_of(size, 0)) as reservation:
            program = self._load(model)
            model.data = b''
            inputs = resolve_shapes(model.path, program.inputs, entry.extras)
            outputs = tuple(map(one_image, program.outputs))
            # What goes in and out of an exported program is only known once it is loaded.
            items = self._items_of(
                size, sum(spec.max_bytes or 0 for spec in (*inputs, *outputs)))
            reservation.resize(items)
            handle = TorchHandle(
                name, inputs, outputs, dict(model.metadata), torch=self._torch,
                call=self._place(model.path, program), device=self._device, dtype=self._dtype,
                is_cyclic=model.kind == EXPORTED, reservation=reservation)
            del program
            try:
                self._warm_up(model.path, handle)
            except BaseException:
                handle.close()
                raise
            trim()
            host, device = (None if old is None or new is None else max(0, new - old)
                            for old, new in zip(before, self._memory_now()))
            reservation.commit(host, device)
            handle.memory = MemoryUse(items, host, device, BASIS)
        self._handles.add(handle)
        return handle

    def infer(self, handle: EngineHandle, inputs: TensorMap) -> TensorMap:
        """
        Run one inference; see the protocol.

        :raises InferenceError: wrong feed, unknown or released handle, or the model failed.
        :raises OutOfMemoryError: memory ran out.
        """
        if not isinstance(handle, TorchHandle) or handle not in self._handles:
            state = 'was released' if handle.is_released else 'was not loaded by this runtime'
            raise InferenceError(f'{handle.name} {state}; load it before running it')
        check_feed(handle, inputs)
        return self._run(handle, inputs)

    def release_engine(self, handle: EngineHandle) -> None:
        """Give everything of a handle back; idempotent, a foreign handle is ignored."""
        if isinstance(handle, TorchHandle) and handle in self._handles:
            self._handles.remove(handle)
            handle.close()

    def thermal_state(self) -> ThermalState:
        """Return the latest thermal snapshot; the unavailable one when none was injected."""
        return snapshot_of(self._thermal)

    def current_runtime_label(self) -> str:
        """Return for example ``PyTorch 2.13.0 [cuda:0, float16]``."""
        return f'{self._version} [{self._device}, {_type_name(self._dtype)}]'

    @property
    def _version(self) -> str:
        return f'PyTorch {self._torch.__version__}'

    def _items_of(self, weights: int, io_bytes: int) -> tuple[MemoryItem, ...]:
        return predicted_items(weights, io_bytes, self._device == CPU)

    def _memory_now(self) -> tuple[int | None, int | None]:
        """Return what the process has, and what the GPU has left as a negative number."""
        free = None if self._device == CPU else self._read_free_device()
        return rss_bytes(), None if free is None else -free

    def _load(self, model: TorchModel) -> LoadedProgram:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # each version deprecates one of the two formats
            try:
                return load_program(self._torch, model)
            except C7Error:
                raise
            except Exception as error:
                raise self._load_problem(model.path, error) from error

    def _place(self, path: Path, program: LoadedProgram) -> Callable[[list[Any]], list[Any]]:
        try:
            return program.place(self._device, self._dtype)
        except Exception as error:
            raise self._load_problem(path, error) from error

    def _free_device(self) -> int | None:
        try:
            return int(self._torch.cuda.mem_get_info(self._device)[0])
        except RuntimeError:
            return None

    def _warm_up(self, path: Path, handle: TorchHandle) -> None:
        """Run once where the input shapes are known."""
        if any(size < 0 for spec in handle.inputs for size in spec.max_shape):
            return
        feed = {spec.name: np.zeros(spec.max_shape, spec.dtype) for spec in handle.inputs}
        try:
            self._run(handle, feed)
        except InferenceError as error:
            if isinstance(error, DeviceLostError):
                raise
            if isinstance(error.__cause__, ValueError):
                raise EngineSchemaMismatchError(
                    f'{path}: {error.__cause__}; correct {description_path(path).name} or export '
                    f'the model again') from error
            raise EngineDeserializeError(
                f'{path} loads but does not run with zeros as input in '
                f'{_type_name(self._dtype)}: {error}; check the shapes and types in '
                f'{description_path(path).name}, or export the model again') from error

    def _run(self, handle: TorchHandle, inputs: TensorMap) -> TensorMap:
        try:
            return handle.run(inputs)
        except Exception as error:
            text = last_line(str(error))
            if is_out_of_memory(str(error)) or isinstance(error, MemoryError):
                raise OutOfMemoryError(f'{handle.name} ran out of memory: {text}; free memory or '
                                       f'run fewer models') from error
            lost = self._device != CPU and is_sticky(str(error))
            kind = DeviceLostError if lost else InferenceError
            hint = ('; configure again, and start the node anew if that fails: PyTorch keeps the '
                    'context' if lost else '')
            raise kind(f'{handle.name} failed in {self._version}: {text}{hint}') from error

    def _load_problem(self, path: Path, error: BaseException) -> Exception:
        text = last_line(str(error))
        if is_out_of_memory(str(error)) or isinstance(error, MemoryError):
            return OutOfMemoryError(f'{path} could not be loaded, memory ran out: {text}; free '
                                    f'memory on the machine')
        return EngineDeserializeError(
            f'{path} is refused by {self._version}: {text}; export it again with this version, '
            f'or install the one that it was exported with')


def _import_torch() -> Any:
    try:
        import torch
    except ImportError as error:
        if error.name == 'torch':
            raise RuntimeNotAvailableError(
                'runtime pytorch_fp16 needs the Python package torch, which is not installed; pip '
                'install torch, or on a Jetson the wheel that NVIDIA builds for its JetPack'
            ) from error
        raise _broken(error) from error
    except OSError as error:  # a library that it loads itself
        raise _broken(error) from error
    try:
        import torch.export.passes  # noqa: F401  # older versions have none, and no CUDA exports
    except ImportError:
        pass
    return torch


def _broken(error: Exception) -> RuntimeNotAvailableError:
    return RuntimeNotAvailableError(
        f'runtime pytorch_fp16 needs the Python package torch, which is installed but does not '
        f'load: {last_line(str(error))}; reinstall it: pip install --force-reinstall torch')


def _choose_device(torch: Any, number: int) -> tuple[str, Any, str]:
    """Return the device, the element type, and why it is not the GPU, or an empty string."""
    if torch.version.cuda is None:
        return CPU, torch.float32, f'PyTorch {torch.__version__} is built without CUDA'
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # an old driver is told below
        is_there = torch.cuda.is_available()
    if not is_there:
        return CPU, torch.float32, (
            f'PyTorch {torch.__version__} for CUDA {torch.version.cuda} finds no GPU and driver '
            f'that it can use')
    count = torch.cuda.device_count()
    if number >= count:
        raise RuntimeNotAvailableError(
            f'engines.device is {number}, PyTorch sees {count} GPU(s); give a number below '
            f'{count}')
    return f'cuda:{number}', torch.float16, ''


def _make_deterministic(torch: Any, threads: int) -> None:
    """Make equal inputs give equal outputs, in the arithmetic that was asked for."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    if threads:
        torch.set_num_threads(threads)


def _type_name(dtype: Any) -> str:
    return str(dtype).removeprefix('torch.')
