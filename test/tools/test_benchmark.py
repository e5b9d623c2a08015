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

import json
import os
from pathlib import Path
import signal
import subprocess
import sys

from c7_inference_ros.tools import benchmark
import pytest
import yaml

for _folder in ('pipeline', 'thermal'):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / _folder))

from board_trees import plant  # noqa: E402, I100
from scripted_models import write_script  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / 'shared'
COCO = SHARED / 'data' / 'coco_val_subset'
PNG = b'\x89PNG\r\n\x1a\n'


def parameters(folder, **values):
    """Write a parameter file and return its path; dots in names are double underscores."""
    path = folder / 'parameters.yaml'
    flat = {name.replace('__', '.'): value for name, value in values.items()}
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': flat}}))
    return path


@pytest.fixture
def scripted(tmp_path):
    """Return a function that writes a parameter file of a scripted model."""
    def write(values=None, **changes):
        script = write_script(tmp_path, **changes)
        return parameters(tmp_path, runtime='dummy', models__detector__path=str(script),
                          models__detector__decoder='yolov10', **(values or {}))
    return write


def run(capsys, *arguments):
    """Return (exit code, the JSON object, lines of standard error)."""
    code = benchmark.main([*map(str, arguments), '--json'])
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report['exit_code'] == code
    return code, report, err.splitlines()


def run_alone(*arguments):
    """
    Return (exit code, the JSON object) of a process of its own.

    For what is measured of the process: one that other tests ran in has memory at hand, and does
    not grow.
    """
    done = subprocess.run([sys.executable, '-m', 'c7_inference_ros.tools.benchmark',
                           *map(str, arguments), '--json'], cwd=ROOT, capture_output=True,
                          text=True, timeout=240)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


QUICK = ('--samples', 20, '--warm-up', 2, '--loads', 2)


def test_the_shipped_detector_on_real_pictures(tmp_path):
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    pytest.importorskip('matplotlib', reason='matplotlib is not installed')
    if not COCO.is_dir():
        pytest.skip('shared/data/coco_val_subset is not here')
    limits = tmp_path / 'limits.yaml'
    limits.write_text('p95_ms: 60000\n')  # a machine under test may be slow
    code, report = run_alone('--params-file', ROOT / 'config/inference.yaml', '--pictures',
                             COCO, '--limits', limits, '--output', tmp_path / 'out',
                             '--samples', 60, '--warm-up', 2, '--loads', 3)
    assert code == 0
    subject, = report['subjects']
    person = subject['models']['person']
    stages = person['stages_ms']
    assert {stage['count'] for stage in stages.values()} == {60}
    for name, stage in stages.items():
        assert 0 < stage['p50'] <= stage['p95'] <= stage['p99'] <= stage['max'], name
    assert stages['whole']['mean'] == pytest.approx(
        sum(stages[name]['mean'] for name in ('preprocess', 'inference', 'decode')), rel=0.05)
    assert list(person['raw_ms']) == ['session.run', 'runtime.infer']
    assert person['ratio_to_raw'] == person['raw_ms']['session.run']['whole_to_this']
    assert person['ratio_to_raw']['low'] <= person['ratio_to_raw']['value']
    assert person['throughput_hz'] == pytest.approx(1e3 / stages['whole']['mean'], rel=1e-3)
    assert person['detections_per_picture'] > 0.5
    assert person['deserialise_ms']['count'] == 3
    shipped = json.loads((ROOT / 'models/MANIFEST.json').read_text())
    assert person['sha256'] == shipped['person_ssdlite.onnx']['sha256']
    assert 0 < person['memory']['predicted_host_bytes'] < subject['memory']['host']['in_use_bytes']
    assert report['pictures']['count'] == 17 and 'cpu' in report['conditions']
    assert [one['limit'] for one in report['limits']] == [
        'p95_ms', 'deserialise_p95_s', 'device_memory_bytes', 'host_memory_bytes']
    assert report == json.loads((tmp_path / 'out' / 'benchmark.json').read_text())
    assert report['plots'] == ['latency.png']
    assert (tmp_path / 'out' / 'latency.png').read_bytes().startswith(PNG)


def test_limits_that_are_broken_are_named_and_end_with_1(capsys, scripted, tmp_path):
    limits = tmp_path / 'limits.yaml'
    limits.write_text('{p95_ms: 1, host_memory_bytes: 500}')
    code, report, err = run(capsys, '--params-file', scripted(latency_s=0.004), '--sizes', '64x48',
                            '--limits', limits, *QUICK)
    assert code == 1
    assert [one['limit'] for one in report['limits'] if one['is_broken']] == [
        'p95_ms', 'host_memory_bytes']
    assert len(report['problems']) == 2
    assert err == [f'benchmark: limit broken: {text}' for text in report['problems']]
    assert report['problems'][0].startswith('models.detector: p95 of the whole pipeline is ')
    assert 'allowed 1 ms (limits.yaml: p95_ms)' in report['problems'][0]


