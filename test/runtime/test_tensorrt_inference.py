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

"""Running engines on the doubles, whose work is late and whose failures are silent."""

import gc
import threading
import time
import tracemalloc

from c7_inference_ros.errors import DeviceLostError
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.errors import OutOfMemoryError
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.runtime.memory_budget import MemoryBudget
import numpy as np
import pytest
from runtime_models import node
from runtime_models import save
from runtime_models import shared_model
from tensorrt_bench import Bench
from tensorrt_bench import feed_of
from tensorrt_bench import MIB

#: What one inference does, without and with a graph of the two outputs of the scale model.
COPIES = ['cuMemcpyHtoDAsync', 'cuMemcpyDtoHAsync', 'cuMemcpyDtoHAsync']
HOT = {'cuMemcpyHtoDAsync', 'cuMemcpyDtoHAsync', 'cuStreamSynchronize', 'execute_async_v3',
       'cuGraphLaunch', 'kernel'}
#: Sizes of the open dimensions of the shared models.
SIZES = {'unk__2121': 96, 'unk__2122': 128}
PROFILE = {'x': ((1, 3, 4, 4), (2, 3, 4, 4), (4, 3, 4, 4))}


def calls_of(bench, runtime, handle, feed):
    """Return what one inference calls, and copies of what it answers."""
    bench.gpu.calls.clear()
    outputs = {name: array.copy() for name, array in runtime.infer(handle, feed).items()}
    calls, found = [name for name in bench.gpu.calls if name in HOT], []
    while calls:
        name = calls.pop(0)
        found.append(name)
        if name == 'cuGraphLaunch' and calls[:1] == ['cuGraphLaunch']:
            calls.pop(0)
    return found, outputs


def test_order_without_a_graph(bench, scale):
    runtime = bench.runtime(use_cuda_graph=False)
    handle = runtime.deserialize_engine(bench.engine(scale))
    found, _ = calls_of(bench, runtime, handle, feed_of(handle))
    assert found == ['cuMemcpyHtoDAsync', 'execute_async_v3', 'cuMemcpyDtoHAsync',
                     'cuMemcpyDtoHAsync', 'cuStreamSynchronize', 'kernel']
    assert runtime.fallbacks == () and not handle.execution.has_graph
    runtime.close()
    bench.assert_released()


def test_order_with_a_graph_that_was_captured_while_loading(bench, scale):
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(scale))
    assert handle.execution.has_graph
    for seed in range(3):
        feed = feed_of(handle, seed)
        found, outputs = calls_of(bench, runtime, handle, feed)
        assert found == ['cuMemcpyHtoDAsync', 'cuGraphLaunch', 'cuMemcpyDtoHAsync',
                         'cuMemcpyDtoHAsync', 'cuStreamSynchronize', 'kernel']
        assert np.array_equal(outputs['y'], feed['x'] * 2)
        assert np.allclose(outputs['total'], feed['x'].sum(1) * 2)
    runtime.close()
    bench.assert_released()


def test_everything_is_on_one_stream_of_our_own(bench, scale):
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(scale))
    streams = [stream for context in bench.gpu.contexts.values()
               for stream in context.streams.values() if stream.handle]
    assert len(streams) == 1 and streams[0].flags == 1, 'one stream, not blocking'
    assert runtime._device.stream_handle == streams[0].handle
    feed = feed_of(handle)
    runtime.infer(handle, feed)
    assert not streams[0].queue
    runtime.close()


def test_outputs_are_views_that_the_next_call_overwrites(bench, scale):
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(scale))
    first = runtime.infer(handle, feed_of(handle, 1))
    second = runtime.infer(handle, feed_of(handle, 2))
    assert list(first) == ['y', 'total']
    for name in first:
        assert np.shares_memory(first[name], second[name])
        assert first[name].flags.c_contiguous
    feed = feed_of(handle, 3)
    before = feed['x'].copy()
    runtime.infer(handle, feed)
    assert np.array_equal(feed['x'], before)
    del first, second
    runtime.close()
    bench.assert_released()


