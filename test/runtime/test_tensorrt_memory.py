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

"""What engines may take: predicted, admitted, enforced while TensorRT allocates, and shared."""

import gc
import threading

from c7_inference_ros.errors import InferenceError
from c7_inference_ros.errors import OutOfMemoryError
from c7_inference_ros.runtime.cuda.device import open_device
from c7_inference_ros.runtime.memory_budget import format_table
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.runtime.trt.engine_memory import EngineMemory
from c7_inference_ros.runtime.trt.gpu_allocator import GpuMemoryPool
from c7_inference_ros.runtime.trt.gpu_allocator import make_allocator
import numpy as np
import pytest
from tensorrt_bench import Bench
from tensorrt_bench import feed_of
from tensorrt_bench import MIB
from tensorrt_bench import on_thread

IO = 448
ALLOCATIONS = {'cuMemAlloc', 'cudaMalloc', 'cuMemHostAlloc', 'cuDevicePrimaryCtxRetain'}


def device_rows(bench):
    return {row.name.partition('__')[0]: row for row in bench.budget.table()
            if row.place == 'device'}


# Admission ----------------------------------------------------------------------------------

def test_one_byte_too_much_refuses_before_anything_is_allocated(bench, scale):
    needed = 3 * MIB + 2 * MIB + IO
    entry = bench.engine(scale, weights_bytes=3 * MIB, context_bytes=2 * MIB)
    bench.budget = MemoryBudget(needed - 1, 1 << 30)
    with pytest.raises(OutOfMemoryError) as caught:
        bench.runtime().deserialize_engine(entry)
    text = str(caught.value)
    assert '1 bytes more than the budget' in text and 'memory.device_budget_bytes' in text
    assert 'weights 3.0 MiB, activations 2.0 MiB, io 448 bytes' in text and '\n' not in text
    assert bench.gpu.calls == [], 'not even the driver was asked'
    lines = format_table(caught.value.rows)
    assert any(line.startswith(f'{entry.path.stem} (refused)  device  5.0 MiB') for line in lines)
    assert lines[-2].split()[:2] == ['total', 'device']
    bench.budget = MemoryBudget(needed, 1 << 30)
    runtime = bench.runtime()
    runtime.release_engine(runtime.deserialize_engine(entry))
    bench.assert_released()


def test_a_refusal_leaves_what_is_loaded_as_it_is(bench, scale):
    bench.budget = MemoryBudget(8 * MIB, 1 << 30)
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(scale, weights_bytes=4 * MIB))
    table, free = bench.budget.table(), runtime.free_device_bytes()
    bench.gpu.calls.clear()
    with pytest.raises(OutOfMemoryError, match='beside scale__.* predicted .* measured'):
        runtime.deserialize_engine(bench.engine(scale, name='big', weights_bytes=4 * MIB))
    assert not ALLOCATIONS & set(bench.gpu.calls)
    assert (bench.budget.table(), runtime.free_device_bytes()) == (table, free)
    feed = feed_of(handle)
    assert np.array_equal(runtime.infer(handle, feed)['y'], feed['x'] * 2)
    runtime.close()
    bench.assert_released()


def test_the_plan_has_to_fit_into_host_memory_while_it_is_loaded(bench, scale):
    entry = bench.engine(scale)
    size = entry.path.stat().st_size
    bench.budget = MemoryBudget(1 << 30, size - 1)
    with pytest.raises(OutOfMemoryError, match='plan while loading'):
        bench.runtime().deserialize_engine(entry)
    bench.budget = MemoryBudget(1 << 30, size + IO)
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(entry)
    row, = [row for row in bench.budget.table() if row.place == 'host' and row.name != 'total']
    assert (row.predicted_bytes, row.measured_bytes) == (IO, IO)
    assert 'pinned io' in row.items and 'plan' not in row.items
    runtime.release_engine(handle)
    bench.assert_released()


