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

"""Two cars drive in every frame of the recorded road."""

from c7_inference_ros.vision.images import decode_compressed
from c7_inference_ros.vision.images import view_image
from coco import DEIM
from coco import Detector
from coco import need
from coco import SHARED
from coco import YOLOX
import pytest

BAGS = SHARED / 'data' / 'bags'


def frames(bag):
    """Yield the images of a bag, as the node would make them of its messages."""
    reader = pytest.importorskip('rosbags.highlevel')
    need(BAGS / bag)
    with reader.AnyReader([BAGS / bag]) as opened:
        for connection, _, data in opened.messages():
            message = opened.deserialize(data, connection.msgtype)
            if connection.msgtype.endswith('CompressedImage'):
                yield decode_compressed(message.data)
            else:
                yield view_image(message.data, message.height, message.width, message.encoding,
                                 message.step)


@pytest.mark.parametrize('recipe, threshold', [(YOLOX, 0.4), (DEIM, 0.45)],
                         ids=['yolox_nano', 'deimv2_atto'])
@pytest.mark.parametrize('bag, count', [('road_compressed_mcap', 38), ('road_raw_sqlite3', 5)])
def test_two_cars_in_every_frame(recipe, threshold, bag, count):
    detector = Detector(recipe, score_threshold=threshold)
    car = detector.labels.names.index('car')
    seen = []
    for image in frames(bag):
        # Now and then a model also calls one of them a truck, and the crash barrier a train.
        found = detector(image)
        cars = found.select(found.class_ids == car)
        seen.append(len(cars))
        left, right = sorted(cars.boxes.tolist())
        # Both keep their lanes, on the right and at the height of the horizon.
        assert 395 < left[0] < 415 and 465 < left[2] < 480
        assert 490 < right[0] < 535 and 585 < right[2] < 640
        assert all(195 < box[1] < 210 and 240 < box[3] < 260 for box in (left, right))
    assert seen == [2] * count
