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

"""Clocks and load of a Jetson's GPU, and the clock of its memory."""

from __future__ import annotations

import re
from typing import NamedTuple

from c7_inference_ros.thermal.state import Reading
from c7_inference_ros.thermal.sysfs import OFF_ERRNOS
from c7_inference_ros.thermal.sysfs import SysfsReader

DEVFREQ = 'class/devfreq'
#: Memory clock of a Thor. An Orin shows the clock itself only to root, but the cap to everyone.
MEMORY = f'{DEVFREQ}/bwmgr'
MEMORY_CAP = 'kernel/nvpmodel_clk_cap/emc'

# What the device tree calls the GPUs of Jetsons, generic and by chip.
_GPU_NODES = frozenset({'gpu', 'gp10b', 'gv11b', 'ga10b', 'gb10b'})
# A container that masks the device tree leaves the name of the folder.
_GPU_FOLDER = re.compile(r'[0-9a-f]+\.(gpu|gp10b|gv11b|ga10b|gb10b)')
# Thor: the graphics clusters, and the video engines, which have a clock of their own.
_DOMAIN = re.compile(r'gpu-(gpc|nvd)-([0-9]+)')
_MAX_MHZ = 20_000.0


class GpuReadings(NamedTuple):
    """
    What a Jetson's GPU and memory do now, as in :class:`~.state.DeviceState`.

    A low clock is an idle GPU, a power mode or heat: by itself it says nothing about throttling.

    :param clocks_mhz: ``gpu``, ``gpu_max``, ``gpu_nvd``, ``emc`` and the like; ``_max`` is what
        power mode, user and heat together allow now.
    :param load: ``gpu``.
    :param settings: ``gpu_governor``.
    """

    clocks_mhz: dict[str, Reading[float]]
    load: dict[str, Reading[float]]
    settings: dict[str, Reading[str]]


def gpu_folders(sysfs: SysfsReader) -> dict[str, str]:
    """Return name of clock to folder below the root; the graphics clock is called ``gpu``."""
    return sysfs.derived('gpus', lambda: _find_gpus(sysfs))


def read_gpu(sysfs: SysfsReader) -> GpuReadings:
    """Return the clocks, the load and the governor, those that the board shows."""
    clocks: dict[str, Reading[float]] = {}
    settings: dict[str, Reading[str]] = {}
    folders = gpu_folders(sysfs)
    for name, folder in folders.items():
        _read_clock(sysfs, clocks, name, f'{folder}/cur_freq')
        _read_clock(sysfs, clocks, f'{name}_max', f'{folder}/max_freq')
    gpu = folders.get('gpu')
    if gpu is not None:
        governor = sysfs.text(f'{gpu}/governor')
        if governor and governor.isprintable():
            settings['gpu_governor'] = Reading(governor[:64], f'{gpu}/governor')
    if sysfs.names(MEMORY, constant=True):
        _read_clock(sysfs, clocks, 'emc', f'{MEMORY}/cur_freq')
        _read_clock(sysfs, clocks, 'emc_max', f'{MEMORY}/max_freq')
    if 'emc_max' not in clocks:
        _read_clock(sysfs, clocks, 'emc_max', MEMORY_CAP, zero_is_none=True)
    return GpuReadings(clocks, _read_load(sysfs, gpu), settings)


def _find_gpus(sysfs: SysfsReader) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in sorted(sysfs.names(DEVFREQ, constant=True)):
        name = _clock_name(sysfs, entry)
        if name is not None:
            found.setdefault(name, f'{DEVFREQ}/{entry}')
    return found


def _clock_name(sysfs: SysfsReader, entry: str) -> str | None:
    """Return what to call the clock of a devfreq device, None when it is not a GPU's."""
    domain = _DOMAIN.fullmatch(entry)
    if domain is not None:
        kind, number = domain[1], int(domain[2])
        if kind == 'gpc' and number == 0:
            return 'gpu'
        return f'gpu_{kind}{number or ""}'
    if _GPU_FOLDER.fullmatch(entry):
        return 'gpu'
    node = sysfs.strings(f'{DEVFREQ}/{entry}/device/of_node/name')
    return 'gpu' if node and node[0] in _GPU_NODES else None


def _read_clock(sysfs: SysfsReader, clocks: dict[str, Reading[float]], name: str, relative: str,
                *, zero_is_none: bool = False) -> None:
    hertz = sysfs.integer(relative, off_errnos=OFF_ERRNOS)
    if hertz is None or (zero_is_none and hertz == 0):
        return
    mhz = hertz / 1e6
    if not 0.0 <= mhz <= _MAX_MHZ:
        sysfs.faults.append(f'{relative} says {mhz:.0f} MHz, expected 0 to {_MAX_MHZ:.0f}; it is'
                            ' ignored')
        return
    clocks[name] = Reading(mhz, relative)


def _read_load(sysfs: SysfsReader, gpu_folder: str | None) -> dict[str, Reading[float]]:
    """Return the share of time in which the GPU works; a Thor tells it to NVML alone."""
    homes = ['devices/platform/gpu.0', 'devices/gpu.0']
    if gpu_folder is not None:
        device = gpu_folder.rpartition('/')[2]
        homes += [f'{gpu_folder}/device', f'devices/platform/bus@0/{device}',
                  f'devices/platform/{device}']
    for home in homes:
        if 'load' not in sysfs.names(home, constant=True):
            continue
        per_mille = sysfs.integer(f'{home}/load', off_errnos=OFF_ERRNOS)
        if per_mille is None:
            return {}
        if not 0 <= per_mille <= 1000:
            sysfs.faults.append(f'{home}/load holds {per_mille}, expected 0 to 1000 per mille; it'
                                ' is ignored')
            return {}
        return {'gpu': Reading(per_mille / 1000.0, f'{home}/load')}
    return {}
