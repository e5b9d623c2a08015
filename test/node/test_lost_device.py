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

"""The device is lost in the middle of a drive: error transition, and a new configure recovers."""

from client import ERROR
from harness import dummy_model

LOST = {'faults': [{'at': 5, 'error': 'device_lost'}]}  # the third after the warm-up


def lose(client, camera):
    """Publish until the node has given its models up."""
    camera.wait_for_subscriber()

    def is_unconfigured():
        camera.publish()
        return client.state() == 'unconfigured'

    client.wait(is_unconfigured, 'the node goes through its error transition')


def test_a_lost_device_leaves_through_the_error_transition_and_can_be_configured_again(scripted):
    process, client = scripted(LOST, {})
    camera, detections = client.camera(), client.detections()
    lose(client, camera)
    line, = (line for line in process.lines('ERROR') if 'the device is lost' in line)
    assert 'DeviceLostError' in line and 'configure again' in line
    status = client.status('lifecycle')
    assert status.level == ERROR and status['state'] == 'unconfigured'
    assert 'the device is lost' in status['last_error']
    client.wait(lambda: camera.subscribers() == 0, 'the subscription is gone')
    client.set('models.detector.path', str(dummy_model(process.folder / 'good.yaml')))
    client.change_states('configure', 'activate')
    assert camera.deliver(detections).detections
    report = client.report('model detector', lambda status: status['in_flight'] == '0')
    assert report['model detector'].dropped()['inference_error'] >= 1
    assert report['lifecycle']['last_error'] == ''
    assert process.stop() == 0


def test_the_same_device_can_be_lost_again(scripted):
    process, client = scripted(LOST, {})
    camera = client.camera()
    for _ in range(2):
        lose(client, camera)
        client.wait(lambda: camera.subscribers() == 0, 'the subscription is gone')
        client.change_states('configure', 'activate')
    lose(client, camera)
    assert sum('the device is lost' in line for line in process.lines('ERROR')) == 3
    assert process.stop() == 0
