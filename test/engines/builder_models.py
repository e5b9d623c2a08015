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

"""Models and requests for the tests that build engines."""

from pathlib import Path

from c7_inference_ros.engines.building.builder import BuildRequest
from c7_inference_ros.engines.tensorrt_api import load_tensorrt
from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.engines.types import PrecisionMode
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / 'shared'
PERSON = ROOT / 'models' / 'person_ssdlite.onnx'
#: A batch of one to four for deimv2; the sizes of pictures are to follow.
DEIM_BATCH = OptimizationProfile('batch', {
    'images': ((1, 3, 320, 320), (2, 3, 320, 320), (4, 3, 320, 320))})


def shared_model(name):
    """Return a model of ../shared/models; the test is skipped where there is none."""
    path = SHARED / 'models' / name
    if not path.is_file():
        pytest.skip(f'../shared/models/{name} is not here')
    return path


def rtx():
    """Return the installed TensorRT-RTX; the test is skipped where there is none."""
    pytest.importorskip('tensorrt_rtx', reason='tensorrt_rtx is not installed; run: make env')
    return load_tensorrt('tensorrt_rtx')


def request(path, precision=PrecisionMode.FP32, on_progress=None, is_strongly_typed=True,
            **config):
    """Make a request to build a model."""
    return BuildRequest(path, path.name, BuildConfig(precision=precision, **config),
                        is_strongly_typed=is_strongly_typed, on_progress=on_progress)


def save(path, nodes, inputs, outputs, weights=None, opset=17):
    """
    Write an ONNX model and return its path.

    :param nodes: (operator type, inputs, outputs[, attributes]); named after their first output.
    :param inputs: (type name, shape) by tensor name.
    :param outputs: the same.
    :param weights: array by name.
    """
    onnx = pytest.importorskip('onnx', reason='onnx is not installed; run: make env')
    helper = onnx.helper

    def infos(tensors):
        return [helper.make_tensor_value_info(name, getattr(onnx.TensorProto, kind), shape)
                for name, (kind, shape) in tensors.items()]

    made = [helper.make_node(kind, take, give, name=f'make_{give[0]}', **(rest[0] if rest else {}))
            for kind, take, give, *rest in nodes]
    graph = helper.make_graph(
        made, 'graph', infos(inputs), infos(outputs),
        [onnx.numpy_helper.from_array(np.asarray(value), name)
         for name, value in (weights or {}).items()])
    onnx.save_model(helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid('', opset)]), str(path))
    return path


def sum_model(path):
    """Write z = x + y of vectors whose lengths are open, and have to be the same."""
    return save(path, [('Add', ['x', 'y'], ['z'])],
                {'x': ('FLOAT', ['a']), 'y': ('FLOAT', ['b'])}, {'z': ('FLOAT', ['c'])})


def reshape_model(path):
    """Write y = x in the shape that the input s says; x is [N, 12]."""
    return save(path, [('Reshape', ['x', 's'], ['y'])],
                {'x': ('FLOAT', ['N', 12]), 's': ('INT64', [2])}, {'y': ('FLOAT', ['p', 'q'])})
