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

"""Heat of any Linux machine: thermal zones, hwmon chips and the CPU's throttle counters."""

from __future__ import annotations

from pathlib import Path

from c7_inference_ros.errors import TelemetryUnavailableError
from c7_inference_ros.thermal import throttle
from c7_inference_ros.thermal.cpu_clocks import cpu_clocks
from c7_inference_ros.thermal.cpu_clocks import cpu_governor
from c7_inference_ros.thermal.hwmon import has_chips
from c7_inference_ros.thermal.hwmon import HWMON
from c7_inference_ros.thermal.hwmon import limit_reasons
from c7_inference_ros.thermal.hwmon import read_chips
from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.thermal.sysfs import read_attribute
from c7_inference_ros.thermal.sysfs import ReadBytes
from c7_inference_ros.thermal.sysfs import SysfsCache
from c7_inference_ros.thermal.sysfs import SysfsReader
from c7_inference_ros.thermal.sysfs import UniqueNames
from c7_inference_ros.thermal.zones import has_zones
from c7_inference_ros.thermal.zones import read_zones
from c7_inference_ros.thermal.zones import THERMAL
from c7_inference_ros.thermal.zones import trip_reasons
from c7_inference_ros.thermal.zones import ZoneRules

DEVICE = 'host'
_RULES = ZoneRules(throttle.slows_processor)


class LinuxThermalSource:
    """
    Thermal source of laptops, desktops and boards without one of their own.

    Temperatures come from ``class/thermal`` and ``class/hwmon``; throttling from cooling devices
    that slow a processor, from the throttle counters of x86 processors, and from zones at a trip
    point that slows the machine. Not thread-safe: one thread polls. Needs no privilege.

    :param sysfs_root: where sysfs is mounted, or a recorded tree.
    :param read_bytes: reads one file; raises OSError.
    """

    name = 'linux'
    device_names = (DEVICE,)

    def __init__(self, sysfs_root: Path | str = '/sys',
                 read_bytes: ReadBytes = read_attribute) -> None:
        """Remember where to look; nothing is read yet."""
        self._root = str(sysfs_root)
        self._read_bytes = read_bytes
        self._cache = SysfsCache()
        self._counters = throttle.CounterDeltas()

    def is_present(self) -> bool:
        """Return whether the machine has any temperature sensor, readable or not."""
        sysfs = SysfsReader(self._root, self._read_bytes)
        return has_zones(sysfs) or has_chips(sysfs)

    def read(self, now_ns: int) -> ThermalState:
        """
        Return what every sensor says; a sensor that fails is a fault in the state.

        :param now_ns: the monotonic clock now, nanoseconds.
        :raises TelemetryUnavailableError: no temperature could be read and nothing says that the
            machine is throttling.
        """
        sysfs = self._reader(now_ns)
        names = UniqueNames()
        zones = read_zones(sysfs, names, _RULES)
        chips = read_chips(sysfs, names)
        cooling = throttle.cooling_flags(sysfs)
        reasons = [*trip_reasons(zones), *limit_reasons(chips), *cooling.reasons,
                   *self._counters.update(throttle.throttle_counts(sysfs), now_ns)]
        zones += chips
        if not zones and not reasons:
            raise TelemetryUnavailableError(_nothing_read(self._root, sysfs.faults))
        device = DeviceState(
            DEVICE, self.name, now_ns, True, zones=tuple(zones), is_throttling=bool(reasons),
            throttle_reasons=tuple(reasons), throttle_flags=cooling.flags,
            clocks_mhz=cpu_clocks(sysfs), settings=cpu_governor(sysfs), faults=tuple(sysfs.faults))
        return ThermalState((device,), now_ns)

    def glance(self, now_ns: int) -> frozenset[str]:
        """Return the signs of throttling that are set now, by name; faults are left to `read`."""
        return throttle.throttling_signs(self._reader(now_ns), _RULES)

    def _reader(self, now_ns: int) -> SysfsReader:
        sysfs = SysfsReader(self._root, self._read_bytes, self._cache)
        self._cache.renew(now_ns, (sysfs.names(THERMAL), sysfs.names(HWMON)))
        return sysfs


def _nothing_read(root: str, faults: list[str]) -> str:
    if not faults:
        return (f'{root}: no thermal zone and no hwmon temperature, expected at least one; virtual'
                ' machines and containers have none, a physical machine needs its sensor driver')
    return (f'{root}: no temperature could be read, expected at least one; {len(faults)} faults,'
            f' the first: {faults[0]}; check the sensor drivers and who may read sysfs')
