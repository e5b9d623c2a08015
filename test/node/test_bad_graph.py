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

"""A graph and a command line that do not fit: told in one line, with what may be meant."""

from client import ERROR
from client import LATCHED
from client import OK
from client import RELIABLE
from client import SENSOR_DATA
from harness import dummy_model
from harness import dummy_parameters
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from node_process import write_parameters
import pytest

QUICK = {'diagnostics.image_timeout': 0.2}
OVERRIDE = 'qos_overrides./camera/image_raw.subscription.'


def silent(status):
    """Return whether a camera status complains of silence."""
    return 'no image for' in status.message


def test_a_topic_that_nothing_publishes_is_named(scripted):
    process, client = scripted({}, QUICK)
    status = client.status('camera camera', silent)
    assert status.level == ERROR
    assert 'nothing publishes /camera/image_raw' in status.message
    assert 'no image topic is published at all' in status.message
    assert (status['topic'], status['publishers']) == ('/camera/image_raw', '0')
    assert status.number('seconds_since_last_image') > 0.2
    camera = client.camera()
    camera.deliver(client.detections())
    camera.publish()
    status = client.status('camera camera', lambda status: status['publishers'] == '1')
    assert int(status['received']) >= 1


def test_the_nearest_published_image_topic_is_named(scripted):
    process, client = scripted({}, QUICK)
    cameras = [client.camera(topic) for topic in
               ('/camera/image_rect', '/lidar/intensity', '/rear/camera/image')]
    status = client.status('camera camera', lambda status: 'did you mean' in status.message)
    assert 'did you mean /camera/image_rect?' in status.message
    assert cameras


@pytest.mark.parametrize(('wanted', 'published', 'transport'), [
    ('raw', '/camera/image_raw/compressed', 'compressed'),
    ('compressed', '/camera/image_raw', 'raw')])
def test_the_other_transport_is_named(scripted, wanted, published, transport):
    process, client = scripted({}, {**QUICK, 'cameras.camera.image_transport': wanted})
    camera = client.camera(published)
    status = client.status('camera camera', lambda status: 'is published' in status.message)
    assert (f'{published} is published: set cameras.camera.image_transport to {transport}'
            in status.message)
    camera.close()


def test_a_camera_that_falls_silent_is_an_error_until_it_is_back(scripted):
    process, client = scripted({}, {'diagnostics.image_timeout': 1.0})
    camera, detections = client.camera(), client.detections()
    camera.deliver(detections)
    status = client.status('camera camera', silent)
    assert status.level == ERROR
    assert 'nothing publishes' not in status.message

    def is_fine(status):
        camera.publish()
        return status.level == OK

    client.status('camera camera', is_fine)


@pytest.mark.parametrize('qos', [SENSOR_DATA, RELIABLE, LATCHED],
                         ids=['best effort', 'reliable', 'transient local'])
def test_publishers_of_every_qos_are_received(scripted, qos):
    process, client = scripted()
    detections = client.detections()
    camera = client.camera(qos=qos)
    assert camera.deliver(detections).detections


def test_an_incompatible_publisher_is_diagnosed(scripted):
    process, client = scripted({}, {**QUICK, f'{OVERRIDE}reliability': 'reliable'})
    camera = client.camera(qos=SENSOR_DATA)
    line = process.wait_for_line(r'\[WARN\].*/camera/image_raw')
    for fragment in ('camera camera', 'reliability', f'{OVERRIDE[:-1]}'):
        assert fragment in line
    status = client.status('camera camera', silent)
    assert 'reliability' in status['last_problem']
    assert 'reliability' in status.message
    camera.close()
    good = client.camera(qos=RELIABLE)
    assert good.deliver(client.detections()).detections


@pytest.mark.parametrize(('policy', 'value'), [
    ('reliability', 'relable'), ('reliability', 3), ('history', 'keep'), ('depth', 'one'),
    ('depth', -3)])
def test_a_malformed_qos_override_is_refused(scripted, policy, value):
    process, client = scripted({}, {f'{OVERRIDE}{policy}': value}, transitions=('configure',))
    assert not client.change_state('activate')
    assert client.state() == 'inactive'
    line, = process.lines('ERROR', 'FATAL', None)
    for fragment in (OVERRIDE[:-1], policy):
        assert fragment in line
    assert process.stop() == 0


