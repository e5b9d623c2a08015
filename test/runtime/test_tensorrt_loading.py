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

"""Loading engines on the doubles: trust, admission, silent failures, and what a failure leaves."""

import gc
import os
from pathlib import Path
import shutil
import subprocess
import sys
import textwrap

from c7_inference_ros.engines.trust.gate import EngineGate
from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import EngineHashMismatchError
from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.errors import EngineSidecarMissingError
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.errors import InferenceRuntimeError
from c7_inference_ros.errors import OutOfMemoryError
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.model_files.tensor_spec import TensorSpec
from c7_inference_ros.runtime.base import EngineHandle
from c7_inference_ros.runtime.cuda.device import CudaDevice
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.runtime.trt.activation_arena import ActivationArena
from c7_inference_ros.runtime.trt.buffers import TensorBuffer
from c7_inference_ros.runtime.trt.context import TensorrtContext
from c7_inference_ros.runtime.trt.gpu_allocator import GpuMemoryPool
from c7_inference_ros.runtime.trt.runtime import TensorrtRuntime
import numpy as np
import pytest
from tensorrt_bench import Bench
from tensorrt_bench import feed_of
from tensorrt_bench import MIB
from tensorrt_bench import on_thread

GENERATIONS = ('10.3', '10.16', '11.1', 'rtx1.4', 'rtx1.7')
ROOT = Path(__file__).resolve().parents[2]


PROFILE = {'x': ((1, 3, 4, 4), (2, 3, 4, 4), (4, 3, 4, 4))}


@pytest.mark.parametrize('bench', GENERATIONS, indirect=True)
def test_loads_runs_and_leaves_nothing_in_every_generation(bench, scale):
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(scale))
    feed = feed_of(handle)
    assert np.array_equal(runtime.infer(handle, feed)['y'], feed['x'] * 2)
    title = 'TensorRT-RTX' if bench.generation.startswith('rtx') else 'TensorRT'
    assert runtime.current_runtime_label() == (
        f'{title} {bench.trt.__version__} on Simulated Orin (SM 8.7)')
    assert handle.metadata == {'producer': 'a test'}
    assert handle.processing == {'decoder': 'yolox'}
    assert runtime.fallbacks == ()
    runtime.release_engine(handle)
    bench.assert_released()


def test_describes_the_engine_with_the_shapes_of_its_profile(bench, dynamic):
    runtime = bench.runtime()
    entry = bench.engine(dynamic, profiles=[PROFILE])
    handle = runtime.deserialize_engine(entry)
    assert handle.inputs == (
        TensorSpec('x', np.dtype(np.float32), (-1, 3, 4, 4), (4, 3, 4, 4)),)
    assert [(one.shape, one.max_shape) for one in handle.outputs] == [
        ((-1, 3, 4, 4), (4, 3, 4, 4)), ((-1, 4, 4), (4, 4, 4))]
    runtime.release_engine(handle)
    entry = EngineCacheEntry(entry.path, extras={'input_shapes': {'x': (2, 3, 4, 4)}})
    handle = runtime.deserialize_engine(entry)
    assert handle.inputs[0].max_shape == (2, 3, 4, 4)
    assert handle.memory.measured_host_bytes == 2 * (48 + 48 + 16) * 4
    runtime.close()
    bench.assert_released()


def test_the_profile_is_chosen_by_name_number_or_shape(bench, dynamic):
    large = {'x': ((8, 3, 4, 4), (8, 3, 4, 4), (16, 3, 4, 4))}
    entry = bench.engine(dynamic, profiles=[PROFILE, large], context_bytes=[MIB, 3 * MIB])
    runtime = bench.runtime()
    for extras, largest, arena in (
            ({}, 4, 1), ({'profile': 1}, 16, 3), ({'profile': 'profile1'}, 16, 3),
            ({'input_shapes': {'x': (9, 3, 4, 4)}}, 9, 3)):
        handle = runtime.deserialize_engine(EngineCacheEntry(entry.path, extras=extras))
        assert handle.inputs[0].max_shape[0] == largest
        rows = {row.name: row for row in bench.budget.table() if row.place == 'device'}
        assert rows['shared activations'].measured_bytes == arena * MIB
        feed = feed_of(handle)
        assert np.array_equal(runtime.infer(handle, feed)['y'], feed['x'] * 2)
        runtime.release_engine(handle)
    for extras, message in (
            ({'profile': 'night'}, "no profile 'night'; it has profile0, profile1"),
            ({'profile': 2}, 'no profile 2'),
            ({'input_shapes': {'x': (17, 3, 4, 4)}}, 'profile1 takes x from'),
            ({'input_shapes': {'y': (1,)}}, "input_shapes has 'y'")):
        with pytest.raises(EngineSchemaMismatchError, match=message):
            runtime.deserialize_engine(EngineCacheEntry(entry.path, extras=extras))
    bench.assert_released()


