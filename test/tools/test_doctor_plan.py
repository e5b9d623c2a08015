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

"""What the doctor says of a parameter file: trust, memory, contracts, topics, heat."""

import json
from pathlib import Path

from c7_inference_ros.config import load_config
from c7_inference_ros.engines.host import HostFacts
from c7_inference_ros.pipeline.detection_pipeline import DetectionPipeline
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.runtime.ort.runtime import OnnxTrtEpRuntime
from c7_inference_ros.tools.engine_verdicts import Trust
from c7_inference_ros.tools.machine.libraries import Library
from c7_inference_ros.tools.machine.planned_runtimes import PlannedOnnx
from c7_inference_ros.tools.machine.planned_runtimes import PlannedTensorrt
from c7_inference_ros.tools.machine.topics import topic_problem
from doctor_bench import bare_laptop
from doctor_bench import CPU
from doctor_bench import GIB
from doctor_bench import jazzy_pc
from doctor_bench import jetson
from doctor_bench import KNOWN
from doctor_bench import MIB
from doctor_bench import World
import numpy as np
import pytest
import yaml

from tensorrt_bench import Bench  # noqa: I100
from trust_files import make_keys
from trust_files import ORIN
from trust_files import publish

ROOT = Path(__file__).resolve().parents[2]
PERSON = ROOT / 'models/person_ssdlite.onnx'
PERSON_SETTINGS = {
    'path': str(PERSON), 'decoder': 'ssd',
    'preprocess': {'resize': 'stretch', 'scale': 1.0, 'mean': [127.5] * 3, 'std': [127.5] * 3}}
LABELS = [f'class {number}' for number in range(80)]


@pytest.fixture
def world(tmp_path, monkeypatch):
    return World(tmp_path / 'root', monkeypatch)


@pytest.fixture
def look(world, tmp_path, capsys):
    """Judge parameters; return (exit code, findings of the node by name, the whole report)."""
    def look(parameters, *arguments):
        path = tmp_path / 'p.yaml'
        path.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}))
        exit_code = world.doctor('--json', '--params-file', path, *arguments)
        report = json.loads(capsys.readouterr().out)
        found = {}
        for one in report['findings']:
            if one['section'] == 'Node':
                found.setdefault(one['name'], []).append(one)
        return exit_code, found, report
    return look


def engine(folder, model='yolox_nano', **changes):
    """Publish an engine of a YOLOX for a Jetson with JetPack 6.2."""
    from c7_inference_ros.model_files.tensor_spec import TensorSpec
    float32 = np.dtype('float32')
    fields = {
        'inputs': (TensorSpec('images', float32, (1, 3, 416, 416), (1, 3, 416, 416)),),
        'outputs': (TensorSpec('output', float32, (1, 3549, 85), (1, 3549, 85)),),
        'profiles': (), 'weights_bytes': 4 * MIB, 'context_bytes': (100 * MIB,),
        'io_bytes': 3283380, 'metadata': {}, 'calibration': None, 'accuracy': None,
        'processing': {'decoder': 'yolox', 'labels': LABELS}}
    return publish(folder, model=model, **{**fields, **changes})


def refused(found, name):
    return [one['text'] for one in found[name] if one['verdict'] == 'refused']


# ONNX ------------------------------------------------------------------------------------

def test_the_shipped_detector(world, look):
    jazzy_pc(world)
    exit_code, found, report = look({'model_names': ['person'],
                                     'models': {'person': PERSON_SETTINGS}})
    assert exit_code == 0
    (model,) = found['model person']
    assert 'images float32 1x3x300x300 rgb stretch, decoder ssd, 1 classes' in model['text']
    assert found['camera camera'][0]['values']['topic'] == 'camera/image_raw'
    rows = {(row['name'], row['place']): row for row in report['memory']['rows']}
    assert rows['person_ssdlite', 'host']['predicted_bytes'] > PERSON.stat().st_size
    assert rows['total', 'host']['limit_bytes'] == 3 * GIB // 2


