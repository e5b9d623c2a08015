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

"""The folder of a replay: never taken from somebody, marked until it is whole."""

import json
import os
import signal
import subprocess
import sys
import time

import bag_bench
from c7_inference_ros.tools.bags.reader import open_bag
from c7_inference_ros.tools.console import Console
from c7_inference_ros.tools.replaying import annotated
from c7_inference_ros.tools.replaying.outputs import ReplayOutputError
import cv2
import numpy as np
import pytest
from replay_bench import COMMAND
from replay_bench import dummy_model
from replay_bench import parameters
from replay_bench import ROOT
from replay_bench import run

PATIENCE_S = 60.0


@pytest.fixture(scope='module')
def ready(tmp_path_factory):
    """Return a bag of four images of 64x48, and parameters."""
    folder = tmp_path_factory.mktemp('ready')
    images = bag_bench.frames(4, size=(48, 64))
    return bag_bench.make_bag(folder / 'bag', images), parameters(folder / 'p')


def test_an_earlier_replay_is_only_replaced_when_asked(ready, tmp_path, capsys):
    out = tmp_path / 'out'
    assert run(out, *ready, '--annotated', 'pictures').exit_code == 0
    before = (out / 'report.json').stat().st_mtime_ns
    assert run(out, *ready).exit_code == 2
    assert 'holds an earlier replay' in capsys.readouterr().err
    assert (out / 'report.json').stat().st_mtime_ns == before
    (out / 'notes.txt').write_text('mine')
    done = run(out, *ready, '--overwrite')
    assert done.exit_code == 0
    assert done.names == ['detections.jsonl', 'detections_bag', 'notes.txt', 'report.json']


@pytest.mark.parametrize('options', [[], ['--overwrite']])
def test_files_of_somebody_else_are_never_touched(ready, tmp_path, capsys, options):
    out = tmp_path / 'out'
    (out / 'annotated').mkdir(parents=True)
    (out / 'annotated' / 'thesis.tex').write_text('years of work')
    assert run(out, *ready, *options).exit_code == 2
    assert 'files that no replay wrote (annotated)' in capsys.readouterr().err
    assert (out / 'annotated' / 'thesis.tex').read_text() == 'years of work'


def test_a_file_is_no_folder(ready, tmp_path, capsys):
    out = tmp_path / 'out'
    out.write_text('x')
    assert run(out, *ready).exit_code == 2
    assert 'is a file, expected a folder' in capsys.readouterr().err
    out = tmp_path / 'out' / 'below'
    assert run(out, *ready).exit_code == 2


def test_nothing_is_touched_before_the_models_are_loaded(ready, tmp_path):
    bag, params = ready
    out = tmp_path / 'out'
    assert run(out, bag, params).exit_code == 0
    broken = parameters(tmp_path / 'p', models={'detector': {'outputs': 'none'}})
    assert run(out, bag, broken, '--overwrite').exit_code != 0
    assert {'report.json', 'detections.jsonl', 'detections_bag'} <= set(os.listdir(out))


def test_pictures_show_what_was_found(ready, tmp_path):
    done = run(tmp_path / 'out', *ready, '--annotated', 'pictures')
    folder = done.folder / 'annotated' / 'front_detector'
    assert sorted(os.listdir(folder)) == [f'{index:06d}.jpg' for index in range(4)]
    picture = cv2.imread(str(folder / '000003.jpg')).astype(int)
    assert picture.shape == (48, 64, 3)
    # Boxes are drawn; what lies between them is the image, whose values are 4.
    assert picture[6:30, 8].max() > 100 and picture[44:, 55:].max() < 30