def test_a_profile_that_needs_less_than_the_first_one_gets_no_more(bench, dynamic):
    """A context is in the first profile until another is selected, before it gets its memory."""
    small = {'x': ((1, 3, 4, 4), (1, 3, 4, 4), (1, 3, 4, 4))}
    entry = bench.engine(dynamic, profiles=[PROFILE, small], context_bytes=[3 * MIB, MIB])
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(EngineCacheEntry(entry.path, extras={'profile': 1}))
    rows = {row.name: row for row in bench.budget.table() if row.place == 'device'}
    assert rows['shared activations'].measured_bytes == MIB
    feed = feed_of(handle)
    assert np.array_equal(runtime.infer(handle, feed)['y'], feed['x'] * 2)
    runtime.close()
    bench.assert_released()


# Trust --------------------------------------------------------------------------------------

def test_every_refusal_of_the_gate_comes_before_the_gpu_is_touched(bench, scale, tmp_path):
    entry = bench.engine(scale)
    path = entry.path
    sidecar = Path(f'{path}.sha256')
    runtime = bench.runtime()
    data, digest = path.read_bytes(), sidecar.read_text()
    other = tmp_path / 'model.onnx'
    shutil.copy(scale, other)
    with pytest.raises(EngineSchemaMismatchError, match='no name of an engine'):
        runtime.deserialize_engine(EngineCacheEntry(other))
    with pytest.raises(EngineHashMismatchError, match=f'{path} has SHA-256.*expected 0000'):
        runtime.deserialize_engine(EngineCacheEntry(path, sha256='0' * 64))
    with pytest.raises(EngineSchemaMismatchError, match='precision'):
        runtime.deserialize_engine(EngineCacheEntry(path, host=('87', 'x86', '10.3.0', 'fp16')))
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(EngineHashMismatchError):
        runtime.deserialize_engine(entry)
    path.write_bytes(data)
    sidecar.unlink()
    with pytest.raises(EngineSidecarMissingError):
        runtime.deserialize_engine(entry)
    sidecar.write_text(digest)
    with pytest.raises(EngineSchemaMismatchError, match='compute capability 87'):
        bench.runtime(host=HostTuple('89', 'x86', 'tensorrt', '10.3.0.26')
                      ).deserialize_engine(entry)
    assert bench.gpu.calls == [] and not bench.gpu.is_initialized
    runtime.release_engine(runtime.deserialize_engine(entry))
    bench.assert_released()


def test_the_gate_and_the_budget_come_before_any_import(bench, scale):
    """In a process of its own, where every import of TensorRT, PyCUDA or libcuda raises."""
    good = bench.engine(scale)
    bad = bench.engine(scale, name='bad')
    bad.path.write_bytes(bad.path.read_bytes() + b'x')
    code = textwrap.dedent(f"""
        import ctypes, sys
        class Hook:
            def find_spec(self, name, path=None, target=None):
                if name.split('.')[0] in ('tensorrt', 'tensorrt_rtx', 'pycuda', 'cuda'):
                    raise AssertionError('imported ' + name)
        sys.meta_path.insert(0, Hook())
        from c7_inference_ros.engines.types import EngineCacheEntry, HostTuple
        from c7_inference_ros.errors import EngineHashMismatchError, OutOfMemoryError
        from c7_inference_ros.runtime.memory_budget import MemoryBudget
        from c7_inference_ros.runtime.trt.runtime import TensorrtRuntime
        from pathlib import Path
        def never(*arguments):
            raise AssertionError('too early')
        ctypes.CDLL.__init__ = never
        host = HostTuple(*{(bench.host.sm, bench.host.platform, bench.host.package,
                            bench.host.version, bench.host.device_name)!r})
        for path, budget, error in (({str(bad.path)!r}, 1 << 30, EngineHashMismatchError),
                                    ({str(good.path)!r}, 1000, OutOfMemoryError)):
            runtime = TensorrtRuntime(budget=MemoryBudget(budget, 1 << 30), host=host,
                                      open_device=never, load_api=never)
            try:
                runtime.deserialize_engine(EngineCacheEntry(Path(path)))
            except error as caught:
                print(type(caught).__name__)
    """)
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True,
                          check=False, timeout=60)
    assert done.stdout.split() == ['EngineHashMismatchError', 'OutOfMemoryError'], done.stderr