def test_a_plan_is_what_the_runtime_reserves():
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    config = load_config({'models.detector.' + key: value for key, value in {
        'path': str(PERSON), 'decoder': 'ssd', 'preprocess.resize': 'stretch',
        'preprocess.scale': 1.0, 'preprocess.mean': [127.5] * 3,
        'preprocess.std': [127.5] * 3}.items()}).models['detector']
    planned, real = (MemoryBudget(GIB, GIB) for _ in range(2))
    plan = DetectionPipeline.load(PlannedOnnx(planned, (CPU,)), config, PERSON)
    loaded = DetectionPipeline.load(OnnxTrtEpRuntime(
        execution_providers=[CPU], allow_cpu_fallback=True, intra_op_threads=1, budget=real),
        config, PERSON)
    assert [(row.name, row.place, row.predicted_bytes, row.items) for row in planned.table()] == [
        (row.name, row.place, row.predicted_bytes, row.items) for row in real.table()]
    assert plan.describe() == loaded.describe()
    plan.release()
    assert planned.totals()['host'].predicted_bytes == 0
    loaded.release()


def test_everything_that_is_wrong_is_said_at_once(world, look):
    jazzy_pc(world)
    exit_code, found, _ = look({
        'model_names': ['a', 'b', 'c'], 'camera_names': ['front', 'rear'],
        'cameras': {'front': {'image_topic': '/front//image'}},
        'models': {'a': {**PERSON_SETTINGS, 'decoder': 'yolox'}, 'b': {'path': 'nowhere.onnx'},
                   'c': {**PERSON_SETTINGS, 'labels': 'none.txt'}}})
    assert exit_code == 1
    assert 'models.a.decoder is yolox' in refused(found, 'model a')[0]
    assert "models.b.path is 'nowhere.onnx'" in refused(found, 'model b')[0]
    assert "models.c.labels is 'none.txt'" in refused(found, 'model c')[0]
    assert 'which has // in it' in refused(found, 'camera front')[0]
    assert found['camera rear'][0]['verdict'] == 'ok'


def test_parameters_that_cannot_be_used(world, look):
    jazzy_pc(world)
    exit_code, found, report = look({
        'max_image_age': -1.0, 'runtime': 'tensort', 'use_sim_time': True,
        'models': {'detector': {'pth': 'x'}}})
    assert exit_code == 1 and report['memory'] is None
    texts = ' '.join(refused(found, 'parameter'))
    assert 'max_image_age is -1.0' in texts and 'did you mean models.detector.path?' in texts
    assert "runtime is 'tensort'" in texts and 'use_sim_time' not in texts


def test_a_model_that_does_not_fit(world, look):
    jazzy_pc(world)
    other = {**PERSON_SETTINGS, 'decoder': 'yolox'}
    exit_code, found, report = look({
        'model_names': ['a', 'b'], 'models': {'a': PERSON_SETTINGS, 'b': other},
        'memory': {'host_budget_bytes': 8 * MIB}})
    assert exit_code == 1
    (text,) = refused(found, 'model b, memory')
    assert 'person_ssdlite needs 6.0 MiB of host memory (weights 6.0 MiB, io 0 bytes)' in text
    assert 'leaves beside person_ssdlite predicted 7.1 MiB' in text
    assert 'raise memory.host_budget_bytes' in text
    # What else is wrong with it is said as well.
    assert 'models.b.decoder is yolox' in refused(found, 'model b')[0]
    names = [row['name'] for row in report['memory']['rows']]
    assert names == ['person_ssdlite', 'person_ssdlite (refused)', 'total', 'total']
    assert 'memory' not in found


def test_the_floor_of_free_memory(world, look):
    jazzy_pc(world)
    world.memory(16 * GIB, 1 * GIB)
    parameters = {'models': {'detector': PERSON_SETTINGS}}
    assert look(parameters)[0] == 0
    exit_code, found, _ = look({**parameters, 'memory': {'free_floor_bytes': 1020 * MIB}})
    assert exit_code == 1
    (text,) = refused(found, 'memory')
    assert 'with the models as predicted, 1016.9 MiB of memory are free on this machine' in text


def test_a_budget_that_protects_nothing(world, look):
    jazzy_pc(world)
    world.memory(1 * GIB, 900 * MIB)
    exit_code, found, _ = look({'models': {'detector': PERSON_SETTINGS}})
    assert exit_code == 0
    assert found['budget'][0]['text'] == (
        'memory.host_budget_bytes is 1.5 GiB, and there are 1.0 GiB')


# Runtimes --------------------------------------------------------------------------------

def providers(*wanted, fallback=True):
    return {'execution_providers': list(wanted), 'allow_cpu_fallback': fallback,
            'models': {'detector': PERSON_SETTINGS}}