def test_the_tables_say_what_the_json_says(capsys, scripted):
    assert benchmark.main(['--params-file', str(scripted(latency_s=0.004)), '--sizes', '64x48',
                           *map(str, QUICK)]) == 0
    out = capsys.readouterr().out
    for words in ('20 samples of everything', 'the 2 pictures before them do not count',
                  'dummy: dummy (scripted answers', 'preprocess', 'raw: runtime.infer', 'load',
                  'throughput', 'detections a picture', '95% of p95', 'too few samples',
                  'all, with libraries', 'other programs', 'conditions:',
                  'kept: models.detector: p95 of the whole pipeline', '(default)'):
        assert words in out, out


def test_a_soak_goes_on_and_shows_the_heat_of_a_board(capsys, scripted, tmp_path):
    pytest.importorskip('matplotlib', reason='matplotlib is not installed')
    tree = plant('orin_nx', tmp_path / 'board')
    path = scripted({'thermal__sysfs_root': str(tree.sysfs_root)}, latency_s=0.005)
    code, report, _ = run(capsys, '--params-file', path, '--sizes', '64x48', '--duration', 2.5,
                          '--output', tmp_path / 'out', *QUICK)
    soak = report['soak']
    assert soak['duration_s'] >= 2.5 and len(soak['windows']) == 2
    samples = [window['whole_ms']['dummy']['detector']['count'] for window in soak['windows']]
    assert sum(samples) == report['subjects'][0]['models']['detector']['stages_ms']['whole'][
        'count'] > 20
    assert all(window['temperature_c']['jetson'] > 10 for window in soak['windows'])
    assert all(window['throttled'] is False for window in soak['windows'])
    assert all(window['clocks_mhz']['jetson']['gpu'] > 0 for window in soak['windows'])
    assert report['conditions']['devices']['jetson']['settings']['power_mode']
    assert report['plots'] == ['latency.png', 'soak.png']
    assert (tmp_path / 'out' / 'soak.png').read_bytes().startswith(PNG)
    # Pictures of an earlier run are not left for those of this one.
    code, report, _ = run(capsys, '--params-file', path, '--sizes', '64x48',
                          '--output', tmp_path / 'out', *QUICK)
    assert sorted(os.listdir(tmp_path / 'out')) == ['benchmark.json', 'latency.png']


def test_a_throttled_board_is_said_beside_the_figures(capsys, scripted, tmp_path):
    tree = plant('orin_nx', tmp_path / 'board')
    tree.set_all(99.0)
    tree.set_cooling(f'devfreq-{tree.gpu_clock.name}', 3)
    code, report, _ = run(capsys, '--params-file',
                          scripted({'thermal__sysfs_root': str(tree.sysfs_root)}), '--sizes',
                          '64x48', *QUICK)
    assert any(doubt.startswith('jetson was slowed down by heat: ') for doubt in report['doubts'])
    assert report['conditions']['throttled'] is True
    assert all(window['throttled'] for window in report['soak']['windows'])


def test_what_can_be_compared_is_and_the_rest_is_named(capsys, tmp_path):
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    code, report, _ = run(
        capsys, '--params-file', ROOT / 'config/inference.yaml', '--sizes', '320x240',
        '--compare', 'runtime=onnx_trt_ep,pytorch_fp16', '--compare', 'precision=fp16,int8',
        '--limits', ROOT / 'config/benchmark_limits.yaml', '--samples', 20, '--warm-up', 1,
        '--loads', 0)
    assert [one['label'] for one in report['subjects']] == ['onnx_trt_ep']
    assert [one['label'] for one in report['not_measured']] == [
        'onnx_trt_ep fp16', 'onnx_trt_ep int8', 'pytorch_fp16 fp16', 'pytorch_fp16',
        'pytorch_fp16 int8']
    assert 'deserialise_p95_s' not in [one['limit'] for one in report['limits']]


def test_a_precision_is_no_label_for_what_the_cpu_runs_instead(capsys, tmp_path):
    ort = pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    if 'TensorrtExecutionProvider' in ort.get_available_providers():
        pytest.skip('this ONNX Runtime has the TensorRT provider')
    path = parameters(tmp_path, models__detector__decoder='ssd',
                      models__detector__path=str(ROOT / 'models/person_ssdlite.onnx'),
                      execution_providers=['TensorrtExecutionProvider', 'CPUExecutionProvider'])
    code, _, err = run(capsys, '--params-file', path, '--sizes', '64x48', '--compare',
                       'precision=fp16,int8', *QUICK)
    assert code == 1 and len(err) == 2
    assert err[0].startswith('benchmark: onnx_trt_ep fp16 cannot be measured here: '
                             'TensorrtExecutionProvider did not load: ')


