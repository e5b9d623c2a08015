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

"""The command tune, on pictures and on a bag, with a model whose answers are known."""

from importlib.util import find_spec
import json
from pathlib import Path

from c7_inference_ros.tools.console import BAD_INPUT
from c7_inference_ros.tools.console import GOOD
from c7_inference_ros.tools.console import NO
from c7_inference_ros.tools.evaluation.coco_truth import read_coco
from c7_inference_ros.tools.node_parameters import load_parameter_file
from c7_inference_ros.tools.tune import main
from c7_inference_ros.tools.tuning import samples
from c7_inference_ros.tools.tuning import tensor_store
from c7_inference_ros.tools.tuning.choose import Wish
from c7_inference_ros.tools.tuning.inferred import InferredSamples
from c7_inference_ros.tools.tuning.inferred import TunedModel
from c7_inference_ros.tools.tuning.outcome import Outcome
from c7_inference_ros.tools.tuning.search import refusal_of
from c7_inference_ros.tools.tuning.sweep import count
from c7_inference_ros.tools.tuning.sweep import sweep
import numpy as np
import pytest

cv2 = pytest.importorskip('cv2', reason='OpenCV is not installed; run: make env')
SIZE = 320
#: What the model sees in every picture: a car, a car that is none, and a cat it is unsure of.
RIGHT, WRONG, CAT = (100, 80, 160, 260), (10, 10, 60, 60), (200, 200, 300, 300)
MODEL = f"""
inputs: [{{name: images, shape: [1, 3, {SIZE}, {SIZE}]}}]
outputs: [{{name: output0, shape: [1, 16, 6]}}]
detections:
  - [{', '.join(map(str, RIGHT))}, 0.7, 0]
  - [{', '.join(map(str, WRONG))}, 0.5, 0]
  - [{', '.join(map(str, CAT))}, 0.3, 1]
latency_s: 0.0
metadata: {{names: "{{0: 'car', 1: 'cat'}}"}}
"""
PARAMETERS = """# Ours.
/**:
  ros__parameters:
    runtime: dummy   # nothing is computed
    camera_names: [front]
    model_names: [m]
    cameras: {{front: {{image_topic: /front/image_raw}}}}
    models:
      m:
        path: {path}
        # Too low.
        score_threshold: 0.4
"""


@pytest.fixture()
def bench(tmp_path):
    """Return a folder with ten pictures, their labels, a model and a parameter file."""
    (tmp_path / 'model.yaml').write_text(MODEL)
    (tmp_path / 'p.yaml').write_text(PARAMETERS.format(path=tmp_path / 'model.yaml'))
    (tmp_path / 'pictures').mkdir()
    boxes = [(image, box, kind) for image in range(10) for box, kind in ((RIGHT, 1), (CAT, 2))]
    for image in range(10):
        cv2.imwrite(str(tmp_path / 'pictures' / f'{image}.png'),
                    np.zeros((SIZE, SIZE, 3), np.uint8))
    (tmp_path / 'labels.json').write_text(json.dumps({
        'images': [{'id': image, 'file_name': f'{image}.png', 'width': SIZE, 'height': SIZE}
                   for image in range(10)],
        'annotations': [{'id': index + 1, 'image_id': image, 'category_id': kind,
                         'bbox': [*box[:2], box[2] - box[0], box[3] - box[1]]}
                        for index, (image, box, kind) in enumerate(boxes)],
        'categories': [{'id': 1, 'name': 'car'}, {'id': 2, 'name': 'cat'}]}))
    return tmp_path


def tune(bench, *more, source='pictures', output='tuned.yaml'):
    return main([str(bench / source), '--params-file', str(bench / 'p.yaml'), '--ground-truth',
                 str(bench / 'labels.json'), '--output', str(bench / output), '--min-objects', '5',
                 *more])


def left_alone(bench):
    """Whether nothing was written or changed."""
    return (bench / 'p.yaml').read_text() == PARAMETERS.format(
        path=bench / 'model.yaml') and {path.name for path in bench.iterdir()} == {
            'model.yaml', 'p.yaml', 'pictures', 'labels.json'}


