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

"""One GPU for one thread: the context stack, memory, errors and graphs, on the doubles."""

import ctypes
import gc
import itertools
import subprocess
import sys
import textwrap
import threading

from c7_inference_ros.errors import DeviceLostError
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.errors import OutOfMemoryError
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.runtime.cuda import driver as cuda_driver
from c7_inference_ros.runtime.cuda.device import open_device
from c7_inference_ros.runtime.cuda.driver import CudaDriver
from c7_inference_ros.runtime.cuda.driver import CudaDriverError
from c7_inference_ros.runtime.cuda.errors import is_sticky
from c7_inference_ros.runtime.cuda.graph import capture_graph
from c7_inference_ros.runtime.cuda.graph import GraphCaptureError
import numpy as np
import pytest
from tensorrt_bench import Bench
from tensorrt_bench import MIB
from tensorrt_bench import on_thread


@pytest.fixture
def bench(monkeypatch, tmp_path):
    bench = Bench(monkeypatch, tmp_path / 'engines')
    yield bench
    gc.collect()
    bench.doubles.assert_clean()


def test_tells_what_the_gpu_is_and_leaves_nothing(bench):
    device = open_device()
    assert (device.name, device.sm, device.is_integrated) == ('Simulated Orin', '87', False)
    assert device.total_bytes == bench.gpu.memory.total
    assert device.free_bytes() == bench.gpu.memory.free_bytes()
    device.close()
    device.close()
    bench.assert_released_gpu()
    assert bench.gpu.stack == []


def test_reopening_does_not_pile_up_contexts_in_the_thread(bench):
    for _ in range(10):
        open_device().close()
        assert bench.gpu.stack == []
    bench.assert_released_gpu()


def test_the_context_below_is_left_as_it_was(bench):
    """Another library may have made the primary context current in this thread."""
    cuda = bench.doubles.cuda
    cuda.init()
    other = cuda.Device(0).retain_primary_context()
    other.push()
    before = list(bench.gpu.stack)
    device = open_device()
    device.free(device.allocate(100, 'a test'))
    device.close()
    assert bench.gpu.stack == before and cuda.Context.get_current() == other
    cuda.mem_get_info()
    other.pop()
    other.detach()


def test_the_primary_context_of_others_survives(bench):
    cuda = bench.doubles.cuda
    cuda.init()
    other = cuda.Device(0).retain_primary_context()
    open_device().close()
    assert bench.gpu.primary is not None and bench.gpu.primary_retains == 1
    other.push()
    cuda.mem_get_info()
    other.pop()
    other.detach()
    del other


@pytest.mark.parametrize('order', itertools.permutations(range(3)))
def test_one_thread_opens_a_gpu_several_times_and_closes_in_any_order(bench, order):
    """Popping takes what is on top: the same context, but another object of PyCUDA."""
    cuda = bench.doubles.cuda
    cuda.init()
    below = cuda.Device(0).retain_primary_context()
    below.push()
    before = list(bench.gpu.stack)
    devices = {number: open_device() for number in range(3)}
    for number in order:
        devices.pop(number).close()
        for device in devices.values():
            device.free(device.allocate(100, 'a test'))
            device.synchronize()
            assert not device.lost
    assert bench.gpu.stack == before
    below.pop()
    below.detach()
    bench.assert_released_gpu()


def test_several_devices_of_one_thread_leave_nothing_on_its_stack(bench):
    for closes_first in (0, 1):
        devices = [open_device(), open_device()]
        devices[closes_first].close()
        devices[1 - closes_first].free_bytes()
        devices[1 - closes_first].close()
        assert bench.gpu.stack == [] and bench.doubles.cuda.Context.get_current() is None
    bench.assert_released_gpu()