def test_outputs_that_are_held_past_the_release_stay_readable(bench, scale):
    runtime = bench.runtime()
    entry = bench.engine(scale)
    handle = runtime.deserialize_engine(entry)
    feed = feed_of(handle)
    held = runtime.infer(handle, feed)['y']
    with pytest.warns(RuntimeWarning, match='copy outputs that are needed for longer'):
        runtime.release_engine(handle)
    assert np.array_equal(held, feed['x'] * 2), 'memory that was pulled away under the reader'
    assert bench.gpu.stack == [], 'a thread that ends now would abort the process'
    del held
    again = runtime.deserialize_engine(entry)
    assert runtime.infer(again, feed)
    runtime.release_engine(again)
    bench.assert_released()


def test_writing_into_the_page_locked_input_saves_the_copy(bench, scale, monkeypatch):
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(scale))
    view = handle.input_view('x', (1, 3, 4, 4))
    with pytest.raises(KeyError):
        handle.input_view('no', (1,))
    copied = []
    original = np.copyto

    def copyto(to, what):
        copied.append(to.shape)
        original(to, what)

    monkeypatch.setattr(np, 'copyto', copyto)
    view[...] = 3
    assert (runtime.infer(handle, {'x': view})['y'] == 6).all() and copied == []
    assert (runtime.infer(handle, {'x': view.copy()})['y'] == 6).all() and len(copied) == 1
    del view
    runtime.close()
    bench.assert_released()


def test_a_steady_inference_allocates_nothing_of_size(bench, tmp_path, monkeypatch):
    model = save(tmp_path / 'large.onnx', [node('Mul', ['x', 'two'], ['y'])],
                 {'x': ('FLOAT', [1, 3, 256, 256])}, {'y': ('FLOAT', [1, 3, 256, 256])},
                 weights={'two': np.full(1, 2, np.float32)})
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(model))
    feed = feed_of(handle)
    for _ in range(3):
        runtime.infer(handle, feed)
    held = (list(bench.gpu.memory.blocks), list(bench.gpu.memory.pinned))
    with monkeypatch.context() as patch:
        # The doubles compute in the same thread; what is left is what this package does.
        for name in ('memcpy_htod_async', 'memcpy_dtoh_async'):
            patch.setattr(bench.doubles.cuda, name, lambda *arguments: None)
        patch.setattr(type(runtime._device.library), 'launch', lambda *arguments: None)
        patch.setattr(type(runtime._device._stream), 'synchronize', lambda stream: None)
        runtime.infer(handle, feed)
        tracemalloc.start()
        try:
            runtime.infer(handle, feed)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(100):
                runtime.infer(handle, feed)
            after, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert after - before < 1024, 'something is kept with every inference'
    assert peak - before < 4096, f'an inference of 768 KiB allocates {peak - before} bytes'
    runtime.infer(handle, feed)
    assert (list(bench.gpu.memory.blocks), list(bench.gpu.memory.pinned)) == held
    runtime.close()
    bench.assert_released()


# Shapes -------------------------------------------------------------------------------------

def test_batches_up_to_the_largest_of_the_profile(bench, dynamic):
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(dynamic, profiles=[PROFILE]))
    for batch in (1, 4, 2, 2, 2, 4, 4, 4, 1, 1, 1, 3):
        feed = feed_of(handle, batch, {'x': (batch, 3, 4, 4)})
        outputs = runtime.infer(handle, feed)
        assert outputs['y'].shape == (batch, 3, 4, 4)
        assert outputs['total'].shape == (batch, 4, 4)
        assert np.array_equal(outputs['y'], feed['x'] * 2)
    outputs = None
    with pytest.raises(InferenceError, match=r'expected x float32 \[1..4, 3, 4, 4\]'):
        runtime.infer(handle, feed_of(handle, 0, {'x': (5, 3, 4, 4)}))
    runtime.close()
    bench.assert_released()