def test_two_subjects_are_compared_as_ratios(capsys, scripted, tmp_path, monkeypatch):
    """The scripts differ by runtime name only; the second runs the slower one."""
    from c7_inference_ros.tools.benchmarking import subjects
    slow = tmp_path / 'slow'
    slow.mkdir()
    write_script(slow, latency_s=0.012)
    original = subjects.subjects_of

    def two(config, comparisons):
        from dataclasses import replace
        (first,), absent = original(config, {})
        model = replace(config.models['detector'], path=str(slow / 'scripted.yaml'))
        return [first, subjects.Subject('slow', replace(config, models={'detector': model}),
                                        False)], absent

    monkeypatch.setattr(benchmark, 'subjects_of', two)
    code, report, _ = run(capsys, '--params-file', scripted(latency_s=0.001), '--sizes', '64x48',
                          '--samples', 60, '--warm-up', 2, '--loads', 0)
    found, = report['comparisons']
    assert (found['subject'], found['base'], found['model']) == ('slow', 'dummy', 'detector')
    assert found['whole_p50']['low'] > 1.0 and found['raw_p50']['value'] > 1.3
    assert [one['label'] for one in report['subjects']] == ['dummy', 'slow']


def test_when_nothing_can_be_measured_every_reason_is_a_line(capsys, scripted):
    code, report, err = run(capsys, '--params-file', scripted(), '--sizes', '64x48',
                            '--compare', 'runtime=pytorch_fp16,onnx_trt_ep', *QUICK)
    assert code == 1 and len(err) == 2
    assert err[0].startswith('benchmark: pytorch_fp16 cannot be measured here: pytorch_fp16 has '
                             'no file of model detector')


@pytest.mark.parametrize('arguments, words', [
    (['--sizes', '64'], "--sizes has '64', expected WIDTHxHEIGHT"),
    (['--sizes', ''], '--sizes has no size'),
    (['--pictures', 'none'], '--pictures none is not there'),
    (['--bag', 'none'], 'none'),
    ([], 'one of the arguments --pictures --bag --sizes is required'),
    (['--sizes', '64x48', '--topic', '/a'], '--topic needs --bag'),
    (['--sizes', '64x48', '--sample', '30'], 'did you mean --samples?'),
    (['--sizes', '64x48', '--samples', '3'], '--samples is 3, expected 20 to 1e+06'),
    (['--sizes', '64x48', '--duration', 'nan'], '--duration is nan, expected 0 to 604800'),
    (['--sizes', '64x48', '--model', 'detecter'], 'did you mean detector?'),
    (['--sizes', '64x48', '--compare', 'precision=fp61'], 'did you mean fp16?'),
    (['--sizes', '64x48', '--limits', 'none.yaml'], '--limits none.yaml cannot be read')])
def test_bad_input_is_one_line_and_2(capsys, scripted, tmp_path, monkeypatch, arguments, words):
    path = scripted()
    monkeypatch.chdir(tmp_path)
    code, report, err = run(capsys, '--params-file', path, *arguments)
    assert code == 2 and len(err) == 1 and err[0].startswith('benchmark: ')
    assert words in err[0] and report['problems'] == [err[0].removeprefix('benchmark: ')]


def test_an_output_that_cannot_be_written_is_refused_first(capsys, scripted, tmp_path):
    (tmp_path / 'taken').write_text('')
    code, _, err = run(capsys, '--params-file', scripted(), '--sizes', '64x48', '--output',
                       tmp_path / 'taken', *QUICK)
    assert code == 2 and len(err) == 1 and '--output' in err[0] and 'cannot be written' in err[0]


def test_a_model_that_fails_ends_with_1_and_its_line(capsys, scripted):
    code, _, err = run(capsys, '--params-file', scripted(
        faults=[{'at': 30, 'error': 'inference'}]), '--sizes', '64x48', *QUICK)
    assert code == 1 and len(err) == 1 and 'scripted inference fault in call 30' in err[0]
    code, _, err = run(capsys, '--params-file', scripted(memory={'host_bytes': 1 << 40}),
                       '--sizes', '64x48', *QUICK)
    assert code == 1 and len(err) == 1 and 'raise memory.host_budget_bytes' in err[0]


def test_without_matplotlib_the_tables_still_come(capsys, scripted, tmp_path, monkeypatch):
    for name in list(sys.modules):
        if name.partition('.')[0] == 'matplotlib':
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    code, report, err = run(capsys, '--params-file', scripted(), '--sizes', '64x48', '--output',
                            tmp_path / 'out', *QUICK)
    assert code == 0 and report['plots'] == []
    assert len(err) == 1 and 'nothing is drawn: plots need matplotlib' in err[0]
    assert os.listdir(tmp_path / 'out') == ['benchmark.json']


def test_an_interrupted_soak_leaves_no_report(capsys, scripted, tmp_path, monkeypatch):
    from c7_inference_ros.tools.benchmarking import measure
    original, calls = measure._next, []

    def pictures(*arguments):
        calls.append(arguments)
        if len(calls) == 9:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments)

    monkeypatch.setattr(measure, '_next', pictures)
    code, _, err = run(capsys, '--params-file', scripted(), '--sizes', '64x48', '--duration', 600,
                       '--output', tmp_path / 'out', *QUICK)
    assert code == 130 and err == ['benchmark: interrupted; nothing was written']
    assert os.listdir(tmp_path / 'out') == []


def test_it_runs_as_a_program():
    done = subprocess.run([sys.executable, '-m', 'c7_inference_ros.tools.benchmark'], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 2 and '--params-file' in done.stderr
    assert len(done.stderr.splitlines()) == 1