@pytest.mark.parametrize('closes_first', [0, 1])
def test_several_devices_of_one_thread_lose_their_context_together(bench, closes_first, capfd):
    devices = [open_device(), open_device()]
    memories = [device.allocate(100, 'it') for device in devices]
    hosts = [device.page_locked(100, 'it') for device in devices]
    bench.gpu.fail('cuStreamSynchronize', 700)
    with pytest.raises(DeviceLostError):
        devices[closes_first].synchronize()
    for number in (closes_first, 1 - closes_first):
        with pytest.raises(DeviceLostError):
            devices[number].free_bytes()
        devices[number].free(memories[number])
        devices[number].free(hosts[number])
        devices[number].close()
    memories.clear()
    hosts.clear()
    gc.collect()
    assert 'PyCUDA WARNING' not in capfd.readouterr().err
    bench.assert_released_gpu()
    assert bench.gpu.stack == []
    device = open_device()
    device.free(device.allocate(100, 'it'))
    device.close()


def test_memory_that_is_read_past_one_of_two_devices_keeps_the_context(bench):
    first, second = open_device(), open_device()
    memory = first.page_locked(8, 'it')
    view = memory.view((8,), np.dtype(np.uint8))
    view[:] = 7
    first.free(memory)
    first.close()
    assert (view == 7).all()
    with pytest.warns(RuntimeWarning, match='copy outputs that are needed for longer'):
        second.close()
    assert (view == 7).all()
    del view
    open_device().close()
    bench.assert_released_gpu()


def test_one_thread_does_not_open_two_gpus(monkeypatch, tmp_path):
    """The context that is current decides where memory is allocated, whoever asks."""
    bench = Bench(monkeypatch, tmp_path / 'engines', count=2)
    first = open_device(0)
    with pytest.raises(InferenceError, match='GPU 1 cannot be opened by a thread that holds GPU '
                                             '0.*give each GPU its own thread'):
        open_device(1)
    on_thread(lambda: open_device(1).close())
    first.free(first.allocate(100, 'a test'))
    first.close()
    open_device(1).close()
    bench.assert_released_gpu()
    bench.doubles.assert_clean()


@pytest.mark.parametrize('function', ['cuCtxPushCurrent', 'cuCtxSynchronize', 'cuMemGetInfo',
                                      'cuStreamCreate', 'cuDevicePrimaryCtxRetain',
                                      'cuCtxGetCurrent', 'cuDeviceGetCount'])
def test_a_failure_while_opening_leaves_nothing(bench, function):
    bench.gpu.fail(function, 1)
    with pytest.raises(RuntimeNotAvailableError, match='GPU 0 cannot be opened: .*nvidia-smi'):
        open_device()
    gc.collect()
    assert bench.gpu.stack == []
    bench.assert_released_gpu()


@pytest.mark.parametrize('fault', [None, ('cuCtxPopCurrent', 1), ('cuCtxPopCurrent', 700),
                                   ('cuDevicePrimaryCtxRelease', 1)])
def test_a_thread_never_ends_with_a_context_on_its_stack(bench, fault, capfd):
    def work():
        device = open_device()
        if fault:
            bench.gpu.fail(*fault)
        device.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    gc.collect()
    assert not bench.gpu.aborts
    bench.gpu._faults.clear()
    open_device().close()


def test_every_call_from_another_thread_is_refused(bench):
    device = open_device()
    memory = device.allocate(10, 'a test')
    for call in (lambda: device.allocate(10, 'it'), lambda: device.page_locked(10, 'it'),
                 lambda: device.free(memory), device.free_bytes, device.close, device.check):
        with pytest.raises(InferenceError, match="GPU 0 belongs to thread 'MainThread'"):
            on_thread(call)
    device.close()
    with pytest.raises(InferenceError, match='was closed'):
        device.allocate(10, 'it')
    bench.assert_released_gpu()


def test_closing_frees_what_was_left(bench):
    device = open_device()
    device.allocate(1000, 'left')
    device.page_locked(1000, 'left')
    device.close()
    bench.assert_released_gpu()


def test_memory_is_copied_on_the_stream(bench):
    device = open_device()
    host, back = device.page_locked(64, 'in'), device.page_locked(64, 'out')
    memory = device.allocate(64, 'memory')
    assert memory.address % 256 == 0
    values = host.view((16,), np.dtype(np.float32))
    values[:] = np.arange(16)
    found = back.view((4, 4), np.dtype(np.float32))
    device.copy_to_device(memory.address, values)
    device.copy_to_host(found, memory.address)
    assert not np.array_equal(found.ravel(), values), 'nothing is waited for'
    device.synchronize()
    assert np.array_equal(found.ravel(), np.arange(16))
    del values, found
    for one in (host, back, memory, memory):
        device.free(one)
    device.close()
    bench.assert_released_gpu()