def test_one_graph_for_one_combination_of_shapes(bench, dynamic):
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(dynamic, profiles=[PROFILE]))
    graphs = []
    for batch in (4, 1, 1, 1, 2, 1, 1):
        found, _ = calls_of(bench, runtime, handle,
                            feed_of(handle, 0, {'x': (batch, 3, 4, 4)}))
        graphs.append('cuGraphLaunch' in found)
        assert found.count('kernel') == 1, 'every inference runs exactly once'
        live = [len(context.graphs) for context in bench.gpu.contexts.values()]
        assert live == [int(handle.execution.has_graph)]
    # The largest was captured while loading; others when they come for the second time.
    assert graphs == [True, False, True, True, False, False, True]
    runtime.close()
    bench.assert_released()


def test_a_shape_below_the_profile_is_refused_and_harms_nothing(bench, dynamic):
    runtime = bench.runtime()
    large = {'x': ((2, 3, 4, 4), (3, 3, 4, 4), (4, 3, 4, 4))}
    handle = runtime.deserialize_engine(bench.engine(dynamic, profiles=[large]))
    for _ in range(2):
        with pytest.raises(InferenceError, match=r'is \[1, .*, the smallest .*\[2, 3, 4, 4\]'):
            runtime.infer(handle, feed_of(handle, 0, {'x': (1, 3, 4, 4)}))
        feed = feed_of(handle, 0, {'x': (3, 3, 4, 4)})
        assert np.array_equal(runtime.infer(handle, feed)['y'], feed['x'] * 2)
    runtime.close()
    bench.assert_released()


def test_a_refused_shape_leaves_the_shapes_before_usable(bench, dynamic):
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(dynamic, profiles=[PROFILE]))
    for call in ('set_input_shape', 'infer_shapes', 'set_tensor_address'):
        bench.gpu.fail(call, 1)
        with pytest.raises(InferenceError, match='invalid argument'):
            runtime.infer(handle, feed_of(handle, 0, {'x': (3, 3, 4, 4)}))
        bench.gpu._faults.clear()
        for batch in (4, 3):
            feed = feed_of(handle, 1, {'x': (batch, 3, 4, 4)})
            assert np.array_equal(runtime.infer(handle, feed)['y'], feed['x'] * 2)
        runtime.infer(handle, feed_of(handle))
        handle.execution._bindings.pop(next(
            key for key in handle.execution._bindings if key != handle.execution._key))
    runtime.close()
    bench.assert_released()


def test_a_graph_does_not_outlive_a_change_of_the_context_that_failed(bench, dynamic, scale):
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(dynamic, profiles=[PROFILE]))
    assert handle.execution.has_graph
    bench.gpu.fail('infer_shapes', 1)
    with pytest.raises(InferenceError):
        runtime.infer(handle, feed_of(handle, 0, {'x': (2, 3, 4, 4)}))
    assert not handle.execution.has_graph
    # A larger engine moves the activations while no shapes are set.
    other = runtime.deserialize_engine(bench.engine(scale, name='large', context_bytes=4 * MIB))
    for one in (handle, other, handle, handle):
        feed = feed_of(one)
        assert np.array_equal(runtime.infer(one, feed)['y'], feed['x'] * 2)
    assert handle.execution.has_graph
    runtime.close()
    bench.assert_released()


def test_inputs_that_tensorrt_still_misses_are_named(bench, scale, monkeypatch):
    monkeypatch.setattr(bench.trt.IExecutionContext, 'infer_shapes', lambda self: ['x', 'mask'])
    with pytest.raises(InferenceError, match='shapes of its outputs.*nothing is set for x, mask'):
        bench.runtime().deserialize_engine(bench.engine(scale))
    gc.collect()
    bench.assert_released()


def nonzero_model(path):
    """Write found = the indices of x that are not zero, twice = 2 x."""
    return save(path, [node('NonZero', ['x'], ['found']), node('Mul', ['x', 'two'], ['twice'])],
                {'x': ('FLOAT', [2, 8])},
                {'found': ('INT64', [2, 'count']), 'twice': ('FLOAT', [2, 8])},
                weights={'two': np.full(1, 2, np.float32)})


