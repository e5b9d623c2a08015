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

"""The demo itself: the real node, real DDS, the real detector, the first frames of the clip."""

import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

from c7_inference_ros.tools.bags.types import typestore
import cv2
from demo.recording import stamp_of
import pytest
import yaml

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('vision_msgs', reason='vision_msgs is not installed')

Reader = pytest.importorskip('rosbags.rosbag2', reason='rosbags is not installed').Reader
ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / 'shared' / 'models'
ENTRY = [sys.executable, str(ROOT / 'dev' / 'demo.py')]
FIRST, PERIOD = 1_700_000_000 * 10**9, 40_000_000
FRAMES = 50


def run(*arguments):
    return subprocess.run([*ENTRY, *map(str, arguments)], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=200, check=False)


def check_sums(summary, sent):
    frames = summary['frames']
    assert frames['sent'] == sent
    assert frames['sent'] == frames['received'] + summary['lost_in_transport']
    assert frames['received'] == frames['published'] + sum(frames['dropped'].values())
    assert frames['published'] > 0 and summary['problems'] == []


@pytest.fixture(scope='module')
def finished(clip_file, tmp_path_factory):
    output = tmp_path_factory.mktemp('demo') / 'out'
    done = run('--frames', FRAMES, '--json', '--output', output)
    assert done.returncode == 0, done.stderr
    return output, done


def test_every_file_is_there(finished):
    output, _ = finished
    assert sorted(path.name for path in output.iterdir()) == [
        'annotated.mp4', 'bag', 'contact_sheet.png', 'latency.png', 'node.log', 'params.yaml',
        'summary.json']
    assert (output / 'params.yaml').read_bytes() == (ROOT / 'config' / 'demo.yaml').read_bytes()
    assert cv2.imread(str(output / 'contact_sheet.png')).shape[1] > 1900
    assert cv2.VideoCapture(str(output / 'annotated.mp4')).get(
        cv2.CAP_PROP_FRAME_COUNT) == FRAMES


def test_numbers_add_up(finished):
    output, done = finished
    summary = json.loads((output / 'summary.json').read_text())
    assert json.loads(done.stdout) == summary
    assert set(summary['frames']) == {'sent', 'received', 'published', 'dropped'}
    check_sums(summary, FRAMES)
    latency = summary['latency_ms']
    assert 0 < latency['p50'] <= latency['p95'] <= latency['p99']
    assert set(summary['detections']) <= {'person'}
    host = summary['memory']['host']
    assert host['predicted'] > 0 and host['measured'] > 0
    conditions = summary['conditions']
    # From before the first image to after the last.
    assert conditions['states'] >= 2 and conditions['duration_s'] > FRAMES / 25 - 1.0
    assert conditions['cpu']['settings']['cpu_online']
    assert conditions['throttled'] is not None or all(
        'throttled' in device['unknown'] for device in conditions['devices'].values()
        if device['throttled'] is None)
    assert conditions['text'][0].startswith('CPU: ')
    temperature = summary['temperature']
    assert temperature['hottest_c'] if temperature['available'] else temperature['reason']
    # From outside a frame cannot take less time than from inside.
    assert latency['p50'] >= summary['node_stages_ms']['processing']['p50']


def test_people_see_steps_and_a_table(finished):
    _, done = finished
    for step in ('[1/6] bag', '[2/6] model', '[3/6] node', '[4/6] play', '[5/6] stop',
                 '[6/6] results'):
        assert step in done.stderr
    assert 'unconfigured -> inactive' in done.stderr and '-> active' in done.stderr
    assert '--params-file config/demo.yaml -p use_sim_time:=true' in done.stderr
    assert 'latency p50 / p95 / p99' in done.stderr


