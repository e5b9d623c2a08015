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

"""Labels in a topic of detections: by stamp, with names from wherever the bag has them."""

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.evaluation.evaluation import evaluate
from c7_inference_ros.tools.evaluation.frames import EvaluatedFrame
from c7_inference_ros.tools.evaluation.topic_truth import read_topic
from c7_inference_ros.tools.evaluation.topic_truth import read_truth
import numpy as np
import pytest

pytest.importorskip('rosbags', reason='rosbags is not installed; run: make env')
bag_bench = pytest.importorskip('bag_bench')
DETECTIONS, INFO = 'vision_msgs/msg/Detection2DArray', 'vision_msgs/msg/LabelInfo'
LABELS = '/labels/boxes'


def detections(stamp, boxes, frame_id='camera', theta=0.0):
    """Return a message; ``boxes`` has center, size and hypotheses of each."""
    store = bag_bench.types()
    kind = {name.rpartition('/')[2]: one for name, one in store.types.items()
            if name.startswith('vision_msgs')}
    head, point = bag_bench.header(store, stamp, frame_id), store.types[
        'geometry_msgs/msg/Point']
    pose = store.types['geometry_msgs/msg/PoseWithCovariance'](
        store.types['geometry_msgs/msg/Pose'](point(0.0, 0.0, 0.0), store.types[
            'geometry_msgs/msg/Quaternion'](0.0, 0.0, 0.0, 1.0)), np.zeros(36))
    return kind['Detection2DArray'](head, [kind['Detection2D'](
        head, [kind['ObjectHypothesisWithPose'](kind['ObjectHypothesis'](name, score), pose)
               for name, score in hypotheses],
        kind['BoundingBox2D'](kind['Pose2D'](kind['Point2D'](x, y), theta), width, height), '')
        for (x, y), (width, height), hypotheses in boxes])


def label_info(names):
    store = bag_bench.types()
    return store.types[INFO](bag_bench.header(store, 5), [
        store.types['vision_msgs/msg/VisionClass'](number, name)
        for number, name in names.items()], 0.5)


def make(path, messages, infos=()):
    others = [(LABELS, DETECTIONS, one.header.stamp.sec * 10**9 + one.header.stamp.nanosec, one)
              for one in messages]
    others += [(topic, INFO, 5, label_info(names)) for topic, names in infos]
    return bag_bench.make_bag(path, bag_bench.frames(2), others=others)


def frame(stamp, label, box=(10, 10, 30, 20), frame_id='camera'):
    return EvaluatedFrame('front', 0, stamp, 100, 80, np.array([box], np.float64),
                          np.array([0.9], np.float32), [label], frame_id=frame_id)


CAR = ((20.0, 15.0), (20.0, 10.0), [('1', 0.9)])


def test_boxes_by_stamp_and_names_of_the_model(tmp_path):
    bag = make(tmp_path / 'bag', [detections(1000, [CAR]), detections(2000, [])])
    truth = read_topic(bag, LABELS, ('dog', 'car'))
    assert truth.classes == ('car',) and truth.rule == 'by exact stamp'
    assert truth.frames[0].boxes.tolist() == [[10.0, 10.0, 30.0, 20.0]]
    assert truth.frames[0].areas.tolist() == [200.0] and len(truth.frames[1]) == 0
    done = evaluate([frame(1000, 'car'), frame(2000, 'car'), frame(1001, 'car')], truth,
                    ('dog', 'car')).as_dict()
    assert (done['tp'], done['fp'], done['fn']) == (1, 1, 0)
    assert done['frames'] == {'total': 3, 'evaluated': 2, 'unlabelled': 1, 'dropped': 0}
    # Of another camera.
    with pytest.raises(ConfigurationError, match='other pictures'):
        evaluate([frame(1000, 'car', frame_id='rear')], truth, ('car',))


def test_names_of_a_label_info_go_over_those_of_the_model(tmp_path):
    one = [detections(1000, [CAR])]
    bag = make(tmp_path / 'a', one, [('/labels/label_info', {0: 'person', 1: 'truck'})])
    assert read_topic(bag, LABELS, ('dog', 'car')).classes == ('person', 'truck')
    # Of several that of the same folder counts, as the node calls its topics.
    several = [('/x/label_info', {1: 'x'}), ('/labels/label_info', {1: 'tram'})]
    assert read_topic(make(tmp_path / 'b', one, several), LABELS).classes == ('tram',)
    unclear = [('/x/label_info', {1: 'x'}), ('/y/label_info', {1: 'y'})]
    assert read_topic(make(tmp_path / 'c', one, unclear), LABELS, ('dog', 'car')).classes == (
        'car',)


def test_names_in_the_messages_and_the_best_hypothesis(tmp_path):
    best = ((20.0, 15.0), (20.0, 10.0), [('dog', 0.1), ('cat', 0.8), ('7', 0.2)])
    assert read_topic(make(tmp_path / 'a', [detections(1000, [best])]), LABELS).classes == ('cat',)


@pytest.mark.parametrize('messages, why', [
    ([detections(1000, [((1.0, 1.0), (2.0, float('nan')), [('1', 1.0)])])], 'box 0 of stamp 1000'),
    ([detections(1000, [((1.0, 1.0), (-2.0, 2.0), [('1', 1.0)])])], 'sizes of at least 0'),
    ([detections(1000, [((1.0, 1.0), (2.0, 2.0), [])])], 'no class'),
    ([detections(1000, [CAR], theta=0.3)], 'turned by 0.3 rad'),
    ([detections(1000, [CAR]), detections(1000, [])], 'stamp 1000 more than once')])
def test_labels_that_cannot_be_used(tmp_path, messages, why):
    with pytest.raises(ConfigurationError, match=why):
        read_topic(make(tmp_path / 'bag', messages), LABELS)


def test_what_the_option_names(tmp_path):
    bag = make(tmp_path / 'bag', [detections(1000, [CAR])])
    for given in (LABELS, f'{bag}:{LABELS}'):
        assert read_truth(given, bag, ('dog', 'car')).classes == ('car',)
    assert read_truth(f'{bag}:{LABELS}', None).classes == ('1',)
    with pytest.raises(ConfigurationError, match=f'nothing on /label/boxes.*mean {LABELS}?'):
        read_truth('/label/boxes', bag)
    with pytest.raises(ConfigurationError, match='has sensor_msgs/msg/Image on'):
        read_truth(bag_bench.FRONT, bag)
    with pytest.raises(ConfigurationError, match="'labels.json', which is no file"):
        read_truth('labels.json', bag)
    with pytest.raises(ConfigurationError, match='topics go with bags'):
        read_truth(LABELS, None)