@pytest.mark.parametrize('is_integrated', [False, True])
@pytest.mark.parametrize('largest', [None, [2, 16]])
def test_an_output_whose_shape_depends_on_the_data(monkeypatch, tmp_path, is_integrated, largest):
    bench = Bench(monkeypatch, tmp_path / 'engines', is_integrated=is_integrated)
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(
        nonzero_model(tmp_path / 'nonzero.onnx'), data_dependent={'found': largest}))
    assert handle.outputs[0].shape == handle.outputs[0].max_shape == (-1, -1)
    assert runtime.fallbacks == (
        f'{handle.name}: no CUDA graph: the shape of output found depends on the data',)
    for count in (3, 0, 16, 7):
        x = np.zeros((2, 8), np.float32)
        x.ravel()[:count] = np.arange(1, count + 1)
        outputs = runtime.infer(handle, {'x': x})
        assert list(outputs) == ['found', 'twice']
        assert np.array_equal(outputs['found'], np.stack(np.nonzero(x)))
        assert np.array_equal(outputs['twice'], x * 2)
    del outputs
    runtime.close()
    bench.assert_released()


def test_an_output_that_does_not_fit_is_out_of_memory_and_the_next_one_runs(bench, tmp_path):
    """The question comes in the middle of an inference; the ledger says no, and it gives up."""
    size = 1 << 16
    model = save(tmp_path / 'nonzero.onnx', [node('NonZero', ['x'], ['found'])],
                 {'x': ('FLOAT', [size])}, {'found': ('INT64', [1, 'count'])})
    plan_bytes = 400
    bench.budget = MemoryBudget(MIB + size * 4 + plan_bytes + (200 << 10), 1 << 30)
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(
        model, data_dependent={'found': None}, weights_bytes=plan_bytes))
    few = np.zeros(size, np.float32)
    few[:5] = 1
    assert runtime.infer(handle, {'x': few})['found'].shape == (1, 5)
    with pytest.raises(OutOfMemoryError, match='output found.*memory.device_budget_bytes'):
        runtime.infer(handle, {'x': np.ones(size, np.float32)})
    assert runtime.infer(handle, {'x': few})['found'].shape == (1, 5)
    runtime.close()
    bench.assert_released()


def test_an_output_without_room_on_the_host_leaves_nothing_on_its_way(bench, tmp_path):
    size = 1 << 16
    model = save(tmp_path / 'nonzero.onnx', [node('NonZero', ['x'], ['found'])],
                 {'x': ('FLOAT', [size])}, {'found': ('INT64', [1, 'count'])})
    bench.budget = MemoryBudget(64 * MIB, size * 4 + (200 << 10))
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(model, data_dependent={'found': None}))
    with pytest.raises(OutOfMemoryError, match='host memory for output found.*host_budget_bytes'):
        runtime.infer(handle, {'x': np.ones(size, np.float32)})
    assert not any(stream.queue for context in bench.gpu.contexts.values()
                   for stream in context.streams.values())
    runtime.release_engine(handle)
    bench.assert_released()


def test_an_input_whose_values_are_a_shape_stays_on_the_host(bench, tmp_path):
    model = save(tmp_path / 'expand.onnx', [node('Expand', ['x', 'shape'], ['y'])],
                 {'x': ('FLOAT', [1, 4]), 'shape': ('INT64', [2])}, {'y': ('FLOAT', ['n', 4])})
    entry = bench.engine(
        model, host_inputs=('shape',),
        profiles=[{'values:shape': ((1, 4), (2, 4), (8, 4))}], manifest={'profiles': ()})
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(entry)
    assert runtime.fallbacks == (
        f'{handle.name}: no CUDA graph: the values of input shape decide on shapes',)
    assert handle.outputs[0].max_shape == (8, 4), 'for the largest values of the profile'
    x = np.arange(4, dtype=np.float32)[np.newaxis]
    for rows in (1, 8, 3, 3):
        outputs = runtime.infer(handle, {'x': x, 'shape': np.array([rows, 4], np.int64)})
        assert np.array_equal(outputs['y'], np.broadcast_to(x, (rows, 4)))
    del outputs
    runtime.close()
    bench.assert_released()


