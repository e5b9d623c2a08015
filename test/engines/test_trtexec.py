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

"""Engines by the command-line tool: its options by version, its traps, and its end."""

import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
import time

from builder_models import DEIM_BATCH
from builder_models import PERSON
from builder_models import request
from builder_models import ROOT
from builder_models import save
from builder_models import shared_model
from c7_inference_ros.engines.building import trtexec_tool
from c7_inference_ros.engines.building.branches import choose_branch
from c7_inference_ros.engines.building.onnx_conversion import convert_to_half
from c7_inference_ros.engines.building.trtexec_builder import TrtexecBuilder
from c7_inference_ros.engines.building.trtexec_tool import find_tool
from c7_inference_ros.engines.building.trtexec_tool import how_it_ended
from c7_inference_ros.engines.building.trtexec_tool import run_tool
from c7_inference_ros.engines.building.trtexec_tool import Tool
from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import CalibrationCacheError
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.errors import RuntimeNotAvailableError
from fake_trtexec import install
import numpy as np
import pytest

FP16, INT8, MIXED = PrecisionMode.FP16, PrecisionMode.INT8, PrecisionMode.MIXED


@pytest.fixture
def tool(tmp_path):
    return install(tmp_path)


@pytest.fixture
def builder(tool):
    return TrtexecBuilder(Tool(tool, 'tensorrt'))


def arguments(tool):
    """Return what the tool was last called with."""
    return json.loads((tool.parent / 'arguments.json').read_text())


