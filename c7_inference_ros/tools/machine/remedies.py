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

"""Commands that mend things, in the words of the machine at hand."""

from __future__ import annotations

from dataclasses import dataclass
import shlex
from typing import Mapping

#: The ROS 2 distribution that is packaged for a release of Ubuntu or Debian.
DISTRIBUTIONS = {'jammy': 'humble', 'noble': 'jazzy'}
#: Where its packages are called otherwise than the Python package.
_APT = {'numpy': 'python3-numpy', 'yaml': 'python3-yaml', 'cv2': 'python3-opencv',
        'cryptography': 'python3-cryptography'}
_PIP = {'yaml': 'pyyaml', 'cv2': 'opencv-python-headless', 'pynvml': 'nvidia-ml-py',
        'tensorrt_rtx': 'tensorrt-rtx-cu12'}


@dataclass(frozen=True)
class Remedies:
    """
    How something is installed and set on one machine.

    :param is_jetson: whether TensorRT and CUDA come from JetPack.
    :param codename: of the distribution's release (``noble``); empty where there is none.
    :param has_apt: whether packages are installed with apt.
    :param is_root: whether sudo is not needed.
    :param python: the interpreter whose packages count.
    :param is_system_python: whether that is the one which apt installs packages for.
    :param is_managed: whether pip refuses to install into it (PEP 668).
    :param in_container: whether settings of the kernel are made outside.
    """

    is_jetson: bool
    codename: str
    has_apt: bool
    is_root: bool
    python: str
    is_system_python: bool
    is_managed: bool
    in_container: bool

    def root(self, command: str) -> str:
        """Return a command that needs root's privileges."""
        return command if self.is_root else f'sudo {command}'

    def apt(self, *packages: str) -> str:
        """Return the command that installs Debian packages."""
        return self.root(f'apt-get install -y {" ".join(packages)}')

    def pip(self, *packages: str) -> str:
        """Return the command that installs Python packages."""
        options = '--break-system-packages --user ' if self.is_managed else ''
        names = ' '.join(shlex.quote(name) for name in packages)
        return f'{shlex.quote(self.python)} -m pip install {options}{names}'

    def module(self, name: str) -> tuple[str, ...]:
        """Return what installs a Python module."""
        if name == 'tensorrt' and self.is_jetson:
            commands = [self.apt('tensorrt', 'python3-libnvinfer')]
            if not self.is_system_python:
                commands.append(self.system_packages())
            return tuple(commands)
        if self.has_apt and self.is_system_python and name in _APT:
            return (self.apt(_APT[name]),)
        return (self.pip(_PIP.get(name, name)),)

    def again(self, name: str, version: str = '') -> tuple[str, ...]:
        """Return what installs a Python module anew."""
        if self.has_apt and self.is_system_python and name in _APT and not version:
            return (self.root(f'apt-get install -y --reinstall {_APT[name]}'),)
        return (self.pip('--force-reinstall', _PIP.get(name, name) + version),)

    def system_packages(self) -> str:
        """Return what lets a virtual environment see the packages of the system."""
        return 'python3 -m venv --system-site-packages --upgrade "$VIRTUAL_ENV"'

    def ros(self, distribution: str, *packages: str) -> tuple[str, ...]:
        """
        Return what installs packages of ROS 2; nothing where it is packaged for no such system.

        :param distribution: the one that is used, or empty for the one of this system.
        """
        name = distribution or DISTRIBUTIONS.get(self.codename, '')
        if not name or not self.has_apt:
            return ()
        return (self.apt(*(f'ros-{name}-{package.replace("_", "-")}' for package in packages)),)

    def sysctl(self, values: Mapping[str, int]) -> tuple[str, ...]:
        """Return what sets values of the kernel, now and after the next start."""
        settings = [f'{name}={value}' for name, value in values.items()]
        lines = '\\n'.join(settings)
        keep = f"printf '{lines}\\n' | {self.root('tee /etc/sysctl.d/60-c7-images.conf')}"
        return (self.root(f'sysctl -w {" ".join(settings)}'), keep)
