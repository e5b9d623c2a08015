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

"""What the builder side of the TensorRT doubles does; its silences are those of the real one."""

import struct

from engine_bench import double_model
from engine_bench import make_log
import numpy as np
import pytest
from runtime_models import node
from runtime_models import save
from tensorrt_double import GENERATIONS
from tensorrt_double import make_tensorrt

WEAK = ('10.3', '10.13', '10.16')


class Build:
    """A parsed network and its configuration."""

    def __init__(self, path, generation='10.3', gpu=None, flags=0):
        self.trt = make_tensorrt(generation, gpu)
        self.log = make_log(self.trt)
        self.builder = self.trt.Builder(self.log)
        self.network = self.builder.create_network(flags)
        self.parser = self.trt.OnnxParser(self.network, self.log)
        assert self.parser.parse_from_file(str(path))
        self.config = self.builder.create_builder_config()

    def profile(self, low=(1, 4), best=(2, 4), high=(8, 4), name='x'):
        """Add a profile; return its index."""
        profile = self.builder.create_optimization_profile()
        profile.set_shape(name, low, best, high)
        return self.config.add_optimization_profile(profile)

    def run(self):
        """Build; return the plan or None."""
        return self.builder.build_serialized_network(self.network, self.config)


@pytest.fixture
def model(tmp_path):
    """Return y = 2 * x."""
    return double_model(tmp_path / 'model.onnx')


@pytest.mark.parametrize('generation', GENERATIONS)
def test_what_is_built_runs(gpu, cuda, model, generation):
    build = Build(model, generation, gpu)
    assert build.profile() == 0
    plan = build.run()
    assert plan is not None, build.log.errors()
    assert bytes(plan) != bytes(build.run())
    engine = build.trt.Runtime(build.log).deserialize_cuda_engine(plan)
    assert [tuple(one) for one in engine.get_tensor_profile_shape('x', 0)] == [
        (1, 4), (2, 4), (8, 4)]
    assert bytes(plan)[:4] == (b'vtrt' if generation.startswith('rtx') else b'ftrt')


@pytest.mark.parametrize('generation', WEAK)
def test_precision_flags_are_for_weakly_typed_networks(model, generation):
    trt = make_tensorrt(generation)
    strong = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    for flags, is_built in ((0, True), (strong, False)):
        build = Build(model, generation, flags=flags)
        build.profile()
        build.config.set_flag(build.trt.BuilderFlag.FP16)
        assert (build.run() is not None) == is_built
        assert ('kFP16' in build.log.errors()) != is_built


def test_the_flags_of_the_older_rtx_fail_every_build(model):
    build = Build(model, 'rtx1.4')
    build.profile()
    build.config.set_flag(build.trt.BuilderFlag.FP16)
    assert build.run() is None and '!config.getFlag(BuilderFlag::kFP16)' in build.log.errors()


def test_a_progress_monitor_hears_and_stops(model):
    build = Build(model)
    build.profile()
    trt = build.trt

    class Monitor(trt.IProgressMonitor):

        def __init__(self, steps):
            trt.IProgressMonitor.__init__(self)
            self.steps, self.heard = steps, []

        def phase_start(self, phase_name, parent_phase, num_steps):
            self.heard.append(('start', phase_name, parent_phase))

        def step_complete(self, phase_name, step):
            self.steps -= 1
            return self.steps > 0

        def phase_finish(self, phase_name):
            self.heard.append(('finish', phase_name))

    monitor = Monitor(100)
    build.config.progress_monitor = monitor
    assert build.run() is not None
    assert monitor.heard[0] == ('start', 'Building engine', None)
    assert monitor.heard[-1] == ('finish', 'Building engine')
    build.config.progress_monitor = Monitor(1)
    assert build.run() is None and 'Build canceled by user' in build.log.errors()


