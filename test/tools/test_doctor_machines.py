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

"""What the doctor says of whole machines, each planted as files, environment and libraries."""

import json

from c7_inference_ros.tools.machine.dds_profile import shipped_path
from c7_inference_ros.tools.machine.libraries import BROKEN
from c7_inference_ros.tools.machine.libraries import CRASHED
from c7_inference_ros.tools.machine.libraries import Library
from doctor_bench import bare_laptop
from doctor_bench import CPU
from doctor_bench import jazzy_pc
from doctor_bench import jetson
from doctor_bench import MIB
from doctor_bench import UBUNTU
from doctor_bench import World
import pytest


@pytest.fixture
def world(tmp_path, monkeypatch):
    return World(tmp_path / 'root', monkeypatch)


@pytest.fixture
def look(world, capsys):
    """Look at the world; return (exit code, findings by name)."""
    def look(*arguments):
        exit_code = world.doctor('--json', *arguments)
        report = json.loads(capsys.readouterr().out)
        assert report['exit_code'] == exit_code
        assert report['would_start'] is (exit_code == 0)
        for finding in report['findings']:
            # Whatever is missing is mended by something that can be typed.
            assert finding['verdict'] != 'missing' or finding['commands'], finding
            assert '\n' not in finding['text'] + finding['advice']
        return exit_code, {finding['name']: finding for finding in report['findings']}
    return look


def verdicts(findings, verdict):
    return {name for name, one in findings.items() if one['verdict'] == verdict}


def test_a_jetson_with_jetpack_6_2(world, look):
    jetson(world)
    world.environ['FASTRTPS_DEFAULT_PROFILES_FILE'] = str(shipped_path())
    exit_code, found = look()
    assert exit_code == 0
    assert found['board']['text'].startswith('Jetson Orin Nano 8GB (NVIDIA Jetson Orin Nano')
    assert found['system']['text'] == 'Ubuntu 22.04.5 LTS, L4T 36.4.3'
    assert found['GPU']['text'] == (
        'Jetson Orin Nano 8GB, SM 8.7, 7.4 GiB shared with the processor, 5.9 GiB free')
    assert found['CUDA']['text'] == 'toolkit 12.6.11'
    assert found['TensorRT']['text'] == '10.3.0, and libnvinfer.so.10 is 10.3.0'
    assert found['PyCUDA']['text'] == '2024.1, driver 12.6, 1 GPU(s)'
    assert found['power mode']['text'] == 'MAXN_SUPER (number 2)'
    assert found['heat']['verdict'] == 'ok' and found['heat']['text'].startswith('cool: ')
    assert found['distribution']['text'] == 'humble'
    assert verdicts(found, 'missing') == set() == verdicts(found, 'warn')


def test_a_jetson_whose_python_does_not_see_tensorrt(world, look):
    jetson(world)
    world.libraries['tensorrt'] = Library('tensorrt', 'absent', problem='not installed')
    del world.versions['tensorrt']
    package = ('Package: {0}\nStatus: install ok installed\nVersion: 10.3.0.30-1+cuda12.5\n'
               'Description: x\n\n')
    world.write('var/lib/dpkg/status', package.format('libnvinfer10'))
    found = look()[1]['TensorRT']
    assert 'its library is installed (10.3.0.30-1+cuda12.5)' in found['text']
    assert found['commands'] == ['sudo apt-get install -y python3-libnvinfer']
    # The module is there, but only the Python of the system sees it.
    world.write('var/lib/dpkg/status', package.format('libnvinfer10')
                + package.format('python3-libnvinfer'))
    world.changes['prefix'] = '/srv/venv'
    assert '--system-site-packages' in look()[1]['TensorRT']['commands'][0]


def test_tensorrt_and_its_bindings_that_differ(world, look):
    jetson(world)
    world.trt('10.3.0', '100700')
    found = look()[1]['TensorRT']
    assert found['verdict'] == 'warn'
    assert found['text'] == 'its Python module is 10.3.0, and libnvinfer.so.10 is 10.7.0'
    assert found['commands'] == ['sudo apt-get install -y tensorrt python3-libnvinfer']
    # A library of another generation beside it is no contradiction.
    world.install('tensorrt', '10.3.0', libraries={
        'libnvinfer.so.10': '100300', 'libnvinfer.so.11': '110000'})
    assert look()[1]['TensorRT']['verdict'] == 'ok'


def test_a_jetson_in_a_container_without_its_release(world, look):
    jetson(world)
    (world.root / 'etc/nv_tegra_release').unlink()
    world.write('.dockerenv', '')
    found = look()[1]
    assert found['system']['verdict'] == 'missing'
    assert 'nv_tegra_release:ro' in found['system']['commands'][0]
    assert 'inside a container (docker)' in found['board']['text']


