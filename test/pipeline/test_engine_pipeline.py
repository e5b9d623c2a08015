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

"""An engine in the pipeline: images are written where the GPU reads them, and nothing is kept."""

from pathlib import Path
import sys
import warnings

from c7_inference_ros.config import load_config
from c7_inference_ros.pipeline.detection_pipeline import DetectionPipeline
from c7_inference_ros.vision.images import SourceImage
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'runtime'))

from tensorrt_bench import Bench  # noqa: E402, I100

MODEL = Path(__file__).resolve().parents[2] / 'models' / 'person_ssdlite.onnx'
PROCESSING = {'decoder': 'ssd', 'preprocess': {'resize': 'stretch', 'scale': 1.0,
                                               'mean': [127.5] * 3, 'std': [127.5] * 3}}


@pytest.fixture
def pipeline(monkeypatch, tmp_path):
    """Return a pipeline on the doubles; the GPU is empty afterwards."""
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    bench = Bench(monkeypatch, tmp_path / 'engines')
    runtime = bench.runtime()
    entry = bench.engine(MODEL, 'person', {'processing': PROCESSING})
    made = DetectionPipeline.load(runtime, load_config({}).models['detector'], entry.path)
    made.warm_up()
    yield made
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # of memory that somebody still holds
        made.release()
    bench.assert_released()


def image(seed):
    pixels = np.random.default_rng(seed).integers(0, 255, (300, 300, 3), np.uint8)
    return SourceImage(pixels, 'bgr8')


def test_an_image_is_written_once(pipeline, monkeypatch):
    copies = []
    original = np.copyto

    def copyto(to, what, *arguments, **named):
        copies.append(to.shape)
        return original(to, what, *arguments, **named)

    monkeypatch.setattr(np, 'copyto', copyto)
    pipeline.prepare(image(1))
    scores = pipeline.infer()['scores'].copy()
    copies.clear()
    pipeline.prepare(image(2))
    other = pipeline.infer()
    assert copies == [], 'the input tensor was copied again'
    assert not np.array_equal(scores, other['scores'])


def test_the_engine_answers_as_its_model_does(pipeline):
    import onnxruntime
    session = onnxruntime.InferenceSession(str(MODEL), providers=['CPUExecutionProvider'])
    for seed in range(3):
        pipeline.prepare(image(seed))
        tensor = pipeline._tensor.copy()
        boxes, scores = session.run(['boxes', 'scores'], {'images': tensor})
        outputs = pipeline.infer()
        assert np.allclose(outputs['boxes'], boxes, atol=1e-5)
        assert np.allclose(outputs['scores'], scores, atol=1e-5)
