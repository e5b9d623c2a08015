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

"""The GPU: what it is, its driver, and which CUDA there is."""

from __future__ import annotations

from dataclasses import dataclass
import re

from c7_inference_ros.engines.host import HostFacts
from c7_inference_ros.tools.console import size_text
from c7_inference_ros.tools.machine.board import Board
from c7_inference_ros.tools.machine.board import memory_bytes
from c7_inference_ros.tools.machine.findings import Finding
from c7_inference_ros.tools.machine.findings import Verdict
from c7_inference_ros.tools.machine.remedies import Remedies
from c7_inference_ros.tools.machine.surroundings import Surroundings

SECTION = 'GPU'
_MEMORY = re.compile(r'\s*(\d+)\s*,\s*(\d+)\s*,\s*([\d.]+)\s*')
_CUDA_VERSION = re.compile(r'"version"\s*:\s*"(\d+\.\d+[.\d]*)"')


@dataclass(frozen=True)
class Gpu:
    """
    The GPU that engines would run on.

    :param is_there: whether there is one.
    :param total_bytes: its memory; that of the board where they share it. None where unknown.
    :param free_bytes: what is free of it.
    :param driver: version of its driver, empty where unknown.
    :param is_shared: whether it works in the memory of the board.
    """

    is_there: bool
    total_bytes: int | None
    free_bytes: int | None
    driver: str
    is_shared: bool


def look_at_gpu(around: Surroundings, board: Board, facts: HostFacts, device: int = 0) -> Gpu:
    """
    Return the GPU.

    :param device: its number, as CUDA counts.
    """
    if board.is_jetson:
        total, available = memory_bytes(around)
        return Gpu(facts.sm is not None, total, available, _tegra_driver(around), True)
    if facts.sm is None:
        return Gpu(False, None, None, _module_version(around), False)
    visible = around.environ.get('CUDA_VISIBLE_DEVICES')
    names = visible.split(',') if visible is not None else []
    number = names[device].strip() if device < len(names) else str(device)
    said = around.command_output(
        'nvidia-smi', '--query-gpu=memory.total,memory.free,driver_version',
        '--format=csv,noheader,nounits', '-i', number)
    match = _MEMORY.fullmatch(said or '')
    if match is None:
        return Gpu(True, None, None, _module_version(around), False)
    return Gpu(True, int(match[1]) << 20, int(match[2]) << 20, match[3], False)


def gpu_findings(around: Surroundings, board: Board, facts: HostFacts, gpu: Gpu,
                 remedies: Remedies) -> list[Finding]:
    """Return the lines about the GPU."""
    return [_gpu(around, board, facts, gpu, remedies), _driver(gpu), _cuda(around, board, gpu)]


def _gpu(around: Surroundings, board: Board, facts: HostFacts, gpu: Gpu,
         remedies: Remedies) -> Finding:
    if gpu.is_there and facts.sm is not None:
        memory = ''
        if gpu.total_bytes is not None and gpu.free_bytes is not None:
            where = ' shared with the processor' if gpu.is_shared else ''
            memory = f', {size_text(gpu.total_bytes)}{where}, {size_text(gpu.free_bytes)} free'
        return Finding(SECTION, 'GPU', Verdict.OK,
                       f'{facts.device_name or "unnamed"}, SM {facts.sm[:-1]}.{facts.sm[-1]}'
                       f'{memory}',
                       values={'name': facts.device_name, 'sm': facts.sm,
                               'total_bytes': gpu.total_bytes, 'free_bytes': gpu.free_bytes,
                               'is_shared': gpu.is_shared})
    problem = facts.problems.get('sm', '')
    values = {'sm': None, 'problem': problem}
    if around.word('proc/driver/nvidia/version') or _has_nvidia_card(around):
        return Finding(SECTION, 'GPU', Verdict.MISSING,
                       'an NVIDIA GPU is here, and it cannot be used', problem,
                       _driver_commands(board, remedies), values=values)
    return Finding(SECTION, 'GPU', Verdict.UNKNOWN if board.container else Verdict.OK,
                   'none is visible; the CPU runs the models',
                   problem if board.container else '',
                   ('docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility ...',)
                   if board.container else (), values=values)


def _driver_commands(board: Board, remedies: Remedies) -> tuple[str, ...]:
    if board.container:
        return ('docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility ...',)
    if 'ubuntu' in board.identifiers:
        return (remedies.root('ubuntu-drivers install'),)
    return (remedies.apt('nvidia-driver'),) if remedies.has_apt else ()


def _has_nvidia_card(around: Surroundings) -> bool:
    try:
        folders = sorted((around.root / 'sys/bus/pci/devices').iterdir())
    except OSError:
        return False
    for folder in folders:
        place = f'sys/bus/pci/devices/{folder.name}'
        if around.word(f'{place}/vendor') == '0x10de' and around.word(
                f'{place}/class').startswith('0x03'):
            return True
    return False


def _driver(gpu: Gpu) -> Finding:
    values = {'driver': gpu.driver}
    if gpu.driver:
        return Finding(SECTION, 'driver', Verdict.OK, gpu.driver, values=values)
    if gpu.is_there:
        return Finding(SECTION, 'driver', Verdict.UNKNOWN, 'its version is not told',
                       values=values)
    return Finding(SECTION, 'driver', Verdict.OK, 'none, there is no GPU to drive', values=values)


def _cuda(around: Surroundings, board: Board, gpu: Gpu) -> Finding:
    found = _CUDA_VERSION.search(around.text('usr/local/cuda/version.json') or '')
    version = found[1] if found else ''
    if not version and gpu.is_there:
        said = around.command_output('nvcc', '--version') or ''
        told = re.search(r'release (\d+\.\d+)', said)
        version = told[1] if told else ''
    values = {'toolkit': version}
    if version:
        return Finding(SECTION, 'CUDA', Verdict.OK, f'toolkit {version}', values=values)
    if not gpu.is_there:
        return Finding(SECTION, 'CUDA', Verdict.OK, 'no toolkit, and no GPU that needs one',
                       values=values)
    return Finding(SECTION, 'CUDA', Verdict.WARN, 'no toolkit',
                   'running engines needs none; PyCUDA is compiled with it'
                   + (': it belongs to JetPack' if board.is_jetson else ''),
                   ('sudo apt-get install -y cuda-toolkit',) if board.has_apt else (),
                   values=values)


def _module_version(around: Surroundings) -> str:
    found = re.search(r'Module(?: for \S+)?\s+([\d.]+)\s',
                      around.text('proc/driver/nvidia/version') or '')
    return found[1] if found else ''


def _tegra_driver(around: Surroundings) -> str:
    """Return the driver of a Jetson: it belongs to the L4T release."""
    version = _module_version(around)
    return version or ('of the L4T release' if around.text('etc/nv_tegra_release') else '')
