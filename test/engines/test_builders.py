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

"""Real engines of real models, through both branches with bindings, on a CPU."""

import importlib.util
import os
import signal
import threading

from builder_models import DEIM_BATCH
from builder_models import PERSON
from builder_models import request
from builder_models import reshape_model
from builder_models import ROOT
from builder_models import rtx
from builder_models import save
from builder_models import shared_model
from c7_inference_ros.engines.building.branches import choose_branch
from c7_inference_ros.engines.building.builder import EngineBuilder
from c7_inference_ros.engines.building.direct_builder import DirectBuilder
from c7_inference_ros.engines.building.onnx_conversion import convert_to_half
from c7_inference_ros.engines.building.polygraphy_builder import import_polygraphy
from c7_inference_ros.engines.building.polygraphy_builder import PolygraphyBuilder
from c7_inference_ros.engines.trust.plan_header import parse_plan_header
from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.model_files.onnx_file import scan_onnx
from engine_models import quantised_model
import pytest

pytestmark = pytest.mark.builder
FP16, MIXED = PrecisionMode.FP16, PrecisionMode.MIXED


@pytest.fixture(scope='module')
def api():
    return rtx()


@pytest.fixture(scope='module')
def polygraphy(api):
    # Not importorskip: the first import decides for which package it is.
    if importlib.util.find_spec('polygraphy') is None:
        pytest.skip('polygraphy is not installed; run: make env')
    return PolygraphyBuilder(api)


def path_of(name):
    return PERSON if name == 'person_ssdlite.onnx' else shared_model(name)


@pytest.mark.parametrize('name, profiles, inputs, outputs', [
    ('yolox_nano.onnx', (), {'images': (1, 3, 416, 416)}, {'output': (1, 3549, 85)}),
    ('deimv2_hgnetv2_atto_coco.onnx', (DEIM_BATCH,),
     {'images': (4, 3, 320, 320), 'orig_target_sizes': (4, 2)},
     {'labels': (4, 300), 'boxes': (4, 300, 4), 'scores': (4, 300)}),
    ('person_ssdlite.onnx', (), {'images': (1, 3, 300, 300)},
     {'boxes': (1, 1917, 4), 'scores': (1, 1917, 1)})], ids=['yolox', 'deimv2', 'person'])
def test_the_branches_agree(api, polygraphy, capfd, name, profiles, inputs, outputs):
    wanted = request(path_of(name), profiles=profiles, workspace_bytes=77 << 20,
                     optimization_level=1)
    capfd.readouterr()
    direct, other = DirectBuilder(api).build(wanted), polygraphy.build(wanted)
    assert capfd.readouterr() == ('', '')
    for built in (direct, other):
        assert {spec.name: spec.max_shape for spec in built.inputs} == inputs
        assert {spec.name: spec.max_shape for spec in built.outputs} == outputs
        assert all(spec.max_bytes for spec in (*built.inputs, *built.outputs))
        header = parse_plan_header(built.plan)
        assert header.total_bytes == built.plan.nbytes > 1_000_000
        assert header.is_version(built.version)
        assert built.settings['is_tf32_allowed'] is False
        assert built.settings['workspace_bytes'] == 77 << 20
        assert built.settings['optimization_level'] == 1
        assert built.tensor_types['float32'] > 200 and 'float16' not in built.tensor_types
        assert built.context_bytes == (None,) and built.seconds > 0
    assert direct.inputs == other.inputs and direct.outputs == other.outputs
    assert direct.profiles == other.profiles and direct.tensor_types == other.tensor_types
    assert len(direct.profiles) == len(profiles)
    assert abs(direct.plan.nbytes - other.plan.nbytes) < 4096
    same = ('is_tf32_allowed', 'workspace_bytes', 'optimization_level', 'profiling_verbosity',
            'flags', 'is_strongly_typed', 'hardware_compatibility')
    assert [direct.settings[key] for key in same] == [other.settings[key] for key in same]


def test_tf32_is_what_was_asked_for(api, polygraphy):
    wanted = request(PERSON, is_tf32_allowed=True)
    for builder in (DirectBuilder(api), polygraphy):
        assert builder.build(wanted).settings['is_tf32_allowed'] is True


@pytest.mark.parametrize('name, profiles', [
    ('yolox_nano.onnx', ()), ('deimv2_hgnetv2_atto_coco.onnx', (DEIM_BATCH,)),
    ('person_ssdlite.onnx', ())], ids=['yolox', 'deimv2', 'person'])
