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

"""The name of an engine: built and parsed by one strict pair."""

import dataclasses

from c7_inference_ros.engines.filename import engine_name
from c7_inference_ros.engines.filename import EngineName
from c7_inference_ros.engines.filename import model_slug
from c7_inference_ros.engines.filename import parse_engine_name
from c7_inference_ros.engines.types import ANY_SM
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineSchemaMismatchError
from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st
import pytest

ORIN = HostTuple('87', '36.4.3', 'tensorrt', '10.3.0', 'Jetson Orin Nano 8GB')
RTX = HostTuple(ANY_SM, 'x86', 'tensorrt_rtx', '1.7.1.116')
GOOD = 'yolox_nano__sm87_jp36.4.3_trt10.3.0_fp16.engine'

numbers = st.text('0123456789', min_size=1, max_size=6)
versions = st.lists(numbers, min_size=2, max_size=5).map('.'.join)
models = st.from_regex(r'[a-z0-9_]{1,64}', fullmatch=True).filter(lambda text: '__' not in text)
names = st.builds(
    EngineName, models, st.integers(10, 999).map(str), st.just('x86') | versions,
    st.sampled_from(['tensorrt', 'tensorrt_rtx']), versions, st.sampled_from(PrecisionMode))


@pytest.mark.parametrize('name, text', [
    (engine_name('yolox_nano', ORIN, PrecisionMode.FP16), GOOD),
    (engine_name('yolox_nano', RTX, PrecisionMode.FP32),
     'yolox_nano__smany_jpx86_rtx1.7.1.116_fp32.engine'),
    (engine_name('a', HostTuple('110', '38.2.1', 'tensorrt', '10.13.0.35'), PrecisionMode.MIXED),
     'a__sm110_jp38.2.1_trt10.13.0.35_mixed.engine'),
])
def test_names_are_what_is_documented(name, text):
    assert name.build() == text
    assert parse_engine_name(text) == name


@given(names)
@example(EngineName('_', '87', 'x86', 'tensorrt', '10.3', PrecisionMode.INT8))
@example(EngineName('sm87_jp', '87', 'x86', 'tensorrt', '10.3', PrecisionMode.INT8))
def test_what_is_built_is_parsed_back(name):
    text = name.build()
    assert parse_engine_name(text) == name
    assert len(text) + len('.next.sha256') <= 255


@given(st.text(max_size=80) | st.from_regex(
    r'[a-z_]{1,9}__?sm[0-9a-z]{1,4}_jp[0-9.x]{1,8}_(trt|rtx)[0-9.]{1,8}_[a-z0-9]{4}\.engine'))
def test_whatever_is_parsed_is_built_back(text):
    try:
        name = parse_engine_name(text)
    except EngineSchemaMismatchError as error:
        assert '\n' not in str(error)
    else:
        assert name.build() == text


