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

"""Which source a machine gets, and that having none is visible."""

from pathlib import Path

from c7_inference_ros.thermal.linux import LinuxThermalSource
from c7_inference_ros.thermal.source import NullSource
from c7_inference_ros.thermal.source import select_source
from c7_inference_ros.thermal.source import ThermalSource
import pytest


def source_type(name, present):
    """Return a source class of that name; ``present`` may be an exception to raise."""
    class Source(NullSource):

        def is_present(self):
            if isinstance(present, Exception):
                raise present
            return present

    Source.name = name
    return Source


def test_a_laptop_gets_the_linux_source(laptop_tree):
    reasons = []
    source = select_source(laptop_tree.root, on_reason=reasons.append)
    assert isinstance(source, LinuxThermalSource)
    assert source.read(0).hottest.temperature_c == 47.0
    assert reasons == [f'thermal source linux reads {laptop_tree.root}']


def test_a_machine_without_sensors_gets_the_source_that_knows_nothing(tree):
    reasons = []
    source = select_source(tree.root, on_reason=reasons.append)
    assert isinstance(source, NullSource)
    assert isinstance(source, ThermalSource)
    state = source.read(9)
    assert not state.is_telemetry_available
    assert state.measured_at_ns == 9
    assert state.faults == tuple(reasons)
    assert 'linux has no sensor here' in reasons[0]


def test_the_first_present_source_is_taken_and_the_others_are_named(tmp_path):
    reasons = []
    builders = [source_type('jetson', False), source_type('nvml', OSError('no driver')),
                source_type('linux', True), source_type('never', True)]
    assert select_source(tmp_path, builders, reasons.append).name == 'linux'
    assert reasons == [f'thermal source linux reads {tmp_path} (jetson has no sensor here; nvml'
                       ' failed with OSError: no driver)']


def test_builders_get_the_root_as_a_path():
    roots = []

    def build(root):
        roots.append(root)
        return source_type('jetson', True)(str(root))

    assert select_source('/sys', [build]).name == 'jetson'
    assert roots == [Path('/sys')]


def test_a_builder_that_fails_is_passed_over(tmp_path):
    def broken(root):
        raise ImportError('no module')

    source = select_source(tmp_path, [broken])
    assert 'broken failed with ImportError: no module' in source.reason


def test_a_broken_interface_is_noticed():
    assert not isinstance(object(), ThermalSource)
    with pytest.raises(TypeError):
        NullSource()
