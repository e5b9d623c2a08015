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

"""
What an engine for this machine is tied to, found out without TensorRT, CUDA or NVML.

The gate compares engines with this before anything of TensorRT may be imported. A Jetson says
what it is in its device tree, other machines through nvidia-smi, and the packages in their files.
"""

from __future__ import annotations

from dataclasses import dataclass
import os
from pathlib import Path
import re
import subprocess
from typing import Any
from typing import Callable
from typing import Mapping

from c7_inference_ros.engines.package_version import installed_version
from c7_inference_ros.engines.types import ANY_SM
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import PACKAGES
from c7_inference_ros.engines.types import TENSORRT
from c7_inference_ros.engines.types import TENSORRT_RTX
from c7_inference_ros.engines.types import X86
from c7_inference_ros.errors import RuntimeNotAvailableError

#: Compute capability by system on chip. Thor was 10.1 before CUDA 13, which TensorRT for it needs.
_SMS = {'tegra210': '53', 'tegra186': '62', 'tegra194': '72', 'tegra234': '87', 'tegra264': '110'}
#: Modules by part number; on whatever board they sit, they have one GPU and one memory. The first
#: AGX developer kit has the memory of the 32GB module and the GPU of the 64GB one.
_MODULES = {
    'p3701-0000': 'Jetson AGX Orin Developer Kit 32GB', 'p3701-0004': 'Jetson AGX Orin 32GB',
    'p3701-0005': 'Jetson AGX Orin 64GB', 'p3701-0008': 'Jetson AGX Orin Industrial',
    'p3767-0000': 'Jetson Orin NX 16GB', 'p3767-0001': 'Jetson Orin NX 8GB',
    'p3767-0003': 'Jetson Orin Nano 8GB', 'p3767-0004': 'Jetson Orin Nano 4GB',
    'p3767-0005': 'Jetson Orin Nano 8GB', 'p3834-0008': 'Jetson Thor T5000',
}
_DEVICE_TREES = ('proc/device-tree', 'sys/firmware/devicetree/base')
_RELEASE = re.compile(r'#\s*R(\d+)\s*\(release\),\s*REVISION:\s*(\d+(?:\.\d+)*)')
_NVIDIA_SMI_TIMEOUT_S = 20.0

Run = Callable[..., 'subprocess.CompletedProcess[str]']


@dataclass(frozen=True)
class HostFacts:
    """
    What is known of a machine; None where it is not.

    :param sm: compute capability without its dot.
    :param device_name: the GPU, or the module of a Jetson; empty where unknown.
    :param platform: L4T release of a Jetson, or ``x86``.
    :param versions: version by package, of those that are installed.
    :param problems: why something is not known and what to do, by ``sm``, ``platform`` and
        package.
    """

    sm: str | None
    device_name: str
    platform: str | None
    versions: Mapping[str, str]
    problems: Mapping[str, str]

    def host(self, package: str = 'auto') -> HostTuple:
        """
        Return what engines of a package are tied to.

        :param package: ``tensorrt``, ``tensorrt_rtx``, or ``auto`` for the first that is
            installed.
        :raises RuntimeNotAvailableError: something is not known; says what to do.
        """
        if package == 'auto':
            package = next((name for name in PACKAGES if name in self.versions), '')
            if not package:
                raise RuntimeNotAvailableError(
                    '; '.join(self.problems[name] for name in PACKAGES))
        if package not in PACKAGES:
            raise RuntimeNotAvailableError(
                f'TensorRT package {package!r} does not exist; expected auto, '
                f'{" or ".join(PACKAGES)}')
        if package not in self.versions:
            raise RuntimeNotAvailableError(self.problems[package])
        # An engine of TensorRT-RTX is compiled for its GPU when it is loaded.
        sm = ANY_SM if package == TENSORRT_RTX else self.sm
        if sm is None:
            raise RuntimeNotAvailableError(self.problems['sm'])
        if self.platform is None:
            raise RuntimeNotAvailableError(self.problems['platform'])
        return HostTuple(sm, self.platform, package, self.versions[package], self.device_name)


def probe_host(package: str = 'auto', *, root: Path = Path('/'), run: Run = subprocess.run,
               device: int = 0) -> HostTuple:
    """
    Return what an engine for this machine is tied to.

    :param package: ``tensorrt``, ``tensorrt_rtx``, or ``auto`` for the first that is installed.
    :param root: where the file system of the machine is; a recorded tree in tests.
    :param run: starts nvidia-smi.
    :param device: number of the GPU, as CUDA counts.
    :raises RuntimeNotAvailableError: something is not known; says what to do.
    """
    return probe_facts(root=root, run=run, device=device).host(package)


