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

"""Pictures show what was found, where it was found."""

import types

import cv2
from demo.errors import DemoError
from demo.pictures import Annotator
from demo.pictures import chosen_frames
from demo.pictures import to_detections
from demo.pictures import write_image
from demo.pictures import write_latency_plot
from demo.pictures import write_pictures
import numpy as np
import pytest

GREY = np.full((272, 640, 3), 90, np.uint8)
STAMPS = list(range(0, 400_000_000, 40_000_000))


def array_of(*boxes):
    made = types.SimpleNamespace
    return made(detections=[made(
        bbox=made(center=made(position=made(x=x, y=y)), size_x=width, size_y=height),
        results=[made(hypothesis=made(class_id=str(class_id), score=score))])
        for x, y, width, height, class_id, score in boxes])


def test_boxes_come_from_centre_and_size():
    found = to_detections(array_of((100.0, 50.0, 20.0, 10.0, 1, 0.5)))
    assert found.boxes.tolist() == [[90.0, 45.0, 110.0, 55.0]]
    assert (found.class_ids.tolist(), found.scores.tolist()) == ([1], [0.5])
    assert len(to_detections(array_of())) == 0


def test_image_is_changed_around_the_box_only():
    annotator = Annotator({7: array_of((320.0, 200.0, 60.0, 40.0, 0, 0.9))}, {0: 'person'})
    drawn = annotator.draw(7, GREY)
    changed = np.argwhere((drawn != GREY).any(axis=2))
    assert len(changed) and (changed.min(axis=0) > (160, 280)).all()
    assert (changed.max(axis=0) < (230, 400)).all()
    assert np.array_equal(annotator.draw(8, GREY), GREY)


def test_captions_count_by_class():
    annotator = Annotator({1: array_of((9, 9, 4, 4, 0, .9), (9, 9, 4, 4, 2, .8),
                                       (9, 9, 4, 4, 0, .7)), 2: array_of()},
                          {0: 'person', 1: 'bicycle'})
    assert annotator.caption(1, 12) == 'frame 12   2 person, 1 2'
    assert annotator.caption(2, 13) == 'frame 13   nothing found'
    assert annotator.caption(3, 14) == 'frame 14   no result: lost or dropped'


def test_frames_are_spread_and_show_the_most():
    counts = [0] * 120
    counts[33], counts[34], counts[77] = 2, 3, 1
    chosen = chosen_frames(counts)
    assert len(chosen) == 12 and {34, 77} <= set(chosen)
    assert all(10 * part <= number < 10 * (part + 1) for part, number in enumerate(chosen))
    assert chosen[0] == 5
    assert chosen_frames([0, 0]) == [0, 1]
    assert chosen_frames([1]) == [0]


def test_sheet_and_video_are_whole(tmp_path):
    annotator = Annotator({STAMPS[3]: array_of((320.0, 136.0, 200.0, 100.0, 0, 0.9))},
                          {0: 'person'})
    write_pictures(((stamp, GREY) for stamp in STAMPS), STAMPS, annotator, 25, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {'annotated.mp4', 'contact_sheet.png'}
    sheet = cv2.imread(str(tmp_path / 'contact_sheet.png'))
    assert sheet.shape[1] > 3 * 640 and sheet.shape[0] > 4 * 272
    video = cv2.VideoCapture(str(tmp_path / 'annotated.mp4'))
    assert video.get(cv2.CAP_PROP_FPS) == 25
    frames = []
    while True:
        has_frame, image = video.read()
        if not has_frame:
            break
        frames.append(image)
    assert len(frames) == len(STAMPS) and frames[0].shape == GREY.shape
    marked = [number for number, image in enumerate(frames)
              if np.abs(image.astype(int) - 90).max() > 60]
    assert marked == [3]


def test_plot_is_written_with_and_without_results(tmp_path):
    for latencies in ({stamp: 10.0 + number for number, stamp in enumerate(STAMPS[1:])}, {}):
        bottoms = []
        for conditions in (['CPU: turbo on', 'host: THROTTLED by heat'], []):
            write_latency_plot(latencies, STAMPS, {'p50': 12.0 if latencies else None}, 'a model',
                               conditions, tmp_path / 'latency.png')
            image = cv2.imread(str(tmp_path / 'latency.png'))
            assert image.shape[1] == 1200
            bottoms.append(image[-36:, :300])
            assert [path.name for path in tmp_path.iterdir()] == ['latency.png']
        assert (bottoms[0] < 100).sum() > 200  # two lines of text
        assert not np.array_equal(*bottoms)


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, 'imencode', lambda *arguments: (False, None))
    with pytest.raises(DemoError):
        write_image(GREY, tmp_path / 'x.png')
    assert list(tmp_path.iterdir()) == []