# Graphs -------------------------------------------------------------------------------------

def test_work_that_cannot_be_captured_runs_without_a_graph_and_says_so(bench, scale):
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(scale, is_capturable=False))
    note, = runtime.fallbacks
    assert note.startswith(f'{handle.name}: no CUDA graph: ') and '\n' not in note
    assert 'operation not permitted when stream is capturing' in note
    feed = feed_of(handle)
    for _ in range(3):
        found, outputs = calls_of(bench, runtime, handle, feed)
        assert 'execute_async_v3' in found and 'cuGraphLaunch' not in found
        assert np.array_equal(outputs['y'], feed['x'] * 2)
    runtime.close()
    bench.assert_released()


@pytest.mark.parametrize('function', ['cuStreamBeginCapture', 'cuGraphInstantiate',
                                      'cuGraphDestroy'])
def test_a_driver_that_refuses_a_graph_is_no_obstacle(bench, scale, function):
    runtime = bench.runtime()
    bench.gpu.fail(function, 1)
    handle = runtime.deserialize_engine(bench.engine(scale))
    assert function in bench.gpu.calls
    if function != 'cuGraphDestroy':
        assert 'no CUDA graph' in runtime.fallbacks[0]
        assert 'CUDA_ERROR_INVALID_VALUE' in runtime.fallbacks[0]
        assert not handle.execution.has_graph
    feed = feed_of(handle)
    assert np.array_equal(runtime.infer(handle, feed)['y'], feed['x'] * 2)
    runtime.close()
    bench.assert_released()


def test_a_stream_that_does_not_stop_recording_loses_the_device(bench, scale):
    runtime = bench.runtime()
    entry = bench.engine(scale)
    bench.gpu.fail('cuStreamEndCapture', 1)
    with pytest.raises(DeviceLostError, match='stream is capturing'):
        runtime.deserialize_engine(entry)
    gc.collect()
    bench.assert_released()
    handle = runtime.deserialize_engine(entry)
    assert handle.execution.has_graph
    runtime.close()


@pytest.mark.parametrize('bench', ['rtx1.4', 'rtx1.7'], indirect=True)
def test_tensorrt_rtx_captures_by_itself(bench, scale):
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(scale))
    found, _ = calls_of(bench, runtime, handle, feed_of(handle))
    assert 'execute_async_v3' in found and not handle.execution.has_graph
    assert runtime.fallbacks == ()
    runtime.release_engine(handle)
    bench.assert_released()
    runtime = bench.runtime(use_cuda_graph=False)
    handle = runtime.deserialize_engine(bench.engine(scale))
    assert not handle.execution._context.captures_itself
    runtime.close()
    bench.assert_released()


# A GPU that shares the machine's memory ------------------------------------------------------

def test_an_integrated_gpu_works_in_the_page_locked_memory_itself(monkeypatch, tmp_path, scale):
    bench = Bench(monkeypatch, tmp_path / 'engines', is_integrated=True)
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(scale))
    feed = feed_of(handle)
    found, outputs = calls_of(bench, runtime, handle, feed)
    assert found == ['cuGraphLaunch', 'cuStreamSynchronize', 'kernel'], 'no copies'
    assert np.array_equal(outputs['y'], feed['x'] * 2)
    assert {item.name for item in handle.memory.items} == {'weights', 'pinned io'}
    assert handle.memory.measured_host_bytes == 448
    assert handle.memory.measured_device_bytes == handle.memory.predicted_device_bytes
    assert runtime.free_device_bytes() <= bench.gpu.memory.total
    del outputs
    runtime.close()
    bench.assert_released()


