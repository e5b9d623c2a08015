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
Runtimes that do everything with a model that the real ones do before they load it.

Trust, prediction, admission to the ledger and what the file says of its tensors are the code of
the real runtimes; nothing of TensorRT, CUDA, ONNX Runtime or PyTorch is imported, and nothing is
allocated but the bytes of one file at a time.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from typing import Callable

from c7_inference_ros.config import NodeConfig
from c7_inference_ros.engines.host import HostFacts
from c7_inference_ros.engines.onnx_source import metadata_of
from c7_inference_ros.engines.trust.manifest import MANIFEST_SUFFIX
from c7_inference_ros.engines.trust.manifest import read_manifest
from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.errors import C7Error
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.runtime.base import EngineHandle
from c7_inference_ros.runtime.base import InferenceRuntime
from c7_inference_ros.runtime.base import MemoryItem
from c7_inference_ros.runtime.base import MemoryUse
from c7_inference_ros.runtime.base import TensorMap
from c7_inference_ros.runtime.dummy.runtime import DummyRuntime
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.runtime.memory_budget import Reservation
from c7_inference_ros.runtime.ort import prediction as ort_prediction
from c7_inference_ros.runtime.ort import providers as onnx_providers
from c7_inference_ros.runtime.ort.model import read_onnx_model
from c7_inference_ros.runtime.pytorch import prediction as torch_prediction
from c7_inference_ros.runtime.pytorch.model import read_torch_model
from c7_inference_ros.runtime.tensor_shapes import one_image
from c7_inference_ros.runtime.tensor_shapes import resolve_shapes
from c7_inference_ros.runtime.trt.activation_arena import ACTIVATIONS
from c7_inference_ros.runtime.trt.activation_arena import SHARED
from c7_inference_ros.runtime.trt.prediction import choose_profile
from c7_inference_ros.runtime.trt.prediction import largest_inputs
from c7_inference_ros.runtime.trt.prediction import LOADING
from c7_inference_ros.runtime.trt.prediction import predict
from c7_inference_ros.thermal.publisher import snapshot_of
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.tools.engine_verdicts import judge
from c7_inference_ros.tools.engine_verdicts import Trust
from c7_inference_ros.tools.engine_verdicts import Verdict


class NotKnownBeforehand(C7Error):
    """A model that only says what goes in and out once it is loaded."""


class PlannedHandle(EngineHandle):
    """A model that was admitted and not loaded."""

    def __init__(self, reservation: Reservation, basis: str, *described: Any) -> None:
        """Describe the model; see :class:`EngineHandle`."""
        super().__init__(*described)
        self.reservation = reservation
        self.memory = MemoryUse(reservation.items, basis=basis)


class _PlannedRuntime:
    """What the planned runtimes have in common."""

    def __init__(self, budget: MemoryBudget) -> None:
        """Begin with nothing admitted."""
        self._budget = budget

    def compile_engine(self, onnx_path: Path, build_config: BuildConfig) -> EngineCacheEntry:
        """Refuse: nothing is built here."""
        raise InferenceError('nothing is built here; compile_engine does')

    def infer(self, handle: EngineHandle, inputs: TensorMap) -> TensorMap:
        """Refuse: nothing is loaded."""
        raise InferenceError(f'{handle.name} was not loaded, only looked at')

    def release_engine(self, handle: EngineHandle) -> None:
        """Give what was admitted back; idempotent."""
        if isinstance(handle, PlannedHandle):
            handle.is_released = True
            handle.reservation.release()

    def thermal_state(self) -> ThermalState:
        """Return the unavailable state: nobody polls here."""
        return snapshot_of(None)

    def current_runtime_label(self) -> str:
        """Say that nothing is loaded."""
        return 'nothing is loaded'


class PlannedOnnx(_PlannedRuntime):
    """
    ONNX models, before a session is made.

    :param providers: what would run them, in order.
    """

    def __init__(self, budget: MemoryBudget, providers: tuple[str, ...]) -> None:
        """Begin with nothing admitted."""
        super().__init__(budget)
        self._providers = providers

    def deserialize_engine(self, entry: EngineCacheEntry) -> EngineHandle:
        """Check and admit one model, as the runtime onnx_trt_ep begins."""
        first, name = self._providers[0], entry.path.stem
        model = read_onnx_model(entry, admit=lambda size: self._budget.check(
            name, ort_prediction.predicted_items(size, 0, first)))
        if onnx_providers.TENSORRT in self._providers:
            onnx_providers.check_precision(
                model.path, model.data, entry.extras.get('precision', 'fp32'))
        reservation = self._budget.reserve(name, ort_prediction.predicted_items(
            model.weight_bytes, model.io_bytes, first))
        return PlannedHandle(reservation, ort_prediction.BASIS, name, model.inputs, model.outputs,
                             metadata_of(model.data))


