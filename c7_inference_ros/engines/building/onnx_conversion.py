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
An ONNX model in float16, for builders that take the precision from the types of the model.

ONNX Runtime's converter does the work; around it, what it gets wrong is put right: constants that
float32 and float16 nodes share, round trips through float16 between nodes that stay in float32,
models that keep their weights in float16 already, and the order of nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
import logging
from pathlib import Path
from typing import Any
from typing import Collection
from typing import Mapping
from typing import Sequence

from c7_inference_ros.engines.atomic_file import write_atomically
from c7_inference_ros.engines.atomic_file import write_problem
from c7_inference_ros.engines.building import half_quantization
from c7_inference_ros.engines.building import onnx_graph
from c7_inference_ros.engines.building.network import read_onnx
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.errors import RuntimeNotAvailableError
import numpy as np

#: Largest finite float16, and the smallest one with all its digits.
HALF_MAX, HALF_NORMAL_MIN = 65504.0, 2.0 ** -14
#: Operators that stay in float32: they have no float16 form everywhere, or soon leave its range.
FLOAT32_OPERATORS = (
    'ArrayFeatureExtractor', 'CumSum', 'Exp', 'Max', 'Min', 'NonMaxSuppression',
    'RandomUniformLike', 'Range', 'ReduceL2', 'ReduceSumSquare', 'RoiAlign', 'TopK', 'Upsample')
_MAX_BYTES = (1 << 31) - 1


@dataclass(frozen=True)
class HalfModel:
    """
    A model that was converted.

    :param path: the file.
    :param kept: names of the nodes that stay in float32.
    :param half_nodes: number of nodes in float16.
    :param warnings: constants that float16 cannot hold.
    """

    path: Path
    kept: tuple[str, ...]
    half_nodes: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class HalfCopy:
    """
    A model that was converted, in memory.

    :param data: its bytes.
    :param kept: names of the nodes that stay in float32.
    :param half_nodes: number of nodes in float16.
    :param warnings: what could not be done as wanted.
    :param is_runnable: whether ONNX Runtime has all of its operators.
    """

    data: bytes
    kept: tuple[str, ...]
    half_nodes: int
    warnings: tuple[str, ...]
    is_runnable: bool


def convert_to_half(source: Path, target: Path, keep: Sequence[str] = (),
                    shapes: Mapping[str, Sequence[int]] | None = None) -> HalfModel:
    """
    Write a float16 copy of a float32 model; equal input gives equal bytes.

    Inputs and outputs keep their types. In float32 stay: :data:`FLOAT32_OPERATORS`; everything
    after the last convolution or matrix product, where boxes are put together in pixels that
    float16 would round; squares, as in layer normalisation, up to their root; nodes with
    constants that it cannot hold; plugins of TensorRT; and what ``keep`` names. Of a quantised
    model, everything else becomes float16: what is not int8, and what int8 is given back as.

    :param source: the model; its weights may lie in files beside it.
    :param target: where to write; one file, whole or not at all.
    :param keep: patterns (:mod:`fnmatch`) of node names or operator types to stay in float32.
    :param shapes: of inputs with open dimensions, for a trial run; without, one image.
    :raises EngineBuildError: a pattern fits nothing, or the model cannot be converted.
    :raises RuntimeNotAvailableError: ONNX or ONNX Runtime are not installed.
    """
    onnx, _ = _import_converter()
    read_onnx(source)  # says more than onnx.load when a file is damaged or incomplete
    half = half_copy(onnx.load(str(source)), source, keep)
    if half.is_runnable:
        _try_out(source, half.data, shapes or {})
    try:
        write_atomically(target, half.data)
    except OSError as error:
        raise EngineBuildError(write_problem(error, target)) from error
    return HalfModel(target, half.kept, half.half_nodes, half.warnings)


