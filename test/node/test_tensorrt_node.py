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

"""
The whole way of an engine through the node: YAML, gate, budget, detections, trouble.

TensorRT and CUDA are doubles, which compute with ONNX Runtime what is in an engine; everything
else is as on a vehicle.
"""

import os
from pathlib import Path
import signal
import stat
import sys

from c7_inference_ros.engines.filename import engine_name
from c7_inference_ros.engines.filename import model_slug
from c7_inference_ros.engines.trust.engine_folder import EngineFolder
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import PrecisionMode
from client import ERROR
from harness import boxes_of
from harness import shared_picture
from node_on_doubles import CAPABILITY
from node_on_doubles import GENERATION
from node_on_doubles import NAME
import numpy as np
import pytest
from tensorrt_bench import manifest_of
from trt_plan import make_plan
from trt_plan import Plan
from trt_plan import version_of

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / 'models' / 'person_ssdlite.onnx'
PICTURE = '000000000785.jpg'
SCRIPT = Path(__file__).with_name('node_on_doubles.py')
HOST = HostTuple('{}{}'.format(*CAPABILITY), 'x86', 'tensorrt', version_of(GENERATION), NAME)
PROCESSING = {
    'decoder': 'ssd', 'labels': ['person'],
    'preprocess': {'resize': 'stretch', 'interpolation': 'area', 'scale': 1.0,
                   'mean': [127.5] * 3, 'std': [127.5] * 3}}


def publish_engine(folder, model=MODEL, processing=PROCESSING, **claims):
    """Put a trusted engine of a model into a folder; return its path."""
    plan = make_plan(model, GENERATION, sm=HOST.sm, **claims)
    manifest = manifest_of(Plan.parse(plan), HOST, len(plan), {
        'precision': PrecisionMode.FP16, 'processing': processing})
    name = engine_name(model_slug(model.stem), HOST, PrecisionMode.FP16)
    return EngineFolder(folder).publish(name, plan, manifest)


@pytest.fixture
def machine(ros, tmp_path):
    """Return a function that starts a node on a machine with the doubles."""
    tools = tmp_path / 'bin'
    tools.mkdir()
    smi = tools / 'nvidia-smi'
    smi.write_text(f'#!/bin/sh\necho "{CAPABILITY[0]}.{CAPABILITY[1]}, {NAME}"\n')
    smi.chmod(smi.stat().st_mode | stat.S_IXUSR)

    def start(engines, transitions=('configure', 'activate'), **parameters):
        process, client = ros.start(
            {'runtime': 'tensorrt', 'engines.directory': str(engines), 'model_names': ['person'],
             'models.person.path': str(MODEL), 'memory.free_floor_bytes': 0, **parameters},
            command=(sys.executable, str(SCRIPT)),
            environment={'PATH': f'{tools}{os.pathsep}{os.environ["PATH"]}'})
        client.change_states(*transitions)
        return process, client
    return start


def detections_of(client, pixels):
    camera, detections = client.camera(), client.detections(model='person')
    return boxes_of(camera.deliver(detections, pixels=pixels))


def test_an_engine_gives_the_detections_of_its_model(machine, ros, tmp_path):
    """Preprocessing, decoder and labels come from the manifest, the numbers from the engine."""
    pixels = shared_picture(PICTURE)
    publish_engine(tmp_path / 'engines')
    process, client = machine(tmp_path / 'engines')
    found = detections_of(client, pixels)
    status = client.status('lifecycle')
    assert status['runtime'].startswith(f'TensorRT {version_of(GENERATION)} on {NAME}')
    assert process.stop() == 0
    assert 'nothing is left on the GPU' in process.text()
    values = PROCESSING['preprocess']
    reference, other = ros.start(
        {'model_names': ['person'], 'models.person.path': str(MODEL),
         'models.person.decoder': 'ssd', 'memory.free_floor_bytes': 0,
         **{f'models.person.preprocess.{name}': value for name, value in values.items()}})
    other.change_states('configure', 'activate')
    wanted = detections_of(other, pixels)
    assert found and np.allclose(found, wanted, atol=1e-3)
    assert reference.stop() == 0


