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

"""Replays of small bags with scripted models, and what comes out of them."""

import json
from pathlib import Path
import sys

import bag_bench
from c7_inference_ros.tools import replay
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / 'shared'
#: What the scripted model finds in every image of its 64x48 pixels: x1, y1, x2, y2, score, class.
BOXES = [[8, 6, 24, 30, 0.9, 0], [30, 10, 50, 40, 0.6, 1]]
#: Calls of a model before the first image: its warm-up.
WARM_UP = 2
COMMAND = [sys.executable, '-m', 'c7_inference_ros.tools.replay', '--no-html']


def dummy_model(path, **script):
    """Write a scripted model and return its path."""
    path.write_text(yaml.safe_dump({
        'inputs': [{'name': 'images', 'shape': [1, 3, 48, 64]}],
        'outputs': [{'name': 'output0', 'shape': [1, 8, 6]}],
        'detections': BOXES, 'metadata': {'names': "{0: 'person', 1: 'car'}"}, **script}))
    return path


def parameters(folder, cameras=None, models=None, **others):
    """
    Write a parameter file and return its path.

    :param cameras: settings by camera; one on /front/image_raw when None.
    :param models: script, or settings with a path, by model; one scripted when None.
    :param others: more parameters; dots in names are double lines.
    """
    folder.mkdir(exist_ok=True)
    cameras = cameras or {'front': {'image_topic': bag_bench.FRONT}}
    groups = {name: one if 'path' in one else {
        'path': str(dummy_model(folder / f'{name}.yaml', **one))}
        for name, one in ({'detector': {}} if models is None else models).items()}
    path = folder / 'node.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': {
        'camera_names': list(cameras), 'model_names': list(groups), 'runtime': 'dummy',
        'memory.free_floor_bytes': 0, 'cameras': cameras, 'models': groups,
        **{name.replace('__', '.'): value for name, value in others.items()}}}}))
    return path


def real_parameters(folder, model):
    """Write the parameter file of a real model of ../shared, or skip."""
    need('models/coco80.txt')
    labels = str(SHARED / 'models' / 'coco80.txt')
    settings = {
        'yolox': {'path': str(need('models/yolox_nano.onnx')), 'labels': labels,
                  'decoder': 'yolox', 'score_threshold': 0.4,
                  'preprocess': {'anchor': 'top_left', 'color_order': 'bgr', 'scale': 1.0}},
        'atto': {'path': str(need('models/deimv2_hgnetv2_atto_coco.onnx')), 'labels': labels,
                 'decoder': 'detr', 'score_threshold': 0.45,
                 'preprocess': {'resize': 'stretch'}}}[model]
    return parameters(folder, {'camera': {'image_topic': '/camera/image_raw'}},
                      {model: settings}, runtime='onnx_trt_ep')


def need(name):
    """Return a file of ../shared, or skip by its name."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f'../shared/{name} is not here')
    return path


class Replayed:
    """What one replay left."""

    def __init__(self, folder, exit_code):
        self.folder = folder
        self.exit_code = exit_code

    @property
    def report(self):
        """The report."""
        return json.loads((self.folder / 'report.json').read_text())

    @property
    def lines(self):
        """The lines of detections.jsonl."""
        return [json.loads(line) for line in
                (self.folder / 'detections.jsonl').read_text().splitlines()]

    @property
    def names(self):
        """What is in the folder."""
        return sorted(path.name for path in self.folder.iterdir())

    def dropped(self, camera='front', model='detector'):
        """Return the drops of a stream by reason, those that there were."""
        counts = self.report['counts'][camera][model]
        return {reason: count for reason, count in counts['dropped'].items() if count}


def run(folder, bag, params, *options, has_page=False):
    """Replay in this process; without the page for people, which costs more than the replay."""
    return Replayed(folder, replay.main([
        str(bag), '--params-file', str(params), '--output', str(folder),
        *([] if has_page else ['--no-html']), *options]))
