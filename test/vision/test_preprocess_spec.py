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

import json

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.parameter_groups import PreprocessConfig
from c7_inference_ros.vision.preprocess_spec import resolve_preprocess
import numpy as np
import pytest

PREFIX = 'models.front.preprocess'
RAW = {'scale': 1.0, 'mean': (0.0, 0.0, 0.0), 'std': (1.0, 1.0, 1.0)}


def resolve(shape, model_dtype='float32', **config):
    return resolve_preprocess(PreprocessConfig(**config), shape, np.dtype(model_dtype), PREFIX)


def problems_of(*args, **config) -> tuple:
    with pytest.raises(ConfigurationError) as caught:
        resolve(*args, **config)
    assert not any('\n' in problem for problem in caught.value.problems)
    return caught.value.problems


@pytest.mark.parametrize('shape, config, expected', [
    ((1, 3, 416, 640), {}, (1, 3, 416, 640)),
    ((-1, 3, 320, 320), {}, (1, 3, 320, 320)),
    ((1, 416, 640, 3), {}, (1, 416, 640, 3)),
    ((1, 1, 48, 96), {}, (1, 1, 48, 96)),
    ((1, 48, 96, 1), {}, (1, 48, 96, 1)),
    ((1, 3, 48, 1), {}, (1, 3, 48, 1)),
    ((1, 3, -1, -1), {'width': 640, 'height': 384}, (1, 3, 384, 640)),
    ((-1, -1, -1, 3), {'width': 640, 'height': 384}, (1, 384, 640, 3)),
    ((1, 3, 416, -1), {'width': 640}, (1, 3, 416, 640)),
    ((1, 3, 416, 640), {'width': 640, 'height': 416}, (1, 3, 416, 640)),
    ((-1, -1, -1, -1), {'layout': 'nchw', 'width': 32, 'height': 64}, (1, 3, 64, 32)),
    ((1, 3, 64, 3), {'layout': 'nhwc'}, (1, 3, 64, 3)),
    ((1, 3, 64, 3), {'layout': 'nchw'}, (1, 3, 64, 3)),
])
def test_layout_and_size_come_from_the_model_or_the_settings(shape, config, expected):
    assert resolve(shape, **config).shape == expected


def test_layout_of_an_ambiguous_shape_is_the_one_that_was_set():
    nhwc, nchw = (resolve((1, 3, 64, 3), layout=layout) for layout in ('nhwc', 'nchw'))
    assert (nhwc.layout, nhwc.height, nhwc.width) == ('nhwc', 3, 64)
    assert (nchw.layout, nchw.height, nchw.width) == ('nchw', 64, 3)


@pytest.mark.parametrize('shape, config, parts', [
    ((3, 416, 416), {}, ['[3, 416, 416]', 'expected one image']),
    ((), {}, ['[]']),
    ((4, 3, 416, 416), {}, ['[4, 3, 416, 416]', 'batch 1']),
    ((1, 3, 64, 3), {}, ['.layout is auto', 'could be both', 'set it to nchw or nhwc']),
    ((1, -1, -1, -1), {}, ['.layout is auto', '[1, ?, ?, ?]', 'shows no 3 or 1']),
    ((1, 4, 64, 64), {}, ['.layout is auto', 'shows no 3 or 1']),
    ((1, 3, 64, 64), {'layout': 'nhwc'}, ['.layout is nhwc', '64 channels', 'set it to auto']),
    ((1, 3, 416, 416), {'width': 640}, ['.width is 640', 'takes only 416', '0 or 416']),
    ((1, 3, 416, 416), {'height': 640}, ['.height is 640', 'takes only 416']),
    ((1, 3, -1, 416), {}, ['.height is 0', '[1, 3, ?, 416]', 'trained with']),
    ((1, 3, 1 << 20, 416), {}, ['at most 16384']),
    ((1, 3, 416, 416), {'dtype': 'float16'}, ['.dtype is float16', 'takes float32']),
    ((1, 3, 416, 416), {'scale': 0.0}, ['.scale is 0']),
])
def test_contradiction_names_the_parameter_and_both_sides(shape, config, parts):
    (problem,) = problems_of(shape, **config)
    assert PREFIX in problem and all(part in problem for part in parts)


def test_every_contradiction_is_said_at_once():
    problems = problems_of((1, 3, -1, 416), 'float16', width=640, dtype='uint8', scale=0.0)
    assert [problem.split()[0].rpartition('.')[2] for problem in problems] == [
        'width', 'height', 'dtype', 'scale']


@pytest.mark.parametrize('name', ['float32', 'float16', 'uint8'])
def test_element_type_of_the_model_is_taken(name):
    for wanted in ('auto', name):
        spec = resolve((1, 3, 8, 8), name, dtype=wanted, **RAW)
        assert spec.dtype == np.dtype(name)


@pytest.mark.parametrize('name', ['int64', 'float64', 'bool', 'int8'])
def test_other_element_types_are_refused(name):
    (problem,) = problems_of((1, 3, 8, 8), name)
    assert name in problem and 'float32, float16, uint8' in problem


@pytest.mark.parametrize('changed', [
    {'scale': 1 / 255}, {'mean': (0.0, 1.0, 0.0)}, {'std': (1.0, 1.0, 2.0)}])
def test_bytes_cannot_be_scaled(changed):
    (problem,) = problems_of((1, 3, 8, 8), 'uint8', **{**RAW, **changed})
    assert 'takes uint8' in problem and 'set scale to 1.0' in problem


def test_values_past_float16_are_refused():
    (problem,) = problems_of((1, 3, 8, 8), 'float16', std=(1e-6, 1.0, 1.0))
    assert 'float16' in problem and '65504' in problem
    assert resolve((1, 3, 8, 8), 'float32', std=(1e-6, 1.0, 1.0)).dtype == np.float32


def test_dictionary_is_json_and_says_everything():
    spec = resolve((1, 3, 416, 640), resize='stretch', color_order='bgr', pad_value=7,
                   interpolation='area')
    plain = json.loads(json.dumps(spec.to_dict()))
    assert plain == {
        'resize': 'stretch', 'anchor': 'center', 'interpolation': 'area',
        'pad_value': 7, 'color_order': 'bgr',
        'scale': pytest.approx(1 / 255), 'mean': [0, 0, 0], 'std': [1, 1, 1], 'layout': 'nchw',
        'dtype': 'float32', 'width': 640, 'height': 416, 'channels': 3}
