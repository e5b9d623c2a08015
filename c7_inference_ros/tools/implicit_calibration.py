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
INT8 by the calibrator of TensorRT 10.x: its own ranges, found while it builds.

Images, preprocessing and the gate of the cache are those of explicit INT8. What comes out is no
ONNX model, so that nobody can measure its accuracy before it runs.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Iterator

from c7_inference_ros.engines.building.builder import EngineBuilder
from c7_inference_ros.engines.building.builder import OnProgress
from c7_inference_ros.engines.building.builder import TRTEXEC
from c7_inference_ros.engines.calibration.calibration_cache import CACHE_SUFFIX
from c7_inference_ros.engines.calibration.calibration_cache import CalibrationCache
from c7_inference_ros.engines.calibration.calibration_table import ALGORITHM
from c7_inference_ros.engines.calibration.calibration_table import CalibrationTable
from c7_inference_ros.engines.calibration.calibration_table import parse_table
from c7_inference_ros.engines.calibration.calibrator import Batch
from c7_inference_ros.engines.calibration.calibrator import implicit_calibration
from c7_inference_ros.engines.calibration.calibrator import ImplicitDataset
from c7_inference_ros.engines.compiler import Quantization
from c7_inference_ros.engines.onnx_source import OnnxSource
from c7_inference_ros.engines.tensorrt_api import load_tensorrt
from c7_inference_ros.errors import CalibrationCacheError
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.calibration_data import calibration_feeds
from c7_inference_ros.tools.cuda_copier import CudaCopier
from c7_inference_ros.tools.int8_request import CalibrationRequest
from c7_inference_ros.tools.int8_request import prepare
from c7_inference_ros.tools.int8_request import PreparedCalibration

METHOD = 'implicit'
SUFFIX = f'.implicit{CACHE_SUFFIX}'
_NOT_MEASURED = 'not measured: the ranges are in the engine only, which ONNX Runtime cannot run'


def implicit_quantization(request: CalibrationRequest, source: OnnxSource,
                          builder: EngineBuilder, stem: Path, folder: Path,
                          on_progress: OnProgress, tell: Callable[[str], None]) -> Quantization:
    """
    Return what the compiler needs to build with TensorRT's calibrator, or with its cache.

    No image is looked at before TensorRT asks for it, and none at all where the cache is good.

    :param stem: path of the engine without suffix; the cache stands beside it unless the request
        has one.
    :param folder: of this compile, for the copy of a verified cache.
    :raises ConfigurationError: the builder has no implicit calibration, or the request asks for
        what it cannot do.
    :raises CalibrationCacheError: the cache is damaged, or trtexec is to build and has none.
    """
    _check_support(builder)
    if source.has_quantization:
        raise ConfigurationError(
            f'{source.path} has Q/DQ pairs, which the calibrator of TensorRT does not touch; '
            f'build it without calibration images, or give the float32 model')
    if request.accuracy_images is not None:
        raise ConfigurationError(
            f'accuracy_images is {request.accuracy_images}, but the accuracy of implicit INT8 '
            f'cannot be measured here; take it away, or calibrate with the method explicit')
    cache_path = request.cache or stem.with_name(f'{source.path.stem}{SUFFIX}')
    prepared = prepare(replace(request, model=source.path, cache=cache_path))
    _check_profiles(prepared)
    dataset, cache = implicit_calibration_inputs(prepared, builder.version, on_progress)
    with cache.locked():
        checked = cache.check()
    tell(f'INT8 ranges {"reused" if checked.is_reusable else "to be measured"}: {checked.reason}')
    record = {
        'method': METHOD, 'calibrator': f'TensorRT {ALGORITHM}', 'images': len(prepared.dataset),
        'source': prepared.dataset.description, 'dataset_sha256': prepared.dataset.sha256,
        'cache': cache.path.name, 'cache_key': cache.key, 'accuracy': _NOT_MEASURED}
    if builder.name == TRTEXEC:
        if not checked.is_reusable:
            raise CalibrationCacheError(
                f'trtexec cannot calibrate, it would make ranges up: it needs a verified cache, '
                f'and {checked.reason}; calibrate with the branch direct first')
        # The bytes that were verified, whatever happens to the file meanwhile.
        copy = folder / cache.path.name
        copy.write_bytes(checked.data)
        return Quantization(record, calibration_cache=copy)

    @contextmanager
    def calibrating() -> Iterator[Any]:
        copier = CudaCopier()
        with implicit_calibration(load_tensorrt(builder.package).trt, dataset, cache, copier
                                  ) as calibrator:
            if not calibrator.session.is_reused:
                copier.open_gpu()  # not first inside one of TensorRT's calls
            yield calibrator

    return Quantization(record, calibrating=calibrating)


def implicit_calibration_inputs(prepared: PreparedCalibration, tensorrt_version: str,
                                on_progress: OnProgress = lambda phase, step, total: None
                                ) -> tuple[ImplicitDataset, CalibrationCache[CalibrationTable]]:
    """
    Return what :func:`c7_inference_ros.engines.calibration.calibrator.implicit_calibration` needs.

    :param tensorrt_version: of the TensorRT 10.x that builds.
    :param on_progress: told of each image; what it raises ends the build.
    """
    inputs = tuple(spec.name for spec in prepared.source.inputs if spec.dtype.kind == 'f')
    count = len(prepared.dataset)

    def batches() -> Iterator[Batch]:
        for index, feed in enumerate(calibration_feeds(prepared.dataset, prepared.contract)):
            on_progress('calibrating', index + 1, count)
            yield feed

    return ImplicitDataset(batches, count, 1, inputs), CalibrationCache(
        prepared.cache, prepared.parts_for(f'TensorRT {ALGORITHM}', tensorrt_version),
        lambda data: parse_table(data, tensorrt_version, inputs))


def _check_support(builder: EngineBuilder) -> None:
    if not builder.has_implicit_calibration:
        raise ConfigurationError(
            f'calibration_method is implicit, but {builder.package} {builder.version} has no '
            f'calibrator (TensorRT 10.x has one); take the method explicit')


def _check_profiles(prepared: PreparedCalibration) -> None:
    """Refuse a usual shape that is not that of the images: TensorRT would read past their end."""
    if not prepared.request.profiles:
        return
    first, wanted = prepared.request.profiles[0], prepared.contract.spec.shape
    shapes = first.shapes.get(prepared.contract.image_input)
    if shapes is not None and tuple(shapes[1]) != tuple(wanted):
        raise ConfigurationError(
            f'profile {first.name} has the usual shape {list(shapes[1])} of '
            f'{prepared.contract.image_input}, but TensorRT is to calibrate with images of '
            f'{list(wanted)}; give a profile of that usual shape first, or take the calibration '
            f'method explicit')
