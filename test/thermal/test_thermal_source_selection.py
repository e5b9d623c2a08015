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

"""Which sources a machine gets, and that having none is visible."""

from pathlib import Path

from c7_inference_ros.thermal.combined import CombinedSource
from c7_inference_ros.thermal.linux import LinuxThermalSource
from c7_inference_ros.thermal.source import NullSource
from c7_inference_ros.thermal.source import ThermalSource
from c7_inference_ros.thermal.source_selection import select_source
from c7_inference_ros.thermal.source_selection import SOURCE_GROUPS
import pytest


def source_type(name, present, devices=(), absence=None):
    """Return a source class of that name; ``present`` may be an exception to raise."""
    class Source(NullSource):

        device_names = devices or (name,)

        def is_present(self):
            if isinstance(present, Exception):
                raise present
            return present

    Source.name = name
    if absence is not None:
        Source.absence = absence
    return Source


@pytest.fixture(autouse=True)
def no_gpu_of_this_machine(monkeypatch):
    """Keep a GPU of the machine that runs the tests out of them."""
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')


def test_a_laptop_gets_the_linux_source(laptop_tree):
    reasons = []
    source = select_source(laptop_tree.root, on_reason=reasons.append)
    assert isinstance(source, LinuxThermalSource)
    assert source.read(0).hottest.temperature_c == 47.0
    reason, = reasons
    assert reason.startswith(f'thermal source linux reads host from {laptop_tree.root} (jetson has'
                             ' no sensor here: ')
    assert reason.endswith(f'; nvml has no sensor here: {laptop_tree.root} is not the sysfs of'
                           ' this machine)')


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


def test_every_source_that_ships_is_one(tmp_path):
    names = [[builder(tmp_path).name for builder in group] for group in SOURCE_GROUPS]
    assert names == [['jetson'], ['linux', 'nvml']]
    for group in SOURCE_GROUPS:
        assert all(isinstance(builder(tmp_path), ThermalSource) for builder in group)


def test_a_board_is_read_alone(tmp_path):
    reasons = []
    groups = [[source_type('jetson', True)], [source_type('linux', True)]]
    assert select_source(tmp_path, groups, reasons.append).name == 'jetson'
    assert reasons == [f'thermal source jetson reads jetson from {tmp_path}']


def test_what_goes_together_is_read_together_and_the_absent_are_named(tmp_path):
    reasons = []
    groups = [[source_type('jetson', False, absence='no board')],
              [source_type('linux', True, ('host',)), source_type('old', OSError('no driver')),
               source_type('nvml', True, ('gpu0', 'gpu1')), source_type('none', False)],
              [source_type('never', True)]]
    source = select_source(tmp_path, groups, reasons.append)
    assert isinstance(source, CombinedSource) and isinstance(source, ThermalSource)
    assert (source.name, source.device_names) == ('linux+nvml', ('host', 'gpu0', 'gpu1'))
    assert reasons == [
        f'thermal source linux+nvml reads host, gpu0, gpu1 from {tmp_path} (jetson has no sensor'
        ' here: no board; old failed with OSError: no driver; none has no sensor here)']


def test_one_of_a_group_is_read_as_it_is(tmp_path):
    groups = [[source_type('linux', False), source_type('nvml', True)]]
    source = select_source(tmp_path, groups)
    assert source.name == 'nvml' and not isinstance(source, CombinedSource)


def test_a_gpu_is_read_beside_the_host(laptop_tree, monkeypatch):
    """The real sources, with a driver in the place of NVIDIA's."""
    pytest.importorskip('pynvml', reason='pynvml (nvidia-ml-py) is not installed')
    from c7_inference_ros.thermal.nvml import NvmlThermalSource
    from libnvml_double import LibnvmlDouble
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES')
    driver = LibnvmlDouble()
    driver.install(monkeypatch)
    driver.add().say(celsius=71)
    gpus = NvmlThermalSource('/sys')
    source = select_source(laptop_tree.root, [[LinuxThermalSource, lambda _: gpus]])
    state = source.read(5)
    gpus.close()
    assert [(device.name, device.source, device.hottest.temperature_c)
            for device in state.devices] == [('host', 'linux', 47.0), ('gpu0', 'nvml', 71.0)]
    assert state.is_telemetry_available and state.source == 'linux+nvml'


def test_builders_get_the_root_as_a_path():
    roots = []

    def build(root):
        roots.append(root)
        return source_type('jetson', True)(str(root))

    assert select_source('/sys', [[build]]).name == 'jetson'
    assert roots == [Path('/sys')]


def test_a_builder_that_fails_is_passed_over(tmp_path):
    def broken(root):
        raise ImportError('no module')

    source = select_source(tmp_path, [[broken]])
    assert 'broken failed with ImportError: no module' in source.reason


def test_a_broken_interface_is_noticed():
    assert not isinstance(object(), ThermalSource)
    with pytest.raises(TypeError):
        NullSource()
