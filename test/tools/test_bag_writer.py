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

"""Bags of detections: what is in them, and that none looks whole that is not."""

import errno
import os
import subprocess
import sys

from bag_bench import T0
from bag_bench import types
from c7_inference_ros.errors import BagError
from c7_inference_ros.tools.bags import types as bag_types
from c7_inference_ros.tools.bags.detection_messages import detection_array
from c7_inference_ros.tools.bags.detection_messages import label_info
from c7_inference_ros.tools.bags.detection_messages import vision_info
from c7_inference_ros.tools.bags.reader import open_bag
from c7_inference_ros.tools.bags.storage import INCOMPLETE
from c7_inference_ros.tools.bags.types import DETECTIONS
from c7_inference_ros.tools.bags.types import LABEL_INFO
from c7_inference_ros.tools.bags.types import VISION_INFO
from c7_inference_ros.tools.bags.vision_messages import DEFINITIONS
from c7_inference_ros.tools.bags.writer import BagWriter
from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.labels import Labels
import numpy as np
import pytest
import yaml

TOPICS = {'/d': DETECTIONS, '/label_info': LABEL_INFO, '/vision_info': VISION_INFO}
LABELS = Labels(('person', 'car'), 'test')


def detections(count=2):
    boxes = np.array([[10.25, 20, 30, 60.5], [0, 0, 1 / 3, 7]] * 5, np.float32)[:count]
    return Detections(boxes, np.linspace(0.3, 0.9, count, dtype=np.float32),
                      np.arange(count, dtype=np.int32))


def write_all(folder, count=5, **options):
    """Write infos and some arrays of detections."""
    with BagWriter(folder, TOPICS, **options) as writer:
        writer.write('/label_info', T0, label_info(T0, LABELS, 0.25))
        writer.write('/vision_info', T0, vision_info(T0, 'yolox_nano', 'labels.txt'))
        for index in range(count):
            writer.write('/d', T0 + index + 5, detection_array(T0 + index, 'front',
                                                               detections(index)))
    return writer