def test_a_pc_with_jazzy_and_a_gpu(world, look):
    jazzy_pc(world)
    world.install('onnxruntime', '1.23.2', available=[
        'TensorrtExecutionProvider', 'CUDAExecutionProvider', CPU], known=[])
    world.providers['CUDAExecutionProvider'] = Library(
        'onnxruntime', 'ok', values={'loaded': [CPU]},
        said='[E] libcublasLt.so.12: cannot open shared object file: No such file')
    exit_code, found = look()
    assert exit_code == 0
    assert found['board']['text'] == 'LENOVO ThinkStation P3'
    assert found['GPU']['text'] == 'NVIDIA RTX A2000, SM 8.6, 6.0 GiB, 5.8 GiB free'
    assert found['driver']['text'] == '550.120'
    assert found['TensorrtExecutionProvider']['text'] == 'loads, and runs a model'
    cuda = found['CUDAExecutionProvider']
    assert cuda['verdict'] == 'missing' and 'libcublasLt.so.12' in cuda['text']
    assert 'CUDA 12' in cuda['advice'] and cuda['commands'] == ['ldconfig -p | grep libcublasLt']
    # The board's own heat and that of the processor are one device of a PC.
    assert found['source']['verdict'] == 'ok'


def test_the_hidden_gpu_of_another_number(world, look):
    jazzy_pc(world)
    asked = []
    run = world.run
    world.run = lambda command, **options: asked.append(command) or run(command, **options)
    world.environ['CUDA_VISIBLE_DEVICES'] = '3,1'
    look()
    numbers = {command[-1] for command in asked if command[0] == 'nvidia-smi'}
    assert numbers == {'3'}


def test_a_gpu_without_a_driver(world, look):
    bare_laptop(world)
    world.write('sys/bus/pci/devices/0000:01:00.0/vendor', '0x10de\n')
    world.write('sys/bus/pci/devices/0000:01:00.0/class', '0x030000\n')
    found = look()[1]['GPU']
    assert found['verdict'] == 'missing'
    assert found['commands'] == ['sudo ubuntu-drivers install']
    # Its sound device alone is no GPU.
    world.write('sys/bus/pci/devices/0000:01:00.0/class', '0x040300\n')
    assert look()[1]['GPU']['text'] == 'none is visible; the CPU runs the models'


def test_a_bare_laptop(world, look):
    bare_laptop(world)
    exit_code, found = look()
    assert exit_code == 1
    assert {name for name, one in found.items() if one['is_blocking']} == {'rclpy'}
    assert found['distribution']['commands'] == ['sudo apt-get install -y ros-jazzy-ros-base']
    assert found['TensorRT']['text'] == 'not installed, and not needed'
    assert found['GPU']['verdict'] == 'ok'
    assert found['heat']['verdict'] == 'ok'
    # Root needs no sudo, and a system without apt no apt.
    world.changes['user'] = 0
    assert look()[1]['distribution']['commands'] == ['apt-get install -y ros-jazzy-ros-base']
    world.write('etc/os-release', 'ID=arch\nPRETTY_NAME="Arch Linux"\n')
    assert look()[1]['distribution']['commands'][0].startswith('docker run ')


def test_nothing_at_all(world, look):
    """Without NumPy that is the only thing that can be said."""
    exit_code, found = look()
    assert exit_code == 1 and list(found) == ['NumPy']
    assert found['NumPy']['commands'] == ['/usr/bin/python3 -m pip install numpy']
    world.install('numpy', '2.1')
    exit_code, found = look()
    assert {name for name, one in found.items() if one['is_blocking']} == {
        'OpenCV', 'ONNX Runtime', 'rclpy'}


def test_numpy_that_crashes(world, look):
    world.libraries['numpy'] = Library(
        'numpy', CRASHED, problem='ended its process with SIGILL (step: import)')
    exit_code, found = look()
    assert exit_code == 1 and 'another processor' in found['NumPy']['advice']


@pytest.mark.parametrize('changes, expected', [
    ({}, 'sudo apt-get install -y python3-opencv'),
    ({'prefix': '/opt/python3.11', 'python': '/opt/python3.11/bin/python'},
     '/opt/python3.11/bin/python -m pip install opencv-python-headless')])
def test_packages_of_the_python_that_runs(world, look, changes, expected):
    bare_laptop(world)
    world.libraries['cv2'] = Library('cv2', 'absent')
    world.changes.update(changes)
    assert look()[1]['OpenCV']['commands'] == [expected]


