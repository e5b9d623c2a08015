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

"""Heat of NVIDIA GPUs through NVML: desktops, laptops and servers, not Jetson boards."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator
from typing import Mapping
import weakref

from c7_inference_ros.errors import TelemetryUnavailableError
from c7_inference_ros.thermal.nvml_devices import find_gpus
from c7_inference_ros.thermal.nvml_devices import Gpu
from c7_inference_ros.thermal.nvml_devices import VARIABLE
from c7_inference_ros.thermal.nvml_devices import visible_gpus
from c7_inference_ros.thermal.nvml_library import DRIVER_NOT_LOADED
from c7_inference_ros.thermal.nvml_library import LIBRARY_NOT_FOUND
from c7_inference_ros.thermal.nvml_library import NvmlError
from c7_inference_ros.thermal.nvml_library import NvmlLibrary
from c7_inference_ros.thermal.nvml_library import Questions
from c7_inference_ros.thermal.nvml_readings import GpuReader
from c7_inference_ros.thermal.nvml_readings import read_celsius
from c7_inference_ros.thermal.nvml_readings import SOURCE
from c7_inference_ros.thermal.nvml_reasons import EVENT_REASONS
from c7_inference_ros.thermal.nvml_reasons import signs
from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import ThermalState

#: Shortest time between two attempts to reach a GPU, or the driver, that was lost.
RETRY_NS = 10_000_000_000


class _Device:
    """A GPU that the source has promised to report on."""

    def __init__(self, gpu: Gpu) -> None:
        self.index = gpu.number
        self.reader = GpuReader(f'gpu{gpu.number}', gpu.model, gpu.uuid)
        self.handle = gpu.handle
        self.problem = gpu.problem

    def lose(self, problem: str) -> None:
        """Keep the GPU in the state, without telemetry."""
        self.handle, self.problem = None, problem
        self.reader.forget()

    def find_again(self, gpu: Gpu) -> None:
        """Take what the restarted library has for it."""
        self.handle, self.problem = gpu.handle, gpu.problem
        self.reader.model = gpu.model or self.reader.model
        self.reader.hardware_id = gpu.uuid or self.reader.hardware_id


class NvmlThermalSource:
    """
    Thermal source of NVIDIA GPUs with a driver of their own.

    A Jetson has NVML too, but it answers nothing there: the source is then not present. Not
    thread-safe: one thread polls. Needs no privilege.

    :param sysfs_root: anything but ``/sys`` is the recording of another machine, whose GPUs are
        not the ones of this.
    :param environment: where CUDA_VISIBLE_DEVICES is looked up.
    """

    name = SOURCE

    def __init__(self, sysfs_root: Path | str = '/sys',
                 environment: Mapping[str, str] = os.environ) -> None:
        """Import and load nothing yet."""
        self._root = os.path.normpath(str(sysfs_root))
        self._environment = environment
        self._library = NvmlLibrary()
        self._devices: tuple[_Device, ...] = ()
        self._absence = ''
        self._retried_ns: int | None = None
        weakref.finalize(self, self._library.abandon)

    @property
    def device_names(self) -> tuple[str, ...]:
        """Return ``gpu<NVML index>`` of every GPU that was visible at first."""
        return tuple(device.reader.name for device in self._devices)

    @property
    def absence(self) -> str:
        """Return why the source is not present, empty while it is or nobody has asked."""
        return self._absence

    def is_present(self) -> bool:
        """Return whether NVML answers for any GPU that this process may use."""
        if not self._devices:
            self._devices, self._absence = self._discover()
            if not self._devices:
                self._library.shutdown()
        return bool(self._devices)

    def close(self) -> None:
        """Let go of NVML; it is taken up again by the next :meth:`is_present`."""
        self._devices = ()
        self._library.shutdown()

    def read(self, now_ns: int) -> ThermalState:
        """
        Return what every GPU says; one that is lost is in it without telemetry.

        :param now_ns: the monotonic clock now, nanoseconds.
        :raises TelemetryUnavailableError: there is no GPU to read.
        """
        if not self.is_present():
            raise TelemetryUnavailableError(f'NVML: {self._absence}')
        if any(device.handle is None for device in self._devices):
            self._reopen(now_ns)
        return ThermalState(tuple(self._read_device(device, now_ns)
                                  for device in self._devices), now_ns)

    def glance(self, now_ns: int) -> frozenset[str]:
        """Return the reasons for which the clocks of any GPU are lowered by heat or hardware."""
        found = []
        for device in self._devices:
            if device.handle is not None:
                try:
                    mask = self._library.call_first(EVENT_REASONS, device.handle)
                except NvmlError:
                    continue
                found += [f'{device.reader.name} {sign}' for sign in signs(mask)]
        return frozenset(found)

    def _discover(self) -> tuple[tuple[_Device, ...], str]:
        """Return the devices, or none and why."""
        if self._root != '/sys':
            return (), f'{self._root} is not the sysfs of this machine'
        try:
            self._library.initialise()
            gpus = find_gpus(self._library)
            visible = visible_gpus(self._library, gpus, self._environment)
            found = tuple(_Device(gpu) for gpu in visible if self._says_anything(gpu))
        except NvmlError as error:
            return (), self._why(error)
        if found:
            return found, ''
        if not gpus:
            return (), 'the NVIDIA driver has no GPU'
        if not visible:
            return (), f'{VARIABLE}={self._environment.get(VARIABLE)} leaves no GPU'
        names = ', '.join(gpu.model or f'GPU {gpu.number}' for gpu in visible)
        return (), f'NVML has neither temperature nor throttling of {names}, as on a Jetson'

    def _says_anything(self, gpu: Gpu) -> bool:
        """Return whether a GPU has telemetry; one that is lost for the moment counts."""
        if gpu.handle is None:
            return True
        questions = Questions(self._library, gpu.handle)
        try:
            return (read_celsius(questions)[0] is not None
                    or questions.ask(*EVENT_REASONS) is not None or bool(questions.faults))
        except NvmlError as error:
            if error.is_library_lost:
                raise
            return True

    def _why(self, error: NvmlError) -> str:
        """Return why NVML cannot be used, and what to do where there is a GPU."""
        if error.function == 'import pynvml':
            has_driver = os.path.isdir(os.path.join(self._root, 'module/nvidia'))
            return ('the Python module pynvml cannot be imported' + (
                ', and the NVIDIA driver is loaded: install python3-pynvml (apt) or nvidia-ml-py'
                f' (pip); {error}' if has_driver else ''))
        if error.code in (LIBRARY_NOT_FOUND, DRIVER_NOT_LOADED):
            return 'no NVIDIA driver'
        return error.sentence

    def _read_device(self, device: _Device, now_ns: int) -> DeviceState:
        if device.handle is not None:
            try:
                return device.reader.read(self._library, device.handle, now_ns)
            except NvmlError as error:
                device.lose(error.sentence)
        return device.reader.unavailable(f'{device.reader.name}: {device.problem}', now_ns)

    def _reopen(self, now_ns: int) -> None:
        """Initialise the library anew, so that a GPU which is back is seen; not too often."""
        if self._retried_ns is not None and 0 <= now_ns - self._retried_ns < RETRY_NS:
            return
        self._retried_ns = now_ns
        self._library.shutdown()
        try:
            self._library.initialise()
            gpus = find_gpus(self._library)
        except NvmlError as error:
            for device in self._devices:
                device.lose(error.sentence)
            return
        for device, gpu in _matched(self._devices, gpus):
            if gpu is not None:
                device.find_again(gpu)
            else:
                device.lose('the NVIDIA driver does not see it any more; a reset or a reboot'
                            ' brings it back')


def _matched(devices: tuple[_Device, ...],
             gpus: list[Gpu]) -> Iterator[tuple[_Device, Gpu | None]]:
    """Yield each device with its GPU: by UUID, as numbers move up when a GPU has gone."""
    by_uuid = {gpu.uuid: gpu for gpu in gpus if gpu.uuid}
    known = {device.reader.hardware_id for device in devices}
    free = {gpu.number: gpu for gpu in gpus if not gpu.uuid or gpu.uuid not in known}
    for device in devices:
        gpu = by_uuid.get(device.reader.hardware_id)
        other = free.get(device.index)
        if gpu is None and other is not None and not (device.reader.hardware_id and other.uuid):
            gpu = other  # one of the two cannot tell who it is
        yield device, gpu