def test_float16_through_a_converted_model(api, tmp_path, name, profiles):
    path = path_of(name)
    half = convert_to_half(path, tmp_path / 'half.onnx')
    built = DirectBuilder(api).build(request(half.path, FP16, profiles=profiles))
    assert built.tensor_types['float16'] > built.tensor_types['float32'] > 0
    # Inputs and outputs stay what they were, so that nobody has to know.
    declared = scan_onnx(path, path.read_bytes())
    assert [(spec.name, spec.dtype) for spec in (*built.inputs, *built.outputs)] == [
        (spec.name, spec.dtype) for spec in (*declared.inputs, *declared.outputs)]
    assert parse_plan_header(built.plan).is_version(api.version)


def test_mixed_keeps_what_is_named(api, polygraphy, tmp_path):
    path = shared_model('yolox_nano.onnx')
    half = convert_to_half(path, tmp_path / 'half.onnx')
    mixed = convert_to_half(path, tmp_path / 'mixed.onnx', ('Conv_3*', 'Sigmoid'))
    assert set(half.kept) < set(mixed.kept)
    types = [builder.build(request(one.path, MIXED)).tensor_types
             for one in (half, mixed) for builder in (DirectBuilder(api), polygraphy)]
    assert types[0] == types[1] and types[2] == types[3]
    assert types[2]['float32'] > types[0]['float32'] + 100
    assert types[2]['float16'] > 50


def test_int8_is_in_the_model(api, polygraphy, tmp_path):
    path = quantised_model(tmp_path / 'quantised.onnx')
    for builder in (DirectBuilder(api), polygraphy):
        if api.numbers < (1, 7):
            # TensorRT-RTX 1.4 has no kernel for it; that is told, and not a float32 engine built.
            with pytest.raises(EngineBuildError, match='could not be built as int8') as info:
                builder.build(request(path, PrecisionMode.INT8))
            assert 'no reason' not in str(info.value)
            continue
        built = builder.build(request(path, PrecisionMode.INT8))
        assert built.tensor_types['int8'] >= 1
        assert built.plan.nbytes > 1000


def test_the_reason_names_the_node(api, polygraphy):
    path = shared_model('pedestrian_ssdlite_tfod_nms.onnx')
    for builder in (DirectBuilder(api), polygraphy):
        with pytest.raises(EngineBuildError, match=r'node generic_loop_Loop__41 \(Loop\): '
                                                   r'Assertion failed.*no trip limit') as info:
            builder.build(request(path))
        text = str(info.value)
        assert text.startswith('pedestrian_ssdlite_tfod_nms.onnx cannot be built by tensorrt_rtx')
        assert text.endswith('or run it with runtime onnx_trt_ep')
        assert '\n' not in text and len(text) < 700


def test_operators_that_are_missing_are_named_all(api, tmp_path):
    path = save(tmp_path / 'odd.onnx', [
        ('StringNormalizer', ['x'], ['a']), ('Relu', ['b'], ['c']), ('Multinomial', ['c'], ['y'])],
        {'x': ('STRING', [1]), 'b': ('FLOAT', [1, 4])}, {'y': ('INT32', [1, 1])})
    with pytest.raises(EngineBuildError):
        DirectBuilder(api).build(request(path))
    path = save(tmp_path / 'multinomial.onnx', [
        ('Relu', ['b'], ['c']), ('Multinomial', ['c'], ['y']), ('Det', ['m'], ['d'])],
        {'b': ('FLOAT', [1, 4]), 'm': ('FLOAT', [2, 2])},
        {'y': ('INT32', [1, 1]), 'd': ('FLOAT', [])})
    with pytest.raises(EngineBuildError, match='does not have the operators Det, Multinomial'):
        DirectBuilder(api).build(request(path))


def test_several_profiles_keep_their_order_and_names(api, polygraphy, tmp_path):
    path = save(tmp_path / 'open.onnx', [('Relu', ['x'], ['y'])],
                {'x': ('FLOAT', ['N', 3, 'H', 'W'])}, {'y': ('FLOAT', ['N', 3, 'H', 'W'])})
    small = OptimizationProfile('small', {'x': ((1, 3, 32, 32), (1, 3, 64, 64), (1, 3, 64, 96))})
    large = OptimizationProfile('large', {'x': ((1, 3, 96, 96), (2, 3, 96, 96), (8, 3, 96, 96))})
    for builder in (DirectBuilder(api), polygraphy):
        built = builder.build(request(path, profiles=(small, large)))
        assert built.profiles == (small, large)
        assert built.inputs[0].max_shape == (8, 3, 96, 96)
        assert built.outputs[0].max_shape == (8, 3, 96, 96)
        assert built.context_bytes == (None, None)
    with pytest.raises(EngineBuildError, match='leaves dimensions 2, 3 of the input'):
        DirectBuilder(api).build(request(path))


