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

"""An inference that hangs: noticed, given up, and the node can be used again."""

import re
import time

from client import ERROR
from harness import dummy_model
from lifecycle_msgs.srv import GetState

HANG = {'faults': [{'at': 3, 'error': 'hang', 'for_s': 600.0}]}  # the first after the warm-up
TIMEOUT_S = 1.0
QUICK = {'inference_timeout': TIMEOUT_S, 'drain_timeout': 0.5}


def hang(client, camera):
    """Publish until the node has gone through its error transition; ask for its state."""
    camera.wait_for_subscriber()
    answered = []

    def is_unconfigured():
        camera.publish()
        began = time.monotonic()
        answer = client.call(GetState, '~/get_state', GetState.Request(), timeout_s=5.0)
        answered.append(time.monotonic() - began)
        return answer.current_state.label == 'unconfigured'

    client.wait(is_unconfigured, 'the node gives the inference up')
    return max(answered)


def test_the_node_gives_a_hanging_inference_up_and_can_be_used_again(scripted):
    process, client = scripted(HANG, QUICK)
    camera, detections = client.camera(), client.detections()
    slowest = hang(client, camera)
    assert slowest < 2.0
    line, = (line for line in process.lines('ERROR') if 'has not returned' in line)
    seconds = float(re.search(r'has not returned for ([\d.]+) s', line).group(1))
    assert TIMEOUT_S <= seconds <= TIMEOUT_S + 1.0
    assert 'inference_timeout is 1 s' in line
    lifecycle = client.status('lifecycle')
    assert lifecycle.level == ERROR
    assert lifecycle['state'] == 'unconfigured'
    assert 'has not returned' in lifecycle.message
    assert not detections.messages
    client.wait(lambda: camera.subscribers() == 0, 'the subscription is gone')
    client.set('models.detector.path', str(dummy_model(process.folder / 'good.yaml')))
    client.change_states('configure', 'activate')
    assert camera.deliver(detections).detections
    report = client.report('model detector', lambda status: status['in_flight'] == '0')
    assert report['model detector'].dropped()['inference_error'] == 1
    assert report['lifecycle']['last_error'] == ''
    assert process.stop() == 0


def test_a_signal_after_a_hang_ends_the_node(scripted):
    process, client = scripted(HANG, QUICK)
    hang(client, client.camera())
    assert process.stop() == 0


def test_a_signal_during_a_hang_ends_the_node_before_launch_would_kill_it(scripted):
    process, client = scripted(HANG, {**QUICK, 'inference_timeout': 600.0})
    camera = client.camera()
    camera.wait_for_subscriber()

    def is_in_work(status):
        camera.publish()
        return status['in_flight'] != '0'

    client.status('model detector', is_in_work)
    began = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - began < 10.0  # launch: SIGTERM after 5 s, SIGKILL 5 s later


def test_a_result_that_comes_back_late_is_not_published(scripted):
    process, client = scripted({'faults': [{'at': 3, 'error': 'hang', 'for_s': 3.0}]}, QUICK)
    camera, detections = client.camera(), client.detections()
    hang(client, camera)
    threads = process.usage()[0]
    client.wait(lambda: process.usage()[0] < threads, 'the abandoned thread has ended')
    client.spin(0.5)
    assert not detections.messages
    assert client.state() == 'unconfigured'
    assert process.stop() == 0


def test_the_timeout_can_be_changed_while_active(scripted):
    process, client = scripted({'latency_s': 0.8}, {'max_image_age': 0.0})
    camera, detections = client.camera(), client.detections()
    camera.deliver(detections)
    assert client.state() == 'active'
    client.set('inference_timeout', 0.2)
    assert hang(client, camera) < 5.0
    assert any('inference_timeout is 0.2 s' in line for line in process.lines('ERROR'))
