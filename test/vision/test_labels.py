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
from pathlib import Path

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.vision.labels import Labels
from c7_inference_ros.vision.labels import load_labels
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

PARAMETER = 'models.front.labels'


def load(path='', metadata=None, num_classes=None) -> Labels:
    return load_labels(str(path), metadata or {}, num_classes, PARAMETER)


def refusal(*args, **kwargs) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(*args, **kwargs)
    (problem,) = caught.value.problems
    assert '\n' not in problem
    return problem


@pytest.fixture
def file_with(tmp_path):
    def write(content: bytes) -> Path:
        path = tmp_path / 'names.txt'
        path.write_bytes(content)
        return path
    return write


@pytest.mark.parametrize('content', [
    'car\ntraffic light\nVögel\n', 'car\r\ntraffic light\r\nVögel',
    'car \n traffic light\nVögel\n\n\n',
    '\ufeffcar\ntraffic light\nVögel'])
def test_file_has_one_name_a_line(file_with, content):
    path = file_with(content.encode())
    labels = load(path, {'names': "{0: 'ignored'}"}, 3)
    assert labels.names == ('car', 'traffic light', 'Vögel')
    assert labels.source == str(path)


def test_file_of_another_length_names_both_numbers_the_file_and_the_parameter(file_with):
    path = file_with(b'car\nbus\n')
    message = refusal(path, num_classes=80)
    assert all(part in message for part in ('2 names', 'expected 80', str(path), PARAMETER))


@pytest.mark.parametrize('content, parts', [
    (b'', ['is empty']),
    (b'\n\n', ['is empty']),
    (b'car\n\nbus\n', ['line 2 is empty']),
    (b'car\nb\x00s\n', ['line 2', "'b\\x00s'"]),
    (b'car\nbus\ncar\n', ["'car'", 'more than once']),
    (b'\x08\x01\xff\xfe\xaa', ['not UTF-8']),
    (b'x' * (1 << 20) + b'yz', ['larger than']),
], ids=['empty', 'blank', 'gap', 'control', 'twice', 'binary', 'huge'])
def test_file_that_holds_no_names_is_refused(file_with, content, parts):
    message = refusal(file_with(content))
    assert all(part in message for part in [PARAMETER, 'names.txt', *parts])


def test_file_that_cannot_be_read_is_refused(tmp_path):
    assert 'No such file' in refusal(tmp_path / 'absent.txt')
    assert 'directory' in refusal(tmp_path)
    assert 'cannot be read' in refusal('names\0.txt')


@pytest.mark.parametrize('metadata', [
    {'names': "{0: 'person', 1: 'traffic light', 2: \"driver's cab\"}"},
    {'names': json.dumps({'0': 'person', '1': 'traffic light', '2': "driver's cab"})},
    {'names': json.dumps({'2': "driver's cab", '0': 'person', '1': 'traffic light'})},
    {'names': json.dumps(['person', 'traffic light', "driver's cab"])},
    {'labels': "['person', 'traffic light', \"driver's cab\"]"},
    {'classes': "person, traffic light, driver's cab"},
    {'names': ' ', 'labels': "person\ntraffic light\ndriver's cab\n"},
])
def test_metadata_of_known_exporters(metadata):
    labels = load('', metadata, 3)
    assert labels == Labels(('person', 'traffic light', "driver's cab"), 'metadata')


@pytest.mark.parametrize('text', [
    "{0: 'person', 2: 'car'}", "{1: 'person'}", "{'person': 0}", '{0: ', '[]', '42', 'true',
    "['person', '']", '[' * 5000, "{0: 'a\\x00'}", 'a' * ((1 << 20) + 1)],
    ids=lambda text: text[:20].encode('unicode_escape').decode())
def test_metadata_without_names_is_refused_with_the_way_out(text):
    message = refusal('', {'names': text})
    assert "metadata 'names'" in message and f'set {PARAMETER} to a file' in message


def test_metadata_of_another_length_is_refused():
    message = refusal('', {'names': "{0: 'person'}"}, 80)
    assert '1 names' in message and 'expected 80' in message and PARAMETER in message


def test_without_names_the_numbers_are_the_names():
    assert load('', {}, 3) == Labels(('0', '1', '2'), 'numbers')
    assert load('', {'author': 'x'}, None) == Labels((), 'numbers')


def test_names_and_ids():
    labels = Labels(('person', '7'), 'metadata')
    assert [labels.name_of(class_id) for class_id in (0, 1, 2, -1)] == ['person', '7', '2', '-1']
    assert [labels.id_of(name) for name in ('person', '7', '0')] == [0, 1, None]
    unnamed = Labels((), 'numbers')
    assert [unnamed.id_of(name) for name in ('12', '-1', '٣', 'car', '', '9999999')] == [
        12, None, None, None, None, None]


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.text(), st.text('[]{}:\',"0123 ab\\')), st.sampled_from([None, 0, 3]))
def test_any_metadata_gives_names_or_one_line(text, num_classes):
    try:
        labels = load('', {'names': text}, num_classes)
    except ConfigurationError as error:
        assert '\n' not in str(error)
    else:
        assert all(isinstance(name, str) and name for name in labels.names)
        assert num_classes in (None, len(labels))


@settings(deadline=None, max_examples=200)
@given(content=st.binary())
def test_any_file_gives_names_or_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / 'any.txt'
    path.write_bytes(content)
    try:
        labels = load(path)
    except ConfigurationError as error:
        assert '\n' not in str(error)
    else:
        assert len(set(labels.names)) == len(labels) > 0
