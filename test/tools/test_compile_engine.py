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

"""The command line of the compiler: what it prints where, its JSON, and its exit codes."""

import hashlib
import importlib.util
import json
import os
from pathlib import Path
import pty
import shutil
import subprocess
import sys
import time

from c7_inference_ros.tools import compile_engine as command_line
from c7_inference_ros.tools.compile_engine import main
from c7_inference_ros.tools.console import Console
from c7_inference_ros.tools.console import size_text
from c7_inference_ros.tools.console import table
from compile_bench import command
from compile_bench import environment
from compile_bench import key_pair
from compile_bench import ROOT
from compile_bench import tiny_model
import pytest
import yaml

SHARED = ROOT.parent / 'shared'
IS_BUILDING = importlib.util.find_spec('tensorrt_rtx') is not None
NO_BUILDER = 'tensorrt_rtx is not installed here: no builder'
HAS_BUILDER = pytest.mark.skipif(not IS_BUILDING, reason=NO_BUILDER)


@pytest.fixture
def run(capsys):
    """Run the command line in this process; return (exit code, stdout, stderr)."""
    def run(*arguments):
        exit_code = main(list(map(str, arguments)))
        output, errors = capsys.readouterr()
        return exit_code, output, errors
    return run


@pytest.fixture
def run_json(run):
    """Run with --json; return what standard output held, and standard error."""
    def run_with(*arguments):
        exit_code, output, errors = run(*arguments, '--json')
        value = json.loads(output)
        assert value['exit_code'] == exit_code
        return value, errors
    return run_with


@pytest.fixture(scope='module')
def engines(tmp_path_factory):
    """Build one engine in a folder; tests copy it before they damage it."""
    if not IS_BUILDING:
        pytest.skip(NO_BUILDER)
    folder = tmp_path_factory.mktemp('engines')
    model = tiny_model(folder / 'tiny.onnx')
    assert main(['compile', str(model), '--precision', 'fp32', '--output-dir',
                 str(folder / 'built'), '--package', 'tensorrt_rtx']) == 0
    return folder / 'built'


@pytest.fixture
def engine(engines, tmp_path):
    folder = tmp_path / 'copied'
    shutil.copytree(engines, folder)
    return next(folder.glob('*.engine'))


def beside(path, suffix):
    return path.with_name(path.name + suffix)


@pytest.mark.builder
@HAS_BUILDER
def test_the_path_of_the_engine_is_the_last_line(run, tmp_path):
    model = tiny_model(tmp_path / 'tiny.onnx')
    arguments = ('compile', model, '--precision', 'fp32', '--output-dir', tmp_path / 'out')
    exit_code, output, errors = run(*arguments)
    lines = output.splitlines()
    assert exit_code == 0
    assert lines[0].startswith('BUILT in ') and lines[0].endswith(
        ' s: there is no engine of this model yet')
    assert any(line.split() == ['input', 'x', 'float32', '1x3x16x16'] for line in lines)
    path = Path(lines[-1])
    assert path.is_file() and path.parent == tmp_path / 'out' and path.suffix == '.engine'
    # What it does is told on standard error, plainly where there is no terminal.
    assert all(line.startswith('compile_engine: ') for line in errors.splitlines())
    assert 'compile_engine: branch direct, because the Python bindings of tensorrt' in errors
    assert f'compile_engine: building {path.name}: there is no engine of this model yet' in errors
    exit_code, output, _ = run(*arguments)
    assert exit_code == 0 and output.splitlines()[-1] == str(path)
    assert output.startswith('REUSED in ')


