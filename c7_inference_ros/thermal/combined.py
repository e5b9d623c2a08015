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

"""Several thermal sources as one: the host and its GPUs."""

from __future__ import annotations

from typing import Sequence

from c7_inference_ros.errors import TelemetryUnavailableError
from c7_inference_ros.thermal.source import ThermalSource
from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import ThermalState


class CombinedSource:
    """
    Reads several sources one after the other into one state.

    A source that fails leaves its devices in the state without telemetry and does not keep the
    others from being read. One that hangs keeps them all: one thread polls.

    :param sources: at least one; no device name may be in two of them.
    :raises ValueError: none, or a name twice.
    """

    def __init__(self, sources: Sequence[ThermalSource]) -> None:
        """Keep the sources in their order; nothing is read yet."""
        self._sources = tuple(sources)
        self._latest: dict[str, DeviceState] = {}
        names = self.device_names
        if not self._sources or len(set(names)) != len(names):
            raise ValueError(
                f'CombinedSource has {len(self._sources)} sources with devices {list(names)},'
                ' expected at least one source, and each device name once')

    @property
    def name(self) -> str:
        """Return the names of the sources, joined by a plus sign."""
        return '+'.join(source.name for source in self._sources)

    @property
    def device_names(self) -> tuple[str, ...]:
        """Return the names of the devices of all sources."""
        return tuple(name for source in self._sources for name in source.device_names)

    def is_present(self) -> bool:
        """Return whether any of the sources is present."""
        present = [source.is_present() for source in self._sources]  # each has to look
        return any(present)

    def read(self, now_ns: int) -> ThermalState:
        """
        Return the devices of every source.

        :param now_ns: the monotonic clock now, nanoseconds.
        """
        devices = tuple(device for source in self._sources
                        for device in self._read_source(source, now_ns))
        self._latest = {device.name: device for device in devices}
        return ThermalState(devices, now_ns)

    def glance(self, now_ns: int) -> frozenset[str]:
        """Return the signs of all sources; one that fails shows none."""
        signs: set[str] = set()
        for source in self._sources:
            try:
                signs |= {f'{source.name}: {sign}' for sign in source.glance(now_ns)}
            except Exception:  # `read` says what is wrong with it
                continue
        return frozenset(signs)

    def _read_source(self, source: ThermalSource, now_ns: int) -> tuple[DeviceState, ...]:
        """Return what a source says, and its devices that it does not speak of."""
        found: tuple[DeviceState, ...] = ()
        try:
            state = source.read(now_ns)
            found = tuple(device for device in state.devices if device.name in source.device_names)
            reason = f'thermal source {source.name} says nothing of it'
        except TelemetryUnavailableError as error:
            reason = str(error)
        except Exception as error:  # a bug in one source must not hide the others
            reason = f'thermal source {source.name} failed with {type(error).__name__}: {error}'
        told = {device.name for device in found}
        return found + tuple(self._unavailable(name, source, reason, now_ns)
                             for name in source.device_names if name not in told)

    def _unavailable(self, name: str, source: ThermalSource, reason: str,
                     now_ns: int) -> DeviceState:
        before = self._latest.get(name)
        return DeviceState.unavailable(
            name, source.name, reason, now_ns, model=before.model if before else '',
            hardware_id=before.hardware_id if before else '')
