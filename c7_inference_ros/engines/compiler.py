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
From an ONNX model to a published engine, or to the finding that the present one is still right.

Everything happens under the lock of the engine, so that two compiles of one output run one after
the other and the second finds the work done. Whatever fails or is killed leaves the old engine.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace
from datetime import datetime
from datetime import timezone
import json
from pathlib import Path
import time
from typing import Any
from typing import Callable
from typing import ContextManager
from typing import Mapping

from c7_inference_ros.engines.build_key import build_parts
from c7_inference_ros.engines.build_key import key_of
from c7_inference_ros.engines.build_key import PARTS
from c7_inference_ros.engines.building.branches import choose_branch
from c7_inference_ros.engines.building.buildable_model import buildable_model
from c7_inference_ros.engines.building.buildable_model import BuildableModel
from c7_inference_ros.engines.building.buildable_model import converter_version
from c7_inference_ros.engines.building.buildable_model import remove_converted_model
from c7_inference_ros.engines.building.builder import BuildRequest
from c7_inference_ros.engines.building.builder import BuiltEngine
from c7_inference_ros.engines.building.builder import EngineBuilder
from c7_inference_ros.engines.building.builder import OnProgress
from c7_inference_ros.engines.filename import engine_name
from c7_inference_ros.engines.filename import EngineName
from c7_inference_ros.engines.filename import model_slug
from c7_inference_ros.engines.host import probe_facts
from c7_inference_ros.engines.onnx_source import OnnxSource
from c7_inference_ros.engines.onnx_source import read_onnx_source
from c7_inference_ros.engines.present_engine import look_at
from c7_inference_ros.engines.trust.engine_folder import EngineFolder
from c7_inference_ros.engines.trust.gate import EngineGate
from c7_inference_ros.engines.types import AccuracyCheck
from c7_inference_ros.engines.types import ANY_SM
from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.engines.types import EngineManifest
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.errors import EngineSchemaMismatchError

BUILT, REUSED = 'BUILT', 'REUSED'
#: Added to ``BuildConfig.timeout_s`` when waiting for another compile of the same engine: that
#: one may take as long as this one, and then a moment.
_LOCK_GRACE_S = 60.0


@dataclass(frozen=True)
class Quantization:
    """
    How a model gets its INT8 ranges.

    :param record: what they were found from, plain values; goes into the manifest and the key.
    :param onnx: the quantised (Q/DQ) model that is built instead of the original, as it goes to
        the parser, or None.
    :param kept: number of nodes that stay in float32 in it where the others are float16, or None.
    :param warnings: of making it.
    :param calibrating: gives the calibrator object for implicit INT8 (TensorRT 10.x) while the
        engine is built, and fails where calibration did; None without one.
    :param calibration_cache: verified cache for implicit INT8 (TensorRT 10.x), or None.
    :param accuracy: how the quantised model compares with the original, or None.
    """

    record: Mapping[str, Any]
    onnx: Path | None = None
    kept: int | None = None
    warnings: tuple[str, ...] = ()
    calibrating: Callable[[], ContextManager[Any]] | None = None
    calibration_cache: Path | None = None
    accuracy: AccuracyCheck | None = None


#: Called with (the model, what builds, the engine's path without suffix), under the engine's lock.
Quantize = Callable[[OnnxSource, EngineBuilder, Path], Quantization]


@dataclass(frozen=True)
class CompileResult:
    """
    An engine that is there, and why.

    :param entry: the engine, for a runtime.
    :param manifest: what is known of it.
    :param status: ``BUILT`` or ``REUSED``.
    :param reason: why, one clause.
    :param seconds: how long all of it took.
    """

    entry: EngineCacheEntry
    manifest: EngineManifest
    status: str
    reason: str
    seconds: float


def compile_engine(onnx_path: Path, config: BuildConfig, *, host: HostTuple | None = None,
                   source: OnnxSource | None = None, quantize: Quantize | None = None,
                   private_key: Path | None = None, on_progress: OnProgress | None = None,
                   tell: Callable[[str], None] = lambda text: None) -> CompileResult:
    """
    Build the engine of a model for this machine, unless the present one is what would be built.

    :param onnx_path: the model.
    :param config: what the engine is built for.
    :param host: where it is to run; this machine when None.
    :param source: the model, where it was read already.
    :param quantize: finds INT8 ranges; only called for ``int8``.
    :param private_key: PEM file that signs the manifest; None leaves a new engine unsigned.
    :param on_progress: told how far the build is; what it raises ends the build.
    :param tell: told what is being done, a line at a time.
    :raises EngineBuildError: the engine could not be built or published; the old one is there.
    :raises EngineDeserializeError: the model cannot be read.
    :raises EngineSchemaMismatchError: the model, or the accuracy of the engine, is not acceptable.
    :raises ConfigurationError: the configuration contradicts the model, or a key cannot be used.
    :raises RuntimeNotAvailableError: nothing that builds is installed.
    """
    started = time.monotonic()
    source = source or read_onnx_source(onnx_path)
    name_of_model = model_slug(source.path.stem)
    choice = choose_branch(config)
    tell(f'branch {choice.reason}')
    builder = choice.builder
    host = host or host_of(builder)
    name = engine_name(name_of_model, host, config.precision)
    folder = EngineFolder(config.output_dir or source.path.parent)
    path = folder.path / name.build()
    with folder.lock(path.name, config.timeout_s + _LOCK_GRACE_S, tell), ExitStack() as stack:
        folder.finish(path.name)
        remove_converted_model(path)
        quantization = _quantization(source, config, builder, path, quantize)
        parts = _parts(source, host, builder, config, quantization)
        present = look_at(path, host, parts, private_key)
        if present.trusted is not None and present.is_current:
            manifest = present.trusted.manifest
            reason = 'nothing that it depends on has changed'
            if not present.is_signed:
                folder.publish(name, present.trusted.data, manifest, private_key)
                reason += '; it was signed anew'
            return _result(path, manifest, REUSED, reason, started)
        tell(f'building {path.name}: {present.reason}')
        reason = present.reason
        del present  # with the bytes of the old engine
        model = BuildableModel(
            quantization.onnx, quantization.kept, quantization.warnings
        ) if quantization and quantization.onnx else (
            stack.enter_context(buildable_model(source, config, builder, path)))
        wanted = BuildRequest(
            model.path, source.path.name, config, not builder.has_weak_typing,
            calibration_cache=quantization.calibration_cache if quantization else None,
            on_progress=on_progress, host=host)
        if quantization and quantization.calibrating:
            with quantization.calibrating() as calibrator:
                built = builder.build(replace(wanted, calibrator=calibrator))
        else:
            built = builder.build(wanted)
        if read_onnx_source(source.path).sha256 != source.sha256:
            raise EngineBuildError(f'{source.path} was changed while its engine was being built; '
                                   f'compile it again when nothing writes it any more')
        manifest = _manifest(source, name, host, built, model, parts, config, quantization)
        folder.publish(name, built.plan, manifest, private_key)
        del built  # the bytes are read again now
        # What the runtime will do: an engine that it would refuse is no result.
        trusted = EngineGate(host).validate(path, config.precision)
        manifest = trusted.manifest
        for warning in trusted.warnings:
            tell(f'warning: {warning}')
        del trusted
    return _result(path, manifest, BUILT, reason, started)


