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

"""Models on ONNX Runtime, with an ordered list of execution providers; never a silent fallback."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from typing import Sequence

from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.errors import OutOfMemoryError
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.runtime import onnx_providers
from c7_inference_ros.runtime.base import EngineHandle
from c7_inference_ros.runtime.base import MemoryItem
from c7_inference_ros.runtime.base import MemoryUse
from c7_inference_ros.runtime.base import TensorMap
from c7_inference_ros.runtime.feed import check_feed
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.runtime.onnx_errors import clean
from c7_inference_ros.runtime.onnx_errors import is_out_of_memory
from c7_inference_ros.runtime.onnx_errors import load_problem
from c7_inference_ros.runtime.onnx_errors import other_shape
from c7_inference_ros.runtime.onnx_handle import OnnxHandle
from c7_inference_ros.runtime.onnx_model import OnnxModel
from c7_inference_ros.runtime.onnx_model import read_onnx_model
from c7_inference_ros.runtime.process_memory import rss_bytes
from c7_inference_ros.runtime.process_memory import trim
from c7_inference_ros.thermal.publisher import snapshot_of
from c7_inference_ros.thermal.publisher import ThermalStatePublisher
from c7_inference_ros.thermal.state import ThermalState
import numpy as np

_ERROR, _FATAL = 3, 4
_BASIS = ('predicted: weights are the bytes of the model file, io those of its tensors at their '
          'largest known shapes; activations and working memory of the runtime are not known '
          'beforehand. ')


class OnnxTrtEpRuntime:
    """
    Runs models on ONNX Runtime.

    :param execution_providers: names in order of preference.
    :param allow_cpu_fallback: run on the CPU, and say so in :attr:`fallbacks`, when a preferred
        provider does not load; False refuses.
    :param intra_op_threads: threads of one inference on a CPU; 0 for one a core, within the CPU
        affinity of the process.
    :param budget: admits the models.
    :param thermal: where :meth:`thermal_state` comes from.
    :raises RuntimeNotAvailableError: ONNX Runtime, or the provider that is needed, is not here.
    """

    def __init__(self, *, execution_providers: Sequence[str], allow_cpu_fallback: bool,
                 intra_op_threads: int, budget: MemoryBudget,
                 thermal: ThermalStatePublisher | None = None) -> None:
        """Import ONNX Runtime and see which providers it has."""
        self._ort = _import_onnxruntime()
        self._ort.set_default_logger_severity(_ERROR)
        self._wanted = tuple(execution_providers)
        self._allow_cpu_fallback = allow_cpu_fallback
        self._chosen, self._fallbacks = onnx_providers.choose_providers(
            self._wanted, self._ort.get_available_providers(), self._ort.get_all_providers(),
            allow_cpu_fallback)
        self._loaded = self._chosen
        self._threads = intra_op_threads or _affinity_threads()
        self._budget = budget
        self._thermal = thermal
        self._handles: set[EngineHandle] = set()

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """One sentence for each wanted provider that does not run; any thread may ask."""
        return self._fallbacks

    def compile_engine(self, onnx_path: Path, build_config: BuildConfig) -> EngineCacheEntry:
        """
        Check an ONNX model; it is loadable as it is, at its own precision, so nothing is written.

        :param build_config: input shapes with one size only are taken over.
        :returns: the model and its SHA-256; none when its weights lie in other files.
        :raises EngineBuildError: the file is no usable ONNX model.
        """
        try:
            model = read_onnx_model(EngineCacheEntry(onnx_path))
        except EngineDeserializeError as error:
            raise EngineBuildError(str(error)) from error
        shapes = {name: largest for profile in build_config.profiles
                  for name, (smallest, _, largest) in profile.shapes.items()
                  if smallest == largest}
        return EngineCacheEntry(onnx_path, '' if model.external_bytes else model.sha256,
                                extras={'input_shapes': shapes} if shapes else {})

    def deserialize_engine(self, entry: EngineCacheEntry) -> EngineHandle:
        """
        Check, admit, load and warm up one model; see the protocol.

        :raises EngineDeserializeError: the file or model cannot be used.
        :raises EngineHashMismatchError: the bytes are not those that were trusted.
        :raises OutOfMemoryError: the model does not fit; no session was made.
        :raises RuntimeNotAvailableError: only the CPU would run it, which is not allowed.
        """
        rss_before = rss_bytes()
        model = read_onnx_model(entry, admit=lambda size: self._budget.check(
            entry.path.stem, self._items_of(size, 0)))
        items = self._items_of(model.weight_bytes, model.io_bytes)
        with self._budget.reserve(model.path.stem, items) as reservation:
            handle = OnnxHandle(model, self._make_session(model), reservation)
            try:
                basis = self._warm_up(model, handle)
            except BaseException:
                handle.close()
                raise
            model.data = b''
            trim()
            rss_after = rss_bytes()
            measured = (None if rss_before is None or rss_after is None
                        else max(0, rss_after - rss_before))
            reservation.commit(measured)
            handle.memory = MemoryUse(items, measured, None, _BASIS + basis)
        self._handles.add(handle)
        return handle

    def infer(self, handle: EngineHandle, inputs: TensorMap) -> TensorMap:
        """
        Run one inference; see the protocol.

        :raises InferenceError: wrong feed, unknown or released handle, or the runtime failed.
        :raises OutOfMemoryError: the runtime could not allocate.
        """
        if not isinstance(handle, OnnxHandle) or handle not in self._handles:
            state = 'was released' if handle.is_released else 'was not loaded by this runtime'
            raise InferenceError(f'{handle.name} {state}; load it before running it')
        check_feed(handle, inputs)
        return self._run(handle, inputs)

    def release_engine(self, handle: EngineHandle) -> None:
        """Give everything of a handle back; idempotent, a foreign handle is ignored."""
        if isinstance(handle, OnnxHandle) and handle in self._handles:
            self._handles.remove(handle)
            handle.close()

    def thermal_state(self) -> ThermalState:
        """Return the latest thermal snapshot; the unavailable one when none was injected."""
        return snapshot_of(self._thermal)

    def current_runtime_label(self) -> str:
        """Return for example ``ONNX Runtime 1.23.2 [CPUExecutionProvider]``."""
        return f'{self._version} [{", ".join(self._loaded)}]'

    @property
    def _version(self) -> str:
        return f'ONNX Runtime {self._ort.__version__}'

    def _items_of(self, weights: int, io: int) -> tuple[MemoryItem, ...]:
        if self._chosen[0] == onnx_providers.CPU:
            return (MemoryItem('weights', weights, False), MemoryItem('io', io, False))
        return (MemoryItem('weights', weights, True), MemoryItem('io', io, True),
                MemoryItem('weights while loading', weights, False),
                MemoryItem('io', io, False))

    def _make_session(self, model: OnnxModel) -> Any:
        """Create a session on the best provider that loads."""
        failures: list[str] = []
        chosen = list(self._chosen)
        while True:
            try:
                session = self._create_session(model, chosen)
                break
            except Exception as error:
                # The model or the provider: only the next provider tells them apart.
                text = str(error)
                if is_out_of_memory(text) or isinstance(error, MemoryError):
                    raise OutOfMemoryError(
                        f'{model.path} could not be loaded, memory ran out: {clean(text)}; free '
                        f'memory on the machine') from error
                if chosen[0] == onnx_providers.CPU:
                    raise EngineDeserializeError(
                        load_problem(model.path, self._version, text)) from error
                failures.append(onnx_providers.failure(chosen[0], clean(text)))
                chosen = chosen[1:] or [onnx_providers.CPU]
        loaded = tuple(session.get_providers())
        missing = onnx_providers.check_loaded(self._chosen, loaded, self._wanted, failures,
                                              self._allow_cpu_fallback)
        self._fallbacks = tuple(dict.fromkeys((*self._fallbacks, *missing)))
        self._loaded = loaded
        return session

    def _create_session(self, model: OnnxModel, chosen: Sequence[str]) -> Any:
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        # Spinning threads wait busily: yolox_nano at 15 Hz took 46 ms of CPU time a frame instead
        # of 17, to save 3 ms on an idle machine; on a busy one inference was slower with them.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        # Why a provider's library does not load is only in the log. All else is raised as well.
        is_cpu = chosen[0] == onnx_providers.CPU
        options.log_severity_level = _FATAL if is_cpu else _ERROR
        if model.external_bytes:
            options.add_session_config_entry(
                'session.model_external_initializers_file_folder_path',
                str(model.path.parent.resolve()))
        providers = [(name, onnx_providers.provider_options(
            name, self._budget.device_limit_bytes)) for name in chosen]
        # enable_fallback would print to standard output and go on without the provider.
        session = self._ort.InferenceSession(model.data, options, providers=providers,
                                             enable_fallback=0)
        # ONNX Runtime keeps the file for its fall-back, which is off.
        session._model_bytes = None
        session.get_modelmeta().custom_metadata_map  # raises where text is not UTF-8
        return session

    def _warm_up(self, model: OnnxModel, handle: OnnxHandle) -> str:
        """Run once where the input shapes are known; return what the measured figure covers."""
        if any(size < 0 for spec in model.inputs for size in spec.max_shape):
            return 'measured: growth of the process while loading, without an inference'
        feed = {spec.name: np.zeros(spec.max_shape, spec.dtype) for spec in model.inputs}
        # Bound from the first run on: without, ONNX Runtime keeps memory for outputs of its own.
        handle.bind()
        try:
            outputs = self._run(handle, feed)
        except InferenceError as error:
            shapes = other_shape(str(error.__cause__))
            if shapes:
                raise _not_as_declared(model, 'an output', *shapes) from error
            raise EngineDeserializeError(
                f'{model.path} loads but does not run with zeros as input: {error}; check the '
                f'model with onnx.checker') from error
        for spec in model.outputs:
            declared, found = spec.shape, outputs[spec.name].shape
            if len(declared) != len(found) or any(
                    size not in (-1, real) for size, real in zip(declared, found)):
                raise _not_as_declared(model, f'output {spec.name}', declared, found)
        return 'measured: growth of the process while loading and with the first inference'

    def _run(self, handle: OnnxHandle, inputs: TensorMap) -> TensorMap:
        try:
            return handle.run(inputs)
        except Exception as error:
            text = clean(str(error))
            if is_out_of_memory(text) or isinstance(error, MemoryError):
                raise OutOfMemoryError(f'{handle.name} ran out of memory: {text}; free memory or '
                                       f'run fewer models') from error
            raise InferenceError(f'{handle.name} failed in {self._version}: {text}') from error


def _not_as_declared(model: OnnxModel, what: str, declared: Sequence[int],
                     found: Sequence[int]) -> EngineSchemaMismatchError:
    return EngineSchemaMismatchError(
        f'{model.path} declares {what} as {list(declared)}, but an inference gives '
        f'{list(found)}; export the model again')


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        if error.name == 'onnxruntime':
            raise RuntimeNotAvailableError(
                'runtime onnx_trt_ep needs the Python package onnxruntime, which is not '
                'installed; pip install onnxruntime, or rosdep key python3-onnxruntime-pip'
            ) from error
        raise RuntimeNotAvailableError(
            f'runtime onnx_trt_ep needs the Python package onnxruntime, which is installed but '
            f'does not load: {clean(str(error))}; reinstall it: pip install --force-reinstall '
            f'onnxruntime') from error
    return onnxruntime


def _affinity_threads() -> int:
    """Return the CPUs that the process may use when restricted, or 0 to let the library decide."""
    # Left to itself, ONNX Runtime counts all cores and pins threads to forbidden ones.
    allowed = len(os.sched_getaffinity(0))
    return allowed if allowed < (os.cpu_count() or allowed) else 0
