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

"""The package builds with colcon, and its node runs from the install space."""

import os
from pathlib import Path
import shlex
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip('colcon_core', reason='colcon is not installed; run: make env')
pytest.importorskip('rclpy', reason='no ROS 2 here')

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = 'c7_inference_ros'
#: Of this process, so that a node started by another test is not taken for ours. Domains above
#: 101 reach into the kernel's ephemeral ports.
DOMAIN = 1 + os.getpid() % 101


@pytest.fixture(scope='module')
def workspace(tmp_path_factory):
    """Build the package into a folder of its own; return that folder."""
    folder = tmp_path_factory.mktemp('workspace')
    done = subprocess.run(
        ['colcon', '--log-base', folder / 'log', 'build', '--base-paths', ROOT,
         '--build-base', folder / 'build', '--install-base', folder / 'install',
         '--packages-select', PACKAGE],
        cwd=folder, env={**os.environ, 'PYTHONPATH': ''}, text=True, capture_output=True,
        timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '1 package finished' in done.stdout + done.stderr
    return folder


@pytest.fixture(scope='module')
def environment(workspace):
    """Return the environment after sourcing the install space; the checkout is not in it."""
    script = f'. {shlex.quote(str(workspace / "install" / "setup.sh"))} && env -0'
    clean = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    clean['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    clean['ROS_DOMAIN_ID'] = str(DOMAIN)
    output = subprocess.run(['sh', '-c', script], cwd=workspace, env=clean, text=True,
                            capture_output=True, timeout=60, check=True).stdout
    environment = dict(entry.split('=', 1) for entry in output.split('\0') if entry)
    assert str(ROOT) not in environment['PYTHONPATH'].split(os.pathsep)
    return environment


def test_everything_is_installed(workspace):
    share = workspace / 'install' / PACKAGE / 'share'
    assert (share / 'ament_index' / 'resource_index' / 'packages' / PACKAGE).is_file()
    assert (share / PACKAGE / 'package.xml').is_file()
    for folder in ('launch', 'config', 'models'):
        files = {path.name for path in (ROOT / folder).iterdir() if path.is_file()}
        assert files
        assert {path.name for path in (share / PACKAGE / folder).iterdir()} == files


def test_imports_and_finds_its_files_in_the_install_space(workspace, environment):
    script = (f'import {PACKAGE}\n'
              'from ament_index_python.packages import get_package_share_directory\n'
              f'from {PACKAGE}.resources import share_folder\n'
              f'print({PACKAGE}.__file__, get_package_share_directory("{PACKAGE}"),\n'
              '      share_folder(), sep="\\n")')
    done = subprocess.run([sys.executable, '-c', script], cwd=workspace, env=environment,
                          text=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    module, index, share = done.stdout.splitlines()
    install = workspace / 'install' / PACKAGE
    assert Path(module).is_relative_to(install)
    assert Path(index) == Path(share) == install / 'share' / PACKAGE


def get_state_of_node(node, service, process, deadline):
    """Return the label of the lifecycle state, or None when the node ended or gave no answer."""
    from lifecycle_msgs.srv import GetState
    import rclpy

    def is_waiting():
        return process.poll() is None and time.monotonic() < deadline

    client = node.create_client(GetState, service)
    executor = rclpy.executors.SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    try:
        while is_waiting() and not client.service_is_ready():
            executor.spin_once(timeout_sec=0.05)
        future = client.call_async(GetState.Request())
        while is_waiting() and not future.done():
            executor.spin_once(timeout_sec=0.05)
        return future.result().current_state.label if future.done() else None
    finally:
        executor.shutdown()
        node.destroy_client(client)


def test_node_starts_from_the_install_space_and_ends_on_sigint(workspace, environment):
    import rclpy

    executable = workspace / 'install' / PACKAGE / 'lib' / PACKAGE / 'inference_node'
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=DOMAIN)
    log = workspace / 'node.log'
    with open(log, 'wb') as output:
        process = subprocess.Popen(
            [executable, '--ros-args', '-r', '__node:=installed_node'], cwd=workspace,
            env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        node = rclpy.create_node('colcon_test', context=context)
        state = get_state_of_node(
            node, '/installed_node/get_state', process, time.monotonic() + 20)
        assert state == 'unconfigured', log.read_text()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=15) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        context.try_shutdown()
