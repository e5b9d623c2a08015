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

"""An output folder is one run's: an earlier one is gone, a stranger's is left alone."""

from pathlib import Path
import subprocess
import sys

from demo.errors import DemoError
from demo.graph import choose_domain_id
from demo.graph import prepare_environment
from demo.output import fresh_folder
from demo.output import only_run
import pytest

DEV = Path(__file__).resolve().parents[2] / 'dev'


def test_results_of_an_earlier_run_go(tmp_path):
    folder = tmp_path / 'demo_output'
    (folder / 'bag').mkdir(parents=True)
    for name in ('summary.json', 'bag/bag.mcap', '.annotated.part.mp4', '.summary.json.part'):
        (folder / name).write_text('old')
    fresh_folder(folder)
    assert list(folder.iterdir()) == [] and list(tmp_path.iterdir()) == [folder]


def test_the_summary_goes_first(tmp_path, monkeypatch):
    (tmp_path / 'bag').mkdir()
    (tmp_path / 'summary.json').write_text('old')
    (tmp_path / 'annotated.mp4').write_text('old')

    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, 'unlink', lambda path, missing_ok=False: path.rename(
        path.with_name('.gone.part')) if path.name == 'summary.json' else interrupted(path))
    monkeypatch.setattr('demo.output.shutil.rmtree', interrupted)
    with pytest.raises(KeyboardInterrupt):
        fresh_folder(tmp_path)
    assert not (tmp_path / 'summary.json').exists()


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / 'summary.json').write_text('old')
    (tmp_path / 'thesis.tex').write_text('precious')
    with pytest.raises(DemoError, match='thesis.tex') as caught:
        fresh_folder(tmp_path)
    assert caught.value.exit_code == 2
    assert (tmp_path / 'thesis.tex').exists() and (tmp_path / 'summary.json').exists()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / 'file').write_text('')
    for path in (tmp_path / 'file', tmp_path / 'file' / 'below'):
        with pytest.raises(DemoError) as caught:
            fresh_folder(path)
        assert caught.value.exit_code == 2


def test_two_runs_never_share_a_folder(tmp_path):
    output, locks = tmp_path / 'out', tmp_path / 'locks'
    code = ('import sys; sys.path.insert(0, sys.argv[1])\n'
            'from demo.output import only_run\n'
            'from pathlib import Path\n'
            'with only_run(Path(sys.argv[2]), Path(sys.argv[3])):\n'
            '    print("held", flush=True); sys.stdin.read()\n')
    first = subprocess.Popen(
        [sys.executable, '-c', code, str(DEV), str(output), str(locks)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == 'held\n'
        with pytest.raises(DemoError, match='another demo') as caught:
            with only_run(output, locks):
                pass
        with only_run(tmp_path / 'other', locks):
            pass
    finally:
        first.communicate()
    assert str(first.pid) in str(caught.value)
    with only_run(output, locks):
        pass


def test_a_wanted_domain_is_checked():
    assert choose_domain_id(42) == 42
    with pytest.raises(DemoError) as caught:
        choose_domain_id(233)
    assert caught.value.exit_code == 2


def test_a_busy_domain_is_not_chosen(monkeypatch):
    import socket

    from demo import graph
    monkeypatch.setattr(graph, 'DOMAINS', range(97, 98))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        try:
            taken.bind(('127.0.0.1', 7400 + 250 * 97 + 10))
        except OSError:
            pytest.skip('domain 97 is in use on this machine')
        with pytest.raises(DemoError, match='in use'):
            graph.choose_domain_id(None)
    assert graph.choose_domain_id(None) == 97


def test_the_graph_stays_on_this_machine(monkeypatch, tmp_path):
    import os
    monkeypatch.setattr(os, 'environ', {'ROS_STATIC_PEERS': '192.0.2.1', 'ROS_DOMAIN_ID': '0',
                                        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET'})
    assert prepare_environment(tmp_path, 42) == tmp_path / 'config' / 'fastdds_images.xml'
    assert os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    assert os.environ['ROS_DOMAIN_ID'] == '42'
    assert 'ROS_STATIC_PEERS' not in os.environ
    os.environ['FASTRTPS_DEFAULT_PROFILES_FILE'] = 'mine.xml'
    assert str(prepare_environment(tmp_path, 42)) == 'mine.xml'
