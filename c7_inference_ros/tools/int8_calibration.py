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
INT8 for one model: from images to a quantised ONNX that is accurate enough, or a refusal.

.. code-block:: python

    prepared = prepare(CalibrationRequest(model, config, cache, images=folder))
    ...                      # prepared.parts says what the engine will depend on
    int8 = calibrate(prepared)
    int8.quantized               # bytes of the Q/DQ model, for the builder
    int8.record, int8.accuracy   # for the manifest

    # or, with the engine compiler:
    with int8_quantizer(request) as quantize:
        compile_engine(model, build_config, quantize=quantize)

The ranges are kept in the calibration cache, and with them which layers stay in float32 and how
accurate the result was. As long as nothing that they depend on changes, no image is looked at
again.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
import hashlib
import logging
from pathlib import Path
import tempfile
from typing import Any
from typing import Callable
from typing import Iterator
from typing import Mapping

from c7_inference_ros.engines.build_key import key_of
from c7_inference_ros.engines.building.builder import EngineBuilder
from c7_inference_ros.engines.building.builder import OnProgress
from c7_inference_ros.engines.calibration.calibration_cache import CACHE_SUFFIX
from c7_inference_ros.engines.calibration.calibration_cache import CalibrationCache
from c7_inference_ros.engines.calibration.entropy import ALGORITHM
from c7_inference_ros.engines.calibration.int8_model import Int8Maker
from c7_inference_ros.engines.calibration.int8_model import QuantizedModel
from c7_inference_ros.engines.calibration.quantizable_model import read_quantizable
from c7_inference_ros.engines.calibration.quantization import check_explicit_support
from c7_inference_ros.engines.calibration.quantization import layers_without_range
from c7_inference_ros.engines.calibration.quantization import measure_ranges
from c7_inference_ros.engines.calibration.quantization import METHOD
from c7_inference_ros.engines.calibration.quantization import pack_ranges
from c7_inference_ros.engines.calibration.quantization import quantizer_version
from c7_inference_ros.engines.calibration.quantization import unpack_ranges
from c7_inference_ros.engines.compiler import Quantization
from c7_inference_ros.engines.compiler import Quantize
from c7_inference_ros.engines.onnx_source import OnnxSource
from c7_inference_ros.engines.types import AccuracyCheck
from c7_inference_ros.errors import CalibrationCacheError
from c7_inference_ros.tools.calibration_data import calibration_feeds
from c7_inference_ros.tools.implicit_calibration import implicit_quantization
from c7_inference_ros.tools.int8_request import CalibrationRequest
from c7_inference_ros.tools.int8_request import IMPLICIT
from c7_inference_ros.tools.int8_request import prepare
from c7_inference_ros.tools.int8_request import PreparedCalibration
from c7_inference_ros.tools.layer_choice import choose_layers
from c7_inference_ros.tools.layer_choice import LayerChoice

__all__ = ['calibrate', 'CalibrationRequest', 'int8_quantizer', 'Int8Model', 'prepare',
           'PreparedCalibration']

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Int8Model:
    """
    A quantised model that was accepted.

    :param quantized: bytes of the ONNX model with Q/DQ pairs.
    :param excluded: layers that stay float32.
    :param accuracy: how it was checked, or None.
    :param is_reused: whether the ranges came from the cache.
    :param reason: why, one clause.
    :param record: for :attr:`EngineManifest.calibration`, plain values; the same whether the
        ranges were reused or not, because the engine is.
    :param kept: number of nodes in float32 where those that are not int8 are float16, or None.
    :param warnings: of making the model.
    """

    quantized: bytes
    excluded: tuple[str, ...]
    accuracy: AccuracyCheck | None
    is_reused: bool
    reason: str
    record: Mapping[str, Any] = field(default_factory=dict)
    kept: int | None = None
    warnings: tuple[str, ...] = ()


