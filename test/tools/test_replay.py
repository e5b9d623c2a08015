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

"""Replaying a bag: every image through every model, in order, the same every time."""

import json
import subprocess

import bag_bench
from c7_inference_ros.tools.bags.reader import open_bag
import numpy as np
import pytest
from replay_bench import BOXES
from replay_bench import COMMAND
from replay_bench import need
from replay_bench import parameters
from replay_bench import real_parameters
from replay_bench import ROOT
from replay_bench import run
from replay_bench import WARM_UP

CAMERAS = {'front': {'image_topic': '/front/image_raw'},
           'rear': {'image_topic': '/rear/image_raw', 'image_transport': 'compressed',
                    'models': ['second']}}


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    """Return a replay of two cameras, of which the second has one of two models."""
    folder = tmp_path_factory.mktemp('two')
    params = parameters(folder, CAMERAS, {'first': {}, 'second': {'detections': BOXES[:1]}})
    bag = bag_bench.make_bag(folder / 'drive', bag_bench.two_cameras(3))
    return run(folder / 'out', bag, params)


def test_every_image_goes_through_every_model_of_its_camera(two):
    assert two.exit_code == 0
    seen = [(line['camera'], line['model'], line['index']) for line in two.lines]
    assert seen == [entry for index in range(3) for entry in (
        ('front', 'first', index), ('front', 'second', index), ('rear', 'second', index))]
    counts = two.report['counts']
    assert {(camera, model): (one['received'], one['published'], one['in_flight'])
            for camera, models in counts.items() for model, one in models.items()} == {
        ('front', 'first'): (3, 3, 0), ('front', 'second'): (3, 3, 0),
        ('rear', 'second'): (3, 3, 0)}


def test_lines_carry_what_the_image_says_and_boxes_in_its_pixels(two):
    line = two.lines[5]
    assert (line['stamp_ns'], line['log_ns']) == (bag_bench.T0 + 45_000_000,) * 2
    assert (line['frame_id'], line['width'], line['height'], line['dropped']) == (
        'camera', 8, 6, '')
    # 64x48 of the network are the 8x6 of the image.
    assert line['detections'] == [{'class_id': 0, 'label': 'person', 'score': 0.9,
                                   'box': [1.0, 0.75, 3.0, 3.75]}]


def test_the_bag_holds_what_the_node_would_have_published(two):
    with open_bag(two.folder / 'detections_bag') as bag:
        assert {topic.name: topic.count for topic in bag.topics} == {
            '/c7_inference/first/label_info': 1, '/c7_inference/first/vision_info': 1,
            '/c7_inference/second/label_info': 1, '/c7_inference/second/vision_info': 1,
            '/c7_inference/front/first/detections': 3, '/c7_inference/front/second/detections': 3,
            '/c7_inference/rear/second/detections': 3}
        (_, info), = bag.messages('/c7_inference/first/label_info')
        assert [(one.class_id, one.class_name) for one in info.class_map] == [
            (0, 'person'), (1, 'car')]
        arrays = list(bag.messages('/c7_inference/rear/second/detections'))
    for index, (log_ns, array) in enumerate(arrays):
        stamp_ns = array.header.stamp.sec * 10 ** 9 + array.header.stamp.nanosec
        assert log_ns == stamp_ns == bag_bench.T0 + index * bag_bench.PERIOD + 5_000_000
        (found,) = array.detections
        assert found.results[0].hypothesis.class_id == '0'
        assert (found.bbox.center.position.x, found.bbox.size_y) == (2.0, 3.0)


