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
What TensorRT does not say, seen on the real library, and that it is said here.

Each test first shows the silence. When a later version speaks up, its test fails and the check
that it is for can be thought over.
"""

from pathlib import Path
import signal
import subprocess
import sys

from builder_models import PERSON
from builder_models import request
from builder_models import ROOT
from builder_models import rtx
from builder_models import save
from builder_models import sum_model
from c7_inference_ros.engines.building.bindings_build import check_plan
from c7_inference_ros.engines.building.bindings_build import view_of
from c7_inference_ros.engines.building.builder_settings import precision_flags
from c7_inference_ros.engines.building.direct_builder import DirectBuilder
from c7_inference_ros.engines.building.network import add_profiles
from c7_inference_ros.engines.building.network import parse_network
from c7_inference_ros.engines.building.timing_cache import TimingCacheFile
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineBuildError
import numpy as np
import pytest

pytestmark = pytest.mark.builder
FP32 = PrecisionMode.FP32


@pytest.fixture(scope='module')
def api():
    return rtx()


@pytest.fixture
def builder(api):
    return api.trt.Builder(api.log.logger)


def parse(api, builder, data):
    network = builder.create_network(0)
    parser = api.trt.OnnxParser(network, api.log.logger)
    return parser.parse(data), parser, network


@pytest.mark.parametrize('data', [b'hello', b''], ids=['text', 'nothing'])
def test_the_parser_takes_what_is_no_model(api, builder, data, tmp_path):
    is_parsed, parser, network = parse(api, builder, data)
    assert is_parsed is True
    assert parser.num_errors == network.num_layers == network.num_inputs == 0
    path = tmp_path / 'model.onnx'
    path.write_bytes(data)
    with pytest.raises(EngineBuildError, match='text file|is empty'):
        DirectBuilder(api).build(request(path))


def test_a_cut_model_is_refused_by_name(api, builder, tmp_path):
    data = PERSON.read_bytes()[:100_000]
    assert parse(api, builder, data)[0] is False
    path = tmp_path / 'cut.onnx'
    path.write_bytes(data)
    with pytest.raises(EngineBuildError, match=r'cut\.onnx is truncated'):
        DirectBuilder(api).build(request(path))


def test_a_network_without_layers_is_no_engine(api, builder, tmp_path, monkeypatch):
    """What the scan lets through, the counts do not."""
    path = sum_model(tmp_path / 'sum.onnx')
    monkeypatch.setattr('c7_inference_ros.engines.building.network.read_onnx', lambda _: b'hello')
    with pytest.raises(EngineBuildError, match='num_layers = 0, expected 1 or more'):
        parse_network(api, builder, request(path))


def failing_build(api, builder, tmp_path, recorder):
    """Build x + y of lengths that cannot be added; return what came and what was logged."""
    logged = []

    class Logger(api.trt.ILogger):

        def __init__(self):
            api.trt.ILogger.__init__(self)

        def log(self, severity, message):
            if int(severity) <= 1:
                logged.append(message)

    path = sum_model(tmp_path / 'sum.onnx')
    logger = Logger()
    own = api.trt.Builder(logger)
    network = own.create_network(0)
    parser = api.trt.OnnxParser(network, logger)
    assert parser.parse(path.read_bytes())
    config = own.create_builder_config()
    profile = own.create_optimization_profile()
    profile.set_shape('x', (2,), (2,), (2,))
    profile.set_shape('y', (3,), (3,), (3,))
    assert config.add_optimization_profile(profile) == 0
    if recorder is not None:
        own.error_recorder = recorder
        network.error_recorder = recorder
    try:
        return own.build_serialized_network(network, config), logged
    finally:
        if recorder is not None:
            own.error_recorder = network.error_recorder = None


def test_a_failed_build_is_none_and_its_reason_may_be_in_two_places(api, builder, tmp_path):
    with api.log.capture() as said:
        assert failing_build(api, builder, tmp_path, api.log.recorder)[0] is None
    assert 'broadcast dimensions must be conformable' in said.reason()
    plan, logged = failing_build(api, builder, tmp_path, None)
    assert plan is None
    shapes = {'x': ((2,),) * 3, 'y': ((3,),) * 3}
    with pytest.raises(EngineBuildError, match='broadcast dimensions must be conformable') as info:
        DirectBuilder(api).build(request(
            tmp_path / 'sum.onnx', profiles=(OptimizationProfile('p', shapes),)))
    text = str(info.value)
    assert text.startswith('sum.onnx could not be built as fp32 by tensorrt_rtx')
    assert '(direct)' in text
    assert 'catchCudaError' not in text and '\n' not in text


def test_no_profile_is_no_engine(api, builder, tmp_path):
    _, parser, network = parse(api, builder, sum_model(tmp_path / 'sum.onnx').read_bytes())
    with api.log.capture() as said:
        assert builder.build_serialized_network(network, builder.create_builder_config()) is None
    assert 'no optimization profile has been defined' in said.reason()
    built = DirectBuilder(api).build(request(tmp_path / 'sum.onnx'))
    assert built.profiles[0].shapes == {'x': ((1,),) * 3, 'y': ((1,),) * 3}


def test_a_bad_profile_is_minus_one(api, builder, tmp_path):
    path = sum_model(tmp_path / 'sum.onnx')
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    profile.set_shape('x', (4,), (2,), (1,))
    assert not profile
    assert config.add_optimization_profile(profile) == -1
    wrong = OptimizationProfile('wrong', {'x': ((4,), (2,), (1,)), 'y': ((1,),) * 3})
    with pytest.raises(EngineBuildError, match='minimum 4, optimum 2 and maximum 1'):
        DirectBuilder(api).build(request(path, profiles=(wrong,)))
    # And should ours miss something that TensorRT does not:
    parsed = parse_network(api, builder, request(path))
    with pytest.raises(EngineBuildError, match=r"refuses the profile 'wrong' \(x \[\[4\], \[2\]"):
        add_profiles(builder, config, parsed, 'sum', [wrong])


def test_junk_is_no_engine(api):
    junk = b'junk' * 100
    with api.log.capture() as said:
        assert api.trt.Runtime(api.log.logger).deserialize_cuda_engine(junk) is None
    assert 'magic' in said.reason().lower()
    with pytest.raises(EngineBuildError, match='wrote no engine.*junk'):
        check_plan(junk, api.package, api.version, 'model')


def test_a_cut_or_foreign_plan_is_refused(api):
    built = DirectBuilder(api).build(request(PERSON))
    check_plan(built.plan, api.package, api.version, 'model')
    with pytest.raises(EngineBuildError, match='was not written whole'):
        check_plan(built.plan[:-1], api.package, api.version, 'model')
    with pytest.raises(EngineBuildError, match='was written by tensorrt_rtx.*of different versio'):
        check_plan(built.plan, api.package, '1.2.3.4', 'model')


def test_any_bytes_are_a_timing_cache(api, builder, tmp_path):
    config = builder.create_builder_config()
    with api.log.capture():
        assert config.create_timing_cache(b'garbage') is not None
    file = TimingCacheFile(tmp_path / 'timings', 'this machine')
    (tmp_path / 'timings').write_bytes(b'garbage')
    found = file.load()
    assert found.data == b''
    assert 'has no timings.json that vouches for it' in found.state


def test_a_level_is_clamped(api, builder):
    config = builder.create_builder_config()
    config.builder_optimization_level = 6
    assert config.builder_optimization_level == 5
    with pytest.raises(EngineBuildError, match='optimization_level 6 was set, but .* took 5'):
        DirectBuilder(api).build(request(PERSON, optimization_level=6))


def test_a_flag_that_is_there_proves_nothing(api, builder):
    assert not api.has_weak_typing
    if hasattr(api.trt.BuilderFlag, 'FP16'):
        # TensorRT-RTX 1.4
        _, parser, network = parse(api, builder, PERSON.read_bytes())
        config = builder.create_builder_config()
        config.set_flag(api.trt.BuilderFlag.FP16)
        with api.log.capture() as said:
            assert builder.build_serialized_network(network, config) is None
        assert 'kFP16' in said.reason()
    with pytest.raises(ConfigurationError, match='takes the precision from the types of the ONNX'):
        precision_flags(api, request(PERSON, PrecisionMode.FP16, is_strongly_typed=False))


def test_a_precision_that_is_not_in_the_types_is_refused(api, tmp_path):
    """The builder makes a float32 engine of it and says nothing."""
    for precision, what in ((PrecisionMode.FP16, 'no float16 tensor'),
                            (PrecisionMode.MIXED, 'no float16 tensor'),
                            (PrecisionMode.INT8, 'no QuantizeLinear')):
        with pytest.raises(EngineBuildError, match=what):
            DirectBuilder(api).build(request(PERSON, precision))
    half = save(tmp_path / 'half.onnx', [('Relu', ['x'], ['y'])], {'x': ('FLOAT16', [4])},
                {'y': ('FLOAT16', [4])})
    with pytest.raises(EngineBuildError, match='as fp32, but computes in float16'):
        DirectBuilder(api).build(request(half))


def test_what_a_monitor_raises_is_lost(api, builder, capfd):
    class Monitor(api.trt.IProgressMonitor):

        def __init__(self):
            api.trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name, parent_phase, num_steps):
            pass

        def step_complete(self, phase_name, step):
            raise KeyError('nobody hears this')

        def phase_finish(self, phase_name):
            pass

    _, parser, network = parse(api, builder, PERSON.read_bytes())
    config = builder.create_builder_config()
    monitor = Monitor()
    config.progress_monitor = monitor
    with api.log.capture() as said:
        assert builder.build_serialized_network(network, config) is None
    assert 'nobody hears this' not in said.reason()
    capfd.readouterr()

    def on_progress(phase, step, total):
        raise KeyError('somebody does')

    with pytest.raises(KeyError, match='somebody does'):
        DirectBuilder(api).build(request(PERSON, on_progress=on_progress))
    assert 'Exception caught' not in capfd.readouterr().err


def test_the_memory_of_a_plan_claims_to_be_floats(api, builder):
    _, parser, network = parse(api, builder, PERSON.read_bytes())
    memory = builder.build_serialized_network(network, builder.create_builder_config())
    raw = memoryview(memory)
    assert (raw.format, raw.itemsize) == ('f', 1)
    plan = view_of(memory)
    size = memory.nbytes
    del raw, memory
    assert (plan.format, plan.nbytes, plan.readonly) == ('B', size, True)
    assert bytes(plan[:4]) == b'vtrt'
    assert np.frombuffer(plan, np.uint8).size == size


_RECORDER = """
import sys
from c7_inference_ros.engines.tensorrt_api import load_tensorrt
api = load_tensorrt('tensorrt_rtx')
builder = api.trt.Builder(api.log.logger)
network = builder.create_network(0)
if sys.argv[1] == 'early':
    network.error_recorder = api.log.recorder
parser = api.trt.OnnxParser(network, api.log.logger)
if sys.argv[1] == 'late':
    builder.error_recorder = network.error_recorder = api.log.recorder
del parser
del network
del builder
print('alive')
"""


def test_a_parser_of_a_network_with_a_recorder_crashes(api):
    """So the recorder is set when the parser has been made: see parse_network."""
    def run(when):
        return subprocess.run([sys.executable, '-c', _RECORDER, when], cwd=ROOT, check=False,
                              capture_output=True, text=True)

    assert run('early').returncode == -signal.SIGSEGV
    late = run('late')
    assert (late.returncode, late.stdout) == (0, 'alive\n'), late.stderr


def test_many_builds_and_failures_leave_the_process_alive(api, tmp_path):
    """With the recorder, and with everything freed in between."""
    path = sum_model(tmp_path / 'sum.onnx')
    wrong = OptimizationProfile('wrong', {'x': ((2,),) * 3, 'y': ((3,),) * 3})
    for _ in range(5):
        assert DirectBuilder(api).build(request(path)).plan.nbytes > 1000
        with pytest.raises(EngineBuildError, match='conformable'):
            DirectBuilder(api).build(request(path, profiles=(wrong,)))
    assert Path(path).is_file()