def test_a_python_that_pip_may_not_change(world, look):
    bare_laptop(world)
    world.libraries['onnxruntime'] = Library('onnxruntime', 'absent')
    world.changes['is_managed'] = True
    exit_code, found = look()
    assert exit_code == 1
    assert found['ONNX Runtime']['commands'] == [
        '/usr/bin/python3 -m pip install --break-system-packages --user onnxruntime']


def test_cv_bridge_that_was_built_for_another_numpy(world, look):
    jazzy_pc(world)
    world.libraries['cv_bridge'] = Library(
        'cv_bridge', BROKEN, problem='ImportError: numpy.core.multiarray failed to import',
        values={'numpy': '2.1.0'},
        said='A module that was compiled using NumPy 1.x cannot be run in NumPy 2.1.0')
    exit_code, found = look()
    assert exit_code == 0  # the usual encodings need none
    assert found['cv_bridge']['verdict'] == 'warn'
    assert 'built for another NumPy' in found['cv_bridge']['advice']
    assert found['cv_bridge']['commands'] == ["/usr/bin/python3 -m pip install 'numpy<2'"]


def test_opencv_without_its_libraries(world, look):
    jazzy_pc(world)
    world.libraries['cv2'] = Library(
        'cv2', BROKEN, problem='ImportError: libGL.so.1: cannot open shared object file: No such')
    exit_code, found = look()
    assert exit_code == 1
    assert found['OpenCV']['commands'] == ['sudo apt-get install -y libgl1']


def test_pytorch_that_finds_no_gpu(world, look):
    jazzy_pc(world)
    world.install('torch', '2.4.0', cuda='12.4', devices=[])
    assert look()[1]['PyTorch']['verdict'] == 'warn'
    world.install('torch', '2.4.0', cuda='12.4', devices=[{'name': 'X', 'sm': '86'}])
    assert look()[1]['PyTorch']['text'] == '2.4.0, for CUDA 12.4, X SM 86'


# ROS -------------------------------------------------------------------------------------

def test_ros_that_is_not_sourced(world, look):
    jazzy_pc(world)
    for name in ('ROS_DISTRO', 'AMENT_PREFIX_PATH'):
        del world.environ[name]
    world.libraries['rclpy'] = Library('rclpy', 'absent')
    exit_code, found = look()
    assert exit_code == 1
    assert found['distribution']['text'] == 'jazzy is installed and not sourced in this shell'
    assert found['rclpy']['commands'] == ['source /opt/ros/jazzy/setup.bash']


def test_messages_that_are_missing(world, look):
    jazzy_pc(world)
    world.install('rclpy', '7.1.1', rmw='rmw_fastrtps_cpp', absent=[
        "vision_msgs/LabelInfo (cannot import name 'LabelInfo')"])
    exit_code, found = look()
    assert exit_code == 1
    assert found['rclpy']['commands'] == ['sudo apt-get install -y ros-jazzy-vision-msgs']


def test_middleware_that_is_not_installed(world, look):
    jazzy_pc(world)
    world.environ['RMW_IMPLEMENTATION'] = 'rmw_cyclonedds_cpp'
    exit_code, found = look()
    assert exit_code == 1
    assert found['middleware']['commands'] == [
        'sudo apt-get install -y ros-jazzy-rmw-cyclonedds-cpp']
    assert 'Fast DDS profile' not in found
    world.environ['RMW_IMPLEMENTATION'] = 'rmw_fastrtp_cpp'
    found = look()[1]['middleware']
    assert found['commands'] == ['export RMW_IMPLEMENTATION=rmw_fastrtps_cpp']


def test_another_middleware_than_the_one_that_loads(world, look):
    jazzy_pc(world)
    world.install('rclpy', '7.1.1', absent=[], rmw='rmw_cyclonedds_cpp')
    found = look()[1]['middleware']
    assert found['verdict'] == 'warn'
    assert found['text'] == 'rmw_cyclonedds_cpp is loaded, not rmw_fastrtps_cpp'


@pytest.mark.parametrize('text, verdict, is_blocking', [
    ('0', 'ok', False), ('101', 'ok', False), ('102', 'warn', False), ('233', 'missing', True),
    ('-1', 'missing', True), ('seven', 'missing', True)])
def test_the_domain(world, look, text, verdict, is_blocking):
    jazzy_pc(world)
    world.environ['ROS_DOMAIN_ID'] = text
    found = look()[1]['domain']
    assert (found['verdict'], found['is_blocking']) == (verdict, is_blocking)


