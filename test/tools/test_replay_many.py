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

"""Replaying many bags: one report, corrupt ones told, resumed, ended as a whole, on a cluster."""

from contextlib import contextmanager
import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

import bag_bench
from c7_inference_ros.tools import replay
from c7_inference_ros.tools.replaying.bag_job import BagJob
from c7_inference_ros.tools.replaying.bag_job import run_job
from c7_inference_ros.tools.replaying.bag_list import find_bags
from c7_inference_ros.tools.replaying.bag_list import is_folder_of_bags
from c7_inference_ros.tools.replaying.bag_list import unique_names
import pytest
from replay_bench import BOXES
from replay_bench import COMMAND
from replay_bench import parameters
from replay_bench import ROOT


@pytest.fixture(scope='module')
def drives(tmp_path_factory):
    """Return a folder of three bags, of which one is cut off, and of other things."""
    folder = tmp_path_factory.mktemp('drives')
    bag_bench.make_bag(folder / 'b_late', bag_bench.frames(4))
    bag_bench.make_bag(folder / 'a_early', bag_bench.frames(3), 'sqlite3')
    bag_bench.cut_off(bag_bench.make_bag(folder / 'c_cut', bag_bench.frames(5)))
    (folder / 'notes.txt').write_text('no bag')
    (folder / 'pictures').mkdir()
    return folder


@pytest.fixture(scope='module')
def whole(drives, tmp_path_factory):
    """Return the folder and the report of a run over them, two at a time."""
    folder = tmp_path_factory.mktemp('whole')
    code, report = run(folder / 'out', drives, parameters(folder / 'p'), '--jobs', '2')
    assert code == report['exit_code'] == 1
    return folder, report


def run(output, bags, params, *options):
    """Replay in this process; return the exit code and the report."""
    bags = bags if isinstance(bags, list) else [bags]
    code = replay.main([*map(str, bags), '--params-file', str(params), '--output', str(output),
                        '--no-html', *options])
    path = output / 'report.json'
    return code, json.loads(path.read_text()) if path.is_file() else None


def states(report):
    """Return what became of each bag."""
    return {bag['name']: (bag['state'], bag['exit_code']) for bag in report['bags']}


def test_a_corrupt_bag_is_reported_and_the_rest_goes_on(whole, drives):
    folder, report = whole
    assert states(report) == {'a_early': ('replayed', 0), 'b_late': ('replayed', 0),
                              'c_cut': ('failed', 2)}
    problem, = report['bags'][2]['problems']
    assert str(drives / 'c_cut') in problem and 'cannot be read as a rosbag' in problem
    assert report['models'] == {'detector': {
        'received': 7, 'published': 7, 'dropped': 0, 'detections': 14,
        'by_class': {'person': 7, 'car': 7}}}
    assert not (folder / 'out' / 'INCOMPLETE').exists()


def test_each_bag_has_the_folder_that_its_own_replay_would_make(whole, drives, tmp_path):
    folder, _ = whole
    one = tmp_path / 'one'
    assert replay.main([str(drives / 'b_late'), '--params-file', str(folder / 'p' / 'node.yaml'),
                        '--output', str(one), '--no-html']) == 0
    many = folder / 'out' / 'bags' / 'b_late'
    names = {path.name for path in many.iterdir()}
    assert names - {path.name for path in one.iterdir()} == {'inputs.json'}
    assert (many / 'detections.jsonl').read_bytes() == (one / 'detections.jsonl').read_bytes()


def test_the_table_and_json_say_the_same(whole, drives, tmp_path, capsys):
    folder, report = whole
    params = folder / 'p' / 'node.yaml'
    assert run(folder / 'out', drives, params, '--resume')[0] == 1
    said = capsys.readouterr()
    assert 'c_cut    failed   2' in said.out
    assert 'detector: 7 of 7 frames, 14 detections' in said.out
    assert 'replay: warning: c_cut: ' in said.err
    assert replay.main([str(drives), '--params-file', str(params), '--output',
                        str(folder / 'out'), '--no-html', '--resume', '--json']) == 1
    assert states(json.loads(capsys.readouterr().out))['a_early'] == ('earlier', 0)