def test_the_report_says_what_was_run_on_what(two):
    report = two.report
    assert (report['schema'], report['program'], report['mode'], report['exit_code']) == (
        1, 'replay', 'every-frame', 0)
    assert report['bag']['name'] == 'drive' and report['bag']['storage'] == 'mcap'
    assert report['parameters']['models.first.score_threshold'] == 0.4
    assert report['models']['first']['sha256'] and 'dummy' in report['models']['first']['runtime']
    assert report['detections']['first'] == {
        'total': 6, 'by_class': {'person': 3, 'car': 3},
        'by_frame': {'frames': 3, 'mean': 2.0, 'min': 2, 'max': 2, 'histogram': {'2': 3}}}
    assert set(report['conditions']) >= {'cpu', 'devices', 'throttled'}
    stages = report['stages_ms']['second']
    assert stages['processing']['count'] == 6
    assert 0 < stages['inference']['p50'] <= stages['processing']['max'] <= stages['age']['max']
    assert report['problems'] == []
    assert two.names == ['detections.jsonl', 'detections_bag', 'report.json']


def test_what_depends_on_the_speed_of_the_machine_does_not_apply(tmp_path):
    params = parameters(tmp_path / 'p', {'front': {'image_topic': '/front/image_raw',
                                                   'max_rate': 0.5}}, max_image_age=0.001)
    late = [bag_bench.Frame(bag_bench.FRONT, one.stamp_ns, one.pixels,
                            log_ns=one.stamp_ns + 10 ** 10) for one in bag_bench.frames(6)]
    done = run(tmp_path / 'out', bag_bench.make_bag(tmp_path / 'bag', late), params)
    assert done.exit_code == 0 and done.dropped() == {}
    # The clock stands at the recording while an image is in work.
    assert 10_000 <= done.report['stages_ms']['detector']['age']['p50'] < 11_000


def test_a_damaged_image_is_told_and_the_rest_goes_on(tmp_path, capsys):
    images = bag_bench.frames(4)
    images[1].edit = lambda raw: raw[:-5]
    images[2].edit = lambda raw: raw[:70]
    done = run(tmp_path / 'out', bag_bench.make_bag(tmp_path / 'bag', images),
               parameters(tmp_path / 'p'))
    assert done.exit_code == 0
    assert done.dropped() == {'bad_image': 2}
    assert [(line['dropped'], len(line['detections'])) for line in done.lines] == [
        ('', 2), ('bad_image', 0), ('bad_image', 0), ('', 2)]
    (problem,) = done.report['problems']
    assert problem.startswith('camera front, model detector: 2 frames dropped (bad_image), the '
                              'first is image 1: MalformedImageError: ')
    assert f'replay: warning: {problem}' in capsys.readouterr().err


def test_a_camera_without_one_good_image_is_no(tmp_path):
    images = bag_bench.frames(2)
    for image in images:
        image.edit = lambda raw: raw[:-5]
    done = run(tmp_path / 'out', bag_bench.make_bag(tmp_path / 'bag', images),
               parameters(tmp_path / 'p'))
    assert done.exit_code == done.report['exit_code'] == 1
    assert done.dropped() == {'bad_image': 2}


def test_a_model_that_fails_on_one_frame_is_no(tmp_path):
    params = parameters(tmp_path / 'p', models={'detector': {
        'faults': [{'at': WARM_UP + 2, 'error': 'inference'}]}})
    bag = bag_bench.make_bag(tmp_path / 'bag', bag_bench.frames(4))
    done = run(tmp_path / 'out', bag, params)
    counts = done.report['counts']['front']['detector']
    assert (done.exit_code, counts['published']) == (1, 3)
    assert done.dropped() == {'inference_error': 1}
    assert 'the first is image 1: InferenceError' in done.report['problems'][0]


def test_a_model_that_hangs_ends_the_replay_and_marks_what_there_is(tmp_path, capsys):
    params = parameters(tmp_path / 'p', inference_timeout=0.2, models={'detector': {
        'faults': [{'at': WARM_UP + 2, 'error': 'hang', 'for_s': 3.0}]}})
    bag = bag_bench.make_bag(tmp_path / 'bag', bag_bench.frames(4))
    done = run(tmp_path / 'out', bag, params)
    assert done.exit_code == 1
    assert 'inference_timeout is 0.2 s' in capsys.readouterr().err
    assert {'INCOMPLETE', 'detections.jsonl.part'} <= set(done.names)
    assert not {'report.json', 'detections.jsonl', 'detections_bag'} & set(done.names)
    assert 'inference_timeout' in (done.folder / 'INCOMPLETE').read_text()


