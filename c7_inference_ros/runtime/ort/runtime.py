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

from contextlib import nullcontext
from pathlib import Path
from typing import Any
from typing import Callable
from typing import ContextManager
from typing import Mapping
from typing import Sequence

from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import EngineCacheEntry
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
from c7_inference_ros.runtime.cuda.query import CudaQuery
from c7_inference_ros.runtime.feed import check_feed
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.runtime.ort import providers as onnx_providers
from c7_inference_ros.runtime.ort.cache import SessionCache
from c7_inference_ros.runtime.ort.cache import versions_of
from c7_inference_ros.runtime.ort.errors import clean
from c7_inference_ros.runtime.ort.errors import is_out_of_memory
from c7_inference_ros.runtime.ort.errors import other_shape
from c7_inference_ros.runtime.ort.handle import OnnxHandle
from c7_inference_ros.runtime.ort.model import OnnxModel
from c7_inference_ros.runtime.ort.model import read_onnx_model
from c7_inference_ros.runtime.ort.prediction import BASIS
from c7_inference_ros.runtime.ort.prediction import predicted_items
from c7_inference_ros.runtime.ort.providers import ProviderSettings
from c7_inference_ros.runtime.ort.session import MadeSession
from c7_inference_ros.runtime.ort.session import SessionMaker
from c7_inference_ros.runtime.process_memory import rss_bytes
from c7_inference_ros.runtime.process_memory import trim
from c7_inference_ros.thermal.publisher import snapshot_of
from c7_inference_ros.thermal.publisher import ThermalStatePublisher
from c7_inference_ros.thermal.state import ThermalState
import numpy as np

_ERROR = 3


