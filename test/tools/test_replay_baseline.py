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

"""The regression gate of replay: what trips it, what does not, and what it refuses."""

import json
import math

import bag_bench
from c7_inference_ros.tools.replaying.confidence import independent_count
from c7_inference_ros.tools.replaying.confidence import LEAST_FRAMES
from c7_inference_ros.tools.replaying.confidence import percentile_range
from c7_inference_ros.tools.replaying.frame_changes import compare_frame
from c7_inference_ros.tools.replaying.latency_gate import compare_stages
from c7_inference_ros.tools.replaying.latency_gate import other_conditions
import numpy as np
import pytest
from replay_bench import BOXES
from replay_bench import need
from replay_bench import parameters
from replay_bench import real_parameters
from replay_bench import run
from replay_bench import WARM_UP
import yaml


@pytest.fixture(scope='module')
def before(tmp_path_factory):
    """Return a bag and the replay of it that the others are compared with."""
    folder = tmp_path_factory.mktemp('before')
    bag = bag_bench.make_bag(folder / 'bag', bag_bench.frames(6))
    done = run(folder / 'out', bag, parameters(folder / 'p'))
    assert done.exit_code == 0
    done.bag = bag
    return done


def compare(tmp_path, before, params, *options):
    """Replay the bag of ``before`` again and compare."""
    return run(tmp_path / 'out', before.bag, params, '--baseline',
               str(before.folder / 'report.json'), *options)


def gate(done):
    """Return what the gate put into the report."""
    return done.report['baseline']


# -- the whole command --


def test_the_same_again_is_no_regression_however_often(tmp_path, before, capsys):
    for time in range(3):
        again = compare(tmp_path / str(time), before, parameters(tmp_path / 'p'))
        assert again.exit_code == 0 and gate(again)['regressions'] == []
        assert gate(again)['frames']['front']['detector']['compared'] == 6
        assert gate(again)['frames']['front']['detector']['changed'] == 0
    out = capsys.readouterr().out
    assert out.count('no regression') == 3 and 'conditions before: cpu' in out


def test_lost_new_and_moved_detections_are_told_with_their_frames(tmp_path, before, capsys):
    boxes = [[8 + 3, 6, 24 + 3, 30, 0.9, 0], [0, 0, 10, 10, 0.8, 1]]
    worse = compare(tmp_path, before, parameters(
        tmp_path / 'p', models={'detector': {'detections': boxes}}))
    assert worse.exit_code == worse.report['exit_code'] == 1
    line, = gate(worse)['regressions']
    assert line == ('camera front, model detector: 6 of 6 frames changed (100.0%): 6 lost (car '
                    '6), 6 new (car 6), 6 moved; frames 0, 1, 2, 3, 4, 5')
    assert f'regression: {line}' in capsys.readouterr().out.splitlines()
    first = gate(worse)['frames']['front']['detector']['frames'][0]
    assert first['index'] == 0 and first['lost'][0]['label'] == 'car'
    assert first['moved'][0]['before']['box'] != first['moved'][0]['after']['box']


def test_changed_frames_are_on_the_page_side_by_side(tmp_path, before):
    fewer = parameters(tmp_path / 'p', models={'detector': {'detections': BOXES[:1]}})
    done = run(tmp_path / 'out', before.bag, fewer, '--baseline', str(before.folder),
               has_page=True)
    page = (tmp_path / 'out' / 'report.html').read_text()
    assert done.exit_code == 1 and 'Regression: camera front, model detector: 6 of 6' in page
    for index in range(6):
        assert f'camera front, model detector, frame {index}: 1 lost' in page
    same = run(tmp_path / 'same', before.bag, parameters(tmp_path / 'q'), '--baseline',
               str(before.folder), has_page=True)
    page = (same.folder / 'report.html').read_text()
    assert 'No regression.' in page and 'Before and after' not in page