def copy_of(whole, tmp_path):
    """Return a copy of the run that can be changed."""
    folder, _ = whole
    return Path(shutil.copytree(folder / 'out', tmp_path / 'out'))


def test_what_is_finished_is_kept_and_the_rest_is_done_again(whole, drives, tmp_path):
    out = copy_of(whole, tmp_path)
    (out / 'bags' / 'a_early' / 'INCOMPLETE').write_text('')
    (out / 'report.json').unlink()
    (out / 'INCOMPLETE').write_text('')
    kept = (out / 'bags' / 'b_late' / 'report.json').stat().st_mtime_ns
    code, report = run(out, drives, whole[0] / 'p' / 'node.yaml', '--resume')
    assert code == 1 and states(report) == {
        'a_early': ('replayed', 0), 'b_late': ('earlier', 0), 'c_cut': ('failed', 2)}
    assert (out / 'bags' / 'b_late' / 'report.json').stat().st_mtime_ns == kept
    assert report['models'] == whole[1]['models']


@pytest.mark.parametrize('change', ['parameter', 'model', 'bag', 'option', 'report', 'plain'])
def test_what_was_made_of_something_else_is_done_again(tmp_path, change):
    params = parameters(tmp_path / 'p')
    bag = bag_bench.make_bag(tmp_path / 'bags' / 'drive', bag_bench.frames(2))
    out, options = tmp_path / 'out', []
    assert states(run(out, bag.parent, params)[1]) == {'drive': ('replayed', 0)}
    assert states(run(out, bag.parent, params, '--resume')[1]) == {'drive': ('earlier', 0)}
    folder = out / 'bags' / 'drive'
    if change == 'parameter':
        params.write_text(params.read_text().replace('runtime: dummy',
                                                     'inference_timeout: 9.0\n'
                                                     '    runtime: dummy'))
        assert '9.0' in params.read_text()
    elif change == 'model':
        parameters(tmp_path / 'p', models={'detector': {'detections': BOXES[:1]}})
    elif change == 'bag':
        shutil.rmtree(bag)
        bag_bench.make_bag(bag, bag_bench.frames(3))
    elif change == 'option':
        options = ['--annotated', 'pictures']
    elif change == 'report':
        (folder / 'report.json').write_text('{"half')
    else:  # a replay of its own into the same folder takes what resuming goes by away
        assert replay.main([str(bag), '--params-file', str(params), '--output', str(folder),
                            '--no-html', '--overwrite']) == 0
    assert states(run(out, bag.parent, params, '--resume', *options)[1]) == {
        'drive': ('replayed', 0)}


def test_an_interruption_ends_all_children_and_can_be_resumed(tmp_path):
    params = parameters(tmp_path / 'p', models={'detector': {'latency_s': 0.2}})
    bags = [bag_bench.make_bag(tmp_path / 'bags' / f'drive{number}', bag_bench.frames(count))
            for number, count in enumerate((1, 400, 400))]
    command = [*COMMAND, *map(str, bags), '--params-file', str(params), '--no-html', '--output',
               str(tmp_path / 'out')]
    process = subprocess.Popen([*command, '--jobs', '2'], cwd=ROOT, stderr=subprocess.PIPE,
                               stdout=subprocess.DEVNULL)
    out = tmp_path / 'out' / 'bags'
    try:
        wait_for(lambda: (out / 'drive0' / 'inputs.json').is_file()
                 and (out / 'drive1' / 'INCOMPLETE').is_file()
                 and (out / 'drive2' / 'INCOMPLETE').is_file(), process)
        children = children_of(process.pid)
        assert len(children) == 2
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130 and b'interrupted' in said, said
    assert not [child for child in children if is_running(child)]
    assert 'go on with --resume' in (tmp_path / 'out' / 'INCOMPLETE').read_text()
    assert not (tmp_path / 'out' / 'report.json').exists()
    # Its bags are as long as they were; a short one in place of each is another bag.
    for bag in bags[1:]:
        shutil.rmtree(bag)
        bag_bench.make_bag(bag, bag_bench.frames(1))
    code, report = run(tmp_path / 'out', bags, params, '--resume')
    assert code == 0 and states(report) == {
        'drive0': ('earlier', 0), 'drive1': ('replayed', 0), 'drive2': ('replayed', 0)}


