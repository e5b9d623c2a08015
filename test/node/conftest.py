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

from pathlib import Path
import sys

from graph import isolate
from harness import dummy_model
from harness import dummy_parameters
from harness import Graph
import pytest

# Trees of temperature sensors are written by a module of the thermal tests.
sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ('thermal', 'runtime')]

_graphs = []


@pytest.fixture(scope='session', autouse=True)
def isolated_graphs(tmp_path_factory):
    """Keep every graph of these tests on this machine and away from those of others."""
    isolate(tmp_path_factory.mktemp('ros_log'))


@pytest.fixture
def ros(tmp_path):
    """Return an empty graph."""
    yield from _open(tmp_path)


@pytest.fixture(scope='module')
def shared_ros(tmp_path_factory):
    """Return an empty graph that the tests of a module share."""
    yield from _open(tmp_path_factory.mktemp('graph'))


@pytest.fixture
def scripted(ros, tmp_path):
    """Return a function that starts a node with a scripted model, configured and active."""
    def start(script=None, parameters=None, *arguments, transitions=('configure', 'activate'),
              **options):
        path = dummy_model(tmp_path / 'model.yaml', **(script or {}))
        process, client = ros.start({**dummy_parameters(path), **(parameters or {})},
                                    *arguments, **options)
        client.change_states(*transitions)
        return process, client
    return start


def _open(folder):
    opened = Graph(folder)
    _graphs.append(opened)
    try:
        yield opened
    finally:
        _graphs.remove(opened)
        opened.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Show what the nodes wrote when a test failed."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for opened in _graphs:
            report.sections.append(('output of the nodes', opened.logs()))
