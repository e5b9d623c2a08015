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

"""Flags choose the precision on TensorRT 10.x: which are set, what stays, and what calibrates."""

from dataclasses import replace

from builder_models import request
from builder_models import ROOT
from builder_models import save
from c7_inference_ros.engines.building.builder import BuildRequest
from c7_inference_ros.engines.building.direct_builder import DirectBuilder
from c7_inference_ros.engines.tensorrt_api import TensorrtApi
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineBuildError
import fake_builder
import numpy as np
import pytest

FP16, INT8, MIXED = PrecisionMode.FP16, PrecisionMode.INT8, PrecisionMode.MIXED
RANGE = OptimizationProfile('batch', {'x': ((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8))})


@pytest.fixture
def builder():
    fake_builder.Builder.last = None
    return DirectBuilder(TensorrtApi('tensorrt', fake_builder))


@pytest.fixture
def model(tmp_path):
    onnx = pytest.importorskip('onnx', reason='onnx is not installed; run: make env')
    path = save(tmp_path / 'model.onnx', [('Conv', ['x', 'w'], ['c']), ('Softmax', ['c'], ['y'])],
                {'x': ('FLOAT', ['N', 3, 8, 8])}, {'y': ('FLOAT', ['N', 3, 8, 8])},
                {'w': np.ones((3, 3, 1, 1), np.float32)})
    made = onnx.load(str(path))
    made.graph.node[0].name, made.graph.node[1].name = '/conv', '/softmax'
    onnx.save(made, str(path))
    return path


def build(builder, path, precision, **settings):
    more = {name: settings.pop(name) for name in ('calibrator', 'host') if name in settings}
    wanted = request(path, precision, is_strongly_typed=False, profiles=(RANGE,), **settings)
    return builder.build(replace(wanted, **more) if more else wanted)


def flags():
    return {flag.name for flag in fake_builder.Builder.last[1].flags}


@pytest.mark.parametrize('precision, expected', [
    (PrecisionMode.FP32, set()), (FP16, {'FP16'}), (MIXED, {'FP16'})],
    ids=['fp32', 'fp16', 'mixed'])
def test_flags_by_precision(builder, model, precision, expected):
    built = build(builder, model, precision)
    assert flags() == expected
    assert built.settings['flags'] == sorted(expected)
    assert built.settings['is_strongly_typed'] is False and not built.settings['is_tf32_allowed']
    network, config = fake_builder.Builder.last
    assert network.flags == 1 << fake_builder.NetworkDefinitionCreationFlag.EXPLICIT_BATCH
    assert [one.shapes for one in config.profiles] == [RANGE.shapes]
    assert network.error_recorder is None
    assert (built.package, built.version, built.branch) == ('tensorrt', '10.3.0', 'direct')
    # Measured by loading it once, as this machine can; weights are not told before 10.14.
    assert built.context_bytes == (1000,) and built.weights_bytes is None
    assert built.inputs[0].max_shape == (4, 3, 8, 8)


def test_strong_types_set_no_flags(builder, model):
    with pytest.raises(EngineBuildError, match='with strong types, but has no float16 tensor'):
        builder.build(request(model, FP16, profiles=(RANGE,)))
    builder.build(request(model, profiles=(RANGE,), is_tf32_allowed=True))
    assert flags() == {'TF32'}
    assert fake_builder.Builder.last[0].flags == 3


def test_named_layers_stay_in_float32(builder, model):
    built = build(builder, model, MIXED, high_precision_nodes=('Softmax',))
    network, _ = fake_builder.Builder.last
    assert flags() == {'FP16', 'OBEY_PRECISION_CONSTRAINTS'}
    kept = {layer.name: (layer.precision, layer.output_types) for layer in network.layers
            if layer.precision is not None}
    single = fake_builder.DataType.FLOAT
    assert kept == {'/softmax': (single, {0: single})}
    assert built.settings['layers_kept_in_float32'] == 1
    build(builder, model, MIXED, high_precision_nodes=('/*',))
    # Not the constant and not the integers.
    assert [layer.name for layer in fake_builder.Builder.last[0].layers if layer.precision
            is not None] == ['/conv', '/softmax']
    with pytest.raises(EngineBuildError, match="'/sofmax', which fits no node.*near are /softmax"):
        build(builder, model, MIXED, high_precision_nodes=('/sofmax',))


class Calibrator:
    """Gives two batches."""

    batches = 2

    def get_batch(self, names):
        self.batches -= 1
        return [1] if self.batches >= 0 else None


def test_int8_is_calibrated_at_the_first_profile(builder, model):
    calibrator = Calibrator()
    build(builder, model, INT8, calibrator=calibrator)
    config = fake_builder.Builder.last[1]
    assert flags() == {'INT8', 'FP16'}
    assert config.int8_calibrator is calibrator and calibrator.batches < 0
    assert config.calibration_profile.shapes == RANGE.shapes
    # A profile of its own, not one that the engine has.
    assert all(config.calibration_profile is not one for one in config.profiles)


def test_int8_without_ranges_is_refused(builder, model):
    with pytest.raises(ConfigurationError, match='no QuantizeLinear nodes and the request no'):
        build(builder, model, INT8)
    assert fake_builder.Builder.last is None


def test_a_quantised_model_needs_no_calibrator(builder, tmp_path):
    path = save(
        tmp_path / 'quantised.onnx',
        [('QuantizeLinear', ['x', 's', 'z'], ['q']), ('DequantizeLinear', ['q', 's', 'z'], ['y'])],
        {'x': ('FLOAT', ['N', 3, 8, 8])}, {'y': ('FLOAT', ['N', 3, 8, 8])},
        {'s': np.float32(0.1), 'z': np.int8(0)})
    build(builder, path, INT8)
    assert flags() == {'INT8', 'FP16'}
    assert fake_builder.Builder.last[1].int8_calibrator is None


def test_timings_are_kept(builder, model, tmp_path):
    kept = tmp_path / 'timings'
    host = HostTuple('87', '36.4.3', 'tensorrt', '10.3.0', 'Orin Nano')
    states = [build(builder, model, FP16, timing_cache=kept, host=host).settings['timing_cache']
              for _ in range(2)]
    assert states == ['new', 'used']
    assert kept.read_bytes() == b'timings;timings;'
    assert 'sm87 36.4.3 Orin Nano' in (tmp_path / 'timings.json').read_text()


def test_hardware_compatibility_is_none_unless_asked_for(builder, model):
    level = fake_builder.HardwareCompatibilityLevel
    assert build(builder, model, FP16).hardware_compatibility == 'none'
    assert fake_builder.Builder.last[1].hardware_compatibility_level == level.NONE
    extras = {'hardware_compatibility': 'ampere_plus'}
    assert build(builder, model, FP16, extras=extras).hardware_compatibility == 'ampere_plus'
    assert fake_builder.Builder.last[1].hardware_compatibility_level == level.AMPERE_PLUS
    # It came with 10.9.
    with pytest.raises(ConfigurationError, match='this version does not have it'):
        build(builder, model, FP16, extras={'hardware_compatibility': 'same_compute_capability'})


def test_what_the_package_can_is_known_beforehand(builder):
    assert builder.has_weak_typing and builder.has_implicit_calibration
    assert (builder.name, builder.package, builder.version) == ('direct', 'tensorrt', '10.3.0')
    assert BuildRequest(ROOT, 'model', request(ROOT).config).is_strongly_typed