def test_two_loads_at_once_cannot_both_pass(monkeypatch, tmp_path, scale):
    """Two runtimes on one ledger, each on a thread of its own."""
    bench = Bench(monkeypatch, tmp_path / 'engines')
    entry = bench.engine(scale, weights_bytes=3 * MIB)
    for _ in range(5):
        bench.budget = MemoryBudget(6 * MIB, 1 << 30)
        barrier, answers = threading.Barrier(2), []
        done = threading.Barrier(2)

        def load():
            runtime = bench.runtime()
            barrier.wait()
            try:
                answers.append(runtime.deserialize_engine(entry))
            except OutOfMemoryError as error:
                answers.append(error)
                del error
            done.wait()
            runtime.close()

        threads = [threading.Thread(target=load) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(isinstance(one, OutOfMemoryError) for one in answers) == 1
        answers.clear()
        gc.collect()
        bench.assert_released()


def test_without_figures_the_plan_and_a_guess_are_taken_and_that_is_said(bench, scale):
    bench.budget = MemoryBudget(300 * MIB, 1 << 30)
    entry = bench.engine(scale, manifest={'context_bytes': (None,), 'weights_bytes': None},
                         context_bytes=MIB)
    size = entry.path.stat().st_size
    with pytest.raises(OutOfMemoryError, match=f'weights {size} bytes, activations 256.0 MiB'):
        bench.runtime(budget=MemoryBudget(256 * MIB, 1 << 30)).deserialize_engine(entry)
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(entry)
    assert 'activations as 256.0 MiB, they are only known on the device' in handle.memory.basis
    assert 'weights as the size of the plan' in handle.memory.basis
    # Once it is loaded the truth is known, and the rest is given back.
    assert device_rows(bench)['shared activations'].predicted_bytes == MIB
    runtime.close()
    bench.assert_released()


def test_a_context_that_is_larger_than_was_written_down_is_admitted_or_refused(bench, scale):
    entry = bench.engine(scale, manifest={'context_bytes': (MIB,)}, context_bytes=8 * MIB)
    runtime = bench.runtime()
    runtime.deserialize_engine(entry)
    assert device_rows(bench)['shared activations'].measured_bytes == 8 * MIB
    runtime.close()
    bench.assert_released()
    bench.budget = MemoryBudget(8 * MIB, 1 << 30)
    with pytest.raises(OutOfMemoryError, match='shared activations with scale__'):
        bench.runtime().deserialize_engine(entry)
    gc.collect()
    bench.assert_released()


# The allocator ------------------------------------------------------------------------------

@pytest.mark.parametrize('bench', ['10.3', '11.1', 'rtx1.7'], indirect=True)
def test_weights_that_were_understated_are_stopped_while_tensorrt_loads(bench, scale):
    bench.budget = MemoryBudget(8 * MIB, 1 << 30)
    entry = bench.engine(scale, manifest={'weights_bytes': MIB, 'context_bytes': (MIB,)},
                         weights_bytes=20 * MIB)
    runtime = bench.runtime()
    with pytest.raises(OutOfMemoryError) as caught:
        runtime.deserialize_engine(entry)
    text = str(caught.value)
    assert 'cannot be deserialised' in text and 'TensorRT (deserialize)' in text
    assert 'more than was predicted (1.0 MiB)' in text and '\n' not in text
    assert bench.gpu.memory.peak < 8 * MIB, 'the budget was never passed'
    bench.assert_released()
    within = bench.engine(scale, manifest={'weights_bytes': MIB, 'context_bytes': (MIB,)},
                          weights_bytes=4 * MIB)
    handle = runtime.deserialize_engine(within)
    assert device_rows(bench)['scale'].measured_bytes == 4 * MIB + (
        0 if bench.gpu.traits.is_integrated else IO)
    runtime.release_engine(handle)
    bench.assert_released()


def test_persistent_memory_of_a_context_counts_and_is_stopped(bench, scale):
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(scale, persistent_bytes=2 * MIB))
    assert handle.pool.by_phase()['context'] == 2 * MIB
    assert handle.memory.measured_device_bytes > 2 * MIB
    assert 'context 2.0 MiB' in handle.memory.basis
    runtime.close()
    bench.assert_released()
    bench.budget = MemoryBudget(2 * MIB, 1 << 30)
    with pytest.raises(OutOfMemoryError, match='cannot be given an execution context'):
        bench.runtime().deserialize_engine(bench.engine(scale, persistent_bytes=2 * MIB))
    gc.collect()
    bench.assert_released()


def test_a_gpu_that_is_full_is_out_of_memory_whatever_the_budget_says(monkeypatch, tmp_path,
                                                                      scale):
    bench = Bench(monkeypatch, tmp_path / 'engines', total_bytes=200 * MIB)
    bench.budget = MemoryBudget(1 << 30, 1 << 30)
    runtime = bench.runtime()
    with pytest.raises(OutOfMemoryError, match='out of memory.* are free on Simulated Orin'):
        runtime.deserialize_engine(bench.engine(scale, weights_bytes=100 * MIB))
    gc.collect()
    bench.assert_released()
    runtime.release_engine(runtime.deserialize_engine(bench.engine(scale)))
    bench.assert_released()


