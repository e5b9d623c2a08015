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

"""The scripted runtime: answers, motion, time, faults, memory and refusals."""

from pathlib import Path

from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.errors import OutOfMemoryError
from c7_inference_ros.runtime.dummy.runtime import DummyRuntime
from c7_inference_ros.runtime.memory_budget import MemoryBudget
import numpy as np
import pytest

yaml = pytest.importorskip('yaml')

SHIPPED = Path(__file__).resolve().parents[2] / 'config' / 'dummy_model.yaml'
FEED = {'images': np.zeros((1, 3, 100, 200), np.float32)}
SCRIPT = {'inputs': [{'name': 'images', 'dtype': 'float32', 'shape': [1, 3, 100, 200]}],
          'outputs': [{'name': 'head', 'dtype': 'float32', 'shape': [1, 4, 6]}],
          'detections': [[10, 20, 30, 50, 0.9, 2], [0, 0, 5, 5, 0.5, 0]]}
EFFICIENT_NMS = [{'name': 'num_dets', 'dtype': 'int32', 'shape': [1, 1]},
                 {'name': 'det_boxes', 'dtype': 'float32', 'shape': [1, 4, 4]},
                 {'name': 'det_scores', 'dtype': 'float32', 'shape': [1, 4]},
                 {'name': 'det_classes', 'dtype': 'int32', 'shape': [1, 4]}]


@pytest.fixture
def slept():
    return []


@pytest.fixture
def play(tmp_path, budget, slept):
    """Return a function that loads a script and returns (runtime, handle)."""
    runtime = DummyRuntime(budget=budget, sleep=slept.append)

    def load(content=None, **changes):
        path = tmp_path / 'script.yaml'
        if content is None:
            content = yaml.safe_dump({**SCRIPT, **changes})
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return runtime, runtime.deserialize_engine(EngineCacheEntry(path))

    return load


def test_the_shipped_script_plays(budget):
    runtime = DummyRuntime(budget=budget)
    handle = runtime.deserialize_engine(EngineCacheEntry(SHIPPED))
    feed = {'images': np.zeros((1, 3, 320, 320), np.float32)}
    first = runtime.infer(handle, feed)['output0'][0].copy()
    second = runtime.infer(handle, feed)['output0'][0]
    assert np.allclose(first[0], [100, 80, 160, 260, 0.9, 0])
    assert np.allclose(second[0], [104, 80, 164, 260, 0.9, 0])
    assert not first[1:].any()
    assert handle.metadata == {'names': "{0: 'person'}"}
    assert handle.memory.predicted_device_bytes == handle.memory.measured_device_bytes == 1 << 20


def test_detections_as_a_list(play):
    runtime, handle = play()
    head = runtime.infer(handle, FEED)['head']
    assert np.allclose(head[0, :2], SCRIPT['detections']) and not head[0, 2:].any()