def test_trust_that_is_weak_is_said(bench, scale):
    entry = bench.engine(scale)
    os.chmod(entry.path.parent, 0o777)
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(entry)
    assert any('can be written by others' in note for note in runtime.fallbacks)
    runtime.release_engine(handle)
    assert runtime.fallbacks == ()


def test_an_engine_that_is_not_what_its_manifest_says(bench, dynamic):
    runtime = bench.runtime()
    specs = (TensorSpec('x', np.dtype(np.float16), (-1, 3, 4, 4), (4, 3, 4, 4)),)
    outputs = (TensorSpec('y', np.dtype(np.float32), (-1, 3, 4, 4)),
               TensorSpec('sum', np.dtype(np.float32), (-1, 4, 4)))
    shapes = {'x': ((1, 3, 4, 4), (2, 3, 4, 4), (8, 3, 4, 4))}
    for changes, words in (
            ({'inputs': specs}, ['input x is float32', 'the manifest says float16']),
            ({'outputs': outputs}, ["output 'total' is not in the manifest",
                                    "output 'sum' of the manifest is not in the engine"]),
            ({'profiles': (OptimizationProfile('day', shapes),)},
             ["profile 'day' takes x as [1, 3, 4, 4] to [4, 3, 4, 4], the manifest says "
              '[1, 3, 4, 4] to [8, 3, 4, 4]']),
            ({'profiles': (OptimizationProfile('day', PROFILE), OptimizationProfile('b', PROFILE)),
              'context_bytes': (MIB, MIB)},
             ['the engine has 1 profiles, the manifest 2'])):
        entry = bench.engine(dynamic, manifest=changes, profiles=[PROFILE])
        with pytest.raises(EngineSchemaMismatchError) as caught:
            runtime.deserialize_engine(entry)
        for word in words:
            assert word in str(caught.value)
        assert '\n' not in str(caught.value) and 'compile it again' in str(caught.value)
        bench.assert_released()


def test_the_gpu_itself_is_compared_too(bench, scale):
    """What the machine says of its GPU may be about another one than CUDA opens."""
    entry = bench.engine(scale)
    bench.gpu.traits.compute_capability = (8, 9)
    with pytest.raises(EngineSchemaMismatchError, match='capability 87, GPU 0.*has 89'):
        bench.runtime().deserialize_engine(entry)
    bench.assert_released()


# What TensorRT says no to, and how it says it --------------------------------------------------

SILENT = {
    'deserialize_cuda_engine': (EngineDeserializeError, 'cannot be deserialised by tensorrt'),
    'create_execution_context': (EngineDeserializeError, 'cannot be given an execution context'),
    'set_optimization_profile_async': (EngineDeserializeError, 'does not switch to profile 0'),
    'set_input_shape': (InferenceError, 'does not take input x as'),
    'infer_shapes': (InferenceError, 'cannot tell the shapes of its outputs'),
    'set_tensor_address': (InferenceError, 'does not take an address for x'),
    'execute_async_v3': (InferenceError, 'failed by tensorrt'),
}


@pytest.mark.parametrize('call', SILENT)
def test_every_silent_failure_is_one_line_with_its_reason(bench, scale, call):
    kind, words = SILENT[call]
    entry = bench.engine(scale)
    runtime = bench.runtime()
    bench.gpu.fail(call, 1)
    with pytest.raises(InferenceRuntimeError, match=words) as caught:
        runtime.deserialize_engine(entry)
    assert type(caught.value) is kind
    text = str(caught.value)
    assert '\n' not in text and str(entry.path) in text and 'invalid argument' in text
    bench.assert_released()
    del caught
    handle = runtime.deserialize_engine(entry)
    assert runtime.infer(handle, feed_of(handle))
    runtime.release_engine(handle)
    bench.assert_released()


@pytest.mark.parametrize('function', [
    'cuMemAlloc', 'cuMemHostAlloc', 'cuStreamCreate', 'cuMemcpyHtoDAsync', 'cuMemcpyDtoHAsync',
    'cuStreamSynchronize', 'cuMemGetInfo', 'cuCtxSynchronize', 'cuGraphLaunch'])