def test_one_threshold(bench, capsys):
    """Lower, the cats come: mean F1 of 0.1 to 0.3 is (2/3 + 1) / 2, above 0.5 it is 1/2."""
    assert tune(bench) == GOOD
    text = (bench / 'p.yaml').read_text()
    assert (bench / 'tuned.yaml').read_text() == text.replace('0.4', '0.17')
    assert load_parameter_file(bench / 'tuned.yaml').models['m'].score_threshold == 0.17
    if find_spec('matplotlib'):
        assert (bench / 'tuned.png').read_bytes()[:8] == b'\x89PNG\r\n\x1a\n'
    shown = capsys.readouterr().out
    assert 'held out, 3 pictures:' in shown and 'tuning, 7 pictures:' in shown
    cells = [line.split() for line in shown.splitlines() if line.startswith('cat ')]
    assert cells[0] == ['cat', '7', '0.4', '->', '0.17', '-', '->', '1.000',
                        '0.000', '->', '1.000', '0.000', '->', '1.000']
    assert 'the model suppresses boxes itself' in shown
    # The same in every run.
    assert tune(bench, output='again.yaml') == GOOD
    assert (bench / 'again.yaml').read_text() == (bench / 'tuned.yaml').read_text()


def test_a_threshold_for_each_class(bench, capsys):
    assert tune(bench, '--scope', 'class', '--json') == GOOD
    model = load_parameter_file(bench / 'tuned.yaml').models['m']
    assert model.score_threshold == 0.4
    assert model.class_score_thresholds == ('car=0.6', 'cat=0.17')
    found = json.loads(capsys.readouterr().out)
    assert found['tuning']['before']['macro_f1'] == pytest.approx(1 / 3)
    assert found['tuning']['after']['macro_f1'] == found['held_out']['after']['macro_f1'] == 1.0
    assert found['held_out']['pictures'] == 3 and found['exit_code'] == GOOD
    assert found['score_thresholds']['cat'] == {'before': 0.4, 'after': 0.17}
    assert found['curve']['tp'][:3] == [14, 14, 14] and found['curve']['fp'][0] == 7
    # One that keeps its own.
    assert tune(bench, '--scope', 'class', '--class', 'cat', output='cat.yaml') == GOOD
    assert load_parameter_file(bench / 'cat.yaml').models['m'].class_score_thresholds == (
        'cat=0.17',)


def test_a_precision(bench, capsys):
    assert tune(bench, '--min-precision', '0.9') == GOOD
    assert load_parameter_file(bench / 'tuned.yaml').models['m'].score_threshold == 0.6
    capsys.readouterr()
    boxes = json.loads((bench / 'labels.json').read_text())
    for one in boxes['annotations']:
        one['bbox'] = [0, 0, 5, 5]
    (bench / 'labels.json').write_text(json.dumps(boxes))
    (bench / 'tuned.yaml').unlink()
    (bench / 'tuned.png').unlink(missing_ok=True)
    assert tune(bench, '--min-precision', '0.9') == NO
    assert 'no setting reaches a precision of 0.9; the best is 0.000' in capsys.readouterr().err
    assert left_alone(bench)


def test_too_few_objects(bench, capsys):
    assert tune(bench, '--min-objects', '8') == NO
    assert 'no class has the 8 labelled objects in the 7 pictures tuned on that a threshold ' \
        'needs (found car 7, cat 7)' in capsys.readouterr().err
    assert left_alone(bench)
    boxes = json.loads((bench / 'labels.json').read_text())
    boxes['annotations'] = [one for one in boxes['annotations']
                            if one['category_id'] == 1 or one['image_id'] < 3]
    (bench / 'labels.json').write_text(json.dumps(boxes))
    assert tune(bench, '--scope', 'class') == GOOD
    assert 'cat=' not in (bench / 'tuned.yaml').read_text()
    assert '1 classes with fewer than 5 labelled objects keep their thresholds: cat' \
        in capsys.readouterr().out


def test_what_does_not_carry_over_is_not_written(bench, capsys):
    """In the pictures kept aside the cats are none, so that the lower threshold hurts."""
    aside = samples.held_out([('', f'{image}.png') for image in range(10)], 0.3, False)
    boxes = json.loads((bench / 'labels.json').read_text())
    boxes['annotations'] = [one for one in boxes['annotations']
                            if one['category_id'] == 1 or not aside[one['image_id']]]
    (bench / 'labels.json').write_text(json.dumps(boxes))
    assert tune(bench, '--average', 'micro', '--json') == NO
    found = json.loads(capsys.readouterr().out)
    assert 'on the 3 pictures that were kept aside F1 falls from 0.6667 to 0.5000' in (
        found['refusal']) and found['exit_code'] == NO
    assert left_alone(bench)
    assert tune(bench, '--average', 'micro', '--holdout', '0') == GOOD
    assert 'how well this does on other pictures is not known' in capsys.readouterr().out