def calibrate(prepared: PreparedCalibration,
              on_progress: OnProgress = lambda phase, step, total: None) -> Int8Model:
    """
    Quantise a model, with ranges from the cache or from its images.

    Other processes that calibrate into the same cache wait.

    :param on_progress: told how far it is.
    :raises CalibrationCacheError: the cache is damaged, or an image cannot be used; the cache
        stays as it was.
    :raises EngineBuildError: the model cannot be quantised, or loses too much accuracy.
    """
    model = read_quantizable(prepared.request.model)
    if model.source.sha256 != prepared.source.sha256:
        raise CalibrationCacheError(f'{model.source.path} changed meanwhile; start again')

    def parse(data: bytes) -> tuple[dict[str, float], dict[str, Any] | None]:
        return unpack_ranges(data, model)

    cache = CalibrationCache(prepared.cache, prepared.parts, parse)
    images = len(prepared.dataset)
    with cache.locked():
        checked = cache.check()
        _log.info('INT8 calibration of %s: %s', model.source.path, checked.reason)
        if checked.content is not None:
            ranges, kept = checked.content
        else:
            ranges, kept = measure_ranges(
                model, calibration_feeds(prepared.dataset, prepared.contract), images,
                lambda done, total: on_progress('calibrating', done, total)), None
            # Kept even if the accuracy is refused: another limit needs no new ranges.
            cache.store(pack_ranges(ranges, images, None))
        maker = Int8Maker(model, ranges, tuple(prepared.request.high_precision_nodes),
                          prepared.request.is_half)
        choice, quantized = _reuse_choice(prepared, maker, kept) or choose_layers(
            maker, prepared.contract, prepared.truth, prepared.request.max_drop,
            prepared.request.search_timeout_s, on_progress)
        quantized_sha256 = hashlib.sha256(quantized.data).hexdigest()
        chosen = {**choice.to_plain(), 'key': key_of(prepared.accuracy_parts),
                  'quantized_sha256': quantized_sha256}
        if chosen != kept:
            kept = chosen
            cache.store(pack_ranges(ranges, images, kept))
        data = pack_ranges(ranges, images, kept)
    is_reused = checked.content is not None
    skipped = sorted({*choice.excluded, *layers_without_range(model, ranges)})
    record = {
        'method': METHOD, 'calibrator': ALGORITHM, 'quantizer': quantizer_version(),
        'images': images, 'source': prepared.dataset.description,
        'dataset_sha256': prepared.dataset.sha256, 'layers': len(model.layers) - len(skipped),
        'float32_layers': skipped, 'cache': prepared.cache.name,
        'cache_sha256': hashlib.sha256(data).hexdigest(), 'cache_key': cache.key,
        'other_layers': 'float16' if prepared.request.is_half else 'by flags of the builder',
        'quantized_onnx_sha256': quantized_sha256}
    return Int8Model(quantized.data, tuple(skipped), choice.accuracy, is_reused, checked.reason,
                     record, quantized.kept, quantized.warnings)


@contextmanager
def int8_quantizer(request: CalibrationRequest,
                   on_progress: OnProgress = lambda phase, step, total: None,
                   tell: Callable[[str], None] = lambda text: None) -> Iterator[Quantize]:
    """
    Give what :func:`c7_inference_ros.engines.compiler.compile_engine` takes as ``quantize``.

    The quantised model lies in a folder of its own until the block ends. Without a cache in the
    request, the cache stands beside the engine and has the name of the model.

    :param tell: told what is being done, a line at a time.
    """
    with tempfile.TemporaryDirectory(prefix='c7_int8.') as folder:
        def run(source: OnnxSource, builder: EngineBuilder, stem: Path) -> Quantization:
            if request.method == IMPLICIT:
                return implicit_quantization(request, source, builder, stem, Path(folder),
                                             on_progress, tell)
            check_explicit_support(builder.package, builder.version)
            # Ranges are good for every builder, so that the engine's name says too much.
            cache = request.cache or stem.with_name(source.path.stem + CACHE_SUFFIX)
            made = calibrate(prepare(replace(request, model=source.path, cache=cache,
                                             is_half=not builder.has_weak_typing)), on_progress)
            tell(f'INT8 ranges {"reused" if made.is_reused else "measured"}: {made.reason}')
            if made.excluded:
                tell(f'layers that stay in float32: {", ".join(made.excluded)}')
            target = Path(folder) / f'{source.path.stem}.qdq.onnx'
            target.write_bytes(made.quantized)
            return Quantization(made.record, target, made.kept, made.warnings,
                                accuracy=made.accuracy)

        yield run


def _reuse_choice(prepared: PreparedCalibration, maker: Int8Maker,
                  kept: Mapping[str, Any] | None) -> tuple[LayerChoice, QuantizedModel] | None:
    """Return the choice of before where it gives the very model that was accepted then."""
    if kept is None or kept.get('key') != key_of(prepared.accuracy_parts):
        return None
    try:
        choice = LayerChoice.from_plain(kept)
    except (KeyError, TypeError, ValueError) as error:
        raise CalibrationCacheError(
            f'{prepared.cache} is malformed: its choice of layers cannot be read ({error}); '
            f'delete it and its sidecars to have it made again') from error
    quantized = maker.without(choice.excluded)
    if hashlib.sha256(quantized.data).hexdigest() != kept.get('quantized_sha256'):
        return None
    return choice, quantized