def test_a_failing_call_of_cuda_anywhere_leaves_nothing(bench, scale, function):
    """Each call in turn, to the last one that loading makes."""
    entry = bench.engine(scale)
    runtime = bench.runtime()
    for nth in range(1, 40):
        bench.gpu._faults.clear()
        bench.gpu.fail(function, 1, nth)
        try:
            handle = runtime.deserialize_engine(entry)
        except (InferenceRuntimeError, RuntimeNotAvailableError) as error:
            assert '\n' not in str(error)
        else:
            runtime.release_engine(handle)
            bench.assert_released()
            assert nth > 1, f'{function} is never called'
            return
        bench.assert_released()
    pytest.fail('it never got through')


def test_a_plan_with_host_code_is_refused(bench, scale):
    with pytest.raises(EngineDeserializeError, match='lean runtime'):
        bench.runtime().deserialize_engine(bench.engine(scale, carries_host_code=True))
    bench.assert_released()


def test_hardening_of_the_runtime(bench, scale, monkeypatch):
    made = []
    original = bench.trt.Runtime.deserialize_cuda_engine

    def deserialize(self, *arguments):
        made.append((self.engine_host_code_allowed, self.tempfile_control_flags,
                     self.error_recorder is not None))
        return original(self, *arguments)

    monkeypatch.setattr(bench.trt.Runtime, 'deserialize_cuda_engine', deserialize)
    runtime = bench.runtime()
    runtime.release_engine(runtime.deserialize_engine(bench.engine(scale)))
    assert made == [(False, 0, True)]


def test_a_failure_while_another_engine_is_loaded_leaves_that_one_alone(bench, scale):
    runtime = bench.runtime()
    first = runtime.deserialize_engine(bench.engine(scale, context_bytes=MIB))
    table = bench.budget.table()
    second = bench.engine(scale, name='second', context_bytes=8 * MIB)
    held = sorted((block.purpose, block.size) for block in bench.gpu.memory.blocks.values())
    # The arena has grown and the new context works in it when its first enqueue fails.
    bench.gpu.fail('execute_async_v3', 1)
    with pytest.raises(InferenceError):
        runtime.deserialize_engine(second)
    gc.collect()
    assert bench.budget.table() == table
    assert sorted((block.purpose, block.size)
                  for block in bench.gpu.memory.blocks.values()) == held
    for seed in range(3):
        feed = feed_of(first, seed)
        assert np.array_equal(runtime.infer(first, feed)['y'], feed['x'] * 2)
    runtime.close()
    bench.assert_released()


# Release ------------------------------------------------------------------------------------

def test_two_hundred_rounds_leave_nothing(bench, scale):
    entry = bench.engine(scale)
    runtime = bench.runtime()
    files = len(os.listdir('/proc/self/fd'))
    for _ in range(200):
        handle = runtime.deserialize_engine(entry)
        runtime.infer(handle, feed_of(handle))
        runtime.release_engine(handle)
        assert bench.gpu.count_live() == {} and bench.gpu.stack == []
    bench.assert_released()
    assert len(os.listdir('/proc/self/fd')) == files


def test_release_goes_from_graph_to_context_to_buffers_to_engine(bench, scale, monkeypatch):
    steps = []

    def alive():
        kinds = bench.gpu.count_live()
        return (sum(len(context.graphs) for context in bench.gpu.contexts.values()),
                kinds.get('IExecutionContext', 0), kinds.get('ICudaEngine', 0))

    def noting(owner, name, what):
        original = getattr(owner, name)

        def call(self, *arguments):
            steps.append((what, *alive()))
            return original(self, *arguments)

        monkeypatch.setattr(owner, name, call)

    noting(TensorrtContext, 'close', 'context')
    noting(TensorBuffer, 'free', 'buffer')
    noting(ActivationArena, 'leave', 'arena')
    noting(GpuMemoryPool, 'close', 'pool')
    noting(CudaDevice, 'close', 'device')
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(scale))
    steps.clear()
    runtime.release_engine(handle)
    # What is still there when each of them begins: graphs, contexts, engines.
    assert list(dict.fromkeys(steps)) == [
        ('context', 0, 1, 1), ('buffer', 0, 0, 1), ('arena', 0, 0, 1), ('context', 0, 0, 1),
        ('pool', 0, 0, 0), ('device', 0, 0, 0)]
    bench.assert_released()


def test_release_is_idempotent_and_foreign_handles_are_ignored(bench, scale):
    runtime, other = bench.runtime(), bench.runtime()
    entry = bench.engine(scale)
    handle = runtime.deserialize_engine(entry)
    foreign = EngineHandle('foreign', (), (), {})
    other.release_engine(handle)
    runtime.release_engine(foreign)
    assert not handle.is_released and not foreign.is_released
    with pytest.raises(InferenceError, match='was not loaded by this runtime'):
        other.infer(handle, feed_of(handle))
    feed = feed_of(handle)
    for _ in range(3):
        runtime.release_engine(handle)
        assert handle.is_released
    with pytest.raises(InferenceError, match='was released; load it'):
        runtime.infer(handle, feed)
    runtime.close()
    runtime.close()
    bench.assert_released()


