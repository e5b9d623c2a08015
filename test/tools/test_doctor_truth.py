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

"""What the doctor says of models against what becomes of them when they are really loaded."""

from pathlib import Path

from c7_inference_ros.config import load_config
from c7_inference_ros.errors import C7Error
from c7_inference_ros.pipeline.loaded_models import LoadedModels
from c7_inference_ros.pipeline.scheduler import FrameScheduler
from c7_inference_ros.tools.machine.examine import examine
from c7_inference_ros.tools.machine.findings import Verdict
from c7_inference_ros.tools.machine.node_plan import plan_node
from doctor_bench import jazzy_pc
from doctor_bench import MIB
from doctor_bench import World
import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / 'shared/models'
PERSON = {'path': ROOT / 'models/person_ssdlite.onnx', 'decoder': 'ssd',
          'preprocess.resize': 'stretch', 'preprocess.scale': 1.0,
          'preprocess.mean': [127.5] * 3, 'preprocess.std': [127.5] * 3}
YOLOX = {'path': SHARED / 'yolox_nano.onnx', 'labels': SHARED / 'coco80.txt'}
ATTO = {'path': SHARED / 'deimv2_hgnetv2_atto_coco.onnx', 'labels': SHARED / 'coco80.txt'}
TFOD = {'path': SHARED / 'pedestrian_ssdlite_tfod_nms.onnx', 'preprocess.width': 300,
        'preprocess.height': 300, 'preprocess.scale': 1.0, 'preprocess.resize': 'stretch'}


@pytest.fixture
def judge(tmp_path, monkeypatch):
    """Return (whether the doctor refuses, what it says, what loading raises)."""
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    world = jazzy_pc(World(tmp_path / 'root', monkeypatch))

    def judge(model, **others):
        if not Path(model['path']).exists() and SHARED in Path(model['path']).parents:
            pytest.skip(f'{model["path"]} is not here')
        config = load_config({**others, **{
            f'models.detector.{key}': str(value) if isinstance(value, Path) else value
            for key, value in model.items()}})
        machine = examine(world.around(), world.libraries, ['onnxruntime'])
        plan = plan_node(config, machine)
        refused = [one.text for one in plan.findings if one.verdict is Verdict.REFUSED]
        try:
            models = LoadedModels(config, FrameScheduler(config.camera_names), None)
        except C7Error as error:
            return refused, plan, error
        try:
            return refused, plan, models.pipelines['detector'].describe()
        finally:
            models.release(10.0)
    return judge


@pytest.mark.parametrize('model', [
    PERSON, YOLOX, ATTO, TFOD, {**YOLOX, 'decoder': 'yolox', 'score_threshold': 0.1}])
def test_models_that_load(judge, model):
    refused, plan, loaded = judge(model)
    assert refused == [] and isinstance(loaded, dict)
    (told,) = (one.values for one in plan.findings if one.name == 'model detector')
    assert {key: told[key] for key in loaded} == loaded


@pytest.mark.parametrize('model, others', [
    ({**PERSON, 'decoder': 'yolox'}, {}),
    ({**PERSON, 'labels': 'nowhere.txt'}, {}),
    ({**PERSON, 'preprocess.width': 200, 'preprocess.height': 200}, {}),
    ({**PERSON, 'classes': ['persn']}, {}),
    ({**PERSON, 'class_score_thresholds': ['car=0.5']}, {}),
    ({**PERSON, 'path': 'nowhere.onnx'}, {}),
    ({**PERSON, 'path': ROOT / 'config/dummy_model.yaml'}, {}),
    (PERSON, {'memory.host_budget_bytes': 7 * MIB}),
    (PERSON, {'execution_providers': ['Nonsense']}),
    ({**YOLOX, 'labels': ''}, {}),
    ({**ATTO, 'decoder': 'yolov8'}, {}),
    ({**TFOD, 'preprocess.width': 0}, {}),
    ({**TFOD, 'preprocess.scale': 0.5}, {})])
def test_models_that_are_refused(judge, model, others):
    refused, plan, error = judge(model, **others)
    assert isinstance(error, C7Error) == bool(refused)
    if isinstance(error, C7Error) and 'Nonsense' not in str(others):
        # In the very words of the node.
        for line in getattr(error, 'problems', None) or [str(error)]:
            assert ' '.join(line.split()) in refused


def test_a_damaged_model(judge, tmp_path):
    data = PERSON['path'].read_bytes()
    damaged = tmp_path / 'damaged.onnx'
    damaged.write_bytes(data[:len(data) // 2])
    refused, plan, error = judge({**PERSON, 'path': damaged})
    assert [str(error)] == refused
