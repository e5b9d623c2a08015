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

"""Everything that an engine depends on changes its key, and is named when it did."""

from dataclasses import replace
import json
from pathlib import Path

from c7_inference_ros.engines.build_key import build_parts
from c7_inference_ros.engines.build_key import changes
from c7_inference_ros.engines.build_key import key_of
from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.engines.types import PrecisionMode
import pytest

HOST = HostTuple('87', '36.4.3', 'tensorrt', '10.3.0', 'NVIDIA Jetson AGX Orin')
CONFIG = BuildConfig(processing={'decoder': 'yolox', 'preprocess': {'scale': 1.0, 'mean': (0.0,)}})
GIVEN = {'onnx_sha256': 'a' * 64, 'converter': '1', 'host': HOST, 'branch': 'direct',
         'config': CONFIG, 'calibration': None, 'accuracy': None}
PROFILE = OptimizationProfile('batch', {'x': ((1, 3), (2, 3), (4, 3))})


def parts(**others):
    return build_parts(**{**GIVEN, **others})


@pytest.mark.parametrize(('change', 'said'), [
    ({'onnx_sha256': 'b' * 64}, 'ONNX model changed from aaaaaaaaaaaa... to bbbbbbbbbbbb...'),
    ({'converter': '2'}, 'converter changed from 1 to 2'),
    ({'host': replace(HOST, version='10.4.0')}, 'version changed from 10.3.0 to 10.4.0'),
    ({'host': replace(HOST, sm='86')}, 'SM changed from 87 to 86'),
    ({'host': replace(HOST, device_name='NVIDIA Jetson Orin Nano')},
     'device changed from NVIDIA Jetson AGX Orin to NVIDIA Jetson Orin Nano'),
    ({'branch': 'trtexec'}, 'branch changed from direct to trtexec'),
    ({'config': replace(CONFIG, precision=PrecisionMode.FP32)},
     'precision changed from fp16 to fp32'),
    ({'config': replace(CONFIG, profiles=(PROFILE,))}, 'profiles changed'),
    ({'config': replace(CONFIG, workspace_bytes=1 << 20)},
     'workspace changed from 1073741824 to 1048576'),
    ({'config': replace(CONFIG, optimization_level=5)}, 'optimization level changed from 3 to 5'),
    ({'config': replace(CONFIG, is_tf32_allowed=True)}, 'TF32 changed from false to true'),
    ({'config': replace(CONFIG, high_precision_nodes=('Softmax',))},
     'layers in float32 changed from none to ["Softmax"]'),
    ({'config': replace(CONFIG, processing={'decoder': 'yolov8',
                                            'preprocess': {'scale': 1.0, 'mean': [0.0]}})},
     'processing changed (decoder)'),
    ({'calibration': {'dataset_sha256': 'c' * 64}}, 'calibration changed'),
    ({'accuracy': {'limit': 0.03}}, 'accuracy check changed')])
def test_each_part_changes_the_key_and_is_named(change, said):
    assert key_of(parts(**change)) != key_of(parts())
    # The old parts come back from a file.
    assert changes(json.loads(json.dumps(parts())), parts(**change)) == said


def test_what_an_engine_does_not_depend_on():
    other = replace(CONFIG, output_dir=Path('elsewhere'), timing_cache=Path('timings'),
                    timeout_s=1.0, package='tensorrt')
    assert key_of(parts(config=other)) == key_of(parts())
    assert changes(json.loads(json.dumps(parts())), parts()) == ''
    # A list and a tuple are the same thing, and so is the order of patterns and of keys.
    same = replace(CONFIG, processing={'preprocess': {'mean': [0.0], 'scale': 1.0},
                                       'decoder': 'yolox'})
    assert key_of(parts(config=same)) == key_of(parts())


def test_several_changes_are_all_named():
    said = changes(parts(), parts(onnx_sha256='b' * 64, config=replace(
        CONFIG, optimization_level=1)))
    assert 'ONNX model changed' in said and 'optimization level changed' in said


@pytest.mark.parametrize('old', [None, {}, [], 'text', {'scheme': 0}])
def test_a_manifest_that_does_not_say(old):
    assert changes(old, parts()) == ('it does not say, in a way that this version reads, what it '
                                     'was built from')