def test_a_share_of_changed_frames_can_be_allowed(tmp_path, before):
    fewer = parameters(tmp_path / 'p', models={'detector': {'detections': BOXES[:1]}})
    assert compare(tmp_path / 'a', before, fewer).exit_code == 1
    assert compare(tmp_path / 'b', before, fewer, '--max-changed', '0.99').exit_code == 1
    done = compare(tmp_path / 'c', before, fewer, '--max-changed', '1')
    assert done.exit_code == 0
    assert any('6 lost (car 6)' in note for note in gate(done)['notes'])


def test_another_threshold_is_told_and_what_it_loses_is_a_regression(tmp_path, before):
    params = parameters(tmp_path / 'p')
    values = yaml.safe_load(params.read_text())
    values['/**']['ros__parameters']['models']['detector']['score_threshold'] = 0.59
    params.write_text(yaml.safe_dump(values))
    assert compare(tmp_path / 'a', before, params).exit_code == 0
    values['/**']['ros__parameters']['models']['detector']['score_threshold'] = 0.61
    params.write_text(yaml.safe_dump(values))
    done = compare(tmp_path / 'b', before, params)
    assert done.exit_code == 1 and '6 lost (car 6)' in gate(done)['regressions'][0]
    assert 'models.detector.score_threshold: 0.4 before, 0.61 now' in gate(done)['notes']


def test_frames_that_are_not_published_any_more_are_a_regression(tmp_path, before):
    faults = [{'at': WARM_UP + 3, 'error': 'inference'}]
    params = parameters(tmp_path / 'p', models={'detector': {'faults': faults}})
    done = compare(tmp_path, before, params)
    assert done.exit_code == 1
    assert any('1 frames dropped (inference_error), 0 before' in line
               for line in gate(done)['regressions']), gate(done)


def test_a_model_that_became_slow_is_a_regression_beyond_doubt(tmp_path):
    bag = bag_bench.make_bag(tmp_path / 'bag', bag_bench.frames(150))
    slow = parameters(tmp_path / 'slow', models={'detector': {'latency_s': 0.01}})
    quick = parameters(tmp_path / 'quick')
    first = run(tmp_path / 'first', bag, quick)
    calm(first)
    done = run(tmp_path / 'now', bag, slow, '--any-machine', '--baseline',
               str(first.folder), '--max-p95-ratio', '1.5')
    verdicts = {one['stage']: one['verdict'] for one in gate(done)['latency']}
    assert done.exit_code == 1 and verdicts['inference'] == 'slower', gate(done)['latency']
    assert any('model detector: p95 of inference ' in line and '1.5 is allowed' in line
               for line in gate(done)['regressions'])


def calm(done):
    """Give a report the durations of an idle machine, which the tests may not run on."""
    report = done.report
    for stage in report['stages_ms']['detector'].values():
        stage.update(p95=0.2, p95_range=[0.1, 0.3])
    (done.folder / 'report.json').write_text(json.dumps(report))


def test_too_few_frames_are_said_loudly_and_are_no_regression(tmp_path, before, capsys):
    slow = parameters(tmp_path / 'p', models={'detector': {'latency_s': 0.02}})
    done = compare(tmp_path, before, slow, '--any-machine')
    assert done.exit_code == 0
    assert any('both replays need 90 at least' in line for line in gate(done)['not_compared'])
    assert 'NOT COMPARED: latency' in capsys.readouterr().out


@pytest.mark.parametrize('options, is_compared', [((), False), (('--any-machine',), True)])
def test_latency_of_another_machine_is_compared_only_when_asked(tmp_path, before, options,
                                                                is_compared):
    other = changed_report(tmp_path / 'base', before, machine={'processor': 'Other 3000'})
    done = run(tmp_path / 'out', before.bag, parameters(tmp_path / 'p'),
               '--baseline', str(other), *options)
    lines = gate(done)['not_compared']
    assert any("processor 'Other 3000' before" in line for line in lines) is not is_compared
    assert bool(gate(done)['latency']) is is_compared and done.exit_code == 0


