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

"""Ground truth beside a replay: figures in the report, and what is refused."""

import json

from bag_bench import Frame
from bag_bench import frames
from bag_bench import FRONT
from bag_bench import make_bag
from bag_bench import REAR
from bag_bench import T0
from c7_inference_ros.tools.console import BAD_INPUT
from c7_inference_ros.tools.console import GOOD
from c7_inference_ros.tools.evaluation.coco_truth import read_coco
from c7_inference_ros.tools.evaluation.evaluation import evaluate
import numpy as np
import pytest
from replay_bench import BOXES
from replay_bench import parameters
from replay_bench import run

pytest.importorskip('pycocotools', reason='pycocotools is not installed; run: make env')
NAMES = ('person', 'car')


@pytest.fixture()
def bag(tmp_path):
    return make_bag(tmp_path / 'bag', frames(4, size=(48, 64)))


def labels(path, numbers, names=NAMES, size=(64, 48)):
    """Label frames as the model sees them, but for the car, which is 2 pixels lower."""
    shifted = [[*BOXES[0]], [30, 12, 50, 42, 1, 1]]
    path.write_text(json.dumps({
        'images': [{'id': number, 'file_name': f'{number:06}.png', 'width': size[0],
                    'height': size[1]} for number in numbers],
        'annotations': [{'id': 10 * number + int(box[5]), 'image_id': number,
                         'category_id': int(box[5]),
                         'bbox': [*box[:2], box[2] - box[0], box[3] - box[1]]}
                        for number in numbers for box in shifted if box[5] == 0 or number != 1],
        'categories': [{'id': number, 'name': name} for number, name in enumerate(names)]}))
    return path


def test_figures_of_labelled_frames(tmp_path, bag, capsys):
    """Frames 0 to 2 are labelled, and in frame 1 there is no car."""
    truth = labels(tmp_path / 'labels.json', [0, 1, 2])
    done = run(tmp_path / 'out', bag, parameters(tmp_path / 'p'), '--ground-truth', str(truth))
    assert done.exit_code == GOOD
    found = done.report['evaluation']['detector']
    assert (found['tp'], found['fp'], found['fn']) == (5, 1, 0)
    assert found['frames'] == {'total': 4, 'evaluated': 3, 'unlabelled': 1, 'dropped': 0}
    assert found['per_class']['person']['ap'] == pytest.approx(1.0)
    # The car overlaps by 28/32, which is enough for 8 of the 10 overlaps.
    assert 0.6 < found['per_class']['car']['ap'] < found['per_class']['car']['ap50']
    assert [one['index'] for one in found['worst_frames']] == [1]
    shown = capsys.readouterr().out
    assert 'MAP50-95' in shown and 'detector  3       ' in shown
    # The same of what lies in the folder.
    assert evaluate((done.folder / 'detections.jsonl').read_text().splitlines(),
                    read_coco(truth), NAMES).as_dict() == found


def test_without_ground_truth_there_are_no_figures(tmp_path, bag):
    assert run(tmp_path / 'out', bag, parameters(tmp_path / 'p')).report['evaluation'] is None


def test_what_one_replay_found_is_the_truth_of_the_next(tmp_path, bag):
    """A topic of another bag: stamps, boxes and the names of its label_info."""
    params = parameters(tmp_path / 'p')
    first = run(tmp_path / 'first', bag, params)
    topic = f'{first.folder}/detections_bag:/c7_inference/front/detector/detections'
    found = run(tmp_path / 'second', bag, params, '--ground-truth', topic
                ).report['evaluation']['detector']
    assert (found['tp'], found['fp'], found['fn']) == (8, 0, 0)
    assert (found['mAP50_95'], found['mAP50']) == pytest.approx((1.0, 1.0))
    assert found['confusion'] == {'labels': [*NAMES, 'background'],
                                  'matrix': [[4, 0, 0], [0, 4, 0], [0, 0, 0]]}


