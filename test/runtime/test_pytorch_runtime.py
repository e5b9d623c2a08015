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

"""The PyTorch runtime with real TorchScripts and exported programs."""

import io
import os
import sys
import zipfile

from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.errors import DeviceLostError
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.errors import OutOfMemoryError
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.model_files import reading
from c7_inference_ros.runtime.factory import build_inference_runtime
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.runtime.process_memory import rss_bytes
from c7_inference_ros.runtime.pytorch import runtime as pytorch_fp16_runtime
import numpy as np
import pytest
from torch_models import describe
from torch_models import export
from torch_models import NEEDS_TORCH
from torch_models import scale_module
from torch_models import scale_program
from torch_models import scale_script
from torch_models import script

torch = pytest.importorskip('torch', reason=NEEDS_TORCH)
pytestmark = pytest.mark.torch


class Attack:
    """What a pickle may hold: loading it runs a command of its author."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.fixture
def runtime(budget):
    return build_inference_runtime('pytorch_fp16', budget=budget)


@pytest.fixture
def half(budget, monkeypatch):
    """Return a runtime that computes in float16, as on a GPU, but on the CPU."""
    monkeypatch.setattr(pytorch_fp16_runtime, '_choose_device',
                        lambda *args: ('cpu', torch.float16, ''))
    return build_inference_runtime('pytorch_fp16', budget=budget)


def load(runtime, path, **extras):
    return runtime.deserialize_engine(EngineCacheEntry(path, extras=extras))


@pytest.mark.parametrize('make', [scale_script, scale_program])
def test_numbers_are_right_and_outputs_are_overwritten(tmp_path, runtime, make):
    handle = load(runtime, make(tmp_path / 'm.pt'))
    random = np.random.default_rng(0)
    for _ in range(3):
        x = random.random((1, 3, 4, 4)).astype(np.float32)
        outputs = runtime.infer(handle, {'x': x})
        assert np.array_equal(outputs['y'], 2 * x)
        assert np.allclose(outputs['total'], (2 * x).sum(axis=1))
        kept = outputs['y']
    runtime.infer(handle, {'x': np.zeros_like(x)})
    assert not kept.any(), 'valid until the next call only'


def test_an_exported_program_names_its_tensors(tmp_path, runtime):
    handle = load(runtime, scale_program(tmp_path / 'm.pt2'))
    assert [(s.name, str(s.dtype), s.shape) for s in handle.inputs] == [
        ('x', 'float32', (1, 3, 4, 4))]
    assert [(s.name, s.shape) for s in handle.outputs] == [
        ('y', (1, 3, 4, 4)), ('total', (1, 4, 4))]


def test_a_description_renames_and_must_fit(tmp_path, runtime):
    path = scale_program(tmp_path / 'm.pt2')
    tensors = {'a': ('float32', [1, 3, 4, 4])}, {'b': ('float32', [1, 3, 4, 4]),
                                                 'c': ('float32', [1, 4, 4])}
    describe(path, *tensors, metadata={'names': 'here'})
    handle = load(runtime, path)
    assert list(runtime.infer(handle, {'a': np.ones((1, 3, 4, 4), np.float32)})) == ['b', 'c']
    assert handle.metadata == {'names': 'here'}
    describe(path, {'a': ('float32', [1, 3, 8, 8])}, tensors[1])
    with pytest.raises(EngineSchemaMismatchError, match=r'inputs are a float32 \[1, 3, 8, 8\], '
                                                        r'the program has x float32 \[1, 3, 4'):
        load(runtime, path)


def test_open_batch_takes_one_image_unless_told_otherwise(tmp_path, runtime):
    for path in (scale_program(tmp_path / 'm.pt2', is_open=True),
                 scale_script(tmp_path / 'm.ts', batch=-1)):
        handle = load(runtime, path)
        assert handle.inputs[0].shape == (-1, 3, 4, 4) and handle.inputs[0].max_bytes == 192
        two = np.ones((2, 3, 4, 4), np.float32)
        with pytest.raises(InferenceError, match=r'expected x float32 \[1, 3, 4, 4\]'):
            runtime.infer(handle, {'x': two})
        entry = runtime.compile_engine(path, BuildConfig(profiles=(
            OptimizationProfile('p', {'x': (two.shape,) * 3}),)))
        handle = runtime.deserialize_engine(entry)
        assert handle.inputs[0].max_bytes == 384
        assert (runtime.infer(handle, {'x': two})['total'] == 6).all()
        assert runtime.infer(handle, {'x': two[:1]})['y'].shape == (1, 3, 4, 4)


def test_outputs_other_than_declared(tmp_path, runtime):
    path = scale_script(tmp_path / 'm.ts')
    inputs, y = {'x': ('float32', [1, 3, 4, 4])}, ('float32', [1, 3, 4, 4])
    for outputs, words in (
            ({'y': ('float32', [1, 3, 2, 4])}, r'output y is \[1, 3, 4, 4\], declared was '
                                               r'\[1, 3, 2, 4\]; correct m.ts.json'),
            ({'y': y, 'z': y}, 'it answers with y, total, declared are y, z')):
        describe(path, inputs, outputs)
        with pytest.raises(EngineSchemaMismatchError, match=words):
            load(runtime, path)

    class Two(torch.nn.Module):

        def forward(self, x):
            return x + 1, x + 2

    path = script(tmp_path / 'two.ts', Two(), torch.zeros(1, 3, 4, 4))
    describe(path, inputs, {'y': y})
    with pytest.raises(EngineSchemaMismatchError, match='with 2 tensors, declared are 1'):
        load(runtime, path)


def test_a_model_that_does_not_take_what_is_declared(tmp_path, runtime):
    path = scale_script(tmp_path / 'm.ts')
    describe(path, {'x': ('float32', [1, 5, 4, 4])}, {'y': ('float32', [1, 5, 4, 4])})
    with pytest.raises(EngineDeserializeError, match='does not run with zeros as input in '
                                                     'float32.*check the shapes') as caught:
        load(runtime, path)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('target', ['archive/data/sample_inputs/model.pt',
                                    'archive/data/weights/model.pt'])
def test_a_pickle_in_an_exported_program_is_never_run(tmp_path, runtime, target):
    victim = tmp_path / 'victim'
    buffer = io.BytesIO()
    torch.save((Attack(victim),), buffer)
    path = scale_program(tmp_path / 'm.pt2')
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in {**members, target: buffer.getvalue()}.items():
            archive.writestr(name, data)
    with pytest.raises(EngineDeserializeError, match='a pickle of more than tensors'):
        load(runtime, path)
    assert not victim.exists()
    if target in members:
        torch.export.load(str(path))
        assert victim.is_dir(), 'PyTorch itself no longer runs it: the check may go'


def test_a_checkpoint_is_refused_before_it_runs(tmp_path, runtime):
    victim = tmp_path / 'victim'
    torch.save({'state': Attack(victim)}, tmp_path / 'm.pt')
    with pytest.raises(EngineDeserializeError, match='is a PyTorch checkpoint'):
        load(runtime, tmp_path / 'm.pt')
    assert not victim.exists()


def test_the_bytes_that_were_hashed_are_the_bytes_that_are_loaded(tmp_path, runtime, monkeypatch):
    path, other = scale_script(tmp_path / 'm.ts'), tmp_path / 'other.ts'
    script(other, torch.nn.Identity(), torch.zeros(1, 3, 4, 4))
    trusted = runtime.compile_engine(path, BuildConfig())
    check = reading.check_sha256

    def swap_after_hashing(*args):
        digest = check(*args)
        path.write_bytes(other.read_bytes())
        return digest

    monkeypatch.setattr('c7_inference_ros.runtime.pytorch.model.check_sha256', swap_after_hashing)
    handle = runtime.deserialize_engine(trusted)
    feed = {'x': np.ones((1, 3, 4, 4), np.float32)}
    assert (runtime.infer(handle, feed)['total'] == 6).all()


def test_a_model_may_write_into_its_input_and_return_it(tmp_path, runtime):
    class InPlace(torch.nn.Module):

        def forward(self, x):
            return x.mul_(2)

    path = script(tmp_path / 'm.ts', InPlace(), torch.zeros(1, 3))
    describe(path, {'x': ('float32', [1, 3])}, {'y': ('float32', [1, 3])})
    handle = load(runtime, path)
    x = np.ones((1, 3), np.float32)
    x.flags.writeable = False
    for _ in range(2):
        assert runtime.infer(handle, {'x': x})['y'].tolist() == [[2, 2, 2]]


@pytest.mark.parametrize('make', [script, export])
def test_float16_inside_and_float32_outside(tmp_path, half, make):
    class Model(torch.nn.Module):

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.full((3,), 1 / 3))

        def forward(self, x, index):
            # The conversion leaves a check of the type in an exported program.
            return x * self.weight, (x * 2).long(), index + 1

    path = make(tmp_path / 'm.pt', Model(), torch.zeros(1, 3), torch.zeros(1, dtype=torch.int64))
    describe(path, {'x': ('float32', [1, 3]), 'index': ('int64', [1])},
             {'y': ('float32', [1, 3]), 'z': ('int64', [1, 3]), 'i': ('int64', [1])})
    handle = load(half, path)
    big = 2 ** 40 + 1  # float16 and float32 cannot hold it
    found = half.infer(handle, {'x': np.full((1, 3), 3, np.float32),
                                'index': np.array([big], np.int64)})
    third = float(np.float16(3) * np.float16(1 / 3))
    assert found['y'].dtype == np.float32 and found['y'].tolist() == [[third] * 3]
    assert found['z'].tolist() == [[6, 6, 6]] and found['i'].tolist() == [big + 1]
    assert half.current_runtime_label() == f'PyTorch {torch.__version__} [cpu, float16]'
    assert half.fallbacks == ()


def test_the_cpu_is_said_or_refused(budget):
    if torch.cuda.is_available():
        pytest.skip('this machine has a GPU for PyTorch')
    runtime = build_inference_runtime('pytorch_fp16', budget=budget)
    sentence, = runtime.fallbacks
    assert 'on the CPU in float32: PyTorch' in sentence
    assert runtime.current_runtime_label() == f'PyTorch {torch.__version__} [cpu, float32]'
    with pytest.raises(RuntimeNotAvailableError, match='allow_cpu_fallback is false'):
        build_inference_runtime('pytorch_fp16', budget=budget, allow_cpu_fallback=False)


@pytest.mark.parametrize(('problem', 'kind'), [
    (MemoryError(), OutOfMemoryError),
    (RuntimeError('CUDA out of memory. Tried to allocate'), OutOfMemoryError),
    (RuntimeError('index 9 is out of bounds'), InferenceError)])
def test_errors_are_mapped_with_their_cause(tmp_path, runtime, monkeypatch, problem, kind):
    handle = load(runtime, scale_script(tmp_path / 'm.ts'))

    def fail(tensors):
        raise problem

    feed, call = {'x': np.ones((1, 3, 4, 4), np.float32)}, handle.call
    monkeypatch.setattr(handle, 'call', fail)
    with pytest.raises(kind) as caught:
        runtime.infer(handle, feed)
    assert caught.value.__cause__ is problem and type(caught.value) is kind
    monkeypatch.setattr(handle, 'call', call)
    assert (runtime.infer(handle, feed)['total'] == 6).all()


def test_a_lost_gpu_is_told_apart(tmp_path, runtime, monkeypatch):
    handle = load(runtime, scale_script(tmp_path / 'm.ts'))

    def fail(tensors):
        raise RuntimeError('CUDA error: an illegal memory access was encountered')

    monkeypatch.setattr(handle, 'call', fail)
    monkeypatch.setattr(runtime, '_device', 'cuda:0')
    with pytest.raises(DeviceLostError, match='illegal memory access'):
        runtime.infer(handle, {'x': np.ones((1, 3, 4, 4), np.float32)})


def test_device_memory_is_what_is_no_longer_free(tmp_path, budget, monkeypatch):
    """With a device that only says that it is a GPU: the arithmetic stays on the CPU."""
    monkeypatch.setattr(pytorch_fp16_runtime, '_choose_device',
                        lambda *args: ('meta', torch.float32, ''))
    free = iter([1000, 900])
    runtime = pytorch_fp16_runtime.PytorchFp16Runtime(budget=budget,
                                                      read_free_device=lambda: next(free))
    assert runtime._memory_now()[1] == -1000
    assert runtime._memory_now()[1] - -1000 == 100
    items = runtime._items_of(10, 3)
    assert [(item.name, item.is_device) for item in items] == [
        ('weights', True), ('io', True), ('weights while loading', False), ('pinned', False)]


def test_memory_is_reserved_before_and_measured_after(tmp_path, monkeypatch):
    class Big(torch.nn.Module):

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(16 << 20))

        def forward(self, x):
            return (self.weight[:4] * x).sum(dim=0, keepdim=True)

    path, size = export(tmp_path / 'big.pt2', Big(), torch.zeros(4)), 64 << 20
    budget = MemoryBudget(1 << 30, 1 << 30)
    runtime = build_inference_runtime('pytorch_fp16', budget=budget)
    runtime.release_engine(load(runtime, scale_script(tmp_path / 'first.ts')))
    reserved, real = [], torch.export.load

    def spy(*args, **kwargs):
        reserved.append(budget.totals()['host'].predicted_bytes)
        return real(*args, **kwargs)

    monkeypatch.setattr(torch.export, 'load', spy)
    before = rss_bytes()
    handle = load(runtime, path)
    assert reserved == [path.stat().st_size]
    assert handle.memory.predicted_host_bytes == reserved[0] + 4 * 4 + 4
    assert 0.9 * size < handle.memory.measured_host_bytes < 1.5 * size
    assert budget.totals()['host'].measured_bytes == handle.memory.measured_host_bytes
    runtime.release_engine(handle)
    assert rss_bytes() - before < 16 << 20
    assert budget.totals()['host'].measured_bytes is None
    small = MemoryBudget(1 << 30, size // 2)
    runtime = build_inference_runtime('pytorch_fp16', budget=small)
    with pytest.raises(OutOfMemoryError, match='big needs .*memory.host_budget_bytes'):
        load(runtime, path)
    assert len(reserved) == 1, 'it was loaded before it was refused'


def test_threads_and_determinism_are_set(budget):
    before = torch.get_num_threads()
    try:
        build_inference_runtime('pytorch_fp16', budget=budget, intra_op_threads=1)
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark and not torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.set_num_threads(before)


def test_loading_and_running_print_nothing(tmp_path, runtime, capfd, recwarn):
    for path in (scale_script(tmp_path / 'm.ts'), scale_program(tmp_path / 'm.pt2')):
        recwarn.clear()
        capfd.readouterr()
        handle = load(runtime, path)
        runtime.infer(handle, {'x': np.ones((1, 3, 4, 4), np.float32)})
        runtime.release_engine(handle)
        assert capfd.readouterr() == ('', '') and not recwarn.list


def test_a_program_of_another_version_says_what_to_do(tmp_path, runtime):
    path = scale_program(tmp_path / 'm.pt2')
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members['archive/models/model.json'] = b'{"graph_module": {}}'
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(EngineDeserializeError, match='is refused by PyTorch .*export it again'):
        load(runtime, path)


def test_scripted_control_flow_runs(tmp_path, runtime):
    module = torch.jit.script(scale_module())
    path = tmp_path / 'm.ts'
    module.save(str(path))
    describe(path, {'x': ('float32', [1, 3, 4, 4])}, {'total': ('float32', [1, 4, 4])})
    handle = load(runtime, path)
    assert list(runtime.infer(handle, {'x': np.ones((1, 3, 4, 4), np.float32)})) == ['total']
    assert 'torch' in sys.modules