def test_providers_that_are_not_there(world, look):
    jazzy_pc(world)
    exit_code, found, _ = look(providers('CUDAExecutionProvider'))
    assert exit_code == 0 and 'is not in the installed ONNX Runtime' in found['runtime'][0]['text']
    assert found['runtime'][0]['verdict'] == 'warn'
    exit_code, found, _ = look(providers('CUDAExecutionProvider', fallback=False))
    assert exit_code == 1 and 'allow_cpu_fallback is false' in refused(found, 'runtime')[0]
    exit_code, found, _ = look(providers('CUDAExecutionProvidr'))
    assert exit_code == 1 and "did you mean 'CUDAExecution" in refused(found, 'runtime')[0]


def test_providers_that_do_not_load(world, look):
    jazzy_pc(world)
    world.install('onnxruntime', '1.23.2', available=KNOWN, known=KNOWN)
    world.providers['CUDAExecutionProvider'] = Library(
        'onnxruntime', 'crashed', problem='ended its process with SIGSEGV (step: load)')
    exit_code, found, report = look(providers('CUDAExecutionProvider', fallback=False))
    assert exit_code == 1 and 'SIGSEGV' in refused(found, 'runtime')[0]
    exit_code, found, report = look(providers('CUDAExecutionProvider'))
    assert exit_code == 0 and found['runtime'][0]['verdict'] == 'warn'
    assert {row['place'] for row in report['memory']['rows'] if row['predicted_bytes']} == {'host'}
    world.install('onnxruntime', '1.23.2', available=KNOWN, known=KNOWN)
    world.providers['CUDAExecutionProvider'] = Library(
        'onnxruntime', 'ok', values={'loaded': [CPU]})  # without a word
    exit_code, found, report = look(providers('CUDAExecutionProvider', fallback=False))
    assert exit_code == 1 and 'did not load' in refused(found, 'runtime')[0]
    del world.providers['CUDAExecutionProvider']
    exit_code, found, report = look(providers('CUDAExecutionProvider'))
    rows = {(row['name'], row['place']): row for row in report['memory']['rows']}
    assert rows['person_ssdlite', 'device']['predicted_bytes'] > PERSON.stat().st_size
    assert 'weights while loading' in rows['person_ssdlite', 'host']['items']


def test_a_precision_that_the_provider_cannot(world, look):
    jazzy_pc(world)
    world.install('onnxruntime', '1.23.2', available=KNOWN, known=KNOWN)
    parameters = providers('TensorrtExecutionProvider')
    assert look(parameters)[0] == 0
    parameters['models']['detector'] = {**PERSON_SETTINGS, 'precision': 'mixed'}
    exit_code, found, _ = look(parameters)
    assert exit_code == 1 and "found precision 'mixed'" in refused(found, 'model detector')[0]


def test_what_runs_decides_what_is_needed(world, look):
    jazzy_pc(world)
    world.libraries['onnxruntime'] = Library('onnxruntime', 'absent')
    script = ROOT / 'config/dummy_model.yaml'
    dummy = {'runtime': 'dummy', 'models': {'detector': {'path': str(script)}}}
    exit_code, found, report = look(dummy)
    assert exit_code == 0
    assert 'decoder yolov10' in found['model detector'][0]['text']
    rows = {(row['name'], row['place']): row for row in report['memory']['rows']}
    assert rows['dummy_model', 'device']['predicted_bytes'] == MIB
    exit_code, _, report = look({'models': {'detector': PERSON_SETTINGS}})
    assert exit_code == 1 and report['problems'] == ['ONNX Runtime: not installed']


def test_engines_need_a_gpu(world, look, tmp_path):
    bare_laptop(world)
    world.versions['tensorrt'] = '10.3.0'
    exit_code, found, report = look({
        'runtime': 'tensorrt', 'models': {'detector': {'path': str(engine(tmp_path / 'e'))}}})
    assert exit_code == 1
    assert 'runtime tensorrt needs a GPU' in refused(found, 'runtime')[0]
    assert {problem.partition(':')[0] for problem in report['problems']} >= {
        'rclpy', 'PyCUDA', 'TensorRT'}
    # Where it would fit is told all the same, from its manifest.
    rows = {row['name']: row for row in report['memory']['rows'] if row['place'] == 'device'}
    assert rows['shared activations']['predicted_bytes'] == 100 * MIB