def test_children_end_when_the_process_that_started_them_is_killed(tmp_path):
    params = parameters(tmp_path / 'p', models={'detector': {'latency_s': 0.2}})
    bag = bag_bench.make_bag(tmp_path / 'drive', bag_bench.frames(400))
    process = subprocess.Popen([*COMMAND, str(bag), '--params-file', str(params), '--output',
                                str(tmp_path / 'out'), '--jobs', '1'], cwd=ROOT,
                               stderr=subprocess.DEVNULL)
    try:
        wait_for((tmp_path / 'out' / 'bags' / 'drive' / 'INCOMPLETE').is_file, process)
        child, = children_of(process.pid)
    finally:
        process.kill()
        process.wait()
    deadline = time.monotonic() + 60
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(child)


def test_a_process_that_dies_takes_only_its_own_bag_with_it(tmp_path, monkeypatch):
    fake = tmp_path / 'python'
    fake.write_text('#!/bin/sh\necho "Fatal Python error" >&2\nkill -SEGV $$\n')
    fake.chmod(0o755)
    bag = bag_bench.make_bag(tmp_path / 'drive', bag_bench.frames(1))
    monkeypatch.setattr(sys, 'executable', str(fake))
    outcome = run_job(BagJob('drive', bag, tmp_path / 'out'), lambda: False)
    assert (outcome.state, outcome.exit_code) == ('failed', 1)
    assert outcome.problems == ('the process of its replay ended with signal SIGSEGV: Fatal '
                                'Python error',)


def test_each_bag_is_compared_with_its_own_baseline(whole, drives, tmp_path, capsys):
    params = parameters(tmp_path / 'p', models={'detector': {'detections': BOXES[:1]}})
    more = bag_bench.make_bag(tmp_path / 'new', bag_bench.frames(1))
    code, report = run(tmp_path / 'out', [drives / 'a_early', more], params, '--baseline',
                       str(whole[0] / 'out' / 'report.json'))
    bags = {bag['name']: bag for bag in report['bags']}
    assert code == 1 and bags['a_early']['exit_code'] == 1
    assert '3 lost (car 3)' in bags['a_early']['regressions'][0]
    assert 'has no bag new, only a_early, b_late, c_cut' in bags['new']['problems'][0]
    assert 'a_early: regression: camera front' in capsys.readouterr().out


@contextmanager
def local_cluster(workers):
    """Yield a cluster of processes on this machine."""
    distributed = pytest.importorskip('distributed')
    dask = pytest.importorskip('dask')
    # Dask would ask NVML for GPUs, also one that another test of this process plays.
    with dask.config.set({'distributed.diagnostics.nvml': False}):
        with distributed.LocalCluster(n_workers=workers, threads_per_worker=1, processes=True,
                                      dashboard_address=None) as cluster:
            yield cluster


def test_on_a_cluster_of_processes(drives, whole, tmp_path):
    with local_cluster(2) as cluster:
        code, report = run(tmp_path / 'out', drives, whole[0] / 'p' / 'node.yaml', '--scheduler',
                           cluster.scheduler_address)
        assert code == 1 and states(report) == states(whole[1])
        assert report['models'] == whole[1]['models']
        again = run(tmp_path / 'out', drives, whole[0] / 'p' / 'node.yaml', '--scheduler',
                    cluster.scheduler_address, '--resume')[1]
    assert states(again) == {'a_early': ('earlier', 0), 'b_late': ('earlier', 0),
                             'c_cut': ('failed', 2)}


def test_an_interruption_ends_what_runs_on_a_cluster(tmp_path):
    params = parameters(tmp_path / 'p', models={'detector': {'latency_s': 0.2}})
    bag = bag_bench.make_bag(tmp_path / 'drive', bag_bench.frames(400))
    with local_cluster(1) as cluster:
        process = subprocess.Popen([*COMMAND, str(bag), '--params-file', str(params), '--output',
                                    str(tmp_path / 'out'), '--scheduler',
                                    cluster.scheduler_address], cwd=ROOT,
                                   stderr=subprocess.DEVNULL)
        folder = tmp_path / 'out' / 'bags' / 'drive'
        try:
            wait_for((folder / 'INCOMPLETE').is_file, process)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        finally:
            process.kill()
            process.wait()
        assert 'Terminated' in (folder / 'INCOMPLETE').read_text()