def is_gone(pid):
    """Wait until a process has ended; a zombie has."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0]
        except OSError:
            return True
        if state == 'Z':
            return True
        time.sleep(0.02)
    return False


def test_a_build_says_everything(builder, tool):
    seen = []
    built = builder.build(request(PERSON, on_progress=lambda *step: seen.append(step),
                                  optimization_level=2, workspace_bytes=123 << 20))
    given = arguments(tool)
    assert given[0] == f'--onnx={PERSON}'
    assert given[1].startswith('--saveEngine=')
    assert given[2:] == ['--skipInference', f'--memPoolSize=workspace:{123 << 20}B',
                         '--builderOptimizationLevel=2', '--profilingVerbosity=layer_names_only',
                         '--noTF32', '--stronglyTyped']
    assert bytes(built.plan[:4]) == b'ftrt' and built.plan.nbytes == 5000
    assert (built.branch, built.package, built.version) == ('trtexec', 'tensorrt', '10.3.0')
    assert built.warnings == ('A warning of the builder',)
    assert [spec.name for spec in built.inputs] == ['images']
    assert [spec.max_shape for spec in built.outputs] == [(1, 1917, 4), (1, 1917, 1)]
    assert built.context_bytes == (None,) and built.weights_bytes is None
    assert 'trtexec --onnx=' in built.settings['command']
    assert seen[0] == ('trtexec', 0, 600)
    # The file is gone, the engine is not.
    assert not Path(given[1].split('=')[1]).parent.exists()
    assert bytes(built.plan[-1:]) == b'x'


def test_options_follow_the_version(tmp_path):
    for number, package, name, precision, strong, expected in (
            (100300, 'tensorrt', 'trtexec', FP16, False, ['--fp16']),
            (101601, 'tensorrt', 'trtexec', PrecisionMode.FP32, False, []),
            (110100, 'tensorrt', 'trtexec', PrecisionMode.FP32, True, []),
            (10701, 'tensorrt_rtx', 'tensorrt_rtx', PrecisionMode.FP32, True, [])):
        folder = tmp_path / str(number)
        folder.mkdir()
        tool = install(folder, number, build=116, name=name)
        builder = TrtexecBuilder(Tool(tool, package))
        builder.build(request(PERSON, precision, is_strongly_typed=strong, is_tf32_allowed=True))
        assert arguments(tool)[6:] == expected
        assert builder.has_weak_typing == (100000 < number < 110000)


def test_versions_are_read_from_the_banner(tmp_path):
    for number, build, expected in ((100300, None, '10.3.0'), (101601, 11, '10.16.1.11'),
                                    (110100, 106, '11.1.0.106')):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert TrtexecBuilder(Tool(install(folder, number, build), 'tensorrt')).version == expected
    old = tmp_path / 'old'
    old.mkdir()
    with pytest.raises(RuntimeNotAvailableError, match=r'is of TensorRT 8\.6, expected 10'):
        TrtexecBuilder(Tool(install(old, 8601), 'tensorrt'))
    with pytest.raises(RuntimeNotAvailableError, match='names no version of TensorRT'):
        TrtexecBuilder(Tool(Path(shutil.which('true')), 'tensorrt'))


def test_an_option_that_the_tool_lacks_is_named(tmp_path):
    tool = install(tmp_path, without=('--skipInference',))
    with pytest.raises(ConfigurationError, match='does not know --skipInference; use the branch'):
        TrtexecBuilder(Tool(tool, 'tensorrt')).build(request(PERSON))


def test_an_unknown_option_ends_with_one(tool):
    run = run_tool([str(tool), '--nonsense'], 60)
    assert run.code == 1 and 'Unknown option: --nonsense' in run.output
    assert run_tool([str(tool)], 60).code == 0


def test_profiles_become_shapes(builder, tool):
    deim = shared_model('deimv2_hgnetv2_atto_coco.onnx')
    built = builder.build(request(deim, profiles=(DEIM_BATCH,)))
    assert arguments(tool)[-3:] == [
        '--minShapes=images:1x3x320x320,orig_target_sizes:1x2',
        '--optShapes=images:2x3x320x320,orig_target_sizes:2x2',
        '--maxShapes=images:4x3x320x320,orig_target_sizes:4x2']
    sizes = {spec.name: spec.max_shape for spec in (*built.inputs, *built.outputs)}
    assert sizes['images'] == (4, 3, 320, 320)
    # Without the builder's network ONNX infers shapes, as far as it can.
    assert sizes['scores'][0] in (4, -1)
    two = (DEIM_BATCH, OptimizationProfile('one', {'images': ((1, 3, 320, 320),) * 3}))
    builder.build(request(deim, profiles=two))
    given = arguments(tool)
    assert [option.split('=')[0] for option in given[-8:]] == [
        '--profile', '--minShapes', '--optShapes', '--maxShapes'] * 2
    assert given[-4] == '--profile=1'


def test_a_name_that_the_tool_would_cut_is_refused(builder, tmp_path):
    path = save(tmp_path / 'comma.onnx', [('Relu', ['a,b'], ['y'])], {'a,b': ('FLOAT', ['N', 4])},
                {'y': ('FLOAT', ['N', 4])})
    with pytest.raises(ConfigurationError, match="shape of the input 'a,b'"):
        builder.build(request(path))


def test_int8_without_a_cache_would_be_random(builder, tmp_path):
    with pytest.raises(ConfigurationError, match='would calibrate it with random numbers'):
        builder.build(request(PERSON, INT8, is_strongly_typed=False))
    assert not (tmp_path / 'arguments.json').exists()


def with_cache(cache):
    made = request(PERSON, INT8, is_strongly_typed=False)
    return type(made)(**{**made.__dict__, 'calibration_cache': cache})


def test_int8_with_a_cache_that_would_be_ignored_is_refused(builder, tool, tmp_path):
    cache = tmp_path / 'cache'
    with pytest.raises(CalibrationCacheError, match='cannot be read'):
        builder.build(with_cache(cache))
    cache.write_text('TRT-8600-EntropyCalibration2\nimages: 3c010a14\n')
    with pytest.raises(CalibrationCacheError, match='would be ignored by trtexec.*8600'):
        builder.build(with_cache(cache))
    assert not (tmp_path / 'arguments.json').exists()
    cache.write_text('TRT-100300-EntropyCalibration2\nimages: 3c010a14\n')
    builder.build(with_cache(cache))
    assert arguments(tool)[-3:] == ['--fp16', '--int8', f'--calib={cache}']


def test_mixed_keeps_layers_by_name(builder, tool):
    builder.build(request(PERSON, MIXED, is_strongly_typed=False,
                          high_precision_nodes=('scores', 'Exp')))
    assert arguments(tool)[-4:] == [
        '--fp16', '--precisionConstraints=obey', '--layerPrecisions=scores:fp32,boxes/growth:fp32',
        '--layerOutputTypes=scores:fp32,boxes/growth:fp32']
    with pytest.raises(EngineBuildError, match="'score', which fits no node name.*scores"):
        builder.build(request(PERSON, MIXED, is_strongly_typed=False,
                              high_precision_nodes=('score',)))


def test_strong_types_need_a_converted_model(builder):
    with pytest.raises(EngineBuildError, match='no QuantizeLinear'):
        builder.build(request(PERSON, INT8))
    # It keeps its weights in float16 and computes in float32.
    with pytest.raises(EngineBuildError, match='no float16 arithmetic'):
        builder.build(request(PERSON, FP16))


def test_a_converted_model_is_strongly_typed(builder, tool, tmp_path):
    pytest.importorskip('onnx', reason='onnx is not installed; run: make env')
    half = convert_to_half(PERSON, tmp_path / 'half.onnx').path
    builder.build(request(half, FP16))
    assert arguments(tool)[-1] == '--stronglyTyped'
    with pytest.raises(EngineBuildError, match='as fp32, but computes in float16'):
        builder.build(request(half))


@pytest.mark.parametrize('does, message', [
    ('late', r'ended with status 1: .*the benchmark failed; the engine that it had saved is not'),
    ('nothing', 'ended well but saved no engine'),
    ('SIGKILL', r'was killed by SIGKILL \(the system killed it, most likely because memory ran'),
    ('SIGSEGV', r'was killed by SIGSEGV \(it crashed\)'),
    ('SIGABRT', r'was killed by SIGABRT \(it gave up'),
    ('other', r'was written by tensorrt 9\.9\.9\.9, but tensorrt 10\.3\.0 was to build it')])
def test_what_goes_wrong_is_told(builder, monkeypatch, does, message):
    monkeypatch.setenv('DOES', does)
    with pytest.raises(EngineBuildError, match=message) as info:
        builder.build(request(PERSON))
    assert '\n' not in str(info.value)


def test_a_cut_plan_of_rtx_is_refused(tmp_path, monkeypatch):
    builder = TrtexecBuilder(Tool(install(tmp_path, 10701, 116, 'tensorrt_rtx'), 'tensorrt_rtx'))
    assert builder.version == '1.7.1.116'
    builder.build(request(PERSON))
    monkeypatch.setenv('DOES', 'cut')
    with pytest.raises(EngineBuildError, match='has 100 bytes, but says that it has 5000'):
        builder.build(request(PERSON))


def test_the_time_out_kills_all_of_it(builder, tool, monkeypatch):
    monkeypatch.setenv('DOES', 'hang')
    with pytest.raises(EngineBuildError, match='killed after 3 s, its whole process') as info:
        builder.build(request(PERSON, timeout_s=3))
    assert 'A warning of the builder' in str(info.value)
    assert is_gone(int((tool.parent / 'child').read_text()))
    assert not Path(arguments(tool)[1].split('=')[1]).parent.exists()


def test_a_deaf_tool_is_killed_when_the_build_is_stopped(builder, tool, monkeypatch):
    """Ctrl-C, or a client that goes: the tool must not go on without us."""
    monkeypatch.setenv('DOES', 'deaf')
    monkeypatch.setattr(trtexec_tool, '_GRACE_S', 0.2)
    ended = []

    def on_progress(phase, step, total):
        if (tool.parent / 'child').exists():
            ended.append(int((tool.parent / 'child').read_text()))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        builder.build(request(PERSON, on_progress=on_progress))
    assert is_gone(ended[0])


def test_the_tool_does_not_outlive_a_compile_that_is_killed(tool, tmp_path):
    if shutil.which('setpriv') is None:
        pytest.skip('setpriv of util-linux is not installed')
    code = (f'from c7_inference_ros.engines.building.trtexec_tool import run_tool\n'
            f'run_tool([{str(tool)!r}, "--onnx={PERSON}", "--saveEngine={tmp_path}/e"], 600)')
    compile_process = subprocess.Popen([sys.executable, '-c', code], cwd=ROOT,
                                       env={**os.environ, 'DOES': 'alone'})
    leader = tmp_path / 'child'
    deadline = time.monotonic() + 30
    while not (leader.exists() and leader.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    compile_process.kill()
    compile_process.wait()
    assert is_gone(int(leader.read_text()))


def test_what_the_tool_leaves_behind_ends_with_it(builder, tool, monkeypatch):
    monkeypatch.setenv('DOES', 'orphan')
    assert builder.build(request(PERSON)).plan.nbytes == 5000
    assert is_gone(int((tool.parent / 'child').read_text()))


def test_timings_are_lent_and_taken_back(builder, tool, tmp_path):
    kept = tmp_path / 'cache' / 'timings'
    first = builder.build(request(PERSON, timing_cache=kept))
    assert first.settings['timing_cache'] == 'new'
    lent = next(one for one in arguments(tool) if one.startswith('--timingCacheFile='))
    assert Path(lent.split('=')[1]) != kept
    assert kept.read_bytes() == b'timings;'
    assert builder.build(request(PERSON, timing_cache=kept)).settings['timing_cache'] == 'used'
    assert kept.read_bytes() == b'timings;timings;'
    kept.write_bytes(b'garbage')
    again = builder.build(request(PERSON, timing_cache=kept))
    assert 'is damaged' in again.settings['timing_cache'] and 'is damaged' in again.warnings[0]
    assert kept.read_bytes() == b'timings;'


def test_the_tool_is_found(tool, tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    assert find_tool('auto') == Tool(tool, 'tensorrt')
    install(tmp_path, name='tensorrt_rtx')
    assert find_tool('tensorrt_rtx').path.name == 'tensorrt_rtx'
    monkeypatch.setenv('PATH', str(tmp_path / 'empty'))
    places = {'tensorrt': ('trtexec', (str(tmp_path),))}
    assert find_tool('auto', places=places) == Tool(tool, 'tensorrt')
    nowhere = {'tensorrt': ('trtexec', (str(tmp_path / 'empty'),))}
    with pytest.raises(RuntimeNotAvailableError, match='no trtexec in the .*libnvinfer'):
        find_tool('auto', places=nowhere)
    with pytest.raises(RuntimeNotAvailableError, match='is no program that this user may run'):
        find_tool('auto', path=str(tmp_path))
    assert find_tool('auto', path=str(tool)) == Tool(tool, 'tensorrt')


def test_the_branch_is_chosen_by_what_is_installed(tool):
    def missing(package):
        raise RuntimeNotAvailableError(f'no {package} here')

    extras = {'trtexec': str(tool)}
    choice = choose_branch(BuildConfig(extras=extras), missing)
    assert choice.builder.name == 'trtexec'
    assert choice.reason == f'trtexec ({tool}), because the Python bindings are not installed'
    choice = choose_branch(BuildConfig(branch='trtexec', extras=extras), missing)
    assert choice.reason == f'trtexec, because it was asked for ({tool})'
    with pytest.raises(RuntimeNotAvailableError, match='no tensorrt here$'):
        choose_branch(BuildConfig(branch='direct', package='tensorrt', extras=extras), missing)
    extras['trtexec'] = str(tool) + 'x'
    with pytest.raises(RuntimeNotAvailableError, match='no auto here; nor can a tool build'):
        choose_branch(BuildConfig(extras=extras), missing)
    with pytest.raises(ConfigurationError, match='expected auto, direct, polygraphy, trtexec'):
        choose_branch(BuildConfig(branch='best'), missing)


def test_ends_in_words():
    assert how_it_ended(3) == 'ended with status 3'
    assert 'SIGTERM' in how_it_ended(-15)
    assert 'signal 99' in how_it_ended(-99)
    with pytest.raises(EngineBuildError, match='/nowhere/trtexec cannot be started: it is no'):
        run_tool([os.fspath(Path('/nowhere/trtexec'))], 1)


def test_a_model_that_is_none_never_reaches_the_tool(builder, tmp_path):
    junk = tmp_path / 'junk.onnx'
    junk.write_bytes(np.random.default_rng(1).bytes(300))
    with pytest.raises(EngineBuildError, match='is no ONNX model'):
        builder.build(request(junk))
    assert not (tmp_path / 'arguments.json').exists()
