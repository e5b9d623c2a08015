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

"""The records that building, trusting and loading an engine pass to each other."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from enum import Enum
from pathlib import Path
from typing import Any
from typing import Mapping

from c7_inference_ros.model_files.tensor_spec import TensorSpec

#: ``HostTuple.sm`` of an engine that is compiled for its GPU when it is loaded (TensorRT-RTX).
ANY_SM = 'any'
#: ``HostTuple.platform`` of every machine that is no Jetson.
X86 = 'x86'
TENSORRT, TENSORRT_RTX = 'tensorrt', 'tensorrt_rtx'
PACKAGES = (TENSORRT, TENSORRT_RTX)


class PrecisionMode(str, Enum):
    """Arithmetic an engine is built for; part of its file name."""

    FP32 = 'fp32'
    FP16 = 'fp16'
    INT8 = 'int8'
    MIXED = 'mixed'


@dataclass(frozen=True)
class OptimizationProfile:
    """
    Range of shapes an engine is built for.

    :param name: what the profile is called in reports.
    :param shapes: (minimum, optimum, maximum) shape by input name.
    """

    name: str
    shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]


@dataclass(frozen=True)
class BuildConfig:
    """
    What an engine is built for.

    :param precision: arithmetic of the engine.
    :param profiles: shape ranges of dynamic inputs; what is left open is built for one image.
    :param workspace_bytes: cap of the scratch memory that one layer may use.
    :param output_dir: folder of the engine; beside the model when None.
    :param optimization_level: 0 (fast build) to 5 (fast engine).
    :param is_tf32_allowed: whether float32 layers may round to TF32; the branches differ in
        their default, so it is always set.
    :param timing_cache: file that keeps the timings of kernels between builds, or None.
    :param package: ``tensorrt``, ``tensorrt_rtx``, or ``auto`` for the first that is installed.
    :param branch: ``direct``, ``polygraphy``, ``trtexec``, or ``auto``.
    :param timeout_s: after this long a build in another process is killed, seconds.
    :param high_precision_nodes: for ``mixed`` and ``int8``: patterns (:mod:`fnmatch`) of node
        names or operator types that stay in float32.
    :param processing: pre- and post-processing of the model that travels with the engine:
        ``preprocess`` (parameter values by name), ``decoder``, ``labels`` (class names).
    :param extras: settings of one runtime, by name.
    """

    precision: PrecisionMode = PrecisionMode.FP16
    profiles: tuple[OptimizationProfile, ...] = ()
    workspace_bytes: int = 1 << 30
    output_dir: Path | None = None
    optimization_level: int = 3
    is_tf32_allowed: bool = False
    timing_cache: Path | None = None
    package: str = 'auto'
    branch: str = 'auto'
    timeout_s: float = 600.0
    high_precision_nodes: tuple[str, ...] = ()
    processing: Mapping[str, Any] = field(default_factory=dict)
    extras: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class HostTuple:
    """
    What an engine is tied to.

    :param sm: compute capability without its dot (``87``), or :data:`ANY_SM`.
    :param platform: L4T release of a Jetson (``36.4.3``), or :data:`X86`.
    :param package: ``tensorrt`` or ``tensorrt_rtx``.
    :param version: full version of the package, dotted.
    :param device_name: the GPU, or the board on a Jetson; SM 8.7 is both Orin Nano and AGX. Not
        part of the file name; empty where unknown.
    """

    sm: str
    platform: str
    package: str
    version: str
    device_name: str = ''


@dataclass(frozen=True)
class AccuracyCheck:
    """
    How the engine's model was compared with its float32 original before it was accepted.

    :param metric: what was measured, for example ``mAP50``.
    :param reference: the value of the float32 model, 0..1.
    :param measured: the value of the model that was built, 0..1.
    :param limit: largest drop that was accepted.
    :param images: number of images.
    :param dataset_sha256: content hash of the images and their ground truth.
    """

    metric: str
    reference: float
    measured: float
    limit: float
    images: int
    dataset_sha256: str

    @property
    def drop(self) -> float:
        """How much worse than the original; negative when better."""
        # 0.5 - 0.47 is a little more than 0.03.
        return round(self.reference - self.measured, 9)


@dataclass(frozen=True)
class EngineManifest:
    """
    Everything that is known of an engine without loading it; ``<engine>.json``.

    :param engine_sha256: of the plan, 64 lowercase hex characters.
    :param engine_bytes: size of the plan.
    :param onnx_sha256: of the ONNX file and the files with its weights, before any conversion.
    :param build_key: hash of everything the build depended on; equal keys need no new build.
    :param host: where the engine runs.
    :param precision: what was asked for; part of the file name.
    :param tensor_types: element types that the network was built with, for example
        ``{'float16': 90, 'float32': 3}`` outputs of layers.
    :param profiles: shape ranges, in the engine's order.
    :param inputs: input tensors; ``max_shape`` is the largest over the profiles.
    :param outputs: output tensors, the same.
    :param weights_bytes: weights on the device, or None where the builder cannot say.
    :param context_bytes: activation memory by profile, bytes; None where it is only known on
        the target.
    :param io_bytes: all inputs and outputs at their largest shapes and true element types.
    :param hardware_compatibility: ``none``, ``ampere_plus``, ``same_compute_capability``; other
        than ``none`` runs on other devices.
    :param branch: ``direct``, ``polygraphy`` or ``trtexec``.
    :param settings: what the builder was told, by name, for people.
    :param metadata: free text that the ONNX file carries, by key.
    :param processing: as in :class:`BuildConfig`.
    :param calibration: how INT8 ranges were found, or None.
    :param accuracy: how accuracy was checked, or None.
    :param warnings: what the builder warned about.
    :param build_seconds: how long the build took.
    :param built_at: when, ISO 8601 in UTC.
    :param model: part of the file name, so that engines of two models cannot change places
        together with their sidecars; set when the engine is published.
    """

    engine_sha256: str
    engine_bytes: int
    onnx_sha256: str
    build_key: str
    host: HostTuple
    precision: PrecisionMode
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    profiles: tuple[OptimizationProfile, ...] = ()
    tensor_types: Mapping[str, int] = field(default_factory=dict)
    weights_bytes: int | None = None
    context_bytes: tuple[int | None, ...] = ()
    io_bytes: int = 0
    hardware_compatibility: str = 'none'
    branch: str = ''
    settings: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    processing: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] | None = None
    accuracy: AccuracyCheck | None = None
    warnings: tuple[str, ...] = ()
    build_seconds: float = 0.0
    built_at: str = ''
    model: str = ''


@dataclass(frozen=True)
class EngineCacheEntry:
    """
    One model file that a runtime can load.

    :param path: the file.
    :param sha256: 64 lowercase hex characters of the bytes that were trusted; empty when nobody
        recorded them (a plain ONNX model).
    :param host: (SM, L4T or x86, TensorRT version, precision) of an engine; empty for ONNX.
    :param extras: settings of one model for its runtime, by name. ``input_shapes``
        (name -> tuple) resolves open input dimensions.
    """

    path: Path
    sha256: str = ''
    host: tuple[str, ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)
