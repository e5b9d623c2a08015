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

"""sensor_msgs/Temperature of the zones that a user asked for, on ``~/thermal/<zone>``."""

from __future__ import annotations

from itertools import count
import re
import threading
from typing import Iterable
from typing import Mapping
from typing import NamedTuple

from c7_inference_ros.config import EVERY
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.node.qos import overridable
from c7_inference_ros.node.qos import OVERRIDE_ERRORS
from c7_inference_ros.node.qos import result_qos
from c7_inference_ros.parameter_spec import nearest
from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.thermal.state import ZoneReading
from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from rclpy.time import Time
from sensor_msgs.msg import Temperature

#: (device name, zone name)
ZoneKey = tuple[str, str]


class _Found(NamedTuple):
    """One reading of a wanted zone."""

    key: ZoneKey
    zone: ZoneReading
    stamp: Time


def topic_token(zone: str) -> str:
    """Return what stands for a zone in a topic name: lowercase letters, digits, underscores."""
    token = re.sub(r'[^a-z0-9]+', '_', zone.lower()).strip('_')
    return token if token[:1].isalpha() else f'zone_{token}'.rstrip('_')


def topic_tokens(zones: Iterable[ZoneKey], known: Mapping[ZoneKey, str]) -> dict[ZoneKey, str]:
    """
    Return the last part of the topic name of each zone; every one differs.

    The device goes before it where two devices have a zone of that token. Zones of one device
    that look the same get a number.

    :param known: tokens of zones that have theirs and keep it.
    """
    zones = [key for key in dict.fromkeys(zones) if key not in known]
    devices: dict[str, set[str]] = {}
    for device, zone in [*known, *zones]:
        devices.setdefault(topic_token(zone), set()).add(device)
    used = set(known.values())
    tokens: dict[ZoneKey, str] = {}
    for device, zone in zones:
        token = topic_token(zone)
        if len(devices[token]) > 1:
            token = f'{topic_token(device)}_{token}'
        unique = token
        for number in count(2):
            if unique not in used:
                break
            unique = f'{token}_{number}'
        used.add(unique)
        tokens[device, zone] = unique
    return tokens


def _names(device: str, zone: str) -> tuple[str, ...]:
    """Return what a zone may be asked for by."""
    token = topic_token(zone)
    return zone, token, f'{topic_token(device)}_{token}'


class ZoneTopics:
    """
    Publishes each new poll of the wanted zones; nothing for a zone that could not be read.

    The executor's thread makes and destroys the publishers, the polling thread publishes.

    :param node: node that publishes.
    :param wanted: names of zones as in diagnostics, or topic tokens with or without the device;
        ``*`` is every zone.
    """

    def __init__(self, node: LifecycleNode, wanted: Iterable[str]) -> None:
        """Remember what is wanted; :meth:`update` makes publishers of the zones there are."""
        self._node = node
        self._wanted = tuple(dict.fromkeys(filter(None, wanted)))
        self._lock = threading.Lock()  # publishers are not destroyed while one publishes
        self._publishers: dict[ZoneKey, Publisher] = {}
        self._tokens: dict[ZoneKey, str] = {}
        self._waiting: tuple[ThermalState, list[_Found]] | None = None  # for the executor
        self._latest_ns: dict[str, int] = {}  # by device
        self._is_told = EVERY in self._wanted or not self._wanted
        self._refused: set[ZoneKey] = set()

    @property
    def is_wanted(self) -> bool:
        """Whether any zone was asked for."""
        return bool(self._wanted)

    def publish(self, state: ThermalState, now_ns: int) -> None:
        """
        Publish the zones of a new poll; the polling thread.

        :param now_ns: the monotonic clock of the state, nanoseconds.
        """
        with self._lock:
            if not self._wanted:
                return
            # A device that was not measured again is in the state with what it said before.
            fresh = {device.name: device for device in state.devices
                     if device.measured_at_ns > self._latest_ns.get(device.name, -1)}
            self._latest_ns.update((name, device.measured_at_ns)
                                   for name, device in fresh.items())
            found = [_Found((name, zone.name), zone, self._stamp(device, now_ns))
                     for name, device in fresh.items() for zone in device.zones
                     if any(map(self._is_wanted, _names(name, zone.name)))]
            self._publish(found, self._publishers)
            if self._waiting is not None:
                found += [each for each in self._waiting[1] if each.key[0] not in fresh]
            self._waiting = (state, found)

    def update(self) -> None:
        """
        Make publishers of zones that appeared, and tell once which are not there.

        For the executor's thread.

        :raises ConfigurationError: a ``qos_overrides`` parameter cannot be used; said once.
        """
        if self._waiting is None:
            return
        with self._lock:
            waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        state, found = waiting
        self._tell_missing(state)
        new = [each.key for each in found
               if each.key not in self._publishers and each.key not in self._refused]
        if not new:
            return
        tokens = topic_tokens(new, self._tokens)
        made: dict[ZoneKey, Publisher] = {}
        try:
            for key in new:
                made[key] = self._publisher(key, tokens[key])
        finally:
            with self._lock:
                self._tokens.update(tokens)
                self._publishers = {**self._publishers, **made}
                # A poll meanwhile knew no publisher of these yet.
                self._publish(found if self._waiting is None else self._waiting[1], made)

    def destroy(self) -> None:
        """Remove the publishers; idempotent. For the executor's thread."""
        with self._lock:
            publishers, self._publishers = self._publishers, {}
            self._wanted = ()
            self._waiting = None
        for publisher in publishers.values():
            self._node.destroy_publisher(publisher)

    def _publisher(self, key: ZoneKey, token: str) -> Publisher:
        try:
            return self._node.create_publisher(
                Temperature, f'~/thermal/{token}', result_qos(),
                qos_overriding_options=overridable())
        except OVERRIDE_ERRORS as error:
            self._refused.add(key)
            raise ConfigurationError(
                f'a qos_overrides parameter of ~/thermal/{token} cannot be used: {error}; see the'
                f' values that ROS 2 knows for history, depth and reliability') from error

    @staticmethod
    def _publish(found: Iterable[_Found], publishers: Mapping[ZoneKey, Publisher]) -> None:
        """Publish what there is a publisher for; the lock is held."""
        for key, zone, stamp in found:
            publisher = publishers.get(key)
            if publisher is not None:
                message = Temperature(temperature=zone.temperature_c, variance=0.0)
                message.header.stamp = stamp.to_msg()
                message.header.frame_id = zone.name
                publisher.publish(message)

    def _is_wanted(self, name: str) -> bool:
        return EVERY in self._wanted or name in self._wanted

    def _stamp(self, device: DeviceState, now_ns: int) -> Time:
        """Return when a device was read, in ROS time: the monotonic clock has another origin."""
        age_ns = now_ns - device.measured_at_ns
        now = self._node.get_clock().now()
        return Time(nanoseconds=max(now.nanoseconds - age_ns, 0), clock_type=now.clock_type)

    def _tell_missing(self, state: ThermalState) -> None:
        """Warn once of every name that no zone has, as soon as any device answers."""
        names = list(dict.fromkeys(zone.name for zone in state.zones))
        if self._is_told or not names:
            return
        self._is_told = True
        known = {name for device in state.devices for zone in device.zones
                 for name in _names(device.name, zone.name)}
        for name in self._wanted:
            if name in known:
                continue
            near = nearest(name, names)
            hint = f'did you mean {near!r}? It shows' if near else 'it shows'
            self._node.get_logger().warning(
                f'thermal.zone_topics has {name!r}, which this machine does not show; {hint}'
                f' {", ".join(names)}; the zone is published as soon as it appears')