@pytest.mark.parametrize('is_first', [True, False])
def test_two_runtimes_of_one_thread_close_in_any_order(bench, scale, is_first):
    runtimes = [bench.runtime(), bench.runtime()]
    entry = bench.engine(scale)
    handles = [runtime.deserialize_engine(entry) for runtime in runtimes]
    runtimes.pop(0 if is_first else 1).close()
    handle = handles[1 if is_first else 0]
    feed = feed_of(handle)
    assert np.array_equal(runtimes[0].infer(handle, feed)['y'], feed['x'] * 2)
    runtimes[0].close()
    bench.assert_released()
    assert bench.gpu.stack == []


def test_the_thread_that_loaded_the_first_engine_makes_every_call(bench, scale):
    runtime = bench.runtime()
    entry = bench.engine(scale)
    handle = runtime.deserialize_engine(entry)
    feed = feed_of(handle)
    for call in (lambda: runtime.infer(handle, feed), lambda: runtime.release_engine(handle),
                 runtime.close, lambda: runtime.deserialize_engine(entry),
                 runtime.free_device_bytes):
        with pytest.raises(InferenceError, match="belongs to thread 'MainThread', the call came "
                                                 "from 'other'"):
            on_thread(call)
    assert runtime.infer(handle, feed) and not handle.is_released
    assert on_thread(runtime.current_runtime_label) == runtime.current_runtime_label()
    assert on_thread(runtime.thermal_state) is not None
    runtime.release_engine(handle)
    bench.assert_released()

    def elsewhere():
        again = runtime.deserialize_engine(entry)
        assert runtime.infer(again, feed)
        runtime.release_engine(again)

    on_thread(elsewhere)
    gc.collect()
    bench.assert_released()


def test_the_plan_is_not_kept(bench, scale, monkeypatch):
    plans = []
    validate = EngineGate.validate

    def remember(self, *arguments, **named):
        trusted = validate(self, *arguments, **named)
        plans.append(trusted.data)
        return trusted

    monkeypatch.setattr(EngineGate, 'validate', remember)
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(scale))
    plan = plans.pop()
    holders = sys.getrefcount(plan) - 2  # the name and the call itself
    assert plans == [] and holders == 0
    runtime.release_engine(handle)


# Absent -------------------------------------------------------------------------------------

def test_what_is_missing_is_named(monkeypatch, tmp_path):
    for module, words in (('pycuda', 'pip install pycuda'), ('tensorrt', 'python3-libnvinfer')):
        with monkeypatch.context() as patch:
            Bench(patch, tmp_path / module)
            patch.setitem(sys.modules, module, None)
            with pytest.raises(RuntimeNotAvailableError, match=words) as caught:
                TensorrtRuntime(budget=MemoryBudget(1, 1), package='auto')
            assert '\n' not in str(caught.value)


@pytest.mark.parametrize('device,words', [
    ({'count': 0}, 'no CUDA-capable device'), ({}, 'cuInit failed: no CUDA-capable')])
def test_a_machine_without_a_gpu_is_told_in_one_line(monkeypatch, tmp_path, scale, device, words):
    bench = Bench(monkeypatch, tmp_path / 'engines', **device)
    if not device:
        bench.gpu.fail('cuInit', 100)
    with pytest.raises(RuntimeNotAvailableError, match=words) as caught:
        bench.runtime().deserialize_engine(bench.engine(scale))
    assert '\n' not in str(caught.value)
    bench.assert_released()


def test_another_gpu_than_the_first(monkeypatch, tmp_path, scale):
    bench = Bench(monkeypatch, tmp_path / 'engines', count=2)
    runtime = bench.runtime(device=1)
    runtime.release_engine(runtime.deserialize_engine(bench.engine(scale)))
    with pytest.raises(RuntimeNotAvailableError, match='a number below 2'):
        bench.runtime(device=2).deserialize_engine(bench.engine(scale))
    bench.assert_released()


def test_nothing_fits_into_no_budget(bench, scale):
    bench.budget = MemoryBudget(0, 0)
    with pytest.raises(OutOfMemoryError, match='memory.host_budget_bytes'):
        bench.runtime().deserialize_engine(bench.engine(scale))
    assert bench.gpu.calls == []
