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

"""Models for the dummy runtime, and pipelines made of them."""

from c7_inference_ros.config import load_config
from c7_inference_ros.pipeline.detection_pipeline import DetectionPipeline
from c7_inference_ros.runtime.dummy.runtime import DummyRuntime
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.vision.images import SourceImage
import numpy as np
import yaml

IMAGE_INPUT = {'name': 'images', 'dtype': 'float32', 'shape': [1, 3, 48, 64]}
#: One box in the pixels of the network input, score 0.9, class 1.
SCRIPT = {
    'inputs': [IMAGE_INPUT],
    'outputs': [{'name': 'detections', 'dtype': 'float32', 'shape': [1, 10, 6]}],
    'detections': [[8, 12, 24, 36, 0.9, 1], [32, 12, 40, 20, 0.6, 0]],
    'memory': {'host_bytes': 1000},
    'metadata': {'names': "{0: 'person', 1: 'car'}"},
}
ROOM = 1 << 30


def write_script(folder, **changes):
    """Write a script with some keys replaced and return its path."""
    path = folder / 'scripted.yaml'
    path.write_text(yaml.safe_dump({**SCRIPT, **changes}), encoding='utf-8')
    return path


def model_config(path, **values):
    """Return the configuration of the model ``detector``; keys have no prefix."""
    return load_config({
        'models.detector.path': str(path), 'models.detector.decoder': 'yolov10',
        **{f'models.detector.{name}': value for name, value in values.items()},
    }).models['detector']


def dummy_runtime(kind=DummyRuntime, **arguments):
    """Return a runtime with a budget that everything fits in."""
    return kind(budget=MemoryBudget(ROOM, ROOM), **arguments)


def load(folder, runtime=None, values=None, **changes):
    """Load a pipeline of a script."""
    path = write_script(folder, **changes)
    return DetectionPipeline.load(
        dummy_runtime() if runtime is None else runtime, model_config(path, **(values or {})),
        path)


def picture(width=128, height=96):
    """Return a grey image; twice the size of the network input by default."""
    return SourceImage(np.full((height, width, 3), 90, np.uint8), 'bgr8')