def host_of(builder: EngineBuilder) -> HostTuple:
    """
    Return what engines of a builder are tied to on this machine.

    :raises RuntimeNotAvailableError: something is not known; says what to do.
    """
    facts = probe_facts()
    # The tool trtexec may be here without the bindings that the facts look for.
    versions = {**facts.versions, builder.package: builder.version}
    return replace(facts, versions=versions).host(builder.package)


def entry_of(path: Path, manifest: EngineManifest) -> EngineCacheEntry:
    """Return the entry of an engine, for a runtime."""
    host = manifest.host
    return EngineCacheEntry(path, manifest.engine_sha256, (
        host.sm, host.platform, host.version, manifest.precision.value))


def _quantization(source: OnnxSource, config: BuildConfig, builder: EngineBuilder, path: Path,
                  quantize: Quantize | None) -> Quantization | None:
    """Find the INT8 ranges; the model brings them itself where nobody was asked to."""
    if config.precision is not PrecisionMode.INT8:
        return None
    if quantize is None:
        if not source.has_quantization:
            raise ConfigurationError(
                f'{source.path} is to be built as int8, but has no Q/DQ pairs that say what is '
                f'int8; give calibration images or a bag, or a model that was quantised')
        return None
    quantization = quantize(source, builder, path.with_suffix(''))
    check = quantization.accuracy
    if check is not None and check.drop > check.limit:
        raise EngineSchemaMismatchError(
            f'{source.path.name} as int8 has {check.metric} {check.measured:.4f} on '
            f'{check.images} images, {check.drop:.4f} less than the {check.reference:.4f} of the '
            f'float32 model, and {check.limit:g} is the limit; give more or better calibration '
            f'images, keep more layers in float32, or build it as fp16')
    return quantization


def _parts(source: OnnxSource, host: HostTuple, builder: EngineBuilder, config: BuildConfig,
           quantization: Quantization | None) -> dict[str, Any]:
    is_portable = host.sm == ANY_SM or config.extras.get('hardware_compatibility',
                                                         'none') != 'none'
    accuracy = quantization.accuracy if quantization else None
    return build_parts(
        source.sha256, converter_version(config, builder),
        replace(host, device_name='') if is_portable else host,
        builder.name, config, quantization.record if quantization else None,
        asdict(accuracy) if accuracy else None)


def _manifest(source: OnnxSource, name: EngineName, host: HostTuple, built: BuiltEngine,
              model: BuildableModel, parts: Mapping[str, Any], config: BuildConfig,
              quantization: Quantization | None) -> EngineManifest:
    tensors = (*built.inputs, *built.outputs)
    unknown = [spec.name for spec in tensors if spec.max_bytes is None]
    warnings = model.warnings + built.warnings
    settings = dict(built.settings)
    if model.kept is not None:
        settings['nodes_kept_in_float32'] = model.kept
    if unknown:
        warnings += (f'the size of {", ".join(unknown)} depends on the data and is not in '
                     f'io_bytes',)
    return EngineManifest(
        engine_sha256='', engine_bytes=0,  # filled in when it is published
        onnx_sha256=source.sha256, build_key=key_of(parts), host=host,
        precision=config.precision, inputs=built.inputs, outputs=built.outputs,
        profiles=built.profiles, tensor_types=dict(built.tensor_types),
        weights_bytes=built.weights_bytes, context_bytes=built.context_bytes,
        io_bytes=sum(spec.max_bytes or 0 for spec in tensors),
        hardware_compatibility=built.hardware_compatibility, branch=built.branch,
        settings={**_plain(settings), PARTS: dict(parts)}, metadata=dict(source.metadata),
        processing=_plain(config.processing),
        calibration=_plain(quantization.record) if quantization else None,
        accuracy=quantization.accuracy if quantization else None, warnings=warnings,
        build_seconds=round(built.seconds, 3),
        built_at=datetime.now(timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ'), model=name.model)


def _result(path: Path, manifest: EngineManifest, status: str, reason: str,
            started: float) -> CompileResult:
    return CompileResult(entry_of(path, manifest), manifest, status, reason,
                         time.monotonic() - started)


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))