@pytest.mark.parametrize('kind', ['sqlite3', 'mcap-message', 'rosbag1'])
def test_the_kind_of_bag_changes_nothing(tmp_path, two, kind):
    params = parameters(tmp_path, CAMERAS, {'first': {}, 'second': {'detections': BOXES[:1]}})
    bag = bag_bench.make_bag(tmp_path / 'drive', bag_bench.two_cameras(3), kind)
    done = run(tmp_path / 'out', bag, params)
    assert (done.exit_code, done.lines) == (0, two.lines)


def test_json_is_the_report_and_nothing_else(tmp_path, capsys):
    bag = bag_bench.make_bag(tmp_path / 'bag', bag_bench.frames(2))
    done = run(tmp_path / 'out', bag, parameters(tmp_path / 'p'), '--json')
    assert json.loads(capsys.readouterr().out) == done.report


def test_people_see_counts_durations_conditions_and_classes(tmp_path, capsys):
    bag = bag_bench.make_bag(tmp_path / 'bag', bag_bench.frames(2))
    run(tmp_path / 'out', bag, parameters(tmp_path / 'p'))
    shown = capsys.readouterr().out
    for words in ('front   detector  2         2          0', 'inference', 'P95 MS',
                  'measured on CPU', 'detector: 4 detections (person 2, car 2)', 'report.json'):
        assert words in shown


def test_the_shipped_parameters_find_the_one_camera_of_a_bag(tmp_path, capsys):
    picture = need('data/coco_val_subset/images/000000000785.jpg')
    import cv2
    pixels = cv2.imread(str(picture))
    bag = bag_bench.make_bag(tmp_path / 'bag', [bag_bench.Frame(
        '/vehicle/left/compressed', bag_bench.T0, pixels, 'jpeg')])
    from c7_inference_ros.tools import replay
    assert replay.main([str(bag), '--output', str(tmp_path / 'out')]) == 0
    assert 'the only image topic' in capsys.readouterr().err
    (line,) = [json.loads(one) for one in
               (tmp_path / 'out' / 'detections.jsonl').read_text().splitlines()]
    (skier,) = line['detections']
    # As annotated: 280, 44 to 499, 388.
    assert skier['label'] == 'person'
    assert np.allclose(skier['box'], [280, 44, 499, 388], atol=35)


@pytest.mark.parametrize('name, count', [('road_compressed_mcap', 38), ('road_raw_sqlite3', 5)])
def test_two_processes_write_the_same_bytes(tmp_path, name, count):
    bag = bag_bench.shared_bag(name)
    params = real_parameters(tmp_path, 'yolox')
    folders = [tmp_path / 'a', tmp_path / 'b']
    for folder in folders:
        subprocess.run([*COMMAND, str(bag), '--params-file', str(params), '--output',
                        str(folder)], cwd=ROOT, check=True, capture_output=True, timeout=120)
    first, second = ((folder / 'detections.jsonl').read_bytes() for folder in folders)
    assert first == second
    bags = [{path.name: path.read_bytes() for path in (folder / 'detections_bag').iterdir()}
            for folder in folders]
    assert bags[0] == bags[1] and len(bags[0]) == 2
    check_two_cars(first.decode(), count)


def test_another_model_sees_the_same_two_cars(tmp_path):
    bag = bag_bench.shared_bag('road_compressed_mcap')
    done = run(tmp_path / 'out', bag, real_parameters(tmp_path, 'atto'))
    assert done.exit_code == 0
    check_two_cars((done.folder / 'detections.jsonl').read_text(), 38)


def check_two_cars(text, count):
    """Both cars keep their lanes, in every frame."""
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line['index'] for line in lines] == list(range(count))
    for line in lines:
        boxes = sorted(one['box'] for one in line['detections'] if one['label'] == 'car')
        assert len(boxes) == 2
        (left, right) = boxes
        assert 395 < left[0] < 415 and 465 < left[2] < 480
        assert 490 < right[0] < 535 and 585 < right[2] < 640