def test_a_video_has_every_frame_and_the_rate_of_the_recording(ready, tmp_path):
    done = run(tmp_path / 'out', *ready, '--annotated', 'video')
    video = cv2.VideoCapture(str(done.folder / 'annotated' / 'front_detector.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(25.0)


def test_images_of_another_size_begin_another_video(tmp_path):
    images = bag_bench.frames(5, size=(48, 64))
    images[3].pixels = np.zeros((96, 128, 3), np.uint8)
    bag = bag_bench.make_bag(tmp_path / 'bag', images)
    done = run(tmp_path / 'out', bag, parameters(tmp_path / 'p'), '--annotated', 'video')
    assert sorted(os.listdir(done.folder / 'annotated')) == [
        'front_detector.mp4', 'front_detector_2.mp4', 'front_detector_3.mp4']


def test_a_video_that_misses_frames_is_not_taken_for_whole(tmp_path):
    videos = annotated.Videos(tmp_path / 'annotated', {})
    line = {'camera': 'front', 'model': 'detector', 'dropped': ''}
    videos(line, np.zeros((48, 64, 3), np.uint8))
    videos._open['front', 'detector'].write(np.zeros((24, 32, 3), np.uint8))  # OpenCV drops it
    with pytest.raises(ReplayOutputError, match='1 of 2 frames'):
        videos.close()


def test_a_full_disk_leaves_nothing_that_looks_whole(ready, tmp_path):
    out = tmp_path / 'out'
    done = limited(out, ready, 1)
    assert done.returncode == 1
    assert 'cannot be written' in done.stderr and 'Traceback' not in done.stderr
    assert (out / 'INCOMPLETE').is_file()
    assert not {'report.json', 'detections.jsonl', 'detections_bag'} & set(os.listdir(out))


def test_a_report_that_does_not_fit_is_told_too(tmp_path):
    bag = bag_bench.make_bag(tmp_path / 'bag', bag_bench.frames(1))
    out = tmp_path / 'out'
    # The report holds every parameter, and so is larger than all else.
    params = parameters(tmp_path / 'p', models={'detector': {
        'path': str(dummy_model(tmp_path / 'model.yaml')),
        'class_score_thresholds': [''] * 20_000}})
    done = limited(out, (bag, params), 100)
    assert done.returncode == 1 and 'report.json cannot be written' in done.stderr, done.stderr
    assert (out / 'INCOMPLETE').is_file() and not (out / 'report.json').exists()


def limited(out, ready, kibibytes):
    """Replay in a process that cannot write files larger than a size."""
    bag, params = ready
    return subprocess.run(
        ['bash', '-c', f'ulimit -S -f {kibibytes}; exec "$@"', '-', *COMMAND, str(bag),
         '--params-file', str(params), '--output', str(out)],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)


@pytest.mark.parametrize('number, exit_code, words', [
    (signal.SIGINT, 130, 'interrupted'), (signal.SIGTERM, 143, 'asked to end'),
    (signal.SIGKILL, -9, '')])
def test_an_interrupted_replay_is_marked(ready, tmp_path, number, exit_code, words):
    out = tmp_path / 'out'
    first, *_ = bag_bench.frames(1)
    late = bag_bench.Frame(bag_bench.FRONT, first.stamp_ns + 3600 * 10 ** 9, first.pixels)
    bag = bag_bench.make_bag(tmp_path / 'bag', [first, late])
    process = subprocess.Popen(
        [*COMMAND, str(bag), '--params-file', str(ready[1]), '--output', str(out),
         '--mode', 'real-time'], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not (out / 'detections_bag.part').exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == exit_code
    assert 'Traceback' not in stderr and words in stderr
    assert (out / 'INCOMPLETE').is_file()
    assert not {'report.json', 'detections.jsonl', 'detections_bag'} & set(os.listdir(out))
    done = run(out, *ready, '--overwrite')
    assert (done.exit_code, done.names) == (
        0, ['detections.jsonl', 'detections_bag', 'report.json'])


def bad_bags(folder):
    """Yield (name, what is asked for, words of the one line)."""
    def bag(name, kind='mcap'):
        return bag_bench.make_bag(folder / name, bag_bench.frames(30, size=(48, 64)), kind)

    yield 'no bag', folder / 'nothing', ['nothing']
    yield 'metadata', bag_bench.without_metadata(bag('lost', 'sqlite3')), ['metadata.yaml']
    yield 'storage', bag_bench.with_metadata(
        bag('odd'), 'storage_identifier: mcap', 'storage_identifier: tape'), ['tape']
    yield 'truncated mcap', bag_bench.cut_off(bag('cut')), ['cut']
    yield 'truncated sqlite3', bag_bench.cut_off(bag('cut3', 'sqlite3')), ['cut3']
    yield 'no image', bag_bench.make_bag(folder / 'text', [], others=[
        ('/chat', 'std_msgs/msg/String', bag_bench.T0,
         bag_bench.types().types['std_msgs/msg/String']('hello'))]), ['/chat', 'image']


def test_a_bag_that_cannot_be_read_is_one_line(ready, tmp_path, capsys):
    for name, bag, words in bad_bags(tmp_path):
        out = tmp_path / f'out {name}'
        done = run(out, bag, ready[1], '--json')
        printed = capsys.readouterr()
        assert done.exit_code == 2, (name, printed.err)
        assert json.loads(printed.out)['exit_code'] == 2
        lines = printed.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith('replay: '), (name, lines)
        assert all(word in lines[0] for word in words), (name, lines)
        assert not out.exists() or 'INCOMPLETE' in os.listdir(out)
        assert not (out / 'report.json').exists()


@pytest.mark.parametrize('options, words', [
    (['--rate', '2'], '--rate 2 needs --mode real-time'),
    (['--mode', 'real-time', '--rate', 'fast'], "--rate is 'fast', expected a number from 0.01"),
    (['--mode', 'real-time', '--rate', '0'], "--rate is '0'"),
    (['--topic', 'front='], "--topic is 'front=', expected CAMERA=TOPIC"),
    (['--topic', '/a', '--topic', '/b'], '--topic names a topic more than once'),
    (['--mode', 'realtime'], 'did you mean real-time?'),
    (['--overwrit'], 'did you mean --overwrite?'),
    (['--node-name', 'other', '--params-file', 'gone.yaml'], 'gone.yaml cannot be read')])
def test_options_that_cannot_be_understood_are_bad_input(ready, tmp_path, capsys, options, words):
    assert run(tmp_path / 'out', *ready, *options).exit_code == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_every_problem_of_the_parameters_has_its_line(ready, tmp_path, capsys):
    params = parameters(tmp_path / 'p', max_image_agee=1.0, inference_timeout='long')
    assert run(tmp_path / 'out', ready[0], params).exit_code == 2
    first, second = capsys.readouterr().err.splitlines()
    assert 'inference_timeout' in first and 'did you mean max_image_age?' in second


def test_stamps_that_go_back_are_told_and_kept(ready, tmp_path):
    images = bag_bench.frames(4, size=(48, 64))
    images[2].stamp_ns -= 10 ** 9
    bag = bag_bench.make_bag(tmp_path / 'bag', images)
    done = run(tmp_path / 'out', bag, ready[1])
    assert done.exit_code == 0
    assert [line['stamp_ns'] for line in done.lines] == [image.stamp_ns for image in images]
    assert 'go back' in done.report['problems'][0]
    with open_bag(done.folder / 'detections_bag') as found:
        stamps = [array.header.stamp.sec for _, array in
                  found.messages('/c7_inference/front/detector/detections')]
    assert stamps[2] < stamps[1]


def test_topics_and_parameters_are_those_of_the_named_node(ready, tmp_path):
    text = ready[1].read_text().replace('/**', '/left/eye')
    params = tmp_path / 'two.yaml'
    params.write_text(text + text.replace('/left/eye', '/right/eye'))
    assert run(tmp_path / 'out', ready[0], params).exit_code == 2
    done = run(tmp_path / 'out', ready[0], params, '--node-name', '/right/eye')
    assert done.exit_code == 0
    with open_bag(done.folder / 'detections_bag') as bag:
        assert '/right/eye/front/detector/detections' in [one.name for one in bag.topics]


def test_progress_is_shown(ready, tmp_path, monkeypatch):
    told = []

    class Told(Console):

        def progress(self, what):
            told.append(what)
            return super().progress(what)

    from c7_inference_ros.tools import command_line
    monkeypatch.setattr(command_line, 'Console', Told)
    run(tmp_path / 'out', *ready)
    assert told == ['replaying bag']


def test_damage_in_the_middle_of_a_bag_ends_the_replay_and_marks_it(ready, tmp_path, capsys):
    images = bag_bench.frames(6)
    for image in images:  # large enough for a chunk of its own, and compressible
        image.pixels = np.random.default_rng(1).integers(0, 4, (480, 640, 3), np.uint8)
    bag = bag_bench.make_bag(tmp_path / 'bag', images, 'mcap-chunks')
    file = bag_bench.recorded_file(bag)
    data = bytearray(file.read_bytes())
    middle = len(data) * 6 // 10
    data[middle:middle + 100] = b'\xff' * 100
    file.write_bytes(data)
    done = run(tmp_path / 'out', bag, ready[1])
    (line,) = capsys.readouterr().err.splitlines()
    assert done.exit_code == 2 and str(bag) in line and 'damaged' in line, line
    assert done.names == ['INCOMPLETE', 'detections.jsonl.part', 'detections_bag.part']
    assert 'damaged' in (done.folder / 'INCOMPLETE').read_text()


def test_memory_does_not_grow_with_the_bag(tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (360, 640, 3), np.uint8)
    pixels = cv2.resize(noise, (1280, 720))
    bags = {count: bag_bench.make_bag(tmp_path / f'{count}', [bag_bench.Frame(
        bag_bench.FRONT, bag_bench.T0 + index * bag_bench.PERIOD, pixels, 'jpeg')
        for index in range(count)]) for count in (20, 100)}
    params = parameters(tmp_path / 'p')
    peaks = [peak_bytes(bag, params, tmp_path / f'out {count}') for count, bag in bags.items()]
    # Keeping the messages would take 40 MB more, keeping the pixels 200 MB.
    assert sum(path.stat().st_size for path in bags[100].iterdir()) > 45e6
    assert peaks[1] - peaks[0] < 20e6, peaks


def peak_bytes(bag, params, out):
    """Return the most memory that a process takes which replays a bag."""
    # Not its resource usage, which begins with what this process takes.
    code = """
import pathlib, sys
from c7_inference_ros.tools import replay
exit_code = replay.main(sys.argv[1:])
status = pathlib.Path('/proc/self/status').read_text()
print(exit_code, *(line.split()[1] for line in status.splitlines() if 'VmHWM' in line))
"""
    done = subprocess.run([sys.executable, '-c', code, str(bag), '--params-file', str(params),
                           '--output', str(out)], cwd=ROOT, check=True, text=True,
                          stdout=subprocess.PIPE, timeout=PATIENCE_S)
    exit_code, kibibytes = map(int, done.stdout.splitlines()[-1].split())
    assert exit_code == 0
    return kibibytes * 1024
