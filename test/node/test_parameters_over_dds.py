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

"""Parameters over DDS: declared as the records say, guarded as the records say."""

import time

from c7_inference_ros.config import parameters_of
from c7_inference_ros.parameter_spec import Mutability
from harness import BOXES
from harness import boxes_of
from harness import dummy_model
from harness import dummy_parameters
import pytest
from rcl_interfaces.msg import ParameterType

STANDARD = {'use_sim_time', 'start_type_description_service'}
TYPES = {'bool': ParameterType.PARAMETER_BOOL, 'integer': ParameterType.PARAMETER_INTEGER,
         'double': ParameterType.PARAMETER_DOUBLE, 'string': ParameterType.PARAMETER_STRING,
         'double array': ParameterType.PARAMETER_DOUBLE_ARRAY,
         'string array': ParameterType.PARAMETER_STRING_ARRAY}
CAMERAS, MODELS = ('front', 'rear'), ('cars', 'people')


def plain(value):
    """Return a value as a parameter carries it."""
    return list(value) if isinstance(value, tuple) else value


def test_what_is_declared_is_what_the_records_say(ros):
    process, client = ros.start({'camera_names': list(CAMERAS), 'model_names': list(MODELS)})
    records = {name: (spec, default) for name, spec, default in parameters_of(CAMERAS, MODELS)}
    declared = {name for name in client.list_parameters()
                if not name.startswith('qos_overrides.')}
    assert declared - STANDARD == set(records)
    descriptors = client.describe_parameters(records)
    values = client.get_parameters(records)
    for name, (spec, default) in records.items():
        descriptor, value = descriptors[name], values[name]
        assert descriptor.type == TYPES[spec.type_name], name
        assert descriptor.read_only == (spec.mutability is Mutability.STRUCTURAL), name
        assert spec.description in descriptor.description, name
        assert (f'[{spec.unit}]' in descriptor.description) == bool(spec.unit), name
        assert spec.mutability.value in descriptor.additional_constraints, name
        assert all(choice in descriptor.additional_constraints for choice in spec.choices), name
        if name not in ('camera_names', 'model_names'):
            assert plain(value) == plain(default), name
        ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
        if spec.is_array or (spec.minimum, spec.maximum) == (None, None):
            assert not ranges, name
            continue
        (found,) = ranges
        assert type(found.from_value) is spec.element_type, name
        assert found.step == 0
        assert spec.minimum is None or found.from_value == spec.minimum, name
        assert spec.maximum is None or found.to_value == spec.maximum, name
        assert found.from_value < found.to_value, name


def test_every_class_of_parameter_is_guarded_in_every_state(scripted):
    process, client = scripted(transitions=())
    records = {name: spec for name, spec, _ in parameters_of(('camera',), ('detector',))}
    values = {name: plain(value) for name, value in client.get_parameters(records).items()}

    def answers():
        results = client.set_parameters(values)
        return dict(zip(values, results))

    for name, (successful, reason) in answers().items():
        assert successful == (records[name].mutability is not Mutability.STRUCTURAL), name
        assert successful or 'read-only' in reason.lower()
    for transition in ('configure', 'activate'):
        client.change_states(transition)
        for name, (successful, reason) in answers().items():
            assert successful == (records[name].mutability is Mutability.DYNAMIC), name
            if records[name].mutability is Mutability.CONFIGURE:
                assert reason == (
                    f'{name} can change only while the node is unconfigured; deactivate and '
                    f'clean up first, then set it and configure again')
    assert client.get_parameters(values) == values
    client.change_states('deactivate', 'cleanup')
    assert all(successful for name, (successful, _) in answers().items()
               if records[name].mutability is not Mutability.STRUCTURAL)


def test_dynamic_parameters_act_on_the_next_frame(scripted):
    process, client = scripted()
    camera, detections = client.camera(), client.detections()
    camera.deliver(detections)

    def found():
        return boxes_of(detections.wait_for_stamp(camera.publish()))

    person, car = ([pytest.approx(row)] for row in BOXES)
    for name, value, other, expected in (
            ('score_threshold', 0.75, 0.4, person),
            ('class_score_thresholds', ['person=0.95'], [''], car),
            ('classes', ['car'], ['*'], car),
            ('classes', ['dog'], ['*'], []),
            ('max_detections', 1, 300, person)):
        assert len(found()) == 2
        client.set(f'models.detector.{name}', value)
        assert found() == expected, name
        client.set(f'models.detector.{name}', other)
    assert len(found()) == 2