def probe_facts(*, root: Path = Path('/'), run: Run = subprocess.run,
                device: int = 0, environ: Mapping[str, str] = os.environ) -> HostFacts:
    """
    Return what is known of this machine; parameters as in :func:`probe_host`.

    :param environ: where ``CUDA_VISIBLE_DEVICES`` is looked up.
    """
    problems: dict[str, str] = {}
    compatible = _compatible(root)
    release = _l4t_release(root)
    is_jetson = release is not None or any(name.startswith('nvidia,tegra') for name in compatible)
    platform = release if is_jetson else X86
    if platform is None:
        problems['platform'] = (
            f'the L4T release of this Jetson is not known: {root / "etc/nv_tegra_release"} is '
            f'missing or of another form; in a container mount it from the host, read-only')
    sm = next((_SMS[name[7:]] for name in compatible
               if name.startswith('nvidia,') and name[7:] in _SMS), None)
    device_name = _module(root, compatible) if is_jetson else ''
    if sm is None:
        answer = _ask_nvidia_smi(run, device, environ)
        if isinstance(answer, str):
            tree = f'; its device tree says {", ".join(compatible)}' if is_jetson else ''
            problems['sm'] = f'the compute capability of GPU {device} is not known: {answer}{tree}'
        else:
            sm, device_name = answer[0], device_name or answer[1]
    versions = {}
    for package in PACKAGES:
        version = installed_version(package)
        if version is None:
            problems[package] = f'{package} is not installed; {_INSTALL[package]}'
        else:
            versions[package] = version
    return HostFacts(sm, device_name, platform, versions, problems)


_INSTALL = {
    TENSORRT: 'on a Jetson: apt-get install python3-libnvinfer, and a virtual environment with '
              '--system-site-packages; on x86: pip install tensorrt',
    TENSORRT_RTX: 'pip install tensorrt-rtx-cu12'}


def _compatible(root: Path) -> list[str]:
    """Return what the board says it is, most specific first; nothing without a device tree."""
    return [name for name in _device_tree(root, 'compatible').split('\0') if name]


def _device_tree(root: Path, name: str) -> str:
    for folder in _DEVICE_TREES:
        try:
            return (root / folder / name).read_bytes().decode('ascii', 'replace')
        except OSError:
            continue
    return ''


def _module(root: Path, compatible: list[str]) -> str:
    for name in compatible:
        # As in nvidia,p3768-0000+p3767-0005-super: the board, the module, and a power mode.
        for part in reversed(re.findall(r'p\d{4}-\d{4}', name)):
            if part in _MODULES:
                return _MODULES[part]
    return ' '.join(_device_tree(root, 'model').replace('\0', ' ').split())


def _l4t_release(root: Path) -> str | None:
    """Return the L4T release of a Jetson, as in 36.4.3."""
    try:
        text = (root / 'etc/nv_tegra_release').read_text(encoding='utf-8', errors='replace')
    except OSError:
        return _l4t_package(root)
    match = _RELEASE.search(text)
    return f'{match[1]}.{match[2]}' if match else _l4t_package(root)


def _l4t_package(root: Path) -> str | None:
    """Return the same from the list of Debian packages, as in 36.4.3-20250107174145."""
    try:
        text = (root / 'var/lib/dpkg/status').read_text(encoding='utf-8', errors='replace')
    except OSError:
        return None
    match = re.search(r'^Package: nvidia-l4t-core\n(?:.+\n)*?Version: (\d+(?:\.\d+)+)-', text,
                      re.MULTILINE)
    return match[1] if match else None


def _ask_nvidia_smi(run: Run, device: int, environ: Mapping[str, str]
                    ) -> tuple[str, str] | str:
    """Return (compute capability, name) of a GPU, or why there is none."""
    number = _visible_device(device, environ)
    if number is None:
        return (f'CUDA_VISIBLE_DEVICES is {environ["CUDA_VISIBLE_DEVICES"]!r} and hides it; '
                f'correct it, or engines.device')
    command = ['nvidia-smi', '--query-gpu=compute_cap,name', '--format=csv,noheader', '-i', number]
    try:
        done: Any = run(command, capture_output=True, text=True, errors='replace', check=False,
                        timeout=_NVIDIA_SMI_TIMEOUT_S)
    except FileNotFoundError:
        return ('nvidia-smi is not installed; install the NVIDIA driver, or give the container '
                'the GPU (--gpus, NVIDIA_DRIVER_CAPABILITIES with utility)')
    except subprocess.TimeoutExpired:
        return (f'nvidia-smi did not answer within {_NVIDIA_SMI_TIMEOUT_S:g} s; the driver hangs: '
                f'look into dmesg, and restart the machine')
    except OSError as error:
        return f'nvidia-smi cannot be started: {error.strerror or error}; install the driver anew'
    said = ' '.join(f'{done.stdout} {done.stderr}'.split())[:200]
    match = re.fullmatch(r'\s*(\d{1,2})\.(\d)\s*,\s*(\S.*?)\s*', done.stdout)
    if done.returncode or match is None:
        return (f'nvidia-smi said {said!r} (exit code {done.returncode}), expected a compute '
                f'capability and a name, as in 8.6, NVIDIA RTX A2000; check engines.device and '
                f'the driver')
    return match[1] + match[2], match[3]


def _visible_device(device: int, environ: Mapping[str, str]) -> str | None:
    """Return the GPU that CUDA counts as this one, in the words of nvidia-smi."""
    visible = environ.get('CUDA_VISIBLE_DEVICES')
    if visible is None:
        return str(device)
    names = [name.strip() for name in visible.split(',')]
    # CUDA stops at the first entry that it does not know.
    if device >= len(names) or not re.match(r'\d|GPU-', names[device]):
        return None
    return names[device]