def test_detections_as_efficient_nms(play):
    runtime, handle = play(outputs=EFFICIENT_NMS)
    found = runtime.infer(handle, FEED)
    assert found['num_dets'].tolist() == [[2]]
    assert found['det_boxes'][0].tolist() == [
        [10, 20, 30, 50], [0, 0, 5, 5], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert np.allclose(found['det_scores'], [[0.9, 0.5, 0, 0]])
    assert found['det_classes'].tolist() == [[2, 0, 0, 0]]


def test_boxes_move_and_turn_back_at_the_border(play):
    runtime, handle = play(motion=[50, -7])
    rows = np.array([runtime.infer(handle, FEED)['head'][0, 0, :4].copy() for _ in range(40)])
    assert rows[:5, 0].tolist() == [10, 60, 110, 160, 150]  # 180 is the last that fits
    assert rows[:5, 1].tolist() == [20, 13, 6, 1, 8]
    assert np.allclose(rows[:, 2] - rows[:, 0], 20) and np.allclose(rows[:, 3] - rows[:, 1], 30)
    assert rows.min() >= 0 and rows[:, 2].max() <= 200 and rows[:, 3].max() <= 100
    _, again = play(motion=[50, -7])
    assert np.array_equal(rows, [runtime.infer(again, FEED)['head'][0, 0, :4].copy()
                                 for _ in range(40)])


def test_nhwc_and_open_sizes_turn_at_the_size_of_the_image(play):
    runtime, handle = play(
        motion=[100, 0], inputs=[{'name': 'images', 'dtype': 'uint8', 'shape': [1, -1, -1, 3]}])
    feed = {'images': np.zeros((1, 60, 80, 3), np.uint8)}
    rows = [runtime.infer(handle, feed)['head'][0, 0, :4].copy() for _ in range(20)]
    assert max(row[2] for row in rows) <= 80


def test_latency_and_jitter_are_the_same_in_every_run(play, slept):
    for _ in range(2):
        runtime, handle = play(latency_s=0.25, jitter={'max_s': 0.5, 'seed': 3})
        for _ in range(20):
            runtime.infer(handle, FEED)
    assert slept[:20] == slept[20:]
    assert all(0.25 <= wait < 0.75 for wait in slept) and len(set(slept)) == 20
    runtime, handle = play(latency_s=0.25, jitter={'max_s': 0.5, 'seed': 4})
    runtime.infer(handle, FEED)
    assert slept[-1] != slept[0]


def test_no_latency_does_not_sleep(play, slept):
    runtime, handle = play()
    runtime.infer(handle, FEED)
    assert slept == []


def test_real_time_passes(tmp_path, budget):
    import time
    path = tmp_path / 'script.yaml'
    path.write_text(yaml.safe_dump({**SCRIPT, 'latency_s': 0.05}))
    runtime = DummyRuntime(budget=budget)
    handle = runtime.deserialize_engine(EngineCacheEntry(path))
    start = time.monotonic()
    runtime.infer(handle, FEED)
    assert time.monotonic() - start >= 0.05


def test_faults_hit_the_calls_that_they_name(play, slept):
    runtime, handle = play(faults=[
        {'at': 2, 'error': 'inference', 'count': 2}, {'at': 4, 'error': 'oom'},
        {'at': 5, 'error': 'nan'}, {'at': 6, 'error': 'hang', 'for_s': 30.0}])
    answers = []
    for _ in range(7):
        try:
            answers.append(runtime.infer(handle, FEED)['head'].copy())
        except (InferenceError, OutOfMemoryError) as error:
            answers.append(error)
    assert [type(answer) for answer in answers[1:4]] == [
        InferenceError, InferenceError, OutOfMemoryError]
    assert 'scripted inference fault in call 2' in str(answers[1])
    assert np.isnan(answers[4]).all()
    assert slept == [30.0]
    for index in (0, 5, 6):
        assert np.allclose(answers[index][0, 0], SCRIPT['detections'][0])


def test_a_refused_feed_is_no_call(play):
    runtime, handle = play(faults=[{'at': 1, 'error': 'inference'}])
    with pytest.raises(InferenceError, match='missing'):
        runtime.infer(handle, {})
    with pytest.raises(InferenceError, match='call 1'):
        runtime.infer(handle, FEED)


def test_scripted_memory_is_admitted_and_measured(tmp_path):
    path = tmp_path / 'script.yaml'
    path.write_text(yaml.safe_dump({**SCRIPT, 'memory': {
        'device_bytes': 100, 'host_bytes': 10, 'measured_device_bytes': 150}}))
    with pytest.raises(OutOfMemoryError, match='script needs 100 bytes of device memory'):
        DummyRuntime(budget=MemoryBudget(99, 10)).deserialize_engine(EngineCacheEntry(path))
    budget = MemoryBudget(120, 1 << 30)
    runtime = DummyRuntime(budget=budget)
    handle = runtime.deserialize_engine(EngineCacheEntry(path))
    assert handle.memory.measured_device_bytes == 150 and handle.memory.measured_host_bytes == 10
    with pytest.raises(OutOfMemoryError, match='device memory in use is 150 bytes'):
        budget.check_measured(0)
    runtime.release_engine(handle)
    budget.check_measured(0)


@pytest.mark.parametrize(('changes', 'words'), [
    ({'inputs': None}, 'inputs is missing, expected a list of tensors'),
    ({'inputs': []}, 'inputs is'),
    ({'inputs': ['images']}, r"inputs\[0\] is 'images', expected a mapping with name, dtype"),
    ({'inputs': [{'name': 'a', 'shape': [0]}]}, r'inputs\[0\].shape is \[0\], expected'),
    ({'inputs': [{'name': 'a', 'shape': [1 << 40]}]}, 'elements'),
    ({'inputs': [{'name': 'a', 'dtype': 'float8', 'shape': [1]}]}, "dtype is 'float8', expected"),
    ({'outputs': [{'name': 'a', 'shape': [1, -1, 6]}]}, r'outputs\[0\].shape is \[1, -1, 6\]'),
    ({'outputs': [{'name': 'a', 'shape': [1]}] * 2}, r"outputs\[1\].name is 'a' a second time"),
    ({'outputs': [{'name': 'a', 'shape': [1, 5]}]}, r'detections cannot be written into a \[1, 5'),
    ({'outputs': [{'name': 'a', 'shape': [1, 1, 6]}]}, 'has 2 rows, the outputs have room for 1'),
    ({'outputs': EFFICIENT_NMS[:3]}, 'detections cannot be written into'),
    ({'detections': [[1, 2, 3]]}, r'detections\[0\] is \[1, 2, 3\], expected 6 numbers'),
    ({'detections': [[9, 2, 3, 4, 0.5, 0]]}, 'expected x1 <= x2'),
    ({'detections': [[1, 2, 3, 4, 1.5, 0]]}, 'a score from 0 to 1'),
    ({'detections': [[1, 2, 3, 4, 0.5, 0.5]]}, 'a class from 0'),
    ({'detections': [[1, 2, 3, float('nan'), 0.5, 0]]}, 'expected 6 numbers'),
    ({'motion': 3}, 'motion is 3, expected 2 numbers: dx, dy'),
    ({'latency_s': -1}, 'latency_s is -1, expected a number of at least 0'),
    ({'latency_s': '10 ms'}, "latency_s is '10 ms'"),
    ({'jitter': {'max': 1}}, r'unknown key jitter.max; did you mean max_s\?'),
    ({'latency': 1}, r'unknown key latency; did you mean latency_s\?'),
    ({'faults': [{'at': 0, 'error': 'nan'}]}, r'faults\[0\].at is 0, expected an integer'),
    ({'faults': [{'at': 1, 'error': 'fire'}]}, 'expected one of inference, oom, hang, nan'),
    ({'faults': [{'at': 1, 'error': 'hang'}]}, r'faults\[0\].for_s is missing'),
    ({'faults': [{'at': 1, 'error': 'oom', 'for_s': 1}]}, r'faults\[0\].for_s is 1'),
    ({'memory': {'device_bytes': -1}}, 'memory.device_bytes is -1'),
    ({'memory': {'device_bytes': True}}, 'memory.device_bytes is True'),
    ({'metadata': 'x'}, "metadata is 'x', expected a mapping")])
def test_malformed_scripts(play, changes, words):
    with pytest.raises(EngineDeserializeError, match=words) as caught:
        play(**changes)
    text = str(caught.value)
    assert 'script.yaml' in text and 'config/dummy_model.yaml' in text and '\n' not in text


@pytest.mark.parametrize(('content', 'words'), [
    ('inputs: [', 'is no YAML script'), ('- a\n- b\n', 'holds a list, expected a YAML mapping'),
    ('just text', 'holds a str'), ('a: !!python/object:os.system {}', 'is no YAML script'),
    (b'\xff\xfe\x00', 'is no YAML script'), ('[' * 5000, 'is no YAML script'),
    (b'x' * ((1 << 20) + 1), 'set the parameter runtime to onnx_trt_ep')])
def test_files_that_are_no_script(play, content, words):
    with pytest.raises(EngineDeserializeError, match=words) as caught:
        play(content)
    assert '\n' not in str(caught.value)


def test_everything_wrong_is_told_at_once(play):
    with pytest.raises(EngineDeserializeError) as caught:
        play(latency_s=-1, motion=[1], sped=2)
    assert all(name in str(caught.value) for name in ('latency_s', 'motion', 'sped'))