def changed_report(folder, before, **values):
    """Return a copy of a baseline with other values."""
    folder.mkdir(parents=True)
    (folder / 'detections.jsonl').write_bytes(
        (before.folder / 'detections.jsonl').read_bytes())
    path = folder / 'report.json'
    path.write_text(json.dumps({**before.report, **values}))
    return path


def test_loss_of_map_is_a_regression_and_its_gain_is_not(tmp_path, before, capsys):
    # Without ground truth here: one side only is said, not passed over.
    old = {'detector': {'mAP50_95': 0.5}}
    done = run(tmp_path / 'a', before.bag, parameters(tmp_path / 'p'), '--baseline',
               str(changed_report(tmp_path / 'b', before, evaluation=old)))
    assert any('mAP of detector: only the baseline has it' in line
               for line in gate(done)['not_compared'])


def test_map_of_both_decides_and_changed_frames_are_told(tmp_path, before):
    from c7_inference_ros.tools.replaying.baseline import Baseline
    from c7_inference_ros.tools.replaying.baseline import Limits
    lines = before.folder / 'detections.jsonl'
    path = changed_report(tmp_path / 'a', before, evaluation={'detector': {'mAP50_95': 0.5}})
    text = lines.read_text().replace('"score":0.6', '"score":0.5')
    (path.parent / 'detections.jsonl').write_text(text)
    for now, limit, count in ((0.495, 0.01, 0), (0.485, 0.01, 1), (0.485, 0.02, 0), (0.9, 0.0, 0)):
        report = {**before.report, 'evaluation': {'detector': {'mAP50_95': now}}}
        found = Baseline(path).compare(report, lines, Limits(map_drop=limit))
        assert len([one for one in found.regressions if 'mAP50-95' in one]) == count, now
        assert not any('frames changed' in one for one in found.regressions)
        assert any('6 with other scores' in one for one in found.notes)


def test_a_baseline_of_something_else_is_bad_input_with_each_difference(tmp_path, before, capsys):
    bag = bag_bench.make_bag(tmp_path / 'bag', bag_bench.frames(7))
    params = parameters(tmp_path / 'p', models={'other': {}})
    assert run(tmp_path / 'out', bag, params, '--mode', 'real-time', '--baseline',
               str(before.folder)).exit_code == 2
    said = capsys.readouterr().err
    for words in ('end_ns of the bag', 'topics of the bag: /front/image_raw (sensor_msgs/msg/Image'
                  ', 6) there, /front/image_raw (sensor_msgs/msg/Image, 7) here',
                  'mode: every-frame there, real-time here', 'models: detector there, other here'):
        assert words in said, words
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('spoil, words', [
    (lambda folder: (folder / 'report.json').unlink(), 'cannot be read'),
    (lambda folder: (folder / 'report.json').write_text('{'), 'is no JSON'),
    (lambda folder: (folder / 'report.json').write_text('[]'), 'is not written by replay'),
    (lambda folder: (folder / 'report.json').write_text('{"program": "replay"}'),
     'is not of this version'),
    (lambda folder: (folder / 'INCOMPLETE').write_text(''), 'did not end'),
    (lambda folder: (folder / 'detections.jsonl').unlink(), 'no detections.jsonl beside it')])
def test_a_baseline_that_is_not_whole_is_bad_input(tmp_path, before, capsys, spoil, words):
    path = changed_report(tmp_path / 'base', before)
    spoil(path.parent)
    done = run(tmp_path / 'out', before.bag, parameters(tmp_path / 'p'), '--baseline', str(path))
    assert done.exit_code == 2 and words in capsys.readouterr().err


def test_lines_of_other_images_are_bad_input(tmp_path, before, capsys):
    path = changed_report(tmp_path / 'base', before)
    lines = (before.folder / 'detections.jsonl').read_text().splitlines(True)
    for text, words in ((''.join(lines[:-1]), 'ends before line 6'),
                        (''.join(lines + lines[-1:]), 'has more lines'),
                        (''.join(lines[1:] + lines[:1]), 'has index 1, this replay has 0'),
                        ('{"camera": 1}\n', 'is no line of detections.jsonl')):
        (path.parent / 'detections.jsonl').write_text(text)
        done = run(tmp_path / 'out', before.bag, parameters(tmp_path / 'p'),
                   '--baseline', str(path), '--overwrite')
        assert done.exit_code == 2 and words in capsys.readouterr().err, words
        assert 'INCOMPLETE' in done.names