@pytest.mark.parametrize('text, reason', [
    ('', 'does not end'), ('model.onnx', 'does not end'), (GOOD + '.sha256', 'does not end'),
    (GOOD + '\n', 'does not end'), ('\n' + GOOD, 'model is'), ('folder/' + GOOD, 'model is'),
    ('yolox.engine', 'no __'), (GOOD.upper(), 'does not end'),
    (GOOD.replace('yolox_nano', ''), 'model is'),
    (GOOD.replace('yolox_nano', 'a' * 65), 'model is'),
    (GOOD.replace('yolox_nano', 'Yolox'), 'model is'),
    (GOOD.replace('yolox_nano', 'yolox__nano'), 'two _ in a row'),
    (GOOD.replace('sm87', 'sm8.7'), 'sm is'), (GOOD.replace('sm87', 'sm087'), 'sm is'),
    (GOOD.replace('sm87', 'sm'), 'sm is'), (GOOD.replace('sm87', 'smTrue'), 'sm is'),
    (GOOD.replace('sm87', 'sm８７'), 'sm is'), (GOOD.replace('sm87', '87'), 'sm is'),
    (GOOD.replace('36.4.3', ''), 'platform is'), (GOOD.replace('36.4.3', '36'), 'platform is'),
    (GOOD.replace('36.4.3', '36.4.'), 'platform is'), (GOOD.replace('jp', ''), 'platform is'),
    (GOOD.replace('36.4.3', 'arm'), 'platform is'), (GOOD.replace('36.4.3', 'X86'), 'platform is'),
    (GOOD.replace('trt10.3.0', '10.3.0'), 'version is'),
    (GOOD.replace('10.3.0', '10.3.0rc1'), 'version is'), (GOOD.replace('10.3.0', '10'), 'version'),
    (GOOD.replace('fp16', 'fp8'), 'precision is'), (GOOD.replace('fp16', 'FP16'), 'precision is'),
    (GOOD.replace('_fp16', ''), '3 parts'), (GOOD.replace('.engine', '_b.engine'), '5 parts'),
    ('a__smany_jpx86_trt10.3.0_fp16.engine', 'sm is any'),
    (None, 'expected text'), (True, 'expected text'), (GOOD.encode(), 'expected text'),
])
def test_other_names_are_refused_with_what_is_wrong(text, reason):
    with pytest.raises(EngineSchemaMismatchError, match=reason):
        parse_engine_name(text)


@pytest.mark.parametrize('field, value', [
    ('model', 'a__b'), ('model', 'A'), ('model', ''), ('model', 'a' * 65), ('model', True),
    ('model', 'a\n'), ('model', None), ('sm', True), ('sm', 87), ('sm', '8.7'), ('sm', '7'),
    ('sm', '1234'), ('sm', '87\n'), ('sm', ANY_SM), ('platform', False), ('platform', 36.4),
    ('platform', 'jetson'), ('platform', '36'), ('package', 'trt'), ('package', True),
    ('package', ['tensorrt']), ('version', True), ('version', 10.3), ('version', '10'),
    ('version', '10.3.0+cuda'), ('version', '٣.٣'), ('precision', 'fp16'), ('precision', True),
    ('precision', None),
])
def test_parts_of_another_form_or_type_are_refused(field, value):
    good = engine_name('yolox_nano', ORIN, PrecisionMode.FP16)
    with pytest.raises(EngineSchemaMismatchError, match=f'engine name: {field} is') as caught:
        dataclasses.replace(good, **{field: value})
    assert '\n' not in str(caught.value)


def test_a_host_matches_in_everything_but_the_precision_and_the_device():
    for precision in PrecisionMode:
        assert engine_name('a', ORIN, precision).matches_host(ORIN)
    name = engine_name('a', ORIN, PrecisionMode.FP16)
    assert name.matches_host(name.host)
    assert name.host.device_name == ''
    for field, value in [('sm', '86'), ('platform', '36.4.4'), ('package', 'tensorrt_rtx'),
                         ('version', '10.3.0.1')]:
        other = dataclasses.replace(ORIN, **{field: value})
        assert not name.matches_host(other)
        assert name.differences(other) == [(field, getattr(ORIN, field), value)]


@pytest.mark.parametrize('stem, slug', [
    ('yolox_nano', 'yolox_nano'), ('YOLOX-Nano.v2', 'yolox_nano_v2'), ('__a--b__', 'a_b'),
    ('straße 7', 'stra_e_7'), ('a' * 64, 'a' * 64)])
def test_slugs(stem, slug):
    assert model_slug(stem) == slug


@given(st.text(min_size=1, max_size=200))
def test_every_slug_names_an_engine(stem):
    try:
        slug = model_slug(stem)
    except ConfigurationError as error:
        assert 'rename' in str(error)
        return
    assert parse_engine_name(engine_name(slug, ORIN, PrecisionMode.FP16).build()).model == slug
    assert model_slug(slug) == slug


def test_long_stems_stay_apart():
    one, other = model_slug('a' * 80), model_slug('a' * 80 + 'b')
    assert one != other
    assert len(one) == len(other) == 64
