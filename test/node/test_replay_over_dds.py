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

"""What a replay finds is what the node publishes for the same images."""

import subprocess
import sys

from c7_inference_ros.tools.bags.reader import open_bag
from client import to_ns
from graph import ROOT
import pytest
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
import yaml

SHARED = ROOT.parent / 'shared'
CAMERAS = {'road_compressed_mcap': 'compressed', 'road_raw_sqlite3': 'raw'}


def need(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f'../shared/{name} is not here')
    return path


def messages(bag):
    """Yield (stamp in ns, frame, message without header) of every image of a bag."""
    with open_bag(bag) as opened:
        for topic in opened.image_topics:
            for _, found in opened.messages(topic):
                if hasattr(found, 'format'):
                    message = CompressedImage(format=found.format, data=found.data.tobytes())
                else:
                    message = Image(height=found.height, width=found.width, step=found.step,
                                    encoding=found.encoding, data=found.data.tobytes())
                yield to_ns(found.header.stamp), found.header.frame_id, message


def rows(array):
    """Return everything that a message says of its detections."""
    return [(one.bbox.center.position.x, one.bbox.center.position.y, one.bbox.size_x,
             one.bbox.size_y, result.hypothesis.score, result.hypothesis.class_id,
             to_ns(one.header.stamp), one.header.frame_id)
            for one in array.detections for result in one.results]


@pytest.mark.parametrize('name', CAMERAS)
def test_a_replay_finds_what_the_node_publishes(ros, tmp_path, name):
    bag = need(f'data/bags/{name}')
    parameters = {
        'model_names': ['yolox'], 'memory.free_floor_bytes': 0, 'max_image_age': 0.0,
        'inference_timeout': 60.0, 'cameras.camera.image_topic': '/camera/image_raw',
        'cameras.camera.image_transport': CAMERAS[name],
        'models.yolox.path': str(need('models/yolox_nano.onnx')),
        'models.yolox.labels': str(need('models/coco80.txt')),
        'models.yolox.decoder': 'yolox', 'models.yolox.preprocess.anchor': 'top_left',
        'models.yolox.preprocess.color_order': 'bgr', 'models.yolox.preprocess.scale': 1.0}
    process, client = ros.start(parameters)
    client.change_states('configure', 'activate')
    camera = client.camera('/camera/image_raw' + (
        '/compressed' if CAMERAS[name] == 'compressed' else ''))
    detections = client.detections(model='yolox')
    images = list(messages(bag))
    # Whoever is discovered in this moment may miss an image; these have stamps of their own.
    camera.deliver(detections, images[0][2].data.tobytes() if CAMERAS[name] == 'compressed'
                   else None)
    live = {}
    for stamp_ns, frame_id, message in images:
        camera.send(message, stamp_ns, frame_id)
        array = detections.wait_for_stamp(stamp_ns)
        assert array.header.frame_id == frame_id
        live[stamp_ns] = rows(array)

    params = tmp_path / 'node.yaml'
    params.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}))
    subprocess.run([sys.executable, '-m', 'c7_inference_ros.tools.replay', str(bag),
                    '--params-file', str(params), '--output', str(tmp_path / 'out')],
                   cwd=ROOT, check=True, capture_output=True, timeout=120)
    with open_bag(tmp_path / 'out' / 'detections_bag') as found:
        replayed = {to_ns(array.header.stamp): rows(array) for _, array in
                    found.messages('/c7_inference/camera/yolox/detections')}
    assert replayed == live  # to the last bit
    assert len(live) == len(images) and min(map(len, live.values())) >= 2