def test_what_is_written_is_read_again(tmp_path):
    writer = write_all(tmp_path / 'bag')
    assert len(writer) == 7 and os.listdir(tmp_path) == ['bag']
    with open_bag(tmp_path / 'bag') as bag:
        assert {info.name: (info.msgtype, info.count) for info in bag.topics} == {
            '/d': (DETECTIONS, 5), '/label_info': (LABEL_INFO, 1),
            '/vision_info': (VISION_INFO, 1)}
        found = list(bag.messages('/d'))
        assert [log_ns for log_ns, _ in found] == [T0 + index + 5 for index in range(5)]
        for index, (_, message) in enumerate(found):
            assert (message.header.stamp.sec, message.header.stamp.nanosec) == (T0 // 10**9, index)
            assert message.header.frame_id == 'front' and len(message.detections) == index
        element = found[2][1].detections[0]
        assert element.header == found[2][1].header
        assert (element.bbox.center.position.x, element.bbox.size_y) == (20.125, 40.5)
        assert element.results[0].hypothesis.class_id == '0'
        assert element.results[0].hypothesis.score == np.float32(0.3)
        (_, labels), = bag.messages('/label_info')
        assert [(one.class_id, one.class_name) for one in labels.class_map] == [
            (0, 'person'), (1, 'car')]
        assert labels.threshold == np.float32(0.25)
        (_, info), = bag.messages('/vision_info')
        assert (info.method, info.database_location, info.database_version) == (
            'yolox_nano', 'labels.txt', 1)
        assert bag.image_topics == ()


@pytest.mark.parametrize('count', [0, 1, 3])
def test_messages_are_those_of_the_node(count):
    pytest.importorskip('rclpy', reason='ROS 2 is not installed')
    from builtin_interfaces.msg import Time
    from c7_inference_ros.node import conversions
    from rclpy.serialization import deserialize_message
    from rclpy.serialization import serialize_message
    from std_msgs.msg import Header
    stamp = Time(sec=T0 // 10**9, nanosec=77)
    pairs = [
        (conversions.to_detection_array(Header(stamp=stamp, frame_id='a'), detections(count)),
         detection_array(T0 + 77, 'a', detections(count)), DETECTIONS),
        (conversions.to_label_info(LABELS, 0.25, stamp),
         label_info(T0 + 77, LABELS, 0.25), LABEL_INFO),
        (conversions.to_vision_info('m', 'l', 3, stamp),
         vision_info(T0 + 77, 'm', 'l', 3), VISION_INFO)]
    for of_node, of_bag, kind in pairs:
        raw = bytes(types().serialize_cdr(of_bag, kind))
        assert str(deserialize_message(raw, type(of_node))) == str(of_node)
        # Bytes between the fields are left as they are by the middleware; these make them zero.
        again = types().deserialize_cdr(serialize_message(of_node), kind)
        assert bytes(types().serialize_cdr(again, kind)) == raw


def test_a_player_is_told_the_quality_of_service(tmp_path):
    write_all(tmp_path / 'bag')
    info = yaml.safe_load((tmp_path / 'bag' / 'metadata.yaml').read_text())[
        'rosbag2_bagfile_information']
    assert info['storage_identifier'] == 'mcap' and info['relative_file_paths'] == ['bag.mcap']
    offered = {entry['topic_metadata']['name']: yaml.safe_load(
        entry['topic_metadata']['offered_qos_profiles'])[0]
        for entry in info['topics_with_message_count']}
    # 1: reliable, transient local, keep last; 2: volatile
    assert {name: (qos['reliability'], qos['durability'], qos['history'], qos['depth'])
            for name, qos in offered.items()} == {
        '/d': (1, 2, 1, 10), '/label_info': (1, 1, 1, 1), '/vision_info': (1, 1, 1, 1)}
    data = (tmp_path / 'bag' / 'bag.mcap').read_bytes()
    for definition in (b'ObjectHypothesisWithPose[] results', b'VisionClass[] class_map'):
        assert definition in data


@pytest.fixture()
def without_vision_msgs(monkeypatch):
    monkeypatch.setenv('AMENT_PREFIX_PATH', '')
    bag_types.typestore.cache_clear()
    yield
    bag_types.typestore.cache_clear()


@pytest.mark.parametrize('kind, digest', [
    (DETECTIONS, '214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968'),
    (LABEL_INFO, '3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783'),
    (VISION_INFO, '95d3116a17484ad91c9a2686e1d54890bbfc3ff6c6a2de137738c4950d45d284')])
def test_definitions_without_ros_are_those_released(without_vision_msgs, kind, digest):
    assert bag_types._vision_definitions() is DEFINITIONS
    assert types().hash_rihs01(kind) == f'RIHS01_{digest}'


def test_bags_are_written_without_vision_msgs(without_vision_msgs, tmp_path):
    write_all(tmp_path / 'bag')
    with open_bag(tmp_path / 'bag') as bag:
        assert [len(message.detections) for _, message in bag.messages('/d')] == [0, 1, 2, 3, 4]


# What is not whole ------------------------------------------------------------------------------


class Stopped(BaseException):
    pass


@pytest.mark.parametrize('error', [KeyboardInterrupt, Stopped, ValueError])
def test_an_interruption_leaves_a_marked_part(tmp_path, error):
    with pytest.raises(error):
        with BagWriter(tmp_path / 'bag', TOPICS) as writer:
            for index in range(3):
                writer.write('/d', T0, detection_array(T0, '', detections(index)))
            raise error('enough')
    assert os.listdir(tmp_path) == ['bag.part']
    made = tmp_path / 'bag.part' / 'bag'
    assert f'{error.__name__}: enough' in (made / INCOMPLETE).read_text()
    assert not (made / 'metadata.yaml').exists()
    for path in (tmp_path / 'bag.part', made):
        with pytest.raises(BagError, match='its writing was interrupted; write it again'):
            open_bag(path)
    with pytest.raises(BagError, match='was cut off'):
        open_bag(made / 'bag.mcap')
    with pytest.raises(BagError, match='not open for writing'):
        writer.write('/d', T0, detection_array(T0, '', detections()))
    # The next attempt takes its place.
    write_all(tmp_path / 'bag')
    assert os.listdir(tmp_path) == ['bag']


def test_a_process_that_is_killed_leaves_a_marked_part(tmp_path):
    code = """
import os, sys, signal
from pathlib import Path
from test_bag_writer import *
with BagWriter(Path(sys.argv[1]), TOPICS) as writer:
    for index in range(2000):
        writer.write('/d', T0, detection_array(T0, '', detections(9)))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = run(code, tmp_path / 'bag')
    assert done.returncode == -9
    assert os.listdir(tmp_path) == ['bag.part']
    with pytest.raises(BagError, match='its writing was interrupted'):
        open_bag(tmp_path / 'bag.part' / 'bag')
    write_all(tmp_path / 'bag')
    assert os.listdir(tmp_path) == ['bag']


@pytest.mark.parametrize('room', [20_000, 1_500_000])
def test_a_file_that_may_not_grow_any_more(tmp_path, room):
    """The kernel refuses the bytes, at the end of the first chunk or later."""
    code = f"""
import resource, signal, sys
from pathlib import Path
from test_bag_writer import *
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
try:
    with BagWriter(Path(sys.argv[1]), TOPICS) as writer:
        for index in range(1500):
            writer.write('/d', T0, detection_array(T0, '', detections(9)))
except BagError as error:
    print(error)
    sys.exit(3)
"""
    done = run(code, tmp_path / 'bag')
    assert done.returncode == 3, done.stderr
    line, = done.stdout.splitlines()
    assert line.startswith(f'{tmp_path / "bag"} cannot be written: File too large')
    assert line.endswith(f'what was written until then is {tmp_path / "bag.part"}')
    assert os.listdir(tmp_path) == ['bag.part']
    with pytest.raises(BagError, match='its writing was interrupted'):
        open_bag(tmp_path / 'bag.part')


@pytest.mark.parametrize('at', ['write', 'close', 'fsync', 'replace'])
def test_a_full_disk_at_any_moment(tmp_path, monkeypatch, at):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, 'No space left on device')

    from rosbags import rosbag2
    if at in ('write', 'close'):
        monkeypatch.setattr(rosbag2.Writer, at, fail)
    else:
        monkeypatch.setattr(os, at, fail)
    with pytest.raises(BagError, match='bag cannot be written: the disk is full.*bag.part'):
        write_all(tmp_path / 'bag')
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ['bag.part']
    with pytest.raises(BagError, match='its writing was interrupted'):
        open_bag(tmp_path / 'bag.part' / 'bag')


def run(code, path):
    """Run code that imports this module."""
    return subprocess.run(
        [sys.executable, '-c', code, str(path)], capture_output=True, text=True, check=False,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, sys.path))})


# What is there already --------------------------------------------------------------------------


def test_nothing_is_overwritten_unless_asked(tmp_path):
    write_all(tmp_path / 'bag', 2)
    with pytest.raises(BagError, match='bag is there already; remove it, or choose another name'):
        BagWriter(tmp_path / 'bag', TOPICS)
    write_all(tmp_path / 'bag', 3, replace=True)
    with open_bag(tmp_path / 'bag') as bag:
        assert bag.count('/d') == 3
    assert os.listdir(tmp_path) == ['bag']


def test_a_replaced_bag_stays_until_the_new_one_is_whole(tmp_path):
    write_all(tmp_path / 'bag', 2)
    with pytest.raises(ValueError):
        with BagWriter(tmp_path / 'bag', TOPICS, replace=True):
            raise ValueError
    with open_bag(tmp_path / 'bag') as bag:
        assert bag.count('/d') == 2


def test_only_a_bag_is_replaced(tmp_path):
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'holiday.jpg').write_bytes(b'x')
    (tmp_path / 'file').write_bytes(b'x')
    write_all(tmp_path / 'bag')
    (tmp_path / 'link').symlink_to(tmp_path / 'bag')
    (tmp_path / 'dangling').symlink_to(tmp_path / 'nowhere')
    for name in ('photos', 'file', 'link', 'dangling'):
        with pytest.raises(BagError, match=f'{name} is there and is no bag'):
            BagWriter(tmp_path / name, TOPICS, replace=True)
    assert (tmp_path / 'photos' / 'holiday.jpg').exists()


def test_a_part_of_somebody_else_stays(tmp_path):
    (tmp_path / 'bag.part').mkdir()
    (tmp_path / 'bag.part' / 'precious').write_bytes(b'x')
    with pytest.raises(BagError, match='bag.part is there and was not left by the writing'):
        BagWriter(tmp_path / 'bag', TOPICS)
    assert (tmp_path / 'bag.part' / 'precious').exists()


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(BagError, match='cannot be written: .*missing is no folder; create it'):
        BagWriter(tmp_path / 'missing' / 'bag', TOPICS)
