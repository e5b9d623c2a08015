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
From an ONNX file to the bytes of an engine: one interface, three branches behind it.

``direct`` speaks to the builder of the Python bindings itself, ``polygraphy`` through NVIDIA's
toolkit, ``trtexec`` to the command-line tool in a process of its own. All three set what the
others leave to their differing defaults, so that they build the same engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Mapping
from typing import Protocol
from typing import Union

from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.model_files.tensor_spec import TensorSpec

DIRECT, POLYGRAPHY, TRTEXEC = 'direct', 'polygraphy', 'trtexec'
BRANCHES = (DIRECT, POLYGRAPHY, TRTEXEC)
#: Called with (phase, step, total) while an engine is built; what it raises ends the build.
OnProgress = Callable[[str, int, int], None]
Plan = Union[bytes, memoryview]


@dataclass(frozen=True)
class BuildRequest:
    """
    One engine to be built.

    :param onnx: the model as it goes to the parser, already converted where types are strong.
    :param model: name of the original model, for messages.
    :param config: what the engine is built for.
    :param is_strongly_typed: the types of the ONNX are the types of the engine; False lets flags
        choose, which only TensorRT 10.x can.
    :param calibrator: calibrator object of the bindings for implicit INT8 (TensorRT 10.x), or
        None.
    :param calibration_cache: verified calibration cache for implicit INT8 (TensorRT 10.x), or
        None; all that ``trtexec`` can use.
    :param on_progress: told how far the build is.
    :param host: the machine that builds, which kept timings depend on; None where unknown.
    """

    onnx: Path
    model: str
    config: BuildConfig
    is_strongly_typed: bool = True
    calibrator: Any = None
    calibration_cache: Path | None = None
    on_progress: OnProgress | None = None
    host: HostTuple | None = None


@dataclass(frozen=True)
class BuiltEngine:
    """
    One engine that was built, and what is known of it.

    :param plan: the bytes; a view of the builder's own memory where it has one, never a copy.
    :param branch: ``direct``, ``polygraphy`` or ``trtexec``.
    :param package: ``tensorrt`` or ``tensorrt_rtx``.
    :param version: full version of what built it, dotted.
    :param inputs: input tensors; ``max_shape`` is the largest over the profiles.
    :param outputs: output tensors; ``max_shape`` where the network can tell.
    :param profiles: as really built, every input of open shape in each; in the engine's order.
    :param tensor_types: outputs of layers by element type; empty where no network could be read.
    :param warnings: what the builder warned about, each once.
    :param hardware_compatibility: as in :class:`EngineManifest`.
    :param weights_bytes: weights on the device; None where the engine cannot be loaded here.
    :param context_bytes: activation memory by profile; None as above.
    :param settings: what the builder was told and confirmed, by name.
    :param seconds: how long the builder took.
    """

    plan: Plan
    branch: str
    package: str
    version: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    profiles: tuple[OptimizationProfile, ...]
    tensor_types: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    hardware_compatibility: str = 'none'
    weights_bytes: int | None = None
    context_bytes: tuple[int | None, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


class EngineBuilder(Protocol):
    """
    One branch.

    Attributes are known without building: ``version`` and ``package`` are part of the file name.
    """

    @property
    def name(self) -> str:
        """``direct``, ``polygraphy`` or ``trtexec``."""

    @property
    def package(self) -> str:
        """``tensorrt`` or ``tensorrt_rtx``."""

    @property
    def version(self) -> str:
        """Full version of what builds, dotted."""

    @property
    def has_weak_typing(self) -> bool:
        """Whether flags may choose the precision; else the ONNX has to be converted."""

    @property
    def has_implicit_calibration(self) -> bool:
        """Whether INT8 ranges may come from a calibrator or its cache; else Q/DQ is needed."""

    def build(self, request: BuildRequest) -> BuiltEngine:
        """
        Build one engine; from any thread.

        :raises EngineBuildError: it could not be built; the message has the real reason.
        :raises ConfigurationError: the request lacks something or contradicts the model.
        """