@pytest.mark.builder
@HAS_BUILDER
def test_compile_as_json(run_json, tmp_path):
    model = tiny_model(tmp_path / 'tiny.onnx')
    value, errors = run_json('compile', model, '--precision', 'fp32', '--output-dir', tmp_path)
    assert value['status'] == 'BUILT'
    engine = Path(value['engine'])
    assert value['sha256'] == hashlib.sha256(engine.read_bytes()).hexdigest()
    assert value['manifest'] == json.loads(beside(engine, '.json').read_bytes())
    assert 'branch direct' in errors
    value, _ = run_json('compile', model, '--precision', 'fp32', '--output-dir', tmp_path)
    assert value['status'] == 'REUSED' and value['seconds'] < 1.0


@pytest.mark.builder
@HAS_BUILDER
def test_a_file_of_settings(run, tmp_path):
    (tmp_path / 'models').mkdir()
    tiny_model(tmp_path / 'models' / 'tiny.onnx')
    config = tmp_path / 'models' / 'tiny.json'
    config.write_text(json.dumps({
        'model': 'tiny.onnx', 'precision': 'fp32', 'output_dir': '../out', 'workspace': '64MiB',
        'optimization_level': 1}), encoding='utf-8')
    exit_code, output, _ = run('compile', config)
    path = Path(output.splitlines()[-1])
    assert exit_code == 0 and path.resolve().parent == (tmp_path / 'out').resolve()
    settings = json.loads(beside(path, '.json').read_bytes())['settings']
    assert settings['workspace_bytes'] == 64 << 20 and settings['optimization_level'] == 1


@pytest.mark.builder
@HAS_BUILDER
def test_what_the_node_is_told_is_what_is_built(run, tmp_path):
    """The parameters of the node alone build the engine that the node looks for."""
    from c7_inference_ros.engines.host import probe_host
    from c7_inference_ros.engines.lookup import find_engine
    from c7_inference_ros.engines.types import PrecisionMode
    model = ROOT / 'models' / 'person_ssdlite.onnx'
    values = yaml.safe_load((ROOT / 'config' / 'demo.yaml').read_text(encoding='utf-8'))
    parameters = values['/**']['ros__parameters']
    parameters['engines'] = {'directory': str(tmp_path / 'engines'), 'package': 'tensorrt_rtx'}
    parameters['models']['person']['precision'] = 'fp32'
    path = tmp_path / 'params.yaml'
    path.write_text(yaml.safe_dump(values), encoding='utf-8')
    exit_code, output, errors = run('compile', '--params-file', path, '--model-name', 'person')
    assert exit_code == 0, errors
    found = find_engine(model, tmp_path / 'engines', probe_host('tensorrt_rtx'),
                        PrecisionMode.FP32, 'models.person.path')
    assert output.splitlines()[-1] == str(found)
    processing = json.loads(beside(found, '.json').read_bytes())['processing']
    assert processing['decoder'] == 'ssd'
    assert processing['preprocess']['std'] == [127.5, 127.5, 127.5]


@pytest.mark.builder
@HAS_BUILDER
def test_a_build_that_fails_says_why_and_leaves_nothing(run, run_json, tmp_path):
    onnx = pytest.importorskip('onnx')
    model = tiny_model(tmp_path / 'tiny.onnx')
    broken = onnx.load(str(model))
    broken.graph.node[1].op_type = 'NoSuchOperator'
    model.write_bytes(broken.SerializeToString())
    exit_code, output, errors = run('compile', model, '--precision', 'fp32', '--output-dir',
                                    tmp_path / 'out')
    assert exit_code == 1 and output == ''
    assert 'NoSuchOperator' in errors.splitlines()[-1]
    value, _ = run_json('compile', model, '--precision', 'fp32', '--output-dir', tmp_path / 'out')
    assert len(value['problems']) == 1 and 'NoSuchOperator' in value['problems'][0]
    assert not list((tmp_path / 'out').iterdir())


