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

"""Engines of TensorRT and TensorRT-RTX: trusted, admitted, loaded and run on one GPU."""

from __future__ import annotations

import atexit
from contextlib import ExitStack
from dataclasses import replace
import importlib.util
from pathlib import Path
from typing import Any
from typing import Callable

from c7_inference_ros.engines.filename import parse_engine_name
from c7_inference_ros.engines.host import probe_host
from c7_inference_ros.engines.tensorrt_api import load_tensorrt
from c7_inference_ros.engines.tensorrt_api import TensorrtApi
from c7_inference_ros.engines.trust.gate import EngineGate
from c7_inference_ros.engines.trust.gate import TrustedEngine
from c7_inference_ros.engines.types import ANY_SM
from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.engines.types import EngineManifest
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import PACKAGES
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import EngineHashMismatchError
from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.runtime.base import EngineHandle
from c7_inference_ros.runtime.base import MemoryItem
from c7_inference_ros.runtime.base import MemoryUse
from c7_inference_ros.runtime.base import TensorMap
from c7_inference_ros.runtime.cuda.device import CudaDevice
from c7_inference_ros.runtime.cuda.device import open_device as open_cuda_device
from c7_inference_ros.runtime.feed import check_feed
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.runtime.memory_budget import Reservation
from c7_inference_ros.runtime.memory_budget import size_text
from c7_inference_ros.runtime.process_memory import trim
from c7_inference_ros.runtime.trt.activation_arena import ActivationArena
from c7_inference_ros.runtime.trt.handle import load_handle
from c7_inference_ros.runtime.trt.handle import measured_device_bytes
from c7_inference_ros.runtime.trt.handle import TensorrtHandle
from c7_inference_ros.runtime.trt.prediction import choose_profile
from c7_inference_ros.runtime.trt.prediction import largest_inputs
from c7_inference_ros.runtime.trt.prediction import LOADING
from c7_inference_ros.runtime.trt.prediction import predict
from c7_inference_ros.runtime.trt.prediction import Prediction
from c7_inference_ros.thermal.publisher import snapshot_of
from c7_inference_ros.thermal.publisher import ThermalStatePublisher
from c7_inference_ros.thermal.state import ThermalState

_TITLES = {'tensorrt': 'TensorRT', 'tensorrt_rtx': 'TensorRT-RTX'}