def half_copy(model: Any, source: Path, keep: Sequence[str] = (),
              keep_names: Collection[str] = ()) -> HalfCopy:
    """
    Return a float16 copy of a model in memory; as :func:`convert_to_half`, but nothing is run.

    :param model: ``onnx.ModelProto``; is changed.
    :param source: what to call it in messages.
    :param keep: patterns of nodes to stay in float32.
    :param keep_names: names of nodes to stay in float32; some may be of no node.
    :raises EngineBuildError: a pattern fits nothing, or the model cannot be converted.
    :raises RuntimeNotAvailableError: ONNX or ONNX Runtime are not installed.
    """
    onnx, convert = _import_converter()
    if model.ByteSize() > _MAX_BYTES:
        raise EngineBuildError(
            f'{source} has {model.ByteSize()} bytes with its weights, and conversion to float16 '
            f'takes at most {_MAX_BYTES}; export it in float16')
    signature = onnx_graph.signature(model)
    # Operators that only TensorRT has are nothing that ONNX or ONNX Runtime could check.
    plugins = _unknown_operators(onnx, model)
    model, warnings = half_quantization.raise_opset(onnx, model)
    onnx_graph.prepare(onnx, model)
    kept, too_large = _nodes_to_keep(onnx, model, source, (*keep, *plugins), keep_names)
    warnings += too_large
    # QuantizeLinear is in float32 in any case; that is no decision that anybody asks for.
    reported = kept - half_quantization.quantizers(model)
    half_nodes = len(model.graph.node) - len(kept)
    half_quantization.round_scales(onnx, model, kept)
    onnx_graph.unshare_constants(onnx, model, kept)
    try:
        model = _convert_quietly(convert, model, kept)
        onnx_graph.clean_up(onnx, model)
        if not plugins:
            onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        raise EngineBuildError(
            f'{source} cannot be converted to float16: {" ".join(str(error).split())[:500]}; '
            f'export it in float16, or build it as fp32') from error
    if onnx_graph.signature(model) != signature:
        raise EngineBuildError(
            f'{source} changes its inputs or outputs in conversion to float16; export it in '
            f'float16, or build it as fp32')
    if plugins:
        warnings += (f'ONNX does not know {", ".join(plugins)}: these stay in float32, and the '
                     f'converted model was not tried out',)
    return HalfCopy(model.SerializeToString(deterministic=True), tuple(sorted(reported)),
                    half_nodes, warnings, not plugins)


def _unknown_operators(onnx: Any, model: Any) -> tuple[str, ...]:
    """Return the operator types that are not of ONNX."""
    versions = {one.domain: one.version for one in model.opset_import}
    unknown = {node.op_type for node in model.graph.node
               if node.domain not in ('', 'ai.onnx') or not onnx.defs.has(
                   node.op_type, max_inclusive_version=versions.get('', 1))}
    return tuple(sorted(unknown))


def _nodes_to_keep(onnx: Any, model: Any, source: Path, patterns: Sequence[str],
                   names: Collection[str]) -> tuple[set[str], tuple[str, ...]]:
    nodes = list(model.graph.node)
    kept = {node.name for node in nodes
            if node.op_type in FLOAT32_OPERATORS or node.name in names}
    kept |= onnx_graph.tail(nodes) | onnx_graph.squares(nodes)
    kept |= onnx_graph.matching_nodes(nodes, patterns, source.name)
    warnings = []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor) if tensor.data_type == onnx.TensorProto.FLOAT \
            else np.zeros(0)
        sizes = np.abs(values[np.isfinite(values)])
        most = float(sizes.max()) if sizes.size else 0.0
        if most <= HALF_MAX and not 0 < most < HALF_NORMAL_MIN:
            continue
        # Scales are judged one by one, with the pairs that they belong to.
        users = {node.name for node in nodes if tensor.name in node.input
                 and node.op_type not in half_quantization.QDQ}
        if users - kept and most > HALF_MAX:
            warnings.append(f'{tensor.name} reaches {most:g}, more than float16 holds '
                            f'({HALF_MAX:g}): {", ".join(sorted(users))} stay in float32')
        kept |= users
    return half_quantization.with_their_pairs(onnx, model, kept), tuple(warnings)


def _convert_quietly(convert: Any, model: Any, kept: set[str]) -> Any:
    # It names every value that it rounds.
    logger = logging.getLogger('onnxruntime.transformers.float16')
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return convert(model, keep_io_types=True, op_block_list=[], node_block_list=sorted(kept))
    finally:
        logger.setLevel(before)


def _try_out(source: Path, data: bytes, shapes: Mapping[str, Sequence[int]]) -> None:
    """Load the converted model, and run it once where the shapes are known."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Only its types are of interest, not its speed.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(data, options, providers=['CPUExecutionProvider'])
        feed = {}
        for one in session.get_inputs():
            shape = list(shapes.get(one.name, [1 if index == 0 and not isinstance(size, int)
                                               else size for index, size in enumerate(one.shape)]))
            if any(not isinstance(size, int) or size < 0 for size in shape):
                return
            feed[one.name] = np.ones(shape, onnx_graph.NUMPY_TYPES[one.type])
        session.run(None, feed)
    except Exception as error:
        raise EngineBuildError(
            f'{source} was converted to float16, but ONNX Runtime does not run it: '
            f'{" ".join(str(error).split())[:500]}; name the node in high_precision_nodes, or '
            f'build it as fp32') from error


def _import_converter() -> tuple[Any, Any]:
    try:
        import onnx
        import onnx.checker
        import onnx.defs
        import onnx.numpy_helper
        import onnx.shape_inference
        import onnx.version_converter
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ImportError as error:
        raise RuntimeNotAvailableError(
            f'conversion to float16 needs the Python packages onnx and onnxruntime, and one does '
            f'not load ({" ".join(str(error).split())}); pip install onnx onnxruntime sympy, or '
            f'export the model in float16') from error
    return onnx, convert_float_to_float16