@pytest.fixture
def pool(bench):
    """Return a pool with room for 1 MiB, on an open GPU."""
    budget = MemoryBudget(MIB, MIB)
    device = open_device()
    reservation = budget.reserve('model', [])
    pool = GpuMemoryPool(EngineMemory(device, reservation, 'model'))
    yield pool
    pool.close()
    assert budget.totals()['device'].measured_bytes in (0, None)
    device.close()
    bench.assert_released_gpu()


def test_the_allocator_has_all_five_methods_and_never_raises(bench, pool):
    allocator = make_allocator(bench.trt, pool)
    assert isinstance(allocator, bench.trt.IGpuAsyncAllocator)
    stream = pool._device.stream_handle
    first = allocator.allocate(1000, 256, 0)
    second = allocator.allocate_async(2000, 512, 0, 0)
    assert first % 256 == 0 and second % 512 == 0 and pool.by_phase() == {'deserialize': 3000}
    assert allocator.allocate(0, 256, 0) is None and pool.refusal == ''
    assert allocator.allocate(MIB, 256, 0) is None
    assert 'memory.device_budget_bytes' in pool.refusal
    assert allocator.reallocate(first, 256, 4000) is None
    assert allocator.deallocate(0) and allocator.deallocate_async(0, stream)
    assert allocator.deallocate(first) and not allocator.deallocate(first)
    assert not allocator.deallocate(12345)
    assert allocator.deallocate_async(second, stream)
    assert pool.by_phase() == {}
    assert make_allocator(object(), pool) is None


def test_the_allocator_refuses_other_threads_which_have_no_context(bench, pool):
    allocator = make_allocator(bench.trt, pool)
    assert on_thread(lambda: allocator.allocate(100, 256, 0)) is None
    assert "belongs to thread 'MainThread'" in pool.refusal
    address = allocator.allocate(100, 256, 0)
    assert not on_thread(lambda: allocator.deallocate(address))
    assert allocator.deallocate(address)


def test_the_allocator_refuses_while_a_graph_is_captured(bench, pool):
    bench.gpu.calls.clear()
    with pool._device.capturing():
        assert pool.allocate(100, 256, pool._device.stream_handle) is None
    assert 'which a CUDA graph cannot hold' in pool.refusal
    assert bench.gpu.calls == [], 'a call of the driver would have ended the capture'


def test_scratch_memory_of_an_inference_is_taken_again_without_waiting(bench, pool):
    pool.phase = 'inference'
    stream = pool._device.stream_handle
    first = pool.allocate(5000, 256, stream)
    bench.gpu.calls.clear()
    assert pool.deallocate(first, stream)
    assert pool.allocate(5000, 256, stream) == first
    assert not {'cuMemAlloc', 'cuMemFree', 'cuCtxSynchronize'} & set(bench.gpu.calls)
    assert pool.deallocate(first, stream)
    # Idle memory makes room before anything is refused.
    assert pool.allocate(MIB - 4000, 256, stream) is not None and pool.refusal == ''


def test_scratch_memory_of_each_inference_does_not_add_up(bench, scale):
    """The binding passes the stream where its documentation has the flags."""
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(scale, enqueue_bytes=MIB))
    used = []
    for _ in range(6):
        runtime.infer(handle, feed_of(handle))
        used.append(bench.gpu.memory.used)
    assert len(set(used[1:])) == 1, used
    runtime.release_engine(handle)
    del handle
    gc.collect()
    bench.assert_released()


# The arena ----------------------------------------------------------------------------------

def test_engines_that_run_in_turn_share_the_largest_activations(bench, scale):
    runtime = bench.runtime()
    small = runtime.deserialize_engine(bench.engine(scale, context_bytes=2 * MIB))
    assert device_rows(bench)['shared activations'].predicted_bytes == 2 * MIB
    large = runtime.deserialize_engine(bench.engine(scale, name='large', context_bytes=5 * MIB))
    other = runtime.deserialize_engine(bench.engine(scale, name='other', context_bytes=3 * MIB))
    row = device_rows(bench)['shared activations']
    assert (row.predicted_bytes, row.measured_bytes) == (5 * MIB, 5 * MIB)
    assert [size for size in (block.size for block in bench.gpu.memory.blocks.values())
            if size >= 2 * MIB] == [5 * MIB]
    for handle in (small, large, other):
        assert handle.execution.has_graph
        assert not handle.execution.is_stale, 'captured anew where the arena moved'
    for seed in range(3):
        for handle in (small, large, other):
            feed = feed_of(handle, seed)
            assert np.array_equal(runtime.infer(handle, feed)['y'], feed['x'] * 2)
    runtime.release_engine(large)
    for handle in (small, other):
        feed = feed_of(handle)
        assert np.array_equal(runtime.infer(handle, feed)['y'], feed['x'] * 2)
    runtime.release_engine(other)
    runtime.release_engine(small)
    bench.assert_released()