def test_files_are_only_replaced_when_told(bench, capsys):
    before = (bench / 'p.yaml').read_bytes()
    assert tune(bench, output='p.yaml') == BAD_INPUT
    assert 'is the parameter file itself' in capsys.readouterr().err
    (bench / 'link.yaml').symlink_to(bench / 'p.yaml')
    assert tune(bench, output='link.yaml') == BAD_INPUT
    assert (bench / 'p.yaml').read_bytes() == before
    (bench / 'tuned.png').write_text('mine')
    assert tune(bench) == BAD_INPUT
    assert 'tuned.png is there already' in capsys.readouterr().err
    (bench / 'p.yaml').chmod(0o640)
    assert tune(bench, '--overwrite', output='p.yaml') == GOOD
    assert (bench / 'p.yaml').read_bytes() == before.replace(b'0.4', b'0.17')
    assert (bench / 'p.yaml').stat().st_mode & 0o777 == 0o640
    # Through a link, which stays one.
    (bench / 'p.yaml').write_bytes(before)
    assert tune(bench, '--overwrite', output='link.yaml') == GOOD
    assert (bench / 'link.yaml').is_symlink()
    assert (bench / 'p.yaml').read_bytes() == before.replace(b'0.4', b'0.17')
    # Nothing is better any more: the same file.
    assert tune(bench) == BAD_INPUT
    assert tune(bench, '--overwrite') == GOOD
    assert 'the present thresholds are the best that were found' in capsys.readouterr().out
    assert (bench / 'tuned.yaml').read_bytes() == (bench / 'p.yaml').read_bytes()


@pytest.mark.parametrize('more, why', [
    (['--min-precision', '1.5'], "--min-precision is '1.5', expected a number from 0 to 1"),
    (['--iou', 'x', '--holdout', '1'], '--holdout is'),
    (['--scope', 'class', '--average', 'micro'], 'says nothing with --scope class'),
    (['--average', 'micro', '--class', 'cat'], '--class says nothing'),
    (['--class', 'kat'], "did you mean 'cat'?"), (['--topic', 'front'], 'CAMERA=TOPIC'),
    (['--model-name', 'n'], "--model-name is 'n'"), (['--scop', 'x'], 'did you mean --scope?'),
    (['--scope', 'clas'], 'did you mean class?')])
def test_arguments_that_cannot_be_used(bench, capsys, more, why):
    assert tune(bench, *more) == BAD_INPUT
    assert why in capsys.readouterr().err and left_alone(bench)


def test_pictures_that_cannot_be_used(bench, capsys):
    assert tune(bench, source='missing') == BAD_INPUT
    assert 'missing is not there' in capsys.readouterr().err
    (bench / 'pictures' / '3.png').write_bytes(b'no picture')
    assert tune(bench) == BAD_INPUT
    assert '3.png cannot be used' in capsys.readouterr().err
    cv2.imwrite(str(bench / 'pictures' / '3.png'), np.zeros((9, 9, 3), np.uint8))
    assert tune(bench) == BAD_INPUT
    assert '3.png is 9x9 pixels, but 3.png of the ground truth is 320x320' in (
        capsys.readouterr().err)
    (bench / 'pictures' / '3.png').unlink()
    assert tune(bench) == BAD_INPUT
    assert 'has not 1 of the 10 pictures' in capsys.readouterr().err
    for path in (bench / 'pictures').iterdir():
        path.unlink()
    assert tune(bench) == BAD_INPUT
    assert 'is ground truth of other pictures: none of its 10 (such as 0.png) is in' in (
        capsys.readouterr().err)


def test_each_picture_is_inferred_once_and_the_store_holds_what_was_answered(bench, monkeypatch):
    inferred, kept = [], []
    infer, add = TunedModel.infer, tensor_store.TensorStore.add

    def counted(self, image):
        inferred.append(image)
        return infer(self, image)

    def remembered(self, tensors):
        add(self, tensors)
        kept.append({name: array.copy() for name, array in tensors.items()})
        again = self.get(len(kept) - 1)
        assert list(again) == list(tensors)
        assert all(np.array_equal(again[name], array) for name, array in tensors.items())

    monkeypatch.setattr(TunedModel, 'infer', counted)
    monkeypatch.setattr(tensor_store.TensorStore, 'add', remembered)
    assert tune(bench, '--scope', 'class') == GOOD
    assert len(inferred) == len(kept) == 10