# Errors -------------------------------------------------------------------------------------

def test_a_failed_enqueue_is_an_error_and_the_next_one_runs(bench, scale):
    runtime = bench.runtime(use_cuda_graph=False)
    handle = runtime.deserialize_engine(bench.engine(scale))
    feed = feed_of(handle)
    bench.gpu.fail('execute_async_v3', 1)
    with pytest.raises(InferenceError, match='failed by tensorrt.*invalid argument') as caught:
        runtime.infer(handle, feed)
    assert not isinstance(caught.value, DeviceLostError) and '\n' not in str(caught.value)
    assert np.array_equal(runtime.infer(handle, feed)['y'], feed['x'] * 2)
    runtime.close()
    bench.assert_released()


@pytest.mark.parametrize('function', ['cuMemcpyHtoDAsync', 'cuMemcpyDtoHAsync', 'cuGraphLaunch',
                                      'cuStreamSynchronize'])
def test_a_failed_call_of_cuda_is_an_error_with_its_cause(bench, scale, function):
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(scale))
    feed = feed_of(handle)
    bench.gpu.fail(function, 1)
    with pytest.raises(InferenceError, match='invalid argument') as caught:
        runtime.infer(handle, feed)
    assert caught.value.__cause__ is not None and not isinstance(caught.value, DeviceLostError)
    assert np.array_equal(runtime.infer(handle, feed)['y'], feed['x'] * 2)
    runtime.close()
    bench.assert_released()


@pytest.mark.parametrize('function', ['cuMemcpyDtoHAsync', 'cuStreamSynchronize'])
def test_nothing_is_on_its_way_after_a_failure(bench, scale, function):
    """What was enqueued before the failure still uses the buffers that are freed next."""
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(scale))
    bench.gpu.fail(function, 1)
    with pytest.raises(InferenceError):
        runtime.infer(handle, feed_of(handle))
    assert not any(stream.queue for context in bench.gpu.contexts.values()
                   for stream in context.streams.values())
    runtime.release_engine(handle)
    bench.assert_released()


def test_an_old_refusal_is_not_blamed_for_another_failure(bench, scale):
    """A refusal that TensorRT found a way around; what fails later has a cause of its own."""
    runtime = bench.runtime(use_cuda_graph=False)
    handle = runtime.deserialize_engine(bench.engine(scale))
    handle.pool.phase = 'context'
    assert handle.pool.allocate(1 << 40, 256) is None and handle.pool.refusal
    bench.gpu.fail('execute_async_v3', 1)
    with pytest.raises(InferenceError, match='invalid argument'):
        runtime.infer(handle, feed_of(handle))
    runtime.close()
    bench.assert_released()


@pytest.mark.parametrize('code', [700, 702, 719])
@pytest.mark.parametrize('function', ['kernel', 'cuMemcpyHtoDAsync', 'cuGraphLaunch',
                                      'execute_async_v3'])
def test_a_sticky_error_loses_the_device_and_a_new_load_gets_a_new_one(bench, scale, code,
                                                                       function):
    runtime = bench.runtime(use_cuda_graph=function != 'execute_async_v3')
    entry = bench.engine(scale)
    handle = runtime.deserialize_engine(entry)
    second = runtime.deserialize_engine(bench.engine(scale, name='second'))
    feed = feed_of(handle)
    bench.gpu.fail(function, code)
    with pytest.raises(DeviceLostError, match='GPU 0 .* is lost') as caught:
        runtime.infer(handle, feed)
    assert '\n' not in str(caught.value) and 'configure again' in str(caught.value)
    for call in (lambda: runtime.infer(handle, feed), lambda: runtime.infer(second, feed),
                 lambda: runtime.deserialize_engine(entry)):
        with pytest.raises(DeviceLostError):
            call()
    runtime.release_engine(handle)
    runtime.release_engine(second)
    assert bench.gpu.stack == []
    del caught
    gc.collect()
    bench.assert_released()
    again = runtime.deserialize_engine(entry)
    assert np.array_equal(runtime.infer(again, feed)['y'], feed['x'] * 2)
    runtime.release_engine(again)
    bench.assert_released()