def test_a_malformed_qos_override_of_a_result_is_refused(scripted):
    topic = '/c7_inference/camera/detector/detections'
    process, client = scripted({}, {f'qos_overrides.{topic}.publisher.reliability': 'relable'},
                               transitions=())
    assert not client.change_state('configure')
    line, = process.lines('ERROR', 'FATAL', None)
    assert 'qos_overrides' in line
    assert client.state() == 'unconfigured'


def test_overrides_of_results_are_used(scripted):
    topic = '/c7_inference/camera/detector/detections'
    process, client = scripted({}, {
        f'qos_overrides.{topic}.publisher.reliability': 'best_effort'})
    info, = client.node.get_publishers_info_by_topic(topic)
    assert info.qos_profile.reliability == SENSOR_DATA.reliability


@pytest.mark.parametrize('topic', ['camera//image', 'camera/image raw', 'camera/', '/', '',
                                   'camera/2nd', 'camera/{unknown}'])
def test_a_topic_name_that_cannot_be_is_refused(scripted, topic):
    process, client = scripted({}, {'cameras.camera.image_topic': topic}, transitions=())
    assert not client.change_state('configure')
    assert client.state() == 'unconfigured'
    line, = process.lines('ERROR', 'FATAL', None)
    assert f'cameras.camera.image_topic is {topic!r}' in line
    client.set('cameras.camera.image_topic', 'camera/image_raw')
    client.change_states('configure', 'activate')


@pytest.mark.parametrize(('transitions', 'refused'), [
    ((), 'activate'), ((), 'deactivate'), ((), 'cleanup'), (('configure',), 'configure'),
    (('configure', 'activate'), 'cleanup'), (('configure', 'activate'), 'configure')])
def test_a_transition_that_the_state_does_not_allow_is_refused(scripted, transitions, refused):
    process, client = scripted(transitions=transitions)
    before = client.state()
    assert not client.change_state(refused)
    line, = process.lines('ERROR', 'FATAL', None)
    assert f'transition {refused}' in line or f'not possible while the node is {before}' in line
    assert client.state() == before
    client.change_states(*('configure', 'activate')[len(transitions):])
    assert client.camera().deliver(client.detections()).detections


def test_a_transition_that_does_not_exist_is_refused(scripted):
    process, client = scripted(transitions=())
    for transition in (Transition(id=222), Transition(label='fly')):
        answer = client.call(ChangeState, '~/change_state',
                             ChangeState.Request(transition=transition))
        assert not answer.success
    assert client.state() == 'unconfigured'
    client.change_states('configure')


# --- the command line ---

@pytest.mark.parametrize(('content', 'fragment'), [
    (None, 'absent.yaml'), ('a: [1, 2\nb: }', 'parameters.yaml'),
    ('/**:\n  ros__parameters:\n    mixed: [1, two]\n', 'parameters.yaml')],
    ids=['absent', 'malformed', 'mixed array'])
def test_a_parameter_file_that_cannot_be_read_ends_the_node_with_code_2(ros, tmp_path, content,
                                                                        fragment):
    path = tmp_path / ('absent.yaml' if content is None else 'parameters.yaml')
    if content is not None:
        path.write_text(content)
    process = ros.start_process(path)
    assert process.wait() == 2
    assert fragment in only_line(process)


def test_an_illegal_node_name_ends_the_node_with_code_2(ros):
    process = ros.start_process({}, '-r', '__node:=c7-inference')
    assert process.wait() == 2
    assert 'c7-inference' in only_line(process)


def only_line(process):
    """Return the one line of the node itself; rcl adds one that says less."""
    line, = (line for line in process.text().splitlines() if '[rcl]: ' not in line)
    assert line.startswith('c7_inference_ros cannot start: ')
    return line


def test_a_parameter_file_for_another_node_does_not_concern_this_one(ros, tmp_path):
    path = write_parameters(tmp_path / 'other.yaml', {'nonsense': 1}, node='/other_node')
    process, client = ros.start(path, *[
        argument for name, value in dummy_parameters(dummy_model(tmp_path / 'm.yaml')).items()
        for argument in ('-p', f'{name}:={value}')])
    client.change_states('configure', 'activate')