def test_pytorch_on_the_cpu(world, look):
    jazzy_pc(world)
    world.install('torch', '2.4.0', cuda='', devices=[])
    parameters = {'runtime': 'pytorch_fp16', 'models': {'detector': PERSON_SETTINGS}}
    exit_code, found, _ = look(parameters)
    assert found['runtime'][0]['text'] == (
        'pytorch_fp16 runs on the CPU in float32: PyTorch 2.4.0 finds no GPU')
    assert exit_code == 1 and refused(found, 'model detector')  # an ONNX model is no program
    exit_code, found, _ = look({**parameters, 'allow_cpu_fallback': False})
    assert 'allow_cpu_fallback is false' in refused(found, 'runtime')[0]


# Engines ---------------------------------------------------------------------------------

def on_jetson(path, **others):
    return {'runtime': 'tensorrt', 'models': {'detector': {'path': str(path)}}, **others}


def test_an_engine_that_passes(world, look, tmp_path):
    jetson(world)
    path = engine(tmp_path / 'engines')
    exit_code, found, report = look(on_jetson(path))
    assert exit_code == 0
    assert found['engine of detector'][0]['text'] == f'{path.name} passes the gate'
    assert 'decoder yolox, 80 classes' in found['model detector'][0]['text']
    rows = {(row['name'], row['place']): row for row in report['memory']['rows']}
    assert rows[path.stem, 'device']['items'] == 'weights 4.0 MiB'  # no copy of io on a Jetson
    assert rows['shared activations', 'device']['predicted_bytes'] == 100 * MIB
    assert rows['total', 'device']['predicted_bytes'] == 104 * MIB
    assert 'activations as the builder said' in report['memory']['basis'][0]


def test_the_engine_of_this_machine_is_looked_for(world, look, tmp_path):
    jetson(world)
    (tmp_path / 'yolox_nano.onnx').write_bytes(b'')
    parameters = on_jetson(tmp_path / 'yolox_nano.onnx', engines={
        'directory': str(tmp_path / 'engines')})
    (tmp_path / 'engines').mkdir()
    exit_code, found, _ = look(parameters)
    assert exit_code == 1 and 'compile_engine compile' in refused(found, 'model detector')[0]
    engine(tmp_path / 'engines')
    assert look(parameters)[0] == 0


@pytest.mark.parametrize('damage, stage', [
    (lambda path: path.write_bytes(path.read_bytes()[:-1] + b'x'), 'sidecar'),
    (lambda path: path.with_name(path.name + '.sha256').unlink(), 'sidecar')])
def test_an_engine_that_is_refused(world, look, tmp_path, damage, stage):
    jetson(world)
    path = engine(tmp_path / 'engines')
    damage(path)
    exit_code, found, report = look(on_jetson(path))
    assert exit_code == 1
    (verdict,) = found['engine of detector']
    assert verdict['values']['stage'] == stage and f'({stage}): ' in verdict['text']
    # Memory and contract are told from the manifest all the same.
    assert found['model detector'][0]['verdict'] == 'ok'
    assert any(row['name'] == path.stem for row in report['memory']['rows'])


def test_an_engine_for_another_machine_and_without_a_manifest(world, look, tmp_path):
    jetson(world, 'orin_agx')
    path = engine(tmp_path / 'engines')
    exit_code, found, _ = look(on_jetson(path))
    assert exit_code == 1 and found['engine of detector'][0]['values']['stage'] == 'manifest'
    path.with_name(path.name + '.json').unlink()
    exit_code, found, _ = look(on_jetson(path))
    assert exit_code == 1 and 'has no readable manifest' in refused(found, 'engine of detector')[0]
    assert 'model detector' not in found


def test_an_engine_without_a_signature(world, look, tmp_path):
    jetson(world)
    _, public = make_keys(tmp_path)
    path = engine(tmp_path / 'engines')
    exit_code, found, _ = look(on_jetson(path, engines={'public_key': str(public)}))
    assert exit_code == 1 and found['engine of detector'][0]['values']['stage'] == 'signature'
    exit_code, found, _ = look(on_jetson(path, engines={'public_key': str(tmp_path / 'no.pem')}))
    assert exit_code == 1 and refused(found, 'model detector')


def test_a_setting_that_contradicts_the_engine(world, look, tmp_path):
    jetson(world)
    path = engine(tmp_path / 'engines')
    exit_code, found, _ = look({'runtime': 'tensorrt', 'models': {'detector': {
        'path': str(path), 'decoder': 'yolov8'}}})
    assert exit_code == 1
    assert 'the engine was compiled for' in refused(found, 'model detector')[0]
    assert found['engine of detector'][0]['verdict'] == 'ok'