def test_max_image_age_acts_on_the_next_frame(scripted):
    process, client = scripted()
    camera, detections = client.camera(), client.detections()
    camera.deliver(detections)

    def publish_old():
        return camera.publish(stamp_ns=time.time_ns() - 5_000_000_000)

    dropped = publish_old()
    client.status('model detector', lambda status: status.dropped() == {'stale': 1})
    client.set('max_image_age', 60.0)
    detections.wait_for_stamp(publish_old())
    client.set('max_image_age', 0.5)
    publish_old()
    client.status('model detector', lambda status: status.dropped() == {'stale': 2})
    client.set('max_image_age', 0.0)  # any age
    detections.wait_for_stamp(publish_old())
    assert not detections.of_stamp(dropped)


@pytest.mark.parametrize(('name', 'value', 'fragments'), [
    ('models.detector.score_threshold', 1.5, ['models.detector.score_threshold', '1.5']),
    ('models.detector.score_threshold', float('nan'), ['models.detector.score_threshold']),
    ('models.detector.score_threshold', 'high', ['type', 'DOUBLE', 'STRING']),
    ('models.detector.classes', ['persn'], ['models.detector.classes', 'persn', 'person']),
    ('models.detector.class_score_thresholds', ['persn=0.5'], ['persn', 'person']),
    ('models.detector.class_score_thresholds', ['person'], ['person', '"person=0.5"']),
    ('models.detector.max_detections', 0, ['models.detector.max_detections', '0']),
    ('max_image_age', -1.0, ['max_image_age', '-1']),
    ('inference_timeout', 0.0, ['inference_timeout']),
    ('models.detector.scor_threshold', 0.5, ['undeclared parameter']),  # rclpy's own sentence
    ('camera_names', ['front'], ['camera_names', 'read-only']),
])
def test_a_change_that_cannot_be_is_refused_with_a_reason(active_node, name, value, fragments):
    process, client = active_node
    before = client.get_parameters(['models.detector.score_threshold'])
    process.mark()
    reason = client.refusal(name, value)
    for fragment in fragments:
        assert fragment in reason
    assert '\n' not in reason
    assert client.get_parameters(['models.detector.score_threshold']) == before
    assert len(boxes_of(client.first_camera.deliver(client.first_detections))) == 2


@pytest.fixture(scope='module')
def active_node(shared_ros):
    """Return a node that detects, and a client with a camera."""
    process, client = shared_ros.start(dummy_parameters(
        dummy_model(shared_ros.folder / 'model.yaml')))
    client.change_states('configure', 'activate')
    client.first_camera, client.first_detections = client.camera(), client.detections()
    client.first_camera.deliver(client.first_detections)
    return process, client


def test_several_parameters_at_once_are_taken_or_refused_one_by_one(scripted):
    process, client = scripted()
    results = client.set_parameters({'models.detector.score_threshold': 0.7,
                                     'models.detector.path': '/elsewhere.yaml',
                                     'max_image_age': 0.25})
    assert [successful for successful, _ in results] == [True, False, True]
    assert client.get_parameters(['models.detector.score_threshold', 'max_image_age']) == {
        'models.detector.score_threshold': 0.7, 'max_image_age': 0.25}


# --- what a parameter file can have wrong ---

MISTAKES = {
    'models.detector.scor_threshold': (0.5, 'did you mean models.detector.score_threshold?'),
    'max_image_ages': (0.5, 'did you mean max_image_age?'),
    'models.detctor.score_threshold': (0.5, 'did you mean models.detector.score_threshold?'),
    'cameras.kamera.image_topic': ('a', 'did you mean cameras.camera.image_topic?'),
    'score_threshold': (0.5, 'did you mean models.detector.score_threshold?')}