@pytest.mark.parametrize('options, words', [
    (('--max-map-drop', '0.1'), 'give --baseline too'),
    (('--baseline', 'x', '--max-p95-ratio', '0.5'), 'expected a number from 1 to 1000'),
    (('--baseline', 'x', '--max-map-drop', 'nan'), 'expected a number from 0 to 1'),
    (('--baseline', 'x', '--max-changed', 'all'), 'expected a number from 0 to 1')])
def test_limits_are_checked(tmp_path, before, capsys, options, words):
    done = run(tmp_path / 'out', before.bag, parameters(tmp_path / 'p'), *options)
    assert done.exit_code == 2 and words in capsys.readouterr().err


def test_the_baseline_is_not_written_over(tmp_path, before, capsys):
    done = run(before.folder, before.bag, parameters(tmp_path / 'p'), '--overwrite', '--baseline',
               str(before.folder))
    assert done.exit_code == 2 and 'would be replaced' in capsys.readouterr().err
    assert before.report['exit_code'] == 0


def test_a_degraded_detector_trips_and_the_same_one_does_not(tmp_path):
    bag = need('data/bags/road_raw_sqlite3')
    params = real_parameters(tmp_path / 'p', 'yolox')
    first = run(tmp_path / 'first', bag, params)
    first.bag = bag
    for time in range(2):
        assert compare(tmp_path / f'same{time}', first, params).exit_code == 0
    values = yaml.safe_load(params.read_text())
    model = values['/**']['ros__parameters']['models']['yolox']
    # As exported for another scale of pixels, which is the usual mistake.
    model['preprocess']['scale'] = 1.0 / 255.0
    params.write_text(yaml.safe_dump(values))
    wrong = compare(tmp_path / 'wrong', first, params)
    assert wrong.exit_code == 1
    assert any('10 lost (car 10)' in line for line in gate(wrong)['regressions'])


# -- what is a difference --


def line(*found):
    """Return a line of detections.jsonl."""
    return {'camera': 'c', 'model': 'm', 'index': 0, 'stamp_ns': 1, 'dropped': '', 'detections': [
        {'class_id': class_id, 'label': str(class_id), 'score': score, 'box': box}
        for class_id, score, box in found]}


def test_boxes_are_paired_with_the_nearest_of_their_class():
    old = line((0, 0.9, [0, 0, 10, 10]), (0, 0.8, [2, 0, 12, 10]), (1, 0.7, [0, 0, 10, 10]))
    new = line((0, 0.8, [2, 0, 12, 10]), (0, 0.9, [0, 0, 10, 10]), (1, 0.7, [0, 0, 10, 10]))
    assert not compare_frame(old, new)
    other = compare_frame(old, line((0, 0.9, [0, 0, 10, 10]), (0, 0.8, [2, 0, 12, 10]),
                                    (2, 0.7, [0, 0, 10, 10])))
    assert [one['class_id'] for one in other.lost] == [1]
    assert [one['class_id'] for one in other.new] == [2]
    merged = compare_frame(line((0, 0.9, [0, 0, 10, 10]), (0, 0.8, [1, 0, 11, 10])),
                           line((0, 0.9, [0, 0, 10, 10])))
    assert [one['score'] for one in merged.lost] == [0.8] and not merged.moved


def test_rounding_of_another_device_is_no_change():
    old = line((0, 0.9, [0, 0, 100, 100]), (0, 0.42, [200, 0, 300, 100]))
    assert not compare_frame(old, line((0, 0.88, [0, 1, 101, 100])), border=0.4)
    assert compare_frame(old, line((0, 0.9, [0, 0, 100, 100]))).lost
    assert compare_frame(old, line((0, 0.84, [0, 0, 100, 100])), border=0.4).rescored
    assert compare_frame(old, line((0, 0.9, [0, 0, 100, 112])), border=0.4).moved