@pytest.mark.builder
@HAS_BUILDER
def test_a_pattern_that_fits_nothing_is_named_as_the_user_knows_it(run, tmp_path):
    for module in ('onnx', 'onnxruntime'):
        pytest.importorskip(module, reason=f'{module} is not installed here')
    exit_code, _, errors = run('compile', tiny_model(tmp_path / 'tiny.onnx'), '--precision',
                               'mixed', '--keep-fp32', 'Cnov*')
    assert exit_code == 1
    assert "keep_fp32 has 'Cnov*', which fits no node name and no operator type" in errors


@pytest.mark.builder
@HAS_BUILDER
def test_a_bar_on_a_terminal_and_its_traces_are_gone(tmp_path):
    model = tiny_model(tmp_path / 'tiny.onnx')
    master, slave = pty.openpty()
    process = subprocess.Popen(
        command('compile', model, '--precision', 'fp32', '--output-dir', tmp_path / 'out'),
        env=environment(TERM='xterm'), stdin=slave, stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    seen = b''
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        seen += piece
    output = process.communicate()[0].decode()
    os.close(master)
    assert process.returncode == 0 and output.splitlines()[-1].endswith('.engine')
    parts = seen.decode().split('\r')
    bars = [part for part in parts if part.startswith('compiling ') and '%|' in part]
    assert any('building engine' in bar for bar in bars)
    # The bar is overwritten with blanks before anything else is said.
    after = parts[max(index for index, part in enumerate(parts) if part in bars) + 1]
    assert after.strip() == ''


@pytest.mark.builder
@HAS_BUILDER
def test_int8_from_a_bag_reuses_its_calibration(run_json, tmp_path):
    """From a recorded topic and the parameters of the node to an INT8 engine, twice."""
    for module in ('rosbags', 'onnxruntime'):
        pytest.importorskip(module, reason=f'{module} is not installed here')
    model = SHARED / 'models' / 'yolox_nano.onnx'
    bag = SHARED / 'data' / 'bags' / 'road_compressed_mcap'
    for path in (model, bag):
        if not path.exists():
            pytest.skip(f'../shared/{path.relative_to(SHARED)} is not here')
    parameters = tmp_path / 'params.yaml'
    parameters.write_text(yaml.safe_dump({'/**': {'ros__parameters': {
        'model_names': ['car'], 'models': {'car': {
            'path': str(model), 'precision': 'int8', 'decoder': 'yolox', 'preprocess': {
                'anchor': 'top_left', 'color_order': 'bgr', 'scale': 1.0}}}}}}), encoding='utf-8')
    arguments = ('compile', '--params-file', parameters, '--output-dir', tmp_path / 'out',
                 '--package', 'tensorrt_rtx', '--calibration-bag', bag, '--calibration-topic',
                 '/camera/image_raw/compressed', '--calibration-every', 13,
                 '--calibration-min-images', 2)
    value, errors = run_json(*arguments)
    assert value['status'] == 'BUILT', value
    assert 'INT8 ranges measured' in errors
    calibration = value['manifest']['calibration']
    assert calibration['images'] == 3 and calibration['layers'] > 70
    assert value['manifest']['tensor_types']['int8'] > 70
    began = time.monotonic()
    value, errors = run_json(*arguments)
    assert value['status'] == 'REUSED' and 'INT8 ranges reused' in errors
    assert time.monotonic() - began < 30.0


@pytest.mark.parametrize(('arguments', 'said'), [
    (['compile'], 'no model; give MODEL.onnx, a CONFIG.json with "model", or --params-file'),
    (['compile', 'no.onnx'], 'no.onnx does not exist'),
    (['compile', 'params.yaml'], 'MODEL is params.yaml, expected an ONNX model or CONFIG.json; a '
                                 'parameter file is given with --params-file'),
    (['compile', '.'], '. is a folder'),
    (['compile', __file__], 'test_compile_engine.py is a text file beginning with'),
    (['compile', 'm.onnx', '--precison', 'fp32'], 'did you mean --precision?'),
    (['compil', 'm.onnx'], 'did you mean compile?'),
    (['inspect'], 'the following arguments are required: ENGINE'),
    (['inspect', 'no.engine'], 'no.engine does not exist'),
    (['inspect', '.'], '. is a folder, expected an engine; compile_engine list . shows'),
    (['verify', 'no.engine'], 'no.engine does not exist; correct the path'),
    (['verify', 'a\0b'], "ENGINE is 'a\\x00b', expected a path without NUL"),
    (['verify', __file__, '--max-accuracy-drop', 'much'], '--max-accuracy-drop is'),
    (['list', 'no_such_folder'], 'no_such_folder cannot be read as a folder of engines')])
def test_bad_input_is_one_line_and_exit_code_2(run, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    exit_code, output, errors = run(*arguments)
    assert exit_code == 2 and output == ''
    line, = errors.splitlines()
    assert line.startswith('compile_engine: ') and said in line
    exit_code, output, _ = run(*arguments, '--json')
    assert exit_code == 2
    value = json.loads(output)
    assert value['exit_code'] == 2 and said in value['problems'][0]


def test_a_profile_that_is_not_of_the_model(run, tmp_path):
    model = tiny_model(tmp_path / 'tiny.onnx')
    exit_code, _, errors = run('compile', model, '--profile', 'a:images=1x3x16x16')
    assert exit_code == 2
    assert "profile 'a' names the input 'images', which the model does not have; its inputs" in (
        errors)


def test_no_command_and_help(run, capsys):
    exit_code, output, _ = run()
    assert exit_code == 0 and 'compile   build an engine' in output
    for arguments in (['--help'], ['compile', '--help'], ['verify', '-h']):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
    assert '--calibration-bag BAG' in capsys.readouterr().out


def test_inspect(run, run_json, engine):
    exit_code, output, errors = run('inspect', engine)
    assert exit_code == 0 and errors == ''
    found = dict(line.split(maxsplit=1) for line in output.splitlines())
    assert found['engine'] == str(engine)
    assert found['SHA-256'] == hashlib.sha256(engine.read_bytes()).hexdigest()
    assert found['for'].startswith('model tiny, any GPU, x86, tensorrt_rtx ')
    assert found['input'] == 'x float32 1x3x16x16'
    assert found['output'] == 'y float32 1x8x16x16'
    assert found['signature'] == 'none'
    value, _ = run_json('inspect', engine)
    assert value['manifest'] == json.loads(beside(engine, '.json').read_bytes())
    assert value['name']['precision'] == 'fp32' and value['problems'] == []
    assert value['header']['total_bytes'] == value['bytes'] == engine.stat().st_size


@pytest.mark.parametrize(('damage', 'said'), [
    (lambda path: beside(path, '.json').unlink(), '.engine.json cannot be read: No such file'),
    (lambda path: beside(path, '.json').write_text('{}', encoding='ascii'),
     '.engine.json: schema_version is missing'),
    (lambda path: beside(path, '.json').write_bytes(
        beside(path, '.json').read_bytes().replace(b'"direct"', b'"dorect"')),
     '.engine.json was edited after it was written'),
    (lambda path: beside(path, '.sha256').unlink(), 'has no readable sidecar'),
    (lambda path: beside(path, '.sha256').write_text('0' * 64, encoding='ascii'),
     'its sidecar says 0000'),
    (lambda path: path.write_bytes(path.read_bytes() + b'x'), 'its header says')])
def test_inspect_shows_what_is_left_and_says_what_is_broken(run, run_json, engine, damage, said):
    damage(engine)
    exit_code, output, errors = run('inspect', engine)
    assert exit_code == 0 and 'header' in output and said in errors
    assert all(line.startswith('compile_engine: warning: ') for line in errors.splitlines())
    value, _ = run_json('inspect', engine)
    assert any(said in problem for problem in value['problems'])


def test_inspect_of_no_engine(run, tmp_path):
    (tmp_path / 'a.engine').write_bytes(b'\x08\x07onnx?')
    exit_code, output, errors = run('inspect', tmp_path / 'a.engine')
    assert exit_code == 1 and 'an ONNX file?' in errors and 'SHA-256' in output


def test_verify(run, run_json, engine):
    exit_code, output, errors = run('verify', engine)
    assert (exit_code, errors) == (0, '')
    assert output == f'good: {engine.name} passes every check on this machine\n'
    value, _ = run_json('verify', engine)
    assert value['is_good'] and value['stage'] == '' and value['warnings'] == []
    engine.parent.chmod(0o777)
    exit_code, _, errors = run('verify', engine)
    assert exit_code == 0 and 'can be written by others' in errors


def _exchange(path):
    other = path.with_name(path.name.replace('tiny', 'other'))
    for suffix in ('', '.json', '.sha256'):
        beside(path, suffix).rename(beside(other, suffix))
    return other


@pytest.mark.parametrize(('stage', 'damage'), [
    ('name', lambda path: path.rename(path.with_name('tiny.engine'))),
    ('host', lambda path: path.rename(path.with_name(path.name.replace('jpx86', 'jp36.4.3')))),
    ('sidecar', lambda path: beside(path, '.sha256').unlink()),
    ('sidecar', lambda path: path.write_bytes(path.read_bytes()[:-1])),
    ('manifest', lambda path: beside(path, '.json').unlink()),
    ('manifest', _exchange),
    ('header', lambda path: [
        path.write_bytes(b'junk' + path.read_bytes()[4:]),
        beside(path, '.sha256').write_text(
            hashlib.sha256(path.read_bytes()).hexdigest(), encoding='ascii'),
        _mend_manifest(path)])])
def test_verify_refuses_with_the_stage(run, run_json, engine, stage, damage):
    damaged = damage(engine)
    path = damaged if isinstance(damaged, Path) and damaged.suffix == '.engine' else engine
    exit_code, output, errors = run('verify', path)
    assert exit_code == 1 and output == ''
    line, = errors.splitlines()
    assert line.startswith(f'compile_engine: refused ({stage}): ')
    value, _ = run_json('verify', path)
    assert not value['is_good'] and value['stage'] == stage and value['refusal'] in line


def _mend_manifest(path):
    """Write the manifest that the damaged engine would have."""
    from dataclasses import replace

    from c7_inference_ros.engines.trust.manifest import manifest_bytes
    from c7_inference_ros.engines.trust.manifest import read_manifest
    manifest = read_manifest(beside(path, '.json'))
    beside(path, '.json').write_bytes(manifest_bytes(replace(
        manifest, engine_sha256=hashlib.sha256(path.read_bytes()).hexdigest())))


def test_verify_with_a_list_and_a_key(run, engine, tmp_path):
    sha256 = hashlib.sha256(engine.read_bytes()).hexdigest()
    listed = tmp_path / 'fleet.sha256'
    listed.write_text(f'{sha256}  {engine.name}\n', encoding='ascii')
    assert run('verify', engine, '--deployment-list', listed)[0] == 0
    listed.write_text(f'{"0" * 64}  {engine.name}\n', encoding='ascii')
    exit_code, _, errors = run('verify', engine, '--deployment-list', listed)
    assert exit_code == 1 and 'refused (deployment)' in errors
    listed.write_text('', encoding='ascii')
    assert run('verify', engine, '--deployment-list', listed)[0] == 2

    private, public = key_pair(tmp_path)
    exit_code, _, errors = run('verify', engine, '--public-key', public)
    assert exit_code == 1 and 'refused (signature)' in errors
    model = tiny_model(tmp_path / 'tiny.onnx')
    assert run('compile', model, '--precision', 'fp32', '--output-dir', engine.parent, '--sign',
               private, '--package', 'tensorrt_rtx')[0] == 0
    assert run('verify', engine, '--public-key', public)[0] == 0
    assert 'there is one' in run('inspect', engine)[1]
    assert run('verify', engine, '--public-key', private)[0] == 2


def test_list(run, run_json, engine):
    beside(engine, '.json').with_name('notes.txt').touch()
    (engine.parent / 'junk.engine').touch()
    exit_code, output, errors = run('list', engine.parent)
    assert exit_code == 0
    header, junk, good = output.splitlines()
    assert header.split()[:3] == ['MODEL', 'PRECISION', 'GPU'] and junk.startswith('junk.engine ')
    assert good.split()[:4] == ['tiny', 'fp32', 'any', 'x86'] and good.endswith('good')
    assert junk.endswith('refused: name') and 'refused (name)' in errors
    value, _ = run_json('list', engine.parent)
    assert [one['is_good'] for one in value['engines']] == [False, True]
    assert (value['engines'][1]['model'], value['engines'][1]['platform']) == ('tiny', 'x86')
    other = engine.with_name(engine.name.replace('jpx86', 'jp36.4.3'))
    shutil.copy(engine, other)
    exit_code, output, errors = run('list', engine.parent)
    assert exit_code == 0 and 'refused: host' in output and other.name not in errors
    empty = engine.parent / 'empty'
    empty.mkdir()
    assert run('list', empty)[:2] == (0, f'{empty} has no engine\n')


def test_looking_needs_no_tensorrt(engine):
    """Inspect, verify and list import nothing of TensorRT, CUDA or any runtime."""
    blocked = ('tensorrt', 'tensorrt_rtx', 'pycuda', 'cuda', 'onnxruntime', 'onnx', 'torch',
               'polygraphy', 'cv2', 'rclpy')
    for arguments in (['inspect', engine], ['verify', engine], ['list', engine.parent]):
        done = subprocess.run([sys.executable, '-c', f"""
import sys

def refuse(event, arguments):
    # What is installed may be looked up, but not loaded.
    if event == 'import' and arguments[0].partition('.')[0] in {blocked!r}:
        raise ImportError('refused: ' + arguments[0])

sys.addaudithook(refuse)
from c7_inference_ros.tools.compile_engine import main
code = main({list(map(str, arguments))!r})
assert not set(sys.modules) & set({blocked!r})
sys.exit(code)
"""], env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_mistake_in_the_program_is_no_silence(run, run_json, monkeypatch):
    def fail(*arguments):
        raise ZeroDivisionError('division by zero')

    monkeypatch.setattr(command_line, 'inspect_engine', fail)
    exit_code, output, errors = run('inspect', 'x.engine')
    assert exit_code == 1 and output == '' and 'Traceback' in errors
    assert 'a mistake in this program: ZeroDivisionError: division by zero' in errors
    value, _ = run_json('inspect', 'x.engine')
    assert 'a mistake in this program' in value['problems'][0]


def test_a_reader_that_is_gone(engine):
    process = subprocess.Popen(command('inspect', engine), env=environment(),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(timeout=30) == 1 and b'Traceback' not in errors
    assert b'Exception ignored' not in errors
    process.stderr.close()


def test_tables_and_sizes():
    assert table([('a', 'bc'), ('def', '')], ('X', 'YY')) == ['X    YY', 'a    bc', 'def']
    assert table([]) == []
    assert [size_text(size) for size in (None, 0, 1023, 1024, 3 << 20, 5 << 30, 3 << 50)] == [
        'unknown', '0 B', '1023 B', '1.0 KiB', '3.0 MiB', '5.0 GiB', '3072.0 TiB']


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, 'monotonic', lambda: now[0])
    with Console('tool').progress('compiling') as progress:
        for second in range(31):
            now[0] = float(second)
            progress.update('Building engine', second // 10, 4)
            progress.update('Timing', second % 10, 10)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ['tool: compiling: 25%, building engine', 'tool: compiling: 50%, building '
                     'engine', 'tool: compiling: 75%, building engine']