def test_a_board_that_is_too_small(world, look, tmp_path):
    jetson(world)
    world.memory(4000 * MIB, 700 * MIB)
    path = engine(tmp_path / 'engines', weights_bytes=500 * MIB)
    exit_code, found, _ = look(on_jetson(path))
    assert exit_code == 1
    text = refused(found, 'memory')[0]
    assert 'on this machine' in text and 'on the device' in text
    assert 'memory.device_budget_bytes is 4.0 GiB, and there are 3.9 GiB' in (
        found['budget'][0]['text'])


def test_two_engines_share_their_activations(monkeypatch, tmp_path):
    """The plan of two engines is what the runtime reserves for them, one after the other."""
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    bench = Bench(monkeypatch, tmp_path / 'engines')
    entries = [bench.engine(PERSON, name, {'context_bytes': (size,)}) for name, size in (
        ('small', MIB), ('large', 3 * MIB), ('middle', 2 * MIB))]
    host = bench.host
    facts = HostFacts(host.sm, host.device_name, host.platform, {host.package: host.version}, {})
    budget = MemoryBudget(64 * MIB, 4 * GIB)
    planned = PlannedTensorrt(budget, Trust(), facts)
    runtime = bench.runtime()
    for entry in entries:
        planned.deserialize_engine(entry)
        runtime.deserialize_engine(entry)
    sizes = {row.name: row.predicted_bytes for row in budget.table() if row.place == 'device'}
    real = {row.name: row.predicted_bytes for row in bench.budget.table() if row.place == 'device'}
    assert sizes['shared activations'] == 3 * MIB
    own = {name: size for name, size in sizes.items() if name.endswith('fp32')}
    assert own == {name: size for name, size in real.items() if name in own} and len(own) == 3
    # In host memory, too: the plan is gone once an engine is loaded.
    assert [row.predicted_bytes for row in budget.table() if row.place == 'host'] == [
        row.predicted_bytes for row in bench.budget.table() if row.place == 'host']
    runtime.close()
    assert ORIN.version == '10.3.0'


# Topics and heat -------------------------------------------------------------------------

@pytest.mark.parametrize('name', ['image', '/a/b_c', '~/image', 'camera/image_raw', '{node}/image',
                                  'a{ns}/b', '_x'])
def test_names_of_topics(name):
    assert topic_problem(name) == ''


@pytest.mark.parametrize('name', ['', '/', 'a/', 'a//b', '1a', 'a/2', 'a b', 'a-b', '~', '~a',
                                  'a/~/b', '{nod}', 'a.b', 'ä'])
def test_names_that_are_none(name):
    assert topic_problem(name)


def test_cameras(world, look):
    jazzy_pc(world)
    exit_code, found, _ = look({
        'camera_names': ['a', 'b', 'c'], 'models': {'detector': PERSON_SETTINGS},
        'cameras': {'a': {'image_topic': 'x'}, 'b': {'image_topic': 'x'},
                    'c': {'image_topic': 'x', 'image_transport': 'compressed'}}})
    assert exit_code == 0
    assert 'camera b has the same topic' in found['camera a'][0]['advice']
    assert found['camera c'][0]['text'] == (
        'x/compressed (sensor_msgs/CompressedImage) into detector')


def test_heat_that_forbids_to_activate(world, look, tmp_path):
    jetson(world)
    parameters = on_jetson(engine(tmp_path / 'engines'),
                           thermal={'allow_throttled_activation': False, 'policy': 'shed'})
    exit_code, found, _ = look(parameters)
    assert exit_code == 0
    assert found['thermal'][0]['text'].startswith('policy shed, 3 steps: at most 10 Hz')
    (world.board.cooling_devices['gpu-throttle-alert'] / 'cur_state').write_text('1\n')
    exit_code, found, _ = look(parameters)
    assert exit_code == 1
    assert 'thermal.allow_throttled_activation is false' in refused(found, 'thermal')[0]


def test_heat_of_a_recording(world, look, tmp_path):
    jazzy_pc(world)
    exit_code, found, _ = look({'models': {'detector': PERSON_SETTINGS},
                                'thermal': {'sysfs_root': str(world.root / 'sys')}})
    assert exit_code == 0 and 'a recording and not this machine' in found['thermal'][0]['text']
