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

"""What a late joiner gets: class names, threshold, and where the labels came from."""

from client import LATCHED
from harness import dummy_model
from harness import NAMES
from vision_msgs.msg import LabelInfo
from vision_msgs.msg import VisionInfo


def infos(client):
    """Join late; return the collectors of label_info and vision_info."""
    return (client.subscribe(LabelInfo, '~/detector/label_info', LATCHED),
            client.subscribe(VisionInfo, '~/detector/vision_info', LATCHED))


def test_a_late_joiner_learns_what_the_class_ids_mean(scripted):
    process, client = scripted({}, {'models.detector.score_threshold': 0.25})
    client.camera().deliver(client.detections())  # long after the infos were published
    labels, vision = infos(client)
    label_info, = labels.wait()
    assert {entry.class_id: entry.class_name for entry in label_info.class_map} == dict(
        enumerate(NAMES))
    assert label_info.threshold == 0.25
    vision_info, = vision.wait()
    assert vision_info.database_location == '/c7_inference:models.detector.labels'
    assert 'yolov10' in vision_info.method
    assert 'model' in vision_info.method  # the stem of the file
    assert vision_info.database_version == 1
    assert label_info.header.stamp.sec > 0


def test_infos_follow_a_dynamic_change_and_raise_the_version(scripted):
    process, client = scripted()
    labels, vision = infos(client)
    labels.wait(1), vision.wait(1)
    client.set('models.detector.score_threshold', 0.75)
    assert labels.wait(2)[1].threshold == 0.75
    assert [info.database_version for info in vision.wait(2)] == [1, 2]
    late_labels, late_vision = infos(client)
    assert late_labels.wait()[0].threshold == 0.75
    assert late_vision.wait()[0].database_version == 2
    # What is none of their business does not raise the version.
    client.set('max_image_age', 0.25)
    client.set('models.detector.score_threshold', 0.5)
    assert [info.database_version for info in vision.wait(3)] == [1, 2, 3]


def test_a_change_while_inactive_is_told_with_the_activation(scripted):
    process, client = scripted(transitions=('configure',))
    client.set('models.detector.score_threshold', 0.125)
    client.change_states('activate')
    labels, vision = infos(client)
    assert labels.wait()[0].threshold == 0.125
    client.change_states('deactivate', 'activate')
    client.set('models.detector.score_threshold', 0.25)
    client.wait(lambda: labels.messages[-1].threshold == 0.25, 'the new threshold')


def test_infos_of_another_model_replace_the_first(scripted, tmp_path):
    process, client = scripted(transitions=('configure', 'activate', 'deactivate', 'cleanup'))
    client.set('models.detector.path',
               str(dummy_model(tmp_path / 'other.yaml', names=('bird', 'cat'))))
    client.change_states('configure', 'activate')
    labels, vision = infos(client)
    label_info, = labels.wait()
    assert [entry.class_name for entry in label_info.class_map] == ['bird', 'cat']
    assert 'other' in vision.wait()[0].method
