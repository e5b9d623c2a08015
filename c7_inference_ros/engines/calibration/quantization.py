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
Explicit INT8: from a float32 ONNX model and ranges to a model with Q/DQ pairs.

Only the inputs of convolutions and matrix products become int8, and their weights by channel;
everything is symmetric, each layer has its own pairs, and biases stay float32: what TensorRT
accepts and fuses. The result runs in ONNX Runtime, too. The same model, ranges and excluded
layers give the same bytes, so that the ranges are all that has to be kept.
"""

from __future__ import annotations

import json
import math
from typing import Any
from typing import Callable
from typing import Collection
from typing import Iterable
from typing import Mapping

from c7_inference_ros.engines.calibration.entropy import ALGORITHM
from c7_inference_ros.engines.calibration.entropy import MagnitudeHistogram
from c7_inference_ros.engines.calibration.quantizable_model import import_onnx
from c7_inference_ros.engines.calibration.quantizable_model import import_onnxruntime
from c7_inference_ros.engines.calibration.quantizable_model import open_session
from c7_inference_ros.engines.calibration.quantizable_model import OPERATORS
from c7_inference_ros.engines.calibration.quantizable_model import QDQ
from c7_inference_ros.engines.calibration.quantizable_model import QuantizableModel
from c7_inference_ros.engines.calibration.quantizable_model import serialize
from c7_inference_ros.errors import CalibrationCacheError
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.errors import RuntimeNotAvailableError
import numpy as np
from numpy.typing import NDArray

METHOD = 'explicit Q/DQ'
#: Changes with anything here that changes the quantised model.
_SCHEME = 2


def check_explicit_support(package: str, version: str) -> None:
    """
    Refuse a TensorRT that cannot build Q/DQ models, before anything else is done.

    :param package: ``tensorrt`` or ``tensorrt_rtx``.
    :param version: dotted.
    :raises EngineBuildError: it is TensorRT-RTX 1.4 or older.
    """
    numbers = tuple(int(part) for part in version.split('.')[:2] if part.isdigit())
    if package == 'tensorrt_rtx' and numbers < (1, 5):
        raise EngineBuildError(
            f'TensorRT-RTX {version} cannot build INT8: it refuses quantised convolutions; use '
            f'1.7 or newer, or build for fp16')


def quantizer_version() -> str:
    """Return what the quantised model depends on besides model, ranges and excluded layers."""
    return (f'scheme {_SCHEME}, {ALGORITHM}, onnxruntime {import_onnxruntime().__version__}, '
            f'onnx {import_onnx().__version__}')


def measure_ranges(model: QuantizableModel, feeds: Iterable[Mapping[str, NDArray[Any]]],
                   expected: int, on_batch: Callable[[int, int], None] = lambda done, total: None
                   ) -> dict[str, float]:
    """
    Run the float32 model over a data set and find the threshold of each tensor.

    :param feeds: inputs, one image after the other; pulled once.
    :param expected: how many there have to be.
    :param on_batch: told how far it is.
    :returns: largest magnitude by tensor; 0 for a tensor that is always zero.
    :raises CalibrationCacheError: there are fewer or more images, or none.
    :raises EngineBuildError: the model fails on an image.
    """
    if expected < 1:
        raise CalibrationCacheError(
            'the calibration data set is empty, expected images; give other images')
    name = str(model.source.path)
    inputs = {info.name for info in model.model.graph.input}
    inner = [tensor for tensor in model.activations if tensor not in inputs]
    session = open_session(_with_outputs(model, inner), name)
    histograms = {tensor: MagnitudeHistogram() for tensor in model.activations}
    pulled = 0
    for feed in feeds:
        pulled += 1
        try:
            values = session.run(inner, dict(feed)) if inner else []
        except Exception as error:
            raise EngineBuildError(
                f'{name} fails on calibration image {pulled}: {" ".join(str(error).split())}; '
                f'check preprocess') from error
        for tensor, value in (*zip(inner, values), *feed.items()):
            if tensor not in histograms:
                continue
            try:
                histograms[tensor].add(value)
            except ValueError as error:
                raise EngineBuildError(
                    f'{name} cannot be calibrated: on image {pulled}, {tensor}: {error}; check '
                    f'preprocess and the model') from error
        on_batch(pulled, expected)
    if pulled != expected:
        raise CalibrationCacheError(
            f'calibration of {name} got {pulled} images, expected {expected}; the data set '
            f'changed meanwhile, start again')
    return {tensor: histogram.threshold() for tensor, histogram in histograms.items()}


def layers_without_range(model: QuantizableModel, ranges: Mapping[str, float]) -> frozenset[str]:
    """Return the layers that no image gives anything but zeros to."""
    return frozenset(name for name, layer in model.layers.items()
                     if ranges[layer.activation] == 0.0)


def quantize(model: QuantizableModel, ranges: Mapping[str, float],
             excluded: Collection[str]) -> bytes:
    """
    Return the model with Q/DQ pairs.

    :param ranges: of :func:`measure_ranges`.
    :param excluded: names of layers that stay float32.
    :raises EngineBuildError: no layer is left.
    """
    tools, tensor_data = _import_quantizer()
    skipped = layers_without_range(model, ranges).union(excluded)
    chosen = [name for name in model.layers if name not in skipped]
    name = str(model.source.path)
    if not chosen:
        raise EngineBuildError(f'{name}: all {len(model.layers)} layers would stay in float32; '
                               f'exclude fewer, or build for another precision')
    copy = import_onnx().ModelProto()
    copy.CopyFrom(model.model)
    limits = {tensor: tensor_data(lowest=np.float32(-limit), highest=np.float32(limit))
              for tensor, limit in ranges.items() if limit > 0.0}
    quantizer = tools.QDQQuantizer(
        copy, True, False, tools.QuantType.QInt8, tools.QuantType.QInt8, limits, chosen, [],
        list(OPERATORS), {
            'ActivationSymmetric': True, 'WeightSymmetric': True, 'AddQDQPairToWeight': False,
            'DedicatedQDQPair': True, 'QuantizeBias': False,
            'OpTypesToExcludeOutputQuantization': list(OPERATORS),
            # Without this, scales of weights grow to suit an int32 bias that there is not.
            'QDQDisableWeightAdjustForInt32Bias': True})
    quantizer.quantize_model()
    _keep_for_others(quantizer.model.model.graph, frozenset(chosen))
    quantizer.model.topological_sort()
    result = quantizer.model.model
    kept = [entry for entry in result.metadata_props if entry.key != 'onnx.infer']
    del result.metadata_props[:]
    result.metadata_props.extend(kept)
    return serialize(result, name)


def _import_quantizer() -> tuple[Any, Any]:
    import_onnxruntime()
    try:
        from onnxruntime import quantization
        from onnxruntime.quantization.calibrate import TensorData
    except ImportError as error:
        raise RuntimeNotAvailableError(
            f'the quantisation of ONNX Runtime cannot be imported ({" ".join(str(error).split())}'
            f'); install what it needs, for example with: pip install sympy') from error
    return quantization, TensorData


def pack_ranges(ranges: Mapping[str, float], images: int, choice: Mapping[str, Any] | None
                ) -> bytes:
    """
    Return the calibration product as bytes.

    :param choice: what was decided from the ranges, plain values, or None.
    """
    return json.dumps({'format': _SCHEME, 'method': METHOD, 'calibrator': ALGORITHM,
                       'images': images, 'ranges': dict(ranges), 'choice': choice},
                      sort_keys=True, indent=1, allow_nan=False).encode() + b'\n'


def unpack_ranges(data: bytes, model: QuantizableModel
                  ) -> tuple[dict[str, float], dict[str, Any] | None]:
    """
    Return the ranges, and what was decided from them, of :func:`pack_ranges`.

    :raises CalibrationCacheError: the bytes are malformed, or are not for this model.
    """
    try:
        content = json.loads(data)
        ranges, choice = content['ranges'], content['choice']
        is_known = (content['format'] == _SCHEME and content['method'] == METHOD
                    and isinstance(ranges, dict) and isinstance(choice, (dict, type(None))))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _malformed(f'{type(error).__name__}: {error}') from error
    if not is_known:
        raise _malformed('its format or method is unknown')
    for name, value in ranges.items():
        if not isinstance(value, float) or not math.isfinite(value) or value < 0.0:
            raise _malformed(f'the range of {name} is {value!r}, expected 0 or more')
    different = sorted(set(ranges).symmetric_difference(model.activations))
    if different:
        raise _malformed(f'its tensors are not those of {model.source.path}, for example '
                         f'{different[0]}')
    return ranges, choice


def _keep_for_others(graph: Any, chosen: Collection[str]) -> None:
    """
    Give the layers that are not quantised their float32 inputs back.

    The quantizer gives everybody who reads a tensor the rounded values: residual additions and
    excluded layers, too.
    """
    producers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.name in chosen or node.op_type in QDQ:
            continue
        for index, tensor in enumerate(node.input):
            producer = producers.get(tensor)
            if producer is not None and producer.op_type == 'DequantizeLinear':
                node.input[index] = producers[producer.input[0]].input[0]


def _with_outputs(model: QuantizableModel, tensors: Iterable[str]) -> bytes:
    """Return the model with inner tensors as outputs."""
    copy = import_onnx().ModelProto()
    copy.CopyFrom(model.model)
    known = {info.name: info for info in copy.graph.value_info}
    present = {info.name for info in copy.graph.output}
    copy.graph.output.extend(known[tensor] for tensor in tensors if tensor not in present)
    return serialize(copy, str(model.source.path))


def _malformed(what: str) -> CalibrationCacheError:
    return CalibrationCacheError(
        f'the calibration cache is malformed: {what}; delete it and its sidecars to have it made '
        f'again')
