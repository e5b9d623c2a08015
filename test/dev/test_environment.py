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

"""The development environment is pinned, names no registry and refuses what is half built."""

from importlib import metadata
import importlib.util
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
DEV = ROOT / 'dev'
LOCKS = sorted(DEV.glob('requirements*.lock'))


def run(*command, **environment):
    """Run a command with variables changed (None takes one away); return what it did."""
    env = {key: value for key, value in {**os.environ, **environment}.items() if value is not None}
    return subprocess.run([str(part) for part in command], cwd=ROOT, env=env, text=True,
                          capture_output=True, timeout=60, check=False)


def load(name):
    """Return a module of dev/."""
    spec = importlib.util.spec_from_file_location(f'dev_{name}', DEV / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pins(lock):
    """Return name, version and marker of every pin of a lock file."""
    text = lock.read_text(encoding='utf-8')
    found = re.findall(r'^([\w.-]+)==(\S+?)(?: ; (.*?))? \\$', text, re.MULTILINE)
    assert found
    return found


@pytest.mark.parametrize('lock', LOCKS, ids=lambda path: path.name)
def test_every_pin_has_hashes_and_no_address(lock):
    text = lock.read_text(encoding='utf-8')
    blocks = re.split(r'\n(?=[^\s#])', text)[1:]
    assert len(blocks) == len(pins(lock))
    for block in blocks:
        assert '--hash=sha256:' in block, block.splitlines()[0]
    assert '://' not in text
    assert 'index-url' not in text


@pytest.mark.parametrize('lock', LOCKS, ids=lambda path: path.name)
def test_every_requirement_is_locked_and_says_why(lock):
    locked = {name for name, _, _ in pins(lock)}
    for line in lock.with_suffix('.in').read_text(encoding='utf-8').splitlines():
        if line.strip() and not line.startswith('#'):
            name = re.match(r'[\w.-]+', line).group()
            assert name in locked, f'{name} is not in {lock.name}; run: make lock'
            assert re.search(r'  # \S', line), f'{name} has no reason'


def test_installed_versions_are_the_locked_ones():
    """What runs here is what the lock file says, not what some other index had."""
    if not (ROOT / '.venv' / '.ready').exists() or Path(sys.prefix) != ROOT / '.venv':
        pytest.skip('these tests do not run in the environment of `make env`')
    markers = pytest.importorskip('packaging.markers')
    for name, version, marker in pins(DEV / 'requirements.lock'):
        if not marker or markers.Marker(marker).evaluate():
            assert metadata.version(name) == version, name


def test_every_environment_is_ignored_removed_and_explained():
    build_env = load('build_env')
    ignored = (ROOT / '.gitignore').read_text(encoding='utf-8').splitlines()
    makefile = (ROOT / 'Makefile').read_text(encoding='utf-8')
    distclean = makefile.partition('distclean: clean')[2]
    readme = (DEV / 'README.md').read_text(encoding='utf-8')
    script = (DEV / 'build_env.sh').read_text(encoding='utf-8')
    for name, (folder, lock, _) in build_env.ENVIRONMENTS.items():
        assert f'/{folder}/' in ignored and folder in distclean.split(), folder
        assert f'| `{folder}` |' in readme and f'dev/build_env.sh {name} ' in script, folder
        assert (DEV / lock).is_file()


def test_packages_without_hashes_are_pinned_and_say_why():
    build_env = load('build_env')
    for name in build_env.UNHASHED.values():
        text = (DEV / name).read_text(encoding='utf-8')
        versions = build_env.read_versions(DEV / name)
        assert versions and all(re.fullmatch(r'[\w-]+==[\d.]+', one) for one in versions)
        assert 'without hashes: ' in text
        assert not {one.partition('==')[0] for one in versions} & {
            pin for lock in LOCKS for pin, _, _ in pins(lock)}, 'a lock file pins it, too'


def test_the_key_of_an_environment_holds_what_it_is_made_of(monkeypatch):
    build_env = load('build_env')
    before = {name: build_env.Builder(name).packages_key() for name in build_env.ENVIRONMENTS}
    monkeypatch.setattr(build_env, 'read_versions', lambda path: ['torch==0.0.1'])
    after = {name: build_env.Builder(name).packages_key() for name in build_env.ENVIRONMENTS}
    assert {name for name in before if before[name] != after[name]} == set(build_env.UNHASHED)


class TestSuites:
    """dev/run_tests.py, with builds and runs that only say what they were asked."""

    @pytest.fixture
    def ran(self, monkeypatch):
        run_tests, ran = load('run_tests'), []

        def run_suite(title, python, targets, arguments):
            ran.append((title, Path(python).parts[-3], targets, arguments))
            return True, run_tests.line('ok', title, 'done')

        monkeypatch.setattr(run_tests, 'run_suite', run_suite)
        monkeypatch.setattr(run_tests, 'build', lambda name: 0)
        ran.append(run_tests)
        return ran

    def run(self, ran, monkeypatch, torch, *arguments):
        run_tests = ran.pop(0)
        monkeypatch.setenv('TORCH', torch)
        monkeypatch.setattr(sys, 'argv', ['run_tests.py', *arguments])
        assert run_tests.main() == 0
        return {title: (folder, targets, given) for title, folder, targets, given in ran}

    @pytest.mark.parametrize('torch', ['', '0'])
    def test_pytorch_is_opt_in(self, ran, monkeypatch, capsys, torch):
        suites = self.run(ran, monkeypatch, torch)
        assert 'runtimes with PyTorch' not in suites
        assert 'not asked for: make test TORCH=1' in capsys.readouterr().out

    def test_every_suite_where_it_is_asked_for(self, ran, monkeypatch):
        suites = self.run(ran, monkeypatch, '1', '-x')
        assert suites['builder API of TensorRT 10'] == (
            '.venv-rtx14', ['test/doubles', 'test/engines'], ['-m', 'builder', '-x'])
        assert suites['runtimes with PyTorch'] == (
            '.venv-torch', ['test/runtime'], ['-m', 'torch', '-x'])
        folder, targets, given = suites['core with NumPy 2']
        assert folder == '.venv-numpy2' and 'test/thermal' in targets
        assert given == ['-m', 'not long', '-x']

    def test_every_folder_runs_once_in_the_main_environment(self, ran, monkeypatch):
        suites = self.run(ran, monkeypatch, '0')
        ran = [*suites['all without ROS'][1], *suites['all with ROS'][1]]
        assert sorted(ran) == sorted({f'test/{path.relative_to(ROOT / "test").parts[0]}'
                                      for path in (ROOT / 'test').rglob('test_*.py')})
        assert '-m' not in suites['all without ROS'][2]
        assert '-n' not in suites['all with ROS'][2]

    @pytest.mark.parametrize('arguments', [[], ['-x'], ['-s'], ['--pdb']])
    def test_the_core_uses_every_core_where_output_is_captured(self, monkeypatch, arguments):
        run_tests = load('run_tests')
        monkeypatch.setattr(run_tests, 'CORES', 3)
        expected = [] if arguments and arguments[0] in ('-s', '--pdb') else [
            '-n', '3', '--dist', 'loadfile']
        assert run_tests.workers(arguments) == expected
        monkeypatch.setattr(run_tests, 'CORES', 1)
        assert run_tests.workers(arguments) == []

    def test_named_tests_run_alone(self, ran, monkeypatch):
        assert list(self.run(ran, monkeypatch, '1', 'test/vision')) == ['all']

    def test_an_environment_that_cannot_be_built_fails(self, monkeypatch):
        run_tests = load('run_tests')
        monkeypatch.setattr(run_tests, 'build', lambda name: 1)
        good, text = run_tests.run_marked('title', 'torch', ['test/runtime'], 'torch', [])
        assert not good and 'could not be built' in text

    def test_runs_beside_each_other_print_whole(self, capfd):
        run_tests = load('run_tests')
        both = threading.Barrier(run_tests.AT_A_TIME, timeout=30)

        def job(name):
            def run():
                for count in range(3):
                    both.wait()  # lines of two runs come in turns
                    print(name, count, file=run_tests._output.file)
                return name != 'bad', name
            return run

        names = ['good', 'bad'][:run_tests.AT_A_TIME]
        assert run_tests.side_by_side([job(name) for name in names]) == [
            (name != 'bad', name) for name in names]
        printed = capfd.readouterr().out
        for name in names:
            assert ''.join(f'{name} {count}\n' for count in range(3)) in printed

    def test_ci_asks_for_pytorch(self):
        text = (ROOT / '.ci' / 'run').read_text(encoding='utf-8')
        assert 'export TORCH=1' in text
        help_text = run('make', 'help').stdout if shutil.which('make') else 'TORCH=1'
        assert 'TORCH=1' in help_text


def test_cv_bridge_converts_both_ways():
    pytest.importorskip('rclpy', reason='no ROS 2 here')
    if np.lib.NumpyVersion(np.__version__) >= '2.0.0':
        pytest.skip('the cv_bridge wheel needs NumPy 1')
    bridge = pytest.importorskip('cv_bridge', reason='cv_bridge is not installed').CvBridge()
    picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    message = bridge.cv2_to_imgmsg(picture, 'bgr8')
    assert (message.height, message.width, message.step, message.encoding) == (4, 6, 18, 'bgr8')
    assert np.array_equal(bridge.imgmsg_to_cv2(message, 'bgr8'), picture)
    assert np.array_equal(bridge.imgmsg_to_cv2(message, 'rgb8'), picture[..., ::-1])


class TestInterpreter:
    """dev/find_python.sh."""

    def test_takes_the_one_that_is_named(self):
        found = run(DEV / 'find_python.sh', PYTHON=sys.executable)
        base = os.path.realpath(sys._base_executable)
        assert found.returncode == 0, found.stderr
        assert found.stdout.strip() == base

    def test_refuses_a_named_one_that_does_not_run(self):
        found = run(DEV / 'find_python.sh', PYTHON='no-such-python')
        assert found.returncode == 2
        assert 'PYTHON=no-such-python' in found.stderr
        assert '3.10' in found.stderr

    def test_passes_over_candidates_that_do_not_run(self, tmp_path):
        """A pyenv shim is there for versions that are not active, and fails."""
        for name, body in {'python3': 'exit 127', 'python3.12': 'exit 127',
                           'python3.11': f'exec "{sys.executable}" "$@"'}.items():
            shim = tmp_path / name
            shim.write_text(f'#!/bin/sh\n{body}\n', encoding='utf-8')
            shim.chmod(0o755)
        found = run(DEV / 'find_python.sh', PYTHON=None, PATH=f'{tmp_path}:/usr/bin:/bin')
        assert found.stdout.strip() == os.path.realpath(sys._base_executable)


def pretend_built(checkout):
    """Make a checkout look as if its environment were built; return the environment."""
    venv = checkout / '.venv'
    (venv / 'lib' / 'python3.12' / 'site-packages' / 'ros_rcl.libs').mkdir(parents=True)
    (venv / '.ready').write_text('{}', encoding='utf-8')
    return venv


@pytest.fixture
def bare_checkout(tmp_path):
    """Return a checkout in which nothing is built yet."""
    checkout = tmp_path / 'checkout'
    shutil.copytree(DEV, checkout / 'dev', ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copytree(ROOT / 'config', checkout / 'config')
    return checkout


def test_names_all_missing_system_packages_at_once(bare_checkout, tmp_path):
    tools = tmp_path / 'bin'
    tools.mkdir()
    for name in ('bash', 'env', 'uname', 'dirname', 'readlink', 'cat'):
        (tools / name).symlink_to(shutil.which(name))
    done = run('bash', bare_checkout / 'dev' / 'build_env.sh', PYTHON=None, PATH=str(tools))
    assert done.returncode == 2
    for package in ('python3', 'python3-venv', 'python3-dev', 'g++', 'make'):
        assert re.search(rf'install -y .*{re.escape(package)}(\s|$)', done.stderr), done.stderr
    assert not (bare_checkout / '.venv').exists()


class TestShell:
    """dev/env.sh and dev/run."""

    def test_refuses_where_nothing_is_built(self, bare_checkout):
        done = run(bare_checkout / 'dev' / 'run', 'true')
        assert done.returncode == 2
        assert 'make env' in done.stderr

    def test_refuses_what_is_half_built(self, bare_checkout):
        (bare_checkout / '.venv' / 'bin').mkdir(parents=True)
        (bare_checkout / '.venv' / '.packages').write_text('{}', encoding='utf-8')
        done = run(bare_checkout / 'dev' / 'run', 'true')
        assert done.returncode == 2

    @pytest.mark.parametrize('shell', ['bash', 'zsh'])
    def test_sets_what_is_needed_and_leaves_the_rest(self, bare_checkout, shell):
        if shutil.which(shell) is None:
            pytest.skip(f'no {shell} on this machine')
        venv = pretend_built(bare_checkout)
        script = (f'. "{bare_checkout}/dev/env.sh"; . "{bare_checkout}/dev/env.sh"; '
                  'echo "status $?"; env; set | grep ^_c7 || true')
        done = run(shell, '-uc', script, PATH='/usr/bin:/bin', LD_LIBRARY_PATH='/opt/mine',
                   FASTRTPS_DEFAULT_PROFILES_FILE=None, FASTDDS_DEFAULT_PROFILES_FILE=None)
        lines = done.stdout.splitlines()
        assert 'status 0' in lines, done.stderr
        assert f'PATH={venv}/bin:/usr/bin:/bin' in lines
        assert f'AMENT_PREFIX_PATH={venv}' in lines
        assert f'PYTHONPATH={bare_checkout}' in lines
        assert 'ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST' in lines
        assert '_ROS_WHEELS_BOOTSTRAP_COMPLETE=1' in lines
        profile = bare_checkout / 'config' / 'fastdds_images.xml'
        assert f'FASTRTPS_DEFAULT_PROFILES_FILE={profile}' in lines
        wheels = venv / 'lib' / 'python3.12' / 'site-packages' / 'ros_rcl.libs'
        assert f'LD_LIBRARY_PATH={venv}/lib:{wheels}:/opt/mine' in lines
        assert not [line for line in lines if line.startswith('_c7')]

    def test_does_not_mix_with_a_ros_that_is_sourced(self, bare_checkout):
        pretend_built(bare_checkout)
        ros = '/opt/ros/jazzy'
        done = run(bare_checkout / 'dev' / 'run', 'env', ROS_DISTRO='jazzy', ROS_VERSION='2',
                   AMENT_PREFIX_PATH=ros, PYTHONPATH=f'{ros}/lib/python3.12/site-packages',
                   LD_LIBRARY_PATH=f'{ros}/lib', CMAKE_PREFIX_PATH=ros,
                   PATH=f'{ros}/bin:/usr/bin:/bin')
        assert done.returncode == 0, done.stderr
        assert ros not in done.stdout
        assert 'ROS_DISTRO' not in done.stdout
        assert 'ROS 2 jazzy is sourced' in done.stderr
