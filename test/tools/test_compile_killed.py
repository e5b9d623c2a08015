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
A compile that is killed, interrupted, or runs twice at once.

The process is the real command line with the real builder. It is killed when a file of a certain
stage appears in the folder, which is watched without a pause, and at random moments.
"""

import os
import random
import signal
import subprocess
import sys
import time

from c7_inference_ros.engines.onnx_source import read_onnx_source
from c7_inference_ros.engines.trust.gate import EngineGate
from c7_inference_ros.engines.types import HostTuple
from compile_bench import command
from compile_bench import environment
from compile_bench import only_json
from compile_bench import run
from compile_bench import tiny_model
from compile_nursery import is_running
from compile_nursery import Nursery
import pytest

pytestmark = pytest.mark.builder
pytest.importorskip('tensorrt_rtx', reason='tensorrt_rtx is not installed here: no builder')

#: Appended to the name of the engine; seen in the folder, or gone from it again.
STAGES = (('lock', True), ('converted', True), ('converted', False), ('.next', True),
          ('.next.json', True), ('.next.sha256', True), ('.next', False), ('.next.json', False))
RANDOM_KILLS = 8
ROUNDS = 2


@pytest.fixture
def folder(tmp_path):
    return tmp_path / 'engines'


def gate_of(path):
    from c7_inference_ros.engines.package_version import installed_version
    return EngineGate(HostTuple('any', 'x86', 'tensorrt_rtx',
                                installed_version('tensorrt_rtx'))).validate(path)


def compile_arguments(model, folder):
    return ('compile', model, '--precision', 'fp16', '--output-dir', folder, '--package',
            'tensorrt_rtx')


def start(model, folder):
    return subprocess.Popen(command(*compile_arguments(model, folder)), env=environment(),
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_stage(pid, folder, name, suffix, is_there):
    """Watch the folder until a stage is reached; return whether it was, before the end."""
    names = {'lock': f'.{name}.lock', 'converted': f'.{name}.converted.onnx'}
    wanted = names.get(suffix, name + suffix)
    # What the last one that was killed left has to go first.
    states = ([False] if wanted in os.listdir(folder) else []) + [True] + [False] * (not is_there)
    while is_running(pid):
        for _ in range(50):
            if (wanted in os.listdir(folder)) == states[0]:
                del states[0]
                if not states:
                    return True
    return False


@pytest.fixture
def nursery():
    pytest.importorskip('onnx', reason='onnx is not installed; run: make env')
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed here')
    nursery = Nursery()
    yield nursery
    nursery.close()


def test_a_kill_at_any_moment_leaves_the_old_engine_or_the_new_one(tmp_path, folder, nursery):
    model = tmp_path / 'm.onnx'
    # The seeds make models that differ in their weights alone.
    versions = [tiny_model(tmp_path / f'{seed}.onnx', seed, 64).read_bytes() for seed in (1, 2)]
    model.write_bytes(versions[0])
    began = time.monotonic()
    nursery.start(compile_arguments(model, folder))
    assert nursery.wait() == 0
    length = time.monotonic() - began
    path = next(folder.glob('*.engine'))
    known = {}
    for data in versions:
        model.write_bytes(data)
        known[read_onnx_source(model).sha256] = data
    chance = random.Random(7)
    plans = [stage for stage in STAGES for _ in range(ROUNDS)] + [None] * RANDOM_KILLS
    attempts, kills, outcomes, reached_stages = 0, 0, set(), set()
    while plans:
        plan = plans.pop(0)
        attempts += 1
        assert attempts < 80, f'{kills} kills, still to come: {plans}'
        before = gate_of(path)
        # What is not there yet, so that it has to be built.
        model.write_bytes(next(data for key, data in known.items()
                               if key != before.manifest.onnx_sha256))
        pid = nursery.start(compile_arguments(model, folder))
        if plan is None:
            time.sleep(chance.uniform(0.0, length))
            reached = is_running(pid)
        else:
            reached = wait_for_stage(pid, folder, path.name, *plan)
        os.kill(pid, signal.SIGKILL)
        is_killed = nursery.wait() == -signal.SIGKILL
        after = gate_of(path)
        assert after.manifest.onnx_sha256 in known
        is_new = after.manifest.onnx_sha256 != before.manifest.onnx_sha256
        assert is_new or after.sha256 == before.sha256
        if not (is_killed and reached):
            plans.append(plan)  # it was too fast; once more
            continue
        kills += 1
        outcomes.add(is_new)
        reached_stages.add(plan)
        if plan in (('.next.sha256', True), ('.next', False), ('.next.json', False)):
            # The appearance of the next sidecar is the moment of publication.
            assert is_new
    assert kills >= 20 and reached_stages == {*STAGES, None} and outcomes == {True, False}

    current = gate_of(path).manifest.onnx_sha256
    done = run(*compile_arguments(model, folder), '--json')
    status = only_json(done)['status']
    assert status == ('REUSED' if read_onnx_source(model).sha256 == current else 'BUILT')
    assert sorted(os.listdir(folder)) == [path.name, f'{path.name}.json', f'{path.name}.sha256']


def test_two_at_once_run_one_after_the_other(tmp_path, folder):
    model = tiny_model(tmp_path / 'm.onnx')
    both = [subprocess.Popen(command(*compile_arguments(model, folder), '--json'),
                             env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True) for _ in range(2)]
    answers = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers

    class Done:
        returncode = 0

    values = []
    for output, _ in answers:
        Done.stdout = output
        values.append(only_json(Done))
    assert sorted(value['status'] for value in values) == ['BUILT', 'REUSED']
    assert len({value['sha256'] for value in values}) == 1
    reused = next(value for value in values if value['status'] == 'REUSED')
    assert reused['reason'] == 'nothing that it depends on has changed'


def test_one_that_waits_says_for_whom(tmp_path, folder):
    from c7_inference_ros.engines.trust.engine_folder import EngineFolder
    model = tiny_model(tmp_path / 'm.onnx')
    done = run(*compile_arguments(model, folder))
    name = done.stdout.splitlines()[-1].rpartition('/')[2]
    with EngineFolder(folder).lock(name):
        process = subprocess.Popen(
            command(*compile_arguments(model, folder)), env=environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        lines = iter(process.stderr.readline, '')
        waiting = next(line for line in lines if 'is being written by' in line)
        assert f'process {os.getpid()}' in waiting and 'waiting up to' in waiting
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and output.startswith('REUSED')


@pytest.mark.parametrize(('number', 'exit_code', 'said'), [
    (signal.SIGINT, 130, 'interrupted; nothing half-written was left'),
    (signal.SIGTERM, 143, 'asked to end; nothing half-written was left')])
def test_a_signal_ends_it_cleanly(tmp_path, folder, number, exit_code, said):
    from c7_inference_ros.engines.trust.engine_folder import EngineFolder
    model = tiny_model(tmp_path / 'm.onnx')
    assert run(*compile_arguments(model, folder)).returncode == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    name = next(folder.glob('*.engine')).name
    # While it waits for the lock, so that the moment is the same in every run.
    with EngineFolder(folder).lock(name):
        process = subprocess.Popen(
            command(*compile_arguments(model, folder), '--json'), env=environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        next(line for line in iter(process.stderr.readline, '') if 'being written' in line)
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == exit_code
    assert errors.splitlines() == [f'compile_engine: {said}']
    process.stdout = output
    assert only_json(process)['problems'] == [said]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_interrupt_while_it_builds(tmp_path, folder):
    """Also in the middle of the builder, whenever the signal comes."""
    model = tiny_model(tmp_path / 'm.onnx', channels=64)
    process = start(model, folder)
    while not folder.is_dir() and process.poll() is None:
        pass
    while process.poll() is None and not any(
            one.endswith('.converted.onnx') for one in os.listdir(folder)):
        pass
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) in (130, 0)
    left = [one for one in os.listdir(folder) if not one.endswith(('.engine', '.json', '.sha256'))]
    assert left == []
    assert run(*compile_arguments(model, folder)).returncode == 0


def test_a_builder_that_does_not_hear_of_an_interrupt_is_ended_with_the_process():
    """Code in a library that never comes back to Python, as a builder may be for minutes."""
    done = subprocess.run([sys.executable, '-c', """
import hashlib
import os
import signal
import threading
from c7_inference_ros.tools.compile_command import _ending_within
from c7_inference_ros.tools.console import Console
with _ending_within(0.2, Console('compile_engine')):
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    hashlib.pbkdf2_hmac('sha256', b'', b'', (1 << 31) - 1)
"""], env=environment(), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 130
    assert done.stderr == ('compile_engine: interrupted; the builder had not ended 0.2 s later '
                           'and was ended with the process, nothing half-written was left\n')
