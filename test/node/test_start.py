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

"""How a vehicle starts the node: by itself, in a namespace, on simulated time."""

import signal
import time

from builtin_interfaces.msg import Time
from client import encode
from client import GREY
from client import RELIABLE
from client import SECOND
from client import to_stamp
from harness import BOXES
from harness import dummy_model
from harness import dummy_parameters
from node_process import PATIENCE_S
import pytest
from rosgraph_msgs.msg import Clock


def test_autostart_configures_and_activates(scripted):
    process, client = scripted({}, {'autostart': True}, transitions=())
    client.wait(lambda: client.state() == 'active', 'the node activates itself')
    assert client.camera().deliver(client.detections()).detections
    assert process.stop() == 0


def test_autostart_with_a_mistake_leaves_a_node_that_can_be_corrected(scripted):
    process, client = scripted({}, {'autostart': True, 'models.detector.path': '/absent.yaml'},
                               transitions=())
    assert '/absent.yaml' in process.wait_for_line(r'\[ERROR\]')
    assert client.state() == 'unconfigured'
    client.set('models.detector.path', str(dummy_model(process.folder / 'good.yaml')))
    client.change_states('configure', 'activate')
    assert process.stop() == 0


def test_without_autostart_the_node_waits_for_its_manager(scripted):
    process, client = scripted(transitions=())
    for _ in range(2):
        assert client.status('lifecycle')['state'] == 'unconfigured'


def test_a_signal_during_configure_ends_the_node(scripted):
    process, client = scripted({'latency_s': 1.0}, transitions=())
    client.start_transition('configure')
    client.status('lifecycle', lambda status: status['state'] == 'configuring')
    assert process.stop() == 0


def test_a_signal_before_the_node_is_up_ends_it(ros, tmp_path):
    process = ros.start_process(dummy_parameters(dummy_model(tmp_path / 'model.yaml')))
    process.wait_for_line('thermal')
    process.send(signal.SIGINT)
    process.send(signal.SIGINT)
    assert process.wait() == 0


def test_names_and_topics_follow_namespace_name_and_remapping(scripted):
    process, client = scripted(
        {}, {}, '-r', '__ns:=/vehicle', '-r', '__node:=eyes',
        '-r', 'camera/image_raw:=/front/image', name='/vehicle/eyes')
    camera, detections = client.camera('/front/image'), client.detections()
    assert camera.deliver(detections).detections
    assert detections.topic == '/vehicle/eyes/camera/detector/detections'
    report = client.report('camera camera')
    assert report['camera camera'].name == 'vehicle/eyes: camera camera'
    assert report['camera camera']['topic'] == '/front/image'


def test_the_default_topic_is_relative_to_the_namespace(scripted):
    process, client = scripted({}, {}, '-r', '__ns:=/vehicle', name='/vehicle/c7_inference')
    assert client.camera('/vehicle/camera/image_raw').deliver(client.detections()).detections


def test_remapping_the_base_name_remaps_the_compressed_topic(scripted):
    process, client = scripted({}, {'cameras.camera.image_transport': 'compressed'},
                               '-r', 'camera/image_raw:=/front/image')
    camera = client.camera('/front/image/compressed')
    assert camera.deliver(client.detections(), encode(GREY)).detections


def test_two_nodes_in_one_graph(ros, tmp_path):
    model = dummy_model(tmp_path / 'model.yaml')
    clients = []
    for name in ('left', 'right'):
        process, client = ros.start(
            dummy_parameters(model, cameras__camera__image_topic=f'/{name}/image'),
            '-r', f'__node:={name}', name=f'/{name}')
        client.change_states('configure', 'activate')
        clients.append(client)
    left, right = (client.detections() for client in clients)
    clients[0].camera('/left/image').deliver(left)
    assert not right.messages
    clients[1].camera('/right/image').deliver(right)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_that_come_again_and_again_do_not_change_the_exit_code(scripted, number):
    # In a terminal, Ctrl-C reaches the node from the shell and from launch.
    process, client = scripted()
    client.camera().deliver(client.detections())
    deadline = time.monotonic() + PATIENCE_S
    while process.exit_code is None and time.monotonic() < deadline:
        process.send(number)
        time.sleep(0.002)
    assert process.exit_code == 0


# --- simulated time ---

START_S = 1_700_000_000


@pytest.fixture
def simulated(scripted):
    """Return a node on simulated time, its client, and a function that sets the time."""
    process, client = scripted({}, {'use_sim_time': True}, transitions=('configure',))
    clock = client.node.create_publisher(Clock, '/clock', RELIABLE)
    client.wait(clock.get_subscription_count, 'the node listens to /clock')

    def set_time(seconds):
        clock.publish(Clock(clock=to_stamp(int(seconds * SECOND))))

    return process, client, set_time


def test_freshness_is_measured_on_simulated_time(simulated):
    process, client, set_time = simulated
    client.change_states('activate')
    camera, detections = client.camera(), client.detections()
    camera.wait_for_subscriber()

    def is_recent(status):
        set_time(START_S)
        return True

    client.status('lifecycle', is_recent)

    def detected(second):
        # Each stamp is used once.
        stamp = camera.publish(stamp_ns=second * SECOND + next(steps))
        client.spin(0.05)
        return detections.of_stamp(stamp)

    steps = iter(range(10_000))
    message, = client.wait(lambda: detected(START_S), 'an image of the bag')
    assert message.header.stamp.sec == START_S
    assert len(message.detections) == len(BOXES)
    client.wait(lambda: set_time(START_S + 10) or client.diagnostics.messages[-1]
                .header.stamp.sec == START_S + 10, 'the time has arrived')
    before = client.status('model detector')
    count = len(detections.messages)
    for _ in range(3):
        assert not detected(START_S)
    status = client.status('model detector', lambda status: status.dropped().get('stale', 0) >= 3)
    assert status.dropped()['stale'] == before.dropped().get('stale', 0) + 3
    assert len(detections.messages) == count
    assert client.wait(lambda: detected(START_S + 10), 'a fresh image')


def test_diagnostics_and_watchdog_do_not_wait_for_simulated_time(simulated):
    # No /clock at all: both go by the machine's own clock.
    process, client, set_time = simulated
    count = len(client.diagnostics.messages)
    client.diagnostics.wait(count + 3)
    times = client.diagnostics.times[-3:]
    assert times[-1] - times[0] < 4.0
    assert client.diagnostics.messages[-1].header.stamp == Time()
    assert process.stop() == 0