def test_mapped_memory_has_an_address_on_the_gpu(bench):
    device = open_device()
    memory = device.page_locked(100, 'a test', is_mapped=True)
    assert memory.device_address and memory.device_address != memory.address
    assert device.page_locked(100, 'another').device_address == 0
    device.close()
    bench.assert_released_gpu()


def test_out_of_memory_says_how_much_there_is(monkeypatch, tmp_path):
    bench = Bench(monkeypatch, tmp_path / 'engines', total_bytes=256 * MIB)
    device = open_device()
    words = r'300.0 MiB of device memory for weights cannot be allocated.* of 256.0 MiB are free'
    with pytest.raises(OutOfMemoryError, match=words) as caught:
        device.allocate(300 * MIB, 'weights')
    assert caught.value.__cause__ is not None and not device.lost
    device.close()
    bench.assert_released_gpu()


def test_free_memory_of_a_shared_gpu_is_the_smaller_figure(monkeypatch, tmp_path):
    bench = Bench(monkeypatch, tmp_path / 'engines', is_integrated=True)
    device = open_device(read_available=lambda: 12345)
    assert device.is_integrated and device.free_bytes() == 12345
    device.close()
    device = open_device(read_available=lambda: None)
    assert device.free_bytes() == bench.gpu.memory.free_bytes()
    device.close()


# Broken contexts ----------------------------------------------------------------------------

@pytest.mark.parametrize('code', [214, 700, 702, 719])
def test_a_sticky_error_is_noticed_and_the_next_context_is_new(bench, code, capfd):
    device = open_device()
    memory, host = device.allocate(100, 'it'), device.page_locked(100, 'it')
    bench.gpu.fail('cuStreamSynchronize', code)
    with pytest.raises(DeviceLostError, match='GPU 0 .Simulated Orin. is lost'):
        device.synchronize()
    assert device.lost
    with pytest.raises(DeviceLostError):
        device.allocate(1, 'it')
    device.free(memory)
    device.free(host)
    device.close()
    assert 'PyCUDA WARNING' not in capfd.readouterr().err
    gc.collect()
    bench.assert_released_gpu()
    device = open_device()
    device.free(device.allocate(100, 'it'))
    device.close()
    bench.assert_released_gpu()


def test_an_error_that_says_nothing_is_found_out_by_asking(bench, monkeypatch):
    """A broken context may show in the text of no error, but in the next harmless call."""
    device = open_device()
    monkeypatch.setattr('c7_inference_ros.runtime.cuda.device.is_sticky', lambda *arguments: False)
    bench.gpu.fail('cuMemAlloc', 1)
    with pytest.raises(InferenceError) as caught:
        device.allocate(1, 'it')
    assert not isinstance(caught.value, DeviceLostError) and not device.lost
    bench.gpu.break_context(bench.gpu.primary, 719)
    with pytest.raises(DeviceLostError):
        device.allocate(1, 'it')
    device.close()


def test_a_context_that_cannot_be_made_anew_is_told(bench):
    device = open_device()
    bench.gpu.break_context(bench.gpu.primary, 700)
    bench.gpu.fail('cuDevicePrimaryCtxReset', 1)
    assert device.is_broken()
    device.close()
    assert 'restart the process' in device.lost


@pytest.mark.parametrize('text,expected', [
    ('cuMemAlloc failed: out of memory', False),
    ('cuMemAlloc failed: invalid argument', False),
    ('cuStreamEndCapture failed: operation failed due to a previous error during capture', False),
    ('cuCtxSynchronize failed: an illegal memory access was encountered', True),
    ('cuStreamSynchronize failed: the launch timed out and was terminated', True),
    ('cuMemcpyDtoH failed: unspecified launch failure', True),
    ('cuMemcpyDtoH failed: uncorrectable ECC error encountered', True),
    ('cuMemcpyDtoH failed: unknown error', True)])
