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
The doubles against the real thing, as far as it can be had here.

Every public name of a double exists in the real module: in what was read from the binding's
source, in the published stubs of TensorRT 10.x, and in the real TensorRT-RTX. What the real
TensorRT-RTX does on a CPU, its double does.
"""

import ast
import contextlib
import inspect
import json
import os
from pathlib import Path
import warnings

from engine_bench import double_model
from engine_bench import make_log
from engine_bench import make_recorder
import numpy as np
import pycuda_double
from pycuda_double import make_pycuda
import pytest
from simulated_gpu import SimulatedGpu
from tensorrt_double import GENERATIONS
from tensorrt_double import make_tensorrt
from tensorrt_double import TEMPLATES
from trt_binding import EnumMember
from trt_binding import recorded_api

HERE = Path(__file__).parent
STUBS = HERE.parents[1] / '.venv' / 'stubs' / 'tensorrt_bindings' / 'tensorrt.pyi'
#: In every generation's binding, but not in the parts of the source that were read.
_LEVELS = {'Severity', 'ERROR', 'INFO', 'INTERNAL_ERROR', 'VERBOSE', 'WARNING'}
NOT_RECORDED = {'ILogger': _LEVELS, 'Logger': _LEVELS}


def public(kind):
    """Return the public names of a class."""
    return {name for name in vars(kind) if not name.startswith('_')}


def real_rtx():
    """Return the real TensorRT-RTX and its generation; the test is skipped without."""
    real = pytest.importorskip('tensorrt_rtx', reason='tensorrt_rtx is not installed')
    generation = 'rtx' + '.'.join(real.__version__.split('.')[:2])
    if generation not in GENERATIONS:
        pytest.skip(f'no double of tensorrt_rtx {real.__version__}')
    return real, generation


@pytest.mark.parametrize('generation', GENERATIONS)
def test_a_double_has_only_names_of_its_generation(generation):
    record, module = recorded_api()[generation], make_tensorrt(generation)
    for template, _ in TEMPLATES:
        name = template.__name__
        assert hasattr(module, name) == (name in record['classes'])
        if hasattr(module, name):
            extra = public(getattr(module, name)) - set(record['classes'][name])
            assert not extra - NOT_RECORDED.get(name, set()), name
    for name, one in record['enums'].items():
        kind = module.ILogger.Severity if name == 'Severity' else getattr(module, name)
        assert {key: int(value) for key, value in kind.__members__.items()} == one['members']


def stub_names():
    """Return the public names of every class in the stubs."""
    if not STUBS.is_file():
        pytest.skip('the stubs of TensorRT 10.x are not here (.venv/stubs); run: make env')
    names = {}
    for one in ast.parse(STUBS.read_text(encoding='utf-8')).body:
        if isinstance(one, ast.ClassDef):
            names[one.name] = {
                member.target.id if isinstance(member, ast.AnnAssign) else member.name
                for member in one.body
                if isinstance(member, (ast.AnnAssign, ast.FunctionDef, ast.ClassDef))
                and not isinstance(getattr(member, 'target', None), ast.Attribute)}
    return names


def test_the_double_of_10_13_has_only_what_the_stubs_have():
    stubs, module = stub_names(), make_tensorrt('10.13')
    # The stubs leave out what can only be written.
    write_only = {'Runtime': {'gpu_allocator'}, 'Builder': {'gpu_allocator'},
                  'IExecutionContext': {'device_memory'}}
    for template, _ in TEMPLATES:
        name = template.__name__
        if hasattr(module, name):
            missing = public(getattr(module, name)) - stubs[name] - write_only.get(name, set())
            assert not missing - NOT_RECORDED.get(name, set()), name
    for name, kind in vars(module).items():
        if isinstance(kind, type) and issubclass(kind, EnumMember):
            assert set(kind.__members__) <= stubs[name], name


def test_arguments_of_the_double_of_10_13_are_named_as_in_the_stubs():
    stub_names()
    classes = {one.name: one for one in ast.parse(STUBS.read_text(encoding='utf-8')).body
               if isinstance(one, ast.ClassDef)}
    module, compared = make_tensorrt('10.13'), 0
    for template, _ in TEMPLATES:
        name = template.__name__
        if not hasattr(module, name):
            continue
        for member in classes[name].body:
            own = vars(getattr(module, name)).get(getattr(member, 'name', ''))
            is_overload = any('overload' in ast.unparse(one)
                              for one in getattr(member, 'decorator_list', ()))
            if not isinstance(member, ast.FunctionDef) or not inspect.isfunction(own) or (
                    is_overload or member.name.startswith('_')):
                continue
            expected = [one.arg for one in member.args.args]
            found = list(inspect.signature(own).parameters)
            assert found == expected, f'{name}.{member.name}'
            compared += 1
    assert compared > 100


def test_the_double_of_rtx_has_only_what_the_real_one_has():
    real, generation = real_rtx()
    module = make_tensorrt(generation)
    assert module.__version__ == real.__version__
    for template, _ in TEMPLATES:
        name = template.__name__
        assert hasattr(module, name) == hasattr(real, name), name
        if hasattr(module, name):
            assert public(getattr(module, name)) <= set(dir(getattr(real, name))), name
    for name, kind in vars(module).items():
        if isinstance(kind, type) and issubclass(kind, EnumMember):
            members = {key: int(value) for key, value in kind.__members__.items()}
            assert members == {key: int(value) for key, value
                               in getattr(real, name).__members__.items()}, name


def test_the_pycuda_double_has_only_names_of_pycuda():
    record = json.loads((HERE / 'pycuda_api.json').read_text(encoding='utf-8'))
    module = make_pycuda(SimulatedGpu())
    known = {*record['functions'], *record['enums'], *record['classes'], *record['exceptions'],
             'HostAllocation'}
    assert {name for name in vars(module) if not name.startswith('_')} <= known
    for name, arguments in record['functions'].items():
        function = getattr(module, name, None)
        if function is not None:
            named = [one.name for one in inspect.signature(function).parameters.values()
                     if one.kind is not one.POSITIONAL_ONLY]
            assert named == arguments, name
    for name, one in record['classes'].items():
        kind = getattr(module, name)
        names = {key for part in kind.__mro__ for key in vars(part) if not key.startswith('_')}
        inherited = record['classes']['HostPointer'] if name.startswith('Page') else one
        assert names <= {*one['methods'], *inherited['methods'], 'owner'}, name
        for static in one['static']:
            assert not hasattr(kind, static) or callable(getattr(kind, static))
    for name, members in record['enums'].items():
        kind = getattr(pycuda_double, name)
        assert {key for key in dir(kind) if key.isupper()} <= set(members), name


# Behaviour ---------------------------------------------------------------------------------


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


@pytest.mark.parametrize('data', [b'', b'hello', b'hello world' * 9, b'D' + os.urandom(40)])
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
