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

"""Plans are told from junk, from other versions and from cut files by their first bytes."""

from c7_inference_ros.engines.trust.plan_header import parse_plan_header
from c7_inference_ros.engines.trust.plan_header import PlanHeader
from c7_inference_ros.errors import EngineSchemaMismatchError
from hypothesis import given
from hypothesis import strategies as st
import pytest
import trust_files as files


def test_plans_of_tensorrt():
    header = parse_plan_header(files.tensorrt_plan(version=(10, 3, 0, 30)))
    assert header == PlanHeader('tensorrt', (10, 3, 0, 30))
    assert header.version_text == '10.3.0.30'
    assert header.targets == ()


@pytest.mark.parametrize('data, version, length, targets', [
    (files.RTX_1_7, (1, 7, 1, 116), 5115020, ('80', '86', '89', '120', '121', 'bit 6')),
    (files.RTX_1_4, (1, 4, 0, 76), 6442996, ('80', '86', '89', '120', '121')),
])
def test_plans_of_both_generations_of_tensorrt_rtx(data, version, length, targets):
    for kind in (bytes, bytearray, memoryview):
        header = parse_plan_header(kind(data))
        assert (header.package, header.version, header.total_bytes, header.targets) == (
            'tensorrt_rtx', version, length, targets)


@pytest.mark.builder
def test_a_plan_that_was_just_built():
    plan, version = files.real_engine()
    header = parse_plan_header(plan)
    assert header.package == 'tensorrt_rtx'
    assert header.version_text == version
    assert header.is_version(version)
    assert header.total_bytes == len(plan)
    assert '86' in header.targets


@pytest.mark.parametrize('version, is_it', [
    ('10.3.0', True), ('10.3.0.30', True), ('10.3', True), ('10.3.1', False), ('10.3.0.31', False),
    ('11.3.0', False), ('1.3.0', False), ('10.30', False), ('10.3.0.30.post1', True),
    ('10.3.0.286', True), ('', False), ('rc1', False)])
def test_versions_are_compared_as_far_as_both_say(version, is_it):
    # The header has one byte for each number: 286 is written as 30.
    assert parse_plan_header(files.tensorrt_plan()).is_version(version) is is_it


@pytest.mark.parametrize('data, words', [
    (b'', 'begins with nothing'), (b'f', 'begins with'), (b'hello', 'begins with'),
    (b'\x08\x08\x12\x07pytorch', 'an ONNX file'), (b'trtf' + bytes(60), 'begins with'),
    (bytes(64), 'begins with'), (b'{"a": 1}', 'begins with'),
    (b'ftrt' + bytes(27), 'cut off within its header: 31 bytes, expected at least 32'),
    (files.RTX_1_7[:63], 'cut off within its header: 63 bytes, expected at least 64'),
    (files.RTX_1_7[:28] + b'ftrt' + files.RTX_1_7[32:], 'byte 28'),
])
def test_junk_is_refused(data, words):
    with pytest.raises(EngineSchemaMismatchError, match=words) as caught:
        parse_plan_header(data, 'some.engine')
    assert str(caught.value).startswith('some.engine ')
    assert '\n' not in str(caught.value)


@given(st.binary(max_size=100))
def test_anything_is_a_header_or_one_line(data):
    try:
        header = parse_plan_header(data)
    except EngineSchemaMismatchError as error:
        assert '\n' not in str(error)
    else:
        assert data[:4] in (b'ftrt', b'vtrt')
        assert header.version == tuple(data[24:28])


def test_every_cut_within_the_header_is_refused():
    for plan, size in ((files.tensorrt_plan(), 32), (files.rtx_plan(), 64)):
        for length in range(size):
            with pytest.raises(EngineSchemaMismatchError):
                parse_plan_header(plan[:length])
        parse_plan_header(plan[:size])
