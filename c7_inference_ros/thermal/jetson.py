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

"""Heat, clocks, power and power mode of a Jetson, from sysfs alone."""

from __future__ import annotations

import os
from pathlib import Path
import re

from c7_inference_ros.errors import TelemetryUnavailableError
from c7_inference_ros.thermal import jetson_board
from c7_inference_ros.thermal.cpu_clocks import cpu_clocks
from c7_inference_ros.thermal.cpu_clocks import cpu_governor
from c7_inference_ros.thermal.hwmon import HWMON
from c7_inference_ros.thermal.hwmon import named_chips
from c7_inference_ros.thermal.jetson_clocks import read_gpu
from c7_inference_ros.thermal.jetson_power import read_rails
from c7_inference_ros.thermal.over_current import OverCurrentCounters
from c7_inference_ros.thermal.power_mode import PowerMode
from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.thermal.sysfs import read_attribute
from c7_inference_ros.thermal.sysfs import ReadBytes
from c7_inference_ros.thermal.sysfs import SysfsCache
from c7_inference_ros.thermal.sysfs import SysfsReader
from c7_inference_ros.thermal.sysfs import UniqueNames
from c7_inference_ros.thermal.throttle import cooling_flags
from c7_inference_ros.thermal.throttle import slows_processor
from c7_inference_ros.thermal.throttle import throttling_signs
from c7_inference_ros.thermal.zones import read_zones
from c7_inference_ros.thermal.zones import THERMAL
from c7_inference_ros.thermal.zones import trip_reasons
from c7_inference_ros.thermal.zones import ZoneRules

DEVICE = 'jetson'

_ALWAYS_ON = re.compile(r'(tj|cpu|gpu)-therm(al)?', re.IGNORECASE)


def slows(kind: str | None) -> bool:
    """
    Return whether a cooling device of this type stands for a processor slowed by heat.

    The fan and ``hot-surface-alert`` (70 C on an Orin, a warning for fingers) do not.
    """
    return slows_processor(kind) or jetson_board.is_throttle_alert(kind)


def may_be_off(kind: str) -> bool:
    """
    Return whether a zone of this type may have no temperature on a healthy board.

    The vision and video blocks sleep until something uses them. So does the GPU of a Thor, but a
    node that works with the GPU wants to know.
    """
    return _ALWAYS_ON.fullmatch(kind) is None


RULES = ZoneRules(
    slows, may_be_off,
    # Without bindings nobody says what a trip does. Below the one that slows the machine there
    # are others that only raise an alert; none above it would ever be reached.
    unbound=max,
    # A constant of the driver of older boards.
    ignored=frozenset({'PMIC-Die'}))


class JetsonThermalSource:
    """
    Thermal source of NVIDIA Jetson boards.

    Needs no privilege, no service and no package. Written from the documented layout of Orin
    (JetPack 6) and Thor (JetPack 7). Not thread-safe: one thread polls.

    :param sysfs_root: where sysfs is mounted, or a recorded tree. The folder that holds it is
        taken for the root of the file system with ``etc`` and ``var``.
    :param read_bytes: reads one file; raises OSError.
    """

    name = 'jetson'
    device_names = (DEVICE,)

    def __init__(self, sysfs_root: Path | str = '/sys',
                 read_bytes: ReadBytes = read_attribute) -> None:
        """Remember where to look; nothing is read yet."""
        self._root = str(sysfs_root)
        self._host_root = os.path.dirname(os.path.abspath(self._root))
        self._read_bytes = read_bytes
        self._cache = SysfsCache()
        self._over_current = OverCurrentCounters()
        self._power_mode = PowerMode()
        #: Why the machine is not a Jetson, one sentence, after `is_present` said so.
        self.absence = ''

    def is_present(self) -> bool:
        """Return whether the machine is a Jetson."""
        self.absence = jetson_board.absence(SysfsReader(self._root, self._read_bytes))
        return not self.absence

    def read(self, now_ns: int) -> ThermalState:
        """
        Return what every sensor says; a sensor that fails is a fault in the state.

        :param now_ns: the monotonic clock now, nanoseconds.
        :raises TelemetryUnavailableError: no temperature could be read and nothing says that the
            board is throttling.
        """
        sysfs = self._reader(now_ns)
        zones = read_zones(sysfs, UniqueNames(), RULES)
        cooling = cooling_flags(sysfs, slows)
        reasons = [*trip_reasons(zones), *cooling.reasons]
        if not zones and not reasons:
            raise TelemetryUnavailableError(_nothing_read(self._root, sysfs.faults))
        chips = named_chips(sysfs)
        rails = read_rails(sysfs, chips)
        over_current = self._over_current.update(sysfs, chips)
        gpu = read_gpu(sysfs)
        host = SysfsReader(self._host_root, self._read_bytes, self._cache)
        settings = {**self._power_mode.read(host), **gpu.settings, **cpu_governor(sysfs)}
        device = DeviceState(
            DEVICE, self.name, now_ns, True, zones=tuple(zones), is_throttling=bool(reasons),
            throttle_reasons=tuple(reasons), throttle_flags=cooling.flags,
            warnings=(*over_current.warnings, *rails.warnings),
            clocks_mhz={**gpu.clocks_mhz, **cpu_clocks(sysfs)}, load=gpu.load,
            power_w=rails.power_w, over_current_events=over_current.events,
            over_current_totals=over_current.totals, settings=settings,
            model=jetson_board.model(sysfs), hardware_id=jetson_board.serial_number(sysfs),
            faults=(*sysfs.faults, *host.faults))
        return ThermalState((device,), now_ns)

    def glance(self, now_ns: int) -> frozenset[str]:
        """Return the signs of throttling that are set now, by name; faults are left to `read`."""
        return throttling_signs(self._reader(now_ns), RULES)

    def _reader(self, now_ns: int) -> SysfsReader:
        sysfs = SysfsReader(self._root, self._read_bytes, self._cache)
        self._cache.renew(now_ns, (sysfs.names(THERMAL), sysfs.names(HWMON)))
        return sysfs


def _nothing_read(root: str, faults: list[str]) -> str:
    first = f'; {len(faults)} faults, the first: {faults[0]}' if faults else ''
    return (f'{root}: a Jetson without a readable thermal zone, expected at least tj-thermal below'
            f' {THERMAL}{first}; check that the container mounts /sys, and who may read it')