class PlannedTorch(_PlannedRuntime):
    """
    TorchScript and exported programs, before PyTorch sees them.

    :param is_on_cpu: whether the CPU would run them.
    """

    def __init__(self, budget: MemoryBudget, is_on_cpu: bool) -> None:
        """Begin with nothing admitted."""
        super().__init__(budget)
        self._is_on_cpu = is_on_cpu

    def deserialize_engine(self, entry: EngineCacheEntry) -> EngineHandle:
        """
        Check and admit one model, as the runtime pytorch_fp16 begins.

        :raises NotKnownBeforehand: it was admitted with its weights alone.
        """
        def items(weights: int, io: int) -> tuple[MemoryItem, ...]:
            return torch_prediction.predicted_items(weights, io, self._is_on_cpu)

        name = entry.path.stem
        model = read_torch_model(entry, admit=lambda size: self._budget.check(
            name, items(size, 0)))
        reservation = self._budget.reserve(name, items(len(model.data), 0))
        if model.inputs is None or model.outputs is None:
            raise NotKnownBeforehand(
                f'{entry.path} says what goes in and out of it only once it is loaded')
        inputs = resolve_shapes(model.path, model.inputs, entry.extras)
        outputs = tuple(map(one_image, model.outputs))
        reservation.resize(items(len(model.data), sum(
            spec.max_bytes or 0 for spec in (*inputs, *outputs))))
        return PlannedHandle(reservation, torch_prediction.BASIS, name, inputs, outputs,
                             dict(model.metadata))


class PlannedTensorrt(_PlannedRuntime):
    """
    Engines, up to the moment in which TensorRT would see them.

    An engine that the gate refuses is in :attr:`verdicts`; what its manifest says of its memory
    is planned with all the same, where there is one.

    :param trust: what engines are held against.
    :param facts: this machine.
    """

    def __init__(self, budget: MemoryBudget, trust: Trust, facts: HostFacts) -> None:
        """Begin with nothing admitted."""
        super().__init__(budget)
        self._trust = trust
        self._facts = facts
        self._largest = 0
        self._shared: Reservation | None = None
        self.verdicts: dict[Path, Verdict] = {}

    def deserialize_engine(self, entry: EngineCacheEntry) -> EngineHandle:
        """Judge and admit one engine, as the runtime tensorrt begins."""
        path = Path(entry.path)
        try:
            size = path.stat().st_size
        except OSError as error:
            raise EngineDeserializeError(
                f'{path} cannot be read ({error.strerror or error}); correct the path') from error
        self._budget.check(path.stem, [MemoryItem(LOADING, size, False)])
        verdict = judge(path, self._trust, self._facts)
        if verdict.trusted is not None:
            manifest = verdict.trusted.manifest
            # Whoever holds it holds the plan.
            verdict = replace(verdict, trusted=replace(verdict.trusted, data=b''))
            self.verdicts[path] = verdict
        else:
            self.verdicts[path] = verdict
            try:
                manifest = read_manifest(path.with_name(path.name + MANIFEST_SUFFIX))
            except C7Error as error:
                raise EngineDeserializeError(verdict.refusal) from error
        profile = choose_profile(path, manifest, entry.extras)
        inputs = largest_inputs(path, manifest, profile, entry.extras)
        prediction = predict(manifest, profile, inputs)
        growth = max(0, prediction.activations - self._largest)
        reservation = self._budget.reserve(path.stem, prediction.items(growth))
        if self._shared is None:
            self._shared = self._budget.reserve(SHARED, ())
        reservation.hand_over(ACTIVATIONS, self._shared)
        self._largest += growth
        # The plan is gone when the next engine is loaded.
        reservation.resize(item for item in reservation.items if item.name != LOADING)
        resolved = tuple(replace(spec, max_shape=inputs[spec.name]) for spec in manifest.inputs)
        return PlannedHandle(reservation, prediction.basis, path.stem, resolved, manifest.outputs,
                             manifest.metadata, manifest.processing)


def planned_runtime(config: NodeConfig, budget: MemoryBudget, facts: HostFacts,
                    providers: tuple[str, ...], is_torch_on_cpu: bool) -> InferenceRuntime:
    """
    Return the runtime that plans what a configuration loads.

    :param providers: execution providers that would run ONNX models, in order.
    :param is_torch_on_cpu: whether PyTorch would run on the CPU.
    """
    engines = config.engines

    def path(text: str) -> Path | None:
        return Path(text).expanduser() if text else None

    makers: dict[str, Callable[[], InferenceRuntime]] = {
        'onnx_trt_ep': lambda: PlannedOnnx(budget, providers),
        'pytorch_fp16': lambda: PlannedTorch(budget, is_torch_on_cpu),
        'tensorrt': lambda: PlannedTensorrt(budget, Trust(
            path(engines.public_key), path(engines.deployment_list),
            engines.max_accuracy_drop), facts),
        # Nothing is loaded by the real one either.
        'dummy': lambda: DummyRuntime(budget=budget)}
    return makers[config.runtime]()