class OnnxTrtEpRuntime:
    """
    Runs models on ONNX Runtime.

    That a provider loaded says nothing of single operators: one that it lacks runs on the next
    provider, which ONNX Runtime decides and does not report.

    :param execution_providers: names in order of preference.
    :param allow_cpu_fallback: run on the CPU, and say so in :attr:`fallbacks`, when a preferred
        provider does not load; False refuses.
    :param intra_op_threads: threads of one inference on a CPU; 0 for one a core, within the CPU
        affinity of the process.
    :param budget: admits the models.
    :param thermal: where :meth:`thermal_state` comes from.
    :param device: number of the GPU.
    :param directory: folder of the engines; the TensorRT provider keeps its own in ``ort`` in it.
        None keeps none.
    :param cache_refusal: why none may be kept all the same, or an empty string.
    :param read_free_device: reads the free memory of the GPU; asks its driver when None.
    :param read_versions: names what an engine depends on; asks TensorRT and the driver when None.
    :raises RuntimeNotAvailableError: ONNX Runtime, or the provider that is needed, is not here.
    """

    def __init__(self, *, execution_providers: Sequence[str], allow_cpu_fallback: bool,
                 intra_op_threads: int, budget: MemoryBudget,
                 thermal: ThermalStatePublisher | None = None, device: int = 0,
                 directory: Path | None = None, cache_refusal: str = '',
                 read_free_device: Callable[[], int | None] | None = None,
                 read_versions: Callable[[], Mapping[str, str]] | None = None) -> None:
        """Import ONNX Runtime and see which providers it has."""
        self._ort = _import_onnxruntime()
        self._ort.set_default_logger_severity(_ERROR)
        self._chosen, self._fallbacks = onnx_providers.choose_providers(
            execution_providers, self._ort.get_available_providers(),
            self._ort.get_all_providers(), allow_cpu_fallback)
        self._maker = SessionMaker(self._ort, execution_providers, self._chosen,
                                   allow_cpu_fallback, intra_op_threads or affinity_threads())
        self._device = device
        self._budget = budget
        self._thermal = thermal
        self._handles: dict[OnnxHandle, MadeSession] = {}
        self._label = ', '.join(self._chosen)
        self._query = CudaQuery(device)
        self._read_free_device = read_free_device or self._query.free_bytes
        self._cache = SessionCache(
            directory, read_versions or (lambda: versions_of(self._ort, device)), cache_refusal)

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """
        What runs otherwise than it was asked for, one sentence each; any thread may ask.

        Wanted providers that do not run, and engines that are not kept or were set aside.
        """
        return (*self._fallbacks, *self._cache.alarms)

    def compile_engine(self, onnx_path: Path, build_config: BuildConfig) -> EngineCacheEntry:
        """
        Check an ONNX model; it is loadable as it is, so nothing is written.

        :param build_config: input shapes with one size only are taken over, and the precision
            where the TensorRT provider is wanted.
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
        extras: dict[str, Any] = {'input_shapes': shapes} if shapes else {}
        if onnx_providers.TENSORRT in self._chosen:
            extras['precision'] = build_config.precision.value
        return EngineCacheEntry(onnx_path, '' if model.external_bytes else model.sha256,
                                extras=extras)

    def deserialize_engine(self, entry: EngineCacheEntry) -> EngineHandle:
        """
        Check, admit, load and warm up one model; see the protocol.

        :raises EngineDeserializeError: the file or model cannot be used.
        :raises EngineHashMismatchError: the bytes are not those that were trusted.
        :raises OutOfMemoryError: the model does not fit; no session was made.
        :raises RuntimeNotAvailableError: only the CPU would run it, which is not allowed.
        """
        before = self._memory_now()
        model = read_onnx_model(entry, admit=lambda size: self._budget.check(
            entry.path.stem, self._items_of(size, 0)))
        sizes = model.weight_bytes, model.io_bytes
        # Before the ledger counts this model, too.
        settings = self._settings_of(model, entry)
        with self._budget.reserve(model.path.stem, self._items_of(*sizes)) as reservation:
            with self._session(model, settings) as made:
                handle = OnnxHandle(model, made.session, reservation)
                try:
                    items = self._items_of(*sizes, made.providers[0])
                    reservation.resize(items)  # it may lie on the CPU after all
                    basis = self._warm_up(model, handle)
                except BaseException:
                    handle.close()
                    raise
            model.data = b''
            trim()
            host, device = (None if old is None or new is None else max(0, new - old)
                            for old, new in zip(before, self._memory_now()))
            reservation.commit(host, device)
            handle.memory = MemoryUse(items, host, device, BASIS + basis)
        self._handles[handle] = made
        self._report(model.path.stem, made)
        return handle

    def infer(self, handle: EngineHandle, inputs: TensorMap) -> TensorMap:
        """
        Run one inference; see the protocol.

        :raises InferenceError: wrong feed, unknown or released handle, or the runtime failed.
        :raises DeviceLostError: the GPU answers nothing any more.
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
            del self._handles[handle]
            handle.close()
            if self._handles:
                self._label = self._running()

    def close(self) -> None:
        """Release every model and let go of the GPU; idempotent."""
        for handle in list(self._handles):
            self.release_engine(handle)
        self._query.close()

    def thermal_state(self) -> ThermalState:
        """Return the latest thermal snapshot; the unavailable one when none was injected."""
        return snapshot_of(self._thermal)

    def current_runtime_label(self) -> str:
        """Return for example ``ONNX Runtime 1.23.2 [CPUExecutionProvider]``."""
        return f'{self._version} [{self._label}]'

    @property
    def _version(self) -> str:
        return f'ONNX Runtime {self._ort.__version__}'

    def _items_of(self, weights: int, io: int, provider: str = '') -> tuple[MemoryItem, ...]:
        return predicted_items(weights, io, provider or self._chosen[0])

    def _settings_of(self, model: OnnxModel, entry: EngineCacheEntry) -> ProviderSettings:
        total = self._budget.totals()['device']
        limit = self._budget.device_limit_bytes
        precision = 'fp32'
        if onnx_providers.TENSORRT in self._chosen:
            precision = onnx_providers.check_precision(
                model.path, model.data, entry.extras.get('precision', precision))
        return ProviderSettings(
            self._device, limit,
            max(0, limit - max(total.predicted_bytes, total.measured_bytes or 0)),
            precision, model.inputs)

    def _memory_now(self) -> tuple[int | None, int | None]:
        """Return what the process has, and what the GPU has left as a negative number."""
        free = None if self._chosen[0] == onnx_providers.CPU else self._read_free_device()
        return rss_bytes(), None if free is None else -free

    def _session(self, model: OnnxModel, settings: ProviderSettings
                 ) -> ContextManager[MadeSession]:
        if onnx_providers.TENSORRT not in self._chosen:
            return nullcontext(self._make_session(model, settings))
        return self._cache.session(model, settings,
                                   lambda with_cache: self._make_session(model, with_cache))

    def _make_session(self, model: OnnxModel, settings: ProviderSettings) -> MadeSession:
        return self._maker.make(model, settings)

    def _report(self, name: str, made: MadeSession) -> None:
        """Say what did not load in this session, and what runs in all of them."""
        running = {provider for other in self._handles.values() for provider in other.providers}
        missing = [f'{text} (model {name}; other models have it)'
                   if any(provider in text for provider in running - set(made.providers)) else text
                   for text in made.missing]
        notes = self._cache.notes if onnx_providers.TENSORRT in made.providers else ()
        self._fallbacks = tuple(dict.fromkeys((*self._fallbacks, *missing, *notes)))
        self._label = self._running()

    def _running(self) -> str:
        return ' | '.join(dict.fromkeys(
            ', '.join(made.providers) for made in self._handles.values()))

    def _warm_up(self, model: OnnxModel, handle: OnnxHandle) -> str:
        """Run once where the input shapes are known; return what the measured figure covers."""
        if any(size < 0 for spec in model.inputs for size in spec.max_shape):
            return 'measured: growth of the process while loading, without an inference'
        feed = {spec.name: np.zeros(spec.max_shape, spec.dtype) for spec in model.inputs}
        # Bound from the first run on: without, ONNX Runtime keeps memory for outputs of its own.
        handle.bind()
        try:
            outputs = self._run(handle, feed)
        except DeviceLostError:
            raise
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
            if self._chosen[0] != onnx_providers.CPU and is_sticky(str(error)):
                raise DeviceLostError(
                    f'{handle.name} failed in {self._version}: {text}; configure again, and start '
                    f'the node anew if that fails: ONNX Runtime keeps the context') from error
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