def test_shapes_that_an_input_says(api, tmp_path):
    path = reshape_model(tmp_path / 'reshape.onnx')
    ranges = OptimizationProfile('p', {'x': ((1, 12), (2, 12), (4, 12)),
                                       's': ((1, 6), (2, 12), (8, 12))})
    built = DirectBuilder(api).build(request(path, profiles=(ranges,)))
    assert built.profiles == (ranges,)
    assert built.outputs[0].max_shape == (-1, -1)
    with pytest.raises(EngineBuildError, match="gives no values of the input 's'"):
        DirectBuilder(api).build(request(path))


def test_weights_beside_the_model(api, tmp_path):
    onnx = pytest.importorskip('onnx', reason='onnx is not installed; run: make env')
    model = onnx.load(str(PERSON))
    path = tmp_path / 'person.onnx'
    onnx.save_model(model, str(path), save_as_external_data=True, location='person.data',
                    size_threshold=0)
    assert path.stat().st_size < 200_000
    whole, beside = (DirectBuilder(api).build(request(one)) for one in (PERSON, path))
    assert abs(whole.plan.nbytes - beside.plan.nbytes) < 4096
    os.truncate(tmp_path / 'person.data', 1000)
    with pytest.raises(EngineBuildError, match=r'person\.data, found 1000 bytes.*truncated'):
        DirectBuilder(api).build(request(path))


def test_progress_is_told_and_ends(api, polygraphy):
    for builder in (DirectBuilder(api), polygraphy):
        steps = []
        builder.build(request(PERSON, on_progress=lambda *step: steps.append(step)))
        assert len({phase for phase, _, _ in steps}) > 3
        assert all(0 <= step <= total for _, step, total in steps)
        assert steps[0][1] == 0 and steps[-1][1] == steps[-1][2]


def test_ctrl_c_ends_a_build_within_a_step(api):
    """It arrives in a callback of the builder, in C++."""
    calls = []

    def on_progress(phase, step, total):
        calls.append(phase)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        DirectBuilder(api).build(request(PERSON, on_progress=on_progress))
    assert len(calls) < 20
    assert DirectBuilder(api).build(request(PERSON)).plan.nbytes > 1_000_000


def test_two_builds_at_once_do_not_hear_each_other(api, polygraphy):
    yolox = shared_model('yolox_nano.onnx')
    ready = threading.Barrier(2)
    results = {}

    def run(name, builder, path):
        ready.wait()
        try:
            results[name] = builder.build(request(path))
        except EngineBuildError as error:
            results[name] = error

    threads = [threading.Thread(target=run, args=one) for one in (
        ('yolox', DirectBuilder(api), yolox),
        ('person', polygraphy, PERSON))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # yolox has an empty initializer, which its parser mentions; person has not.
    assert any('Empty initializer' in text for text in results['yolox'].warnings)
    assert not any('Empty initializer' in text for text in results['person'].warnings)


def test_hardware_compatibility_is_nothing_for_rtx(api):
    with pytest.raises(ConfigurationError, match='ampere_plus is nothing for tensorrt_rtx'):
        DirectBuilder(api).build(request(PERSON, extras={'hardware_compatibility': 'ampere_plus'}))
    with pytest.raises(ConfigurationError, match="'all', expected none or ampere_plus or same"):
        DirectBuilder(api).build(request(PERSON, extras={'hardware_compatibility': 'all'}))


def test_a_timing_cache_is_nothing_for_rtx(api, tmp_path):
    built = DirectBuilder(api).build(request(PERSON, timing_cache=tmp_path / 'timings'))
    assert built.settings['timing_cache'] == 'none: tensorrt_rtx times nothing'
    assert not any(tmp_path.iterdir())


def test_the_branch_is_chosen_with_a_reason(api, polygraphy):
    choice = choose_branch(BuildConfig(package='tensorrt_rtx'))
    assert choice.reason == (
        f'direct, because the Python bindings of tensorrt_rtx {api.version} are installed')
    builder: EngineBuilder = choice.builder
    assert (builder.name, builder.package, builder.version) == (
        'direct', 'tensorrt_rtx', api.version)
    assert not builder.has_weak_typing and not builder.has_implicit_calibration
    choice = choose_branch(BuildConfig(package='tensorrt_rtx', branch='polygraphy'))
    assert choice.reason == 'polygraphy, because it was asked for'
    assert choice.builder.name == 'polygraphy'


def test_polygraphy_serves_one_package_a_process(polygraphy):
    with pytest.raises(RuntimeNotAvailableError, match='was imported for tensorrt_rtx in this'):
        import_polygraphy('tensorrt')
    assert 'POLYGRAPHY_USE_TENSORRT_RTX' not in os.environ


def test_polygraphy_never_loads_an_engine():
    building = ROOT / 'c7_inference_ros' / 'engines' / 'building'
    source = (building / 'polygraphy_builder.py').read_text()
    assert 'engine_from_bytes' not in source and 'EngineFromBytes' not in source
