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

"""What this machine is, read from trees of real boards and from what nvidia-smi says."""

import os
import subprocess
import sys

from c7_inference_ros.engines import host as host_module
from c7_inference_ros.engines.filename import engine_name
from c7_inference_ros.engines.filename import parse_engine_name
from c7_inference_ros.engines.host import probe_facts
from c7_inference_ros.engines.host import probe_host
from c7_inference_ros.engines.package_version import installed_version
from c7_inference_ros.engines.types import ANY_SM
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import RuntimeNotAvailableError
import pytest

R36 = ('# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed '
       'Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n')
ORIN_NANO = ['nvidia,p3768-0000+p3767-0005', 'nvidia,p3767-0005', 'nvidia,tegra234']
#: As apt-get install python3-libnvinfer leaves it; the binding itself is a library beside it.
JETSON_INIT = """
import ctypes
import glob
import os
import sys
import warnings

from .tensorrt import *
__version__ = "10.3.0"

# Provides Python's `with` syntax
def common_enter(this):
    return this
"""


def refuse(*arguments, **options):
    raise AssertionError(f'{arguments} was run')


def no_smi(*arguments, **options):
    raise FileNotFoundError(2, 'No such file or directory')


def says(stdout, returncode=0, stderr=''):
    """Return a nvidia-smi that says something, and what it was asked."""
    asked = []

    def run(command, **options):
        asked.append(command)
        assert 0 < options['timeout'] <= 60
        return subprocess.CompletedProcess(command, returncode, stdout, stderr)
    run.asked = asked
    return run


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def jetson(root, compatible=ORIN_NANO, release=R36, model='NVIDIA Jetson Orin Nano Developer Kit',
           tree='proc/device-tree'):
    """Write the files of a Jetson; the properties of its device tree end in a zero byte."""
    if compatible is not None:
        write(root / tree / 'compatible', '\0'.join(compatible) + '\0')
        write(root / tree / 'model', model + '\0')
    if release is not None:
        write(root / 'etc/nv_tegra_release', release)
    return root


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Give an empty place to install packages in, and hide those that are installed."""
    place = tmp_path / 'dist-packages'
    place.mkdir()
    kept = [path for path in sys.path if not os.path.isdir(path) or not any(
        os.path.exists(os.path.join(path, name)) for name in (
            'tensorrt', 'tensorrt_rtx', 'tensorrt_bindings', 'tensorrt_rtx_bindings'))]
    monkeypatch.setattr(sys, 'path', [str(place), *kept])
    for name in [name for name in sys.modules if name.startswith('tensorrt')]:
        monkeypatch.delitem(sys.modules, name)
    return place


@pytest.fixture
def tensorrt(packages):
    """Install TensorRT as on a Jetson."""
    write(packages / 'tensorrt/__init__.py', JETSON_INIT)
    return packages


# Jetson ---------------------------------------------------------------------------------

def test_a_jetson_as_it_is_with_jetpack_6_2(tmp_path, tensorrt):
    host = probe_host(root=jetson(tmp_path), run=refuse)
    assert host == HostTuple('87', '36.4.3', 'tensorrt', '10.3.0', 'Jetson Orin Nano 8GB')
    name = engine_name('yolox_nano', host, PrecisionMode.FP16)
    assert name.build() == 'yolox_nano__sm87_jp36.4.3_trt10.3.0_fp16.engine'
    assert parse_engine_name(name.build()).matches_host(host)


@pytest.mark.parametrize('compatible, model, sm, device', [
    (['nvidia,p3768-0000+p3767-0005-super', 'nvidia,p3767-0005', 'nvidia,tegra234'],
     'NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super', '87',
     'Jetson Orin Nano 8GB'),
    (['vendor,carrier-7', 'nvidia,p3767-0003', 'nvidia,tegra234'], 'Vendor X on Orin Nano', '87',
     'Jetson Orin Nano 8GB'),
    (['nvidia,p3768-0000+p3767-0004', 'nvidia,p3767-0004', 'nvidia,tegra234'], 'x', '87',
     'Jetson Orin Nano 4GB'),
    (['nvidia,p3737-0000+p3701-0005', 'nvidia,p3701-0005', 'nvidia,tegra234'],
     'NVIDIA Jetson AGX Orin Developer Kit', '87', 'Jetson AGX Orin 64GB'),
    (['nvidia,p3737-0000+p3701-0000', 'nvidia,p3701-0000', 'nvidia,tegra234'],
     'NVIDIA Jetson AGX Orin Developer Kit', '87', 'Jetson AGX Orin Developer Kit 32GB'),
    (['nvidia,p3737-0000+p3701-0004', 'nvidia,p3701-0004', 'nvidia,tegra234'], 'x', '87',
     'Jetson AGX Orin 32GB'),
    (['nvidia,p4071-0000+p3834-0008', 'nvidia,p3834-0008', 'nvidia,tegra264'],
     'NVIDIA Jetson AGX Thor Developer Kit', '110', 'Jetson Thor T5000'),
    (['nvidia,p3509-0000+p3668-0001', 'nvidia,tegra194'], 'NVIDIA Jetson Xavier NX', '72',
     'NVIDIA Jetson Xavier NX'),
    (['vendor,new', 'nvidia,p9999-0001', 'nvidia,tegra234'], 'Vendor  New\tBoard', '87',
     'Vendor New Board'),
])
def test_modules(tmp_path, tensorrt, compatible, model, sm, device):
    host = probe_host(root=jetson(tmp_path, compatible, model=model), run=refuse)
    assert (host.sm, host.device_name) == (sm, device)


def test_modules_with_the_same_compute_capability_are_told_apart():
    names = list(host_module._MODULES.values())
    assert len(set(names)) == len(names) - 1, 'only the two Orin Nano 8GB are the same'


@pytest.mark.parametrize('release, expected', [
    (R36, '36.4.3'), (R36.replace('4.3', '4.0'), '36.4.0'), (R36.replace('4.3', '5'), '36.5'),
    ('# R39 (release), REVISION: 2.2, GCID: 1, BOARD: generic\n', '39.2.2'),
    ('# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64\n', '35.4.1'),
    ('#R36(release),REVISION:4.3', '36.4.3')])
def test_l4t_releases(tmp_path, tensorrt, release, expected):
    assert probe_host(root=jetson(tmp_path, release=release), run=refuse).platform == expected


@pytest.mark.parametrize('release', [
    None, '', 'R36', '# R36 (release)', '# Rxx (release), REVISION: 4.3', '\0\xff'])
def test_an_l4t_release_that_cannot_be_read(tmp_path, tensorrt, release):
    root = jetson(tmp_path, release=release)
    with pytest.raises(RuntimeNotAvailableError, match='L4T release of this Jetson') as caught:
        probe_host(root=root, run=refuse)
    assert 'nv_tegra_release' in str(caught.value)
    # A file of Debian knows it too.
    write(root / 'var/lib/dpkg/status',
          'Package: nvidia-l4t-core-dev\nVersion: 1.1-1\n\nPackage: nvidia-l4t-core\n'
          'Status: install ok installed\nVersion: 36.4.4-20250616085344\n\n'
          'Package: other\nVersion: 2.2-2\n')
    assert probe_host(root=root, run=refuse).platform == '36.4.4'


def test_the_device_tree_of_sysfs_does_too(tmp_path, tensorrt):
    root = jetson(tmp_path, tree='sys/firmware/devicetree/base')
    assert probe_host(root=root, run=refuse).device_name == 'Jetson Orin Nano 8GB'


def test_a_new_chip_is_asked_through_nvidia_smi(tmp_path, tensorrt):
    root = jetson(tmp_path, ['nvidia,tegra999'], model='NVIDIA Jetson Next')
    host = probe_host(root=root, run=says('13.0, NVIDIA Next\n'))
    assert (host.sm, host.platform, host.device_name) == ('130', '36.4.3', 'NVIDIA Jetson Next')
    with pytest.raises(RuntimeNotAvailableError, match='its device tree says nvidia,tegra999'):
        probe_host(root=root, run=no_smi)


def test_a_container_on_a_jetson_without_a_device_tree(tmp_path, tensorrt):
    with pytest.raises(RuntimeNotAvailableError, match='compute capability of GPU 0 is not known'):
        probe_host(root=jetson(tmp_path, compatible=None), run=says('[N/A], Orin (nvgpu)\n'))


def test_another_arm_board_is_no_jetson(tmp_path, tensorrt):
    root = jetson(tmp_path, ['raspberrypi,5-model-b', 'brcm,bcm2712'], release=None)
    host = probe_host(root=root, run=says('8.9, NVIDIA L4\n'))
    assert (host.platform, host.device_name) == ('x86', 'NVIDIA L4')


# Other machines -------------------------------------------------------------------------

@pytest.mark.parametrize('said, sm, name', [
    ('8.6, NVIDIA RTX A2000\n', '86', 'NVIDIA RTX A2000'), ('9.0, NVIDIA H100\n', '90',
                                                            'NVIDIA H100'),
    ('12.0, NVIDIA GeForce RTX 5090\r\n', '120', 'NVIDIA GeForce RTX 5090'),
    ('7.5,Tesla T4', '75', 'Tesla T4'), ('8.6, A, B\n', '86', 'A, B')])
def test_what_nvidia_smi_says(tmp_path, tensorrt, said, sm, name):
    run = says(said)
    host = probe_host(root=tmp_path, run=run, device=1)
    assert host == HostTuple(sm, 'x86', 'tensorrt', '10.3.0', name)
    assert run.asked == [['nvidia-smi', '--query-gpu=compute_cap,name', '--format=csv,noheader',
                          '-i', '1']]


def timeout(command, **options):
    raise subprocess.TimeoutExpired(command, options['timeout'])


def may_not(command, **options):
    raise PermissionError(13, 'Permission denied')


@pytest.mark.parametrize('run, words', [
    (no_smi, 'nvidia-smi is not installed'), (timeout, 'did not answer within'),
    (may_not, 'cannot be started: Permission denied'), (says(''), "said ''"),
    (says('No devices were found\n'), 'No devices were found'),
    (says('No devices were found\n', 6), 'exit code 6'),
    (says('8.6, NVIDIA\n', 9), 'exit code 9'),
    (says('', 2, 'Field "compute_cap" is not a valid field to query.\n'), 'not a valid field'),
    (says('[N/A], Orin (nvgpu)\n'), r'\[N/A\]'), (says('8.6\n'), "said '8.6'"),
    (says('8.6, \n'), "said '8.6,'"), (says('86, NVIDIA\n'), '86, NVIDIA'),
    (says('8.6, A\n8.9, B\n'), 'A 8.9, B'), (says('x' * 9999), 'xxx'),
    (says('', 127, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA "
          'driver.\nMake sure that the latest driver is installed.\n'), 'has failed')])
def test_a_gpu_that_is_not_known(tmp_path, tensorrt, run, words):
    with pytest.raises(RuntimeNotAvailableError, match=words) as caught:
        probe_host(root=tmp_path, run=run)
    message = str(caught.value)
    assert message.startswith('the compute capability of GPU 0 is not known: ')
    assert '\n' not in message
    assert len(message) < 600


@pytest.mark.parametrize('visible, device, number', [
    (None, 2, '2'), ('3,1', 0, '3'), ('3, 1', 1, '1'),
    ('GPU-8932f937-d72c-4106-c12f-20bd9faed9f6', 0, 'GPU-8932f937-d72c-4106-c12f-20bd9faed9f6')])
def test_the_gpu_is_the_one_that_cuda_sees(tmp_path, visible, device, number):
    run = says('8.6, NVIDIA RTX A2000\n')
    environ = {} if visible is None else {'CUDA_VISIBLE_DEVICES': visible}
    assert probe_facts(root=tmp_path, run=run, device=device, environ=environ).sm == '86'
    assert run.asked[0][-1] == number


@pytest.mark.parametrize('visible', ['', '-1', '1', '-1,0', 'MIG-GPU-1'])
def test_a_gpu_that_cuda_does_not_see(tmp_path, visible):
    facts = probe_facts(root=tmp_path, run=refuse, device=0 if visible != '1' else 1,
                        environ={'CUDA_VISIBLE_DEVICES': visible})
    assert facts.sm is None
    assert 'CUDA_VISIBLE_DEVICES' in facts.problems['sm']


def test_the_real_program(tmp_path, tensorrt, monkeypatch):
    """Through the real subprocess, with a program of that name on the path."""
    program = tmp_path / 'bin/nvidia-smi'
    write(program, '#!/bin/sh\necho "8.6, GPU $4"\nprintf "\\377" >&2\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', f'{program.parent}:/usr/bin:/bin')
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    assert probe_host(root=tmp_path / 'none', device=3).device_name == 'GPU 3'
    monkeypatch.setattr(host_module, '_NVIDIA_SMI_TIMEOUT_S', 0.2)
    write(program, '#!/bin/sh\nexec sleep 60\n')
    with pytest.raises(RuntimeNotAvailableError, match='did not answer within 0.2 s'):
        probe_host(root=tmp_path / 'none')
    monkeypatch.setenv('PATH', str(tmp_path / 'nothing'))
    with pytest.raises(RuntimeNotAvailableError, match='is not installed'):
        probe_host(root=tmp_path / 'none')


# Packages -------------------------------------------------------------------------------

def wheel(place, distribution, version):
    write(place / f'{distribution.replace("-", "_")}-{version}.dist-info/METADATA',
          f'Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n')


def test_tensorrt_of_wheels(packages):
    """As tensorrt-cu12: the package takes its version from its bindings."""
    write(packages / 'tensorrt/__init__.py',
          'from tensorrt_bindings import *\nfrom tensorrt_bindings import __version__\n')
    write(packages / 'tensorrt_bindings/__init__.py', '__version__ = "10.13.0.35"\n')
    wheel(packages, 'tensorrt-cu12', '10.13.0.35.post1')
    assert installed_version('tensorrt') == '10.13.0.35'


def test_tensorrt_of_wheels_that_say_nothing_in_their_text(packages):
    write(packages / 'tensorrt/__init__.py', 'from tensorrt_bindings import *\n')
    wheel(packages, 'tensorrt-cu12', '10.0.1.post1')
    assert installed_version('tensorrt') == '10.0.1'


def test_both_packages(tmp_path, tensorrt):
    write(tensorrt / 'tensorrt_rtx/__init__.py', '__version__ = "1.7.1.116"\n')
    run = says('8.6, NVIDIA RTX A2000\n')
    assert probe_host(root=tmp_path, run=run).package == 'tensorrt'
    assert probe_host('tensorrt_rtx', root=tmp_path, run=run) == HostTuple(
        ANY_SM, 'x86', 'tensorrt_rtx', '1.7.1.116', 'NVIDIA RTX A2000')
    facts = probe_facts(root=tmp_path, run=run)
    assert facts.versions == {'tensorrt': '10.3.0', 'tensorrt_rtx': '1.7.1.116'}
    assert facts.problems == {}


def test_tensorrt_rtx_needs_no_gpu_for_its_engines(tmp_path, packages):
    write(packages / 'tensorrt_rtx/__init__.py', '__version__ = "1.7.1.116"\n')
    assert probe_host(root=tmp_path, run=no_smi) == HostTuple(
        ANY_SM, 'x86', 'tensorrt_rtx', '1.7.1.116', '')


def test_stubs_are_no_tensorrt(tmp_path, packages):
    """The published stubs are folders with .pyi files alone: a namespace that can be imported."""
    write(packages / 'tensorrt/__init__.pyi', '__version__: str\n')
    wheel(packages, 'tensorrt', '10.13.0.35')
    wheel(packages, 'tensorrt-stubs', '10.13.0.35.1')
    assert installed_version('tensorrt') is None
    with pytest.raises(RuntimeNotAvailableError, match='tensorrt is not installed'):
        probe_host('tensorrt', root=jetson(tmp_path), run=refuse)


def test_nothing_is_installed(tmp_path, packages):
    with pytest.raises(RuntimeNotAvailableError) as caught:
        probe_host(root=jetson(tmp_path), run=refuse)
    for words in ('tensorrt is not installed', 'python3-libnvinfer', 'tensorrt_rtx is not',
                  'pip install tensorrt-rtx-cu12'):
        assert words in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('text', ['', 'raise ImportError\n', '__version__ = compute()\n',
                                  '__version__ = "unknown"\n', '__version__ = "10"\n'])
def test_a_package_whose_version_is_not_known(tmp_path, packages, text):
    write(packages / 'tensorrt/__init__.py', text)
    assert installed_version('tensorrt') is None


def test_no_package_of_that_name(tmp_path):
    with pytest.raises(RuntimeNotAvailableError, match='expected auto, tensorrt or tensorrt_rtx'):
        probe_host('torch', root=tmp_path, run=no_smi)


def test_a_module_that_is_loaded_says_it_itself(packages, monkeypatch):
    import types
    module = types.ModuleType('tensorrt')
    module.__version__ = '10.16.0.7'
    monkeypatch.setitem(sys.modules, 'tensorrt', module)
    assert installed_version('tensorrt') == '10.16.0.7'


@pytest.mark.builder
def test_the_version_is_that_of_the_import_and_nothing_is_imported():
    pytest.importorskip('tensorrt_rtx', reason='TensorRT-RTX is not installed here')
    code = ('import sys\n'
            'from c7_inference_ros.engines.host import probe_host\n'
            'host = probe_host("tensorrt_rtx")\n'
            'assert not [name for name in sys.modules if name.startswith(("tensorrt", "cuda"))]\n'
            'import tensorrt_rtx\n'
            'assert host.version == tensorrt_rtx.__version__, host\n'
            'print(host.version)\n')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
