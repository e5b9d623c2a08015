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

"""What the real TensorRT-RTX does on a CPU, its double does: every test runs on both."""

import contextlib
import warnings

from engine_bench import double_model
from engine_bench import make_log
from engine_bench import make_recorder
from engine_bench import real_rtx
import numpy as np
import pytest
from simulated_gpu import SimulatedGpu
from tensorrt_double import make_tensorrt

pytestmark = pytest.mark.builder


@pytest.fixture(params=['double', 'real'])
def trt(request):
    """Return the real TensorRT-RTX and the double of its version, in turn."""
    real, generation = real_rtx()
    return real if request.param == 'real' else make_tensorrt(generation, SimulatedGpu(count=0))


@contextlib.contextmanager
def quiet():
    """Let deprecated calls pass."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)
        yield


@pytest.fixture
def parsed(trt, tmp_path):
    """Return (builder, network, logger) with y = 2 * x, batch open."""
    log = make_log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(0)
    assert trt.OnnxParser(network, log).parse_from_file(
        str(double_model(tmp_path / 'model.onnx')))
    log.heard.clear()
    return builder, network, log


@pytest.mark.parametrize('data, expected', [
    (b'', 'Cannot deserialize with an empty memory buffer'),
    (b'junk', 'Assertion bufferSize >= minBufferSize failed'),
    (b'junk' * 100, 'header.magicTag == kEXPECTED_MAGIC_TAG failed'),
    (np.frombuffer(b'ftrt' + bytes(200), np.uint8), 'header.magicTag'),
])
def test_junk_loads_as_none_with_a_reason_for_the_logger_or_the_recorder(trt, data, expected):
    log, recorder = make_log(trt), make_recorder(trt)
    runtime = trt.Runtime(log)
    assert runtime.error_recorder is None
    assert runtime.deserialize_cuda_engine(data) is None
    assert expected in log.errors()
    runtime.error_recorder = recorder
    assert runtime.error_recorder is recorder
    assert runtime.deserialize_cuda_engine(data) is None
    assert any(expected in text for _, text in recorder.heard)
    assert not log.errors()
    assert isinstance(recorder.heard[0][0], trt.ErrorCodeTRT)


def test_a_runtime_begins_safe(trt):
    log = make_log(trt)
    runtime = trt.Runtime(log)
    assert runtime.engine_host_code_allowed is False and runtime.logger is log
    assert runtime.tempfile_control_flags == 3 and runtime.max_threads == 1
    with pytest.raises(AttributeError, match='no getter|unreadable'):
        _ = runtime.gpu_allocator
    with pytest.raises(AttributeError):
        runtime.no_such_setting = 1
    with pytest.raises(TypeError):
        runtime.gpu_allocator = object()
    runtime.gpu_allocator = None


@pytest.mark.parametrize('call', [
    lambda trt: trt.Runtime(None), lambda trt: trt.Runtime(object()),
    lambda trt: trt.Builder(None), lambda trt: trt.ICudaEngine(), lambda trt: trt.IHostMemory(),
    lambda trt: trt.IExecutionContext(), lambda trt: trt.INetworkDefinition(),
    lambda trt: trt.Runtime(make_log(trt)).deserialize_cuda_engine(None),
    lambda trt: trt.Runtime(make_log(trt)).deserialize_cuda_engine(5),
    lambda trt: trt.OnnxParser(None, make_log(trt)),
    lambda trt: trt.Builder(make_log(trt)).create_builder_config().set_flag('TF32'),
])
def test_wrong_arguments_raise(trt, call):
    with pytest.raises(TypeError):
        call(trt)


def test_a_subclass_that_forgets_its_base_raises(trt):
    class Forgetful(trt.ILogger):

        def __init__(self):
            self.heard = []

    class Plain(trt.ILogger):

        def log(self, severity, msg):
            pass

    with pytest.raises(TypeError, match=r'ILogger.__init__\(\) must be called when overriding'):
        Forgetful()
    assert trt.Runtime(Plain()) is not None


def test_an_exception_in_the_logger_is_printed_and_lost(trt, capfd):
    class Raising(trt.ILogger):

        def __init__(self):
            trt.ILogger.__init__(self)

        def log(self, severity, msg):
            raise ValueError('in the logger')

    assert trt.Runtime(Raising()).deserialize_cuda_engine(b'junk' * 100) is None
    assert '[ERROR] Exception caught in log(): ValueError: in the logger' in (
        capfd.readouterr().err)


def test_shapes_are_no_tuples_but_compare_with_them(trt):
    shape = trt.Dims([1, 2, 3])
    assert shape == (1, 2, 3) and shape == [1, 2, 3] and tuple(shape) == (1, 2, 3)
    assert shape[1] == 2 and shape[0:2] == (1, 2) and len(shape) == 3
    assert repr(shape) == '(1, 2, 3)'
    with pytest.raises(TypeError, match='unhashable'):
        hash(shape)


def test_enums_are_no_numbers(trt):
    flag, mode = trt.BuilderFlag, trt.TensorIOMode
    assert flag.TF32 != 6 and mode.INPUT != 1 and flag.TF32 == flag.TF32
    assert int(flag.TF32) == 6 and int(mode.INPUT) == 1 and mode.INPUT.name == 'INPUT'
    assert str(flag.TF32) == 'BuilderFlag.TF32' and repr(flag.TF32) == '<BuilderFlag.TF32: 6>'
    assert mode(1) == mode.INPUT and flag(99).name == '???'
    assert flag.DEBUG < flag.TF32 and trt.ILogger.ERROR <= trt.ILogger.WARNING
    for call in (lambda: flag.TF32 < 7, lambda: trt.ILogger.WARNING <= 2,
                 lambda: mode.INPUT < mode.OUTPUT, lambda: 1 << flag.TF32,
                 lambda: flag.TF32 | flag.DEBUG, lambda: flag('TF32')):
        with pytest.raises(TypeError):
            call()
    assert trt.float32 == trt.DataType.FLOAT and trt.nptype(trt.float32) is np.float32
    assert trt.ILogger.WARNING == trt.ILogger.Severity.WARNING
    assert {trt.DataType.FLOAT: 1}[trt.DataType(0)] == 1


@pytest.mark.parametrize(
    'data', [b'', b'hello', b'hello world' * 9, b'D' + bytes(range(7, 207, 5))])
def test_garbage_parses_as_an_empty_network(trt, data, tmp_path):
    log = make_log(trt)
    builder = trt.Builder(log)
    path = tmp_path / 'garbage.onnx'
    path.write_bytes(data)
    for parse in (lambda one: one.parse(data), lambda one: one.parse_from_file(str(path))):
        network = builder.create_network(0)
        parser = trt.OnnxParser(network, log)
        assert parse(parser) is True and parser.num_errors == 0
        assert network.num_inputs == network.num_outputs == network.num_layers == 0
        assert builder.build_serialized_network(network,
                                                builder.create_builder_config()) is None
        assert 'Network must have at least one output' in log.errors()


@pytest.mark.parametrize('spoil', [lambda data: data[:-20], lambda data: data[:60],
                                   lambda data: b'\x08' + b'\xff' * 50])
def test_a_cut_model_does_not_parse(trt, spoil, tmp_path):
    data = spoil(double_model(tmp_path / 'model.onnx').read_bytes())
    log = make_log(trt)
    network = trt.Builder(log).create_network(0)
    parser = trt.OnnxParser(network, log)
    assert parser.parse(data) is False and parser.num_errors == 1
    assert parser.get_error(0).code() == trt.ErrorCode.MODEL_DESERIALIZE_FAILED
    assert 'MODEL_DESERIALIZE_FAILED' in log.errors()
    parser.clear_errors()
    assert parser.num_errors == 0


def test_a_missing_file_does_not_parse_and_a_parser_reads_once(trt, parsed, tmp_path):
    builder, _, log = parsed
    networks = [builder.create_network(0) for _ in range(2)]
    parser = trt.OnnxParser(networks[0], log)
    assert parser.parse_from_file(str(tmp_path / 'nowhere.onnx')) is False
    assert 'Input file cannot be found' in str(parser.get_error(0))
    path = str(tmp_path / 'model.onnx')
    # On a network of its own: a second parser on one network crashes the real library.
    parser = trt.OnnxParser(networks[1], log)
    assert parser.parse_from_file(path) is True
    assert parser.parse_from_file(path) is False
    assert 'A model was previously parsed' in parser.get_error(0).desc()


def test_a_network_tells_what_is_in_it(trt, parsed):
    builder, network, log = parsed
    tensor = network.get_input(0)
    assert (tensor.name, tensor.dtype, tuple(tensor.shape)) == (
        'x', trt.DataType.FLOAT, (-1, 4))
    assert tensor.is_network_input and not tensor.is_network_output
    assert not tensor.is_shape_tensor and tensor.is_execution_tensor
    assert network.get_output(0).name == 'y' and network.num_layers >= 1
    assert network.name == 'Unnamed Network 0' and network.builder is builder
    assert network.get_flag(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    strong = int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    assert network.flags == 1 << strong
    assert network.get_input(9) is None and 'Parameter check failed' in log.errors()
    with pytest.raises(IndexError):
        network[999]
    assert builder.create_network(1 << 9) is None


def test_children_report_to_the_recorder_of_their_parent(trt, parsed):
    builder, _, log = parsed
    recorder = make_recorder(trt)
    builder.error_recorder = recorder
    network = builder.create_network(0)
    assert network.error_recorder is recorder
    assert builder.build_serialized_network(network, builder.create_builder_config()) is None
    assert 'at least one output' in recorder.heard[0][1] and not log.errors()


def test_a_range_that_is_none_is_no_exception(trt, parsed):
    builder, _, log = parsed
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    assert profile and profile.get_shape('x') == []
    assert profile.set_shape('x', (2, 4), (1, 4), (8, 4)) is None
    assert not profile
    assert config.add_optimization_profile(profile) == -1
    assert config.num_optimization_profiles == 0
    assert 'MIN<=OPT<=MAX' in log.errors()
    good = builder.create_optimization_profile()
    good.set_shape('x', (1, 4), (2, 4), (8, 4))
    assert config.add_optimization_profile(good) == 0
    assert [tuple(one) for one in good.get_shape('x')] == [(1, 4), (2, 4), (8, 4)]
    assert good.extra_memory_target == 1.0


@pytest.mark.parametrize('name, shapes, expected', [
    (None, None, 'no optimization profile has been defined'),
    ('nope', ((1,), (2,), (4,)), 'Dynamic input tensor x is missing dimensions in profile 0'),
    ('x', ((1, 4, 1), (2, 4, 1), (8, 4, 1)), 'x has 2 dimensions but profile 0 has 3'),
    ('x', ((1, 5), (2, 5), (8, 5)), 'Dimension mismatch for tensor x and profile 0'),
])
def test_profiles_that_do_not_fit_show_in_the_build(trt, parsed, name, shapes, expected):
    builder, network, log = parsed
    config = builder.create_builder_config()
    if name is not None:
        profile = builder.create_optimization_profile()
        profile.set_shape(name, *shapes)
        assert config.add_optimization_profile(profile) == 0
    assert builder.build_serialized_network(network, config) is None
    assert expected in log.errors()


def test_settings_take_nearly_anything(trt, parsed):
    builder, _, log = parsed
    config = builder.create_builder_config()
    pool = trt.MemoryPoolType.WORKSPACE
    assert config.get_memory_pool_limit(pool) > 0
    assert config.set_memory_pool_limit(pool, 1 << 60) is None
    assert config.get_memory_pool_limit(pool) == 1 << 60
    with pytest.raises(TypeError):
        config.set_memory_pool_limit(pool, -1)
    assert config.builder_optimization_level == 3
    config.builder_optimization_level = 9
    assert config.builder_optimization_level == 5
    config.max_aux_streams = -7
    is_refused = any(severity == 2 and 'should not be negative' in text
                     for severity, text in log.heard)
    assert (config.max_aux_streams, is_refused) == (
        (-7, False) if trt.__version__.startswith('1.4') else (-1, True))
    assert config.get_flag(trt.BuilderFlag.TF32)
    config.clear_flag(trt.BuilderFlag.TF32)
    assert not config.get_flag(trt.BuilderFlag.TF32)
    assert config.profiling_verbosity == trt.ProfilingVerbosity.LAYER_NAMES_ONLY
    assert config.hardware_compatibility_level == trt.HardwareCompatibilityLevel.NONE
    assert config.avg_timing_iterations == 1 and config.progress_monitor is None


def test_a_garbage_timing_cache_is_an_empty_one(trt, parsed):
    builder, _, log = parsed
    with quiet():
        cache = builder.create_builder_config().create_timing_cache(b'garbage')
    assert isinstance(cache, trt.ITimingCache)
    assert any(severity == 2 and 'timing cache' in text for severity, text in log.heard)


def test_a_plan_is_memory_of_odd_items(trt, parsed):
    builder, network, log = parsed
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    profile.set_shape('x', (1, 4), (2, 4), (8, 4))
    config.add_optimization_profile(profile)
    plans = [builder.build_serialized_network(network, config) for _ in range(2)]
    assert None not in plans, log.errors()
    view = memoryview(plans[0])
    assert (view.format, view.itemsize, view.ndim, view.readonly) == ('f', 1, 1, False)
    assert len(view) == view.nbytes == plans[0].nbytes == len(bytes(plans[0]))
    assert plans[0].dtype == trt.DataType.INT8
    data = bytes(plans[0])
    assert data[:4] == b'vtrt' and int.from_bytes(data[16:24], 'little') == len(data)
    version = [int(part) for part in trt.__version__.split('.')]
    assert list(data[24:28]) == version and data[28:32] == b'vtrt'
    assert int.from_bytes(data[32:36], 'little') == (0x3e if version < [1, 5] else 0x7e)
    # The double has another body, but each must refuse a plan that was cut.
    assert trt.Runtime(log).deserialize_cuda_engine(data[:-10]) is None
    assert 'plan.header.size == blobSize' in log.errors()