def test_a_sticky_error_while_loading_leaves_nothing_and_the_next_load_works(bench, scale):
    runtime = bench.runtime()
    entry = bench.engine(scale)
    for nth in (1, 2):
        bench.gpu.fail('kernel', 700, nth)
        with pytest.raises(DeviceLostError):
            runtime.deserialize_engine(entry)
        bench.gpu._faults.clear()
        gc.collect()
        bench.assert_released()
    handle = runtime.deserialize_engine(entry)
    assert runtime.infer(handle, feed_of(handle))
    runtime.close()


def test_a_device_that_does_not_come_back_is_told(bench, scale):
    runtime = bench.runtime()
    entry = bench.engine(scale)
    handle = runtime.deserialize_engine(entry)
    bench.gpu.lose(719)
    with pytest.raises(DeviceLostError):
        runtime.infer(handle, feed_of(handle))
    runtime.close()
    gc.collect()
    with pytest.raises((DeviceLostError, RuntimeNotAvailableError), match='restart the process'):
        runtime.deserialize_engine(entry)
    assert bench.gpu.stack == [] and not bench.gpu.aborts


def test_a_worker_thread_that_lost_its_device_ends_in_peace(bench, scale):
    """A thread that ends with a context on its stack lets PyCUDA abort the process."""
    entry = bench.engine(scale)
    found = []

    def work():
        runtime = bench.runtime()
        handle = runtime.deserialize_engine(entry)
        bench.gpu.fail('kernel', 700)
        try:
            runtime.infer(handle, feed_of(handle))
        except DeviceLostError as error:
            found.append(str(error))
        # Popping reports the error, too, and PyCUDA then leaves the context on its stack.
        bench.gpu.fail('cuCtxPopCurrent', 700)
        runtime.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    gc.collect()
    assert found and not bench.gpu.aborts
    bench.gpu._faults.clear()
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(entry)
    assert runtime.infer(handle, feed_of(handle))
    runtime.close()
    bench.assert_released()


def test_the_interpreter_is_free_while_the_gpu_works(bench, scale):
    """Another thread goes on while one inference waits for a GPU that stands still."""
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(scale))
    feed = feed_of(handle)
    bench.gpu.hang()
    timer = threading.Timer(0.05, bench.gpu.resume)
    timer.start()
    began = time.monotonic()
    outputs = runtime.infer(handle, feed)
    assert time.monotonic() - began >= 0.04
    assert np.array_equal(outputs['y'], feed['x'] * 2)
    timer.join()
    del outputs
    runtime.close()


# Real models --------------------------------------------------------------------------------

@pytest.mark.parametrize('name', ['yolox_nano.onnx', 'deimv2_hgnetv2_atto_coco.onnx',
                                  'pedestrian_ssdlite_tfod_nms.onnx'])
def test_real_models_answer_as_in_onnx_runtime(bench, name):
    """Through every copy, buffer and view of this runtime; the double computes the network."""
    onnxruntime = pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    path = shared_model(name)
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    shapes = {one.name: tuple(size if isinstance(size, int) else SIZES.get(size, 1)
                              for size in one.shape) for one in session.get_inputs()}
    bench.budget = MemoryBudget(1 << 30, 1 << 30)
    runtime = bench.runtime()
    handle = runtime.deserialize_engine(bench.engine(
        path, profiles=[{name: (shape,) * 3 for name, shape in shapes.items()}]))
    for seed in (0, 1):
        feed = feed_of(handle, seed)
        expected = session.run([spec.name for spec in handle.outputs], feed)
        outputs = runtime.infer(handle, feed)
        for spec, array in zip(handle.outputs, expected):
            np.testing.assert_allclose(outputs[spec.name], array, rtol=1e-4, atol=1e-4)
    del outputs
    runtime.close()
    bench.assert_released()
