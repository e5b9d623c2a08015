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

"""The quantised model as it is built: with Q/DQ pairs, and with the rest in float16 or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Collection
from typing import Mapping

from c7_inference_ros.engines.building.onnx_conversion import half_copy
from c7_inference_ros.engines.building.onnx_graph import matching_nodes
from c7_inference_ros.engines.calibration.quantizable_model import import_onnx
from c7_inference_ros.engines.calibration.quantizable_model import QuantizableModel
from c7_inference_ros.engines.calibration.quantization import quantize


@dataclass(frozen=True)
class QuantizedModel:
    """
    A quantised model.

    :param data: bytes of the ONNX model.
    :param kept: number of nodes that stay in float32 where the others are float16, or None.
    :param warnings: of making it.
    """

    data: bytes
    kept: int | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Int8Maker:
    """
    Makes quantised variants of one model; the same variant has the same bytes.

    :param model: the float32 model.
    :param ranges: of its activations.
    :param patterns: of nodes that stay in float32.
    :param is_half: whether what is not int8 becomes float16, for builders that take types from
        the model; else their flags say it.
    """

    model: QuantizableModel
    ranges: Mapping[str, float]
    patterns: tuple[str, ...] = ()
    is_half: bool = False

    def without(self, excluded: Collection[str]) -> QuantizedModel:
        """
        Return the variant in which some layers stay in float32.

        :raises EngineBuildError: no layer is left, or it cannot be converted.
        """
        data = quantize(self.model, self.ranges, excluded)
        if not self.is_half:
            return QuantizedModel(data)
        path = self.model.source.path
        named = matching_nodes(self.model.model.graph.node, self.patterns, path.name)
        half = half_copy(import_onnx().load_from_string(data), path,
                         keep_names=named.union(excluded))
        return QuantizedModel(half.data, len(half.kept), half.warnings)