class TestCalibration:
    """The implicit INT8 calibration of TensorRT 10.x."""

    @pytest.fixture
    def build(self, gpu, cuda, tmp_path):
        """Return a network that calibrates with batches of two."""
        path = save(tmp_path / 'c.onnx', [node('Mul', ['x', 'two'], ['h']),
                                          node('Relu', ['h'], ['y'])],
                    {'x': ('FLOAT', [2, 4])}, {'y': ('FLOAT', [2, 4])},
                    {'two': np.array(2, np.float32)})
        made = Build(path, '10.3', gpu)
        made.config.set_flag(made.trt.BuilderFlag.INT8)
        return made

    def calibrator(self, build, cuda, batches, cache=None, kind='IInt8EntropyCalibrator2'):
        """Return a calibrator over batches; an exception among them is raised."""
        base = getattr(build.trt, kind)
        waiting = list(batches)

        class Calibrator(base):

            def __init__(self):
                base.__init__(self)
                self.memory = cuda.mem_alloc(32)
                self.names, self.written, self.view = [], None, None

            def get_batch_size(self):
                return 2

            def get_batch(self, names):
                self.names.append(names)
                if not waiting:
                    return None
                batch = waiting.pop(0)
                if isinstance(batch, Exception):
                    raise batch
                cuda.memcpy_htod(self.memory, np.full((2, 4), batch, np.float32))
                return [int(self.memory)]

            def read_calibration_cache(self):
                return cache

            def write_calibration_cache(self, cache):
                self.written, self.view = bytes(cache), cache

        made = Calibrator()
        build.config.int8_calibrator = made
        return made

    def test_batches_are_pulled_until_there_are_none(self, build, cuda):
        calibrator = self.calibrator(build, cuda, [1, -3])
        assert build.run() is not None
        assert calibrator.names == [['x']] * 3
        lines = calibrator.written.decode().splitlines()
        assert lines[0] == 'TRT-100300-EntropyCalibration2'
        scales = {name: struct.unpack('>f', bytes.fromhex(text))[0]
                  for name, text in (line.rsplit(': ', 1) for line in lines[1:])}
        assert scales == pytest.approx({'x': 3 / 127, 'h': 6 / 127, 'y': 2 / 127})
        # The memory was TensorRT's.
        assert bytes(calibrator.view) != calibrator.written

    def test_an_exception_is_the_end_of_the_data(self, build, cuda, capfd):
        calibrator = self.calibrator(build, cuda, [1, ValueError('lost'), 5])
        assert build.run() is not None
        assert len(calibrator.names) == 2
        assert '[ERROR] Exception caught in get_batch(): ValueError: lost' in (
            capfd.readouterr().err)

    def test_no_data_is_no_engine(self, build, cuda):
        calibrator = self.calibrator(build, cuda, [])
        assert build.run() is None and 'no scaling factors' in build.log.errors()
        assert calibrator.written is None

    def test_a_good_cache_pulls_no_batch(self, build, cuda):
        cache = b'TRT-100300-EntropyCalibration2\nx: 3c010a14\n'
        calibrator = self.calibrator(build, cuda, [1], cache)
        assert build.run() is not None
        assert not calibrator.names and calibrator.written is None

    @pytest.mark.parametrize('cache', [b'TRT-8601-EntropyCalibration2\nx: 3c010a14\n',
                                       b'TRT-100300-MinMaxCalibration\nx: 3c010a14\n', b''])
    def test_another_header_recalibrates(self, build, cuda, cache):
        calibrator = self.calibrator(build, cuda, [1], cache)
        assert build.run() is not None
        assert 'does not match calibrator algorithm type' in build.log.errors()
        assert len(calibrator.names) == 2

    def test_it_must_be_one(self, build):
        with pytest.raises(TypeError):
            build.config.int8_calibrator = object()


def test_without_a_calibrator_int8_only_warns(model):
    build = Build(model)
    build.profile()
    build.config.set_flag(build.trt.BuilderFlag.INT8)
    assert build.run() is not None
    assert any('Calibrator is not being used' in text for _, text in build.log.heard)


def test_parsers_that_crash_the_real_library_are_recorded(gpu, model):
    trt = make_tensorrt('10.3', gpu)
    log = make_log(trt)
    builder = trt.Builder(log)
    parser = trt.OnnxParser(builder.create_network(0), log)
    assert not parser.parse_from_file(str(model))
    assert 'a network that was freed' in gpu.violations.pop()
    network = builder.create_network(0)
    parsers = [trt.OnnxParser(network, log) for _ in range(2)]
    assert parsers[1].parse_from_file(str(model))
    assert 'a second parser' in gpu.violations.pop()