def test_only_the_growth_of_the_arena_has_to_fit(bench, scale):
    bench.budget = MemoryBudget(12 * MIB, 1 << 30)
    runtime = bench.runtime()
    for index in range(4):
        runtime.deserialize_engine(bench.engine(
            scale, name=f'model{index}', context_bytes=10 * MIB, weights_bytes=100))
    with pytest.raises(OutOfMemoryError, match='activations 3.0 MiB'):
        runtime.deserialize_engine(bench.engine(
            scale, name='more', context_bytes=13 * MIB, weights_bytes=100))
    runtime.close()
    bench.assert_released()


def test_an_arena_that_cannot_grow_leaves_the_others_running(monkeypatch, tmp_path, scale):
    bench = Bench(monkeypatch, tmp_path / 'engines', total_bytes=200 * MIB)
    bench.budget = MemoryBudget(1 << 30, 1 << 30)
    runtime = bench.runtime()
    first = runtime.deserialize_engine(bench.engine(scale, context_bytes=4 * MIB))
    table = bench.budget.table()
    with pytest.raises(OutOfMemoryError, match='shared activations with large'):
        runtime.deserialize_engine(bench.engine(scale, name='large', context_bytes=100 * MIB))
    gc.collect()
    assert bench.budget.table() == table
    feed = feed_of(first)
    for _ in range(3):
        assert np.array_equal(runtime.infer(first, feed)['y'], feed['x'] * 2)
    runtime.close()
    bench.assert_released()


def test_an_arena_that_is_gone_is_an_error_and_no_crash(bench, scale):
    """The memory was freed to grow, and then not even what was there before could be had."""
    runtime = bench.runtime()
    first = runtime.deserialize_engine(bench.engine(scale, context_bytes=2 * MIB))
    second = bench.engine(scale, name='large', context_bytes=4 * MIB)
    # PyCUDA tries every allocation twice; the first one that counts here is that of the arena.
    bench.gpu.fail('cuMemAlloc', 2, 2, 4)
    with pytest.raises(OutOfMemoryError):
        runtime.deserialize_engine(second)
    bench.gpu._faults.clear()
    gc.collect()
    with pytest.raises(InferenceError, match='has no activation memory.*load it again'):
        runtime.infer(first, feed_of(first))
    # The next engine brings it back, also one that needs less.
    handle = runtime.deserialize_engine(bench.engine(scale, name='tiny', context_bytes=1 << 10))
    for one in (first, handle):
        feed = feed_of(one)
        assert np.array_equal(runtime.infer(one, feed)['y'], feed['x'] * 2)
    runtime.close()
    bench.assert_released()


def test_an_engine_without_activations_needs_no_arena(bench, scale):
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(scale, context_bytes=0))
    assert 'shared activations' not in device_rows(bench)
    feed = feed_of(handle)
    assert np.array_equal(runtime.infer(handle, feed)['y'], feed['x'] * 2)
    runtime.close()
    bench.assert_released()


# What was measured --------------------------------------------------------------------------

def test_predicted_and_measured_agree(bench, scale):
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(
        scale, weights_bytes=5 * MIB, context_bytes=3 * MIB))
    memory = handle.memory
    assert memory.measured_device_bytes == memory.predicted_device_bytes == 5 * MIB + IO
    assert memory.measured_host_bytes == memory.predicted_host_bytes == IO
    total = bench.budget.totals()['device']
    assert total.measured_bytes == total.predicted_bytes == 8 * MIB + IO
    held = sum(block.size for block in bench.gpu.memory.blocks.values())
    assert total.measured_bytes == held
    bench.budget.check_measured(0, device_free_bytes=runtime.free_device_bytes())
    with pytest.raises(OutOfMemoryError, match='free on the device'):
        bench.budget.check_measured(1 << 20, device_free_bytes=(1 << 20) - 1)
    runtime.close()
    bench.assert_released()


def test_where_the_allocator_is_not_used_the_free_memory_counts(bench, scale, monkeypatch):
    monkeypatch.delattr(bench.trt, 'IGpuAsyncAllocator')
    monkeypatch.delattr(bench.trt, 'IGpuAllocator')
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(scale, weights_bytes=6 * MIB))
    assert handle.memory.measured_device_bytes >= 5 * MIB
    assert 'how much less is free' in handle.memory.basis
    runtime.close()
    bench.assert_released()
