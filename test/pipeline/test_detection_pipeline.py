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

"""A model loaded, checked and run, on the dummy runtime."""

import gc
import tracemalloc

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.pipeline.detection_pipeline import DetectionPipeline
from c7_inference_ros.pipeline.detection_pipeline import StageTimings
from c7_inference_ros.runtime.dummy.runtime import DummyRuntime
import numpy as np
import pytest
from scripted_models import dummy_runtime
from scripted_models import IMAGE_INPUT
from scripted_models import load
from scripted_models import model_config
from scripted_models import picture
from scripted_models import write_script


class RecordingRuntime(DummyRuntime):
    """Keeps what it was asked for."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.entries = []
        self.feeds = []
        self.answer = None

    def deserialize_engine(self, entry):
        self.entries.append(entry)
        return super().deserialize_engine(entry)

    def infer(self, handle, inputs):
        self.feeds.append({name: (array, array.copy()) for name, array in inputs.items()})
        outputs = super().infer(handle, inputs)
        return outputs if self.answer is None else self.answer


@pytest.fixture
def runtime():
    return dummy_runtime(RecordingRuntime)


def test_boxes_are_in_pixels_of_the_source(tmp_path):
    found = load(tmp_path).detect(picture(128, 96))
    assert found.boxes.tolist() == [[16, 24, 48, 72], [64, 24, 80, 40]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.6])
    assert found.class_ids.tolist() == [1, 0]


def test_letterbox_is_undone(tmp_path):
    found = load(tmp_path).detect(picture(64, 24))  # 12 rows of padding above and below
    assert found.boxes.tolist() == [[8, 0, 24, 24], [32, 0, 40, 8]]
    found = load(tmp_path, values={'preprocess.anchor': 'top_left'}).detect(picture(64, 24))
    assert found.boxes.tolist() == [[8, 12, 24, 24], [32, 12, 40, 20]]


def test_pixels_reach_the_model_as_configured(tmp_path, runtime):
    pipeline = load(tmp_path, runtime, {'preprocess.scale': 1.0})
    image = picture(64, 48)
    image.pixels[:, :, 2] = 200  # red
    pipeline.detect(image)
    tensor = runtime.feeds[0]['images'][1]
    assert tensor.shape == (1, 3, 48, 64) and tensor.dtype == np.float32
    assert (tensor[0, 0] == 200).all() and (tensor[0, 1:] == 90).all()


def test_input_tensor_is_allocated_once(tmp_path, runtime):
    pipeline = load(tmp_path, runtime)
    for width in (64, 128, 300):
        pipeline.detect(picture(width))
    assert len({id(feed['images'][0]) for feed in runtime.feeds}) == 1


def test_parts_are_described(tmp_path):
    pipeline = load(tmp_path)
    assert pipeline.name == 'detector'
    assert pipeline.labels.names == ('person', 'car')
    assert pipeline.decoder.name == 'yolov10'
    assert (pipeline.spec.width, pipeline.spec.height) == (64, 48)
    assert pipeline.handle.name == 'scripted'
    assert pipeline.describe() == {
        'model': 'scripted', 'decoder': 'yolov10', 'input': 'images float32 1x3x48x64',
        'network_width': 64, 'network_height': 48, 'layout': 'nchw', 'resize': 'letterbox',
        'color_order': 'rgb', 'classes': 2, 'labels': 'metadata', 'nms': 'in the model'}


def test_labels_file_that_was_found_is_used(tmp_path):
    labels = tmp_path / 'names.txt'
    labels.write_text('walker\ncar\n', encoding='utf-8')
    path = write_script(tmp_path)
    pipeline = DetectionPipeline.load(
        dummy_runtime(), model_config(path, labels='names.txt'), path, labels)
    assert pipeline.labels.names == ('walker', 'car')


def test_timings_are_filled_in(tmp_path):
    pipeline = load(tmp_path, latency_s=0.02)
    timings = StageTimings()
    pipeline.detect(picture(), timings)
    assert 0.02 <= timings.inference_s < 2.0
    assert 0.0 < timings.preprocess_s < 2.0
    assert 0.0 < timings.decode_s < 2.0


def test_settings_act_on_the_next_image(tmp_path):
    pipeline = load(tmp_path)
    path = tmp_path / 'scripted.yaml'
    assert len(pipeline.detect(picture())) == 2
    pipeline.apply_settings(model_config(path, score_threshold=0.7))
    assert pipeline.detect(picture()).class_ids.tolist() == [1]
    pipeline.apply_settings(model_config(path, classes=['person']))
    assert pipeline.detect(picture()).class_ids.tolist() == [0]
    pipeline.apply_settings(model_config(path, max_detections=1))
    assert pipeline.detect(picture()).class_ids.tolist() == [1]
    pipeline.apply_settings(model_config(path, class_score_thresholds=['car=0.95']))
    assert pipeline.detect(picture()).class_ids.tolist() == [0]


def test_wrong_settings_change_nothing(tmp_path):
    pipeline = load(tmp_path)
    before = pipeline.settings
    wrong = model_config(tmp_path / 'scripted.yaml', classes=['persn'])
    for use in (pipeline.settings_for, pipeline.apply_settings):
        with pytest.raises(ConfigurationError, match='models.detector.classes.*person'):
            use(wrong)
    assert pipeline.settings is before
    pipeline.settings_for(model_config(tmp_path / 'scripted.yaml', score_threshold=0.9))
    assert pipeline.settings is before


def test_everything_wrong_is_said_at_once_and_the_model_released(tmp_path, runtime):
    labels = tmp_path / 'three.txt'
    labels.write_text('a\nb\nc\n', encoding='utf-8')
    values = {'preprocess.layout': 'nhwc', 'decoder': 'yolox', 'labels': str(labels),
              'classes': ['d'], 'class_score_thresholds': ['a=2']}
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, runtime, values)
    text = '\n'.join(caught.value.problems)
    for name in ('preprocess.layout', 'decoder', 'classes', 'class_score_thresholds'):
        assert f'models.detector.{name}' in text
    assert not any('\n' in problem for problem in caught.value.problems)
    assert not runtime._handles


@pytest.mark.parametrize('inputs, message', [
    ([{'name': 'points', 'dtype': 'float32', 'shape': [1, 100]}],
     r'models.detector.path scripted: found 0 inputs .*points float32 \[1, 100\]'),
    ([IMAGE_INPUT, {**IMAGE_INPUT, 'name': 'depth'}], 'found 2 inputs .*images.*depth'),
    ([IMAGE_INPUT, {'name': 'threshold', 'dtype': 'float32', 'shape': [1]}],
     'models.detector.*threshold')], ids=['none', 'two', 'unfilled'])
def test_inputs_that_nobody_fills_are_refused(tmp_path, runtime, inputs, message):
    with pytest.raises(ConfigurationError, match=message):
        load(tmp_path, runtime, inputs=inputs)
    assert not runtime._handles


def test_outputs_that_no_decoder_reads_are_refused(tmp_path, runtime):
    with pytest.raises(ConfigurationError, match='models.detector.decoder.*logits'):
        load(tmp_path, runtime, {'decoder': 'auto'}, detections=[],
             outputs=[{'name': 'logits', 'dtype': 'float32', 'shape': [1, 1000]}])
    assert not runtime._handles


def test_model_that_does_not_load_is_the_runtime_s_error(tmp_path, runtime):
    path = tmp_path / 'missing.yaml'
    with pytest.raises(EngineDeserializeError, match='missing.yaml'):
        DetectionPipeline.load(runtime, model_config(path), path)


def test_open_size_is_taken_from_the_configuration(tmp_path, runtime):
    inputs = [{**IMAGE_INPUT, 'shape': [-1, 3, -1, -1]}]
    pipeline = load(tmp_path, runtime, {'preprocess.width': 64, 'preprocess.height': 48},
                    inputs=inputs)
    assert [entry.extras for entry in runtime.entries] == [
        {}, {'input_shapes': {'images': (1, 3, 48, 64)}}]
    assert len(runtime._handles) == 1  # the first one was given back
    assert pipeline.detect(picture()).boxes[0].tolist() == [16, 24, 48, 72]


def test_open_batch_alone_is_loaded_once(tmp_path, runtime):
    load(tmp_path, runtime, inputs=[{**IMAGE_INPUT, 'shape': [-1, 3, 48, 64]}]).warm_up()
    assert len(runtime.entries) == 1


def test_open_size_that_nobody_gives_is_refused(tmp_path, runtime):
    with pytest.raises(ConfigurationError, match='models.detector.preprocess.*width'):
        load(tmp_path, runtime, inputs=[{**IMAGE_INPUT, 'shape': [1, 3, -1, -1]}])
    assert not runtime._handles


def test_second_input_is_filled_for_each_image(tmp_path, runtime):
    """DETR: the size of the image in its own pixels, for a stretched input."""
    pipeline = load(
        tmp_path, runtime, {'decoder': 'detr', 'preprocess.resize': 'stretch'}, detections=[],
        inputs=[IMAGE_INPUT, {'name': 'orig_target_sizes', 'dtype': 'int64', 'shape': [-1, 2]}],
        outputs=[{'name': 'labels', 'dtype': 'int64', 'shape': [1, 5]},
                 {'name': 'boxes', 'dtype': 'float32', 'shape': [1, 5, 4]},
                 {'name': 'scores', 'dtype': 'float32', 'shape': [1, 5]}])
    for width, height in ((128, 96), (300, 20)):
        assert len(pipeline.detect(picture(width, height))) == 0
        sizes = runtime.feeds[-1]['orig_target_sizes'][1]
        assert sizes.dtype == np.int64 and sizes.tolist() == [[width, height]]


def test_failed_inference_is_raised_and_the_next_one_works(tmp_path):
    pipeline = load(tmp_path, faults=[{'at': 2, 'error': 'inference'},
                                      {'at': 3, 'error': 'nan'}])
    assert len(pipeline.detect(picture())) == 2
    with pytest.raises(InferenceError):
        pipeline.detect(picture())
    assert len(pipeline.detect(picture())) == 0  # not a number is no detection
    assert len(pipeline.detect(picture())) == 2


def test_warm_up_runs_the_model(tmp_path, runtime):
    pipeline = load(tmp_path, runtime)
    pipeline.warm_up(3)
    assert len(runtime.feeds) == 3


@pytest.mark.parametrize('array', [
    np.zeros((1, 10, 85), np.float32), np.zeros((10, 6), np.float32)], ids=['width', 'rank'])
def test_answer_that_cannot_be_decoded_shows_at_warm_up(tmp_path, runtime, array):
    pipeline = load(tmp_path, runtime)
    runtime.answer = {'detections': array}
    with pytest.raises(ConfigurationError, match='models.detector.decoder yolov10.*detections'):
        pipeline.warm_up()


def test_warm_up_lets_errors_of_the_runtime_out(tmp_path):
    with pytest.raises(InferenceError):
        load(tmp_path, faults=[{'at': 1, 'error': 'inference'}]).warm_up()


def test_release_gives_the_memory_back_and_is_idempotent(tmp_path, runtime):
    pipeline = load(tmp_path, runtime)
    assert not pipeline.handle.is_released
    pipeline.release()
    pipeline.release()
    assert pipeline.handle.is_released
    assert not runtime._handles
    with pytest.raises(InferenceError, match='released'):
        pipeline.detect(picture())


def test_detecting_keeps_no_memory(tmp_path):
    pipeline, image, timings = load(tmp_path), picture(), StageTimings()
    tracemalloc.start()
    try:
        for _ in range(500):
            pipeline.detect(image, timings)
        gc.collect()  # empties the interpreter's free lists, too
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(3000):
            pipeline.detect(image, timings)
        peak = tracemalloc.get_traced_memory()[1]
        gc.collect()
        now = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # Not even the smallest object of each frame.
    assert now - before < 3000 * 8, f'{now - before} bytes stayed'
    tensor_bytes = 3 * 48 * 64 * 4
    assert peak - before < 2 * tensor_bytes, f'{peak - before} bytes at a time'