def test_which_errors_break_a_context(text, expected):
    assert is_sticky(text) is expected
    assert is_sticky(text, 1) is False and is_sticky(text, 700) is True


# Graphs -------------------------------------------------------------------------------------

def test_a_graph_replays_what_was_captured(bench):
    device = open_device()
    host, memory = device.page_locked(4, 'host'), device.allocate(4, 'device')
    back = device.page_locked(4, 'back')
    arrays = [one.view((1,), np.dtype(np.int32)) for one in (host, back)]

    def work():
        device.copy_to_device(memory.address, arrays[0])
        device.copy_to_host(arrays[1], memory.address)

    graph = capture_graph(device, work)
    device.synchronize()
    arrays[1][:] = -1
    for number in (3, 7):
        arrays[0][:] = number
        graph.launch()
        assert arrays[1][0] != number
        device.synchronize()
        assert arrays[1][0] == number
    graph.close()
    graph.close()
    assert not bench.gpu.primary.graphs
    arrays.clear()
    device.close()
    bench.assert_released_gpu()


def test_work_that_may_not_be_captured_is_told_and_the_stream_works_on(bench):
    device = open_device()
    for problem in (device.synchronize, lambda: device.allocate(10, 'it')):
        with pytest.raises(GraphCaptureError) as caught:
            capture_graph(device, problem)
        assert str(caught.value) and not device.lost
        del caught
        device.synchronize()
    with pytest.raises(KeyError):
        capture_graph(device, lambda: {}['a bug'])
    device.synchronize()
    device.close()
    bench.assert_released_gpu()


# The driver library -------------------------------------------------------------------------

def test_handles_pass_through_ctypes_whole(bench):
    """A handle above 32 bits, through the calling convention of a real shared library."""
    device = open_device()
    assert device.stream_handle > 1 << 32
    library = device.library
    assert library.current_context() == bench.gpu.primary.handle
    library.begin_capture(device.stream_handle)
    graph = library.end_capture(device.stream_handle)
    executable = library.instantiate(graph)
    assert graph > 1 << 32 and executable > 1 << 32
    library.launch(executable, device.stream_handle)
    library.destroy_executable(executable)
    library.destroy_graph(graph)
    with pytest.raises(CudaDriverError, match='cuGraphDestroy failed: .*HANDLE') as caught:
        library.destroy_graph(graph)
    assert caught.value.code == 400 and caught.value.function == 'cuGraphDestroy'
    device.close()


def test_only_the_thread_that_captures_is_held_to_the_rules_of_capturing():
    """CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, 1: with 0, any other thread may break the capture."""
    calls = []

    class Library:

        def __getattr__(self, name):
            def function(*arguments):
                calls.append((name, arguments))
                return 0
            self.__dict__[name] = function
            return function

    CudaDriver(Library()).begin_capture(5)
    assert calls == [('cuStreamBeginCapture_v2', (5, 1))]


def test_a_machine_without_the_driver_and_one_with_an_old_driver(monkeypatch):
    def missing(name):
        raise OSError(f'{name}: cannot open shared object file')

    monkeypatch.setattr(cuda_driver.ctypes, 'CDLL', missing)
    with pytest.raises(RuntimeNotAvailableError, match='the NVIDIA driver is not installed'):
        CudaDriver()
    with pytest.raises(RuntimeNotAvailableError, match='has no cu.*CUDA 11.4 or later'):
        CudaDriver(ctypes.pythonapi)


def test_pycuda_is_imported_by_opening_only_and_told_when_it_is_not_here(monkeypatch):
    code = textwrap.dedent("""
        import sys
        sys.modules['pycuda'] = None
        from c7_inference_ros.errors import RuntimeNotAvailableError
        from c7_inference_ros.runtime.cuda.device import open_device
        try:
            open_device()
        except RuntimeNotAvailableError as error:
            print(error)
    """)
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          check=False, timeout=60)
    assert 'needs the Python package pycuda, which is not installed' in done.stdout, done.stderr
    assert len(done.stdout.splitlines()) == 1
