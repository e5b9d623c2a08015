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

"""Machines for the doctor to look at: their files, environment, programs and libraries."""

from pathlib import Path
import subprocess
import sys

from c7_inference_ros.engines import host as host_module
from c7_inference_ros.tools.doctor import main
from c7_inference_ros.tools.machine.libraries import ABSENT
from c7_inference_ros.tools.machine.libraries import ASKED
from c7_inference_ros.tools.machine.libraries import Library
from c7_inference_ros.tools.machine.libraries import OK
from c7_inference_ros.tools.machine.surroundings import Surroundings

TESTS = Path(__file__).resolve().parents[1]
for folder in ('thermal', 'engines', 'runtime'):
    sys.path.insert(0, str(TESTS / folder))

from board_trees import plant  # noqa: E402, I100
from thermal_sysfs import laptop as laptop_sysfs  # noqa: E402
from thermal_sysfs import SysfsTree  # noqa: E402

MIB, GIB = 1 << 20, 1 << 30
CPU = 'CPUExecutionProvider'
KNOWN = ['TensorrtExecutionProvider', 'CUDAExecutionProvider', CPU]
R36 = '# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n'
UBUNTU = ('PRETTY_NAME="Ubuntu {0} LTS"\nID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME={1}\n')


def works(name, version='1.0', **values):
    return Library(name, OK, version, values=values)


class World:
    """
    One machine; tests change it before they look.

    :param root: stands for ``/``.
    """

    def __init__(self, root, monkeypatch):
        """Make an empty PC on which nothing is installed."""
        self.root = root
        self.environ = {}
        self.libraries = {name: Library(name, ABSENT, problem='not installed', missing=name)
                          for name in ASKED}
        self.providers = {}
        self.programs = {}
        self.limits = {'RLIMIT_NOFILE': 65536}
        self.shm = (8 * GIB, 8 * GIB)
        self.versions = {}
        self.changes = {'user': 1000, 'prefix': '/usr', 'python': '/usr/bin/python3',
                        'is_managed': False}
        monkeypatch.setattr(host_module, 'installed_version', self.versions.get)
        self.write('proc/cpuinfo', 'processor\t: 0\nmodel name\t: A CPU\n')
        self.memory(16 * GIB, 12 * GIB)
        self.write('proc/sys/kernel/osrelease', '6.8.0-generic\n')
        for name in ('rmem_max', 'wmem_max'):
            self.write(f'proc/sys/net/core/{name}', f'{8 * MIB}\n')
        (root / 'dev/shm').mkdir(parents=True)

    def write(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def memory(self, total, available):
        self.write('proc/meminfo', f'MemTotal:       {total // 1024} kB\n'
                                   f'MemAvailable:   {available // 1024} kB\n')

    def ask(self, name, *arguments, timeout_s):
        if name == 'provider':
            return self.providers.get(arguments[0], works(
                'onnxruntime', loaded=[arguments[0], CPU]))
        return self.libraries[name]

    def run(self, command, **options):
        """Play a program: its answer by the first words of its command line."""
        line = ' '.join(command)
        for begin, answer in self.programs.items():
            if line.startswith(begin):
                return subprocess.CompletedProcess(command, 0, answer, '')
        raise FileNotFoundError(2, 'No such file or directory')

    def around(self):
        return Surroundings(
            root=self.root, environ=self.environ, run=self.run, which=self.programs.get,
            ask=self.ask, limit=self.limits.get, disk_bytes=lambda path: self.shm,
            timeout_s=5.0, **self.changes)

    def install(self, name, version='1.0', **values):
        self.libraries[name] = works(name, version, **values)

    def core(self):
        """Install what every node needs, and ONNX Runtime for the CPU."""
        self.install('numpy', '1.26.4')
        self.install('cv2', '4.6.0')
        self.install('yaml', '6.0.1')
        self.install('cv_bridge', '3.2.1', compiled=True, numpy='1.26.4')
        self.install('onnxruntime', '1.23.2', available=[CPU], known=KNOWN)
        self.install('cryptography', '41.0')

    def ros(self, distribution, rmw='rmw_fastrtps_cpp'):
        """Install and source a distribution."""
        prefix = self.root / 'opt/ros' / distribution
        self.write(f'opt/ros/{distribution}/setup.bash', '')
        index = f'opt/ros/{distribution}/share/ament_index/resource_index'
        self.write(f'{index}/rmw_typesupport/{rmw}', '')
        self.write(f'{index}/packages/c7_inference_ros', '')
        self.environ.update(ROS_DISTRO=distribution, AMENT_PREFIX_PATH=str(prefix))
        self.install('rclpy', '7.1.1', absent=[], rmw=rmw)

    def gpu(self, sm='8.6', name='NVIDIA RTX A2000', total=6144, free=5900):
        """Plug a GPU in, with its driver."""
        self.programs['nvidia-smi --query-gpu=compute_cap'] = f'{sm}, {name}\n'
        self.programs['nvidia-smi --query-gpu=memory.total'] = f'{total}, {free}, 550.120\n'

    def trt(self, version='10.3.0', number='100300'):
        """Install TensorRT and PyCUDA."""
        self.versions['tensorrt'] = version
        self.install('tensorrt', version, libraries={'libnvinfer.so.10': number})
        self.install('pycuda', '2024.1', driver=12060, devices=1)

    def doctor(self, *arguments):
        return main([str(one) for one in arguments], self.around())


def jetson(world, board='orin_nano'):
    """Make a Jetson with JetPack 6.2 and Humble of a world."""
    world.board = plant(board, world.root)
    world.write('etc/nv_tegra_release', R36)
    world.write('etc/os-release', UBUNTU.format('22.04.5', 'jammy'))
    world.write('usr/local/cuda/version.json', '{"cuda": {"version" : "12.6.11"}}')
    world.memory(7620 * MIB, 6000 * MIB)
    world.core()
    world.ros('humble')
    world.trt()
    return world


def jazzy_pc(world):
    """Make a PC with Ubuntu 24.04, Jazzy and a GPU of a world."""
    laptop_sysfs(SysfsTree(world.root / 'sys'))
    world.write('etc/os-release', UBUNTU.format('24.04.1', 'noble'))
    world.write('sys/class/dmi/id/sys_vendor', 'LENOVO\n')
    world.write('sys/class/dmi/id/product_name', 'ThinkStation P3\n')
    world.core()
    world.ros('jazzy')
    world.gpu()
    world.trt('10.3.0')
    return world


def bare_laptop(world):
    """Make a laptop with Ubuntu 24.04 and nothing else of a world."""
    laptop_sysfs(SysfsTree(world.root / 'sys'))
    world.write('etc/os-release', UBUNTU.format('24.04.1', 'noble'))
    world.core()
    return world