def test_bag_holds_what_the_node_published(finished):
    output, _ = finished
    summary = json.loads((output / 'summary.json').read_text())
    sent = {FIRST + number * PERIOD for number in range(FRAMES)}
    store = typestore()
    stamps, boxes, states, labels = [], 0, [], []
    with Reader(output / 'bag') as reader:
        for connection, logged, raw in reader.messages():
            message = store.deserialize_cdr(raw, connection.msgtype)
            if connection.topic == '/c7_inference/camera/person/detections':
                assert message.header.frame_id == 'camera'
                stamps.append(stamp_of(bytes(raw)))
                assert 0 <= logged - stamps[-1] < 5 * 10**9, 'logged in simulated time'
                boxes += len(message.detections)
            elif connection.topic == '/diagnostics':
                states += [entry.value for item in message.status for entry in item.values
                           if item.name == 'c7_inference: lifecycle' and entry.key == 'state']
            elif connection.topic == '/c7_inference/person/label_info':
                labels = [item.class_name for item in message.class_map]
    assert stamps == sorted(set(stamps)) and set(stamps) <= sent
    assert len(stamps) == summary['frames']['published']
    assert boxes == sum(summary['detections'].values())
    assert 'active' in states and states[-1] == 'inactive'
    assert labels == ['person']


def children_of(pid):
    found = []
    for task in Path(f'/proc/{pid}/task').iterdir():
        found += map(int, (task / 'children').read_text().split())
    return found


def ended(pid, timeout_s=15):
    """Return whether a process ended by itself; it is gone in any case."""
    deadline = time.monotonic() + timeout_s
    while os.path.exists(f'/proc/{pid}'):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_it_is_stopped(number, clip_file, tmp_path):
    (tmp_path / 'summary.json').write_text('{"frames": "of an earlier run"}')
    demo = subprocess.Popen([*ENTRY, '--output', str(tmp_path)], text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, start_new_session=True)
    try:
        for line in demo.stdout:
            if '[4/6] play' in line:
                break
        else:
            pytest.fail('the demo ended before it played')
        nodes = children_of(demo.pid)
        assert len(nodes) == 1
        if number == signal.SIGINT:
            second = run('--output', tmp_path)
            assert second.returncode == 1 and f'process {demo.pid}' in second.stderr
        demo.send_signal(number)
        assert demo.wait(30) == (-number if number == signal.SIGKILL else 130)
    finally:
        demo.kill()
        demo.stdout.close()
    assert ended(nodes[0]), 'the node was left behind'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['node.log', 'params.yaml']


def test_a_node_that_refuses_speaks_for_itself(clip_file, tmp_path):
    shutil.copy(ROOT / 'models' / 'person_ssdlite.onnx', tmp_path / 'mine.onnx')
    (tmp_path / 'mine.yaml').write_text(yaml.safe_dump({'/**': {'ros__parameters': {
        'memory': {'host_budget_bytes': 1}, 'models': {'mine': {'decoder': 'ssd'}}}}}))
    done = run('--model', tmp_path / 'mine.onnx', '--output', tmp_path / 'out')
    assert done.returncode == 1
    assert 'the node refused to configure and is unconfigured' in done.stderr
    assert '[ERROR]' in done.stderr and 'budget' in done.stderr
    assert 'Traceback' not in done.stderr
    assert not (tmp_path / 'out' / 'summary.json').exists()


@pytest.mark.parametrize('arguments, words', [
    (['--model', 'nothing/here.onnx'], 'no such file'), (['--frames', '0'], 'expected 1 to 250'),
    (['--decoder', 'yolox'], 'name it with --model'), (['--domain-id', '999'], '0 to 232')])
def test_bad_input_is_one_line(arguments, words, clip_file, tmp_path):
    (tmp_path / 'summary.json').write_text('earlier')
    done = run(*arguments, '--output', tmp_path)
    assert done.returncode == 2 and words in done.stderr
    assert 'Traceback' not in done.stderr
    assert (tmp_path / 'summary.json').read_text() == 'earlier'


def test_another_model(clip_file, tmp_path):
    model = SHARED / 'yolox_nano.onnx'
    if not model.is_file():
        pytest.skip('../shared/models/yolox_nano.onnx is not here')
    done = run('--model', model, '--frames', FRAMES, '--output', tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'decoder: yolox' in done.stdout and 'class names: config/coco80.txt' in done.stdout
    summary = json.loads((tmp_path / 'summary.json').read_text())
    check_sums(summary, FRAMES)
    assert summary['detections']['car'] > 0 and summary['model']['decoder'] == 'yolox'


def test_missing_modules_are_named():
    done = subprocess.run([sys.executable, '-S', '-E', str(ROOT / 'dev' / 'demo.py')],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 2 and 'make demo' in done.stderr and 'rclpy' in done.stderr