def test_unknown_keys_of_a_file_are_reported_with_the_nearest_name(scripted):
    process, client = scripted(
        {}, {name: value for name, (value, _) in MISTAKES.items()}, transitions=())
    assert not client.change_state('configure')
    assert client.state() == 'unconfigured'
    errors = process.lines('ERROR')
    assert len(errors) == len(MISTAKES)
    for name, (_, hint) in MISTAKES.items():
        line, = (line for line in errors if f'unknown parameter {name};' in line)
        assert hint in line
    lifecycle = client.status('lifecycle', lambda status: status['last_error'])
    assert 'unknown parameter max_image_ages' in lifecycle['last_error']
    assert process.stop() == 0


# name: (wrong value, what the line says, a good value)
WRONG = {
    'models.detector.score_threshold': ('high', "'high' (str), expected double", 0.4),
    'models.detector.max_detections': (2.5, '2.5 (float), expected integer', 10),
    'models.detector.class_agnostic_nms': (1, '1 (int), expected bool', True),
    'models.detector.classes': ('person', "'person' (str), expected string array", ['*']),
    'models.detector.nms_threshold': (1.5, '1.5, expected at most 1', 0.5),
    'models.detector.decoder': ('yolov1', "'yolov1', expected one of", 'auto'),
    'models.detector.preprocess.mean': ([0.0, 0.0], 'has 2 elements, expected 3',
                                        [0.0, 0.0, 0.0]),
    'runtime': ('dumy', "did you mean 'dummy'?", 'dummy'),
    'max_image_age': (-1, '-1.0, expected at least 0 s', 0.5),
    'cameras.camera.models': (['detecto'], "did you mean 'detector'?", ['*'])}


def test_wrong_values_of_a_file_are_reported_and_can_be_corrected(scripted):
    process, client = scripted({}, {name: wrong for name, (wrong, _, _) in WRONG.items()},
                               transitions=())
    assert not client.change_state('configure')
    errors = process.lines('ERROR')
    assert len(errors) == len(WRONG)
    for name, (_, text, _) in WRONG.items():
        line, = (line for line in errors if f' {name} ' in line)
        assert text in line
    assert all(successful for successful, _ in client.set_parameters(
        {name: good for name, (_, _, good) in WRONG.items()}))
    process.mark()
    client.change_states('configure', 'activate')
    assert client.camera().deliver(client.detections()).detections
    assert not process.lines('ERROR')


def test_an_integer_is_taken_where_a_double_is_expected(scripted):
    process, client = scripted({}, {'max_image_age': 0, 'models.detector.score_threshold': 0,
                                    'models.detector.preprocess.mean': [0, 1, 2]})
    values = client.get_parameters(['max_image_age', 'models.detector.preprocess.mean'])
    assert list(values['models.detector.preprocess.mean']) == [0.0, 1.0, 2.0]
    assert values['max_image_age'] == 0.0


@pytest.mark.parametrize(('parameters', 'fragments'), [
    ({'camera_names': ['front', 'rear', 'front']},
     ["camera_names names 'front' more than once", 'give each its own name']),
    ({'model_names': ['detector', 'detector']}, ["model_names names 'detector' more than once"]),
    ({'camera_names': ['Front Left']}, ["camera_names has 'Front Left'", 'lowercase']),
    ({'camera_names': []}, ['camera_names']),
    ({'camera_names': 'front'}, ["camera_names is 'front' (str), expected string array"]),
    ({'autostart': 'yes please'}, ["autostart is 'yes please' (str), expected bool"]),
], ids=['twice', 'model twice', 'no topic name', 'empty', 'no list', 'structural'])
def test_names_that_cannot_be_leave_the_node_unconfigured(scripted, parameters, fragments):
    process, client = scripted({}, parameters, transitions=())
    assert not client.change_state('configure')
    assert client.state() == 'unconfigured'
    line, = process.lines('ERROR')
    for fragment in fragments:
        assert fragment in line
    assert process.stop() == 0


def test_a_class_that_the_model_does_not_have_stops_configuring(scripted):
    process, client = scripted({}, {'models.detector.classes': ['persn']}, transitions=())
    assert not client.change_state('configure')
    line, = process.lines('ERROR')
    for fragment in ('models.detector.classes', "'persn'", "'person'"):
        assert fragment in line
    client.set('models.detector.classes', ['person'])
    client.change_states('configure', 'activate')
    array = client.camera().deliver(client.detections())
    assert boxes_of(array) == [pytest.approx(BOXES[0])]
