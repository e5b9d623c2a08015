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
The model as it goes to the parser: converted to float16 where the builder takes types from it.

A converted model lies beside the engine while it is built, guarded by the engine's lock, and is
gone afterwards; what a killed compile left of it is removed by the next one.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Iterator

from c7_inference_ros.engines.atomic_file import remove_leftovers
from c7_inference_ros.engines.atomic_file import write_problem
from c7_inference_ros.engines.building.builder import EngineBuilder
from c7_inference_ros.engines.building.onnx_conversion import convert_to_half
from c7_inference_ros.engines.onnx_source import OnnxSource
from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import EngineBuildError

#: Raised when the conversion to float16 gives another model for the same input.
CONVERSION_SCHEME = 2


@dataclass(frozen=True)
class BuildableModel:
    """
    The model as it goes to the parser.

    :param path: the file.
    :param kept: number of nodes that a conversion left in float32, or None where there was none.
    :param warnings: of the conversion.
    """

    path: Path
    kept: int | None = None
    warnings: tuple[str, ...] = ()


@contextmanager
def buildable_model(source: OnnxSource, config: BuildConfig, builder: EngineBuilder, path: Path
                    ) -> Iterator[BuildableModel]:
    """
    Give the model as it goes to the parser.

    :param path: of the engine, whose lock is held.
    :raises EngineBuildError: the model cannot be converted.
    :raises RuntimeNotAvailableError: what converts it is not installed.
    """
    if not _is_converted(config, builder):
        yield BuildableModel(source.path)
        return
    target = _converted_path(path)
    shapes = {name: shapes[1] for name, shapes in config.profiles[0].shapes.items()
              } if config.profiles else {}
    try:
        half = convert_to_half(source.path, target, config.high_precision_nodes, shapes)
        yield BuildableModel(half.path, len(half.kept), half.warnings)
    finally:
        target.unlink(missing_ok=True)


def remove_converted_model(path: Path) -> None:
    """
    Remove what a killed compile left of its conversion.

    :param path: of the engine, whose lock is held.
    :raises EngineBuildError: the folder cannot be written.
    """
    target = _converted_path(path)
    try:
        remove_leftovers(target)
        target.unlink(missing_ok=True)
    except OSError as error:
        raise EngineBuildError(write_problem(error, target)) from error


def converter_version(config: BuildConfig, builder: EngineBuilder) -> str:
    """Return what a converted model depends on besides the original; nothing is imported."""
    if not _is_converted(config, builder):
        return ''
    return ', '.join([f'scheme {CONVERSION_SCHEME}', *(
        f'{names[0]} {next(filter(None, map(_installed, names)), "unknown")}'
        for names in (('onnx',), ('onnxruntime', 'onnxruntime-gpu')))])


def _converted_path(path: Path) -> Path:
    return path.with_name(f'.{path.name}.converted.onnx')


def _is_converted(config: BuildConfig, builder: EngineBuilder) -> bool:
    return not builder.has_weak_typing and config.precision is not PrecisionMode.FP32


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
