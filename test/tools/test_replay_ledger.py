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

"""Which image is meant by each entry of the accounts, and how it is written down."""

import bag_bench
from c7_inference_ros.errors import DeviceLostError
from c7_inference_ros.errors import InferenceRuntimeError
from c7_inference_ros.pipeline.accounting import DropReason
from c7_inference_ros.runtime.dummy.runtime import DummyRuntime
from c7_inference_ros.tools.bags.images import BagImage
from c7_inference_ros.tools.node_parameters import load_parameter_file
from c7_inference_ros.tools.replaying import one_bag
from c7_inference_ros.tools.replaying.annotated import Pictures
from c7_inference_ros.tools.replaying.ledger import Ledger
from c7_inference_ros.tools.replaying.ledger import ReplayFrame
from c7_inference_ros.tools.replaying.pacing import EveryFrame
from c7_inference_ros.tools.replaying.records import FrameResult
from c7_inference_ros.tools.replaying.run import Replay
from c7_inference_ros.tools.replaying.streams import CameraStream
from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.labels import Labels
import numpy as np
import pytest
from replay_bench import parameters
from replay_bench import run

TOPIC = bag_bench.FRONT


def image(index=0):
    return BagImage(TOPIC, bag_bench.IMAGE, index, index, index, 'camera', b'', None)


def found(*rows):
    """Return detections of (x1, y1, x2, y2, score, class id)."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(table[:, :4].astype(np.float32), table[:, 4].astype(np.float32),
                      table[:, 5].astype(np.int32))


def test_a_line_has_short_numbers_and_the_names_of_its_classes():
    result = FrameResult('front', 'detector', 3, 5, 7, 'eye', 640, 480,
                         detections=found((0.1, 1 / 3, 405.763733, 4, 0.9, 1)))
    assert result.line(Labels(('cat', 'dog'), 'file')) == (
        '{"camera":"front","model":"detector","index":3,"stamp_ns":5,"log_ns":7,"frame_id":"eye",'
        '"width":640,"height":480,"dropped":"","detections":[{"class_id":1,"label":"dog",'
        '"score":0.9,"box":[0.1,0.333333,405.763733,4.0]}]}')


def test_a_class_without_a_name_is_its_number():
    result = FrameResult('front', 'detector', 0, 0, 0, '', 1, 1,
                         detections=found((0, 0, 1, 1, 0.5, 7)))
    assert result.as_dict(Labels((), 'numbers'))['detections'][0]['label'] == '7'


@pytest.mark.parametrize('row', [(0, 0, np.nan, 1, 0.5, 0), (0, 0, np.inf, 1, 0.5, 0),
                                 (0, 0, 1, 1, np.nan, 0)])
def test_what_is_no_number_is_not_kept(row):
    frame = ReplayFrame('front', image())
    with pytest.raises(ValueError, match='not a finite number'):
        frame.keep('detector', found(row))
    assert frame.found == {}


def test_what_is_kept_is_not_what_the_model_writes_next():
    detections = found((0, 0, 1, 1, 0.5, 0))
    frame = ReplayFrame('front', image())
    frame.keep('detector', detections)
    detections.boxes[:] = 9
    assert frame.found['detector'].boxes.tolist() == [[0, 0, 1, 1]]


def test_results_wait_for_the_image_before_and_carry_their_own_reason():
    ledger = Ledger({'front': ('first', 'second')})
    first, second = ReplayFrame('front', image(0)), ReplayFrame('front', image(1))
    for frame in (first, second):
        ledger.arrive(frame)
        ledger.frame_received('front')
    ledger.frame_dropped('front', DropReason.OVERWRITTEN)
    assert list(ledger.settled()) == []
    ledger.point_at(first)
    ledger.dropped('front', 'second', DropReason.THERMAL)
    ledger.dropped('front', 'first', DropReason.BAD_IMAGE)
    # Of all models that are left: the second was dropped before for another reason.
    ledger.explain('front', None, DropReason.BAD_IMAGE, ValueError('torn\n picture'))
    ledger.settle(first)
    assert [(result.index, result.model, result.dropped, result.problem)
            for result in ledger.settled()] == [
        (0, 'first', 'bad_image', 'ValueError: torn picture'), (0, 'second', 'thermal', ''),
        (1, 'first', 'overwritten', ''), (1, 'second', 'overwritten', '')]


def test_dropped_frames_have_no_picture(tmp_path):
    pictures = Pictures(tmp_path)
    for index, dropped in enumerate(('', 'overwritten')):
        pictures({'camera': 'front', 'model': 'detector', 'index': index, 'dropped': dropped},
                 np.zeros((4, 4, 3), np.uint8))
    assert [path.name for path in tmp_path.rglob('*.jpg')] == ['000000.jpg']


@pytest.mark.parametrize('lost_at', [1, 3])
def test_a_lost_device_ends_the_replay(tmp_path, monkeypatch, lost_at):
    config = load_parameter_file(parameters(tmp_path / 'p'))
    bag = bag_bench.make_bag(tmp_path / 'bag', bag_bench.frames(3))
    results = []
    with one_bag.open_bag(bag) as opened, Replay(
            config, [CameraStream('front', TOPIC, bag_bench.IMAGE, 3)], EveryFrame()) as replay:
        infer, calls = DummyRuntime.infer, []

        def lose(*arguments):
            calls.append(1)
            if len(calls) == lost_at:
                raise DeviceLostError('the GPU fell off the bus')
            return infer(*arguments)

        monkeypatch.setattr(DummyRuntime, 'infer', lose)
        with pytest.raises(InferenceRuntimeError, match='fell off the bus'):
            replay.run(opened.images((TOPIC,)), results.append)
    assert len(calls) == len(results) == lost_at
    assert results[-1].dropped == 'inference_error'


def test_an_image_that_no_account_has_is_a_bug_and_no_hang(tmp_path, monkeypatch):
    monkeypatch.setattr(Ledger, 'settle', lambda self, frame: None)
    monkeypatch.setattr('c7_inference_ros.tools.replaying.run._IDLE_LOOKS', 1)
    bag = bag_bench.make_bag(tmp_path / 'bag', bag_bench.frames(2))
    assert run(tmp_path / 'out', bag, parameters(tmp_path / 'p')).exit_code == 1
    assert (tmp_path / 'out' / 'INCOMPLETE').is_file()


def test_what_the_first_image_costs_is_paid_before_the_run(tmp_path, monkeypatch):
    order = []
    read, begin = BagImage.read, Replay.run
    monkeypatch.setattr(BagImage, 'read', lambda self: order.append(self.topic) or read(self))
    monkeypatch.setattr(Replay, 'run', lambda self, *given: order.append('run')
                        or begin(self, *given))
    cameras = {'front': {'image_topic': bag_bench.FRONT},
               'rear': {'image_topic': '/rear/image_raw', 'image_transport': 'compressed'}}
    bag = bag_bench.make_bag(tmp_path / 'bag', bag_bench.two_cameras(1))
    assert run(tmp_path / 'out', bag, parameters(tmp_path / 'p', cameras)).exit_code == 0
    assert order[:order.index('run')] == [bag_bench.FRONT, bag_bench.REAR]