@pytest.mark.parametrize('environ, verdict, text', [
    ({}, 'ok', 'the local network'),
    ({'ROS_LOCALHOST_ONLY': '1'}, 'ok', 'this machine only'),
    ({'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}, 'ok', 'this machine only'),
    ({'ROS_AUTOMATIC_DISCOVERY_RANGE': 'OFF'}, 'warn', 'OFF'),
    ({'ROS_AUTOMATIC_DISCOVERY_RANGE': 'localhost'}, 'warn', "is 'localhost'"),
    ({'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET', 'ROS_LOCALHOST_ONLY': '1'}, 'warn',
     'ROS_LOCALHOST_ONLY is 1')])
def test_discovery(world, look, environ, verdict, text):
    jazzy_pc(world)
    world.environ.update(environ)
    found = look()[1]['discovery']
    assert found['verdict'] == verdict and text in found['text']
    if text == "is 'localhost'":
        assert found['commands'] == ['export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST']


def test_a_range_that_humble_does_not_know(world, look):
    jetson(world)
    world.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    assert look()[1]['discovery']['commands'] == ['export ROS_LOCALHOST_ONLY=1']


def test_the_profile_in_force(world, look, tmp_path):
    jazzy_pc(world)
    name = 'FASTRTPS_DEFAULT_PROFILES_FILE'
    found = look()[1]['Fast DDS profile']
    assert found['verdict'] == 'warn' and found['commands'] == [f'export {name}={shipped_path()}']
    copy = tmp_path / 'copy.xml'
    copy.write_bytes(shipped_path().read_bytes())
    world.environ[name] = str(copy)
    assert look()[1]['Fast DDS profile']['verdict'] == 'ok'
    copy.write_bytes(copy.read_bytes().replace(b'67108864', b'600000'))
    found = look()[1]['Fast DDS profile']
    assert found['verdict'] == 'warn' and 'has 600000 bytes of shared memory' in found['text']
    copy.write_text('<dds')
    assert 'is no XML' in look()[1]['Fast DDS profile']['text']
    world.environ[name] = str(tmp_path / 'gone.xml')
    assert 'cannot be read (No such file' in look()[1]['Fast DDS profile']['text']
    world.environ[name] = str(shipped_path())
    world.environ['RMW_FASTRTPS_USE_QOS_FROM_XML'] = '1'
    assert look()[1]['Fast DDS profile']['commands'] == ['unset RMW_FASTRTPS_USE_QOS_FROM_XML']


def test_newer_distributions_read_another_variable(world, look):
    jazzy_pc(world)
    world.ros('kilted')
    world.environ['FASTRTPS_DEFAULT_PROFILES_FILE'] = str(shipped_path())
    found = look()[1]
    assert found['Fast DDS profile']['commands'] == [
        f'export FASTDDS_DEFAULT_PROFILES_FILE={shipped_path()}']
    assert found['distribution']['verdict'] == 'warn'


# Container -------------------------------------------------------------------------------

def test_a_container(world, look):
    world.write('.dockerenv', '')
    world.write('etc/os-release', UBUNTU.format('24.04.1', 'noble'))
    world.core()
    world.ros('jazzy')
    world.shm = (64 * MIB, 64 * MIB)
    for name in ('rmem_max', 'wmem_max'):
        (world.root / f'proc/sys/net/core/{name}').unlink()
    exit_code, found = look()
    assert exit_code == 0
    assert 'inside a container (docker)' in found['board']['text']
    assert found['GPU']['verdict'] == 'unknown' and '--gpus all' in found['GPU']['commands'][0]
    assert found['/dev/shm']['commands'] == ['docker run --shm-size=256m ...']
    assert found['socket buffers']['verdict'] == 'unknown'
    assert found['source']['verdict'] == 'unknown'


def test_memory_of_a_container(world, look):
    jazzy_pc(world)
    world.write('proc/self/cgroup', '0::/app\n')
    world.write('sys/fs/cgroup/app/memory.max', f'{900 * MIB}\n')
    world.write('sys/fs/cgroup/app/memory.current', f'{100 * MIB}\n')
    found = look()[1]['memory']
    assert found['verdict'] == 'warn' and '800.0 MiB available' in found['text']


# Heat ------------------------------------------------------------------------------------

def test_a_board_that_throttles(world, look):
    jetson(world)
    (world.board.zones['gpu-thermal'] / 'temp').write_text('98500\n')
    found = look()[1]['heat']
    assert found['verdict'] == 'warn' and found['text'].startswith('hot: ')


def test_a_power_mode_that_is_not_told(world, look):
    jetson(world)
    (world.root / 'var/lib/nvpmodel/status').unlink()
    found = look()[1]['power mode']
    assert found['verdict'] == 'unknown' and found['commands'] == ['sudo nvpmodel -q']