class TensorrtRuntime:
    """
    Runs engines on one GPU.

    The thread that loads the first engine owns the GPU until the last one is released, which
    gives the CUDA context back; it makes every call but :meth:`thermal_state`,
    :meth:`current_runtime_label` and :attr:`fallbacks`.

    :param budget: admits the engines.
    :param thermal: where :meth:`thermal_state` comes from.
    :param package: ``tensorrt``, ``tensorrt_rtx``, or ``auto`` for what an engine was built with.
    :param device: number of the GPU.
    :param use_cuda_graph: replay a captured CUDA graph where an engine allows it.
    :param directory: where :meth:`compile_engine` puts engines; beside the model when None.
    :param deployment_list: as for :class:`c7_inference_ros.engines.trust.gate.EngineGate`.
    :param public_key: the same.
    :param max_accuracy_drop: the same.
    :param host: this machine; found out when None.
    :param open_device: opens the GPU.
    :param load_api: imports TensorRT.
    :raises RuntimeNotAvailableError: TensorRT or PyCUDA is not installed; nothing is imported.
    """

    def __init__(self, *, budget: MemoryBudget, thermal: ThermalStatePublisher | None = None,
                 package: str = 'auto', device: int = 0, use_cuda_graph: bool = True,
                 directory: Path | None = None, deployment_list: Path | None = None,
                 public_key: Path | None = None, max_accuracy_drop: float = 1.0,
                 host: HostTuple | None = None,
                 open_device: Callable[[int], CudaDevice] = open_cuda_device,
                 load_api: Callable[[str], TensorrtApi] = load_tensorrt) -> None:
        """Begin with nothing loaded and no GPU open."""
        if load_api is load_tensorrt:
            _check_installed(PACKAGES if package == 'auto' else (package,))
        if open_device is open_cuda_device:
            _check_installed(('pycuda',))
        self._budget = budget
        self._thermal = thermal
        self._package = package
        self._index = device
        self._use_cuda_graph = use_cuda_graph
        self._directory = directory
        self._trust: dict[str, Any] = {
            'deployment_list': deployment_list, 'public_key': public_key,
            'max_accuracy_drop': max_accuracy_drop}
        self._host = host
        self._open_device = open_device
        self._load_api = load_api
        self._gates: dict[str, EngineGate] = {}
        self._device: CudaDevice | None = None
        self._arena = ActivationArena(budget)
        self._handles: dict[EngineHandle, ExitStack] = {}
        self._warnings: dict[EngineHandle, tuple[str, ...]] = {}
        self._label = f'TensorRT ({package}, no engine was loaded yet)'

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """What runs or is trusted otherwise than wanted, one sentence each; any thread may ask."""
        notes = list(self._warnings.values())  # copied in one step
        for handle in list(self._handles):
            if isinstance(handle, TensorrtHandle) and handle.execution.note:
                notes.append((f'{handle.name}: {handle.execution.note}',))
        return tuple(dict.fromkeys(note for group in notes for note in group))

    def compile_engine(self, onnx_path: Path, build_config: BuildConfig) -> EngineCacheEntry:
        """
        Build the engine of a model for this machine, unless the present one is the same.

        :raises EngineBuildError: the model cannot be read or built.
        """
        from c7_inference_ros.engines.compiler import compile_engine
        config = replace(
            build_config, output_dir=build_config.output_dir or self._directory,
            package=self._package if build_config.package == 'auto' else build_config.package)
        try:
            return compile_engine(onnx_path, config).entry
        except EngineDeserializeError as error:
            raise EngineBuildError(str(error)) from error

    def deserialize_engine(self, entry: EngineCacheEntry) -> EngineHandle:
        """
        Trust, admit, load and warm up one engine; see the protocol.

        Before the gate has passed and the budget has admitted it, neither TensorRT nor CUDA is
        imported. When anything fails, the ledger and the GPU are as they were.

        :raises EngineDeserializeError: the file cannot be used.
        :raises EngineHashMismatchError: the bytes are not those that were trusted.
        :raises EngineSchemaMismatchError: it is not for this machine, or not what it says.
        :raises EngineSidecarMissingError: nobody says that it is to be trusted.
        :raises OutOfMemoryError: it does not fit; nothing was allocated.
        :raises DeviceLostError: the GPU is broken; release everything first.
        :raises RuntimeNotAvailableError: TensorRT, PyCUDA or the GPU is not here.
        """
        if self._device is not None:
            self._device.check()
        trusted = self._validate(entry)
        path, manifest, plan = trusted.path, trusted.manifest, [trusted.data]
        warnings = trusted.warnings
        del trusted  # whoever holds it holds the plan
        profile = choose_profile(path, manifest, entry.extras)
        inputs = largest_inputs(path, manifest, profile, entry.extras)
        prediction = predict(manifest, profile, inputs)
        items = prediction.items(self._arena.growth_for(prediction.activations))
        before = self._arena.size
        with ExitStack() as undo:
            undo.callback(self._close_device_if_idle)
            undo.callback(self._arena.settle, before)
            reservation = self._budget.reserve(path.stem, items)
            undo.callback(reservation.release)
            self._arena.take_over(reservation)
            api = self._load_api(manifest.host.package)
            device = self._open(path, manifest)
            free = device.free_bytes()
            handle = load_handle(
                path, manifest, plan, api=api, device=device, arena=self._arena,
                reservation=reservation, profile=profile, inputs=inputs,
                use_cuda_graph=self._use_cuda_graph)
            undo.callback(handle.close)
            self._refresh_others()
            self._account(handle, reservation, prediction,
                          free - device.free_bytes() - (self._arena.size - before))
            release = ExitStack()
            release.callback(reservation.release)
            release.callback(handle.close)
            undo.pop_all()
        self._handles[handle] = release
        self._warnings[handle] = warnings
        self._label = (f'{_TITLES[api.package]} {api.version} on {device.name} '
                       f'(SM {device.sm[:-1]}.{device.sm[-1]})')
        return handle

    def infer(self, handle: EngineHandle, inputs: TensorMap) -> TensorMap:
        """
        Run one inference; see the protocol.

        :raises InferenceError: wrong feed or thread, unknown or released handle, or TensorRT
            failed.
        :raises OutOfMemoryError: an output needs more memory than there is.
        :raises DeviceLostError: the GPU is broken until all engines are released.
        """
        if (not isinstance(handle, TensorrtHandle) or handle not in self._handles
                or self._device is None):
            state = 'was released' if handle.is_released else 'was not loaded by this runtime'
            raise InferenceError(f'{handle.name} {state}; load it before running it')
        self._device.check()
        check_feed(handle, inputs)
        return handle.execution.run(inputs)

    def release_engine(self, handle: EngineHandle) -> None:
        """
        Give everything of a handle back; idempotent, a foreign handle is ignored.

        With the last one the GPU is given back, too.

        :raises InferenceError: the caller is not the owner thread; nothing was done.
        """
        if handle not in self._handles or self._device is None:
            return
        self._device.check_thread()
        with ExitStack() as undo:
            undo.callback(self._close_device_if_idle)
            undo.callback(self._handles.pop(handle).close)
            self._warnings.pop(handle, None)

    def thermal_state(self) -> ThermalState:
        """Return the latest thermal snapshot; the unavailable one when none was injected."""
        return snapshot_of(self._thermal)

    def current_runtime_label(self) -> str:
        """Return for example ``TensorRT 10.3.0 on Orin (SM 8.7)``."""
        return self._label

    def free_device_bytes(self) -> int | None:
        """
        Return what is free on the GPU; None while it is not open.

        :raises InferenceError: the caller is not the owner thread.
        """
        return None if self._device is None else self._device.free_bytes()

    def close(self) -> None:
        """Release every engine and give the GPU back; idempotent."""
        for handle in list(self._handles):
            self.release_engine(handle)
        self._close_device_if_idle()

    def _validate(self, entry: EngineCacheEntry) -> TrustedEngine:
        path = Path(entry.path)
        package = self._package
        if package == 'auto':
            package = parse_engine_name(path.name).package
        if package not in self._gates:
            host = self._host or probe_host(package, device=self._index)
            self._gates[package] = EngineGate(host, **self._trust)
        precision = None
        if len(entry.host) == 4 and entry.host[3] in [mode.value for mode in PrecisionMode]:
            precision = PrecisionMode(entry.host[3])
        trusted = self._gates[package].validate(
            path, precision, admit=lambda size: self._budget.check(
                path.stem, [MemoryItem(LOADING, size, False)]))
        if entry.sha256 not in ('', trusted.sha256):
            raise EngineHashMismatchError(
                f'{path} has SHA-256 {trusted.sha256}, expected {entry.sha256}; it was exchanged '
                f'together with its sidecar: copy the right engine, or compile it again',
                stage='sidecar')
        return trusted

    def _open(self, path: Path, manifest: EngineManifest) -> CudaDevice:
        if self._device is None:
            self._device = self._open_device(self._index)
            # What still runs when the main thread ends is released in order, if it is its own.
            atexit.register(self._close_at_exit)
        device = self._device
        if (manifest.host.sm not in (ANY_SM, device.sm)
                and manifest.hardware_compatibility == 'none'):
            raise EngineSchemaMismatchError(
                f'{path} was built for compute capability {manifest.host.sm}, GPU {self._index} '
                f'({device.name}) has {device.sm}; set engines.device to the right GPU, or '
                f'compile the model for this one')
        return device

    def _refresh_others(self) -> None:
        """Capture anew what the larger arena made void, here and not with the next frame."""
        for other in list(self._handles):
            if isinstance(other, TensorrtHandle) and other.execution.is_stale:
                other.execution.warm_up()

    def _account(self, handle: TensorrtHandle, reservation: Reservation, prediction: Prediction,
                 free_difference: int) -> None:
        """Write down what was really taken, now that the plan is no longer in memory."""
        trim()
        reservation.resize(item for item in reservation.items if item.name != LOADING)
        host = handle.engine_memory.taken(False)
        counts = handle.pool.is_used
        device = measured_device_bytes(handle, counts, free_difference)
        reservation.commit(host, device)
        phases = ', '.join(f'{phase} {size_text(size)}'
                           for phase, size in handle.pool.by_phase().items())
        how = (f'what TensorRT ({phases}) and the buffers took' if counts
               else 'how much less is free')
        handle.memory = MemoryUse(
            reservation.items, host, device,
            f'{prediction.basis}. measured: {how}; the free memory of the GPU went down by '
            f'{size_text(max(0, free_difference))}. activations are shared, see the account')

    def _close_device_if_idle(self) -> None:
        device = self._device
        if device is not None and not self._handles:
            device.check_thread()
            self._device = None
            atexit.unregister(self._close_at_exit)
            device.close()
            trim()

    def _close_at_exit(self) -> None:
        try:
            self.close()
        except InferenceError:
            pass  # another thread's, which is frozen as it is


def _check_installed(names: tuple[str, ...]) -> None:
    """Refuse early when none of the packages is installed; imports nothing."""
    for name in names:
        try:
            if importlib.util.find_spec(name) is not None:
                return
        except ValueError:
            return  # imported already, without saying from where
        except ImportError:
            pass
    what = {'pycuda': 'pip install pycuda, which compiles against the CUDA toolkit',
            'tensorrt': 'on a Jetson: apt-get install python3-libnvinfer, and a virtual '
                        'environment with --system-site-packages; on x86: pip install tensorrt',
            'tensorrt_rtx': 'pip install tensorrt-rtx-cu12'}
    raise RuntimeNotAvailableError(
        f'runtime tensorrt needs the Python package {" or ".join(names)}, which is not installed; '
        f'{"; or ".join(what.get(name, f"there is no package {name}") for name in names)}')