def test_memory_is_accounted_for_in_diagnostics(machine, tmp_path):
    publish_engine(tmp_path / 'engines')
    process, client = machine(tmp_path / 'engines')
    memory = client.status('memory')
    entry, = (name for name in memory.values if name.startswith('account.person_ssdlite')
              and name.endswith('.device'))
    assert 'predicted' in memory[entry] and 'measured' in memory[entry]
    assert 'weights' in memory[entry]
    assert int(memory['device_measured_bytes']) > 0
    assert process.stop() == 0


def test_an_engine_over_the_budget_is_refused_with_the_account(machine, tmp_path):
    publish_engine(tmp_path / 'engines', context_bytes=(3 << 30,))
    process, client = machine(tmp_path / 'engines', transitions=(),
                              **{'memory.device_budget_bytes': 1 << 30})
    assert not client.change_state('configure')
    line, = process.lines('ERROR')
    assert 'memory.device_budget_bytes' in line and '3072.0 MiB' in line
    assert any('3072.0 MiB' in row and 'memory: ' in row for row in process.lines('INFO'))
    memory = client.status('memory')
    assert memory.level == ERROR and 'refused' in memory.message
    assert any('(refused).device' in name and 'activations 3072.0 MiB' in value
               for name, value in memory.values.items())
    assert process.stop() == 0
    assert 'nothing is left on the GPU' in process.text()


def test_too_little_free_memory_on_the_device_is_refused_by_activate(machine, tmp_path):
    """The simulated GPU has 8 GiB, which is less than this machine has free."""
    publish_engine(tmp_path / 'engines')
    process, client = machine(tmp_path / 'engines', transitions=('configure',),
                              **{'memory.free_floor_bytes': 10 << 30})
    assert not client.change_state('activate')
    line, = process.lines('ERROR')
    assert 'free on the device' in line and 'memory.free_floor_bytes' in line
    client.change_states('cleanup')
    client.set('memory.free_floor_bytes', 0)
    client.change_states('configure', 'activate')
    assert process.stop() == 0


def test_a_changed_engine_is_refused_with_what_to_do(machine, tmp_path):
    path = publish_engine(tmp_path / 'engines')
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    process, client = machine(tmp_path / 'engines', transitions=())
    assert not client.change_state('configure')
    line, = process.lines('ERROR')
    assert str(path) in line and 'sidecar' in line.lower() and 'SHA-256' in line
    assert process.stop() == 0


def test_a_missing_engine_is_refused_with_the_command_that_builds_it(machine, tmp_path):
    (tmp_path / 'engines').mkdir()
    process, client = machine(tmp_path / 'engines', transitions=())
    assert not client.change_state('configure')
    line, = process.lines('ERROR')
    assert f'compile_engine compile {MODEL} --precision fp16' in line
    assert 'person_ssdlite__sm90_jpx86_trt10.3' in line
    publish_engine(tmp_path / 'engines')
    client.change_states('configure', 'activate')
    assert process.stop() == 0


def test_a_setting_that_contradicts_the_engine_is_refused(machine, tmp_path):
    publish_engine(tmp_path / 'engines')
    process, client = machine(tmp_path / 'engines', transitions=(),
                              **{'models.person.preprocess.color_order': 'bgr',
                                 'models.person.preprocess.scale': 0.5})
    assert not client.change_state('configure')
    line, = process.lines('ERROR')
    assert 'models.person.preprocess.scale is 0.5' in line
    assert process.stop() == 0


@pytest.mark.parametrize(('number', 'words'), [
    (signal.SIGUSR1, 'the device is lost'), (signal.SIGUSR2, 'has not returned')],
    ids=['lost', 'hangs'])
def test_trouble_on_the_gpu_leads_to_unconfigured_and_leaves_nothing(
        machine, tmp_path, number, words):
    publish_engine(tmp_path / 'engines')
    process, client = machine(tmp_path / 'engines', inference_timeout=1.0)
    camera, detections = client.camera(), client.detections(model='person')
    camera.deliver(detections)
    os.kill(process.pid, number)

    def is_unconfigured():
        camera.publish()
        return client.state() == 'unconfigured'

    client.wait(is_unconfigured, 'the node gives the models up')
    assert any(words in line for line in process.lines('ERROR'))
    client.wait(lambda: camera.subscribers() == 0, 'the subscription is gone')
    if number == signal.SIGUSR1:
        client.change_states('configure', 'activate')
        camera.deliver(detections)
    assert process.stop() == 0
    assert 'nothing is left on the GPU' in process.text()