def test_the_sweep_counts_what_the_decoder_would_give(bench):
    """At scores that are exactly a threshold too, and with detections in a crowd."""
    truth = json.loads((bench / 'labels.json').read_text())
    truth['annotations'].append({'id': 99, 'image_id': 4, 'category_id': 1, 'iscrowd': 1,
                                 'bbox': [0, 0, 100, 70]})
    (bench / 'labels.json').write_text(json.dumps(truth))
    labels = read_coco(bench / 'labels.json')
    with TunedModel(load_parameter_file(bench / 'p.yaml'), 'm') as model, (
            tensor_store.TensorStore()) as store:
        inferred = InferredSamples(model, store, labels, 0.5)
        inferred.collect(samples.FolderSamples(bench / 'pictures', labels), lambda *_: None)
        found = sweep(model, inferred, range(10), [0.4, 0.305], True, lambda *_: None)
        for column, score in enumerate(found.scores.tolist()):
            settings = model.settings(score_threshold=score)
            assert found.counts[0, :, column].tolist() == count(
                inferred, range(10), settings).tolist(), score
    assert found.counts[0, 0, 0].tolist() == [10, 9, 0] and 0.305 in found.scores


def test_classes_that_are_not_published_are_not_judged(bench, capsys):
    text = (bench / 'p.yaml').read_text()
    (bench / 'p.yaml').write_text(f'{text}        classes: [car]\n')
    assert tune(bench, '--json') == GOOD
    found = json.loads(capsys.readouterr().out)
    assert found['tuned_classes'] == ['car'] and found['tuning']['before']['all']['fn'] == 0
    assert found['changes'] == {'score_threshold': 0.6}


def test_thresholds_that_act_on_each_other_are_decoded_before_they_are_written():
    """What the sweep promised is not what comes out where classes suppress each other."""
    worse = Outcome('tuning', 5, np.array([(8, 2, 2)]), np.array([(7, 2, 3)]))
    assert 'F1 would fall from 0.8000 to 0.7368' in refusal_of(Wish(), worse, [0], ['car'])
    assert refusal_of(Wish(), Outcome('tuning', 5, worse.after, worse.before), [0], ['car']) == ''
    for by_class, whose in ((True, 'car'), (False, 'all boxes')):
        wish = Wish(by_class, min_precision=0.8)
        assert f'precision of {whose} would be 0.778' in refusal_of(wish, worse, [0], ['car'])


def test_any_tensors_can_be_kept():
    tensors = {'a': np.arange(6, dtype=np.int64).reshape(2, 3)[:, ::2], 'b': np.float32(2.5),
               'c': np.zeros((0, 4), np.float16), 'd': np.array([[True]])}
    with tensor_store.TensorStore() as store:
        for factor in (1, 2):
            store.add({name: np.asarray(array * factor) for name, array in tensors.items()})
        for number, factor in enumerate((1, 2)):
            found = store.get(number)
            for name, array in tensors.items():
                expected = np.asarray(array * factor)
                assert np.array_equal(found[name], expected)
                assert (found[name].dtype, found[name].shape) == (expected.dtype, expected.shape)
        assert store.size > 0 and len(store) == 2


def test_a_full_disk(bench, capsys):
    full = Path('/dev/full')
    if not full.exists():
        pytest.skip('/dev/full is not here')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensor_store.tempfile, 'TemporaryFile',
                      lambda **options: full.open('r+b', **options))
        assert tune(bench) == BAD_INPUT
    assert 'no more can be kept there: the disk is full; set TMPDIR' in capsys.readouterr().err
    assert left_alone(bench)


def test_frames_of_a_bag(bench, capsys):
    pytest.importorskip('rosbags', reason='rosbags is not installed; run: make env')
    bag_bench = pytest.importorskip('bag_bench')
    bag_bench.make_bag(bench / 'bag', [
        bag_bench.Frame('/front/image_raw', 10**9 + index, np.zeros((SIZE, SIZE, 3), np.uint8),
                        edit=(lambda raw: raw[:200]) if index == 4 else None)
        for index in range(14)])
    assert tune(bench, '--scope', 'class', '--json', source='bag') == GOOD
    found = json.loads(capsys.readouterr().out)
    # Frames 10 to 13 are unlabelled, 4 is damaged, and the last three of nine are kept aside.
    assert found['tuning']['pictures'] == 6 and found['held_out']['pictures'] == 3
    assert any('1 labelled frames cannot be read and are left out, first frame 4' in line
               for line in found['problems'])
    assert load_parameter_file(bench / 'tuned.yaml').models['m'].class_score_thresholds == (
        'car=0.6', 'cat=0.17')
    assert tune(bench, '--topic', 'front=/nope', '--overwrite', source='bag') == BAD_INPUT
    assert '/front/image_raw' in capsys.readouterr().err
    labels = json.loads((bench / 'labels.json').read_text())
    for one in labels['images']:
        one['file_name'] = f'{100 + one["id"]}.png'
    (bench / 'labels.json').write_text(json.dumps(labels))
    assert tune(bench, '--overwrite', source='bag') == BAD_INPUT
    assert 'ground truth of other pictures: none of its 10 (100.png' in capsys.readouterr().err