def test_a_scheduler_that_is_not_there_is_bad_input(drives, whole, tmp_path, capsys, monkeypatch):
    params = whole[0] / 'p' / 'node.yaml'
    monkeypatch.setitem(sys.modules, 'distributed', None)
    assert run(tmp_path / 'out', drives, params, '--scheduler', 'tcp://127.0.0.1:9')[0] == 2
    assert 'pip install "dask[distributed]"' in capsys.readouterr().err
    monkeypatch.undo()
    pytest.importorskip('distributed')
    from c7_inference_ros.tools.replaying import bag_runners
    monkeypatch.setattr(bag_runners, '_CONNECT_S', '1s')
    for address in ('tcp://127.0.0.1:9', 'nonsense://x'):
        assert run(tmp_path / 'out', drives, params, '--scheduler', address, '--overwrite')[0] == 2
        assert f'--scheduler {address} does not answer' in capsys.readouterr().err


def test_which_bags_are_found(drives, tmp_path):
    bags = [drives / name for name in ('a_early', 'b_late', 'c_cut')]
    assert find_bags([drives]) == bags and is_folder_of_bags(drives)
    assert find_bags([drives / 'b_late', drives]) == [bags[1], bags[0], bags[2]]
    unfinished = bag_bench.without_metadata(bag_bench.make_bag(tmp_path / 'one',
                                                               bag_bench.frames(1)))
    file = bag_bench.recorded_file(unfinished)
    for names in (['other.mcap'], ['one_0.mcap'], ['one_0.mcap', 'one_1.mcap']):
        for name in names:
            file = file.rename(file.with_name(name)) if name == names[0] else Path(
                shutil.copy(file, file.with_name(name)))
        assert find_bags([unfinished]) == [unfinished] and not is_folder_of_bags(unfinished)
    loose = tmp_path / 'loose'
    loose.mkdir()
    files = [Path(shutil.copy(file, loose / name)) for name in ('x.mcap', 'y.mcap')]
    assert find_bags([loose]) == files
    shutil.rmtree(loose)
    assert find_bags([tmp_path]) == [unfinished]
    assert unique_names([Path('/x/a'), Path('/y/a'), Path('/a_2'), Path('/z/a')]) == [
        'a', 'a_2', 'a_2_2', 'a_3']


@pytest.mark.parametrize('options, words', [
    (['--jobs', '0'], 'expected a whole number from 1'),
    (['--jobs', 'all'], 'expected a whole number from 1'),
    (['--jobs', '2', '--scheduler', 'tcp://a:1'], 'exclude each other'),
    (['--resume', '--overwrite'], 'give one of them'),
    (['--jobs', '1', '--baseline', '/nowhere/report.json'], 'cannot be read')])
def test_options_are_checked(drives, whole, tmp_path, capsys, options, words):
    assert run(tmp_path / 'out', drives, whole[0] / 'p' / 'node.yaml', *options)[0] == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_folders_without_bags_and_other_outputs_are_bad_input(drives, whole, tmp_path, capsys):
    params = whole[0] / 'p' / 'node.yaml'
    assert run(tmp_path / 'out', [drives, drives / 'pictures', tmp_path / 'gone'], params)[0] == 2
    said = capsys.readouterr().err
    assert 'pictures has no bag in it' in said and 'gone does not exist' in said
    assert run(whole[0] / 'out' / 'bags' / 'b_late', drives, params, '--resume')[0] == 2
    assert 'holds no replay of several bags' in capsys.readouterr().err
    assert run(whole[0] / 'out', drives, params)[0] == 2
    assert 'holds an earlier replay' in capsys.readouterr().err


def wait_for(condition, process):
    """Wait until something is so, for as long as a process runs."""
    deadline = time.monotonic() + 90
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def children_of(pid):
    """Return the processes that a process started."""
    found = []
    for task in Path(f'/proc/{pid}/task').iterdir():
        found += [int(word) for word in (task / 'children').read_text().split()]
    return found


def is_running(pid):
    """Return whether a process runs; one that nobody waited for has ended."""
    try:
        os.kill(pid, 0)
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except (OSError, IndexError):
        return False
