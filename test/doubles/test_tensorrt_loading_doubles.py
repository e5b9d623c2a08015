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

"""How the TensorRT doubles load a plan, or do not, and what they say."""

from engine_bench import double_model
from engine_bench import load
from engine_bench import make_log
from engine_bench import make_recorder
from engine_bench import RANGE
import pytest
from tensorrt_double import GENERATIONS
from tensorrt_double import make_tensorrt
from trt_plan import make_plan


def test_what_a_generation_has_not_is_not_there():
    modules = {name: make_tensorrt(name) for name in GENERATIONS}
    assert hasattr(modules['10.3'].BuilderFlag, 'FP16')
    assert not hasattr(modules['11.1'].BuilderFlag, 'FP16')
    assert hasattr(modules['rtx1.4'].BuilderFlag, 'FP16')
    assert not hasattr(modules['rtx1.4'].IBuilderConfig, 'int8_calibrator')
    assert not hasattr(modules['rtx1.7'].BuilderFlag, 'FP16')
    assert not hasattr(modules['10.3'], 'IStreamReaderV2')
    assert not hasattr(modules['10.3'].ICudaEngine, 'create_runtime_config')
    assert hasattr(modules['10.3'].ICudaEngine, 'device_memory_size')
    assert not hasattr(modules['11.1'].ICudaEngine, 'device_memory_size')
    assert not hasattr(modules['11.1'], 'IInt8EntropyCalibrator2')
    assert not hasattr(modules['10.13'].ICudaEngine, 'get_engine_stat')
    assert hasattr(modules['10.16'].ICudaEngine, 'get_engine_stat')
    flag = 'NetworkDefinitionCreationFlag'
    assert int(getattr(modules['10.3'], flag).STRONGLY_TYPED) == 1
    assert int(getattr(modules['11.1'], flag).STRONGLY_TYPED) == 0
    assert not hasattr(getattr(modules['11.1'], flag), 'EXPLICIT_BATCH')


def spoil(plan, at, value):
    """Return a plan with one byte changed."""
    return plan[:at] + bytes([value]) + plan[at + 1:]


@pytest.mark.parametrize('spoiled, expected', [
    (lambda plan: b'', 'empty memory buffer'),
    (lambda plan: b'junk', 'minBufferSize'),
    (lambda plan: b'junk' * 50, 'magicTag'),
    (lambda plan: plan[:-9], 'plan.header.size == blobSize'),
    (lambda plan: spoil(plan, 25, 9), 'expecting library version 10.3.0.26 got 10.9.0.26'),
])
def test_a_plan_that_cannot_be_loaded_gives_none_and_a_reason(gpu, cuda, tmp_path, spoiled,
                                                              expected):
    trt = make_tensorrt('10.3', gpu)
    log, recorder = make_log(trt), make_recorder(trt)
    plan = spoiled(make_plan(double_model(tmp_path / 'm.onnx'), profiles=[RANGE]))
    assert load(gpu, trt, log, plan) is None
    assert expected in log.errors()
    # With a recorder the logger hears nothing.
    assert load(gpu, trt, log, plan, recorder) is None
    assert expected in recorder.heard[0][1] and not log.errors()


@pytest.mark.parametrize('claims, settings, expected', [
    ({'sm': '86'}, {}, 'incompatible device, expecting compute 8.7 got compute 8.6'),
    ({'sm': '86', 'is_hardware_compatible': True}, {}, None),
    ({'carries_host_code': True}, {}, 'engineHostCodeAllowed'),
    ({'carries_host_code': True}, {'engine_host_code_allowed': True}, None),
    ({'weights_bytes': 9 << 30}, {}, f'Requested size was {9 << 30} bytes'),
])
def test_a_plan_of_another_machine_is_refused(gpu, cuda, tmp_path, claims, settings, expected):
    trt = make_tensorrt('10.3', gpu)
    log = make_log(trt)
    plan = make_plan(double_model(tmp_path / 'm.onnx'), profiles=[RANGE], **claims)
    engine = load(gpu, trt, log, plan, **settings)
    assert (engine is None) == (expected is not None)
    assert (expected or '') in log.errors()


def test_another_model_of_the_same_sm_only_warns(gpu, cuda, tmp_path):
    trt = make_tensorrt('10.3', gpu)
    log = make_log(trt)
    plan = make_plan(double_model(tmp_path / 'm.onnx'), profiles=[RANGE], device_name='Other')
    assert load(gpu, trt, log, plan) is not None
    assert any(severity == 2 and 'different models of devices' in text
               for severity, text in log.heard)


def test_a_thread_without_a_context_takes_the_primary_one_for_good(gpu, tmp_path):
    trt = make_tensorrt('10.3', gpu)
    plan = make_plan(double_model(tmp_path / 'm.onnx'), profiles=[RANGE])
    assert load(gpu, trt, make_log(trt), plan) is not None
    assert gpu.implicit_retains == 1
    with pytest.raises(AssertionError, match='because no context was current'):
        gpu.assert_released()