def test_each_model_is_judged_by_itself(tmp_path, bag):
    models = {'detector': {}, 'blind': {'detections': []},
              'other': {'metadata': {'names': "{0: 'ship', 1: 'tree'}"}}}
    found = run(tmp_path / 'out', bag, parameters(tmp_path / 'p', models=models),
                '--ground-truth', str(labels(tmp_path / 'labels.json', [0, 2]))).report
    assert list(found['evaluation']) == ['detector', 'blind']
    assert found['evaluation']['detector']['recall'] == 1.0
    assert found['evaluation']['blind']['recall'] == found['evaluation']['blind']['mAP50'] == 0.0
    assert any(line.startswith('model other is not judged: ') and 'has no class of the model: it '
               'has person, car, the model ship, tree' in line for line in found['problems'])


def test_a_damaged_frame_is_neither_right_nor_missed(tmp_path):
    images = [Frame(FRONT, T0 + index, np.zeros((48, 64, 3), np.uint8),
                    edit=(lambda raw: raw[:100]) if index == 1 else None) for index in range(3)]
    bag = make_bag(tmp_path / 'bag', images)
    found = run(tmp_path / 'out', bag, parameters(tmp_path / 'p'), '--ground-truth',
                str(labels(tmp_path / 'labels.json', [0, 1, 2]))).report
    assert found['evaluation']['detector']['frames']['dropped'] == 1
    assert found['evaluation']['detector']['fn'] == 0
    assert any('1 labelled frames were dropped' in line for line in found['problems'])


@pytest.mark.parametrize('numbers, options, why', [
    ([70, 71], {}, 'is ground truth of other pictures: none of its 2 (000070.png, 000071.png; '
                   'matched by index) is one of the 4 of the frames of'),
    ([0], {'size': (640, 480)}, '000000.png there is 640x480, but frame 0 of front'),
    ([0], {'names': ('ship', 'tree')}, 'has no class of the model: it has ship, tree')])
def test_ground_truth_of_something_else(tmp_path, bag, capsys, numbers, options, why):
    truth = labels(tmp_path / 'labels.json', numbers, **options)
    done = run(tmp_path / 'out', bag, parameters(tmp_path / 'p'), '--ground-truth', str(truth))
    assert done.exit_code == BAD_INPUT and why in capsys.readouterr().err
    assert not (done.folder / 'report.json').exists()


def test_ground_truth_that_is_not_there(tmp_path, bag, capsys):
    for given, why in ((str(tmp_path / 'none.json'), 'which is no file'),
                       ('/front/labels', 'has nothing on /front/labels'),
                       (f'{tmp_path}/none:/labels', 'none')):
        done = run(tmp_path / 'out', bag, parameters(tmp_path / 'p'), '--ground-truth', given)
        assert done.exit_code == BAD_INPUT and why in capsys.readouterr().err
        assert not done.folder.exists()


def test_two_cameras_need_to_be_told_apart(tmp_path, capsys):
    bag = make_bag(tmp_path / 'bag', frames(2, size=(48, 64)) + frames(
        2, REAR, 'png', 5_000_000, size=(48, 64)))
    cameras = {'front': {'image_topic': FRONT},
               'rear': {'image_topic': REAR.removesuffix('/compressed'),
                        'image_transport': 'compressed'}}
    params = parameters(tmp_path / 'p', cameras)
    truth = labels(tmp_path / 'labels.json', [0])
    assert run(tmp_path / 'out', bag, params, '--ground-truth', str(truth)
               ).exit_code == BAD_INPUT
    assert 'give each image its "camera"' in capsys.readouterr().err
    content = json.loads(truth.read_text())
    content['images'][0]['camera'] = 'rear'
    truth.write_text(json.dumps(content))
    done = run(tmp_path / 'again', bag, params, '--ground-truth', str(truth))
    assert done.report['evaluation']['detector']['frames']['evaluated'] == 1