# -- what is slower beyond doubt --


def durations(random, count, scale=1.0):
    """Return durations that are skewed, and of which neighbours are alike."""
    noise = random.standard_normal(count)
    for index in range(1, count):
        noise[index] = 0.8 * noise[index - 1] + 0.6 * noise[index]
    return scale * np.exp(0.15 * noise) * 5e-3


def report(values):
    """Return the part of a report that latencies are compared by."""
    low, high = percentile_range(values)
    return {'mode': 'every-frame', 'stages_ms': {'m': {'inference': {
        'p95': float(np.quantile(values, 0.95)) * 1e3,
        'p95_range': [None if end is None else end * 1e3 for end in (low, high)]}}}}


def test_the_gate_is_quiet_on_noise_and_sees_what_is_slower():
    random = np.random.default_rng(5)

    def share_slower(scale):
        verdicts = [next(compare_stages(report(durations(random, 400)),
                                        report(durations(random, 400, scale)), 1.1)).verdict
                    for _ in range(100)]
        return verdicts.count('slower')

    assert share_slower(1.0) == 0
    assert share_slower(1.1) <= 2
    assert share_slower(2.0) >= 70


def test_a_range_holds_the_true_percentile_as_often_as_it_says():
    random = np.random.default_rng(7)
    true = math.exp(1.6448536269514722)
    ranges = [percentile_range(np.exp(random.standard_normal(300))) for _ in range(400)]
    outside = [low is None or high is None or not low <= true <= high for low, high in ranges]
    assert sum(outside) <= 400 * 0.05
    assert np.median([high / low for low, high in ranges if low and high]) < 2.5


def test_as_many_durations_are_needed_as_are_said():
    values = np.random.default_rng(1).permutation(np.arange(1.0, LEAST_FRAMES + 1))
    is_above = values > np.quantile(values, 0.95)
    if independent_count(is_above) == LEAST_FRAMES:
        assert percentile_range(values)[1] == LEAST_FRAMES
    assert percentile_range(values[:LEAST_FRAMES - 1])[1] is None
    assert percentile_range(np.zeros(0)) == (None, None)


def test_durations_that_are_alike_count_less():
    steps = np.zeros(400, bool)
    steps[-20:] = True  # the last twentieth was slow: one event, not twenty
    spread = np.zeros(400, bool)
    spread[::20] = True
    assert independent_count(spread) == 400 and independent_count(steps) < 60


def test_what_makes_latencies_incomparable_is_named():
    part = {'model': 'GPU', 'settings': {'power_mode': 'MAXN'},
            'clocks_mhz': {'gpu': {'min': 500, 'max': 900}, 'gpu_max': {'min': 900, 'max': 900}}}

    def with_part(throttled=False, **values):
        return {'machine': {'processor': 'A'}, 'conditions': {
            'throttled': throttled, 'cpu': {}, 'devices': {'gpu0': {**part, **values}}}}

    assert other_conditions(with_part(), with_part()) == []
    assert other_conditions(with_part(), with_part(clocks_mhz={
        **part['clocks_mhz'], 'gpu': {'min': 300, 'max': 700}})) == []
    for other, words in ((with_part(settings={'power_mode': '15W'}),
                          'gpu0 power_mode MAXN before, 15W now'),
                         (with_part(settings={}), 'gpu0 power_mode MAXN before, unknown now'),
                         (with_part(model='B'), "gpu0 'GPU' before, 'B' now"),
                         (with_part(clocks_mhz={'gpu_max': {'min': 600, 'max': 600}}),
                          'gpu0 gpu_max 900 MHz before, 600 MHz now'),
                         (with_part(throttled=True), 'slowed by heat now'),
                         ({**with_part(), 'machine': {'processor': 'B'}},
                          "processor 'A' before, 'B' now")):
        assert other_conditions(with_part(), other) == [words]
